/* template - the smallest store plugin that is whole: a tree, one node a stream.
 *
 * Copy it, rename it, and put your backend where the tree is.  The five functions are all
 * that is needed; the core reads the configuration, takes the locks that .threads asks
 * for, checks names and sizes, and judges what is found.  A plugin keeps bytes by
 * name. */
#define _GNU_SOURCE 1 /* tdestroy */
#include <mako/store_plugin.h>

#include <search.h>
#include <stdlib.h>
#include <string.h>

struct node {
    struct mako_str stream; /* points into bytes */
    struct mako_meta meta;
    size_t blob_len;
    char bytes[]; /* the stream's name, and the blob behind it */
};

/* Any order will do for a tree, as long as no two names are taken for one. */
static int compare(const void *left, const void *right)
{
    const struct node *a = left, *b = right;

    if (a->stream.len != b->stream.len)
        return a->stream.len < b->stream.len ? -1 : 1;
    return memcmp(a->stream.ptr, b->stream.ptr, a->stream.len);
}

/* Refuse what you do not know of: a host that asks for more must not think it got it. */
static int template_open(const struct mako_host *host, const union mako_value *options,
                         struct mako_traits *traits, void **store, struct mako_error *err)
{
    if (traits->flags & ~MAKO_OPEN_READ_ONLY)
        return mako_fail(err, MAKO_E_UNSUPPORTED, "unknown open flags 0x%x",
                         (unsigned)traits->flags);
    *store = calloc(1, sizeof(void *)); /* the root of an empty tree */
    return *store ? MAKO_OK : mako_fail(err, MAKO_E_NOMEM, "no memory for a tree");
}

static void template_close(void *store)
{
    tdestroy(*(void **)store, free);
    free(store);
}

/* Copy what is given: it is the host's again when this returns. */
static int template_save(void *store, const struct mako_record *record,
                         struct mako_error *err)
{
    size_t id_len = record->stream.len;
    struct node *node, **place;

    if (record->flags & 0xffffu) /* .features has no IF_NEWER, so there are none */
        return mako_fail(err, MAKO_E_UNSUPPORTED, "unknown record flags 0x%x",
                         (unsigned)record->flags);
    node = malloc(sizeof *node + id_len + record->blob_len);
    if (!node)
        return mako_fail(err, MAKO_E_NOMEM, "no memory for %zu bytes", record->blob_len);
    *node = (struct node){{node->bytes, id_len}, record->meta, record->blob_len};
    memcpy(node->bytes, record->stream.ptr, id_len);
    memcpy(node->bytes + id_len, record->blob, record->blob_len);

    place = tsearch(node, store, compare);
    if (!place) {
        free(node);
        return mako_fail(err, MAKO_E_NOMEM, "no memory for a node");
    }
    if (*place != node) { /* -fanalyzer: tsearch() keeps node, though it says const */
        free(*place);     /* it had one: the new one takes its place */
        *place = node;
    }
    return MAKO_OK;
}

/* The sink says how much it will take, before anything is moved. */
static int template_load(void *store, struct mako_str stream, struct mako_sink *sink,
                         struct mako_error *err)
{
    const struct node key = {.stream = stream}, *node;
    struct node *const *place = tfind(&key, store, compare);
    void *room;

    if (!place)
        return MAKO_NOT_FOUND;
    node = *place;
    room = sink->accept(sink, &node->meta, node->blob_len);
    if (!room)
        return MAKO_REFUSED;
    memcpy(room, node->bytes + node->stream.len, node->blob_len);
    return MAKO_OK;
}

static int template_remove(void *store, struct mako_str stream, struct mako_error *err)
{
    const struct node key = {.stream = stream};
    struct node **place = tfind(&key, store, compare), *node;

    if (!place)
        return MAKO_NOT_FOUND;
    node = *place;
    (void)tdelete(&key, store, compare);
    free(node);
    return MAKO_OK;
}

/* What it promises, and no more; the core and the conformance kit take it at its word. */
static const struct mako_store_plugin template = {
    MAKO_STORE_PLUGIN_HEAD,
    .name = "template", /* as in mako-store-template.so */
    .version = "1",
    .summary = "a tree in memory, to copy from",
    .durability = MAKO_DURABLE_MEMORY,   /* a snapshot dies with the process */
    .threads = MAKO_THREADS_STORE,       /* the core locks: one call at a time a store */
    .features = MAKO_FEATURE_EARLY_META, /* accept gets the metadata first */
    .open = template_open,
    .close = template_close,
    .save = template_save,
    .load = template_load,
    .remove = template_remove,
};

MAKO_EXPORT_STORE_PLUGIN(template)

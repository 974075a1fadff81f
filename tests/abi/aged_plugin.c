/* tests/abi/aged_plugin.c - one small store, built three times: against the headers of
 * the first version, with the required members alone (OLD) and with all there were
 * (WHOLE), and as if against a later header that has grown everywhere it may (FUTURE).
 * All must work with today's core. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <mako/store_plugin.h>

#define STREAMS 8

struct slot {
    char *stream;
    struct mako_meta meta;
    void *blob;
    size_t len;
};
struct store {
    struct slot slots[STREAMS];
    uint64_t batches;
};

/* ---- what a later header may look like ------------------------------------------ */

#ifdef FUTURE
struct later_host {
    struct mako_host host;
    int (*ask)(const struct mako_host *host);
};
struct later_sink {
    struct mako_sink sink;
    int (*hint)(struct mako_sink *sink);
};
struct later_option {
    struct mako_option option;
    const char *unit;
};
struct later_plugin {
    struct mako_store_plugin plugin;
    int (*watch)(void *store);
    uint64_t more[4];
};

static const struct later_option options[] = {
    {.option = {.name = "depth",
                .help = "a number",
                .fallback = "3",
                .type = MAKO_OPT_INT,
                .min = 1,
                .max = 9},
     .unit = "shelves"},
    {.option = {.name = "label", .help = "a word", .type = MAKO_OPT_STRING}},
    {.option = {.name = NULL}},
};

static int watch(void *store)
{
    return store ? MAKO_OK : MAKO_E_IO;
}

#endif

/* ---- the store ------------------------------------------------------------------- */

static int open_store(const struct mako_host *host, const union mako_value *values,
                      struct mako_traits *traits, void **store, struct mako_error *err)
{
    (void)traits;
#ifdef FUTURE
    if (host->struct_size >= sizeof(struct later_host))
        return mako_fail(err, MAKO_E_IO, "this core offers what came later");
    if (values[0].num != 3 || values[1].str)
        return mako_fail(err, MAKO_E_IO, "the options did not arrive");
#else
    (void)values;
#endif
    if (host->abi != 1 || !MAKO_HAS(struct mako_host, host, log))
        return mako_fail(err, MAKO_E_IO, "host of ABI %u and %u bytes",
                         (unsigned)host->abi, (unsigned)host->struct_size);
    *store = calloc(1, sizeof(struct store));
    return *store ? MAKO_OK : mako_fail(err, MAKO_E_NOMEM, "no memory");
}

static void clear(struct slot *slot)
{
    free(slot->stream);
    free(slot->blob);
    memset(slot, 0, sizeof *slot);
}

static void close_store(void *store)
{
    struct store *s = store;

    for (size_t i = 0; i < STREAMS; i++)
        clear(&s->slots[i]);
    free(s);
}

/* The stream's slot; where it has none, NULL or an empty one. */
static struct slot *find(struct store *s, struct mako_str stream, bool make)
{
    for (size_t i = 0; i < STREAMS; i++)
        if (s->slots[i].stream && strcmp(s->slots[i].stream, stream.ptr) == 0)
            return &s->slots[i];
    for (size_t i = 0; make && i < STREAMS; i++)
        if (!s->slots[i].stream)
            return &s->slots[i];
    return NULL;
}

static int save(void *store, const struct mako_record *record, struct mako_error *err)
{
    struct slot *slot = find(store, record->stream, true);
    struct slot made = {.meta = record->meta, .len = record->blob_len};

    if (record->flags & 0xffffu)
        return mako_fail(err, MAKO_E_UNSUPPORTED, "unknown flags");
    if (!slot)
        return mako_fail(err, MAKO_E_NO_SPACE, "all slots are taken");
    made.stream = strdup(record->stream.ptr);
    made.blob = malloc(record->blob_len);
    if (!made.stream || !made.blob) {
        clear(&made);
        return mako_fail(err, MAKO_E_NOMEM, "no memory");
    }
    memcpy(made.blob, record->blob, record->blob_len);
    clear(slot);
    *slot = made;
    return MAKO_OK;
}

static int load(void *store, struct mako_str stream, struct mako_sink *sink,
                struct mako_error *err)
{
    const struct slot *slot = find(store, stream, false);
    void *room;

#ifdef FUTURE
    if (sink->struct_size >= sizeof(struct later_sink))
        return mako_fail(err, MAKO_E_IO, "this core offers what came later");
#endif
    if (!slot)
        return mako_fail(err, MAKO_NOT_FOUND, "no snapshot of %s", stream.ptr);
    room = sink->accept(sink, &slot->meta, slot->len);
    if (!room)
        return mako_fail(err, MAKO_REFUSED, "declined");
    memcpy(room, slot->blob, slot->len);
    return MAKO_OK;
}

static int remove_slot(void *store, struct mako_str stream, struct mako_error *err)
{
    struct slot *slot = find(store, stream, false);

    if (!slot)
        return mako_fail(err, MAKO_NOT_FOUND, "no snapshot of %s", stream.ptr);
    clear(slot);
    return MAKO_OK;
}

/* ---- what was optional in the first version ------------------------------------------
 */

#ifdef WHOLE
static int scan(void *store, struct mako_str prefix, struct mako_visitor *visitor,
                struct mako_error *err)
{
    const struct store *s = store;

    (void)err;
    for (size_t i = 0; i < STREAMS; i++) {
        const struct slot *slot = &s->slots[i];
        struct mako_str stream = {slot->stream, slot->stream ? strlen(slot->stream) : 0};

        if (stream.ptr && strncmp(stream.ptr, prefix.ptr, prefix.len) == 0 &&
            visitor->entry(visitor, stream, &slot->meta, slot->len) != 0)
            break;
    }
    return MAKO_OK;
}

static int save_many(void *store, const struct mako_record *records, size_t count,
                     int *statuses, struct mako_error *err)
{
    struct store *s = store;

    s->batches++;
    for (size_t i = 0; i < count; i++)
        statuses[i] = save(store, &records[i], err);
    return MAKO_OK;
}

static int load_many(void *store, const struct mako_str *streams,
                     struct mako_sink *const *sinks, size_t count, int *statuses,
                     struct mako_error *err)
{
    struct store *s = store;

    s->batches++;
    for (size_t i = 0; i < count; i++)
        statuses[i] = load(store, streams[i], sinks[i], err);
    return MAKO_OK;
}

static int stats(void *store, struct mako_counters *counters, struct mako_error *err)
{
    const struct store *s = store;

    (void)err;
    counters->add(counters, "batches", s->batches);
    return MAKO_OK;
}

static int compact(void *store, struct mako_progress *progress, struct mako_error *err)
{
    (void)store, (void)err;
    (void)progress->step(progress, 1, 1);
    return MAKO_OK;
}
#endif

/* ---- the descriptor ---------------------------------------------------------------- */

#define REQUIRED                                                                  \
    .name = NAME, .version = "1", .summary = "of another time",                   \
    .durability = MAKO_DURABLE_MEMORY, .threads = MAKO_THREADS_STORE,             \
    .features = FEATURES, .open = open_store, .close = close_store, .save = save, \
    .load = load, .remove = remove_slot

#ifdef FUTURE
#define FEATURES (MAKO_FEATURE_EARLY_META | 1ull << 40)
static const struct later_plugin descriptor = {
    .plugin = {.struct_size = sizeof(struct later_plugin),
               .abi = MAKO_STORE_ABI,
               .option_size = sizeof(struct later_option),
               .options = &options[0].option,
               REQUIRED},
    .watch = watch,
    .more = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX},
};
MAKO_EXPORT_STORE_PLUGIN(descriptor.plugin)
#elif defined(WHOLE)
#define FEATURES 0
static const struct mako_store_plugin descriptor = {
    MAKO_STORE_PLUGIN_HEAD, REQUIRED,       .scan = scan,      .save_many = save_many,
    .load_many = load_many, .stats = stats, .compact = compact};
MAKO_EXPORT_STORE_PLUGIN(descriptor)
#else
#define FEATURES 0
static const struct mako_store_plugin descriptor = {
    .struct_size = MAKO_STORE_PLUGIN_MIN_SIZE,
    .abi = MAKO_STORE_ABI,
    .option_size = sizeof(struct mako_option),
    REQUIRED,
};
MAKO_EXPORT_STORE_PLUGIN(descriptor)
#endif

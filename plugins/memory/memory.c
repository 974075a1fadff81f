/* memory - a concurrent map in this process: as fast as it gets, gone when it ends.
 *
 * Shards, each a mutex and an open-addressing table of pointers to nodes.  A node is
 * one snapshot, immutable and reference counted: a load lends its bytes instead of
 * copying them, and a save that replaces it leaves it to whoever still reads it. */
#include <mako/store_plugin.h>

#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <xxhash.h>

#define SHARDS     64u
#define FIRST_ROOM 16u

struct node {
    atomic_uint refs; /* one of the table's, one a lent snapshot */
    struct mako_meta meta;
    struct mako_str stream;    /* at the head of bytes: finding a node reads no further */
    const unsigned char *blob; /* behind it, 16-aligned */
    size_t blob_len;
    alignas(16) unsigned char bytes[];
};

/* The hash stands beside the pointer, so that probing does not touch other nodes. */
struct slot {
    uint64_t hash;
    struct node *node; /* NULL: empty */
};

/* Linear probing; room is a power of two, at most three quarters full. */
struct shard {
    alignas(64) pthread_mutex_t lock;
    struct slot *slots;
    size_t room, used;
    uint64_t bytes;
};

struct memory {
    uint64_t seed; /* ids from outside must not choose their slots */
    struct shard shards[SHARDS];
};

/* ---- nodes -------------------------------------------------------------------- */

static void node_unref(void *cookie)
{
    struct node *node = cookie;

    if (node && atomic_fetch_sub_explicit(&node->refs, 1, memory_order_acq_rel) == 1)
        free(node);
}

static struct node *node_new(const struct mako_record *record)
{
    size_t len = record->stream.len, head = (len + 1 + 15) & ~(size_t)15;
    struct node *node = malloc(sizeof *node + head + record->blob_len);

    if (!node)
        return NULL;
    atomic_init(&node->refs, 1);
    node->meta = record->meta;
    node->blob_len = record->blob_len;
    memcpy(node->bytes, record->stream.ptr, len);
    node->bytes[len] = '\0';
    memcpy(node->bytes + head, record->blob, record->blob_len);
    node->stream = (struct mako_str){.ptr = (const char *)node->bytes, .len = len};
    node->blob = node->bytes + head;
    return node;
}

/* ---- one shard, its lock held ------------------------------------------------- */

/* Where the stream is, or the empty slot where it would be. */
static size_t shard_find(const struct shard *shard, struct mako_str stream, uint64_t hash)
{
    size_t at = hash & (shard->room - 1);

    for (;; at = (at + 1) & (shard->room - 1)) {
        const struct slot *slot = &shard->slots[at];

        if (!slot->node || (slot->hash == hash && slot->node->stream.len == stream.len &&
                            memcmp(slot->node->stream.ptr, stream.ptr, stream.len) == 0))
            return at;
    }
}

static bool shard_grow(struct shard *shard)
{
    struct shard wider = {.room = shard->room * 2};

    if ((shard->used + 1) * 4 <= shard->room * 3)
        return true;
    wider.slots = calloc(wider.room, sizeof *wider.slots);
    if (!wider.slots)
        return false;
    for (size_t i = 0; i < shard->room; i++) {
        struct slot slot = shard->slots[i];

        if (slot.node)
            wider.slots[shard_find(&wider, slot.node->stream, slot.hash)] = slot;
    }
    free(shard->slots);
    shard->slots = wider.slots;
    shard->room = wider.room;
    return true;
}

/* Empty a slot and move up what probing would no longer find behind the gap (Knuth, The
 * Art of Computer Programming 3, 6.4, algorithm R). */
static void shard_clear(struct shard *shard, size_t at)
{
    size_t mask = shard->room - 1;

    for (size_t next = (at + 1) & mask; shard->slots[next].node;
         next = (next + 1) & mask) {
        size_t home = shard->slots[next].hash & mask;

        if (((next - home) & mask) >= ((next - at) & mask)) {
            shard->slots[at] = shard->slots[next];
            at = next;
        }
    }
    shard->slots[at].node = NULL;
    shard->used--;
}

/* ---- the store ---------------------------------------------------------------- */

static void memory_close(void *store)
{
    struct memory *memory = store;

    for (size_t s = 0; s < SHARDS; s++) {
        struct shard *shard = &memory->shards[s];

        for (size_t i = 0; i < shard->room && shard->slots; i++)
            node_unref(shard->slots[i].node);
        free(shard->slots);
        pthread_mutex_destroy(&shard->lock);
    }
    free(memory);
}

static int memory_open(const struct mako_host *host, const union mako_value *options,
                       struct mako_traits *traits, void **store, struct mako_error *err)
{
    struct memory *memory;
    bool full = false;

    (void)host;
    (void)options;
    if (traits->flags & ~MAKO_OPEN_READ_ONLY)
        return mako_fail(err, MAKO_E_UNSUPPORTED, "unknown open flags 0x%x",
                         (unsigned)traits->flags);
    memory = aligned_alloc(alignof(struct memory), sizeof *memory);
    if (!memory)
        return mako_fail(err, MAKO_E_NOMEM, "no memory");
    memset(memory, 0, sizeof *memory);
    if (getrandom(&memory->seed, sizeof memory->seed, 0) < 0)
        memory->seed = (uintptr_t)memory;
    for (size_t s = 0; s < SHARDS; s++) {
        pthread_mutex_init(&memory->shards[s].lock, NULL);
        memory->shards[s].room = FIRST_ROOM;
        memory->shards[s].slots = calloc(FIRST_ROOM, sizeof(struct slot));
        full |= !memory->shards[s].slots;
    }
    if (full) {
        memory_close(memory);
        return mako_fail(err, MAKO_E_NOMEM, "no memory");
    }
    traits->durability = MAKO_DURABLE_MEMORY;
    *store = memory;
    return MAKO_OK;
}

/* The low bits choose the slot, the high ones the shard. */
static struct shard *shard_of(struct memory *memory, struct mako_str stream,
                              uint64_t *hash)
{
    *hash = XXH3_64bits_withSeed(stream.ptr, stream.len, memory->seed);
    return &memory->shards[*hash >> 58];
}

/* What comes out, replaced, goes to *old.  The lock is held. */
static int put(struct shard *shard, struct node *node, uint64_t hash, bool if_newer,
               struct node **old, struct mako_error *err)
{
    size_t at;

    if (!shard_grow(shard))
        return mako_fail(err, MAKO_E_NOMEM, "no memory");
    at = shard_find(shard, node->stream, hash);
    *old = shard->slots[at].node;
    if (if_newer && *old && (*old)->meta.seq > node->meta.seq) {
        int status = mako_fail(
            err, MAKO_STALE, "stream '%.100s': %llu is kept, %llu came", node->stream.ptr,
            (unsigned long long)(*old)->meta.seq, (unsigned long long)node->meta.seq);

        *old = NULL;
        return status;
    }
    shard->bytes += node->blob_len - (*old ? (*old)->blob_len : 0);
    shard->used += !*old;
    shard->slots[at] = (struct slot){.hash = hash, .node = node};
    return MAKO_OK;
}

static int memory_save(void *store, const struct mako_record *record,
                       struct mako_error *err)
{
    struct node *node, *old = NULL;
    struct shard *shard;
    uint64_t hash;
    int status;

    if (record->flags & 0xffffu & ~MAKO_SAVE_IF_NEWER)
        return mako_fail(err, MAKO_E_UNSUPPORTED, "unknown record flags 0x%x",
                         (unsigned)record->flags);
    shard = shard_of(store, record->stream, &hash);
    node = node_new(record);
    if (!node)
        return mako_fail(err, MAKO_E_NOMEM, "no memory for %zu bytes", record->blob_len);

    pthread_mutex_lock(&shard->lock);
    status = put(shard, node, hash, record->flags & MAKO_SAVE_IF_NEWER, &old, err);
    pthread_mutex_unlock(&shard->lock);
    node_unref(status == MAKO_OK ? old : node);
    return status;
}

static int memory_load(void *store, struct mako_str stream, struct mako_sink *sink,
                       struct mako_error *err)
{
    struct node *node;
    struct shard *shard;
    uint64_t hash;

    (void)err;
    shard = shard_of(store, stream, &hash);
    pthread_mutex_lock(&shard->lock);
    node = shard->slots[shard_find(shard, stream, hash)].node;
    if (node)
        atomic_fetch_add_explicit(&node->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&shard->lock);

    if (!node)
        return MAKO_NOT_FOUND;
    if (sink->lend(sink, &node->meta, node->blob, node->blob_len, node_unref, node) !=
        0) {
        node_unref(node);
        return MAKO_REFUSED;
    }
    return MAKO_OK;
}

static int memory_remove(void *store, struct mako_str stream, struct mako_error *err)
{
    struct node *node;
    struct shard *shard;
    uint64_t hash;
    size_t at;

    (void)err;
    shard = shard_of(store, stream, &hash);
    pthread_mutex_lock(&shard->lock);
    at = shard_find(shard, stream, hash);
    node = shard->slots[at].node;
    if (node) {
        shard->bytes -= node->blob_len;
        shard_clear(shard, at);
    }
    pthread_mutex_unlock(&shard->lock);
    node_unref(node);
    return node ? MAKO_OK : MAKO_NOT_FOUND;
}

static bool has_prefix(const struct node *node, struct mako_str prefix)
{
    return node->stream.len >= prefix.len &&
           memcmp(node->stream.ptr, prefix.ptr, prefix.len) == 0;
}

/* References to every node with the prefix, so that visiting needs no lock.  NULL: no
 * memory. */
static struct node **shard_list(struct shard *shard, struct mako_str prefix,
                                size_t *count)
{
    struct node **list;

    *count = 0;
    pthread_mutex_lock(&shard->lock);
    list = malloc((shard->used + 1) * sizeof(struct node *));
    for (size_t i = 0; list && i < shard->room; i++) {
        struct node *node = shard->slots[i].node;

        if (node && has_prefix(node, prefix)) {
            atomic_fetch_add_explicit(&node->refs, 1, memory_order_relaxed);
            list[(*count)++] = node;
        }
    }
    pthread_mutex_unlock(&shard->lock);
    return list;
}

static int memory_scan(void *store, struct mako_str prefix, struct mako_visitor *visitor,
                       struct mako_error *err)
{
    struct memory *memory = store;
    bool stop = false;

    for (size_t s = 0; s < SHARDS && !stop; s++) {
        size_t count;
        struct node **list = shard_list(&memory->shards[s], prefix, &count);

        if (!list)
            return mako_fail(err, MAKO_E_NOMEM, "no memory");
        for (size_t i = 0; i < count; i++) {
            stop = stop || visitor->entry(visitor, list[i]->stream, &list[i]->meta,
                                          list[i]->blob_len) != 0;
            node_unref(list[i]);
        }
        free(list);
    }
    return MAKO_OK;
}

static int memory_stats(void *store, struct mako_counters *counters,
                        struct mako_error *err)
{
    struct memory *memory = store;
    uint64_t streams = 0, bytes = 0;

    (void)err;
    for (size_t s = 0; s < SHARDS; s++) {
        struct shard *shard = &memory->shards[s];

        pthread_mutex_lock(&shard->lock);
        streams += shard->used;
        bytes += shard->bytes;
        pthread_mutex_unlock(&shard->lock);
    }
    counters->add(counters, "streams", streams);
    counters->add(counters, "bytes", bytes);
    return MAKO_OK;
}

static const struct mako_store_plugin memory = {
    MAKO_STORE_PLUGIN_HEAD,
    .name = "memory",
    .version = "0.1.0",
    .summary = "a map in this process; gone when it ends",
    .durability = MAKO_DURABLE_MEMORY,
    .threads = MAKO_THREADS_PARALLEL,
    .features = MAKO_FEATURE_EARLY_META | MAKO_FEATURE_IF_NEWER,
    .open = memory_open,
    .close = memory_close,
    .save = memory_save,
    .load = memory_load,
    .remove = memory_remove,
    .scan = memory_scan,
    .stats = memory_stats,
};

MAKO_EXPORT_STORE_PLUGIN(memory)

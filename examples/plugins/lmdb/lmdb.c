/* lmdb - snapshots in an ordered map that is mapped into memory, by LMDB.
 *
 * One writer at a time, in all processes together; any number of readers, who never wait.
 * A load copies from the map straight into the host's room.  It does not lend: a lent
 * snapshot would hold its transaction open for as long as the program likes, and LMDB
 * uses no page again that an open transaction might read: the file would only grow.
 *
 * This file is the plugin as the host sees it.  How a snapshot lies in the map is the
 * business of record.c; files, flushes and the map's size are that of env.c. */
#include <mako/store_plugin.h>

#include <stdlib.h>
#include <string.h>

#include "env.h"
#include "record.h"

/* A batch is one transaction, unless it is larger than this: LMDB keeps the pages that a
 * transaction changes in memory, and only so many. */
#define BATCH_BYTES (64u << 20)

struct store {
    struct env *env;
    const char *dir; /* the option's value, which outlives the store */
    bool read_only;
};

enum {
    OPTION_DIR,
    OPTION_MAP_SIZE,
    OPTION_MAX_SIZE,
    OPTION_READERS,
    OPTION_CRASH_FLUSH
};

static const struct mako_option options[] = {
    [OPTION_DIR] = {.name = "dir",
                    .help = "directory of the environment; made where only its last part "
                            "is missing",
                    .type = MAKO_OPT_PATH,
                    .flags = MAKO_OPT_REQUIRED},
    [OPTION_MAP_SIZE] = {.name = "map_size",
                         .help = "address space to begin with; doubled whenever the map "
                                 "is full",
                         .fallback = "256MiB",
                         .type = MAKO_OPT_SIZE,
                         .min = 1048576,
                         .max = 70368744177664},
    [OPTION_MAX_SIZE] = {.name = "max_size",
                         .help = "what the map may grow to; saves then fail",
                         .fallback = "64GiB",
                         .type = MAKO_OPT_SIZE,
                         .min = 1048576,
                         .max = 70368744177664},
    [OPTION_READERS] = {.name = "readers",
                        .help = "loads that may run at one time, in all processes; who "
                                "opens it first decides",
                        .fallback = "126",
                        .type = MAKO_OPT_INT,
                        .min = 1,
                        .max = 65536},
    [OPTION_CRASH_FLUSH] = {.name = "crash_flush",
                            .help = "asked for crash durability: 'data' keeps the map "
                                    "sound after a power cut, 'none' is faster",
                            .fallback = "data",
                            .choices = "data|none",
                            .type = MAKO_OPT_STRING},
    {.name = NULL},
};

/* ---- opening ---------------------------------------------------------------------- */

/* As lmdb.h has it: with MDB_NOMETASYNC a power cut may undo the last transaction, with
 * MDB_NOSYNC it may damage the map, unless the file system keeps the order of writes. */
static enum env_flush flush_for(uint32_t durability, const char *crash_flush)
{
    if (durability >= MAKO_DURABLE_POWER)
        return ENV_FLUSH_ALL;
    return strcmp(crash_flush, "none") == 0 ? ENV_FLUSH_NONE : ENV_FLUSH_DATA;
}

static int lmdb_open(const struct mako_host *host, const union mako_value *values,
                     struct mako_traits *traits, void **handle, struct mako_error *err)
{
    struct env_setup setup = {
        .dir = values[OPTION_DIR].str,
        .read_only = (traits->flags & MAKO_OPEN_READ_ONLY) != 0,
        .flush = flush_for(traits->durability, values[OPTION_CRASH_FLUSH].str),
        .map_size = (uint64_t)values[OPTION_MAP_SIZE].num,
        .max_size = (uint64_t)values[OPTION_MAX_SIZE].num,
        .readers = (unsigned)values[OPTION_READERS].num};
    struct store *store;
    int status;

    (void)host;
    if (traits->flags & ~MAKO_OPEN_READ_ONLY)
        return mako_fail(err, MAKO_E_UNSUPPORTED, "%s: unknown open flags 0x%x",
                         setup.dir, (unsigned)traits->flags);
    store = malloc(sizeof *store);
    if (!store)
        return mako_fail(err, MAKO_E_NOMEM, "%s: no memory", setup.dir);
    *store = (struct store){.dir = setup.dir, .read_only = setup.read_only};
    status = env_get(&setup, &store->env, err);
    if (status != MAKO_OK) {
        free(store);
        return status;
    }
    traits->durability =
        setup.flush == ENV_FLUSH_ALL ? MAKO_DURABLE_POWER : MAKO_DURABLE_CRASH;
    *handle = store;
    return MAKO_OK;
}

static void lmdb_close(void *handle)
{
    struct store *store = handle;

    env_put(store->env);
    free(store);
}

/* ---- saving ----------------------------------------------------------------------- */

static int check_writable(const struct store *store, struct mako_error *err)
{
    if (!store->read_only)
        return MAKO_OK;
    return mako_fail(err, MAKO_E_UNSUPPORTED, "%s: is open for reading only", store->dir);
}

static int check_record(const struct mako_record *record, struct mako_error *err)
{
    if (record->flags & 0xffffu & ~MAKO_SAVE_IF_NEWER)
        return mako_fail(err, MAKO_E_UNSUPPORTED, "unknown record flags 0x%x",
                         (unsigned)record->flags);
    if (!record_fits(record))
        return mako_fail(err, MAKO_E_LIMIT, "%zu bytes, LMDB keeps less than 4 GiB",
                         record->blob_len);
    return MAKO_OK;
}

/* The stored sequence cannot change between look and save: there is one writer. */
static int save_one(MDB_txn *txn, MDB_dbi dbi, const struct mako_record *record,
                    int *status)
{
    struct record_key key;
    struct record found;
    int code = record_find(txn, dbi, record->stream, &key, &found);

    if (code != 0 && code != MDB_NOTFOUND)
        return code;
    if (code == 0 && (record->flags & MAKO_SAVE_IF_NEWER) && !found.damaged &&
        found.meta.seq > record->meta.seq) {
        *status = MAKO_STALE;
        return 0;
    }
    *status = MAKO_OK;
    return record_put(txn, dbi, &key, record);
}

/* Those whose status is MAKO_OK or, from an attempt that was undone, MAKO_STALE. */
struct saves {
    const struct mako_record *records;
    size_t count;
    int *statuses;
};

static int save_all(MDB_txn *txn, MDB_dbi dbi, void *arg)
{
    const struct saves *saves = arg;
    int code = 0;

    for (size_t i = 0; i < saves->count && code == 0; i++)
        if (saves->statuses[i] >= MAKO_OK)
            code = save_one(txn, dbi, &saves->records[i], &saves->statuses[i]);
    return code;
}

static int lmdb_save(void *handle, const struct mako_record *record,
                     struct mako_error *err)
{
    struct store *store = handle;
    int outcome = MAKO_OK, status = check_writable(store, err);

    if (status == MAKO_OK)
        status = check_record(record, err);
    if (status == MAKO_OK)
        status =
            env_write(store->env, save_all, &(struct saves){record, 1, &outcome}, err);
    return status == MAKO_OK ? outcome : status;
}

/* How many of them go into one transaction. */
static size_t batch_length(const struct mako_record *records, size_t count)
{
    size_t n = 1, bytes = records[0].blob_len;

    while (n < count && bytes + records[n].blob_len <= BATCH_BYTES)
        bytes += records[n++].blob_len;
    return n;
}

static int lmdb_save_many(void *handle, const struct mako_record *records, size_t count,
                          int *statuses, struct mako_error *err)
{
    struct store *store = handle;
    /* cppcheck-suppress unusedVariable ; other is where first points later */
    struct mako_error other, *first = err;
    int status = check_writable(store, err);
    size_t n;

    for (size_t i = 0; i < count && status == MAKO_OK; i++) {
        statuses[i] = check_record(&records[i], first);
        if (statuses[i] != MAKO_OK)
            first = &other; /* err tells the first failure */
    }
    for (size_t i = 0; i < count && status == MAKO_OK; i += n) {
        n = batch_length(records + i, count - i);
        status = env_write(store->env, save_all,
                           &(struct saves){records + i, n, statuses + i}, err);
    }
    return status;
}

/* ---- loading ---------------------------------------------------------------------- */

struct loads {
    const struct mako_str *streams;
    struct mako_sink *const *sinks;
    size_t count;
    int *statuses;
};

/* The sink decides by the head, before any page of the blob is touched.  What is damaged
 * is replaced by the next save. */
static int load_one(MDB_txn *txn, MDB_dbi dbi, struct mako_str stream,
                    struct mako_sink *sink, int *status)
{
    struct record_key key;
    struct record found;
    int code = record_find(txn, dbi, stream, &key, &found);
    void *room;

    if (code == MDB_NOTFOUND || (code == 0 && found.damaged)) {
        *status = code == 0 ? MAKO_DAMAGED : MAKO_NOT_FOUND;
        return 0;
    }
    if (code != 0)
        return code;
    room = sink->accept(sink, &found.meta, found.blob_len);
    *status = room ? MAKO_OK : MAKO_REFUSED;
    if (room)
        memcpy(room, found.blob, found.blob_len);
    return 0;
}

static int load_all(MDB_txn *txn, MDB_dbi dbi, void *arg)
{
    const struct loads *loads = arg;
    int code = 0;

    for (size_t i = 0; i < loads->count && code == 0; i++)
        code =
            load_one(txn, dbi, loads->streams[i], loads->sinks[i], &loads->statuses[i]);
    return code;
}

static int lmdb_load_many(void *handle, const struct mako_str *streams,
                          struct mako_sink *const *sinks, size_t count, int *statuses,
                          struct mako_error *err)
{
    struct store *store = handle;

    return env_read(store->env, load_all,
                    &(struct loads){streams, sinks, count, statuses}, err);
}

static int lmdb_load(void *handle, struct mako_str stream, struct mako_sink *sink,
                     struct mako_error *err)
{
    int outcome = MAKO_OK,
        status = lmdb_load_many(handle, &stream, &sink, 1, &outcome, err);

    return status == MAKO_OK ? outcome : status;
}

/* ---- removing --------------------------------------------------------------------- */

struct removal {
    struct mako_str stream;
    int status;
};

static int remove_one(MDB_txn *txn, MDB_dbi dbi, void *arg)
{
    struct removal *removal = arg;
    struct record_key key;
    struct record found;
    int code = record_find(txn, dbi, removal->stream, &key, &found);

    removal->status = code == 0 ? MAKO_OK : MAKO_NOT_FOUND;
    if (code == 0)
        code = record_remove(txn, dbi, &key);
    return code == MDB_NOTFOUND ? 0 : code;
}

static int lmdb_remove(void *handle, struct mako_str stream, struct mako_error *err)
{
    struct store *store = handle;
    struct removal removal = {.stream = stream};
    int status = check_writable(store, err);

    if (status == MAKO_OK)
        status = env_remove(store->env, remove_one, &removal, err);
    return status == MAKO_OK ? removal.status : status;
}

/* ---- looking around --------------------------------------------------------------- */

struct walk {
    struct mako_str prefix;
    struct record_key at;
    char stream[1025]; /* a copy: no transaction is open while the host looks at it */
    size_t len;        /* 0: there are no more */
    struct mako_meta meta;
    uint64_t blob_len;
    bool damaged;
};

static int walk_on(MDB_txn *txn, MDB_dbi dbi, void *arg)
{
    struct walk *walk = arg;
    struct record found;
    int code = record_next(txn, dbi, walk->prefix, &walk->at, &found);

    walk->len = 0;
    if (code != 0)
        return code == MDB_NOTFOUND ? 0 : code;
    if (found.stream.len >= sizeof walk->stream)
        return MDB_CORRUPTED;
    memcpy(walk->stream, found.stream.ptr, found.stream.len);
    walk->stream[found.stream.len] = '\0';
    walk->len = found.stream.len;
    walk->meta = found.meta;
    walk->blob_len = found.blob_len;
    walk->damaged = found.damaged;
    return 0;
}

/* A transaction for each step: the visitor may take its time, or save. */
static int lmdb_scan(void *handle, struct mako_str prefix, struct mako_visitor *visitor,
                     struct mako_error *err)
{
    struct store *store = handle;
    struct walk walk = {.prefix = prefix};
    struct mako_str stream = {.ptr = walk.stream};
    int status;

    record_first(prefix, &walk.at);
    do {
        status = env_read(store->env, walk_on, &walk, err);
        stream.len = walk.len;
    } while (status == MAKO_OK && walk.len > 0 &&
             visitor->entry(visitor, stream, walk.damaged ? NULL : &walk.meta,
                            walk.blob_len) == 0);
    return status;
}

static int lmdb_stats(void *handle, struct mako_counters *counters,
                      struct mako_error *err)
{
    struct store *store = handle;
    struct env_figures figures;
    int status = env_stat(store->env, &figures, err);

    if (status != MAKO_OK)
        return status;
    counters->add(counters, "streams", figures.streams);
    counters->add(counters, "bytes", figures.bytes);
    counters->add(counters, "bytes_used", figures.bytes_used);
    counters->add(counters, "map_bytes", figures.map_bytes);
    counters->add(counters, "readers", figures.readers);
    return MAKO_OK;
}

/* No compact: LMDB leaves old bytes in free pages, and nothing may rewrite the file while
 * other processes have it mapped.  README.md says what to do instead. */
static const struct mako_store_plugin lmdb = {
    MAKO_STORE_PLUGIN_HEAD,
    .name = "lmdb",
    .version = "1",
    .summary = "an ordered map, mapped into memory",
    .durability = MAKO_DURABLE_POWER,
    .threads = MAKO_THREADS_PARALLEL,
    .features = MAKO_FEATURE_EARLY_META | MAKO_FEATURE_SHARED | MAKO_FEATURE_IF_NEWER,
    .options = options,
    .open = lmdb_open,
    .close = lmdb_close,
    .save = lmdb_save,
    .load = lmdb_load,
    .remove = lmdb_remove,
    .scan = lmdb_scan,
    .save_many = lmdb_save_many,
    .load_many = lmdb_load_many,
    .stats = lmdb_stats,
};

MAKO_EXPORT_STORE_PLUGIN(lmdb)

/* plugins/file/file.c - the file store: snapshots in an append-only log of segments
 * under one directory, an index in memory.
 *
 * This file is the plugin as the host sees it: options, opening, the operations.  What
 * is stored where is the business of log.c, recovery.c and index.c, the bytes of
 * format.c, the system calls of io.c. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include <mako/store_plugin.h>

#include "io.h"
#include "lock.h"
#include "recovery.h"

struct store {
    const char *path; /* the option's value, which outlives the store */
    int dir;
    bool locked;
    struct lock lock;
    struct segments segments;
    struct index *index;
    struct log *log;
};

enum {
    OPTION_DIR,
    OPTION_SEGMENT_SIZE,
    OPTION_LOCK_WAIT
};

static const struct mako_option options[] = {
    {.name = "dir",
     .help = "directory of the store; made where only its last part is missing",
     .type = MAKO_OPT_PATH,
     .flags = MAKO_OPT_REQUIRED},
    {.name = "segment_size",
     .help = "size at which a file of the log is full and the next one is begun",
     .fallback = "64MiB",
     .type = MAKO_OPT_SIZE,
     .min = 65536,
     .max = 4294967296},
    {.name = "lock_wait",
     .help = "how long opening waits while another process has the directory",
     .fallback = "10s",
     .type = MAKO_OPT_DURATION,
     .min = 0,
     .max = 3600000},
    {.name = NULL},
};

/* ---- opening -------------------------------------------------------------------- */

static void file_close(void *handle)
{
    struct store *store = handle;

    log_free(store->log);
    index_free(store->index);
    segments_done(&store->segments);
    if (store->locked)
        lock_drop(&store->lock);
    io_close(store->dir);
    free(store);
}

static int dir_failed(const char *path, int error, struct mako_error *err)
{
    return mako_fail(err, error == ENOSPC ? MAKO_E_NO_SPACE : MAKO_E_IO, "%s: %s%s", path,
                     strerror(error),
                     error == ENOENT ? " (the directory above it must exist)" : "");
}

/* The directory, made if need be.  Its own entry is flushed also when it was there: an
 * opening that a power cut ended may have made it. */
static int open_dir(struct store *store, bool flush, struct mako_error *err)
{
    int made = io_make_dir(store->path), error;

    if (made != 0 && made != EEXIST)
        return dir_failed(store->path, made, err);
    error = io_open(AT_FDCWD, store->path, O_RDONLY | O_DIRECTORY, &store->dir);
    if (error != 0)
        return dir_failed(store->path, error, err);
    if (flush) {
        error = io_flush_parent(store->path);
        if (error != 0 && !(made == EEXIST && error == EACCES))
            return dir_failed(store->path, error, err);
    }
    return MAKO_OK;
}

static int start(struct store *store, const struct mako_host *host, uint64_t segment_size,
                 bool flush, struct mako_error *err)
{
    struct recovery_setup recovery = {.host = host,
                                      .segments = &store->segments,
                                      .index = store->index,
                                      .flush = flush};
    struct log_setup log = {.segments = &store->segments,
                            .index = store->index,
                            .segment_size = segment_size,
                            .flush = flush};
    int status = recover(&recovery, &log.start, err);

    if (status != MAKO_OK)
        return status;
    store->log = log_new(&log);
    return store->log != NULL
               ? MAKO_OK
               : mako_fail(err, MAKO_E_NOMEM, "%s: no memory", store->path);
}

static int open_all(struct store *store, const struct mako_host *host,
                    const union mako_value *values, bool flush, struct mako_error *err)
{
    int status = open_dir(store, flush, err);

    if (status != MAKO_OK)
        return status;
    store->segments.dir = store->dir;
    status = lock_take(&store->lock, store->dir, store->path,
                       values[OPTION_LOCK_WAIT].num, err);
    if (status != MAKO_OK)
        return status;
    store->locked = true;
    return start(store, host, (uint64_t)values[OPTION_SEGMENT_SIZE].num, flush, err);
}

static int file_open(const struct mako_host *host, const union mako_value *values,
                     struct mako_traits *traits, void **handle, struct mako_error *err)
{
    bool flush = traits->durability >= MAKO_DURABLE_POWER;
    struct store *store;
    int status;

    if (traits->flags != 0)
        return mako_fail(err, MAKO_E_UNSUPPORTED, "%s: cannot be opened with flags %#x",
                         values[OPTION_DIR].str, traits->flags);
    store = calloc(1, sizeof *store);
    if (store == NULL)
        return mako_fail(err, MAKO_E_NOMEM, "%s: no memory", values[OPTION_DIR].str);
    store->path = values[OPTION_DIR].str;
    store->dir = -1;
    segments_init(&store->segments, -1, store->path);
    store->index = index_new();
    status = store->index == NULL
                 ? mako_fail(err, MAKO_E_NOMEM, "%s: no memory", store->path)
                 : open_all(store, host, values, flush, err);
    if (status != MAKO_OK) {
        file_close(store);
        return status;
    }
    traits->durability = flush ? MAKO_DURABLE_POWER : MAKO_DURABLE_CRASH;
    *handle = store;
    return MAKO_OK;
}

/* ---- saving --------------------------------------------------------------------- */

static int check_record(const struct mako_record *record, struct mako_error *err)
{
    if ((record->flags & 0xffffu & ~MAKO_SAVE_IF_NEWER) != 0)
        return mako_fail(err, MAKO_E_UNSUPPORTED, "unknown flags %#x", record->flags);
    if (record->stream.len == 0 || record->stream.len > FORMAT_STREAM)
        return mako_fail(err, MAKO_E_LIMIT, "a stream id of %zu bytes",
                         record->stream.len);
    if (record->blob_len > FORMAT_BLOB_MAX)
        return mako_fail(err, MAKO_E_LIMIT, "%zu bytes, at most %u can be kept",
                         record->blob_len, FORMAT_BLOB_MAX);
    return MAKO_OK;
}

static struct log_op save_op(const struct mako_record *record, struct mako_error *err)
{
    return (struct log_op){.type = FORMAT_SAVE,
                           .if_newer = (record->flags & MAKO_SAVE_IF_NEWER) != 0,
                           .stream = record->stream,
                           .hash = format_hash(record->stream.ptr, record->stream.len),
                           .meta = record->meta,
                           .blob = record->blob,
                           .blob_len = record->blob_len,
                           .err = err};
}

static int file_save(void *handle, const struct mako_record *record,
                     struct mako_error *err)
{
    struct store *store = handle;
    int status = check_record(record, err);
    struct log_op op;

    if (status != MAKO_OK)
        return status;
    op = save_op(record, err);
    log_apply(store->log, &op, 1);
    return op.status;
}

/* One call's operations, and room for the text of each. */
struct bundle {
    struct log_op *ops;
    struct mako_error *errors;
};

static bool bundle_make(struct bundle *bundle, size_t count)
{
    bundle->ops = calloc(count + 1, sizeof *bundle->ops);
    bundle->errors = calloc(count + 1, sizeof *bundle->errors);
    return bundle->ops != NULL && bundle->errors != NULL;
}

static void bundle_free(struct bundle *bundle)
{
    free(bundle->ops);
    free(bundle->errors);
}

static int file_save_many(void *handle, const struct mako_record *records, size_t count,
                          int *statuses, struct mako_error *err)
{
    struct store *store = handle;
    struct bundle bundle;
    const struct mako_error *first = NULL;
    size_t valid = 0;

    if (!bundle_make(&bundle, count)) {
        bundle_free(&bundle);
        return mako_fail(err, MAKO_E_NOMEM, "%s: no memory", store->path);
    }
    for (size_t i = 0; i < count; i++) {
        statuses[i] = check_record(&records[i], &bundle.errors[i]);
        if (statuses[i] == MAKO_OK)
            bundle.ops[valid++] = save_op(&records[i], &bundle.errors[i]);
    }
    log_apply(store->log, bundle.ops, valid);
    for (size_t i = 0, op = 0; i < count; i++) {
        if (statuses[i] == MAKO_OK)
            statuses[i] = bundle.ops[op++].status;
        if (statuses[i] < 0 && first == NULL)
            first = &bundle.errors[i];
    }
    if (first != NULL)
        *err = *first;
    bundle_free(&bundle);
    return MAKO_OK;
}

static int file_remove(void *handle, struct mako_str stream, struct mako_error *err)
{
    struct store *store = handle;
    struct log_op op = {.type = FORMAT_REMOVAL,
                        .stream = stream,
                        .hash = format_hash(stream.ptr, stream.len),
                        .err = err};

    if (stream.len > FORMAT_STREAM)
        return MAKO_NOT_FOUND;
    log_apply(store->log, &op, 1);
    return op.status;
}

/* ---- loading -------------------------------------------------------------------- */

static int place_failed(const struct store *store, const struct place *place, int status,
                        const char *why, struct mako_error *err)
{
    char name[SEGMENT_NAME];

    segment_name(place->segment->header.number, name);
    return mako_fail(err, status, "%s/%s: the record at offset %llu: %s", store->path,
                     name, (unsigned long long)place->offset, why);
}

static int read_blob(const struct store *store, const struct place *place, int fd,
                     struct mako_sink *sink, struct mako_error *err)
{
    void *room = sink->accept(sink, &place->meta, place->blob_len);
    size_t got = 0;
    int error;

    if (room == NULL)
        return MAKO_REFUSED;
    error = io_read(fd, room, place->blob_len,
                    place->offset + format_head_size(place->stream_len), &got);
    if (error != 0)
        return place_failed(store, place, MAKO_E_IO, strerror(error), err);
    if (got != place->blob_len)
        return place_failed(store, place, MAKO_DAMAGED, "the file ends within it", err);
    return MAKO_OK;
}

/* The payload's own checksum is not looked at here: the host checks every byte of what
 * it made, and recovery has checked what was there before. */
static int file_load(void *handle, struct mako_str stream, struct mako_sink *sink,
                     struct mako_error *err)
{
    struct store *store = handle;
    struct place place;
    int fd, error, status;

    if (!index_find(store->index, stream, format_hash(stream.ptr, stream.len), &place))
        return MAKO_NOT_FOUND;
    if (place.damaged)
        return place_failed(store, &place, MAKO_DAMAGED, "its checksum does not match",
                            err);
    error = segment_pin(&store->segments, place.segment, &fd);
    if (error != 0)
        return place_failed(store, &place, MAKO_E_IO, strerror(error), err);
    status = read_blob(store, &place, fd, sink, err);
    segment_unpin(place.segment);
    return status;
}

static int visit(void *arg, struct mako_str stream, const struct mako_meta *meta,
                 uint64_t blob_len)
{
    struct mako_visitor *visitor = arg;

    /* Sequence 0: the record that told is lost. */
    return visitor->entry(visitor, stream, meta->seq != 0 ? meta : NULL, blob_len);
}

static int file_scan(void *handle, struct mako_str prefix, struct mako_visitor *visitor,
                     struct mako_error *err)
{
    struct store *store = handle;

    if (!index_scan(store->index, prefix, visit, visitor))
        return mako_fail(err, MAKO_E_NOMEM, "%s: no memory", store->path);
    return MAKO_OK;
}

static int file_stats(void *handle, struct mako_counters *counters,
                      struct mako_error *err)
{
    struct store *store = handle;
    uint64_t streams, damaged, length, live, flushes, records;

    (void)err;
    index_count(store->index, &streams, &damaged);
    segments_sum(&store->segments, &length, &live);
    log_count(store->log, &flushes, &records);
    counters->add(counters, "streams", streams);
    counters->add(counters, "damaged", damaged);
    counters->add(counters, "segments", segments_count(&store->segments));
    counters->add(counters, "bytes", length);
    counters->add(counters, "bytes_live", live);
    counters->add(counters, "flushes", flushes);
    counters->add(counters, "records", records);
    return MAKO_OK;
}

static const struct mako_store_plugin file = {
    MAKO_STORE_PLUGIN_HEAD,
    .name = "file",
    .version = "0.1.0",
    .summary = "keeps snapshots in an append-only log under one directory",
    .durability = MAKO_DURABLE_POWER,
    .threads = MAKO_THREADS_PARALLEL,
    .features = MAKO_FEATURE_EARLY_META | MAKO_FEATURE_IF_NEWER,
    .options = options,
    .open = file_open,
    .close = file_close,
    .save = file_save,
    .load = file_load,
    .remove = file_remove,
    .scan = file_scan,
    .save_many = file_save_many,
    .stats = file_stats,
};
MAKO_EXPORT_STORE_PLUGIN(file)

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
#include <time.h>

#include <mako/store_plugin.h>

#include "compact.h"
#include "io.h"
#include "lock.h"
#include "recovery.h"

#define VANISHED_TRIES 100 /* of those who only read, while others compact */
#define LOOKS_MAX      500 /* likewise, until all files that are named are there */

/* What the directory holds.  Those who only read begin a new one when files vanish. */
struct view {
    struct segments segments;
    struct index *index;
    struct recovery_looks looks; /* that found it, in a store that is only read */
    size_t users;                /* the store, and calls under way */
};

struct store {
    const struct mako_host *host;
    const char *path; /* the option's value, which outlives the store */
    int dir;
    bool locked, read_only, map;
    struct lock lock;
    pthread_mutex_t view_lock; /* of the pointer, and of users */
    struct view *view;
    struct log *log;             /* NULL: read_only */
    struct compactor *compactor; /* likewise */
};

enum {
    OPTION_DIR,
    OPTION_SEGMENT_SIZE,
    OPTION_LOCK_WAIT,
    OPTION_DEAD_SPACE,
    OPTION_ERASE_WITHIN,
    OPTION_COMPACT_RATE,
    OPTION_MAP
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
    {.name = "dead_space",
     .help = "percentage of the log that replaced and removed snapshots may take before "
             "it is compacted; 100: no limit",
     .fallback = "40",
     .type = MAKO_OPT_INT,
     .min = 5,
     .max = 100},
    {.name = "erase_within",
     .help = "how long after its removal or replacement a snapshot may stay on the disk; "
             "0: no limit",
     .fallback = "0",
     .type = MAKO_OPT_DURATION,
     .min = 0,
     .max = 315360000000},
    {.name = "compact_rate",
     .help = "bytes a second that compaction writes while it keeps up; 0: no limit",
     .fallback = "32MiB",
     .type = MAKO_OPT_SIZE,
     .min = 0,
     .max = 1099511627776},
    {.name = "map",
     .help = "lend snapshots from mapped files instead of reading them; a file that is "
             "cut short or cannot be read then kills the process",
     .fallback = "false",
     .type = MAKO_OPT_BOOL},
    {.name = NULL},
};

/* ---- views ----------------------------------------------------------------------- */

static struct view *view_new(const struct store *store)
{
    struct view *view = calloc(1, sizeof *view);

    if (view == NULL)
        return NULL;
    segments_init(&view->segments, store->dir, store->path);
    view->users = 1;
    view->index = index_new();
    if (view->index == NULL) {
        segments_done(&view->segments);
        free(view);
        return NULL;
    }
    return view;
}

static struct view *view_hold(struct store *store)
{
    struct view *view;

    (void)pthread_mutex_lock(&store->view_lock);
    view = store->view;
    view->users++;
    (void)pthread_mutex_unlock(&store->view_lock);
    return view;
}

/* NULL is fine. */
static void view_release(struct store *store, struct view *view)
{
    bool last;

    if (view == NULL)
        return;
    (void)pthread_mutex_lock(&store->view_lock);
    last = --view->users == 0;
    (void)pthread_mutex_unlock(&store->view_lock);
    if (!last)
        return;
    index_free(view->index);
    segments_done(&view->segments);
    free(view);
}

/* view takes the place of that before. */
static void view_change(struct store *store, struct view *view)
{
    struct view *before;

    (void)pthread_mutex_lock(&store->view_lock);
    before = store->view;
    store->view = view;
    (void)pthread_mutex_unlock(&store->view_lock);
    view_release(store, before);
}

/* ---- opening -------------------------------------------------------------------- */

/* In this order: nothing compacts, then nothing is written any more, then what is sealed
 * gets its index files. */
static void file_close(void *handle)
{
    struct store *store = handle;

    if (store->compactor != NULL)
        compactor_stop(store->compactor);
    log_free(store->log);
    if (store->log != NULL)
        compactor_finish(store->compactor);
    compactor_free(store->compactor);
    view_release(store, store->view);
    if (store->locked)
        lock_drop(&store->lock);
    io_close(store->dir);
    (void)pthread_mutex_destroy(&store->view_lock);
    free(store);
}

static int dir_failed(const char *path, int error, struct mako_error *err)
{
    return mako_fail(err, io_status(error), "%s: %s%s", path, strerror(error),
                     error == ENOENT ? " (the directory above it must exist)" : "");
}

static int no_memory(const struct store *store, struct mako_error *err)
{
    return mako_fail(err, MAKO_E_NOMEM, "%s: no memory", store->path);
}

/* Of those who only read: a directory that was never made is an empty store. */
static int find_nothing(struct store *store, struct mako_error *err)
{
    int fd, error = io_open_parent(store->path, &fd);

    if (error != 0)
        return dir_failed(store->path, error, err);
    io_close(fd);
    store->view = view_new(store);
    return store->view != NULL ? MAKO_OK : no_memory(store, err);
}

/* The directory, made if need be.  Its own entry is flushed also when it was there: an
 * opening that a power cut ended may have made it. */
static int open_dir(struct store *store, bool flush, struct mako_error *err)
{
    int made = store->read_only ? EEXIST : io_make_dir(store->path), error;

    if (made != 0 && made != EEXIST && made != EROFS)
        return dir_failed(store->path, made, err);
    error = io_open(AT_FDCWD, store->path, O_RDONLY | O_DIRECTORY, &store->dir);
    if (error == ENOENT && store->read_only)
        return find_nothing(store, err);
    if (error == ENOENT && made == EROFS)
        error = made;
    if (error != 0)
        return dir_failed(store->path, error, err);
    if (flush && !store->read_only) {
        error = io_flush_parent(store->path);
        if (error != 0 && !(made == EEXIST && error == EACCES))
            return dir_failed(store->path, error, err);
    }
    return MAKO_OK;
}

/* Read what is there, into a new view.  looks: of those who only read. */
static int read_store(struct store *store, bool flush, struct recovery_looks *looks,
                      struct log_start *start, struct mako_error *err)
{
    struct view *view = view_new(store);
    struct recovery_setup setup = {
        .host = store->host, .flush = flush, .read_only = looks != NULL, .looks = looks};
    int status;

    if (view == NULL)
        return no_memory(store, err);
    setup.segments = &view->segments;
    setup.index = view->index;
    status = recover(&setup, start, err);
    if (status != MAKO_OK || (looks != NULL && !looks->settled)) {
        view_release(store, view);
        return status;
    }
    if (looks != NULL)
        view->looks = *looks;
    view_change(store, view);
    return MAKO_OK;
}

/* For those who only read: files come and go while they look.  looks: what those at
 * another time have found. */
static int read_again(struct store *store, struct recovery_looks looks,
                      struct mako_error *err)
{
    struct timespec pause = {.tv_nsec = 2000000};
    struct log_start start;
    int status = MAKO_OK;

    looks.settled = false;
    for (int i = 0; status == MAKO_OK && !looks.settled && i < LOOKS_MAX; i++) {
        if (i > 0)
            (void)nanosleep(&pause, NULL);
        status = read_store(store, false, &looks, &start, err);
    }
    if (status == MAKO_OK && !looks.settled)
        status =
            mako_fail(err, MAKO_E_UNAVAILABLE,
                      "%s: files vanish while they are looked for, %d times in a row",
                      store->path, LOOKS_MAX);
    return status;
}

/* That the stream has lost a record is known by an older one, which compaction may drop:
 * write it down.  Where that fails it stays as it is. */
static int note_lost(void *arg, struct mako_str stream, const struct place *place)
{
    const struct store *store = arg;
    struct mako_error err;
    struct log_op op = {.type = FORMAT_DAMAGED,
                        .stream = stream,
                        .hash = format_hash(stream.ptr, stream.len),
                        .meta = place->meta,
                        .err = &err};

    if (place->unnamed)
        log_apply(store->log, &op, 1);
    return 0;
}

static int start_log(struct store *store, const union mako_value *values, bool flush,
                     struct mako_error *err)
{
    struct log_setup log = {.segment_size = (uint64_t)values[OPTION_SEGMENT_SIZE].num,
                            .flush = flush,
                            .notify = compactor_notify};
    struct compact_setup compact = {.host = store->host,
                                    .segment_size = log.segment_size,
                                    .flush = flush,
                                    .dead_percent = values[OPTION_DEAD_SPACE].num,
                                    .erase_ms = values[OPTION_ERASE_WITHIN].num,
                                    .rate = values[OPTION_COMPACT_RATE].num};
    int error, status = read_store(store, flush, NULL, &log.start, err);

    if (status != MAKO_OK)
        return status;
    store->compactor = compactor_new();
    log.index = compact.index = store->view->index;
    log.segments = compact.segments = &store->view->segments;
    log.notify_arg = store->compactor;
    store->log = store->compactor != NULL ? log_new(&log) : NULL;
    if (store->log == NULL)
        return no_memory(store, err);
    if (log.start.unnamed)
        (void)index_scan(log.index, (struct mako_str){.ptr = "", .len = 0}, note_lost,
                         store);
    compact.log = store->log;
    error = compactor_start(store->compactor, &compact);
    return error == 0 ? MAKO_OK
                      : mako_fail(err, MAKO_E_NOMEM, "%s: a thread for compaction: %s",
                                  store->path, strerror(error));
}

static int open_all(struct store *store, const union mako_value *values, bool flush,
                    struct mako_error *err)
{
    int status = open_dir(store, flush, err);

    if (status != MAKO_OK)
        return status;
    if (store->read_only)
        return store->view != NULL
                   ? MAKO_OK
                   : read_again(store, (struct recovery_looks){.same = 0}, err);
    status = lock_take(&store->lock, store->dir, store->path,
                       values[OPTION_LOCK_WAIT].num, err);
    if (status != MAKO_OK)
        return status;
    store->locked = true;
    return start_log(store, values, flush, err);
}

static int file_open(const struct mako_host *host, const union mako_value *values,
                     struct mako_traits *traits, void **handle, struct mako_error *err)
{
    bool flush = traits->durability >= MAKO_DURABLE_POWER;
    struct store *store;
    int status;

    if ((traits->flags & ~MAKO_OPEN_READ_ONLY) != 0)
        return mako_fail(err, MAKO_E_UNSUPPORTED, "%s: cannot be opened with flags %#x",
                         values[OPTION_DIR].str, traits->flags);
    store = calloc(1, sizeof *store);
    if (store == NULL)
        return mako_fail(err, MAKO_E_NOMEM, "%s: no memory", values[OPTION_DIR].str);
    store->host = host;
    store->path = values[OPTION_DIR].str;
    store->dir = -1;
    store->read_only = (traits->flags & MAKO_OPEN_READ_ONLY) != 0;
    store->map = values[OPTION_MAP].num != 0 && !store->read_only;
    (void)pthread_mutex_init(&store->view_lock, NULL);
    status = open_all(store, values, flush, err);
    if (status != MAKO_OK) {
        file_close(store);
        return status;
    }
    traits->durability = flush ? MAKO_DURABLE_POWER : MAKO_DURABLE_CRASH;
    *handle = store;
    return MAKO_OK;
}

/* ---- saving --------------------------------------------------------------------- */

static int check_writable(const struct store *store, struct mako_error *err)
{
    if (!store->read_only)
        return MAKO_OK;
    return mako_fail(err, MAKO_E_UNSUPPORTED, "%s: is open for reading only",
                     store->path);
}

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
    int status = check_writable(store, err);
    struct log_op op;

    if (status == MAKO_OK)
        status = check_record(record, err);
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
    int status = check_writable(store, err);

    if (status != MAKO_OK)
        return status;
    if (!bundle_make(&bundle, count)) {
        bundle_free(&bundle);
        return no_memory(store, err);
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
    int status = check_writable(store, err);

    if (status != MAKO_OK)
        return status;
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

    segment_name(&place->segment->header, name);
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
        return place_failed(store, place, io_status(error), strerror(error), err);
    if (got != place->blob_len)
        return place_failed(store, place, MAKO_DAMAGED, "the file ends within it", err);
    return MAKO_OK;
}

static void release_lent(void *cookie)
{
    segment_release(cookie);
}

/* Lend what the mapping of a sealed segment shows.  False: it is not mapped. */
static bool lend_blob(const struct store *store, const struct place *place,
                      struct mako_sink *sink, int *status)
{
    uint64_t from = place->offset + format_head_size(place->stream_len);
    const unsigned char *map = NULL;

    if (store->map && atomic_load(&place->segment->sealed))
        map = segment_map(place->segment);
    if (map == NULL || from + place->blob_len > place->segment->map_len)
        return false;
    segment_hold(place->segment);
    *status = MAKO_OK;
    if (sink->lend(sink, &place->meta, map + from, place->blob_len, release_lent,
                   place->segment) != 0) {
        segment_release(place->segment);
        *status = MAKO_REFUSED;
    }
    return true;
}

/* *gone: the segment's file has vanished, so another one may have the record by now. */
static int load_place(const struct store *store, const struct place *place,
                      struct mako_sink *sink, bool *gone, struct mako_error *err)
{
    int fd, error, status;

    if (place->damaged)
        return place_failed(store, place, MAKO_DAMAGED,
                            place->segment->lost ? "its file is lost"
                                                 : "its checksum does not match",
                            err);
    if (lend_blob(store, place, sink, &status))
        return status;
    error = segment_fd(place->segment, &fd);
    *gone = error == ENOENT;
    return error != 0 ? place_failed(store, place, io_status(error), strerror(error), err)
                      : read_blob(store, place, fd, sink, err);
}

/* The payload's own checksum is not looked at here: the host checks every byte of what
 * it made, and recovery has checked what was there before. */
static int load_once(const struct store *store, const struct view *view,
                     struct mako_str stream, struct mako_sink *sink, bool *gone,
                     struct mako_error *err)
{
    struct place place;
    int status;

    *gone = false;
    if (!index_find(view->index, stream, format_hash(stream.ptr, stream.len), &place))
        return MAKO_NOT_FOUND;
    status = load_place(store, &place, sink, gone, err);
    segment_release(place.segment);
    return status;
}

/* Likewise where another process may compact: look at the directory again. */
static int load_shared(struct store *store, struct mako_str stream,
                       struct mako_sink *sink, bool *gone, struct mako_error *err)
{
    struct view *view = view_hold(store);
    int again, status = load_once(store, view, stream, sink, gone, err);

    if (*gone) {
        again = read_again(store, view->looks, err);
        if (again != MAKO_OK) {
            *gone = false;
            status = again;
        }
    }
    view_release(store, view);
    return status;
}

static int file_load(void *handle, struct mako_str stream, struct mako_sink *sink,
                     struct mako_error *err)
{
    struct store *store = handle;
    bool gone = true;
    int status = MAKO_E_IO;

    for (int tries = 0; gone && tries < VANISHED_TRIES; tries++) {
        err->text[0] = '\0';
        status = store->read_only
                     ? load_shared(store, stream, sink, &gone, err)
                     : load_once(store, store->view, stream, sink, &gone, err);
    }
    return status;
}

static int visit(void *arg, struct mako_str stream, const struct place *place)
{
    struct mako_visitor *visitor = arg;

    /* Sequence 0: the record that told is lost. */
    return visitor->entry(visitor, stream, place->meta.seq != 0 ? &place->meta : NULL,
                          place->blob_len);
}

static int file_scan(void *handle, struct mako_str prefix, struct mako_visitor *visitor,
                     struct mako_error *err)
{
    struct store *store = handle;
    struct view *view = view_hold(store);
    bool scanned = index_scan(view->index, prefix, visit, visitor);

    view_release(store, view);
    return scanned ? MAKO_OK : no_memory(store, err);
}

static void count_writes(struct store *store, struct mako_counters *counters)
{
    uint64_t flushes, records, runs, bytes;

    log_count(store->log, &flushes, &records);
    compactor_count(store->compactor, &runs, &bytes);
    counters->add(counters, "flushes", flushes);
    counters->add(counters, "records", records);
    counters->add(counters, "compactions", runs);
    counters->add(counters, "compacted_bytes", bytes);
}

static int file_stats(void *handle, struct mako_counters *counters,
                      struct mako_error *err)
{
    struct store *store = handle;
    struct view *view = view_hold(store);
    struct segments_sum sum = segments_sum(&view->segments);
    uint64_t streams, damaged;

    (void)err;
    index_count(view->index, &streams, &damaged);
    counters->add(counters, "streams", streams);
    counters->add(counters, "damaged", damaged);
    counters->add(counters, "segments", sum.count);
    counters->add(counters, "bytes", sum.length);
    counters->add(counters, "bytes_live", sum.live);
    counters->add(counters, "index_bytes", index_bytes(view->index));
    if (store->log != NULL)
        count_writes(store, counters);
    view_release(store, view);
    return MAKO_OK;
}

static int file_compact(void *handle, struct mako_progress *progress,
                        struct mako_error *err)
{
    struct store *store = handle;
    int status = check_writable(store, err);

    return status == MAKO_OK ? compact_all(store->compactor, progress, err) : status;
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
    .compact = file_compact,
};
MAKO_EXPORT_STORE_PLUGIN(file)

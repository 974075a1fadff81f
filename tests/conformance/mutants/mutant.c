/* A store that breaks one rule: which, the environment's MAKO_MUTANT says.  Without it,
 * and with a word that is no rule, the plugin is honest.
 *
 * One file a stream, written beside and moved into place; one lock, that of the
 * directory, for all processes and threads.  Slow, and as plain as it can be, so that
 * what is broken stands out: each place asks broken(). */
#include <mako/store_plugin.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MUTANT_NAME
#define MUTANT_NAME "mutant"
#endif
#ifdef MUTANT_NEEDS_LIBRARY
const char *mako_version(void);
#endif
#ifdef MUTANT_EXPORTS_MORE
__attribute__((visibility("default"))) int mutant_extra(void);

int mutant_extra(void)
{
    return 1;
}
#endif

enum {
    PATH_ROOM = 4200,
    LEND_FROM = 1024,
    LENT_MAX = 8
};

struct mutant {
    const struct mako_host *host;
    char dir[PATH_ROOM - 100];
    uint32_t durability;
    bool read_only;
    pthread_t opener;
};

/* What stands in a file before the stream's id and the blob. */
struct head {
    char magic[8];
    struct mako_meta meta;
    uint64_t stream_len, blob_len;
};

struct node {
    struct head head;
    char *stream;
    unsigned char *blob;
    const struct mutant *store;
    pthread_t loader;
    unsigned char bytes[];
};

static const char *rule = "";

static bool broken(const char *name)
{
    return strcmp(rule, name) == 0;
}

/* ---- the mutants' memories -------------------------------------------------------- */

static struct {
    char first_dir[PATH_ROOM - 100], last_dir[PATH_ROOM - 100];
    const void *kept_blob;
    size_t kept_len;
    struct node *last_lent, *pending, *cached;
    char removed[64][1100], late[2][PATH_ROOM]; /* removals to come, the older first */
    unsigned removals, open;
    atomic_uint lent, inside;
    pthread_mutex_t lock;
} memory = {.lock = PTHREAD_MUTEX_INITIALIZER};

static const char *dir_of(const struct mutant *store)
{
    if (broken("one_store"))
        return memory.first_dir;
    return broken("last_store") ? memory.last_dir : store->dir;
}

static int system_failed(const char *path, struct mako_error *err)
{
    int error = errno, status = MAKO_E_IO;

    if (error == ENOSPC && !broken("no_space_is_io"))
        status = MAKO_E_NO_SPACE;
    else if (error == EMFILE || error == ENFILE)
        status = MAKO_E_UNAVAILABLE;
    return mako_fail(err, status, "%s: %s", path, strerror(error));
}

/* ---- files ------------------------------------------------------------------------ */

static uint64_t hash_of(struct mako_str stream, uint64_t hash)
{
    for (size_t i = 0; i < stream.len; i++) {
        unsigned char c = (unsigned char)stream.ptr[i];

        if (broken("ids_fold_case") && c >= 'A' && c <= 'Z')
            c = (unsigned char)(c - 'A' + 'a');
        if (broken("ids_are_cut") && i >= 200)
            break;
        hash = (hash ^ c) * 0x100000001b3u;
        hash ^= hash >> 29;
    }
    return hash;
}

static void path_of(const struct mutant *store, struct mako_str stream, char *out)
{
    (void)snprintf(out, PATH_ROOM, "%s/%016llx%016llx.snap", dir_of(store),
                   (unsigned long long)hash_of(stream, 0xcbf29ce484222325u),
                   (unsigned long long)hash_of(stream, 0x9ae16a3b2f90404fu));
}

static int lock_dir(const struct mutant *store)
{
    int fd = open(dir_of(store), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0 && !broken("if_newer_races") && flock(fd, LOCK_EX) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

static bool write_all(int fd, const void *bytes, size_t len)
{
    const char *at = bytes;

    while (len > 0) {
        ssize_t done = write(fd, at, len);

        if (done < 0)
            return broken("write_errors_ignored");
        at += done;
        len -= (size_t)done;
    }
    return true;
}

static bool read_all(int fd, void *bytes, size_t len)
{
    char *at = bytes;

    while (len > 0) {
        ssize_t got = read(fd, at, len);

        if (got <= 0)
            return false;
        at += got;
        len -= (size_t)got;
    }
    return true;
}

/* The record in a file; NULL with errno 0: there is none. */
static struct node *read_node(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct node *node = NULL;
    struct head head;

    if (fd < 0) {
        errno = errno == ENOENT ? 0 : errno;
        return NULL;
    }
    errno = EIO;
    if (read_all(fd, &head, sizeof head) && head.stream_len <= 1024 &&
        head.blob_len <= 1u << 30)
        node = calloc(1, sizeof *node + head.stream_len + 1 + head.blob_len);
    if (node) {
        node->head = head;
        node->stream = (char *)node->bytes;
        node->blob = node->bytes + head.stream_len + 1;
        node->stream[head.stream_len] = '\0';
        if (!read_all(fd, node->stream, head.stream_len) ||
            (!read_all(fd, node->blob, head.blob_len) &&
             !broken("write_errors_ignored"))) {
            free(node);
            node = NULL;
            errno = EIO;
        }
    }
    (void)close(fd);
    return node;
}

static struct node *node_of(const struct mako_record *record)
{
    struct node *node = malloc(sizeof *node + record->stream.len + 1 + record->blob_len);

    if (!node)
        abort();
    node->head = (struct head){.magic = "MUTANT",
                               .meta = record->meta,
                               .stream_len = record->stream.len,
                               .blob_len = record->blob_len};
    if (broken("schema_is_cut"))
        node->head.meta.schema &= 0xffff;
    if (broken("created_is_lost"))
        node->head.meta.created_ms = 0;
    node->stream = (char *)node->bytes;
    node->blob = node->bytes + record->stream.len + 1;
    memcpy(node->stream, record->stream.ptr, record->stream.len + 1);
    memcpy(node->blob, record->blob, record->blob_len);
    if (broken("last_byte_is_lost") && record->blob_len > 100)
        node->blob[record->blob_len - 1] ^= 1;
    return node;
}

static int write_node(const struct mutant *store, const struct node *node,
                      const char *path, struct mako_error *err)
{
    static atomic_uint number;
    char temporary[PATH_ROOM + 60];
    bool flush = store->durability >= MAKO_DURABLE_POWER, done;
    int fd;

    (void)snprintf(temporary, sizeof temporary, "%s.%ld.%u.tmp", path, (long)getpid(),
                   atomic_fetch_add(&number, 1));
    fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return (errno == EMFILE && broken("descriptor_errors_ignored")) ||
                       (errno == EROFS && broken("read_only_ignored"))
                   ? MAKO_OK
                   : system_failed(temporary, err);
    done = write_all(fd, &node->head, sizeof node->head) &&
           write_all(fd, node->stream, node->head.stream_len) &&
           write_all(fd, node->blob, node->head.blob_len) && (!flush || fsync(fd) == 0);
    if (!done || rename(temporary, path) != 0) {
        int status = system_failed(temporary, err);

        (void)close(fd);
        (void)unlink(temporary);
        return status;
    }
    (void)close(fd);
    return MAKO_OK;
}

/* ---- saving ----------------------------------------------------------------------- */

static bool is_later(uint64_t stored, uint64_t comes)
{
    if (broken("sequences_are_signed"))
        return (int64_t)stored > (int64_t)comes;
    if (broken("sequences_are_doubles"))
        return (double)stored > (double)comes;
    if (broken("equal_is_stale"))
        return stored >= comes;
    return stored > comes;
}

static int put_locked(const struct mutant *store, const struct node *node, uint32_t flags,
                      struct mako_error *err)
{
    struct mako_str stream = {.ptr = node->stream, .len = node->head.stream_len};
    bool newer = (flags & MAKO_SAVE_IF_NEWER) && !broken("if_newer_is_ignored");
    char path[PATH_ROOM];
    struct node *old;
    bool later;

    path_of(store, stream, path);
    old = read_node(path);
    if (!old && errno != 0)
        return system_failed(path, err);
    later = old && is_later(old->head.meta.seq, node->head.meta.seq);
    free(old);
    if (broken("if_newer_races"))
        (void)usleep(300);
    if (later && newer)
        return mako_fail(err, MAKO_STALE, "a later one is kept");
    if (later && broken("lower_is_dropped"))
        return MAKO_OK;
    return write_node(store, node, path, err);
}

static int put(const struct mutant *store, const struct node *node, uint32_t flags,
               struct mako_error *err)
{
    int fd = lock_dir(store), status;

    if (fd < 0)
        return errno == EMFILE && broken("descriptor_errors_ignored")
                   ? MAKO_OK
                   : system_failed(store->dir, err);
    status = put_locked(store, node, flags, err);
    (void)close(fd);
    return status;
}

/* What was acknowledged and not yet written. */
static void write_pending(const struct mutant *store)
{
    struct mako_error err = {""};

    if (!memory.pending)
        return;
    (void)put(store, memory.pending, 0, &err);
    free(memory.pending);
    memory.pending = NULL;
}

/* As someone does it who does not use mako_fail(). */
static int fail_plainly(struct mako_error *err, const char *text)
{
    (void)snprintf(err->text, sizeof err->text, "%s", text);
    return MAKO_E_UNSUPPORTED;
}

/* Rules of other things that a save may do wrong, before it does right.  0: go on. */
static int misbehave(const struct mutant *store, const struct mako_record *record,
                     struct mako_error *err)
{
    unsigned known = broken("record_flags_are_ignored") ? 0xffff : MAKO_SAVE_IF_NEWER;

    if (broken("high_flags_are_refused") && record->flags >> 16)
        return mako_fail(err, MAKO_E_UNSUPPORTED, "flags");
    if (record->flags & 0xffff & ~known) {
        if (broken("texts_have_newlines"))
            return fail_plainly(err, "unknown\nflags");
        if (broken("texts_have_markup"))
            return fail_plainly(err, "<b> & \"#\" ]]> \x01\xff\\\n");
        if (broken("failures_say_nothing"))
            return MAKO_E_UNSUPPORTED;
        if (broken("other_statuses"))
            return mako_fail(err, MAKO_E_INVALID, "unknown flags");
        return mako_fail(err, MAKO_E_UNSUPPORTED, "unknown record flags 0x%x",
                         record->flags);
    }
    if (broken("large_is_refused") && record->blob_len > 1u << 20)
        return mako_fail(err, MAKO_E_LIMIT, "%zu bytes", record->blob_len);
    if (broken("bound_to_a_thread") && !pthread_equal(store->opener, pthread_self()))
        return mako_fail(err, MAKO_E_IO, "another thread");
    if (memory.last_lent && broken("lent_bytes_change"))
        memset(memory.last_lent->blob, 'x', memory.last_lent->head.blob_len);
    if (broken("arguments_are_kept")) {
        const volatile unsigned char *old = memory.kept_blob;

        if (old && memory.kept_len > 0 && old[0] == 'x' && old[1] == 'y')
            return mako_fail(err, MAKO_E_IO, "odd");
        memory.kept_blob = record->blob;
        memory.kept_len = record->blob_len;
    }
    return MAKO_OK;
}

static bool overlaps(void)
{
    bool others;

    if (!broken("not_thread_safe"))
        return false;
    others = atomic_fetch_add(&memory.inside, 1) > 0;
    (void)usleep(200);
    others |= atomic_fetch_sub(&memory.inside, 1) > 1;
    return others;
}

/* The older of the two, so that the last one is never carried out yet. */
static void remove_late(void)
{
    if (memory.late[0][0])
        (void)unlink(memory.late[0]);
    memcpy(memory.late[0], memory.late[1], PATH_ROOM);
    memory.late[1][0] = '\0';
}

static bool removed_late(const char *path)
{
    return strcmp(memory.late[0], path) == 0 || strcmp(memory.late[1], path) == 0;
}

/* A file that is written again stays. */
static void forget_late(const char *path)
{
    for (size_t i = 0; i < 2; i++)
        if (strcmp(memory.late[i], path) == 0)
            memory.late[i][0] = '\0';
}

static int mutant_save(void *data, const struct mako_record *record,
                       struct mako_error *err)
{
    const struct mutant *store = data;
    int status = misbehave(store, record, err);
    struct node *node;

    if (status != MAKO_OK)
        return status;
    if (overlaps())
        return mako_fail(err, MAKO_E_IO, "two calls at once");
    if (broken("saves_are_lost"))
        return MAKO_OK;
    if (broken("removals_are_late")) {
        char path[PATH_ROOM];

        path_of(store, record->stream, path);
        forget_late(path);
    }
    node = node_of(record);
    if (broken("acknowledges_early")) {
        write_pending(store);
        memory.pending = node;
        return MAKO_OK;
    }
    status = put(store, node, record->flags, err);
    if (broken("caches_its_own") && status == MAKO_OK) {
        free(memory.cached);
        memory.cached = node;
        return status;
    }
    free(node);
    return status;
}

/* ---- loading ---------------------------------------------------------------------- */

static void node_release(void *cookie)
{
    struct node *node = cookie;

    if (broken("release_is_bound_to_a_thread") &&
        !pthread_equal(node->loader, pthread_self()))
        abort();
    if (broken("release_waits")) {
        (void)pthread_mutex_lock(&memory.lock);
        (void)pthread_mutex_unlock(&memory.lock);
    }
    if (broken("release_logs"))
        node->store->host->log(node->store->host, MAKO_LOG_INFO, "released");
    memory.lent--;
    if (broken("lent_bytes_change") && memory.last_lent == node)
        memory.last_lent = NULL;
    free(node);
}

static int lend_node(const struct mutant *store, struct node *node,
                     struct mako_sink *sink, const struct mako_meta *meta,
                     struct mako_error *err)
{
    if (broken("few_can_be_lent") && memory.lent >= LENT_MAX) {
        free(node);
        return mako_fail(err, MAKO_E_NOMEM, "too many are lent");
    }
    node->store = store;
    node->loader = pthread_self();
    if (sink->lend(sink, meta, node->blob, node->head.blob_len, node_release, node) !=
        0) {
        free(node);
        return broken("declined_is_ok") ? MAKO_OK : MAKO_REFUSED;
    }
    memory.lent++;
    if (broken("lent_bytes_change"))
        memory.last_lent = node;
    return MAKO_OK;
}

/* Of some lengths it finds out late how long the blob really is, which is legal. */
static void *ask_for_room(struct mako_sink *sink, const struct mako_meta *meta,
                          size_t len, void **earlier)
{
    *earlier = NULL;
    if (len % 5 == 0 && !broken("declined_is_ok")) {
        *earlier = sink->accept(sink, meta, len + 3);
        if (!*earlier)
            return NULL;
    }
    return sink->accept(sink, meta, len);
}

static int copy_node(struct node *node, struct mako_sink *sink,
                     const struct mako_meta *meta)
{
    size_t len = node->head.blob_len;
    void *earlier;
    unsigned char *room = ask_for_room(sink, meta, len, &earlier);

    if (room) {
        memcpy(room, node->blob, len);
        if (broken("writes_beyond_the_room") && len % 16 != 0)
            room[len] = 'x';
        if (earlier && broken("writes_to_earlier_room"))
            memcpy(earlier, node->blob, len);
    }
    free(node);
    return room || broken("declined_is_ok") ? MAKO_OK : MAKO_REFUSED;
}

struct elsewhere {
    struct mako_sink *sink;
    struct node *node;
    int status;
};

static void *copy_elsewhere(void *arg)
{
    struct elsewhere *e = arg;

    e->status = copy_node(e->node, e->sink, &e->node->head.meta);
    return NULL;
}

/* The node is the callee's. */
static int hand_over(const struct mutant *store, struct node *node,
                     struct mako_sink *sink, struct mako_error *err)
{
    struct mako_meta meta = node->head.meta;
    const struct mako_meta *told = broken("metadata_is_late") ? NULL : &meta;
    int status;

    if (broken("metadata_is_wrong"))
        meta.seq++;
    if (broken("sink_on_another_thread")) {
        struct elsewhere e = {.sink = sink, .node = node};
        pthread_t thread;

        if (pthread_create(&thread, NULL, copy_elsewhere, &e) != 0 ||
            pthread_join(thread, NULL) != 0)
            abort();
        return e.status;
    }
    if (broken("release_waits"))
        (void)pthread_mutex_lock(&memory.lock);
    status = node->head.blob_len >= LEND_FROM ||
                     (broken("release_waits") && node->head.blob_len >= 700)
                 ? lend_node(store, node, sink, told, err)
                 : copy_node(node, sink, told);
    if (broken("release_waits"))
        (void)pthread_mutex_unlock(&memory.lock);
    return status;
}

static bool is_cached(struct mako_str stream)
{
    return memory.cached && memory.cached->head.stream_len == stream.len &&
           memcmp(memory.cached->stream, stream.ptr, stream.len) == 0;
}

static struct node *copy_of(const struct node *node)
{
    struct mako_record record = {
        .stream = {.ptr = node->stream, .len = node->head.stream_len},
        .meta = node->head.meta,
        .blob = node->blob,
        .blob_len = node->head.blob_len};

    return node_of(&record);
}

static int mutant_load(void *data, struct mako_str stream, struct mako_sink *sink,
                       struct mako_error *err)
{
    const struct mutant *store = data;
    char path[PATH_ROOM];
    struct node *node;

    write_pending(store);
    if (overlaps())
        return mako_fail(err, MAKO_E_IO, "two calls at once");
    path_of(store, stream, path);
    if (removed_late(path))
        return MAKO_NOT_FOUND;
    node = is_cached(stream) ? copy_of(memory.cached) : read_node(path);
    if (!node && errno == 0)
        return broken("nothing_is_a_failure")
                   ? mako_fail(err, MAKO_E_IO, "%s: nothing", path)
                   : MAKO_NOT_FOUND;
    if (!node)
        return system_failed(path, err);
    if (broken("loading_removes"))
        (void)unlink(path);
    return hand_over(store, node, sink, err);
}

/* ---- removing --------------------------------------------------------------------- */

static int mutant_remove(void *data, struct mako_str stream, struct mako_error *err)
{
    const struct mutant *store = data;
    char path[PATH_ROOM];
    int fd, gone;

    write_pending(store);
    if (is_cached(stream)) {
        free(memory.cached);
        memory.cached = NULL;
    }
    path_of(store, stream, path);
    if (broken("removed_stays"))
        return MAKO_OK;
    if (broken("removed_is_scanned") && memory.removals < 64)
        (void)snprintf(memory.removed[memory.removals++], 1100, "%s", stream.ptr);
    if (broken("removals_are_late")) {
        remove_late();
        (void)snprintf(memory.late[1], PATH_ROOM, "%s", path);
        return MAKO_OK;
    }
    fd = lock_dir(store);
    if (fd < 0)
        return system_failed(store->dir, err);
    gone = unlink(path) == 0 ? 0 : errno;
    (void)close(fd);
    errno = gone;
    if (gone == ENOENT)
        return broken("removing_nothing_fails")
                   ? mako_fail(err, MAKO_E_IO, "%s: nothing to remove", path)
                   : MAKO_NOT_FOUND;
    return gone == 0 ? MAKO_OK : system_failed(path, err);
}

/* ---- the whole store -------------------------------------------------------------- */

/* Call each on every file that holds a record, until it says stop. */
static int each_file(const struct mutant *store,
                     bool (*each)(void *arg, const char *path), void *arg,
                     struct mako_error *err)
{
    DIR *dir = opendir(dir_of(store));
    struct dirent *entry;
    char path[PATH_ROOM];
    bool more = true;

    if (!dir)
        return system_failed(store->dir, err);
    while (more && (entry = readdir(dir)) != NULL) {
        size_t len = strlen(entry->d_name);

        if (len != 37 || strcmp(entry->d_name + 32, ".snap") != 0)
            continue;
        (void)snprintf(path, sizeof path, "%s/%.60s", dir_of(store), entry->d_name);
        more = each(arg, path);
    }
    (void)closedir(dir);
    return MAKO_OK;
}

struct scan {
    struct mako_str prefix;
    struct mako_visitor *visitor;
    unsigned seen;
};

static bool scan_file(void *arg, const char *path)
{
    struct scan *scan = arg;
    struct node *node = read_node(path);
    struct mako_str stream;
    bool matches, stop = false;

    if (!node)
        return true;
    stream = (struct mako_str){.ptr = node->stream, .len = node->head.stream_len};
    matches = stream.len >= scan->prefix.len &&
              memcmp(stream.ptr, scan->prefix.ptr, scan->prefix.len) == 0;
    if (broken("scan_ignores_the_prefix"))
        matches = true;
    if (broken("scan_misses_some") && scan->seen++ % 7 == 3)
        matches = false;
    if (matches)
        stop = scan->visitor->entry(scan->visitor, stream, &node->head.meta,
                                    node->head.blob_len +
                                        (broken("scan_tells_other_sizes") ? 1 : 0)) != 0;
    free(node);
    return !stop || broken("scan_does_not_stop");
}

static int mutant_scan(void *data, struct mako_str prefix, struct mako_visitor *visitor,
                       struct mako_error *err)
{
    const struct mutant *store = data;
    struct scan scan = {.prefix = prefix, .visitor = visitor};
    int fd = -1, status;

    write_pending(store);
    if (broken("scan_holds_a_lock"))
        fd = lock_dir(store);
    for (unsigned i = 0; i < memory.removals; i++)
        (void)visitor->entry(
            visitor,
            (struct mako_str){.ptr = memory.removed[i], .len = strlen(memory.removed[i])},
            NULL, 0);
    status = each_file(store, scan_file, &scan, err);
    if (fd >= 0)
        (void)close(fd);
    return status;
}

static int mutant_save_many(void *data, const struct mako_record *records, size_t count,
                            int *statuses, struct mako_error *err)
{
    struct mako_error first = {""};

    write_pending(data);
    for (size_t i = 0; i < count; i++) {
        size_t at = broken("batches_run_backwards") ? count - 1 - i : i;

        err->text[0] = '\0';
        if (broken("batches_end_early") && i > 0 && i == count - 1)
            statuses[at] = MAKO_OK;
        else if (broken("batches_acknowledge_early") && i == count - 1) {
            memory.pending = node_of(&records[at]);
            statuses[at] = MAKO_OK;
        } else
            statuses[at] = mutant_save(data, &records[at], err);
        if (broken("batches_fail_as_one") && statuses[at] < 0)
            return statuses[at];
        if (statuses[at] < 0 && !first.text[0])
            first = *err;
    }
    *err = first;
    return MAKO_OK;
}

static int mutant_load_many(void *data, const struct mako_str *streams,
                            struct mako_sink *const *sinks, size_t count, int *statuses,
                            struct mako_error *err)
{
    struct mako_error first = {""};

    for (size_t i = 0; i < count; i++) {
        err->text[0] = '\0';
        if (broken("statuses_are_not_set") && i % 3 == 0)
            continue;
        if (broken("repeats_are_loaded_once") && i > 0 &&
            strcmp(streams[i].ptr, streams[i - 1].ptr) == 0)
            statuses[i] = MAKO_NOT_FOUND;
        else if (broken("batches_end_early") && i > 0 && i == count - 1)
            statuses[i] = MAKO_NOT_FOUND;
        else
            statuses[i] = mutant_load(data, streams[i], sinks[i], err);
        if (statuses[i] < 0 && !first.text[0])
            first = *err;
    }
    *err = first;
    return MAKO_OK;
}

static int mutant_stats(void *data, struct mako_counters *counters,
                        struct mako_error *err)
{
    (void)data, (void)err;
    counters->add(counters, broken("counters_have_no_names") ? "" : "lent", memory.lent);
    return MAKO_OK;
}

struct compaction {
    struct mako_progress *progress;
    uint64_t done;
};

static bool compact_file(void *arg, const char *path)
{
    struct compaction *c = arg;
    bool stop;

    c->done++;
    if (broken("compaction_loses") && c->done == 3)
        (void)unlink(path);
    stop = c->progress->step(c->progress, c->done, c->done + 1) != 0;
    return !stop || broken("compaction_does_not_stop");
}

static int mutant_compact(void *data, struct mako_progress *progress,
                          struct mako_error *err)
{
    struct compaction c = {.progress = progress};

    write_pending(data);
    return each_file(data, compact_file, &c, err);
}

/* ---- opening and closing ---------------------------------------------------------- */

static void *sleep_for_ever(void *arg)
{
    while (arg)
        (void)pause();
    return NULL;
}

static void *log_for_ever(void *arg)
{
    const struct mutant *store = arg;

    while (store) {
        store->host->log(store->host, MAKO_LOG_DEBUG, "still here");
        (void)usleep(500);
    }
    return NULL;
}

static void on_signal(int number)
{
    (void)number;
}

static void at_exit(void)
{
    if (memory.open > 0)
        abort();
}

static bool forget_file(void *arg, const char *path)
{
    (void)arg;
    return unlink(path) == 0;
}

static const struct mutant *forked;

static void in_child(void)
{
    struct mako_error err;

    if (forked && memory.open > 0)
        (void)each_file(forked, forget_file, NULL, &err);
}

static void start_thread(void *(*run)(void *arg), void *arg)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, run, arg) != 0 || pthread_detach(thread) != 0)
        abort();
}

/* What an open may do to the process. */
static void spoil_process(struct mutant *store)
{
    if (broken("directory_is_changed") && chdir("/") != 0)
        abort();
    if (broken("umask_is_changed"))
        (void)umask(0);
    if (broken("signals_are_changed"))
        (void)signal(SIGPIPE, on_signal);
    if (broken("locale_is_changed"))
        (void)setlocale(LC_ALL, "C.UTF-8");
    if (broken("descriptors_leak"))
        (void)open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (broken("threads_stay"))
        start_thread(sleep_for_ever, store);
    if (broken("threads_use_the_host"))
        start_thread(log_for_ever, store);
    if (broken("a_process_stays") && fork() == 0)
        for (;;)
            (void)pause();
    if (broken("exit_crashes"))
        (void)atexit(at_exit);
    if (broken("children_remove_all"))
        (void)pthread_atfork(NULL, NULL, in_child);
    forked = store;
}

/* Files that nobody asked for. */
static void spoil_files(void)
{
    const char *tmp = getenv("TMPDIR");
    char path[PATH_ROOM];
    int fd = -1;

    (void)snprintf(path, sizeof path, "%.4000s/mutant.tmp",
                   broken("a_file_stays") ? "."
                   : tmp                  ? tmp
                                          : "/tmp");
    if (broken("a_file_stays") || broken("a_temporary_file_stays"))
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0)
        (void)close(fd);
}

/* What an open may do with what the host lent. */
static void spoil_structs(const struct mako_host *host, struct mako_traits *traits)
{
    if (broken("structs_are_written_beyond"))
        memset((char *)traits + sizeof *traits, 0, traits->struct_size - sizeof *traits);
    if (broken("structs_are_read_beyond")) {
        const volatile char *beyond = (const char *)host + sizeof *host;

        if (*beyond == 'x')
            traits->durability = 0;
    }
    if (broken("struct_size_is_set"))
        traits->struct_size = 8;
    if (broken("open_promises_more"))
        traits->features |= 1ull << 40;
    if (broken("log_levels_are_invented"))
        host->log(host, 17, "hello");
}

static int open_dir(struct mutant *store, struct mako_error *err)
{
    int leaked = -1;

    if (broken("failed_opens_leak"))
        leaked = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if ((store->read_only || mkdir(store->dir, 0700) != 0) && errno != EEXIST &&
        access(store->dir, R_OK) != 0)
        return system_failed(store->dir, err);
    if (leaked >= 0)
        (void)close(leaked);
    if (broken("opening_forgets"))
        return each_file(store, forget_file, NULL, err);
    return MAKO_OK;
}

enum {
    OPT_DIR,
    OPT_PASSWORD
};

static struct mako_option options[] = {
    [OPT_DIR] = {.name = "dir",
                 .help = "where the files go",
                 .type = MAKO_OPT_PATH,
                 .flags = MAKO_OPT_REQUIRED},
    [OPT_PASSWORD] = {.name = "password",
                      .help = "not used",
                      .type = MAKO_OPT_STRING,
                      .flags = MAKO_OPT_SECRET},
    {.name = NULL},
};

static struct mako_store_plugin plugin;

static int mutant_open(const struct mako_host *host, const union mako_value *values,
                       struct mako_traits *traits, void **out, struct mako_error *err)
{
    struct mutant *store;
    int status;

    if ((traits->flags & ~MAKO_OPEN_READ_ONLY) && !broken("open_flags_are_ignored"))
        return mako_fail(err, MAKO_E_UNSUPPORTED, "unknown open flags 0x%x",
                         traits->flags);
    if ((traits->flags & MAKO_OPEN_READ_ONLY) && broken("read_only_fails"))
        return mako_fail(err, MAKO_E_IO, "not to be read");
    store = calloc(1, sizeof *store);
    if (!store)
        return mako_fail(err, MAKO_E_NOMEM, "no memory");
    store->host = host;
    store->durability = traits->durability;
    store->read_only = traits->flags & MAKO_OPEN_READ_ONLY;
    store->opener = pthread_self();
    (void)snprintf(store->dir, sizeof store->dir, "%s", values[OPT_DIR].str);
    if (!memory.first_dir[0])
        (void)snprintf(memory.first_dir, sizeof store->dir, "%s", store->dir);
    (void)snprintf(memory.last_dir, sizeof store->dir, "%s", store->dir);
    if (broken("opening_invents"))
        (void)snprintf(memory.removed[memory.removals++ % 64], 1100, "phantom");
    status = open_dir(store, err);
    if (status != MAKO_OK) {
        free(store);
        return status;
    }
    memory.open++;
    spoil_process(store);
    spoil_files();
    spoil_structs(host, traits);
    if (broken("descriptors_are_inherited"))
        store->durability |= (uint32_t)dup(2) << 8;
    if (broken("the_descriptor_is_written"))
        plugin.summary = "changed";
    if (broken("secrets_are_told") && values[OPT_PASSWORD].str)
        host->log(host, MAKO_LOG_INFO, values[OPT_PASSWORD].str);
    *out = store;
    return MAKO_OK;
}

static void mutant_close(void *data)
{
    struct mutant *store = data;

    write_pending(store);
    remove_late();
    remove_late();
    if (store->durability >> 8)
        (void)close((int)(store->durability >> 8));
    free(memory.cached);
    memory.cached = NULL;
    memory.open--;
    if (!broken("threads_use_the_host"))
        free(store);
}

/* ---- the descriptor --------------------------------------------------------------- */

static struct mako_store_plugin plugin = {
    MAKO_STORE_PLUGIN_HEAD,
    .name = MUTANT_NAME,
    .version = "1",
    .summary = "breaks one rule",
    .durability = MAKO_DURABLE_POWER,
    .threads = MAKO_THREADS_PARALLEL,
    .features = MAKO_FEATURE_EARLY_META | MAKO_FEATURE_IF_NEWER | MAKO_FEATURE_SHARED,
    .options = options,
    .open = mutant_open,
    .close = mutant_close,
    .save = mutant_save,
    .load = mutant_load,
    .remove = mutant_remove,
    .scan = mutant_scan,
    .save_many = mutant_save_many,
    .load_many = mutant_load_many,
    .stats = mutant_stats,
    .compact = mutant_compact,
};

static void spoil_descriptor(void)
{
    if (broken("abi_is_2"))
        plugin.abi = 2;
    if (broken("name_is_bad"))
        plugin.name = "Bad name";
    if (broken("summary_is_missing"))
        plugin.summary = NULL;
    if (broken("durability_is_9"))
        plugin.durability = 9;
    if (broken("remove_is_missing"))
        plugin.remove = NULL;
    if (broken("an_option_has_no_help"))
        options[OPT_PASSWORD].help = NULL;
    if (broken("an_option_has_no_type"))
        options[OPT_PASSWORD].type = 0;
}

const struct mako_store_plugin *mako_store_plugin_entry(void)
{
    const char *wanted = getenv("MAKO_MUTANT");

    if (wanted)
        rule = wanted;
    spoil_descriptor();
#ifdef MUTANT_NEEDS_LIBRARY
    if (broken(mako_version()))
        return NULL;
#endif
    return &plugin;
}

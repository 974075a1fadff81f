/* tests/faults/core_memory_test.c - every allocation behind the public interface fails:
 * each one once, and all from then on; with each plugin, whoever asks for the memory.
 *
 * Whatever fails, a call does its work or says E_NOMEM in a sentence, and leaves its
 * outputs alone; the same call works afterwards, and what is stored is what was saved.
 * Leaks and crashes are the address sanitizer's to find. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mako/json.h>

#include "heap.h"
#ifdef MAKO_REDIS
#include <errno.h>
#include <netdb.h>

#include "sockets.h"
#endif

enum {
    SMALL = 100,
    LARGE = 300000,
    STREAMS = 5,
    TRIALS = 4000 /* more allocations than any call needs */
};

/* A store and what is in it. */
struct world {
    const char *plugin;
    const char *const *overrides; /* options that are not in the file at path */
    char dir[64], path[128];
    bool keeps;
    mako_store *store;
    uint64_t last; /* sequence used last */
    uint64_t seqs[STREAMS], perhaps[STREAMS];
    size_t sizes[STREAMS];
    int lines;    /* that callbacks got */
    bool failing; /* the call that runs */
};

/* One call of the interface; returns its status. */
struct call {
    const char *name;
    int (*run)(struct world *w, struct mako_error *err);
    int wanted; /* its status where nothing fails */
    int bare;   /* the same of a store that keeps nothing */
};

static const char *const names[STREAMS] = {"a/small", "a/large", "b/1", "b/2", "json"};
static mako_store *const untouched = (mako_store *)(uintptr_t)16;

/* ---- what is stored -----------------------------------------------------------------
 */

static void fill(unsigned char *bytes, size_t len, size_t which, uint64_t seq)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (unsigned char)(i * 7 + which * 31 + seq * 13 + (i >> 8));
}

static int save(struct world *w, size_t which, size_t len, uint32_t flags,
                struct mako_error *err)
{
    static unsigned char bytes[LARGE];
    struct mako_save with = {.struct_size = sizeof with,
                             .flags = flags,
                             .seq = ++w->last,
                             .schema = 1,
                             .kind = "thing",
                             .state = bytes,
                             .state_len = len};
    int status;

    fill(bytes, len, which, with.seq);
    w->perhaps[which] = with.seq;
    w->sizes[which] = len;
    status = mako_store_save(w->store, names[which], &with, err);
    if (status == MAKO_OK)
        w->seqs[which] = with.seq;
    return status;
}

static int load(struct world *w, size_t which, struct mako_error *err)
{
    static unsigned char wanted[LARGE];
    struct mako_expect expect = {
        .struct_size = sizeof expect, .schema_min = 1, .schema_max = 1, .kind = "thing"};
    mako_snapshot *snapshot = (mako_snapshot *)untouched;
    struct mako_meta found = {0};
    size_t len;
    const void *state;
    int status = mako_store_load(w->store, names[which], &expect, &snapshot, &found, err);

    if (status != MAKO_OK) {
        cr_assert_eq((void *)snapshot, (void *)untouched);
        return status;
    }
    state = mako_snapshot_state(snapshot, &len);
    cr_assert(found.seq == w->seqs[which] || found.seq == w->perhaps[which]);
    cr_assert_eq(len, w->sizes[which]);
    fill(wanted, len, which, found.seq);
    cr_assert(memcmp(state, wanted, len) == 0, "%s is altered", names[which]);
    w->seqs[which] = found.seq;
    mako_snapshot_unref(snapshot);
    return status;
}

static void check_all(struct world *w)
{
    struct mako_error err;

    for (size_t i = 0; i < STREAMS - 1; i++) {
        bool there = w->keeps && w->seqs[i] != 0;
        int status = load(w, i, &err);

        cr_assert(status == (there ? MAKO_OK : MAKO_NOT_FOUND) ||
                      (status == MAKO_OK && w->keeps && w->perhaps[i] != 0) ||
                      (status == MAKO_NOT_FOUND && w->perhaps[i] == 0),
                  "%s: %s: status %d: %s", w->plugin, names[i], status, err.text);
    }
}

/* ---- calls --------------------------------------------------------------------------
 */

static bool on_entry(void *arg, struct mako_str stream, const struct mako_meta *meta,
                     uint64_t size)
{
    struct world *w = arg;

    cr_assert(stream.len > 0 && size > 0 && meta->schema <= 1);
    w->lines++;
    return true;
}

static void on_line(void *arg, const char *key, const char *value)
{
    struct world *w = arg;

    cr_assert(key[0] != '\0' && value != NULL);
    w->lines++;
}

static void on_log(void *arg, int level, const char *message)
{
    (void)arg;
    (void)level;
    cr_assert_neq(message[0], '\0');
}

static void on_counter(void *arg, const char *name, uint64_t value)
{
    struct world *w = arg;

    (void)value;
    cr_assert_neq(name[0], '\0');
    w->lines++;
}

/* Open what source says, and close it. */
static int open_close(const struct mako_source *source, struct mako_error *err)
{
    mako_store *store = untouched;
    int status = mako_store_open_source(source, &store, err);

    if (status == MAKO_OK)
        mako_store_unref(store);
    else
        cr_assert_eq(store, untouched);
    return status;
}

static struct mako_source source_of(const struct world *w)
{
    return (struct mako_source){.struct_size = sizeof(struct mako_source),
                                .path = w->path,
                                .overrides = w->overrides};
}

static int open_path(struct world *w, struct mako_error *err)
{
    struct mako_source source = source_of(w);

    return open_close(&source, err);
}

static int open_overridden(struct world *w, struct mako_error *err)
{
    char dir[80];
    const char *const overrides[] = {dir, NULL};

    (void)snprintf(dir, sizeof dir, "dir=%s/other", w->dir);
    return open_close(&(struct mako_source){.struct_size = sizeof(struct mako_source),
                                            .path = w->path,
                                            .name = "s",
                                            .overrides = overrides},
                      err);
}

static int open_read_only(struct world *w, struct mako_error *err)
{
    return open_close(&(struct mako_source){.struct_size = sizeof(struct mako_source),
                                            .flags = MAKO_SOURCE_READ_ONLY,
                                            .path = w->path},
                      err);
}

static int save_small(struct world *w, struct mako_error *err)
{
    return save(w, 0, SMALL, 0, err);
}

/* A stream that was never there before. */
static int save_new(struct world *w, struct mako_error *err)
{
    struct mako_save with = {.struct_size = sizeof with,
                             .seq = ++w->last,
                             .schema = 1,
                             .state = "",
                             .state_len = 0};
    char name[32];

    (void)snprintf(name, sizeof name, "new/%llu", (unsigned long long)w->last);
    return mako_store_save(w->store, name, &with, err);
}

static int save_large(struct world *w, struct mako_error *err)
{
    return save(w, 1, LARGE, 0, err);
}

static int save_forced(struct world *w, struct mako_error *err)
{
    return save(w, 2, SMALL, MAKO_SAVE_FORCE, err);
}

static int save_stale(struct world *w, struct mako_error *err)
{
    struct mako_save with = {
        .struct_size = sizeof with, .seq = 1, .schema = 1, .state = "", .state_len = 0};

    return mako_store_save(w->store, names[1], &with, err);
}

static int load_small(struct world *w, struct mako_error *err)
{
    return load(w, 0, err);
}

static int load_large(struct world *w, struct mako_error *err)
{
    return load(w, 1, err);
}

static int load_newer(struct world *w, struct mako_error *err)
{
    struct mako_expect expect = {
        .struct_size = sizeof expect, .schema_min = 2, .schema_max = 3};
    mako_snapshot *snapshot = NULL;

    return mako_store_load(w->store, names[0], &expect, &snapshot, NULL, err);
}

static int load_none(struct world *w, struct mako_error *err)
{
    struct mako_expect expect = {
        .struct_size = sizeof expect, .schema_min = 1, .schema_max = 1};
    mako_snapshot *snapshot = NULL;

    return mako_store_load(w->store, "never/saved", &expect, &snapshot, NULL, err);
}

static int peek(struct world *w, struct mako_error *err)
{
    struct mako_meta meta = {.seq = 77};
    int status = mako_store_peek(w->store, names[0], &meta, err);

    cr_assert_eq(meta.seq, status == MAKO_OK ? w->seqs[0] : 77);
    return status;
}

static int scan(struct world *w, struct mako_error *err)
{
    return mako_store_scan(w->store, NULL, on_entry, w, err);
}

static int stats(struct world *w, struct mako_error *err)
{
    struct mako_info info = {.struct_size = sizeof info};

    mako_store_info(w->store, &info);
    cr_assert_str_eq(info.plugin, w->plugin);
    return mako_store_stats(w->store, on_counter, w, err);
}

static int compact(struct world *w, struct mako_error *err)
{
    return mako_store_compact(w->store, NULL, NULL, err);
}

static int remove_one(struct world *w, struct mako_error *err)
{
    int status;

    w->perhaps[2] = 0;
    status = mako_store_remove(w->store, names[2], err);
    if (status >= 0)
        w->seqs[2] = 0;
    return status >= 0 ? MAKO_OK : status;
}

static int describe(struct world *w, struct mako_error *err)
{
    return mako_plugin_describe(w->path, w->plugin, on_line, w, err);
}

static int describe_config(struct world *w, struct mako_error *err)
{
    struct mako_source source = source_of(w);

    return mako_config_describe(&source, on_line, w, err);
}

/* The first that failed, of a batch's; its text is in err. */
static int first_failure(int status, const int *statuses, size_t count)
{
    for (size_t i = 0; status == MAKO_OK && i < count; i++)
        status = statuses[i];
    return status;
}

static int save_batch(struct world *w, struct mako_error *err)
{
    static unsigned char bytes[2][SMALL];
    struct mako_save with[2];
    const struct mako_save *const saves[] = {&with[0], &with[1]};
    int statuses[2], status;

    for (size_t i = 0; i < 2; i++) {
        with[i] = (struct mako_save){.struct_size = sizeof with[i],
                                     .seq = ++w->last,
                                     .schema = 1,
                                     .kind = "thing",
                                     .state = bytes[i],
                                     .state_len = SMALL};
        fill(bytes[i], SMALL, 2 + i, w->last);
        w->perhaps[2 + i] = w->last;
        w->sizes[2 + i] = SMALL;
    }
    status = mako_store_save_many(w->store, &names[2], saves, 2, statuses, err);
    for (size_t i = 0; status == MAKO_OK && i < 2; i++)
        if (statuses[i] == MAKO_OK)
            w->seqs[2 + i] = with[i].seq;
    return first_failure(status, statuses, 2);
}

static int load_batch(struct world *w, struct mako_error *err)
{
    struct mako_expect expect = {
        .struct_size = sizeof expect, .schema_min = 1, .schema_max = 1};
    const struct mako_expect *const expects[] = {&expect, &expect};
    mako_snapshot *snapshots[2] = {NULL, NULL};
    struct mako_meta found[2];
    int statuses[2], status = mako_store_load_many(w->store, &names[2], expects, 2,
                                                   snapshots, found, statuses, err);

    for (size_t i = 0; i < 2; i++) {
        cr_assert_eq(snapshots[i] != NULL, status == MAKO_OK && statuses[i] == MAKO_OK);
        mako_snapshot_unref(snapshots[i]);
    }
    return first_failure(status, statuses, 2);
}

static int json_round(struct world *w, struct mako_error *err)
{
    static json_t *document; /* made where nothing fails */
    struct mako_save with = {.struct_size = sizeof with, .seq = ++w->last, .schema = 1};

    if (document == NULL)
        document = json_pack("{s:i, s:[i,i,i], s:{s:s}}", "a", 1, "b", 1, 2, 3, "c", "d",
                             "text");
    return document == NULL ? mako_fail(err, MAKO_E_NOMEM, "memory")
                            : mako_json_save(w->store, names[4], &with, document, err);
}

static int json_back(struct world *w, struct mako_error *err)
{
    struct mako_expect expect = {
        .struct_size = sizeof expect, .schema_min = 1, .schema_max = 1};
    json_t *document = (json_t *)(uintptr_t)16;
    int status = mako_json_load(w->store, names[4], &expect, &document, NULL, err);

    if (status != MAKO_OK) {
        cr_assert_eq((uintptr_t)document, 16);
        return status;
    }
    cr_assert_eq(json_object_size(document), 3);
    json_decref(document);
    return status;
}

/* ---- one aggregate: a number that counts events ---------------------------------------
 */

enum {
    EVENTS = 30
};

static void *count_create(void *app)
{
    (void)app;
    return calloc(1, sizeof(uint64_t));
}

static void count_destroy(void *app, void *state)
{
    (void)app;
    free(state);
}

static int count_apply(void *app, void *state, const struct mako_event *event,
                       struct mako_error *err)
{
    uint64_t *count = state;

    (void)app;
    (void)err;
    cr_assert_eq(event->seq, ++*count, "an event came out of order");
    return 0;
}

static int count_encode(void *app, const void *state, mako_bytes *out,
                        struct mako_error *err)
{
    const uint64_t *count = state;
    json_t *document = json_pack("{s:I}", "count", (json_int_t)*count);
    int status;

    (void)app;
    if (document == NULL)
        return mako_fail(err, MAKO_E_CALLBACK, "no memory");
    status = mako_json_encode(document, out, err);
    json_decref(document);
    return status;
}

static int count_decode(void *app, uint32_t schema, const void *bytes, size_t len,
                        void **state, struct mako_error *err)
{
    json_t *document;
    uint64_t *count;
    int status = mako_json_decode(bytes, len, &document, err);

    (void)app;
    (void)schema;
    if (status != MAKO_OK)
        return status;
    count = calloc(1, sizeof *count);
    if (count != NULL)
        *count = (uint64_t)json_integer_value(json_object_get(document, "count"));
    json_decref(document);
    if (count == NULL)
        return mako_fail(err, MAKO_E_CALLBACK, "no memory");
    *state = count;
    return 0;
}

static int count_read(void *app, const char *stream, uint64_t from, mako_feed *feed,
                      struct mako_error *err)
{
    int stop = 0;

    (void)app;
    (void)stream;
    (void)err;
    for (uint64_t seq = from; stop == 0 && seq <= EVENTS; seq++)
        stop = mako_feed_event(feed, &(struct mako_event){.seq = seq, .anchor = seq + 1});
    return stop;
}

static const struct mako_aggregate counting = {.struct_size = sizeof counting,
                                               .schema = 1,
                                               .kind = "count",
                                               .create = count_create,
                                               .destroy = count_destroy,
                                               .apply = count_apply,
                                               .encode = count_encode,
                                               .decode = count_decode,
                                               .read = count_read};

/* State and sequence belong together, whatever happened. */
static void check_process(const mako_process *process)
{
    const uint64_t *count = mako_process_state(process);

    cr_assert_not_null(count);
    cr_assert_eq(*count, mako_process_seq(process));
    cr_assert_geq(*count, EVENTS);
}

static int process_round(struct world *w, struct mako_error *err)
{
    mako_process *process = (mako_process *)untouched;
    struct mako_event event = {.seq = EVENTS + 1, .anchor = EVENTS + 2};
    struct mako_how how = {.struct_size = sizeof how};
    int status = mako_process_open(w->store, &counting, "counted", NULL, &process, err);

    if (status != MAKO_OK) {
        cr_assert_eq((void *)process, (void *)untouched);
        return status;
    }
    mako_process_how(process, &how);
    cr_assert(w->failing || how.snapshot != MAKO_DAMAGED, "what was taken is no state");
    check_process(process);
    status = mako_process_catch_up(process, err);
    if (status == MAKO_OK)
        status = mako_process_take(process, MAKO_TAKE_NOW, err);
    check_process(process);
    if (status == MAKO_OK)
        status = mako_process_push(process, &event, err);
    check_process(process);
    mako_process_close(process);
    return status;
}

/* ---- other rounds --------------------------------------------------------------------
 */

/* Open; state and sequence agree from the start. */
static int open_round(struct world *w, const struct mako_aggregate *aggregate,
                      const char *stream, mako_process **process, struct mako_error *err)
{
    int status = mako_process_open(w->store, aggregate, stream, NULL, process, err);

    if (status == MAKO_OK)
        cr_assert_eq(*(const uint64_t *)mako_process_state(*process),
                     mako_process_seq(*process));
    return status;
}

/* Events from 1 on, and the end of the log. */
static int push_all(mako_process *process, uint64_t head, struct mako_error *err)
{
    int status = MAKO_OK;

    for (uint64_t seq = 1; status == MAKO_OK && seq <= head; seq++)
        status = mako_process_push(
            process, &(struct mako_event){.seq = seq, .anchor = seq + 1}, err);
    return status == MAKO_OK ? mako_process_end(process, head, err) : status;
}

/* A program that pushes; its log ends at head.  A snapshot beyond it is refused and the
 * log pushed anew; where it could not be loaded, it is kept. */
static int push_round(struct world *w, uint64_t head, struct mako_error *err)
{
    struct mako_aggregate pushed = counting;
    struct mako_how how = {.struct_size = sizeof how};
    mako_process *process;
    int status;

    pushed.read = NULL;
    status = open_round(w, &pushed, "pushed", &process, err);
    if (status != MAKO_OK)
        return status;
    status = push_all(process, head, err);
    if (status == MAKO_AHEAD) {
        cr_assert(w->keeps && mako_process_seq(process) == 0);
        status = push_all(process, head, err);
    }
    if (status == MAKO_OK) {
        cr_assert_eq(mako_process_seq(process), head);
        cr_assert_eq(*(const uint64_t *)mako_process_state(process), head);
        status = mako_process_take(process, MAKO_TAKE_NOW, err);
        cr_assert_eq(*(const uint64_t *)mako_process_state(process), head);
    }
    mako_process_how(process, &how);
    if (status == MAKO_STALE && how.snapshot < 0)
        status = MAKO_OK;
    mako_process_close(process);
    return status;
}

static int pushed_round(struct world *w, struct mako_error *err)
{
    int status = push_round(w, EVENTS, err);

    return status == MAKO_OK ? push_round(w, EVENTS / 2, err) : status;
}

static int round_not_due(struct world *w, struct mako_error *err)
{
    mako_process *process;
    int status = open_round(w, &counting, "not due", &process, err);

    if (status != MAKO_OK)
        return status;
    status = mako_process_take(process, 0, err);
    check_process(process);
    mako_process_close(process);
    return status;
}

/* The snapshot is of a layout that the program has left. */
static int round_of_new_layout(struct world *w, struct mako_error *err)
{
    struct mako_aggregate newer = counting;
    struct mako_how how = {.struct_size = sizeof how};
    mako_process *process;
    int status;

    newer.schema = 2;
    status = open_round(w, &newer, "counted", &process, err);
    if (status != MAKO_OK)
        return status;
    mako_process_how(process, &how);
    cr_assert(how.snapshot < 0 ||
                  how.snapshot == (w->keeps ? MAKO_SCHEMA_OLDER : MAKO_NOT_FOUND),
              "status %d", how.snapshot);
    cr_assert_eq(how.folded, EVENTS);
    check_process(process);
    mako_process_close(process);
    return status;
}

static int cut_read(void *app, const char *stream, uint64_t from, mako_feed *feed,
                    struct mako_error *err)
{
    int stop = 0;

    (void)app;
    for (uint64_t seq = from; stop == 0 && seq <= EVENTS / 2; seq++)
        stop = mako_feed_event(feed, &(struct mako_event){.seq = seq, .anchor = seq + 1});
    return stop != 0 ? stop
                     : mako_fail(err, MAKO_E_CALLBACK, "%s: the log is cut off", stream);
}

static int round_of_cut_log(struct world *w, struct mako_error *err)
{
    mako_process *process = (mako_process *)untouched;
    struct mako_aggregate cut = counting;
    int status;

    cut.read = cut_read;
    status = mako_process_open(w->store, &cut, "cut", NULL, &process, err);
    cr_assert_eq((void *)process, (void *)untouched);
    return status;
}

static int no_encode(void *app, const void *state, mako_bytes *out,
                     struct mako_error *err)
{
    (void)app;
    (void)state;
    if (mako_bytes_put(out, "half", 4) != MAKO_OK)
        return mako_fail(err, MAKO_E_NOMEM, "no memory");
    return mako_fail(err, MAKO_E_CALLBACK, "cannot be written");
}

/* A take that fails leaves the state, and the next event is applied to it. */
static int round_not_saved(struct world *w, struct mako_error *err)
{
    struct mako_event event = {.seq = EVENTS + 1, .anchor = EVENTS + 2};
    struct mako_aggregate mute = counting;
    mako_process *process;
    int status, pushed;

    mute.encode = no_encode;
    status = open_round(w, &mute, "not saved", &process, err);
    if (status != MAKO_OK)
        return status;
    status = mako_process_take(process, MAKO_TAKE_NOW, err);
    check_process(process);
    pushed = mako_process_push(process, &event, NULL);
    cr_assert_eq(pushed, MAKO_OK);
    check_process(process);
    mako_process_close(process);
    return status;
}

/* ---- trials --------------------------------------------------------------------------
 */

static bool says_memory(int status, const struct mako_error *err)
{
    return status == MAKO_E_NOMEM ? err->text[0] != '\0'
                                  : strcasestr(err->text, "memory") != NULL;
}

/* Whose fault it is, is said once. */
static bool named_once(const struct mako_error *err)
{
    const char *first = strstr(err->text, "store 's' (");

    return first == NULL || strstr(first + 1, "store 's' (") == NULL;
}

/* Run call while the nth allocation fails.  False: it needs fewer. */
static bool try_one(struct world *w, const struct call *call, long nth, long times)
{
    int wanted = w->keeps ? call->wanted : call->bare, status;
    struct mako_error err = {.text = ""};
    bool fired;

    w->failing = true;
    heap_fail(nth, times);
    status = call->run(w, &err);
    fired = heap_heal();
    w->failing = false;
    if (status != wanted)
        cr_assert(fired && status < 0 && says_memory(status, &err),
                  "%s: %s: allocation %ld, %ld times: status %d (%s): '%s'", w->plugin,
                  call->name, nth, times, status, mako_status_name(status), err.text);
    cr_assert(named_once(&err), "%s: %s: allocation %ld: '%s'", w->plugin, call->name,
              nth, err.text);
    if (w->store != NULL)
        check_all(w);
    if (fired) {
        status = call->run(w, &err);
        cr_assert_eq(status, wanted, "%s: %s: after allocation %ld: status %d: '%s'",
                     w->plugin, call->name, nth, status, err.text);
    }
    return fired;
}

static void try_all(struct world *w, const struct call *call)
{
    long nth = 1, trials = 0;

    for (; try_one(w, call, nth, 1); nth++)
        cr_assert_lt(++trials, TRIALS);
    for (nth = 1; try_one(w, call, nth, HEAP_FOREVER); nth++)
        cr_assert_lt(++trials, TRIALS);
    (void)fprintf(stderr, "%s: %s: %ld trials\n", w->plugin, call->name, trials);
}

static void make_world(struct world *w, const char *plugin, const char *durability,
                       const char *options)
{
    FILE *file;

    *w = (struct world){.plugin = plugin, .keeps = strcmp(plugin, "noop") != 0};
    (void)snprintf(w->dir, sizeof w->dir, "%.40s/mako-heap.XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    cr_assert_not_null(mkdtemp(w->dir));
    cr_assert_eq(setenv("MAKO_PLUGIN_PATH", MAKO_PLUGINS ":" MAKO_TEST_PLUGINS, 1), 0);
    (void)snprintf(w->path, sizeof w->path, "%s/conf.json", w->dir);
    file = fopen(w->path, "w");
    cr_assert_not_null(file);
    (void)fprintf(file,
                  "{\"stores\": {\"s\": {\"plugin\": \"%s\", \"durability\": \"%s\", "
                  "\"retry_after\": 0, "
                  "\"schema\": {\"min\": 1, \"max\": 1}, \"options\": {%s}}}}",
                  plugin, durability, options);
    cr_assert_eq(fclose(file), 0);
}

static void remove_tree(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    char below[400];

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        (void)snprintf(below, sizeof below, "%.100s/%s", path, entry->d_name);
        if (unlink(below) != 0)
            remove_tree(below);
    }
    if (dir != NULL)
        (void)closedir(dir);
    (void)rmdir(path);
}

static const struct call openings[] = {
    {"open", open_path, MAKO_OK, MAKO_OK},
    {"open again", open_path, MAKO_OK, MAKO_OK},
    {"describe", describe, MAKO_OK, MAKO_OK},
    {"config describe", describe_config, MAKO_OK, MAKO_OK},
};

static const struct call calls[] = {
    {"save", save_small, MAKO_OK, MAKO_OK},
    {"save new", save_new, MAKO_OK, MAKO_OK},
    {"save large", save_large, MAKO_OK, MAKO_OK},
    {"save forced", save_forced, MAKO_OK, MAKO_OK},
    {"save stale", save_stale, MAKO_STALE, MAKO_OK},
    {"save many", save_batch, MAKO_OK, MAKO_OK},
    {"load", load_small, MAKO_OK, MAKO_NOT_FOUND},
    {"load large", load_large, MAKO_OK, MAKO_NOT_FOUND},
    {"load newer", load_newer, MAKO_SCHEMA_OLDER, MAKO_NOT_FOUND},
    {"load none", load_none, MAKO_NOT_FOUND, MAKO_NOT_FOUND},
    {"load many", load_batch, MAKO_OK, MAKO_NOT_FOUND},
    {"peek", peek, MAKO_OK, MAKO_NOT_FOUND},
    {"json save", json_round, MAKO_OK, MAKO_OK},
    {"json load", json_back, MAKO_OK, MAKO_NOT_FOUND},
    {"process", process_round, MAKO_OK, MAKO_OK},
    {"process pushed", pushed_round, MAKO_OK, MAKO_OK},
    {"process not due", round_not_due, MAKO_NOT_DUE, MAKO_NOT_DUE},
    {"process new layout", round_of_new_layout, MAKO_OK, MAKO_OK},
    {"process cut log", round_of_cut_log, MAKO_E_CALLBACK, MAKO_E_CALLBACK},
    {"process not saved", round_not_saved, MAKO_E_CALLBACK, MAKO_E_CALLBACK},
    {"remove", remove_one, MAKO_OK, MAKO_OK},
    {"stats", stats, MAKO_OK, MAKO_OK},
};

static const struct call listing[] = {
    {"scan", scan, MAKO_OK, MAKO_OK},
};

static const struct call of_files[] = {
    {"open another", open_overridden, MAKO_OK, MAKO_OK},
    {"open read-only", open_read_only, MAKO_OK, MAKO_OK},
    {"compact", compact, MAKO_OK, MAKO_OK},
};

#define TRY_ALL(w, table)                                           \
    for (size_t i = 0; i < sizeof(table) / sizeof((table)[0]); i++) \
    try_all(w, &(table)[i])

/* Scanning is optional. */
static bool can_scan(struct world *w)
{
    int status = scan(w, NULL);

    cr_assert(status == MAKO_OK || status == MAKO_E_UNSUPPORTED);
    return status == MAKO_OK;
}

static void run_store(const char *plugin, const char *durability, const char *options,
                      const char *const *overrides)
{
    struct world w;
    struct mako_source source;
    struct mako_error err;

    mako_set_log(on_log, NULL);
    make_world(&w, plugin, durability, options);
    w.overrides = overrides;
    source = source_of(&w);
    TRY_ALL(&w, openings);
    cr_assert_eq(mako_store_open_source(&source, &w.store, &err), MAKO_OK, "%s",
                 err.text);
    TRY_ALL(&w, calls);
    if (can_scan(&w))
        TRY_ALL(&w, listing);
    if (strcmp(plugin, "file") == 0)
        TRY_ALL(&w, of_files);
    mako_store_unref(w.store);
    remove_tree(w.dir);
}

TestSuite(core_memory, .timeout = 300);

#ifndef MAKO_REDIS

Test(core_memory, noop)
{
    run_store("noop", "none", "", NULL);
}

Test(core_memory, memory)
{
    run_store("memory", "memory", "", NULL);
}

Test(core_memory, file)
{
    run_store("file", "crash", "\"dir\": \"store\"", NULL);
}

/* The core emulates batches, decides what is stale, and takes the locks. */
Test(core_memory, a_plain_plugin)
{
    run_store("probe-plugin", "memory", "", NULL);
}

/* Those that others copy from. */
Test(core_memory, template)
{
    run_store("template", "memory", "", NULL);
}

#ifdef MAKO_SQLITE
Test(core_memory, sqlite)
{
    run_store("sqlite", "crash", "\"file\": \"db\"", NULL);
}
#endif

#ifdef MAKO_LMDB
Test(core_memory, lmdb)
{
    run_store("lmdb", "crash", "\"dir\": \"db\"", NULL);
}
#endif

#else /* on a real server, which with-redis starts */

/* ---- sockets -------------------------------------------------------------------------
 */

struct socket_fault {
    const char *name;
    enum socket_call call;
    int error;
    bool invisible; /* nothing may fail */
};

static const struct socket_fault socket_faults[] = {
    {"socket", CALL_SOCKET, EMFILE, false},
    {"connect", CALL_CONNECT, ECONNREFUSED, false},
    {"connect", CALL_CONNECT, ENETUNREACH, false},
    {"connect", CALL_CONNECT, EINTR, true},
    {"sendmsg", CALL_SENDMSG, EPIPE, false},
    {"sendmsg", CALL_SENDMSG, ENOBUFS, false},
    {"sendmsg", CALL_SENDMSG, EINTR, true},
    {"sendmsg", CALL_SENDMSG, -1, true},
    {"recvmsg", CALL_RECVMSG, ECONNRESET, false},
    {"recvmsg", CALL_RECVMSG, ENOMEM, false},
    {"recvmsg", CALL_RECVMSG, EINTR, true},
    {"recvmsg", CALL_RECVMSG, -1, true},
    {"poll", CALL_POLL, ENOMEM, false},
    {"poll", CALL_POLL, EINTR, true},
    {"setsockopt", CALL_SETSOCKOPT, ENOBUFS, false},
    {"getaddrinfo", CALL_GETADDRINFO, EAI_AGAIN, false},
    {"getaddrinfo", CALL_GETADDRINFO, EAI_MEMORY, false},
    {"getsockopt", CALL_GETSOCKOPT, ENOBUFS, false},
    {"fcntl", CALL_FCNTL, EBADF, false},
    {"recv", CALL_RECV, ECONNRESET, true}, /* another connection is made */
    {"recv", CALL_RECV, EINTR, true},
    {"close", CALL_CLOSE, EIO, true},
    {"close", CALL_CLOSE, EINTR, true},
};

static bool try_socket(struct world *w, const struct call *call,
                       const struct socket_fault *fault, long nth, long times)
{
    struct mako_error err = {.text = ""};
    int status;
    bool fired;

    sockets_fail(fault->call, nth, times, fault->error);
    status = call->run(w, &err);
    fired = sockets_heal();
    if (status != call->wanted)
        cr_assert(fired && !fault->invisible && err.text[0] != '\0' &&
                      (status == MAKO_E_UNAVAILABLE || status == MAKO_E_NOMEM ||
                       status == MAKO_E_IO),
                  "%s: %s %ld, error %d: status %d: '%s'", call->name, fault->name, nth,
                  fault->error, status, err.text);
    if (w->store != NULL)
        check_all(w);
    if (fired) {
        status = call->run(w, &err);
        cr_assert_eq(status, call->wanted, "%s: after %s %ld, error %d: status %d: '%s'",
                     call->name, fault->name, nth, fault->error, status, err.text);
    }
    return fired;
}

static const char *cause_of(const struct socket_fault *fault)
{
    return fault->call == CALL_GETADDRINFO ? gai_strerror(fault->error)
                                           : strerror(fault->error);
}

/* What fails time and again keeps a store from being opened, and is named. */
static void refuse_openings(struct world *w)
{
    for (size_t i = 0; i < sizeof socket_faults / sizeof socket_faults[0]; i++) {
        const struct socket_fault *fault = &socket_faults[i];
        struct mako_error err = {.text = ""};
        int status;

        if (fault->invisible)
            continue;
        sockets_fail(fault->call, 1, HEAP_FOREVER, fault->error);
        status = open_path(w, &err);
        cr_assert(sockets_heal(), "%s, error %d, does not come", fault->name,
                  fault->error);
        cr_assert(status < 0 && strstr(err.text, cause_of(fault)) != NULL,
                  "%s, error %d, for ever: status %d: '%s'", fault->name, fault->error,
                  status, err.text);
    }
}

/* Once, and the next attempts as well. */
static void try_sockets(struct world *w, const struct call *call)
{
    long trials = 0;

    for (size_t i = 0; i < sizeof socket_faults / sizeof socket_faults[0]; i++) {
        for (long nth = 1; nth < 12 && try_socket(w, call, &socket_faults[i], nth, 1);
             nth++)
            trials++;
        trials += try_socket(w, call, &socket_faults[i], 1, 3);
    }
    (void)fprintf(stderr, "%s: %ld trials of sockets\n", call->name, trials);
}

/* How with-redis sets servers up, and what the plugin is told of it.  The configuration
 * has short strings, see heap.h; what is longer is an override. */
struct setup {
    const char *options;
    const char *const *overrides;
};

#define SERVER  "\"endpoints\": \"${R}\", \"key_prefix\": \"${P}\""
#define PATIENT "io_timeout=30s", "wait_timeout=30s"

static const struct setup single = {.options = SERVER,
                                    .overrides = (const char *const[]){PATIENT, NULL}};
static const struct setup cluster = {.options = SERVER ", \"mode\": \"cluster\"",
                                     .overrides = (const char *const[]){PATIENT, NULL}};
static const struct setup sentinel = {
    .options = SERVER ", \"mode\": \"sentinel\"",
    .overrides = (const char *const[]){"sentinel_master=mako", PATIENT, NULL}};

static void name_server(const char *prefix)
{
    cr_assert_not_null(getenv("MAKO_TEST_REDIS"));
    cr_assert_eq(setenv("R", getenv("MAKO_TEST_REDIS"), 1), 0);
    cr_assert_eq(setenv("P", prefix, 1), 0);
}

static void open_world(struct world *w, const struct setup *setup)
{
    struct mako_source source;
    struct mako_error err;

    mako_set_log(on_log, NULL);
    make_world(w, "redis", "crash", setup->options);
    w->overrides = setup->overrides;
    source = source_of(w);
    cr_assert_eq(mako_store_open_source(&source, &w->store, &err), MAKO_OK, "%s",
                 err.text);
}

static void run_sockets(const struct setup *setup)
{
    struct world w, none;

    name_server("sockets:");
    open_world(&w, setup);
    none = w;
    none.store = NULL;
    refuse_openings(&none);
    try_sockets(&none, &openings[0]);
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
        try_sockets(&w, &calls[i]);
    try_sockets(&w, &listing[0]);
    mako_store_unref(w.store);
    remove_tree(w.dir);
}

static void run_memory(const struct setup *setup)
{
    name_server("memory:");
    run_store("redis", "crash", setup->options, setup->overrides);
}

Test(core_memory, single)
{
    run_memory(&single);
}

Test(core_memory, single_sockets)
{
    run_sockets(&single);
}

Test(core_memory, cluster)
{
    run_memory(&cluster);
}

Test(core_memory, cluster_sockets)
{
    run_sockets(&cluster);
}

Test(core_memory, sentinel)
{
    run_memory(&sentinel);
}

Test(core_memory, sentinel_sockets)
{
    run_sockets(&sentinel);
}
#endif

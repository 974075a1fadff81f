/* fork() at any moment, with and without exec: what a child may do, and that its parent
 * does not notice.  docs/guarantees.md, "A forked child", is what this holds the library
 * to. */
#include "life.h"

#include <dirent.h>
#include <mako/process.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHILD_PATIENCE_S 60
#define DESCRIPTORS      "--descriptors"

struct family {
    struct trial *t;
    mako_snapshot *snapshot; /* the parent's, of pattern 7 */
    mako_process *process;   /* likewise */
    struct trial own;        /* the child's */
};

/* ---- what a child does with its parent's ------------------------------------------ */

/* Refused, with a sentence that says so. */
#define FORKED(call)                                                                 \
    do {                                                                             \
        struct mako_error err = {""};                                                \
        int status = (call);                                                         \
        CHECKF(status == MAKO_E_FORKED && strstr(err.text, "a child opens its own"), \
               "%s: %s: %s", #call, mako_status_name(status), err.text);             \
    } while (0)

static bool no_entry(void *arg, struct mako_str stream, const struct mako_meta *meta,
                     uint64_t size)
{
    (void)arg, (void)stream, (void)meta, (void)size;
    return true;
}

static void no_line(void *arg, const char *key, const char *value)
{
    (void)arg, (void)key, (void)value;
}

static void no_counter(void *arg, const char *name, uint64_t value)
{
    (void)arg, (void)name, (void)value;
}

static enum verdict one_by_one(struct trial *t, mako_store *store)
{
    struct mako_save save = save_of((struct sample){.seq = 1});
    struct mako_expect any = expect_range(1, 1);
    mako_snapshot *snapshot;
    struct mako_meta meta;

    FORKED(mako_store_save(store, "child", &save, &err));
    FORKED(mako_store_load(store, "child", &any, &snapshot, &meta, &err));
    FORKED(mako_store_peek(store, "child", &meta, &err));
    FORKED(mako_store_remove(store, "child", &err));
    FORKED(mako_store_scan(store, NULL, no_entry, NULL, &err));
    FORKED(mako_store_compact(store, NULL, NULL, &err));
    FORKED(mako_store_stats(store, no_counter, NULL, &err));
    return PASS;
}

/* Either the whole call says so, or each item. */
static bool all_forked(int status, const int statuses[2])
{
    return status == MAKO_E_FORKED ||
           (status == MAKO_OK && statuses[0] == MAKO_E_FORKED &&
            statuses[1] == MAKO_E_FORKED);
}

static enum verdict many_at_once(struct trial *t, mako_store *store)
{
    struct mako_save save = save_of((struct sample){.seq = 1});
    struct mako_expect any = expect_range(1, 1);
    const struct mako_save *saves[] = {&save, &save};
    const struct mako_expect *expects[] = {&any, &any};
    const char *streams[] = {"child", "other"};
    mako_snapshot *snapshots[2];
    int statuses[2] = {0, 0}, status;
    struct mako_error err;

    status = mako_store_save_many(store, streams, saves, 2, statuses, &err);
    CHECKF(all_forked(status, statuses), "save_many: %d: %s", status, err.text);
    status =
        mako_store_load_many(store, streams, expects, 2, snapshots, NULL, statuses, &err);
    CHECKF(all_forked(status, statuses), "load_many: %d: %s", status, err.text);
    return PASS;
}

static enum verdict use_inherited(struct family *f)
{
    struct trial *t = f->t;
    struct mako_info info = {.struct_size = sizeof info};
    size_t len = 0;

    TRY(one_by_one(t, t->store));
    TRY(many_at_once(t, t->store));
    FORKED(mako_process_take(f->process, MAKO_TAKE_NOW, &err));
    CHECK(mako_process_seq(f->process) == 5);
    mako_store_info(t->store, &info);
    CHECK(strcmp(info.name, "test") == 0 && !mako_store_due(t->store, 0, 0));
    if (f->snapshot != NULL)
        CHECK(is_pattern(mako_snapshot_state(f->snapshot, &len), 3000, 7) && len == 3000);
    mako_snapshot_unref(f->snapshot);
    mako_process_close(f->process);
    mako_store_unref(mako_store_ref(t->store));
    mako_store_unref(t->store);
    return PASS;
}

/* ---- what a child does with its own ----------------------------------------------- */

static void no_log(void *arg, int level, const char *message)
{
    (void)arg, (void)level, (void)message;
}

static enum verdict work_a_while(struct trial *t)
{
    struct work work = {.t = t, .ledger = ledger_new(), .count = 1};
    struct worker w = {
        .work = &work, .index = 3, .seed = life_seed, .state = malloc(LEN_MAX)};

    CHECK(w.state != NULL && work.ledger != NULL);
    for (int i = 0; i < 10; i++)
        work_once(&w);
    free(w.state);
    return ledger_check(t, work.ledger);
}

/* A plugin that takes one call at a time, in all of the process, may have been left in
 * the middle of one: then no store is opened, and that is said. */
static bool is_cut_off(const struct trial *t)
{
    mako_store *store = NULL;
    struct mako_error err;
    int status;

    if (t->threads != MAKO_THREADS_PLUGIN)
        return false;
    status = mako_store_open(t->conf, "test", &store, &err);
    mako_store_unref(store);
    return status == MAKO_E_FORKED && strstr(err.text, "in the middle of a call");
}

/* Not the parent's directory, which only the file plugin minds. */
static enum verdict open_own(struct family *f)
{
    struct trial *t = &f->own;
    const struct mako_source source = {
        .struct_size = sizeof source, .path = f->t->conf, .name = "test"};
    struct mako_error err;

    mako_set_log(no_log, NULL);
    t->conf = f->t->conf;
    t->durability = f->t->durability;
    CHECK(snprintf(t->data, sizeof t->data, "%.3900s/child-%d", f->t->data,
                   (int)getpid()) > 0);
    CHECK(mkdir(t->data, 0700) == 0 && setenv("MAKO_TEST_DIR", t->data, 1) == 0);
    CHECK(mako_config_describe(&source, no_line, NULL, &err) == MAKO_OK);
    CHECK(mako_plugin_describe(t->conf, f->t->info.plugin_path, no_line, NULL, &err) ==
          MAKO_OK);
    if (is_cut_off(f->t))
        return PASS;
    TRY(trial_open(t));
    TRY(work_a_while(t));
    trial_close(t);
    return PASS;
}

static enum verdict do_everything(struct family *f)
{
    enum verdict verdict = use_inherited(f);

    if (verdict != PASS)
        return trial_fail(&f->own, __FILE__, __LINE__, "%s", f->t->message);
    return open_own(f);
}

/* How the child ends: its exit code, where it went well. */
static _Noreturn void be_child(struct family *f, bool by_exit)
{
    bool good;

    (void)alarm(CHILD_PATIENCE_S);
    good = do_everything(f) == PASS;
    if (!good)
        (void)fprintf(stderr, "the child: %s\n", f->own.message);
    if (by_exit)
        exit(good ? 0 : 1);
    _exit(good ? 0 : 1);
}

/* ---- the parent ------------------------------------------------------------------- */

/* Opens and closes stores, and sets the log, so that forks come in the middle of it. */
struct storm {
    struct trial t;
    atomic_bool stop;
    atomic_uint openings;
};

static void *run_storm(void *arg)
{
    struct storm *storm = arg;
    static const char text[] =
        "{\"stores\": {\"a\": {\"plugin\": \"memory\", \"durability\": \"memory\"}}}";

    while (!atomic_load(&storm->stop)) {
        mako_store *store = NULL;

        mako_set_log(no_log, NULL);
        if (mako_store_open_json(text, sizeof text - 1, "a", &store, NULL) == MAKO_OK)
            atomic_fetch_add(&storm->openings, 1);
        mako_store_unref(store);
    }
    return NULL;
}

static void *make_number(void *app)
{
    (void)app;
    return calloc(1, sizeof(uint64_t));
}

static void free_number(void *app, void *state)
{
    (void)app;
    free(state);
}

static int add_event(void *app, void *state, const struct mako_event *event,
                     struct mako_error *err)
{
    (void)app, (void)err;
    *(uint64_t *)state += event->seq;
    return 0;
}

static int put_number(void *app, const void *state, mako_bytes *out,
                      struct mako_error *err)
{
    (void)app, (void)err;
    return mako_bytes_put(out, state, sizeof(uint64_t));
}

static int get_number(void *app, uint32_t schema, const void *bytes, size_t len,
                      void **state, struct mako_error *err)
{
    (void)schema;
    *state = make_number(app);
    if (*state == NULL || len != sizeof(uint64_t))
        return mako_fail(err, MAKO_E_CALLBACK, "%zu bytes", len);
    memcpy(*state, bytes, len);
    return 0;
}

static const struct mako_aggregate numbers = {.struct_size = sizeof numbers,
                                              .schema = 1,
                                              .create = make_number,
                                              .destroy = free_number,
                                              .apply = add_event,
                                              .encode = put_number,
                                              .decode = get_number};

static enum verdict make_family(struct trial *t, struct family *f)
{
    static unsigned char bytes[3000];
    struct mako_error err;

    pattern(bytes, sizeof bytes, 7);
    f->t = t;
    STATUS(put(t, "family", (struct sample){.seq = 7, .state = bytes, .len = 3000}, &err),
           MAKO_OK);
    if (keeps(t))
        STATUS(get(t, "family", &f->snapshot, &err), MAKO_OK);
    STATUS(mako_process_open(t->store, &numbers, "sum", NULL, &f->process, &err),
           MAKO_OK);
    for (uint64_t seq = 1; seq <= 5; seq++) {
        const struct mako_event event = {.seq = seq};

        STATUS(mako_process_push(f->process, &event, &err), MAKO_OK);
    }
    return PASS;
}

static enum verdict fork_often(struct trial *t, struct family *f, struct work *work)
{
    uint64_t seed = life_seed;

    for (unsigned long round = 0; round < life_rounds; round++) {
        pid_t child;
        int code;

        ledger_wait(work->ledger, life_draw(&seed) % 30);
        child = fork();
        if (child == 0)
            be_child(f, false);
        CHECK(child > 0);
        if (life_draw(&seed) % 2)
            ledger_wait(work->ledger, life_draw(&seed) % 30);
        code = life_wait(child);
        CHECKF(code == 0, "round %lu: the child ended with %d", round, code);
    }
    return ledger_errors(t, work->ledger);
}

static enum verdict forks_while_calls_are_under_way(struct trial *t)
{
    struct work work = {.t = t, .ledger = ledger_new(), .count = 3};
    struct family family = {.t = t};
    struct storm storm = {.openings = 0};
    enum verdict verdict;
    pthread_t thread;

    if (SANITIZED)
        return trial_skip(t, "the sanitizer's own locks are not kept across a fork");
    TRY(make_family(t, &family));
    TRY(work_start(&work));
    CHECK(pthread_create(&thread, NULL, run_storm, &storm) == 0);
    verdict = fork_often(t, &family, &work);
    work_stop(&work);
    atomic_store(&storm.stop, true);
    (void)pthread_join(thread, NULL);
    if (verdict != PASS)
        return verdict;
    CHECK(storm.openings > 0);
    mako_snapshot_unref(family.snapshot);
    TRY(trial_status(t, __FILE__, __LINE__, "take",
                     mako_process_take(family.process, MAKO_TAKE_NOW, NULL), MAKO_OK,
                     &(struct mako_error){"ok"}));
    mako_process_close(family.process);
    TRY(ledger_check(t, work.ledger));
    if (!outlives(t))
        return PASS;
    TRY(trial_reopen(t));
    return ledger_check(t, work.ledger);
}

/* A child of one thread may end by exit(), whose handlers run.  A sanitizer would
 * complain there: what its parent's plugin has allocated is never freed in a child. */
static enum verdict a_child_that_exits(struct trial *t)
{
    struct family family = {.t = t};
    pid_t child;
    int code;

    TRY(make_family(t, &family));
    child = fork();
    if (child == 0)
        be_child(&family, !SANITIZED);
    code = life_wait(child);
    CHECKF(code == 0, "the child ended with %d", code);
    mako_snapshot_unref(family.snapshot);
    mako_process_close(family.process);
    return put_text(t, "after", 1, "x") == MAKO_OK
               ? holds_text(t, "after", 1, "x")
               : trial_fail(t, __FILE__, __LINE__, "the parent cannot save");
}

/* ---- brothers and sisters --------------------------------------------------------- */

/* Saves and loads one stream that all write, large enough for each way there is. */
static enum verdict share(struct trial *t, unsigned which)
{
    static unsigned char bytes[100000];
    struct mako_error err;

    for (uint64_t i = 1; i <= 60; i++) {
        mako_snapshot *snapshot = NULL;
        size_t len = i % 2 ? sizeof bytes : 600;
        uint64_t seq = i * 4 + which;
        const void *state;
        bool whole;
        int status;

        pattern(bytes, len, seq);
        status =
            put(t, "all", (struct sample){.seq = seq, .state = bytes, .len = len}, &err);
        CHECKF(status == MAKO_OK || status == MAKO_STALE, "save: %s", err.text);
        STATUS(get(t, "all", &snapshot, &err), MAKO_OK);
        seq = mako_snapshot_meta(snapshot).seq;
        state = mako_snapshot_state(snapshot, &len);
        whole = is_pattern(state, len, seq);
        mako_snapshot_unref(snapshot);
        CHECKF(whole && seq >= i * 4 + which, "%llu after %llu", (unsigned long long)seq,
               (unsigned long long)(i * 4 + which));
    }
    return PASS;
}

static _Noreturn void be_sibling(struct trial *parent, unsigned which)
{
    static struct trial own;
    enum verdict verdict;

    (void)alarm(CHILD_PATIENCE_S);
    own.conf = parent->conf;
    verdict = trial_open(&own);
    if (verdict == PASS)
        verdict = share(&own, which);
    if (verdict != PASS)
        (void)fprintf(stderr, "child %u: %s\n", which, own.message);
    trial_close(&own);
    _exit(verdict == PASS ? 0 : 1);
}

/* A server that opens its store, and then forks those who do the work: each opens its
 * own, and nothing that they make up is the same in two of them. */
static enum verdict siblings_share_a_store(struct trial *t)
{
    pid_t children[3];
    int bad = 0;

    if ((t->info.features & MAKO_FEATURE_SHARED) == 0)
        return trial_skip(t, "one process at a time");
    TRY(share(t, 0));
    TRY(trial_reopen(t));
    CHECK(mako_store_remove(t->store, "all", NULL) == MAKO_OK);
    for (unsigned i = 0; i < 3; i++) {
        children[i] = fork();
        if (children[i] == 0)
            be_sibling(t, i);
    }
    TRY(share(t, 3));
    for (unsigned i = 0; i < 3; i++)
        bad |= life_wait(children[i]);
    CHECKF(bad == 0, "children ended with %d", bad);
    return PASS;
}

/* ---- exec ------------------------------------------------------------------------- */

/* Descriptors beyond the usual, as bits; what is inherited from whoever started us. */
static uint64_t descriptors(bool tell)
{
    DIR *dir = opendir("/proc/self/fd");
    const struct dirent *entry;
    uint64_t found = 0;

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        char path[300], target[300] = "";
        int fd = (int)strtol(entry->d_name, NULL, 10);

        if (fd <= STDERR_FILENO || fd == dirfd(dir) || fd > 63)
            continue;
        found |= (uint64_t)1 << fd;
        (void)snprintf(path, sizeof path, "/proc/self/fd/%s", entry->d_name);
        if (tell && readlink(path, target, sizeof target - 1) > 0)
            (void)fprintf(stderr, "descriptor %d: %s\n", fd, target);
    }
    if (dir != NULL)
        (void)closedir(dir);
    return found;
}

static uint64_t inherited; /* when the program began */

static enum verdict exec_once(struct trial *t, bool by_spawn)
{
    char allowed[24], program[] = "/proc/self/exe", option[] = DESCRIPTORS;
    char *arguments[] = {program, option, allowed, NULL};
    pid_t child = -1;
    int code;

    (void)snprintf(allowed, sizeof allowed, "%llu", (unsigned long long)inherited);
    if (by_spawn) {
        CHECK(posix_spawn(&child, program, NULL, NULL, arguments, environ) == 0);
    } else {
        child = fork();
        if (child == 0) {
            (void)execv(program, arguments);
            _exit(99);
        }
    }
    code = life_wait(child);
    CHECKF(code == 0, "a program that was executed found descriptors (%d)", code);
    return PASS;
}

static enum verdict exec_often(struct trial *t, const struct work *work)
{
    uint64_t seed = life_seed;

    for (unsigned long round = 0; round < life_rounds; round++) {
        ledger_wait(work->ledger, life_draw(&seed) % 20);
        TRY(exec_once(t, round % 2));
    }
    return ledger_errors(t, work->ledger);
}

static enum verdict nothing_is_left_open_for_others(struct trial *t)
{
    struct work work = {.t = t, .ledger = ledger_new(), .count = 3};
    enum verdict verdict;

    TRY(work_start(&work));
    verdict = exec_often(t, &work);
    work_stop(&work);
    return verdict == PASS ? ledger_check(t, work.ledger) : verdict;
}

/* The lock of a directory is not held by a program that the process has started. */
static enum verdict locks_are_not_inherited(struct trial *t)
{
    char program[] = "/bin/cat";
    char *arguments[] = {program, NULL};
    int ends[2];
    pid_t child;

    CHECK(put_text(t, "a", 1, "x") == MAKO_OK && pipe(ends) == 0);
    child = fork();
    if (child == 0) {
        (void)dup2(ends[0], STDIN_FILENO);
        (void)close(ends[1]);
        (void)execv(program, arguments);
        _exit(99);
    }
    (void)close(ends[0]);
    TRY(trial_reopen(t)); /* the child may be before or after its exec */
    TRY(outlives(t) ? holds_text(t, "a", 1, "x") : holds_nothing(t, "a"));
    (void)close(ends[1]);
    CHECK(life_wait(child) == 0);
    return PASS;
}

static const struct test_case cases[] = {
    {"forks_while_calls_are_under_way", forks_while_calls_are_under_way},
    {"a_child_that_exits", a_child_that_exits},
    {"siblings_share_a_store", siblings_share_a_store},
    {"nothing_is_left_open_for_others", nothing_is_left_open_for_others},
    {"locks_are_not_inherited", locks_are_not_inherited},
    {NULL, NULL}};

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], DESCRIPTORS) == 0) {
        uint64_t allowed = strtoull(argv[2], NULL, 10);

        if ((descriptors(false) & ~allowed) == 0)
            return 0;
        (void)descriptors(true);
        return 1;
    }
    inherited = descriptors(false);
    return life_main(argc, argv, cases, 20);
}

/* Limits of the process that are reached in the middle of work, and lifted again: calls
 * fail with a sentence or do not need what there is none of, nothing ends the process,
 * and afterwards work goes on.  tests/faults/file_disk_test.c has more for the file
 * store. */
#include "life.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- limits ----------------------------------------------------------------------- */

static enum verdict set_limit(struct trial *t, __rlimit_resource_t what, rlim_t value)
{
    struct rlimit limit;

    CHECK(getrlimit(what, &limit) == 0);
    limit.rlim_cur = value < limit.rlim_max ? value : limit.rlim_max;
    CHECKF(setrlimit(what, &limit) == 0, "%s", strerror(errno));
    return PASS;
}

static enum verdict no_more_descriptors(struct trial *t)
{
    int next = open("/dev/null", O_RDONLY | O_CLOEXEC);

    CHECK(next >= 0 && close(next) == 0);
    return set_limit(t, RLIMIT_NOFILE, (rlim_t)next);
}

static enum verdict no_more_memory(struct trial *t)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    bool got = file != NULL && fscanf(file, "%lu", &pages) == 1;

    CHECK(got && fclose(file) == 0);
    return set_limit(t, RLIMIT_AS, pages * (rlim_t)sysconf(_SC_PAGESIZE) + 100000);
}

static enum verdict no_larger_files(struct trial *t)
{
    return set_limit(t, RLIMIT_FSIZE, 20000);
}

static enum verdict no_more_threads(struct trial *t)
{
    return set_limit(t, RLIMIT_NPROC, 1);
}

/* ---- work under a limit ----------------------------------------------------------- */

/* A store that was found to be away is let alone for a while. */
static enum verdict until_well(struct trial *t)
{
    const struct timespec pause = {.tv_nsec = 20000000};
    static uint64_t seq;
    struct sample s = {.seq = ++seq, .state = "well", .len = 4};
    struct mako_error err = {""};
    int status;

    while ((status = put(t, "well", s, &err)) == MAKO_E_UNAVAILABLE)
        (void)nanosleep(&pause, NULL);
    CHECKF(status == MAKO_OK, "%s", err.text);
    return PASS;
}

/* Opening works or says why it does not. */
static enum verdict try_to_open(struct trial *t)
{
    mako_store *store = NULL;
    struct mako_error err = {""};
    int status = mako_store_open(t->conf, "test", &store, &err);

    CHECKF(status == MAKO_OK || (status < 0 && err.text[0] != '\0' && store == NULL),
           "opening: %d '%s'", status, err.text);
    CHECKF(status != MAKO_E_PLUGIN || strstr(err.text, ".so"), "%s", err.text);
    mako_store_unref(store);
    return PASS;
}

static enum verdict work_strictly(struct trial *t, struct work *work)
{
    work->may_refuse = false;
    TRY(work_start(work));
    ledger_wait(work->ledger, life_rounds);
    work_stop(work);
    return ledger_check(t, work->ledger);
}

/* lower takes something away while calls are under way. */
static enum verdict work_under_limit(struct trial *t,
                                     enum verdict (*lower)(struct trial *),
                                     __rlimit_resource_t what)
{
    struct work work = {.t = t, .ledger = ledger_new(), .count = 3};
    struct rlimit before;

    CHECK(getrlimit(what, &before) == 0);
    for (int round = 0; round < 3; round++) {
        work.may_refuse = true;
        TRY(work_start(&work));
        ledger_wait(work.ledger, 20);
        TRY(lower(t));
        ledger_wait(work.ledger, life_rounds);
        if (round == 1)
            TRY(try_to_open(t));
        CHECK(setrlimit(what, &before) == 0);
        work_stop(&work);
        TRY(until_well(t));
        TRY(ledger_check(t, work.ledger));
        TRY(work_strictly(t, &work));
        if (outlives(t) && round == 1)
            TRY(trial_reopen(t));
    }
    return ledger_check(t, work.ledger);
}

static enum verdict descriptors(struct trial *t)
{
    return work_under_limit(t, no_more_descriptors, RLIMIT_NOFILE);
}

static enum verdict file_sizes(struct trial *t)
{
    return work_under_limit(t, no_larger_files, RLIMIT_FSIZE);
}

static enum verdict memory(struct trial *t)
{
    if (SANITIZED)
        return trial_skip(t, "a sanitizer takes all the address space for itself");
    return work_under_limit(t, no_more_memory, RLIMIT_AS);
}

/* One call at a time, large enough that there is no memory for it. */
static enum verdict memory_for_large_states(struct trial *t)
{
    static unsigned char state[2 << 20];
    struct sample s = {.seq = 1, .state = state, .len = sizeof state};
    struct mako_error err = {""};
    mako_snapshot *snapshot = NULL;
    struct rlimit before;
    int saved, loaded;

    if (SANITIZED)
        return trial_skip(t, "a sanitizer takes all the address space for itself");
    pattern(state, sizeof state, 1);
    STATUS(put(t, "large", s, &err), MAKO_OK);
    CHECK(getrlimit(RLIMIT_AS, &before) == 0);
    s.seq = 2;
    TRY(no_more_memory(t));
    saved = put(t, "large", s, &err);
    loaded = get(t, "large", &snapshot, saved == MAKO_OK ? &err : NULL);
    mako_snapshot_unref(snapshot);
    CHECK(setrlimit(RLIMIT_AS, &before) == 0);
    CHECKF(saved == MAKO_E_NOMEM && strstr(err.text, "no memory"), "%d %s", saved,
           err.text);
    CHECK(loaded == MAKO_E_NOMEM || loaded == (keeps(t) ? MAKO_OK : MAKO_NOT_FOUND));
    s.seq = 1;
    TRY(holds(t, "large", s));
    s.seq = 3;
    STATUS(put(t, "large", s, &err), MAKO_OK);
    return holds(t, "large", s);
}

/* ---- threads ---------------------------------------------------------------------- */

/* The limit does not bind root: be somebody. */
static bool drop_privileges(const struct trial *t)
{
    const uid_t nobody = 65534;

    if (geteuid() != 0)
        return true;
    return chown(t->root, nobody, nobody) == 0 && chown(t->data, nobody, nobody) == 0 &&
           setgroups(0, NULL) == 0 && setresgid(nobody, nobody, nobody) == 0 &&
           setresuid(nobody, nobody, nobody) == 0 && access(t->conf, R_OK) == 0 &&
           access(t->info.plugin_path, R_OK) == 0 && access(t->data, W_OK) == 0;
}

/* What needs a thread says that it has none; what does not, works. */
static enum verdict open_without_threads(struct trial *t)
{
    struct mako_error err = {""};
    mako_store *store = NULL;
    int status = mako_store_open(t->conf, "test", &store, &err);

    mako_store_unref(store);
    if (strcmp(t->info.plugin, "file") == 0)
        CHECKF(status == MAKO_E_NOMEM && strstr(err.text, "a thread for compaction"),
               "%d %s", status, err.text);
    else
        CHECKF(status == MAKO_OK, "%d %s", status, err.text);
    return PASS;
}

static enum verdict be_short_of_threads(struct trial *t)
{
    char dir[sizeof t->data + 16];
    struct rlimit before;

    (void)snprintf(dir, sizeof dir, "%s/threads", t->data);
    CHECK(mkdir(dir, 0700) == 0 && setenv("MAKO_TEST_DIR", dir, 1) == 0);
    CHECK(getrlimit(RLIMIT_NPROC, &before) == 0);
    TRY(no_more_threads(t));
    TRY(open_without_threads(t));
    CHECK(setrlimit(RLIMIT_NPROC, &before) == 0);
    TRY(trial_open(t));
    CHECK(put_text(t, "a", 1, "goes on") == MAKO_OK);
    TRY(holds_text(t, "a", 1, "goes on"));
    trial_close(t);
    return PASS;
}

/* In a child: what this process has made is for root to clear away. */
static enum verdict threads_are_short(struct trial *t)
{
    enum verdict verdict;
    pid_t child;
    int code;

    trial_close(t);
    child = fork();
    if (child == 0) {
        if (!drop_privileges(t))
            _exit(77);
        verdict = be_short_of_threads(t);
        if (verdict != PASS)
            (void)fprintf(stderr, "%s\n", t->message);
        _exit(verdict == PASS ? 0 : 1);
    }
    code = life_wait(child);
    if (code == 77)
        return trial_skip(t, "somebody who is not root can do nothing here");
    CHECKF(code == 0, "the child ended with %d", code);
    return PASS;
}

static const struct test_case cases[] = {
    {"descriptors", descriptors},
    {"file_sizes", file_sizes},
    {"memory", memory},
    {"memory_for_large_states", memory_for_large_states},
    {"threads_are_short", threads_are_short},
    {NULL, NULL}};

int main(int argc, char **argv)
{
    return life_main(argc, argv, cases, 150);
}

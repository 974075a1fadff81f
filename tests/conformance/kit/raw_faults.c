/* Faults of the system, where the store lies in MAKO_TEST_DIR: what was acknowledged
 * survives them, and every answer is one that the contract knows. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include "raw.h"

enum {
    STREAMS = 40,
    FILLERS = 400, /* more than a small disk holds */
    BIG = 60000
};

static char names[STREAMS][30];
static uint64_t acked[STREAMS], tried[STREAMS];

static struct raw_record record_of(size_t i, uint64_t seq)
{
    return (struct raw_record){
        .stream = names[i], .seq = seq, .len = seq % 2 ? BIG : 500, .seed = i};
}

/* One more of each stream.  Failures are fine; which, is counted. */
static void save_round(struct raw_store *s, unsigned *failed, unsigned *no_space)
{
    for (size_t i = 0; i < STREAMS; i++) {
        int status = raw_save(s, record_of(i, ++tried[i]));

        if (status == MAKO_OK)
            acked[i] = tried[i];
        *failed += status != MAKO_OK;
        *no_space += status == MAKO_E_NO_SPACE;
    }
}

/* Each stream holds what was acknowledged last, or one that was tried after it. */
static enum verdict nothing_was_lost(struct trial *t, struct raw_store *s)
{
    for (size_t i = 0; i < STREAMS; i++) {
        uint64_t seq = raw_seq(s, names[i]);

        CHECKF(seq >= acked[i] && seq <= tried[i],
               "%s: %llu was acknowledged, %llu is there: %s", names[i],
               (unsigned long long)acked[i], (unsigned long long)seq, raw_error()->text);
        if (seq > 0)
            TRY(raw_holds(t, s, record_of(i, seq)));
        acked[i] = seq;
    }
    return PASS;
}

/* The fault is over: the store is opened anew, holds what it should, and goes on. */
static enum verdict goes_on(struct trial *t, struct raw_store *s)
{
    unsigned failed = 0, no_space = 0;

    raw_close(s);
    TRY(raw_open_well(t, s));
    TRY(nothing_was_lost(t, s));
    for (size_t i = 0; i < STREAMS; i += 2)
        CHECKF(raw_remove(s, names[i]) >= 0, "%s", raw_error()->text);
    for (size_t i = 0; i < STREAMS; i += 2)
        acked[i] = 0;
    save_round(s, &failed, &no_space);
    CHECKF(failed == 0, "%u saves failed after the fault: %s", failed, raw_error()->text);
    TRY(nothing_was_lost(t, s));
    raw_close(s);
    return PASS;
}

static enum verdict prepare(struct trial *t)
{
    if (!raw_allows_faults(t))
        return trial_skip(t, "no path option leads into MAKO_TEST_DIR, or the "
                             "configuration says no");
    if (raw_durability_asked(t) < MAKO_DURABLE_CRASH)
        return trial_skip(t, "nothing that was asked for outlives the store");
    for (size_t i = 0; i < STREAMS; i++)
        (void)snprintf(names[i], sizeof names[i], "fault/%zu", i);
    return PASS;
}

/* ---- limits ----------------------------------------------------------------------- */

static bool set_limit(int resource, rlim_t value)
{
    struct rlimit limit;

    if (getrlimit((__rlimit_resource_t)resource, &limit) != 0)
        return false;
    limit.rlim_cur = value < limit.rlim_max ? value : limit.rlim_max;
    return setrlimit((__rlimit_resource_t)resource, &limit) == 0;
}

static rlim_t soft_limit(int resource)
{
    struct rlimit limit = {.rlim_cur = 1024};

    (void)getrlimit((__rlimit_resource_t)resource, &limit);
    return limit.rlim_cur;
}

static enum verdict without_descriptors(struct trial *t)
{
    rlim_t usual = soft_limit(RLIMIT_NOFILE);
    unsigned failed = 0, no_space = 0;
    struct raw_sink k = {.declines = false};
    struct raw_store s, more;
    int status, next;

    TRY(prepare(t));
    TRY(raw_open_well(t, &s));
    save_round(&s, &failed, &no_space);
    CHECK(failed == 0);
    next = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CHECK(next >= 0 && close(next) == 0 && set_limit(RLIMIT_NOFILE, (rlim_t)next));
    save_round(&s, &failed, &no_space);
    (void)raw_load(&s, names[0], &k);
    raw_drop(&k);
    CHECK(set_limit(RLIMIT_NOFILE, usual));
    TRY(nothing_was_lost(t, &s));
    raw_close(&s);

    CHECK(set_limit(RLIMIT_NOFILE, (rlim_t)next));
    status = raw_open(t, &more, (struct raw_opening){0});
    CHECK(set_limit(RLIMIT_NOFILE, usual));
    if (status == MAKO_OK)
        raw_close(&more);
    TRY(raw_open_well(t, &s));
    return goes_on(t, &s);
}

/* Files that may not grow beyond 40 KiB. */
static enum verdict files_may_not_grow(struct trial *t)
{
    rlim_t usual = soft_limit(RLIMIT_FSIZE);
    unsigned failed = 0, no_space = 0;
    struct raw_store s;

    TRY(prepare(t));
    (void)signal(SIGXFSZ, SIG_IGN);
    TRY(raw_open_well(t, &s));
    save_round(&s, &failed, &no_space);
    CHECK(failed == 0 && set_limit(RLIMIT_FSIZE, 40 * 1024));
    for (int i = 0; i < 4; i++)
        save_round(&s, &failed, &no_space);
    TRY(nothing_was_lost(t, &s));
    CHECK(set_limit(RLIMIT_FSIZE, usual));
    TRY(goes_on(t, &s));
    (void)signal(SIGXFSZ, SIG_DFL);
    return PASS;
}

/* ---- a disk of our own ------------------------------------------------------------ */

static enum verdict small_disk(struct trial *t, const char *options)
{
    if (unshare(CLONE_NEWNS) != 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", t->data, "tmpfs", MS_NOSUID | MS_NODEV, options) != 0)
        return trial_skip(t, "a disk of its own cannot be mounted: %s", strerror(errno));
    return PASS;
}

static struct raw_record filler(char *id, size_t room, uint64_t i)
{
    (void)snprintf(id, room, "filler/%llu", (unsigned long long)i);
    return (struct raw_record){.stream = id, .seq = i + 1, .len = BIG, .seed = 2};
}

/* Streams that were never there before, until one does not fit. */
static uint64_t fill_disk(struct raw_store *s, unsigned *failed, unsigned *no_space)
{
    uint64_t i = 0;
    char id[40];

    for (int status = MAKO_OK; status == MAKO_OK && i < FILLERS; i++) {
        status = raw_save(s, filler(id, sizeof id, i));
        *failed += status != MAKO_OK;
        *no_space += status == MAKO_E_NO_SPACE;
    }
    return *failed ? i - 1 : i;
}

static enum verdict fillers_are_there(struct trial *t, struct raw_store *s,
                                      uint64_t count)
{
    char id[40];

    for (uint64_t i = 0; i < count; i++)
        TRY(raw_holds(t, s, filler(id, sizeof id, i)));
    return PASS;
}

static enum verdict a_full_disk_says_so(struct trial *t)
{
    unsigned failed = 0, no_space = 0;
    struct raw_store s;
    uint64_t count;

    TRY(prepare(t));
    TRY(small_disk(t, "size=12m"));
    TRY(raw_open_well(t, &s));
    save_round(&s, &failed, &no_space);
    CHECKF(failed == 0, "%s", raw_error()->text);
    count = fill_disk(&s, &failed, &no_space);
    save_round(&s, &failed, &no_space);
    if (failed > 0)
        CHECKF(no_space > 0, "the disk is full, and no save said E_NO_SPACE: %s",
               raw_error()->text);
    TRY(nothing_was_lost(t, &s));
    TRY(fillers_are_there(t, &s, count));
    CHECKF(mount("tmpfs", t->data, "tmpfs", MS_REMOUNT, "size=96m") == 0, "%s",
           strerror(errno));
    return goes_on(t, &s);
}

/* Opened or not, read or not: it comes through, and nothing is lost. */
static enum verdict a_read_only_disk_is_survived(struct trial *t)
{
    unsigned failed = 0, no_space = 0;
    struct raw_store s;
    int status;

    TRY(prepare(t));
    TRY(small_disk(t, "size=96m"));
    TRY(raw_open_well(t, &s));
    save_round(&s, &failed, &no_space);
    CHECK(failed == 0);
    raw_close(&s);
    CHECKF(mount("tmpfs", t->data, "tmpfs", MS_REMOUNT | MS_RDONLY, NULL) == 0, "%s",
           strerror(errno));
    status = raw_open(t, &s, (struct raw_opening){0});
    if (status == MAKO_OK) {
        save_round(&s, &failed, &no_space);
        CHECKF(failed > 0, "saves to a read-only disk were acknowledged");
        TRY(nothing_was_lost(t, &s));
        raw_close(&s);
    }
    CHECK(mount("tmpfs", t->data, "tmpfs", MS_REMOUNT, "size=96m") == 0);
    TRY(raw_open_well(t, &s));
    return goes_on(t, &s);
}

const struct test_case raw_fault_cases[] = {
    {"without_descriptors", without_descriptors},
    {"files_may_not_grow", files_may_not_grow},
    {"a_full_disk_says_so", a_full_disk_says_so},
    {"a_read_only_disk_is_survived", a_read_only_disk_is_survived},
    {NULL, NULL},
};

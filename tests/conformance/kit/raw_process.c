/* Other processes: killed ones, later ones, ones beside this one. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "raw.h"

enum {
    STREAMS = 4
};

static struct raw_record record_of(const char *stream, uint64_t seq)
{
    return (struct raw_record){
        .stream = stream, .seq = seq, .len = 60 + (size_t)(seq * 97 % 3000), .seed = 8};
}

static const char *stream_of(uint64_t seq)
{
    static const char *const names[STREAMS] = {"life/0", "life/1", "life/2", "life/3"};

    return names[seq % STREAMS];
}

/* ---- children --------------------------------------------------------------------- */

/* Run fn in a child; what it returns is the child's exit status.  A failed case's message
 * is printed, for the child's memory is not ours. */
static pid_t start_child(struct trial *t, int (*fn)(struct trial *t, void *arg),
                         void *arg)
{
    pid_t child = fork();

    if (child == 0) {
        int code = fn(t, arg);

        if (code != 0)
            (void)fprintf(stderr, "in the child: %s%s%s\n", t->message,
                          audit_text() ? "; " : "", audit_text() ? audit_text() : "");
        (void)fflush(stderr);
        _exit(code);
    }
    return child;
}

static enum verdict end_child(struct trial *t, pid_t child)
{
    int status = 0;

    CHECKF(child > 0, "fork: %s", strerror(errno));
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    CHECKF(WIFEXITED(status), "the child was killed by SIG%s",
           WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : "?");
    CHECKF(WEXITSTATUS(status) == 0, "the child failed (its message is in the output)");
    return PASS;
}

/* ---- killed ----------------------------------------------------------------------- */

struct victim {
    int out;
    uint32_t durability;
};

static bool tell_of(const struct victim *v, uint64_t seq)
{
    return write(v->out, &seq, sizeof seq) == (ssize_t)sizeof seq;
}

/* Saves without end; tells of each save that was acknowledged. */
static int save_until_killed(struct trial *t, void *arg)
{
    const struct victim *v = arg;
    struct raw_store s;

    if (raw_open(t, &s, (struct raw_opening){.durability = v->durability}) != MAKO_OK)
        return 1;
    for (uint64_t seq = 1;; seq++) {
        if (raw_save(&s, record_of(stream_of(seq), seq)) != MAKO_OK)
            return 2;
        if (seq % 10 == 0 && raw_remove(&s, "removed") < 0)
            return 3;
        if (seq == 5 && raw_save(&s, record_of("removed", 5)) != MAKO_OK)
            return 4;
        if (!tell_of(v, seq))
            return 5;
    }
}

/* The same by batches, each with one more of every stream. */
static int batch_until_killed(struct trial *t, void *arg)
{
    struct raw_record records[STREAMS];
    int statuses[STREAMS];
    struct raw_store s;

    if (raw_open(t, &s, (struct raw_opening){0}) != MAKO_OK)
        return 1;
    for (uint64_t seq = STREAMS;; seq += STREAMS) {
        for (uint64_t i = 0; i < STREAMS; i++)
            records[i] = record_of(stream_of(seq - i), seq - i);
        if (raw_save_many(&s, records, STREAMS, statuses) != MAKO_OK)
            return 2;
        for (size_t i = 0; i < STREAMS; i++)
            if (statuses[i] != MAKO_OK)
                return 3;
        if (!tell_of(arg, seq))
            return 5;
    }
}

/* Saves and removes; tells of each removal that was acknowledged. */
static int remove_until_killed(struct trial *t, void *arg)
{
    struct raw_store s;
    char id[40];

    if (raw_open(t, &s, (struct raw_opening){0}) != MAKO_OK)
        return 1;
    for (uint64_t seq = 1;; seq++) {
        (void)snprintf(id, sizeof id, "gone/%llu", (unsigned long long)seq);
        if (raw_save(&s, record_of(id, seq)) != MAKO_OK || raw_remove(&s, id) != MAKO_OK)
            return 2;
        if (!tell_of(arg, seq))
            return 5;
    }
}

/* The last sequence that fn acknowledged; 0: it never got to after. */
static uint64_t kill_one(struct trial *t, int (*fn)(struct trial *t, void *arg),
                         uint32_t durability, uint64_t after)
{
    uint64_t seq = 0, last = 0;
    struct victim victim = {.durability = durability};
    int ends[2];
    pid_t child;

    if (pipe(ends) != 0)
        return 0;
    victim.out = ends[1];
    child = start_child(t, fn, &victim);
    (void)close(ends[1]);
    while (child > 0 && read(ends[0], &seq, sizeof seq) == (ssize_t)sizeof seq) {
        last = seq;
        if (seq == after)
            (void)kill(child, SIGKILL);
    }
    (void)close(ends[0]);
    if (child > 0)
        (void)waitpid(child, NULL, 0);
    return last >= after ? last : 0;
}

/* Each stream holds its last acknowledged save, or the one that was in flight. */
static enum verdict promises_are_kept(struct trial *t, struct raw_store *s, uint64_t last)
{
    for (uint64_t seq = last; seq > last - STREAMS; seq--) {
        uint64_t found = raw_seq(s, stream_of(seq));

        CHECKF(found == seq || found == last + 1,
               "%s: %llu was acknowledged, %llu is there", stream_of(seq),
               (unsigned long long)seq, (unsigned long long)found);
        TRY(raw_holds(t, s, record_of(stream_of(seq), found)));
    }
    return raw_holds_nothing(t, s, "removed");
}

static enum verdict kill_and_look(struct trial *t, uint32_t durability)
{
    for (uint64_t after = 12; after <= 60; after += 24) {
        uint64_t last = kill_one(t, save_until_killed, durability, after);
        struct raw_store s;

        CHECKF(last > 0, "the child did not save (its message is in the output)");
        WANT(raw_open(t, &s, (struct raw_opening){.durability = durability}), MAKO_OK);
        TRY(promises_are_kept(t, &s, last));
        for (uint64_t i = 0; i < STREAMS; i++)
            CHECK(raw_remove(&s, stream_of(i)) >= 0);
        raw_close(&s);
    }
    return PASS;
}

static bool asked_to_outlive(struct trial *t)
{
    return raw_durability_asked(t) >= MAKO_DURABLE_CRASH &&
           raw_ops.durability >= MAKO_DURABLE_CRASH;
}

static enum verdict not_asked(struct trial *t)
{
    return trial_skip(t, "nothing that was asked for outlives the process");
}

static enum verdict a_kill_loses_nothing(struct trial *t)
{
    return asked_to_outlive(t) ? kill_and_look(t, 0) : not_asked(t);
}

/* Each stream is there as of the last batch that was acknowledged, or the next. */
static enum verdict a_kill_loses_no_batch(struct trial *t)
{
    struct raw_store s;
    uint64_t last;

    if (!asked_to_outlive(t))
        return not_asked(t);
    if (!raw_ops.save_many)
        return trial_skip(t, "this plugin has no save_many");
    last = kill_one(t, batch_until_killed, 0, 40);
    CHECKF(last > 0, "the child did not save (its message is in the output)");
    TRY(raw_open_well(t, &s));
    for (uint64_t seq = last; seq > last - STREAMS; seq--) {
        uint64_t found = raw_seq(&s, stream_of(seq));

        CHECKF(found == seq || found == seq + STREAMS,
               "%s: %llu was acknowledged, %llu is there", stream_of(seq),
               (unsigned long long)seq, (unsigned long long)found);
        TRY(raw_holds(t, &s, record_of(stream_of(seq), found)));
    }
    raw_close(&s);
    return PASS;
}

static enum verdict a_kill_brings_nothing_back(struct trial *t)
{
    struct raw_store s;
    uint64_t last;
    char id[40];

    if (!asked_to_outlive(t))
        return not_asked(t);
    last = kill_one(t, remove_until_killed, 0, 20);
    CHECKF(last > 0, "the child did not remove (its message is in the output)");
    TRY(raw_open_well(t, &s));
    for (uint64_t seq = 1; seq <= last; seq++) {
        (void)snprintf(id, sizeof id, "gone/%llu", (unsigned long long)seq);
        TRY(raw_holds_nothing(t, &s, id));
    }
    raw_close(&s);
    return PASS;
}

/* CRASH where POWER could be had: cheaper, and no less than it says. */
static enum verdict less_than_power_survives_a_kill(struct trial *t)
{
    if (!asked_to_outlive(t) || raw_ops.durability < MAKO_DURABLE_POWER)
        return trial_skip(t, "the plugin gives nothing beyond 'crash'");
    return kill_and_look(t, MAKO_DURABLE_CRASH);
}

/* ---- later ------------------------------------------------------------------------ */

static int save_some(struct trial *t, void *arg)
{
    struct raw_store s;

    (void)arg;
    if (raw_open_well(t, &s) != PASS)
        return 1;
    for (uint64_t seq = 1; seq <= 30; seq++)
        if (raw_save(&s, record_of(stream_of(seq), seq)) != MAKO_OK)
            return 2;
    if (raw_save(&s, record_of("removed", 5)) != MAKO_OK || raw_remove(&s, "removed") < 0)
        return 3;
    raw_close(&s);
    return audit_text() ? 4 : 0;
}

static enum verdict a_later_process_finds_it(struct trial *t)
{
    struct raw_store s;

    if (!asked_to_outlive(t))
        return not_asked(t);
    TRY(end_child(t, start_child(t, save_some, NULL)));
    for (int i = 0; i < 3; i++) {
        TRY(raw_open_well(t, &s));
        TRY(promises_are_kept(t, &s, 30));
        raw_close(&s);
    }
    return PASS;
}

/* exit() with the store open: no crash, no wait for ever. */
static int exit_without_close(struct trial *t, void *arg)
{
    static struct raw_store s;

    (void)arg;
    if (raw_open_well(t, &s) != PASS ||
        raw_save(&s, record_of(stream_of(1), 1)) != MAKO_OK)
        return 1;
    exit(0);
}

static enum verdict a_process_may_end_with_it_open(struct trial *t)
{
    struct raw_store s;

    TRY(end_child(t, start_child(t, exit_without_close, NULL)));
    TRY(raw_open_well(t, &s));
    if (outlives(t))
        TRY(raw_holds(t, &s, record_of(stream_of(1), 1)));
    raw_close(&s);
    return PASS;
}

/* ---- children of a process that has it open --------------------------------------- */

static int do_nothing(struct trial *t, void *arg)
{
    (void)t, (void)arg;
    return 0;
}

/* What a child inherits and lets go of is still the parent's. */
static enum verdict a_childs_end_changes_nothing(struct trial *t)
{
    struct raw_store s;

    TRY(raw_open_well(t, &s));
    for (uint64_t seq = 1; seq <= 5; seq++) {
        WANT(raw_save(&s, record_of("a", seq)), MAKO_OK);
        TRY(end_child(t, start_child(t, do_nothing, NULL)));
        TRY(raw_holds(t, &s, record_of("a", seq)));
    }
    raw_close(&s);
    return PASS;
}

/* ---- beside this one -------------------------------------------------------------- */

struct talk {
    int to_child[2], to_parent[2];
};

static bool tell(int fd)
{
    return write(fd, "x", 1) == 1;
}

static bool await(int fd)
{
    char letter;

    return read(fd, &letter, 1) == 1;
}

static enum verdict other_side(struct trial *t, struct talk *talk)
{
    struct raw_store s;

    TRY(raw_open_well(t, &s));
    CHECK(tell(talk->to_parent[1]));
    for (uint64_t seq = 1; seq <= 20; seq += 2) {
        CHECK(await(talk->to_child[0]));
        TRY(raw_holds(t, &s, record_of("a", seq)));
        WANT(raw_save(&s, record_of("a", seq + 1)), MAKO_OK);
        CHECK(tell(talk->to_parent[1]));
    }
    CHECK(await(talk->to_child[0]));
    TRY(raw_holds_nothing(t, &s, "a"));
    raw_close(&s);
    CHECKF(!audit_text(), "%s", audit_text());
    return PASS;
}

static int run_other_side(struct trial *t, void *arg)
{
    struct talk *talk = arg;

    (void)close(talk->to_child[1]);
    (void)close(talk->to_parent[0]);
    return other_side(t, talk) != PASS;
}

static enum verdict this_side(struct trial *t, struct talk *talk)
{
    struct raw_store s;

    TRY(raw_open_well(t, &s));
    CHECKF(await(talk->to_parent[0]), "the child ended early");
    for (uint64_t seq = 1; seq <= 20; seq += 2) {
        WANT(raw_save(&s, record_of("a", seq)), MAKO_OK);
        CHECK(tell(talk->to_child[1]));
        CHECKF(await(talk->to_parent[0]), "the child ended early");
        TRY(raw_holds(t, &s, record_of("a", seq + 1)));
    }
    CHECK(raw_remove(&s, "a") >= 0);
    CHECK(tell(talk->to_child[1]));
    raw_close(&s);
    return PASS;
}

static enum verdict not_shared(struct trial *t)
{
    return trial_skip(t, "SHARED is not declared");
}

static enum verdict another_process_sees_it_at_once(struct trial *t)
{
    struct talk talk;
    enum verdict verdict;
    pid_t child;

    if (!raw_has(MAKO_FEATURE_SHARED))
        return not_shared(t);
    CHECK(pipe(talk.to_child) == 0 && pipe(talk.to_parent) == 0);
    (void)signal(SIGPIPE, SIG_IGN);
    child = start_child(t, run_other_side, &talk);
    (void)close(talk.to_child[0]);
    (void)close(talk.to_parent[1]);
    verdict = this_side(t, &talk);
    (void)close(talk.to_child[1]);
    (void)close(talk.to_parent[0]);
    if (verdict == PASS)
        verdict = end_child(t, child);
    (void)signal(SIGPIPE, SIG_DFL);
    return verdict;
}

/* Saves every STREAMSth sequence of one stream; none is behind what it saw before. */
static int race(struct trial *t, void *arg)
{
    uint64_t first = (uint64_t)(uintptr_t)arg, seen;
    struct raw_store s;

    if (raw_open_well(t, &s) != PASS)
        return 1;
    for (uint64_t seq = first; seq <= 200; seq += STREAMS) {
        struct raw_record r = record_of("race", seq);
        int status;

        r.flags = MAKO_SAVE_IF_NEWER;
        status = raw_save(&s, r);
        if (status != MAKO_OK && status != MAKO_STALE)
            return trial_fail(t, __FILE__, __LINE__, "%s", raw_error()->text) == FAIL;
        seen = raw_seq(&s, "race");
        if (seen < seq)
            return trial_fail(t, __FILE__, __LINE__, "%llu was saved, %llu is there",
                              (unsigned long long)seq, (unsigned long long)seen) == FAIL;
    }
    raw_close(&s);
    return audit_text() != NULL;
}

static enum verdict if_newer_holds_between_processes(struct trial *t)
{
    pid_t children[STREAMS];
    struct raw_store s;
    enum verdict verdict = PASS;

    if (!raw_has(MAKO_FEATURE_SHARED) || !raw_has(MAKO_FEATURE_IF_NEWER))
        return trial_skip(t, "SHARED and IF_NEWER are not both declared");
    for (uint64_t i = 0; i < STREAMS; i++)
        children[i] = start_child(t, race, (void *)(uintptr_t)(i + 1));
    for (size_t i = 0; i < STREAMS; i++)
        if (end_child(t, children[i]) != PASS)
            verdict = FAIL;
    TRY(verdict);
    TRY(raw_open_well(t, &s));
    TRY(raw_holds(t, &s, record_of("race", 200)));
    raw_close(&s);
    return PASS;
}

const struct test_case raw_process_cases[] = {
    {"a_kill_loses_nothing", a_kill_loses_nothing},
    {"a_kill_loses_no_batch", a_kill_loses_no_batch},
    {"a_kill_brings_nothing_back", a_kill_brings_nothing_back},
    {"less_than_power_survives_a_kill", less_than_power_survives_a_kill},
    {"a_later_process_finds_it", a_later_process_finds_it},
    {"a_process_may_end_with_it_open", a_process_may_end_with_it_open},
    {"a_childs_end_changes_nothing", a_childs_end_changes_nothing},
    {"another_process_sees_it_at_once", another_process_sees_it_at_once},
    {"if_newer_holds_between_processes", if_newer_holds_between_processes},
    {NULL, NULL},
};

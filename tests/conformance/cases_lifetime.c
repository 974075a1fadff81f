/* References, restarts, forks and sudden deaths. */
#include "cases.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static enum verdict two_references_see_the_same_data(struct trial *t)
{
    mako_store *first = t->store, *second = mako_store_ref(first);

    CHECK(second == first);
    CHECK(put_text(t, "a", 1, "through the first") == MAKO_OK);
    t->store = second;
    TRY(holds_text(t, "a", 1, "through the first"));
    CHECK(put_text(t, "a", 2, "through the second") == MAKO_OK);
    t->store = first;
    TRY(holds_text(t, "a", 2, "through the second"));
    mako_store_unref(second);
    return PASS;
}

static enum verdict a_second_reference_keeps_it_open(struct trial *t)
{
    CHECK(mako_store_ref(t->store) == t->store);
    CHECK(put_text(t, "a", 1, "x") == MAKO_OK);
    mako_store_unref(t->store);
    TRY(holds_text(t, "a", 1, "x"));
    CHECK(put_text(t, "a", 2, "y") == MAKO_OK);
    return holds_text(t, "a", 2, "y");
}

static enum verdict null_references_are_fine(struct trial *t)
{
    (void)t;
    mako_store_unref(NULL);
    mako_snapshot_unref(NULL);
    return PASS;
}

/* The bytes of a snapshot stay, whatever happens to the store. */
static enum verdict a_snapshot_outlives_the_store(struct trial *t)
{
    static unsigned char bytes[30000];
    mako_snapshot *snapshot = NULL, *other;
    size_t len = 0;

    if (!keeps(t))
        return trial_skip(t, "nothing is kept");
    pattern(bytes, sizeof bytes, 1);
    CHECK(put(t, "a", (struct sample){.seq = 1, .state = bytes, .len = sizeof bytes},
              NULL) == MAKO_OK);
    CHECK(get(t, "a", &snapshot, NULL) == MAKO_OK);
    other = mako_snapshot_ref(snapshot);
    CHECK(other == snapshot);
    CHECK(put_text(t, "a", 2, "replaced") == MAKO_OK);
    CHECK(is_pattern(mako_snapshot_state(snapshot, &len), sizeof bytes, 1));
    CHECK(mako_store_remove(t->store, "a", NULL) == MAKO_OK);
    trial_close(t);
    CHECK(is_pattern(mako_snapshot_state(snapshot, &len), sizeof bytes, 1));
    mako_snapshot_unref(snapshot);
    CHECK(is_pattern(mako_snapshot_state(other, &len), sizeof bytes, 1));
    CHECK(len == sizeof bytes);
    CHECK(mako_snapshot_meta(other).seq == 1 && mako_snapshot_anchor(other) == 0);
    mako_snapshot_unref(other);
    return PASS;
}

static enum verdict a_restart_keeps_what_is_promised(struct trial *t)
{
    struct sample forced = {
        .seq = 2, .state = "forced", .len = 6, .flags = MAKO_SAVE_FORCE};
    bool stays = outlives(t);

    for (uint64_t seq = 1; seq <= 20; seq++)
        CHECK(put_text(t, "a", seq, "of a") == MAKO_OK);
    CHECK(put_text(t, "b", 9, "of b") == MAKO_OK);
    CHECK(put_text(t, "c", 9, "of c") == MAKO_OK);
    CHECK(put(t, "c", forced, NULL) == MAKO_OK);
    CHECK(put_text(t, "gone", 1, "x") == MAKO_OK);
    CHECK(mako_store_remove(t->store, "gone", NULL) >= MAKO_OK);
    for (int i = 0; i < 3; i++) {
        trial_close(t);
        TRY(trial_open(t));
        TRY(stays ? holds_text(t, "a", 20, "of a") : holds_nothing(t, "a"));
        TRY(stays ? holds_text(t, "b", 9, "of b") : holds_nothing(t, "b"));
        TRY(stays ? holds(t, "c", forced) : holds_nothing(t, "c"));
        TRY(holds_nothing(t, "gone"));
    }
    return PASS;
}

/* Many short lives: each adds a stream and sees all of those before. */
static enum verdict many_restarts(struct trial *t)
{
    char id[20];

    if (!outlives(t))
        return trial_skip(t, "nothing outlives the process");
    for (uint64_t life = 1; life <= 20; life++) {
        (void)snprintf(id, sizeof id, "life/%llu", (unsigned long long)life);
        CHECK(put_text(t, id, life, id) == MAKO_OK);
        CHECK(put_text(t, "every", life, id) == MAKO_OK);
        trial_close(t);
        TRY(trial_open(t));
        TRY(holds_text(t, "every", life, id));
        for (uint64_t back = 1; back <= life; back++) {
            (void)snprintf(id, sizeof id, "life/%llu", (unsigned long long)back);
            TRY(holds_text(t, id, back, id));
        }
    }
    return PASS;
}

/* ---- forks ------------------------------------------------------------------------ */

/* Run fn in a child that ends with what it returns; what it prints comes into text. */
static int in_child(int (*fn)(void *arg), void *arg, char *text, size_t room)
{
    int ends[2], status = -1;
    size_t used = 0;
    ssize_t got;
    pid_t child;

    if (pipe(ends) != 0)
        return -1;
    child = fork();
    if (child == 0) {
        (void)dup2(ends[1], STDOUT_FILENO);
        (void)dup2(ends[1], STDERR_FILENO);
        (void)close(ends[0]);
        (void)close(ends[1]);
        _exit(fn(arg));
    }
    (void)close(ends[1]);
    while (used < room - 1 && (got = read(ends[0], text + used, room - 1 - used)) > 0)
        used += (size_t)got;
    text[used] = '\0';
    (void)close(ends[0]);
    if (child < 0 || waitpid(child, &status, 0) != child)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

struct family {
    struct trial *t;
    mako_snapshot *snapshot; /* the parent's, of a pattern, or NULL */
    size_t len;
};

static void no_counter(void *arg, const char *name, uint64_t value)
{
    (void)arg, (void)name, (void)value;
}

static bool no_entry(void *arg, struct mako_str stream, const struct mako_meta *meta,
                     uint64_t size)
{
    (void)arg, (void)stream, (void)meta, (void)size;
    return true;
}

/* The number of the first call that does not say so; 0: all do. */
static int every_call_says_forked(void *arg)
{
    struct trial *t = ((struct family *)arg)->t;
    struct mako_save save = save_of((struct sample){.seq = 1});
    const struct mako_save *saves[] = {&save, &save};
    struct mako_expect expect = expect_range(1, 1);
    const struct mako_expect *expects[] = {&expect, &expect};
    const char *streams[] = {"a", "b"};
    mako_snapshot *snapshots[2];
    struct mako_meta meta;
    int many[2] = {0, 0}, status;

    if (mako_store_save(t->store, "a", &save, NULL) != MAKO_E_FORKED)
        return 1;
    if (get(t, "a", &snapshots[0], NULL) != MAKO_E_FORKED)
        return 2;
    if (mako_store_peek(t->store, "a", &meta, NULL) != MAKO_E_FORKED)
        return 3;
    if (mako_store_remove(t->store, "a", NULL) != MAKO_E_FORKED)
        return 4;
    if (mako_store_scan(t->store, NULL, no_entry, NULL, NULL) != MAKO_E_FORKED)
        return 5;
    if (mako_store_stats(t->store, no_counter, NULL, NULL) != MAKO_E_FORKED)
        return 6;
    if (mako_store_compact(t->store, NULL, NULL, NULL) != MAKO_E_FORKED)
        return 7;
    status = mako_store_save_many(t->store, streams, saves, 2, many, NULL);
    if (status != MAKO_E_FORKED &&
        (status || many[0] != MAKO_E_FORKED || many[1] != many[0]))
        return 8;
    status =
        mako_store_load_many(t->store, streams, expects, 2, snapshots, NULL, many, NULL);
    if (status != MAKO_E_FORKED &&
        (status || many[0] != MAKO_E_FORKED || many[1] != many[0]))
        return 9;
    return 0;
}

static enum verdict a_child_is_told_that_it_is_one(struct trial *t)
{
    struct family family = {.t = t};
    char text[400];
    int code;

    CHECK(put_text(t, "a", 1, "x") == MAKO_OK);
    code = in_child(every_call_says_forked, &family, text, sizeof text);
    CHECKF(code == 0, "call %d of the child: %s", code, text);
    CHECK(put_text(t, "a", 2, "y") == MAKO_OK);
    return holds_text(t, "a", 2, "y");
}

static int say_why(void *arg)
{
    struct trial *t = ((struct family *)arg)->t;
    struct mako_error err;

    (void)put(t, "a", (struct sample){.seq = 1}, &err);
    (void)fprintf(stderr, "%s", err.text);
    return 0;
}

static enum verdict a_child_is_told_why(struct trial *t)
{
    struct family family = {.t = t};
    char text[600], begin[128];

    CHECK(in_child(say_why, &family, text, sizeof text) == 0);
    (void)snprintf(begin, sizeof begin, "store 'test' (%s): ", t->info.plugin);
    CHECKF(strncmp(text, begin, strlen(begin)) == 0 && strstr(text, "child"), "%s", text);
    return PASS;
}

/* Reads what the parent loaded, then lets go of everything. */
static int read_and_release(void *arg)
{
    struct family *f = arg;
    size_t len = 0;
    const void *state = f->snapshot ? mako_snapshot_state(f->snapshot, &len) : "";

    if (len != f->len || !is_pattern(state, len, 3))
        return 1;
    if (f->snapshot && mako_snapshot_meta(f->snapshot).seq != 8)
        return 2;
    if (f->snapshot)
        mako_snapshot_unref(mako_snapshot_ref(f->snapshot));
    mako_store_unref(f->t->store);
    if (!is_pattern(state, len, 3))
        return 3;
    mako_snapshot_unref(f->snapshot);
    return 0;
}

static enum verdict a_child_reads_and_releases_in_silence(struct trial *t)
{
    static unsigned char bytes[9000];
    struct family family = {.t = t};
    char text[400];
    int code;

    pattern(bytes, sizeof bytes, 3);
    CHECK(put(t, "a", (struct sample){.seq = 8, .state = bytes, .len = sizeof bytes},
              NULL) == MAKO_OK);
    if (keeps(t)) {
        CHECK(get(t, "a", &family.snapshot, NULL) == MAKO_OK);
        family.len = sizeof bytes;
    }
    code = in_child(read_and_release, &family, text, sizeof text);
    CHECKF(code == 0, "the child ended with %d: %s", code, text);
    CHECKF(text[0] == '\0', "the child said: %s", text);
    mako_snapshot_unref(family.snapshot);
    CHECK(put_text(t, "b", 1, "the parent goes on") == MAKO_OK);
    TRY(holds_text(t, "b", 1, "the parent goes on"));
    return holds(t, "a", (struct sample){.seq = 8, .state = bytes, .len = sizeof bytes});
}

/* A child that let go of its copy neither freed nor unlocked what is the parent's. */
static enum verdict a_restart_after_a_fork(struct trial *t)
{
    struct family family = {.t = t};
    char text[400];

    CHECK(put_text(t, "a", 1, "x") == MAKO_OK);
    CHECK(in_child(read_and_release, &family, text, sizeof text) == 0);
    CHECK(put_text(t, "a", 2, "y") == MAKO_OK);
    trial_close(t);
    TRY(trial_open(t));
    return outlives(t) ? holds_text(t, "a", 2, "y") : holds_nothing(t, "a");
}

/* ---- sudden deaths -------------------------------------------------------------------
 */

enum {
    ACKS = 150,
    STREAMS = 4
};

static void victim_state(uint64_t seq, unsigned char *bytes, size_t *len)
{
    *len = 100 + (size_t)(seq * 37 % 900);
    pattern(bytes, *len, seq);
}

/* Saves without end, and says so after each that was acknowledged. */
static _Noreturn void victim(struct trial *t, int out)
{
    unsigned char bytes[1000];
    char id[20];

    if (trial_open(t) != PASS)
        _exit(1);
    for (uint64_t seq = 1;; seq++) {
        struct sample s = {.seq = seq, .state = bytes};

        victim_state(seq, bytes, &s.len);
        (void)snprintf(id, sizeof id, "victim/%d", (int)(seq % STREAMS));
        if (put(t, id, s, NULL) != MAKO_OK)
            _exit(2);
        if (write(out, &seq, sizeof seq) != (ssize_t)sizeof seq)
            _exit(3);
    }
}

/* The last sequence that a killed victim acknowledged; 0: none. */
static uint64_t kill_victim(struct trial *t, uint64_t after)
{
    uint64_t seq = 0, last = 0;
    int ends[2], status;
    pid_t child;

    if (pipe(ends) != 0)
        return 0;
    child = fork();
    if (child == 0) {
        (void)close(ends[0]);
        victim(t, ends[1]);
    }
    (void)close(ends[1]);
    while (child > 0 && read(ends[0], &seq, sizeof seq) == (ssize_t)sizeof seq) {
        last = seq;
        if (seq == after)
            (void)kill(child, SIGKILL);
    }
    (void)close(ends[0]);
    if (child > 0 && waitpid(child, &status, 0) != child)
        return 0;
    return last;
}

/* Each stream holds its last acknowledged save, or the one that was in flight. */
static enum verdict check_victim(struct trial *t, uint64_t last)
{
    unsigned char bytes[1000];
    char id[20];

    for (uint64_t seq = last; seq > last - STREAMS; seq--) {
        mako_snapshot *snapshot = NULL;
        struct mako_error err;
        uint64_t found;
        size_t len, got;

        (void)snprintf(id, sizeof id, "victim/%d", (int)(seq % STREAMS));
        STATUS(get(t, id, &snapshot, &err), MAKO_OK);
        found = mako_snapshot_meta(snapshot).seq;
        CHECKF(found == seq || found == last + 1, "%s: %llu is there, %llu was saved", id,
               (unsigned long long)found, (unsigned long long)seq);
        victim_state(found, bytes, &len);
        CHECK(memcmp(mako_snapshot_state(snapshot, &got), bytes, len) == 0 && got == len);
        mako_snapshot_unref(snapshot);
    }
    return PASS;
}

static enum verdict a_killed_process_keeps_its_promises(struct trial *t)
{
    if (!outlives(t))
        return trial_skip(t, "nothing outlives the process");
    trial_close(t);
    for (uint64_t after = 20; after <= ACKS; after += 43) {
        uint64_t last = kill_victim(t, after);

        CHECKF(last >= after, "the victim got to %llu", (unsigned long long)last);
        TRY(trial_open(t));
        TRY(check_victim(t, last));
        for (int i = 0; i < STREAMS; i++) {
            char id[20];

            (void)snprintf(id, sizeof id, "victim/%d", i);
            CHECK(mako_store_remove(t->store, id, NULL) == MAKO_OK);
        }
        trial_close(t);
    }
    return PASS;
}

const struct test_case cases_lifetime[] = {
    {"two_references_see_the_same_data", two_references_see_the_same_data},
    {"a_second_reference_keeps_it_open", a_second_reference_keeps_it_open},
    {"null_references_are_fine", null_references_are_fine},
    {"a_snapshot_outlives_the_store", a_snapshot_outlives_the_store},
    {"a_restart_keeps_what_is_promised", a_restart_keeps_what_is_promised},
    {"many_restarts", many_restarts},
    {"a_child_is_told_that_it_is_one", a_child_is_told_that_it_is_one},
    {"a_child_is_told_why", a_child_is_told_why},
    {"a_child_reads_and_releases_in_silence", a_child_reads_and_releases_in_silence},
    {"a_restart_after_a_fork", a_restart_after_a_fork},
    {"a_killed_process_keeps_its_promises", a_killed_process_keeps_its_promises},
    {NULL, NULL},
};

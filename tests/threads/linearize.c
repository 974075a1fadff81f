/* Whether each stream of a store is a register that threads share:
 *
 *     linearize [AMOUNTS] CONFIGURATION [disturbed]
 *
 * In a round threads save, load, peek and remove on few new streams, alone and in
 * batches; some compact meanwhile.  Each notes when its calls began and ended, by one
 * clock, and what they said.  Then the store is read once more, every fourth time after
 * it was closed and opened again, and linear.h judges the history of each stream.
 *
 * "disturbed": somebody tells the Redis server of MAKO_TEST_REDIS to hang up on its
 * clients, again and again, so that answers are lost.  Then calls may fail, and what
 * became of them is unknown; and saves are sent again, so that they may come twice.
 *
 * The seed decides what the threads do, but not when: a violation need not come again. */
#include "linear.h"

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "../conformance/cases.h"
#include "amounts.h"
#include "complaints.h"
#include "disturb.h"

enum {
    STREAMS = 3,
    CALLS = 120, /* of a thread in a round; a batch is as many as there are streams */
    NOTES = 2 * CALLS * STREAMS, /* copies too */
    LEN_MAX = 3000
};

/* A call, and on which stream. */
struct note {
    unsigned stream;
    struct call call;
};

struct worker {
    pthread_t thread;
    unsigned number;
    uint64_t seed;
    size_t count;
    struct note notes[NOTES];
};

/* A save that is about to be done. */
struct saving {
    struct call call;
    struct mako_save save;
    unsigned char bytes[LEN_MAX];
};

static struct {
    struct trial *t;
    struct amounts amounts;
    struct worker workers[THREADS_MAX + 1]; /* the last one is this thread */
    atomic_ulong ready;
    char names[STREAMS][48];
    _Atomic uint64_t clock, seqs[STREAMS];
    _Atomic uint32_t values[STREAMS];
    atomic_uint failures;
    bool disturbed;
    unsigned long rounds, hung_up, histories, calls, beside;
} shared = {.amounts = {.rounds = 100, .threads = 4}};

/* ---- calls ---------------------------------------------------------------------------
 */

static uint64_t tick(void)
{
    return atomic_fetch_add(&shared.clock, 1) + 1;
}

/* A save by force looks first what is there, so that a copy that is late does nothing:
 * its copies come before it ends.  Others may come whenever they like. */
static void note_copies(struct worker *w, unsigned stream, struct call save)
{
    save.kind = CALL_LATE;
    if (!save.forced)
        save.end = NEVER;
    w->notes[w->count++] = (struct note){.stream = stream, .call = save};
}

/* A failure says nothing, but undisturbed there should be none. */
static void note(struct worker *w, unsigned stream, struct call call, int status,
                 const struct mako_error *err)
{
    call.status = status;
    call.end = status < 0 ? NEVER : tick();
    call.thread = w->number;
    if (status < 0 && !shared.disturbed)
        complain("%s: %s", shared.names[stream], err->text);
    shared.failures += status < 0;
    w->notes[w->count++] = (struct note){.stream = stream, .call = call};
    if (shared.disturbed && call.kind == CALL_SAVE)
        note_copies(w, stream, call);
}

static size_t len_of(uint32_t value)
{
    return (size_t)value * 271 % LEN_MAX;
}

/* Sequences rise, but not for all at the same time. */
static void prepare(struct worker *w, unsigned stream, struct saving *s)
{
    uint64_t seq = atomic_fetch_add(&shared.seqs[stream], draw(&w->seed) % 2) + 4;
    uint32_t value = atomic_fetch_add(&shared.values[stream], 1) + 1;
    struct sample sample = {.schema = value,
                            .anchor = ~(uint64_t)value,
                            .state = s->bytes,
                            .len = len_of(value)};

    s->call = (struct call){.kind = CALL_SAVE,
                            .forced = draw(&w->seed) % 5 == 0,
                            .seq = seq - draw(&w->seed) % 4,
                            .value = value};
    sample.seq = s->call.seq;
    sample.flags = s->call.forced ? MAKO_SAVE_FORCE : 0;
    pattern(s->bytes, sample.len, value);
    s->save = save_of(sample);
}

static void do_save(struct worker *w, unsigned stream)
{
    struct mako_error err = {""};
    struct saving s;
    int status;

    prepare(w, stream, &s);
    s.call.begin = tick();
    status = mako_store_save(shared.t->store, shared.names[stream], &s.save, &err);
    note(w, stream, s.call, status, &err);
}

static void do_remove(struct worker *w, unsigned stream)
{
    struct call call = {.kind = CALL_REMOVE, .begin = tick()};
    struct mako_error err = {""};
    int status = mako_store_remove(shared.t->store, shared.names[stream], &err);

    note(w, stream, call, status, &err);
}

/* Whose state it is, all of it; then it goes. */
static uint32_t take_value(unsigned stream, mako_snapshot *snapshot)
{
    uint32_t value = mako_snapshot_meta(snapshot).schema;
    size_t len;
    const void *state = mako_snapshot_state(snapshot, &len);

    if (mako_snapshot_anchor(snapshot) != ~(uint64_t)value || len != len_of(value) ||
        !is_pattern(state, len, value))
        complain("%s: #%u came back torn", shared.names[stream], (unsigned)value);
    mako_snapshot_unref(snapshot);
    return value;
}

static void do_load(struct worker *w, unsigned stream)
{
    struct call call = {.kind = CALL_LOAD, .begin = tick()};
    struct mako_error err = {""};
    mako_snapshot *snapshot = NULL;
    int status = get(shared.t, shared.names[stream], &snapshot, &err);

    note(w, stream, call, status, &err);
    if (status == MAKO_OK)
        w->notes[w->count - 1].call.value = take_value(stream, snapshot);
}

static void do_peek(struct worker *w, unsigned stream)
{
    struct call call = {.kind = CALL_LOAD, .begin = tick()};
    struct mako_error err = {""};
    struct mako_meta meta = {0};
    int status = mako_store_peek(shared.t->store, shared.names[stream], &meta, &err);

    call.value = meta.schema;
    note(w, stream, call, status, &err);
}

static const char *const *all_names(const char *names[STREAMS])
{
    for (unsigned i = 0; i < STREAMS; i++)
        names[i] = shared.names[i];
    return names;
}

static void do_save_many(struct worker *w)
{
    const char *names[STREAMS];
    const struct mako_save *saves[STREAMS];
    struct mako_error err = {""};
    struct saving s[STREAMS];
    int statuses[STREAMS], status;
    uint64_t begin;

    for (unsigned i = 0; i < STREAMS; i++) {
        prepare(w, i, &s[i]);
        saves[i] = &s[i].save;
    }
    begin = tick();
    status = mako_store_save_many(shared.t->store, all_names(names), saves, STREAMS,
                                  statuses, &err);
    for (unsigned i = 0; i < STREAMS; i++) {
        s[i].call.begin = begin;
        note(w, i, s[i].call, status == MAKO_OK ? statuses[i] : status, &err);
    }
}

static void do_load_many(struct worker *w)
{
    const struct mako_expect any = expect_range(1, UINT32_MAX);
    const struct mako_expect *expects[STREAMS] = {&any, &any, &any};
    struct call call = {.kind = CALL_LOAD, .begin = tick()};
    mako_snapshot *snapshots[STREAMS];
    const char *names[STREAMS];
    struct mako_error err = {""};
    int statuses[STREAMS];
    int status = mako_store_load_many(shared.t->store, all_names(names), expects, STREAMS,
                                      snapshots, NULL, statuses, &err);

    for (unsigned i = 0; i < STREAMS; i++) {
        note(w, i, call, status == MAKO_OK ? statuses[i] : status, &err);
        if (status == MAKO_OK && statuses[i] == MAKO_OK)
            w->notes[w->count - 1].call.value = take_value(i, snapshots[i]);
    }
}

/* Not a call on a stream: what it moves must not be noticed. */
static void do_compact(void)
{
    struct mako_error err = {""};
    int status = mako_store_compact(shared.t->store, NULL, NULL, &err);

    if (status != MAKO_OK && status != MAKO_E_UNSUPPORTED)
        complain("compact: %s", err.text);
}

/* All at once: who is woken by a barrier comes too late for those who are there. */
static void wait_for_all(void)
{
    (void)atomic_fetch_add(&shared.ready, 1);
    while (atomic_load(&shared.ready) < shared.amounts.threads)
        (void)sched_yield();
}

static void *work(void *arg)
{
    struct worker *w = arg;

    wait_for_all();
    for (int i = 0; i < CALLS; i++) {
        uint64_t what = draw(&w->seed) % 100;
        unsigned stream = (unsigned)(draw(&w->seed) % STREAMS);

        if (what < 40)
            do_save(w, stream);
        else if (what < 65)
            do_load(w, stream);
        else if (what < 75)
            do_peek(w, stream);
        else if (what < 87)
            do_remove(w, stream);
        else if (what < 93)
            do_save_many(w);
        else if (what < 99)
            do_load_many(w);
        else
            do_compact();
    }
    return NULL;
}

/* ---- rounds --------------------------------------------------------------------------
 */

/* All calls on one stream; history has room for those of all workers. */
static size_t gather(unsigned stream, struct call *history)
{
    size_t count = 0;

    for (unsigned i = 0; i <= shared.amounts.threads; i++) {
        const struct worker *w = &shared.workers[i];

        for (size_t k = 0; k < w->count; k++)
            if (w->notes[k].stream == stream)
                history[count++] = w->notes[k].call;
    }
    return count;
}

/* How much happened at the same time: a history without that proves little. */
static void count_beside(const struct call *history, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bool any = false;

        for (size_t k = 0; k < count && !any; k++)
            any = k != i && history[k].begin < history[i].end &&
                  history[i].begin < history[k].end;
        shared.beside += any;
    }
    shared.calls += count;
    shared.histories++;
}

static enum verdict judge(struct trial *t, unsigned stream)
{
    size_t room = (shared.amounts.threads + 1) * NOTES, count;
    struct call *history = calloc(room, sizeof *history);
    struct call *window = calloc(room, sizeof *window);
    enum linear verdict = UNDECIDED;

    if (history && window) {
        count = gather(stream, history);
        count_beside(history, count);
        verdict = linear_check(history, count);
    }
    if (verdict == NOT_LINEAR) {
        (void)printf("%s, seed %" PRIu64 ": no order of these explains what they say:\n",
                     shared.names[stream], shared.amounts.seed);
        linear_print(stdout, window, linear_window(history, count, window));
    }
    free(history);
    free(window);
    CHECKF(verdict != UNDECIDED, "no memory to judge %s", shared.names[stream]);
    CHECKF(verdict == LINEAR, "%s is not linearizable", shared.names[stream]);
    return PASS;
}

static enum verdict run_workers(struct trial *t)
{
    unsigned long threads = shared.amounts.threads;

    shared.ready = 0;
    for (unsigned i = 0; i < threads; i++) {
        struct worker *w = &shared.workers[i];

        CHECK(pthread_create(&w->thread, NULL, work, w) == 0);
    }
    for (unsigned i = 0; i < threads; i++)
        CHECK(pthread_join(shared.workers[i].thread, NULL) == 0);
    return PASS;
}

static void begin_round(void)
{
    uint64_t seed = shared.amounts.seed + shared.rounds;

    for (unsigned i = 0; i <= shared.amounts.threads; i++) {
        shared.workers[i].number = i;
        shared.workers[i].count = 0;
        shared.workers[i].seed = draw(&seed);
    }
    for (unsigned i = 0; i < STREAMS; i++) {
        (void)snprintf(shared.names[i], sizeof shared.names[i], "round/%lu/%u",
                       shared.rounds, i);
        shared.seqs[i] = 0;
        shared.values[i] = 0;
    }
    shared.clock = 0;
}

static enum verdict run_round(struct trial *t)
{
    begin_round();
    CHECK(!shared.disturbed || disturb_begin(shared.amounts.seed + shared.rounds));
    TRY(run_workers(t));
    if (shared.disturbed)
        shared.hung_up += disturb_end();
    if (shared.rounds % 4 == 3 && outlives(t))
        TRY(trial_reopen(t));
    for (unsigned i = 0; i < STREAMS; i++)
        do_load(&shared.workers[shared.amounts.threads], i);
    CHECKF(complaints() == 0, "%u errors", complaints());
    for (unsigned i = 0; i < STREAMS; i++)
        TRY(judge(t, i));
    shared.rounds++;
    return PASS;
}

static enum verdict run_rounds(struct trial *t)
{
    shared.t = t;
    CHECKF(keeps(t), "%s keeps nothing", t->info.plugin);
    if (shared.disturbed) { /* or most calls would fail without being sent */
        trial_close(t);
        TRY(trial_open_with(t, "\"retry_after\": 0"));
    }
    while (amounts_more(&shared.amounts, shared.rounds))
        TRY(run_round(t));
    return PASS;
}

int main(int argc, char **argv)
{
    static const struct test_case all = {"linearize", run_rounds};
    static struct trial t;
    enum verdict verdict;

    if (!amounts_read(&shared.amounts, argc, argv, "CONFIGURATION [disturbed]"))
        return 2;
    shared.disturbed = shared.amounts.words[1] != NULL;
    trial_environment();
    verdict = case_run(&all, shared.amounts.words[0], &t);
    if (shared.disturbed)
        (void)printf("linearize: hung up %lu times, %u calls failed\n", shared.hung_up,
                     shared.failures);
    (void)printf("linearize: seed %" PRIu64 ", %lu threads, %lu histories, %lu calls, "
                 "%lu beside another: %s%s\n",
                 shared.amounts.seed, shared.amounts.threads, shared.histories,
                 shared.calls, shared.beside,
                 verdict == PASS ? "linearizable" : "WRONG: ", t.message);
    return verdict == PASS ? 0 : 1;
}

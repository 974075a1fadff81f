/* Threads, as the declared model allows them. */
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "raw.h"

enum {
    THREADS = 4,
    ROUNDS = 60,
    STREAMS = 3
};

/* What the threads of one case share. */
static struct crowd {
    struct trial *t;
    struct raw_store stores[THREADS];
    _Atomic uint64_t next[STREAMS], acked[STREAMS];
    uint32_t flags;
} crowd;

static void stream_name(size_t at, char *out, size_t room)
{
    (void)snprintf(out, room, "crowd/%zu", at);
}

static struct raw_record record_of(const char *stream, uint64_t seq)
{
    return (struct raw_record){.stream = stream,
                               .seq = seq,
                               .len = 8 + (size_t)(seq * 131 % 6000),
                               .seed = 6,
                               .flags = crowd.flags};
}

/* A value is whole where length and bytes are those of its sequence. */
static void load_whole(struct raw_store *s, const char *stream, uint64_t at_least)
{
    struct raw_sink k = {.declines = false};
    int status = raw_load(s, stream, &k);
    uint64_t seq = 0;

    if (status == MAKO_NOT_FOUND && (at_least == 0 || !keeps(crowd.t)))
        return;
    if (status != MAKO_OK || k.len < sizeof seq) {
        audit("load of %s: %s: %s", stream, mako_status_name(status), raw_error()->text);
        return;
    }
    memcpy(&seq, k.bytes, sizeof seq);
    if (k.len != record_of(stream, seq).len || !is_raw_blob(k.bytes, k.len, seq, 6) ||
        (k.has_meta && k.meta.seq != seq))
        audit("%s: %llu came back torn", stream, (unsigned long long)seq);
    if (seq < at_least)
        audit("%s: %llu was acknowledged, then %llu was loaded", stream,
              (unsigned long long)at_least, (unsigned long long)seq);
    raw_drop(&k);
}

static void raise_to(_Atomic uint64_t *mark, uint64_t seq)
{
    uint64_t old = atomic_load(mark);

    while (old < seq && !atomic_compare_exchange_weak(mark, &old, seq))
        continue;
}

static void save_next(struct raw_store *s, size_t at)
{
    uint64_t seq = atomic_fetch_add(&crowd.next[at], 1) + 1;
    char id[30];
    int status;

    stream_name(at, id, sizeof id);
    status = raw_save(s, record_of(id, seq));
    if (status != MAKO_OK && !(status == MAKO_STALE && crowd.flags))
        audit("save of %s: %s: %s", id, mako_status_name(status), raw_error()->text);
    raise_to(&crowd.acked[at], seq);
}

static void *hammer(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg;

    for (int i = 0; i < ROUNDS; i++) {
        size_t at;
        char id[30];

        seed = seed * 6364136223846793005u + 1442695040888963407u;
        at = (size_t)(seed >> 33) % STREAMS;
        stream_name(at, id, sizeof id);
        if (seed >> 40 & 1)
            save_next(&crowd.stores[0], at);
        else if (crowd.flags)
            load_whole(&crowd.stores[0], id, atomic_load(&crowd.acked[at]));
        else if (seed >> 41 & 3)
            load_whole(&crowd.stores[0], id, 0);
        else if (raw_remove(&crowd.stores[0], id) < 0)
            audit("remove of %s: %s", id, raw_error()->text);
    }
    return NULL;
}

static enum verdict run_crowd(struct trial *t, void *(*run)(void *arg))
{
    pthread_t threads[THREADS];

    crowd.t = t;
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, run, (void *)(i + 1)) == 0);
    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECKF(!audit_text(), "%s", audit_text());
    return PASS;
}

static enum verdict many_threads_at_once(struct trial *t)
{
    if (raw_ops.threads != MAKO_THREADS_PARALLEL)
        return trial_skip(t, "the host calls a store of this thread model one by one");
    TRY(raw_open_well(t, &crowd.stores[0]));
    TRY(run_crowd(t, hammer));
    raw_close(&crowd.stores[0]);
    return PASS;
}

/* The highest sequence wins, whatever the order in which they arrive, and no load goes
 * back behind what was acknowledged. */
static enum verdict if_newer_is_one_decision(struct trial *t)
{
    char id[30];

    if (!raw_has(MAKO_FEATURE_IF_NEWER))
        return trial_skip(t, "IF_NEWER is not declared");
    crowd.flags = MAKO_SAVE_IF_NEWER;
    TRY(raw_open_well(t, &crowd.stores[0]));
    for (int i = 0; i < 4; i++)
        TRY(run_crowd(t, hammer));
    for (size_t at = 0; at < STREAMS; at++) {
        stream_name(at, id, sizeof id);
        load_whole(&crowd.stores[0], id, crowd.acked[at]);
    }
    raw_close(&crowd.stores[0]);
    return PASS;
}

/* ---- one by one ------------------------------------------------------------------- */

struct turn {
    struct trial *t;
    uint64_t seq;
    enum verdict verdict;
};

static void *take_a_turn(void *arg)
{
    struct turn *turn = arg;
    char id[30];

    (void)snprintf(id, sizeof id, "turn/%llu", (unsigned long long)turn->seq);
    save_next(&crowd.stores[0], 0);
    if (raw_save(&crowd.stores[0], record_of(id, turn->seq)) != MAKO_OK)
        audit("save: %s", raw_error()->text);
    turn->verdict = raw_holds(turn->t, &crowd.stores[0], record_of(id, turn->seq));
    return NULL;
}

/* Never two at once, never twice the same: what is bound to a thread is found out. */
static enum verdict threads_take_turns(struct trial *t)
{
    char id[30];

    crowd.t = t;
    TRY(raw_open_well(t, &crowd.stores[0]));
    for (uint64_t seq = 1; seq <= 12; seq++) {
        struct turn turn = {.t = t, .seq = seq};
        pthread_t thread;

        CHECK(pthread_create(&thread, NULL, take_a_turn, &turn) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
        TRY(turn.verdict);
        (void)snprintf(id, sizeof id, "turn/%llu", (unsigned long long)seq);
        TRY(raw_holds(t, &crowd.stores[0], record_of(id, seq)));
    }
    raw_close(&crowd.stores[0]);
    return PASS;
}

/* ---- side by side ----------------------------------------------------------------- */

static void *work_alone(void *arg)
{
    size_t i = (size_t)(uintptr_t)arg - 1;
    struct raw_store *s = &crowd.stores[i];

    for (uint64_t seq = 1; seq <= ROUNDS; seq++) {
        struct raw_record r = record_of("own", seq * 10 + i);

        if (raw_save(s, r) != MAKO_OK)
            audit("save: %s", raw_error()->text);
        load_whole(s, "own", r.seq);
        if (keeps(crowd.t) && raw_seq(s, "own") != r.seq)
            audit("a store shows what was saved in another");
    }
    return NULL;
}

/* A store for each thread, each with a directory of its own. */
static enum verdict stores_work_side_by_side(struct trial *t)
{
    static char data[THREADS][PATH_MAX];

    if (!raw_uses_dir(t) && raw_durability_asked(t) >= MAKO_DURABLE_CRASH)
        return trial_skip(t, "the configuration does not use MAKO_TEST_DIR");
    for (size_t i = 0; i < THREADS; i++) {
        (void)snprintf(data[i], sizeof data[i], "%.4000s/side%zu", t->root, i);
        CHECK(mkdir(data[i], 0700) == 0);
        WANT(raw_open(t, &crowd.stores[i], (struct raw_opening){.data = data[i]}),
             MAKO_OK);
    }
    t->durability = (enum mako_durability)crowd.stores[0].given.durability;
    TRY(run_crowd(t, work_alone));
    for (size_t i = 0; i < THREADS; i++)
        raw_close(&crowd.stores[i]);
    return PASS;
}

const struct test_case raw_thread_cases[] = {
    {"many_threads_at_once", many_threads_at_once},
    {"if_newer_is_one_decision", if_newer_is_one_decision},
    {"threads_take_turns", threads_take_turns},
    {"stores_work_side_by_side", stores_work_side_by_side},
    {NULL, NULL},
};

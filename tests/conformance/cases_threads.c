/* Many threads on few streams: only whole values are seen, and time runs forwards. */
#include "cases.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum {
    THREADS = 4,
    STREAMS = 3,
    ROUNDS = 250,
    LEN_MAX = 3000
};

static struct arena {
    struct trial *t;
    _Atomic uint64_t next[STREAMS];  /* sequences given out */
    _Atomic uint64_t acked[STREAMS]; /* the highest one that was acknowledged */
    atomic_uint loaded, saved;
    pthread_mutex_t lock;
    char complaint[300]; /* the first */
} arena;

__attribute__((format(printf, 1, 2))) static void complain(const char *format, ...)
{
    va_list args;

    pthread_mutex_lock(&arena.lock);
    if (!arena.complaint[0]) {
        va_start(args, format);
        (void)vsnprintf(arena.complaint, sizeof arena.complaint, format, args);
        va_end(args);
    }
    pthread_mutex_unlock(&arena.lock);
}

static const char *stream_name(unsigned at)
{
    static const char *const names[STREAMS] = {"hot/1", "hot/2", "hot/3"};

    return names[at];
}

static size_t len_of(uint64_t seq)
{
    return (size_t)(seq * 131 % LEN_MAX);
}

static void raise_to(_Atomic uint64_t *mark, uint64_t seq)
{
    uint64_t old = atomic_load(mark);

    while (old < seq && !atomic_compare_exchange_weak(mark, &old, seq))
        continue;
}

static void save_next(unsigned at)
{
    uint64_t seq = atomic_fetch_add(&arena.next[at], 1) + 1;
    unsigned char bytes[LEN_MAX];
    struct sample s = {.seq = seq, .anchor = ~seq, .state = bytes, .len = len_of(seq)};
    struct mako_error err = {""};
    int status;

    pattern(bytes, s.len, seq);
    status = put(arena.t, stream_name(at), s, &err);
    if (status != MAKO_OK && status != MAKO_STALE)
        complain("saving %llu: %s", (unsigned long long)seq, err.text);
    raise_to(&arena.acked[at], seq);
    atomic_fetch_add(&arena.saved, 1);
}

/* A value is whole where sequence, anchor, length and bytes belong together. */
static void load_whole(unsigned at, uint64_t at_least)
{
    mako_snapshot *snapshot = NULL;
    struct mako_error err = {""};
    int status = get(arena.t, stream_name(at), &snapshot, &err);
    uint64_t seq;
    size_t len;
    const void *state;

    if (status == MAKO_NOT_FOUND && (at_least == 0 || !keeps(arena.t)))
        return;
    if (status != MAKO_OK) {
        complain("loading: %s: %s", mako_status_name(status), err.text);
        return;
    }
    seq = mako_snapshot_meta(snapshot).seq;
    state = mako_snapshot_state(snapshot, &len);
    if (len != len_of(seq) || mako_snapshot_anchor(snapshot) != ~seq ||
        !is_pattern(state, len, seq))
        complain("%llu came back torn", (unsigned long long)seq);
    if (seq < at_least)
        complain("%llu was acknowledged, then %llu was loaded",
                 (unsigned long long)at_least, (unsigned long long)seq);
    mako_snapshot_unref(snapshot);
    atomic_fetch_add(&arena.loaded, 1);
}

static uint64_t step(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

static void *hammer(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg;

    for (int i = 0; i < ROUNDS; i++) {
        unsigned at = (unsigned)(step(&seed) % STREAMS);
        uint64_t what = step(&seed) % 10;
        struct mako_error err = {""};
        struct mako_meta meta;

        if (what < 4)
            save_next(at);
        else if (what < 8)
            load_whole(at, 0);
        else if (what < 9 && mako_store_peek(arena.t->store, stream_name(at), &meta,
                                             &err) > MAKO_NOT_FOUND)
            complain("peeking: %s", err.text);
        else if (mako_store_remove(arena.t->store, stream_name(at), &err) < 0)
            complain("removing: %s", err.text);
    }
    return NULL;
}

/* What was acknowledged before a load began is the least that it may return. */
static void *climb(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg;

    for (int i = 0; i < ROUNDS; i++) {
        unsigned at = (unsigned)(step(&seed) % STREAMS);

        if (step(&seed) % 2)
            save_next(at);
        else
            load_whole(at, atomic_load(&arena.acked[at]));
    }
    return NULL;
}

static enum verdict crowd(struct trial *t, void *(*run)(void *arg))
{
    pthread_t threads[THREADS];

    arena.t = t;
    CHECK(pthread_mutex_init(&arena.lock, NULL) == 0);
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, run, (void *)(i + 7)) == 0);
    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECKF(arena.complaint[0] == '\0', "%s", arena.complaint);
    CHECK(arena.saved > 0 && (arena.loaded > 0 || !keeps(t)));
    return PASS;
}

static enum verdict only_whole_values_are_seen(struct trial *t)
{
    return crowd(t, hammer);
}

static enum verdict a_load_never_goes_back(struct trial *t)
{
    TRY(crowd(t, climb));
    for (unsigned at = 0; at < STREAMS; at++)
        load_whole(at, arena.acked[at]);
    CHECKF(arena.complaint[0] == '\0', "%s", arena.complaint);
    return PASS;
}

/* The same after a restart: nothing that was acknowledged is lost. */
static enum verdict what_threads_saved_survives(struct trial *t)
{
    if (!outlives(t))
        return trial_skip(t, "nothing outlives the process");
    TRY(crowd(t, climb));
    trial_close(t);
    TRY(trial_open(t));
    for (unsigned at = 0; at < STREAMS; at++)
        load_whole(at, arena.acked[at]);
    CHECKF(arena.complaint[0] == '\0', "%s", arena.complaint);
    return PASS;
}

/* References and lent snapshots of one thread end in another. */
static void *release_elsewhere(void *arg)
{
    mako_snapshot *snapshot = arg;
    size_t len;

    if (!is_pattern(mako_snapshot_state(snapshot, &len), 64, 5))
        complain("other bytes in another thread");
    mako_snapshot_unref(snapshot);
    mako_store_unref(arena.t->store);
    return NULL;
}

static enum verdict snapshots_end_in_other_threads(struct trial *t)
{
    unsigned char bytes[64];
    pthread_t threads[16];

    if (!keeps(t))
        return trial_skip(t, "nothing is kept");
    arena.t = t;
    CHECK(pthread_mutex_init(&arena.lock, NULL) == 0);
    pattern(bytes, sizeof bytes, 5);
    CHECK(put(t, "a", (struct sample){.seq = 1, .state = bytes, .len = 64}, NULL) ==
          MAKO_OK);
    for (size_t i = 0; i < 16; i++) {
        mako_snapshot *snapshot = NULL;

        CHECK(get(t, "a", &snapshot, NULL) == MAKO_OK);
        (void)mako_store_ref(t->store);
        CHECK(pthread_create(&threads[i], NULL, release_elsewhere, snapshot) == 0);
        CHECK(put(t, "a", (struct sample){.seq = i + 2, .state = bytes, .len = 64},
                  NULL) == MAKO_OK);
    }
    for (size_t i = 0; i < 16; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECKF(arena.complaint[0] == '\0', "%s", arena.complaint);
    return PASS;
}

const struct test_case cases_threads[] = {
    {"only_whole_values_are_seen", only_whole_values_are_seen},
    {"a_load_never_goes_back", a_load_never_goes_back},
    {"what_threads_saved_survives", what_threads_saved_survives},
    {"snapshots_end_in_other_threads", snapshots_end_in_other_threads},
    {NULL, NULL},
};

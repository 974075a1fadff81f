/* Thread stress, without a test framework, so that ThreadSanitizer's own exit status is
 * the verdict:
 *
 *     stress CONFIGURATION [ROUNDS]
 *
 * Threads save, load, peek, remove, scan and take references on few shared streams;
 * loaded snapshots are read and released by other threads than those that loaded them.
 * Every value that is seen must be whole. */
#include "cases.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum {
    THREADS = 6,
    STREAMS = 8,
    SLOTS = 16,
    LEN_MAX = 2000
};

static unsigned long rounds = 2000;

static struct {
    struct trial *t;
    _Atomic(mako_snapshot *) slots[SLOTS]; /* handed from thread to thread */
    atomic_uint errors, values;
    _Atomic uint64_t next;
} shared;

static void name_of(uint64_t at, char id[32])
{
    (void)snprintf(id, 32, "stress/%d", (int)(at % STREAMS));
}

static size_t len_of(uint64_t seq)
{
    return (size_t)(seq * 271 % LEN_MAX);
}

__attribute__((format(printf, 1, 2))) static void complain(const char *format, ...)
{
    va_list args;

    if (atomic_fetch_add(&shared.errors, 1) > 5)
        return;
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
}

/* Read it where it is, whoever loaded it, then let go. */
static void check_and_release(mako_snapshot *snapshot)
{
    uint64_t seq;
    size_t len;
    const void *state;

    if (!snapshot)
        return;
    seq = mako_snapshot_meta(snapshot).seq;
    state = mako_snapshot_state(snapshot, &len);
    if (len != len_of(seq) || mako_snapshot_anchor(snapshot) != seq * 3 + 1 ||
        !is_pattern(state, len, seq))
        complain("%llu is torn", (unsigned long long)seq);
    atomic_fetch_add(&shared.values, 1);
    mako_snapshot_unref(snapshot);
}

static void do_save(const char *id)
{
    uint64_t seq = atomic_fetch_add(&shared.next, 1) + 1;
    unsigned char bytes[LEN_MAX];
    struct sample s = {
        .seq = seq, .anchor = seq * 3 + 1, .state = bytes, .len = len_of(seq)};
    struct mako_error err = {""};
    int status;

    pattern(bytes, s.len, seq);
    status = put(shared.t, id, s, &err);
    if (status != MAKO_OK && status != MAKO_STALE)
        complain("save: %s", err.text);
}

static void do_load(const char *id, uint64_t slot)
{
    mako_snapshot *snapshot = NULL;
    struct mako_error err = {""};
    int status = get(shared.t, id, &snapshot, &err);

    if (status == MAKO_OK)
        check_and_release(atomic_exchange(&shared.slots[slot % SLOTS], snapshot));
    else if (status != MAKO_NOT_FOUND)
        complain("load: %s", err.text);
}

static void do_small_things(const char *id, uint64_t what)
{
    struct mako_error err = {""};
    struct mako_meta meta;
    mako_store *store = mako_store_ref(shared.t->store);
    int status = what % 2 ? mako_store_peek(store, id, &meta, &err)
                          : mako_store_remove(store, id, &err);

    if (status != MAKO_OK && status != MAKO_NOT_FOUND)
        complain("%s: %s", what % 2 ? "peek" : "remove", err.text);
    mako_store_unref(store);
}

static bool count_entry(void *arg, struct mako_str stream, const struct mako_meta *meta,
                        uint64_t size)
{
    (void)meta, (void)size;
    if (strncmp(stream.ptr, "stress/", 7) != 0)
        complain("scan: '%s'", stream.ptr);
    ++*(unsigned *)arg;
    return true;
}

static void do_scan(void)
{
    struct mako_error err = {""};
    unsigned count = 0;
    int status = mako_store_scan(shared.t->store, "stress/", count_entry, &count, &err);

    if (status != MAKO_OK && status != MAKO_E_UNSUPPORTED)
        complain("scan: %s", err.text);
}

static uint64_t draw(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

static void *work(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg;
    char id[32];

    for (unsigned long i = 0; i < rounds; i++) {
        uint64_t what = draw(&seed) % 100;

        name_of(draw(&seed), id);
        if (what < 40)
            do_save(id);
        else if (what < 85)
            do_load(id, draw(&seed));
        else if (what < 98)
            do_small_things(id, draw(&seed));
        else
            do_scan();
    }
    return NULL;
}

static enum verdict run_threads(struct trial *t)
{
    pthread_t threads[THREADS];

    shared.t = t;
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, work, (void *)(i * 977 + 1)) == 0);
    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    for (size_t i = 0; i < SLOTS; i++)
        check_and_release(shared.slots[i]);
    CHECKF(shared.errors == 0, "%u errors", shared.errors);
    CHECK(shared.values > 0 || !keeps(t));
    return PASS;
}

int main(int argc, char **argv)
{
    static const struct test_case all = {"stress", run_threads};
    static struct trial t;
    enum verdict verdict;

    if (argc < 2 || argc > 3) {
        (void)fprintf(stderr, "usage: stress CONFIGURATION [ROUNDS]\n");
        return 2;
    }
    if (argc > 2)
        rounds = strtoul(argv[2], NULL, 10);
    trial_environment();
    verdict = case_run(&all, argv[1], &t);
    (void)printf("stress: %d threads, %lu rounds each, %u values checked: %s %s\n",
                 THREADS, rounds, shared.values,
                 verdict == PASS ? "whole" : "FAILED:", t.message);
    return verdict == PASS ? 0 : 1;
}

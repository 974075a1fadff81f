/* Threads that do everything to one store at once:
 *
 *     stress [AMOUNTS] CONFIGURATION
 *
 * They save, load, peek, remove, scan, compact and count on few shared streams, alone and
 * in batches, and open stores of their own for a while.  Loaded snapshots go from hand to
 * hand: they are read and released by other threads than those that loaded them, in the
 * middle of scans, and long after the handles of their store are gone, which the last of
 * them closes.  Every value that is seen must be whole, every scan complete.
 *
 * No test framework, so that the verdict of ThreadSanitizer or valgrind is the exit
 * status; and the threads share nothing but the store and what they hand on, so that a
 * lock of the test orders nothing that the store should. */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "../conformance/cases.h"
#include "amounts.h"
#include "complaints.h"
#include "places.h"

enum {
    STREAMS = 8, /* that come and go; as many are never removed */
    SLOTS = 16,
    BATCH = 4,
    LEN_MAX = 2000
};

struct worker {
    pthread_t thread;
    mako_store *store; /* this thread's reference, or nobody's once it has ended */
    uint64_t number, seed, saves, values, places;
};

/* Where snapshots are handed from thread to thread.  A lock, because helgrind knows
 * nothing of atomic exchanges. */
struct slot {
    pthread_mutex_t lock;
    mako_snapshot *snapshot;
};

static struct {
    struct trial *t;
    struct amounts amounts;
    bool parallel; /* a scan's entry may use the store */
    char plugin[80];
    struct worker workers[THREADS_MAX];
    struct slot slots[SLOTS];
} shared = {.amounts = {.rounds = 2000, .threads = 6}};

/* ---- values --------------------------------------------------------------------------
 */

static void name_of(uint64_t at, char id[32])
{
    (void)snprintf(id, 32, "stress/%s/%u", at % 2 ? "kept" : "come and go",
                   (unsigned)(at / 2 % STREAMS));
}

static size_t len_of(uint64_t seq)
{
    return (size_t)(seq * 271 % LEN_MAX);
}

/* Read it where it is, whoever loaded it, then let go. */
static void check_and_release(struct worker *w, mako_snapshot *snapshot)
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
        complain("%" PRIu64 " is torn", seq);
    w->values++;
    mako_snapshot_unref(snapshot);
}

static mako_snapshot *exchange(uint64_t at, mako_snapshot *snapshot)
{
    struct slot *slot = &shared.slots[at % SLOTS];
    mako_snapshot *old;

    (void)pthread_mutex_lock(&slot->lock);
    old = slot->snapshot;
    slot->snapshot = snapshot;
    (void)pthread_mutex_unlock(&slot->lock);
    return old;
}

/* Two hands hold it from now on, or one. */
static void hand_on(struct worker *w, mako_snapshot *snapshot)
{
    mako_snapshot *mine = draw(&w->seed) % 2 ? mako_snapshot_ref(snapshot) : NULL;

    check_and_release(w, exchange(draw(&w->seed), snapshot));
    check_and_release(w, mine);
}

static void take_over(struct worker *w)
{
    check_and_release(w, exchange(draw(&w->seed), NULL));
}

/* Of sequences that no other thread uses, rising. */
static struct mako_save make_save(struct worker *w, unsigned char bytes[LEN_MAX])
{
    uint64_t seq = ++w->saves * THREADS_MAX + w->number;
    struct sample s = {
        .seq = seq, .anchor = seq * 3 + 1, .state = bytes, .len = len_of(seq)};

    s.flags = draw(&w->seed) % 8 == 0 ? MAKO_SAVE_FORCE : 0;
    pattern(bytes, s.len, seq);
    return save_of(s);
}

static void check_saved(int status, const struct mako_error *err)
{
    if (status != MAKO_OK && status != MAKO_STALE)
        complain("save: %s", err->text);
}

/* What is never removed must be there, where anything is. */
static void check_found(const char *id, int status, const struct mako_error *err)
{
    if (status != MAKO_OK && status != MAKO_NOT_FOUND)
        complain("%s: %s", id, err->text);
    if (status == MAKO_NOT_FOUND && strstr(id, "kept") && keeps(shared.t))
        complain("%s is lost", id);
}

/* ---- one call ------------------------------------------------------------------------
 */

static void do_save(struct worker *w, mako_store *store, const char *id)
{
    unsigned char bytes[LEN_MAX];
    struct mako_save save = make_save(w, bytes);
    struct mako_error err = {""};

    check_saved(mako_store_save(store, id, &save, &err), &err);
}

static void do_load(struct worker *w, mako_store *store, const char *id)
{
    struct mako_expect any = expect_range(1, UINT32_MAX);
    mako_snapshot *snapshot = NULL;
    struct mako_error err = {""};
    int status = mako_store_load(store, id, &any, &snapshot, NULL, &err);

    if (status == MAKO_OK)
        hand_on(w, snapshot);
    else
        check_found(id, status, &err);
}

static void do_peek(mako_store *store, const char *id)
{
    struct mako_error err = {""};
    struct mako_meta meta;

    check_found(id, mako_store_peek(store, id, &meta, &err), &err);
}

static void do_remove(struct worker *w, mako_store *store)
{
    struct mako_error err = {""};
    char id[32];

    name_of(draw(&w->seed) * 2, id);
    if (mako_store_remove(store, id, &err) < 0)
        complain("remove: %s", err.text);
}

static void do_save_many(struct worker *w, mako_store *store)
{
    unsigned char bytes[BATCH][LEN_MAX];
    char ids[BATCH][32];
    const char *streams[BATCH];
    struct mako_save saves[BATCH];
    const struct mako_save *given[BATCH];
    int statuses[BATCH];
    struct mako_error err = {""};

    for (size_t i = 0; i < BATCH; i++) {
        name_of(draw(&w->seed), ids[i]);
        streams[i] = ids[i];
        saves[i] = make_save(w, bytes[i]);
        given[i] = &saves[i];
    }
    if (mako_store_save_many(store, streams, given, BATCH, statuses, &err) != MAKO_OK)
        complain("save_many: %s", err.text);
    else
        for (size_t i = 0; i < BATCH; i++)
            check_saved(statuses[i], &err);
}

static void do_load_many(struct worker *w, mako_store *store)
{
    struct mako_expect any = expect_range(1, UINT32_MAX);
    const struct mako_expect *expects[BATCH] = {&any, &any, &any, &any};
    char ids[BATCH][32];
    const char *streams[BATCH];
    mako_snapshot *snapshots[BATCH];
    int statuses[BATCH], status;
    struct mako_error err = {""};

    for (size_t i = 0; i < BATCH; i++) {
        name_of(draw(&w->seed), ids[i]);
        streams[i] = ids[i];
    }
    status = mako_store_load_many(store, streams, expects, BATCH, snapshots, NULL,
                                  statuses, &err);
    if (status != MAKO_OK)
        complain("load_many: %s", err.text);
    for (size_t i = 0; status == MAKO_OK && i < BATCH; i++)
        if (statuses[i] == MAKO_OK)
            hand_on(w, snapshots[i]);
        else
            check_found(ids[i], statuses[i], &err);
}

/* ---- the whole store -----------------------------------------------------------------
 */

struct scan {
    struct worker *w;
    mako_store *store;
    unsigned kept; /* a bit for each stream that is never removed */
};

/* Snapshots are released while the scan goes on, by this thread and by others. */
static bool on_entry(void *arg, struct mako_str stream, const struct mako_meta *meta,
                     uint64_t size)
{
    struct scan *scan = arg;
    struct mako_error err = {""};
    struct mako_meta found;
    int status;

    if (strncmp(stream.ptr, "stress/", 7) != 0 || size == 0 || meta->schema > 1)
        complain("scan: '%s', %" PRIu64 " bytes", stream.ptr, size);
    if (strncmp(stream.ptr, "stress/kept/", 12) == 0)
        scan->kept |= 1u << (stream.ptr[12] - '0');
    take_over(scan->w);
    status = mako_store_peek(scan->store, stream.ptr, &found, &err);
    if (status != (shared.parallel ? MAKO_OK : MAKO_E_INVALID) &&
        status != MAKO_NOT_FOUND)
        complain("inside a scan: %s", err.text);
    return true;
}

static void do_scan(struct worker *w, mako_store *store)
{
    struct scan scan = {.w = w, .store = store};
    struct mako_error err = {""};
    int status = mako_store_scan(store, "stress/", on_entry, &scan, &err);

    if (status != MAKO_OK && status != MAKO_E_UNSUPPORTED)
        complain("scan: %s", err.text);
    if (status == MAKO_OK && keeps(shared.t) && scan.kept != (1u << STREAMS) - 1)
        complain("a scan found 0x%x of what is always there", scan.kept);
}

static void no_counter(void *arg, const char *name, uint64_t value)
{
    (void)name, (void)value;
    ++*(unsigned *)arg;
}

static void do_stats(mako_store *store)
{
    struct mako_info info = {.struct_size = sizeof info};
    struct mako_error err = {""};
    unsigned count = 0;

    mako_store_info(store, &info);
    if (mako_store_stats(store, no_counter, &count, &err) != MAKO_OK || count == 0 ||
        strcmp(info.name, "test") != 0)
        complain("stats: %s", err.text);
}

static void do_compact(mako_store *store)
{
    struct mako_error err = {""};
    int status = mako_store_compact(store, NULL, NULL, &err);

    if (status != MAKO_OK && status != MAKO_E_UNSUPPORTED)
        complain("compact: %s", err.text);
}

/* A store of the thread's own, elsewhere: the handle goes at once, what was loaded stays
 * with others, and the last of it closes the store. */
static void do_visit(struct worker *w)
{
    char place[PATH_MAX + 80];
    struct mako_error err = {""};
    struct mako_meta meta;
    mako_store *store = NULL;

    (void)snprintf(place, sizeof place, "%s/%" PRIu64 ".%" PRIu64, shared.t->data,
                   w->number, w->places++);
    if (place_open(shared.t->conf, shared.plugin, place, &store, &err) != MAKO_OK) {
        complain("open: %s", err.text);
        return;
    }
    if (mako_store_peek(store, "stress/visit", &meta, &err) != MAKO_NOT_FOUND)
        complain("a new store is not empty: %s", err.text);
    for (int i = 0; i < 3; i++) {
        do_save(w, store, "stress/visit");
        do_load(w, store, "stress/visit");
    }
    mako_store_unref(store);
}

/* ---- all of it -----------------------------------------------------------------------
 */

static void do_something(struct worker *w, mako_store *store)
{
    uint64_t what = draw(&w->seed) % 1000;
    char id[32];

    name_of(draw(&w->seed), id);
    if (what < 340)
        do_save(w, store, id);
    else if (what < 690)
        do_load(w, store, id);
    else if (what < 750)
        do_peek(store, id);
    else if (what < 840)
        do_remove(w, store);
    else if (what < 890)
        do_save_many(w, store);
    else if (what < 940)
        do_load_many(w, store);
    else if (what < 960)
        take_over(w);
    else if (what < 980)
        do_scan(w, store);
    else if (what < 990)
        do_stats(store);
    else if (what < 996)
        do_visit(w);
    else
        do_compact(store);
}

static void *work(void *arg)
{
    struct worker *w = arg;

    for (unsigned long i = 0; amounts_more(&shared.amounts, i); i++) {
        mako_store *store = mako_store_ref(w->store);

        do_something(w, store);
        mako_store_unref(store);
    }
    mako_store_unref(w->store);
    return NULL;
}

/* What is left, all at once. */
static void *let_go(void *arg)
{
    struct worker *w = arg;

    for (size_t i = 0; i < SLOTS; i++)
        check_and_release(w, exchange(i, NULL));
    return NULL;
}

static enum verdict run_all(struct trial *t, void *(*run)(void *arg))
{
    for (unsigned i = 0; i < shared.amounts.threads; i++)
        CHECK(pthread_create(&shared.workers[i].thread, NULL, run, &shared.workers[i]) ==
              0);
    for (unsigned i = 0; i < shared.amounts.threads; i++)
        CHECK(pthread_join(shared.workers[i].thread, NULL) == 0);
    return PASS;
}

/* Each thread gets a reference; ours goes, so that they close the store among them. */
static void begin(struct trial *t)
{
    uint64_t seed = shared.amounts.seed;
    char id[32];

    for (size_t i = 0; i < SLOTS; i++)
        (void)pthread_mutex_init(&shared.slots[i].lock, NULL);
    for (unsigned i = 0; i < shared.amounts.threads; i++) {
        shared.workers[i].number = i;
        shared.workers[i].seed = draw(&seed);
        shared.workers[i].store = mako_store_ref(t->store);
    }
    for (uint64_t i = 0; i < STREAMS; i++) {
        name_of(2 * i + 1, id);
        do_save(&shared.workers[0], t->store, id);
    }
    trial_close(t);
}

static enum verdict run_threads(struct trial *t)
{
    uint64_t values = 0;

    shared.t = t;
    shared.parallel = t->threads == MAKO_THREADS_PARALLEL;
    (void)snprintf(shared.plugin, sizeof shared.plugin, "%s", t->info.plugin);
    begin(t);
    TRY(run_all(t, work));
    TRY(run_all(t, let_go));
    for (unsigned i = 0; i < shared.amounts.threads; i++)
        values += shared.workers[i].values;
    TRY(trial_open(t)); /* it is closed, or a lock would be in the way */
    if (outlives(t))
        for (uint64_t i = 1; i < 2 * STREAMS; i += 2) {
            char id[32];

            name_of(i, id);
            do_load(&shared.workers[0], t->store, id);
        }
    (void)let_go(&shared.workers[0]);
    CHECKF(complaints() == 0, "%u errors", complaints());
    CHECK(values > 0 || !keeps(t));
    (void)printf("stress: %" PRIu64 " values checked\n", values);
    return PASS;
}

int main(int argc, char **argv)
{
    static const struct test_case all = {"stress", run_threads};
    static struct trial t;
    enum verdict verdict;

    if (!amounts_read(&shared.amounts, argc, argv, "CONFIGURATION"))
        return 2;
    trial_environment();
    complain_of_log_errors();
    verdict = case_run(&all, shared.amounts.words[0], &t);
    (void)printf("stress: seed %" PRIu64 ", %lu threads: %s%s\n", shared.amounts.seed,
                 shared.amounts.threads,
                 verdict == PASS ? "all whole" : "WRONG: ", t.message);
    return verdict == PASS ? 0 : 1;
}

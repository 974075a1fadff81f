/* Threads that use a store in every way; see life.h. */
#include "life.h"

#include <stdarg.h>
#include <stdlib.h>

/* ---- judging ---------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static void complain(const struct worker *w,
                                                           const char *format, ...)
{
    struct ledger *ledger = w->work->ledger;
    char text[sizeof ledger->text];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (atomic_fetch_add(&ledger->errors, 1) == 0)
        memcpy(ledger->text, text, sizeof text);
}

/* Whether the call worked.  A failure is only right where it may be, and with a sentence
 * that names the store. */
static bool worked(const struct worker *w, const char *call, int status,
                   const struct mako_error *err)
{
    static const char begin[] = "store 'test' (";

    if (status >= 0 || status == MAKO_E_UNSUPPORTED)
        return status == MAKO_OK;
    atomic_fetch_add(&w->work->ledger->refused, 1);
    if (!w->work->may_refuse || strncmp(err->text, begin, sizeof begin - 1) != 0)
        complain(w, "%s: %s: '%s'", call, mako_status_name(status), err->text);
    return false;
}

static void name_of(const struct worker *w, unsigned which, char stream[32])
{
    (void)snprintf(stream, 32, "life/%u/%u", w->index, which);
}

/* Mostly small; some larger than what goes to a Redis server in one piece. */
static size_t len_of(uint64_t seq)
{
    return seq % 16 == 0 ? 20000 + (size_t)(seq * 977 % (LEN_MAX - 20000))
                         : (size_t)(seq * 271 % 2000);
}

/* ---- calls ------------------------------------------------------------------------ */

/* The next save of a stream, its state at room. */
static struct mako_save next_save(struct worker *w, unsigned which, unsigned char *room,
                                  size_t len_max)
{
    uint64_t seq = atomic_load(&w->work->ledger->begun[w->index][which]) + 1;
    size_t len = len_of(seq) < len_max ? len_of(seq) : len_max;

    pattern(room, len, seq);
    atomic_store(&w->work->ledger->begun[w->index][which], seq);
    return save_of((struct sample){.seq = seq, .state = room, .len = len});
}

static void do_save(struct worker *w, unsigned which)
{
    struct mako_save save = next_save(w, which, w->state, LEN_MAX);
    struct mako_error err = {""};
    char stream[32];

    name_of(w, which, stream);
    if (worked(w, "save", mako_store_save(w->work->t->store, stream, &save, &err), &err))
        atomic_store(&w->work->ledger->done[w->index][which], save.seq);
}

static void do_save_many(struct worker *w)
{
    const char *streams[OWN];
    struct mako_save saves[OWN];
    const struct mako_save *list[OWN];
    char names[OWN][32];
    int statuses[OWN] = {0};
    struct mako_error err = {""};

    for (unsigned i = 0; i < OWN; i++) {
        name_of(w, i, names[i]);
        streams[i] = names[i];
        saves[i] = next_save(w, i, w->state + i * (LEN_MAX / OWN), LEN_MAX / OWN);
        list[i] = &saves[i];
    }
    if (!worked(
            w, "save_many",
            mako_store_save_many(w->work->t->store, streams, list, OWN, statuses, &err),
            &err))
        return;
    for (unsigned i = 0; i < OWN; i++)
        if (worked(w, "save_many", statuses[i], &err))
            atomic_store(&w->work->ledger->done[w->index][i], saves[i].seq);
}

/* snapshot is NULL where there was none. */
static void check_loaded(struct worker *w, unsigned which, mako_snapshot *snapshot)
{
    const struct ledger *ledger = w->work->ledger;
    uint64_t done = atomic_load(&ledger->done[w->index][which]);
    uint64_t begun = atomic_load(&ledger->begun[w->index][which]);
    uint64_t seq = 0;
    size_t len = 0;
    const void *state = "";

    if (snapshot != NULL) {
        seq = mako_snapshot_meta(snapshot).seq;
        state = mako_snapshot_state(snapshot, &len);
    }
    if (!keeps(w->work->t))
        done = 0;
    if (seq < done || seq > begun || !is_pattern(state, len, seq))
        complain(w, "life/%u/%u: %llu of %zu bytes, of %llu to %llu", w->index, which,
                 (unsigned long long)seq, len, (unsigned long long)done,
                 (unsigned long long)begun);
    mako_snapshot_unref(snapshot);
}

static void do_load(struct worker *w, unsigned which)
{
    mako_snapshot *snapshot = NULL;
    struct mako_error err = {""};
    char stream[32];
    int status;

    name_of(w, which, stream);
    status = get(w->work->t, stream, &snapshot, &err);
    if (worked(w, "load", status, &err) || status == MAKO_NOT_FOUND)
        check_loaded(w, which, snapshot);
    else if (status > 0)
        complain(w, "load: %s", err.text);
}

static void do_load_many(struct worker *w)
{
    const struct mako_expect any = expect_range(1, UINT32_MAX);
    const struct mako_expect *expects[OWN] = {&any, &any, &any, &any};
    const char *streams[OWN];
    mako_snapshot *snapshots[OWN];
    char names[OWN][32];
    int statuses[OWN] = {0};
    struct mako_error err = {""};

    for (unsigned i = 0; i < OWN; i++) {
        name_of(w, i, names[i]);
        streams[i] = names[i];
    }
    if (!worked(w, "load_many",
                mako_store_load_many(w->work->t->store, streams, expects, OWN, snapshots,
                                     NULL, statuses, &err),
                &err))
        return;
    for (unsigned i = 0; i < OWN; i++)
        if (worked(w, "load_many", statuses[i], &err) || statuses[i] == MAKO_NOT_FOUND)
            check_loaded(w, i, snapshots[i]);
        else if (statuses[i] > 0)
            complain(w, "load_many: %s", err.text);
}

static void do_remove(struct worker *w)
{
    struct mako_save save =
        save_of((struct sample){.seq = 1, .state = "short", .len = 5});
    struct mako_error err = {""};
    struct mako_meta meta;
    char stream[32];

    (void)snprintf(stream, sizeof stream, "short-lived/%u", w->index);
    (void)worked(w, "save", mako_store_save(w->work->t->store, stream, &save, &err),
                 &err);
    (void)worked(w, "peek", mako_store_peek(w->work->t->store, stream, &meta, &err),
                 &err);
    (void)worked(w, "remove", mako_store_remove(w->work->t->store, stream, &err), &err);
}

static bool see_entry(void *arg, struct mako_str stream, const struct mako_meta *meta,
                      uint64_t size)
{
    const struct worker *w = arg;

    (void)meta, (void)size;
    if (stream.len < 8 || strncmp(stream.ptr, "life/", 5) != 0)
        complain(w, "scan: '%s'", stream.ptr);
    return true;
}

static void see_counter(void *arg, const char *name, uint64_t value)
{
    (void)value;
    if (name[0] == '\0')
        complain(arg, "a counter without a name");
}

static void do_whole(struct worker *w, uint64_t what)
{
    mako_store *store = mako_store_ref(w->work->t->store);
    struct mako_error err = {""};

    if (what < 3)
        (void)worked(w, "scan", mako_store_scan(store, "life/", see_entry, w, &err),
                     &err);
    else if (what < 6)
        (void)worked(w, "stats", mako_store_stats(store, see_counter, w, &err), &err);
    else
        (void)worked(w, "compact", mako_store_compact(store, NULL, NULL, &err), &err);
    mako_store_unref(store);
}

void work_once(struct worker *w)
{
    uint64_t what = life_draw(&w->seed) % 100;
    unsigned which = (unsigned)(life_draw(&w->seed) % OWN);

    if (what < 45)
        do_save(w, which);
    else if (what < 75)
        do_load(w, which);
    else if (what < 80)
        do_save_many(w);
    else if (what < 87)
        do_load_many(w);
    else if (what < 93)
        do_remove(w);
    else
        do_whole(w, what - 93);
    atomic_fetch_add(&w->work->ledger->calls, 1);
}

/* ---- threads ---------------------------------------------------------------------- */

static void *run_worker(void *arg)
{
    struct worker *w = arg;

    while (!atomic_load(&w->work->stop))
        work_once(w);
    return NULL;
}

enum verdict work_start(struct work *work)
{
    struct trial *t = work->t;
    pthread_attr_t attr;

    CHECK(work->count <= WORKERS_MAX && work->ledger != NULL);
    pthread_attr_init(&attr);
    if (work->stack != 0)
        CHECK(pthread_attr_setstacksize(&attr, work->stack) == 0);
    atomic_store(&work->stop, false);
    for (unsigned i = 0; i < work->count; i++) {
        struct worker *w = &work->workers[i];

        *w = (struct worker){.work = work,
                             .index = i,
                             .seed = life_seed * 1000 + i,
                             .state = malloc(LEN_MAX)};
        CHECK(w->state != NULL);
        CHECK(pthread_create(&work->threads[i], &attr, run_worker, w) == 0);
    }
    pthread_attr_destroy(&attr);
    return PASS;
}

void work_stop(struct work *work)
{
    atomic_store(&work->stop, true);
    for (unsigned i = 0; i < work->count; i++) {
        (void)pthread_join(work->threads[i], NULL);
        free(work->workers[i].state);
    }
}

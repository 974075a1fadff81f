/* Walking over what is there. */
#include "cases.h"

#include <stdlib.h>

#define NEEDS_SCAN(t)                                        \
    do {                                                     \
        if (!(t)->can_scan)                                  \
            return trial_skip(t, "this plugin cannot scan"); \
        if (!keeps(t))                                       \
            return trial_skip(t, "nothing is kept");         \
    } while (0)

enum {
    STREAMS = 40
};

static void name_of(size_t i, char id[32])
{
    (void)snprintf(id, 32, "%s/%zu", i % 2 ? "odd" : "even", i);
}

static enum verdict fill(struct trial *t)
{
    char id[32];

    for (size_t i = 0; i < STREAMS; i++) {
        struct sample s = {.seq = i + 1, .schema = 2, .state = "state", .len = 5};

        name_of(i, id);
        CHECK(put(t, id, s, NULL) == MAKO_OK);
    }
    return PASS;
}

struct walk {
    struct trial *t;
    unsigned seen[STREAMS];
    unsigned calls, strangers, wrong;
    unsigned stop_after; /* 0: never */
    int nested;          /* what a nested call said */
};

static bool visit(void *arg, struct mako_str stream, const struct mako_meta *meta,
                  uint64_t size)
{
    struct walk *w = arg;
    char id[32];

    w->calls++;
    for (size_t i = 0; i < STREAMS; i++) {
        name_of(i, id);
        if (strcmp(id, stream.ptr) != 0)
            continue;
        w->seen[i]++;
        if (strlen(id) != stream.len || size != 96 + 16 + 5 ||
            (meta->schema != 0 && (meta->schema != 2 || meta->seq != i + 1)))
            w->wrong++;
        return w->calls != w->stop_after;
    }
    w->strangers++;
    return w->calls != w->stop_after;
}

static enum verdict every_stream_comes_once(struct trial *t)
{
    struct walk w = {.t = t};
    struct mako_error err;

    NEEDS_SCAN(t);
    TRY(fill(t));
    CHECK(put_text(t, "gone", 1, "x") == MAKO_OK);
    CHECK(mako_store_remove(t->store, "gone", NULL) == MAKO_OK);
    TRY(fill(t));
    STATUS(mako_store_scan(t->store, NULL, visit, &w, &err), MAKO_OK);
    CHECK(w.strangers == 0 && w.wrong == 0 && w.calls == STREAMS);
    for (size_t i = 0; i < STREAMS; i++)
        CHECKF(w.seen[i] == 1, "stream %zu came %u times", i, w.seen[i]);
    return PASS;
}

static enum verdict calls_for(struct trial *t, const char *prefix, unsigned want)
{
    struct walk w = {.t = t};
    struct mako_error err;

    STATUS(mako_store_scan(t->store, prefix, visit, &w, &err), MAKO_OK);
    CHECKF(w.calls == want && w.strangers == 0, "'%s': %u streams, not %u", prefix,
           w.calls, want);
    return PASS;
}

static enum verdict prefixes(struct trial *t)
{
    NEEDS_SCAN(t);
    TRY(fill(t));
    TRY(calls_for(t, "", STREAMS));
    TRY(calls_for(t, "odd/", STREAMS / 2));
    TRY(calls_for(t, "even", STREAMS / 2));
    TRY(calls_for(t, "odd/1", 6)); /* 1, 11, 13, 15, 17, 19 */
    TRY(calls_for(t, "even/38", 1));
    TRY(calls_for(t, "even/388", 0));
    TRY(calls_for(t, "Odd", 0));
    TRY(calls_for(t, "*", 0));
    return calls_for(t, "/", 0);
}

static enum verdict a_scan_stops_early(struct trial *t)
{
    struct mako_error err;

    NEEDS_SCAN(t);
    TRY(fill(t));
    for (unsigned stop = 1; stop <= STREAMS; stop += 13) {
        struct walk w = {.t = t, .stop_after = stop};

        STATUS(mako_store_scan(t->store, NULL, visit, &w, &err), MAKO_OK);
        CHECKF(w.calls == stop, "%u calls, stopped after %u", w.calls, stop);
    }
    return PASS;
}

/* Saves new streams, replaces, loads and removes while the scan is under way. */
static bool visit_and_write(void *arg, struct mako_str stream,
                            const struct mako_meta *meta, uint64_t size)
{
    struct walk *w = arg;
    mako_snapshot *snapshot = NULL;
    char id[64];

    if (strncmp(stream.ptr, "new/", 4) == 0)
        return true;
    (void)visit(arg, stream, meta, size);
    (void)snprintf(id, sizeof id, "new/%.30s", stream.ptr);
    if (put_text(w->t, id, 1, "x") != MAKO_OK ||
        put(w->t, stream.ptr,
            (struct sample){.seq = 99, .schema = 2, .state = "again", .len = 5},
            NULL) != MAKO_OK ||
        get(w->t, stream.ptr, &snapshot, NULL) != MAKO_OK ||
        mako_store_remove(w->t->store, id, NULL) != MAKO_OK)
        w->strangers++;
    mako_snapshot_unref(snapshot);
    return true;
}

static enum verdict writing_during_a_scan(struct trial *t)
{
    struct walk w = {.t = t};
    struct mako_error err;

    NEEDS_SCAN(t);
    if (t->threads != MAKO_THREADS_PARALLEL)
        return trial_skip(t, "not of the parallel thread model");
    TRY(fill(t));
    STATUS(mako_store_scan(t->store, NULL, visit_and_write, &w, &err), MAKO_OK);
    CHECKF(w.strangers == 0, "%u calls failed", w.strangers);
    for (size_t i = 0; i < STREAMS; i++)
        CHECKF(w.seen[i] >= 1, "stream %zu did not come", i);
    return PASS;
}

static bool visit_and_call(void *arg, struct mako_str stream,
                           const struct mako_meta *meta, uint64_t size)
{
    struct walk *w = arg;
    struct trial *t = w->t;
    struct mako_meta found;
    mako_snapshot *snapshot = NULL;
    int statuses[] = {
        put_text(t, "b", 1, "x"),
        get(t, stream.ptr, &snapshot, NULL),
        mako_store_peek(t->store, stream.ptr, &found, NULL),
        mako_store_remove(t->store, stream.ptr, NULL),
        mako_store_scan(t->store, NULL, visit, w, NULL),
    };

    (void)meta, (void)size;
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++)
        if (statuses[i] != MAKO_E_INVALID)
            w->nested = statuses[i];
    mako_snapshot_unref(snapshot);
    return false;
}

/* Where the core holds a lock for the plugin, a call from inside is an error and no
 * deadlock; the store works on. */
static enum verdict calling_from_inside_a_scan(struct trial *t)
{
    struct walk w = {.t = t, .nested = MAKO_E_INVALID};

    NEEDS_SCAN(t);
    if (t->threads == MAKO_THREADS_PARALLEL)
        return trial_skip(t, "allowed in the parallel thread model");
    CHECK(put_text(t, "a", 1, "x") == MAKO_OK);
    CHECK(mako_store_scan(t->store, NULL, visit_and_call, &w, NULL) == MAKO_OK);
    CHECKF(w.nested == MAKO_E_INVALID, "a nested call said %s",
           mako_status_name(w.nested));
    CHECK(w.calls == 0);
    return holds_text(t, "a", 1, "x");
}

static enum verdict who_cannot_scan_says_so(struct trial *t)
{
    struct walk w = {.t = t};
    struct mako_error err;

    if (t->can_scan)
        return trial_skip(t, "this plugin can scan");
    STATUS(mako_store_scan(t->store, NULL, visit, &w, &err), MAKO_E_UNSUPPORTED);
    CHECK(w.calls == 0);
    return PASS;
}

const struct test_case cases_scan[] = {
    {"every_stream_comes_once", every_stream_comes_once},
    {"prefixes", prefixes},
    {"a_scan_stops_early", a_scan_stops_early},
    {"writing_during_a_scan", writing_during_a_scan},
    {"calling_from_inside_a_scan", calling_from_inside_a_scan},
    {"who_cannot_scan_says_so", who_cannot_scan_says_so},
    {NULL, NULL},
};

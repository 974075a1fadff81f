/* load.c - reading: the sink that a plugin answers through, the gates, the snapshot.
 *
 * The order of judgement is the same for every backend: schema (by the plugin's index
 * where it knows it early, by the envelope always), the envelope itself, kind, head of
 * the stream, size, checksum of the state.  Only what is far too large is so before all
 * that. */
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "envelope.h"
#include "error.h"
#include "policy.h"
#include "store.h"

#define LOAD_EXPECTS (MAKO_BIT(MAKO_NOT_FOUND) | MAKO_BIT(MAKO_DAMAGED))

/* One buffer: the state points into room, or at lent bytes. */
struct mako_snapshot {
    atomic_uint refs;
    unsigned generation;
    struct mako_meta meta;
    uint64_t anchor;
    const void *state;
    size_t state_len;
    mako_store *store; /* kept open; lent bytes only, else NULL */
    void (*release)(void *cookie);
    void *cookie;
    alignas(16) unsigned char room[];
};

/* One load in progress; the plugin holds the sink. */
struct loading {
    struct mako_sink sink;
    mako_store *store;
    struct mako_str stream;
    struct mako_expect expect;
    struct mako_range range;
    bool peek;             /* wants the metadata alone */
    bool declined;         /* the last accept or lend was turned down ... */
    int verdict;           /* ... because */
    struct mako_meta meta; /* the index's; schema 0: not told */
    mako_snapshot *snap;
    size_t len; /* of the blob that snap holds, or that was lent */
    const void *lent;
    uint64_t moved;
};

/* ---- snapshots ---------------------------------------------------------------- */

mako_snapshot *mako_snapshot_ref(mako_snapshot *snapshot)
{
    atomic_fetch_add_explicit(&snapshot->refs, 1, memory_order_relaxed);
    return snapshot;
}

/* Lent bytes go back, but never from a forked child: they are the parent's. */
static void give_back(mako_snapshot *snapshot)
{
    if (snapshot->store && snapshot->generation == mako_generation()) {
        if (snapshot->release)
            snapshot->release(snapshot->cookie);
        mako_store_unref(snapshot->store);
    }
    free(snapshot);
}

void mako_snapshot_unref(mako_snapshot *snapshot)
{
    if (snapshot &&
        atomic_fetch_sub_explicit(&snapshot->refs, 1, memory_order_acq_rel) == 1)
        give_back(snapshot);
}

struct mako_meta mako_snapshot_meta(const mako_snapshot *snapshot)
{
    return snapshot->meta;
}

uint64_t mako_snapshot_anchor(const mako_snapshot *snapshot)
{
    return snapshot->anchor;
}

const void *mako_snapshot_state(const mako_snapshot *snapshot, size_t *len)
{
    *len = snapshot->state_len;
    return snapshot->state;
}

static mako_snapshot *new_snapshot(size_t room)
{
    mako_snapshot *snap = malloc(sizeof *snap + room);

    if (snap) {
        atomic_init(&snap->refs, 1);
        snap->generation = mako_generation();
        snap->store = NULL;
        snap->release = NULL;
        snap->cookie = NULL;
    }
    return snap;
}

/* ---- the sink ----------------------------------------------------------------- */

/* What an earlier accept or lend of the same load left: it does not count any more. */
static void forget(struct loading *l)
{
    if (!l->snap)
        return;
    if (l->snap->release)
        l->snap->release(l->snap->cookie);
    free(l->snap);
    l->snap = NULL;
    l->lent = NULL;
}

static bool decline(struct loading *l, int verdict)
{
    l->declined = true;
    l->verdict = verdict;
    return true;
}

/* Everything that can be said before the bytes move.  limit: of their number. */
static bool declines(struct loading *l, const struct mako_meta *meta, size_t len,
                     uint64_t limit)
{
    bool known = meta && meta->seq > 0 && meta->schema > 0;
    int gate;

    forget(l);
    l->declined = false;
    l->meta = known ? *meta : (struct mako_meta){0};
    if (l->peek && known)
        return decline(l, MAKO_OK);
    if (len > limit)
        return decline(l, MAKO_TOO_LARGE);
    gate = known && !l->peek ? mako_range_gate(l->range, meta->schema) : MAKO_OK;
    return gate != MAKO_OK && decline(l, gate);
}

static void *accept_blob(struct mako_sink *sink, const struct mako_meta *meta, size_t len)
{
    struct loading *l = (struct loading *)sink;

    if (declines(l, meta, len, l->store->host.max_blob))
        return NULL;
    l->snap = new_snapshot(len);
    if (!l->snap) {
        (void)decline(l, MAKO_E_NOMEM);
        return NULL;
    }
    l->len = len;
    l->moved += len;
    return l->snap->room;
}

static int lend_blob(struct mako_sink *sink, const struct mako_meta *meta,
                     const void *blob, size_t len, void (*release)(void *cookie),
                     void *cookie)
{
    struct loading *l = (struct loading *)sink;

    /* To look at what is lent takes no memory, however large it is. */
    if (declines(l, meta, len, l->peek ? SIZE_MAX : l->store->host.max_blob))
        return 1;
    if (!blob && len > 0) { /* nothing is handed over, and check_answer() says so */
        if (release)
            release(cookie);
        return 0;
    }
    l->snap = new_snapshot(0);
    if (!l->snap)
        return decline(l, MAKO_E_NOMEM);
    l->snap->release = release;
    l->snap->cookie = cookie;
    l->lent = blob;
    l->len = len;
    l->moved += len;
    return 0;
}

/* ---- gates -------------------------------------------------------------------- */

static int say_schema(const struct loading *l, int status, uint32_t schema,
                      struct mako_error *err)
{
    return mako_refuse(
        l->store, err, status,
        "stream '%.100s': the snapshot has schema %u, readable are %u to %u",
        l->stream.ptr, (unsigned)schema, (unsigned)l->range.min, (unsigned)l->range.max);
}

static int say_declined(const struct loading *l, struct mako_error *err)
{
    switch (l->verdict) {
    case MAKO_OK:
        return MAKO_OK;
    case MAKO_TOO_LARGE:
        return mako_refuse(l->store, err, MAKO_TOO_LARGE,
                           "stream '%.100s': the snapshot is larger than max_snapshot, "
                           "%llu bytes",
                           l->stream.ptr,
                           (unsigned long long)l->store->config->max_snapshot);
    case MAKO_E_NOMEM:
        return mako_refuse(l->store, err, MAKO_E_NOMEM,
                           "stream '%.100s': no memory for the snapshot", l->stream.ptr);
    default:
        return say_schema(l, l->verdict, l->meta.schema, err);
    }
}

static int say_damaged(const struct loading *l, int status, const char *why,
                       struct mako_error *err)
{
    return mako_refuse(l->store, err, status, "stream '%.100s': %s", l->stream.ptr, why);
}

/* The envelope as it came, against what the caller can use. */
static int gate_envelope(const struct loading *l, const struct mako_envelope *e,
                         struct mako_error *err)
{
    int gate = mako_range_gate(l->range, e->meta.schema);

    if (gate != MAKO_OK)
        return say_schema(l, gate, e->meta.schema, err);
    if (l->expect.kind && e->kind != mako_envelope_kind(l->expect.kind))
        return say_damaged(l, MAKO_FOREIGN,
                           "the snapshot is of another kind of aggregate", err);
    if ((l->expect.flags & MAKO_EXPECT_HEAD) && e->meta.seq > l->expect.head)
        return mako_refuse(l->store, err, MAKO_AHEAD,
                           "stream '%.100s': the snapshot is at %llu, the stream ends at "
                           "%llu",
                           l->stream.ptr, (unsigned long long)e->meta.seq,
                           (unsigned long long)l->expect.head);
    if (e->state_len > l->store->config->max_snapshot)
        return mako_refuse(
            l->store, err, MAKO_TOO_LARGE,
            "stream '%.100s': a snapshot of %zu bytes, max_snapshot is %llu",
            l->stream.ptr, e->state_len,
            (unsigned long long)l->store->config->max_snapshot);
    /* Lent memory of this process is as good as the hash beside it. */
    if (!(l->lent && l->store->durability == MAKO_DURABLE_MEMORY) &&
        !mako_envelope_intact(e))
        return say_damaged(l, MAKO_DAMAGED, "the state fails its checksum", err);
    return MAKO_OK;
}

/* Decode what the plugin handed over and finish the snapshot. */
static int judge(struct loading *l, struct mako_error *err)
{
    struct mako_envelope e;
    struct mako_error why;
    const void *blob = l->lent ? l->lent : l->snap->room;
    int status = mako_envelope_read(blob, l->len, l->stream, &e, &why);

    if (e.meta.schema > 0)
        l->meta = e.meta;
    if (status != MAKO_OK)
        return say_damaged(l, status, why.text, err);
    if (l->peek)
        return MAKO_OK;
    status = gate_envelope(l, &e, err);
    if (status != MAKO_OK)
        return status;
    l->snap->meta = e.meta;
    l->snap->anchor = e.anchor;
    l->snap->state = e.state;
    l->snap->state_len = e.state_len;
    return MAKO_OK;
}

/* ---- one load ----------------------------------------------------------------- */

static void start(struct loading *l, mako_store *store)
{
    *l = (struct loading){
        .sink = {.struct_size = sizeof l->sink, .accept = accept_blob, .lend = lend_blob},
        .store = store};
}

/* The plugin's answer against what it did with the sink.  MAKO_OK: judge(). */
static int check_answer(const struct loading *l, int status, struct mako_error *err)
{
    if (status == MAKO_OK && !l->snap)
        return mako_fail(err, MAKO_E_PLUGIN,
                         l->declined ? "load returned OK after the sink declined"
                                     : "load returned OK and handed nothing over");
    if (status == MAKO_REFUSED && !l->declined)
        return mako_fail(err, MAKO_E_PLUGIN,
                         "load returned REFUSED, but the sink did not decline");
    return status;
}

/* After the plugin's load returned status, inside or outside of the call: everything
 * that makes a result of it. */
static int conclude(struct loading *l, int status, struct mako_error *err)
{
    if (status == MAKO_REFUSED)
        status = say_declined(l, err);
    else if (status == MAKO_OK)
        status = judge(l, err);
    if (l->moved > 0)
        mako_count(l->store, MAKO_COUNT_BYTES_MOVED, l->moved);
    return status;
}

/* E_PLUGIN from check_answer() needs its prefix; everything else the usual check. */
static int leave_call(struct mako_call *call, const struct loading *l, int status)
{
    struct mako_error why; /* clearing it whole would cost more than the check */
    int checked;

    why.text[0] = '\0';
    checked = check_answer(l, status, &why);
    if (checked == MAKO_E_PLUGIN && status != MAKO_E_PLUGIN) {
        (void)mako_call_leave(call, MAKO_OK, 0);
        return mako_refuse(l->store, call->err, checked, "%s", why.text);
    }
    return mako_call_leave(call, status, LOAD_EXPECTS | MAKO_BIT(MAKO_REFUSED));
}

/* One item of a batch, after the call, or a look inside of one: its own status and text.
 */
static int conclude_item(const struct mako_call *call, struct loading *l, int status,
                         struct mako_error *why)
{
    int checked = check_answer(l, status, why);

    if (checked == MAKO_E_PLUGIN && status != MAKO_E_PLUGIN) {
        mako_error_prefix(why, l->store->prefix);
        return checked;
    }
    status = mako_call_check(call, status, LOAD_EXPECTS | MAKO_BIT(MAKO_REFUSED), why);
    return conclude(l, status, why);
}

static void count_load(mako_store *store, int status)
{
    enum mako_counter counter = MAKO_COUNT_LOADS_REFUSED;

    if (status == MAKO_OK)
        counter = MAKO_COUNT_LOADS_OK;
    else if (status == MAKO_NOT_FOUND)
        counter = MAKO_COUNT_LOADS_NONE;
    else if (status == MAKO_DAMAGED)
        counter = MAKO_COUNT_LOADS_DAMAGED;
    else if (status < 0)
        counter = MAKO_COUNT_LOADS_FAILED;
    mako_count(store, counter, 1);
}

/* Hand the result to the caller, or let go of it. */
static void deliver(struct loading *l, int status, mako_snapshot **snapshot,
                    struct mako_meta *found)
{
    bool tells = status == MAKO_OK || status == MAKO_SCHEMA_OLDER ||
                 status == MAKO_SCHEMA_NEWER || status == MAKO_AHEAD ||
                 status == MAKO_FOREIGN;

    count_load(l->store, status);
    if (tells && found)
        *found = l->meta;
    if (status != MAKO_OK) {
        forget(l);
        return;
    }
    if (l->lent)
        l->snap->store = mako_store_ref(l->store);
    *snapshot = l->snap;
}

/* Before a load: what the caller expects, checked. */
static int prepare(struct loading *l, mako_store *store, const char *stream,
                   const struct mako_expect *expect, struct mako_error *err)
{
    static const struct mako_expect anything = {.struct_size = sizeof anything};
    const struct mako_store_config *config = store->config;
    int status;

    start(l, store);
    status = mako_check_stream(store, stream, &l->stream, err);
    if (status == MAKO_OK)
        status = mako_take_struct(store, &l->expect, sizeof l->expect, MAKO_EXPECT_FIRST,
                                  expect ? expect : &anything, "mako_expect", err);
    if (status != MAKO_OK)
        return status;
    if (l->expect.flags & ~MAKO_EXPECT_HEAD)
        return mako_refuse(store, err, MAKO_E_UNSUPPORTED,
                           "struct mako_expect: unknown flags 0x%x",
                           (unsigned)l->expect.flags);
    if (l->expect.schema_max < l->expect.schema_min ||
        (l->expect.schema_max > 0 && l->expect.schema_min == 0))
        return mako_refuse(
            store, err, MAKO_E_INVALID, "stream '%.100s': schema %u to %u is no range",
            stream, (unsigned)l->expect.schema_min, (unsigned)l->expect.schema_max);
    l->range = mako_range_meet(
        (struct mako_range){.min = l->expect.schema_min, .max = l->expect.schema_max},
        (struct mako_range){.min = config->schema_min, .max = config->schema_max});
    if (l->range.max == 0)
        return mako_refuse(store, err, MAKO_E_INVALID,
                           "stream '%.100s': neither the caller nor the configuration "
                           "says which schema versions can be read",
                           stream);
    return MAKO_OK;
}

int mako_store_load(mako_store *store, const char *stream,
                    const struct mako_expect *expect, mako_snapshot **snapshot,
                    struct mako_meta *found, struct mako_error *err)
{
    struct loading l;
    struct mako_call call;
    int status = prepare(&l, store, stream, expect, err);

    if (status == MAKO_OK)
        status = mako_call_begin(&call, store, "load", stream, err);
    if (status != MAKO_OK)
        return status;
    status = store->plugin->ops.load(store->data, l.stream, &l.sink, call.err);
    status = conclude(&l, leave_call(&call, &l, status), call.err);
    if (status == MAKO_DAMAGED)
        mako_log(MAKO_LOG_WARN, "%s", call.err->text);
    deliver(&l, status, snapshot, found);
    mako_store_unref(store);
    return status;
}

/* ---- peek --------------------------------------------------------------------- */

int mako_peek_inside(struct mako_call *call, struct mako_str stream,
                     struct mako_meta *meta)
{
    mako_store *store = call->store;
    const char *name = call->name;
    struct loading l;
    int status;

    start(&l, store);
    l.peek = true;
    l.stream = stream;
    call->name = "load"; /* who is to blame where the look fails */
    status = store->plugin->ops.load(store->data, stream, &l.sink, call->err);
    if (status >= 0) {
        status = conclude_item(call, &l, status, call->err);
        call->judged = status < 0;
    }
    if (status >= 0)
        call->name = name;
    *meta = l.meta;
    forget(&l);
    return status;
}

int mako_store_peek(mako_store *store, const char *stream, struct mako_meta *meta,
                    struct mako_error *err)
{
    struct loading l;
    struct mako_call call;
    int status;

    start(&l, store);
    l.peek = true;
    status = mako_check_stream(store, stream, &l.stream, err);
    if (status == MAKO_OK)
        status = mako_call_begin(&call, store, "peek", stream, err);
    if (status != MAKO_OK)
        return status;
    status = store->plugin->ops.load(store->data, l.stream, &l.sink, call.err);
    status = conclude(&l, leave_call(&call, &l, status), call.err);
    if (status == MAKO_OK)
        *meta = l.meta;
    forget(&l);
    mako_store_unref(store);
    return status;
}

/* ---- many loads --------------------------------------------------------------- */

struct batch {
    struct loading *loads;
    struct mako_str *streams;
    struct mako_sink **sinks;
    size_t *items;
    int *statuses;
    size_t count;
};

static void batch_free(struct batch *b)
{
    free(b->loads);
    free(b->streams);
    free(b->sinks);
    free(b->items);
    free(b->statuses);
}

static bool batch_room(struct batch *b, size_t count)
{
    b->loads = calloc(count + 1, sizeof *b->loads);
    b->streams = calloc(count + 1, sizeof *b->streams);
    b->sinks = calloc(count + 1, sizeof *b->sinks);
    b->items = calloc(count + 1, sizeof *b->items);
    b->statuses = calloc(count + 1, sizeof *b->statuses);
    return b->loads && b->streams && b->sinks && b->items && b->statuses;
}

/* A batch that failed as a whole hands nothing out. */
static void drop_all(struct batch *b)
{
    for (size_t i = 0; i < b->count; i++)
        forget(&b->loads[i]);
}

static int call_load_many(mako_store *store, struct batch *b, mako_snapshot **snapshots,
                          struct mako_meta *found, int *statuses, struct mako_error *err)
{
    struct mako_call call;
    struct mako_error text = {""};
    int status = mako_call_begin(&call, store, "load_many", NULL, &text);

    if (status == MAKO_OK) {
        status = store->plugin->ops.load_many(store->data, b->streams,
                                              (struct mako_sink *const *)b->sinks,
                                              b->count, b->statuses, call.err);
        for (size_t i = 0; status == MAKO_OK && i < b->count; i++)
            call.unavailable |= b->statuses[i] == MAKO_E_UNAVAILABLE;
        status = mako_call_leave(&call, status, 0);
        if (status != MAKO_OK) {
            mako_count(store, MAKO_COUNT_LOADS_FAILED, b->count);
            drop_all(b);
            mako_store_unref(store);
        }
    }
    if (status != MAKO_OK) {
        if (err)
            *err = text;
        return status;
    }
    for (size_t i = 0; i < b->count; i++) {
        struct mako_error why;
        size_t item = b->items[i];

        if (b->statuses[i] < 0)
            why = text;
        else
            why.text[0] = '\0';
        call.stream = b->streams[i].ptr;
        statuses[item] = conclude_item(&call, &b->loads[i], b->statuses[i], &why);
        if (statuses[item] == MAKO_DAMAGED)
            mako_log(MAKO_LOG_WARN, "%s", why.text);
        mako_note_first(err, &why, statuses[item]);
        deliver(&b->loads[i], statuses[item], &snapshots[item],
                found ? &found[item] : NULL);
    }
    mako_store_unref(store);
    return MAKO_OK;
}

static int load_batch(mako_store *store, const char *const *streams,
                      const struct mako_expect *const *expects, size_t count,
                      mako_snapshot **snapshots, struct mako_meta *found, int *statuses,
                      struct mako_error *err)
{
    struct batch b = {0};
    struct mako_error why;
    int status = MAKO_OK;

    if (!batch_room(&b, count)) {
        batch_free(&b);
        return mako_refuse(store, err, MAKO_E_NOMEM, "no memory for %zu loads", count);
    }
    for (size_t i = 0; i < count; i++) {
        statuses[i] = prepare(&b.loads[b.count], store, streams[i],
                              expects ? expects[i] : NULL, &why);
        mako_note_first(err, &why, statuses[i]);
        if (statuses[i] != MAKO_OK)
            continue;
        b.streams[b.count] = b.loads[b.count].stream;
        b.sinks[b.count] = &b.loads[b.count].sink;
        b.items[b.count++] = i;
    }
    if (b.count > 0)
        status = call_load_many(store, &b, snapshots, found, statuses, err);
    batch_free(&b);
    return status;
}

int mako_store_load_many(mako_store *store, const char *const *streams,
                         const struct mako_expect *const *expects, size_t count,
                         mako_snapshot **snapshots, struct mako_meta *found,
                         int *statuses, struct mako_error *err)
{
    struct mako_error why;

    if (err)
        err->text[0] = '\0';
    for (size_t i = 0; i < count; i++)
        snapshots[i] = NULL;
    if (store->plugin->ops.load_many && count > 1)
        return load_batch(store, streams, expects, count, snapshots, found, statuses,
                          err);
    for (size_t i = 0; i < count; i++) {
        statuses[i] = mako_store_load(store, streams[i], expects ? expects[i] : NULL,
                                      &snapshots[i], found ? &found[i] : NULL, &why);
        mako_note_first(err, &why, statuses[i]);
    }
    return MAKO_OK;
}

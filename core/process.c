/* process.c - one aggregate in memory: load, gate, decode, fold, take.
 *
 * Stands on snapshot.h alone.  What it must never do is let state and sequence come
 * apart: they change together, in fold_event(), adopt() and start_over() only. */
#include <mako/process.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "store.h"

struct mako_bytes {
    char *data;
    size_t len, room;
};

struct mako_process {
    mako_store *store; /* NULL: no snapshots */
    struct mako_aggregate aggregate;
    char *stream;
    void *app;

    void *state; /* NULL: broken */
    uint64_t seq, anchor;
    bool verified; /* the snapshot's own event was seen, or there is no snapshot */

    uint64_t last; /* the policy's: sequence of the last snapshot that can be used */
    bool heal;     /* what is stored is wrong, and not to be kept for its sequence */

    int load_status;
    struct mako_meta found;  /* by the load */
    struct mako_meta stored; /* the same, or what was saved since; zero: nothing good */
    bool knows_stored;       /* the load did not fail */
    uint64_t folded, spared;
};

/* One read() in progress. */
struct mako_feed {
    mako_process *process;
    uint64_t due;  /* the sequence that must come next */
    bool own;      /* that one is the process's own event, to be compared */
    uint64_t left; /* events that may still be folded */
    int status;    /* once nonzero, of every further call */
    struct mako_error why;
};

/* ---- state and sequence ------------------------------------------------------- */

static int broken(const mako_process *p, struct mako_error *err)
{
    return mako_fail(
        err, MAKO_E_CALLBACK,
        "stream '%.100s': an earlier create, apply or read failed; close it and open "
        "it again",
        p->stream);
}

/* No state that can be trusted is left. */
static void give_up(mako_process *p)
{
    if (p->state)
        p->aggregate.destroy(p->app, p->state);
    p->state = NULL;
    p->seq = 0;
    p->anchor = 0;
}

/* The state before event 1; why the snapshot was not usable stays on record. */
static int start_over(mako_process *p, int status, struct mako_error *err)
{
    give_up(p);
    p->state = p->aggregate.create(p->app);
    p->verified = true;
    p->spared = 0;
    p->load_status = status;
    if (status == MAKO_AHEAD || status == MAKO_DIVERGED || status == MAKO_DAMAGED)
        p->heal = true;
    p->last = status == MAKO_SCHEMA_NEWER ? p->found.seq : 0;
    if (!p->state)
        return mako_fail(err, MAKO_E_NOMEM, "stream '%.100s': create gave no state",
                         p->stream);
    return MAKO_OK;
}

static int fold_event(mako_process *p, const struct mako_event *event,
                      struct mako_error *err)
{
    char where[200];

    err->text[0] = '\0';
    if (p->aggregate.apply(p->app, p->state, event, err) != 0) {
        (void)snprintf(where, sizeof where,
                       "stream '%.100s': apply of event %" PRIu64 ": ", p->stream,
                       event->seq);
        mako_error_prefix(err, where);
        give_up(p);
        return MAKO_E_CALLBACK;
    }
    p->seq = event->seq;
    p->anchor = event->anchor;
    p->folded++;
    return MAKO_OK;
}

/* Both sides must have an anchor for it to tell anything. */
static bool is_own(const mako_process *p, const struct mako_event *event)
{
    return p->anchor == 0 || event->anchor == 0 || p->anchor == event->anchor;
}

/* ---- reading the log ---------------------------------------------------------- */

static int feed_gap(mako_feed *feed, uint64_t seq)
{
    feed->status =
        mako_fail(&feed->why, MAKO_E_CALLBACK,
                  "stream '%.100s': read gave event %" PRIu64 ", %" PRIu64 " was due",
                  feed->process->stream, seq, feed->due);
    return feed->status;
}

static int feed_own(mako_feed *feed, const struct mako_event *event)
{
    if (!is_own(feed->process, event)) {
        feed->status = MAKO_DIVERGED;
        return feed->status;
    }
    feed->own = false;
    feed->due++;
    return MAKO_OK;
}

int mako_feed_event(mako_feed *feed, const struct mako_event *event)
{
    if (feed->status != MAKO_OK)
        return feed->status;
    if (event->seq != feed->due)
        return feed_gap(feed, event->seq);
    if (feed->own)
        return feed_own(feed, event);
    if (feed->left == 0) {
        feed->status = feed->process->load_status;
        return feed->status;
    }
    feed->left--;
    feed->due++;
    feed->status = fold_event(feed->process, event, &feed->why);
    return feed->status;
}

/* One pass over the log from the process's own event, or from 1.  MAKO_OK, AHEAD,
 * DIVERGED, or negative. */
static int read_once(mako_process *p, uint64_t limit, struct mako_error *err)
{
    mako_feed feed = {.process = p,
                      .due = p->seq > 0 ? p->seq : 1,
                      .own = p->seq > 0,
                      .left = limit > 0 ? limit : UINT64_MAX};
    char where[200];
    int status;

    err->text[0] = '\0';
    status = p->aggregate.read(p->app, p->stream, feed.due, &feed, err);
    if (feed.status != MAKO_OK) {
        *err = feed.why;
        return feed.status;
    }
    if (status != 0) {
        (void)snprintf(where, sizeof where, "stream '%.100s': read: ", p->stream);
        mako_error_prefix(err, where);
        return MAKO_E_CALLBACK;
    }
    return feed.own ? MAKO_AHEAD : MAKO_OK;
}

static int over_limit(const mako_process *p, uint64_t limit, struct mako_error *err)
{
    return mako_fail(err, p->load_status,
                     "stream '%.100s': the store failed (%s) and a full replay is longer "
                     "than replay_limit, %" PRIu64 " events",
                     p->stream, mako_status_name(p->load_status), limit);
}

/* Fold what the log has.  limit counts only where a full replay follows a failure. */
static int read_log(mako_process *p, uint64_t limit, struct mako_error *err)
{
    int status = read_once(p, limit, err);

    if (status == MAKO_AHEAD || status == MAKO_DIVERGED) {
        mako_log(MAKO_LOG_INFO,
                 "stream '%s': snapshot at %" PRIu64 " is not of this log (%s)",
                 p->stream, p->seq, mako_status_name(status));
        status = start_over(p, status, err);
        if (status == MAKO_OK)
            status = read_once(p, 0, err);
    }
    if (status == MAKO_OK)
        return MAKO_OK;
    if (limit > 0 && status == p->load_status)
        (void)over_limit(p, limit, err);
    give_up(p);
    return status;
}

/* ---- opening ------------------------------------------------------------------ */

static int check_aggregate(const struct mako_aggregate *a, const char *stream,
                           struct mako_error *err)
{
    if (!stream || !*stream)
        return mako_fail(err, MAKO_E_INVALID, "process: an empty stream id");
    if (a->flags)
        return mako_fail(err, MAKO_E_UNSUPPORTED,
                         "struct mako_aggregate: unknown flags 0x%x", (unsigned)a->flags);
    if (!a->create || !a->destroy || !a->apply || !a->encode || !a->decode)
        return mako_fail(err, MAKO_E_INVALID,
                         "struct mako_aggregate: only read and kind may be NULL");
    if (a->schema == 0 || a->schema_oldest > a->schema)
        return mako_fail(
            err, MAKO_E_INVALID,
            "struct mako_aggregate: schema %u, oldest %u: needs schema >= 1, "
            "oldest not above it",
            (unsigned)a->schema, (unsigned)a->schema_oldest);
    return MAKO_OK;
}

/* State and sequence of a snapshot become the process's, or neither does. */
static int adopt(mako_process *p, const mako_snapshot *snapshot, struct mako_error *err)
{
    struct mako_meta meta = mako_snapshot_meta(snapshot);
    void *state = NULL;
    size_t len;
    const void *bytes = mako_snapshot_state(snapshot, &len);

    err->text[0] = '\0';
    if (p->aggregate.decode(p->app, meta.schema, bytes, len, &state, err) != 0 ||
        !state) {
        mako_log(MAKO_LOG_WARN,
                 "stream '%s': the snapshot at %" PRIu64 " cannot be decoded: %s",
                 p->stream, meta.seq, err->text);
        return MAKO_DAMAGED;
    }
    p->state = state;
    p->seq = meta.seq;
    p->anchor = mako_snapshot_anchor(snapshot);
    p->spared = p->aggregate.read ? meta.seq : 0;
    p->verified = false;
    p->last = meta.seq;
    return MAKO_OK;
}

/* MAKO_OK: adopted.  Else why not; the state is not touched. */
static int load_snapshot(mako_process *p, struct mako_error *err)
{
    const struct mako_aggregate *a = &p->aggregate;
    const struct mako_expect expect = {
        .struct_size = sizeof expect,
        .schema_min = a->schema_oldest > 0 ? a->schema_oldest : a->schema,
        .schema_max = a->schema,
        .kind = a->kind};
    mako_snapshot *snapshot = NULL;
    int status;

    if (!p->store)
        return MAKO_NOT_FOUND;
    status = mako_store_load(p->store, p->stream, &expect, &snapshot, &p->found, err);
    p->knows_stored = status >= 0;
    if (status != MAKO_DAMAGED && status != MAKO_FOREIGN)
        p->stored = p->found;
    if (status == MAKO_OK)
        status = adopt(p, snapshot, err);
    mako_snapshot_unref(snapshot);
    return status;
}

/* With the aggregate in place already. */
static int fill(mako_process *p, mako_store *store, const char *stream, void *app,
                struct mako_error *err)
{
    struct mako_info info = {.struct_size = sizeof info};
    int status;

    p->app = app;
    p->stream = strdup(stream);
    if (!p->stream)
        return mako_fail(err, MAKO_E_NOMEM, "process: no memory");
    if (store) {
        p->store = mako_store_ref(store);
        mako_store_info(store, &info);
    }

    status = load_snapshot(p, err);
    if (status == MAKO_E_INVALID)
        return status;
    if ((status == MAKO_E_UNAVAILABLE || status == MAKO_E_IO) &&
        info.fail_on_load_failure)
        return status;
    if (status < 0)
        mako_log(MAKO_LOG_WARN, "stream '%s': going on without its snapshot: %s",
                 p->stream, err->text);
    p->load_status = status;
    if (status != MAKO_OK) {
        status = start_over(p, status, err);
        if (status != MAKO_OK)
            return status;
    }
    if (!p->aggregate.read)
        return MAKO_OK;
    status = read_log(p, p->load_status < 0 ? info.replay_limit : 0, err);
    p->verified = true;
    return status;
}

int mako_process_open(mako_store *store, const struct mako_aggregate *aggregate,
                      const char *stream, void *app, mako_process **process,
                      struct mako_error *err)
{
    struct mako_aggregate known;
    struct mako_error scratch;
    mako_process *p;
    int status;

    if (!err)
        err = &scratch;
    status = mako_take_struct(NULL, &known, sizeof known, MAKO_AGGREGATE_FIRST, aggregate,
                              "mako_aggregate", err);
    if (status == MAKO_OK)
        status = check_aggregate(&known, stream, err);
    if (status != MAKO_OK)
        return status;
    p = calloc(1, sizeof *p);
    if (!p)
        return mako_fail(err, MAKO_E_NOMEM, "process: no memory");
    p->aggregate = known;
    status = fill(p, store, stream, app, err);
    if (status != MAKO_OK) {
        mako_process_close(p);
        return status;
    }
    *process = p;
    return MAKO_OK;
}

void mako_process_close(mako_process *p)
{
    if (!p)
        return;
    give_up(p);
    mako_store_unref(p->store);
    free(p->stream);
    free(p);
}

const void *mako_process_state(const mako_process *p)
{
    return p->state;
}

uint64_t mako_process_seq(const mako_process *p)
{
    return p->seq;
}

/* ---- running ------------------------------------------------------------------ */

int mako_process_catch_up(mako_process *p, struct mako_error *err)
{
    struct mako_error scratch;

    if (!err)
        err = &scratch;
    if (!p->state)
        return broken(p, err);
    if (!p->aggregate.read)
        return mako_fail(err, MAKO_E_INVALID,
                         "stream '%.100s': cannot catch up without a read callback",
                         p->stream);
    return read_log(p, 0, err);
}

/* An event that the snapshot, or the state already, stands for. */
static int spare(mako_process *p, const struct mako_event *event, struct mako_error *err)
{
    int status;

    if (p->verified)
        return MAKO_OK;
    if (event->seq == p->seq && !is_own(p, event)) {
        uint64_t at = p->seq;

        status = start_over(p, MAKO_DIVERGED, err);
        if (status != MAKO_OK)
            return status;
        return mako_fail(err, MAKO_DIVERGED,
                         "stream '%.100s': the snapshot at %" PRIu64
                         " is of another log: push from event 1",
                         p->stream, at);
    }
    p->spared++;
    p->verified = event->seq == p->seq;
    return MAKO_OK;
}

int mako_process_push(mako_process *p, const struct mako_event *event,
                      struct mako_error *err)
{
    struct mako_error scratch;

    if (!err)
        err = &scratch;
    if (!p->state)
        return broken(p, err);
    if (event->seq > 0 && event->seq <= p->seq)
        return spare(p, event, err);
    if (event->seq != p->seq + 1 || !p->verified)
        return mako_fail(err, MAKO_E_INVALID,
                         "stream '%.100s': event %" PRIu64 " pushed, %" PRIu64 " is due",
                         p->stream, event->seq, p->verified ? p->seq + 1 : p->seq);
    return fold_event(p, event, err);
}

int mako_process_end(mako_process *p, uint64_t head, struct mako_error *err)
{
    struct mako_error scratch;
    uint64_t at = p->seq;
    int status;

    if (!err)
        err = &scratch;
    if (!p->state)
        return broken(p, err);
    if (p->aggregate.read)
        return mako_fail(err, MAKO_E_INVALID,
                         "stream '%.100s': the end is for events that are pushed",
                         p->stream);
    if (head < at) {
        status = start_over(p, MAKO_AHEAD, err);
        if (status != MAKO_OK)
            return status;
        return mako_fail(err, MAKO_AHEAD,
                         "stream '%.100s': the snapshot is at %" PRIu64
                         ", the log ends at %" PRIu64 ": push from event 1",
                         p->stream, at, head);
    }
    if (head > at || !p->verified)
        return mako_fail(err, MAKO_E_INVALID,
                         "stream '%.100s': the log ends at %" PRIu64
                         ", not every event was pushed",
                         p->stream, head);
    return MAKO_OK;
}

/* ---- taking ------------------------------------------------------------------- */

int mako_bytes_put(mako_bytes *out, const void *bytes, size_t len)
{
    if (len > out->room - out->len) {
        size_t room = out->room > 0 ? out->room : 512;
        char *data;

        while (room - out->len < len) {
            if (room > SIZE_MAX / 2)
                return MAKO_E_NOMEM;
            room *= 2;
        }
        data = realloc(out->data, room);
        if (!data)
            return MAKO_E_NOMEM;
        out->data = data;
        out->room = room;
    }
    if (len > 0)
        memcpy(out->data + out->len, bytes, len);
    out->len += len;
    return MAKO_OK;
}

/* A later one is stored.  It stays where it is good and not what was found wrong: another
 * process has healed it. */
static int heal(const mako_process *p, struct mako_save *save, struct mako_error *err)
{
    const struct mako_expect any = {.struct_size = sizeof any,
                                    .schema_min = 1,
                                    .schema_max = UINT32_MAX,
                                    .kind = p->aggregate.kind};
    struct mako_meta meta = {0};
    mako_snapshot *snapshot = NULL;
    struct mako_error why = {""};
    int status = mako_store_load(p->store, p->stream, &any, &snapshot, &meta, &why);

    mako_snapshot_unref(snapshot);
    if (status < 0) {
        *err = why;
        return status;
    }
    if (status == MAKO_OK && p->knows_stored &&
        (meta.seq != p->stored.seq || meta.schema != p->stored.schema))
        return MAKO_STALE;
    save->flags = MAKO_SAVE_FORCE;
    return mako_store_save(p->store, p->stream, save, err);
}

static int save_state(mako_process *p, const struct mako_bytes *bytes,
                      struct mako_error *err)
{
    struct mako_save save = {.struct_size = sizeof save,
                             .seq = p->seq,
                             .anchor = p->anchor,
                             .schema = p->aggregate.schema,
                             .kind = p->aggregate.kind,
                             .state = bytes->data,
                             .state_len = bytes->len};
    int status = mako_store_save(p->store, p->stream, &save, err);

    if (status == MAKO_STALE && p->heal)
        status = heal(p, &save, err);
    if (status == MAKO_OK) {
        p->stored = (struct mako_meta){.seq = save.seq, .schema = save.schema};
        p->knows_stored = true;
        p->heal = false;
    }
    /* Also where a later one is kept, or this one can never be: not again at every
     * event, but when the policy says so next. */
    if (status == MAKO_OK || status == MAKO_STALE || status == MAKO_E_LIMIT)
        p->last = p->seq;
    return status;
}

static int encode_and_save(mako_process *p, struct mako_error *err)
{
    struct mako_bytes bytes = {0};
    char where[200];
    int status;

    err->text[0] = '\0';
    status = p->aggregate.encode(p->app, p->state, &bytes, err);
    if (status == 0) {
        status = save_state(p, &bytes, err);
    } else {
        (void)snprintf(where, sizeof where, "stream '%.100s': encode: ", p->stream);
        mako_error_prefix(err, where);
        status = MAKO_E_CALLBACK;
    }
    free(bytes.data);
    return status;
}

int mako_process_take(mako_process *p, uint32_t flags, struct mako_error *err)
{
    struct mako_error scratch;

    if (!err)
        err = &scratch;
    if (!p->state)
        return broken(p, err);
    if (flags & ~MAKO_TAKE_NOW)
        return mako_fail(err, MAKO_E_UNSUPPORTED, "take: unknown flags 0x%x",
                         (unsigned)flags);
    if (!p->store || p->seq == 0 || !p->verified ||
        (!(flags & MAKO_TAKE_NOW) && !mako_store_due(p->store, p->seq, p->last)))
        return mako_fail(err, MAKO_NOT_DUE, "no snapshot is due");
    return encode_and_save(p, err);
}

void mako_process_how(const mako_process *p, struct mako_how *how)
{
    const struct mako_how full = {.struct_size = how->struct_size,
                                  .snapshot = p->load_status,
                                  .schema = p->found.schema,
                                  .seq = p->found.seq,
                                  .folded = p->folded,
                                  .spared = p->spared};
    size_t size = how->struct_size < sizeof full ? how->struct_size : sizeof full;

    memcpy(how, &full, size);
}

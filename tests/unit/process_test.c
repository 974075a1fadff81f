/* One aggregate in memory: every rule that process.h keeps, in both of its modes, over a
 * store that fails on demand. */
#include "support.h"

#include <mako/process.h>

TestSuite(process, .timeout = 60);

enum {
    LOG_MAX = 300
};

/* The application: a log of numbers; the state is their sum and their count. */
struct app {
    uint64_t log[LOG_MAX], count;
    uint64_t fail_at;       /* apply fails at this event; 0: never */
    uint64_t skip, repeat;  /* read leaves this event out, or gives it twice */
    uint64_t read_from;     /* what read was asked for last */
    unsigned reads, states; /* states alive */
    bool read_fails, decode_fails, encode_fails, create_fails, no_anchors;
};

struct sum {
    uint64_t total, count;
};

static void *create(void *app)
{
    struct app *a = app;

    if (a->create_fails)
        return NULL;
    a->states++;
    return calloc(1, sizeof(struct sum));
}

static void destroy(void *app, void *state)
{
    ((struct app *)app)->states--;
    free(state);
}

static int apply(void *app, void *state, const struct mako_event *event,
                 struct mako_error *err)
{
    struct sum *sum = state;

    if (event->seq == ((struct app *)app)->fail_at)
        return mako_fail(err, MAKO_E_CALLBACK, "no such event type");
    sum->total += *(const uint64_t *)event->body;
    sum->count++;
    return 0;
}

static int encode(void *app, const void *state, mako_bytes *out, struct mako_error *err)
{
    if (((struct app *)app)->encode_fails)
        return mako_fail(err, MAKO_E_CALLBACK, "cannot say it");
    for (size_t i = 0; i < sizeof(struct sum); i++)
        if (mako_bytes_put(out, (const char *)state + i, 1) != MAKO_OK)
            return mako_fail(err, MAKO_E_CALLBACK, "no memory");
    return 0;
}

static int decode(void *app, uint32_t schema, const void *bytes, size_t len, void **state,
                  struct mako_error *err)
{
    struct app *a = app;

    (void)schema;
    if (a->decode_fails || len != sizeof(struct sum))
        return mako_fail(err, MAKO_E_CALLBACK, "not a sum");
    *state = malloc(len);
    if (!*state)
        return mako_fail(err, MAKO_E_CALLBACK, "no memory");
    memcpy(*state, bytes, len);
    a->states++;
    return 0;
}

static struct mako_event event_at(const struct app *a, uint64_t seq)
{
    return (struct mako_event){
        .seq = seq,
        .anchor = a->no_anchors ? 0 : (a->log[seq - 1] + seq) * 0x9e3779b97f4a7c15u | 1,
        .body = &a->log[seq - 1]};
}

static int read_events(void *app, const char *stream, uint64_t from, mako_feed *feed,
                       struct mako_error *err)
{
    struct app *a = app;

    cr_assert_str_eq(stream, "sum/1");
    a->read_from = from;
    a->reads++;
    if (a->read_fails)
        return mako_fail(err, MAKO_E_CALLBACK, "the log is away");
    for (uint64_t seq = from; seq <= a->count; seq++) {
        struct mako_event event = event_at(a, seq);
        int status = seq == a->skip ? 0 : mako_feed_event(feed, &event);

        if (status == 0 && seq == a->repeat)
            status = mako_feed_event(feed, &event);
        if (status != 0)
            return status;
    }
    return 0;
}

static const struct mako_aggregate reading = {
    .struct_size = sizeof reading,
    .schema = 1,
    .kind = "sum",
    .create = create,
    .destroy = destroy,
    .apply = apply,
    .encode = encode,
    .decode = decode,
    .read = read_events,
};

static struct mako_aggregate pushing(void)
{
    struct mako_aggregate a = reading;

    a.read = NULL;
    return a;
}

static void append(struct app *a, uint64_t count, uint64_t seed)
{
    for (; count > 0; count--, a->count++)
        a->log[a->count] = (a->count + 3) * seed;
}

static struct mako_how how_of(const mako_process *p)
{
    struct mako_how how = {.struct_size = sizeof how};

    mako_process_how(p, &how);
    return how;
}

/* State and sequence are those of the whole log. */
static void state_is_right(const mako_process *p, const struct app *a)
{
    const struct sum *sum = mako_process_state(p);
    uint64_t total = 0;

    for (uint64_t i = 0; i < a->count; i++)
        total += a->log[i];
    cr_assert(sum, "no state");
    cr_assert_eq(mako_process_seq(p), a->count);
    cr_assert(sum && sum->count == a->count && sum->total == total, "a wrong state");
}

static mako_process *open_as(mako_store *store, struct app *a,
                             const struct mako_aggregate *aggregate, int want)
{
    mako_process *p = NULL;
    struct mako_error err = {""};
    int status = mako_process_open(store, aggregate, "sum/1", a, &p, &err);

    cr_assert_eq(status, MAKO_OK, "%s: %s", mako_status_name(status), err.text);
    cr_assert_eq(how_of(p).snapshot, want, "%s, not %s",
                 mako_status_name(how_of(p).snapshot), mako_status_name(want));
    return p;
}

static mako_process *open_right(mako_store *store, struct app *a, int want)
{
    mako_process *p = open_as(store, a, &reading, want);

    state_is_right(p, a);
    return p;
}

/* Open, take now, close. */
static void visit(mako_store *store, struct app *a, int want)
{
    mako_process *p = open_right(store, a, want);
    struct mako_error err = {""};

    cr_assert_eq(mako_process_take(p, MAKO_TAKE_NOW, &err), MAKO_OK, "%s", err.text);
    mako_process_close(p);
    cr_assert_eq(a->states, 0, "%u states were not destroyed", a->states);
}

static void refused(mako_store *store, struct app *a,
                    const struct mako_aggregate *aggregate, int want,
                    const char *sentence)
{
    mako_process *p = NULL;
    struct mako_error err = {""};
    int status = mako_process_open(store, aggregate, "sum/1", a, &p, &err);

    cr_assert_eq(status, want, "%s: %s", mako_status_name(status), err.text);
    cr_assert(strstr(err.text, sentence), "'%s' lacks '%s'", err.text, sentence);
    cr_assert_null(p);
    cr_assert_eq(a->states, 0);
    cr_assert_eq(mako_process_open(store, aggregate, "sum/1", a, &p, NULL), want);
}

#define STORE CRASH ", \"snapshot_every\": 10"

/* ---- opening ------------------------------------------------------------------------
 */

Test(process, without_a_store)
{
    struct app a = {.count = 0};
    mako_process *p;

    append(&a, 25, 1);
    p = open_right(NULL, &a, MAKO_NOT_FOUND);
    cr_assert(how_of(p).folded == 25 && how_of(p).spared == 0);
    append(&a, 5, 1);
    cr_assert_eq(mako_process_catch_up(p, NULL), MAKO_OK);
    state_is_right(p, &a);
    cr_assert_eq(mako_process_take(p, 0, NULL), MAKO_NOT_DUE);
    cr_assert_eq(mako_process_take(p, MAKO_TAKE_NOW, NULL), MAKO_NOT_DUE);
    mako_process_close(p);
    mako_process_close(NULL);
    cr_assert_eq(a.states, 0);
}

Test(process, a_snapshot_spares_the_replay)
{
    struct probe probe = PROBE_INITIAL;
    struct app a = {.count = 0};
    mako_store *store = must_open("probe", &probe, STORE);
    mako_process *p;

    append(&a, 100, 1);
    visit(store, &a, MAKO_NOT_FOUND);
    append(&a, 7, 1);
    p = open_right(store, &a, MAKO_OK);
    cr_assert_eq(a.read_from, 100, "reads from the snapshot's own event");
    cr_assert_eq(how_of(p).spared, 100);
    cr_assert_eq(how_of(p).folded, 7);
    cr_assert_eq(how_of(p).seq, 100);
    cr_assert_eq(how_of(p).schema, 1);
    mako_process_close(p);
    mako_store_unref(store);
    probe_clear(&probe);
}

Test(process, holds_a_reference_to_its_store)
{
    struct probe probe = PROBE_INITIAL;
    struct app a = {.count = 0};
    mako_store *store = must_open("probe", &probe, STORE);
    mako_process *p;

    append(&a, 10, 1);
    p = open_right(store, &a, MAKO_NOT_FOUND);
    mako_store_unref(store);
    cr_assert_eq(mako_process_take(p, 0, NULL), MAKO_OK);
    cr_assert_eq(probe.closes, 0);
    mako_process_close(p);
    cr_assert_eq(probe.closes, 1);
    probe_clear(&probe);
}

Test(process, bad_aggregates)
{
    struct app a = {.count = 0};
    struct mako_aggregate bad = reading;

    bad.struct_size = 8;
    refused(NULL, &a, &bad, MAKO_E_INVALID, "struct_size");
    bad = reading;
    bad.flags = 1;
    refused(NULL, &a, &bad, MAKO_E_UNSUPPORTED, "unknown flags 0x1");
    bad = reading;
    bad.apply = NULL;
    refused(NULL, &a, &bad, MAKO_E_INVALID, "only read and kind may be NULL");
    bad = reading;
    bad.schema = 0;
    refused(NULL, &a, &bad, MAKO_E_INVALID, "schema 0");
    bad = reading;
    bad.schema_oldest = 2;
    refused(NULL, &a, &bad, MAKO_E_INVALID, "oldest 2");
    bad = reading;
    bad.decode = NULL;
    refused(NULL, &a, &bad, MAKO_E_INVALID, "only read and kind may be NULL");
}

Test(process, a_bad_stream)
{
    struct probe probe = PROBE_INITIAL;
    struct app a = {.count = 0};
    mako_store *store = must_open("probe", &probe, STORE);
    mako_process *p = NULL;
    struct mako_error err = {""};

    cr_assert_eq(mako_process_open(store, &reading, "", &a, &p, &err), MAKO_E_INVALID);
    cr_assert(err.text[0]);
    cr_assert_eq(mako_process_open(store, &reading, NULL, &a, &p, &err), MAKO_E_INVALID);
    cr_assert_eq(mako_process_open(store, &reading, "\xff", &a, &p, &err), MAKO_E_INVALID,
                 "the store's word on ids");
    cr_assert_null(p);
    mako_store_unref(store);
}

Test(process, create_without_memory)
{
    struct app a = {.create_fails = true};

    refused(NULL, &a, &reading, MAKO_E_NOMEM, "create gave no state");
}

/* ---- callbacks that fail
 * --------------------------------------------------------------- */

static void is_broken(mako_process *p)
{
    struct mako_event event = {.seq = 1};
    struct mako_error err = {""};

    cr_assert_null(mako_process_state(p));
    cr_assert_eq(mako_process_seq(p), 0);
    cr_assert_eq(mako_process_catch_up(p, &err), MAKO_E_CALLBACK);
    cr_assert(strstr(err.text, "an earlier create, apply or read failed"), "%s",
              err.text);
    cr_assert_eq(mako_process_push(p, &event, NULL), MAKO_E_CALLBACK);
    cr_assert_eq(mako_process_end(p, 1, NULL), MAKO_E_CALLBACK);
    cr_assert_eq(mako_process_take(p, MAKO_TAKE_NOW, NULL), MAKO_E_CALLBACK);
}

Test(process, a_failed_apply_while_opening)
{
    struct app a = {.fail_at = 3};

    append(&a, 5, 1);
    refused(NULL, &a, &reading, MAKO_E_CALLBACK,
            "stream 'sum/1': apply of event 3: no such event type");
}

Test(process, a_failed_read_while_opening)
{
    struct app a = {.read_fails = true};

    refused(NULL, &a, &reading, MAKO_E_CALLBACK, "stream 'sum/1': read: the log is away");
}

Test(process, reads_with_gaps_or_repeats)
{
    struct app a = {.skip = 3};

    append(&a, 6, 1);
    refused(NULL, &a, &reading, MAKO_E_CALLBACK, "read gave event 4, 3 was due");
    a.skip = 0;
    a.repeat = 4;
    refused(NULL, &a, &reading, MAKO_E_CALLBACK, "read gave event 4, 5 was due");
}

/* A process whose state is half folded is never taken from. */
Test(process, a_failed_apply_breaks_it)
{
    struct probe probe = PROBE_INITIAL;
    struct app a = {.count = 0};
    mako_store *store = must_open("probe", &probe, STORE);
    mako_process *p;

    append(&a, 20, 1);
    p = open_right(store, &a, MAKO_NOT_FOUND);
    a.fail_at = 22;
    append(&a, 5, 1);
    cr_assert_eq(mako_process_catch_up(p, NULL), MAKO_E_CALLBACK);
    is_broken(p);
    mako_process_close(p);
    cr_assert_eq(probe.saves, 0);
    cr_assert_eq(a.states, 0);
    mako_store_unref(store);
}

Test(process, a_failed_read_breaks_it)
{
    struct app a = {.count = 0};
    mako_process *p;

    append(&a, 20, 1);
    p = open_right(NULL, &a, MAKO_NOT_FOUND);
    a.read_fails = true;
    cr_assert_eq(mako_process_catch_up(p, NULL), MAKO_E_CALLBACK);
    is_broken(p);
    mako_process_close(p);
}

Test(process, a_failed_push_breaks_it)
{
    struct mako_aggregate push = pushing();
    struct app a = {.fail_at = 2};
    struct mako_event event;
    mako_process *p = open_as(NULL, &a, &push, MAKO_NOT_FOUND);
    struct mako_error err = {""};

    append(&a, 2, 1);
    event = event_at(&a, 1);
    cr_assert_eq(mako_process_push(p, &event, NULL), MAKO_OK);
    event = event_at(&a, 2);
    cr_assert_eq(mako_process_push(p, &event, &err), MAKO_E_CALLBACK);
    cr_assert_str_eq(err.text, "stream 'sum/1': apply of event 2: no such event type");
    is_broken(p);
    mako_process_close(p);
}

Test(process, a_failed_encode_does_not)
{
    struct probe probe = PROBE_INITIAL;
    struct app a = {.encode_fails = true};
    mako_store *store = must_open("probe", &probe, STORE);
    struct mako_error err = {""};
    mako_process *p;

    append(&a, 20, 1);
    p = open_right(store, &a, MAKO_NOT_FOUND);
    cr_assert_eq(mako_process_take(p, 0, &err), MAKO_E_CALLBACK);
    cr_assert_str_eq(err.text, "stream 'sum/1': encode: cannot say it");
    state_is_right(p, &a);
    a.encode_fails = false;
    cr_assert_eq(mako_process_take(p, 0, &err), MAKO_OK);
    mako_process_close(p);
    mako_store_unref(store);
    probe_clear(&probe);
}

/* ---- snapshots that cannot be used
 * --------------------------------------------------------- */

Test(process, an_undecodable_snapshot_is_replayed_and_healed)
{
    struct probe probe = PROBE_INITIAL;
    struct app a = {.count = 0};
    mako_store *store = must_open("probe", &probe, STORE);

    append(&a, 50, 1);
    visit(store, &a, MAKO_NOT_FOUND);
    a.decode_fails = true;
    a.count = 12;
    visit(store, &a, MAKO_DAMAGED);
    cr_assert_eq(probe.records->meta.seq, 12, "the lower save was forced");
    a.decode_fails = false;
    visit(store, &a, MAKO_OK);
    mako_store_unref(store);
    probe_clear(&probe);
}

Test(process, a_damaged_snapshot_is_replayed_and_healed)
{
    struct probe probe = PROBE_INITIAL;
    struct app a = {.count = 0};
    mako_store *store = must_open("probe", &probe, STORE);

    append(&a, 50, 1);
    visit(store, &a, MAKO_NOT_FOUND);
    probe.records->blob[probe.records->blob_len - 1] ^= 4;
    a.count = 12;
    visit(store, &a, MAKO_DAMAGED);
    visit(store, &a, MAKO_OK);
    mako_store_unref(store);
    probe_clear(&probe);
}

/* Two find it wrong; the one that is behind does not undo what the other has saved. */
Test(process, two_heal)
{
    struct probe probe = PROBE_INITIAL;
    struct app a = {.count = 0};
    mako_store *store = must_open("probe", &probe, STORE);
    mako_process *behind, *ahead;
    struct mako_event event;

    append(&a, 50, 1);
    visit(store, &a, MAKO_NOT_FOUND);
    a.count = 20;
    behind = open_right(store, &a, MAKO_AHEAD);
    ahead = open_right(store, &a, MAKO_AHEAD);
    append(&a, 1, 1);
    event = event_at(&a, 21);
    cr_assert_eq(mako_process_push(ahead, &event, NULL), MAKO_OK);
    cr_assert_eq(mako_process_take(ahead, MAKO_TAKE_NOW, NULL), MAKO_OK);
    cr_assert_eq(mako_process_take(behind, MAKO_TAKE_NOW, NULL), MAKO_STALE);
    cr_assert_eq(probe.records->meta.seq, 21);
    mako_process_close(behind);
    mako_process_close(ahead);
    visit(store, &a, MAKO_OK);
    mako_store_unref(store);
    probe_clear(&probe);
}

Test(process, a_log_that_was_cut)
{
    struct probe probe = PROBE_INITIAL;
    struct app a = {.count = 0};
    mako_store *store = must_open("probe", &probe, STORE);

    append(&a, 50, 1);
    visit(store, &a, MAKO_NOT_FOUND);
    a.count = 20;
    visit(store, &a, MAKO_AHEAD);
    cr_assert_eq(a.reads, 3, "read again from 1");
    visit(store, &a, MAKO_OK);
    mako_store_unref(store);
    probe_clear(&probe);
}

Test(process, a_log_that_grew_again)
{
    struct probe probe = PROBE_INITIAL;
    struct app a = {.count = 0};
    mako_store *store = must_open("probe", &probe, STORE);

    append(&a, 50, 1);
    visit(store, &a, MAKO_NOT_FOUND);
    a.count = 20;
    append(&a, 60, 5);
    visit(store, &a, MAKO_DIVERGED);
    visit(store, &a, MAKO_OK);
    mako_store_unref(store);
    probe_clear(&probe);
}

/* Without anchors a regrown log cannot be told; a cut one can. */
Test(process, without_anchors_only_the_end_is_seen)
{
    struct probe probe = PROBE_INITIAL;
    struct app a = {.no_anchors = true};
    mako_store *store = must_open("probe", &probe, STORE);

    append(&a, 50, 1);
    visit(store, &a, MAKO_NOT_FOUND);
    a.count = 49;
    visit(store, &a, MAKO_AHEAD);
    mako_store_unref(store);
    probe_clear(&probe);
}

/* ---- schemas, and whether they are overwritten
 * ------------------------------------------------ */

static struct mako_aggregate with_schema(uint32_t schema, uint32_t oldest)
{
    struct mako_aggregate a = reading;

    a.schema = schema;
    a.schema_oldest = oldest;
    return a;
}

/* Old code in a rolling deploy: the newer snapshot stands until the interval is over. */
Test(process, a_newer_schema_is_left_alone)
{
    struct probe probe = PROBE_INITIAL;
    struct app a = {.count = 0};
    struct mako_aggregate newer = with_schema(2, 1), older = with_schema(1, 1);
    mako_store *store = must_open("probe", &probe, STORE);
    mako_process *p;

    append(&a, 50, 1);
    p = open_as(store, &a, &newer, MAKO_NOT_FOUND);
    cr_assert_eq(mako_process_take(p, 0, NULL), MAKO_OK);
    mako_process_close(p);
    append(&a, 9, 1);
    p = open_as(store, &a, &older, MAKO_SCHEMA_NEWER);
    state_is_right(p, &a);
    cr_assert(how_of(p).schema == 2 && how_of(p).seq == 50);
    cr_assert_eq(mako_process_take(p, 0, NULL), MAKO_NOT_DUE, "at 59, stored is 50");
    append(&a, 1, 1);
    cr_assert_eq(mako_process_catch_up(p, NULL), MAKO_OK);
    cr_assert_eq(mako_process_take(p, 0, NULL), MAKO_OK, "at 60");
    mako_process_close(p);
    mako_store_unref(store);
    probe_clear(&probe);
}

Test(process, an_older_schema_is_replaced_at_once)
{
    struct probe probe = PROBE_INITIAL;
    struct app a = {.count = 0};
    struct mako_aggregate newer = with_schema(2, 2), reader = with_schema(3, 2);
    mako_store *store = must_open("probe", &probe, STORE);
    mako_process *p;

    append(&a, 50, 1);
    visit(store, &a, MAKO_NOT_FOUND);
    p = open_as(store, &a, &newer, MAKO_SCHEMA_OLDER);
    state_is_right(p, &a);
    cr_assert_eq(mako_process_take(p, 0, NULL), MAKO_OK);
    mako_process_close(p);
    p = open_as(store, &a, &reader, MAKO_OK);
    cr_assert_eq(how_of(p).schema, 2);
    cr_assert_eq(mako_process_take(p, 0, NULL), MAKO_NOT_DUE);
    mako_process_close(p);
    mako_store_unref(store);
    probe_clear(&probe);
}

Test(process, another_kind_is_replaced_but_not_by_force)
{
    struct probe probe = PROBE_INITIAL;
    struct app a = {.count = 0};
    struct mako_aggregate other = reading;
    mako_store *store = must_open("probe", &probe, STORE);
    mako_process *p;

    other.kind = "product";
    append(&a, 50, 1);
    visit(store, &a, MAKO_NOT_FOUND);
    a.count = 30;
    p = open_as(store, &a, &other, MAKO_FOREIGN);
    state_is_right(p, &a);
    cr_assert_eq(mako_process_take(p, 0, NULL), MAKO_STALE);
    cr_assert_eq(mako_process_take(p, 0, NULL), MAKO_NOT_DUE, "not again at each event");
    append(&a, 20, 1);
    cr_assert_eq(mako_process_catch_up(p, NULL), MAKO_OK);
    cr_assert_eq(mako_process_take(p, 0, NULL), MAKO_OK);
    mako_process_close(p);
    mako_store_unref(store);
    probe_clear(&probe);
}

/* ---- stores that fail
 * --------------------------------------------------------------------------- */

static void load_fails(const char *members, int ordered, uint64_t events, int want)
{
    struct probe probe = PROBE_INITIAL;
    struct app a = {.count = 0};
    char all[200];
    mako_store *store;
    mako_process *p = NULL;
    struct mako_error err = {""};
    int status;

    (void)snprintf(all, sizeof all, STORE "%s", members);
    store = must_open("probe", &probe, all);
    probe.orders.load = ordered;
    append(&a, events, 1);
    status = mako_process_open(store, &reading, "sum/1", &a, &p, &err);
    cr_assert_eq(status, want, "%s: %s", mako_status_name(status), err.text);
    if (status == MAKO_OK) {
        state_is_right(p, &a);
        cr_assert_eq(how_of(p).snapshot, ordered);
    } else {
        cr_assert(err.text[0] && p == NULL);
    }
    mako_process_close(p);
    cr_assert_eq(a.states, 0);
    mako_store_unref(store);
}

Test(process, a_failed_load_is_replayed)
{
    load_fails("", MAKO_E_UNAVAILABLE, 50, MAKO_OK);
    load_fails("", MAKO_E_IO, 50, MAKO_OK);
    load_fails("", MAKO_DAMAGED, 50, MAKO_OK);
}

Test(process, a_failed_load_may_be_an_error)
{
    const char *fail = ", \"on_load_failure\": \"fail\"";

    load_fails(fail, MAKO_E_UNAVAILABLE, 50, MAKO_E_UNAVAILABLE);
    load_fails(fail, MAKO_E_IO, 50, MAKO_E_IO);
    load_fails(fail, MAKO_E_NOMEM, 50, MAKO_OK);
    load_fails(fail, MAKO_NOT_FOUND, 50, MAKO_OK);
    load_fails(fail, MAKO_DAMAGED, 50, MAKO_OK);
}

/* An outage does not become a stampede on the event log. */
Test(process, a_long_replay_after_a_failure_is_refused)
{
    const char *limit = ", \"replay_limit\": 40";

    load_fails(limit, MAKO_E_UNAVAILABLE, 40, MAKO_OK);
    load_fails(limit, MAKO_E_UNAVAILABLE, 41, MAKO_E_UNAVAILABLE);
    load_fails(limit, MAKO_E_IO, 41, MAKO_E_IO);
    load_fails(", \"replay_limit\": 0", MAKO_E_IO, 250, MAKO_OK);
}

Test(process, a_long_replay_after_a_miss_is_not)
{
    const char *limit = ", \"replay_limit\": 40";

    load_fails(limit, MAKO_NOT_FOUND, 250, MAKO_OK);
    load_fails(limit, MAKO_DAMAGED, 250, MAKO_OK);
}

Test(process, the_refusal_says_why)
{
    struct probe probe = PROBE_INITIAL;
    struct app a = {.count = 0};
    mako_store *store = must_open("probe", &probe, STORE ", \"replay_limit\": 40");

    probe.orders.load = MAKO_E_IO;
    append(&a, 41, 1);
    refused(store, &a, &reading, MAKO_E_IO,
            "stream 'sum/1': the store failed (E_IO) and a full replay is longer than "
            "replay_limit, 40 events");
    mako_store_unref(store);
}

/* A failed save is told, and changes nothing: the next one is due at once. */
Test(process, a_failed_save_fails_no_command)
{
    struct probe probe = PROBE_INITIAL;
    struct app a = {.count = 0};
    mako_store *store = must_open("probe", &probe, STORE);
    struct mako_error err = {""};
    mako_process *p;

    append(&a, 20, 1);
    p = open_right(store, &a, MAKO_NOT_FOUND);
    probe.orders.save = MAKO_E_NO_SPACE;
    probe.text = "full";
    cr_assert_eq(mako_process_take(p, 0, &err), MAKO_E_NO_SPACE);
    cr_assert_str_eq(err.text, "store 's' (probe): full");
    state_is_right(p, &a);
    append(&a, 1, 1);
    cr_assert_eq(mako_process_catch_up(p, NULL), MAKO_OK);
    probe.orders.save = MAKO_OK;
    cr_assert_eq(mako_process_take(p, 0, NULL), MAKO_OK);
    cr_assert_eq(probe.records->meta.seq, 21);
    mako_process_close(p);
    mako_store_unref(store);
    probe_clear(&probe);
}

/* ---- taking
 * -----------------------------------------------------------------------------------------
 */

Test(process, takes_when_due)
{
    struct probe probe = PROBE_INITIAL;
    struct app a = {.count = 0};
    mako_store *store = must_open("probe", &probe, STORE);
    mako_process *p = open_right(store, &a, MAKO_NOT_FOUND);
    struct mako_error err = {""};

    cr_assert_eq(mako_process_take(p, MAKO_TAKE_NOW, &err), MAKO_NOT_DUE, "nothing yet");
    cr_assert(err.text[0]);
    for (uint64_t seq = 1; seq <= 45; seq++) {
        append(&a, 1, 1);
        cr_assert_eq(mako_process_catch_up(p, NULL), MAKO_OK);
        cr_assert_eq(mako_process_take(p, 0, NULL),
                     seq % 10 == 0 ? MAKO_OK : MAKO_NOT_DUE, "at %d", (int)seq);
    }
    cr_assert_eq(mako_process_take(p, MAKO_TAKE_NOW, NULL), MAKO_OK);
    cr_assert_eq(probe.records->meta.seq, 45);
    append(&a, 9, 1);
    cr_assert_eq(mako_process_catch_up(p, NULL), MAKO_OK);
    cr_assert_eq(mako_process_take(p, 0, NULL), MAKO_NOT_DUE, "45 counts as the last");
    cr_assert_eq(mako_process_take(p, 1u << 9, &err), MAKO_E_UNSUPPORTED);
    mako_process_close(p);
    cr_assert_eq(probe.saves, 5);
    mako_store_unref(store);
    probe_clear(&probe);
}

/* A take has the state at hand: it never reads the log. */
Test(process, a_take_never_replays)
{
    struct probe probe = PROBE_INITIAL;
    struct app a = {.count = 0};
    mako_store *store = must_open("probe", &probe, STORE);
    mako_process *p;
    unsigned reads;

    append(&a, 30, 1);
    p = open_right(store, &a, MAKO_NOT_FOUND);
    reads = a.reads;
    append(&a, 30, 1); /* not yet seen by the process: not in the snapshot */
    cr_assert_eq(mako_process_take(p, 0, NULL), MAKO_OK);
    cr_assert_eq(a.reads, reads);
    cr_assert_eq(probe.records->meta.seq, 30);
    mako_process_close(p);
    p = open_right(store, &a, MAKO_OK);
    mako_process_close(p);
    mako_store_unref(store);
    probe_clear(&probe);
}

Test(process, a_later_writers_snapshot_stays)
{
    struct probe probe = PROBE_INITIAL;
    struct app a = {.count = 0};
    mako_store *store = must_open("probe", &probe, STORE);
    mako_process *slow, *fast;

    append(&a, 20, 1);
    slow = open_right(store, &a, MAKO_NOT_FOUND);
    append(&a, 20, 1);
    fast = open_right(store, &a, MAKO_NOT_FOUND);
    cr_assert_eq(mako_process_take(fast, 0, NULL), MAKO_OK);
    cr_assert_eq(mako_process_take(slow, 0, NULL), MAKO_STALE);
    mako_process_close(slow);
    mako_process_close(fast);
    mako_store_unref(store);
    probe_clear(&probe);
}

/* ---- catching up
 * --------------------------------------------------------------------------------------
 */

Test(process, catch_up_begins_at_its_own_event)
{
    struct app a = {.count = 0};
    mako_process *p;

    append(&a, 30, 1);
    p = open_right(NULL, &a, MAKO_NOT_FOUND);
    append(&a, 3, 1);
    cr_assert_eq(mako_process_catch_up(p, NULL), MAKO_OK);
    cr_assert_eq(a.read_from, 30);
    state_is_right(p, &a);
    cr_assert_eq(mako_process_catch_up(p, NULL), MAKO_OK, "nothing new is fine");
    state_is_right(p, &a);
    mako_process_close(p);
}

/* The log is cut, or cut and regrown, under a live process. */
Test(process, catch_up_notices_a_rolled_back_log)
{
    struct probe probe = PROBE_INITIAL;
    struct app a = {.count = 0};
    mako_store *store = must_open("probe", &probe, STORE);
    mako_process *p;

    append(&a, 30, 1);
    p = open_right(store, &a, MAKO_NOT_FOUND);
    cr_assert_eq(mako_process_take(p, 0, NULL), MAKO_OK);
    a.count = 12;
    cr_assert_eq(mako_process_catch_up(p, NULL), MAKO_OK);
    state_is_right(p, &a);
    cr_assert_eq(how_of(p).snapshot, MAKO_AHEAD);
    cr_assert_eq(mako_process_take(p, 0, NULL), MAKO_OK, "forced below the stored 30");
    append(&a, 30, 1);
    cr_assert_eq(mako_process_catch_up(p, NULL), MAKO_OK);
    a.count = 5;
    append(&a, 70, 9);
    cr_assert_eq(mako_process_catch_up(p, NULL), MAKO_OK);
    state_is_right(p, &a);
    cr_assert_eq(how_of(p).snapshot, MAKO_DIVERGED);
    mako_process_close(p);
    mako_store_unref(store);
    probe_clear(&probe);
}

Test(process, catch_up_needs_read)
{
    struct mako_aggregate push = pushing();
    struct app a = {.count = 0};
    mako_process *p = open_as(NULL, &a, &push, MAKO_NOT_FOUND);
    struct mako_error err = {""};

    cr_assert_eq(mako_process_catch_up(p, &err), MAKO_E_INVALID);
    cr_assert_str_eq(err.text, "stream 'sum/1': cannot catch up without a read callback");
    mako_process_close(p);
}

/* ---- pushed events
 * ---------------------------------------------------------------------------------------
 */

static int push_at(mako_process *p, const struct app *a, uint64_t seq,
                   struct mako_error *err)
{
    struct mako_event event = event_at(a, seq);

    return mako_process_push(p, &event, err);
}

/* Push everything from event from on; the first status that is not OK. */
static int push_from(mako_process *p, const struct app *a, uint64_t from)
{
    int status = MAKO_OK;

    for (uint64_t seq = from; status == MAKO_OK && seq <= a->count; seq++)
        status = push_at(p, a, seq, NULL);
    return status;
}

/* One life of a pushing process: what the load says, take, close. */
static void push_visit(mako_store *store, struct app *a, int want)
{
    struct mako_aggregate push = pushing();
    mako_process *p = open_as(store, a, &push, want);

    cr_assert_eq(push_from(p, a, 1), MAKO_OK);
    cr_assert_eq(mako_process_end(p, a->count, NULL), MAKO_OK);
    state_is_right(p, a);
    cr_assert_eq(mako_process_take(p, MAKO_TAKE_NOW, NULL), MAKO_OK);
    mako_process_close(p);
    cr_assert_eq(a->states, 0);
}

Test(process, pushed_events_below_the_snapshot_are_spared)
{
    struct probe probe = PROBE_INITIAL;
    struct mako_aggregate push = pushing();
    struct app a = {.count = 0};
    mako_store *store = must_open("probe", &probe, STORE);
    mako_process *p;

    append(&a, 40, 1);
    push_visit(store, &a, MAKO_NOT_FOUND);
    append(&a, 5, 1);
    p = open_as(store, &a, &push, MAKO_OK);
    cr_assert_eq(push_from(p, &a, 1), MAKO_OK);
    state_is_right(p, &a);
    cr_assert(how_of(p).spared == 40 && how_of(p).folded == 5);
    cr_assert_eq(push_at(p, &a, 7, NULL), MAKO_OK, "known already: spared");
    cr_assert_eq(how_of(p).spared, 40, "and not for the snapshot");
    state_is_right(p, &a);
    mako_process_close(p);
    mako_store_unref(store);
    probe_clear(&probe);
}

Test(process, a_pushed_gap)
{
    struct mako_aggregate push = pushing();
    struct app a = {.count = 0};
    mako_process *p = open_as(NULL, &a, &push, MAKO_NOT_FOUND);
    struct mako_error err = {""};

    append(&a, 10, 1);
    cr_assert_eq(push_at(p, &a, 2, &err), MAKO_E_INVALID);
    cr_assert_str_eq(err.text, "stream 'sum/1': event 2 pushed, 1 is due");
    cr_assert_eq(push_at(p, &a, 1, NULL), MAKO_OK, "a gap breaks nothing");
    cr_assert_eq(push_at(p, &a, 3, &err), MAKO_E_INVALID);
    cr_assert_str_eq(err.text, "stream 'sum/1': event 3 pushed, 2 is due");
    struct mako_event zero = event_at(&a, 1);
    zero.seq = 0;
    cr_assert_eq(mako_process_push(p, &zero, NULL), MAKO_E_INVALID);
    cr_assert_eq(push_from(p, &a, 2), MAKO_OK);
    state_is_right(p, &a);
    mako_process_close(p);
}

/* The snapshot's own event must be seen before anything beyond it is believed. */
Test(process, a_push_beyond_an_unseen_snapshot)
{
    struct probe probe = PROBE_INITIAL;
    struct mako_aggregate push = pushing();
    struct app a = {.count = 0};
    mako_store *store = must_open("probe", &probe, STORE);
    mako_process *p;

    append(&a, 40, 1);
    push_visit(store, &a, MAKO_NOT_FOUND);
    append(&a, 5, 1);
    p = open_as(store, &a, &push, MAKO_OK);
    cr_assert_eq(push_at(p, &a, 41, NULL), MAKO_E_INVALID);
    cr_assert_eq(mako_process_take(p, MAKO_TAKE_NOW, NULL), MAKO_NOT_DUE,
                 "not taken from before it is known to be of this log");
    cr_assert_eq(push_from(p, &a, 40), MAKO_OK, "from the own event on is enough");
    state_is_right(p, &a);
    mako_process_close(p);
    mako_store_unref(store);
    probe_clear(&probe);
}

Test(process, pushed_events_of_another_log)
{
    struct probe probe = PROBE_INITIAL;
    struct mako_aggregate push = pushing();
    struct app a = {.count = 0};
    mako_store *store = must_open("probe", &probe, STORE);
    struct mako_error err = {""};
    mako_process *p;

    append(&a, 40, 1);
    push_visit(store, &a, MAKO_NOT_FOUND);
    a.count = 20;
    append(&a, 30, 5);
    p = open_as(store, &a, &push, MAKO_OK);
    for (uint64_t seq = 1; seq < 40; seq++)
        cr_assert_eq(push_at(p, &a, seq, NULL), MAKO_OK);
    cr_assert_eq(push_at(p, &a, 40, &err), MAKO_DIVERGED);
    cr_assert_str_eq(err.text, "stream 'sum/1': the snapshot at 40 is of another log: "
                               "push from event 1");
    cr_assert_eq(mako_process_seq(p), 0);
    cr_assert_eq(push_from(p, &a, 1), MAKO_OK);
    cr_assert_eq(mako_process_end(p, 50, NULL), MAKO_OK);
    state_is_right(p, &a);
    cr_assert_eq(how_of(p).snapshot, MAKO_DIVERGED);
    cr_assert(how_of(p).spared == 0 && how_of(p).folded == 50);
    mako_process_close(p);
    mako_store_unref(store);
    probe_clear(&probe);
}

Test(process, the_end_before_the_snapshot)
{
    struct probe probe = PROBE_INITIAL;
    struct mako_aggregate push = pushing();
    struct app a = {.count = 0};
    mako_store *store = must_open("probe", &probe, STORE);
    struct mako_error err = {""};
    mako_process *p;

    append(&a, 40, 1);
    push_visit(store, &a, MAKO_NOT_FOUND);
    a.count = 15;
    p = open_as(store, &a, &push, MAKO_OK);
    cr_assert_eq(push_from(p, &a, 1), MAKO_OK);
    cr_assert_eq(mako_process_end(p, 15, &err), MAKO_AHEAD);
    cr_assert_str_eq(err.text, "stream 'sum/1': the snapshot is at 40, the log ends at "
                               "15: push from event 1");
    cr_assert_eq(mako_process_seq(p), 0);
    cr_assert_eq(push_from(p, &a, 1), MAKO_OK);
    cr_assert_eq(mako_process_end(p, 15, NULL), MAKO_OK);
    state_is_right(p, &a);
    cr_assert_eq(mako_process_take(p, 0, NULL), MAKO_OK, "forced below the stored 40");
    mako_process_close(p);
    push_visit(store, &a, MAKO_OK);
    mako_store_unref(store);
    probe_clear(&probe);
}

Test(process, the_end_before_every_event_was_pushed)
{
    struct mako_aggregate push = pushing();
    struct app a = {.count = 0};
    mako_process *p = open_as(NULL, &a, &push, MAKO_NOT_FOUND), *reader;
    struct mako_error err = {""};

    append(&a, 5, 1);
    cr_assert_eq(push_from(p, &a, 1), MAKO_OK);
    cr_assert_eq(mako_process_end(p, 6, &err), MAKO_E_INVALID);
    cr_assert_str_eq(err.text,
                     "stream 'sum/1': the log ends at 6, not every event was pushed");
    mako_process_close(p);
    reader = open_right(NULL, &a, MAKO_NOT_FOUND);
    cr_assert_eq(mako_process_end(reader, 5, &err), MAKO_E_INVALID);
    cr_assert_str_eq(err.text, "stream 'sum/1': the end is for events that are pushed");
    mako_process_close(reader);
}

/* With read, an event at hand may still be pushed. */
Test(process, pushing_to_a_reader)
{
    struct app a = {.count = 0};
    mako_process *p;

    append(&a, 5, 1);
    p = open_right(NULL, &a, MAKO_NOT_FOUND);
    append(&a, 2, 1);
    cr_assert_eq(push_at(p, &a, 7, NULL), MAKO_E_INVALID);
    cr_assert_eq(push_from(p, &a, 6), MAKO_OK);
    state_is_right(p, &a);
    cr_assert_eq(mako_process_catch_up(p, NULL), MAKO_OK);
    state_is_right(p, &a);
    mako_process_close(p);
}

Test(process, how_fills_what_there_is_room_for)
{
    struct app a = {.count = 0};
    struct mako_how how = {.struct_size = offsetof(struct mako_how, seq), .folded = 4711};
    mako_process *p;

    append(&a, 5, 1);
    p = open_right(NULL, &a, MAKO_NOT_FOUND);
    mako_process_how(p, &how);
    cr_assert(how.snapshot == MAKO_NOT_FOUND && how.folded == 4711);
    mako_process_close(p);
}

/* ---- what is seldom there ------------------------------------------------------------
 */

Test(process, each_callback_is_needed)
{
    struct app a = {.count = 0};
    struct mako_aggregate bad[5] = {reading, reading, reading, reading, reading};

    bad[0].create = NULL;
    bad[1].destroy = NULL;
    bad[2].apply = NULL;
    bad[3].encode = NULL;
    bad[4].decode = NULL;
    for (size_t i = 0; i < 5; i++)
        refused(NULL, &a, &bad[i], MAKO_E_INVALID, "only read and kind may be NULL");
}

static int decode_to_nothing(void *app, uint32_t schema, const void *bytes, size_t len,
                             void **state, struct mako_error *err)
{
    (void)app, (void)schema, (void)bytes, (void)len, (void)state, (void)err;
    return 0;
}

/* A decode that says that all is well and gives no state has failed. */
Test(process, a_decode_that_gives_nothing)
{
    struct probe probe = PROBE_INITIAL;
    struct mako_aggregate empty = reading;
    struct app a = {.count = 0};
    mako_store *store = must_open("probe", &probe, STORE);
    mako_process *p;

    append(&a, 20, 1);
    visit(store, &a, MAKO_NOT_FOUND);
    empty.decode = decode_to_nothing;
    p = open_as(store, &a, &empty, MAKO_DAMAGED);
    state_is_right(p, &a);
    mako_process_close(p);
    mako_store_unref(store);
    probe_clear(&probe);
}

static int read_stubborn(void *app, const char *stream, uint64_t from, mako_feed *feed,
                         struct mako_error *err)
{
    struct app *a = app;

    (void)stream, (void)err;
    a->reads++;
    for (uint64_t seq = from; seq <= a->count; seq++) {
        struct mako_event event = event_at(a, seq);
        int not_listened_to = mako_feed_event(feed, &event);

        (void)not_listened_to;
    }
    return 0;
}

/* A read that does not listen when it is told to stop: nothing more is folded. */
Test(process, a_read_that_goes_on_after_a_failure)
{
    struct mako_aggregate stubborn = reading;
    struct app a = {.fail_at = 3};

    stubborn.read = read_stubborn;
    append(&a, 9, 1);
    refused(NULL, &a, &stubborn, MAKO_E_CALLBACK,
            "stream 'sum/1': apply of event 3: no such event type");
}

/* Starting over needs a new state; where there is none, the process is broken. */
Test(process, starting_over_without_memory)
{
    struct probe probe = PROBE_INITIAL;
    struct mako_aggregate push = pushing();
    struct app a = {.count = 0};
    mako_store *store = must_open("probe", &probe, STORE);
    struct mako_error err = {""};
    mako_process *p;

    append(&a, 40, 1);
    push_visit(store, &a, MAKO_NOT_FOUND);
    p = open_as(store, &a, &push, MAKO_OK);
    a.create_fails = true;
    cr_assert_eq(mako_process_end(p, 15, &err), MAKO_E_NOMEM, "%s", err.text);
    cr_assert(strstr(err.text, "create gave no state"), "%s", err.text);
    mako_process_close(p);
    a.create_fails = false;
    p = open_as(store, &a, &push, MAKO_OK);
    a.create_fails = true;
    a.log[39]++;
    cr_assert_eq(push_at(p, &a, 40, &err), MAKO_E_NOMEM, "%s", err.text);
    mako_process_close(p);
    a.count = 30; /* the same for one that reads */
    refused(store, &a, &reading, MAKO_E_NOMEM, "create gave no state");
    mako_store_unref(store);
    probe_clear(&probe);
}

/* The end before the snapshot's own event was pushed: nothing is known of it yet. */
Test(process, the_end_before_the_own_event)
{
    struct probe probe = PROBE_INITIAL;
    struct mako_aggregate push = pushing();
    struct app a = {.count = 0};
    mako_store *store = must_open("probe", &probe, STORE);
    struct mako_error err = {""};
    mako_process *p;

    append(&a, 40, 1);
    push_visit(store, &a, MAKO_NOT_FOUND);
    p = open_as(store, &a, &push, MAKO_OK);
    cr_assert_eq(mako_process_end(p, 40, &err), MAKO_E_INVALID);
    cr_assert_str_eq(err.text,
                     "stream 'sum/1': the log ends at 40, not every event was pushed");
    cr_assert_eq(push_from(p, &a, 40), MAKO_OK);
    cr_assert_eq(mako_process_end(p, 40, NULL), MAKO_OK);
    mako_process_close(p);
    mako_store_unref(store);
    probe_clear(&probe);
}

/* An anchor on one side alone tells nothing. */
Test(process, anchors_that_came_later)
{
    struct probe probe = PROBE_INITIAL;
    struct app a = {.no_anchors = true};
    mako_store *store = must_open("probe", &probe, STORE);

    append(&a, 20, 1);
    visit(store, &a, MAKO_NOT_FOUND);
    a.no_anchors = false;
    visit(store, &a, MAKO_OK);
    a.no_anchors = true;
    visit(store, &a, MAKO_OK);
    mako_store_unref(store);
    probe_clear(&probe);
}

static int encode_too_much(void *app, const void *state, mako_bytes *out,
                           struct mako_error *err)
{
    static const char some[1500];

    (void)app, (void)state;
    cr_assert_eq(mako_bytes_put(out, some, 0), MAKO_OK);
    cr_assert_eq(mako_bytes_put(out, NULL, 0), MAKO_OK);
    cr_assert_eq(mako_bytes_put(out, some, sizeof some), MAKO_OK);
    cr_assert_eq(mako_bytes_put(out, some, SIZE_MAX / 2 + 1000), MAKO_E_NOMEM);
    return mako_fail(err, MAKO_E_CALLBACK, "more than there is");
}

/* Lengths that no memory holds are refused before anything is asked for. */
Test(process, an_encode_without_end)
{
    struct probe probe = PROBE_INITIAL;
    struct mako_aggregate endless = reading;
    struct app a = {.count = 0};
    mako_store *store = must_open("probe", &probe, STORE);
    struct mako_error err = {""};
    mako_process *p;

    endless.encode = encode_too_much;
    append(&a, 20, 1);
    p = open_as(store, &a, &endless, MAKO_NOT_FOUND);
    cr_assert_eq(mako_process_take(p, MAKO_TAKE_NOW, &err), MAKO_E_CALLBACK);
    cr_assert(strstr(err.text, "more than there is"), "%s", err.text);
    mako_process_close(p);
    mako_store_unref(store);
}

/* The whole job for an aggregate, over whatever store: the state is always that of the
 * plain fold. */
#include "cases.h"

#include <stdlib.h>

#include <mako/process.h>

/* The application: a log of numbers, their sum. */
struct book {
    uint64_t numbers[400];
    uint64_t count;
    unsigned decoded;
    uint32_t bad_schema; /* decode fails for it */
};

struct sum {
    uint64_t total, events;
};

static void *sum_create(void *app)
{
    (void)app;
    return calloc(1, sizeof(struct sum));
}

static void sum_destroy(void *app, void *state)
{
    (void)app;
    free(state);
}

static int sum_apply(void *app, void *state, const struct mako_event *event,
                     struct mako_error *err)
{
    struct sum *sum = state;

    (void)app, (void)err;
    sum->total += *(const uint64_t *)event->body;
    sum->events++;
    return 0;
}

static int sum_encode(void *app, const void *state, mako_bytes *out,
                      struct mako_error *err)
{
    (void)app;
    if (mako_bytes_put(out, state, sizeof(struct sum)) != MAKO_OK)
        return mako_fail(err, MAKO_E_CALLBACK, "no memory");
    return 0;
}

static int sum_decode(void *app, uint32_t schema, const void *bytes, size_t len,
                      void **state, struct mako_error *err)
{
    struct book *book = app;
    struct sum *sum;

    book->decoded++;
    if (schema == book->bad_schema || len != sizeof *sum)
        return mako_fail(err, MAKO_E_CALLBACK, "not a sum");
    sum = malloc(sizeof *sum);
    if (!sum)
        return mako_fail(err, MAKO_E_CALLBACK, "no memory");
    memcpy(sum, bytes, sizeof *sum);
    *state = sum;
    return 0;
}

static uint64_t anchor_of(const struct book *book, uint64_t seq)
{
    return (book->numbers[seq - 1] + seq) * 0x9e3779b97f4a7c15u | 1;
}

static int sum_read(void *app, const char *stream, uint64_t from, mako_feed *feed,
                    struct mako_error *err)
{
    struct book *book = app;

    (void)stream, (void)err;
    for (uint64_t seq = from; seq <= book->count; seq++) {
        struct mako_event event = {
            .seq = seq, .anchor = anchor_of(book, seq), .body = &book->numbers[seq - 1]};
        int status = mako_feed_event(feed, &event);

        if (status != MAKO_OK)
            return status;
    }
    return 0;
}

static const struct mako_aggregate summing = {
    .struct_size = sizeof summing,
    .schema = 2,
    .kind = "sum",
    .create = sum_create,
    .destroy = sum_destroy,
    .apply = sum_apply,
    .encode = sum_encode,
    .decode = sum_decode,
    .read = sum_read,
};

static void append(struct book *book, uint64_t count, uint64_t seed)
{
    for (uint64_t i = 0; i < count; i++) {
        book->numbers[book->count] = (book->count + 1) * seed;
        book->count++;
    }
}

/* Open, compare with the plain fold, and say how it came about. */
static enum verdict open_right(struct trial *t, struct book *book,
                               const struct mako_aggregate *aggregate,
                               mako_process **process, struct mako_how *how)
{
    struct mako_error err = {""};
    const struct sum *sum;
    uint64_t total = 0;
    int status = mako_process_open(t->store, aggregate, "sum/1", book, process, &err);

    CHECKF(status == MAKO_OK, "%s: %s", mako_status_name(status), err.text);
    for (uint64_t i = 0; i < book->count; i++)
        total += book->numbers[i];
    sum = mako_process_state(*process);
    CHECKF(sum && sum->total == total && sum->events == book->count, "a wrong state");
    CHECK(mako_process_seq(*process) == book->count);
    how->struct_size = sizeof *how;
    mako_process_how(*process, how);
    return PASS;
}

/* One visit: open, take now, close; what the load said, or NOT_FOUND where nothing is
 * kept. */
static enum verdict visit(struct trial *t, struct book *book,
                          const struct mako_aggregate *aggregate, int want)
{
    mako_process *process = NULL;
    struct mako_how how;
    struct mako_error err = {""};
    int status;

    TRY(open_right(t, book, aggregate, &process, &how));
    if (!keeps(t))
        want = MAKO_NOT_FOUND;
    CHECKF(how.snapshot == want, "%s, not %s", mako_status_name(how.snapshot),
           mako_status_name(want));
    CHECK(how.spared + how.folded == book->count || want == MAKO_AHEAD ||
          want == MAKO_DIVERGED);
    status = mako_process_take(process, MAKO_TAKE_NOW, &err);
    mako_process_close(process);
    CHECKF(status == MAKO_OK, "take: %s: %s", mako_status_name(status), err.text);
    return PASS;
}

static enum verdict a_process_comes_back(struct trial *t)
{
    struct book book = {.count = 0};

    append(&book, 50, 3);
    TRY(visit(t, &book, &summing, MAKO_NOT_FOUND));
    append(&book, 20, 5);
    TRY(visit(t, &book, &summing, MAKO_OK));
    TRY(visit(t, &book, &summing, MAKO_OK));
    if (!outlives(t))
        return PASS;
    trial_close(t);
    TRY(trial_open(t));
    return visit(t, &book, &summing, MAKO_OK);
}

static enum verdict a_log_that_was_cut_is_noticed(struct trial *t)
{
    struct book book = {.count = 0};

    append(&book, 50, 3);
    TRY(visit(t, &book, &summing, MAKO_NOT_FOUND));
    book.count = 30;
    TRY(visit(t, &book, &summing, MAKO_AHEAD));
    return visit(t, &book, &summing, MAKO_OK);
}

static enum verdict a_log_that_grew_again_is_noticed(struct trial *t)
{
    struct book book = {.count = 0};

    append(&book, 50, 3);
    TRY(visit(t, &book, &summing, MAKO_NOT_FOUND));
    book.count = 30;
    append(&book, 60, 7);
    TRY(visit(t, &book, &summing, MAKO_DIVERGED));
    return visit(t, &book, &summing, MAKO_OK);
}

/* Schema 2, then 3 that reads nothing older, then 4 that reads 3 as well. */
static enum verdict schemas_move_on(struct trial *t)
{
    struct book book = {.bad_schema = 2};
    struct mako_aggregate next = summing;

    append(&book, 40, 3);
    TRY(visit(t, &book, &summing, MAKO_NOT_FOUND));
    next.schema = 3;
    TRY(visit(t, &book, &next, MAKO_SCHEMA_OLDER));
    CHECKF(book.decoded == 0, "a refused snapshot was decoded");
    next.schema = 4;
    next.schema_oldest = 3;
    append(&book, 4, 3);
    TRY(visit(t, &book, &next, MAKO_OK));
    append(&book, 1, 3);
    book.bad_schema = 0;
    return visit(t, &book, &summing, MAKO_SCHEMA_NEWER);
}

static enum verdict an_undecodable_state_is_replayed_and_healed(struct trial *t)
{
    struct book book = {.bad_schema = 2};

    append(&book, 40, 3);
    TRY(visit(t, &book, &summing, MAKO_NOT_FOUND));
    TRY(visit(t, &book, &summing, MAKO_DAMAGED));
    book.bad_schema = 0;
    return visit(t, &book, &summing, MAKO_OK);
}

static enum verdict another_kind_of_aggregate_is_foreign(struct trial *t)
{
    struct book book = {.count = 0};
    struct mako_aggregate other = summing;

    append(&book, 40, 3);
    TRY(visit(t, &book, &summing, MAKO_NOT_FOUND));
    other.kind = "product";
    TRY(visit(t, &book, &other, MAKO_FOREIGN));
    return visit(t, &book, &other, MAKO_OK);
}

/* Taken exactly when the configured interval says so. */
static enum verdict takes_follow_the_interval(struct trial *t)
{
    struct book book = {.count = 0};
    mako_process *process = NULL;
    struct mako_how how;

    trial_close(t);
    TRY(trial_open_with(t, "\"snapshot_every\": 10"));
    TRY(open_right(t, &book, &summing, &process, &how));
    for (uint64_t seq = 1; seq <= 35; seq++) {
        int want = seq % 10 == 0 ? MAKO_OK : MAKO_NOT_DUE, status;

        append(&book, 1, 3);
        CHECK(mako_process_catch_up(process, NULL) == MAKO_OK);
        status = mako_process_take(process, 0, NULL);
        CHECKF(status == want, "at %llu: %s", (unsigned long long)seq,
               mako_status_name(status));
    }
    mako_process_close(process);
    CHECK(counter(t, "saves") == 3);
    TRY(open_right(t, &book, &summing, &process, &how));
    CHECK(how.spared == (keeps(t) ? 30 : 0) && how.folded == (keeps(t) ? 5 : 35));
    mako_process_close(process);
    return PASS;
}

const struct test_case cases_process[] = {
    {"a_process_comes_back", a_process_comes_back},
    {"a_log_that_was_cut_is_noticed", a_log_that_was_cut_is_noticed},
    {"a_log_that_grew_again_is_noticed", a_log_that_grew_again_is_noticed},
    {"schemas_move_on", schemas_move_on},
    {"an_undecodable_state_is_replayed_and_healed",
     an_undecodable_state_is_replayed_and_healed},
    {"another_kind_of_aggregate_is_foreign", another_kind_of_aggregate_is_foreign},
    {"takes_follow_the_interval", takes_follow_the_interval},
    {NULL, NULL},
};

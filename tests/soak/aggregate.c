/* tests/soak/aggregate.c - rounds on mako/process.h: open, compare the state with the
 * plain fold of the log, append, catch up or push, take, roll back.
 *
 * The logs are in the journal, so they outlive a kill; each is one thread's. */
#include "worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mako/process.h>

#define APPEND_MAX  12
#define PADDING_MAX 3000

/* The fold: order matters, and no two histories give the same. */
struct fold {
    uint64_t hash, count;
};

/* What the callbacks see. */
struct app {
    struct aggregate *log;
    uint64_t padding; /* bytes of a snapshot */
};

struct round {
    struct actor *actor;
    struct aggregate *log;
    struct app app;
    struct mako_aggregate aggregate;
    mako_process *process;
    char name[64];
    bool pushes;
    bool starved; /* while it was opened */
    int64_t began_ms;
};

static void fold_in(struct fold *fold, uint64_t body)
{
    fold->hash = random_mix(fold->hash, body);
    fold->count++;
}

static struct mako_event event_at(const struct aggregate *log, uint64_t seq)
{
    return (struct mako_event){.seq = seq,
                               .anchor = random_mix(log->log[seq - 1], seq) | 1,
                               .body = &log->log[seq - 1]};
}

/* ---- callbacks ------------------------------------------------------------------------
 */

static void *create(void *app)
{
    (void)app;
    return calloc(1, sizeof(struct fold));
}

static void destroy(void *app, void *state)
{
    (void)app;
    free(state);
}

static int apply(void *app, void *state, const struct mako_event *event,
                 struct mako_error *err)
{
    (void)app;
    (void)err;
    fold_in(state, *(const uint64_t *)event->body);
    return 0;
}

static int encode(void *app, const void *state, mako_bytes *out, struct mako_error *err)
{
    static const unsigned char zeros[PADDING_MAX];
    const struct app *its = app;

    if (mako_bytes_put(out, state, sizeof(struct fold)) != MAKO_OK ||
        mako_bytes_put(out, zeros, its->padding) != MAKO_OK)
        return mako_fail(err, MAKO_E_CALLBACK, "no memory");
    return 0;
}

static int decode(void *app, uint32_t schema, const void *bytes, size_t len, void **state,
                  struct mako_error *err)
{
    struct fold *fold = malloc(sizeof *fold);

    (void)app;
    (void)schema;
    if (!fold || len < sizeof *fold) {
        free(fold);
        return mako_fail(err, MAKO_E_CALLBACK, "no memory, or no state");
    }
    memcpy(fold, bytes, sizeof *fold);
    *state = fold;
    return 0;
}

static int read_log(void *app, const char *stream, uint64_t from, mako_feed *feed,
                    struct mako_error *err)
{
    const struct app *its = app;

    (void)stream;
    (void)err;
    for (uint64_t seq = from; seq <= its->log->head; seq++) {
        struct mako_event event = event_at(its->log, seq);
        int status = mako_feed_event(feed, &event);

        if (status != 0)
            return status;
    }
    return 0;
}

/* ---- checks ---------------------------------------------------------------------------
 */

static _Noreturn void complain(const struct round *round, const char *what)
{
    struct mako_how how = {.struct_size = sizeof how};

    mako_process_how(round->process, &how);
    violation(round->actor->worker->journal, round->actor->worker->slot,
              "aggregate '%s': %s; log %llu, process %llu, taken %llu (%s), the load "
              "said %s with sequence %llu, schema %u",
              round->name, what, (unsigned long long)round->log->head,
              (unsigned long long)mako_process_seq(round->process),
              (unsigned long long)round->log->taken, round->log->sure ? "sure" : "unsure",
              mako_status_name(how.snapshot), (unsigned long long)how.seq,
              (unsigned)how.schema);
}

static void check_state(const struct round *round)
{
    const struct fold *state = mako_process_state(round->process);
    struct fold want = {.hash = 0, .count = 0};

    for (uint64_t i = 0; i < round->log->head; i++)
        fold_in(&want, round->log->log[i]);
    if (mako_process_seq(round->process) != round->log->head)
        complain(round, "another sequence than the log");
    if (!state || state->hash != want.hash || state->count != want.count)
        complain(round, "a wrong state");
}

/* Where it is known which snapshot is there and that it can be read, it must be used. */
static void check_snapshot(const struct round *round)
{
    const struct worker *worker = round->actor->worker;
    const struct settings *settings = &worker->settings;
    const struct mako_aggregate *aggregate = &round->aggregate;
    uint32_t schema = round->log->schema;
    struct mako_how how = {.struct_size = sizeof how};

    mako_process_how(round->process, &how);
    if (how.snapshot == MAKO_FOREIGN || how.snapshot == MAKO_TOO_LARGE ||
        (how.snapshot == MAKO_DAMAGED && !round->starved))
        complain(round, "a snapshot that cannot be");
    if (how.snapshot < 0 && !round->starved && !worker_excused(worker, round->began_ms))
        (void)atomic_fetch_add(&worker->journal->unexplained, 1);
    if (!round->log->sure || how.snapshot < 0 || round->starved ||
        model_is_loose(worker->journal, &worker->backend->rules, round->began_ms))
        return;
    if (schema < aggregate->schema_oldest || schema > aggregate->schema ||
        (settings->schema_min != 0 &&
         (schema < settings->schema_min || schema > settings->schema_max)))
        return;
    if (how.snapshot != MAKO_OK || how.seq != round->log->taken)
        complain(round, "not the snapshot that was taken");
}

/* ---- a round --------------------------------------------------------------------------
 */

static void count_round(const struct round *round, enum op op, int status)
{
    actor_count(round->actor, op, status, round->began_ms);
}

static bool open_round(struct round *round)
{
    struct actor *actor = round->actor;
    int status;

    actor_starve(actor);
    status = mako_process_open(actor->worker->store, &round->aggregate, round->name,
                               &round->app, &round->process, &actor->err);
    actor_feed(actor);
    round->starved = actor->starved;
    count_round(round, OP_PROCESS, status);
    if (status > 0)
        violation(actor->worker->journal, actor->worker->slot,
                  "aggregate '%s': opening says %s", round->name,
                  mako_status_name(status));
    return status == MAKO_OK;
}

/* Push what there is, beginning anew where told. */
static void push_all(struct round *round)
{
    struct actor *actor = round->actor;
    bool again = false;
    int status = MAKO_OK;

    actor->starved = false;
    do {
        for (uint64_t seq = mako_process_seq(round->process) + (again ? 1 : 0);
             seq <= round->log->head; seq++) {
            struct mako_event event;

            if (seq == 0)
                continue;
            event = event_at(round->log, seq);
            status = mako_process_push(round->process, &event, &actor->err);
            if (status == MAKO_DIVERGED)
                seq = 0;
            else if (status != MAKO_OK)
                complain(round, actor->err.text);
        }
        status = mako_process_end(round->process, round->log->head, &actor->err);
        again = true;
    } while (status == MAKO_AHEAD);
    if (status != MAKO_OK)
        complain(round, actor->err.text);
}

static void append(struct round *round)
{
    struct aggregate *log = round->log;
    uint64_t more = 1 + random_below(&round->actor->random, APPEND_MAX);
    uint64_t head = log->head;

    while (more-- > 0 && head < LOG_MAX)
        log->log[head++] = random_next(&round->actor->random);
    log->head = head;
}

/* The last events were never there, and others come. */
static void roll_back(struct round *round)
{
    struct aggregate *log = round->log;
    uint64_t head = random_below(&round->actor->random, log->head + 1);

    if (head < log->taken)
        log->sure = false;
    log->head = head;
}

static void keep_up(struct round *round)
{
    struct actor *actor = round->actor;
    int status = MAKO_OK;

    if (round->pushes) {
        push_all(round);
        return;
    }
    actor->starved = false;
    status = mako_process_catch_up(round->process, &actor->err);
    if (status != MAKO_OK)
        complain(round, actor->err.text);
}

static void take(struct round *round)
{
    struct actor *actor = round->actor;
    struct aggregate *log = round->log;
    const struct journal *journal = actor->worker->journal;
    uint64_t seq = mako_process_seq(round->process);
    uint32_t flags = random_chance(&actor->random, 50) ? MAKO_TAKE_NOW : 0;
    bool was_sure = log->sure;
    int status;

    log->sure = false;
    round->began_ms = now_ms();
    actor_starve(actor);
    status = mako_process_take(round->process, flags, &actor->err);
    actor_feed(actor);
    if (status == MAKO_NOT_DUE) {
        log->sure = was_sure;
    } else if (status == MAKO_OK && actor->worker->backend->rules.keeps) {
        log->taken = seq;
        log->schema = round->aggregate.schema;
        log->sure =
            !actor->worker->backend->rules.late ||
            (round->began_ms > log->unsure_until_ms && !atomic_load(&journal->faulty) &&
             round->began_ms > atomic_load(&journal->fault_end_ms) + MODEL_LATE_MS);
    } else if (status != MAKO_OK) {
        log->unsure_until_ms = now_ms() + MODEL_LATE_MS;
    }
    count_round(round, OP_TAKE, status);
}

static void go_round(struct round *round)
{
    if (round->pushes)
        push_all(round);
    check_snapshot(round);
    check_state(round);
    if (!round->pushes && random_chance(&round->actor->random, 10))
        roll_back(round);
    append(round);
    keep_up(round);
    check_state(round);
    take(round);
}

void actor_process(struct actor *actor)
{
    struct worker *worker = actor->worker;
    unsigned which = (unsigned)random_below(&actor->random, AGGREGATES);
    struct aggregate *log =
        &worker->journal->slots[worker->slot].aggregates[actor->thread][which];
    struct round round = {
        .actor = actor,
        .log = log,
        .app = {.log = log, .padding = random_below(&actor->random, PADDING_MAX)},
        .aggregate = {.struct_size = sizeof round.aggregate,
                      .schema = 2 + (uint32_t)random_below(&actor->random, 3),
                      .schema_oldest = 1 + (uint32_t)random_below(&actor->random, 2),
                      .kind = "aggregate",
                      .create = create,
                      .destroy = destroy,
                      .apply = apply,
                      .encode = encode,
                      .decode = decode,
                      .read = read_log},
        .pushes = random_chance(&actor->random, 30),
        .began_ms = now_ms()};

    if (round.pushes)
        round.aggregate.read = NULL;
    (void)snprintf(round.name, sizeof round.name, "aggregate/%u/%u/%u", worker->slot,
                   actor->thread, which);
    if (log->head + APPEND_MAX > LOG_MAX || random_chance(&actor->random, 5))
        roll_back(&round);
    if (open_round(&round)) {
        go_round(&round);
        mako_process_close(round.process);
    }
}

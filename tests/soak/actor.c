/* tests/soak/actor.c - what threads do to a store, and what must come of it.
 *
 * Only the public interface is used.  Each change is announced to the model before and
 * settled after it; see model.h. */
#include "worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../faults/heap.h"
#include "../power/content.h"

#define BATCH_MAX     6
#define LOOKED_AT     4 /* streams, through a second opening */
#define STARVE_ONE_IN 300
#define COMMON_SIZE   2000

void actor_make(struct actor *actor, struct worker *worker, unsigned thread,
                uint64_t random)
{
    *actor = (struct actor){.worker = worker, .thread = thread, .random = random};
    actor->bytes = malloc(STATE_MAX);
    actor->expected = malloc(STATE_MAX);
    if (!actor->bytes || !actor->expected)
        abort();
}

struct place actor_place(const struct actor *actor, unsigned own)
{
    const struct worker *worker = actor->worker;

    return (struct place){.journal = worker->journal,
                          .rules = &worker->backend->rules,
                          .slot = worker->slot,
                          .thread = actor->thread,
                          .own = own};
}

static uint64_t any(struct actor *actor, uint64_t limit)
{
    return random_below(&actor->random, limit);
}

static struct place any_place(struct actor *actor)
{
    return actor_place(actor, (unsigned)any(actor, OWN));
}

void actor_complain(const struct actor *actor, const struct place *place, enum op op,
                    int status, const char *wrong)
{
    char name[STREAM_ROOM];

    stream_name(name, place->slot, place->thread, place->own);
    model_print(place);
    (void)fprintf(stderr, "soak: the store was opened with %s\n",
                  actor->worker->settings.json);
    violation(actor->worker->journal, place->slot, "%s: stream '%.60s': %s: %s%s%s",
              op_name(op), name, mako_status_name(status), wrong,
              status == MAKO_OK ? "" : ": ", status == MAKO_OK ? "" : actor->err.text);
}

/* ---- failures -------------------------------------------------------------------------
 */

void actor_starve(struct actor *actor)
{
    actor->starved = false;
    actor->err.text[0] = '\0';
    actor->starving = any(actor, STARVE_ONE_IN) == 0;
    if (!actor->starving)
        return;
    (void)atomic_fetch_add(&actor->worker->starving, 1);
    heap_fail(1 + (long)any(actor, 12), any(actor, 2) ? 1 : HEAP_FOREVER);
}

void actor_feed(struct actor *actor)
{
    if (!actor->starving)
        return;
    actor->starved = heap_heal();
    actor->starving = false;
    atomic_store(&actor->worker->starved_ms, now_ms());
    (void)atomic_fetch_sub(&actor->worker->starving, 1);
}

/* A thread that writes for others fails them as well. */
static bool is_anyone_starved(const struct worker *worker, int64_t began_ms)
{
    return atomic_load(&worker->starving) > 0 ||
           atomic_load(&worker->starved_ms) >= began_ms;
}

bool worker_excused(const struct worker *worker, int64_t began_ms)
{
    const struct journal *journal = worker->journal;

    return atomic_load(&journal->faulty) ||
           atomic_load(&journal->fault_end_ms) + worker->backend->grace_ms >= began_ms;
}

/* A failure of the store, not of the program or the plugin. */
static bool may_ever_be(enum op op, int status)
{
    return status == MAKO_E_IO || status == MAKO_E_NO_SPACE ||
           status == MAKO_E_UNAVAILABLE || status == MAKO_E_NOMEM ||
           (status == MAKO_E_LIMIT && (op == OP_SAVE || op == OP_SAVE_MANY)) ||
           (status == MAKO_E_CONFIG && op == OP_OPEN) ||
           (status == MAKO_E_CALLBACK && (op == OP_PROCESS || op == OP_TAKE));
}

static void check_failure(struct actor *actor, enum op op, int status, int64_t began_ms)
{
    const struct worker *worker = actor->worker;
    bool starved = (actor->starved && status == MAKO_E_CALLBACK) ||
                   (status == MAKO_E_NOMEM && is_anyone_starved(worker, began_ms));

    if (!may_ever_be(op, status) || actor->err.text[0] == '\0')
        violation(worker->journal, worker->slot, "%s: %s: %s", op_name(op),
                  mako_status_name(status), actor->err.text);
    if (status == MAKO_E_LIMIT)
        return; /* the model knows */
    if (starved) {
        (void)atomic_fetch_add(&worker->journal->starved, 1);
        return;
    }
    if (worker->backend->fallible && worker_excused(worker, began_ms))
        return;
    (void)atomic_fetch_add(&worker->journal->unexplained, 1);
    if (worker->backend->explained)
        violation(worker->journal, worker->slot, "%s fails without a cause: %s: %s",
                  op_name(op), mako_status_name(status), actor->err.text);
}

void actor_count(struct actor *actor, enum op op, int status, int64_t began_ms)
{
    struct worker *worker = actor->worker;

    count(worker->journal, op, status);
    atomic_store(&worker->journal->slots[worker->slot].alive_ms, now_ms());
    if (status < 0)
        check_failure(actor, op, status, began_ms);
}

/* ---- bytes ----------------------------------------------------------------------------
 */

/* What is wrong with the bytes of a snapshot; NULL: nothing. */
static const char *check_bytes(const struct actor *actor, const struct place *place,
                               const mako_snapshot *snapshot)
{
    uint64_t version = mako_snapshot_anchor(snapshot);
    size_t len;
    const void *state = mako_snapshot_state(snapshot, &len);

    if (len != state_size(place, version))
        return "has another length than was saved";
    state_make(place, version, actor->expected);
    return memcmp(state, actor->expected, len) == 0 ? NULL : "has altered bytes";
}

static void let_go(struct actor *actor, struct held *held)
{
    const char *wrong;

    if (!held->snapshot)
        return;
    wrong = check_bytes(actor, &held->place, held->snapshot);
    if (wrong)
        actor_complain(actor, &held->place, OP_LOAD, MAKO_OK, wrong);
    mako_snapshot_unref(held->snapshot);
    held->snapshot = NULL;
    (void)atomic_fetch_add(&actor->worker->journal->snapshots, 1);
}

void actor_free(struct actor *actor)
{
    for (unsigned i = 0; i < HELD; i++)
        let_go(actor, &actor->held[i]);
    free(actor->bytes);
    free(actor->expected);
}

/* Look at its bytes, and keep it or let it go. */
static void receive(struct actor *actor, const struct place *place, enum op op,
                    mako_snapshot *snapshot)
{
    const char *wrong = check_bytes(actor, place, snapshot);
    struct held *held = &actor->held[any(actor, HELD)];

    if (wrong)
        actor_complain(actor, place, op, MAKO_OK, wrong);
    if (any(actor, 4) != 0) {
        mako_snapshot_unref(snapshot);
        return;
    }
    let_go(actor, held);
    *held = (struct held){.snapshot = snapshot, .place = *place};
}

/* ---- saves and removals ---------------------------------------------------------------
 */

/* A change that was announced. */
struct order {
    struct place place;
    char name[STREAM_ROOM];
    uint64_t version;
    struct mako_save save;
};

/* Mostly newer than what is there; else late, as late as what is there, or by force. */
static uint64_t any_seq(struct actor *actor, const struct place *place, bool *forced)
{
    const struct stream *stream =
        &place->journal->slots[place->slot].streams[place->thread][place->own];
    uint64_t high = stream->high, kind = any(actor, 20);

    *forced = kind >= 17;
    if (kind < 14)
        return high + 1 + any(actor, 3);
    if (*forced || high == 0)
        return 1 + any(actor, high + 2);
    return high > 1 && kind < 16 ? high - 1 : high;
}

static void order_save(struct actor *actor, struct order *order, unsigned char *bytes)
{
    struct place place = any_place(actor);
    bool forced;
    uint64_t seq = any_seq(actor, &place, &forced);
    uint32_t schema = 1 + (uint32_t)any(actor, SCHEMAS);
    uint32_t flags = forced ? MAKO_SAVE_FORCE : 0;

    order->place = place;
    stream_name(order->name, place.slot, place.thread, place.own);
    order->version = model_begin(&place, seq, schema, false,
                                 forced || actor->worker->settings.replaces);
    state_make(&place, order->version, bytes);
    order->save = (struct mako_save){.struct_size = sizeof order->save,
                                     .flags = flags,
                                     .seq = seq,
                                     .anchor = order->version,
                                     .schema = schema,
                                     .kind = KIND,
                                     .state = bytes,
                                     .state_len = state_size(&place, order->version)};
}

static void settle(struct actor *actor, const struct order *order, enum op op, int status,
                   int64_t began_ms)
{
    const char *wrong = model_end(&order->place, order->version, began_ms, status,
                                  actor->worker->settings.max_snapshot);

    if (wrong)
        actor_complain(actor, &order->place, op, status, wrong);
    actor_count(actor, op, status, began_ms);
}

static void save_one(struct actor *actor)
{
    struct order order;
    int64_t began_ms = now_ms();
    int status;

    order_save(actor, &order, actor->bytes);
    actor_starve(actor);
    status = mako_store_save(actor->worker->store, order.name, &order.save, &actor->err);
    actor_feed(actor);
    settle(actor, &order, OP_SAVE, status, began_ms);
}

static void remove_one(struct actor *actor)
{
    struct order order = {.place = any_place(actor)};
    int64_t began_ms = now_ms();
    int status;

    stream_name(order.name, order.place.slot, order.place.thread, order.place.own);
    order.version = model_begin(&order.place, 0, 0, true, false);
    actor_starve(actor);
    status = mako_store_remove(actor->worker->store, order.name, &actor->err);
    actor_feed(actor);
    settle(actor, &order, OP_REMOVE, status, began_ms);
}

struct batch {
    struct order orders[BATCH_MAX];
    const char *names[BATCH_MAX];
    const struct mako_save *saves[BATCH_MAX];
    unsigned char *bytes[BATCH_MAX];
    int statuses[BATCH_MAX];
};

static void free_batch(struct batch *batch)
{
    for (unsigned i = 0; i < BATCH_MAX; i++)
        free(batch->bytes[i]);
    free(batch);
}

static struct batch *make_batch(void)
{
    struct batch *batch = calloc(1, sizeof *batch);

    if (!batch)
        abort();
    for (unsigned i = 0; i < BATCH_MAX; i++) {
        batch->bytes[i] = malloc(STATE_MAX);
        if (!batch->bytes[i])
            abort();
        batch->names[i] = batch->orders[i].name;
        batch->saves[i] = &batch->orders[i].save;
    }
    return batch;
}

static void save_many(struct actor *actor)
{
    struct batch *batch = make_batch();
    size_t number = 1 + (size_t)any(actor, BATCH_MAX);
    int64_t began_ms = now_ms();
    int status;

    for (size_t i = 0; i < number; i++)
        order_save(actor, &batch->orders[i], batch->bytes[i]);
    actor_starve(actor);
    status = mako_store_save_many(actor->worker->store, batch->names, batch->saves,
                                  number, batch->statuses, &actor->err);
    actor_feed(actor);
    for (size_t i = 0; i < number; i++)
        settle(actor, &batch->orders[i], OP_SAVE_MANY,
               status == MAKO_OK ? batch->statuses[i] : status, began_ms);
    free_batch(batch);
}

/* ---- loads of what nobody else changes ------------------------------------------------
 */

static void widen(const struct worker *worker, struct question *question, uint32_t min,
                  uint32_t max)
{
    const struct settings *own = &worker->settings;

    question->expect.schema_min = min;
    question->expect.schema_max = max;
    if (min == 0) {
        min = own->schema_min;
        max = own->schema_max;
    }
    question->schema_min = own->schema_min > min ? own->schema_min : min;
    question->schema_max =
        own->schema_max != 0 && own->schema_max < max ? own->schema_max : max;
}

/* Everything that the store lets through. */
static struct question plain_question(const struct worker *worker)
{
    struct question question = {.expect = {.struct_size = sizeof question.expect},
                                .max_snapshot = worker->settings.max_snapshot};

    widen(worker, &question, 1, SCHEMAS);
    return question;
}

static struct question any_question(struct actor *actor, const struct place *place)
{
    struct question question = plain_question(actor->worker);
    bool sure;

    switch (any(actor, 8)) {
    case 0:
        widen(actor->worker, &question, 2, 3);
        break;
    case 1:
        if (actor->worker->settings.schema_min != 0)
            widen(actor->worker, &question, 0, 0);
        break;
    case 2:
        question.expect.kind = any(actor, 3) == 0 ? "something else" : KIND;
        break;
    case 3:
        question.expect.flags = MAKO_EXPECT_HEAD;
        question.expect.head = model_kept(place, &sure).seq + any(actor, 3);
        question.expect.head -= question.expect.head > 0;
        break;
    default:
        break;
    }
    return question;
}

/* What was loaded, as the model wants it. */
static struct answer answer_of(int status, const struct mako_meta *found,
                               const mako_snapshot *snapshot, int64_t asked_ms)
{
    bool told = status == MAKO_OK || status == MAKO_SCHEMA_OLDER ||
                status == MAKO_SCHEMA_NEWER || status == MAKO_AHEAD ||
                status == MAKO_FOREIGN;

    return (struct answer){.status = status,
                           .meta = told ? *found : (struct mako_meta){.seq = 0},
                           .anchor = snapshot ? mako_snapshot_anchor(snapshot) : 0,
                           .asked_ms = asked_ms};
}

/* An answer about a stream of the actor's own has come. */
static void judge(struct actor *actor, const struct place *place, enum op op,
                  const struct question *question, const struct answer *answer,
                  mako_snapshot *snapshot)
{
    const char *wrong = NULL;

    actor_count(actor, op, answer->status, answer->asked_ms);
    if (answer->status >= 0)
        wrong = model_answer(place, question, answer);
    if (wrong) {
        (void)fprintf(stderr, "soak: it is version %llu with sequence %llu, schema %u\n",
                      (unsigned long long)answer->anchor,
                      (unsigned long long)answer->meta.seq,
                      (unsigned)answer->meta.schema);
        actor_complain(actor, place, op, answer->status, wrong);
    }
    if (snapshot)
        receive(actor, place, op, snapshot);
}

static void load_from(struct actor *actor, mako_store *store, const struct place *place,
                      enum op op, const struct question *question)
{
    mako_snapshot *snapshot = NULL;
    struct mako_meta found = {.seq = 0};
    struct answer answer;
    char name[STREAM_ROOM];
    int64_t began_ms = now_ms();
    int status;

    stream_name(name, place->slot, place->thread, place->own);
    actor_starve(actor);
    status =
        mako_store_load(store, name, &question->expect, &snapshot, &found, &actor->err);
    actor_feed(actor);
    answer = answer_of(status, &found, snapshot, began_ms);
    judge(actor, place, op, question, &answer, snapshot);
}

static void load_one(struct actor *actor)
{
    struct place place = any_place(actor);
    struct question question = any_question(actor, &place);

    load_from(actor, actor->worker->store, &place, OP_LOAD, &question);
}

void actor_sweep(struct actor *actor)
{
    struct question question = plain_question(actor->worker);

    for (unsigned own = 0; own < OWN; own++) {
        struct place place = actor_place(actor, own);

        load_from(actor, actor->worker->store, &place, OP_LOAD, &question);
    }
}

struct asked {
    struct place places[BATCH_MAX];
    struct question questions[BATCH_MAX];
    char names[BATCH_MAX][STREAM_ROOM];
    const char *streams[BATCH_MAX];
    const struct mako_expect *expects[BATCH_MAX];
    mako_snapshot *snapshots[BATCH_MAX];
    struct mako_meta found[BATCH_MAX];
    int statuses[BATCH_MAX];
};

static void ask(struct actor *actor, struct asked *asked, size_t number)
{
    memset(asked, 0, sizeof *asked);
    for (size_t i = 0; i < number; i++) {
        struct place place = any_place(actor);

        asked->places[i] = place;
        asked->questions[i] = any_question(actor, &place);
        stream_name(asked->names[i], place.slot, place.thread, place.own);
        asked->streams[i] = asked->names[i];
        asked->expects[i] = &asked->questions[i].expect;
    }
}

static void load_many(struct actor *actor)
{
    struct asked asked;
    size_t number = 1 + (size_t)any(actor, BATCH_MAX);
    int64_t began_ms = now_ms();
    int status;

    ask(actor, &asked, number);
    actor_starve(actor);
    status =
        mako_store_load_many(actor->worker->store, asked.streams, asked.expects, number,
                             asked.snapshots, asked.found, asked.statuses, &actor->err);
    actor_feed(actor);
    for (size_t i = 0; i < number; i++) {
        struct answer answer =
            answer_of(status == MAKO_OK ? asked.statuses[i] : status, &asked.found[i],
                      status == MAKO_OK ? asked.snapshots[i] : NULL, began_ms);

        judge(actor, &asked.places[i], OP_LOAD_MANY, &asked.questions[i], &answer,
              status == MAKO_OK ? asked.snapshots[i] : NULL);
    }
}

static void peek_one(struct actor *actor)
{
    struct place place = any_place(actor);
    struct question question = {.peek = true};
    struct answer answer = {.asked_ms = now_ms()};
    char name[STREAM_ROOM];

    stream_name(name, place.slot, place.thread, place.own);
    actor_starve(actor);
    answer.status =
        mako_store_peek(actor->worker->store, name, &answer.meta, &actor->err);
    actor_feed(actor);
    judge(actor, &place, OP_PEEK, &question, &answer, NULL);
}

/* ---- loads of what others change ------------------------------------------------------
 */

static void load_others(struct actor *actor)
{
    struct question question = plain_question(actor->worker);
    struct place place = any_place(actor);
    mako_snapshot *snapshot = NULL;
    struct mako_meta found = {.seq = 0};
    char name[STREAM_ROOM];
    struct answer answer;
    uint64_t before;
    const char *wrong = NULL;

    place.thread = (unsigned)any(actor, THREADS);
    stream_name(name, place.slot, place.thread, place.own);
    before = model_floor(&place);
    answer.asked_ms = now_ms();
    actor_starve(actor);
    answer.status = mako_store_load(actor->worker->store, name, &question.expect,
                                    &snapshot, &found, &actor->err);
    actor_feed(actor);
    answer = answer_of(answer.status, &found, snapshot, answer.asked_ms);
    actor_count(actor, OP_LOAD_OTHERS, answer.status, answer.asked_ms);
    if (answer.status == MAKO_OK || answer.status == MAKO_NOT_FOUND)
        wrong = model_glance(&place, &answer, before);
    else if (answer.status == MAKO_DAMAGED)
        wrong = "is damaged";
    if (wrong)
        actor_complain(actor, &place, OP_LOAD_OTHERS, answer.status, wrong);
    if (snapshot)
        receive(actor, &place, OP_LOAD_OTHERS, snapshot);
}

/* A second opening, which only reads. */
static void look_beside(struct actor *actor)
{
    const struct worker *worker = actor->worker;
    struct mako_source source = {.struct_size = sizeof source,
                                 .flags = MAKO_SOURCE_READ_ONLY,
                                 .json = worker->settings.json,
                                 .json_len = strlen(worker->settings.json)};
    struct question question = plain_question(worker);
    mako_store *store = NULL;
    int64_t began_ms = now_ms();
    int status;

    question.beside = true;
    actor->starved = false;
    status = mako_store_open_source(&source, &store, &actor->err);
    if (status != MAKO_OK)
        actor_count(actor, OP_OPEN, status, began_ms);
    for (unsigned i = 0; status == MAKO_OK && i < LOOKED_AT; i++) {
        struct place place = any_place(actor);

        load_from(actor, store, &place, OP_LOAD_BESIDE, &question);
    }
    mako_store_unref(store);
}

/* ---- streams that all save ------------------------------------------------------------
 */

static struct common *any_common(struct actor *actor, char *name, uint64_t *key)
{
    const struct worker *worker = actor->worker;
    unsigned row = worker->backend->shared ? 0 : worker->slot;
    unsigned which = (unsigned)any(actor, COMMON);

    (void)snprintf(name, STREAM_ROOM, "soak/common/%u/%u", row, which);
    *key = random_mix(worker->journal->seed, 1000 + row * COMMON + which);
    return &worker->journal->common[row][which];
}

static void raise_to(_Atomic uint64_t *value, uint64_t least)
{
    uint64_t now = atomic_load(value);

    while (now < least && !atomic_compare_exchange_weak(value, &now, least))
        ;
}

static void save_common(struct actor *actor)
{
    struct worker *worker = actor->worker;
    struct mako_save save = {.struct_size = sizeof save, .schema = 2, .kind = KIND};
    int64_t began_ms = now_ms();
    char name[STREAM_ROOM];
    uint64_t key;
    struct common *common = any_common(actor, name, &key);
    int status;

    if (worker->settings.replaces)
        return; /* the highest would not win */
    save.seq = save.anchor = atomic_fetch_add(&common->tried, 1) + 1;
    save.state = actor->bytes;
    save.state_len = (size_t)(save.seq % COMMON_SIZE);
    content_make(actor->bytes, save.state_len, key + save.seq);
    actor_starve(actor);
    status = mako_store_save(worker->store, name, &save, &actor->err);
    actor_feed(actor);
    actor_count(actor, OP_SAVE_COMMON, status, began_ms);
    if (status == MAKO_OK && worker->backend->rules.keeps)
        raise_to(&common->acknowledged, save.seq);
}

static void check_common(struct actor *actor, const struct common *common,
                         const char *name, uint64_t key, uint64_t floor, int64_t asked_ms,
                         const mako_snapshot *snapshot)
{
    struct journal *journal = actor->worker->journal;
    uint64_t seq = mako_snapshot_meta(snapshot).seq;
    size_t len;
    const void *state = mako_snapshot_state(snapshot, &len);

    if ((seq < floor &&
         !model_is_loose(journal, &actor->worker->backend->rules, asked_ms)) ||
        seq > common->tried)
        violation(journal, actor->worker->slot,
                  "%s shows sequence %llu; acknowledged was %llu, begun %llu", name,
                  (unsigned long long)seq, (unsigned long long)floor,
                  (unsigned long long)common->tried);
    content_make(actor->expected, seq % COMMON_SIZE, key + seq);
    if (len != seq % COMMON_SIZE || mako_snapshot_anchor(snapshot) != seq ||
        memcmp(state, actor->expected, len) != 0)
        violation(journal, actor->worker->slot, "%s has altered bytes at sequence %llu",
                  name, (unsigned long long)seq);
}

static void load_common(struct actor *actor)
{
    struct worker *worker = actor->worker;
    struct question question = plain_question(worker);
    mako_snapshot *snapshot = NULL;
    int64_t began_ms = now_ms();
    char name[STREAM_ROOM];
    uint64_t key;
    struct common *common = any_common(actor, name, &key);
    uint64_t floor = atomic_load(&common->acknowledged);
    int status;

    actor_starve(actor);
    status = mako_store_load(worker->store, name, &question.expect, &snapshot, NULL,
                             &actor->err);
    actor_feed(actor);
    actor_count(actor, OP_LOAD_COMMON, status, began_ms);
    if (status == MAKO_NOT_FOUND
            ? floor != 0 &&
                  !model_is_loose(worker->journal, &worker->backend->rules, began_ms)
            : status > 0)
        violation(worker->journal, worker->slot, "%s: %s; acknowledged was %llu", name,
                  actor->err.text, (unsigned long long)floor);
    if (snapshot)
        check_common(actor, common, name, key, floor, began_ms, snapshot);
    mako_snapshot_unref(snapshot);
}

/* ---- the whole store ------------------------------------------------------------------
 */

struct listing {
    struct actor *actor;
    char names[OWN][STREAM_ROOM];
    struct mako_meta found[OWN];
};

static bool list_one(void *arg, struct mako_str stream, const struct mako_meta *meta,
                     uint64_t size)
{
    struct listing *listing = arg;
    unsigned own = 0;

    while (own < OWN && (strlen(listing->names[own]) != stream.len ||
                         memcmp(listing->names[own], stream.ptr, stream.len) != 0))
        own++;
    if (own == OWN || size == 0)
        violation(listing->actor->worker->journal, listing->actor->worker->slot,
                  "a scan lists '%.80s' of %llu bytes, which nobody saved", stream.ptr,
                  (unsigned long long)size);
    listing->found[own] = *meta;
    return true;
}

static void check_listing(struct actor *actor, const struct listing *listing,
                          int64_t began_ms)
{
    struct question question = {.peek = true};

    for (unsigned own = 0; own < OWN; own++) {
        struct place place = actor_place(actor, own);
        struct answer answer = {.status =
                                    listing->found[own].seq ? MAKO_OK : MAKO_NOT_FOUND,
                                .meta = listing->found[own],
                                .asked_ms = began_ms};
        const char *wrong = model_answer(&place, &question, &answer);

        if (wrong)
            actor_complain(actor, &place, OP_SCAN, answer.status, wrong);
    }
}

static void scan(struct actor *actor)
{
    struct worker *worker = actor->worker;
    struct listing *listing = calloc(1, sizeof *listing);
    int64_t began_ms = now_ms();
    char prefix[40];
    int status;

    if (!listing)
        abort();
    listing->actor = actor;
    for (unsigned own = 0; own < OWN; own++)
        stream_name(listing->names[own], worker->slot, actor->thread, own);
    (void)snprintf(prefix, sizeof prefix, "soak/%u/%u/", worker->slot, actor->thread);
    actor->starved = false;
    status = mako_store_scan(worker->store, prefix, list_one, listing, &actor->err);
    actor_count(actor, OP_SCAN, status, began_ms);
    if (status == MAKO_OK)
        check_listing(actor, listing, began_ms);
    free(listing);
}

static void compact(struct actor *actor)
{
    int64_t began_ms = now_ms();
    int status = MAKO_OK;

    if (!actor->worker->backend->compacts)
        return;
    actor->starved = false;
    status = mako_store_compact(actor->worker->store, NULL, NULL, &actor->err);
    actor_count(actor, OP_COMPACT, status, began_ms);
}

static void take_counter(void *arg, const char *name, uint64_t value)
{
    const struct actor *actor = arg;

    if (strcmp(name, "plugin.damaged") == 0 && value != 0)
        violation(actor->worker->journal, actor->worker->slot,
                  "%llu streams are said to be damaged", (unsigned long long)value);
}

static void stats(struct actor *actor)
{
    int64_t began_ms = now_ms();
    int status;

    actor->starved = false;
    status = mako_store_stats(actor->worker->store, take_counter, actor, &actor->err);
    actor_count(actor, OP_STATS, status, began_ms);
}

/* ---- which ----------------------------------------------------------------------------
 */

struct choice {
    unsigned weight;
    void (*act)(struct actor *actor);
};

static const struct choice choices[] = {
    {30, save_one}, {8, save_many}, {10, save_common}, {6, remove_one},
    {16, load_one}, {5, load_many}, {8, load_others},  {6, load_common},
    {4, peek_one},  {1, scan},      {1, stats},        {6, actor_process},
};

void actor_act(struct actor *actor)
{
    uint64_t number = any(actor, 101);
    unsigned at = 0;

    if (any(actor, 600) == 0) {
        compact(actor);
        return;
    }
    if (any(actor, 200) == 0) {
        if (strcmp(actor->worker->backend->plugin, "memory") != 0)
            look_beside(actor);
        return;
    }
    for (; number >= choices[at].weight; at++)
        number -= choices[at].weight;
    choices[at].act(actor);
}

/* The model test: random histories of one aggregate over process.h, each state compared
 * with the plain fold of its log, and each outcome with what a simple model of the store
 * says must come.
 *
 *     model CONFIGURATION HISTORIES [SEED]
 *
 * A history appends, rolls the log back, lets it grow again, takes snapshots, restarts
 * the process and the store, and changes schemas, in both modes of process.h.  Where the
 * store is the test plugin "probe" it is also damaged: bits flip, older records and
 * another stream's bytes are served, loads and saves fail. */
#include "../unit/plugins/probe.h"
#include "cases.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include <mako/process.h>

enum {
    LOG_MAX = 80,
    STEPS = 14,
    SCHEMA_MAX = 4,
    INTERVAL = 5
};

static struct probe probe = PROBE_INITIAL;

/* ---- the application ------------------------------------------------------------------
 */

/* The fold: order matters, and no two histories give the same. */
struct fold {
    uint64_t hash, count;
};

/* What the model says is in the store. */
struct stored {
    bool there;
    uint64_t seq, anchor;
    uint32_t schema;
    struct fold fold;
    int damage; /* MAKO_OK, or how a load calls it */
};

struct world {
    struct trial *t;
    uint64_t random;
    char stream[40];
    uint64_t log[LOG_MAX];
    uint64_t head;
    struct mako_aggregate aggregate;
    bool pushes, decode_fails;
    mako_process *process;
    struct stored stored, older;
    uint64_t last; /* the policy's, as process.h must keep it */
    bool heal;
    bool knows_stored; /* the process, from its load or its last save: */
    uint64_t known_seq;
    uint32_t known_schema;
    const char *step; /* for complaints */
};

static uint64_t mix(uint64_t v)
{
    v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9u;
    v = (v ^ v >> 27) * 0x94d049bb133111ebu;
    return v ^ v >> 31;
}

static uint64_t any(struct world *w, uint64_t below)
{
    w->random += 0x9e3779b97f4a7c15u;
    return mix(w->random) % below;
}

static void fold_in(struct fold *fold, uint64_t body)
{
    fold->hash = mix(fold->hash ^ mix(body));
    fold->count++;
}

static struct fold plain_fold(const struct world *w, uint64_t upto)
{
    struct fold fold = {0, 0};

    for (uint64_t i = 0; i < upto; i++)
        fold_in(&fold, w->log[i]);
    return fold;
}

static uint64_t anchor_at(const struct world *w, uint64_t seq)
{
    return mix(w->log[seq - 1] + seq) | 1;
}

static struct mako_event event_at(const struct world *w, uint64_t seq)
{
    return (struct mako_event){
        .seq = seq, .anchor = anchor_at(w, seq), .body = &w->log[seq - 1]};
}

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
    (void)app, (void)err;
    fold_in(state, *(const uint64_t *)event->body);
    return 0;
}

/* Each schema writes in its own way: read as another it is another state. */
static int encode(void *app, const void *state, mako_bytes *out, struct mako_error *err)
{
    const struct world *w = app;
    const struct fold *fold = state;
    uint64_t words[2] = {fold->hash + w->aggregate.schema,
                         fold->count * 2 * w->aggregate.schema};

    if (mako_bytes_put(out, words, sizeof words) != MAKO_OK)
        return mako_fail(err, MAKO_E_CALLBACK, "no memory");
    return 0;
}

static int decode(void *app, uint32_t schema, const void *bytes, size_t len, void **state,
                  struct mako_error *err)
{
    const struct world *w = app;
    uint64_t words[2];
    struct fold *fold;

    if (w->decode_fails || len != sizeof words)
        return mako_fail(err, MAKO_E_CALLBACK, "will not decode");
    fold = malloc(sizeof *fold);
    if (!fold)
        return mako_fail(err, MAKO_E_CALLBACK, "no memory");
    memcpy(words, bytes, sizeof words);
    *fold = (struct fold){words[0] - schema, words[1] / 2 / schema};
    *state = fold;
    return 0;
}

static int read_log(void *app, const char *stream, uint64_t from, mako_feed *feed,
                    struct mako_error *err)
{
    const struct world *w = app;

    (void)stream, (void)err;
    for (uint64_t seq = from; seq <= w->head; seq++) {
        struct mako_event event = event_at(w, seq);
        int status = mako_feed_event(feed, &event);

        if (status != MAKO_OK)
            return status;
    }
    return 0;
}

/* ---- what must come
 * ---------------------------------------------------------------------- */

static enum verdict wrong(struct world *w, const char *what, int got, int want)
{
    return trial_fail(w->t, __FILE__, __LINE__,
                      "%s: %s: %s is %s, not %s (head %" PRIu64 ", stored %" PRIu64 ")",
                      w->stream, w->step, what, mako_status_name(got),
                      mako_status_name(want), w->head, w->stored.seq);
}

/* State and sequence are those of the plain fold, always. */
static enum verdict state_is_right(struct world *w)
{
    struct trial *t = w->t;
    const struct fold *state = mako_process_state(w->process);
    struct fold want = plain_fold(w, w->head);

    CHECKF(mako_process_seq(w->process) == w->head,
           "%s: %s: sequence %" PRIu64 " of %" PRIu64, w->stream, w->step,
           mako_process_seq(w->process), w->head);
    CHECKF(state && state->hash == want.hash && state->count == want.count,
           "%s: %s: a wrong state at %" PRIu64, w->stream, w->step, w->head);
    return PASS;
}

/* How the load of what is stored must be called, before anything is known of the log. */
static int load_must_say(const struct world *w)
{
    const struct stored *s = &w->stored;
    const struct mako_aggregate *a = &w->aggregate;

    if (probe.orders.load != MAKO_OK)
        return probe.orders.load;
    if (!s->there)
        return MAKO_NOT_FOUND;
    if (s->schema > a->schema)
        return MAKO_SCHEMA_NEWER;
    if (s->schema < a->schema_oldest)
        return MAKO_SCHEMA_OLDER;
    if (s->damage != MAKO_OK)
        return s->damage;
    return w->decode_fails ? MAKO_DAMAGED : MAKO_OK;
}

static int log_must_say(const struct world *w)
{
    if (w->stored.seq > w->head)
        return MAKO_AHEAD;
    return anchor_at(w, w->stored.seq) == w->stored.anchor ? MAKO_OK : MAKO_DIVERGED;
}

/* What the process knows of the store. */
static void expect_knowledge(struct world *w, bool loaded)
{
    bool good = loaded && w->stored.there && w->stored.damage == MAKO_OK;

    w->knows_stored = loaded;
    w->known_seq = good ? w->stored.seq : 0;
    w->known_schema = good ? w->stored.schema : 0;
}

static void expect_policy(struct world *w, int status)
{
    w->last = status == MAKO_OK || status == MAKO_SCHEMA_NEWER ? w->stored.seq : 0;
    w->heal = w->heal || status == MAKO_AHEAD || status == MAKO_DIVERGED ||
              status == MAKO_DAMAGED;
}

/* ---- steps
 * --------------------------------------------------------------------------------- */

/* Push what there is from the process's next event on, beginning anew where told. */
static enum verdict push_all(struct world *w, uint64_t from)
{
    struct mako_error err = {""};
    int restarts = 0, status;

    for (uint64_t seq = from; seq <= w->head; seq++) {
        struct mako_event event = event_at(w, seq);

        status = mako_process_push(w->process, &event, &err);
        if (status == MAKO_DIVERGED && restarts++ == 0)
            seq = 0;
        else if (status != MAKO_OK)
            return wrong(w, "push", status, MAKO_OK);
    }
    status = mako_process_end(w->process, w->head, &err);
    if (status == MAKO_AHEAD && restarts == 0)
        return push_all(w, 1);
    return status == MAKO_OK ? PASS : wrong(w, "end", status, MAKO_OK);
}

static enum verdict open_process(struct world *w)
{
    struct mako_how how = {.struct_size = sizeof how};
    struct mako_error err = {""};
    int want = load_must_say(w), status;

    if (want == MAKO_OK)
        want = log_must_say(w);
    w->heal = false;
    expect_policy(w, want);
    expect_knowledge(w, probe.orders.load == MAKO_OK);
    status =
        mako_process_open(w->t->store, &w->aggregate, w->stream, w, &w->process, &err);
    if (status != MAKO_OK)
        return wrong(w, err.text, status, MAKO_OK);
    if (w->pushes)
        TRY(push_all(w, 1));
    mako_process_how(w->process, &how);
    if (how.snapshot != want)
        return wrong(w, "the snapshot", how.snapshot, want);
    return state_is_right(w);
}

static void close_process(struct world *w)
{
    mako_process_close(w->process);
    w->process = NULL;
}

/* Everything about the next life that may differ from the last. */
static void choose_life(struct world *w)
{
    bool fails = any(w, 12) == 0, fails_to_load = any(w, 20) == 0;

    w->pushes = any(w, 2);
    w->aggregate.schema = (uint32_t)any(w, SCHEMA_MAX) + 1;
    if (any(w, 4))
        w->aggregate.schema = w->stored.there ? w->stored.schema : 1;
    w->aggregate.schema_oldest = w->aggregate.schema - (uint32_t)any(w, 2);
    if (w->aggregate.schema_oldest == 0)
        w->aggregate.schema_oldest = 1;
    w->aggregate.read = w->pushes ? NULL : read_log;
    w->decode_fails = fails;
    probe.orders.load = probe.opens > 0 && fails_to_load ? MAKO_E_IO : MAKO_OK;
}

static enum verdict live_again(struct world *w)
{
    enum verdict verdict;

    choose_life(w);
    verdict = open_process(w);
    w->decode_fails = false;
    probe.orders.load = MAKO_OK;
    return verdict;
}

static enum verdict reopen_store(struct world *w)
{
    struct trial *t = w->t;

    TRY(trial_reopen(t));
    if (!outlives(t))
        w->stored.there = w->older.there = false;
    return PASS;
}

static enum verdict step_restart(struct world *w)
{
    w->step = "restart";
    close_process(w);
    if (any(w, 3) == 0)
        TRY(reopen_store(w));
    return live_again(w);
}

static void grow(struct world *w, uint64_t count)
{
    for (; count > 0 && w->head < LOG_MAX; count--) {
        w->random++;
        w->log[w->head++] = mix(w->random ^ 0x5bd1e995u);
    }
}

static enum verdict catch_up(struct world *w, bool noticed)
{
    struct mako_error err = {""};
    int status;

    if (w->pushes)
        return push_all(w, mako_process_seq(w->process) + 1);
    status = mako_process_catch_up(w->process, &err);
    if (status != MAKO_OK)
        return wrong(w, err.text, status, MAKO_OK);
    if (noticed)
        expect_policy(w, MAKO_DIVERGED);
    return PASS;
}

static enum verdict step_append(struct world *w)
{
    w->step = "append";
    grow(w, any(w, 9) + 1);
    TRY(catch_up(w, false));
    return state_is_right(w);
}

/* Cut the log, perhaps let it grow otherwise; under a live process where that reads by
 * itself, between two lives where it is pushed to. */
static enum verdict step_roll_back(struct world *w)
{
    uint64_t before = mako_process_seq(w->process), cut;
    bool live = !w->pushes && any(w, 2);

    w->step = live ? "rolled back under the process" : "rolled back";
    if (!live)
        close_process(w);
    cut = any(w, w->head + 1);
    w->head = cut;
    if (any(w, 3))
        grow(w, any(w, 20));
    if (!live)
        return live_again(w);
    TRY(catch_up(w, before > cut));
    return state_is_right(w);
}

/* Something is stored that the process did not find wrong. */
static bool is_good_news(const struct world *w)
{
    return w->stored.damage == MAKO_OK && w->knows_stored &&
           (w->stored.seq != w->known_seq || w->stored.schema != w->known_schema);
}

static int take_must_say(const struct world *w, bool now)
{
    uint64_t since = w->head > w->last ? w->head - w->last : 0;

    if (w->head == 0 || !(now || since >= INTERVAL))
        return MAKO_NOT_DUE;
    if (probe.orders.save != MAKO_OK)
        return probe.orders.save;
    if (!w->stored.there || w->stored.seq <= w->head)
        return MAKO_OK;
    return w->heal && !is_good_news(w) ? MAKO_OK : MAKO_STALE;
}

static void remember_save(struct world *w)
{
    w->older = w->stored;
    w->stored = (struct stored){.there = true,
                                .seq = w->head,
                                .anchor = anchor_at(w, w->head),
                                .schema = w->aggregate.schema,
                                .fold = plain_fold(w, w->head)};
    w->heal = false;
    expect_knowledge(w, true);
}

static enum verdict step_take(struct world *w)
{
    bool now = any(w, 3) == 0;
    struct mako_error err = {""};
    int want, status;

    w->step = now ? "take now" : "take";
    probe.orders.save = probe.opens > 0 && any(w, 15) == 0 ? MAKO_E_IO : MAKO_OK;
    want = take_must_say(w, now);
    status = mako_process_take(w->process, now ? MAKO_TAKE_NOW : 0, &err);
    probe.orders.save = MAKO_OK;
    if (status != want)
        return wrong(w, err.text, status, want);
    if (status == MAKO_OK)
        remember_save(w);
    if (status == MAKO_OK || status == MAKO_STALE)
        w->last = w->head;
    return state_is_right(w);
}

static enum verdict step_remove(struct world *w)
{
    int status = mako_store_remove(w->t->store, w->stream, NULL);

    w->step = "remove";
    if (status != (w->stored.there ? MAKO_OK : MAKO_NOT_FOUND))
        return wrong(w, "remove", status, MAKO_OK);
    w->stored.there = w->older.there = false;
    return PASS;
}

/* ---- damage: only where the store is ours to reach into
 * ------------------------------------ */

static void flip_a_bit(struct world *w, struct probe_record *record)
{
    size_t bit = any(w, 8 * record->blob_len);

    if (w->stored.damage != MAKO_OK)
        return; /* it may flip back */
    record->blob[bit / 8] ^= (unsigned char)(1u << bit % 8);
    w->stored.damage = bit / 16 == 2 ? MAKO_FOREIGN : MAKO_DAMAGED; /* the format */
}

static void serve_the_older(struct world *w, struct probe_record *record)
{
    struct probe_record *older = record->older;

    if (!older)
        return;
    record->older = NULL;
    free(record->blob);
    record->blob = older->blob;
    record->blob_len = older->blob_len;
    record->meta = older->meta;
    free(older);
    w->stored = w->older;
    w->older.there = false;
}

static void serve_another(struct world *w, struct probe_record *record)
{
    const struct probe_record *other = *probe_find(&probe, "other", 5);

    if (!other || other->blob_len > record->blob_len)
        return;
    memcpy(record->blob, other->blob, other->blob_len);
    record->blob_len = other->blob_len;
    w->stored.damage = MAKO_DAMAGED;
}

static void cut_short(struct world *w, struct probe_record *record)
{
    record->blob_len = any(w, record->blob_len);
    w->stored.damage = MAKO_DAMAGED;
}

static enum verdict step_damage(struct world *w)
{
    static void (*const ways[])(struct world *, struct probe_record *) = {
        flip_a_bit, flip_a_bit, serve_the_older, serve_another, cut_short};
    struct probe_record *record = *probe_find(&probe, w->stream, strlen(w->stream));

    if (record && w->stored.damage == MAKO_OK)
        ways[any(w, sizeof ways / sizeof ways[0])](w, record);
    w->step = "restart after damage";
    if (any(w, 2))
        return PASS;
    close_process(w);
    return live_again(w);
}

/* ---- histories
 * -------------------------------------------------------------------------------- */

static enum verdict history(struct world *w)
{
    static enum verdict (*const steps[])(struct world *) = {
        step_append,    step_append,    step_append,  step_take,
        step_take,      step_take,      step_restart, step_restart,
        step_roll_back, step_roll_back, step_damage,  step_damage};
    const struct mako_save other = save_of(
        (struct sample){.seq = 3, .schema = 1, .state = "sixteen bytes 16", .len = 16});

    w->step = "opening";
    if (mako_store_save(w->t->store, "other", &other, NULL) < 0)
        return wrong(w, "other", MAKO_E_IO, MAKO_OK);
    grow(w, any(w, 12));
    TRY(live_again(w));
    for (int i = 0; i < STEPS; i++) {
        TRY(steps[any(w, sizeof steps / sizeof steps[0])](w));
        if (any(w, 40) == 0)
            TRY(step_remove(w));
    }
    return PASS;
}

static void be_quiet(void *arg, int level, const char *message)
{
    (void)arg, (void)level, (void)message;
}

static unsigned long histories = 100;
static uint64_t seed;

static enum verdict run_histories(struct trial *t)
{
    enum verdict verdict;

    trial_close(t);
    TRY(trial_open_with(t, "\"snapshot_every\": 5, \"replay_limit\": 0"));
    CHECKF(t->info.features & MAKO_FEATURE_IF_NEWER, "%s does not declare IF_NEWER",
           t->info.plugin);
    verdict = PASS;
    for (unsigned long i = 0; i < histories && verdict == PASS; i++) {
        struct world w = {.t = t, .random = mix(seed + i)};

        w.aggregate = (struct mako_aggregate){.struct_size = sizeof w.aggregate,
                                              .kind = "model",
                                              .create = create,
                                              .destroy = destroy,
                                              .apply = apply,
                                              .encode = encode,
                                              .decode = decode};
        (void)snprintf(w.stream, sizeof w.stream, "history/%lu", i);
        verdict = history(&w);
        close_process(&w);
        probe_clear(&probe);
    }
    return verdict;
}

int main(int argc, char **argv)
{
    static const struct test_case all = {"histories", run_histories};
    static struct trial t;
    char address[32];
    enum verdict verdict;

    if (argc < 3 || argc > 4) {
        (void)fprintf(stderr, "usage: model CONFIGURATION HISTORIES [SEED]\n");
        return 2;
    }
    histories = strtoul(argv[2], NULL, 10);
    seed = argc > 3 ? strtoull(argv[3], NULL, 10) : (uint64_t)time(NULL);
    (void)setenv("MAKO_TEST_PROBE", probe_option(&probe, address), 1);
    trial_environment();
    mako_set_log(be_quiet, NULL);
    verdict = case_run(&all, argv[1], &t);
    (void)printf("model: %lu histories, seed %" PRIu64 ": %s%s\n", histories, seed,
                 verdict == PASS ? "none wrong" : "WRONG: ", t.message);
    return verdict == PASS ? 0 : 1;
}

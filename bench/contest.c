/* bench/contest.c - see contest.h. */
#include "contest.h"

#include <stdlib.h>
#include <string.h>

#define FILL_BATCH 1000u
#define FILL_BYTES (16u << 20)

/* ---- states -------------------------------------------------------------------------
 */

/* Words that do not compress; the first three are left for what changes. */
static void make_state(void *state, size_t len)
{
    struct bench_rng rng = bench_rng_make(1024);
    unsigned char *bytes = state;

    for (size_t at = 24; at + 8 <= len; at += 8) {
        uint64_t word = bench_rng_next(&rng);

        memcpy(bytes + at, &word, sizeof word);
    }
}

/* The stream's number, and the sequence twice, so that it adds nothing to the digest.
 * No two saves are the same: SQLite writes nothing where nothing would change. */
static void mark_state(void *state, size_t number, uint64_t seq)
{
    const uint64_t words[] = {number, seq, UINT64_C(0) - seq};

    memcpy(state, words, sizeof words);
}

/* What bench_digest() gives for stream 0; that of another is larger by its number. */
static uint64_t base_digest(size_t len)
{
    struct bench_rng rng = bench_rng_make(1024);
    uint64_t sum = 0;

    for (size_t at = 24; at + 8 <= len; at += 8)
        sum += bench_rng_next(&rng);
    return sum;
}

static int check(const char *name, const char *id, uint64_t digest, uint64_t wanted,
                 struct mako_error *err)
{
    return digest == wanted ? MAKO_OK
                            : mako_fail(err, MAKO_E_PLUGIN,
                                        "%s: '%s' is not what was saved", name, id);
}

/* ---- contenders ---------------------------------------------------------------------
 */

static int add(struct bench_contest *contest, const char *prefix, const char *name,
               struct mako_error *err)
{
    const struct bench_peer *peer = bench_peer_find(name);
    struct bench_contender *contender = &contest->list[contest->count];
    char leaf[64];

    if (!peer)
        return MAKO_OK;
    if (contest->count == BENCH_CONTENDERS_MAX)
        return mako_fail(err, MAKO_E_LIMIT, "too many contenders");
    (void)snprintf(leaf, sizeof leaf, "%s-%s", prefix, name);
    *contender = (struct bench_contender){.peer = peer,
                                          .dir = bench_path(contest->bench->dir, leaf)};
    if (!contender->dir)
        return mako_fail(err, MAKO_E_NOMEM, "no memory for a path");
    contest->count++;
    return MAKO_OK;
}

int bench_contest_begin(struct bench_contest *contest, const char *prefix,
                        const char *const *names, struct mako_error *err)
{
    int status = MAKO_OK;

    contest->seq = 1;
    for (; *names && status == MAKO_OK; names++)
        status = add(contest, prefix, *names, err);
    return status;
}

static struct bench_peer_use use_of(const struct bench_contest *contest,
                                    const struct bench_contender *contender, bool durable,
                                    size_t threads)
{
    bool bare = contender->peer == &bench_peer_limit;

    return (struct bench_peer_use){
        .dir = contender->dir,
        .durable = durable,
        .threads = threads,
        .streams = contest->streams.count,
        .len = bare ? contest->framed : contest->len,
        .extra = contest->extra,
    };
}

int bench_contest_open(struct bench_contest *contest, bool durable, size_t threads,
                       struct mako_error *err)
{
    int status = MAKO_OK;

    for (size_t i = 0; i < contest->count && status == MAKO_OK; i++) {
        struct bench_contender *contender = &contest->list[i];
        struct bench_peer_use use = use_of(contest, contender, durable, threads);

        if (contender->peer != &bench_peer_limit || contest->framed > 0)
            status = contender->peer->open(&use, &contender->self, err);
    }
    return status;
}

void bench_contest_close(struct bench_contest *contest)
{
    for (size_t i = 0; i < contest->count; i++) {
        struct bench_contender *contender = &contest->list[i];

        if (contender->self)
            contender->peer->close(contender->self);
        contender->self = NULL;
    }
}

void bench_contest_end(struct bench_contest *contest)
{
    struct mako_error ignored;

    bench_contest_close(contest);
    for (size_t i = 0; i < contest->count; i++) {
        (void)bench_remove_tree(contest->list[i].dir, &ignored);
        free(contest->list[i].dir);
    }
    contest->count = 0;
}

/* ---- filling ------------------------------------------------------------------------
 */

static int fill_batches(const struct bench_peer *peer, void *self,
                        const struct bench_streams *streams, size_t batch,
                        struct bench_put *puts, struct mako_error *err)
{
    int status = MAKO_OK;

    for (size_t done = 0; done < streams->count && status == MAKO_OK; done += batch) {
        size_t left = streams->count - done, count = left < batch ? left : batch;

        for (size_t i = 0; i < count; i++) {
            puts[i].id = streams->ids[done + i];
            mark_state((void *)(uintptr_t)puts[i].state, done + i, 1);
        }
        status = peer->save_many(self, 0, puts, count, err);
    }
    return status;
}

int bench_peer_fill(const struct bench_peer *peer, void *self,
                    const struct bench_streams *streams, size_t len,
                    struct mako_error *err)
{
    size_t batch = len * FILL_BATCH <= FILL_BYTES ? FILL_BATCH : FILL_BYTES / len;
    struct bench_put *puts = calloc(batch, sizeof *puts);
    unsigned char *states = malloc(batch * len);
    int status;

    if (!puts || !states) {
        status = mako_fail(err, MAKO_E_NOMEM, "no memory for %zu states", batch);
    } else {
        for (size_t i = 0; i < batch; i++) {
            make_state(states + i * len, len);
            puts[i] = (struct bench_put){.seq = 1, .state = states + i * len};
        }
        status = fill_batches(peer, self, streams, batch, puts, err);
    }
    free(states);
    free(puts);
    return status;
}

/* The first thing known of the file store is what a record takes. */
static int note_frame(struct bench_contest *contest, void *self, struct mako_error *err)
{
    uint64_t live, streams;
    int status =
        bench_peer_counter(&bench_peer_mako, self, "plugin.bytes_live", &live, err);

    if (status == MAKO_OK)
        status =
            bench_peer_counter(&bench_peer_mako, self, "plugin.streams", &streams, err);
    if (status != MAKO_OK)
        return status;
    if (streams == 0 || streams != contest->streams.count ||
        live / streams < contest->len || live / streams > 2 * contest->len + 512)
        return mako_fail(err, MAKO_E_PLUGIN, "%llu bytes in %llu streams cannot be right",
                         (unsigned long long)live, (unsigned long long)streams);
    contest->framed = (size_t)(live / streams);
    return MAKO_OK;
}

int bench_contest_fill(struct bench_contest *contest, struct mako_error *err)
{
    int status = MAKO_OK;

    for (size_t i = 0; i < contest->count && status == MAKO_OK; i++) {
        const struct bench_peer *peer = contest->list[i].peer;
        void *self = contest->list[i].self;

        if (!peer->load)
            continue;
        status = bench_peer_fill(peer, self, &contest->streams, contest->len, err);
        if (status == MAKO_OK && peer == &bench_peer_mako)
            status = note_frame(contest, self, err);
        if (status == MAKO_OK && peer->settle)
            status = peer->settle(self, err);
    }
    return status;
}

int bench_peer_check(const struct bench_peer *peer, void *self, size_t thread,
                     const struct bench_streams *streams, size_t number, size_t len,
                     struct mako_error *err)
{
    const char *id = streams->ids[number];
    uint64_t digest;
    int status = peer->load(self, thread, id, &digest, err);

    return status == MAKO_OK
               ? check(peer->name, id, digest, base_digest(len) + number, err)
               : status;
}

/* ---- a turn -------------------------------------------------------------------------
 */

/* One contender's share of a round. */
struct turn {
    struct bench_contest *contest;
    const struct bench_contender *contender;
    const struct bench_job *job;
    uint64_t base;          /* digest of stream 0 */
    uint64_t seq;           /* begins here */
    unsigned char **states; /* for each thread a batch of them */
    struct bench_rng *rngs;
};

/* Threads have streams of their own, so that no save is late. */
static size_t pick(struct turn *turn, size_t thread)
{
    size_t each = turn->contest->streams.count / turn->job->threads;

    return thread * each + bench_rng_pick(&turn->rngs[thread], each);
}

static int save_one(struct turn *turn, size_t thread, size_t call, struct mako_error *err)
{
    size_t number = pick(turn, thread);
    struct bench_put put = {
        .id = turn->contest->streams.ids[number],
        .seq = turn->seq + call,
        .state = turn->states[thread],
    };

    mark_state(turn->states[thread], number, put.seq);
    return turn->contender->peer->save(turn->contender->self, thread, &put, err);
}

static int save_batch(struct turn *turn, size_t thread, size_t call,
                      struct mako_error *err)
{
    size_t len = turn->contest->len, count = turn->job->batch;
    struct bench_put puts[64];

    for (size_t i = 0; i < count; i++) {
        size_t number = pick(turn, thread);
        unsigned char *state = turn->states[thread] + i * len;

        mark_state(state, number, turn->seq + call * count + i);
        puts[i] = (struct bench_put){
            .id = turn->contest->streams.ids[number],
            .seq = turn->seq + call * count + i,
            .state = state,
        };
    }
    return turn->contender->peer->save_many(turn->contender->self, thread, puts, count,
                                            err);
}

static int load_one(struct turn *turn, size_t thread, struct mako_error *err)
{
    size_t number = pick(turn, thread);
    const char *id = turn->contest->streams.ids[number];
    const struct bench_peer *peer = turn->contender->peer;
    uint64_t digest;
    int status = peer->load(turn->contender->self, thread, id, &digest, err);

    return status == MAKO_OK ? check(peer->name, id, digest, turn->base + number, err)
                             : status;
}

static int member(void *arg, size_t thread, struct mako_error *err)
{
    struct turn *turn = arg;
    int status = MAKO_OK;

    for (size_t i = 0; i < turn->job->calls && status == MAKO_OK; i++)
        switch (turn->job->work) {
        case BENCH_SAVE:
            status = save_one(turn, thread, i, err);
            break;
        case BENCH_SAVE_MANY:
            status = save_batch(turn, thread, i, err);
            break;
        case BENCH_LOAD:
            status = load_one(turn, thread, err);
            break;
        }
    return status;
}

static int take_turn(void *arg, double *us, struct mako_error *err)
{
    struct turn *turn = arg;
    const struct bench_job *job = turn->job;
    const struct bench_peer *peer = turn->contender->peer;
    size_t each = job->work == BENCH_SAVE_MANY ? job->batch : 1;
    uint64_t elapsed;
    int status = bench_threads(job->threads, member, turn, &elapsed, err);

    turn->seq += job->calls * each;
    if (status == MAKO_OK)
        *us = (double)elapsed / 1e3 / (double)(job->threads * job->calls * each);
    if (status == MAKO_OK && job->settle && peer->settle)
        status = peer->settle(turn->contender->self, err);
    return status;
}

/* ---- rounds -------------------------------------------------------------------------
 */

static void free_turn(struct turn *turn)
{
    for (size_t i = 0; turn->states && i < turn->job->threads; i++)
        free(turn->states[i]);
    free(turn->states);
    free(turn->rngs);
}

static bool make_turn(struct turn *turn)
{
    size_t threads = turn->job->threads, len = turn->contest->len;
    size_t batch = turn->job->work == BENCH_SAVE_MANY ? turn->job->batch : 1;
    turn->states = calloc(threads, sizeof *turn->states);
    turn->rngs = calloc(threads, sizeof *turn->rngs);
    if (!turn->states || !turn->rngs)
        return false;
    for (size_t i = 0; i < threads; i++) {
        unsigned char *states = malloc(len * batch);

        if (!states)
            return false;
        for (size_t j = 0; j < batch; j++)
            make_state(states + j * len, len);
        turn->states[i] = states;
        turn->rngs[i] = bench_rng_make(i + 1);
    }
    return true;
}

int bench_contest_run(struct bench_contest *contest, const struct bench_job *job,
                      size_t rounds, double *values, struct mako_error *err)
{
    struct turn turns[BENCH_CONTENDERS_MAX] = {{0}};
    struct bench_side sides[BENCH_CONTENDERS_MAX];
    uint64_t base = base_digest(contest->len);
    int status = MAKO_OK;

    for (size_t i = 0; i < contest->count; i++) {
        turns[i] = (struct turn){.contest = contest,
                                 .contender = &contest->list[i],
                                 .job = job,
                                 .base = base,
                                 .seq = contest->seq + 1};
        sides[i] = (struct bench_side){take_turn, &turns[i]};
        if (!make_turn(&turns[i]))
            status = mako_fail(err, MAKO_E_NOMEM, "no memory for the states");
    }
    if (status == MAKO_OK)
        status = bench_rounds(sides, contest->count, rounds, values, err);
    for (size_t i = 0; i < contest->count; i++) {
        if (turns[i].seq > contest->seq)
            contest->seq = turns[i].seq;
        free_turn(&turns[i]);
    }
    return status;
}

/* ---- reports ------------------------------------------------------------------------
 */

const double *bench_contest_row(const struct bench_contest *contest, const double *values,
                                size_t rounds, const char *name)
{
    for (size_t i = 0; i < contest->count; i++)
        if (strcmp(contest->list[i].peer->name, name) == 0)
            return values + i * rounds;
    return NULL;
}

int bench_contest_ratio(struct bench_contest *contest, const double *values,
                        size_t rounds, const struct bench_spec *spec, const char *one,
                        const char *other, struct mako_error *err)
{
    const double *a = bench_contest_row(contest, values, rounds, one);
    const double *b = bench_contest_row(contest, values, rounds, other);
    double *ratios;
    int status;

    if (!a || !b)
        return MAKO_OK;
    ratios = calloc(rounds, sizeof *ratios);
    if (!ratios)
        return mako_fail(err, MAKO_E_NOMEM, "no memory for %zu rounds", rounds);
    for (size_t i = 0; i < rounds; i++)
        ratios[i] = b[i] / a[i];
    status = bench_report(contest->bench, spec, ratios, rounds, err);
    free(ratios);
    return status;
}

const char *bench_contest_best(const struct bench_contest *contest, const double *values,
                               size_t rounds)
{
    const char *best = "";
    double least = 0, copy[64];

    for (size_t i = 0; i < contest->count; i++) {
        const struct bench_peer *peer = contest->list[i].peer;
        size_t count = rounds < 64 ? rounds : 64;
        double median;

        if (peer == &bench_peer_limit || peer == &bench_peer_mako ||
            peer == &bench_peer_mako_map)
            continue;
        memcpy(copy, values + i * rounds, count * sizeof *copy);
        median = bench_median(copy, count);
        if (!*best || median < least) {
            best = peer->name;
            least = median;
        }
    }
    return best;
}

int bench_contest_report(struct bench_contest *contest, const double *values,
                         size_t rounds, const char *prefix, const char *unit,
                         struct mako_error *err)
{
    bool rate = strcmp(unit, "1/s") == 0;
    double *copy = calloc(rounds, sizeof *copy);
    int status = MAKO_OK;

    if (!copy)
        return mako_fail(err, MAKO_E_NOMEM, "no memory for %zu rounds", rounds);
    for (size_t i = 0; i < contest->count && status == MAKO_OK; i++) {
        char name[BENCH_NAME_ROOM];
        struct bench_spec spec = {name, unit, BENCH_NO_TARGET, 0};

        (void)snprintf(name, sizeof name, "%s_%s", prefix, contest->list[i].peer->name);
        for (size_t j = 0; j < rounds; j++)
            copy[j] = rate ? 1e6 / values[i * rounds + j] : values[i * rounds + j];
        status = bench_report(contest->bench, &spec, copy, rounds, err);
    }
    free(copy);
    return status;
}

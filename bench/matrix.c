/* bench/matrix.c - group "peers": durable saves by 1 to 64 threads of 256 bytes to 1 MiB,
 * and loads after a restart, of all contenders.  Chosen by name: it takes some ten
 * minutes. */
#include "contest.h"
#include "groups.h"

#include <stdlib.h>

#define ROUNDS_MAX 7u

static const char *const savers[] = {"mako",  "rocksdb", "lmdb", "sqlite",
                                     "files", "limit",   NULL};

/* ---- durable saves ------------------------------------------------------------------
 */

struct row {
    const char *name;
    size_t len, streams;
    size_t calls; /* of all threads in a turn: large states are bytes enough */
};

static int measure_cell(struct bench_contest *contest, const struct row *row,
                        size_t threads, struct mako_error *err)
{
    struct bench *bench = contest->bench;
    const size_t rounds = bench_size(bench, 5, 1);
    size_t calls = bench_size(bench, row->calls / threads, 1);
    const struct bench_job job = {
        .work = BENCH_SAVE, .threads = threads, .calls = calls > 0 ? calls : 1};
    double values[BENCH_CONTENDERS_MAX * ROUNDS_MAX];
    char prefix[BENCH_NAME_ROOM];
    int status = bench_contest_open(contest, true, threads, err);

    (void)snprintf(prefix, sizeof prefix, "peers.save_%s_t%zu_per_s", row->name, threads);
    if (status == MAKO_OK)
        status = bench_contest_run(contest, &job, rounds, values, err);
    if (status == MAKO_OK)
        status = bench_contest_report(contest, values, rounds, prefix, "1/s", err);
    bench_contest_close(contest);
    return status;
}

static int measure_row(struct bench *bench, const struct row *row, struct mako_error *err)
{
    static const size_t threads[] = {1, 16, 2, 8, 64};
    const size_t columns = bench_size(bench, sizeof threads / sizeof threads[0], 2);
    struct bench_contest contest = {.bench = bench};
    int status =
        bench_streams_make(bench_size(bench, row->streams, 64), &contest.streams, err);

    contest.len = row->len < 16384 ? row->len : bench_size(bench, row->len, 16384);
    if (status == MAKO_OK)
        status = bench_contest_begin(&contest, row->name, savers, err);
    if (status == MAKO_OK)
        status = bench_contest_open(&contest, true, 1, err);
    if (status == MAKO_OK)
        status = bench_contest_fill(&contest, err);
    bench_contest_close(&contest);
    for (size_t i = 0; i < columns && status == MAKO_OK; i++)
        status = measure_cell(&contest, row, threads[i], err);
    bench_contest_end(&contest);
    bench_streams_free(&contest.streams);
    return status;
}

/* ---- loads after a restart ----------------------------------------------------------
 */

/* Loads from a contender that was just opened, its files being nowhere in memory. */
struct restart {
    struct bench_contest *contest;
    struct bench_contender *contender;
    struct bench_rng rng;
    size_t loads;
};

static int load_some(struct restart *restart, void *self, struct mako_error *err)
{
    const struct bench_streams *streams = &restart->contest->streams;
    int status = MAKO_OK;

    for (size_t i = 0; i < restart->loads && status == MAKO_OK; i++)
        status = bench_peer_check(restart->contender->peer, self, 0, streams,
                                  bench_rng_pick(&restart->rng, streams->count),
                                  restart->contest->len, err);
    return status;
}

/* The value is that of a load, with the opening's share in it: whoever reads nothing when
 * it opens pays with each load. */
static int run_restart(void *arg, double *us, struct mako_error *err)
{
    struct restart *restart = arg;
    const struct bench_contest *contest = restart->contest;
    const struct bench_peer *peer = restart->contender->peer;
    const struct bench_peer_use use = {.dir = restart->contender->dir,
                                       .durable = true,
                                       .threads = 1,
                                       .streams = contest->streams.count,
                                       .len = contest->len};
    int status = bench_tree_forget(use.dir, err);
    uint64_t begin = bench_now();
    void *self;

    if (status == MAKO_OK)
        status = peer->open(&use, &self, err);
    if (status != MAKO_OK)
        return status;
    status = load_some(restart, self, err);
    *us = (double)(bench_now() - begin) / 1e3 / (double)restart->loads;
    peer->close(self);
    return status;
}

static int restart_rounds(struct bench_contest *contest, struct mako_error *err)
{
    const size_t rounds = bench_size(contest->bench, 5, 1);
    struct restart restarts[BENCH_CONTENDERS_MAX];
    struct bench_side sides[BENCH_CONTENDERS_MAX];
    double values[BENCH_CONTENDERS_MAX * ROUNDS_MAX];
    int status;

    for (size_t i = 0; i < contest->count; i++) {
        restarts[i] = (struct restart){.contest = contest,
                                       .contender = &contest->list[i],
                                       .rng = bench_rng_make(1),
                                       .loads = bench_size(contest->bench, 1000, 10)};
        sides[i] = (struct bench_side){run_restart, &restarts[i]};
    }
    status = bench_rounds(sides, contest->count, rounds, values, err);
    return status == MAKO_OK ? bench_contest_report(contest, values, rounds,
                                                    "peers.restart_load_us", "us", err)
                             : status;
}

static int measure_restart(struct bench *bench, struct mako_error *err)
{
    static const char *const loaders[] = {"mako",   "rocksdb", "lmdb",
                                          "sqlite", "files",   NULL};
    struct bench_contest contest = {.bench = bench, .len = BENCH_STATE_SIZE};
    int status =
        bench_streams_make(bench_size(bench, 100000, 200), &contest.streams, err);

    if (status == MAKO_OK)
        status = bench_contest_begin(&contest, "restart", loaders, err);
    if (status == MAKO_OK)
        status = bench_contest_open(&contest, false, 1, err);
    if (status == MAKO_OK)
        status = bench_contest_fill(&contest, err);
    bench_contest_close(&contest);
    if (status == MAKO_OK)
        status = restart_rounds(&contest, err);
    bench_contest_end(&contest);
    bench_streams_free(&contest.streams);
    return status;
}

int bench_matrix(struct bench *bench, struct mako_error *err)
{
    static const struct row rows[] = {
        {"256", 256, 10000, 800},
        {"1k", 1024, 10000, 800},
        {"16k", 16384, 1000, 320},
        {"1m", 1048576, 128, 16},
    };
    int status = MAKO_OK;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && status == MAKO_OK; i++)
        status = measure_row(bench, &rows[i], err);
    return status == MAKO_OK ? measure_restart(bench, err) : status;
}

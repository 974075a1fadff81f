/* bench/million.c - a million streams of 1 KiB: loads, saves that are not flushed, and
 * openings, side by side with the embedded databases; the page cache is warm.
 *
 * A file for each snapshot takes no part: a million small files are a test of the file
 * system, and take longer to make and remove than everything else here. */
#include "child.h"
#include "contest.h"
#include "groups.h"

#include <stdlib.h>
#include <string.h>

#define THREADS 2u

static const char *const contenders[] = {"mako",          "mako_map", "rocksdb", "lmdb",
                                         "lmdb_writemap", "sqlite",   NULL};
static const char *const engines[] = {"mako", "rocksdb", "lmdb", "sqlite"};
#define ENGINE_COUNT (sizeof engines / sizeof engines[0])

struct aim {
    struct bench_spec spec;
    const char *one, *other;
};

static int report_aims(struct bench_contest *contest, const double *values, size_t rounds,
                       const struct aim *aims, size_t count, struct mako_error *err)
{
    int status = MAKO_OK;

    for (size_t i = 0; i < count && status == MAKO_OK; i++)
        status = bench_contest_ratio(contest, values, rounds, &aims[i].spec, aims[i].one,
                                     aims[i].other, err);
    return status;
}

/* ---- loads and saves ----------------------------------------------------------------
 */

static int measure_loads(struct bench_contest *contest, struct mako_error *err)
{
    static const struct aim aims[] = {
        {{"file.load_1m_t2_vs_lmdb", "ratio", BENCH_AT_LEAST, 0.65}, "mako", "lmdb"},
        {{"file.load_1m_t2_vs_rocksdb", "ratio", BENCH_AT_LEAST, 5}, "mako", "rocksdb"},
        {{"file.load_1m_t2_vs_sqlite", "ratio", BENCH_AT_LEAST, 20}, "mako", "sqlite"},
        {{"file.load_1m_map_t2_vs_lmdb", "ratio", BENCH_AT_LEAST, 1}, "mako_map", "lmdb"},
    };
    const size_t rounds = bench_size(contest->bench, 7, 1);
    struct bench_job job = {.work = BENCH_LOAD,
                            .threads = 1,
                            .calls = bench_size(contest->bench, 50000, 100)};
    double values[BENCH_CONTENDERS_MAX * 9];
    int status = bench_contest_run(contest, &job, rounds, values, err);

    if (status == MAKO_OK)
        status = bench_contest_report(contest, values, rounds, "million.load_t1_us", "us",
                                      err);
    job.threads = THREADS;
    if (status == MAKO_OK)
        status = bench_contest_run(contest, &job, rounds, values, err);
    if (status == MAKO_OK)
        status = bench_contest_report(contest, values, rounds, "million.load_t2_us", "us",
                                      err);
    return status == MAKO_OK ? report_aims(contest, values, rounds, aims, 4, err)
                             : status;
}

static int measure_saves(struct bench_contest *contest, struct mako_error *err)
{
    static const struct aim aims[] = {
        {{"file.save_nosync_1m_t2_vs_rocksdb", "ratio", BENCH_AT_LEAST, 3},
         "mako",
         "rocksdb"},
        {{"file.save_nosync_1m_t2_vs_lmdb", "ratio", BENCH_AT_LEAST, 10}, "mako", "lmdb"},
        {{"file.save_nosync_1m_t2_vs_sqlite", "ratio", BENCH_AT_LEAST, 25},
         "mako",
         "sqlite"},
    };
    const size_t rounds = bench_size(contest->bench, 7, 1);
    const struct bench_job job = {.work = BENCH_SAVE,
                                  .threads = THREADS,
                                  .calls = bench_size(contest->bench, 20000, 100),
                                  .settle = true};
    double values[BENCH_CONTENDERS_MAX * 9];
    int status = bench_contest_run(contest, &job, rounds, values, err);

    if (status == MAKO_OK)
        status = bench_contest_report(contest, values, rounds,
                                      "million.save_nosync_t2_us", "us", err);
    return status == MAKO_OK ? report_aims(contest, values, rounds, aims, 3, err)
                             : status;
}

/* What the index takes, less the ids themselves. */
static int measure_memory(struct bench_contest *contest, struct mako_error *err)
{
    static const struct bench_spec spec = {"file.bytes_per_stream", "bytes",
                                           BENCH_AT_MOST, 100};
    uint64_t bytes;
    double value;
    int status = bench_peer_counter(&bench_peer_mako, contest->list[0].self,
                                    "plugin.index_bytes", &bytes, err);

    if (status != MAKO_OK)
        return status;
    value = (double)bytes / (double)contest->streams.count -
            (double)strlen(contest->streams.ids[0]);
    return bench_report(contest->bench, &spec, &value, 1, err);
}

static int measure_calls(struct bench *bench, const struct bench_streams *streams,
                         struct mako_error *err)
{
    struct bench_contest contest = {
        .bench = bench, .streams = *streams, .len = BENCH_STATE_SIZE};
    int status = bench_contest_begin(&contest, "million", contenders, err);

    if (status == MAKO_OK)
        status = bench_contest_open(&contest, false, THREADS, err);
    if (status == MAKO_OK)
        status = bench_contest_fill(&contest, err);
    if (status == MAKO_OK)
        status = measure_memory(&contest, err);
    if (status == MAKO_OK)
        status = measure_loads(&contest, err);
    if (status == MAKO_OK)
        status = measure_saves(&contest, err);
    bench_contest_end(&contest);
    return status;
}

/* ---- openings -----------------------------------------------------------------------
 */

struct opener {
    const struct bench_peer *peer;
    struct bench_peer_use use;
    bool kill; /* fill it anew for every opening, and kill who filled it */
};

static int run_opener(void *arg, double *ms, struct mako_error *err)
{
    struct opener *opener = arg;
    struct bench_opening opening = {0};
    int status = MAKO_OK;

    if (opener->kill)
        status = bench_remove_tree(opener->use.dir, err);
    if (opener->kill && status == MAKO_OK)
        status = bench_child_fill(opener->peer, &opener->use, true, err);
    if (status == MAKO_OK)
        status = bench_child_open(opener->peer, &opener->use, &opening, err);
    *ms = opening.ms;
    return status;
}

static int report_openings(struct bench *bench, const struct opener *openers,
                           size_t count, const char *how, size_t rounds, double *values,
                           struct mako_error *err)
{
    int status = MAKO_OK;

    for (size_t i = 0; i < count && status == MAKO_OK; i++) {
        char name[BENCH_NAME_ROOM];
        const struct bench_spec spec = {name, "ms", BENCH_NO_TARGET, 0};

        (void)snprintf(name, sizeof name, "million.open_%s_ms_%s", how,
                       openers[i].peer->name);
        status = bench_report(bench, &spec, values + i * rounds, rounds, err);
    }
    return status;
}

static int report_killed_ratio(struct bench *bench, const struct opener *openers,
                               size_t count, const double *values, size_t rounds,
                               struct mako_error *err)
{
    static const struct bench_spec spec = {"file.open_1m_killed_vs_rocksdb", "ratio",
                                           BENCH_AT_LEAST, 1};
    double ratios[8];

    for (size_t i = 0; i < count; i++) {
        if (strcmp(openers[i].peer->name, "rocksdb") != 0)
            continue;
        for (size_t j = 0; j < rounds; j++)
            ratios[j] = values[i * rounds + j] / values[j];
        return bench_report(bench, &spec, ratios, rounds, err);
    }
    return MAKO_OK;
}

static int measure_clean(struct bench *bench, struct opener *openers, size_t count,
                         struct mako_error *err)
{
    static const struct bench_spec spec = {"file.open_1m_clean_ms", "ms", BENCH_AT_MOST,
                                           250};
    struct bench_side sides[ENGINE_COUNT];
    const size_t rounds = bench_size(bench, 7, 1);
    double values[ENGINE_COUNT * 7];
    int status = MAKO_OK;

    for (size_t i = 0; i < count && status == MAKO_OK; i++) {
        sides[i] = (struct bench_side){run_opener, &openers[i]};
        status = bench_child_fill(openers[i].peer, &openers[i].use, false, err);
    }
    if (status == MAKO_OK)
        status = bench_rounds(sides, count, rounds, values, err);
    if (status == MAKO_OK)
        status = bench_report(bench, &spec, values, rounds, err);
    return status == MAKO_OK
               ? report_openings(bench, openers, count, "clean", rounds, values, err)
               : status;
}

static int measure_killed(struct bench *bench, struct opener *openers, size_t count,
                          struct mako_error *err)
{
    struct bench_side sides[ENGINE_COUNT];
    const size_t rounds = bench_size(bench, 3, 1);
    double values[ENGINE_COUNT * 3];
    int status;

    for (size_t i = 0; i < count; i++) {
        sides[i] = (struct bench_side){run_opener, &openers[i]};
        openers[i].kill = true;
    }
    status = bench_rounds(sides, count, rounds, values, err);
    if (status == MAKO_OK)
        status = report_killed_ratio(bench, openers, count, values, rounds, err);
    return status == MAKO_OK
               ? report_openings(bench, openers, count, "killed", rounds, values, err)
               : status;
}

static int measure_openings(struct bench *bench, size_t streams, struct mako_error *err)
{
    struct opener openers[ENGINE_COUNT];
    struct mako_error ignored;
    size_t count = 0;
    int status = MAKO_OK;

    for (size_t i = 0; i < ENGINE_COUNT && status == MAKO_OK; i++) {
        const struct bench_peer *peer = bench_peer_find(engines[i]);
        char *dir = peer ? bench_path(bench->dir, engines[i]) : NULL;

        if (peer && !dir)
            status = mako_fail(err, MAKO_E_NOMEM, "no memory for a path");
        else if (peer)
            openers[count++] = (struct opener){.peer = peer,
                                               .use = {.dir = dir,
                                                       .durable = true,
                                                       .streams = streams,
                                                       .len = BENCH_STATE_SIZE}};
    }
    if (status == MAKO_OK)
        status = measure_clean(bench, openers, count, err);
    if (status == MAKO_OK)
        status = measure_killed(bench, openers, count, err);
    for (size_t i = 0; i < count; i++) {
        (void)bench_remove_tree(openers[i].use.dir, &ignored);
        free((void *)(uintptr_t)openers[i].use.dir);
    }
    return status;
}

int bench_million(struct bench *bench, struct mako_error *err)
{
    struct bench_streams streams;
    size_t count = bench_size(bench, 1000000, 400);
    int status = bench_streams_make(count, &streams, err);

    if (status != MAKO_OK)
        return status;
    status = measure_calls(bench, &streams, err);
    bench_streams_free(&streams);
    return status == MAKO_OK ? measure_openings(bench, count, err) : status;
}

/* bench/file.c - the file store: 10 000 streams of 1 KiB.
 *
 * Durable saves side by side with embedded databases, a file for each snapshot, and the
 * bare loops of limit.h, which append as many bytes a save.  Then loads, and what the
 * store costs without flushes.  The whole matrix of sizes and threads is in matrix.c. */
#include "contest.h"
#include "groups.h"

#include <stdlib.h>

#define MANY       16u
#define BATCH      64u
#define ROUNDS_MAX 21u

static const char *const savers[] = {"mako",  "rocksdb", "lmdb", "sqlite",
                                     "files", "limit",   NULL};
static const char *const loaders[] = {"mako",   "mako_map", "rocksdb", "lmdb",
                                      "sqlite", "files",    NULL};

/* ---- durable saves --------------------------------------------------------------------
 */

struct aim {
    struct bench_spec spec;
    const char *other; /* NULL: the fastest of the others */
};

static const struct aim aims_t1[] = {
    {{"file.save_1k_t1_vs_limit", "ratio", BENCH_AT_LEAST, 0.95}, "limit"},
    {{"file.save_1k_t1_vs_best_peer", "ratio", BENCH_AT_LEAST, 1}, NULL},
    {{NULL, NULL, BENCH_NO_TARGET, 0}, NULL},
};

static const struct aim aims_t16[] = {
    {{"file.save_1k_t16_vs_limit", "ratio", BENCH_AT_LEAST, 0.9}, "limit"},
    {{"file.save_1k_t16_vs_rocksdb", "ratio", BENCH_AT_LEAST, 1.3}, "rocksdb"},
    {{"file.save_1k_t16_vs_sqlite", "ratio", BENCH_AT_LEAST, 5}, "sqlite"},
    {{"file.save_1k_t16_vs_lmdb", "ratio", BENCH_AT_LEAST, 5}, "lmdb"},
    {{NULL, NULL, BENCH_NO_TARGET, 0}, NULL},
};

static const struct aim aims_batch[] = {
    {{"file.save_many_64_vs_limit", "ratio", BENCH_NO_TARGET, 0}, "limit"},
    {{NULL, NULL, BENCH_NO_TARGET, 0}, NULL},
};

/* Everything is opened anew for the number of threads that will use it; for a batch the
 * bare loop must have room for so many. */
static int race(struct bench_contest *contest, const struct bench_job *job, size_t rounds,
                const struct aim *aims, const char *prefix, struct mako_error *err)
{
    double values[BENCH_CONTENDERS_MAX * ROUNDS_MAX];
    size_t room = job->batch > job->threads ? job->batch : job->threads;
    int status = bench_contest_open(contest, true, room, err);

    if (status == MAKO_OK)
        status = bench_contest_run(contest, job, rounds, values, err);
    for (; status == MAKO_OK && aims->spec.name; aims++) {
        const char *other =
            aims->other ? aims->other : bench_contest_best(contest, values, rounds);

        status =
            bench_contest_ratio(contest, values, rounds, &aims->spec, "mako", other, err);
    }
    if (status == MAKO_OK)
        status = bench_contest_report(contest, values, rounds, prefix, "1/s", err);
    bench_contest_close(contest);
    return status;
}

static int races(struct bench_contest *contest, struct mako_error *err)
{
    struct bench *bench = contest->bench;
    const struct bench_job single = {
        .work = BENCH_SAVE, .threads = 1, .calls = bench_size(bench, 300, 3)};
    const struct bench_job many = {
        .work = BENCH_SAVE, .threads = MANY, .calls = bench_size(bench, 100, 2)};
    const struct bench_job batch = {.work = BENCH_SAVE_MANY,
                                    .threads = 1,
                                    .calls = bench_size(bench, 20, 2),
                                    .batch = BATCH};
    int status = race(contest, &single, bench_size(bench, ROUNDS_MAX, 2), aims_t1,
                      "file.save_1k_t1_per_s", err);

    if (status == MAKO_OK)
        status = race(contest, &many, bench_size(bench, 15, 2), aims_t16,
                      "file.save_1k_t16_per_s", err);
    if (status == MAKO_OK)
        status = race(contest, &batch, bench_size(bench, 9, 2), aims_batch,
                      "file.save_many_64_per_s", err);
    return status;
}

static int measure_durable(struct bench *bench, const struct bench_streams *streams,
                           struct mako_error *err)
{
    struct bench_contest contest = {
        .bench = bench, .streams = *streams, .len = BENCH_STATE_SIZE};
    int status = bench_contest_begin(&contest, "durable", savers, err);

    if (status == MAKO_OK)
        status = bench_contest_open(&contest, true, 1, err);
    if (status == MAKO_OK)
        status = bench_contest_fill(&contest, err);
    bench_contest_close(&contest);
    if (status == MAKO_OK)
        status = races(&contest, err);
    bench_contest_end(&contest);
    return status;
}

/* ---- loads ----------------------------------------------------------------------------
 */

static int measure_loads(struct bench *bench, const struct bench_streams *streams,
                         struct mako_error *err)
{
    struct bench_contest contest = {
        .bench = bench, .streams = *streams, .len = BENCH_STATE_SIZE};
    struct bench_job job = {
        .work = BENCH_LOAD, .threads = 1, .calls = bench_size(bench, 20000, 50)};
    const size_t rounds = bench_size(bench, 11, 2);
    double values[BENCH_CONTENDERS_MAX * ROUNDS_MAX];
    int status = bench_contest_begin(&contest, "loads", loaders, err);

    if (status == MAKO_OK)
        status = bench_contest_open(&contest, false, 2, err);
    if (status == MAKO_OK)
        status = bench_contest_fill(&contest, err);
    for (; status == MAKO_OK && job.threads <= 2; job.threads++) {
        status = bench_contest_run(&contest, &job, rounds, values, err);
        if (status == MAKO_OK)
            status = bench_contest_report(&contest, values, rounds,
                                          job.threads == 1 ? "file.load_10k_t1_us"
                                                           : "file.load_10k_t2_us",
                                          "us", err);
    }
    bench_contest_end(&contest);
    return status;
}

/* ---- what costs no flush
 * ------------------------------------------------------------------ */

struct quick_run {
    struct bench *bench;
    struct bench_streams streams;
    char *power_dir, *crash_dir;
};

static int open_once(void *arg, double *ms, struct mako_error *err)
{
    struct quick_run *run = arg;
    mako_store *store;
    uint64_t begin = bench_now();
    int status = bench_open("file", "power", run->power_dir, &store, err);

    if (status != MAKO_OK)
        return status;
    *ms = (double)(bench_now() - begin) / 1e6;
    mako_store_unref(store);
    return MAKO_OK;
}

static int report_quick(struct bench *bench, double *values, size_t rounds,
                        struct mako_error *err)
{
    static const struct bench_spec specs[] = {
        {"file.open_10k_ms", "ms", BENCH_NO_TARGET, 0},
        {"file.load_1k_us", "us", BENCH_NO_TARGET, 0},
        {"file.save_nosync_1k_us", "us", BENCH_NO_TARGET, 0},
    };
    int status = MAKO_OK;

    for (size_t i = 0; i < 3 && status == MAKO_OK; i++)
        status = bench_report(bench, &specs[i], values + i * rounds, rounds, err);
    return status;
}

static int fill_store(struct quick_run *run, const char *durability, const char *dir,
                      mako_store **store, struct mako_error *err)
{
    int status = bench_open("file", durability, dir, store, err);

    if (status != MAKO_OK)
        return status;
    status = bench_fill(*store, &run->streams, err);
    if (status != MAKO_OK)
        mako_store_unref(*store);
    return status;
}

/* Openings are of a store that was closed; the loads and saves are on another. */
static int measure_quick(struct quick_run *run, struct mako_error *err)
{
    struct bench_walk load = {.streams = run->streams,
                              .rng = bench_rng_make(1),
                              .calls = bench_size(run->bench, 20000, 200),
                              .clock = bench_now};
    struct bench_walk save = load;
    struct bench_side sides[] = {
        {open_once, run}, {bench_walk_load, &load}, {bench_walk_save, &save}};
    const size_t rounds = bench_size(run->bench, 15, 3);
    double values[3 * ROUNDS_MAX];
    mako_store *store;
    int status = fill_store(run, "power", run->power_dir, &store, err);

    if (status != MAKO_OK)
        return status;
    mako_store_unref(store);
    status = fill_store(run, "crash", run->crash_dir, &store, err);
    if (status != MAKO_OK)
        return status;
    load.store = save.store = store;
    save.seq = 1;
    status = bench_rounds(sides, 3, rounds, values, err);
    if (status == MAKO_OK)
        status = report_quick(run->bench, values, rounds, err);
    mako_store_unref(store);
    return status;
}

/* ---- the group
 * ---------------------------------------------------------------------------- */

int bench_file(struct bench *bench, struct mako_error *err)
{
    struct quick_run run = {
        .bench = bench,
        .power_dir = bench_path(bench->dir, "power"),
        .crash_dir = bench_path(bench->dir, "crash"),
    };
    int status;

    if (!run.power_dir || !run.crash_dir)
        status = mako_fail(err, MAKO_E_NOMEM, "no memory for a path");
    else
        status = bench_streams_make(bench_size(bench, 10000, 200), &run.streams, err);
    if (status == MAKO_OK)
        status = measure_durable(bench, &run.streams, err);
    if (status == MAKO_OK)
        status = measure_loads(bench, &run.streams, err);
    if (status == MAKO_OK)
        status = measure_quick(&run, err);
    bench_streams_free(&run.streams);
    free(run.power_dir);
    free(run.crash_dir);
    return status;
}

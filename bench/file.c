/* bench/file.c - the file store: 1 KiB states, 10 000 streams.
 *
 * Durable saves are measured against the bare loops of limit.h, which append as many
 * bytes a save, on the same file system and in the same rounds.  Then what costs no
 * flush: loads, saves of durability "crash", opening. */
#include "groups.h"
#include "limit.h"
#include "workload.h"

#include <ftw.h>
#include <stdlib.h>
#include <string.h>

#define MANY 16u

struct file_run {
    struct bench *bench;
    struct bench_streams streams;
    size_t framed; /* bytes that one save appends */
    char *power_dir, *crash_dir, *limit_path;
};

/* ---- one contender and the bare loop ------------------------------------------------
 */

/* threads saving threads' own shares of the streams. */
struct savers {
    size_t threads;
    struct bench_walk walks[MANY];
};

/* The same work without a store. */
struct appenders {
    size_t threads, calls; /* calls: of one thread */
    struct bench_limit *limit;
};

static int saver(void *arg, size_t index, struct mako_error *err)
{
    struct savers *savers = arg;
    double us;

    return bench_walk_save(&savers->walks[index], &us, err);
}

static int appender(void *arg, size_t index, struct mako_error *err)
{
    struct appenders *appenders = arg;
    int status = MAKO_OK;

    (void)index;
    for (size_t i = 0; i < appenders->calls && status == MAKO_OK; i++)
        status = appenders->threads == 1 ? bench_limit_append(appenders->limit, err)
                                         : bench_limit_commit(appenders->limit, err);
    return status;
}

static int run_savers(void *arg, double *us, struct mako_error *err)
{
    struct savers *savers = arg;
    uint64_t elapsed;
    int status = bench_threads(savers->threads, saver, savers, &elapsed, err);

    if (status == MAKO_OK)
        *us = (double)elapsed / 1e3 / (double)(savers->threads * savers->walks[0].calls);
    return status;
}

static int run_appenders(void *arg, double *us, struct mako_error *err)
{
    struct appenders *appenders = arg;
    uint64_t elapsed;
    int status = bench_threads(appenders->threads, appender, appenders, &elapsed, err);

    if (status == MAKO_OK)
        *us = (double)elapsed / 1e3 / (double)(appenders->threads * appenders->calls);
    return status;
}

static void staff(struct savers *savers, const struct bench_streams *streams,
                  mako_store *store, size_t calls)
{
    for (size_t i = 0; i < savers->threads; i++)
        savers->walks[i] = (struct bench_walk){
            .store = store,
            .streams = bench_streams_share(streams, i, savers->threads),
            .rng = bench_rng_make(i + 1),
            .calls = calls,
            .clock = bench_now,
            .seq = (uint64_t)savers->threads << 32, /* beyond a race of fewer */
        };
}

/* ---- durable saves --------------------------------------------------------------------
 */

/* Reports the ratio of both speeds and the saves a second. */
static int report_durable(struct bench *bench, const struct bench_spec *ratio,
                          const struct bench_spec *speed, double *values, size_t rounds,
                          struct mako_error *err)
{
    double *mako = values, *bare = values + rounds;
    int status;

    for (size_t i = 0; i < rounds; i++) {
        bare[i] /= mako[i];
        mako[i] = 1e6 / mako[i];
    }
    status = bench_report(bench, ratio, bare, rounds, err);
    if (status == MAKO_OK)
        status = bench_report(bench, speed, mako, rounds, err);
    return status;
}

static int race(struct file_run *run, mako_store *store, size_t threads, size_t calls,
                const struct bench_spec *ratio, const struct bench_spec *speed,
                struct mako_error *err)
{
    struct savers savers = {.threads = threads};
    struct appenders appenders = {.threads = threads, .calls = calls};
    struct bench_side sides[] = {{run_savers, &savers}, {run_appenders, &appenders}};
    size_t rounds = bench_size(run->bench, 21, 3);
    double *values = calloc(2 * rounds, sizeof *values);
    int status;

    if (!values)
        return mako_fail(err, MAKO_E_NOMEM, "no memory for %zu rounds", rounds);
    staff(&savers, &run->streams, store, calls);
    status =
        bench_limit_open(run->limit_path, run->framed, threads, &appenders.limit, err);
    if (status == MAKO_OK)
        status = bench_rounds(sides, 2, rounds, values, err);
    if (status == MAKO_OK)
        status = report_durable(run->bench, ratio, speed, values, rounds, err);
    bench_limit_close(appenders.limit);
    free(values);
    return status;
}

static int measure_durable(struct file_run *run, struct mako_error *err)
{
    static const struct bench_spec t1 = {"file.save_1k_t1_vs_limit", "ratio",
                                         BENCH_AT_LEAST, 0.9};
    static const struct bench_spec t16 = {"file.save_1k_t16_vs_limit", "ratio",
                                          BENCH_AT_LEAST, 0.8};
    static const struct bench_spec t1_speed = {"file.save_1k_t1_per_s", "1/s",
                                               BENCH_NO_TARGET, 0};
    static const struct bench_spec t16_speed = {"file.save_1k_t16_per_s", "1/s",
                                                BENCH_NO_TARGET, 0};
    mako_store *store;
    int status = bench_open("file", "power", run->power_dir, &store, err);

    if (status != MAKO_OK)
        return status;
    status = race(run, store, 1, bench_size(run->bench, 400, 5), &t1, &t1_speed, err);
    if (status == MAKO_OK)
        status =
            race(run, store, MANY, bench_size(run->bench, 250, 3), &t16, &t16_speed, err);
    mako_store_unref(store);
    return status;
}

/* ---- what costs no flush
 * ------------------------------------------------------------------ */

static int open_once(void *arg, double *ms, struct mako_error *err)
{
    struct file_run *run = arg;
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

/* power_dir is as the filling left it; the loads and saves are on another store. */
static int measure_quick(struct file_run *run, struct mako_error *err)
{
    struct bench_walk load = {.streams = run->streams,
                              .rng = bench_rng_make(1),
                              .calls = bench_size(run->bench, 20000, 200),
                              .clock = bench_now};
    struct bench_walk save = load;
    struct bench_side sides[] = {
        {open_once, run}, {bench_walk_load, &load}, {bench_walk_save, &save}};
    size_t rounds = bench_size(run->bench, 15, 3);
    double *values = calloc(3 * rounds, sizeof *values);
    mako_store *store;
    int status;

    if (!values)
        return mako_fail(err, MAKO_E_NOMEM, "no memory for %zu rounds", rounds);
    status = bench_open("file", "crash", run->crash_dir, &store, err);
    if (status != MAKO_OK)
        goto values;
    load.store = save.store = store;
    save.seq = 1;
    status = bench_fill(store, &run->streams, err);
    if (status == MAKO_OK)
        status = bench_rounds(sides, 3, rounds, values, err);
    if (status == MAKO_OK)
        status = report_quick(run->bench, values, rounds, err);
    mako_store_unref(store);
values:
    free(values);
    return status;
}

/* ---- the group
 * ---------------------------------------------------------------------------- */

static off_t tree_size; /* nftw() passes no argument on */

static int add_size(const char *path, const struct stat *info, int type,
                    struct FTW *place)
{
    (void)path;
    (void)place;
    if (type == FTW_F)
        tree_size += info->st_size;
    return 0;
}

/* Fill the store, close it, and see how many bytes a save has taken. */
static int measure_frame(struct file_run *run, struct mako_error *err)
{
    mako_store *store;
    int status = bench_open("file", "power", run->power_dir, &store, err);

    if (status != MAKO_OK)
        return status;
    status = bench_fill(store, &run->streams, err);
    mako_store_unref(store);
    if (status != MAKO_OK)
        return status;

    tree_size = 0;
    (void)nftw(run->power_dir, add_size, 16, FTW_PHYS);
    run->framed = (size_t)tree_size / run->streams.count;
    if (run->framed < BENCH_STATE_SIZE || run->framed > 2 * BENCH_STATE_SIZE)
        return mako_fail(err, MAKO_E_PLUGIN, "%s: %zu bytes a save cannot be right",
                         run->power_dir, run->framed);
    return MAKO_OK;
}

static int file_figures(struct file_run *run, struct mako_error *err)
{
    int status = measure_frame(run, err);

    if (status == MAKO_OK)
        status = measure_quick(run, err);
    if (status == MAKO_OK)
        status = measure_durable(run, err);
    return status;
}

int bench_file(struct bench *bench, struct mako_error *err)
{
    struct file_run run = {
        .bench = bench,
        .power_dir = bench_path(bench->dir, "power"),
        .crash_dir = bench_path(bench->dir, "crash"),
        .limit_path = bench_path(bench->dir, "limit"),
    };
    int status;

    if (!run.power_dir || !run.crash_dir || !run.limit_path)
        status = mako_fail(err, MAKO_E_NOMEM, "no memory for a path");
    else
        status = bench_streams_make(bench_size(bench, 10000, 200), &run.streams, err);
    if (status == MAKO_OK)
        status = file_figures(&run, err);
    bench_streams_free(&run.streams);
    free(run.power_dir);
    free(run.crash_dir);
    free(run.limit_path);
    return status;
}

/* bench/space.c - group "space": what the disk holds after ten overwrites of everything,
 * and what compaction does to those who save meanwhile.
 *
 * Nobody calls for a compaction here: the store must see to it. */
#include "contest.h"
#include "groups.h"

#include <stdlib.h>
#include <string.h>

#define OVERWRITES 10u
#define SAVES      4000u /* whose latency is looked at, in a turn */

/* ---- ten overwrites -----------------------------------------------------------------
 */

static double stored_bytes(const struct bench_contest *contest)
{
    size_t each = contest->len + strlen(contest->streams.ids[0]);

    return (double)(contest->streams.count * each);
}

/* Bytes on disk over those of the ids and states, contender by contender. */
static int report_disk(struct bench_contest *contest, const char *prefix,
                       struct mako_error *err)
{
    int status = MAKO_OK;

    for (size_t i = 0; i < contest->count && status == MAKO_OK; i++) {
        char name[BENCH_NAME_ROOM];
        const struct bench_spec spec = {name, "ratio", BENCH_NO_TARGET, 0};
        double value =
            (double)bench_tree_size(contest->list[i].dir) / stored_bytes(contest);

        (void)snprintf(name, sizeof name, "%s_%s", prefix, contest->list[i].peer->name);
        status = bench_report(contest->bench, &spec, &value, 1, err);
    }
    return status;
}

static int report_ratio(struct bench_contest *contest, struct mako_error *err)
{
    static const struct bench_spec spec = {"file.disk_ratio", "ratio", BENCH_AT_MOST, 2};
    const struct bench_contender *mako = &contest->list[0];
    uint64_t live;
    double value;
    int status =
        bench_peer_counter(mako->peer, mako->self, "plugin.bytes_live", &live, err);

    if (status != MAKO_OK)
        return status;
    value = (double)bench_tree_size(mako->dir) / (double)live;
    return bench_report(contest->bench, &spec, &value, 1, err);
}

static int settle_all(struct bench_contest *contest, struct mako_error *err)
{
    int status = MAKO_OK;

    for (size_t i = 0; i < contest->count && status == MAKO_OK; i++)
        if (contest->list[i].peer->settle)
            status = contest->list[i].peer->settle(contest->list[i].self, err);
    return status;
}

/* One overwrite of everything a round.  The order is random, and with repeats: some
 * streams are overwritten twice, others not. */
static int overwrite(struct bench_contest *contest, struct mako_error *err)
{
    const struct bench_job job = {
        .work = BENCH_SAVE, .threads = 2, .calls = contest->streams.count / 2};
    double unused[1];
    char prefix[BENCH_NAME_ROOM];
    int status = report_disk(contest, "space.disk_x0", err);

    for (size_t done = 0; done < OVERWRITES && status == MAKO_OK; done++) {
        status = bench_contest_run(contest, &job, 0, unused, err);
        (void)snprintf(prefix, sizeof prefix, "space.disk_x%zu", done + 1);
        if (status == MAKO_OK)
            status = report_disk(contest, prefix, err);
    }
    return status;
}

/* A file for each snapshot always takes a block each, and is left out: ext4 writes a file
 * that is renamed over another at once, which would take longer than all the rest. */
static int measure_overwrites(struct bench *bench, struct mako_error *err)
{
    static const char *const contenders[] = {"mako", "rocksdb", "lmdb", "sqlite", NULL};
    struct bench_contest contest = {.bench = bench, .len = BENCH_STATE_SIZE};
    int status =
        bench_streams_make(bench_size(bench, 100000, 200), &contest.streams, err);

    if (status == MAKO_OK)
        status = bench_contest_begin(&contest, "space", contenders, err);
    if (status == MAKO_OK)
        status = bench_contest_open(&contest, false, 2, err);
    if (status == MAKO_OK)
        status = bench_contest_fill(&contest, err);
    if (status == MAKO_OK)
        status = overwrite(&contest, err);
    if (status == MAKO_OK)
        status = settle_all(&contest, err);
    if (status == MAKO_OK)
        status = report_disk(&contest, "space.disk_idle", err);
    if (status == MAKO_OK)
        status = report_ratio(&contest, err);
    bench_contest_end(&contest);
    bench_streams_free(&contest.streams);
    return status;
}

/* ---- saves while compaction runs ----------------------------------------------------
 */

/* One store, opened either with a compaction that never begins, or with one that has
 * much to do. */
struct busy {
    struct bench_contest *contest;
    const char *option; /* of this opening */
    bool compacting;
    size_t saves; /* at least; room is ten times that */
    size_t done;
    double *times, *middle; /* middle: the median of each turn */
    size_t turn;
};

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static int counter(const struct bench_contender *mako, const char *name, double *value,
                   struct mako_error *err)
{
    uint64_t number = 0;
    int status = bench_peer_counter(mako->peer, mako->self, name, &number, err);

    *value = (double)number;
    return status;
}

/* Overwrite until half of what is stored is dead: more than makes compaction begin, and
 * less than makes it hurry. */
static int make_dead(struct bench_contest *contest, struct mako_error *err)
{
    const struct bench_job job = {.work = BENCH_SAVE_MANY,
                                  .threads = 1,
                                  .calls = contest->streams.count / 640 + 1,
                                  .batch = 64};
    const struct bench_contender *mako = &contest->list[0];
    double bytes, live, unused[1];
    int status = MAKO_OK;

    while (status == MAKO_OK) {
        status = counter(mako, "plugin.bytes", &bytes, err);
        if (status == MAKO_OK)
            status = counter(mako, "plugin.bytes_live", &live, err);
        if (status != MAKO_OK || live <= bytes * 0.5)
            break;
        status = bench_contest_run(contest, &job, 0, unused, err);
    }
    return status;
}

static int time_saves(struct busy *busy, struct mako_error *err)
{
    struct bench_contest *contest = busy->contest;
    const struct bench_contender *mako = &contest->list[0];
    struct bench_rng rng = bench_rng_make(busy->turn + busy->done + 1);
    static const unsigned char state[BENCH_STATE_SIZE];
    int status = MAKO_OK;

    for (size_t i = 0; i < busy->saves && status == MAKO_OK; i++) {
        size_t number = bench_rng_pick(&rng, contest->streams.count);
        const struct bench_put put = {
            .id = contest->streams.ids[number], .seq = ++contest->seq, .state = state};
        uint64_t begin = bench_now();

        status = mako->peer->save(mako->self, 0, &put, err);
        busy->times[busy->done++] = (double)(bench_now() - begin) / 1e3;
    }
    return status;
}

/* Save until something was compacted: a turn without would prove nothing. */
static int save_enough(struct busy *busy, struct mako_error *err)
{
    const struct bench_contender *mako = &busy->contest->list[0];
    double runs = 0;
    int status = MAKO_OK;

    busy->done = 0;
    for (int i = 0; i < 10 && status == MAKO_OK && (i == 0 || busy->compacting); i++) {
        status = time_saves(busy, err);
        if (status == MAKO_OK)
            status = counter(mako, "plugin.compactions", &runs, err);
        if (runs > 0 || busy->contest->bench->quick)
            break;
    }
    if (status == MAKO_OK && !busy->contest->bench->quick &&
        busy->compacting != (runs > 0))
        return mako_fail(err, MAKO_E_PLUGIN, "%.0f compactions where there should be %s",
                         runs, busy->compacting ? "some" : "none");
    return status;
}

static int reopen(struct busy *busy, const char *option, struct mako_error *err)
{
    bench_contest_close(busy->contest);
    busy->contest->extra = option;
    return bench_contest_open(busy->contest, true, 1, err);
}

/* The value is the 99th percentile, in microseconds. */
static int run_busy(void *arg, double *us, struct mako_error *err)
{
    struct busy *busy = arg;
    int status = reopen(busy, "dead_space=100", err);

    if (status == MAKO_OK)
        status = make_dead(busy->contest, err);
    if (status == MAKO_OK)
        status = reopen(busy, busy->option, err);
    if (status == MAKO_OK)
        status = save_enough(busy, err);
    if (status != MAKO_OK)
        return status;
    qsort(busy->times, busy->done, sizeof *busy->times, compare);
    *us = busy->times[busy->done * 99 / 100];
    busy->middle[busy->turn++] = busy->times[busy->done / 2];
    return MAKO_OK;
}

static int report_busy(struct bench *bench, double *values, size_t rounds,
                       struct busy sides[2], struct mako_error *err)
{
    static const struct bench_spec specs[] = {
        {"file.compaction_p99_ratio", "ratio", BENCH_AT_MOST, 3},
        {"space.save_p99_us_idle", "us", BENCH_NO_TARGET, 0},
        {"space.save_p99_us_compacting", "us", BENCH_NO_TARGET, 0},
        {"space.save_p50_us_idle", "us", BENCH_NO_TARGET, 0},
        {"space.save_p50_us_compacting", "us", BENCH_NO_TARGET, 0},
    };
    double ratios[16];
    int status;

    for (size_t i = 0; i < rounds; i++)
        ratios[i] = values[rounds + i] / values[i];
    status = bench_report(bench, &specs[0], ratios, rounds, err);
    for (size_t i = 0; i < 2 && status == MAKO_OK; i++)
        status = bench_report(bench, &specs[1 + i], values + i * rounds, rounds, err);
    for (size_t i = 0; i < 2 && status == MAKO_OK; i++)
        status = bench_report(bench, &specs[3 + i], sides[i].middle + 1, rounds, err);
    return status;
}

static int busy_rounds(struct bench_contest *contest, double *times,
                       struct mako_error *err)
{
    const size_t rounds = bench_size(contest->bench, 7, 1);
    const size_t saves = bench_size(contest->bench, SAVES, 20);
    /* cppcheck-suppress constVariable ; the rounds write there, through busy */
    double middles[2][16], values[2 * 16];
    struct busy busy[2] = {
        {.contest = contest,
         .option = "dead_space=100",
         .saves = saves,
         .times = times,
         .middle = middles[0]},
        {.contest = contest,
         .option = "dead_space=40",
         .compacting = true,
         .saves = saves,
         .times = times,
         .middle = middles[1]},
    };
    struct bench_side sides[] = {{run_busy, &busy[0]}, {run_busy, &busy[1]}};
    int status = bench_rounds(sides, 2, rounds, values, err);

    return status == MAKO_OK ? report_busy(contest->bench, values, rounds, busy, err)
                             : status;
}

static int measure_latency(struct bench *bench, struct mako_error *err)
{
    static const char *const contenders[] = {"mako", NULL};
    struct bench_contest contest = {
        .bench = bench, .len = BENCH_STATE_SIZE, .extra = "dead_space=100"};
    double *times = calloc((size_t)10 * SAVES, sizeof *times);
    int status =
        bench_streams_make(bench_size(bench, 200000, 200), &contest.streams, err);

    if (status == MAKO_OK && !times)
        status = mako_fail(err, MAKO_E_NOMEM, "no memory for the times");
    if (status == MAKO_OK)
        status = bench_contest_begin(&contest, "busy", contenders, err);
    if (status == MAKO_OK)
        status = bench_contest_open(&contest, true, 1, err);
    if (status == MAKO_OK)
        status = bench_contest_fill(&contest, err);
    if (status == MAKO_OK)
        status = busy_rounds(&contest, times, err);
    bench_contest_end(&contest);
    bench_streams_free(&contest.streams);
    free(times);
    return status;
}

int bench_space(struct bench *bench, struct mako_error *err)
{
    int status = measure_overwrites(bench, err);

    return status == MAKO_OK ? measure_latency(bench, err) : status;
}

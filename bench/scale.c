/* bench/scale.c - ten million streams of 256 bytes in the file store: what they take of
 * memory, descriptors and disk, and how long opening them lasts.  Chosen by name: it
 * takes 5 GB of disk, and 2 GB of memory. */
#include "child.h"
#include "groups.h"

#include <stdlib.h>

#define LEN    256u
#define ID_LEN 20u /* as bench_streams_make() makes them */

struct opened {
    const struct bench_peer_use *use;
    struct bench_opening last;
};

static int open_it(void *arg, double *ms, struct mako_error *err)
{
    struct opened *opened = arg;
    int status = bench_child_open(&bench_peer_mako, opened->use, &opened->last, err);

    *ms = opened->last.ms;
    return status;
}

static int report_one(struct bench *bench, const char *name, const char *unit,
                      double value, struct mako_error *err)
{
    const struct bench_spec spec = {name, unit, BENCH_NO_TARGET, 0};

    return bench_report(bench, &spec, &value, 1, err);
}

static int report_rest(struct bench *bench, const struct opened *opened,
                       struct mako_error *err)
{
    double streams = (double)opened->use->streams;
    double disk = (double)bench_tree_size(opened->use->dir);
    int status = report_one(bench, "scale.memory_per_stream", "bytes",
                            opened->last.bytes / streams - ID_LEN, err);

    if (status == MAKO_OK)
        status = report_one(bench, "scale.disk_per_stream", "bytes", disk / streams, err);
    if (status == MAKO_OK)
        status = report_one(bench, "scale.descriptors", "", opened->last.files, err);
    return status;
}

static int measure(struct bench *bench, const struct bench_peer_use *use,
                   struct mako_error *err)
{
    static const struct bench_spec spec = {"scale.open_10m_ms", "ms", BENCH_NO_TARGET, 0};
    const size_t rounds = bench_size(bench, 5, 1);
    struct opened opened = {.use = use};
    struct bench_side side = {open_it, &opened};
    uint64_t begin = bench_now();
    double values[5];
    int status = bench_child_fill(&bench_peer_mako, use, false, err);

    if (status == MAKO_OK)
        status =
            report_one(bench, "scale.fill_per_s", "1/s",
                       (double)use->streams * 1e9 / (double)(bench_now() - begin), err);
    if (status == MAKO_OK)
        status = bench_rounds(&side, 1, rounds, values, err);
    if (status == MAKO_OK)
        status = bench_report(bench, &spec, values, rounds, err);
    return status == MAKO_OK ? report_rest(bench, &opened, err) : status;
}

int bench_scale(struct bench *bench, struct mako_error *err)
{
    struct mako_error ignored;
    char *dir = bench_path(bench->dir, "scale");
    const struct bench_peer_use use = {.dir = dir,
                                       .durable = true,
                                       .streams = bench_size(bench, 10000000, 500),
                                       .len = LEN};
    int status;

    if (!dir)
        return mako_fail(err, MAKO_E_NOMEM, "no memory for a path");
    status = measure(bench, &use, err);
    (void)bench_remove_tree(dir, &ignored);
    free(dir);
    return status;
}

/* bench/memory.c - the memory store: 1 KiB states, 10 000 streams in random order, one
 * thread, in time of the processor.  A load is what a caller does: load, look at the
 * length, let go. */
#include "groups.h"
#include "workload.h"

#include <stdlib.h>

static int measure(struct bench *bench, mako_store *store,
                   const struct bench_streams *streams, struct mako_error *err)
{
    static const struct bench_spec load_spec = {"memory.load_1k_us", "us", BENCH_AT_MOST,
                                                0.25};
    static const struct bench_spec save_spec = {"memory.save_1k_us", "us", BENCH_AT_MOST,
                                                0.6};
    size_t calls = bench_size(bench, 50000, 500), rounds = bench_size(bench, 31, 3);
    struct bench_walk load = {.store = store,
                              .streams = *streams,
                              .rng = bench_rng_make(1),
                              .calls = calls,
                              .clock = bench_cpu_now};
    struct bench_walk save = load;
    struct bench_side sides[] = {{bench_walk_load, &load}, {bench_walk_save, &save}};
    double *values = calloc(2 * rounds, sizeof *values);
    int status;

    if (!values)
        return mako_fail(err, MAKO_E_NOMEM, "no memory for %zu rounds", rounds);
    save.rng = bench_rng_make(2);
    save.seq = 1;
    status = bench_rounds(sides, 2, rounds, values, err);
    if (status == MAKO_OK)
        status = bench_report(bench, &load_spec, values, rounds, err);
    if (status == MAKO_OK)
        status = bench_report(bench, &save_spec, values + rounds, rounds, err);
    free(values);
    return status;
}

int bench_memory(struct bench *bench, struct mako_error *err)
{
    struct bench_streams streams;
    mako_store *store = NULL;
    int status = bench_streams_make(bench_size(bench, 10000, 200), &streams, err);

    if (status != MAKO_OK)
        return status;
    status = bench_open("memory", "memory", NULL, &store, err);
    if (status == MAKO_OK)
        status = bench_fill(store, &streams, err);
    if (status == MAKO_OK)
        status = measure(bench, store, &streams, err);
    mako_store_unref(store);
    bench_streams_free(&streams);
    return status;
}

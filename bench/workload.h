/* bench/workload.h - the work that groups share: streams, states, stores under test, and
 * walks over them in random order.  Uses the public API only. */
#ifndef MAKO_BENCH_WORKLOAD_H
#define MAKO_BENCH_WORKLOAD_H

#include <mako/snapshot.h>

#include "harness.h"

#define BENCH_STATE_SIZE 1024u
#define BENCH_ID_ROOM    32u

/* Stream ids, made beforehand: formatting them costs more than some loads. */
struct bench_streams {
    size_t count;
    char (*ids)[BENCH_ID_ROOM];
};
int bench_streams_make(size_t count, struct bench_streams *streams,
                       struct mako_error *err);
void bench_streams_free(struct bench_streams *streams);
/* The index-th of parts equal shares; borrows the ids. */
struct bench_streams bench_streams_share(const struct bench_streams *streams,
                                         size_t index, size_t parts);

/* Open a store of that plugin and durability; dir, where not NULL, is its option "dir".
 */
int bench_open(const char *plugin, const char *durability, const char *dir,
               mako_store **store, struct mako_error *err);

/* The same with more options of the plugin, "KEY=VALUE", NULL ends. */
int bench_open_with(const char *plugin, const char *durability, const char *dir,
                    const char *const *more, mako_store **store, struct mako_error *err);

/* Save or load one state of len bytes (at most BENCH_STATE_SIZE); anything but success
 * is a failure of the run. */
int bench_save(mako_store *store, const char *id, uint64_t seq, size_t len,
               struct mako_error *err);
int bench_load(mako_store *store, const char *id, size_t len, struct mako_error *err);

/* Give every stream a state at sequence 1, in batches. */
int bench_fill(mako_store *store, const struct bench_streams *streams,
               struct mako_error *err);

/* Calls in a row on streams picked at random; also a side of bench_rounds(), whose value
 * is the microseconds of one call. */
struct bench_walk {
    mako_store *store;
    struct bench_streams streams;
    struct bench_rng rng;
    size_t calls;
    uint64_t (*clock)(void); /* bench_now or bench_cpu_now */
    uint64_t seq;            /* of the last save; grows, so that none is stale */
};
int bench_walk_save(void *arg, double *us, struct mako_error *err);
int bench_walk_load(void *arg, double *us, struct mako_error *err);

#endif

/* bench/groups.h - the groups of figures; one file each. */
#ifndef MAKO_BENCH_GROUPS_H
#define MAKO_BENCH_GROUPS_H

#include "harness.h"

/* Measure and report every figure of the group, or fail. */
int bench_core(struct bench *bench, struct mako_error *err);
int bench_memory(struct bench *bench, struct mako_error *err);
int bench_file(struct bench *bench, struct mako_error *err);
int bench_million(struct bench *bench, struct mako_error *err);
int bench_matrix(struct bench *bench, struct mako_error *err);
int bench_space(struct bench *bench, struct mako_error *err);
int bench_scale(struct bench *bench, struct mako_error *err);
int bench_rehydrate(struct bench *bench, struct mako_error *err);
int bench_redis(struct bench *bench, struct mako_error *err);
int bench_replay(struct bench *bench, struct mako_error *err);

#endif

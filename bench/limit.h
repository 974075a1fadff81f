/* bench/limit.h - the least that a durable store must do: append bytes to one file and
 * flush it.  What a store is measured against; it keeps no index and can load nothing. */
#ifndef MAKO_BENCH_LIMIT_H
#define MAKO_BENCH_LIMIT_H

#include "harness.h"

struct bench_limit;

/* A new file at path for records of len bytes, for use by at most threads threads. */
int bench_limit_open(const char *path, size_t len, size_t threads,
                     struct bench_limit **out, struct mako_error *err);
void bench_limit_close(struct bench_limit *limit);

/* Append one record and flush: one thread at a time. */
int bench_limit_append(struct bench_limit *limit, struct mako_error *err);

/* Append count records, at most one a thread, with one flush. */
int bench_limit_append_many(struct bench_limit *limit, size_t count,
                            struct mako_error *err);

/* One record from many threads: whoever finds no flush going on writes and flushes what
 * all have brought; the others wait for it (group commit). */
int bench_limit_commit(struct bench_limit *limit, struct mako_error *err);

#endif

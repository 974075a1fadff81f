/* bench/peer.h - contenders behind one interface: the file store and what people use
 * instead of it.  Each is in a file of its own, peer_NAME.c, which gives the reason of
 * every setting and where its documentation advises it.
 *
 * A contender keeps states of one length under ids.  How they are made, and how fast the
 * contender is, is none of its business. */
#ifndef MAKO_BENCH_PEER_H
#define MAKO_BENCH_PEER_H

#include "harness.h"

/* What a contender is opened for; it may tune itself by any of it. */
struct bench_peer_use {
    const char *dir;   /* its own; made where it is missing */
    bool durable;      /* a save outlives a power cut; else only a killed process */
    size_t threads;    /* that use it at the same time, numbered from 0 */
    size_t streams;    /* that it will hold */
    size_t len;        /* of one state, a multiple of 8 */
    const char *extra; /* one more option of the file store, "KEY=VALUE"; or NULL */
};

/* What is saved.  seq grows with each save of a stream. */
struct bench_put {
    const char *id;
    uint64_t seq;
    const void *state;
};

/* All calls but open and close come from several threads, each with its own number. */
struct bench_peer {
    const char *name;
    int (*open)(const struct bench_peer_use *use, void **self, struct mako_error *err);
    int (*save)(void *self, size_t thread, const struct bench_put *put,
                struct mako_error *err);
    /* All or nothing where the contender knows such a thing; one flush. */
    int (*save_many)(void *self, size_t thread, const struct bench_put *puts,
                     size_t count, struct mako_error *err);
    /* NULL: it can load nothing.  *digest is bench_digest() of the whole state. */
    int (*load)(void *self, size_t thread, const char *id, uint64_t *digest,
                struct mako_error *err);
    /* Wait for what goes on in the background; NULL: nothing ever does. */
    int (*settle)(void *self, struct mako_error *err);
    /* Call counter for each of its own counters; NULL: there are none. */
    int (*stats)(void *self, void (*counter)(void *arg, const char *name, uint64_t value),
                 void *arg, struct mako_error *err);
    void (*close)(void *self);
};

/* The contenders of this build.  The file store is the first, "mako", and is followed by
 * "mako_map", the same with "map"; "limit" is the bare loop of limit.h, whose records
 * have the length of the use. */
extern const struct bench_peer *const bench_peers[];
extern const size_t bench_peer_count;
extern const struct bench_peer bench_peer_mako, bench_peer_mako_map, bench_peer_sqlite,
    bench_peer_lmdb, bench_peer_lmdb_writemap, bench_peer_rocksdb, bench_peer_files,
    bench_peer_limit;

/* NULL: not in this build. */
const struct bench_peer *bench_peer_find(const char *name);
/* Names of the contenders that were left out for want of their library, or "". */
const char *bench_peers_missing(void);

/* The sum of a state's 64-bit words, so that whoever loads it must read all of it. */
uint64_t bench_digest(const void *state, size_t len);

/* One counter of a contender that has it. */
int bench_peer_counter(const struct bench_peer *peer, void *self, const char *name,
                       uint64_t *value, struct mako_error *err);

#endif

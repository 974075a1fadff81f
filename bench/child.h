/* bench/child.h - contenders in processes of their own: to be filled and then killed, or
 * opened where nothing is warm but the page cache.
 *
 * A child is this very program again, because some contenders do not survive a fork. */
#ifndef MAKO_BENCH_CHILD_H
#define MAKO_BENCH_CHILD_H

#include "peer.h"
#include "workload.h"

/* The first argument that makes the program a child; the rest is child_main()'s. */
#define BENCH_CHILD "--child"

/* Fill a contender in its directory, which must be empty, and let the process end well,
 * or by SIGKILL with the contender open. */
int bench_child_fill(const struct bench_peer *peer, const struct bench_peer_use *use,
                     bool kill_it, struct mako_error *err);

/* What an opening in a new process costs. */
struct bench_opening {
    double ms;    /* until a first stream is loaded */
    double bytes; /* of anonymous memory that came with it */
    double files; /* descriptors that are open */
};
int bench_child_open(const struct bench_peer *peer, const struct bench_peer_use *use,
                     struct bench_opening *opening, struct mako_error *err);

/* In the child. */
int bench_child_main(int argc, char **argv);

#endif

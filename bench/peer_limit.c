/* bench/peer_limit.c - the bare loops of limit.h as a contender: they append records of
 * the use's length and flush, and keep nothing that could be found again. */
#include "limit.h"
#include "peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct limit_peer {
    size_t threads;
    struct bench_limit *limit;
};

static int open_limit(const struct bench_peer_use *use, void **self,
                      struct mako_error *err)
{
    struct limit_peer *peer = calloc(1, sizeof *peer);
    char *path = bench_path(use->dir, "log");
    int status;

    if (!peer || !path)
        status = mako_fail(err, MAKO_E_NOMEM, "%s: no memory", use->dir);
    else if (mkdir(use->dir, 0700) != 0 && errno != EEXIST)
        status = mako_fail(err, MAKO_E_IO, "%s: %s", use->dir, strerror(errno));
    else
        status = bench_limit_open(path, use->len, use->threads, &peer->limit, err);
    free(path);
    if (status != MAKO_OK) {
        free(peer);
        return status;
    }
    peer->threads = use->threads;
    *self = peer;
    return MAKO_OK;
}

static int save(void *self, size_t thread, const struct bench_put *put,
                struct mako_error *err)
{
    struct limit_peer *peer = self;

    (void)thread;
    (void)put;
    return peer->threads == 1 ? bench_limit_append(peer->limit, err)
                              : bench_limit_commit(peer->limit, err);
}

static int save_many(void *self, size_t thread, const struct bench_put *puts,
                     size_t count, struct mako_error *err)
{
    struct limit_peer *peer = self;

    (void)thread;
    (void)puts;
    return bench_limit_append_many(peer->limit, count, err);
}

static void close_limit(void *self)
{
    struct limit_peer *peer = self;

    bench_limit_close(peer->limit);
    free(peer);
}

const struct bench_peer bench_peer_limit = {
    .name = "limit",
    .open = open_limit,
    .save = save,
    .save_many = save_many,
    .close = close_limit,
};

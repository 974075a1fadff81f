/* bench/peer_mako.c - the file store as a contender, through the public interface.
 *
 * All options are the defaults, but for "map" of mako_map and what a use asks for. */
#include "peer.h"
#include "workload.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <mako/snapshot.h>

#define BATCH_MAX 1024u

struct mako_peer {
    mako_store *store;
    char *dir;
    size_t len;
};

static int open_store(const struct bench_peer_use *use, const char *map, void **self,
                      struct mako_error *err)
{
    const char *const extras[] = {use->extra ? use->extra : map, use->extra ? map : NULL,
                                  NULL};
    struct mako_peer *peer = malloc(sizeof *peer);
    int status;

    if (!peer)
        return mako_fail(err, MAKO_E_NOMEM, "%s: no memory", use->dir);
    *peer = (struct mako_peer){.len = use->len, .dir = strdup(use->dir)};
    if (!peer->dir) {
        free(peer);
        return mako_fail(err, MAKO_E_NOMEM, "%s: no memory", use->dir);
    }
    status = bench_open_with("file", use->durable ? "power" : "crash", use->dir, extras,
                             &peer->store, err);
    if (status != MAKO_OK) {
        free(peer->dir);
        free(peer);
        return status;
    }
    *self = peer;
    return MAKO_OK;
}

static int open_mako(const struct bench_peer_use *use, void **self,
                     struct mako_error *err)
{
    return open_store(use, NULL, self, err);
}

static int open_map(const struct bench_peer_use *use, void **self, struct mako_error *err)
{
    return open_store(use, "map=true", self, err);
}

static struct mako_save save_of(const struct mako_peer *peer, const struct bench_put *put)
{
    return (struct mako_save){
        .struct_size = sizeof(struct mako_save),
        .seq = put->seq,
        .schema = 1,
        .state = put->state,
        .state_len = peer->len,
    };
}

static int verdict(int status, const char *what, const char *id, struct mako_error *err)
{
    return status <= 0 ? status
                       : mako_fail(err, MAKO_E_PLUGIN, "%s of '%s' returned %s", what, id,
                                   mako_status_name(status));
}

static int save(void *self, size_t thread, const struct bench_put *put,
                struct mako_error *err)
{
    struct mako_peer *peer = self;
    struct mako_save save = save_of(peer, put);

    (void)thread;
    return verdict(mako_store_save(peer->store, put->id, &save, err), "save", put->id,
                   err);
}

static int save_many(void *self, size_t thread, const struct bench_put *puts,
                     size_t count, struct mako_error *err)
{
    struct mako_peer *peer = self;
    struct mako_save saves[BATCH_MAX];
    const struct mako_save *pointers[BATCH_MAX] = {NULL};
    const char *ids[BATCH_MAX] = {NULL};
    int statuses[BATCH_MAX], status;

    (void)thread;
    if (count > BATCH_MAX)
        return mako_fail(err, MAKO_E_LIMIT, "a batch of %zu", count);
    for (size_t i = 0; i < count; i++) {
        saves[i] = save_of(peer, &puts[i]);
        pointers[i] = &saves[i];
        ids[i] = puts[i].id;
    }
    status = mako_store_save_many(peer->store, ids, pointers, count, statuses, err);
    for (size_t i = 0; status == MAKO_OK && i < count; i++)
        status = verdict(statuses[i], "save", ids[i], err);
    return status;
}

static int load(void *self, size_t thread, const char *id, uint64_t *digest,
                struct mako_error *err)
{
    static const struct mako_expect expect = {
        .struct_size = sizeof expect, .schema_min = 1, .schema_max = 1};
    struct mako_peer *peer = self;
    mako_snapshot *snapshot;
    const void *state;
    size_t len;
    int status = mako_store_load(peer->store, id, &expect, &snapshot, NULL, err);

    (void)thread;
    if (status != MAKO_OK)
        return verdict(status, "load", id, err);
    state = mako_snapshot_state(snapshot, &len);
    *digest = bench_digest(state, len);
    mako_snapshot_unref(snapshot);
    return MAKO_OK;
}

static int stats(void *self, void (*counter)(void *arg, const char *name, uint64_t value),
                 void *arg, struct mako_error *err)
{
    struct mako_peer *peer = self;

    return mako_store_stats(peer->store, counter, arg, err);
}

/* Compaction is idle when the files have stood still for half a second; one that never
 * comes to rest is a failure.  (Asking for counters would take the processor: some are
 * made by walking over all streams.) */
static int settle(void *self, struct mako_error *err)
{
    const struct timespec pause = {.tv_nsec = 50000000};
    const struct mako_peer *peer = self;
    const uint64_t begin = bench_now();
    uint64_t bytes, last = UINT64_MAX, since = begin;

    while (bench_now() - since < UINT64_C(500000000)) {
        bytes = bench_tree_size(peer->dir);
        if (bytes != last)
            since = bench_now();
        last = bytes;
        if (bench_now() - begin > UINT64_C(300000000000))
            return mako_fail(err, MAKO_E_PLUGIN, "compaction did not end in 300 s");
        (void)nanosleep(&pause, NULL);
    }
    return MAKO_OK;
}

static void close_mako(void *self)
{
    struct mako_peer *peer = self;

    mako_store_unref(peer->store);
    free(peer->dir);
    free(peer);
}

const struct bench_peer bench_peer_mako = {
    .name = "mako",
    .open = open_mako,
    .save = save,
    .save_many = save_many,
    .load = load,
    .settle = settle,
    .stats = stats,
    .close = close_mako,
};

const struct bench_peer bench_peer_mako_map = {
    .name = "mako_map",
    .open = open_map,
    .save = save,
    .save_many = save_many,
    .load = load,
    .settle = settle,
    .stats = stats,
    .close = close_mako,
};

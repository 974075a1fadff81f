/* bench/peer_lmdb.c - LMDB.  What is set, and why; the quotations are of lmdb.h:
 *
 *  - one environment a process, opened once ("do not have open an LMDB database twice in
 *    the same process at the same time");
 *  - a map much larger than the data: "the size should be ... as large as possible, to
 *    accommodate future growth", and copying on write needs room;
 *  - MDB_NOTLS, and one read transaction a thread that is reset and renewed instead of
 *    begun anew: mdb_txn_reset() is there because it "allows less overhead";
 *  - no readahead to think of: everything is in memory;
 *  - durable: the default, a flush of the data and then of the meta page at each commit;
 *  - else: MDB_NOSYNC, without MDB_WRITEMAP.  With both "a system crash can corrupt the
 *    database"; with NOSYNC alone transactions "only lose D (durability)" where the file
 *    system keeps the order of writes.  That is what the file store promises there, too:
 *    a power cut may cost snapshots, never the store;
 *  - "lmdb_writemap" is the other choice, for comparison: it writes no page by a system
 *    call, and "may be slightly faster for DBs that fit entirely in RAM";
 *  - a save is a transaction of its own; a batch is one transaction. */
#include "peer.h"

#include <errno.h>
#include <lmdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct lmdb_peer {
    MDB_env *env;
    MDB_dbi dbi;
    size_t len, threads;
    MDB_txn **readers; /* one a thread */
};

static int fail(const char *what, int error, struct mako_error *err)
{
    return mako_fail(err, MAKO_E_IO, "lmdb: %s: %s", what, mdb_strerror(error));
}

static void close_lmdb(void *self)
{
    struct lmdb_peer *peer = self;

    for (size_t i = 0; peer->readers && i < peer->threads; i++)
        if (peer->readers[i])
            mdb_txn_abort(peer->readers[i]);
    free(peer->readers);
    if (peer->env)
        mdb_env_close(peer->env);
    free(peer);
}

static int open_dbi(struct lmdb_peer *peer, struct mako_error *err)
{
    MDB_txn *txn;
    int error = mdb_txn_begin(peer->env, NULL, 0, &txn);

    if (error)
        return fail("begin", error, err);
    error = mdb_dbi_open(txn, NULL, 0, &peer->dbi);
    if (error) {
        mdb_txn_abort(txn);
        return fail("open", error, err);
    }
    error = mdb_txn_commit(txn);
    return error ? fail("commit", error, err) : MAKO_OK;
}

static int open_readers(struct lmdb_peer *peer, struct mako_error *err)
{
    peer->readers = calloc(peer->threads, sizeof(MDB_txn *));
    if (!peer->readers)
        return mako_fail(err, MAKO_E_NOMEM, "lmdb: no memory");
    for (size_t i = 0; i < peer->threads; i++) {
        int error = mdb_txn_begin(peer->env, NULL, MDB_RDONLY, &peer->readers[i]);

        if (error)
            return fail("begin", error, err);
        mdb_txn_reset(peer->readers[i]);
    }
    return MAKO_OK;
}

static int open_env(struct lmdb_peer *peer, const struct bench_peer_use *use,
                    unsigned more, struct mako_error *err)
{
    const size_t room = (size_t)1 << 30;
    unsigned flags = MDB_NOTLS | (use->durable ? 0 : MDB_NOSYNC) | more;
    int error = mdb_env_create(&peer->env);

    if (!error)
        error = mdb_env_set_mapsize(peer->env, 16 * room);
    if (!error)
        error = mdb_env_set_maxreaders(peer->env, (unsigned)use->threads + 16);
    if (!error)
        error = mdb_env_open(peer->env, use->dir, flags, 0600);
    return error ? fail(use->dir, error, err) : MAKO_OK;
}

static int open_flags(const struct bench_peer_use *use, unsigned more, void **self,
                      struct mako_error *err)
{
    struct lmdb_peer *peer = calloc(1, sizeof *peer);
    int status;

    if (!peer)
        return mako_fail(err, MAKO_E_NOMEM, "lmdb: no memory");
    *peer = (struct lmdb_peer){.len = use->len, .threads = use->threads};
    if (mkdir(use->dir, 0700) != 0 && errno != EEXIST)
        status = fail(use->dir, errno, err);
    else
        status = open_env(peer, use, more, err);
    if (status == MAKO_OK)
        status = open_dbi(peer, err);
    if (status == MAKO_OK)
        status = open_readers(peer, err);
    if (status != MAKO_OK)
        close_lmdb(peer);
    else
        *self = peer;
    return status;
}

static int open_lmdb(const struct bench_peer_use *use, void **self,
                     struct mako_error *err)
{
    return open_flags(use, 0, self, err);
}

static int open_writemap(const struct bench_peer_use *use, void **self,
                         struct mako_error *err)
{
    return open_flags(use, MDB_WRITEMAP, self, err);
}

static MDB_val key_of(const char *id)
{
    return (MDB_val){.mv_size = strlen(id), .mv_data = (void *)(uintptr_t)id};
}

static int save_many(void *self, size_t thread, const struct bench_put *puts,
                     size_t count, struct mako_error *err)
{
    struct lmdb_peer *peer = self;
    MDB_txn *txn;
    int error = mdb_txn_begin(peer->env, NULL, 0, &txn);

    (void)thread;
    if (error)
        return fail("begin", error, err);
    for (size_t i = 0; !error && i < count; i++) {
        MDB_val key = key_of(puts[i].id);
        MDB_val value = {.mv_size = peer->len,
                         .mv_data = (void *)(uintptr_t)puts[i].state};

        error = mdb_put(txn, peer->dbi, &key, &value, 0);
    }
    if (error)
        mdb_txn_abort(txn);
    else
        error = mdb_txn_commit(txn);
    return error ? fail("save", error, err) : MAKO_OK;
}

static int save(void *self, size_t thread, const struct bench_put *put,
                struct mako_error *err)
{
    return save_many(self, thread, put, 1, err);
}

static int load(void *self, size_t thread, const char *id, uint64_t *digest,
                struct mako_error *err)
{
    struct lmdb_peer *peer = self;
    MDB_txn *txn = peer->readers[thread];
    MDB_val key = key_of(id), value;
    int error = mdb_txn_renew(txn);

    if (error)
        return fail("renew", error, err);
    error = mdb_get(txn, peer->dbi, &key, &value);
    if (!error)
        *digest = bench_digest(value.mv_data, value.mv_size);
    mdb_txn_reset(txn);
    return error ? fail(id, error, err) : MAKO_OK;
}

const struct bench_peer bench_peer_lmdb = {
    .name = "lmdb",
    .open = open_lmdb,
    .save = save,
    .save_many = save_many,
    .load = load,
    .close = close_lmdb,
};

const struct bench_peer bench_peer_lmdb_writemap = {
    .name = "lmdb_writemap",
    .open = open_writemap,
    .save = save,
    .save_many = save_many,
    .load = load,
    .close = close_lmdb,
};

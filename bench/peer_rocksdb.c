/* bench/peer_rocksdb.c - RocksDB, through its C interface.  What is set, and why; pages
 * are of its wiki on github.com/facebook/rocksdb:
 *
 *  - durable: WriteOptions.sync, one flush a group of writers ("WAL Performance"); the
 *    group commit and the concurrent memtable are on by default;
 *  - recycle_log_file_num, so that a flush need not write the log's size: "WAL
 *    Performance" and options.h;
 *  - OptimizeForPointLookup ("Setup Options and Basic Tuning"): Bloom filters of 10 bits,
 *    in the memtable too, a hash index in each block, and a block cache, here one that
 *    holds all data twice ("Block Cache");
 *  - IncreaseParallelism with both processors ("Setup Options and Basic Tuning");
 *  - level_compaction_dynamic_level_bytes: advised for level compaction, less space
 *    ("Leveled Compaction");
 *  - no compression: states that do not compress would only be the slower for it;
 *  - states of 16 KiB and more in blob files, with garbage collection ("BlobDB"): they
 *    are not copied by each compaction;
 *  - max_open_files -1, the default: every table stays open ("RocksDB Tuning Guide");
 *  - loads by rocksdb_get_pinned(), which copies nothing out of the cache;
 *  - else as it comes. */
#include "peer.h"

#include <errno.h>
#include <rocksdb/c.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

struct rocksdb_peer {
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_writeoptions_t *writing;
    rocksdb_readoptions_t *reading;
    size_t len;
};

/* Takes the message over. */
static int verdict(char *message, const char *what, struct mako_error *err)
{
    int status = MAKO_OK;

    if (message)
        status = mako_fail(err, MAKO_E_IO, "rocksdb: %s: %s", what, message);
    rocksdb_free(message);
    return status;
}

static void close_rocksdb(void *self)
{
    struct rocksdb_peer *peer = self;

    if (peer->db)
        rocksdb_close(peer->db);
    rocksdb_readoptions_destroy(peer->reading);
    rocksdb_writeoptions_destroy(peer->writing);
    rocksdb_options_destroy(peer->options);
    free(peer);
}

static void tune(rocksdb_options_t *options, const struct bench_peer_use *use)
{
    uint64_t data = (uint64_t)use->streams * use->len;

    rocksdb_options_set_create_if_missing(options, 1);
    rocksdb_options_increase_parallelism(options, 2);
    rocksdb_options_optimize_for_point_lookup(options, (data >> 19) + 64);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(options, 1);
    rocksdb_options_set_compression(options, rocksdb_no_compression);
    rocksdb_options_set_recycle_log_file_num(options, 4);
    if (use->len >= 16384) {
        rocksdb_options_set_enable_blob_files(options, 1);
        rocksdb_options_set_enable_blob_gc(options, 1);
    }
}

static int open_rocksdb(const struct bench_peer_use *use, void **self,
                        struct mako_error *err)
{
    struct rocksdb_peer *peer = calloc(1, sizeof *peer);
    char *message = NULL;
    int status;

    if (!peer)
        return mako_fail(err, MAKO_E_NOMEM, "%s: no memory", use->dir);
    *peer = (struct rocksdb_peer){
        .options = rocksdb_options_create(),
        .writing = rocksdb_writeoptions_create(),
        .reading = rocksdb_readoptions_create(),
        .len = use->len,
    };
    tune(peer->options, use);
    rocksdb_writeoptions_set_sync(peer->writing, use->durable);
    peer->db = rocksdb_open(peer->options, use->dir, &message);
    status = verdict(message, use->dir, err);
    if (status != MAKO_OK)
        close_rocksdb(peer);
    else
        *self = peer;
    return status;
}

static int save(void *self, size_t thread, const struct bench_put *put,
                struct mako_error *err)
{
    struct rocksdb_peer *peer = self;
    char *message = NULL;

    (void)thread;
    rocksdb_put(peer->db, peer->writing, put->id, strlen(put->id), put->state, peer->len,
                &message);
    return verdict(message, put->id, err);
}

static int save_many(void *self, size_t thread, const struct bench_put *puts,
                     size_t count, struct mako_error *err)
{
    struct rocksdb_peer *peer = self;
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    char *message = NULL;

    (void)thread;
    for (size_t i = 0; i < count; i++)
        rocksdb_writebatch_put(batch, puts[i].id, strlen(puts[i].id), puts[i].state,
                               peer->len);
    rocksdb_write(peer->db, peer->writing, batch, &message);
    rocksdb_writebatch_destroy(batch);
    return verdict(message, "batch", err);
}

static int load(void *self, size_t thread, const char *id, uint64_t *digest,
                struct mako_error *err)
{
    struct rocksdb_peer *peer = self;
    char *message = NULL;
    rocksdb_pinnableslice_t *slice =
        rocksdb_get_pinned(peer->db, peer->reading, id, strlen(id), &message);
    const char *state;
    size_t len;

    (void)thread;
    if (message)
        return verdict(message, id, err);
    if (!slice)
        return mako_fail(err, MAKO_E_PLUGIN, "rocksdb: '%s' is not there", id);
    state = rocksdb_pinnableslice_value(slice, &len);
    *digest = bench_digest(state, len);
    rocksdb_pinnableslice_destroy(slice);
    return MAKO_OK;
}

/* Wait until no memtable is being written out and no table compacted. */
static int settle(void *self, struct mako_error *err)
{
    static const char *const busy[] = {
        "rocksdb.mem-table-flush-pending", "rocksdb.num-running-flushes",
        "rocksdb.compaction-pending", "rocksdb.num-running-compactions"};
    const struct timespec pause = {.tv_nsec = 50000000};
    const uint64_t deadline = bench_now() + UINT64_C(300000000000);
    struct rocksdb_peer *peer = self;
    uint64_t sum = 1, value;

    while (sum > 0 && bench_now() < deadline) {
        sum = 0;
        for (size_t i = 0; i < sizeof busy / sizeof busy[0]; i++)
            if (rocksdb_property_int(peer->db, busy[i], &value) == 0)
                sum += value;
        if (sum > 0)
            (void)nanosleep(&pause, NULL);
    }
    return sum == 0 ? MAKO_OK
                    : mako_fail(err, MAKO_E_PLUGIN, "rocksdb did not end in 300 s");
}

const struct bench_peer bench_peer_rocksdb = {
    .name = "rocksdb",
    .open = open_rocksdb,
    .save = save,
    .save_many = save_many,
    .load = load,
    .settle = settle,
    .close = close_rocksdb,
};

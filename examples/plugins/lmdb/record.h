/* record.h - snapshots as keys and values of LMDB.
 *
 * A key is the stream's id, so that the map is in the order of ids and a prefix is a
 * range. LMDB's keys end at 511 bytes and ids at 1024: a longer id is cut, and a NUL, a
 * hash and a number follow, which tells apart those that share all that.  An id has no
 * NUL in it, so no two ids ever get one key.
 *
 * A value is a head, the whole id, and the blob; in the machine's own byte order, as
 * everything in LMDB's files. */
#ifndef RECORD_H
#define RECORD_H

#include <mako/store_plugin.h>

#include <lmdb.h>
#include <stdbool.h>

#define RECORD_KEY_MAX 511u

struct record_key {
    size_t len;
    unsigned char bytes[RECORD_KEY_MAX];
};

/* Points into the map: gone when the transaction ends, or writes. */
struct record {
    struct mako_str stream; /* no NUL behind it */
    struct mako_meta meta;
    const void *blob;
    size_t blob_len;
    bool damaged; /* the value is none of ours: of the rest only stream is known */
};

/* Larger ones do not fit into a value of LMDB. */
bool record_fits(const struct mako_record *record);

/* The functions below return LMDB's codes. */

/* The stream's record; or MDB_NOTFOUND, and the key that is free for it. */
int record_find(MDB_txn *txn, MDB_dbi dbi, struct mako_str stream, struct record_key *key,
                struct record *record);

int record_put(MDB_txn *txn, MDB_dbi dbi, const struct record_key *key,
               const struct mako_record *record);

int record_remove(MDB_txn *txn, MDB_dbi dbi, const struct record_key *key);

/* Where a walk over the streams with the prefix begins. */
void record_first(struct mako_str prefix, struct record_key *at);

/* The next record at or behind *at with the prefix, and *at then is behind it;
 * MDB_NOTFOUND: no more. */
int record_next(MDB_txn *txn, MDB_dbi dbi, struct mako_str prefix, struct record_key *at,
                struct record *record);

#endif

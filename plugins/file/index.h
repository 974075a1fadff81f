/* plugins/file/index.h - which record holds each stream's latest snapshot, in memory.
 *
 * Sharded by the hash of the stream's id, a lock a shard.  It holds acknowledged records
 * only, so that what a load sees has been made durable.  Does no I/O. */
#ifndef MAKO_FILE_INDEX_H
#define MAKO_FILE_INDEX_H

#include "segment.h"

/* A record and where it stands.  offset is the record's, not the blob's. */
struct place {
    struct segment *segment;
    uint64_t number; /* log number */
    uint64_t offset;
    struct mako_meta meta;
    uint32_t blob_len;
    uint16_t stream_len;
    bool damaged; /* its payload's checksum failed */
    bool removed; /* a removal; only while recovery runs */
};

struct index;
struct index_entry; /* memory for one more stream */

struct index *index_new(void);
void index_free(struct index *index);

/* What is stored of a stream. */
bool index_find(struct index *index, struct mako_str stream, uint64_t hash,
                struct place *place);

/* Memory and a slot for stream, so that publishing cannot fail.  NULL: no memory. */
struct index_entry *index_reserve(struct index *index, struct mako_str stream,
                                  uint64_t hash);
/* Give back a reservation; NULL is fine. */
void index_unreserve(struct index *index, struct index_entry *entry);
/* Make place, of the reserved stream, what is stored.  Takes the entry. */
void index_publish(struct index *index, struct index_entry *entry,
                   const struct place *place);
void index_remove(struct index *index, struct mako_str stream, uint64_t hash);

/* For recovery: place counts if its log number is the stream's highest.  False: no
 * memory. */
bool index_recover(struct index *index, struct mako_str stream, uint64_t hash,
                   const struct place *place);
/* For recovery: a record of number, of the stream whose id hashes to hash, stood at place
 * and cannot be read.  The stream is damaged unless a later record was found. */
void index_recover_lost(struct index *index, uint64_t hash, const struct place *place);
/* The end of recovery: forget removals. */
void index_settle(struct index *index);

/* How many streams there are, and how many of them are damaged. */
void index_count(struct index *index, uint64_t *streams, uint64_t *damaged);

/* Call visit for each stream that begins with prefix, no lock held; nonzero stops.
 * False: no memory. */
bool index_scan(struct index *index, struct mako_str prefix,
                int (*visit)(void *arg, struct mako_str stream,
                             const struct mako_meta *meta, uint64_t blob_len),
                void *arg);

#endif

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
    bool unnamed; /* damaged, and nothing that stands there tells the stream */
    bool removed; /* a removal; in the index only while recovery runs */
};

/* The place of the record that frame heads at offset. */
struct place place_of(struct segment *segment, const struct format_frame *frame,
                      uint64_t offset);

struct index;
struct index_entry; /* a stream's, reserved */

struct index *index_new(void);
void index_free(struct index *index);

/* What is stored of a stream.  The place's segment is held for the caller. */
bool index_find(struct index *index, struct mako_str stream, uint64_t hash,
                struct place *place);
/* The sequence of it, and the log number. */
bool index_peek(struct index *index, struct mako_str stream, uint64_t hash, uint64_t *seq,
                uint64_t *number);

/* Memory and a slot for stream, so that publishing cannot fail.  NULL: no memory. */
struct index_entry *index_reserve(struct index *index, struct mako_str stream,
                                  uint64_t hash);
/* index_peek() of a reserved stream, without a search. */
bool index_stored(struct index *index, const struct index_entry *entry, uint64_t hash,
                  uint64_t *seq);
/* Give back a reservation; NULL is fine. */
void index_unreserve(struct index *index, struct index_entry *entry, uint64_t hash);
/* Make place, of the reserved stream, what is stored.  Takes the reservation. */
void index_publish(struct index *index, struct index_entry *entry, uint64_t hash,
                   const struct place *place);
void index_remove(struct index *index, struct mako_str stream, uint64_t hash);
/* The record of place->number has moved to place, or turned out to be damaged: follow.
 * False: another one is stored by now, or none. */
bool index_move(struct index *index, struct mako_str stream, uint64_t hash,
                const struct place *place);

/* Before recovery: how many streams may come. */
void index_expect(struct index *index, uint64_t streams);
/* For recovery: place counts if its log number is the stream's highest.  False: no
 * memory. */
bool index_recover(struct index *index, struct mako_str stream, uint64_t hash,
                   const struct place *place);
/* A record that recovery has found. */
struct index_found {
    struct mako_str stream;
    uint64_t hash; /* of the id */
    struct place place;
};

#define INDEX_MANY 2048u

/* For recovery: index_recover() of each, at most INDEX_MANY.  Several times as fast,
 * since what has to be looked at is fetched from memory beforehand. */
bool index_recover_many(struct index *index, const struct index_found *found,
                        size_t count);
/* For recovery: a record of number, of the stream whose id hashes to hash, stood at place
 * and cannot be read.  The stream is damaged unless a later record was found; true: it
 * is. */
bool index_recover_lost(struct index *index, uint64_t hash, const struct place *place);
/* The end of recovery: forget removals. */
void index_settle(struct index *index);

/* How many streams there are, and how many of them are damaged. */
void index_count(struct index *index, uint64_t *streams, uint64_t *damaged);
/* Bytes that it takes in memory. */
uint64_t index_bytes(struct index *index);

/* Call visit for each stream that begins with prefix, no lock held; nonzero stops.  The
 * place's segment is an address only: it may be gone by then.  False: no memory. */
bool index_scan(struct index *index, struct mako_str prefix,
                int (*visit)(void *arg, struct mako_str stream,
                             const struct place *place),
                void *arg);

#endif

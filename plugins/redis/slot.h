/* plugins/redis/slot.h - Redis Cluster's arithmetic: which slot a key is in, and which
 * servers the slots are on.  Pure functions. */
#ifndef MAKO_REDIS_SLOT_H
#define MAKO_REDIS_SLOT_H

#include "reply.h"
#include "settings.h"

#define SLOTS       16384u
#define SLOT_NOBODY UINT16_MAX
#define MASTERS_MAX 1024u

uint16_t slot_of(const char *key, size_t len);

/* owner[slot] is an index into masters, or SLOT_NOBODY. */
struct slot_map {
    size_t count;
    struct endpoint masters[MASTERS_MAX];
    uint16_t owner[SLOTS];
};

/* From the answer to CLUSTER SLOTS by the server at from, which may leave out its own
 * name.  False: not such an answer, or it names no server at all. */
bool slot_map_read(const struct reply *reply, const struct endpoint *from,
                   struct slot_map *map);

#endif

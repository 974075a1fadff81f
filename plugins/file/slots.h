/* plugins/file/slots.h - the hash tables' memory: for each size of a table one region,
 * with a place in it for every shard.
 *
 * The tables of all shards grow at about the same time, so side by side they fill huge
 * pages, which one alone would not.  A region goes back when the last table has left it.
 */
#ifndef MAKO_FILE_SLOTS_H
#define MAKO_FILE_SLOTS_H

#include <pthread.h>
#include <stdint.h>

struct slot {
    uint32_t hash; /* of the id, its low half */
    uint32_t ref;  /* of the entry; 0: free */
};

struct slots_region;

struct slots_pool {
    size_t tables; /* how many there are */
    pthread_mutex_t lock;
    struct slots_region *regions;
};

void slots_pool_init(struct slots_pool *pool, size_t tables);
/* Every table's memory goes back. */
void slots_pool_done(struct slots_pool *pool);

/* Memory for the table number which, of room slots, all free.  Each asks for a room once
 * only.  NULL: no memory. */
struct slot *slots_take(struct slots_pool *pool, size_t which, uint32_t room);
/* A table of room slots is not used any more; 0 is fine. */
void slots_give(struct slots_pool *pool, uint32_t room);

#endif

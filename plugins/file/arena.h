/* plugins/file/arena.h - memory for many small things of different sizes, named by 32
 * bits instead of a pointer.
 *
 * Chunks are cut from large regions, which the kernel may back with huge pages; they go
 * back all at once.  No locks: an arena belongs to whoever holds its shard, the pool's
 * own lock guards the regions. */
#ifndef MAKO_FILE_ARENA_H
#define MAKO_FILE_ARENA_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#define ARENA_UNIT    16u
#define ARENA_CHUNK   2048u /* units */
#define ARENA_CLASSES 72u   /* the largest thing, in units */

struct arena_region;

struct arena_pool {
    pthread_mutex_t lock;
    struct arena_region *regions; /* the newest first */
    size_t used;                  /* bytes of the newest */
};

struct arena {
    struct arena_pool *pool;
    unsigned char **chunks;
    uint32_t count, room;
    uint32_t used;                /* units of the last chunk */
    uint32_t free[ARENA_CLASSES]; /* by size, chained through their first bytes */
};

void arena_pool_init(struct arena_pool *pool);
/* Every arena's memory goes back. */
void arena_pool_done(struct arena_pool *pool);

/* The arena's own table only; things go with the pool. */
void arena_done(struct arena *arena);

/* Room for bytes, 16-aligned, not cleared.  0: no memory. */
uint32_t arena_take(struct arena *arena, size_t bytes);
void arena_give(struct arena *arena, uint32_t ref, size_t bytes);

static inline void *arena_at(const struct arena *arena, uint32_t ref)
{
    return arena->chunks[ref / ARENA_CHUNK] + (size_t)(ref % ARENA_CHUNK) * ARENA_UNIT;
}

#endif

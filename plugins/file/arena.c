/* plugins/file/arena.c - bump allocation with free lists by size. */
#include "arena.h"

#include <stdlib.h>
#include <string.h>

#include "pages.h"

#define CHUNK_BYTES  ((size_t)ARENA_CHUNK * ARENA_UNIT)
#define REGION_BYTES ((size_t)8 << 20)

struct arena_region {
    struct arena_region *next;
    struct pages pages;
};

void arena_pool_init(struct arena_pool *pool)
{
    *pool = (struct arena_pool){.used = REGION_BYTES};
    (void)pthread_mutex_init(&pool->lock, NULL);
}

void arena_pool_done(struct arena_pool *pool)
{
    while (pool->regions != NULL) {
        struct arena_region *region = pool->regions;

        pool->regions = region->next;
        pages_give(&region->pages);
        free(region);
    }
    (void)pthread_mutex_destroy(&pool->lock);
}

/* Small stores touch a few pages of the first region; from the second on it is known
 * that there are many streams, and huge pages spare their lookups a miss. */
static struct arena_region *add_region(struct arena_pool *pool)
{
    struct arena_region *region = malloc(sizeof *region);

    if (region == NULL)
        return NULL;
    if (!pages_take(&region->pages, REGION_BYTES, pool->regions != NULL)) {
        free(region);
        return NULL;
    }
    region->next = pool->regions;
    pool->regions = region;
    pool->used = 0;
    return region;
}

static unsigned char *take_chunk(struct arena_pool *pool)
{
    unsigned char *chunk = NULL;

    (void)pthread_mutex_lock(&pool->lock);
    if (pool->used < REGION_BYTES || add_region(pool) != NULL) {
        chunk = (unsigned char *)pool->regions->pages.base + pool->used;
        pool->used += CHUNK_BYTES;
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return chunk;
}

static int add_chunk(struct arena *arena)
{
    unsigned char *chunk;

    if (arena->count == arena->room) {
        uint32_t room = arena->room == 0 ? 4 : arena->room * 2;
        unsigned char **chunks;

        if ((uint64_t)room * ARENA_CHUNK > UINT32_MAX)
            return -1;
        chunks = realloc(arena->chunks, room * sizeof(unsigned char *));
        if (chunks == NULL)
            return -1;
        arena->chunks = chunks;
        arena->room = room;
    }
    chunk = take_chunk(arena->pool);
    if (chunk == NULL)
        return -1;
    arena->chunks[arena->count++] = chunk;
    arena->used = arena->count == 1; /* 0 names nothing */
    return 0;
}

void arena_done(struct arena *arena)
{
    free(arena->chunks);
}

static uint32_t units_of(size_t bytes)
{
    return (uint32_t)((bytes + ARENA_UNIT - 1) / ARENA_UNIT);
}

uint32_t arena_take(struct arena *arena, size_t bytes)
{
    uint32_t units = units_of(bytes), ref = arena->free[units];

    if (ref != 0) {
        memcpy(&arena->free[units], arena_at(arena, ref), sizeof ref);
        return ref;
    }
    if ((arena->count == 0 || arena->used + units > ARENA_CHUNK) && add_chunk(arena) != 0)
        return 0;
    ref = (arena->count - 1) * ARENA_CHUNK + arena->used;
    arena->used += units;
    return ref;
}

void arena_give(struct arena *arena, uint32_t ref, size_t bytes)
{
    uint32_t units = units_of(bytes);

    memcpy(arena_at(arena, ref), &arena->free[units], sizeof ref);
    arena->free[units] = ref;
}

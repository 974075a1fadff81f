/* plugins/file/slots.c - see slots.h. */
#include "slots.h"

#include <stdlib.h>

#include "pages.h"

#define HUGE_FROM ((size_t)8 << 20) /* bytes of a region; less would be wasted on few */

struct slots_region {
    struct slots_region *next;
    struct pages pages;
    uint32_t room; /* of each table */
    size_t users;
};

void slots_pool_init(struct slots_pool *pool, size_t tables)
{
    *pool = (struct slots_pool){.tables = tables};
    (void)pthread_mutex_init(&pool->lock, NULL);
}

void slots_pool_done(struct slots_pool *pool)
{
    while (pool->regions != NULL) {
        struct slots_region *region = pool->regions;

        pool->regions = region->next;
        pages_give(&region->pages);
        free(region);
    }
    (void)pthread_mutex_destroy(&pool->lock);
}

/* Where the region of room stands in the list, or its end; the caller holds the lock. */
static struct slots_region **find_region(struct slots_pool *pool, uint32_t room)
{
    struct slots_region **at = &pool->regions;

    while (*at != NULL && (*at)->room != room)
        at = &(*at)->next;
    return at;
}

static struct slots_region *add_region(struct slots_pool *pool, uint32_t room)
{
    struct slots_region *region = calloc(1, sizeof *region);
    size_t bytes = pool->tables * room * sizeof(struct slot);

    if (region == NULL)
        return NULL;
    if (!pages_take(&region->pages, bytes, bytes >= HUGE_FROM)) {
        free(region);
        return NULL;
    }
    region->room = room;
    region->next = pool->regions;
    pool->regions = region;
    return region;
}

struct slot *slots_take(struct slots_pool *pool, size_t which, uint32_t room)
{
    struct slots_region *region;
    struct slot *slots = NULL;

    (void)pthread_mutex_lock(&pool->lock);
    region = *find_region(pool, room);
    if (region == NULL)
        region = add_region(pool, room);
    if (region != NULL) {
        slots = (struct slot *)region->pages.base + which * room;
        region->users++;
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return slots;
}

void slots_give(struct slots_pool *pool, uint32_t room)
{
    struct slots_region **at, *region;

    if (room == 0)
        return;
    (void)pthread_mutex_lock(&pool->lock);
    at = find_region(pool, room);
    region = *at;
    if (region != NULL && --region->users == 0) {
        *at = region->next;
        pages_give(&region->pages);
        free(region);
    }
    (void)pthread_mutex_unlock(&pool->lock);
}

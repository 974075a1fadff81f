/* plugins/file/segment.c - the table of segments, and read descriptors that are opened
 * when needed and closed when there are many. */
#include "segment.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"

#define SEGMENT_OPEN 0x80000000u
#define OPEN_MAX_FDS 128u /* more only while so many are read at the same time */

void segments_init(struct segments *segments, int dir, const char *path)
{
    *segments = (struct segments){.path = path, .dir = dir};
    (void)pthread_mutex_init(&segments->lock, NULL);
}

void segments_done(struct segments *segments)
{
    for (size_t i = 0; i < segments->count; i++) {
        if ((atomic_load(&segments->all[i]->pins) & SEGMENT_OPEN) != 0)
            io_close(segments->all[i]->fd);
        free(segments->all[i]);
    }
    free(segments->all);
    (void)pthread_mutex_destroy(&segments->lock);
}

/* Room for one more; the caller holds the lock. */
static bool make_room(struct segments *segments)
{
    size_t room = segments->room == 0 ? 16 : segments->room * 2;
    struct segment **all;

    if (segments->count < segments->room)
        return true;
    all = realloc(segments->all, room * sizeof(struct segment *));
    if (all == NULL)
        return false;
    segments->all = all;
    segments->room = room;
    return true;
}

struct segment *segments_add(struct segments *segments,
                             const struct format_header *header, uint64_t length)
{
    struct segment *segment = calloc(1, sizeof *segment);
    bool added;

    if (segment == NULL)
        return NULL;
    segment->header = *header;
    segment->fd = -1;
    atomic_init(&segment->length, length);
    (void)pthread_mutex_lock(&segments->lock);
    added = make_room(segments);
    if (added)
        segments->all[segments->count++] = segment;
    (void)pthread_mutex_unlock(&segments->lock);
    if (!added) {
        free(segment);
        return NULL;
    }
    return segment;
}

void segments_drop(struct segments *segments, struct segment *segment)
{
    size_t i = 0;

    (void)pthread_mutex_lock(&segments->lock);
    while (segments->all[i] != segment)
        i++;
    segments->count--;
    memmove(segments->all + i, segments->all + i + 1,
            (segments->count - i) * sizeof(struct segment *));
    (void)pthread_mutex_unlock(&segments->lock);
    free(segment);
}

size_t segments_count(struct segments *segments)
{
    size_t count;

    (void)pthread_mutex_lock(&segments->lock);
    count = segments->count;
    (void)pthread_mutex_unlock(&segments->lock);
    return count;
}

void segments_sum(struct segments *segments, uint64_t *length, uint64_t *live)
{
    *length = *live = 0;
    (void)pthread_mutex_lock(&segments->lock);
    for (size_t i = 0; i < segments->count; i++) {
        *length += atomic_load(&segments->all[i]->length);
        *live += atomic_load(&segments->all[i]->live);
    }
    (void)pthread_mutex_unlock(&segments->lock);
}

void segment_name(uint64_t number, char name[SEGMENT_NAME])
{
    (void)snprintf(name, SEGMENT_NAME, "%016" PRIx64 ".seg", number);
}

bool segment_named(const char *name, uint64_t *number)
{
    char *end, canonical[SEGMENT_NAME];
    uint64_t found;

    if (strlen(name) != 20)
        return false;
    errno = 0;
    found = strtoull(name, &end, 16);
    if (errno != 0 || strcmp(end, ".seg") != 0)
        return false;
    segment_name(found, canonical);
    if (found == 0 || strcmp(name, canonical) != 0)
        return false;
    *number = found;
    return true;
}

/* Pin where the descriptor is open already. */
static bool pin_open(struct segment *segment)
{
    uint32_t pins = atomic_load(&segment->pins);

    while ((pins & SEGMENT_OPEN) != 0)
        if (atomic_compare_exchange_weak(&segment->pins, &pins, pins + 1))
            return true;
    return false;
}

/* Close one descriptor that nobody reads from; the caller holds the lock. */
static void close_one(struct segments *segments)
{
    for (size_t tries = 0; tries < segments->count; tries++) {
        struct segment *segment = segments->all[segments->hand++ % segments->count];
        uint32_t idle = SEGMENT_OPEN;

        if (atomic_compare_exchange_strong(&segment->pins, &idle, 0)) {
            io_close(segment->fd);
            segments->open--;
            return;
        }
    }
}

static int open_and_pin(struct segments *segments, struct segment *segment)
{
    char name[SEGMENT_NAME];
    int fd, error;

    if (segments->open >= OPEN_MAX_FDS)
        close_one(segments);
    segment_name(segment->header.number, name);
    error = io_open(segments->dir, name, O_RDONLY, &fd);
    if (error == EMFILE || error == ENFILE) {
        close_one(segments);
        error = io_open(segments->dir, name, O_RDONLY, &fd);
    }
    if (error != 0)
        return error;
    segment->fd = fd;
    segments->open++;
    atomic_store(&segment->pins, SEGMENT_OPEN | 1u);
    return 0;
}

int segment_pin(struct segments *segments, struct segment *segment, int *fd)
{
    int error = 0;

    if (!pin_open(segment)) {
        (void)pthread_mutex_lock(&segments->lock);
        if (!pin_open(segment))
            error = open_and_pin(segments, segment);
        (void)pthread_mutex_unlock(&segments->lock);
    }
    if (error == 0)
        *fd = segment->fd;
    return error;
}

void segment_unpin(struct segment *segment)
{
    (void)atomic_fetch_sub(&segment->pins, 1);
}

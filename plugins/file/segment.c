/* plugins/file/segment.c - the table of segments, and read descriptors that are opened
 * when needed and closed when there are many. */
#include "segment.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "io.h"

/* What holds is made of. */
#define OPEN         (UINT64_C(1) << 63) /* fd is valid */
#define DROPPED      (UINT64_C(1) << 62) /* the last one frees it */
#define KEEPER       (UINT64_C(1) << 31) /* one who needs the memory only */
#define HOLDER       UINT64_C(1)         /* one who may read from fd */
#define HOLDERS      (KEEPER - 1)
#define ALL          (DROPPED - 1)
#define OPEN_MAX_FDS 128u /* more only while so many are read at the same time */

void segments_init(struct segments *segments, int dir, const char *path)
{
    *segments = (struct segments){.path = path, .dir = dir};
    (void)pthread_mutex_init(&segments->lock, NULL);
}

int64_t segment_clock_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static struct segment *segment_new(struct segments *segments,
                                   const struct format_header *header, uint64_t length)
{
    struct segment *segment = calloc(1, sizeof *segment);

    if (segment == NULL)
        return NULL;
    segment->owner = segments;
    segment->header = *header;
    segment->fd = -1;
    atomic_init(&segment->length, length);
    atomic_init(&segment->died_ms, SEGMENT_ALL_LIVE);
    return segment;
}

static void segment_free(struct segment *segment)
{
    if ((atomic_load(&segment->holds) & OPEN) != 0) {
        io_close(segment->fd);
        (void)atomic_fetch_sub(&segment->owner->open, 1);
    }
    io_unmap(atomic_load(&segment->map), segment->map_len);
    free(segment);
}

void segments_done(struct segments *segments)
{
    for (size_t i = 0; i < segments->count; i++)
        segment_free(segments->all[i]);
    free(segments->all);
    (void)pthread_mutex_destroy(&segments->lock);
}

/* ---- the table ------------------------------------------------------------------- */

/* Room for one more; the caller holds the lock. */
static bool make_room(struct segments *segments)
{
    size_t room = segments->room == 0 ? 16 : segments->room * 2;
    struct segment **all;

    if (segments->count + segments->prepared < segments->room)
        return true;
    all = realloc(segments->all, room * sizeof(struct segment *));
    if (all == NULL)
        return false;
    segments->all = all;
    segments->room = room;
    return true;
}

/* Insert by number; there is room, and the caller holds the lock. */
static void insert(struct segments *segments, struct segment *segment)
{
    size_t at = segments->count;

    while (at > 0 && segments->all[at - 1]->header.number > segment->header.number)
        at--;
    memmove(segments->all + at + 1, segments->all + at,
            (segments->count - at) * sizeof(struct segment *));
    segments->all[at] = segment;
    segments->count++;
}

/* Take segment out; the caller holds the lock. */
static void take_out(struct segments *segments, const struct segment *segment)
{
    size_t at = 0;

    while (segments->all[at] != segment)
        at++;
    segments->count--;
    memmove(segments->all + at, segments->all + at + 1,
            (segments->count - at) * sizeof(struct segment *));
}

/* Close the descriptor if it is open and nobody reads from it; the caller holds the lock.
 */
static bool close_idle(struct segment *segment)
{
    uint64_t idle = atomic_load(&segment->holds);

    if ((idle & OPEN) == 0 || (idle & HOLDERS) != 0 ||
        !atomic_compare_exchange_strong(&segment->holds, &idle, idle & ~OPEN))
        return false;
    io_close(segment->fd);
    (void)atomic_fetch_sub(&segment->owner->open, 1);
    return true;
}

void segment_spare_fd(struct segment *segment)
{
    (void)pthread_mutex_lock(&segment->owner->lock);
    (void)close_idle(segment);
    (void)pthread_mutex_unlock(&segment->owner->lock);
}

/* No longer in the table: to be freed by its last holder.  Its space does not wait for
 * those who only keep it. */
static void let_go(struct segment *segment)
{
    segment_spare_fd(segment);
    segment_hold(segment);
    (void)atomic_fetch_or(&segment->holds, DROPPED);
    segment_release(segment);
}

struct segment *segments_add(struct segments *segments,
                             const struct format_header *header, uint64_t length)
{
    struct segment *segment = segment_new(segments, header, length);
    bool added;

    if (segment == NULL)
        return NULL;
    (void)pthread_mutex_lock(&segments->lock);
    added = make_room(segments);
    if (added)
        insert(segments, segment);
    (void)pthread_mutex_unlock(&segments->lock);
    if (!added) {
        segment_free(segment);
        return NULL;
    }
    return segment;
}

void segments_drop(struct segments *segments, struct segment *segment)
{
    (void)pthread_mutex_lock(&segments->lock);
    take_out(segments, segment);
    (void)pthread_mutex_unlock(&segments->lock);
    let_go(segment);
}

struct segment *segments_prepare(struct segments *segments,
                                 const struct format_header *header, uint64_t length)
{
    struct segment *segment = segment_new(segments, header, length);
    bool fits;

    if (segment == NULL)
        return NULL;
    (void)pthread_mutex_lock(&segments->lock);
    fits = make_room(segments);
    segments->prepared += fits;
    (void)pthread_mutex_unlock(&segments->lock);
    if (!fits) {
        segment_free(segment);
        return NULL;
    }
    return segment;
}

void segments_unprepare(struct segment *segment)
{
    struct segments *segments = segment != NULL ? segment->owner : NULL;

    if (segment == NULL)
        return;
    (void)pthread_mutex_lock(&segments->lock);
    segments->prepared--;
    (void)pthread_mutex_unlock(&segments->lock);
    segment_free(segment);
}

void segments_replace(struct segments *segments, struct segment *const *gone,
                      size_t count, struct segment *added)
{
    (void)pthread_mutex_lock(&segments->lock);
    segments->prepared--;
    for (size_t i = 0; i < count; i++)
        take_out(segments, gone[i]);
    insert(segments, added);
    (void)pthread_mutex_unlock(&segments->lock);
    for (size_t i = 0; i < count; i++)
        let_go(gone[i]);
}

struct segment **segments_sealed(struct segments *segments, size_t *count)
{
    struct segment **all;
    size_t n = 0;

    (void)pthread_mutex_lock(&segments->lock);
    all = malloc((segments->count + 1) * sizeof(struct segment *));
    for (size_t i = 0; all != NULL && i < segments->count; i++)
        if (atomic_load(&segments->all[i]->sealed)) {
            all[n++] = segments->all[i];
            (void)atomic_fetch_add(&segments->all[i]->holds, KEEPER);
        }
    (void)pthread_mutex_unlock(&segments->lock);
    *count = n;
    return all;
}

int64_t segments_died(struct segments *segments, bool active)
{
    int64_t earliest = SEGMENT_ALL_LIVE;

    (void)pthread_mutex_lock(&segments->lock);
    for (size_t i = 0; i < segments->count; i++) {
        struct segment *segment = segments->all[i];
        int64_t died = atomic_load(&segment->died_ms);

        if (died < earliest && !atomic_load(&segment->stuck) &&
            !(active && atomic_load(&segment->sealed)))
            earliest = died;
    }
    (void)pthread_mutex_unlock(&segments->lock);
    return earliest;
}

struct segments_sum segments_sum(struct segments *segments)
{
    struct segments_sum sum = {.count = 0};

    (void)pthread_mutex_lock(&segments->lock);
    sum.count = segments->count;
    for (size_t i = 0; i < segments->count; i++) {
        sum.length += atomic_load(&segments->all[i]->length);
        sum.live += atomic_load(&segments->all[i]->live);
        sum.tombs += atomic_load(&segments->all[i]->tombs);
    }
    (void)pthread_mutex_unlock(&segments->lock);
    return sum;
}

/* ---- names ------------------------------------------------------------------------ */

void segment_name(const struct format_header *header, char name[SEGMENT_NAME])
{
    if (header->generation == 0)
        (void)snprintf(name, SEGMENT_NAME, "%016" PRIx64 ".seg", header->number);
    else
        (void)snprintf(name, SEGMENT_NAME,
                       "%016" PRIx64 "-%016" PRIx64 "-%08" PRIx32 ".seg", header->low,
                       header->number, header->generation);
}

/* 16 or 8 hex digits and what must follow them; NULL: something else. */
static const char *parse(const char *at, int digits, const char *after, uint64_t *value)
{
    char text[20] = "", *end;

    if (strnlen(at, (size_t)digits) != (size_t)digits)
        return NULL;
    memcpy(text, at, (size_t)digits);
    *value = strtoull(text, &end, 16);
    if (*end != '\0' || strncmp(at + digits, after, strlen(after)) != 0)
        return NULL;
    return at + digits + strlen(after);
}

bool segment_named(const char *name, struct format_header *header)
{
    struct format_header found = {.number = 0};
    uint64_t generation = 0;
    const char *rest = parse(name, 16, ".seg", &found.number);
    char canonical[SEGMENT_NAME];

    found.low = found.number;
    if (rest == NULL) {
        rest = parse(name, 16, "-", &found.low);
        if (rest != NULL)
            rest = parse(rest, 16, "-", &found.number);
        if (rest != NULL)
            rest = parse(rest, 8, ".seg", &generation);
        found.generation = (uint32_t)generation;
        if (found.generation == 0)
            rest = NULL;
    }
    if (rest == NULL || found.low == 0 || found.number < found.low)
        return false;
    segment_name(&found, canonical);
    if (strcmp(name, canonical) != 0)
        return false;
    *header = found;
    return true;
}

void segment_index_name(uint64_t id, char name[SEGMENT_NAME])
{
    (void)snprintf(name, SEGMENT_NAME, "%016" PRIx64 ".idx", id);
}

bool segment_index_named(const char *name, uint64_t *id)
{
    const char *rest = parse(name, 16, ".idx", id);

    return rest != NULL && *rest == '\0';
}

/* ---- holding and reading ----------------------------------------------------------- */

void segment_hold(struct segment *segment)
{
    (void)atomic_fetch_add(&segment->holds, HOLDER);
}

static void leave(struct segment *segment, uint64_t as)
{
    uint64_t before = atomic_fetch_sub(&segment->holds, as);

    if ((before & DROPPED) != 0 && (before & ALL) == as)
        segment_free(segment);
}

void segment_release(struct segment *segment)
{
    leave(segment, HOLDER);
}

void segment_unkeep(struct segment *segment)
{
    leave(segment, KEEPER);
}

void segment_died(struct segment *segment, uint64_t bytes)
{
    if (atomic_load_explicit(&segment->died_ms, memory_order_relaxed) == SEGMENT_ALL_LIVE)
        atomic_store(&segment->died_ms, segment_clock_ms());
    /* Last: where nothing is live any more, compaction may free it at once. */
    (void)atomic_fetch_sub(&segment->live, bytes);
}

uint64_t segment_dead(struct segment *segment)
{
    uint64_t length = atomic_load(&segment->length) - FORMAT_HEADER;
    uint64_t needed = atomic_load(&segment->live) + atomic_load(&segment->tombs);

    return length > needed ? length - needed : 0;
}

/* Close one descriptor that nobody reads from; the caller holds the lock. */
static void close_one(struct segments *segments)
{
    size_t tries = 0;

    while (tries < segments->count &&
           !close_idle(segments->all[segments->hand++ % segments->count]))
        tries++;
}

void segments_spare_fd(struct segments *segments)
{
    (void)pthread_mutex_lock(&segments->lock);
    close_one(segments);
    (void)pthread_mutex_unlock(&segments->lock);
}

/* The caller holds the lock and the segment. */
static int open_fd(struct segment *segment)
{
    struct segments *segments = segment->owner;
    char name[SEGMENT_NAME];
    int fd, error;

    if (atomic_load(&segments->open) >= OPEN_MAX_FDS)
        close_one(segments);
    segment_name(&segment->header, name);
    error = io_open(segments->dir, name, O_RDONLY, &fd);
    if (error == EMFILE || error == ENFILE) {
        close_one(segments);
        error = io_open(segments->dir, name, O_RDONLY, &fd);
    }
    if (error != 0)
        return error;
    segment->fd = fd;
    (void)atomic_fetch_add(&segments->open, 1);
    (void)atomic_fetch_or(&segment->holds, OPEN);
    return 0;
}

int segment_fd(struct segment *segment, int *fd)
{
    int error = 0;

    if ((atomic_load(&segment->holds) & OPEN) == 0) {
        (void)pthread_mutex_lock(&segment->owner->lock);
        if ((atomic_load(&segment->holds) & OPEN) == 0)
            error = open_fd(segment);
        (void)pthread_mutex_unlock(&segment->owner->lock);
    }
    if (error == 0)
        *fd = segment->fd;
    return error;
}

/* The caller holds the lock and the segment. */
static void *map_all(struct segment *segment, int fd)
{
    uint64_t length = atomic_load(&segment->length), size = 0;
    void *map;

    if (length > SIZE_MAX || io_size(fd, &size) != 0 || size < length)
        return NULL;
    map = io_map(fd, (size_t)length);
    segment->map_len = (size_t)length;
    atomic_store(&segment->map, map);
    return map;
}

const unsigned char *segment_map(struct segment *segment)
{
    void *map = atomic_load(&segment->map);
    int fd;

    if (map != NULL || segment_fd(segment, &fd) != 0)
        return map;
    (void)pthread_mutex_lock(&segment->owner->lock);
    map = atomic_load(&segment->map);
    if (map == NULL)
        map = map_all(segment, fd);
    (void)pthread_mutex_unlock(&segment->owner->lock);
    return map;
}

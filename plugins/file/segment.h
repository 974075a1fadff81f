/* plugins/file/segment.h - the store's segments and a bounded number of descriptors to
 * read them.
 *
 * A segment is known from recovery, or from its making by the log, until the store
 * closes.  Writing goes through the log's own descriptor, never through these. */
#ifndef MAKO_FILE_SEGMENT_H
#define MAKO_FILE_SEGMENT_H

#include <pthread.h>
#include <stdatomic.h>

#include "format.h"

struct segment {
    struct format_header header;
    _Atomic uint64_t length; /* records end here; the log moves it for its own */
    _Atomic uint64_t live;   /* bytes of the records that the index points to */
    _Atomic uint32_t pins;   /* how many read fd now; SEGMENT_OPEN: fd is valid */
    int fd;
};

struct segments {
    const char *path; /* the directory's, for messages; borrowed */
    int dir;          /* its descriptor; borrowed */
    pthread_mutex_t lock;
    struct segment **all; /* ascending by number where recovery found them */
    size_t count, room;
    size_t open, hand; /* descriptors open; where to look for one to close */
};

#define SEGMENT_NAME 24u /* room for a file's name: 16 hex digits, ".seg" */

void segments_init(struct segments *segments, int dir, const char *path);
void segments_done(struct segments *segments);

/* One more; NULL: no memory. */
struct segment *segments_add(struct segments *segments,
                             const struct format_header *header, uint64_t length);
/* Forget one that nothing points to. */
void segments_drop(struct segments *segments, struct segment *segment);
size_t segments_count(struct segments *segments);
/* Sums over all. */
void segments_sum(struct segments *segments, uint64_t *length, uint64_t *live);

void segment_name(uint64_t number, char name[SEGMENT_NAME]);
/* Whether name is that of a segment, and which. */
bool segment_named(const char *name, uint64_t *number);

/* A descriptor to read from until segment_unpin(); 0 or an errno number. */
int segment_pin(struct segments *segments, struct segment *segment, int *fd);
void segment_unpin(struct segment *segment);

#endif

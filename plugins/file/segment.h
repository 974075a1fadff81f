/* plugins/file/segment.h - the store's segments, and what it takes to read them: a
 * bounded number of descriptors, or a mapping.
 *
 * A segment is in the table from recovery, or from its making, until compaction has
 * replaced it; its memory stays for as long as somebody holds or keeps it.  Writing goes
 * through the log's own descriptor, never through these. */
#ifndef MAKO_FILE_SEGMENT_H
#define MAKO_FILE_SEGMENT_H

#include <pthread.h>
#include <stdatomic.h>

#include "format.h"

struct segments;

struct segment {
    struct segments *owner;
    struct format_header header;
    _Atomic uint64_t length; /* records end here; the log moves it for its own */
    _Atomic uint64_t live;   /* bytes of the records that the index points to */
    _Atomic uint64_t tombs;  /* bytes of its removals */
    _Atomic int64_t died_ms; /* since when bytes in it are dead, at the earliest, on the
                              * monotonic clock; SEGMENT_ALL_LIVE: none are */
    _Atomic bool sealed;     /* nothing is written to it any more */
    _Atomic bool spoiled;    /* the index may hold records of it that cannot be read */
    _Atomic bool stuck;      /* not to be compacted before the next opening */
    bool lost;               /* its file is gone or has no header; its index file told */
    _Atomic bool indexed;    /* its index file is there, or is not wanted */
    _Atomic uint64_t holds;  /* how many hold or keep it, and flags; see segment.c */
    int fd;
    _Atomic(void *) map; /* all of it, where it was mapped */
    size_t map_len;
};

#define SEGMENT_ALL_LIVE INT64_MAX

struct segments {
    const char *path; /* the directory's, for messages; borrowed */
    int dir;          /* its descriptor; borrowed */
    pthread_mutex_t lock;
    struct segment **all; /* ascending by number */
    size_t count, room;
    size_t prepared;     /* that will need room */
    _Atomic size_t open; /* descriptors */
    size_t hand;         /* where to look for one to close */
};

#define SEGMENT_NAME 56u /* room for a file's name */

void segments_init(struct segments *segments, int dir, const char *path);
void segments_done(struct segments *segments);

/* One more, in its place; NULL: no memory. */
struct segment *segments_add(struct segments *segments,
                             const struct format_header *header, uint64_t length);
/* Take one that nothing points to out of the table; its memory goes with its last
 * holder. */
void segments_drop(struct segments *segments, struct segment *segment);
/* One that is not in the table yet, but will find room there.  NULL: no memory. */
struct segment *segments_prepare(struct segments *segments,
                                 const struct format_header *header, uint64_t length);
/* Forget it again; NULL is fine. */
void segments_unprepare(struct segment *segment);
/* Put a prepared one into the table, and drop count others. */
void segments_replace(struct segments *segments, struct segment *const *gone,
                      size_t count, struct segment *added);
/* All that are sealed, in their order and kept for the caller, whose the array is too;
 * NULL: no memory. */
struct segment **segments_sealed(struct segments *segments, size_t *count);
/* The least died_ms of those that are not stuck: of all, or of the one that is written
 * to.  Holds none, which would keep the space of one that goes. */
int64_t segments_died(struct segments *segments, bool active);

/* Sums over all. */
struct segments_sum {
    uint64_t count, length, live, tombs;
};
struct segments_sum segments_sum(struct segments *segments);

/* "0000000000000001.seg"; of copies "0000000000000001-0000000000000003-00000001.seg". */
void segment_name(const struct format_header *header, char name[SEGMENT_NAME]);
/* Whether name is that of a segment; fills low, number and generation. */
bool segment_named(const char *name, struct format_header *header);
/* Its index file: "0123456789abcdef.idx", after the segment's id. */
void segment_index_name(uint64_t id, char name[SEGMENT_NAME]);
bool segment_index_named(const char *name, uint64_t *id);

void segment_hold(struct segment *segment);
/* Of one that was dropped the last who holds or keeps it frees it.  Any thread. */
void segment_release(struct segment *segment);
/* Ends what segments_sealed() began.  Who keeps it may not read from its descriptor. */
void segment_unkeep(struct segment *segment);
/* bytes in it are not needed any more. */
void segment_died(struct segment *segment, uint64_t bytes);
/* What neither the index nor a removal needs. */
uint64_t segment_dead(struct segment *segment);

/* For holders: a descriptor to read from; 0 or an errno number. */
int segment_fd(struct segment *segment, int *fd);
/* For holders of sealed ones: all of its bytes in place, for as long as they hold it.
 * NULL: cannot be mapped. */
const unsigned char *segment_map(struct segment *segment);
/* Close its descriptor, if nobody reads from it now: a file that has been unlinked takes
 * space until then. */
void segment_spare_fd(struct segment *segment);
/* Close a descriptor that nobody reads from now, so that another file can be opened. */
void segments_spare_fd(struct segments *segments);

int64_t segment_clock_ms(void);

#endif

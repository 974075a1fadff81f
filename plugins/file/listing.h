/* plugins/file/listing.h - index files: what a sealed segment holds, so that an opening
 * need not read it.
 *
 * One file a segment, named after the segment's random id.  It repeats what the segment
 * says, of every record that no later one of the same segment replaced; it is never
 * flushed and never trusted without its checksums, and any of them may be thrown away.
 *
 * Functions return 0 or an errno number. */
#ifndef MAKO_FILE_LISTING_H
#define MAKO_FILE_LISTING_H

#include "index.h"

/* Being written. */
struct listing_writer {
    struct segments *segments;
    uint64_t id;
    int fd;
    unsigned char *buffer;
    size_t fill;
    uint64_t count, bytes; /* of the entries */
    void *state;           /* of their checksum */
};

int listing_begin(struct listing_writer *writer, struct segments *segments, uint64_t id);
int listing_add(struct listing_writer *writer, const struct format_frame *frame,
                uint64_t offset, const char *stream);
/* Ends the file of the segment of header, whose records end as end says.  bound: it is to
 * count until the machine starts again only. */
int listing_finish(struct listing_writer *writer, const struct format_header *header,
                   const struct format_tail *end, bool bound);
/* After a failure: as if never begun. */
void listing_abort(struct listing_writer *writer);

/* Write the index file of a sealed segment from its records; EILSEQ: they are damaged, so
 * that every opening should look at them itself. */
int listing_build(struct segments *segments, struct index *index, struct segment *segment,
                  bool bound);

/* An index file in memory. */
struct listing {
    struct format_listing head;
    unsigned char *entries;
};

/* Read that of segment id; ENOENT: there is none that can be trusted.  Other errors tell
 * nothing of it. */
int listing_read(struct segments *segments, uint64_t id, struct listing *listing);
/* How many entries that of segment id has, by its own word; 0: there is none. */
uint64_t listing_count(struct segments *segments, uint64_t id);
void listing_free(struct listing *listing);
/* Call visit for each entry; nonzero stops and is returned. */
int listing_each(const struct listing *listing,
                 int (*visit)(void *arg, const struct format_frame *frame,
                              uint64_t offset, const char *stream),
                 void *arg);

/* Remove that of segment id, if there is one. */
void listing_remove(struct segments *segments, uint64_t id);

#endif

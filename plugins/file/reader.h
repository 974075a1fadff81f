/* plugins/file/reader.h - going through a segment's file from record to record, through
 * a window in memory.  Judges nothing but the frames' checksums. */
#ifndef MAKO_FILE_READER_H
#define MAKO_FILE_READER_H

#include "format.h"

#define READER_WINDOW (1024u * 1024u)

/* For the caller to set up; functions return 0 or an errno number. */
struct reader {
    int fd;
    uint64_t id;    /* the segment's */
    uint64_t limit; /* records end here at the latest */
    uint64_t last;  /* the highest log number that its records may have */
    unsigned char
        *window; /* READER_WINDOW bytes; have of them stand in the file at from */
    uint64_t from;
    size_t have;
};

/* Of a segment, up to limit; fd and window are still to be set. */
struct reader reader_of(const struct format_header *header, uint64_t limit);

/* Up to want bytes at offset, at most READER_WINDOW; *got tells how many there are before
 * the end of the file, or the limit.  They stand until the next call. */
int reader_view(struct reader *reader, uint64_t offset, size_t want, size_t *got,
                const unsigned char **bytes);

/* Checksum of [from, to); *whole tells whether all of it is there. */
int reader_hash(struct reader *reader, uint64_t from, uint64_t to, uint64_t *hash,
                bool *whole);

/* The next good frame at or behind *offset, and its stream's id.  *offset is then where
 * it stands, or the limit where none follows. */
int reader_next(struct reader *reader, uint64_t *offset, struct format_frame *frame,
                char stream[FORMAT_STREAM], bool *found);

#endif

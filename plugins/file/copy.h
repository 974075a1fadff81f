/* plugins/file/copy.h - writing and publishing the copy of a run of segments.
 *
 * Which run, and when, is the business of compact.c. */
#ifndef MAKO_FILE_COPY_H
#define MAKO_FILE_COPY_H

#include "index.h"

/* Sealed segments, each the next one of that before, kept by the caller. */
struct run {
    struct segment **parts;
    size_t count;
    uint64_t below_number;    /* of the segment before the first; 0: there is none */
    uint64_t below_clean;     /* up to this log number no removal is needed any more: all
                               * segments before the first have carried them out */
    uint64_t clean;           /* what is in the index goes at least to this log number */
    uint64_t rate;            /* bytes a second; 0: without limit */
    bool bound;               /* as listing_build() has it */
    const _Atomic bool *stop; /* to give up with ECANCELED; NULL: never */
};

/* Whether segments are missing right before a run, or its first part is: the copy stands
 * for them, too. */
bool run_closes_gap(const struct run *run);

/* Whether anything in a segment has to be kept. */
bool run_needs(const struct run *run, struct segment *part);

/* Replace the run by its copy, on the disk, in the table and in the index.  Order: the
 * copy is flushed, renamed, the directory flushed; only then the index follows, and the
 * parts are unlinked.  0 or an errno number; then nothing has changed, except that these
 * are marked as stuck: parts that cannot be read; all parts where the copy's name could
 * not be taken back; all parts and the copy where the index does not follow, or only in
 * part: then the copy is in the table, too.  *clear becomes false where files may come
 * back after a power cut that should not; *length is the copy's. */
int copy_run(struct segments *segments, struct index *index, const struct run *run,
             bool *clear, uint64_t *length);

/* Unlink the parts of a run that needs nothing; for when there is no space for a copy,
 * which must follow. */
bool copy_unlink_first(struct segments *segments, const struct run *run);

#endif

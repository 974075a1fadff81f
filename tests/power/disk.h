/* tests/power/disk.h - what a disk holds at a point of a trace, and what a power cut
 * there may leave of it.
 *
 * Of each file and directory: what was flushed, and what was changed since.  After a cut
 * any part of the changes may be there, in any order; see docs/reliability.md. */
#ifndef MAKO_TESTS_POWER_DISK_H
#define MAKO_TESTS_POWER_DISK_H

#include "trace.h"

struct disk;

/* A disk on which nothing has happened; without: a kind of flush that has no effect.
 * NULL: no memory. */
struct disk *disk_new(enum flush_kind without);
void disk_free(struct disk *disk);
/* Take events up to, not including, to into account. */
void disk_advance(struct disk *disk, const struct trace *trace, size_t to);

/* ---- after a cut ------------------------------------------------------------------ */

/* Choose a state; the same seed chooses the same. */
void disk_cut(struct disk *disk, uint64_t seed);
/* What was chosen, in words. */
const char *disk_choice(const struct disk *disk);
/* Write the state below the directory root, which is empty.  trace: register the files
 * there; NULL: do not.  False: errno tells. */
bool disk_write(struct disk *disk, const char *root, struct trace *trace);
/* Whether some file of the state has the bytes of a version for which is_erased() says
 * so; *version tells which. */
bool disk_shows(struct disk *disk, bool (*is_erased)(void *arg, uint64_t version),
                void *arg, uint64_t *version);
/* The state is all that there is from now on: the power was cut. */
void disk_settle(struct disk *disk);

/* ---- without a cut ---------------------------------------------------------------- */

/* Whether the directory root holds exactly what was written, flushed or not; else text
 * says what differs.  That the recorder misses nothing. */
bool disk_agrees(struct disk *disk, const char *root, char *text, size_t room);
/* The contents of a file whose clean pages are dropped, seed choosing what is left of
 * data whose flush failed; *len may be 0. */
const unsigned char *disk_forget(struct disk *disk, uint32_t file, uint64_t seed,
                                 size_t *len);

#endif

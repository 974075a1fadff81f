/* plugins/file/compact.h - giving back what replaced and removed snapshots take.
 *
 * A run of sealed segments is replaced by one copy of the records in it that still count.
 * A thread does so where there is reason to, slowly; a caller may ask for all of it. */
#ifndef MAKO_FILE_COMPACT_H
#define MAKO_FILE_COMPACT_H

#include <mako/store_plugin.h>

#include "log.h"

/* The file that a copy is until it counts. */
#define COMPACT_TARGET "compact.tmp"

struct compact_setup {
    const struct mako_host *host;
    struct segments *segments;
    struct index *index;
    struct log *log;
    uint64_t segment_size;
    bool flush;           /* as in struct log_setup */
    int64_t dead_percent; /* of the sealed segments, before the thread compacts */
    int64_t erase_ms;     /* after which nothing dead is left; 0: whenever */
    int64_t rate;         /* bytes a second that the thread writes; 0: without limit */
};

struct compactor;

/* NULL: no memory. */
struct compactor *compactor_new(void);
/* Starts the thread; 0 or an errno number. */
int compactor_start(struct compactor *compactor, const struct compact_setup *setup);
/* Ends the thread; it may be asked for work until compactor_free(). */
void compactor_stop(struct compactor *compactor);
/* Once the log has ended: write the index files that are missing. */
void compactor_finish(struct compactor *compactor);
/* NULL is fine. */
void compactor_free(struct compactor *compactor);

/* As struct log_setup wants it; arg is the compactor. */
void compactor_notify(void *arg);

/* Everything that is dead now; as the operation of a plugin. */
int compact_all(struct compactor *compactor, struct mako_progress *progress,
                struct mako_error *err);

/* Runs that were replaced, and the bytes that this gave back. */
void compactor_count(struct compactor *compactor, uint64_t *runs, uint64_t *bytes);

#endif

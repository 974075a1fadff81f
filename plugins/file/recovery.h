/* plugins/file/recovery.h - what an opening finds: reads the segments, or the index files
 * that tell what is in them, fills the index, and says where the log goes on. */
#ifndef MAKO_FILE_RECOVERY_H
#define MAKO_FILE_RECOVERY_H

#include <mako/store_plugin.h>

#include "log.h"

/* Of those who only read, while others write and compact: what each look at the directory
 * found.  A file that is missing may have been replaced by a copy just then; one that is
 * missing in many looks in a row is missing. */
struct recovery_looks {
    uint64_t missing; /* stands for all files that the last look missed; 0: none */
    unsigned same;    /* looks in a row that missed just these */
    bool settled; /* the last look counts; else there must be another, at fresh ones */
};

struct recovery_setup {
    const struct mako_host *host; /* what is found wrong is logged */
    struct segments *segments;
    struct index *index;
    bool flush;     /* what is found must be on the medium before it counts */
    bool read_only; /* nothing may be changed, and others may be writing */
    struct recovery_looks *looks; /* with read_only */
};

/* Fill segments and index, which are empty.  Unless read_only is set, what only takes
 * space is removed: files that a copy has replaced, index files of no segment, a copy
 * that was not finished.  Nothing else is changed. */
int recover(const struct recovery_setup *setup, struct log_start *start,
            struct mako_error *err);

#endif

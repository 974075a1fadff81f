/* plugins/file/recovery.h - what an opening finds: reads the segments, or the index files
 * that tell what is in them, fills the index, and says where the log goes on. */
#ifndef MAKO_FILE_RECOVERY_H
#define MAKO_FILE_RECOVERY_H

#include <mako/store_plugin.h>

#include "log.h"

struct recovery_setup {
    const struct mako_host *host; /* what is found wrong is logged */
    struct segments *segments;
    struct index *index;
    bool flush;     /* what is found must be on the medium before it counts */
    bool read_only; /* nothing may be changed, and others may be writing */
    bool last_try;  /* of those who only read: what is not there is missing */
};

/* Fill segments and index, which are empty.  *vanished: of those who only read, a file
 * came or went meanwhile; to be tried again with fresh ones.  Otherwise files that a copy
 * has replaced are removed, and nothing else is changed. */
int recover(const struct recovery_setup *setup, struct log_start *start, bool *vanished,
            struct mako_error *err);

#endif

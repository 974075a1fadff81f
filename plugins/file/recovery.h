/* plugins/file/recovery.h - what an opening finds: reads every segment, fills the index,
 * and says where the log goes on.  Changes nothing on the disk. */
#ifndef MAKO_FILE_RECOVERY_H
#define MAKO_FILE_RECOVERY_H

#include <mako/store_plugin.h>

#include "log.h"

struct recovery_setup {
    const struct mako_host *host; /* what is found wrong is logged */
    struct segments *segments;
    struct index *index;
    bool flush; /* what is found must be on the medium before it counts */
};

int recover(const struct recovery_setup *setup, struct log_start *start,
            struct mako_error *err);

#endif

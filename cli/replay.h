/* cli/replay.h - one run of replay: what replay.c does and report.c tells. */
#ifndef MAKO_CLI_REPLAY_H
#define MAKO_CLI_REPLAY_H

#include "cli.h"
#include "events.h"
#include "streams.h"

struct replay {
    const struct args *args;
    mako_store *store;
    struct mako_aggregate aggregate;
    struct events *log;
    struct streams streams;
    struct stream **sorted; /* set after the passes */
    uint64_t events;        /* read in the first pass */
    uint64_t longest;       /* events of the longest stream */
    uint64_t again;         /* streams to be folded in the second pass */
    uint64_t taken, kept_later, failed_takes;
    uint64_t unresolved; /* streams that need a second pass and cannot have it */
    uint64_t different;  /* states that --verify found wrong */
    double seconds;
};

/* Tell the result; returns the run's exit code. */
int replay_report(struct replay *replay);

#endif

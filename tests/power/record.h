/* tests/power/record.h - the calls by which the plugin changes files, recorded.
 *
 * The functions in record.c have the names of the C library's and stand in the test
 * program, so that the plugin's calls come to them first, as in tests/faults/inject.h.
 * They do the real thing on a file system in memory, one at a time, so that the order of
 * the trace is the true one.  Flushes only take time: what a disk would have is the
 * business of disk.h. */
#ifndef MAKO_TESTS_POWER_RECORD_H
#define MAKO_TESTS_POWER_RECORD_H

#include "disk.h"

struct record_setup {
    struct trace *trace;
    struct disk *disk; /* has seen the trace so far; this process's own from now on */
    const char *root;  /* the directory above the store's */
    uint64_t seed;     /* of calls that fail */
    unsigned faults;   /* how many of a thousand fail */
};

/* From now on, until record_stop(), calls are recorded. */
void record_start(const struct record_setup *setup);
void record_stop(void);
/* The disk is full, until a file is unlinked. */
void record_fill_disk(void);
/* Every flush fails, or no longer. */
void record_fail_flushes(bool fail);
/* The calling thread opens the store, or does no longer. */
void record_opening(bool opening);

#endif

/* tests/power/workload.h - threads that save, remove and compact, and note in a trace
 * what they ask for and what is acknowledged. */
#ifndef MAKO_TESTS_POWER_WORKLOAD_H
#define MAKO_TESTS_POWER_WORKLOAD_H

#include "driver.h"

#define WORKLOAD_THREADS 3

struct workload {
    struct trace *trace;
    char path[300]; /* the store's directory */
    uint64_t seed;
    unsigned sessions; /* openings, one after the other */
    unsigned threads;  /* at most WORKLOAD_THREADS */
    unsigned own;      /* streams that each of them uses, at most a third of all */
    unsigned calls;    /* of each, in each session */
    bool large;        /* so are the snapshots */
    int64_t dead_space, erase_ms;
    unsigned compact_percent; /* of the calls */
    bool may_fail;            /* openings and calls; else a failure ends the process */
    bool ends_with_failure;   /* a thread is done when a call fails: there is no power */
    void (*opening)(bool is); /* told before and after; NULL: nobody is */
};

/* Returns when all is done, or MAKO_OK is not what an opening said and may not fail. */
int workload_run(const struct workload *workload);

/* Instead: save every stream when flushes fail from the beginning, save every stream,
 * save every stream again when flushes fail, remove every stream, and compact when the
 * disk is full; five openings, as often as there are sessions. */
struct workload_trouble {
    void (*fail_flushes)(bool are); /* from now on, or no longer */
    void (*fill_disk)(void);        /* until something is unlinked */
};

int workload_run_trouble(const struct workload *workload,
                         const struct workload_trouble *trouble);

#endif

/* tests/soak/journal.h - what supervisor and workers share: the model of every stream,
 * figures, and what is going on.
 *
 * A file mapped by all of them: what a worker had announced and what had been
 * acknowledged outlives its kill -9.  Only the worker of a slot writes the slot's
 * streams; what a kill can cut is written in an order that leaves the model true.  The
 * rules are in model.h. */
#ifndef MAKO_TESTS_SOAK_JOURNAL_H
#define MAKO_TESTS_SOAK_JOURNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "../power/trace.h"

#include <mako/types.h>

#define SLOTS      2   /* workers at a time: one is killed again and again, one is not */
#define THREADS    4   /* of a worker */
#define OWN        12  /* streams of a thread, which nobody else changes */
#define COMMON     4   /* streams that all threads of all workers save */
#define RING       32  /* changes that are remembered of a stream */
#define AGGREGATES 2   /* of a thread, on mako/process.h */
#define LOG_MAX    240 /* events of an aggregate */
#define SCHEMAS    4

enum change_state {
    CHANGE_VOID,   /* is not there, and will not be */
    CHANGE_UNSURE, /* under way, or failed: may be there, now or later */
    CHANGE_KEPT    /* acknowledged, or shown */
};

/* A save or a removal.  The bytes of a save follow from stream and version. */
struct change {
    uint64_t version, seq;
    uint32_t schema, opening;
    int64_t ended_ms; /* 0: under way */
    bool removal;
    bool forced; /* replaces whatever is there */
    _Atomic int state;
};

struct stream {
    _Atomic uint64_t version; /* the last that was begun */
    _Atomic uint64_t kept;
    _Atomic uint64_t blur;    /* unsure ones up to here are not remembered any more */
    int64_t blur_ms;          /* since the last of them */
    _Atomic uint32_t settled; /* the opening in which it was last seen, see model.h */
    uint64_t high;            /* the highest sequence so far */
    struct change ring[RING];
};

/* A stream that everybody saves: a sequence number is used once. */
struct common {
    _Atomic uint64_t tried, acknowledged;
};

/* One aggregate, and its event log. */
struct aggregate {
    _Atomic uint64_t head;
    uint64_t log[LOG_MAX];
    uint64_t taken; /* sequence of the snapshot; 0: not known */
    uint32_t schema;
    _Atomic bool sure;       /* it is the one that a load must show */
    int64_t unsure_until_ms; /* a failed take may still come */
};

enum op {
    OP_OPEN,
    OP_SAVE,
    OP_SAVE_MANY,
    OP_SAVE_COMMON,
    OP_REMOVE,
    OP_LOAD,
    OP_LOAD_MANY,
    OP_LOAD_OTHERS,
    OP_LOAD_COMMON,
    OP_LOAD_BESIDE,
    OP_PEEK,
    OP_SCAN,
    OP_COMPACT,
    OP_STATS,
    OP_PROCESS,
    OP_TAKE,
    OPS
};

#define STATUS_LOWEST (-11)
#define STATUSES      23

struct slot {
    struct stream streams[THREADS][OWN];
    struct aggregate aggregates[THREADS][AGGREGATES];
    _Atomic uint32_t opening; /* number of the last one */
    _Atomic int64_t alive_ms; /* when something was last done */
    _Atomic bool parked;      /* has no store open, and waits */
};

struct journal {
    uint64_t seed;
    int64_t begin_ms;
    _Atomic bool stop, park;
    _Atomic bool wrong; /* there was a violation */
    /* Faults that make operations fail: one is in force, and when the last one ended. */
    _Atomic bool faulty;
    _Atomic int64_t fault_end_ms;
    const char *fault; /* the last one, of any kind; supervisor's and workers' memory */
    struct slot slots[SLOTS];
    struct common common[SLOTS]
                        [COMMON]; /* the first row only, where slots share a store */
    _Atomic uint64_t counts[OPS][STATUSES];
    _Atomic uint64_t starved; /* operations that failed for want of memory, on purpose */
    _Atomic uint64_t blurred; /* loads that were checked by their bytes only */
    _Atomic uint64_t unexplained; /* failures in quiet times */
    _Atomic uint64_t snapshots;   /* that were kept for a while, and compared then */
    _Atomic uint64_t lives, most_disk;
    _Atomic uint64_t warnings;
};

/* Make it in a new file, or NULL with errno. */
struct journal *journal_make(const char *path);
int64_t now_ms(void);
void pause_ms(long ms);
void count(struct journal *journal, enum op op, int status);
const char *op_name(enum op op);
/* A violation: one line, and the worker is over. */
_Noreturn void violation(struct journal *journal, unsigned slot, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif

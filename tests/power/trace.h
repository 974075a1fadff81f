/* tests/power/trace.h - what a workload did, in the order in which it happened: calls
 * that change files, flushes, and what was asked of the store and acknowledged.
 *
 * The trace lies in memory that processes share, because workloads run in children that
 * are killed.  It can be kept in a file, so that a failure can be looked at again: the
 * threads of a workload never do the same twice. */
#ifndef MAKO_TESTS_POWER_TRACE_H
#define MAKO_TESTS_POWER_TRACE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define STREAMS   12 /* of a workload */
#define NAME_ROOM 48 /* of a file's name in the store's directory */
#define DIR_ROOT  0u /* the directory above the store's */
#define DIR_STORE 1u /* files have numbers from 2 on */

/* What a flush is for. */
enum flush_kind {
    FLUSH_NONE,
    FLUSH_SEGMENT,          /* records of the log */
    FLUSH_SEGMENT_ENTRY,    /* the directory, for a new segment */
    FLUSH_COPY,             /* a copy that compaction made */
    FLUSH_COPY_ENTRY,       /* the directory, for its name */
    FLUSH_UNLINKS,          /* the directory, for what it replaced */
    FLUSH_RECOVERY,         /* the last segment that an opening found */
    FLUSH_RECOVERY_ENTRIES, /* the directory that an opening found */
    FLUSH_PARENT,           /* the directory above, for the store's */
    FLUSH_KINDS
};

enum event_kind {
    EVENT_BEGIN = 1, /* an operation on stream: version, seq, len; removal */
    EVENT_END,       /* of version, with status */
    EVENT_SEEN,      /* by the first load after an opening: version of stream */
    EVENT_LOADED,    /* by another load */
    EVENT_ERASE,     /* compaction of all that is dead begins */
    EVENT_ERASED,    /* ends, with status; at: its beginning */
    EVENT_WRITE,     /* len bytes at offset of file */
    EVENT_SIZE,      /* of file is len */
    EVENT_CREATE,    /* name, which is file, in the store's directory */
    EVENT_UNLINK,    /* name, which was file */
    EVENT_RENAME,    /* name to to, which is file */
    EVENT_MKDIR,     /* the store's directory */
    EVENT_FLUSH,     /* of file, for flush, begins */
    EVENT_FLUSHED,   /* ends with status; at: its beginning */
    EVENT_FORGET,    /* clean pages of file are dropped; offset: seed of what is left */
    EVENT_CUT        /* of the power; offset: seed of what is left */
};

struct event {
    uint8_t kind, flush;
    bool removal;
    uint16_t stream;
    int32_t status;
    uint32_t file;
    uint64_t at;
    uint64_t version, seq;
    uint64_t offset, len, bytes; /* bytes: where in the trace's */
    char name[NAME_ROOM], to[NAME_ROOM];
};

enum {
    EVENTS_MAX = 200000,
    KNOWN_MAX = 4096,
    BYTES_MAX = 256 << 20
};

/* A file of the real directory. */
struct known {
    dev_t dev;
    ino_t ino;
    uint32_t file;
};

struct trace {
    pthread_mutex_t lock; /* of everything */
    size_t count, used;   /* events, bytes */
    size_t kill_at;       /* the process ends when there are so many events; 0: never */
    uint64_t versions;    /* given out */
    uint32_t files;       /* likewise */
    bool faulty;          /* calls may have failed */
    size_t known_count;
    struct known known[KNOWN_MAX];
    struct event events[EVENTS_MAX];
    unsigned char bytes[BYTES_MAX];
};

/* Empty; NULL: no memory. */
struct trace *trace_new(void);
void trace_free(struct trace *trace);
/* Make it empty. */
void trace_clear(struct trace *trace);
/* After a process was killed that may have held the lock. */
void trace_unlock_dead(struct trace *trace);

void trace_lock(struct trace *trace);
void trace_unlock(struct trace *trace);
/* Add an event; the caller holds the lock.  Returns its place.  This is where a process
 * that is to be killed ends: no other can be within a call that is being recorded. */
size_t trace_add(struct trace *trace, const struct event *event);
/* Likewise, with the lock taken and released. */
size_t trace_note(struct trace *trace, const struct event *event);
/* Room for len bytes; the caller holds the lock. */
uint64_t trace_room(struct trace *trace, size_t len);

bool trace_save(const struct trace *trace, const char *path);
bool trace_load(struct trace *trace, const char *path);
/* One line about an event. */
void trace_describe(const struct event *event, char *text, size_t room);

const char *flush_name(enum flush_kind kind);
/* FLUSH_NONE: there is none of this name. */
enum flush_kind flush_named(const char *name);

/* ---- random numbers --------------------------------------------------------------- */

/* Advances *state. */
uint64_t random_next(uint64_t *state);
/* Below limit, which is not 0. */
uint64_t random_below(uint64_t *state, uint64_t limit);
/* True in percent of a hundred cases. */
bool random_chance(uint64_t *state, unsigned percent);
/* Two numbers made one seed. */
uint64_t random_mix(uint64_t a, uint64_t b);

#endif

/* plugins/file/log.h - appending: one writer at a time, many saves to a flush.
 *
 * Callers bring their operations; one of them leads, writes those of all who wait with
 * one call, flushes once, publishes to the index in log order, and wakes the others.
 * Recovery has found out where to go on; see recovery.h. */
#ifndef MAKO_FILE_LOG_H
#define MAKO_FILE_LOG_H

#include <mako/store_plugin.h>

#include "index.h"

/* A save, a removal or a marker; lives with its caller until log_apply() returns. */
struct log_op {
    /* For the caller to set; the rest zero. */
    uint8_t type;  /* enum format_type; 0: nothing but to seal the active segment */
    bool if_newer; /* MAKO_STALE where a higher sequence is stored */
    struct mako_str stream;
    uint64_t hash; /* of the id */
    struct mako_meta meta;
    const void *blob;
    size_t blob_len;
    struct mako_error *err; /* filled with status other than MAKO_OK */
    /* The outcome. */
    int status;

    /* The log's own. */
    uint64_t blob_xxh;
    struct index_entry *reserved;
    struct log_op *next;  /* in the batch */
    struct log_op *peer;  /* an earlier write of the batch, in the same bucket */
    struct log_op *rests; /* the write of the batch that decided this one */
    struct place place;
    bool writes;
};

/* Where to go on. */
struct log_start {
    uint64_t segment; /* number of the next segment */
    uint64_t opening; /* number of this opening */
    struct format_tail before;
    bool unnamed; /* the index has places that are unnamed */
};

struct log_setup {
    struct segments *segments;
    struct index *index;
    uint64_t segment_size;
    bool flush; /* or stop at what outlives the process */
    struct log_start start;
    /* Called where a segment was sealed, or where there was no space; may be called
     * inside any log_apply() or log_free(), and does not block. */
    void (*notify)(void *arg);
    void *notify_arg;
};

struct log;

/* NULL: no memory. */
struct log *log_new(const struct log_setup *setup);
/* Seals the active segment.  Nothing is in flight any more.  NULL is fine. */
void log_free(struct log *log);

/* Carry out count operations, in order; their statuses tell.  As durable as the log
 * is on return.  Any thread. */
void log_apply(struct log *log, struct log_op *ops, size_t count);

/* Seal the active segment; the next save begins another. */
void log_rotate(struct log *log);

/* The log number of the last record that was written. */
uint64_t log_last(struct log *log);

/* Batches flushed and records written since opening. */
void log_count(struct log *log, uint64_t *flushes, uint64_t *records);

#endif

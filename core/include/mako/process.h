/* mako/process.h - one aggregate in memory: rehydrate, run, take.
 *
 * The whole job for one aggregate on top of mako/snapshot.h: load its snapshot, gate
 * it, check that it is of this log, fold the later events, and save a new one when it
 * is due.  The event log stays yours: either a callback reads it, or you push events.
 *
 * Rules kept here, so that no program has to:
 *  - state and sequence always belong together, also when a snapshot turns out wrong;
 *  - a snapshot that cannot be used costs a full replay, never an error;
 *  - a failed save never fails the command whose event is already in the log;
 *  - a NULL store works: the program runs without snapshots. */
#ifndef MAKO_PROCESS_H
#define MAKO_PROCESS_H

#include <mako/snapshot.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One event of the log.  Borrowed for the call. */
struct mako_event {
    uint64_t seq;     /* 1, 2, 3 ... without gaps */
    uint64_t anchor;  /* yours: a hash of the event's id or bytes; 0: not checked */
    const void *body; /* yours; the core never looks at it */
};
typedef struct mako_feed mako_feed;   /* lives during one read() */
typedef struct mako_bytes mako_bytes; /* lives during one encode(); the core's memory */
typedef struct mako_process mako_process; /* one thread at a time; holds a store ref */

/* What an aggregate is: static const.  Callbacks run inside the call, on its thread, no
 * lock held; they return 0 or mako_fail(err, MAKO_E_CALLBACK, ...).  After a failed
 * apply or read, or a create that gave NULL, the process is broken: its state is NULL and
 * every call but close says E_CALLBACK. */
struct mako_aggregate {
    uint32_t struct_size, flags; /* sizeof; 0 */
    /* What encode writes, and the oldest that decode still reads (0: schema only). */
    uint32_t schema, schema_oldest;
    const char *kind;           /* another kind's snapshot is MAKO_FOREIGN; or NULL */
    void *(*create)(void *app); /* the state before event 1; NULL: no memory */
    /* Release a state that create or decode made. */
    void (*destroy)(void *app, void *state);
    /* Fold one event into the state. */
    int (*apply)(void *app, void *state, const struct mako_event *event,
                 struct mako_error *err);
    /* The state as bytes of layout schema: mako_bytes_put() them. */
    int (*encode)(void *app, const void *state, mako_bytes *out, struct mako_error *err);
    /* Makes a new state, so none is half decoded.  Failing is no error: full replay. */
    int (*decode)(void *app, uint32_t schema, const void *bytes, size_t len, void **state,
                  struct mako_error *err);
    /* mako_feed_event() each event from seq from on, in order; stop at, and return, its
     * nonzero.  No events is fine.  NULL: the caller pushes every event, from 1. */
    int (*read)(void *app, const char *stream, uint64_t from, mako_feed *feed,
                struct mako_error *err);
};
/* For read(): hand over one event.  Nonzero: stop, and return it. */
MAKO_API MAKO_CHECKED int mako_feed_event(mako_feed *feed,
                                          const struct mako_event *event);
/* For encode(): append len bytes to the state.  0, or MAKO_E_NOMEM: return it. */
MAKO_API MAKO_CHECKED int mako_bytes_put(mako_bytes *out, const void *bytes, size_t len);

/* Load, gate, decode, read FROM the snapshot's own event (it must be there, with its
 * anchor; else AHEAD or DIVERGED, and replay from 1), fold.  store NULL: no snapshots.
 * aggregate and app must outlive the process; stream is copied.  MAKO_OK or negative;
 * what became of the snapshot is in mako_process_how.  Where the store failed, and "read"
 * delivers more than "replay_limit" events, or "on_load_failure" is "fail" (E_IO and
 * E_UNAVAILABLE only): the load's own status. */
MAKO_API MAKO_CHECKED int mako_process_open(mako_store *store,
                                            const struct mako_aggregate *aggregate,
                                            const char *stream, void *app,
                                            mako_process **process,
                                            struct mako_error *err);
/* Release the state, and the reference to the store.  NULL is fine. */
MAKO_API void mako_process_close(mako_process *process);
/* The state, valid until the next call on this process; NULL when broken. */
MAKO_API const void *mako_process_state(const mako_process *process);
/* The sequence of that same state; 0: before event 1. */
MAKO_API uint64_t mako_process_seq(const mako_process *process);
/* Fold what was appended since (on a conflict: catch up, decide again).  Begins at the
 * process's own last event, so that a log that was rolled back under it is noticed and
 * replayed from 1.  E_INVALID without read. */
MAKO_API MAKO_CHECKED int mako_process_catch_up(mako_process *process,
                                                struct mako_error *err);
/* Fold one event at hand.  At or below seq: spared.  A gap: E_INVALID.  Without read it
 * may say MAKO_DIVERGED: not this log's snapshot; seq is 0 again, push from event 1. */
MAKO_API MAKO_CHECKED int mako_process_push(mako_process *process,
                                            const struct mako_event *event,
                                            struct mako_error *err);
/* Without read: every event was pushed, and the log ends at head.  MAKO_OK, or
 * MAKO_AHEAD: the snapshot lies beyond it; seq is 0 again, push from event 1. */
MAKO_API MAKO_CHECKED int mako_process_end(mako_process *process, uint64_t head,
                                           struct mako_error *err);
/* For mako_process_take(): save, due or not. */
#define MAKO_TAKE_NOW (1u << 0)
/* Save state and seq if due, or with MAKO_TAKE_NOW anyway.  OK, NOT_DUE, STALE or
 * negative: what was committed stands, so the result may be ignored; err may be NULL. */
MAKO_API int mako_process_take(mako_process *process, uint32_t flags,
                               struct mako_error *err);
/* How the state came about, since opening.  Set struct_size to sizeof first. */
struct mako_how {
    uint32_t struct_size;      /* sizeof(struct mako_how), set by the caller */
    int snapshot;              /* status of the load: OK, NOT_FOUND, AHEAD, DAMAGED ... */
    uint32_t schema, reserved; /* of the snapshot that was found (0: none); 0 */
    uint64_t seq;              /* likewise */
    uint64_t folded, spared;   /* events applied; events the snapshot stood for */
};
/* Fill how, as far as how->struct_size goes.  It cannot fail. */
MAKO_API void mako_process_how(const mako_process *process, struct mako_how *how);

#ifdef __cplusplus
}
#endif
#endif

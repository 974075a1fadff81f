/* tests/soak/worker.h - a process that opens the store, lets threads work on it, closes
 * it and opens it again, until it is killed or told to stop. */
#ifndef MAKO_TESTS_SOAK_WORKER_H
#define MAKO_TESTS_SOAK_WORKER_H

#include "settings.h"

#include <stddef.h>

#define HELD 6 /* snapshots that a thread keeps for a while */

struct worker {
    struct journal *journal;
    const struct backend *backend;
    struct site site;
    unsigned slot, rate; /* operations a second of each thread; 0: no limit */
    bool steady;         /* is never killed, and never ends by itself */
    uint64_t random;
    /* Of the life that is going on. */
    struct settings settings;
    mako_store *store;
    int64_t end_ms;
    _Atomic int starving; /* threads whose memory fails, and when the last one's did */
    _Atomic int64_t starved_ms;
};

/* A snapshot that was loaded, and whose it is. */
struct held {
    mako_snapshot *snapshot;
    struct place place;
};

/* One thread. */
struct actor {
    struct worker *worker;
    unsigned thread;
    uint64_t random;
    struct held held[HELD];
    bool starving, starved; /* memory fails; it has */
    struct mako_error err;
    unsigned char *bytes, *expected; /* room for STATE_MAX each */
};

_Noreturn void worker_run(struct worker *worker);
/* Only a last look at everything, and the end. */
_Noreturn void worker_look(struct worker *worker);

/* ---- operations: actor.c, aggregate.c -------------------------------------------------
 */

void actor_make(struct actor *actor, struct worker *worker, unsigned thread,
                uint64_t random);
/* Gives back what it holds, which must not have changed. */
void actor_free(struct actor *actor);
/* Something, by lot. */
void actor_act(struct actor *actor);
/* Load every stream of its own, ungated. */
void actor_sweep(struct actor *actor);
/* A round on one of its aggregates. */
void actor_process(struct actor *actor);

/* Let allocations fail in what follows, now and then; and no more. */
void actor_starve(struct actor *actor);
void actor_feed(struct actor *actor);
/* Count an operation; a failure without a cause is a violation. */
void actor_count(struct actor *actor, enum op op, int status, int64_t began_ms);
/* Whether something is going on, or was until a moment ago, that excuses failures. */
bool worker_excused(const struct worker *worker, int64_t began_ms);
struct place actor_place(const struct actor *actor, unsigned own);
/* A violation on one of the streams. */
_Noreturn void actor_complain(const struct actor *actor, const struct place *place,
                              enum op op, int status, const char *wrong);

#endif

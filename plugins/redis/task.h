/* plugins/redis/task.h - one operation on one key, tried until it is done, refused for
 * good, or out of time: routing, redirections, back-off, and when not to try again. */
#ifndef MAKO_REDIS_TASK_H
#define MAKO_REDIS_TASK_H

#include "route.h"

struct store {
    struct settings settings;
    struct tally tally;
    struct route *route;
    atomic_bool away; /* the last operation could not reach its server */
};

struct task {
    struct store *store; /* by task_do() */
    const struct key *key;
    size_t bytes; /* that it may move: larger ones get more time */
    bool writes;  /* the server must be believed first, and asked afterwards */
    /* Where it is not known whether an attempt was carried out, another does no harm. */
    bool repeatable;
    int64_t limit; /* likewise: when all attempts end */
    bool one_key;  /* for run: the slot is on the move, use no second key */
    /* One attempt.  True: done, status is set.  False: trouble is set. */
    bool (*run)(struct task *task, struct session *session, bool asking, int64_t deadline,
                struct trouble *trouble);
    int status;
    struct mako_error *err; /* for run's own words, with status */
};

/* Until when an operation that begins now may take. */
int64_t task_deadline(const struct store *store);
int task_do(struct store *store, struct task *task, int64_t deadline);
/* The time that one attempt gets. */
int64_t task_attempt(const struct store *store, size_t bytes, int64_t deadline);
/* The same for a write to a node that was picked then.  It may have been replaced soon
 * after, so that what it says later than io_timeout after that is not believed. */
int64_t task_attempt_at(const struct store *store, int64_t picked, size_t bytes,
                        int64_t deadline);
/* So much of that time is over that the node is better picked again. */
bool task_is_late(const struct store *store, int64_t picked);
/* A pause before another attempt, each longer than the last (*pause, 0 at first).  False:
 * there is no time for it. */
bool task_pause(const struct settings *settings, int64_t *pause, int64_t deadline);
/* Outages, for those who borrow sessions themselves: what the node said
 * is passed on to the router. */
void task_note(struct store *store, struct node *node, const struct trouble *trouble);
/* What the store remembers of an outage. */
void task_remember(struct store *store, int status);

#endif

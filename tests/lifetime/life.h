/* tests/lifetime/life.h - what the programs of this folder share: cases that run in a
 * process of their own each, and threads that use a store in every way while something
 * happens to the process.
 *
 *     PROGRAM CONFIGURATION [--rounds N] [--seed N] [--case NAME]
 *
 * The configuration is one of tests/conformance or tests/redis.  A case that fails says
 * with which seed. */
#ifndef MAKO_TESTS_LIFETIME_H
#define MAKO_TESTS_LIFETIME_H

#include <pthread.h>
#include <stdatomic.h>

#include "../conformance/cases.h"

/* A build whose allocator is not safe in a child of several threads, and slow. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

enum {
    WORKERS_MAX = 4,
    OWN = 4, /* streams of one worker */
    LEN_MAX = 60000
};

/* As the command line says. */
extern unsigned long life_rounds;
extern uint64_t life_seed;

/* Run the cases, an empty name ends them; what main() returns.  rounds: unless said. */
int life_main(int argc, char **argv, const struct test_case *cases, unsigned long rounds);

uint64_t life_draw(uint64_t *seed);

/* Wait for a child; its exit code, or 128 and the signal that ended it. */
int life_wait(pid_t child);

/* ---- what was saved --------------------------------------------------------------- */

/* In memory that forked processes share, so that others can check what a process that
 * has ended was told. */
struct ledger {
    _Atomic uint64_t begun[WORKERS_MAX][OWN], done[WORKERS_MAX][OWN];
    atomic_uint_fast64_t calls, refused;
    atomic_uint errors;
    char text[1024]; /* the first error */
};

/* NULL where there is no memory. */
struct ledger *ledger_new(void);
/* Nothing went wrong, and each stream is at its last acknowledged save or beyond it. */
enum verdict ledger_check(struct trial *t, const struct ledger *ledger);
/* Errors alone. */
enum verdict ledger_errors(struct trial *t, const struct ledger *ledger);
/* Until so many more calls have ended. */
void ledger_wait(const struct ledger *ledger, uint64_t calls);

/* ---- work ------------------------------------------------------------------------- */

struct work;

struct worker {
    struct work *work;
    unsigned index;
    uint64_t seed;
    unsigned char *state; /* LEN_MAX, not on the stack */
};

/* Threads that save, load, look, scan, remove and compact.  Each has streams of its own,
 * and every answer must be right. */
struct work {
    struct trial *t; /* an open store */
    struct ledger *ledger;
    unsigned count;  /* of threads */
    bool may_refuse; /* calls may fail, with a sentence */
    size_t stack;    /* of a thread; 0: the usual */
    atomic_bool stop;
    pthread_t threads[WORKERS_MAX];
    struct worker workers[WORKERS_MAX];
};

enum verdict work_start(struct work *work);
/* One call, chosen by lot, of a worker; what the threads do. */
void work_once(struct worker *worker);
void work_stop(struct work *work);

#endif

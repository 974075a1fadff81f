/* bench/contest.h - contenders of peer.h side by side: the same streams, states, threads
 * and file system, each in a directory of its own, in interleaved rounds. */
#ifndef MAKO_BENCH_CONTEST_H
#define MAKO_BENCH_CONTEST_H

#include "peer.h"
#include "workload.h"

#define BENCH_CONTENDERS_MAX 8u

struct bench_contender {
    const struct bench_peer *peer;
    char *dir;
    void *self; /* NULL: not open */
};

struct bench_contest {
    struct bench *bench;
    struct bench_streams streams; /* borrowed */
    size_t len;                   /* of a state */
    size_t framed;                /* bytes of a record of the file store; for limit */
    const char *extra;            /* as in struct bench_peer_use */
    uint64_t seq;                 /* of the last save of any stream */
    size_t count;
    struct bench_contender list[BENCH_CONTENDERS_MAX];
};

/* The contenders of these names (NULL ends) that are in this build; their directories
 * begin with prefix.  bench_contest_end() in any case. */
int bench_contest_begin(struct bench_contest *contest, const char *prefix,
                        const char *const *names, struct mako_error *err);
/* Close, remove the directories. */
void bench_contest_end(struct bench_contest *contest);

/* Open every contender; close every one that is open. */
int bench_contest_open(struct bench_contest *contest, bool durable, size_t threads,
                       struct mako_error *err);
void bench_contest_close(struct bench_contest *contest);

/* Give every stream a state, in batches, in the order of the ids (which suits trees). */
int bench_contest_fill(struct bench_contest *contest, struct mako_error *err);
/* The same for one, open and empty. */
int bench_peer_fill(const struct bench_peer *peer, void *self,
                    const struct bench_streams *streams, size_t len,
                    struct mako_error *err);
/* Load a stream and insist on its state. */
int bench_peer_check(const struct bench_peer *peer, void *self, size_t thread,
                     const struct bench_streams *streams, size_t number, size_t len,
                     struct mako_error *err);

/* What each does in a round: calls of each thread, on streams picked at random. */
struct bench_job {
    enum bench_work {
        BENCH_SAVE,
        BENCH_SAVE_MANY,
        BENCH_LOAD
    } work;
    size_t threads, calls;
    size_t batch; /* of BENCH_SAVE_MANY */
    bool settle;  /* the background comes to rest after each turn; not timed */
};

/* values[contender * rounds + round]: microseconds of a call (of one state in a batch),
 * as wall time over all threads' calls. */
int bench_contest_run(struct bench_contest *contest, const struct bench_job *job,
                      size_t rounds, double *values, struct mako_error *err);

/* Where the values of a contender begin; NULL: it takes no part. */
const double *bench_contest_row(const struct bench_contest *contest, const double *values,
                                size_t rounds, const char *name);

/* Report how many times faster one is than the other, as a figure of that name; nothing
 * where one takes no part. */
int bench_contest_ratio(struct bench_contest *contest, const double *values,
                        size_t rounds, const struct bench_spec *spec, const char *one,
                        const char *other, struct mako_error *err);
/* The same against the fastest but "limit"; its name is that with the least median. */
const char *bench_contest_best(const struct bench_contest *contest, const double *values,
                               size_t rounds);

/* Report PREFIX_NAME for every contender: microseconds as they are ("us"), or calls a
 * second ("1/s"). */
int bench_contest_report(struct bench_contest *contest, const double *values,
                         size_t rounds, const char *prefix, const char *unit,
                         struct mako_error *err);

#endif

/* bench/harness.h - what every group measures with: a clock, interleaved rounds, medians,
 * threads that start together, a random order, and the list of figures.
 *
 * Knows nothing of stores.  Functions that can fail return a status of mako/types.h and
 * fill err. */
#ifndef MAKO_BENCH_HARNESS_H
#define MAKO_BENCH_HARNESS_H

#include <stdbool.h>

#include <mako/types.h>

#define BENCH_FIGURES_MAX 512u
#define BENCH_NAME_ROOM   56u

enum bench_goal {
    BENCH_NO_TARGET,
    BENCH_BELOW,
    BENCH_AT_MOST,
    BENCH_AT_LEAST
};

/* What a figure is called, and what it should be. */
struct bench_spec {
    const char *name, *unit;
    enum bench_goal goal;
    double target;
};

/* A figure: the median over the rounds, and how far they lie apart. */
struct bench_figure {
    struct bench_spec spec; /* its name is the one below */
    char name[BENCH_NAME_ROOM];
    double median, min, max;
};

/* One run of the program. */
struct bench {
    bool quick;      /* sizes that only show that everything works */
    char *dir;       /* for files of the run; removed at its end */
    char *tools_dir; /* where mako-snapshot is: beside this program */
    void (*show)(const struct bench_figure *figure); /* as soon as it is known; or NULL */
    struct bench_figure figures[BENCH_FIGURES_MAX];
    size_t figure_count;
};

/* ---- clock and random order ----------------------------------------------- */

/* Nanoseconds of a clock that only goes forward. */
uint64_t bench_now(void);
/* Nanoseconds that this thread has run: for work that never waits, so that other
 * programs on the machine count less. */
uint64_t bench_cpu_now(void);

/* Every run draws the same numbers, so that runs can be compared. */
struct bench_rng {
    uint64_t state;
};
struct bench_rng bench_rng_make(uint64_t seed);
uint64_t bench_rng_next(struct bench_rng *rng);
/* One of 0 ... count - 1. */
size_t bench_rng_pick(struct bench_rng *rng, size_t count);

/* ---- rounds ----------------------------------------------------------------- */

/* One contender: does its share of a round and says what it measured. */
struct bench_side {
    int (*run)(void *arg, double *value, struct mako_error *err);
    void *arg;
};

/* How often: the long figure, or the one of --quick. */
size_t bench_size(const struct bench *bench, size_t full, size_t quick);

/* Run every side once a round, A B A B ..., each round beginning with the next side,
 * after one round that does not count.  values[side * rounds + round] gets what was
 * measured. */
int bench_rounds(const struct bench_side *sides, size_t side_count, size_t rounds,
                 double *values, struct mako_error *err);

/* Store the median of values (which are sorted) as a figure; the name is copied. */
int bench_report(struct bench *bench, const struct bench_spec *spec, double *values,
                 size_t count, struct mako_error *err);

/* The median of values, which are sorted. */
double bench_median(double *values, size_t count);

/* From now on bench_rounds() ends with E_CALLBACK; safe in a signal handler. */
void bench_interrupt(void);

/* ---- threads ---------------------------------------------------------------- */

/* Run work(arg, index) on count threads that begin together; *elapsed is the time from
 * there until the last has ended.  The first failure is returned. */
int bench_threads(size_t count,
                  int (*work)(void *arg, size_t index, struct mako_error *err), void *arg,
                  uint64_t *elapsed, struct mako_error *err);

/* ---- files -------------------------------------------------------------------- */

/* DIR/NAME, the caller's to free; NULL: no memory. */
char *bench_path(const char *dir, const char *name);

/* Bytes of the disk that the files of a directory take. */
uint64_t bench_tree_size(const char *path);

/* Let the page cache forget the files of a directory, so that the next read comes from
 * the disk; they must not be open or mapped. */
int bench_tree_forget(const char *path, struct mako_error *err);

/* Remove a directory with everything in it; a missing one is fine. */
int bench_remove_tree(const char *path, struct mako_error *err);

#endif

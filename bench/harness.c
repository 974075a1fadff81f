/* bench/harness.c - see harness.h.  Nothing in here knows what is being measured. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t interrupted;

/* ---- clock and random order ----------------------------------------------- */

static uint64_t read_clock(clockid_t clock)
{
    struct timespec now;

    (void)clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t bench_now(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

uint64_t bench_cpu_now(void)
{
    return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

struct bench_rng bench_rng_make(uint64_t seed)
{
    return (struct bench_rng){.state = seed * 0x9e3779b97f4a7c15u + 1};
}

/* SplitMix64: short, and good enough to defeat a prefetcher. */
uint64_t bench_rng_next(struct bench_rng *rng)
{
    uint64_t z = rng->state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

size_t bench_rng_pick(struct bench_rng *rng, size_t count)
{
    return (size_t)(((bench_rng_next(rng) >> 32) * count) >> 32);
}

/* ---- rounds ----------------------------------------------------------------- */

size_t bench_size(const struct bench *bench, size_t full, size_t quick)
{
    return bench->quick ? quick : full;
}

void bench_interrupt(void)
{
    interrupted = 1;
}

/* Every side once, beginning with side first; values has a row of stride a side, or is
 * NULL. */
static int one_round(const struct bench_side *sides, size_t side_count, size_t first,
                     double *values, size_t stride, struct mako_error *err)
{
    for (size_t i = 0; i < side_count; i++) {
        size_t side = (first + i) % side_count;
        double value = 0;
        int status;

        if (interrupted)
            return mako_fail(err, MAKO_E_CALLBACK, "interrupted");
        status = sides[side].run(sides[side].arg, &value, err);
        if (status != MAKO_OK)
            return status;
        if (values)
            values[side * stride] = value;
    }
    return MAKO_OK;
}

int bench_rounds(const struct bench_side *sides, size_t side_count, size_t rounds,
                 double *values, struct mako_error *err)
{
    int status = one_round(sides, side_count, 0, NULL, 0, err);

    for (size_t round = 0; status == MAKO_OK && round < rounds; round++)
        status = one_round(sides, side_count, round, values + round, rounds, err);
    return status;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double bench_median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, compare_doubles);
    return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

int bench_report(struct bench *bench, const struct bench_spec *spec, double *values,
                 size_t count, struct mako_error *err)
{
    struct bench_figure *figure;

    if (count == 0 || bench->figure_count == BENCH_FIGURES_MAX)
        return mako_fail(err, MAKO_E_LIMIT, "%s: no room for the figure", spec->name);

    figure = &bench->figures[bench->figure_count++];
    *figure = (struct bench_figure){.spec = *spec, .median = bench_median(values, count)};
    figure->min = values[0];
    figure->max = values[count - 1];
    (void)snprintf(figure->name, sizeof figure->name, "%s", spec->name);
    figure->spec.name = figure->name;
    if (bench->show)
        bench->show(figure);
    return MAKO_OK;
}

/* ---- threads ---------------------------------------------------------------- */

struct crew {
    pthread_mutex_t lock;
    pthread_cond_t open;
    bool started, cancelled;
    int (*work)(void *arg, size_t index, struct mako_error *err);
    void *arg;
};

struct member {
    pthread_t thread;
    struct crew *crew;
    size_t index;
    int status;
    struct mako_error err;
};

static void *member_main(void *arg)
{
    struct member *member = arg;
    struct crew *crew = member->crew;
    bool cancelled;

    (void)pthread_mutex_lock(&crew->lock);
    while (!crew->started)
        (void)pthread_cond_wait(&crew->open, &crew->lock);
    cancelled = crew->cancelled;
    (void)pthread_mutex_unlock(&crew->lock);

    if (!cancelled)
        member->status = crew->work(crew->arg, member->index, &member->err);
    return NULL;
}

/* Let the members go; they do nothing when they are cancelled. */
static void crew_start(struct crew *crew, bool cancelled)
{
    (void)pthread_mutex_lock(&crew->lock);
    crew->started = true;
    crew->cancelled = cancelled;
    (void)pthread_cond_broadcast(&crew->open);
    (void)pthread_mutex_unlock(&crew->lock);
}

static size_t crew_hire(struct crew *crew, struct member *members, size_t count)
{
    size_t hired = 0;

    for (; hired < count; hired++) {
        members[hired].crew = crew;
        members[hired].index = hired;
        if (pthread_create(&members[hired].thread, NULL, member_main, &members[hired]))
            break;
    }
    return hired;
}

int bench_threads(size_t count,
                  int (*work)(void *arg, size_t index, struct mako_error *err), void *arg,
                  uint64_t *elapsed, struct mako_error *err)
{
    struct crew crew = {
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .open = PTHREAD_COND_INITIALIZER,
        .work = work,
        .arg = arg,
    };
    struct member *members = calloc(count, sizeof *members);
    size_t hired;
    uint64_t begin;
    int status = MAKO_OK;

    if (!members)
        return mako_fail(err, MAKO_E_NOMEM, "no memory for %zu threads", count);
    hired = crew_hire(&crew, members, count);
    begin = bench_now();
    crew_start(&crew, hired < count);
    for (size_t i = 0; i < hired; i++)
        (void)pthread_join(members[i].thread, NULL);
    *elapsed = bench_now() - begin;

    if (hired < count)
        status =
            mako_fail(err, MAKO_E_NOMEM, "only %zu of %zu threads started", hired, count);
    for (size_t i = 0; i < hired && status == MAKO_OK; i++)
        if ((status = members[i].status) != MAKO_OK)
            *err = members[i].err;
    free(members);
    return status;
}

/* ---- files -------------------------------------------------------------------- */

char *bench_path(const char *dir, const char *name)
{
    size_t room = strlen(dir) + strlen(name) + 2;
    char *path = malloc(room);

    if (path)
        (void)snprintf(path, room, "%s/%s", dir, name);
    return path;
}

static uint64_t tree_blocks; /* nftw() passes no argument on */

static int add_size(const char *path, const struct stat *info, int type,
                    struct FTW *place)
{
    (void)path;
    (void)place;
    if (type == FTW_F)
        tree_blocks += (uint64_t)info->st_blocks;
    return 0;
}

/* Files that vanish meanwhile count as nothing. */
uint64_t bench_tree_size(const char *path)
{
    tree_blocks = 0;
    (void)nftw(path, add_size, 16, FTW_PHYS);
    return tree_blocks * 512;
}

/* Dirty pages cannot be forgotten, so they are written first. */
static int forget_entry(const char *path, const struct stat *info, int type,
                        struct FTW *place)
{
    int fd, error = 0;

    (void)info;
    (void)place;
    if (type != FTW_F)
        return 0;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    if (fdatasync(fd) != 0)
        error = errno;
    else
        error = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    (void)close(fd);
    return error;
}

int bench_tree_forget(const char *path, struct mako_error *err)
{
    int result = nftw(path, forget_entry, 16, FTW_PHYS);

    if (result < 0)
        result = errno;
    return result == 0 ? MAKO_OK
                       : mako_fail(err, MAKO_E_IO, "%s: %s", path, strerror(result));
}

static int remove_entry(const char *path, const struct stat *info, int type,
                        struct FTW *place)
{
    (void)info;
    (void)type;
    (void)place;
    return remove(path) == 0 || errno == ENOENT ? 0 : errno;
}

int bench_remove_tree(const char *path, struct mako_error *err)
{
    int result = nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);

    if (result < 0)
        result = errno;
    if (result == 0 || result == ENOENT)
        return MAKO_OK;
    return mako_fail(err, MAKO_E_IO, "%s: %s", path, strerror(result));
}

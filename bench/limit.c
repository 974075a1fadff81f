/* bench/limit.c - see limit.h.
 *
 * Tried for the group commit, 16 threads on 2 processors: one condition for all, one a
 * batch, bare futexes, flushing at once, and gathering first.  Gathering decides (batches
 * of 8 become batches of 15), then one condition a batch; the futexes gained nothing. */
#include "limit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Records that one flush makes durable: one is flushed while the other fills.  A number
 * is never used twice, so that a late waker cannot take another batch for its own. */
struct batch {
    pthread_cond_t done;
    size_t used; /* records */
    unsigned char *bytes;
};

struct bench_limit {
    int fd;
    off_t end;
    size_t len, threads;
    unsigned char *record;

    pthread_mutex_t lock;
    struct batch batches[2];
    uint64_t filling, durable; /* numbers of batches; the second: of the last flushed */
    size_t last_used;
    uint64_t last_ns; /* what the last flush took */
    bool flushing;
    int error; /* errno of the first failure; everything after it fails too */
};

/* ---- opening ------------------------------------------------------------------ */

static bool allocate(struct bench_limit *limit)
{
    bool whole = (limit->record = malloc(limit->len)) != NULL;

    for (size_t i = 0; i < 2; i++) {
        limit->batches[i].bytes = malloc(limit->len * limit->threads);
        whole = whole && limit->batches[i].bytes;
        if (whole)
            memset(limit->batches[i].bytes, 'x', limit->len * limit->threads);
    }
    if (whole)
        memset(limit->record, 'x', limit->len);
    return whole;
}

int bench_limit_open(const char *path, size_t len, size_t threads,
                     struct bench_limit **out, struct mako_error *err)
{
    struct bench_limit *limit = calloc(1, sizeof *limit);

    if (!limit)
        return mako_fail(err, MAKO_E_NOMEM, "%s: no memory", path);
    *limit = (struct bench_limit){.len = len, .threads = threads, .filling = 1};
    (void)pthread_mutex_init(&limit->lock, NULL);
    for (size_t i = 0; i < 2; i++)
        (void)pthread_cond_init(&limit->batches[i].done, NULL);

    limit->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (limit->fd < 0 || !allocate(limit)) {
        int status = mako_fail(err, MAKO_E_IO, "%s: %s", path, strerror(errno));

        bench_limit_close(limit);
        return status;
    }
    *out = limit;
    return MAKO_OK;
}

void bench_limit_close(struct bench_limit *limit)
{
    if (!limit)
        return;
    if (limit->fd >= 0)
        (void)close(limit->fd);
    for (size_t i = 0; i < 2; i++) {
        (void)pthread_cond_destroy(&limit->batches[i].done);
        free(limit->batches[i].bytes);
    }
    (void)pthread_mutex_destroy(&limit->lock);
    free(limit->record);
    free(limit);
}

/* ---- one thread ----------------------------------------------------------------- */

/* Returns 0 or an errno. */
static int write_and_flush(struct bench_limit *limit, const unsigned char *bytes,
                           size_t len)
{
    ssize_t written = pwrite(limit->fd, bytes, len, limit->end);

    if (written != (ssize_t)len)
        return written < 0 ? errno : ENOSPC;
    if (fdatasync(limit->fd) != 0)
        return errno;
    limit->end += (off_t)len;
    return 0;
}

static int verdict(int error, struct mako_error *err)
{
    return error == 0 ? MAKO_OK
                      : mako_fail(err, MAKO_E_IO, "bare append: %s", strerror(error));
}

int bench_limit_append(struct bench_limit *limit, struct mako_error *err)
{
    return verdict(write_and_flush(limit, limit->record, limit->len), err);
}

int bench_limit_append_many(struct bench_limit *limit, size_t count,
                            struct mako_error *err)
{
    if (count > limit->threads)
        return mako_fail(err, MAKO_E_LIMIT, "bare append: a batch of %zu", count);
    return verdict(write_and_flush(limit, limit->batches[0].bytes, count * limit->len),
                   err);
}

/* ---- many threads ------------------------------------------------------------------ */

static struct batch *batch_of(struct bench_limit *limit, uint64_t number)
{
    return &limit->batches[number % 2];
}

/* Give those whom the last flush has just let go the time to come again: as long as the
 * batch grows, or is smaller than the last one; no longer than a flush takes.  Called and
 * returns with the lock. */
static void gather(struct bench_limit *limit, const struct batch *batch)
{
    uint64_t deadline = bench_now() + limit->last_ns;
    size_t before;

    while (batch->used < limit->threads && bench_now() < deadline) {
        before = batch->used;
        (void)pthread_mutex_unlock(&limit->lock);
        (void)sched_yield();
        (void)pthread_mutex_lock(&limit->lock);
        /* cppcheck-suppress knownConditionTrueFalse ; others had the lock meanwhile */
        if (batch->used == before && batch->used >= limit->last_used)
            break;
    }
}

/* Flush the batch that fills, wake its followers and one leader for the next.  Called and
 * returns with the lock. */
static void lead(struct bench_limit *limit)
{
    uint64_t number = limit->filling;
    struct batch *batch = batch_of(limit, number), *next = batch_of(limit, number + 1);
    uint64_t begin;
    int error;

    limit->flushing = true;
    gather(limit, batch);
    limit->filling = number + 1;
    limit->last_used = batch->used;
    (void)pthread_mutex_unlock(&limit->lock);

    begin = bench_now();
    error = write_and_flush(limit, batch->bytes, batch->used * limit->len);

    (void)pthread_mutex_lock(&limit->lock);
    limit->last_ns = bench_now() - begin;
    limit->error = limit->error ? limit->error : error;
    limit->durable = number;
    limit->flushing = false;
    batch->used = 0;
    (void)pthread_cond_broadcast(&batch->done);
    (void)pthread_cond_signal(&next->done);
}

int bench_limit_commit(struct bench_limit *limit, struct mako_error *err)
{
    struct batch *batch;
    uint64_t number;
    int error;

    (void)pthread_mutex_lock(&limit->lock);
    number = limit->filling;
    batch = batch_of(limit, number);
    memcpy(batch->bytes + batch->used++ * limit->len, limit->record, limit->len);
    while (limit->durable < number) {
        if (limit->flushing)
            (void)pthread_cond_wait(&batch->done, &limit->lock);
        else
            lead(limit);
    }
    error = limit->error;
    (void)pthread_mutex_unlock(&limit->lock);
    return verdict(error, err);
}

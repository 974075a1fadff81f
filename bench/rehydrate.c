/* bench/rehydrate.c - what a snapshot is for: one aggregate of a long stream, brought
 * back by replaying everything, and from its snapshot.
 *
 * Events are 128 bytes in a file, read in large pieces and folded into a state of 1 KiB;
 * nothing is parsed, so that a program with a real event log gains more. */
#include "groups.h"
#include "workload.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mako/process.h>

#define EVENT_SIZE 128u
#define CHUNK      512u /* events read at once */
#define LAG        50u  /* events since the snapshot */

struct log {
    int fd;
    uint64_t head;
};

struct account {
    uint64_t words[BENCH_STATE_SIZE / 8];
};

/* ---- the aggregate ------------------------------------------------------------------
 */

static void *create(void *app)
{
    (void)app;
    return calloc(1, sizeof(struct account));
}

static void destroy(void *app, void *state)
{
    (void)app;
    free(state);
}

static int apply(void *app, void *state, const struct mako_event *event,
                 struct mako_error *err)
{
    struct account *account = state;
    uint64_t words[EVENT_SIZE / 8];

    (void)app;
    (void)err;
    memcpy(words, event->body, sizeof words);
    for (size_t i = 0; i < EVENT_SIZE / 8; i++)
        account->words[(words[0] + i) % (BENCH_STATE_SIZE / 8)] += words[i];
    return 0;
}

static int encode(void *app, const void *state, mako_bytes *out, struct mako_error *err)
{
    (void)app;
    (void)err;
    return mako_bytes_put(out, state, sizeof(struct account));
}

static int decode(void *app, uint32_t schema, const void *bytes, size_t len, void **state,
                  struct mako_error *err)
{
    struct account *account = len == sizeof *account ? malloc(sizeof *account) : NULL;

    (void)app;
    (void)schema;
    if (!account)
        return mako_fail(err, MAKO_E_CALLBACK, "not an account of %zu bytes", len);
    memcpy(account, bytes, len);
    *state = account;
    return 0;
}

static int read_events(void *app, const char *stream, uint64_t from, mako_feed *feed,
                       struct mako_error *err)
{
    const struct log *log = app;
    unsigned char chunk[CHUNK * EVENT_SIZE];
    int status = 0;

    (void)stream;
    while (from <= log->head && status == 0) {
        ssize_t got =
            pread(log->fd, chunk, sizeof chunk, (off_t)((from - 1) * EVENT_SIZE));

        if (got < (ssize_t)EVENT_SIZE)
            return mako_fail(err, MAKO_E_CALLBACK, "event %llu: %s",
                             (unsigned long long)from,
                             got < 0 ? strerror(errno) : "it is not there");
        for (size_t at = 0; at + EVENT_SIZE <= (size_t)got && status == 0;
             at += EVENT_SIZE) {
            const struct mako_event event = {.seq = from++, .body = chunk + at};

            status = mako_feed_event(feed, &event);
        }
    }
    return status;
}

static const struct mako_aggregate aggregate = {
    .struct_size = sizeof aggregate,
    .schema = 1,
    .create = create,
    .destroy = destroy,
    .apply = apply,
    .encode = encode,
    .decode = decode,
    .read = read_events,
};

/* ---- both ways ----------------------------------------------------------------------
 */

struct way {
    struct log *log;
    mako_store *store; /* NULL: the whole stream */
    uint64_t digest;   /* of the state; both must come to the same */
};

static int rehydrate(void *arg, double *ms, struct mako_error *err)
{
    struct way *way = arg;
    const struct account *account;
    mako_process *process;
    uint64_t begin = bench_now();
    int status = mako_process_open(way->store, &aggregate, "account/long", way->log,
                                   &process, err);

    if (status != MAKO_OK)
        return status;
    *ms = (double)(bench_now() - begin) / 1e6;
    account = mako_process_state(process);
    way->digest = 0;
    for (size_t i = 0; i < BENCH_STATE_SIZE / 8; i++)
        way->digest = way->digest * 31 + account->words[i];
    mako_process_close(process);
    return MAKO_OK;
}

/* Snapshot at LAG events before the head. */
static int take(struct log *log, mako_store *store, struct mako_error *err)
{
    struct log shorter = {.fd = log->fd, .head = log->head - LAG};
    mako_process *process;
    int status =
        mako_process_open(store, &aggregate, "account/long", &shorter, &process, err);

    if (status != MAKO_OK)
        return status;
    status = mako_process_take(process, MAKO_TAKE_NOW, err);
    mako_process_close(process);
    return status;
}

static int measure(struct bench *bench, struct log *log, mako_store *store,
                   struct mako_error *err)
{
    static const struct bench_spec specs[] = {
        {"rehydrate.full_ms", "ms", BENCH_NO_TARGET, 0},
        {"rehydrate.snapshot_ms", "ms", BENCH_NO_TARGET, 0},
        {"rehydrate.full_vs_snapshot", "ratio", BENCH_NO_TARGET, 0},
    };
    struct way full = {.log = log}, quick = {.log = log, .store = store};
    struct bench_side sides[] = {{rehydrate, &full}, {rehydrate, &quick}};
    const size_t rounds = bench_size(bench, 15, 2);
    double values[2 * 15], ratios[15];
    int status = bench_rounds(sides, 2, rounds, values, err);

    if (status == MAKO_OK && full.digest != quick.digest)
        status = mako_fail(err, MAKO_E_PLUGIN, "both ways lead to different states");
    for (size_t i = 0; i < rounds; i++)
        ratios[i] = values[i] / values[rounds + i];
    for (size_t i = 0; i < 2 && status == MAKO_OK; i++)
        status = bench_report(bench, &specs[i], values + i * rounds, rounds, err);
    return status == MAKO_OK ? bench_report(bench, &specs[2], ratios, rounds, err)
                             : status;
}

/* ---- the group ----------------------------------------------------------------------
 */

static int write_log(struct log *log, struct mako_error *err)
{
    struct bench_rng rng = bench_rng_make(128);
    uint64_t words[EVENT_SIZE / 8];

    for (uint64_t i = 0; i < log->head; i++) {
        for (size_t j = 0; j < EVENT_SIZE / 8; j++)
            words[j] = bench_rng_next(&rng);
        if (pwrite(log->fd, words, sizeof words, (off_t)(i * EVENT_SIZE)) !=
            (ssize_t)sizeof words)
            return mako_fail(err, MAKO_E_IO, "the event log: %s", strerror(errno));
    }
    return MAKO_OK;
}

int bench_rehydrate(struct bench *bench, struct mako_error *err)
{
    char *path = bench_path(bench->dir, "events"), *dir = bench_path(bench->dir, "long");
    struct log log = {.fd = -1, .head = bench_size(bench, 1000000, 2000)};
    mako_store *store = NULL;
    int status = MAKO_OK;

    if (!path || !dir)
        status = mako_fail(err, MAKO_E_NOMEM, "no memory for a path");
    if (status == MAKO_OK) {
        log.fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        status = log.fd < 0 ? mako_fail(err, MAKO_E_IO, "%s: %s", path, strerror(errno))
                            : write_log(&log, err);
    }
    if (status == MAKO_OK)
        status = bench_open("file", "power", dir, &store, err);
    if (status == MAKO_OK)
        status = take(&log, store, err);
    if (status == MAKO_OK)
        status = measure(bench, &log, store, err);
    mako_store_unref(store);
    if (log.fd >= 0)
        (void)close(log.fd);
    free(path);
    free(dir);
    return status;
}

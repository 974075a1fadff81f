/* tests/power/workload.c - see workload.h.
 *
 * Each thread has streams of its own, so that their operations have an order. */
#include "workload.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mako/types.h>

enum {
    THREADS = WORKLOAD_THREADS,
    OWN = STREAMS / THREADS,
    BATCH_MAX = 6
};

struct worker {
    const struct workload *workload;
    struct driver *driver;
    size_t thread;
    uint64_t random;
    uint64_t seqs[OWN]; /* the highest sequence that each stream had */
    bool failed;        /* a call has */
};

/* Report what must not happen, and end. */
static _Noreturn void give_up(const char *what, int status, const struct mako_error *err)
{
    (void)fprintf(stderr, "workload: %s: status %d: %s\n", what, status, err->text);
    _exit(3);
}

static void settle_failure(struct worker *worker, const char *what, int status,
                           const struct mako_error *err)
{
    if (status < 0 && !worker->workload->may_fail)
        give_up(what, status, err);
    worker->failed = worker->failed || status < 0;
}

/* ---- notes ------------------------------------------------------------------------ */

static struct event event_of(const struct item *item)
{
    return (struct event){.kind = EVENT_BEGIN,
                          .stream = item->stream,
                          .version = item->version,
                          .seq = item->seq,
                          .len = item->len};
}

/* An operation begins: it gets its version. */
static void note_begin(const struct worker *worker, struct item *item, bool removal)
{
    struct trace *trace = worker->workload->trace;
    struct event event;

    trace_lock(trace);
    item->version = ++trace->versions;
    event = event_of(item);
    event.removal = removal;
    (void)trace_add(trace, &event);
    trace_unlock(trace);
}

static void note_end(const struct worker *worker, const struct item *item, int status)
{
    struct event event = event_of(item);

    event.kind = EVENT_END;
    event.status = status;
    (void)trace_note(worker->workload->trace, &event);
}

/* What a load brought; 0 for what no version is. */
static void note_found(const struct workload *workload, uint8_t kind, size_t stream,
                       const struct found *found, const struct mako_error *err)
{
    struct event event = {.kind = kind,
                          .stream = (uint16_t)stream,
                          .version = found->version,
                          .seq = found->seq,
                          .len = found->len};

    if (found->status < 0 && workload->may_fail)
        return;
    if ((found->status != MAKO_OK && found->status != MAKO_NOT_FOUND) || found->altered)
        give_up(found->altered ? "altered bytes" : "load", found->status, err);
    (void)trace_note(workload->trace, &event);
}

/* ---- operations ------------------------------------------------------------------- */

static uint32_t any_len(uint64_t *random, bool large)
{
    uint64_t kind = random_below(random, 200);

    if (large)
        return 20000 + (uint32_t)random_below(random, 30000);
    if (kind < 100)
        return (uint32_t)random_below(random, 300);
    if (kind < 170)
        return (uint32_t)random_below(random, 4096);
    if (kind < 195)
        return (uint32_t)random_below(random, 16384);
    if (kind < 199)
        return (uint32_t)random_below(random, 60000);
    return 70000; /* more than a segment has */
}

/* A save of one of the worker's streams: newer, late, or by force. */
static struct item any_item(struct worker *worker)
{
    size_t own = (size_t)random_below(&worker->random, worker->workload->own);
    uint64_t kind = random_below(&worker->random, 10), seq = worker->seqs[own];
    struct item item = {.stream = (uint16_t)(worker->thread * OWN + own),
                        .if_newer = kind < 8,
                        .len = any_len(&worker->random, worker->workload->large)};

    if (kind == 7 && seq > 1)
        item.seq = seq - 1;
    else if (kind > 7)
        item.seq = 1 + random_below(&worker->random, seq + 2);
    else
        item.seq = seq + 1;
    if (item.seq > worker->seqs[own] || !item.if_newer)
        worker->seqs[own] = item.seq;
    return item;
}

static void save_one(struct worker *worker)
{
    struct mako_error err = {.text = ""};
    struct item item = any_item(worker);
    int status;

    note_begin(worker, &item, false);
    status = driver_save(worker->driver, &item, &err);
    note_end(worker, &item, status);
    settle_failure(worker, "save", status, &err);
}

static void save_some(struct worker *worker)
{
    struct mako_error err = {.text = ""};
    size_t count = 2 + (size_t)random_below(&worker->random, BATCH_MAX - 1);
    struct item items[BATCH_MAX];
    int statuses[BATCH_MAX], status;

    for (size_t i = 0; i < count; i++) {
        items[i] = any_item(worker);
        note_begin(worker, &items[i], false);
    }
    status = driver_save_many(worker->driver, items, count, statuses, &err);
    settle_failure(worker, "batch", status, &err);
    for (size_t i = 0; i < count; i++) {
        note_end(worker, &items[i], status == MAKO_OK ? statuses[i] : status);
        settle_failure(worker, "save of a batch",
                       status == MAKO_OK ? statuses[i] : status, &err);
    }
}

static void remove_one(struct worker *worker)
{
    struct mako_error err = {.text = ""};
    struct item item = {
        .stream = (uint16_t)(worker->thread * OWN +
                             random_below(&worker->random, worker->workload->own))};
    int status;

    note_begin(worker, &item, true);
    status = driver_remove(worker->driver, item.stream, &err);
    note_end(worker, &item, status);
    settle_failure(worker, "removal", status, &err);
}

static void erase(struct worker *worker)
{
    struct trace *trace = worker->workload->trace;
    struct event event = {.kind = EVENT_ERASE};
    struct mako_error err = {.text = ""};

    event.at = trace_note(trace, &event);
    event.status = driver_compact(worker->driver, &err);
    event.kind = EVENT_ERASED;
    (void)trace_note(trace, &event);
    settle_failure(worker, "compaction", event.status, &err);
}

static void load_one(struct worker *worker)
{
    struct mako_error err = {.text = ""};
    size_t stream = worker->thread * OWN +
                    (size_t)random_below(&worker->random, worker->workload->own);
    struct found found = driver_find(worker->driver, stream, &err);

    note_found(worker->workload, EVENT_LOADED, stream, &found, &err);
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    unsigned compact = worker->workload->compact_percent;

    for (unsigned call = 0; call < worker->workload->calls; call++) {
        uint64_t kind = random_below(&worker->random, 100);

        if (kind < compact)
            erase(worker);
        else if (kind < compact + 15)
            remove_one(worker);
        else if (kind < compact + 20)
            load_one(worker);
        else if (kind < compact + 30)
            save_some(worker);
        else
            save_one(worker);
        if (worker->failed && worker->workload->ends_with_failure)
            break;
    }
    return NULL;
}

/* ---- a session -------------------------------------------------------------------- */

static void tell_opening(const struct workload *workload, bool is)
{
    if (workload->opening != NULL)
        workload->opening(is);
}

/* What each stream has now stays; sequences go on from there. */
static void see_all(const struct workload *workload, struct driver *driver,
                    struct worker *workers)
{
    for (size_t stream = 0; stream < STREAMS; stream++) {
        struct mako_error err = {.text = ""};
        struct found found = driver_find(driver, stream, &err);

        note_found(workload, EVENT_SEEN, stream, &found, &err);
        workers[stream / OWN].seqs[stream % OWN] = found.seq;
    }
}

static int open_store(const struct workload *workload, struct driver *driver)
{
    int status;

    tell_opening(workload, true);
    status = driver_open(driver);
    tell_opening(workload, false);
    return status;
}

static int run_session(const struct workload *workload, uint64_t *random)
{
    struct driver driver = {.dead_space = workload->dead_space,
                            .erase_ms = workload->erase_ms};
    struct worker workers[THREADS];
    pthread_t threads[THREADS];
    int status;

    (void)snprintf(driver.path, sizeof driver.path, "%s", workload->path);
    status = open_store(workload, &driver);
    if (status != MAKO_OK && !workload->may_fail)
        give_up("open", status, &driver.err);
    if (status != MAKO_OK)
        return status;
    for (size_t i = 0; i < THREADS; i++)
        workers[i] = (struct worker){.workload = workload,
                                     .driver = &driver,
                                     .thread = i,
                                     .random = random_next(random)};
    see_all(workload, &driver, workers);
    for (size_t i = 0; i < workload->threads; i++)
        if (pthread_create(&threads[i], NULL, work, &workers[i]) != 0)
            abort();
    for (size_t i = 0; i < workload->threads; i++)
        (void)pthread_join(threads[i], NULL);
    driver_close(&driver);
    return MAKO_OK;
}

int workload_run(const struct workload *workload)
{
    uint64_t random = workload->seed;
    int status = MAKO_OK;

    for (unsigned i = 0; i < workload->sessions; i++)
        status = run_session(workload, &random);
    return status;
}

/* ---- in trouble --------------------------------------------------------------- */

/* One call for every stream, or one compaction. */
enum errand {
    FAIL_AT_ONCE,
    SAVE_ALL,
    SAVE_IN_VAIN,
    REMOVE_ALL,
    GIVE_BACK,
    ERRANDS
};

static void run_errand(struct worker *worker, enum errand errand)
{
    if (errand == GIVE_BACK) {
        erase(worker);
        return;
    }
    for (uint16_t stream = 0; stream < STREAMS; stream++) {
        struct item item = {.stream = stream, .seq = 1, .len = 500u * stream};
        struct mako_error err = {.text = ""};
        int status;

        note_begin(worker, &item, errand == REMOVE_ALL);
        status = errand == REMOVE_ALL ? driver_remove(worker->driver, stream, &err)
                                      : driver_save(worker->driver, &item, &err);
        note_end(worker, &item, status);
        settle_failure(worker, "a call before the trouble", status, &err);
    }
}

static void run_trouble(struct worker *worker, enum errand errand,
                        const struct workload_trouble *trouble)
{
    if (errand == GIVE_BACK)
        trouble->fill_disk();
    if (errand == SAVE_IN_VAIN)
        run_errand(worker, SAVE_ALL);
    if (errand == SAVE_IN_VAIN || errand == FAIL_AT_ONCE)
        trouble->fail_flushes(true);
    run_errand(worker, errand);
    trouble->fail_flushes(false);
}

int workload_run_trouble(const struct workload *workload,
                         const struct workload_trouble *trouble)
{
    struct driver driver = {.dead_space = 100};
    struct worker workers[THREADS];
    int status = MAKO_OK;

    (void)snprintf(driver.path, sizeof driver.path, "%s", workload->path);
    for (unsigned i = 0; i < ERRANDS * workload->sessions && status == MAKO_OK; i++) {
        status = open_store(workload, &driver);
        if (status != MAKO_OK)
            break;
        workers[0] = (struct worker){.workload = workload, .driver = &driver};
        see_all(workload, &driver, workers);
        run_trouble(&workers[0], (enum errand)(i % ERRANDS), trouble);
        driver_close(&driver);
    }
    return status;
}

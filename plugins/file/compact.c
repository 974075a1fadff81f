/* plugins/file/compact.c - when to compact, and what.
 *
 * One run at a time, by the thread or by a caller.  The thread acts where too much is
 * dead, where something has been dead for too long, where segments need nothing at all,
 * where many are small, and where removals that only wait for older segments have become
 * many. */
#include "compact.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "copy.h"
#include "io.h"
#include "listing.h"

#define PARTS_MAX   64u /* of a run */
#define SMALL_PART  8   /* a segment of this part of segment_size is taken along */
#define MERGE_LEAST 16u /* of those in a row become one */
#define TOMBS_PART  8   /* of all bytes, before removals are worth a sweep */
#define TOMBS_LEAST 0x100000u
#define RETRY_MS    10000 /* after a failure */
#define WAIT_MS     60000 /* at most, so that a clock that jumps does no harm */

struct compactor {
    struct compact_setup setup;
    pthread_t thread;
    bool started;

    pthread_mutex_t work; /* held by whoever compacts */
    bool debris; /* files may come back after a power cut: removals stay, this opening */
    int told;    /* errno number of the failure that was logged last */
    int64_t patience_ms; /* until when the thread copies nothing, after a failure */
    uint64_t goal; /* of the sweep: removals up to this log number are to be dropped */

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    bool due;
    _Atomic bool stop;
    _Atomic uint64_t runs, freed;
};

/* A look at all sealed segments. */
struct view {
    struct segment **all;
    size_t count;
};

struct compactor *compactor_new(void)
{
    struct compactor *compactor = calloc(1, sizeof *compactor);
    pthread_condattr_t attr;

    if (compactor == NULL)
        return NULL;
    (void)pthread_mutex_init(&compactor->work, NULL);
    (void)pthread_mutex_init(&compactor->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&compactor->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    return compactor;
}

void compactor_notify(void *arg)
{
    struct compactor *compactor = arg;

    (void)pthread_mutex_lock(&compactor->lock);
    compactor->due = true;
    (void)pthread_cond_signal(&compactor->wake);
    (void)pthread_mutex_unlock(&compactor->lock);
}

void compactor_free(struct compactor *compactor)
{
    if (compactor == NULL)
        return;
    (void)pthread_mutex_destroy(&compactor->work);
    (void)pthread_mutex_destroy(&compactor->lock);
    (void)pthread_cond_destroy(&compactor->wake);
    free(compactor);
}

void compactor_count(struct compactor *compactor, uint64_t *runs, uint64_t *bytes)
{
    *runs = atomic_load(&compactor->runs);
    *bytes = atomic_load(&compactor->freed);
}

/* ---- looking ---------------------------------------------------------------------- */

static bool view_take(struct compactor *compactor, struct view *view)
{
    view->all = segments_sealed(compactor->setup.segments, &view->count);
    return view->all != NULL;
}

static void view_drop(struct view *view)
{
    for (size_t i = 0; view->all != NULL && i < view->count; i++)
        segment_unkeep(view->all[i]);
    free(view->all);
}

static uint64_t payload(const struct segment *segment)
{
    return atomic_load(&segment->length) - FORMAT_HEADER;
}

static uint64_t needed(const struct segment *segment)
{
    return atomic_load(&segment->live) + atomic_load(&segment->tombs);
}

/* count segments from first on, as a run. */
static struct run make_run(struct compactor *compactor, const struct view *view,
                           size_t first, size_t count)
{
    struct run run = {.parts = view->all + first,
                      .count = count,
                      .below_clean = compactor->debris ? 0 : UINT64_MAX,
                      .clean = log_last(compactor->setup.log),
                      .bound = !compactor->setup.flush};

    if (first > 0)
        run.below_number = view->all[first - 1]->header.number;
    for (size_t i = 0; i < first; i++)
        if (view->all[i]->header.clean < run.below_clean)
            run.below_clean = view->all[i]->header.clean;
    return run;
}

/* ---- choosing --------------------------------------------------------------------- */

/* Segments in a row that need nothing; only if one of them takes space.  *count 0:
 * none. */
static size_t choose_empty(struct compactor *compactor, const struct view *view,
                           size_t *count)
{
    for (size_t first = 0; first < view->count; first += *count + 1) {
        bool space = false;

        for (*count = 0; first + *count < view->count && *count < PARTS_MAX; ++*count) {
            struct segment *part = view->all[first + *count];
            struct run run = make_run(compactor, view, first, *count + 1);

            if (run_needs(&run, part) || atomic_load(&part->stuck))
                break;
            space = space || payload(part) != 0 || part->lost;
        }
        if (space)
            return first;
    }
    *count = 0;
    return 0;
}

/* Whether a run of which taken bytes are needed may grow over part. */
static bool joins(const struct compactor *compactor, const struct segment *part,
                  uint64_t taken, int64_t percent)
{
    uint64_t size = payload(part), limit = compactor->setup.segment_size;

    return !atomic_load(&part->stuck) && taken + needed(part) <= limit &&
           (size <= limit / SMALL_PART ||
            (size - (needed(part) < size ? needed(part) : size)) * 100 >=
                size * (uint64_t)percent);
}

/* A run around the segment at, with such neighbours as it pays to take along. */
static size_t grow(const struct compactor *compactor, const struct view *view, size_t at,
                   size_t *count)
{
    int64_t percent = compactor->setup.dead_percent / 2;
    uint64_t taken = needed(view->all[at]);
    size_t first = at, end = at + 1;

    while (end < view->count && end - first < PARTS_MAX &&
           joins(compactor, view->all[end], taken, percent))
        taken += needed(view->all[end++]);
    while (first > 0 && end - first < PARTS_MAX &&
           joins(compactor, view->all[first - 1], taken, percent))
        taken += needed(view->all[--first]);
    *count = end - first;
    return first;
}

struct sums {
    uint64_t size, dead, tombs;
};

static struct sums sum_up(const struct view *view)
{
    struct sums sums = {.size = 0};

    for (size_t i = 0; i < view->count; i++) {
        sums.size += payload(view->all[i]);
        sums.dead += segment_dead(view->all[i]);
        sums.tombs += atomic_load(&view->all[i]->tombs);
    }
    return sums;
}

/* The segment of which the largest part is dead. */
static bool most_dead(const struct view *view, size_t *at)
{
    double most = 0;

    for (size_t i = 0; i < view->count; i++) {
        double part = payload(view->all[i]) == 0 ? 0
                                                 : (double)segment_dead(view->all[i]) /
                                                       (double)payload(view->all[i]);

        if (part > most && !atomic_load(&view->all[i]->stuck)) {
            most = part;
            *at = i;
        }
    }
    return most > 0;
}

/* When what died then must have left the disk; INT64_MAX: never. */
static int64_t deadline(const struct compactor *compactor, int64_t died)
{
    if (compactor->setup.erase_ms == 0 || died == SEGMENT_ALL_LIVE)
        return INT64_MAX;
    return died + compactor->setup.erase_ms / 4 * 3; /* the rest is for the work */
}

static bool overdue(const struct compactor *compactor, const struct view *view,
                    size_t *at)
{
    int64_t now = segment_clock_ms();

    for (size_t i = 0; i < view->count; i++)
        if (!atomic_load(&view->all[i]->stuck) &&
            deadline(compactor, atomic_load(&view->all[i]->died_ms)) <= now) {
            *at = i;
            return true;
        }
    return false;
}

/* The first segment that keeps removals up to the goal from being dropped; view->count:
 * none does. */
static size_t first_unclean(const struct view *view, uint64_t goal)
{
    size_t at = 0;

    while (at < view->count &&
           (view->all[at]->header.first > goal || view->all[at]->header.clean >= goal))
        at++;
    return at;
}

/* Where removals are many: from the first segment up, each once.  What is saved and
 * removed meanwhile is for the next sweep, else there would be no end.  Behind one that
 * is stuck all removals stay. */
static bool sweep(struct compactor *compactor, const struct view *view,
                  const struct sums *sums, size_t *at)
{
    if (compactor->debris || sums->tombs <= TOMBS_LEAST ||
        sums->tombs * TOMBS_PART <= sums->size)
        return false;
    *at = first_unclean(view, compactor->goal);
    if (*at == view->count) {
        compactor->goal = log_last(compactor->setup.log);
        *at = first_unclean(view, compactor->goal);
    }
    return *at < view->count && !atomic_load(&view->all[*at]->stuck);
}

static bool is_small(const struct compactor *compactor, const struct segment *segment)
{
    return !atomic_load(&segment->stuck) && !segment->lost &&
           payload(segment) <= compactor->setup.segment_size / SMALL_PART;
}

/* As many small segments before end as can become one; *count 0: too few.  The largest is
 * no larger than the others together, so that the same bytes are not copied each time
 * that some have come. */
static size_t choose_small_before(const struct compactor *compactor,
                                  const struct view *view, size_t end, size_t *count)
{
    uint64_t most = 0, total = 0, taken = 0;
    size_t first = end, found = end;

    while (first > 0 && end - first < PARTS_MAX &&
           is_small(compactor, view->all[first - 1])) {
        uint64_t length = atomic_load(&view->all[--first]->length);

        taken += needed(view->all[first]);
        if (taken > compactor->setup.segment_size)
            break;
        total += length;
        if (length > most)
            most = length;
        if (end - first >= MERGE_LEAST && most * 2 <= total)
            found = first;
    }
    *count = end - found;
    return found;
}

/* Many short openings leave many small segments. */
static size_t choose_small(const struct compactor *compactor, const struct view *view,
                           size_t *count)
{
    size_t first = 0;

    *count = 0;
    for (size_t end = view->count; end >= MERGE_LEAST && *count == 0; end--)
        first = choose_small_before(compactor, view, end, count);
    return first;
}

/* What the thread does next; *rate is its budget.  *count 0: nothing. */
static size_t choose(struct compactor *compactor, const struct view *view, size_t *count,
                     int64_t *rate)
{
    uint64_t percent = (uint64_t)compactor->setup.dead_percent;
    size_t at = percent < 100 ? choose_empty(compactor, view, count) : 0;
    struct sums sums = sum_up(view);

    *rate = compactor->setup.rate;
    if (*count != 0 || segment_clock_ms() < compactor->patience_ms)
        return at;
    if (percent < 100 && sums.dead * 100 > sums.size * percent && most_dead(view, &at)) {
        if (sums.dead * 200 > sums.size * (100 + percent))
            *rate = 0; /* behind: the disk's size counts more than others' latency */
        return grow(compactor, view, at, count);
    }
    if (overdue(compactor, view, &at))
        return grow(compactor, view, at, count);
    if (percent < 100)
        at = choose_small(compactor, view, count);
    if (*count != 0)
        return at;
    if (percent < 100 && sweep(compactor, view, &sums, &at))
        return grow(compactor, view, at, count);
    *count = 0;
    return 0;
}

/* ---- working ---------------------------------------------------------------------- */

static uint64_t run_length(const struct run *run)
{
    uint64_t length = 0;

    for (size_t i = 0; i < run->count; i++)
        if (!run->parts[i]->lost)
            length += atomic_load(&run->parts[i]->length);
    return length;
}

static bool needs_nothing(const struct run *run)
{
    for (size_t i = 0; i < run->count; i++)
        if (run_needs(run, run->parts[i]))
            return false;
    return true;
}

/* The caller holds the work.  0 or an errno number. */
static int do_run(struct compactor *compactor, const struct run *run)
{
    const struct compact_setup *setup = &compactor->setup;
    uint64_t before = run_length(run), after = 0;
    bool clear = true;
    int error = copy_run(setup->segments, setup->index, run, &clear, &after);

    if ((error == ENOSPC || error == EDQUOT) && needs_nothing(run)) {
        clear = copy_unlink_first(setup->segments, run) && clear;
        error = copy_run(setup->segments, setup->index, run, &clear, &after);
    }
    compactor->debris = compactor->debris || !clear;
    if (error != 0)
        return error;
    (void)atomic_fetch_add(&compactor->runs, 1);
    if (after < before)
        (void)atomic_fetch_add(&compactor->freed, before - after);
    return 0;
}

static void tell(struct compactor *compactor, int error)
{
    char text[512];

    if (error == 0 || error == ECANCELED || error == compactor->told) {
        compactor->told = error == ECANCELED ? compactor->told : error;
        return;
    }
    compactor->told = error;
    (void)snprintf(text, sizeof text, "%s: compaction: %s",
                   compactor->setup.segments->path, strerror(error));
    compactor->setup.host->log(compactor->setup.host, MAKO_LOG_WARN, text);
}

/* Index files for segments that were sealed since. */
static void write_listings(struct compactor *compactor)
{
    struct view view;

    if (!view_take(compactor, &view))
        return;
    for (size_t i = 0; i < view.count; i++) {
        struct segment *segment = view.all[i];

        if (atomic_load(&segment->indexed) || atomic_load(&segment->spoiled) ||
            payload(segment) == 0)
            continue;
        /* Once only: without one the next opening reads the segment. */
        (void)listing_build(compactor->setup.segments, compactor->setup.index, segment,
                            !compactor->setup.flush);
        atomic_store(&segment->indexed, true);
    }
    view_drop(&view);
}

/* What is dead in the active segment for too long must leave it. */
static void rotate_overdue(struct compactor *compactor)
{
    int64_t died = segments_died(compactor->setup.segments, true);

    if (deadline(compactor, died) <= segment_clock_ms())
        log_rotate(compactor->setup.log);
}

/* One run that the thread finds worth its while; false: there is none, or it failed. */
static bool work_once(struct compactor *compactor, int *error)
{
    struct view view;
    int64_t rate = 0;
    size_t first, count = 0;

    *error = 0;
    if (!view_take(compactor, &view))
        return false;
    first = choose(compactor, &view, &count, &rate);
    if (count != 0) {
        struct run run = make_run(compactor, &view, first, count);

        run.rate = (uint64_t)rate;
        run.stop = &compactor->stop;
        *error = do_run(compactor, &run);
        compactor->patience_ms = *error != 0 ? segment_clock_ms() + RETRY_MS : 0;
        tell(compactor, *error);
    }
    view_drop(&view);
    return count != 0 && *error == 0;
}

static int work(struct compactor *compactor)
{
    int error = 0;

    rotate_overdue(compactor);
    (void)pthread_mutex_lock(&compactor->work);
    write_listings(compactor);
    while (!atomic_load(&compactor->stop) && work_once(compactor, &error)) {
        /* A caller may want to compact, too. */
        (void)pthread_mutex_unlock(&compactor->work);
        (void)pthread_mutex_lock(&compactor->work);
    }
    (void)pthread_mutex_unlock(&compactor->work);
    return error;
}

/* ---- the thread ------------------------------------------------------------------- */

/* How long the thread may sleep. */
static int64_t next_ms(struct compactor *compactor, int error)
{
    int64_t due = deadline(compactor, segments_died(compactor->setup.segments, false));
    int64_t wait = WAIT_MS, left = due - segment_clock_ms();

    if (error != 0)
        return RETRY_MS;
    if (compactor->setup.erase_ms != 0 && compactor->setup.erase_ms / 8 < wait)
        wait = compactor->setup.erase_ms / 8; /* nobody says when something dies */
    if (due != INT64_MAX && left < wait)
        wait = left;
    left = compactor->patience_ms - segment_clock_ms();
    if (wait < left)
        wait = left; /* nothing is copied before that */
    return wait > 0 ? wait : 1;
}

static void sleep_until_due(struct compactor *compactor, int64_t wait_ms)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += wait_ms / 1000;
    until.tv_nsec += wait_ms % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    (void)pthread_mutex_lock(&compactor->lock);
    while (!compactor->due && !atomic_load(&compactor->stop) &&
           pthread_cond_timedwait(&compactor->wake, &compactor->lock, &until) == 0)
        ;
    compactor->due = false;
    (void)pthread_mutex_unlock(&compactor->lock);
}

static void *run_thread(void *arg)
{
    struct compactor *compactor = arg;

    while (!atomic_load(&compactor->stop)) {
        int error = work(compactor);

        sleep_until_due(compactor, next_ms(compactor, error));
    }
    return NULL;
}

int compactor_start(struct compactor *compactor, const struct compact_setup *setup)
{
    int error;

    compactor->setup = *setup;
    error = io_thread(&compactor->thread, run_thread, compactor);
    compactor->started = error == 0;
    return error;
}

void compactor_stop(struct compactor *compactor)
{
    if (!compactor->started)
        return;
    atomic_store(&compactor->stop, true);
    (void)pthread_mutex_lock(&compactor->lock);
    (void)pthread_cond_signal(&compactor->wake);
    (void)pthread_mutex_unlock(&compactor->lock);
    (void)pthread_join(compactor->thread, NULL);
    compactor->started = false;
}

void compactor_finish(struct compactor *compactor)
{
    if (compactor->setup.segments != NULL)
        write_listings(compactor);
}

/* ---- on demand -------------------------------------------------------------------- */

/* Whether something in it can be given back. */
static bool has_waste(struct compactor *compactor, const struct view *view, size_t at)
{
    struct run run = make_run(compactor, view, at, 1);
    struct segment *segment = view->all[at];

    if (atomic_load(&segment->stuck))
        return false;
    return segment_dead(segment) != 0 || run_closes_gap(&run) ||
           (payload(segment) != 0 && !run_needs(&run, segment)) ||
           (atomic_load(&segment->tombs) != 0 && run.below_clean == UINT64_MAX);
}

/* The next run behind the segment number done, with waste; *count 0: none. */
static size_t choose_waste(struct compactor *compactor, const struct view *view,
                           uint64_t done, uint64_t last, size_t *count)
{
    uint64_t taken;
    size_t first = 0;

    *count = 0;
    while (first < view->count && (view->all[first]->header.number <= done ||
                                   !has_waste(compactor, view, first)))
        first++;
    if (first == view->count || view->all[first]->header.number > last)
        return 0;
    taken = needed(view->all[first]);
    *count = 1;
    while (first + *count < view->count && *count < PARTS_MAX) {
        struct segment *next = view->all[first + *count];

        if (next->header.number > last || !joins(compactor, next, taken, 1))
            break;
        taken += needed(next);
        ++*count;
    }
    return first;
}

static uint64_t total_length(const struct view *view)
{
    uint64_t total = 0;

    for (size_t i = 0; i < view->count; i++)
        total += atomic_load(&view->all[i]->length);
    return total;
}

/* There is no space for a copy: what needs none goes first.  *more: that helped. */
static int free_empty(struct compactor *compactor, const struct view *view, int error,
                      bool *more)
{
    size_t count, first = choose_empty(compactor, view, &count);
    struct run run;

    if ((error != ENOSPC && error != EDQUOT) || count == 0)
        return error;
    run = make_run(compactor, view, first, count);
    error = do_run(compactor, &run);
    *more = error == 0;
    return error;
}

/* One step: the run behind the segment number *done, which moves on.  *more: there may be
 * another one. */
static int compact_step(struct compactor *compactor, uint64_t *done, uint64_t last,
                        uint64_t *bytes, bool *more)
{
    struct view view;
    size_t first, count;
    int error = 0;

    *more = false;
    if (!view_take(compactor, &view))
        return ENOMEM;
    first = choose_waste(compactor, &view, *done, last, &count);
    if (count != 0) {
        struct run run = make_run(compactor, &view, first, count);

        error = do_run(compactor, &run);
        *more = error == 0;
        if (*more) {
            *done = view.all[first + count - 1]->header.number;
            *bytes += run_length(&run);
        } else {
            error = free_empty(compactor, &view, error, more);
        }
    }
    view_drop(&view);
    return error;
}

/* Where the sealed segments end, and how long they are. */
static int measure(struct compactor *compactor, uint64_t *last, uint64_t *total)
{
    struct view view;

    if (!view_take(compactor, &view))
        return ENOMEM;
    *last = view.count != 0 ? view.all[view.count - 1]->header.number : 0;
    *total = total_length(&view);
    view_drop(&view);
    return 0;
}

/* Something dead stays, where a segment may not be touched before the next opening. */
static int report_stuck(struct compactor *compactor, uint64_t last,
                        struct mako_error *err)
{
    char name[SEGMENT_NAME];
    struct view view;
    int status = MAKO_OK;

    if (!view_take(compactor, &view))
        return mako_fail(err, MAKO_E_NOMEM, "%s: compaction: %s",
                         compactor->setup.segments->path, strerror(ENOMEM));
    for (size_t i = 0; i < view.count && status == MAKO_OK; i++) {
        struct segment *segment = view.all[i];

        if (segment->header.number > last || !atomic_load(&segment->stuck) ||
            segment_dead(segment) == 0)
            continue;
        segment_name(&segment->header, name);
        status = mako_fail(
            err, MAKO_E_IO,
            "%s/%s: is not compacted before the store is opened again, after a failure",
            compactor->setup.segments->path, name);
    }
    view_drop(&view);
    return status;
}

int compact_all(struct compactor *compactor, struct mako_progress *progress,
                struct mako_error *err)
{
    uint64_t done = 0, last = 0, total = 0, bytes = 0;
    bool more = true, stopped = false;
    int error;

    log_rotate(compactor->setup.log);
    (void)pthread_mutex_lock(&compactor->work);
    error = measure(compactor, &last, &total);
    while (error == 0 && more && !stopped) {
        error = compact_step(compactor, &done, last, &bytes, &more);
        stopped = error == 0 &&
                  progress->step(progress, bytes < total ? bytes : total, total) != 0;
    }
    (void)pthread_mutex_unlock(&compactor->work);
    if (error == 0)
        return stopped ? MAKO_OK : report_stuck(compactor, last, err);
    return mako_fail(err, io_status(error), "%s: compaction: %s",
                     compactor->setup.segments->path, strerror(error));
}

/* tests/soak/worker.c - see worker.h.  Also what a worker must not lose over the hours:
 * descriptors, threads, mappings and memory, counted while it has no store open. */
#include "worker.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <mako/store_plugin.h>

/* What may come on top of the first lives, when no store is open. */
#define MORE_MAPPINGS  100
#define MORE_KIB       (48 * 1024)
#define FIRST_LIVES    5
#define SETTLE_MS      5000 /* threads of a closed store are gone by then */
#define LIFE_LONG_MS   20000
#define LIFE_VERY_MS   300000
#define LIFE_SHORT_MS  1500
#define OPEN_AGAIN_MS  5
#define OPEN_WITHIN_MS 60000
/* After a compaction files take what is live, and this. */
#define MORE_DISK (4u << 20)

struct usage {
    unsigned descriptors, threads, mappings;
    uint64_t kib;
};

static struct journal *the_journal; /* for log lines */
static unsigned the_slot;

/* ---- usage ----------------------------------------------------------------------------
 */

static unsigned count_entries(const char *path)
{
    DIR *dir = opendir(path);
    unsigned number = 0;

    if (!dir)
        return 0;
    while (readdir(dir))
        number++;
    (void)closedir(dir);
    return number - 2; /* without "." and ".." */
}

static unsigned count_lines(const char *path)
{
    FILE *file = fopen(path, "re");
    unsigned number = 0;
    int c;

    while (file && (c = getc(file)) != EOF)
        number += c == '\n';
    if (file)
        (void)fclose(file);
    return number;
}

static uint64_t resident_kib(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    char line[200] = "";
    char *end = line;

    if (file && fgets(line, sizeof line, file))
        (void)strtoull(line, &end, 10);
    if (file)
        (void)fclose(file);
    return strtoull(end, NULL, 10) * ((uint64_t)sysconf(_SC_PAGESIZE) / 1024);
}

static struct usage look(void)
{
    return (struct usage){.descriptors = count_entries("/proc/self/fd"),
                          .threads = count_entries("/proc/self/task"),
                          .mappings = count_lines("/proc/self/maps"),
                          .kib = resident_kib()};
}

static bool is_more(const struct usage *now, const struct usage *first)
{
    return now->descriptors > first->descriptors || now->threads > first->threads ||
           now->mappings > first->mappings + MORE_MAPPINGS ||
           now->kib > first->kib + MORE_KIB;
}

/* Where descriptors are limited right now, nothing can be counted. */
static bool is_blind(const struct usage *now)
{
    return now->descriptors == 0 || now->threads == 0 || now->mappings == 0;
}

static void check_usage(const struct worker *worker, unsigned life)
{
    static struct usage first;
    struct usage now = look();
    int64_t end_ms = now_ms() + SETTLE_MS;

    if (is_blind(&now))
        return;
    if (life < FIRST_LIVES || first.mappings == 0) {
        first.descriptors = now.descriptors;
        first.threads = now.threads;
        first.mappings = now.mappings > first.mappings ? now.mappings : first.mappings;
        first.kib = now.kib > first.kib ? now.kib : first.kib;
        return;
    }
    while (is_more(&now, &first) && !is_blind(&now)) {
        if (now_ms() > end_ms)
            violation(worker->journal, worker->slot,
                      "grown from %u descriptors, %u threads, %u mappings, %llu KiB to "
                      "%u, %u, %u, %llu KiB with no store open",
                      first.descriptors, first.threads, first.mappings,
                      (unsigned long long)first.kib, now.descriptors, now.threads,
                      now.mappings, (unsigned long long)now.kib);
        pause_ms(10);
        now = look();
    }
}

/* ---- the directory of a file store ----------------------------------------------------
 */

static uint64_t directory_size(const char *path)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;
    struct stat info;
    uint64_t size = 0;

    while (dir && (entry = readdir(dir)) != NULL)
        if (fstatat(dirfd(dir), entry->d_name, &info, 0) == 0 && S_ISREG(info.st_mode))
            size += (uint64_t)info.st_size;
    if (dir)
        (void)closedir(dir);
    return size;
}

static void take_live(void *arg, const char *name, uint64_t value)
{
    if (strcmp(name, "plugin.bytes_live") == 0)
        *(uint64_t *)arg = value;
}

/* Nobody else uses the store any more: everything dead goes. */
static void check_space(struct worker *worker)
{
    int64_t began_ms = now_ms();
    uint64_t live = 0, size = directory_size(worker->site.dir);
    struct mako_error err = {.text = ""};
    int status;

    if (size > atomic_load(&worker->journal->most_disk))
        atomic_store(&worker->journal->most_disk, size);
    status = mako_store_compact(worker->store, NULL, NULL, &err);
    count(worker->journal, OP_COMPACT, status);
    if (status != MAKO_OK) {
        if (!worker_excused(worker, began_ms))
            violation(worker->journal, worker->slot, "compact: %s: %s",
                      mako_status_name(status), err.text);
        return;
    }
    if (mako_store_stats(worker->store, take_live, &live, &err) != MAKO_OK)
        return;
    size = directory_size(worker->site.dir);
    if (size > 2 * live + MORE_DISK)
        violation(worker->journal, worker->slot,
                  "%llu bytes in %s after a compaction, %llu of them live",
                  (unsigned long long)size, worker->site.dir, (unsigned long long)live);
}

/* Index files are made again from their segments. */
static void remove_indexes(const struct worker *worker)
{
    DIR *dir = opendir(worker->site.dir);
    const struct dirent *entry;

    while (dir && (entry = readdir(dir)) != NULL)
        if (strstr(entry->d_name, ".idx"))
            (void)unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir)
        (void)closedir(dir);
}

/* ---- openings -------------------------------------------------------------------------
 */

/* A file store never finds anything damaged: nothing here damages it. */
static void take_line(void *arg, int level, const char *message)
{
    (void)arg;
    if (level > MAKO_LOG_WARN)
        return;
    (void)atomic_fetch_add(&the_journal->warnings, 1);
    if (strstr(message, "damaged"))
        violation(the_journal, the_slot, "the store says: %s", message);
}

static bool over(const struct worker *worker)
{
    return atomic_load(&worker->journal->stop);
}

static void wait_while_parked(const struct worker *worker)
{
    struct slot *slot = &worker->journal->slots[worker->slot];

    while (atomic_load(&worker->journal->park) && !over(worker)) {
        atomic_store(&slot->parked, true);
        atomic_store(&slot->alive_ms, now_ms());
        pause_ms(2);
    }
    atomic_store(&slot->parked, false);
}

static int open_once(struct worker *worker)
{
    struct actor actor = {.worker = worker};
    int64_t began_ms = now_ms();
    int status;

    worker->store = NULL;
    status = mako_store_open_json(worker->settings.json, strlen(worker->settings.json),
                                  NULL, &worker->store, &actor.err);
    actor_count(&actor, OP_OPEN, status, began_ms);
    if (status != MAKO_OK && worker->store != NULL)
        violation(worker->journal, worker->slot, "a failed opening left something");
    return status;
}

/* Whether it is open. */
static bool open_store(struct worker *worker)
{
    int64_t end_ms = now_ms() + OPEN_WITHIN_MS;

    for (;;) {
        wait_while_parked(worker);
        if (over(worker))
            return false;
        settings_draw(&worker->settings, worker->backend, &worker->site, &worker->random);
        if (strcmp(worker->backend->plugin, "file") == 0 &&
            random_chance(&worker->random, 15))
            remove_indexes(worker);
        if (open_once(worker) == MAKO_OK)
            return true;
        if (now_ms() > end_ms)
            violation(worker->journal, worker->slot, "cannot be opened for a minute");
        pause_ms(OPEN_AGAIN_MS);
    }
}

/* ---- a life ---------------------------------------------------------------------------
 */

/* Wait out the rest of an operation's share of time. */
static void throttle(const struct worker *worker, int64_t began_ms, uint64_t done)
{
    int64_t due_ms;

    if (worker->rate == 0)
        return;
    due_ms = began_ms + (int64_t)(done * 1000 / worker->rate);
    while (now_ms() < due_ms && !over(worker))
        pause_ms(due_ms - now_ms() < 50 ? (long)(due_ms - now_ms()) + 1 : 50);
}

static void *act(void *arg)
{
    struct actor *actor = arg;
    const struct worker *worker = actor->worker;
    int64_t began_ms = now_ms();

    actor_sweep(actor);
    for (uint64_t done = 1; now_ms() < worker->end_ms && !over(worker) &&
                            !atomic_load(&worker->journal->park);
         done++) {
        actor_act(actor);
        throttle(worker, began_ms, done);
    }
    return NULL;
}

static int64_t any_length(struct worker *worker)
{
    if (worker->steady && random_chance(&worker->random, 2))
        return (int64_t)random_below(&worker->random, LIFE_VERY_MS);
    if (random_chance(&worker->random, 10))
        return (int64_t)random_below(&worker->random, LIFE_LONG_MS);
    return (int64_t)random_below(&worker->random, LIFE_SHORT_MS);
}

/* The last look before the store is closed; snapshots that are still held outlive it. */
static void end_life(struct worker *worker, struct actor *actors)
{
    for (unsigned i = 0; i < THREADS; i++)
        actor_sweep(&actors[i]);
    if (worker->backend->compacts && random_chance(&worker->random, 30))
        check_space(worker);
    mako_store_unref(worker->store);
    worker->store = NULL;
    for (unsigned i = 0; i < THREADS; i++)
        actor_free(&actors[i]);
}

static void live(struct worker *worker)
{
    struct actor actors[THREADS];
    pthread_t threads[THREADS];

    model_open(worker->journal, &worker->backend->rules, worker->slot);
    worker->end_ms = now_ms() + any_length(worker);
    for (unsigned i = 0; i < THREADS; i++)
        actor_make(&actors[i], worker, i, random_next(&worker->random));
    for (unsigned i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, act, &actors[i]) != 0)
            abort();
    for (unsigned i = 0; i < THREADS; i++)
        (void)pthread_join(threads[i], NULL);
    end_life(worker, actors);
    (void)atomic_fetch_add(&worker->journal->lives, 1);
}

static void begin(struct worker *worker)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)signal(SIGXFSZ, SIG_IGN);
    the_journal = worker->journal;
    the_slot = worker->slot;
    mako_set_log(take_line, NULL);
}

void worker_look(struct worker *worker)
{
    struct actor actors[THREADS];

    begin(worker);
    if (!open_store(worker))
        exit(0);
    model_open(worker->journal, &worker->backend->rules, worker->slot);
    for (unsigned i = 0; i < THREADS; i++)
        actor_make(&actors[i], worker, i, random_next(&worker->random));
    end_life(worker, actors);
    exit(0);
}

void worker_run(struct worker *worker)
{
    begin(worker);
    for (unsigned life = 0; open_store(worker); life++) {
        live(worker);
        check_usage(worker, life);
        if (!worker->steady && random_chance(&worker->random, 10))
            break;
    }
    exit(0);
}

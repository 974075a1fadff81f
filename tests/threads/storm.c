/* Stores that are opened and closed by many threads at once:
 *
 *     storm [AMOUNTS] early|late CONFIGURATION...
 *
 * Each round is a process of its own, because what was loaded stays.  Its threads open
 * stores of all the configurations, in few places, so that they meet there; some openings
 * must fail.  What one holder of a place saved the next one must find.  Meanwhile other
 * threads are born and die: the loader of shared objects and the C library's threads
 * share locks.  "early": every plugin is loaded before threads use any; "late": none is.
 *
 * When all is closed, no descriptor and no thread may be left. */
#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "../conformance/cases.h"
#include "amounts.h"
#include "complaints.h"
#include "places.h"

enum {
    SOURCES = 12,
    PLACES = 3,  /* of each configuration */
    VISITS = 40, /* of a thread */
    LEN = 1500,
    PATIENCE = 10 /* seconds */
};

/* Who may be at a place at the same time, and what is found there. */
enum kind {
    EMPTY,     /* a store that begins with nothing, whoever opens it */
    EXCLUSIVE, /* one holder after the other */
    COMMON     /* any number of them */
};

struct place {
    atomic_int holders;
    _Atomic uint64_t given, acked; /* sequences: the last one, the highest one saved */
};

struct source {
    const char *conf;
    char plugin[80];
    enum kind kind;
    struct place places[PLACES];
};

static struct {
    struct amounts amounts;
    char root[PATH_MAX];
    struct source sources[SOURCES];
    unsigned count;
    atomic_uint opened, refused, born;
    atomic_bool over;
} shared = {.amounts = {.rounds = 6, .threads = 6}};

/* ---- a place -------------------------------------------------------------------------
 */

static void raise_to(_Atomic uint64_t *mark, uint64_t seq)
{
    uint64_t old = atomic_load(mark);

    while (old < seq && !atomic_compare_exchange_weak(mark, &old, seq))
        continue;
}

/* What is there: whole, and not older than what was acknowledged. */
static mako_snapshot *look(const struct source *source, mako_store *store, uint64_t floor)
{
    struct mako_expect any = expect_range(1, UINT32_MAX);
    mako_snapshot *snapshot = NULL;
    struct mako_error err = {""};
    int status = mako_store_load(store, "storm", &any, &snapshot, NULL, &err);
    size_t len;

    if (status == MAKO_OK) {
        uint64_t seq = mako_snapshot_meta(snapshot).seq;

        if (!is_pattern(mako_snapshot_state(snapshot, &len), LEN, seq) || len != LEN)
            complain("%s: %" PRIu64 " is torn", source->plugin, seq);
        if (seq < floor)
            complain("%s: %" PRIu64 " was saved, %" PRIu64 " is there", source->plugin,
                     floor, seq);
    } else if (status != MAKO_NOT_FOUND || floor > 0) {
        complain("%s: %s", source->plugin, err.text);
    }
    return snapshot;
}

static void add(struct source *source, struct place *place, mako_store *store)
{
    uint64_t seq = atomic_fetch_add(&place->given, 1) + 1;
    unsigned char bytes[LEN];
    struct mako_save save =
        save_of((struct sample){.seq = seq, .state = bytes, .len = sizeof bytes});
    struct mako_error err = {""};
    int status;

    pattern(bytes, sizeof bytes, seq);
    status = mako_store_save(store, "storm", &save, &err);
    if (status != MAKO_OK && (status != MAKO_STALE || source->kind != COMMON))
        complain("%s: %s", source->plugin, err.text);
    if (status == MAKO_OK && source->kind != EMPTY)
        raise_to(&place->acked, seq);
}

/* Whoever comes next may be there as soon as the last of both is gone, and it need not be
 * the snapshot: it may be a copy. */
static void leave(struct place *place, mako_store *store, mako_snapshot *snapshot,
                  bool snapshot_last)
{
    (void)atomic_fetch_sub(&place->holders, 1);
    if (snapshot_last)
        mako_store_unref(store);
    mako_snapshot_unref(snapshot);
    if (!snapshot_last)
        mako_store_unref(store);
}

static void stay(struct source *source, struct place *place, mako_store *store,
                 uint64_t floor, uint64_t lot)
{
    mako_snapshot *first, *second;

    if (atomic_fetch_add(&place->holders, 1) > 0 && source->kind == EXCLUSIVE)
        complain("%s: two stores in one place", source->plugin);
    first = look(source, store, floor);
    if (first && source->kind == EMPTY)
        complain("%s: a new store is not empty", source->plugin);
    add(source, place, store);
    second = look(source, store, source->kind == EMPTY ? 0 : atomic_load(&place->acked));
    mako_snapshot_unref(first);
    leave(place, store, second, lot % 2);
}

/* ---- openings ------------------------------------------------------------------------
 */

/* Of a place that others may hold, unless we are alone. */
static void visit(struct source *source, uint64_t lot, bool alone)
{
    struct place *place = &source->places[lot / 2 % PLACES];
    char where[PATH_MAX + 160];
    struct mako_error err = {""};
    mako_store *store = NULL;
    uint64_t floor = atomic_load(&place->acked);
    int status;

    (void)snprintf(where, sizeof where, "%s/%s.%u", shared.root, source->plugin,
                   (unsigned)(place - source->places));
    status = place_open(source->conf, source->plugin, where, &store, &err);
    if (status == MAKO_OK) {
        (void)atomic_fetch_add(&shared.opened, 1);
        stay(source, place, store, floor, lot);
    } else if (!alone && source->kind == EXCLUSIVE && !store &&
               strstr(err.text, "open in this process already")) {
        (void)atomic_fetch_add(&shared.refused, 1);
    } else {
        complain("%s: %s: %s", source->plugin, mako_status_name(status), err.text);
    }
}

static void must_fail(const struct mako_source *from)
{
    mako_store *store = NULL;
    struct mako_error err = {""};
    int status = mako_store_open_source(from, &store, &err);

    if (status >= 0 || !err.text[0] || store)
        complain("'%s' opens: %s '%s'", from->json ? from->json : from->path,
                 mako_status_name(status), err.text);
    (void)atomic_fetch_add(&shared.refused, 1);
}

/* Openings that fail early and late: in the text, in the loader, in the options. */
static void fail_to_open(uint64_t lot)
{
    static const char *const texts[] = {
        "{ \"stores\": { \"test\": ",
        "{ \"stores\": { \"test\": { \"plugin\": \"nowhere\" } } }",
        "{ \"stores\": { \"test\": { \"plugin\": \"/etc/passwd\" } } }",
        "{ \"stores\": { \"test\": { \"plugin\": \"memory\", \"durability\": \"memory\","
        " \"options\": { \"dri\": \"x\" } } } }",
        "{ \"stores\": { \"test\": { \"plugin\": \"memory\", \"durability\": \"power\" } "
        "} }"};
    const char *text = texts[lot % (sizeof texts / sizeof texts[0])];

    must_fail(&(struct mako_source){.struct_size = sizeof(struct mako_source),
                                    .json = text,
                                    .json_len = strlen(text),
                                    .name = "test"});
}

/* In the plugin, which finds no directory there. */
static void fail_inside(const struct source *source)
{
    static const char *const overrides[] = {"dir=/dev/null/store", NULL};
    const char *key = place_option(source->plugin);

    if (key && strcmp(key, "dir") == 0)
        must_fail(&(struct mako_source){.struct_size = sizeof(struct mako_source),
                                        .path = source->conf,
                                        .name = "test",
                                        .overrides = overrides});
}

static void *work(void *arg)
{
    uint64_t seed = *(const uint64_t *)arg;

    for (int i = 0; i < VISITS; i++) {
        uint64_t lot = draw(&seed);
        struct source *source = &shared.sources[lot / 16 % shared.count];

        if (lot % 16 < 2)
            fail_to_open(lot / 16);
        else if (lot % 16 < 4)
            fail_inside(source);
        else
            visit(source, draw(&seed), false);
    }
    return NULL;
}

/* ---- threads that come and go --------------------------------------------------------
 */

static void *one_visit(void *arg)
{
    uint64_t seed = *(const uint64_t *)arg;

    visit(&shared.sources[draw(&seed) % shared.count], draw(&seed), false);
    return NULL;
}

static void *breed(void *arg)
{
    uint64_t seed = *(const uint64_t *)arg;

    while (!atomic_load(&shared.over)) {
        pthread_t pair[2];
        uint64_t seeds[2] = {draw(&seed), draw(&seed)};
        int made = 0;

        for (; made < 2; made++)
            if (pthread_create(&pair[made], NULL, one_visit, &seeds[made]) != 0)
                break;
        if (made < 2)
            complain("no thread");
        for (int i = 0; i < made; i++)
            (void)pthread_join(pair[i], NULL);
        (void)atomic_fetch_add(&shared.born, 2);
    }
    return NULL;
}

static bool run_threads(uint64_t seed)
{
    pthread_t threads[THREADS_MAX], breeder;
    uint64_t seeds[THREADS_MAX + 1];
    unsigned long made = 0;

    for (size_t i = 0; i <= shared.amounts.threads; i++)
        seeds[i] = draw(&seed);
    if (pthread_create(&breeder, NULL, breed, &seeds[shared.amounts.threads]) != 0)
        return false;
    while (made < shared.amounts.threads &&
           pthread_create(&threads[made], NULL, work, &seeds[made]) == 0)
        made++;
    for (size_t i = 0; i < made; i++)
        (void)pthread_join(threads[i], NULL);
    atomic_store(&shared.over, true);
    (void)pthread_join(breeder, NULL);
    return made == shared.amounts.threads;
}

/* ---- rounds --------------------------------------------------------------------------
 */

static unsigned entries_of(const char *path)
{
    DIR *dir = opendir(path);
    unsigned count = 0;

    while (dir && readdir(dir))
        count++;
    if (dir)
        (void)closedir(dir);
    return count;
}

static void *do_nothing(void *arg)
{
    return arg;
}

/* With the one that a sanitizer starts with the first of ours. */
static unsigned threads_at_rest(void)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, do_nothing, NULL) == 0)
        (void)pthread_join(thread, NULL);
    return entries_of("/proc/self/task");
}

/* A thread that was joined is in the list for a moment yet. */
static bool none_is_left(unsigned threads)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    time_t end = time(NULL) + PATIENCE;

    while (entries_of("/proc/self/task") > threads) {
        if (time(NULL) > end)
            return false;
        (void)nanosleep(&pause, NULL);
    }
    return true;
}

/* In the process of a round; no plugin is there. */
static int run_round(bool early, uint64_t seed)
{
    unsigned descriptors = entries_of("/proc/self/fd"), threads = threads_at_rest();

    for (unsigned i = 0; early && i < shared.count; i++)
        visit(&shared.sources[i], 0, true);
    if (!run_threads(seed))
        complain("no threads");
    for (unsigned i = 0; i < shared.count * PLACES; i++)
        visit(&shared.sources[i / PLACES], i % PLACES * 2, true);
    if (entries_of("/proc/self/fd") != descriptors)
        complain("%u descriptors, not %u", entries_of("/proc/self/fd"), descriptors);
    if (!none_is_left(threads))
        complain("%u threads, not %u", entries_of("/proc/self/task"), threads);
    (void)printf("storm: %u opened, %u refused, %u threads came and went, %u errors\n",
                 shared.opened, shared.refused, shared.born, complaints());
    return complaints() > 0;
}

static int drop_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

/* In a directory, and with keys, that no other round has. */
static bool begin_root(char *root, size_t room)
{
    const char *tmp = getenv("TMPDIR");

    (void)snprintf(root, room, "%s/mako-storm.XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (mkdtemp(root) && setenv("MAKO_TEST_DIR", root, 1) == 0)
        return true;
    (void)fprintf(stderr, "%s: %s\n", root, strerror(errno));
    return false;
}

static bool round_is_well(bool early, uint64_t seed)
{
    int status = -1;
    pid_t child;

    if (!begin_root(shared.root, sizeof shared.root))
        return false;
    (void)fflush(NULL);
    child = fork();
    if (child == 0)
        exit(run_round(early, seed));
    if (child < 0 || waitpid(child, &status, 0) != child)
        (void)fprintf(stderr, "no process: %s\n", strerror(errno));
    (void)nftw(shared.root, drop_entry, 16, FTW_DEPTH | FTW_PHYS);
    return status == 0;
}

/* Which plugin a configuration names, without loading it. */
static bool read_source(struct source *source, const char *conf)
{
    json_t *root = json_load_file(conf, 0, NULL);
    const char *plugin = json_string_value(json_object_get(
        json_object_get(json_object_get(root, "stores"), "test"), "plugin"));

    source->conf = conf;
    (void)snprintf(source->plugin, sizeof source->plugin, "%s", plugin ? plugin : "");
    if (strcmp(source->plugin, "file") == 0)
        source->kind = EXCLUSIVE;
    else if (place_option(source->plugin))
        source->kind = COMMON;
    json_decref(root);
    return source->plugin[0] != '\0';
}

static bool read_sources(char **words)
{
    for (; *words; words++)
        if (shared.count == SOURCES ||
            !read_source(&shared.sources[shared.count++], *words)) {
            (void)fprintf(stderr, "%s: no configuration, or one too many\n", *words);
            return false;
        }
    return shared.count > 0;
}

int main(int argc, char **argv)
{
    unsigned long done = 0;
    bool well = true, early;

    if (!amounts_read(&shared.amounts, argc, argv, "early|late CONFIGURATION..."))
        return 2;
    early = strcmp(shared.amounts.words[0], "early") == 0;
    trial_environment();
    complain_of_log_errors();
    if (!read_sources(shared.amounts.words + 1))
        return 2;
    while (well && amounts_more(&shared.amounts, done))
        well = round_is_well(early, shared.amounts.seed + done++);
    (void)printf("storm: %s, seed %" PRIu64 ", %lu rounds: %s\n", shared.amounts.words[0],
                 shared.amounts.seed, done, well ? "well" : "WRONG: the last one");
    return well ? 0 : 1;
}

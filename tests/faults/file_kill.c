/* tests/faults/file_kill.c - a process that saves in a loop to the file store is killed,
 * again and again, at random moments; what it had been told is saved must be there.
 *
 * usage: file_kill PLUGIN_DIR [ROUNDS [SEED]]
 *
 * A child opens the store and saves from several threads; before each save it notes in
 * shared memory what it is about to do, and after it what was acknowledged.  The parent
 * kills it, opens the same store, and compares.  The directory stays the same for all
 * rounds, so that each opening recovers what many crashes have left; now and then its
 * index files go.  The workers compact as well, and the store does by itself. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <mako/snapshot.h>

enum {
    THREADS = 4,
    STREAMS = 12,
    STATE_MAX = 3000,
    LONGEST_US = 40000,
    COMPACT_EVERY = 100 /* changes, by each thread */
};

/* One stream, written by one thread.  Sequences never go back, also not by a removal. */
struct note {
    _Atomic uint64_t tried;    /* the last sequence that was begun */
    _Atomic uint64_t saved;    /* the last that was acknowledged; 0: removed, or none */
    _Atomic uint64_t removing; /* the sequence whose removal was begun; 0: none */
    /* The parent's: what the last check found, and the last sequence begun by then;
     * what lies between the two was lost, and must stay so. */
    uint64_t found, begun;
};

static struct note (*notes)[STREAMS];
static _Atomic uint64_t *acknowledged;
static char dir[300], config[1400];

static void name_stream(char *name, size_t room, size_t thread, size_t stream)
{
    (void)snprintf(name, room, "process/t%zu/%zu", thread, stream);
}

/* The state that belongs to a stream at seq; returns its length. */
static size_t make_state(unsigned char *state, size_t thread, size_t stream, uint64_t seq)
{
    uint64_t x = seq * 1000003u + thread * 101 + stream;
    size_t len = (size_t)(x * 2654435761u % STATE_MAX);

    for (size_t i = 0; i < len; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        state[i] = (unsigned char)(x >> 56);
    }
    return len;
}

static mako_store *open_store(void)
{
    mako_store *store = NULL;
    struct mako_error err;
    int status = mako_store_open_json(config, strlen(config), "s", &store, &err);

    if (status != MAKO_OK) {
        (void)fprintf(stderr, "open: %s: %s\n", mako_status_name(status), err.text);
        exit(1);
    }
    return store;
}

/* ---- the child -------------------------------------------------------------------- */

struct worker {
    mako_store *store;
    size_t thread;
    unsigned seed;
};

static uint64_t next_random(unsigned *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static void must(int status, const struct mako_error *err)
{
    if (status == MAKO_OK)
        return;
    (void)fprintf(stderr, "child: %s: %s\n", mako_status_name(status), err->text);
    _exit(1);
}

static void remove_one(const struct worker *worker, const char *name, struct note *note)
{
    struct mako_error err;
    int status;

    atomic_store(&note->removing, atomic_load(&note->tried));
    status = mako_store_remove(worker->store, name, &err);
    must(status == MAKO_NOT_FOUND ? MAKO_OK : status, &err);
    atomic_store(&note->saved, 0);
    atomic_store(&note->removing, 0);
}

static void save_one(const struct worker *worker, const char *name, size_t stream,
                     struct note *note)
{
    unsigned char state[STATE_MAX];
    uint64_t seq = atomic_load(&note->tried) + 1;
    struct mako_save save = {.struct_size = sizeof save, .seq = seq, .schema = 1};
    struct mako_error err;

    save.state = state;
    save.state_len = make_state(state, worker->thread, stream, seq);
    atomic_store(&note->tried, seq);
    must(mako_store_save(worker->store, name, &save, &err), &err);
    atomic_store(&note->saved, seq);
    (void)atomic_fetch_add(acknowledged, 1);
}

static void compact(const struct worker *worker)
{
    struct mako_error err;

    must(mako_store_compact(worker->store, NULL, NULL, &err), &err);
}

static void *work(void *arg)
{
    struct worker *worker = arg;

    for (;;) {
        size_t stream = (size_t)(next_random(&worker->seed) % STREAMS);
        struct note *note = &notes[worker->thread][stream];
        char name[64];

        name_stream(name, sizeof name, worker->thread, stream);
        if (next_random(&worker->seed) % COMPACT_EVERY == 0)
            compact(worker);
        if (next_random(&worker->seed) % 10 == 0)
            remove_one(worker, name, note);
        else
            save_one(worker, name, stream, note);
    }
    return NULL;
}

static void run_child(unsigned seed)
{
    struct worker workers[THREADS];
    pthread_t threads[THREADS];
    mako_store *store;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    store = open_store();
    for (size_t i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){store, i, seed + (unsigned)i * 7919u};
        if (pthread_create(&threads[i], NULL, work, &workers[i]) != 0)
            _exit(1);
    }
    for (;;)
        (void)pause();
}

/* ---- the parent ------------------------------------------------------------------- */

static void pause_us(uint64_t us)
{
    struct timespec pause = {.tv_nsec = (long)us * 1000};

    (void)nanosleep(&pause, NULL);
}

static void fail(unsigned seed, const char *name, const char *what, int status,
                 uint64_t seq)
{
    (void)fprintf(stderr, "%s: %s (%s, sequence %llu); seed %u\n", name, what,
                  mako_status_name(status), (unsigned long long)seq, seed);
    exit(1);
}

static void check_found(unsigned seed, size_t thread, size_t stream, const char *name,
                        const mako_snapshot *snapshot)
{
    const struct note *note = &notes[thread][stream];
    uint64_t seq = mako_snapshot_meta(snapshot).seq;
    unsigned char expected[STATE_MAX];
    size_t len, expected_len = make_state(expected, thread, stream, seq);
    const void *state = mako_snapshot_state(snapshot, &len);

    if (seq < atomic_load(&note->saved) || seq > atomic_load(&note->tried))
        fail(seed, name, "not what was acknowledged", MAKO_OK, seq);
    if (atomic_load(&note->saved) == 0 && atomic_load(&note->removing) == 0 &&
        seq != atomic_load(&note->tried))
        fail(seed, name, "back after its removal", MAKO_OK, seq);
    if (seq != note->found && seq <= note->begun)
        fail(seed, name, "back after it was not there", MAKO_OK, seq);
    if (len != expected_len || memcmp(state, expected, len) != 0)
        fail(seed, name, "altered", MAKO_OK, seq);
}

/* What is there now is what the next round begins with. */
static void check_stream(mako_store *store, unsigned seed, size_t thread, size_t stream)
{
    struct mako_expect expect = {
        .struct_size = sizeof expect, .schema_min = 1, .schema_max = 1};
    struct note *note = &notes[thread][stream];
    mako_snapshot *snapshot = NULL;
    uint64_t seq = 0;
    char name[64];
    int status;

    name_stream(name, sizeof name, thread, stream);
    status = mako_store_load(store, name, &expect, &snapshot, NULL, NULL);
    if (status == MAKO_OK) {
        check_found(seed, thread, stream, name, snapshot);
        seq = mako_snapshot_meta(snapshot).seq;
        mako_snapshot_unref(snapshot);
    } else if (status != MAKO_NOT_FOUND) {
        fail(seed, name, "cannot be loaded", status, 0);
    } else if (atomic_load(&note->saved) != 0 && atomic_load(&note->removing) == 0) {
        fail(seed, name, "lost", status, atomic_load(&note->saved));
    }
    atomic_store(&note->saved, seq);
    atomic_store(&note->removing, 0);
    note->found = seq;
    note->begun = atomic_load(&note->tried);
}

/* Wait until the child has had a save acknowledged, or has ended. */
static void wait_for_save(pid_t child, uint64_t before)
{
    siginfo_t info;

    do {
        pause_us(1000);
        info.si_pid = 0;
        (void)waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT);
    } while (atomic_load(acknowledged) == before && info.si_pid == 0);
}

static void remove_indexes(void)
{
    char command[400];

    (void)snprintf(command, sizeof command, "rm -f '%s'/store/*.idx", dir);
    if (system(command) != 0)
        exit(1);
}

/* Most children are killed while they save, some before they can. */
static void run_round(unsigned seed, bool begin, uint64_t delay_us)
{
    uint64_t before = atomic_load(acknowledged);
    mako_store *store;
    pid_t child = fork();

    if (child < 0) {
        perror("fork");
        exit(1);
    }
    if (child == 0)
        run_child(seed);
    if (begin)
        wait_for_save(child, before);
    pause_us(delay_us);
    if (waitpid(child, NULL, WNOHANG) != 0) {
        (void)fprintf(stderr, "the child ended by itself; seed %u\n", seed);
        exit(1);
    }
    (void)kill(child, SIGKILL);
    (void)waitpid(child, NULL, 0);
    if (seed % 4 == 0)
        remove_indexes();
    store = open_store();
    for (size_t thread = 0; thread < THREADS; thread++)
        for (size_t stream = 0; stream < STREAMS; stream++)
            check_stream(store, seed, thread, stream);
    mako_store_unref(store);
}

static void *shared_memory(size_t size)
{
    void *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    return memory;
}

static void prepare(const char *plugins)
{
    const char *tmp = getenv("TMPDIR");

    (void)snprintf(dir, sizeof dir, "%s/mako-kill.XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(dir) == NULL) {
        perror(dir);
        exit(1);
    }
    (void)snprintf(config, sizeof config,
                   "{\"plugin_dirs\": [\"%s\"], \"stores\": {\"s\": {\"plugin\": "
                   "\"file\", \"options\": {\"dir\": \"%s/store\", \"segment_size\": "
                   "\"256KiB\"}}}}",
                   plugins, dir);
    notes = shared_memory(sizeof *notes * THREADS);
    acknowledged = shared_memory(sizeof *acknowledged);
}

static int clean(void)
{
    char command[400];

    (void)snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

static unsigned number(const char *text, unsigned fallback)
{
    return text != NULL ? (unsigned)strtoul(text, NULL, 10) : fallback;
}

int main(int argc, char **argv)
{
    unsigned rounds, seed;

    if (argc < 2) {
        (void)fprintf(stderr, "usage: file_kill PLUGIN_DIR [ROUNDS [SEED]]\n");
        return 2;
    }
    rounds = number(argc > 2 ? argv[2] : NULL, 200);
    seed = number(argc > 3 ? argv[3] : NULL, (unsigned)time(NULL) ^ (unsigned)getpid());
    (void)printf("%u rounds, seed %u\n", rounds, seed);
    (void)fflush(stdout);
    prepare(argv[1]);
    for (unsigned round = 0; round < rounds; round++) {
        unsigned mixed = seed + round * 2654435761u;

        run_round(mixed, round % 8 != 7, next_random(&mixed) % LONGEST_US);
    }
    (void)printf("%llu saves acknowledged, all there\n",
                 (unsigned long long)atomic_load(acknowledged));
    if (atomic_load(acknowledged) < rounds / 2) {
        (void)fprintf(stderr, "too few saves to say anything\n");
        return 1;
    }
    return clean();
}

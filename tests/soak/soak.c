/* tests/soak/soak.c - hours of random operations on a store, with random faults, against
 * a model.
 *
 * usage: soak BACKEND PLUGIN_DIR [--seconds N] [--seed N] [--rate N] [--dir DIR] [--ext4]
 *
 * This process supervises: it starts the workers, kills one of them again and again, lets
 * things go wrong below the store and puts them right, watches what the workers use, and
 * says at the end what there was.  What is drawn by lot follows from the seed, but for
 * what depends on time and on the order of threads.  It exits with 1 after a violation,
 * and then leaves its directory behind. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "rig.h"
#include "worker.h"

#define TICK_MS       2
#define HANG_MS       120000
#define FINISH_MS     120000
#define REPORT_MS     60000
#define WATCH_MS      500
#define GAP_MS        2000 /* between faults, at most */
#define KILL_LATE_MS  2500 /* after a start, at most */
#define KILL_EARLY_MS 60
#define RESIDENT_KIB  (300 * 1024)
#define DESCRIPTORS   300
#define WORK_THREADS  16
#define KEYS          1000 /* those of streams, and temporary ones that kills left behind */
#define FAULTS        20

struct soak {
    struct rig rig;
    struct worker worker; /* what a new one starts with */
    struct journal *journal;
    int64_t seconds;
    unsigned rate;
    bool ext4;
    uint64_t random;
    const char *dir;
    /* Of each worker. */
    unsigned starts[SLOTS];
    bool killed[SLOTS];
    int64_t kill_ms;
    uint64_t kills, clean_ends;
    /* Faults. */
    const struct fault *faults;
    size_t fault_count;
    const struct fault *fault; /* in force, or waiting for that */
    enum {
        FAULT_NONE,
        FAULT_WAITS,
        FAULT_IS,
        FAULT_MENDS
    } phase;
    int64_t phase_ms; /* when it is over; of FAULT_MENDS: when it began */
    uint64_t happened[FAULTS];
    /* What was seen at most. */
    uint64_t most_kib, most_descriptors, most_threads, most_keys;
};

static _Noreturn void die(const char *what)
{
    (void)fprintf(stderr, "soak: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void wrong(struct soak *soak, const char *what, unsigned slot)
{
    if (!atomic_exchange(&soak->journal->wrong, true))
        (void)fprintf(stderr,
                      "soak: VIOLATION, seed %" PRIu64 ", after %.3f s, worker %u: %s\n",
                      soak->journal->seed,
                      (double)(now_ms() - soak->journal->begin_ms) / 1000, slot, what);
    atomic_store(&soak->journal->stop, true);
}

/* ---- workers --------------------------------------------------------------------------
 */

static void start_worker(struct soak *soak, unsigned slot, bool look)
{
    struct worker *worker = &soak->worker;
    pid_t pid;

    worker->slot = slot;
    worker->steady = slot != 0;
    worker->random =
        random_mix(soak->journal->seed, slot * 1000000u + soak->starts[slot]++);
    (void)snprintf(worker->site.dir, sizeof worker->site.dir, "%.250s/store-%u",
                   soak->rig.disk, slot);
    atomic_store(&soak->journal->slots[slot].alive_ms, now_ms());
    atomic_store(&soak->journal->slots[slot].parked, false);
    soak->killed[slot] = false;
    (void)fflush(stdout);
    pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0 && look)
        worker_look(worker);
    if (pid == 0)
        worker_run(worker);
    soak->rig.workers[slot] = pid;
}

static void plan_kill(struct soak *soak)
{
    uint64_t most = random_chance(&soak->random, 30) ? KILL_EARLY_MS : KILL_LATE_MS;

    soak->kill_ms = now_ms() + 1 + (int64_t)random_below(&soak->random, most);
}

/* A worker has ended: by our hand, as it pleased, or because something is wrong. */
static void judge_end(struct soak *soak, unsigned slot, int status)
{
    char text[80];

    soak->rig.workers[slot] = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        soak->clean_ends++;
    else if (!(soak->killed[slot] && WIFSIGNALED(status) &&
               WTERMSIG(status) == SIGKILL)) {
        (void)snprintf(text, sizeof text, "ended with %s %d",
                       WIFSIGNALED(status) ? "signal" : "status",
                       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        wrong(soak, text, slot);
    }
}

static void tend_worker(struct soak *soak, unsigned slot)
{
    int status;

    if (soak->rig.workers[slot] != 0 &&
        waitpid(soak->rig.workers[slot], &status, WNOHANG) == soak->rig.workers[slot]) {
        judge_end(soak, slot, status);
        if (slot == 0)
            plan_kill(soak);
    }
    if (soak->rig.workers[slot] == 0 && !atomic_load(&soak->journal->stop))
        start_worker(soak, slot, false);
}

static void kill_when_due(struct soak *soak)
{
    if (now_ms() < soak->kill_ms || soak->killed[0] || soak->rig.workers[0] == 0)
        return;
    soak->killed[0] = true;
    soak->kills++;
    (void)kill(soak->rig.workers[0], SIGKILL);
}

/* ---- faults ---------------------------------------------------------------------------
 */

static void plan_fault(struct soak *soak)
{
    soak->phase = FAULT_NONE;
    soak->phase_ms = now_ms() + (int64_t)random_below(&soak->random, GAP_MS);
    if (soak->fault && soak->fault->excuses) {
        atomic_store(&soak->journal->fault_end_ms, now_ms());
        atomic_store(&soak->journal->faulty, false);
    }
    soak->fault = NULL;
    /* Now and then it is quiet for so long that nothing excuses a failure. */
    if (random_chance(&soak->random, soak->rig.node_count > 1 ? 40 : 20))
        soak->phase_ms += 3 * soak->worker.backend->grace_ms;
}

static void choose_fault(struct soak *soak)
{
    uint64_t all = 0;

    for (size_t i = 0; i < soak->fault_count; i++)
        all += soak->faults[i].weight;
    all = random_below(&soak->random, all);
    soak->fault = soak->faults;
    while (all >= soak->fault->weight)
        all -= soak->fault++->weight;
    soak->phase = FAULT_WAITS;
    if (soak->fault->parks)
        atomic_store(&soak->journal->park, true);
}

static void begin_fault(struct soak *soak)
{
    const struct fault *fault = soak->fault;
    uint64_t longer = fault->longest_ms - fault->shortest_ms;

    for (unsigned slot = 0; fault->parks && slot < SLOTS; slot++)
        if (!atomic_load(&soak->journal->slots[slot].parked))
            return;
    /* Failovers take seconds. */
    if (fault->over && soak->rig.node_count > 1)
        longer *= 5;
    if (fault->excuses)
        atomic_store(&soak->journal->faulty, true);
    if (fault->begin(&soak->rig)) {
        soak->happened[fault - soak->faults]++;
        soak->journal->fault = fault->name;
        soak->phase = FAULT_IS;
        soak->phase_ms = now_ms() + fault->shortest_ms +
                         (int64_t)random_below(&soak->random, longer + 1);
    } else {
        plan_fault(soak);
    }
    atomic_store(&soak->journal->park, false);
}

static void tend_fault(struct soak *soak)
{
    switch (soak->phase) {
    case FAULT_NONE:
        if (now_ms() >= soak->phase_ms)
            choose_fault(soak);
        break;
    case FAULT_WAITS:
        begin_fault(soak);
        break;
    case FAULT_IS:
        if (now_ms() < soak->phase_ms)
            break;
        if (soak->fault->stays && soak->fault->stays(&soak->rig) &&
            now_ms() < soak->phase_ms + HANG_MS)
            break;
        if (soak->fault->end)
            soak->fault->end(&soak->rig);
        soak->phase = FAULT_MENDS;
        soak->phase_ms = now_ms();
        break;
    case FAULT_MENDS:
        if (!soak->fault->over || soak->fault->over(&soak->rig))
            plan_fault(soak);
        else if (now_ms() > soak->phase_ms + HANG_MS)
            wrong(soak, "the servers do not recover", 0);
        break;
    }
}

/* Whatever is in force ends, so that a last look is possible. */
static void end_fault(struct soak *soak)
{
    int64_t end_ms = now_ms() + HANG_MS;

    atomic_store(&soak->journal->park, false);
    if (soak->phase == FAULT_IS && soak->fault->end)
        soak->fault->end(&soak->rig);
    while (soak->phase >= FAULT_IS && soak->fault->over &&
           !soak->fault->over(&soak->rig) && now_ms() < end_ms)
        pause_ms(TICK_MS);
    plan_fault(soak);
}

/* ---- watching -------------------------------------------------------------------------
 */

/* A line "NAME: number" of /proc/PID/status. */
static uint64_t status_of(const char *text, const char *name)
{
    const char *at = strstr(text, name);

    return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

static void raise_to(uint64_t *most, uint64_t value)
{
    if (value > *most)
        *most = value;
}

static void watch_worker(struct soak *soak, unsigned slot)
{
    char path[60], text[4096] = "";
    FILE *file;
    uint64_t kib, threads, descriptors = process_descriptors(soak->rig.workers[slot]);

    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)soak->rig.workers[slot]);
    file = fopen(path, "re");
    if (!file)
        return;
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    (void)fclose(file);
    kib = status_of(text, "VmHWM:");
    threads = status_of(text, "Threads:");
    raise_to(&soak->most_kib, kib);
    raise_to(&soak->most_threads, threads);
    raise_to(&soak->most_descriptors, descriptors);
    if (kib > RESIDENT_KIB)
        wrong(soak, "uses too much memory", slot);
    if (descriptors > DESCRIPTORS)
        wrong(soak, "has too many descriptors", slot);
    if (threads > WORK_THREADS)
        wrong(soak, "has too many threads", slot);
    if (now_ms() - atomic_load(&soak->journal->slots[slot].alive_ms) > HANG_MS) {
        wrong(soak, "does not get on", slot);
        (void)kill(soak->rig.workers[slot], SIGABRT);
    }
}

static void watch_servers(struct soak *soak)
{
    raise_to(&soak->most_keys, rig_keys(&soak->rig));
    if (soak->most_keys > KEYS)
        wrong(soak, "a server has too many keys", 0);
}

static void watch(struct soak *soak)
{
    static int64_t due_ms;

    if (now_ms() < due_ms)
        return;
    if (soak->phase == FAULT_NONE)
        watch_servers(soak);
    due_ms = now_ms() + WATCH_MS;
    for (unsigned slot = 0; slot < SLOTS; slot++)
        if (soak->rig.workers[slot] != 0)
            watch_worker(soak, slot);
}

/* ---- figures --------------------------------------------------------------------------
 */

static uint64_t sum_of(const struct journal *journal, enum op op)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < STATUSES; i++)
        sum += journal->counts[op][i];
    return sum;
}

static uint64_t sum_of_all(const struct journal *journal)
{
    uint64_t sum = 0;

    for (unsigned op = 0; op < OPS; op++)
        sum += sum_of(journal, (enum op)op);
    return sum;
}

static void print_progress(const struct soak *soak)
{
    static int64_t due_ms;
    uint64_t faults = 0;

    if (due_ms == 0)
        due_ms = soak->journal->begin_ms + REPORT_MS;
    if (now_ms() < due_ms)
        return;
    due_ms += REPORT_MS;
    for (size_t i = 0; i < FAULTS; i++)
        faults += soak->happened[i];
    (void)printf("%" PRId64 " s: %" PRIu64 " operations, %" PRIu64 " lives, %" PRIu64
                 " kills, %" PRIu64 " other faults, at most %" PRIu64 " MiB\n",
                 (now_ms() - soak->journal->begin_ms) / 1000, sum_of_all(soak->journal),
                 soak->journal->lives, soak->kills, faults, soak->most_kib / 1024);
    (void)fflush(stdout);
}

static void print_op(const struct journal *journal, enum op op)
{
    (void)printf("  %-20s %10" PRIu64, op_name(op), sum_of(journal, op));
    for (int i = STATUSES - 1; i >= 0; i--)
        if (journal->counts[op][i] != 0)
            (void)printf(", %s %" PRIu64, mako_status_name(i + STATUS_LOWEST),
                         journal->counts[op][i]);
    (void)printf("\n");
}

static void print_figures(const struct soak *soak)
{
    const struct journal *journal = soak->journal;

    (void)printf("operations\n");
    for (unsigned op = 0; op < OPS; op++)
        if (sum_of(journal, (enum op)op) != 0)
            print_op(journal, (enum op)op);
    (void)printf("  %-20s %10" PRIu64 "\n", "all", sum_of_all(journal));
    (void)printf("faults\n  %-20s %10" PRIu64 "\n", "kill -9 of a worker", soak->kills);
    for (size_t i = 0; i < soak->fault_count; i++)
        (void)printf("  %-20s %10" PRIu64 "\n", soak->faults[i].name, soak->happened[i]);
    if (soak->rig.proxy)
        (void)printf("  %-20s %10" PRIu64 "\n", "connections cut off",
                     atomic_load(&soak->rig.proxy->cut));
    (void)printf("  %-20s %10" PRIu64 "\n", "calls without memory", journal->starved);
    (void)printf("workers started %u and %u, lives %" PRIu64
                 ", ended by themselves %" PRIu64 "\n",
                 soak->starts[0], soak->starts[1], journal->lives, soak->clean_ends);
    (void)printf("snapshots held for a while and unchanged %" PRIu64
                 ", loads checked by their bytes alone %" PRIu64
                 ", warnings logged %" PRIu64 ", failures in quiet times %" PRIu64 "\n",
                 journal->snapshots, journal->blurred, journal->warnings,
                 journal->unexplained);
    (void)printf("at most: %" PRIu64 " KiB, %" PRIu64 " threads, %" PRIu64
                 " descriptors, %" PRIu64 " bytes in a file store, %" PRIu64
                 " keys on a server\n",
                 soak->most_kib, soak->most_threads, soak->most_descriptors,
                 journal->most_disk, soak->most_keys);
    (void)printf("violations: %s\n", journal->wrong ? "see above" : "none");
    (void)fflush(stdout);
}

/* ---- a run ----------------------------------------------------------------------------
 */

static void tick(struct soak *soak)
{
    for (unsigned slot = 0; slot < SLOTS; slot++)
        tend_worker(soak, slot);
    kill_when_due(soak);
    tend_fault(soak);
    watch(soak);
    print_progress(soak);
    pause_ms(TICK_MS);
}

/* Until both workers have ended; who does not is in the way. */
static void wait_for_workers(struct soak *soak)
{
    int64_t end_ms = now_ms() + FINISH_MS;

    while (soak->rig.workers[0] != 0 || soak->rig.workers[1] != 0) {
        for (unsigned slot = 0; slot < SLOTS; slot++) {
            int status;
            pid_t pid = soak->rig.workers[slot];

            if (pid != 0 && now_ms() > end_ms) {
                wrong(soak, "does not end", slot);
                soak->killed[slot] = true;
                (void)kill(pid, SIGKILL);
            }
            if (pid != 0 && waitpid(pid, &status, WNOHANG) == pid)
                judge_end(soak, slot, status);
        }
        pause_ms(TICK_MS);
    }
}

static volatile sig_atomic_t interrupted;

static void interrupt(int signal)
{
    interrupted = signal;
}

static void run(struct soak *soak)
{
    int64_t end_ms = now_ms() + soak->seconds * 1000;

    plan_kill(soak);
    plan_fault(soak);
    while (now_ms() < end_ms && !interrupted && !atomic_load(&soak->journal->stop))
        tick(soak);
    end_fault(soak);
    atomic_store(&soak->journal->stop, true);
    wait_for_workers(soak);
    if (atomic_load(&soak->journal->wrong))
        return;
    atomic_store(&soak->journal->stop, false);
    for (unsigned slot = 0; slot < SLOTS; slot++)
        start_worker(soak, slot, true);
    wait_for_workers(soak);
}

/* ---- preparations ---------------------------------------------------------------------
 */

static void find_faults(struct soak *soak)
{
    const struct backend *backend = soak->worker.backend;

    if (backend->mode)
        soak->faults = faults_of_redis(&soak->rig, &soak->fault_count);
    else if (strcmp(backend->plugin, "file") == 0)
        soak->faults = faults_of_file(&soak->rig, &soak->fault_count);
    else
        soak->faults = faults_of_any(&soak->rig, &soak->fault_count);
}

static void prepare_rig(struct soak *soak)
{
    struct rig *rig = &soak->rig;
    const char *disk;

    if (strcmp(soak->worker.backend->plugin, "file") == 0) {
        disk = rig_mount(rig, soak->ext4);
        if (!disk)
            die(rig->disk);
        (void)printf("the disk is %s\n", disk);
    }
    if (soak->worker.backend->mode && !rig_find_servers(rig)) {
        (void)fprintf(stderr, "soak: to be run by tests/redis/with-redis\n");
        exit(2);
    }
    soak->worker.site.endpoints = rig->endpoints;
    soak->worker.site.proxied = rig->proxy ? rig->proxied : NULL;
}

static void prepare(struct soak *soak, uint64_t seed)
{
    struct rig *rig = &soak->rig;
    const char *tmp = soak->dir ? soak->dir : getenv("MAKO_SOAK_TMPDIR");
    char path[300];

    (void)snprintf(rig->work, sizeof rig->work, "%.150s/mako-soak.XXXXXX",
                   tmp ? tmp : "/tmp");
    if (!mkdtemp(rig->work))
        die(rig->work);
    (void)snprintf(path, sizeof path, "%s/journal", rig->work);
    soak->journal = journal_make(path);
    if (!soak->journal)
        die(path);
    soak->journal->seed = seed;
    soak->journal->begin_ms = now_ms();
    soak->journal->fault_end_ms = -1000000;
    for (unsigned slot = 0; slot < SLOTS; slot++)
        model_clear(&soak->journal->slots[slot]);
    soak->random = random_mix(seed, 1);
    rig->random = random_mix(seed, 2);
    rig->journal = soak->worker.journal = soak->journal;
    rig->backend = soak->worker.backend;
    soak->worker.rate = soak->rate;
    prepare_rig(soak);
    find_faults(soak);
}

static int finish(struct soak *soak)
{
    char command[300];

    print_figures(soak);
    if (soak->journal->wrong)
        rig_keep(&soak->rig);
    rig_end(&soak->rig);
    if (soak->journal->wrong) {
        (void)fprintf(stderr, "soak: journal and store are in %s\n", soak->rig.work);
        return 1;
    }
    (void)snprintf(command, sizeof command, "rm -rf '%s'", soak->rig.work);
    return system(command) == 0 ? 0 : 1;
}

static int usage(void)
{
    (void)fprintf(stderr, "usage: soak BACKEND PLUGIN_DIR [--seconds N] [--seed N] "
                          "[--rate N] [--dir DIR] [--ext4]\nbackends:");
    for (unsigned i = 0; backend_name(i); i++)
        (void)fprintf(stderr, " %s", backend_name(i));
    (void)fprintf(stderr, "\n");
    return 2;
}

static bool take_arguments(struct soak *soak, int argc, char **argv, uint64_t *seed)
{
    static const struct option options[] = {
        {"seconds", required_argument, NULL, 's'}, {"seed", required_argument, NULL, 'r'},
        {"rate", required_argument, NULL, 'o'},    {"dir", required_argument, NULL, 'd'},
        {"ext4", no_argument, NULL, 'e'},          {NULL, 0, NULL, 0}};
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        switch (option) {
        case 's':
            soak->seconds = strtoll(optarg, NULL, 10);
            break;
        case 'r':
            *seed = strtoull(optarg, NULL, 10);
            break;
        case 'o':
            soak->rate = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'd':
            soak->dir = optarg;
            break;
        case 'e':
            soak->ext4 = true;
            break;
        default:
            return false;
        }
    return argc - optind == 2;
}

int main(int argc, char **argv)
{
    static struct soak soak = {.seconds = 60};
    uint64_t seed = (uint64_t)time(NULL) ^ ((uint64_t)getpid() << 20);

    if (!take_arguments(&soak, argc, argv, &seed))
        return usage();
    soak.worker.backend = backend_find(argv[optind]);
    soak.worker.site.plugins = argv[optind + 1];
    if (!soak.worker.backend)
        return usage();
    (void)signal(SIGINT, interrupt);
    (void)signal(SIGTERM, interrupt);
    (void)printf("soak of %s for %" PRId64 " s, seed %" PRIu64 "\n",
                 soak.worker.backend->name, soak.seconds, seed);
    (void)fflush(stdout);
    prepare(&soak, seed);
    run(&soak);
    return finish(&soak);
}

/* tests/power/power_model.c - power cuts by a model: a workload runs against the plugin
 * while every change of a file and every flush is recorded; from any point of the trace
 * the states that a cut there could leave are built, opened and checked.
 *
 * usage: power_model PLUGIN [--seed N] [--states N] [--without FLUSH] [--rounds N]
 *        power_model PLUGIN --trace FILE [--state K] [--without FLUSH]
 *
 * Each round makes one trace and checks its share of the states.  With --without one kind
 * of flush has no effect, and the program succeeds if that is noticed.  A failure keeps
 * the trace in a file, of which --trace and --state make the same state again, in a
 * directory that is left behind. */
#include <dirent.h>
#include <errno.h>
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

#include "check.h"
#include "record.h"
#include "workload.h"

enum {
    WORKERS = 2,
    PHASES = 4,
    DEFAULT_SEED = 20260101
};

struct options {
    const char *plugin, *trace;
    uint64_t seed, states, rounds, state;
    bool one; /* only that state */
    enum flush_kind without;
};

/* How one part of a round goes. */
struct phase {
    bool kill, cut; /* its process is killed; the power is cut behind it */
    bool trouble; /* instead of a load, what goes wrong on a disk that is full or fails */
    struct workload workload;
    unsigned faults;
};

struct round {
    const struct options *options;
    uint64_t number, seed, states; /* seed: the trace's own */
    struct trace *trace;
    char root[200];
};

static _Noreturn void die(const char *what)
{
    (void)fprintf(stderr, "power_model: %s: %s\n", what, strerror(errno));
    exit(2);
}

/* A directory of our own, in memory where that can be had. */
static void make_root(char *root, size_t room)
{
    const char *tmp = getenv("TMPDIR");

    if (access("/dev/shm", W_OK | X_OK) == 0)
        tmp = "/dev/shm";
    (void)snprintf(root, room, "%s/mako-power.XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(root) == NULL)
        die(root);
}

/* The store's directory and its files go. */
static void empty_root(const char *root)
{
    char path[300];
    const struct dirent *entry;
    DIR *dir;

    (void)snprintf(path, sizeof path, "%s/store", root);
    dir = opendir(path);
    while (dir != NULL && (entry = readdir(dir)) != NULL)
        (void)unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir != NULL)
        (void)closedir(dir);
    if (rmdir(path) != 0 && errno != ENOENT)
        die(path);
}

/* ---- a trace ---------------------------------------------------------------------- */

/* A short round for trouble alone. */
static bool is_trouble(const struct round *round)
{
    return round->options->without == FLUSH_NONE && round->number % 8 == 6;
}

/* Rounds differ: with and without compaction by itself, and calls that fail. */
static struct phase plan(const struct round *round, unsigned n)
{
    uint64_t random = random_mix(round->seed, n);
    bool whole = round->options->without == FLUSH_NONE;
    bool few = round->number % 8 == 7; /* streams: whole segments soon need nothing */
    struct phase phase = {.kill =
                              n < 3 && !is_trouble(round) && random_chance(&random, 80),
                          .cut = whole && n < 3 && random_chance(&random, 60)};

    phase.workload =
        (struct workload){.trace = round->trace,
                          .seed = random_next(&random),
                          .sessions = 1 + (unsigned)random_below(&random, 2),
                          .threads = few ? 1 : WORKLOAD_THREADS,
                          .own = few ? 2 : STREAMS / WORKLOAD_THREADS,
                          .large = few,
                          .calls = 20 + (unsigned)random_below(&random, 40),
                          .dead_space = round->number % 2 == 1 ? 20 : 100,
                          .erase_ms = round->number % 4 == 3 ? 20 : 0,
                          .compact_percent = (unsigned)random_below(&random, 5),
                          .may_fail = whole && round->number % 4 >= 2,
                          .opening = record_opening};
    phase.trouble = is_trouble(round);
    phase.faults = phase.workload.may_fail && !phase.trouble ? 20 : 0;
    (void)snprintf(phase.workload.path, sizeof phase.workload.path, "%s/store",
                   round->root);
    if (phase.kill)
        round->trace->kill_at =
            round->trace->count + 100 + (size_t)random_below(&random, 700);
    return phase;
}

/* The child of a phase. */
static _Noreturn void run_phase(const struct round *round, const struct phase *phase,
                                struct disk *disk)
{
    struct record_setup setup = {.trace = round->trace,
                                 .disk = disk,
                                 .root = round->root,
                                 .seed = phase->workload.seed,
                                 .faults = phase->faults};

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    record_start(&setup);
    if (phase->trouble)
        (void)workload_run_trouble(
            &phase->workload,
            &(struct workload_trouble){.fail_flushes = record_fail_flushes,
                                       .fill_disk = record_fill_disk});
    else
        (void)workload_run(&phase->workload);
    record_stop();
    _exit(0);
}

static bool complain(const struct round *round, const char *what)
{
    (void)fprintf(stderr, "round %" PRIu64 " of seed %" PRIu64 ": %s\n", round->number,
                  round->options->seed, what);
    return false;
}

static bool wait_for_phase(const struct round *round, pid_t child)
{
    int status;

    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    trace_unlock_dead(round->trace);
    round->trace->kill_at = 0;
    if ((WIFEXITED(status) && WEXITSTATUS(status) == 0) ||
        (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
        return true;
    return complain(round, "the workload failed");
}

/* The power is cut here, and comes back. */
static void cut_power(const struct round *round, struct disk *disk, uint64_t seed)
{
    struct event event = {.kind = EVENT_CUT, .offset = seed};

    (void)trace_note(round->trace, &event);
    disk_advance(disk, round->trace, round->trace->count);
    empty_root(round->root);
    round->trace->known_count = 0;
    if (!disk_write(disk, round->root, round->trace))
        die(round->root);
}

static bool do_phase(const struct round *round, unsigned n, struct disk *disk,
                     struct rules *rules)
{
    struct phase phase = plan(round, n);
    char text[600];
    pid_t child = fork();

    if (child < 0)
        die("fork");
    if (child == 0)
        run_phase(round, &phase, disk);
    if (!wait_for_phase(round, child))
        return false;
    if (!rules_advance(rules, round->trace, round->trace->count))
        return complain(round, rules->wrong);
    disk_advance(disk, round->trace, round->trace->count);
    if (!disk_agrees(disk, round->root, text, sizeof text))
        return complain(round, text);
    if (phase.cut)
        cut_power(round, disk, phase.workload.seed);
    return true;
}

static bool make_trace(struct round *round)
{
    struct disk *disk = disk_new(FLUSH_NONE);
    struct rules *rules = rules_new();
    bool good = disk != NULL && rules != NULL;

    trace_clear(round->trace);
    round->trace->faulty =
        round->options->without == FLUSH_NONE && round->number % 4 >= 2;
    for (unsigned n = 0; good && n < (is_trouble(round) ? 1 : PHASES); n++)
        good = do_phase(round, n, disk, rules);
    empty_root(round->root);
    disk_free(disk);
    rules_free(rules);
    return good;
}

/* ---- states ----------------------------------------------------------------------- */

struct checker {
    const struct round *round;
    struct disk *disk;
    struct rules *rules;
    char root[200];
    char text[2000];
};

static bool is_erased(void *arg, uint64_t version)
{
    return rules_erased(arg, version);
}

/* Where in the trace the power is cut for state k: states are spread evenly. */
static size_t position_of(const struct round *round, uint64_t k)
{
    return (size_t)((k % round->states + 1) * round->trace->count / round->states);
}

/* Build state k; whether it passes. */
static bool check_state(struct checker *checker, uint64_t k)
{
    const struct trace *trace = checker->round->trace;
    size_t at = position_of(checker->round, k);
    uint64_t seed = random_mix(checker->round->seed, k), version;

    if (!rules_advance(checker->rules, trace, at)) {
        (void)snprintf(checker->text, sizeof checker->text, "%s", checker->rules->wrong);
        return false;
    }
    disk_advance(checker->disk, trace, at);
    disk_cut(checker->disk, seed);
    if (!disk_write(checker->disk, checker->root, NULL))
        die(checker->root);
    if (!trace->faulty &&
        disk_shows(checker->disk, is_erased, checker->rules, &version)) {
        (void)snprintf(checker->text, sizeof checker->text,
                       "version %" PRIu64 " of stream %u is in a file, and had been "
                       "given back by a compaction",
                       version, checker->rules->versions[version].stream);
        return false;
    }
    return check_store(&(struct check_setup){.rules = checker->rules,
                                             .root = checker->root,
                                             .compact = seed % 4 == 0,
                                             .allow_lost = trace->faulty,
                                             .text = checker->text,
                                             .room = sizeof checker->text});
}

static void explain(const struct checker *checker, uint64_t k, const char *file)
{
    const struct round *round = checker->round;
    size_t at = position_of(round, k);
    char event[400] = "nothing";

    if (at > 0)
        trace_describe(&round->trace->events[at - 1], event, sizeof event);
    (void)fprintf(stderr,
                  "seed %" PRIu64 ", round %" PRIu64 ", state %" PRIu64
                  ": the power is cut after event %zu of %zu\n  (%s);\n  %s:\n  %s\n",
                  round->options->seed, round->number, k, at, round->trace->count, event,
                  disk_choice(checker->disk), checker->text);
    if (file != NULL)
        (void)fprintf(stderr,
                      "  again: power_model PLUGIN --seed %" PRIu64 " --states %" PRIu64
                      " --trace %s --state %" PRIu64 "%s%s\n",
                      round->seed, round->states, file, k,
                      round->options->without != FLUSH_NONE ? " --without " : "",
                      round->options->without != FLUSH_NONE
                          ? flush_name(round->options->without)
                          : "");
}

/* What the state was, before the plugin opened it. */
static void leave_state(struct checker *checker)
{
    empty_root(checker->root);
    if (!disk_write(checker->disk, checker->root, NULL))
        die(checker->root);
    (void)printf("the state is in %s\n", checker->root);
}

static void report(struct checker *checker, uint64_t k)
{
    const struct round *round = checker->round;
    char file[100], path[400] = "?", *cwd = getcwd(NULL, 0);

    if (round->options->without != FLUSH_NONE) {
        (void)printf("without %s: ", flush_name(round->options->without));
        (void)fflush(stdout);
        explain(checker, k, NULL);
        return;
    }
    (void)snprintf(file, sizeof file, "power-%" PRIu64 "-%" PRIu64 ".trace",
                   round->options->seed, round->number);
    (void)snprintf(path, sizeof path, "%s/%s", cwd != NULL ? cwd : ".", file);
    free(cwd);
    if (!trace_save(round->trace, path))
        die(path);
    explain(checker, k, path);
}

static void open_checker(struct checker *checker, const struct round *round)
{
    *checker = (struct checker){
        .round = round, .disk = disk_new(round->options->without), .rules = rules_new()};
    if (checker->disk == NULL || checker->rules == NULL)
        die("memory");
    make_root(checker->root, sizeof checker->root);
}

/* One of those who share the states. */
static _Noreturn void run_worker(const struct round *round, uint64_t which)
{
    struct checker checker;
    bool good = true;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    open_checker(&checker, round);
    for (uint64_t k = which; good && k < round->states; k += WORKERS) {
        good = check_state(&checker, k);
        if (!good)
            report(&checker, k);
        empty_root(checker.root);
    }
    (void)rmdir(checker.root);
    disk_free(checker.disk);
    rules_free(checker.rules);
    exit(good ? 0 : 1);
}

/* Whether all states of the round's trace pass. */
static bool check_states(const struct round *round)
{
    pid_t workers[WORKERS];
    bool good = true;
    int status;

    for (uint64_t i = 0; i < WORKERS; i++) {
        workers[i] = fork();
        if (workers[i] < 0)
            die("fork");
        if (workers[i] == 0)
            run_worker(round, i);
    }
    for (size_t i = 0; i < WORKERS; i++) {
        while (waitpid(workers[i], &status, 0) < 0 && errno == EINTR)
            ;
        if (!WIFEXITED(status) || WEXITSTATUS(status) > 1)
            die("a checking process ended");
        good = good && WEXITSTATUS(status) == 0;
    }
    return good;
}

/* ---- the program ------------------------------------------------------------------ */

static int again(const struct options *options)
{
    struct round round = {.options = options,
                          .seed = options->seed,
                          .states = options->states,
                          .trace = trace_new()};
    struct checker checker;
    bool good;

    if (round.trace == NULL || !trace_load(round.trace, options->trace))
        die(options->trace);
    if (!options->one)
        return check_states(&round) ? 0 : 1;
    open_checker(&checker, &round);
    good = check_state(&checker, options->state);
    if (!good)
        explain(&checker, options->state, options->trace);
    leave_state(&checker);
    disk_free(checker.disk);
    rules_free(checker.rules);
    return good ? 0 : 1;
}

/* Returns what the program does. */
static int run_rounds(const struct options *options)
{
    struct round round = {.options = options, .trace = trace_new()};
    uint64_t states = 0, events = 0;
    time_t began = time(NULL);
    bool good = true, made = true;

    if (round.trace == NULL)
        die("memory");
    make_root(round.root, sizeof round.root);
    for (; good && round.number < options->rounds; round.number++) {
        round.seed = random_mix(options->seed, round.number);
        round.states = options->states / options->rounds + 1;
        made = make_trace(&round);
        good = made && check_states(&round);
        states += round.states;
        events += round.trace->count;
    }
    (void)rmdir(round.root);
    trace_free(round.trace);
    if (options->without != FLUSH_NONE && made && good)
        (void)fprintf(stderr, "without %s: nothing was noticed in %" PRIu64 " states\n",
                      flush_name(options->without), states);
    else if (good)
        (void)printf("%" PRIu64 " states from %" PRIu64 " events in %ld s, all right; "
                     "seed %" PRIu64 "\n",
                     states, events, (long)(time(NULL) - began), options->seed);
    return made && good == (options->without == FLUSH_NONE) ? 0 : 1;
}

static int usage(void)
{
    (void)fprintf(stderr,
                  "usage: power_model PLUGIN [--seed N] [--states N] [--rounds N]\n"
                  "         [--without FLUSH] [--trace FILE [--state K]]\n");
    return 2;
}

static bool take_option(struct options *options, const char *name, const char *value)
{
    uint64_t number = strtoull(value, NULL, 0);

    if (strcmp(name, "--seed") == 0)
        options->seed = number;
    else if (strcmp(name, "--states") == 0)
        options->states = number;
    else if (strcmp(name, "--rounds") == 0)
        options->rounds = number;
    else if (strcmp(name, "--trace") == 0)
        options->trace = value;
    else if (strcmp(name, "--without") == 0)
        options->without = flush_named(value);
    else if (strcmp(name, "--state") == 0)
        options->state = number;
    else
        return false;
    options->one = options->one || strcmp(name, "--state") == 0;
    return strcmp(name, "--without") != 0 || options->without != FLUSH_NONE;
}

int main(int argc, char **argv)
{
    struct options options = {.seed = DEFAULT_SEED, .states = 20000, .rounds = 16};

    if (argc < 2 || argc % 2 != 0)
        return usage();
    options.plugin = argv[1];
    for (int i = 2; i + 1 < argc; i += 2)
        if (!take_option(&options, argv[i], argv[i + 1]))
            return usage();
    if (options.states == 0 || options.rounds == 0)
        return usage();
    driver_load(options.plugin);
    return options.trace != NULL ? again(&options) : run_rounds(&options);
}

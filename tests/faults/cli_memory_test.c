/* tests/faults/cli_memory_test.c - every allocation of the command-line program fails:
 * each one once, and all from then on; and its output goes to a full device.  What may
 * happen then stands in cli_trial.h; a failure says that it is about memory. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli_trial.h"
#include "heap.h"

#if defined(__SANITIZE_ADDRESS__)
#define STRIDE 17
#else
#define STRIDE 3
#endif

enum {
    TRIALS = 3000,
    USAGE = 2,
    STORE = 3
};

static struct {
    bool fired;
} * shared; /* with the process of a trial */
static int failures;

/* ---- one run ------------------------------------------------------------------------
 */

struct plan {
    long nth, times;
    int (*child)(void *arg);
    void *arg;
};

static void note_fired(void)
{
    shared->fired = heap_heal();
}

static int without_memory(void *arg)
{
    const struct plan *plan = arg;

    if (atexit(note_fired) != 0)
        _exit(99);
    heap_fail(plan->nth, plan->times);
    return plan->child(plan->arg);
}

static int launch(int (*child)(void *arg), void *arg, void *plan)
{
    struct plan *with = plan;

    with->child = child;
    with->arg = arg;
    shared->fired = false;
    return cli_plainly(without_memory, with, NULL);
}

/* ---- trials --------------------------------------------------------------------------
 */

/* Whether got is as wanted, or is a failure that says that memory ran out. */
static bool is_right(const struct cli_outcome *wanted, const struct cli_outcome *got)
{
    if (got->code == wanted->code)
        return strcmp(got->out, wanted->out) == 0;
    return (got->code == USAGE || got->code == STORE) &&
           (strcasestr(got->err, "memory") != NULL ||
            strstr(got->err, "a thread for compaction: Resource temp") != NULL);
}

static void complain(const struct cli_command *command, const struct plan *plan,
                     const struct cli_outcome *got, const char *why)
{
    failures++;
    (void)fprintf(stderr, "%s, allocation %ld, %ld times: %s: exit code %d\n%s%s\n",
                  cli_line(command), plan->nth, plan->times, why, got->code, got->out,
                  got->err);
}

/* False: it needs fewer allocations. */
static bool try_one(const struct cli_command *command, const struct cli_usual *usual,
                    long nth, long times)
{
    static struct cli_outcome got;
    struct plan plan = {.nth = nth, .times = times};
    const char *why = "another answer";

    cli_run(command, -1, launch, &plan, &got);
    if (is_right(&usual->wanted, &got))
        why = cli_left_wrong(command, usual, &got);
    if (why != NULL)
        complain(command, &plan, &got, why);
    if (cli_changes(command))
        cli_restore();
    return shared->fired || got.code < 0;
}

static long try_times(const struct cli_command *command, const struct cli_usual *usual,
                      long times)
{
    long stride = times == 1 ? STRIDE : 5 * STRIDE, trials = 0;

    for (long nth = 1; nth < TRIALS; nth += stride, trials++)
        if (!try_one(command, usual, nth, times))
            return trials;
    failures++;
    return trials;
}

/* Standard output on a device that is full: that is said, where something is written. */
static void try_full(const struct cli_command *command, const struct cli_usual *usual)
{
    static struct cli_outcome got;
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

    if (full < 0) {
        failures++;
        return;
    }
    cli_run(command, full, cli_plainly, NULL, &got);
    (void)close(full);
    if (usual->wanted.out[0] == '\0'
            ? got.code != usual->wanted.code
            : got.code == 0 || strstr(got.err, "No space") == NULL)
        complain(command, &(struct plan){0}, &got, "a full device is not told");
    cli_restore();
}

static void try_command(const struct cli_command *command)
{
    static struct cli_usual usual;
    long trials;

    cli_run_usual(command, &usual);
    if (usual.wanted.code != command->code)
        complain(command, &(struct plan){0}, &usual.wanted, "does not work");
    try_full(command, &usual);
    trials = try_times(command, &usual, 1) + try_times(command, &usual, HEAP_FOREVER);
    printf("%s: %ld trials\n", cli_line(command), trials);
}

int main(void)
{
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || !cli_prepare())
        return 2;
    for (unsigned i = 0; i < cli_trial_count; i++)
        try_command(&cli_trials[i]);
    cli_clean_up();
    printf("%d failures\n", failures);
    return failures == 0 ? 0 : 1;
}

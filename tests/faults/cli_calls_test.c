/* tests/faults/cli_calls_test.c - every system call of the command-line program fails:
 * each one once, with each error that is plausible, and all of its kind from then on; is
 * interrupted; moves half of its bytes.  What may happen then stands in cli_trial.h.
 *
 * Without an argument some of all these are tried, with "all" each.  A last argument that
 * is a word of a command picks the commands. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli_trial.h"
#include "syscalls.h"

#if defined(__SANITIZE_ADDRESS__)
#define STRIDE 97
#else
#define STRIDE 17
#endif

static int failures;
static bool all;

/* ---- one run ------------------------------------------------------------------------
 */

struct trial {
    struct syscalls_plan plan;
    struct syscalls_report report;
    int (*child)(void *arg);
    void *arg;
};

static int begin(void *arg)
{
    const struct trial *trial = arg;

    syscalls_begin();
    return trial->child(trial->arg);
}

static int launch(int (*child)(void *arg), void *arg, void *plan)
{
    struct trial *trial = plan;

    trial->child = child;
    trial->arg = arg;
    return syscalls_run(begin, trial, &trial->plan, &trial->report);
}

/* ---- verdict -------------------------------------------------------------------------
 */

static int error_of(const struct trial *trial)
{
    return syscalls_error(trial->plan.kind, trial->plan.choice);
}

/* Whether text names the cause, in the error's own words or in those that the linker, the
 * thread library and stdio leave of it. */
static bool names_cause(const char *text, int error)
{
    return strcasestr(text, strerror(error)) != NULL ||
           strcasestr(text, "memory") != NULL ||
           strstr(text, "failed to map segment") != NULL ||
           strstr(text, "cannot map zero-fill pages") != NULL ||
           strstr(text, "a thread for compaction: Resource temporarily") != NULL ||
           strstr(text, "an earlier write failed") != NULL;
}

/* NULL: got is what may happen. */
static const char *wrong(const struct cli_usual *usual, const struct cli_outcome *got,
                         const struct trial *trial)
{
    int error = error_of(trial);
    bool is_mute =
        trial->report.fd == STDERR_FILENO ||
        (trial->plan.for_ever && strcmp(syscalls_name(trial->plan.kind), "write") == 0);

    if (trial->report.hangs)
        return "it hangs";
    if (got->code == usual->wanted.code)
        return strcmp(got->out, usual->wanted.out) == 0 ? NULL : "another answer";
    if (got->code != 2 && got->code != 3)
        return "it ends in another way";
    if (error == SYSCALLS_SHORT)
        return "a short transfer is a failure";
    if (is_mute)
        return NULL;
    if (strncmp(got->err, "mako-snapshot: ", 15) != 0)
        return "it does not say that it failed";
    return names_cause(got->err, error) ? NULL : "it does not say why";
}

static void complain(const struct cli_command *command, const struct trial *trial,
                     const struct cli_outcome *got, const char *why)
{
    int error = error_of(trial);

    failures++;
    (void)fprintf(stderr, "%s, %s %ld (of %d): %s%s: %s: exit code %d\n%s%s\n",
                  cli_line(command), syscalls_name(trial->plan.kind), trial->plan.nth,
                  trial->report.fd, error > 0 ? strerror(error) : "half",
                  trial->plan.for_ever ? ", from then on" : "", why, got->code, got->out,
                  got->err);
}

/* False: it made fewer such calls. */
static bool try_one(const struct cli_command *command, const struct cli_usual *usual,
                    const struct syscalls_plan *plan)
{
    static struct cli_outcome got;
    struct trial trial = {.plan = *plan};
    const char *why;

    cli_run(command, -1, launch, &trial, &got);
    why = wrong(usual, &got, &trial);
    if (why == NULL)
        why = cli_left_wrong(command, usual, &got);
    if (why != NULL)
        complain(command, &trial, &got, why);
    if (cli_changes(command))
        cli_restore();
    return trial.report.fired > 0;
}

/* ---- trials --------------------------------------------------------------------------
 */

/* Each STRIDE-th of all trials of all commands, so that what many of them do alike is
 * tried in another of them. */
static bool is_turn(void)
{
    static unsigned long turn;

    return turn++ % STRIDE == 0 || all;
}

static long try_calls(const struct cli_command *command, const struct cli_usual *usual,
                      int kind, long calls)
{
    struct syscalls_plan plan = {.kind = kind};
    long trials = 0;
    int error;

    for (plan.nth = 1; plan.nth <= calls; plan.nth++)
        for (plan.choice = 0; (error = syscalls_error(kind, plan.choice)) != 0;
             plan.choice++) {
            plan.for_ever = false;
            if (is_turn())
                trials += try_one(command, usual, &plan);
            plan.for_ever = error != EINTR; /* those there would be no end of */
            if (plan.for_ever && is_turn())
                trials += try_one(command, usual, &plan);
        }
    return trials;
}

static void try_command(const struct cli_command *command)
{
    static struct cli_usual usual;
    static struct cli_outcome got;
    struct trial count = {.plan = {.kind = -1}};
    long trials = 0, calls = 0;

    cli_run_usual(command, &usual);
    cli_run(command, -1, launch, &count, &got);
    cli_restore();
    for (int kind = 0; syscalls_name(kind) != NULL; kind++) {
        calls += count.report.seen[kind];
        trials += try_calls(command, &usual, kind, count.report.seen[kind]);
    }
    failures += all && trials == 0;
    printf("%s: %ld calls, %ld trials\n", cli_line(command), calls, trials);
}

static bool is_picked(const struct cli_command *command, const char *word)
{
    for (const char *const *at = command->words; word != NULL && *at != NULL; at++)
        if (strcmp(*at, word) == 0)
            return true;
    return word == NULL;
}

int main(int argc, char **argv)
{
    const char *why = "", *word = argc > 1 ? argv[argc - 1] : NULL;

    all = argc > 1 && strcmp(argv[1], "all") == 0;
    if (argc == 2 && all)
        word = NULL;
    if (!syscalls_work(&why)) {
        printf("skipped: %s\n", why);
        return 77;
    }
    if (!cli_prepare())
        return 2;
    for (unsigned i = 0; i < cli_trial_count; i++)
        if (is_picked(&cli_trials[i], word))
            try_command(&cli_trials[i]);
    cli_clean_up();
    printf("%d failures\n", failures);
    return failures == 0 ? 0 : 1;
}

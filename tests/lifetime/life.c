/* The command line, processes of cases, and the ledger; see life.h. */
#include "life.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_S 240 /* a case that takes longer hangs */

unsigned long life_rounds;
uint64_t life_seed;

uint64_t life_draw(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

int life_wait(pid_t child)
{
    int status = 0;

    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* ---- cases ------------------------------------------------------------------------ */

static enum verdict run_here(const struct test_case *c, const char *conf)
{
    static struct trial t;
    static const char *const words[] = {"ok", "FAILED", "skipped"};
    enum verdict verdict;

    (void)alarm(PATIENCE_S);
    verdict = case_run(c, conf, &t);
    (void)printf("%s %s%s%s\n", words[verdict], c->name, verdict == PASS ? "" : ": ",
                 verdict == PASS ? "" : t.message);
    (void)fflush(stdout);
    return verdict;
}

/* In a process of its own, which may be left with limits, handlers and directories. */
static bool run_case(const struct test_case *c, const char *conf)
{
    pid_t child = fork();
    int code;

    if (child == 0)
        exit(run_here(c, conf) == FAIL ? 1 : 0);
    code = child > 0 ? life_wait(child) : -1;
    if (code != 0)
        (void)printf("FAILED %s: the process ended with %d; --case %s --seed %llu\n",
                     c->name, code, c->name, (unsigned long long)life_seed);
    (void)fflush(stdout);
    return code == 0;
}

static int usage(const char *name)
{
    (void)fprintf(
        stderr, "usage: %s CONFIGURATION [--rounds N] [--seed N] [--case NAME]\n", name);
    return 2;
}

/* Those of that name, or all. */
static bool run_cases(const struct test_case *cases, const char *only, const char *conf)
{
    unsigned run = 0;
    bool good = true;

    for (; cases->name != NULL; cases++)
        if (only == NULL || strcmp(cases->name, only) == 0) {
            good &= run_case(cases, conf);
            run++;
        }
    if (run == 0)
        (void)printf("FAILED: there is no case '%s'\n", only);
    return good && run > 0;
}

int life_main(int argc, char **argv, const struct test_case *cases, unsigned long rounds)
{
    static char conf[PATH_MAX]; /* cases move about */
    const char *only = NULL;

    life_rounds = rounds;
    life_seed = (uint64_t)getpid();
    if (argc < 2 || argc % 2 != 0)
        return usage(argv[0]);
    for (int i = 2; i < argc; i += 2) {
        if (strcmp(argv[i], "--rounds") == 0)
            life_rounds = strtoul(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0)
            life_seed = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--case") == 0)
            only = argv[i + 1];
        else
            return usage(argv[0]);
    }
    if (realpath(argv[1], conf) == NULL)
        return usage(argv[0]);
    trial_environment();
    (void)printf("%s: %lu rounds, seed %llu\n", argv[1], life_rounds,
                 (unsigned long long)life_seed);
    (void)fflush(stdout);
    return run_cases(cases, only, conf) ? 0 : 1;
}

/* ---- the ledger ------------------------------------------------------------------- */

struct ledger *ledger_new(void)
{
    struct ledger *ledger = mmap(NULL, sizeof *ledger, PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    return ledger != MAP_FAILED ? ledger : NULL;
}

void ledger_wait(const struct ledger *ledger, uint64_t calls)
{
    uint64_t until = atomic_load(&ledger->calls) + calls;

    while (atomic_load(&ledger->calls) < until && atomic_load(&ledger->errors) == 0)
        (void)sched_yield();
}

enum verdict ledger_errors(struct trial *t, const struct ledger *ledger)
{
    CHECKF(ledger->errors == 0, "%u wrong answers, of %llu calls; the first: %s",
           ledger->errors, (unsigned long long)ledger->calls, ledger->text);
    return PASS;
}

/* What a stream that was at least at done and at most at begun may hold. */
static enum verdict check_stream(struct trial *t, const char *stream, uint64_t done,
                                 uint64_t begun)
{
    mako_snapshot *snapshot = NULL;
    struct mako_error err = {""};
    int status = get(t, stream, &snapshot, &err);
    uint64_t seq = status == MAKO_OK ? mako_snapshot_meta(snapshot).seq : 0;
    size_t len = 0;
    const void *state = status == MAKO_OK ? mako_snapshot_state(snapshot, &len) : "";
    bool whole = is_pattern(state, len, seq);

    mako_snapshot_unref(snapshot);
    CHECKF(status == MAKO_OK || status == MAKO_NOT_FOUND, "'%s': %s", stream, err.text);
    CHECKF(whole && seq >= done && seq <= begun,
           "'%s': at %llu%s, of %llu acknowledged and %llu begun", stream,
           (unsigned long long)seq, whole ? "" : " and not whole",
           (unsigned long long)done, (unsigned long long)begun);
    return PASS;
}

enum verdict ledger_check(struct trial *t, const struct ledger *ledger)
{
    char stream[32];

    TRY(ledger_errors(t, ledger));
    for (unsigned w = 0; w < WORKERS_MAX; w++)
        for (unsigned i = 0; i < OWN; i++) {
            (void)snprintf(stream, sizeof stream, "life/%u/%u", w, i);
            TRY(check_stream(t, stream, keeps(t) ? ledger->done[w][i] : 0,
                             ledger->begun[w][i]));
        }
    return PASS;
}

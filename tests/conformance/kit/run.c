/* A process for each case: started afresh, given a time, watched to its end, and ended
 * with all that it started. */
#include "kit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    OUTPUT_MAX = 64 * 1024, /* of what a failed case printed, its end is shown */
    JOBS_MAX = 64
};

struct job {
    const struct kit_case *c;
    pid_t pid;
    double began;
    int out, verdict;
    bool late;
    char root[PATH_MAX];
    struct kit_result result;
    bool done;
};

struct runner {
    const struct kit_options *options;
    struct job *jobs; /* one a case */
    size_t count, next, reported;
    unsigned running;
    struct kit_report *report;
    sigset_t before; /* the signals that were blocked */
};

static double now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool make_root(char *root, size_t room)
{
    const char *tmp = getenv("TMPDIR");

    (void)snprintf(root, room, "%s/mako-conformance.XXXXXX", tmp && *tmp ? tmp : "/tmp");
    return mkdtemp(root) != NULL;
}

/* ---- starting --------------------------------------------------------------------- */

static _Noreturn void become_case(const struct runner *r, struct job *job)
{
    char name[200], descriptor[20], seconds[20];
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)sigprocmask(SIG_SETMASK, &r->before, NULL);
    kit_case_name(job->c, name, sizeof name);
    (void)snprintf(descriptor, sizeof descriptor, "%d", job->verdict);
    (void)snprintf(seconds, sizeof seconds, "%u", r->options->timeout);
    if (dup2(null, STDIN_FILENO) < 0 || dup2(job->out, STDOUT_FILENO) < 0 ||
        dup2(job->out, STDERR_FILENO) < 0 || fcntl(job->verdict, F_SETFD, 0) != 0)
        _exit(2);
    (void)execl("/proc/self/exe", "mako-conformance", "--one-case", name, "--case-root",
                job->root, "--verdict-descriptor", descriptor, "--timeout", seconds,
                "--plugin", r->options->binary, r->options->conf, (char *)NULL);
    (void)fprintf(stderr, "mako-conformance: cannot start itself: %s\n", strerror(errno));
    _exit(2);
}

static void fail_job(struct job *job, const char *what)
{
    job->result.verdict = FAIL;
    (void)snprintf(job->result.message, sizeof job->result.message, "%s: %s", what,
                   strerror(errno));
    job->done = true;
}

static void start(struct runner *r, struct job *job)
{
    job->began = now();
    job->out = memfd_create("output", MFD_CLOEXEC);
    job->verdict = memfd_create("verdict", MFD_CLOEXEC);
    if (job->out < 0 || job->verdict < 0 || !make_root(job->root, sizeof job->root)) {
        fail_job(job, job->root);
        return;
    }
    job->pid = fork();
    if (job->pid == 0)
        become_case(r, job);
    if (job->pid < 0) {
        fail_job(job, "fork");
        return;
    }
    (void)setpgid(job->pid, job->pid);
    r->running++;
}

/* ---- ending ----------------------------------------------------------------------- */

/* The end of what was printed. */
static char *read_output(int fd)
{
    off_t len = lseek(fd, 0, SEEK_END), from = len > OUTPUT_MAX ? len - OUTPUT_MAX : 0;
    char *text = len > 0 ? malloc((size_t)(len - from) + 1) : NULL;
    ssize_t got = text ? pread(fd, text, (size_t)(len - from), from) : 0;

    if (!text)
        return NULL;
    text[got > 0 ? got : 0] = '\0';
    return text;
}

static void judge_end(const struct runner *r, struct job *job, int status, char letter)
{
    struct kit_result *result = &job->result;

    if (job->late)
        (void)snprintf(result->message, sizeof result->message,
                       "still running after %u seconds", r->options->timeout);
    else if (WIFSIGNALED(status))
        (void)snprintf(result->message, sizeof result->message, "killed by SIG%s (%s)",
                       sigabbrev_np(WTERMSIG(status)) ? sigabbrev_np(WTERMSIG(status))
                                                      : "?",
                       strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) != 0 || !letter)
        (void)snprintf(result->message, sizeof result->message,
                       "the process ended with exit status %d%s", WEXITSTATUS(status),
                       letter ? "" : " in the middle of the case");
    else
        result->verdict = letter == 'P' ? PASS : letter == 'S' ? SKIP : FAIL;
}

static void finish(struct runner *r, struct job *job, int status)
{
    char text[sizeof job->result.message];
    ssize_t got = pread(job->verdict, text, sizeof text - 1, 0);

    (void)kill(-job->pid, SIGKILL);
    text[got > 0 ? got : 0] = '\0';
    job->result.verdict = FAIL;
    job->result.seconds = now() - job->began;
    (void)snprintf(job->result.message, sizeof job->result.message, "%s",
                   text[0] ? text + 1 : "");
    judge_end(r, job, status, text[0]);
    job->result.output = read_output(job->out);
    (void)close(job->out);
    (void)close(job->verdict);
    kit_clear(job->root);
    job->done = true;
    r->running--;
}

static void reap(struct runner *r)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (size_t i = 0; i < r->next; i++)
            if (r->jobs[i].pid == pid && !r->jobs[i].done)
                finish(r, &r->jobs[i], status);
}

/* ---- watching --------------------------------------------------------------------- */

static double watch_deadlines(struct runner *r)
{
    double least = 1;

    for (size_t i = 0; i < r->next; i++) {
        struct job *job = &r->jobs[i];
        double left = job->began + r->options->timeout - now();

        if (job->done)
            continue;
        if (left <= 0) {
            job->late = true;
            (void)kill(-job->pid, SIGKILL);
            (void)kill(job->pid, SIGKILL);
        } else if (left < least) {
            least = left;
        }
    }
    return least;
}

static void kill_all(struct runner *r)
{
    for (size_t i = 0; i < r->next; i++)
        if (!r->jobs[i].done) {
            (void)kill(-r->jobs[i].pid, SIGKILL);
            (void)kill(r->jobs[i].pid, SIGKILL);
        }
    while (r->running > 0) {
        (void)usleep(1000);
        reap(r);
    }
}

/* Processes that left their group and whose parents are gone belong to this one. */
static void kill_strays(void)
{
    char path[64], text[4096];
    FILE *f;
    size_t got;

    (void)snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    f = fopen(path, "re");
    if (!f)
        return;
    got = fread(text, 1, sizeof text - 1, f);
    text[got] = '\0';
    (void)fclose(f);
    for (char *at = text, *end; *at; at = end) {
        long pid = strtol(at, &end, 10);

        if (end == at)
            break;
        (void)kill((pid_t)pid, SIGKILL);
        (void)waitpid((pid_t)pid, NULL, 0);
    }
}

static void report_ready(struct runner *r)
{
    for (; r->reported < r->next && r->jobs[r->reported].done; r->reported++) {
        struct job *job = &r->jobs[r->reported];

        kit_report_add(r->report, job->c, &job->result);
        free(job->result.output);
        job->result.output = NULL;
    }
}

/* The signal that asks for an early end, or 0. */
static int run_all(struct runner *r, const sigset_t *watched)
{
    while (r->reported < r->count) {
        double wait;
        struct timespec pause;
        int signal_number;

        while (r->running < r->options->jobs && r->next < r->count)
            start(r, &r->jobs[r->next++]);
        wait = watch_deadlines(r);
        pause = (struct timespec){.tv_sec = (time_t)wait,
                                  .tv_nsec = (long)((wait - (double)(time_t)wait) * 1e9)};
        signal_number = r->running > 0 ? sigtimedwait(watched, NULL, &pause) : SIGCHLD;
        if (signal_number > 0 && signal_number != SIGCHLD) {
            kill_all(r);
            return signal_number;
        }
        reap(r);
        report_ready(r);
    }
    return 0;
}

int kit_run(const struct kit_options *options, const struct kit_case *cases,
            struct kit_report *report)
{
    struct runner r = {.options = options, .report = report};
    sigset_t watched;
    int early;

    for (const struct kit_case *c = cases; c->test; c++)
        r.count++;
    r.jobs = calloc(r.count + 1, sizeof *r.jobs);
    if (!r.jobs)
        return 2;
    for (size_t i = 0; i < r.count; i++)
        r.jobs[i].c = &cases[i];
    (void)sigemptyset(&watched);
    (void)sigaddset(&watched, SIGCHLD);
    (void)sigaddset(&watched, SIGINT);
    (void)sigaddset(&watched, SIGTERM);
    (void)sigaddset(&watched, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, &watched, &r.before);
    (void)signal(SIGCHLD, SIG_DFL); /* ignored, it would take the verdicts away */
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    early = run_all(&r, &watched);
    kill_strays();
    free(r.jobs);
    (void)sigprocmask(SIG_SETMASK, &r.before, NULL);
    return early ? 128 + early : 0;
}

int kit_run_in_process(const struct kit_options *options, const struct kit_case *c,
                       struct kit_report *report)
{
    static struct trial t;
    struct kit_result result = {.verdict = FAIL};
    char root[PATH_MAX];
    double began = now();

    if (!make_root(root, sizeof root)) {
        (void)fprintf(stderr, "mako-conformance: %s: %s\n", root, strerror(errno));
        return 2;
    }
    result.verdict = kit_inside_case(options, c, root, &t);
    result.seconds = now() - began;
    (void)snprintf(result.message, sizeof result.message, "%s", t.message);
    kit_report_add(report, c, &result);
    if (chdir("/") == 0)
        kit_clear(root);
    return 0;
}

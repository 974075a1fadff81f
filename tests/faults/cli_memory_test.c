/* tests/faults/cli_memory_test.c - every allocation of the command-line program fails:
 * each one once, and all from then on; and its output goes to a full device.
 *
 * The program's own files are linked in, and its main() is cli_main(); each trial is a
 * process.  It ends with the output of a run in which nothing fails, or with the exit
 * status of a failure and a sentence about memory; never with another answer.  Nothing in
 * the documents is longer than 13 bytes: see heap.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "heap.h"

int cli_main(int argc, char **argv);

#if defined(__SANITIZE_ADDRESS__)
#define STRIDE 17
#else
#define STRIDE 1
#endif

enum {
    ROOM = 8192,
    ARGUMENTS = 16,
    TRIALS = 3000,
    USAGE = 2,
    STORE = 3
};

struct outcome {
    int code; /* -1: killed */
    char out[ROOM], err[ROOM];
};

static struct {
    bool fired;
} * shared; /* with the process of a trial */
static int failures;

/* ---- one run ------------------------------------------------------------------------
 */

static void note_fired(void)
{
    shared->fired = heap_heal();
}

static int count_arguments(char *const *argv)
{
    int count = 0;

    while (argv[count] != NULL)
        count++;
    return count;
}

static _Noreturn void run_child(char **argv, int out, int err, long nth, long times)
{
    if (dup2(out, STDOUT_FILENO) < 0 || dup2(err, STDERR_FILENO) < 0 ||
        atexit(note_fired) != 0)
        _exit(99);
    if (nth > 0)
        heap_fail(nth, times);
    exit(cli_main(count_arguments(argv), argv));
}

/* Ages and durations differ between runs. */
static void drop_numbers(char *text)
{
    char *to = text;

    for (; *text != '\0'; text++)
        if (strchr("0123456789.", *text) == NULL)
            *to++ = *text;
        else if (text[1] == 'e' && text[2] == '-')
            text += 2;
    *to = '\0';
}

static void read_back(int fd, char text[ROOM])
{
    ssize_t got = pread(fd, text, ROOM - 1, 0);

    text[got > 0 ? got : 0] = '\0';
}

/* Run argv while the nth allocation fails (0: none does), its output to out. */
static void run_to(int out, char **argv, long nth, long times, struct outcome *outcome)
{
    int err = memfd_create("err", MFD_CLOEXEC), status = 0;
    pid_t child;

    shared->fired = false;
    (void)fflush(NULL);
    child = fork();
    if (child == 0)
        run_child(argv, out, err, nth, times);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    outcome->code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    read_back(out, outcome->out);
    drop_numbers(outcome->out);
    read_back(err, outcome->err);
    (void)close(err);
}

static void run(char **argv, long nth, long times, struct outcome *outcome)
{
    int out = memfd_create("out", MFD_CLOEXEC);

    run_to(out, argv, nth, times, outcome);
    (void)close(out);
}

/* ---- trials --------------------------------------------------------------------------
 */

/* Whether got is as wanted, or is a failure that says that memory ran out. */
static bool is_right(const struct outcome *wanted, const struct outcome *got)
{
    if (got->code == wanted->code)
        return strcmp(got->out, wanted->out) == 0;
    return (got->code == USAGE || got->code == STORE) &&
           strcasestr(got->err, "memory") != NULL;
}

static void complain(char **argv, long nth, long times, const struct outcome *got)
{
    failures++;
    (void)fprintf(stderr,
                  "%s, allocation %ld, %ld times: exit code %d\nout: %s\nerr: %s\n",
                  argv[3], nth, times, got->code, got->out, got->err);
}

static long try_times(char **argv, const struct outcome *wanted, long times)
{
    long stride = times == 1 ? STRIDE : 5 * STRIDE, trials = 0;
    struct outcome got;

    for (long nth = 1; nth < TRIALS; nth += stride, trials++) {
        run(argv, nth, times, &got);
        if (!is_right(wanted, &got))
            complain(argv, nth, times, &got);
        if (!shared->fired && got.code >= 0)
            return trials;
    }
    failures++;
    return trials;
}

/* Standard output on a device that is full: that is said, where something is written. */
static void try_full(char **argv, const struct outcome *wanted)
{
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    struct outcome got;

    if (full < 0) {
        failures++;
        return;
    }
    run_to(full, argv, 0, 0, &got);
    (void)close(full);
    if (wanted->out[0] == '\0' ? got.code != 0
                               : got.code == 0 || strstr(got.err, "No space") == NULL)
        complain(argv, 0, 0, &got);
}

static void try_command(char **argv)
{
    struct outcome wanted, again;
    long trials;

    run(argv, 0, 0, &wanted);
    if (wanted.code != 0)
        complain(argv, 0, 0, &wanted);
    try_full(argv, &wanted);
    trials = try_times(argv, &wanted, 1) + try_times(argv, &wanted, HEAP_FOREVER);
    run(argv, 0, 0, &again);
    if (!is_right(&wanted, &again) || again.code != wanted.code)
        complain(argv, 0, 0, &again);
    printf("%s: %ld trials\n", argv[3], trials);
}

/* ---- the commands
 * ----------------------------------------------------------------------
 */

static bool write_file(const char *name, const char *text)
{
    FILE *file = fopen(name, "w");

    return file != NULL && fputs(text, file) >= 0 && fclose(file) == 0;
}

static bool prepare(void)
{
    return setenv("MAKO_PLUGIN_PATH", MAKO_PLUGINS, 1) == 0 && setenv("TZ", "", 1) == 0 &&
           write_file("c.json", "{\"stores\":{\"s\":{\"plugin\":\"file\",\"durability\":"
                                "\"crash\",\"options\":{\"dir\":"
                                "\"store\"}}}}") &&
           write_file("noop.json",
                      "{\"stores\":{\"s\":{\"plugin\":\"noop\",\"durability\":"
                      "\"none\"}}}") &&
           write_file("state", "{\"a\":[1,2,3],\"b\":{\"c\":\"d\"}}") &&
           write_file("log",
                      "{\"stream\":\"a\",\"sequence\":1,\"type\":\"T\",\"time\":\"t\","
                      "\"data\":{\"n\":1}}\n"
                      "{\"stream\":\"b\",\"sequence\":1,\"type\":\"T\",\"time\":\"t\","
                      "\"data\":{\"n\":{\"m\":null}}}\n"
                      "{\"stream\":\"a\",\"sequence\":2,\"type\":\"U\",\"time\":\"u\","
                      "\"data\":{\"k\":{\"v\":[1]}}}\n");
}

#define COMMAND(config, ...)                                                   \
    try_command((char *[ARGUMENTS]){(char[]){"mako-snapshot"}, (char[]){"-c"}, \
                                    (char[]){config}, __VA_ARGS__, NULL})
#define A(text) \
    (char[])    \
    {           \
        text    \
    }

static void try_commands(void)
{
    COMMAND("c.json", A("save"), A("a/b"), A("--sequence"), A("7"), A("--schema"), A("1"),
            A("--kind"), A("thing"), A("state"));
    COMMAND("c.json", A("load"), A("a/b"), A("--schema"), A("1"));
    COMMAND("c.json", A("load"), A("a/b"), A("--schema"), A("1"), A("--json"));
    COMMAND("c.json", A("load"), A("a/b"), A("--schema"), A("1"), A("--output"),
            A("copy"));
    COMMAND("c.json", A("ls"));
    COMMAND("c.json", A("ls"), A("--json"));
    COMMAND("c.json", A("verify"));
    COMMAND("c.json", A("verify"), A("--json"));
    COMMAND("c.json", A("config"));
    COMMAND("c.json", A("config"), A("--json"));
    COMMAND("c.json", A("describe"), A("file"));
    COMMAND("c.json", A("describe"), A("file"), A("--json"));
    COMMAND("noop.json", A("replay"), A("log"));
    COMMAND("noop.json", A("replay"), A("log"), A("--json"));
}

static void remove_tree(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    char below[600];

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        (void)snprintf(below, sizeof below, "%.300s/%.255s", path, entry->d_name);
        if (unlink(below) != 0)
            remove_tree(below);
    }
    if (dir != NULL)
        (void)closedir(dir);
    (void)rmdir(path);
}

int main(void)
{
    char dir[] = "/dev/shm/mako-heap.XXXXXX", other[] = "/tmp/mako-heap.XXXXXX";
    char *made = mkdtemp(dir);

    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (made == NULL)
        made = mkdtemp(other);
    if (shared == MAP_FAILED || made == NULL || chdir(made) != 0 || !prepare())
        return 2;
    try_commands();
    if (chdir("/") == 0)
        remove_tree(made);
    printf("%d failures\n", failures);
    return failures == 0 ? 0 : 1;
}

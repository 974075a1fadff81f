/* bench/child.c - see child.h.
 *
 * The child is given everything as arguments and answers with a line on its standard
 * output.  It ends when its standard input does. */
#include "child.h"
#include "contest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct child {
    pid_t pid;
    int to, from; /* pipes */
};

/* ---- in the program -----------------------------------------------------------------
 */

static int spawn(struct child *child, char **argv, const int in[2], const int out[2])
{
    posix_spawn_file_actions_t actions;
    int error = posix_spawn_file_actions_init(&actions);

    if (error != 0)
        return error;
    error = posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
    if (error == 0)
        error = posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    if (error == 0)
        error = posix_spawn(&child->pid, "/proc/self/exe", &actions, NULL, argv, environ);
    (void)posix_spawn_file_actions_destroy(&actions);
    return error;
}

static int start(struct child *child, const char *what, const struct bench_peer *peer,
                 const struct bench_peer_use *use, struct mako_error *err)
{
    char streams[24], len[24];
    const char *const argv[] = {
        "mako-bench", BENCH_CHILD, what,
        peer->name,   use->dir,    use->durable ? "durable" : "fast",
        streams,      len,         NULL};
    int in[2], out[2], error;

    (void)snprintf(streams, sizeof streams, "%zu", use->streams);
    (void)snprintf(len, sizeof len, "%zu", use->len);
    if (pipe2(in, O_CLOEXEC) != 0)
        return mako_fail(err, MAKO_E_IO, "pipe: %s", strerror(errno));
    if (pipe2(out, O_CLOEXEC) != 0) {
        (void)close(in[0]);
        (void)close(in[1]);
        return mako_fail(err, MAKO_E_IO, "pipe: %s", strerror(errno));
    }
    error = spawn(child, (char **)(uintptr_t)argv, in, out);
    (void)close(in[0]);
    (void)close(out[1]);
    child->to = in[1];
    child->from = out[0];
    if (error == 0)
        return MAKO_OK;
    (void)close(child->to);
    (void)close(child->from);
    return mako_fail(err, MAKO_E_IO, "starting a child: %s", strerror(error));
}

/* One line, without its end; what the child could not say is said on standard error. */
static int listen_to(const struct child *child, char *line, size_t room,
                     struct mako_error *err)
{
    size_t used = 0;

    while (used + 1 < room) {
        ssize_t got = read(child->from, line + used, 1);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return mako_fail(err, MAKO_E_PLUGIN, "a child ended without an answer");
        if (line[used] == '\n')
            break;
        used++;
    }
    line[used] = '\0';
    return MAKO_OK;
}

/* Let it go, or kill it; wait for its end. */
static int finish(struct child *child, bool kill_it, struct mako_error *err)
{
    int how = 0;

    if (kill_it)
        (void)kill(child->pid, SIGKILL);
    (void)close(child->to);
    (void)close(child->from);
    while (waitpid(child->pid, &how, 0) < 0)
        if (errno != EINTR)
            return mako_fail(err, MAKO_E_IO, "waiting for a child: %s", strerror(errno));
    if (kill_it || (WIFEXITED(how) && WEXITSTATUS(how) == 0))
        return MAKO_OK;
    return mako_fail(err, MAKO_E_PLUGIN, "a child failed (wait status %d)", how);
}

int bench_child_fill(const struct bench_peer *peer, const struct bench_peer_use *use,
                     bool kill_it, struct mako_error *err)
{
    struct mako_error ignored;
    struct child child;
    char line[64];
    int status = start(&child, "fill", peer, use, err), end;

    if (status != MAKO_OK)
        return status;
    status = listen_to(&child, line, sizeof line, err);
    end = finish(&child, kill_it || status != MAKO_OK, status ? &ignored : err);
    return status != MAKO_OK ? status : end;
}

/* Three numbers. */
static int read_opening(const char *line, struct bench_opening *opening,
                        struct mako_error *err)
{
    double numbers[3];
    const char *at = line;

    for (size_t i = 0; i < 3; i++) {
        char *end;

        numbers[i] = strtod(at, &end);
        if (end == at)
            return mako_fail(err, MAKO_E_PLUGIN, "a child said '%s'", line);
        at = end;
    }
    opening->ms = numbers[0];
    opening->bytes = numbers[1];
    opening->files = numbers[2];
    return MAKO_OK;
}

int bench_child_open(const struct bench_peer *peer, const struct bench_peer_use *use,
                     struct bench_opening *opening, struct mako_error *err)
{
    struct mako_error ignored;
    struct child child;
    char line[256];
    int status = start(&child, "open", peer, use, err), end;

    if (status != MAKO_OK)
        return status;
    status = listen_to(&child, line, sizeof line, err);
    if (status == MAKO_OK)
        status = read_opening(line, opening, err);
    end = finish(&child, status != MAKO_OK, status ? &ignored : err);
    return status != MAKO_OK ? status : end;
}

/* ---- in the child -------------------------------------------------------------------
 */

/* Bytes of memory that are this process's own. */
static double anonymous_bytes(void)
{
    FILE *file = fopen("/proc/self/status", "re");
    char line[128];
    double kib = 0;

    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "RssAnon:", 8) == 0) {
            kib = strtod(line + 8, NULL);
            break;
        }
    if (file)
        (void)fclose(file);
    return kib * 1024;
}

static double open_files(void)
{
    DIR *dir = opendir("/proc/self/fd");
    double count = -3; /* ".", ".." and the listing itself */

    if (!dir)
        return 0;
    while (readdir(dir))
        count++;
    (void)closedir(dir);
    return count;
}

static void await_end(void)
{
    char byte;

    while (read(STDIN_FILENO, &byte, 1) < 0 && errno == EINTR)
        ;
}

static int child_fill(const struct bench_peer *peer, const struct bench_peer_use *use,
                      const struct bench_streams *streams, struct mako_error *err)
{
    void *self;
    int status = peer->open(use, &self, err);

    if (status != MAKO_OK)
        return status;
    status = bench_peer_fill(peer, self, streams, use->len, err);
    if (status == MAKO_OK) {
        (void)puts("filled");
        (void)fflush(stdout);
        await_end();
    }
    peer->close(self);
    return status;
}

static int child_open(const struct bench_peer *peer, const struct bench_peer_use *use,
                      const struct bench_streams *streams, struct mako_error *err)
{
    double before = anonymous_bytes(), after;
    uint64_t begin = bench_now(), end;
    void *self;
    int status = peer->open(use, &self, err);

    if (status != MAKO_OK)
        return status;
    status = bench_peer_check(peer, self, 0, streams, streams->count / 2, use->len, err);
    end = bench_now();
    (void)malloc_trim(0);
    after = anonymous_bytes();
    if (status == MAKO_OK) {
        (void)printf("%.6f %.0f %.0f\n", (double)(end - begin) / 1e6, after - before,
                     open_files());
        (void)fflush(stdout);
    }
    peer->close(self);
    return status;
}

int bench_child_main(int argc, char **argv)
{
    struct mako_error err = {""};
    struct bench_streams streams = {0};
    const struct bench_peer *peer = argc == 6 ? bench_peer_find(argv[1]) : NULL;
    struct bench_peer_use use = {.threads = 1};
    int status;

    if (!peer)
        return 2;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    use.dir = argv[2];
    use.durable = strcmp(argv[3], "durable") == 0;
    use.streams = strtoull(argv[4], NULL, 10);
    use.len = strtoull(argv[5], NULL, 10);
    status = bench_streams_make(use.streams, &streams, &err);
    if (status == MAKO_OK)
        status = strcmp(argv[0], "fill") == 0 ? child_fill(peer, &use, &streams, &err)
                                              : child_open(peer, &use, &streams, &err);
    bench_streams_free(&streams);
    if (status != MAKO_OK)
        (void)fprintf(stderr, "mako-bench: a child: %s: %s\n", mako_status_name(status),
                      err.text);
    return status == MAKO_OK ? 0 : 1;
}

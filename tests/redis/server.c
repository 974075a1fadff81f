/* tests/redis/server.c - starting, asking and ending a Redis server. */
#include "server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <criterion/criterion.h>

enum {
    PATIENCE_S = 60,
    TRIES = 10
};

/* ---- asking -------------------------------------------------------------------------
 */

static struct sockaddr_in address(uint16_t port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons(port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int dial(uint16_t port)
{
    const struct sockaddr_in to = address(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 && connect(fd, (const struct sockaddr *)&to, sizeof to) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

/* Empty where nobody answers.  The answer to QUIT is left out. */
void server_ask(const struct server *server, const char *command, char *out, size_t room)
{
    char line[1024];
    size_t at = 0;
    ssize_t got = 1;
    int fd = dial(server->port), len;

    len = snprintf(line, sizeof line, "%s\r\nQUIT\r\n", command);
    if (fd >= 0 && send(fd, line, (size_t)len, MSG_NOSIGNAL) == len &&
        shutdown(fd, SHUT_WR) == 0) /* a sentinel does not know QUIT */
        while (at + 1 < room && (got = recv(fd, out + at, room - 1 - at, 0)) > 0)
            at += (size_t)got;
    if (fd >= 0)
        (void)close(fd);
    if (at >= 5 && memcmp(out + at - 5, "+OK\r\n", 5) == 0)
        at -= 5;
    out[at] = '\0';
}

/* ---- starting -----------------------------------------------------------------------
 */

/* Below the ports that the kernel gives away, so that it is still free at a restart. */
static uint16_t free_port(void)
{
    for (unsigned i = 0; i < 1000; i++) {
        struct timespec now;
        struct sockaddr_in at;
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool bound;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        at = address((uint16_t)(10000 + (now.tv_nsec / 7 + getpid() * 131) % 22000));
        bound = fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0;
        if (fd >= 0)
            (void)close(fd);
        if (bound)
            return ntohs(at.sin_port);
    }
    cr_assert_fail("no free port");
    return 0;
}

/* In the child: becomes the server, whose output is no concern of the test's readers. */
static _Noreturn void become(const struct server *server)
{
    const char *program = getenv("MAKO_TEST_REDIS_SERVER");
    const char *argv[14 + SERVER_OPTIONS] = {program ? program : "redis-server",
                                             "--bind",
                                             "127.0.0.1",
                                             "--save",
                                             "",
                                             "--appendonly",
                                             "no",
                                             "--port"};
    char port[8];
    size_t at = 8;
    int null = open("/dev/null", O_RDONLY), log;

    (void)snprintf(port, sizeof port, "%u", (unsigned)server->port);
    argv[at++] = port;
    for (size_t i = 0; i < SERVER_OPTIONS && server->options[i]; i++)
        argv[at++] = server->options[i];
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    log = chdir(server->dir) ? -1 : open("log", O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (null < 0 || log < 0 || dup2(null, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0)
        _exit(126);
    (void)execvp(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
}

static bool gone(struct server *server)
{
    int status;

    if (waitpid(server->pid, &status, WNOHANG) != server->pid)
        return false;
    cr_assert_neq(WIFEXITED(status) ? WEXITSTATUS(status) : 0, 127,
                  "redis-server is not installed (package redis-server)");
    server->pid = 0;
    return true;
}

/* Its log says so: on the port there might be another. */
static bool serves(const struct server *server)
{
    char path[300], line[512];
    unsigned ready = 0;
    FILE *log;

    (void)snprintf(path, sizeof path, "%s/log", server->dir);
    log = fopen(path, "re");
    while (log && fgets(line, sizeof line, log)) {
        const char *pid = line + strspn(line, " ");

        ready += strstr(line, "Ready to accept connections") != NULL &&
                 strtol(pid, NULL, 10) == server->pid;
    }
    if (log)
        (void)fclose(log);
    return ready > 0;
}

static bool loads(const struct server *server)
{
    char answer[64];

    server_ask(server, "PING", answer, sizeof answer);
    return strncmp(answer, "-LOADING", 8) == 0;
}

/* False: it ended instead. */
static bool launch(struct server *server, bool (*ready)(const struct server *server))
{
    const struct timespec pause = {.tv_nsec = 5000000};
    time_t end = time(NULL) + PATIENCE_S;

    server->pid = fork();
    cr_assert_geq(server->pid, 0);
    if (server->pid == 0)
        become(server);
    while (!ready(server)) {
        if (gone(server))
            return false;
        cr_assert(time(NULL) < end, "%s: the server does not get ready", server->dir);
        (void)nanosleep(&pause, NULL);
    }
    return true;
}

void server_start(struct server *server)
{
    const char *tmp = getenv("TMPDIR");

    (void)snprintf(server->dir, sizeof server->dir, "%.200s/mako-redis.XXXXXX",
                   tmp && *tmp ? tmp : "/tmp");
    cr_assert(mkdtemp(server->dir), "%s", server->dir);
    for (unsigned i = 0; i < TRIES; i++) {
        server->port = free_port();
        if (launch(server, serves))
            return;
    }
    cr_assert_fail("redis-server does not start; %s/log says why", server->dir);
}

/* The port may be taken for a moment, by a connection of somebody else. */
static void again(struct server *server, bool (*ready)(const struct server *server))
{
    const struct timespec pause = {.tv_nsec = 200000000};

    for (unsigned i = 0; i < TRIES; i++) {
        if (launch(server, ready))
            return;
        (void)nanosleep(&pause, NULL);
    }
    cr_assert_fail("redis-server does not start again; %s/log says why", server->dir);
}

void server_restart(struct server *server)
{
    again(server, serves);
}

void server_restart_loading(struct server *server)
{
    again(server, loads);
}

/* ---- ending -------------------------------------------------------------------------
 */

void server_kill(struct server *server, int signal)
{
    if (server->pid <= 0)
        return;
    (void)kill(server->pid, signal);
    (void)waitpid(server->pid, NULL, 0);
    server->pid = 0;
}

static int drop_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

void server_remove(struct server *server)
{
    server_kill(server, SIGKILL);
    if (server->dir[0])
        (void)nftw(server->dir, drop_entry, 16, FTW_DEPTH | FTW_PHYS);
}

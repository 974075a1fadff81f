/* tests/soak/proxy.c - see proxy.h.  One thread; who does not read for SEND_S is cut off,
 * so that nobody waits for ever. */
#include "proxy.h"

#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../power/trace.h"

#define LINES   200
#define CHUNK   8192
#define CUT_MAX 30000 /* bytes */
#define TICK_MS 20
#define SEND_S  2

/* A connection: the client's end and the server's. */
struct line {
    int ends[2];   /* -1: free */
    uint64_t left; /* bytes until it is cut */
};

struct net {
    struct proxy *proxy;
    int listener;
    uint16_t server_port;
    uint64_t random;
    struct line lines[LINES];
    int state; /* that left was drawn for */
};

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons(port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void hang_up(struct line *line, bool reset)
{
    const struct linger hard = {.l_onoff = 1, .l_linger = 0};

    for (int i = 0; i < 2; i++) {
        if (line->ends[i] < 0)
            continue;
        if (reset)
            (void)setsockopt(line->ends[i], SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        (void)close(line->ends[i]);
        line->ends[i] = -1;
    }
}

static int dial(uint16_t port)
{
    const struct timeval patience = {.tv_sec = SEND_S};
    const struct sockaddr_in to = loopback(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 && connect(fd, (const struct sockaddr *)&to, sizeof to) != 0) {
        (void)close(fd);
        return -1;
    }
    if (fd >= 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    return fd;
}

static void draw(struct net *net, struct line *line)
{
    line->left = random_below(&net->random, CUT_MAX);
}

static void accept_one(struct net *net)
{
    const struct timeval patience = {.tv_sec = SEND_S};
    int fd = accept4(net->listener, NULL, NULL, SOCK_CLOEXEC);
    struct line *line = net->lines;

    if (fd < 0)
        return;
    while (line < net->lines + LINES && line->ends[0] >= 0)
        line++;
    if (line == net->lines + LINES) {
        (void)close(fd);
        return;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    line->ends[0] = fd;
    line->ends[1] = dial(net->server_port);
    draw(net, line);
    if (line->ends[1] < 0)
        hang_up(line, false);
}

/* What came from one end goes to the other, or not all of it. */
static void pass(struct net *net, struct line *line, int from)
{
    char bytes[CHUNK];
    ssize_t got = recv(line->ends[from], bytes, sizeof bytes, 0);
    bool cut = net->state == PROXY_CUTS && got > 0 && (uint64_t)got >= line->left;
    size_t len = cut ? (size_t)line->left : (size_t)got;

    if (got <= 0) {
        hang_up(line, false);
        return;
    }
    line->left -= len < line->left ? len : line->left;
    if (len > 0 && send(line->ends[1 - from], bytes, len, MSG_NOSIGNAL) != (ssize_t)len)
        cut = true;
    if (!cut)
        return;
    hang_up(line, random_chance(&net->random, 50));
    (void)atomic_fetch_add(&net->proxy->cut, 1);
}

static void take_state(struct net *net)
{
    int state = atomic_load(&net->proxy->state);

    if (state == PROXY_CUTS && net->state != PROXY_CUTS)
        for (unsigned i = 0; i < LINES; i++)
            draw(net, &net->lines[i]);
    net->state = state;
}

static void turn(struct net *net)
{
    struct pollfd fds[1 + 2 * LINES] = {{.fd = net->listener, .events = POLLIN}};

    for (unsigned i = 0; i < LINES; i++)
        for (unsigned end = 0; end < 2; end++)
            fds[1 + 2 * i + end] =
                (struct pollfd){.fd = net->lines[i].ends[end], .events = POLLIN};
    (void)poll(fds, 1 + 2 * LINES, TICK_MS);
    take_state(net);
    if (net->state == PROXY_STALLS) {
        (void)nanosleep(&(struct timespec){.tv_nsec = TICK_MS * 1000000L}, NULL);
        return;
    }
    for (unsigned i = 0; i < LINES; i++)
        for (int end = 0; end < 2; end++)
            if (fds[1 + 2 * i + (unsigned)end].revents != 0 && net->lines[i].ends[0] >= 0)
                pass(net, &net->lines[i], end);
    if (fds[0].revents != 0)
        accept_one(net);
}

static _Noreturn void run(struct net *net)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (unsigned i = 0; i < LINES; i++)
        net->lines[i] = (struct line){.ends = {-1, -1}};
    for (;;)
        turn(net);
}

static int listen_somewhere(uint16_t *port)
{
    struct sockaddr_in at = loopback(0);
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&at, len) != 0 || listen(fd, 64) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &len) != 0)
        return -1;
    *port = ntohs(at.sin_port);
    return fd;
}

struct proxy *proxy_begin(uint16_t server_port, uint64_t seed)
{
    static struct net net;
    pid_t pid;
    struct proxy *proxy = mmap(NULL, sizeof *proxy, PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (proxy == MAP_FAILED)
        return NULL;
    net = (struct net){.proxy = proxy, .server_port = server_port, .random = seed};
    net.listener = listen_somewhere(&proxy->port);
    pid = net.listener < 0 ? -1 : fork();
    if (pid == 0)
        run(&net);
    proxy->pid = pid;
    if (net.listener >= 0)
        (void)close(net.listener);
    if (pid > 0)
        return proxy;
    (void)munmap(proxy, sizeof *proxy);
    return NULL;
}

void proxy_end(struct proxy *proxy)
{
    if (!proxy)
        return;
    (void)kill(proxy->pid, SIGKILL);
    (void)waitpid(proxy->pid, NULL, 0);
    (void)munmap(proxy, sizeof *proxy);
}

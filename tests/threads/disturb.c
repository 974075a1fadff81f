/* One connection of a thread's own, on which it says CLIENT KILL. */
#include "disturb.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "amounts.h"

enum {
    PAUSE_MAX = 3000000 /* nanoseconds */
};

static struct {
    pthread_t thread;
    int fd;
    uint64_t seed;
    unsigned hung_up;
    atomic_bool over;
} one;

static int connect_to(const char *endpoint)
{
    const char *port = endpoint ? strrchr(endpoint, ':') : NULL;
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    to.sin_port = htons((uint16_t)(port ? strtoul(port + 1, NULL, 10) : 0));
    if (fd < 0 || connect(fd, (const struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    (void)close(fd);
    return -1;
}

static void *hang_up(void *arg)
{
    static const char order[] = "CLIENT KILL TYPE normal SKIPME yes\r\n";
    char answer[32];

    while (!atomic_load(&one.over)) {
        struct timespec pause = {.tv_nsec = (long)(draw(&one.seed) % PAUSE_MAX)};
        ssize_t got;

        if (send(one.fd, order, sizeof order - 1, MSG_NOSIGNAL) < 0 ||
            (got = recv(one.fd, answer, sizeof answer - 1, 0)) <= 0)
            break;
        answer[got] = '\0';
        one.hung_up += answer[0] == ':' && strtoul(answer + 1, NULL, 10) > 0;
        (void)nanosleep(&pause, NULL);
    }
    return arg;
}

bool disturb_begin(uint64_t seed)
{
    one.seed = seed;
    one.hung_up = 0;
    one.over = false;
    one.fd = connect_to(getenv("MAKO_TEST_REDIS"));
    if (one.fd >= 0 && pthread_create(&one.thread, NULL, hang_up, NULL) == 0)
        return true;
    (void)fprintf(stderr, "MAKO_TEST_REDIS names no server: %s\n", strerror(errno));
    return false;
}

unsigned disturb_end(void)
{
    atomic_store(&one.over, true);
    (void)pthread_join(one.thread, NULL);
    (void)close(one.fd);
    return one.hung_up;
}

/* tests/faults/sockets.c - see sockets.h. */
#include "sockets.h"

#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>

static _Thread_local struct {
    bool armed, fired;
    enum socket_call call;
    long left;
    int error;
} plan;

void sockets_fail(enum socket_call call, long nth, int error)
{
    plan.armed = true;
    plan.fired = false;
    plan.call = call;
    plan.left = nth;
    plan.error = error;
}

bool sockets_heal(void)
{
    plan.armed = false;
    return plan.fired;
}

/* Count a call; 0, or how it should fail. */
static int count(enum socket_call call)
{
    if (!plan.armed || plan.call != call || --plan.left != 0)
        return 0;
    plan.fired = true;
    return plan.error;
}

static int fail_with(int error)
{
    errno = error;
    return -1;
}

static void *next_of(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

int socket(int domain, int type, int protocol)
{
    union {
        void *symbol;
        int (*call)(int, int, int);
    } next = {.symbol = next_of("socket")};
    int error = count(CALL_SOCKET);

    return error != 0 ? fail_with(error) : next.call(domain, type, protocol);
}

int connect(int fd, __CONST_SOCKADDR_ARG address, socklen_t len)
{
    union {
        void *symbol;
        int (*call)(int, const struct sockaddr *, socklen_t);
    } next = {.symbol = next_of("connect")};
    int error = count(CALL_CONNECT);

    return error != 0 ? fail_with(error) : next.call(fd, address.__sockaddr__, len);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    union {
        void *symbol;
        int (*call)(int, int, int, const void *, socklen_t);
    } next = {.symbol = next_of("setsockopt")};
    int error = count(CALL_SETSOCKOPT);

    return error != 0 ? fail_with(error) : next.call(fd, level, name, value, len);
}

/* message with one byte of room. */
static struct msghdr one_byte(const struct msghdr *message, struct iovec *part)
{
    struct msghdr less = *message;

    *part = message->msg_iov[0];
    part->iov_len = part->iov_len > 0;
    less.msg_iov = part;
    less.msg_iovlen = 1;
    return less;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    union {
        void *symbol;
        ssize_t (*call)(int, const struct msghdr *, int);
    } next = {.symbol = next_of("sendmsg")};
    int error = count(CALL_SENDMSG);
    struct msghdr less;
    struct iovec part;

    if (error > 0)
        return fail_with(error);
    if (error == 0)
        return next.call(fd, message, flags);
    less = one_byte(message, &part);
    return next.call(fd, &less, flags);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    union {
        void *symbol;
        ssize_t (*call)(int, struct msghdr *, int);
    } next = {.symbol = next_of("recvmsg")};
    int error = count(CALL_RECVMSG);
    struct msghdr less;
    struct iovec part;

    if (error > 0)
        return fail_with(error);
    if (error == 0)
        return next.call(fd, message, flags);
    less = one_byte(message, &part);
    return next.call(fd, &less, flags);
}

int poll(struct pollfd *entries, nfds_t count_of, int timeout)
{
    union {
        void *symbol;
        int (*call)(struct pollfd *, nfds_t, int);
    } next = {.symbol = next_of("poll")};
    int error = count(CALL_POLL);

    return error != 0 ? fail_with(error) : next.call(entries, count_of, timeout);
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **list)
{
    union {
        void *symbol;
        int (*call)(const char *, const char *, const struct addrinfo *,
                    struct addrinfo **);
    } next = {.symbol = next_of("getaddrinfo")};
    int error = count(CALL_GETADDRINFO);

    return error != 0 ? error : next.call(node, service, hints, list);
}

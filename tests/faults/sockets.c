/* tests/faults/sockets.c - see sockets.h. */
#include "sockets.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>

static _Thread_local struct {
    bool armed, fired;
    enum socket_call call;
    long first, last, seen; /* calls with these numbers fail */
    int error;
} plan;

void sockets_fail(enum socket_call call, long nth, long times, int error)
{
    plan.armed = true;
    plan.fired = false;
    plan.call = call;
    plan.first = nth;
    plan.last = nth + times - 1;
    plan.seen = 0;
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
    if (!plan.armed || plan.call != call)
        return 0;
    plan.seen++;
    if (plan.seen < plan.first || plan.seen > plan.last)
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

/* What waits for a connect() is to be tried: then each goes on in the background, as on a
 * slower network. */
static bool takes_time(int error)
{
    return error == EINTR ||
           (plan.armed && (plan.call == CALL_POLL || plan.call == CALL_GETSOCKOPT));
}

int connect(int fd, __CONST_SOCKADDR_ARG address, socklen_t len)
{
    union {
        void *symbol;
        int (*call)(int, const struct sockaddr *, socklen_t);
    } next = {.symbol = next_of("connect")};
    int error = count(CALL_CONNECT);

    if (takes_time(error)) {
        if (next.call(fd, address.__sockaddr__, len) != 0 && errno != EINPROGRESS)
            return -1;
        return fail_with(error != 0 ? error : EINPROGRESS);
    }
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

int getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
    union {
        void *symbol;
        int (*call)(int, int, int, void *, socklen_t *);
    } next = {.symbol = next_of("getsockopt")};
    int error = count(CALL_GETSOCKOPT);

    return error != 0 ? fail_with(error) : next.call(fd, level, name, value, len);
}

/* Commands here take a number or nothing. */
static int control(int fd, int command, long value)
{
    union {
        void *symbol;
        int (*call)(int, int, ...);
    } next = {.symbol = next_of("fcntl")};
    int error = count(CALL_FCNTL);

    return error != 0 ? fail_with(error) : next.call(fd, command, value);
}

int fcntl(int fd, int command, ...)
{
    va_list args;
    long value;

    va_start(args, command);
    value = va_arg(args, long);
    va_end(args);
    return control(fd, command, value);
}

/* What fcntl() is where files may be large, as hiredis asks for. */
int fcntl64(int fd, int command, ...)
{
    va_list args;
    long value;

    va_start(args, command);
    value = va_arg(args, long);
    va_end(args);
    return control(fd, command, value);
}

int close(int fd)
{
    union {
        void *symbol;
        int (*call)(int);
    } next = {.symbol = next_of("close")};
    int error = count(CALL_CLOSE), result = next.call(fd);

    return error != 0 ? fail_with(error) : result;
}

ssize_t recv(int fd, void *bytes, size_t len, int flags)
{
    union {
        void *symbol;
        ssize_t (*call)(int, void *, size_t, int);
    } next = {.symbol = next_of("recv")};
    int error = count(CALL_RECV);

    return error != 0 ? fail_with(error) : next.call(fd, bytes, len, flags);
}

/* sendmsg() and recvmsg(), whose name says which: as a whole, or its first byte. */
static ssize_t move(enum socket_call which, const char *name, int fd,
                    struct msghdr *message, int flags)
{
    union {
        void *symbol;
        ssize_t (*call)(int, struct msghdr *, int);
    } next = {.symbol = next_of(name)};
    int error = count(which);
    struct iovec first;

    if (error > 0)
        return fail_with(error);
    if (error < 0 && message->msg_iovlen > 0) {
        first = message->msg_iov[0];
        first.iov_len = first.iov_len > 0;
        message->msg_iov = &first;
        message->msg_iovlen = 1;
    }
    return next.call(fd, message, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    struct msghdr copy = *message;

    return move(CALL_SENDMSG, "sendmsg", fd, &copy, flags);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    struct msghdr copy = *message;
    ssize_t got = move(CALL_RECVMSG, "recvmsg", fd, &copy, flags);

    message->msg_flags = copy.msg_flags;
    message->msg_controllen = copy.msg_controllen;
    return got;
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

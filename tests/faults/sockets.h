/* tests/faults/sockets.h - calls on sockets that fail on demand.  They stand in the test
 * program under the C library's names; what counts is what this thread calls. */
#ifndef MAKO_TESTS_FAULTS_SOCKETS_H
#define MAKO_TESTS_FAULTS_SOCKETS_H

#include <limits.h>
#include <stdbool.h>

enum socket_call {
    CALL_SOCKET,
    CALL_CONNECT,
    CALL_SENDMSG,
    CALL_RECVMSG,
    CALL_POLL,
    CALL_SETSOCKOPT,
    CALL_GETADDRINFO,
    CALL_GETSOCKOPT,
    CALL_FCNTL,
    CALL_RECV,
    CALL_CLOSE /* it closes, and fails all the same, as the kernel's does */
};

#define SOCKETS_FOREVER (LONG_MAX / 2)

/* The nth of these calls from now on (1 is the next) fails with error, which for
 * CALL_GETADDRINFO is its own, and times of them in a row.  -1: it moves one byte. */
void sockets_fail(enum socket_call call, long nth, long times, int error);
/* No more of that; whether one has failed. */
bool sockets_heal(void);

#endif

/* tests/soak/proxy.h - a network between clients and a server, in a process of its own,
 * that passes bytes on and can be broken. */
#ifndef MAKO_TESTS_SOAK_PROXY_H
#define MAKO_TESTS_SOAK_PROXY_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

enum proxy_state {
    PROXY_WELL,
    PROXY_CUTS,  /* each connection ends after some bytes, by a close or a reset */
    PROXY_STALLS /* nothing is passed on; it comes later */
};

struct proxy {
    pid_t pid;
    uint16_t port;
    _Atomic int state;
    _Atomic uint64_t cut; /* connections, so far */
};

/* NULL where it cannot be. */
struct proxy *proxy_begin(uint16_t server_port, uint64_t seed);
void proxy_end(struct proxy *proxy);

#endif

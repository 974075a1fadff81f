/* tests/redis/proxy.h - a broken network between a store and its server, or a server that
 * lies: a thread of the test that passes bytes on until it is told otherwise.
 *
 * What it does is set by one thread while no call is going on. */
#ifndef MAKO_TESTS_REDIS_PROXY_H
#define MAKO_TESTS_REDIS_PROXY_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What happens to a connection from now on. */
enum proxy_fault {
    PROXY_PASS,
    PROXY_SWALLOW,      /* nothing comes through any more, neither way */
    PROXY_MUTE,         /* the server hears everything, and is not heard */
    PROXY_RESET,        /* the client gets a reset */
    PROXY_CLOSE,        /* the client gets an end, the server is hung up on */
    PROXY_HALF_CLOSE,   /* the client gets an end, and goes on being heard */
    PROXY_CUT_ANSWER,   /* half of the next answer, then an end */
    PROXY_RESET_ANSWER, /* half of the next answer, then a reset */
    PROXY_DRIP,         /* answers come a byte at a time, with pauses between */
    PROXY_TWICE,        /* every answer comes twice */
    PROXY_FLIP,         /* the bits of flip are changed in byte at of the next answers */
    PROXY_HOLD /* what the client says, from a request with the words hold on, is kept
                  until the rule changes, also when the client is gone */
};

/* What the proxy says itself, once a request holds these words. */
struct proxy_lie {
    const char *words; /* NULL: it says nothing itself */
    const char *text;
    size_t len;
    bool endless; /* goes on with text for ever */
    bool close;   /* hangs up behind it */
};

struct proxy_rule {
    enum proxy_fault fault;
    size_t after; /* so many bytes from the client pass first */
    bool once;    /* later connections are spared */
    size_t at;    /* for PROXY_FLIP */
    uint8_t flip; /* likewise */
    struct proxy_lie lie;
    const char *from, *to; /* replaced in requests, of equal length; or NULL */
    const char *hold;      /* for PROXY_HOLD */
};

struct proxy;

struct proxy *proxy_start(uint16_t server_port);
uint16_t proxy_port(const struct proxy *proxy);
void proxy_rule(struct proxy *proxy, const struct proxy_rule *rule);
/* How many connections are held. */
unsigned proxy_held(const struct proxy *proxy);
/* Lets all pass, and waits until the server has read what was held, to its end, and hung
 * up; whose it was has hung up already. */
void proxy_release(struct proxy *proxy);
/* Ends all connections; the stores on them are closed already. */
void proxy_stop(struct proxy *proxy);

#endif

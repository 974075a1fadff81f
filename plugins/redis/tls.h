/* plugins/redis/tls.h - TLS by way of hiredis_ssl and OpenSSL, or its absence.  Knows
 * sockets and nothing of Redis. */
#ifndef MAKO_REDIS_TLS_H
#define MAKO_REDIS_TLS_H

#include <sys/types.h>

#include "settings.h"

struct tls;      /* of a store: what is trusted, our own certificate */
struct tls_link; /* of one connection */

struct tls_setup {
    const char *ca, *cert, *key; /* files; NULL: the system's trust, no certificate */
    const char *verify_name;     /* instead of the endpoint's host; NULL: that host */
};

/* E_UNSUPPORTED where this build has no TLS. */
int tls_new(const struct tls_setup *setup, struct tls **tls, struct mako_error *err);
void tls_free(struct tls *tls);

/* What a call found out beside its result. */
struct tls_need {
    short events;  /* poll for these and call again; 0: it is over */
    bool closed;   /* by the other side */
    char why[160]; /* of a failure */
};

/* A link on a connected, non-blocking socket, which stays the caller's. */
struct tls_link *tls_start(struct tls *tls, int fd, const char *host,
                           struct tls_need *need);
void tls_stop(struct tls_link *link);
/* True once the peer is who it should be. */
bool tls_handshake(struct tls_link *link, struct tls_need *need);
/* Bytes moved; -1: look at need. */
ssize_t tls_read(struct tls_link *link, void *to, size_t len, struct tls_need *need);
ssize_t tls_write(struct tls_link *link, const void *from, size_t len,
                  struct tls_need *need);
/* Nothing to read and the peer is there. */
bool tls_quiet(struct tls_link *link);

#endif

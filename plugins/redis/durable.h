/* plugins/redis/durable.h - what a server is asked before a save may be called durable:
 * how it is set up (now and then), and whether this very save got there. */
#ifndef MAKO_REDIS_DURABLE_H
#define MAKO_REDIS_DURABLE_H

#include "conn.h"

/* What one server can be believed. */
struct proof {
    bool proven;      /* a save can be made safe against a power cut */
    bool waitaof;     /* there is WAITAOF, to be asked for with each save */
    bool slow;        /* where there is, it may wait for a flush each second */
    char reason[320]; /* why not proven, with the server's name */
};

/* One round trip.  False: the connection failed, or the server is still loading. */
bool durable_prove(const struct settings *settings, struct conn *conn, int64_t deadline,
                   struct proof *proof, struct trouble *trouble);

/* How a save waits for disk and replicas. */
struct wait {
    bool waitaof;  /* the server knows WAITAOF */
    int64_t ms;    /* what the server may take */
    int64_t limit; /* of the whole operation */
    bool asked;    /* there is an answer to take */
    bool twice;    /* and one before it */
    bool alone;    /* set by the answer: replicas are missing */
};

/* Behind the writes of an exchange: ask for what the store needs. */
void durable_ask(const struct settings *settings, struct conn *conn, struct wait *wait);
/* Takes the answer, if there is one.  False: the connection failed, or TROUBLE_UNSAFE. */
bool durable_heard(const struct settings *settings, struct conn *conn, struct wait *wait,
                   struct trouble *trouble);

#endif

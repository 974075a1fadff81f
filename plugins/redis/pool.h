/* plugins/redis/pool.h - one server (a node) and the connections to it.
 *
 * A session is a connection that is logged in.  At most pool_max are out or idle for a
 * node, and who must wait for one is served in turn; idle ones are looked at before they
 * are lent.  A node that cannot be reached is tried by one caller at a time, the others
 * hear at once what that one found. */
#ifndef MAKO_REDIS_POOL_H
#define MAKO_REDIS_POOL_H

#include "durable.h"

struct node;

struct session {
    struct conn *conn;
    struct node *node;
    struct session *next;
    uint64_t epoch;
    int64_t idle_since, proven_at;
    struct proof proof;
    unsigned scripts; /* bits: those that its server got on this connection */
    bool asked_transactions, transactions; /* whether MULTI and EXEC may be used */
};

/* References are counted; the caller of node_new() has one. */
struct node *node_new(const struct settings *settings, const struct endpoint *endpoint);
struct node *node_ref(struct node *node);
void node_unref(struct node *node);
const struct endpoint *node_endpoint(const struct node *node);

/* A session, which holds a reference to its node, or false and trouble. */
bool node_borrow(struct node *node, int64_t deadline, struct session **session,
                 struct trouble *trouble);
/* Back to the pool, or closed where it is of no use any more. */
void node_return(struct session *session);
/* The server is not what it was: no session of before is lent again. */
void node_drop(struct node *node, const struct trouble *why);
/* It did not answer lately. */
bool node_suspect(const struct node *node);

/* A session of its own beside the pool, which node_return() closes. */
bool node_private(struct node *node, int64_t deadline, struct session **session,
                  struct trouble *trouble);

/* Before a save: true where this server can be believed, asking it where that was not
 * done lately.  TROUBLE_BROKEN: it cannot. */
bool session_believed(struct session *session, int64_t deadline, struct trouble *trouble);
/* How to wait for a save that must be done before limit: not for long where replicas
 * were missing just now. */
struct wait session_wait(const struct session *session, int64_t limit);
/* durable_heard(), and what it says of replicas noted. */
bool session_heard(const struct session *session, struct wait *wait,
                   struct trouble *trouble);

/* Log in on a fresh connection: AUTH, SELECT, a name, and where need_master the role. */
bool session_login(const struct settings *settings, struct conn *conn,
                   const struct credentials *login, bool need_master, int64_t deadline,
                   struct trouble *trouble);
/* ROLE, where it may be asked, must say master.  Behind conn_begin(). */
bool session_check_master(struct conn *conn, struct trouble *trouble);

#endif

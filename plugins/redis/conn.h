/* plugins/redis/conn.h - one connection: commands out, answers in, all of it to one
 * deadline, every length that a server sends bounded, no signal ever.
 *
 * hiredis parses the answers; bytes are ours: a payload goes out from where the caller
 * has it and comes in to where the caller wants it.  An exchange is: conn_begin(), one
 * or more commands, conn_send(), then exactly one answer taken for each command.  After
 * a false nothing more can be done with the connection but ask why and close it. */
#ifndef MAKO_REDIS_CONN_H
#define MAKO_REDIS_CONN_H

#include "codec.h"
#include "reply.h"
#include "settings.h"

struct conn;

/* Connects (and shakes hands where the store has TLS) before deadline, or sets trouble.
 * No more than settings->connect_timeout for each address. */
struct conn *conn_open(const struct settings *settings, const struct endpoint *endpoint,
                       int64_t deadline, struct trouble *trouble);
/* Unsent bytes of a broken exchange are thrown away, not delivered later. */
void conn_close(struct conn *conn);

const struct endpoint *conn_endpoint(const struct conn *conn);
const char *conn_name(const struct conn *conn); /* of the endpoint, for messages */

/* Nothing failed, nothing owed, nothing came that was not asked for, peer there. */
bool conn_usable(struct conn *conn);
/* The same without looking at the socket. */
bool conn_clean(const struct conn *conn);

/* asking: each command goes behind an ASKING. */
void conn_begin(struct conn *conn, int64_t deadline, bool asking);
/* Another deadline, for the answers that are still to come. */
void conn_extend(struct conn *conn, int64_t deadline);
void conn_command(struct conn *conn, const char *name, size_t args);
void conn_arg(struct conn *conn, const void *bytes, size_t len);
void conn_arg_text(struct conn *conn, const char *text);
void conn_arg_number(struct conn *conn, int64_t number);
/* One argument of two parts; the second is not copied where it is long, and must stay
 * until conn_send() returns. */
void conn_arg_pair(struct conn *conn, const void *head, size_t head_len, const void *body,
                   size_t body_len);
/* Bytes are on their way, or are in this program's socket: the outcome is open. */
bool conn_sent(const struct conn *conn);
/* All that was said so far; conn_flush() where more is to follow, so that the server has
 * something to do meanwhile, and conn_flush_some() the same where it is enough for that.
 */
bool conn_flush(struct conn *conn);
bool conn_flush_some(struct conn *conn);
bool conn_send(struct conn *conn);
/* Forget what was said, secrets in it. */
void conn_wipe(struct conn *conn);

/* The next answer, whole; the caller frees it.  NULL: the connection failed. */
struct reply *conn_reply(struct conn *conn);
void reply_free(struct reply *reply);
/* The next answer where a long string is expected.  True and *other NULL: *len bytes
 * follow, all of which must be taken with conn_take() or conn_skip(); true and *other
 * set: it was something else. */
bool conn_bulk(struct conn *conn, size_t *len, struct reply **other);
bool conn_take(struct conn *conn, void *to, size_t len);
bool conn_skip(struct conn *conn, size_t len);

/* Why the connection failed.  Always false, for return. */
bool conn_trouble(const struct conn *conn, struct trouble *trouble);
/* The other side broke the protocol above the level of this file. */
void conn_distrust(struct conn *conn, const char *why);

#endif

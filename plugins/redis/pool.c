/* plugins/redis/pool.c - nodes, their pools, and logging in. */
#include "pool.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "jitter.h"

#define SECRET_MAX 1024u
#define SHORT_MS   1000
#define SHORT_WAIT 100
/* Without wait_timeout; the long one is for a flush each second, and a replica that tells
 * each second of its own. */
#define USUAL_WAIT 1500
#define LONG_WAIT  4000

/* One who waits for a session. */
struct waiter {
    pthread_cond_t turn;
    struct waiter *next;
};

struct node {
    const struct settings *settings;
    struct endpoint endpoint;
    atomic_uint refs;
    pthread_mutex_t lock;
    struct waiter *waiters; /* the longest first */
    struct session *idle;   /* the last used first */
    int64_t total;          /* idle, lent, and being made */
    atomic_uint_fast64_t epoch;
    atomic_bool down;
    bool lost; /* a connection was found broken */
    int64_t retry_at, pause;
    struct trouble why;              /* while down */
    atomic_int_fast64_t short_until; /* of replicas */
};

/* ---- a node's life ------------------------------------------------------------------
 */

struct node *node_new(const struct settings *settings, const struct endpoint *endpoint)
{
    struct node *node = calloc(1, sizeof *node);

    if (node == NULL)
        return NULL;
    node->settings = settings;
    node->endpoint = *endpoint;
    atomic_init(&node->refs, 1);
    atomic_init(&node->epoch, 0);
    atomic_init(&node->down, false);
    atomic_init(&node->short_until, 0);
    pthread_mutex_init(&node->lock, NULL);
    return node;
}

struct node *node_ref(struct node *node)
{
    atomic_fetch_add_explicit(&node->refs, 1, memory_order_relaxed);
    return node;
}

/* Idle sessions hold no reference, so that the last one out closes them. */
static void session_free(struct session *session)
{
    conn_close(session->conn);
    free(session);
}

static void close_idle(struct session *idle)
{
    while (idle != NULL) {
        struct session *next = idle->next;

        session_free(idle);
        idle = next;
    }
}

void node_unref(struct node *node)
{
    if (node == NULL ||
        atomic_fetch_sub_explicit(&node->refs, 1, memory_order_acq_rel) != 1)
        return;
    close_idle(node->idle);
    pthread_mutex_destroy(&node->lock);
    free(node);
}

const struct endpoint *node_endpoint(const struct node *node)
{
    return &node->endpoint;
}

bool node_suspect(const struct node *node)
{
    return atomic_load_explicit(&node->down, memory_order_relaxed);
}

/* ---- logging in ----------------------------------------------------------------------
 */

/* The password as it is now, a file's first line; the length, or -1. */
static ssize_t read_secret(const struct credentials *login, char out[SECRET_MAX],
                           struct trouble *trouble)
{
    ssize_t got;
    int fd;

    if (login->password_file == NULL)
        return snprintf(out, SECRET_MAX, "%s", login->password);
    fd = open(login->password_file, O_RDONLY | O_CLOEXEC);
    got = fd < 0 ? -1 : read(fd, out, SECRET_MAX - 1);
    if (got < 0)
        (void)trouble_set(trouble, TROUBLE_DENIED, "%.200s: %s", login->password_file,
                          strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    if (got < 0)
        return -1;
    out[got] = '\0';
    return (ssize_t)strcspn(out, "\r\n");
}

/* What does not need an answer of its own goes along with the AUTH. */
static void say_login(const struct settings *settings, struct conn *conn,
                      const struct credentials *login, const char *secret,
                      size_t secret_len, bool select)
{
    if (secret_len > 0) {
        conn_command(conn, "AUTH", login->username != NULL ? 2 : 1);
        if (login->username != NULL)
            conn_arg_text(conn, login->username);
        conn_arg(conn, secret, secret_len);
    }
    if (select) {
        conn_command(conn, "SELECT", 1);
        conn_arg_number(conn, settings->db);
    }
    conn_command(conn, "CLIENT", 2);
    conn_arg_text(conn, "SETNAME");
    conn_arg_text(conn, "mako-snapshot");
}

/* An answer that must not be an error. */
static bool expect_ok(struct conn *conn, struct trouble *trouble)
{
    struct reply *reply = conn_reply(conn);
    bool ok = reply != NULL && reply->type != REPLY_ERROR;

    if (reply == NULL)
        (void)conn_trouble(conn, trouble);
    else if (!ok)
        (void)trouble_answer(trouble, conn_name(conn), reply->text, reply->len);
    reply_free(reply);
    return ok;
}

/* The answer to a name, which need not be given; a server that has no room for another
 * client says so here. */
static bool hear_name(struct conn *conn, struct trouble *trouble)
{
    struct reply *reply = conn_reply(conn);
    bool turned_away;

    if (reply == NULL)
        return conn_trouble(conn, trouble);
    turned_away = reply->type == REPLY_ERROR &&
                  !trouble_answer(trouble, conn_name(conn), reply->text, reply->len) &&
                  trouble->kind == TROUBLE_AWAY;
    reply_free(reply);
    return !turned_away;
}

static bool try_login(const struct settings *settings, struct conn *conn,
                      const struct credentials *login, const char *secret,
                      size_t secret_len, struct trouble *trouble)
{
    bool select = settings->db != 0 && login == &settings->login;
    bool known = true, selected = true, told, sent;
    struct trouble other;

    say_login(settings, conn, login, secret, secret_len, select);
    sent = conn_send(conn);
    conn_wipe(conn);
    if (!sent)
        return conn_trouble(conn, trouble);
    if (secret_len > 0)
        known = expect_ok(conn, trouble);
    if (!known && trouble->kind < TROUBLE_MOVED)
        return false;
    if (select)
        selected = expect_ok(conn, known ? trouble : &other);
    told = hear_name(conn, known && selected ? trouble : &other);
    return known && selected && told;
}

/* A password in a file may have been changed just now: look once more. */
static bool authenticate(const struct settings *settings, struct conn *conn,
                         const struct credentials *login, int64_t deadline,
                         struct trouble *trouble)
{
    char secret[SECRET_MAX] = "", before[SECRET_MAX] = "";
    bool has = login->password != NULL || login->password_file != NULL;
    ssize_t len_before = -1;
    bool done = false;

    for (int tries = 0; tries < 2 && !done; tries++) {
        ssize_t len = has ? read_secret(login, secret, trouble) : 0;

        if (len < 0 || (len == len_before && memcmp(secret, before, (size_t)len) == 0))
            break;
        memcpy(before, secret, sizeof secret);
        len_before = len;
        conn_begin(conn, deadline, false);
        done = try_login(settings, conn, login, secret, (size_t)len, trouble);
        if (!done && trouble->kind != TROUBLE_DENIED)
            break;
    }
    explicit_bzero(secret, sizeof secret);
    explicit_bzero(before, sizeof before);
    return done;
}

bool session_check_master(struct conn *conn, struct trouble *trouble)
{
    struct reply *reply;
    const struct reply *role;
    bool fine = true;

    conn_command(conn, "ROLE", 0);
    if (!conn_send(conn) || (reply = conn_reply(conn)) == NULL)
        return conn_trouble(conn, trouble);
    role = reply_item(reply, 0);
    if (role != NULL && !reply_says(role, "master"))
        fine = trouble_set(trouble, TROUBLE_READONLY, "%.110s: is not a master now",
                           conn_name(conn));
    reply_free(reply);
    return fine;
}

bool session_login(const struct settings *settings, struct conn *conn,
                   const struct credentials *login, bool need_master, int64_t deadline,
                   struct trouble *trouble)
{
    if (!authenticate(settings, conn, login, deadline, trouble))
        return false;
    if (!need_master)
        return true;
    conn_begin(conn, deadline, false);
    return session_check_master(conn, trouble);
}

/* ---- waiting --------------------------------------------------------------------------
 *
 * First come, first served: who gives a session back and wants one again waits behind
 * those who wait already.
 */

static void init_cond(pthread_cond_t *cond)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}

/* Locked.  One may be lent, or made. */
static bool available(const struct node *node)
{
    return node->idle != NULL || node->total < node->settings->pool_max;
}

/* Locked.  Wakes the one who waits longest, if there is something for him.  When he has
 * it he does the same for the next. */
static void call_next(struct node *node)
{
    if (node->waiters != NULL && available(node))
        pthread_cond_signal(&node->waiters->turn);
}

/* Locked; false: the deadline passed. */
static bool wait_turn(struct node *node, int64_t deadline)
{
    struct timespec until = {.tv_sec = (time_t)(deadline / 1000),
                             .tv_nsec = (long)(deadline % 1000) * 1000000};
    struct waiter self = {.next = NULL}, **at = &node->waiters;
    bool in_time = true;

    if (node->waiters == NULL && available(node))
        return true;
    init_cond(&self.turn);
    while (*at != NULL)
        at = &(*at)->next;
    *at = &self;
    while (in_time && !(node->waiters == &self && available(node)))
        in_time = pthread_cond_timedwait(&self.turn, &node->lock, &until) != ETIMEDOUT;
    for (at = &node->waiters; *at != &self;)
        at = &(*at)->next;
    *at = self.next;
    pthread_cond_destroy(&self.turn);
    return in_time;
}

/* ---- making sessions ------------------------------------------------------------------
 */

/* A server that was away just now gets less time to answer than another. */
static int64_t soon(const struct node *node, int64_t deadline)
{
    const struct settings *settings = node->settings;
    int64_t at = now_ms() + settings->connect_timeout;

    if (!node_suspect(node))
        at += settings->io_timeout;
    return at < deadline ? at : deadline;
}

static struct session *make(struct node *node, int64_t deadline, struct trouble *trouble)
{
    const struct settings *settings = node->settings;
    struct session *session = calloc(1, sizeof *session);
    bool sentinel = settings->mode == MODE_SENTINEL;

    if (session == NULL) {
        (void)trouble_set(trouble, TROUBLE_NOMEM, "no memory");
        return NULL;
    }
    deadline = soon(node, deadline);
    session->node = node;
    session->epoch = atomic_load(&node->epoch);
    session->conn = conn_open(settings, &node->endpoint, deadline, trouble);
    if (session->conn == NULL || !session_login(settings, session->conn, &settings->login,
                                                sentinel, deadline, trouble)) {
        session_free(session);
        return NULL;
    }
    return session;
}

/* Locked.  While the node is down, one caller at a time may try. */
static bool may_try(struct node *node, struct trouble *trouble)
{
    int64_t now = now_ms();

    if (!atomic_load(&node->down))
        return true;
    if (now < node->retry_at) {
        *trouble = node->why;
        return false;
    }
    node->retry_at = now + node->settings->connect_timeout + node->settings->io_timeout;
    return true;
}

/* Locked: what came of trying.  That memory ran out here says nothing of the server. */
static void note_try(struct node *node, const struct trouble *failed)
{
    const struct settings *settings = node->settings;

    if (failed == NULL) {
        if (atomic_exchange(&node->down, false) || node->lost)
            tally_add(&settings->tally->reconnects, 1);
        node->lost = false;
        node->pause = 0;
        node->retry_at = 0; /* lost again, it may be tried at once */
        return;
    }
    if (failed->kind == TROUBLE_NOMEM) {
        node->retry_at = 0;
        return;
    }
    node->pause = jitter_double(node->pause, settings->retry_base, settings->retry_max);
    node->retry_at = now_ms() + jitter(node->pause);
    node->why = *failed;
    atomic_store(&node->down, true);
}

/* Locked when called and when it returns; the node's total counts the new one. */
static struct session *make_unlocked(struct node *node, int64_t deadline,
                                     struct trouble *trouble)
{
    struct session *session;

    if (!may_try(node, trouble))
        return NULL;
    node->total++;
    call_next(node);
    pthread_mutex_unlock(&node->lock);
    session = make(node, deadline, trouble);
    pthread_mutex_lock(&node->lock);
    note_try(node, session != NULL ? NULL : trouble);
    if (session == NULL)
        node->total--;
    return session;
}

/* ---- lending -------------------------------------------------------------------------
 */

/* Locked.  An idle session that still works, or NULL. */
static struct session *take_idle(struct node *node)
{
    int64_t now = now_ms();

    while (node->idle != NULL) {
        struct session *session = node->idle;

        node->idle = session->next;
        if (session->epoch == atomic_load(&node->epoch) &&
            now - session->idle_since < node->settings->pool_idle) {
            if (conn_usable(session->conn))
                return session;
            node->lost = true;
        }
        session_free(session);
        node->total--;
    }
    return NULL;
}

bool node_borrow(struct node *node, int64_t deadline, struct session **out,
                 struct trouble *trouble)
{
    struct session *session = NULL;

    pthread_mutex_lock(&node->lock);
    if (wait_turn(node, deadline)) {
        session = take_idle(node);
        if (session == NULL)
            session = make_unlocked(node, deadline, trouble);
    } else {
        (void)trouble_set(trouble, TROUBLE_AWAY,
                          "%.110s: all %lld connections are in use (pool_max)",
                          node->endpoint.host, (long long)node->settings->pool_max);
    }
    call_next(node);
    pthread_mutex_unlock(&node->lock);
    if (session == NULL)
        return false;
    (void)node_ref(node);
    *out = session;
    return true;
}

bool node_private(struct node *node, int64_t deadline, struct session **out,
                  struct trouble *trouble)
{
    struct session *session = make(node, deadline, trouble);

    if (session == NULL)
        return false;
    session->epoch = UINT64_MAX;
    (void)node_ref(node);
    *out = session;
    return true;
}

/* Locked.  Those that were not used for pool_idle, the last of the list, taken out. */
static struct session *take_expired(struct node *node)
{
    int64_t limit = now_ms() - node->settings->pool_idle;
    struct session **at = &node->idle, *expired;

    while (*at != NULL && (*at)->idle_since > limit)
        at = &(*at)->next;
    expired = *at;
    *at = NULL;
    for (struct session *each = expired; each != NULL; each = each->next)
        node->total--;
    return expired;
}

/* The last lock of a session's node before it may go.  What is to be closed now. */
static struct session *keep(struct node *node, struct session *session)
{
    struct session *useless = session;

    session->next = NULL;
    if (session->epoch == UINT64_MAX)
        return session;
    pthread_mutex_lock(&node->lock);
    if (session->epoch == atomic_load(&node->epoch)) {
        session->idle_since = now_ms();
        session->next = node->idle;
        node->idle = session;
        useless = take_expired(node);
    } else {
        node->total--;
        session->next = take_expired(node);
    }
    call_next(node);
    pthread_mutex_unlock(&node->lock);
    return useless;
}

void node_return(struct session *session)
{
    struct node *node = session->node;

    if (session->epoch != UINT64_MAX && !conn_clean(session->conn))
        session->epoch = UINT64_MAX - 1; /* of no epoch: not kept */
    close_idle(keep(node, session));
    node_unref(node);
}

void node_drop(struct node *node, const struct trouble *why)
{
    struct session *idle;

    atomic_fetch_add(&node->epoch, 1);
    pthread_mutex_lock(&node->lock);
    atomic_store(&node->down, true);
    node->why = *why;
    idle = node->idle;
    node->idle = NULL;
    for (struct session *at = idle; at != NULL; at = at->next)
        node->total--;
    call_next(node); /* and he the others */
    pthread_mutex_unlock(&node->lock);
    close_idle(idle);
}

/* ---- what a save asks
 * ------------------------------------------------------------------
 */

bool session_believed(struct session *session, int64_t deadline, struct trouble *trouble)
{
    const struct settings *settings = session->node->settings;
    int64_t now = now_ms();

    if (!settings->power ||
        (session->proof.proven && now - session->proven_at < settings->recheck))
        return true;
    if (!durable_prove(settings, session->conn, deadline, &session->proof, trouble))
        return false;
    session->proven_at = now;
    return session->proof.proven ||
           trouble_set(trouble, TROUBLE_BROKEN, "%s", session->proof.reason);
}

struct wait session_wait(const struct session *session, int64_t limit)
{
    const struct settings *settings = session->node->settings;
    bool slow = settings->power && session->proof.waitaof && session->proof.slow;
    int64_t now = now_ms(), ms = settings->wait_timeout;

    if (ms == 0)
        ms = slow ? LONG_WAIT : USUAL_WAIT;
    if (!slow && now < atomic_load(&session->node->short_until) && ms > SHORT_WAIT)
        ms = SHORT_WAIT;
    if (ms > limit - now)
        ms = limit - now;
    return (struct wait){
        .waitaof = session->proof.waitaof, .ms = ms > 1 ? ms : 1, .limit = limit};
}

/* While waiting is cut short that is not prolonged: once in SHORT_MS a save may find out
 * with all of its time whether replicas are only slow. */
bool session_heard(const struct session *session, struct wait *wait,
                   struct trouble *trouble)
{
    struct node *node = session->node;
    bool met = durable_heard(node->settings, session->conn, wait, trouble);
    int64_t now = now_ms();

    if (wait->alone && now >= atomic_load(&node->short_until))
        atomic_store(&node->short_until, now + SHORT_MS);
    return met;
}

/* plugins/redis/conn.c - sockets, deadlines, and hiredis' parser, fed with no more than
 * it may have. */
#include "conn.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <hiredis/hiredis.h>

#include "tls.h"

/* What comes in waits in a buffer of IN_ROOM; its pages are touched as they are needed.
 * A line is at most LINE_LIMIT, an array ARRAY_LIMIT items and DEPTH_LIMIT deep, and what
 * is parsed as a whole PARSED_LIMIT bytes.  The largest string is the host's max_blob and
 * our head. */
#define IN_ROOM      (256u * 1024)
#define LINE_LIMIT   (32u * 1024)
#define ARRAY_LIMIT  20000
#define PARSED_LIMIT (16 * 1024 * 1024)
#define DEPTH_LIMIT  7 /* hiredis 0.14's own */
#define OUT_FIRST    1024u
#define COUNT_ROOM   24u   /* a type, 20 digits, a line end */
#define SHORT_BODY   2048u /* copying is cheaper than another piece */
#define TLS_PIECE    (128u * 1024)
/* So much is worth a system call of its own while more is made ready. */
#define WORTH_SENDING (32u * 1024)
/* A blocking receive looks at the clock this often. */
#define TICK_MS 200
/* What is sent takes the server some time to read: so much longer is it spun. */
#define SPIN_NS_PER_BYTE 2
#define SPIN_MISSES      8u

/* A stretch of what goes out: of the buffer out, at an offset; or the caller's bytes. */
struct piece {
    const unsigned char *bytes; /* NULL: of out */
    size_t at, len;
};

struct conn {
    const struct settings *settings;
    struct endpoint endpoint;
    char name[ENDPOINT_TEXT];
    int fd;
    struct tls_link *tls;
    redisReader *reader;

    int64_t deadline;
    bool asking, sent;
    int64_t spin;              /* ns left in this exchange */
    bool spun;                 /* it was used */
    unsigned misses, no_spins; /* in a row; exchanges without, before the next with */
    size_t owed;               /* answers that have not been taken */
    struct trouble trouble;

    unsigned char *out;
    size_t out_len, out_room;
    struct piece *pieces;
    size_t piece_count, piece_room;

    unsigned char *in;
    size_t in_at, in_end;
    size_t string_left; /* of the string that the caller is taking */
};

/* ---- failing -------------------------------------------------------------------------
 */

static bool fail(struct conn *conn, enum trouble_kind kind, const char *why)
{
    if (conn->trouble.kind == TROUBLE_NONE)
        (void)trouble_set(&conn->trouble, kind, "%.110s: %s", conn->name, why);
    return false;
}

static bool fail_errno(struct conn *conn, int error)
{
    return fail(conn, error == ENOMEM ? TROUBLE_NOMEM : TROUBLE_LOST, strerror(error));
}

static bool failed(const struct conn *conn)
{
    return conn->trouble.kind != TROUBLE_NONE;
}

bool conn_trouble(const struct conn *conn, struct trouble *trouble)
{
    *trouble = conn->trouble;
    return false;
}

void conn_distrust(struct conn *conn, const char *why)
{
    (void)fail(conn, TROUBLE_PROTOCOL, why);
}

const struct endpoint *conn_endpoint(const struct conn *conn)
{
    return &conn->endpoint;
}

const char *conn_name(const struct conn *conn)
{
    return conn->name;
}

/* ---- waiting ----------------------------------------------------------------------- */

/* What of events came before the deadline; 0: the connection has failed. */
static short wait_for(struct conn *conn, short events)
{
    for (;;) {
        struct pollfd entry = {.fd = conn->fd, .events = events};
        int64_t left = conn->deadline - now_ms();
        int ready;

        if (left <= 0) {
            (void)fail(conn, TROUBLE_TIMEOUT, "no answer in time");
            return 0;
        }
        ready = poll(&entry, 1, left > 60000 ? 60000 : (int)left);
        if (ready > 0)
            return entry.revents;
        if (ready < 0 && errno != EINTR) {
            (void)fail_errno(conn, errno);
            return 0;
        }
    }
}

/* ---- hiredis' parser, making our replies ----------------------------------------------
 */

static struct reply *new_reply(const redisReadTask *task, enum reply_type type,
                               size_t text_len)
{
    struct reply *reply = calloc(1, sizeof *reply + text_len + 1);

    if (reply == NULL)
        return NULL;
    reply->type = type;
    if (task->parent != NULL) {
        struct reply *parent = task->parent->obj;

        parent->items[task->idx] = reply;
    }
    return reply;
}

static void *create_string(const redisReadTask *task, char *text, size_t len)
{
    enum reply_type type = REPLY_BULK;
    struct reply *reply;

    if (task->type == REDIS_REPLY_ERROR)
        type = REPLY_ERROR;
    else if (task->type == REDIS_REPLY_STATUS)
        type = REPLY_STATUS;
    reply = new_reply(task, type, len);
    if (reply != NULL) {
        memcpy(reply->text, text, len);
        reply->len = len;
    }
    return reply;
}

/* The number of items was seen and bounded before hiredis saw it. */
static void *create_items(const redisReadTask *task, size_t count)
{
    struct reply **items = calloc(count + 1, sizeof(struct reply *));
    struct reply *reply = items != NULL ? new_reply(task, REPLY_ARRAY, 0) : NULL;

    if (reply == NULL) {
        free(items);
        return NULL;
    }
    reply->items = items;
    reply->len = count;
    return reply;
}

#if HIREDIS_MAJOR >= 1
static void *create_array(const redisReadTask *task, size_t count)
{
    return create_items(task, count);
}
#else
static void *create_array(const redisReadTask *task, int count)
{
    return create_items(task, (size_t)count);
}
#endif

static void *create_integer(const redisReadTask *task, long long value)
{
    struct reply *reply = new_reply(task, REPLY_INTEGER, 0);

    if (reply != NULL)
        reply->integer = value;
    return reply;
}

static void *create_nil(const redisReadTask *task)
{
    return new_reply(task, REPLY_NIL, 0);
}

static void free_object(void *object)
{
    struct reply *reply = object;

    if (reply == NULL)
        return;
    for (size_t i = 0; reply->items != NULL && i < reply->len; i++)
        free_object(reply->items[i]);
    free(reply->items);
    free(reply);
}

void reply_free(struct reply *reply)
{
    free_object(reply);
}

static redisReplyObjectFunctions functions = {.createString = create_string,
                                              .createArray = create_array,
                                              .createInteger = create_integer,
                                              .createNil = create_nil,
                                              .freeObject = free_object};

/* ---- connecting ----------------------------------------------------------------------
 */

static void set_number(int fd, int level, int name, int value)
{
    (void)setsockopt(fd, level, name, &value, sizeof value);
}

/* A dead peer is noticed within 15 s also when nobody waits for it.  False: errno says
 * why a receive would not end at its deadline. */
static bool set_options(int fd, int family)
{
    static const struct timeval tick = {.tv_usec = TICK_MS * 1000};

    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tick, sizeof tick) != 0)
        return false;
    if (family == AF_UNIX)
        return true;
    set_number(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_number(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_number(fd, IPPROTO_TCP, TCP_KEEPIDLE, 15);
    set_number(fd, IPPROTO_TCP, TCP_KEEPINTVL, 5);
    set_number(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
    set_number(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 15000);
    return true;
}

/* After a connect() that goes on in the background. */
static bool finish_connect(struct conn *conn)
{
    int error = 0;
    socklen_t len = sizeof error;

    if (wait_for(conn, POLLOUT) == 0)
        return false;
    if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    return error == 0 || fail_errno(conn, error);
}

/* Not 0, 1 or 2, which a program may have closed: what is then printed by somebody who
 * does not know would go to the server. */
static int new_socket(int family)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), moved, error;

    if (fd < 0 || fd > STDERR_FILENO)
        return fd;
    moved = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    error = errno;
    (void)close(fd);
    errno = error;
    return moved;
}

static bool connect_to(struct conn *conn, const struct sockaddr *address, socklen_t len)
{
    conn->trouble.kind = TROUBLE_NONE;
    conn->fd = new_socket(address->sa_family);
    if (conn->fd < 0)
        return fail_errno(conn, errno);
    if (!set_options(conn->fd, address->sa_family))
        (void)fail_errno(conn, errno);
    else if (connect(conn->fd, address, len) == 0 ||
             (errno == EINPROGRESS || errno == EINTR ? finish_connect(conn)
                                                     : fail_errno(conn, errno)))
        return true;
    (void)close(conn->fd);
    conn->fd = -1;
    return false;
}

static bool connect_local(struct conn *conn)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(conn->endpoint.host);

    if (len >= sizeof address.sun_path)
        return fail(conn, TROUBLE_LOST, "the path of a socket has at most 107 bytes");
    memcpy(address.sun_path, conn->endpoint.host, len + 1);
    return connect_to(conn, (const struct sockaddr *)&address, sizeof address);
}

/* Each address of the host in turn; each gets connect_timeout at most. */
static bool connect_tcp(struct conn *conn, int64_t deadline)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    char port[8];
    bool done = false;
    int error;

    (void)snprintf(port, sizeof port, "%u", (unsigned)conn->endpoint.port);
    error = getaddrinfo(conn->endpoint.host, port, &hints, &list);
    if (error != 0)
        return fail(conn, TROUBLE_LOST, gai_strerror(error));
    for (const struct addrinfo *at = list; at != NULL && !done; at = at->ai_next) {
        conn->deadline = now_ms() + conn->settings->connect_timeout;
        if (conn->deadline > deadline)
            conn->deadline = deadline;
        done = connect_to(conn, at->ai_addr, at->ai_addrlen);
    }
    freeaddrinfo(list);
    return done;
}

static bool shake_hands(struct conn *conn, int64_t deadline)
{
    struct tls_need need;

    conn->deadline = now_ms() + conn->settings->connect_timeout;
    if (conn->deadline > deadline)
        conn->deadline = deadline;
    conn->tls = tls_start(conn->settings->tls, conn->fd, conn->endpoint.host, &need);
    if (conn->tls == NULL)
        return fail(conn, TROUBLE_LOST, need.why);
    while (!tls_handshake(conn->tls, &need)) {
        if (need.events == 0)
            return fail(conn, TROUBLE_LOST, need.why);
        if (wait_for(conn, need.events) == 0)
            return false;
    }
    return true;
}

/* Plain sockets block, TICK_MS at a time: one system call an answer instead of two. */
static bool start(struct conn *conn, int64_t deadline)
{
    bool done =
        conn->endpoint.port == 0 ? connect_local(conn) : connect_tcp(conn, deadline);

    if (!done)
        return false;
    if (conn->settings->tls != NULL && conn->endpoint.port != 0)
        return shake_hands(conn, deadline);
    return fcntl(conn->fd, F_SETFL, 0) == 0 || fail_errno(conn, errno);
}

struct conn *conn_open(const struct settings *settings, const struct endpoint *endpoint,
                       int64_t deadline, struct trouble *trouble)
{
    struct conn *conn = calloc(1, sizeof *conn);

    if (conn == NULL) {
        (void)trouble_set(trouble, TROUBLE_NOMEM, "no memory");
        return NULL;
    }
    conn->settings = settings;
    conn->endpoint = *endpoint;
    conn->fd = -1;
    conn->deadline = deadline;
    endpoint_text(endpoint, conn->name);
    tally_add(&settings->tally->connects, 1);
    tally_add(&settings->tally->connections, 1);
    conn->in = malloc(IN_ROOM);
    conn->out = malloc(OUT_FIRST);
    conn->out_room = OUT_FIRST;
    conn->reader = redisReaderCreateWithFunctions(&functions);
    if (conn->in == NULL || conn->out == NULL || conn->reader == NULL)
        (void)fail(conn, TROUBLE_NOMEM, "no memory");
    if (!failed(conn) && start(conn, deadline))
        return conn;
    (void)conn_trouble(conn, trouble);
    conn_close(conn);
    return NULL;
}

void conn_close(struct conn *conn)
{
    static const struct linger at_once = {.l_onoff = 1};

    if (conn == NULL)
        return;
    tls_stop(conn->tls);
    if (conn->fd >= 0) {
        if (conn->owed > 0)
            (void)setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        (void)close(conn->fd);
    }
    if (conn->reader != NULL)
        redisReaderFree(conn->reader);
    atomic_fetch_sub_explicit(&conn->settings->tally->connections, 1,
                              memory_order_relaxed);
    free(conn->pieces);
    free(conn->out);
    free(conn->in);
    free(conn);
}

bool conn_clean(const struct conn *conn)
{
    return !failed(conn) && conn->owed == 0 && conn->in_at == conn->in_end;
}

bool conn_usable(struct conn *conn)
{
    char byte;

    if (!conn_clean(conn))
        return false;
    if (conn->tls != NULL)
        return tls_quiet(conn->tls);
    return recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

/* ---- spinning -------------------------------------------------------------------------
 *
 * An answer of a server near by is there before this thread has gone to sleep and been
 * woken again.  So an exchange looks for its answer for a while without sleeping.  Where
 * that was for nothing, the next exchanges do not: 2, then 4, up to 256 of them, until
 * one succeeds (Karlin, Li, Manasse, Owicki: Empirical Studies of Competitive Spinning
 * for a Shared-Memory Multiprocessor, 1991, of which this is the simplest form). */

static void spin_begin(struct conn *conn)
{
    if (conn->spun && conn->spin > 0)
        conn->misses = 0;
    conn->spun = false;
    conn->spin = conn->no_spins == 0 ? conn->settings->spin : 0;
    conn->no_spins -= conn->no_spins > 0;
}

static void spin_missed(struct conn *conn)
{
    tally_add(&conn->settings->tally->spins_missed, 1);
    conn->misses += conn->misses < SPIN_MISSES;
    conn->no_spins = 1u << conn->misses;
    conn->spin = 0;
}

/* ---- saying ---------------------------------------------------------------------------
 */

void conn_begin(struct conn *conn, int64_t deadline, bool asking)
{
    conn->deadline = deadline;
    spin_begin(conn);
    conn->asking = asking;
    conn->sent = false;
    conn->out_len = 0;
    conn->piece_count = 0;
}

void conn_extend(struct conn *conn, int64_t deadline)
{
    conn->deadline = deadline;
}

/* Not by realloc(): a password may be in what is left behind. */
static bool out_grow(struct conn *conn, size_t more)
{
    size_t room = conn->out_room;
    unsigned char *wider;

    if (conn->out_room - conn->out_len >= more)
        return true;
    while (room - conn->out_len < more)
        room *= 2;
    wider = malloc(room);
    if (wider == NULL)
        return fail(conn, TROUBLE_NOMEM, "no memory");
    memcpy(wider, conn->out, conn->out_len);
    explicit_bzero(conn->out, conn->out_len);
    free(conn->out);
    conn->out = wider;
    conn->out_room = room;
    return true;
}

static bool add_piece(struct conn *conn, struct piece piece)
{
    if (conn->piece_count == conn->piece_room) {
        size_t room = conn->piece_room * 2 + 8;
        struct piece *wider = realloc(conn->pieces, room * sizeof *wider);

        if (wider == NULL)
            return fail(conn, TROUBLE_NOMEM, "no memory");
        conn->pieces = wider;
        conn->piece_room = room;
    }
    conn->pieces[conn->piece_count++] = piece;
    return true;
}

/* Room for len bytes behind what was said; NULL: the connection has failed. */
static unsigned char *out_begin(struct conn *conn, size_t len)
{
    bool grows =
        conn->piece_count > 0 && conn->pieces[conn->piece_count - 1].bytes == NULL;

    if (failed(conn) || !out_grow(conn, len) ||
        (!grows && !add_piece(conn, (struct piece){.at = conn->out_len})))
        return NULL;
    return conn->out + conn->out_len;
}

/* Said: what was written there, up to end. */
static void out_end(struct conn *conn, const unsigned char *end)
{
    size_t len = (size_t)(end - (conn->out + conn->out_len));

    conn->pieces[conn->piece_count - 1].len += len;
    conn->out_len += len;
}

static unsigned char *put(unsigned char *at, const void *bytes, size_t len)
{
    if (len > 0)
        memcpy(at, bytes, len);
    return at + len;
}

/* "*3\r\n", "$12\r\n", in at most COUNT_ROOM bytes. */
static unsigned char *put_count(unsigned char *at, char type, size_t count)
{
    char text[COUNT_ROOM], *first = text + sizeof text;

    *--first = '\n';
    *--first = '\r';
    do
        *--first = (char)('0' + count % 10);
    while ((count /= 10) > 0);
    *--first = type;
    return put(at, first, (size_t)(text + sizeof text - first));
}

void conn_command(struct conn *conn, const char *name, size_t args)
{
    static const char asking[] = "*1\r\n$6\r\nASKING\r\n";

    unsigned char *at = out_begin(conn, sizeof asking + COUNT_ROOM);

    if (at != NULL && conn->asking)
        at = put(at, asking, sizeof asking - 1);
    if (at != NULL)
        out_end(conn, put_count(at, '*', args + 1));
    conn_arg_text(conn, name);
    conn->owed++;
}

void conn_arg(struct conn *conn, const void *bytes, size_t len)
{
    unsigned char *at = out_begin(conn, COUNT_ROOM + len + 2);

    if (at != NULL)
        out_end(conn, put(put(put_count(at, '$', len), bytes, len), "\r\n", 2));
}

void conn_arg_text(struct conn *conn, const char *text)
{
    conn_arg(conn, text, strlen(text));
}

void conn_arg_number(struct conn *conn, int64_t number)
{
    char text[32];

    (void)snprintf(text, sizeof text, "%lld", (long long)number);
    conn_arg_text(conn, text);
}

void conn_arg_pair(struct conn *conn, const void *head, size_t head_len, const void *body,
                   size_t body_len)
{
    bool copied = body_len <= SHORT_BODY;
    unsigned char *at =
        out_begin(conn, COUNT_ROOM + head_len + (copied ? body_len : 0) + 2);

    if (at == NULL)
        return;
    at = put(put_count(at, '$', head_len + body_len), head, head_len);
    if (copied) {
        out_end(conn, put(put(at, body, body_len), "\r\n", 2));
        return;
    }
    out_end(conn, at);
    if (add_piece(conn, (struct piece){.bytes = body, .len = body_len}) &&
        (at = out_begin(conn, 2)) != NULL)
        out_end(conn, put(at, "\r\n", 2));
}

void conn_wipe(struct conn *conn)
{
    explicit_bzero(conn->out, conn->out_room);
}

bool conn_sent(const struct conn *conn)
{
    return conn->sent;
}

/* ---- moving bytes
 * -----------------------------------------------------------------------
 */

/* After a read or write that moved nothing: wait if need be.  Nothing is lost when it
 * waits for less than it could. */
static bool tls_wait(struct conn *conn, const struct tls_need *need)
{
    if (need->events == 0)
        return fail(conn, TROUBLE_LOST, need->why);
    return wait_for(conn, need->events) != 0;
}

/* Receive into one place and then the rest; 0 where nothing came and flags do not wait.
 * Bytes, or -1 and the connection has failed. */
static ssize_t receive_once(struct conn *conn, struct iovec *parts, size_t count,
                            int flags)
{
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
    ssize_t got = recvmsg(conn->fd, &message, flags);

    if (got > 0) {
        tally_add(&conn->settings->tally->bytes_in, (uint64_t)got);
        return got;
    }
    if (got == 0)
        (void)fail(conn, TROUBLE_LOST, "closed by the server");
    else if (errno == EAGAIN || errno == EINTR)
        return 0;
    else
        (void)fail_errno(conn, errno);
    return -1;
}

/* Receive without sleeping, while there is time left for that; 0: nothing came. */
static ssize_t receive_spinning(struct conn *conn, struct iovec *parts, size_t count)
{
    struct tally *tally = conn->settings->tally;
    int64_t begin = now_ns(), left = conn->deadline * 1000000 - begin;
    ssize_t got = 0;

    if (left <= 0)
        return 0;
    if (left > conn->spin)
        left = conn->spin;
    if (atomic_fetch_add_explicit(&tally->spinning, 1, memory_order_relaxed) <
        conn->settings->spinners) {
        tally_add(&tally->spins, 1);
        conn->spun = true;
        do {
            got = receive_once(conn, parts, count, MSG_DONTWAIT);
            if (got == 0)
                (void)sched_yield(); /* the server may wait for this processor */
            conn->spin = left - (now_ns() - begin);
        } while (got == 0 && conn->spin > 0);
        if (got == 0)
            spin_missed(conn);
    }
    atomic_fetch_sub_explicit(&tally->spinning, 1, memory_order_relaxed);
    return got;
}

/* One receive of at least a byte before the deadline. */
static ssize_t receive_plain(struct conn *conn, struct iovec *parts, size_t count)
{
    ssize_t got = conn->spin > 0 ? receive_spinning(conn, parts, count) : 0;

    while (got == 0) {
        bool near = conn->deadline - now_ms() < TICK_MS;

        if (near && wait_for(conn, POLLIN) == 0)
            return -1;
        got = receive_once(conn, parts, count, near ? MSG_DONTWAIT : 0);
    }
    return got;
}

static ssize_t receive_tls(struct conn *conn, void *to, size_t len)
{
    struct tls_need need;

    for (;;) {
        ssize_t got = tls_read(conn->tls, to, len, &need);

        if (got > 0) {
            tally_add(&conn->settings->tally->bytes_in, (uint64_t)got);
            return got;
        }
        if (!tls_wait(conn, &need))
            return -1;
    }
}

/* Make room behind what waits. */
static void in_compact(struct conn *conn)
{
    if (conn->in_at == 0)
        return;
    memmove(conn->in, conn->in + conn->in_at, conn->in_end - conn->in_at);
    conn->in_end -= conn->in_at;
    conn->in_at = 0;
}

/* At least one byte more into the buffer. */
static bool fill(struct conn *conn)
{
    struct iovec part;
    ssize_t got;

    if (conn->in_at == conn->in_end)
        conn->in_at = conn->in_end = 0;
    if (IN_ROOM - conn->in_end < LINE_LIMIT)
        in_compact(conn);
    part = (struct iovec){.iov_base = conn->in + conn->in_end,
                          .iov_len = IN_ROOM - conn->in_end};
    got = conn->tls != NULL ? receive_tls(conn, part.iov_base, part.iov_len)
                            : receive_plain(conn, &part, 1);
    if (got < 0)
        return false;
    conn->in_end += (size_t)got;
    return true;
}

/* While we are not done sending: take in what is there, so that both sides cannot wait
 * for each other. */
static bool fill_now(struct conn *conn)
{
    struct iovec part;
    ssize_t got;

    in_compact(conn);
    part = (struct iovec){.iov_base = conn->in + conn->in_end,
                          .iov_len = IN_ROOM - conn->in_end};
    got = receive_once(conn, &part, 1, MSG_DONTWAIT);
    if (got < 0)
        return false;
    conn->in_end += (size_t)got;
    return true;
}

static bool in_full(const struct conn *conn)
{
    return conn->in_end - conn->in_at == IN_ROOM;
}

/* The socket's buffer is full. */
static bool wait_to_send(struct conn *conn)
{
    short ready = wait_for(conn, in_full(conn) ? POLLOUT : POLLIN | POLLOUT);

    if (ready == 0)
        return false;
    return (ready & (POLLIN | POLLHUP | POLLERR)) == 0 || in_full(conn) || fill_now(conn);
}

static const unsigned char *piece_bytes(const struct conn *conn,
                                        const struct piece *piece)
{
    return (piece->bytes != NULL ? piece->bytes : conn->out) + piece->at;
}

static ssize_t send_plain(struct conn *conn, size_t first)
{
    struct iovec parts[64];
    struct msghdr message = {.msg_iov = parts};
    ssize_t sent;

    for (size_t i = first; i < conn->piece_count && message.msg_iovlen < 64; i++) {
        const void *bytes = piece_bytes(conn, &conn->pieces[i]);
        struct iovec *part = &parts[message.msg_iovlen++];

        memcpy(&part->iov_base, &bytes, sizeof bytes);
        part->iov_len = conn->pieces[i].len;
    }
    for (;;) {
        sent = sendmsg(conn->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0)
            return sent;
        if (errno == EAGAIN) {
            if (!wait_to_send(conn))
                return -1;
        } else if (errno != EINTR) {
            (void)fail_errno(conn, errno);
            return -1;
        }
    }
}

static ssize_t send_tls(struct conn *conn, size_t first)
{
    const struct piece *piece = &conn->pieces[first];
    struct tls_need need;

    for (;;) {
        size_t len = piece->len < TLS_PIECE ? piece->len : TLS_PIECE;
        ssize_t sent = tls_write(conn->tls, piece_bytes(conn, piece), len, &need);

        if (sent > 0)
            return sent;
        if (!tls_wait(conn, &need))
            return -1;
    }
}

/* A server that does not take a value as large as this says so and hangs up. */
static void hear_last_words(struct conn *conn)
{
    static const char words[] = "-ERR Protocol error";
    char line[128];
    const unsigned char *at;
    size_t len = 0;
    ssize_t got;

    if (conn->trouble.kind != TROUBLE_LOST || conn->tls != NULL)
        return;
    in_compact(conn);
    got = recv(conn->fd, conn->in + conn->in_end, IN_ROOM - conn->in_end, MSG_DONTWAIT);
    conn->in_end += got > 0 ? (size_t)got : 0;
    at = conn->in + conn->in_end;
    if (conn->in_end < 2 || *--at != '\n')
        return;
    while (at > conn->in && at[-1] != '\n' && ++len < sizeof line)
        at--;
    if (len < sizeof words || len == sizeof line ||
        memcmp(at, words, sizeof words - 1) != 0)
        return;
    memcpy(line, at + 1, len - 2);
    line[len - 2] = '\0';
    (void)trouble_answer(&conn->trouble, conn->name, line, len - 2);
}

/* Past the first sent bytes. */
static size_t advance(struct conn *conn, size_t first, size_t sent)
{
    while (first < conn->piece_count && sent >= conn->pieces[first].len)
        sent -= conn->pieces[first++].len;
    if (sent > 0) {
        conn->pieces[first].at += sent;
        conn->pieces[first].len -= sent;
    }
    return first;
}

bool conn_flush(struct conn *conn)
{
    size_t first = 0;

    if (failed(conn))
        return false;
    while (first < conn->piece_count) {
        ssize_t sent;

        conn->sent = true;
        sent = conn->tls != NULL ? send_tls(conn, first) : send_plain(conn, first);
        if (sent < 0) {
            hear_last_words(conn);
            return false;
        }
        tally_add(&conn->settings->tally->bytes_out, (uint64_t)sent);
        if (conn->spin > 0)
            conn->spin += sent * SPIN_NS_PER_BYTE;
        first = advance(conn, first, (size_t)sent);
    }
    conn->out_len = 0;
    conn->piece_count = 0;
    return true;
}

bool conn_flush_some(struct conn *conn)
{
    return conn->out_len < WORTH_SENDING || conn_flush(conn);
}

bool conn_send(struct conn *conn)
{
    tally_add(&conn->settings->tally->round_trips, 1);
    return conn_flush(conn);
}

/* ---- hearing
 * ----------------------------------------------------------------------------
 */

/* The next line with its end, still in the buffer. */
static bool next_line(struct conn *conn, const char **line, size_t *len)
{
    size_t seen = 0;

    if (failed(conn))
        return false;
    for (;;) {
        unsigned char *from = conn->in + conn->in_at;
        size_t have = conn->in_end - conn->in_at;
        unsigned char *end = have > seen ? memchr(from + seen, '\n', have - seen) : NULL;

        if (end != NULL) {
            *line = (const char *)from;
            *len = (size_t)(end + 1 - from);
            return (*len > 2 && end[-1] == '\r') ||
                   fail(conn, TROUBLE_PROTOCOL, "the answer is not Redis's protocol");
        }
        seen = have;
        if (have > LINE_LIMIT)
            return fail(conn, TROUBLE_PROTOCOL, "a line without an end");
        if (!fill(conn))
            return false;
    }
}

/* The number behind a line's type: -1 is the absence of a string or array. */
static bool line_number(const char *line, size_t len, int64_t *number)
{
    const char *at = line + 1, *end = line + len - 2;
    int64_t value = 0;

    if (end - at == 2 && at[0] == '-' && at[1] == '1') {
        *number = -1;
        return true;
    }
    if (at == end || end - at > 15)
        return false;
    for (; at < end; at++) {
        if (*at < '0' || *at > '9')
            return false;
        value = value * 10 + (*at - '0');
    }
    *number = value;
    return true;
}

static size_t string_limit(const struct conn *conn)
{
    return (size_t)conn->settings->host->max_blob + HEAD_SIZE + 65536;
}

static bool feed(struct conn *conn, size_t len)
{
    if (redisReaderFeed(conn->reader, (const char *)conn->in + conn->in_at, len) !=
        REDIS_OK)
        return fail(conn, TROUBLE_NOMEM, "no memory");
    conn->in_at += len;
    return true;
}

/* The bytes of a string and its line end, as they come. */
static bool feed_string(struct conn *conn, size_t len)
{
    for (len += 2; len > 0;) {
        size_t have = conn->in_end - conn->in_at;

        if (have == 0) {
            if (!fill(conn))
                return false;
            continue;
        }
        if (have > len)
            have = len;
        if (!feed(conn, have))
            return false;
        len -= have;
    }
    return true;
}

/* How much of one answer hiredis may still get, and where in it we are: items left on
 * each level of nested arrays. */
struct budget {
    int64_t bytes, left[DEPTH_LIMIT];
    size_t depth;
};

/* An item has begun; those whose last item it was are complete with it. */
static bool spend(struct budget *budget, int64_t bytes, int64_t items)
{
    budget->bytes -= bytes;
    budget->left[budget->depth]--;
    if (items > 0) {
        if (++budget->depth == DEPTH_LIMIT)
            return false;
        budget->left[budget->depth] = items;
    }
    while (budget->depth > 0 && budget->left[budget->depth] == 0)
        budget->depth--;
    return budget->bytes >= 0;
}

/* One line, and the string behind it, to hiredis.  It never sees a length that we would
 * not let it have. */
static bool feed_item(struct conn *conn, struct budget *budget)
{
    const char *line;
    size_t len;
    int64_t number = 0;
    char type;

    if (!next_line(conn, &line, &len))
        return false;
    type = line[0];
    if (type == '\0' || strchr("+-:$*", type) == NULL ||
        ((type == '$' || type == '*') && !line_number(line, len, &number)))
        return fail(conn, TROUBLE_PROTOCOL, "the answer is not Redis's protocol");
    if (type == '*' && number > ARRAY_LIMIT)
        return fail(conn, TROUBLE_PROTOCOL, "an array longer than is reasonable");
    if (!spend(budget, (int64_t)len + (type == '$' && number > 0 ? number : 0),
               type == '*' ? number : 0))
        return fail(conn, TROUBLE_PROTOCOL, "an answer longer than is reasonable");
    return feed(conn, len) &&
           (type != '$' || number < 0 || feed_string(conn, (size_t)number));
}

static struct reply *parse_reply(struct conn *conn)
{
    struct budget budget = {.bytes = PARSED_LIMIT, .left = {1}};
    void *reply = NULL;

    while (budget.depth > 0 || budget.left[0] > 0)
        if (!feed_item(conn, &budget))
            return NULL;
    if (redisReaderGetReply(conn->reader, &reply) != REDIS_OK || reply == NULL) {
        (void)fail(conn,
                   conn->reader->err == REDIS_ERR_OOM ? TROUBLE_NOMEM : TROUBLE_PROTOCOL,
                   "the answer cannot be parsed");
        return NULL;
    }
    return reply;
}

static bool asking_refused(struct conn *conn, const char *line, size_t len)
{
    char text[200];

    len = len < sizeof text ? len : sizeof text;
    memcpy(text, line + 1, len - 1);
    text[len - 1] = '\0';
    return trouble_answer(&conn->trouble, conn->name, text, strcspn(text, "\r"));
}

/* The +OK of an ASKING; the answer that counts comes behind it. */
static bool skip_asking(struct conn *conn)
{
    const char *line;
    size_t len;

    if (!conn->asking)
        return true;
    if (!next_line(conn, &line, &len))
        return false;
    if (line[0] == '-')
        return asking_refused(conn, line, len);
    if (line[0] != '+')
        return fail(conn, TROUBLE_PROTOCOL, "the answer to ASKING is none");
    conn->in_at += len;
    return true;
}

struct reply *conn_reply(struct conn *conn)
{
    struct reply *reply = skip_asking(conn) ? parse_reply(conn) : NULL;

    if (reply != NULL)
        conn->owed--;
    return reply;
}

static bool string_end(struct conn *conn)
{
    while (conn->in_end - conn->in_at < 2)
        if (!fill(conn))
            return false;
    if (conn->in[conn->in_at] != '\r' || conn->in[conn->in_at + 1] != '\n')
        return fail(conn, TROUBLE_PROTOCOL, "a string without its end");
    conn->in_at += 2;
    conn->owed--;
    return true;
}

bool conn_bulk(struct conn *conn, size_t *len, struct reply **other)
{
    const char *line;
    size_t line_len;
    int64_t number;

    *other = NULL;
    if (!skip_asking(conn) || !next_line(conn, &line, &line_len))
        return false;
    if (line[0] == '$' && line_number(line, line_len, &number) && number >= 0) {
        if ((uint64_t)number > string_limit(conn))
            return fail(conn, TROUBLE_PROTOCOL, "a string longer than can be stored");
        conn->in_at += line_len;
        conn->string_left = *len = (size_t)number;
        return number > 0 || string_end(conn);
    }
    *other = parse_reply(conn);
    if (*other == NULL)
        return false;
    conn->owed--;
    return true;
}

/* The rest straight to its place, and what comes behind it to the buffer. */
static bool receive_rest(struct conn *conn, unsigned char *to, size_t len)
{
    conn->in_at = conn->in_end = 0;
    while (len > 0) {
        struct iovec parts[2] = {{.iov_base = to, .iov_len = len},
                                 {.iov_base = conn->in, .iov_len = IN_ROOM}};
        ssize_t got = conn->tls != NULL ? receive_tls(conn, to, len)
                                        : receive_plain(conn, parts, 2);

        if (got < 0)
            return false;
        if ((size_t)got > len) {
            conn->in_end = (size_t)got - len;
            got = (ssize_t)len;
        }
        to += got;
        len -= (size_t)got;
    }
    return true;
}

bool conn_take(struct conn *conn, void *to, size_t len)
{
    size_t have = conn->in_end - conn->in_at;

    if (failed(conn))
        return false;
    if (have > len)
        have = len;
    memcpy(to, conn->in + conn->in_at, have);
    conn->in_at += have;
    if (have < len && !receive_rest(conn, (unsigned char *)to + have, len - have))
        return false;
    conn->string_left -= len;
    return len == 0 || conn->string_left > 0 || string_end(conn);
}

bool conn_skip(struct conn *conn, size_t len)
{
    unsigned char bin[4096];

    while (len > 0) {
        size_t part = len < sizeof bin ? len : sizeof bin;

        if (!conn_take(conn, bin, part))
            return false;
        len -= part;
    }
    return true;
}

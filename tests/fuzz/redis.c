/* tests/fuzz/redis.c - what a Redis server may answer, and the bytes of keys and heads.
 *
 * The first byte says what is tried: an answer of any bytes, which comes through a real
 * socket and the plugin's own connection; a stream's key and back; a key that somebody
 * else made; an error's text; an endpoint; a value's head.  What it leaves says how. */
#include "fuzz.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "codec.h"
#include "conn.h"
#include "slot.h"

enum {
    ANSWER_MAX = 60 * 1024,
    STRETCH = 300 * 1000, /* more than the connection reads at once */
    BLOB_MAX = 1 << 20,
    ANSWERS = 4
};

enum {
    HOW_ASKING = 1,  /* the first answer is that to ASKING */
    HOW_STRETCH = 2, /* behind the first line of an answer come STRETCH bytes more */
    HOW_SINGLE = 4   /* no cluster, another prefix of keys */
};

static const struct mako_host host = {
    .struct_size = sizeof host, .abi = MAKO_STORE_ABI, .max_blob = BLOB_MAX};
static struct tally tally;
static struct settings settings = {.host = &host,
                                   .tally = &tally,
                                   .mode = MODE_CLUSTER,
                                   .key_prefix = "p:",
                                   .key_prefix_len = 2,
                                   .connect_timeout = 60000,
                                   .io_timeout = 60000,
                                   .op_timeout = 60000};

/* ---- answers -------------------------------------------------------------------------
 */

static struct sockaddr_un address = {.sun_family = AF_UNIX};
static char socket_dir[64];

static void remove_socket(void)
{
    (void)unlink(address.sun_path);
    (void)rmdir(socket_dir);
}

/* A socket to connect to; one for the life of the program. */
static int listener(struct endpoint *endpoint)
{
    static int fd = -1;
    const char *tmp = getenv("TMPDIR");

    if (fd < 0) {
        (void)snprintf(socket_dir, sizeof socket_dir, "%.40s/mako-fuzz.XXXXXX",
                       tmp ? tmp : "/tmp");
        MUST(mkdtemp(socket_dir));
        (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/s", socket_dir);
        MUST(atexit(remove_socket) == 0);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        MUST(fd >= 0);
        MUST(bind(fd, (const struct sockaddr *)&address, sizeof address) == 0);
        MUST(listen(fd, 8) == 0);
    }
    (void)snprintf(endpoint->host, sizeof endpoint->host, "%s", address.sun_path);
    endpoint->port = 0;
    return fd;
}

static void say(int served, const unsigned char *bytes, size_t len)
{
    MUST(len == 0 || send(served, bytes, len, MSG_NOSIGNAL) == (ssize_t)len);
}

static void say_answer(int served, const unsigned char *answer, size_t len, unsigned how)
{
    static unsigned char filling[STRETCH];
    const unsigned char *line = len > 0 ? memchr(answer, '\n', len) : NULL;
    size_t first = line ? (size_t)(line - answer) + 1 : len;
    int room = 4 * (ANSWER_MAX + STRETCH);

    MUST(setsockopt(served, SOL_SOCKET, SO_SNDBUF, &room, sizeof room) == 0);
    say(served, answer, first);
    if (how & HOW_STRETCH)
        say(served, filling, sizeof filling);
    say(served, answer + first, len - first);
}

/* The whole answer is there, and the server gone, before anything is read. */
static struct conn *connect_to(const unsigned char *answer, size_t len, unsigned how)
{
    struct endpoint endpoint = {.host = ""};
    struct trouble trouble = {.kind = TROUBLE_NONE};
    int served, fd = listener(&endpoint);
    struct conn *conn = conn_open(&settings, &endpoint, now_ms() + 60000, &trouble);

    MUST(conn);
    served = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    MUST(served >= 0);
    say_answer(served, answer, len, how);
    MUST(shutdown(served, SHUT_WR) == 0);
    conn_begin(conn, now_ms() + 60000, (how & HOW_ASKING) != 0);
    for (size_t i = 0; i < ANSWERS; i++)
        conn_command(conn, "PING", 0);
    MUST(conn_send(conn));
    (void)close(served);
    return conn;
}

static void look_at(const struct reply *reply, const struct conn *conn)
{
    static struct slot_map map;
    struct trouble trouble = {.kind = TROUBLE_NONE};
    char clean[200];

    if (reply->type == REPLY_ARRAY) {
        if (slot_map_read(reply, conn_endpoint(conn), &map))
            MUST(map.count > 0 && map.count <= MASTERS_MAX);
        for (size_t i = 0; i < reply->len; i++)
            look_at(reply_item(reply, i), conn);
        MUST(reply_item(reply, reply->len) == NULL);
    } else if (reply_is_text(reply) || reply->type == REPLY_ERROR) {
        MUST(reply->text[reply->len] == '\0');
        clean_text(clean, sizeof clean, reply->text, reply->len);
        MUST(strlen(clean) < sizeof clean);
        (void)trouble_answer(&trouble, "h:1", reply->text, reply->len);
        MUST(trouble.kind != TROUBLE_NONE && trouble.text[0]);
    }
}

/* A long string is taken in pieces, or skipped; false: the connection failed. */
static bool take_bulk(struct conn *conn, unsigned char how)
{
    struct reply *other = NULL;
    size_t len = 0, piece;
    char *room;
    bool good;

    if (!conn_bulk(conn, &len, &other))
        return false;
    if (other) {
        look_at(other, conn);
        reply_free(other);
        return true;
    }
    MUST(len <= BLOB_MAX + HEAD_SIZE + 65536); /* what a connection lets pass */
    piece = how & 2 ? len / 2 : len;
    room = malloc(piece > 0 ? piece : 1);
    MUST(room);
    good = conn_take(conn, room, piece) && conn_skip(conn, len - piece);
    free(room);
    return good;
}

static bool take_answer(struct conn *conn, unsigned char how)
{
    struct reply *reply;

    if (how & 1)
        return take_bulk(conn, how);
    reply = conn_reply(conn);
    if (!reply)
        return false;
    look_at(reply, conn);
    reply_free(reply);
    return true;
}

static void any_answer(struct feed *feed, unsigned use)
{
    unsigned char how = feed_byte(feed);
    struct conn *conn =
        connect_to(feed->at, feed->left < ANSWER_MAX ? feed->left : ANSWER_MAX, use);
    struct trouble trouble = {.kind = TROUBLE_NONE};
    size_t taken = 0;

    while (taken < ANSWERS && take_answer(conn, how)) {
        how = (unsigned char)(how >> 2);
        taken++;
    }
    if (taken < ANSWERS) {
        (void)conn_trouble(conn, &trouble);
        MUST(trouble.kind != TROUBLE_NONE && trouble.text[0]);
        MUST(!conn_usable(conn));
    }
    conn_close(conn);
}

/* ---- bytes ---------------------------------------------------------------------------
 */

static void key_and_back(struct feed *feed)
{
    char *given = feed_text(feed, KEY_ID_MAX), *room = malloc(KEY_ROOM(KEY_ID_MAX));
    const char *id = given[0] != '\0' ? given : "x"; /* the core knows no empty one */
    char back[KEY_ID_MAX + 1], tmp[KEY_TMP_MAX];
    struct mako_str stream = {id, strlen(id)};
    size_t len = 0;
    struct key key;

    MUST(room && key_make(&settings, stream, room, &key));
    MUST(key.slot < SLOTS);
    MUST(settings.mode != MODE_CLUSTER || key.slot == slot_of(key.text, key.len));
    MUST(key_decode(&settings, key.text, key.len, back, &len));
    MUST(len == stream.len && memcmp(back, id, len) == 0);
    len = key_tmp(&key, feed_number(feed), tmp);
    MUST(settings.mode != MODE_CLUSTER || slot_of(tmp, len) == key.slot);
    MUST(!key_decode(&settings, tmp, len, back, &len));
    free(room);
    free(given);
}

static void any_key(struct feed *feed)
{
    char id[KEY_ID_MAX + 1], pattern[KEY_PATTERN_MAX], *room = malloc(KEY_MAX);
    size_t len = 0;
    struct key key;

    MUST(room && slot_of((const char *)feed->at, feed->left) < SLOTS);
    if (key_decode(&settings, (const char *)feed->at, feed->left, id, &len)) {
        MUST(len > 0 && len <= KEY_ID_MAX && id[len] == '\0');
        MUST(key_make(&settings, (struct mako_str){id, len}, room, &key));
        MUST(key.len == feed->left && memcmp(key.text, feed->at, key.len) == 0);
        MUST(key_pattern(&settings, (struct mako_str){id, len}, pattern));
    }
    free(room);
}

static void any_error(struct feed *feed)
{
    struct trouble trouble = {.kind = TROUBLE_NONE};
    char *text = feed_text(feed, 4096);

    MUST(!trouble_answer(&trouble, "h:1", text, strlen(text)));
    MUST(trouble.kind != TROUBLE_NONE && trouble_status(trouble.kind) < 0);
    MUST(memchr(trouble.to.host, '\0', sizeof trouble.to.host) != NULL);
    if (trouble.kind == TROUBLE_MOVED || trouble.kind == TROUBLE_ASK)
        MUST(trouble.slot < SLOTS);
    free(text);
}

static void any_endpoint(struct feed *feed)
{
    struct endpoint endpoint, back;
    char text[ENDPOINT_TEXT];

    if (!endpoint_parse((const char *)feed->at, feed->left, 6379, &endpoint))
        return;
    MUST(memchr(endpoint.host, '\0', sizeof endpoint.host) != NULL);
    endpoint_text(&endpoint, text);
    MUST(endpoint_parse(text, strlen(text), 6379, &back));
    MUST(endpoint_same(&endpoint, &back));
}

static void any_head(struct feed *feed)
{
    unsigned char again[HEAD_SIZE];
    struct head head;

    if (!head_read(feed->at, feed->left, &head))
        return;
    head_write(&head, again);
    MUST(memcmp(again + HEAD_SEQ, feed->at + HEAD_SEQ, 8) == 0);
    MUST(head_read(again, sizeof again, &head));
}

static void choose(unsigned how)
{
    bool single = (how & HOW_SINGLE) != 0;

    settings.mode = single ? MODE_SINGLE : MODE_CLUSTER;
    settings.key_prefix = single ? "*[\\x]?" : "p:";
    settings.key_prefix_len = strlen(settings.key_prefix);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct feed feed = {data, size};
    unsigned char first = feed_byte(&feed);

    choose(first / 6);
    switch (first % 6) {
    case 0:
        any_answer(&feed, first / 6);
        break;
    case 1:
        key_and_back(&feed);
        break;
    case 2:
        any_key(&feed);
        break;
    case 3:
        any_error(&feed);
        break;
    case 4:
        any_endpoint(&feed);
        break;
    default:
        any_head(&feed);
    }
    return 0;
}

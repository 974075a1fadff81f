/* plugins/redis/load.c - loading: one round trip for a small snapshot, a second one for
 * the rest of a large one, once the host has seen its head and wants it. */
#include <string.h>

#include "ops.h"

/* The first look takes this much of a value, refusing costs no more: 4 KiB of the
 * program's own, our head, and what the host puts around them. */
#define PROBE      4608u
#define PROBE_LAST "4607"

/* ---- what is said --------------------------------------------------------------------
 */

void loading_probe(struct conn *conn, const struct loading *loading)
{
    conn_command(conn, "GETRANGE", 3);
    conn_arg(conn, loading->key->text, loading->key->len);
    conn_arg_text(conn, "0");
    conn_arg_text(conn, PROBE_LAST);
}

void loading_get(struct conn *conn, const struct loading *loading)
{
    conn_command(conn, "GET", 1);
    conn_arg(conn, loading->key->text, loading->key->len);
}

/* ---- what is heard --------------------------------------------------------------------
 */

enum heard {
    HEARD_FAILED, /* trouble says why */
    HEARD_ALL,    /* the status is set */
    HEARD_PART    /* there is more in the connection */
};

static enum heard lost(const struct conn *conn, struct trouble *trouble)
{
    (void)conn_trouble(conn, trouble);
    return HEARD_FAILED;
}

static enum heard not_a_string(struct conn *conn, struct loading *loading,
                               const struct reply *other, struct trouble *trouble)
{
    if (other->type == REPLY_NIL) {
        loading->status = MAKO_NOT_FOUND;
        return HEARD_ALL;
    }
    if (other->type != REPLY_ERROR) {
        conn_distrust(conn, "an answer of another kind");
        return lost(conn, trouble);
    }
    (void)trouble_answer(trouble, conn_name(conn), other->text, other->len);
    if (trouble->kind != TROUBLE_WRONG_TYPE)
        return HEARD_FAILED;
    loading->status =
        mako_fail(loading->err, MAKO_DAMAGED, "%.110s: key '%.150s': %.100s",
                  conn_name(conn), loading->key->text, other->text);
    return HEARD_ALL;
}

/* The beginning of an answer: a string of *len bytes, or something else altogether. */
static enum heard hear_string(struct conn *conn, struct loading *loading, size_t *len,
                              struct trouble *trouble)
{
    struct reply *other;
    enum heard heard;

    if (!conn_bulk(conn, len, &other))
        return lost(conn, trouble);
    if (other == NULL)
        return HEARD_PART;
    heard = not_a_string(conn, loading, other, trouble);
    reply_free(other);
    return heard;
}

/* What was asked for is no whole snapshot; left bytes of it are in the connection. */
static enum heard damaged(struct conn *conn, struct loading *loading, size_t left,
                          struct trouble *trouble)
{
    loading->status = mako_fail(loading->err, MAKO_DAMAGED,
                                "%.110s: key '%.150s' holds no whole snapshot",
                                conn_name(conn), loading->key->text);
    return conn_skip(conn, left) ? HEARD_ALL : lost(conn, trouble);
}

/* The head of a string of *len bytes, which are fewer then. */
static enum heard hear_head(struct conn *conn, struct loading *loading, size_t *len,
                            struct head *head, struct trouble *trouble)
{
    unsigned char bytes[HEAD_SIZE];

    if (*len < HEAD_SIZE)
        return damaged(conn, loading, *len, trouble);
    if (!conn_take(conn, bytes, HEAD_SIZE))
        return lost(conn, trouble);
    *len -= HEAD_SIZE;
    if (!head_read(bytes, HEAD_SIZE, head))
        return damaged(conn, loading, *len, trouble);
    return HEARD_PART;
}

/* The blob, or as much as came, to its room or nowhere. */
static enum heard hear_blob(struct conn *conn, void *room, size_t len,
                            struct trouble *trouble)
{
    bool moved =
        room != NULL && len > 0 ? conn_take(conn, room, len) : conn_skip(conn, len);

    return moved ? HEARD_ALL : lost(conn, trouble);
}

static enum heard hear_probe(struct conn *conn, struct loading *loading,
                             struct trouble *trouble)
{
    uint64_t whole;
    size_t len;
    void *room;
    enum heard heard = hear_string(conn, loading, &len, trouble);

    if (heard != HEARD_PART)
        return heard;
    if (len == 0) {
        loading->status = MAKO_NOT_FOUND;
        return HEARD_ALL;
    }
    heard = hear_head(conn, loading, &len, &loading->head, trouble);
    if (heard != HEARD_PART)
        return heard;
    whole = loading->head.blob_len;
    if (len > whole || (len < whole && len + HEAD_SIZE < PROBE))
        return damaged(conn, loading, len, trouble);
    room = loading->sink->accept(loading->sink, &loading->head.meta, (size_t)whole);
    loading->status = room != NULL ? MAKO_OK : MAKO_REFUSED;
    if (len < whole)
        loading->room = room;
    return hear_blob(conn, len == whole ? room : NULL, len, trouble);
}

bool loading_hear_probe(struct conn *conn, struct loading *loading,
                        struct trouble *trouble)
{
    loading->room = NULL;
    return hear_probe(conn, loading, trouble) == HEARD_ALL;
}

static bool same(const struct head *a, const struct head *b)
{
    return a->nonce == b->nonce && a->blob_len == b->blob_len &&
           a->meta.seq == b->meta.seq && a->meta.schema == b->meta.schema;
}

/* A save may have come between the two: then the host is asked about that one. */
bool loading_hear_get(struct conn *conn, struct loading *loading, struct trouble *trouble)
{
    struct head head;
    size_t len;
    enum heard heard = hear_string(conn, loading, &len, trouble);

    if (heard == HEARD_PART)
        heard = hear_head(conn, loading, &len, &head, trouble);
    if (heard != HEARD_PART)
        return heard == HEARD_ALL;
    if (head.blob_len != len)
        return damaged(conn, loading, len, trouble) == HEARD_ALL;
    if (!same(&head, &loading->head))
        loading->room = loading->sink->accept(loading->sink, &head.meta, len);
    loading->status = loading->room != NULL ? MAKO_OK : MAKO_REFUSED;
    return hear_blob(conn, loading->room, len, trouble) == HEARD_ALL;
}

/* ---- one load -------------------------------------------------------------------------
 */

struct load_task {
    struct task task;
    struct loading loading;
};

static bool run_load(struct task *task, struct session *session, bool asking,
                     int64_t deadline, struct trouble *trouble)
{
    struct loading *loading = &((struct load_task *)task)->loading;
    struct conn *conn = session->conn;

    conn_begin(conn, deadline, asking);
    loading_probe(conn, loading);
    if (!conn_send(conn))
        return conn_trouble(conn, trouble);
    if (!loading_hear_probe(conn, loading, trouble))
        return false;
    task->status = loading->status;
    if (loading->room == NULL)
        return true;
    /* Only now is it known how much comes. */
    deadline = task_attempt(task->store, loading->head.blob_len, task->limit);
    conn_begin(conn, deadline, asking);
    loading_get(conn, loading);
    if (!conn_send(conn))
        return conn_trouble(conn, trouble);
    if (!loading_hear_get(conn, loading, trouble))
        return false;
    task->status = loading->status;
    return true;
}

int load_until(struct store *store, struct mako_str stream, struct mako_sink *sink,
               int64_t deadline, struct mako_error *err)
{
    struct key key;
    char room[KEY_MAX];
    struct load_task load = {
        .task = {.key = &key, .repeatable = true, .run = run_load, .err = err},
        .loading = {.key = &key, .sink = sink, .err = err}};

    if (!key_make(&store->settings, stream, room, &key))
        return MAKO_NOT_FOUND;
    return task_do(store, &load.task, deadline);
}

int redis_load(void *handle, struct mako_str stream, struct mako_sink *sink,
               struct mako_error *err)
{
    struct store *store = handle;

    return load_until(store, stream, sink, task_deadline(store), err);
}

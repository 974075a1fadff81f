/* plugins/redis/scan.c - every stream, master by master.
 *
 * A cursor is good for one server's life, so each master is scanned on a connection of
 * its own, and when that is lost the scan fails instead of leaving streams out. */
#include <stdlib.h>

#include "ops.h"

/* Cursors are numbers of 64 bits. */
#define CURSOR_MAX 32u

struct scan {
    struct store *store;
    struct mako_visitor *visitor;
    const char *pattern;
    struct conn *conn;
    bool begun;   /* a master was asked for its keys */
    bool stopped; /* by the visitor */
};

/* One answer to SCAN. */
struct page {
    struct reply *reply;
    const struct reply *cursor, *keys; /* of it */
};

static bool page_read(struct page *page)
{
    const struct reply *cursor = reply_item(page->reply, 0);
    const struct reply *keys = reply_item(page->reply, 1);

    if (cursor == NULL || keys == NULL || !reply_is_text(cursor) ||
        cursor->len >= CURSOR_MAX || keys->type != REPLY_ARRAY)
        return false;
    for (size_t i = 0; i < keys->len; i++)
        if (!reply_is_text(keys->items[i]))
            return false;
    page->cursor = cursor;
    page->keys = keys;
    return true;
}

static bool next_page(const struct scan *scan, const char *cursor, int64_t deadline,
                      struct page *page, struct trouble *trouble)
{
    struct conn *conn = scan->conn;

    conn_begin(conn, deadline, false);
    conn_command(conn, "SCAN", 5);
    conn_arg_text(conn, cursor);
    conn_arg_text(conn, "MATCH");
    conn_arg_text(conn, scan->pattern);
    conn_arg_text(conn, "COUNT");
    conn_arg_text(conn, "1000");
    if (!conn_send(conn) || (page->reply = conn_reply(conn)) == NULL) {
        (void)conn_trouble(conn, trouble);
        return false;
    }
    if (page_read(page))
        return true;
    if (page->reply->type == REPLY_ERROR)
        (void)trouble_answer(trouble, conn_name(conn), page->reply->text,
                             page->reply->len);
    else
        (void)trouble_set(trouble, TROUBLE_PROTOCOL, "%.110s: the answer to SCAN is none",
                          conn_name(conn));
    reply_free(page->reply);
    return false;
}

/* The server knows the key, which may hold something else than text, or does not answer
 * for it: it is no master any more, or not of the key. */
static bool answers(const struct scan *scan, const struct reply *value,
                    struct trouble *trouble)
{
    if (value->type != REPLY_ERROR)
        return true;
    (void)trouble_answer(trouble, conn_name(scan->conn), value->text, value->len);
    return trouble->kind == TROUBLE_WRONG_TYPE;
}

/* One key and what its head is; true where the scan goes on. */
static bool visit(const struct scan *scan, const struct reply *key,
                  const struct reply *value)
{
    char id[KEY_ID_MAX + 1];
    struct mako_str stream = {.ptr = id};
    struct mako_visitor *visitor = scan->visitor;
    struct head head;

    if (!key_decode(&scan->store->settings, key->text, key->len, id, &stream.len))
        return true;
    if (value->type == REPLY_BULK && value->len == 0)
        return true; /* removed meanwhile */
    if (value->type == REPLY_BULK &&
        head_read((const unsigned char *)value->text, value->len, &head))
        return visitor->entry(visitor, stream, &head.meta, head.blob_len) == 0;
    return visitor->entry(visitor, stream, NULL, 0) == 0;
}

static void say_head(struct conn *conn, const struct reply *key)
{
    conn_command(conn, "GETRANGE", 3);
    conn_arg(conn, key->text, key->len);
    conn_arg_text(conn, "0");
    conn_arg_text(conn, "47");
}

static bool fetch_heads(const struct scan *scan, const struct reply *keys,
                        struct reply **heads, int64_t deadline, struct trouble *trouble)
{
    struct conn *conn = scan->conn;

    conn_begin(conn, deadline, false);
    for (size_t i = 0; i < keys->len; i++)
        say_head(conn, keys->items[i]);
    if (!conn_send(conn)) {
        (void)conn_trouble(conn, trouble);
        return false;
    }
    for (size_t i = 0; i < keys->len; i++) {
        heads[i] = conn_reply(conn);
        if (heads[i] == NULL) {
            (void)conn_trouble(conn, trouble);
            return false;
        }
    }
    return true;
}

/* A key whose slot is on the move has come already, which only ASKING shows, or has gone
 * to where it will be listed: *head is NULL then.  False: so is everything else, for this
 * is no master any more. */
static bool look_again(const struct scan *scan, const struct reply *key,
                       struct reply **head, int64_t deadline, struct trouble *trouble)
{
    struct conn *conn = scan->conn;

    if (scan->store->settings.mode != MODE_CLUSTER ||
        (trouble->kind != TROUBLE_MOVED && trouble->kind != TROUBLE_ASK))
        return false;
    reply_free(*head);
    conn_begin(conn, deadline, true);
    say_head(conn, key);
    *head = conn_send(conn) ? conn_reply(conn) : NULL;
    if (*head == NULL)
        return conn_trouble(conn, trouble);
    if (answers(scan, *head, trouble))
        return true;
    if (trouble->kind != TROUBLE_MOVED && trouble->kind != TROUBLE_ASK)
        return false;
    reply_free(*head);
    *head = NULL;
    conn_begin(conn, deadline, false);
    return session_check_master(conn, trouble);
}

/* Nothing is held while the visitor is called but this connection. */
static bool visit_page(struct scan *scan, const struct reply *keys, int64_t deadline,
                       struct trouble *trouble)
{
    struct reply **heads = calloc(keys->len + 1, sizeof(struct reply *));
    bool fetched;

    if (heads == NULL)
        return trouble_set(trouble, TROUBLE_NOMEM, "no memory");
    fetched = fetch_heads(scan, keys, heads, deadline, trouble);
    for (size_t i = 0; i < keys->len; i++) {
        fetched =
            fetched && (answers(scan, heads[i], trouble) ||
                        look_again(scan, keys->items[i], &heads[i], deadline, trouble));
        if (fetched && !scan->stopped && heads[i] != NULL)
            scan->stopped = !visit(scan, keys->items[i], heads[i]);
        reply_free(heads[i]);
    }
    free(heads);
    return fetched;
}

static bool scan_pages(struct scan *scan, struct trouble *trouble)
{
    char cursor[CURSOR_MAX] = "0";

    do {
        int64_t deadline = now_ms() + scan->store->settings.op_timeout;
        struct page page = {.reply = NULL};
        bool visited;

        if (!next_page(scan, cursor, deadline, &page, trouble))
            return false;
        visited = visit_page(scan, page.keys, deadline, trouble);
        memcpy(cursor, page.cursor->text, page.cursor->len + 1);
        reply_free(page.reply);
        if (!visited)
            return false;
    } while (!scan->stopped && strcmp(cursor, "0") != 0);
    return true;
}

static bool scan_master(struct scan *scan, struct node *node, int64_t deadline,
                        struct trouble *trouble)
{
    struct store *store = scan->store;
    int64_t pause = 0;
    struct session *session;
    bool done;

    while (!node_private(node, deadline, &session, trouble))
        if (!scan->begun || trouble_status(trouble->kind) != MAKO_E_UNAVAILABLE ||
            !task_pause(&store->settings, &pause, deadline))
            return false;
    scan->conn = session->conn;
    scan->begun = true;
    done = scan_pages(scan, trouble);
    node_return(session);
    return done;
}

static bool scan_masters(struct scan *scan, int64_t deadline, struct trouble *trouble)
{
    struct store *store = scan->store;
    size_t count;
    struct node **masters = route_masters(store->route, deadline, &count, trouble);
    bool fine = count > 0;

    for (size_t i = 0; i < count; i++) {
        if (fine && !scan->stopped)
            fine = scan_master(scan, masters[i],
                               scan->begun ? task_deadline(store) : deadline, trouble);
        node_unref(masters[i]);
    }
    free(masters);
    if (!fine && trouble_status(trouble->kind) == MAKO_E_UNAVAILABLE)
        route_doubt(store->route);
    return fine;
}

int redis_scan(void *handle, struct mako_str prefix, struct mako_visitor *visitor,
               struct mako_error *err)
{
    struct store *store = handle;
    char pattern[KEY_PATTERN_MAX];
    struct scan scan = {.store = store, .visitor = visitor, .pattern = pattern};
    struct trouble trouble = {.kind = TROUBLE_NONE};
    int64_t deadline = task_deadline(store), pause = 0;
    int status = MAKO_OK;
    bool fine;

    if (!key_pattern(&store->settings, prefix, pattern))
        return MAKO_OK; /* no id is so long */
    /* Until a master was asked, a scan is tried like any operation. */
    do
        fine = scan_masters(&scan, deadline, &trouble);
    while (!fine && !scan.begun && trouble_status(trouble.kind) == MAKO_E_UNAVAILABLE &&
           task_pause(&store->settings, &pause, deadline));
    if (!fine)
        status = mako_fail(err, trouble_status(trouble.kind), "%s", trouble.text);
    task_remember(store, status);
    return status;
}

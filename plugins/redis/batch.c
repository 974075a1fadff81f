/* plugins/redis/batch.c - many saves, many loads: pipelines.
 *
 * A batch goes window by window.  A window is a run of items without two of one stream;
 * its items are grouped by node, each group is one pipeline.  Whatever did not come out
 * of that with a clear answer - a slot that moved, a script not known, a lost connection
 * - is done once more by itself within the window's time.  A node that even that finds
 * away is not asked again in this batch. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "ops.h"

#define WINDOW       128u
#define WINDOW_BYTES (4u * 1024 * 1024)
#define GET_BYTES    (8u * 1024 * 1024)
/* Saves in one transaction. */
#define TOGETHER 64u
/* Nodes that a batch may find away, and go on. */
#define AWAY_MAX 16u

/* ---- windows --------------------------------------------------------------------------
 */

struct item {
    size_t index; /* in the batch */
    struct key key;
    struct node *node; /* NULL: none, or done */
    union {
        struct saving saving;
        struct loading loading;
    } of;
    bool done;
    bool stored;   /* a save that still waits for disk and replicas */
    bool troubled; /* its node did not answer as it should */
};

struct window {
    struct store *store;
    struct mako_error *err; /* the first failure's */
    int *statuses;
    const struct mako_str *streams; /* of loads, by their place in the batch */
    struct node *away[AWAY_MAX];    /* found so by this batch */
    size_t away_count;
    bool lost;                /* nobody knows whom to ask, or too many are away */
    int64_t deadline, picked; /* when its nodes were picked */
    struct item items[WINDOW];
    uint8_t found[2 * WINDOW]; /* saves: by a stream's hash, its item's number and 1 */
    size_t count, bytes;
    char *room; /* of the keys */
    size_t room_used, room_size;
};

static struct window *window_new(struct store *store, int *statuses,
                                 struct mako_error *err)
{
    struct window *window = malloc(sizeof *window);

    if (window == NULL)
        return NULL;
    window->store = store;
    window->statuses = statuses;
    window->streams = NULL;
    window->away_count = 0;
    window->lost = false;
    window->err = err;
    window->count = window->bytes = 0;
    window->room_used = 0;
    window->room_size = 16384;
    window->room = malloc(window->room_size);
    if (window->room != NULL)
        return window;
    free(window);
    return NULL;
}

static void window_free(struct window *window)
{
    for (size_t i = 0; i < window->away_count; i++)
        node_unref(window->away[i]);
    free(window->room);
    free(window);
}

static void window_begin(struct window *window)
{
    window->count = window->bytes = 0;
    memset(window->found, 0, sizeof window->found);
    window->room_used = 0;
    window->deadline = task_deadline(window->store);
}

/* Room for a key, or NULL: the window is full (never where it is empty). */
static char *window_room(struct window *window, struct mako_str stream)
{
    size_t size = KEY_ROOM(stream.len);
    char *room = window->room + window->room_used;

    if (window->count == WINDOW || window->room_size - window->room_used < size)
        return NULL;
    return room;
}

static void window_add(struct window *window, struct item *item, size_t index,
                       const struct key *key, size_t bytes)
{
    item->index = index;
    item->key = *key;
    item->node = NULL;
    item->done = item->stored = item->troubled = false;
    window->room_used += key->len + 1;
    window->bytes += bytes;
    window->count++;
}

static void finish(struct window *window, struct item *item, int status,
                   const struct mako_error *why)
{
    item->done = true;
    window->statuses[item->index] = status;
    if (status < 0 && window->err->text[0] == '\0')
        *window->err = *why;
}

/* ---- nodes that are away --------------------------------------------------------------
 */

static bool is_away(const struct window *window, const struct node *node)
{
    for (size_t i = 0; i < window->away_count; i++)
        if (window->away[i] == node)
            return true;
    return false;
}

/* The node answered for another item of the window; NULL: anybody did. */
static bool answered(const struct window *window, const struct node *node)
{
    bool found = false;

    for (size_t i = 0; i < window->count && !found; i++) {
        const struct item *item = &window->items[i];
        struct node *other = NULL;

        if (!item->done || window->statuses[item->index] == MAKO_E_UNAVAILABLE)
            continue;
        if (node != NULL)
            (void)route_known(window->store->route, item->key.slot, &other);
        found = other == node;
        node_unref(other);
    }
    return found;
}

/* One of its keys could not be had, for all the time that there was, nor another. */
static void note_away(struct window *window, const struct key *key)
{
    struct node *node = NULL;
    bool known = route_known(window->store->route, key->slot, &node);

    if (!answered(window, node) && !is_away(window, node)) {
        window->lost |= !known || window->away_count == AWAY_MAX;
        if (!window->lost)
            window->away[window->away_count++] = node_ref(node);
    }
    node_unref(node);
}

static int not_again(struct mako_error *why)
{
    return mako_fail(why, MAKO_E_UNAVAILABLE, "its server did not answer just now");
}

/* ---- groups ---------------------------------------------------------------------------
 */

/* What one exchange with one node is about. */
struct group {
    struct window *window;
    struct node *node;
    struct session *session;
    struct trouble trouble;
};

typedef void group_fn(struct group *group);

/* Find each item's node; where that fails the item is left for later.  Those whose node
 * is away are done. */
static void place(struct window *window)
{
    struct trouble ignored;
    struct mako_error why;

    for (size_t i = 0; i < window->count; i++) {
        struct item *item = &window->items[i];
        const struct item *before = i > 0 ? item - 1 : NULL;

        if (before != NULL && before->node != NULL && before->key.slot == item->key.slot)
            item->node = node_ref(before->node);
        else if (!route_pick(window->store->route, item->key.slot, window->deadline,
                             &item->node, &ignored))
            item->node = NULL;
        if (item->node != NULL && is_away(window, item->node)) {
            node_unref(item->node);
            item->node = NULL;
            finish(window, item, not_again(&why), &why);
        }
    }
    window->picked = now_ms();
}

/* One pipeline a node. */
static void for_groups(struct window *window, group_fn *run)
{
    place(window);
    window->lost = now_ms() >= window->deadline; /* who asks for routes waits in vain */
    for (size_t i = 0; i < window->count; i++) {
        struct group group;

        if (window->items[i].node == NULL)
            continue;
        group = (struct group){.window = window, .node = window->items[i].node};
        if (now_ms() < window->deadline &&
            node_borrow(group.node, window->deadline, &group.session, &group.trouble)) {
            run(&group);
            node_return(group.session);
            if (group.trouble.kind != TROUBLE_NONE)
                task_note(window->store, group.node, &group.trouble);
            else
                task_remember(window->store, MAKO_OK);
        }
        for (size_t j = window->count; j-- > i;) {
            if (window->items[j].node != group.node)
                continue;
            window->items[j].troubled = group.trouble.kind != TROUBLE_NONE;
            window->items[j].node = NULL;
            node_unref(group.node);
        }
    }
}

static bool in_group(const struct group *group, const struct item *item)
{
    return item->node == group->node && !item->done;
}

typedef int one_fn(struct window *window, struct item *item, struct mako_error *why);

static void finish_one(struct window *window, struct item *item, one_fn *run)
{
    struct mako_error why = {""};
    bool in_time = now_ms() < window->deadline;
    int status;

    if (in_time)
        status = run(window, item, &why);
    else
        status = mako_fail(&why, MAKO_E_UNAVAILABLE, "no time is left for it");
    if (status == MAKO_E_UNAVAILABLE && (in_time || item->troubled))
        note_away(window, &item->key);
    finish(window, item, status, &why);
}

/* Each by itself what the pipelines left.  What may take long comes last. */
static void finish_rest(struct window *window, one_fn *run)
{
    for (int troubled = 0; troubled < 2; troubled++)
        for (size_t i = 0; i < window->count; i++)
            if (!window->items[i].done && window->items[i].troubled == troubled)
                finish_one(window, &window->items[i], run);
}

/* ---- saving ---------------------------------------------------------------------------
 */

/* Part of a group: items from begin to end of the window, count of them in the group. */
struct span {
    size_t begin, end, count;
};

/* The next at most limit items from begin on. */
static struct span next_span(const struct group *group, size_t begin, size_t limit)
{
    struct span span = {.begin = begin, .end = begin};

    while (span.end < group->window->count && span.count < limit)
        span.count += in_group(group, &group->window->items[span.end++]);
    return span;
}

/* The guard's arguments: keys and sequences. */
static void say_guard(const struct group *group, const struct span *span)
{
    const struct window *window = group->window;
    struct session *session = group->session;
    struct conn *conn = session->conn;
    unsigned char seqs[8 * TOGETHER];
    size_t used = 0;

    say_script(&window->store->settings, session, SCRIPT_GUARD, span->count + 3);
    conn_arg_number(conn, (int64_t)span->count);
    for (size_t i = span->begin; i < span->end; i++) {
        const struct item *item = &window->items[i];

        if (!in_group(group, item))
            continue;
        conn_arg(conn, item->key.text, item->key.len);
        memcpy(seqs + used, item->of.saving.head + HEAD_SEQ, 8);
        used += 8;
    }
    conn_arg(conn, seqs, used);
}

/* All values in one command, which costs the server about half of what a SET for each
 * does; but only SET takes a life along. */
static bool one_command(const struct settings *settings)
{
    return settings->ttl == 0;
}

static size_t value_commands(const struct settings *settings, const struct span *span)
{
    return one_command(settings) ? 1 : span->count;
}

static void say_value(const struct settings *settings, struct conn *conn,
                      const struct item *item)
{
    if (!one_command(settings))
        conn_command(conn, "SET", 5);
    conn_arg(conn, item->key.text, item->key.len);
    saving_value(conn, &item->of.saving);
    if (!one_command(settings)) {
        conn_arg_text(conn, "NX");
        conn_arg_text(conn, "PX");
        conn_arg_number(conn, settings->ttl);
    }
}

static void say_values(const struct group *group, const struct span *span)
{
    const struct settings *settings = &group->window->store->settings;
    struct conn *conn = group->session->conn;

    if (one_command(settings))
        conn_command(conn, "MSETNX", 2 * span->count);
    for (size_t i = span->begin; i < span->end; i++)
        if (in_group(group, &group->window->items[i])) {
            say_value(settings, conn, &group->window->items[i]);
            (void)conn_flush_some(conn);
        }
}

/* Some saves as one transaction: the guard removes what they replace, and the values,
 * which do not pass through Lua, are stored only where nothing is.  So where the guard
 * does not agree, is not known or fails, nothing is overwritten. */
static void say_together(const struct group *group, const struct span *span)
{
    struct conn *conn = group->session->conn;

    conn_command(conn, "MULTI", 0);
    say_guard(group, span);
    (void)conn_flush(conn); /* wakes the server */
    say_values(group, span);
    conn_command(conn, "EXEC", 0);
}

/* A right that is missing will be missing the next time. */
static void learn(struct session *session, const struct reply *answer)
{
    struct trouble trouble;

    if (answer->type != REPLY_ERROR)
        return;
    (void)trouble_answer(&trouble, "", answer->text, answer->len);
    if (trouble.kind == TROUBLE_NOSCRIPT)
        forget_script(session, SCRIPT_GUARD);
    else if (trouble.kind == TROUBLE_DENIED || trouble.kind == TROUBLE_OTHER ||
             trouble.kind == TROUBLE_UNKNOWN_COMMAND)
        session->transactions = false;
}

/* [of the guard, 1] or [of the guard, OK ...] of EXEC: each save is stored, or must be
 * tried by itself. */
static void judge_together(struct group *group, const struct span *span,
                           const struct reply *result)
{
    bool one = one_command(&group->window->store->settings);
    const struct reply *answer = reply_item(result, 0);
    size_t at = 1;

    if (answer != NULL)
        learn(group->session, answer);
    for (size_t i = span->begin; i < span->end; i++) {
        struct item *item = &group->window->items[i];

        if (!in_group(group, item))
            continue;
        answer = reply_item(result, at);
        at += !one;
        item->stored =
            answer != NULL && (one ? answer->type == REPLY_INTEGER && answer->integer == 1
                                   : reply_says(answer, "OK"));
    }
}

/* What was answered while a transaction was made.  False: the connection failed. */
static bool hear_queued(struct session *session, size_t commands)
{
    for (size_t i = 0; i < commands; i++) {
        struct reply *reply = conn_reply(session->conn);

        if (reply == NULL)
            return false;
        learn(session, reply);
        reply_free(reply);
    }
    return true;
}

/* False: the connection failed. */
static bool hear_together(struct group *group)
{
    const struct settings *settings = &group->window->store->settings;
    struct conn *conn = group->session->conn;
    struct span span;

    for (size_t at = 0; at < group->window->count; at = span.end) {
        struct reply *result = NULL;

        span = next_span(group, at, TOGETHER);
        if (span.count == 0)
            break;
        if (hear_queued(group->session, value_commands(settings, &span) + 2))
            result = conn_reply(conn);
        if (result == NULL)
            return conn_trouble(conn, &group->trouble);
        judge_together(group, &span, result);
        reply_free(result);
    }
    return true;
}

/* Transactions one behind the other: the server works on one while we make the next. */
static void say_transactions(const struct group *group)
{
    struct span span;

    for (size_t at = 0; at < group->window->count; at = span.end) {
        span = next_span(group, at, TOGETHER);
        if (span.count > 0)
            say_together(group, &span);
        (void)conn_flush(group->session->conn);
    }
}

static void say_saves(const struct group *group)
{
    struct window *window = group->window;

    for (size_t i = 0; i < window->count; i++)
        if (in_group(group, &window->items[i])) {
            saving_say(&window->store->settings, group->session,
                       &window->items[i].of.saving);
            (void)conn_flush_some(group->session->conn);
        }
}

/* False: the connection failed. */
static bool hear_saves(struct group *group)
{
    static const struct mako_error stale = {""};
    struct window *window = group->window;

    for (size_t i = 0; i < window->count; i++) {
        struct item *item = &window->items[i];
        int64_t verdict = 2;

        if (!in_group(group, item))
            continue;
        if (!saving_hear(group->session, &item->of.saving, &verdict, &group->trouble)) {
            if (group->trouble.kind < TROUBLE_MOVED)
                return false;
            group->trouble.kind = TROUBLE_NONE;
            continue;
        }
        item->stored = verdict == 1;
        if (verdict == 0)
            finish(window, item, MAKO_STALE, &stale);
    }
    return true;
}

/* What was stored is done, or as unsafe as the wait at the end says. */
static void finish_saves(struct group *group, bool safe)
{
    struct window *window = group->window;
    struct mako_error why = {""};
    int status = MAKO_OK;

    if (!safe)
        status = mako_fail(&why, trouble_status(group->trouble.kind),
                           "%s; it may have been done nevertheless", group->trouble.text);
    for (size_t i = 0; i < window->count; i++)
        if (in_group(group, &window->items[i]) && window->items[i].stored)
            finish(window, &window->items[i], status, &why);
}

/* One exchange, as a transaction or save by save, and the wait for disk and replicas. */
static void exchange_saves(struct group *group, bool together)
{
    struct window *window = group->window;
    const struct settings *settings = &window->store->settings;
    struct session *session = group->session;
    struct wait wait = session_wait(session, window->deadline);
    bool heard, safe;

    conn_begin(
        session->conn,
        task_attempt_at(window->store, window->picked, window->bytes, window->deadline),
        false);
    if (together)
        say_transactions(group);
    else
        say_saves(group);
    durable_ask(settings, session->conn, &wait);
    if (!conn_send(session->conn)) {
        (void)conn_trouble(session->conn, &group->trouble);
        return;
    }
    heard = together ? hear_together(group) : hear_saves(group);
    if (!heard)
        return;
    safe = session_heard(session, &wait, &group->trouble);
    if (!safe && group->trouble.kind != TROUBLE_UNSAFE)
        return; /* the connection was lost: nothing is known */
    finish_saves(group, safe);
}

/* Whether MULTI and EXEC work, tried out once a connection with nothing in between: what
 * stands behind a MULTI that is refused would be carried out unguarded. */
static bool try_transaction(struct session *session, int64_t deadline,
                            struct trouble *trouble)
{
    struct conn *conn = session->conn;
    struct reply *multi = NULL, *exec = NULL;

    conn_begin(conn, deadline, false);
    conn_command(conn, "MULTI", 0);
    conn_command(conn, "EXEC", 0);
    if (conn_send(conn))
        multi = conn_reply(conn);
    if (multi != NULL)
        exec = conn_reply(conn);
    session->asked_transactions = exec != NULL;
    session->transactions =
        exec != NULL && reply_says(multi, "OK") && exec->type == REPLY_ARRAY;
    if (exec != NULL && reply_says(multi, "OK") && exec->type != REPLY_ARRAY)
        conn_distrust(conn, "takes MULTI and refuses EXEC");
    reply_free(multi);
    reply_free(exec);
    return conn_clean(conn) || conn_trouble(conn, trouble);
}

static bool may_transact(struct group *group, int64_t deadline)
{
    struct session *session = group->session;

    if (group->window->store->settings.mode == MODE_CLUSTER ||
        next_span(group, 0, 2).count < 2)
        return false;
    if (!session->asked_transactions &&
        !try_transaction(session, deadline, &group->trouble))
        return false;
    return session->transactions;
}

/* A transaction is one slot's business.  What it did not do - a server without the
 * rights for it, out of memory - is said save by save, for answers of their own. */
static void save_group(struct group *group)
{
    struct store *store = group->window->store;
    int64_t deadline = task_attempt(store, 0, group->window->deadline);

    if (!session_believed(group->session, deadline, &group->trouble))
        return;
    if (may_transact(group, deadline) && !task_is_late(store, group->window->picked))
        exchange_saves(group, true);
    if (group->trouble.kind == TROUBLE_NONE && next_span(group, 0, 1).count == 1 &&
        !task_is_late(store, group->window->picked))
        exchange_saves(group, false);
}

static int save_one(struct window *window, struct item *item, struct mako_error *why)
{
    return save_until(window->store, item->of.saving.record, window->deadline, why);
}

/* The stream is in the window already; else it counts as the next item's. */
static bool repeats(struct window *window, struct mako_str stream)
{
    size_t at = XXH3_64bits(stream.ptr, stream.len) % sizeof window->found;

    for (; window->found[at] != 0; at = (at + 1) % sizeof window->found) {
        const struct item *item = &window->items[window->found[at] - 1];
        struct mako_str other = item->of.saving.record->stream;

        if (other.len == stream.len && memcmp(other.ptr, stream.ptr, stream.len) == 0)
            return true;
    }
    window->found[at] = (uint8_t)(window->count + 1);
    return false;
}

/* False: the window is full, or this one must not be in it. */
static bool add_save(struct window *window, const struct mako_record *record,
                     size_t index)
{
    char *room = window_room(window, record->stream);
    struct item *item = &window->items[window->count];

    if (room == NULL ||
        (window->count > 0 && window->bytes + record->blob_len > WINDOW_BYTES) ||
        repeats(window, record->stream))
        return false;
    if (!saving_make(&window->store->settings, record, room, &item->of.saving))
        return false;
    window_add(window, item, index, &item->of.saving.key, record->blob_len);
    return true;
}

/* A save that is not for a pipeline: unconditional, or not valid. */
static bool save_alone(struct window *window, const struct mako_record *record,
                       size_t index)
{
    struct item *item = &window->items[0];
    struct mako_error why;
    int status = save_check(record, &why);

    if (status == MAKO_OK && (record->flags & MAKO_SAVE_IF_NEWER))
        return false;
    window_begin(window);
    if (status != MAKO_OK) {
        item->index = index;
        finish(window, item, status, &why);
        return true;
    }
    (void)add_save(window, record, index);
    place(window); /* which ends it where its node is away */
    node_unref(item->node);
    item->node = NULL;
    finish_rest(window, save_one);
    return true;
}

/* From item at on; how far it came. */
static size_t save_window(struct window *window, const struct mako_record *records,
                          size_t at, size_t count)
{
    struct mako_error ignored;

    if (save_alone(window, &records[at], at))
        return at + 1;
    window_begin(window);
    while (at < count && save_check(&records[at], &ignored) == MAKO_OK &&
           (records[at].flags & MAKO_SAVE_IF_NEWER) && add_save(window, &records[at], at))
        at++;
    for_groups(window, save_group);
    finish_rest(window, save_one);
    return at;
}

/* Where nobody knows whom to ask the batch ends. */
static size_t give_up(const struct window *window, size_t at, size_t count)
{
    while (window->lost && at < count)
        window->statuses[at++] = MAKO_E_UNAVAILABLE;
    return at;
}

int redis_save_many(void *handle, const struct mako_record *records, size_t count,
                    int *statuses, struct mako_error *err)
{
    struct store *store = handle;
    struct window *window;

    err->text[0] = '\0';
    window = window_new(store, statuses, err);
    if (window == NULL)
        return mako_fail(err, MAKO_E_NOMEM, "no memory");
    for (size_t at = 0; at < count;)
        at = give_up(window, save_window(window, records, at, count), count);
    window_free(window);
    return MAKO_OK;
}

/* ---- loading --------------------------------------------------------------------------
 */

/* First looks, all of a group in one round trip.  False: the connection failed. */
static bool probe_group(struct group *group)
{
    struct window *window = group->window;
    struct conn *conn = group->session->conn;

    conn_begin(conn, task_attempt(window->store, 0, window->deadline), false);
    for (size_t i = 0; i < window->count; i++)
        if (in_group(group, &window->items[i]))
            loading_probe(conn, &window->items[i].of.loading);
    if (!conn_send(conn))
        return conn_trouble(conn, &group->trouble);
    for (size_t i = 0; i < window->count; i++) {
        struct item *item = &window->items[i];
        struct mako_error why;

        if (!in_group(group, item))
            continue;
        why.text[0] = '\0';
        item->of.loading.err = &why;
        if (!loading_hear_probe(conn, &item->of.loading, &group->trouble)) {
            if (group->trouble.kind < TROUBLE_MOVED)
                return false;
            group->trouble.kind = TROUBLE_NONE;
            item->stored = true; /* left for later */
        } else if (item->of.loading.room == NULL) {
            finish(window, item, item->of.loading.status, &why);
        }
    }
    return true;
}

static bool wants_rest(const struct group *group, const struct item *item)
{
    return in_group(group, item) && !item->stored;
}

/* Some whole values, from item first on, that are not too much at once; where it came
 * to, or SIZE_MAX: the connection failed. */
static size_t get_some(struct group *group, size_t first)
{
    struct window *window = group->window;
    struct conn *conn = group->session->conn;
    uint64_t bytes = 0;
    size_t end = first;

    conn_begin(conn, window->deadline, false);
    for (; end < window->count && bytes < GET_BYTES; end++)
        if (wants_rest(group, &window->items[end])) {
            loading_get(conn, &window->items[end].of.loading);
            bytes += window->items[end].of.loading.head.blob_len;
        }
    if (bytes > 0 && !conn_send(conn)) {
        (void)conn_trouble(conn, &group->trouble);
        return SIZE_MAX;
    }
    for (size_t i = first; i < end; i++) {
        struct item *item = &window->items[i];
        struct mako_error why;

        if (!wants_rest(group, item))
            continue;
        why.text[0] = '\0';
        item->of.loading.err = &why;
        if (loading_hear_get(conn, &item->of.loading, &group->trouble)) {
            finish(window, item, item->of.loading.status, &why);
        } else if (group->trouble.kind < TROUBLE_MOVED) {
            return SIZE_MAX;
        }
    }
    return end;
}

static void load_group(struct group *group)
{
    size_t at = 0;

    if (!probe_group(group))
        return;
    while (at < group->window->count)
        at = get_some(group, at);
}

static int load_one(struct window *window, struct item *item, struct mako_error *why)
{
    return load_until(window->store, window->streams[item->index], item->of.loading.sink,
                      window->deadline, why);
}

static bool add_load(struct window *window, struct mako_str stream,
                     struct mako_sink *sink, size_t index)
{
    struct item *item = &window->items[window->count];
    char *room = window_room(window, stream);
    struct key key;

    if (room == NULL || !key_make(&window->store->settings, stream, room, &key))
        return false;
    window_add(window, item, index, &key, 0);
    item->of.loading = (struct loading){.key = &item->key, .sink = sink};
    return true;
}

static size_t load_window(struct window *window, struct mako_sink *const *sinks,
                          size_t at, size_t count)
{
    const struct mako_str *streams = window->streams;

    window_begin(window);
    if (streams[at].len > KEY_ID_MAX) {
        window->statuses[at] = MAKO_NOT_FOUND;
        return at + 1;
    }
    while (at < count && streams[at].len <= KEY_ID_MAX &&
           add_load(window, streams[at], sinks[at], at))
        at++;
    for_groups(window, load_group);
    finish_rest(window, load_one);
    return at;
}

int redis_load_many(void *handle, const struct mako_str *streams,
                    struct mako_sink *const *sinks, size_t count, int *statuses,
                    struct mako_error *err)
{
    struct store *store = handle;
    struct window *window;

    err->text[0] = '\0';
    window = window_new(store, statuses, err);
    if (window == NULL)
        return mako_fail(err, MAKO_E_NOMEM, "no memory");
    window->streams = streams;
    for (size_t at = 0; at < count;)
        at = give_up(window, load_window(window, sinks, at, count), count);
    window_free(window);
    return MAKO_OK;
}

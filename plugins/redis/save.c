/* plugins/redis/save.c - saving and removing.
 *
 * A small snapshot goes into the compare-and-set script; a large one to a temporary key,
 * so that Lua never sees it, and a script puts it in place.  An unconditional save takes
 * note of what is there first, and replaces only that: so a copy of it that was delayed
 * somewhere finds things changed, and can do no harm. */
#include <stdio.h>
#include <string.h>

#include "jitter.h"
#include "ops.h"
#include "scripts.h"

/* ---- what is said --------------------------------------------------------------------
 */

int save_check(const struct mako_record *record, struct mako_error *err)
{
    if ((record->flags & 0xffffu & ~MAKO_SAVE_IF_NEWER) != 0)
        return mako_fail(err, MAKO_E_UNSUPPORTED, "unknown record flags %#x",
                         (unsigned)record->flags);
    if (record->stream.len == 0 || record->stream.len > KEY_ID_MAX)
        return mako_fail(err, MAKO_E_LIMIT, "a stream id of %zu bytes",
                         record->stream.len);
    return MAKO_OK;
}

bool saving_make(const struct settings *settings, const struct mako_record *record,
                 char *room, struct saving *saving)
{
    const struct head head = {
        .meta = record->meta, .blob_len = record->blob_len, .nonce = unique_number()};

    head_write(&head, saving->head);
    saving->record = record;
    saving->rule = "";
    saving->rule_len = 0;
    saving->swap = (int64_t)record->blob_len + HEAD_SIZE > settings->inline_max;
    return key_make(settings, record->stream, room, &saving->key);
}

void saving_value(struct conn *conn, const struct saving *saving)
{
    conn_arg_pair(conn, saving->head, HEAD_SIZE, saving->record->blob,
                  saving->record->blob_len);
}

/* By its sum where the server got it on this connection already: a server that has just
 * become the master has none, and finding that out would cost a wait for its replicas. */
void say_script(const struct settings *settings, struct session *session,
                enum script script, size_t args)
{
    static const struct {
        const char *text, *sum;
    } scripts[] = {{script_save, script_save_sha},
                   {script_swap, script_swap_sha},
                   {script_guard, script_guard_sha}};
    bool known = session->scripts & 1u << script;

    conn_command(session->conn, known ? "EVALSHA" : "EVAL", args);
    conn_arg_text(session->conn, known ? scripts[script].sum : scripts[script].text);
    session->scripts |= 1u << script;
    if (!known)
        tally_add(&settings->tally->scripts_loaded, 1);
}

void forget_script(struct session *session, enum script script)
{
    session->scripts &= ~(1u << script);
}

static enum script script_of(const struct saving *saving)
{
    return saving->swap ? SCRIPT_SWAP : SCRIPT_SAVE;
}

/* Rule and life, as far as there are any. */
static size_t say_limits(const struct settings *settings, struct conn *conn,
                         const struct saving *saving, bool count_only)
{
    size_t args = settings->ttl > 0 ? 2 : saving->rule_len > 0;

    if (count_only || args == 0)
        return args;
    conn_arg(conn, saving->rule, saving->rule_len);
    if (args == 2)
        conn_arg_number(conn, settings->ttl);
    return args;
}

static void say_swap(const struct settings *settings, struct session *session,
                     const struct saving *saving)
{
    struct conn *conn = session->conn;
    char tmp[KEY_TMP_MAX];
    size_t tmp_len = key_tmp(&saving->key, unique_number(), tmp);

    conn_command(conn, "SET", 4);
    conn_arg(conn, tmp, tmp_len);
    saving_value(conn, saving);
    conn_arg_text(conn, "PX");
    conn_arg_number(conn, settings->tmp_ttl);
    say_script(settings, session, SCRIPT_SWAP,
               5 + say_limits(settings, conn, saving, true));
    conn_arg_text(conn, "2");
    conn_arg(conn, saving->key.text, saving->key.len);
    conn_arg(conn, tmp, tmp_len);
    conn_arg(conn, saving->head + HEAD_SEQ, 8);
    (void)say_limits(settings, conn, saving, false);
}

void saving_say(const struct settings *settings, struct session *session,
                const struct saving *saving)
{
    struct conn *conn = session->conn;

    if (saving->swap) {
        say_swap(settings, session, saving);
        return;
    }
    say_script(settings, session, SCRIPT_SAVE,
               4 + say_limits(settings, conn, saving, true));
    conn_arg_text(conn, "1");
    conn_arg(conn, saving->key.text, saving->key.len);
    saving_value(conn, saving);
    (void)say_limits(settings, conn, saving, false);
}

/* ---- what is heard --------------------------------------------------------------------
 */

/* An answer that should be of a type; trouble says why not, if it does not already. */
static bool hear(struct conn *conn, enum reply_type type, int64_t *number,
                 struct trouble *trouble)
{
    struct reply *reply = conn_reply(conn);
    bool as_expected = reply != NULL && reply->type == type;

    if (reply == NULL)
        return conn_trouble(conn, trouble);
    if (as_expected && number != NULL)
        *number = reply->integer;
    else if (reply->type == REPLY_ERROR)
        (void)trouble_answer(trouble, conn_name(conn), reply->text, reply->len);
    else if (!as_expected)
        (void)trouble_set(trouble, TROUBLE_PROTOCOL, "%.110s: an answer of another kind",
                          conn_name(conn));
    reply_free(reply);
    return as_expected;
}

bool saving_hear(struct session *session, const struct saving *saving, int64_t *verdict,
                 struct trouble *trouble)
{
    struct conn *conn = session->conn;
    struct trouble of_set = {.kind = TROUBLE_NONE};
    bool set = !saving->swap || hear(conn, REPLY_STATUS, NULL, &of_set), judged;

    /* What is too large ends the connection. */
    if (!set && (of_set.kind < TROUBLE_MOVED || of_set.kind == TROUBLE_TOO_LARGE)) {
        *trouble = of_set;
        return false;
    }
    judged = hear(conn, REPLY_INTEGER, verdict, trouble);
    if (!judged && trouble->kind == TROUBLE_NOSCRIPT)
        forget_script(session, script_of(saving));
    if (!set && (judged || trouble->kind >= TROUBLE_MOVED))
        *trouble = of_set;
    /* An ASK about two keys, or about the temporary one, says nothing of where the
     * stream's own key is: it must be asked about alone. */
    if (saving->swap && (!set || !judged) && trouble->kind == TROUBLE_ASK)
        trouble->kind = TROUBLE_TRYAGAIN;
    return set && judged;
}

/* ---- one save -------------------------------------------------------------------------
 */

struct save_task {
    struct task task;
    const struct settings *settings;
    struct saving saving;
    unsigned char rule[3 + HEAD_SIZE]; /* "was" and what was there */
};

/* What is there now becomes the rule of an unconditional save. */
static bool look(struct save_task *save, struct conn *conn, bool asking, int64_t deadline,
                 struct trouble *trouble)
{
    struct reply *reply;

    conn_begin(conn, deadline, asking);
    conn_command(conn, "GETRANGE", 3);
    conn_arg(conn, save->saving.key.text, save->saving.key.len);
    conn_arg_text(conn, "0");
    conn_arg_text(conn, "47");
    if (!conn_send(conn) || (reply = conn_reply(conn)) == NULL)
        return conn_trouble(conn, trouble);
    memcpy(save->rule, "was", 3);
    save->saving.rule = save->rule;
    save->saving.rule_len = 3;
    if (reply->type == REPLY_BULK && reply->len <= HEAD_SIZE) {
        memcpy(save->rule + 3, reply->text, reply->len);
        save->saving.rule_len += reply->len;
    } else if (reply->type != REPLY_ERROR || strncmp(reply->text, "WRONGTYPE", 9) != 0) {
        (void)trouble_answer(trouble, conn_name(conn), reply->text, reply->len);
        reply_free(reply);
        return false;
    }
    reply_free(reply);
    return true;
}

/* Say it and hear what became of it, the wait for disk and replicas included. */
static bool exchange(struct save_task *save, struct session *session, bool asking,
                     int64_t deadline, int64_t *verdict, struct trouble *trouble)
{
    const struct settings *settings = save->settings;
    struct conn *conn = session->conn;
    struct wait wait = session_wait(session, save->task.limit);
    struct trouble of_wait = {.kind = TROUBLE_NONE};
    bool heard;

    conn_begin(conn, deadline, asking);
    saving_say(settings, session, &save->saving);
    durable_ask(settings, conn, &wait);
    if (!conn_send(conn))
        return conn_trouble(conn, trouble);
    heard = saving_hear(session, &save->saving, verdict, trouble);
    if (!heard && trouble->kind < TROUBLE_MOVED)
        return false;
    if (!session_heard(session, &wait, &of_wait) && heard && *verdict == 1) {
        *trouble = of_wait;
        return false;
    }
    return heard;
}

/* True: that is how it is; false: trouble says what to do. */
static bool conclude(struct task *task, const struct conn *conn, int64_t verdict,
                     struct trouble *trouble)
{
    if (verdict == 1 || verdict == 0) {
        task->status = verdict == 1 ? MAKO_OK : MAKO_STALE;
        return true;
    }
    if (verdict == 2)
        return trouble_set(trouble, TROUBLE_CONTENDED, "%.110s: others save it too",
                           conn_name(conn));
    return trouble_set(trouble, TROUBLE_AWAY,
                       "%.110s: the temporary key was evicted or has expired",
                       conn_name(conn));
}

static bool run_save(struct task *task, struct session *session, bool asking,
                     int64_t deadline, struct trouble *trouble)
{
    struct save_task *save = (struct save_task *)task;
    struct conn *conn = session->conn;
    int64_t verdict = 0;
    bool heard;

    if (asking || task->one_key)
        save->saving.swap = false;
    if (!(save->saving.record->flags & MAKO_SAVE_IF_NEWER) &&
        !look(save, conn, asking, deadline, trouble))
        return false;
    heard = exchange(save, session, asking, deadline, &verdict, trouble);
    if (!heard && trouble->kind == TROUBLE_NOSCRIPT)
        heard = exchange(save, session, asking, deadline, &verdict, trouble);
    return heard && conclude(task, conn, verdict, trouble);
}

int save_until(struct store *store, const struct mako_record *record, int64_t deadline,
               struct mako_error *err)
{
    struct save_task save = {.task = {.bytes = record->blob_len,
                                      .writes = true,
                                      .repeatable = true,
                                      .run = run_save,
                                      .err = err},
                             .settings = &store->settings};
    char room[KEY_MAX];

    if (!saving_make(&store->settings, record, room, &save.saving))
        return mako_fail(err, MAKO_E_LIMIT, "a stream id of %zu bytes",
                         record->stream.len);
    save.task.key = &save.saving.key;
    return task_do(store, &save.task, deadline);
}

int redis_save(void *handle, const struct mako_record *record, struct mako_error *err)
{
    struct store *store = handle;
    int status = save_check(record, err);

    return status == MAKO_OK ? save_until(store, record, task_deadline(store), err)
                             : status;
}

/* ---- removing
 * --------------------------------------------------------------------------
 */

struct remove_task {
    struct task task;
    const struct settings *settings;
};

static bool run_remove(struct task *task, struct session *session, bool asking,
                       int64_t deadline, struct trouble *trouble)
{
    const struct settings *settings = ((struct remove_task *)task)->settings;
    struct conn *conn = session->conn;
    struct wait wait = session_wait(session, task->limit);
    struct trouble of_wait = {.kind = TROUBLE_NONE};
    int64_t removed = 0;
    bool heard;

    conn_begin(conn, deadline, asking);
    conn_command(conn, "UNLINK", 1);
    conn_arg(conn, task->key->text, task->key->len);
    durable_ask(settings, conn, &wait);
    if (!conn_send(conn))
        return conn_trouble(conn, trouble);
    heard = hear(conn, REPLY_INTEGER, &removed, trouble);
    if ((heard || trouble->kind >= TROUBLE_MOVED) &&
        !session_heard(session, &wait, &of_wait) && heard) {
        *trouble = of_wait;
        return false;
    }
    task->status = removed > 0 ? MAKO_OK : MAKO_NOT_FOUND;
    return heard;
}

/* Not tried again once it may have been carried out: a second one that is late could
 * remove what was saved after it. */
int redis_remove(void *handle, struct mako_str stream, struct mako_error *err)
{
    struct store *store = handle;
    struct key key;
    char room[KEY_MAX];
    struct remove_task task = {
        .task = {.key = &key, .writes = true, .run = run_remove, .err = err},
        .settings = &store->settings};

    if (!key_make(&store->settings, stream, room, &key))
        return MAKO_NOT_FOUND;
    return task_do(store, &task.task, task_deadline(store));
}

/* plugins/redis/durable.c - the append-only file, asked about and waited for. */
#include "durable.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the questions ------------------------------------------------------------------
 */

enum {
    ASK_WAITAOF,
    ASK_SERVER,
    ASK_APPENDONLY,
    ASK_APPENDFSYNC,
    ASK_ON_REWRITE,
    ASK_PERSISTENCE,
    ASK_MEMORY,
    QUESTIONS
};

struct facts {
    struct reply *replies[QUESTIONS];
};

static const char *const settings_asked[] = {"appendonly", "appendfsync",
                                             "no-appendfsync-on-rewrite"};

/* WAITAOF on a connection that wrote nothing answers at once where it can be used. */
static void ask(struct conn *conn)
{
    conn_command(conn, "WAITAOF", 3);
    conn_arg_text(conn, "1");
    conn_arg_text(conn, "0");
    conn_arg_text(conn, "100");
    conn_command(conn, "INFO", 1);
    conn_arg_text(conn, "server");
    for (size_t i = 0; i < 3; i++) {
        conn_command(conn, "CONFIG", 2);
        conn_arg_text(conn, "GET");
        conn_arg_text(conn, settings_asked[i]);
    }
    conn_command(conn, "INFO", 1);
    conn_arg_text(conn, "persistence");
    conn_command(conn, "INFO", 1);
    conn_arg_text(conn, "memory");
}

static void facts_free(struct facts *facts)
{
    for (size_t i = 0; i < QUESTIONS; i++)
        reply_free(facts->replies[i]);
}

static bool hear(struct conn *conn, struct facts *facts)
{
    for (size_t i = 0; i < QUESTIONS; i++) {
        facts->replies[i] = conn_reply(conn);
        if (facts->replies[i] == NULL)
            return false;
    }
    return true;
}

/* The value of a setting, or NULL where the server does not tell. */
static const char *setting(const struct facts *facts, size_t question)
{
    const struct reply *value = reply_item(facts->replies[question], 1);

    return value != NULL && reply_is_text(value) ? value->text : NULL;
}

/* What stands behind "name:" in a line of the text, or NULL. */
static const char *info_value(const struct reply *reply, const char *name)
{
    size_t len = strlen(name);
    const char *at = reply_is_text(reply) ? reply->text : NULL;

    for (; at != NULL && *at != '\0'; at = strchr(at, '\n'), at += at != NULL)
        if (strncmp(at, name, len) == 0 && at[len] == ':')
            return at + len + 1;
    return NULL;
}

/* True where the line "name:value" is in the text; value may end in '*'. */
static bool info_says(const struct reply *reply, const char *name, const char *value)
{
    size_t len = strlen(value);
    bool open_end = len > 0 && value[len - 1] == '*';
    const char *found = info_value(reply, name);

    if (open_end)
        len--;
    return found != NULL && strncmp(found, value, len) == 0 &&
           (open_end || strchr("\r\n", found[len]) != NULL);
}

/* ---- the judgement -------------------------------------------------------------------
 */

static void doubt(struct proof *proof, const struct conn *conn, const char *reason)
{
    proof->proven = false;
    (void)snprintf(proof->reason, sizeof proof->reason, "%.100s: %.200s", conn_name(conn),
                   reason);
}

/* Where a server does not answer a question, the configuration may vouch for it. */
static void judge_silence(const struct settings *settings, const struct facts *facts,
                          const struct conn *conn, struct proof *proof)
{
    bool config_silent = setting(facts, ASK_APPENDFSYNC) == NULL;

    if (settings->assume_durable)
        return;
    if (config_silent)
        doubt(proof, conn,
              "does not answer CONFIG GET, so it cannot be proven that it flushes its "
              "append-only file (allow +config|get, or set assume_durable)");
    else if (!reply_is_text(facts->replies[ASK_PERSISTENCE]))
        doubt(proof, conn,
              "does not answer INFO, so it cannot be proven that its append-only file "
              "works (allow +info, or set assume_durable)");
}

/* WAITAOF answers before the flush that it should wait for, unless appendfsync is always:
 * in Redis before 8.0 (its pull request 13793), and in Valkey, which gives 7.2.4 as its
 * version of Redis; seen in Valkey 8.1.1. */
static bool waits_for_disk(const struct facts *facts)
{
    const char *version = info_value(facts->replies[ASK_SERVER], "redis_version");

    return facts->replies[ASK_WAITAOF]->type == REPLY_ARRAY && version != NULL &&
           strtoul(version, NULL, 10) >= 8;
}

/* Where WAITAOF is not to be relied on, only the settings speak for a save. */
static void judge_settings(const struct settings *settings, const struct facts *facts,
                           const struct conn *conn, struct proof *proof)
{
    const char *aof = setting(facts, ASK_APPENDONLY);
    const char *fsync = setting(facts, ASK_APPENDFSYNC);
    const char *rewrite = setting(facts, ASK_ON_REWRITE);
    const struct reply *info = facts->replies[ASK_PERSISTENCE];
    char text[160];

    if (aof != NULL && strcmp(aof, "yes") != 0) {
        doubt(proof, conn, "has appendonly no");
    } else if (fsync != NULL && strcmp(fsync, "always") != 0) {
        (void)snprintf(text, sizeof text,
                       "has appendfsync %.20s; 'always' is needed before Redis 8", fsync);
        doubt(proof, conn, text);
    } else if (rewrite != NULL && strcmp(rewrite, "no") != 0) {
        doubt(proof, conn,
              "has no-appendfsync-on-rewrite yes, which stops flushing now "
              "and then");
    } else if (reply_is_text(info) && !info_says(info, "aof_enabled", "1")) {
        doubt(proof, conn, "says that its append-only file is off");
    } else if (reply_is_text(info) && !info_says(info, "aof_last_write_status", "ok")) {
        doubt(proof, conn,
              "could not write its append-only file (aof_last_write_status)");
    } else {
        judge_silence(settings, facts, conn, proof);
    }
}

/* A server that throws keys away when memory is short keeps no promise about them. */
static void judge_eviction(const struct settings *settings, const struct facts *facts,
                           const struct conn *conn, struct proof *proof)
{
    const struct reply *info = facts->replies[ASK_MEMORY];
    bool drops = info_says(info, "maxmemory_policy", "allkeys-*") ||
                 (settings->ttl > 0 && info_says(info, "maxmemory_policy", "volatile-*"));

    if (drops && !info_says(info, "maxmemory", "0") && !settings->allow_eviction)
        doubt(proof, conn,
              "may evict snapshots when its memory is full (maxmemory-policy: set "
              "noeviction, or allow_eviction here)");
}

static void judge(const struct settings *settings, const struct facts *facts,
                  const struct conn *conn, struct proof *proof)
{
    const struct reply *waitaof = facts->replies[ASK_WAITAOF];
    const char *fsync = setting(facts, ASK_APPENDFSYNC);

    *proof = (struct proof){.proven = true,
                            .waitaof = waitaof->type == REPLY_ARRAY,
                            .slow = fsync == NULL || strcmp(fsync, "always") != 0};
    if (!proof->waitaof && waitaof->type == REPLY_ERROR &&
        strstr(waitaof->text, "appendonly is disabled") != NULL)
        doubt(proof, conn, "has appendonly no");
    else if (!waits_for_disk(facts))
        judge_settings(settings, facts, conn, proof);
    else if (fsync != NULL && strcmp(fsync, "no") == 0)
        doubt(proof, conn, "has appendfsync no; 'always' or 'everysec' is needed");
    if (proof->proven)
        judge_eviction(settings, facts, conn, proof);
}

/* A server that is busy, or no master now, has not said how it is set up. */
static bool is_away(const struct facts *facts, const struct conn *conn,
                    struct trouble *trouble)
{
    for (size_t i = 0; i < QUESTIONS; i++) {
        const struct reply *reply = facts->replies[i];

        if (reply->type != REPLY_ERROR)
            continue;
        (void)trouble_answer(trouble, conn_name(conn), reply->text, reply->len);
        if (trouble->kind == TROUBLE_AWAY || trouble->kind == TROUBLE_READONLY)
            return true;
    }
    /* While it loads, a server has its append-only file off. */
    return info_says(facts->replies[ASK_PERSISTENCE], "loading", "1") &&
           !trouble_set(trouble, TROUBLE_AWAY, "%.110s: is loading its data",
                        conn_name(conn));
}

bool durable_prove(const struct settings *settings, struct conn *conn, int64_t deadline,
                   struct proof *proof, struct trouble *trouble)
{
    struct facts facts = {{NULL}};
    bool heard, away;

    conn_begin(conn, deadline, false);
    ask(conn);
    heard = conn_send(conn) && hear(conn, &facts);
    if (!heard)
        (void)conn_trouble(conn, trouble);
    away = heard && is_away(&facts, conn, trouble);
    if (heard && !away)
        judge(settings, &facts, conn, proof);
    facts_free(&facts);
    return heard && !away;
}

/* ---- with each save -------------------------------------------------------------------
 */

/* The share of a save's time in which replicas should at least have it. */
#define ARRIVAL_MS 100

/* A replica says at once what it has, and each second how far it has flushed; WAITAOF
 * asks it before it has flushed this save.  So WAIT comes first: once the replica has the
 * save, WAITAOF asks again, which with appendfsync always spares that second. */
static void ask_for_arrival(const struct settings *settings, struct conn *conn,
                            struct wait *wait)
{
    int64_t ms = wait->ms / 4 < ARRIVAL_MS ? wait->ms / 4 : ARRIVAL_MS;

    if (settings->wait_replicas == 0 || ms == 0)
        return;
    conn_command(conn, "WAIT", 2);
    conn_arg_number(conn, settings->wait_replicas);
    conn_arg_number(conn, ms);
    wait->ms -= ms;
    wait->twice = true;
}

void durable_ask(const struct settings *settings, struct conn *conn, struct wait *wait)
{
    if (settings->power && wait->waitaof) {
        ask_for_arrival(settings, conn, wait);
        conn_command(conn, "WAITAOF", 3);
        conn_arg_text(conn, "1");
    } else if (settings->wait_replicas > 0) {
        conn_command(conn, "WAIT", 2);
    } else {
        return;
    }
    conn_arg_number(conn, settings->wait_replicas);
    conn_arg_number(conn, wait->ms);
    wait->asked = true;
}

/* The number that an answer is, if it is one. */
static int64_t count_in(const struct reply *item)
{
    return item != NULL && item->type == REPLY_INTEGER ? item->integer : 0;
}

static bool judge_wait(const struct settings *settings, const struct conn *conn,
                       struct wait *wait, const struct reply *reply,
                       struct trouble *trouble)
{
    bool both = settings->power && wait->waitaof;
    int64_t replicas = count_in(both ? reply_item(reply, 1) : reply);

    if (reply->type == REPLY_ERROR) {
        (void)trouble_answer(trouble, conn_name(conn), reply->text, reply->len);
        trouble->kind = TROUBLE_UNSAFE; /* written, and then not answered for */
        return false;
    }
    if (both && count_in(reply_item(reply, 0)) < 1)
        return trouble_set(trouble, TROUBLE_UNSAFE,
                           "%.110s: not flushed to its append-only file in time",
                           conn_name(conn));
    wait->alone = replicas < settings->wait_replicas;
    if (wait->alone)
        return trouble_set(trouble, TROUBLE_UNSAFE,
                           "%.110s: %lld of %lld replicas confirmed in time "
                           "(wait_replicas)",
                           conn_name(conn), (long long)replicas,
                           (long long)settings->wait_replicas);
    return true;
}

static struct reply *hear_wait(const struct settings *settings, struct conn *conn,
                               const struct wait *wait, int64_t ms)
{
    int64_t until = now_ms() + ms + settings->io_timeout;

    conn_extend(conn, until < wait->limit ? until : wait->limit);
    return conn_reply(conn);
}

bool durable_heard(const struct settings *settings, struct conn *conn, struct wait *wait,
                   struct trouble *trouble)
{
    struct reply *reply = NULL, *arrival = NULL;
    bool met;

    if (!wait->asked)
        return true;
    if (wait->twice) /* what counts comes behind it */
        arrival = hear_wait(settings, conn, wait, ARRIVAL_MS);
    if (!wait->twice || arrival != NULL)
        reply = hear_wait(settings, conn, wait, wait->ms);
    reply_free(arrival);
    if (reply == NULL)
        return conn_trouble(conn, trouble);
    met = judge_wait(settings, conn, wait, reply, trouble);
    reply_free(reply);
    return met;
}

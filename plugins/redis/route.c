/* plugins/redis/route.c - single, sentinel, cluster. */
#include "route.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jitter.h"
#include "slot.h"

/* Not asked again sooner than this, whatever happens. */
#define ASK_PAUSE_MS 100
/* Where nobody answers: at the longest so many times of what that took. */
#define PAUSE_TIMES 10
/* Of one sentinel, at least. */
#define SHARE_MS 50

struct route {
    const struct settings *settings;
    pthread_mutex_t lock;
    pthread_cond_t learnt;
    bool stale;                    /* in doubt: to be asked for before it is used */
    bool asking, urgent;           /* urgent: what was in doubt, so the others wait */
    int64_t again_at, again_pause; /* pause 0: somebody answered the last time */
    int64_t ask_at, picked_at;
    size_t first_sentinel; /* the one that answered last */
    struct node *nodes[MASTERS_MAX];
    size_t count;
    uint16_t owner[SLOTS]; /* outside of a cluster all are node 0 */
};

/* ---- life ---------------------------------------------------------------------------
 */

struct route *route_new(const struct settings *settings)
{
    struct route *route = calloc(1, sizeof *route);
    pthread_condattr_t attr;

    if (route == NULL)
        return NULL;
    route->settings = settings;
    route->stale = true;
    for (size_t slot = 0; slot < SLOTS; slot++)
        route->owner[slot] = SLOT_NOBODY;
    pthread_mutex_init(&route->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&route->learnt, &attr);
    pthread_condattr_destroy(&attr);
    return route;
}

void route_free(struct route *route)
{
    if (route == NULL)
        return;
    for (size_t i = 0; i < route->count; i++)
        node_unref(route->nodes[i]);
    pthread_cond_destroy(&route->learnt);
    pthread_mutex_destroy(&route->lock);
    free(route);
}

/* ---- the table; locked ----------------------------------------------------------------
 */

/* The node at an endpoint, made if need be; SLOT_NOBODY: no memory, or too many. */
static uint16_t node_at(struct route *route, const struct endpoint *endpoint)
{
    for (size_t i = 0; i < route->count; i++)
        if (endpoint_same(node_endpoint(route->nodes[i]), endpoint))
            return (uint16_t)i;
    if (route->count == MASTERS_MAX)
        return SLOT_NOBODY;
    route->nodes[route->count] = node_new(route->settings, endpoint);
    if (route->nodes[route->count] == NULL)
        return SLOT_NOBODY;
    return (uint16_t)route->count++;
}

/* Take over a map: nodes that are in it already are kept with their connections. */
static bool adopt(struct route *route, const struct slot_map *map)
{
    struct node *kept[MASTERS_MAX];
    struct node *old[MASTERS_MAX];
    size_t old_count;

    for (size_t i = 0; i < map->count; i++) {
        uint16_t at = node_at(route, &map->masters[i]);

        if (at == SLOT_NOBODY)
            return false;
        kept[i] = route->nodes[at];
    }
    old_count = route->count;
    memcpy(old, route->nodes, old_count * sizeof(struct node *));
    for (size_t i = 0; i < map->count; i++)
        route->nodes[i] = node_ref(kept[i]);
    route->count = map->count;
    memcpy(route->owner, map->owner, sizeof route->owner);
    for (size_t i = 0; i < old_count; i++)
        node_unref(old[i]);
    return true;
}

/* ---- asking --------------------------------------------------------------------------
 */

/* One question to one server on a connection of its own; the answer, or NULL. */
static struct reply *question(const struct settings *settings,
                              const struct endpoint *endpoint,
                              const struct credentials *login, const char *const *words,
                              size_t count, int64_t deadline, struct trouble *trouble)
{
    int64_t soon = now_ms() + settings->connect_timeout + settings->io_timeout;
    struct conn *conn;
    struct reply *reply = NULL;

    if (soon < deadline)
        deadline = soon;
    conn = conn_open(settings, endpoint, deadline, trouble);
    if (conn == NULL)
        return NULL;
    if (session_login(settings, conn, login, false, deadline, trouble)) {
        conn_begin(conn, deadline, false);
        conn_command(conn, words[0], count - 1);
        for (size_t i = 1; i < count; i++)
            conn_arg_text(conn, words[i]);
        reply = conn_send(conn) ? conn_reply(conn) : NULL;
        if (reply == NULL)
            (void)conn_trouble(conn, trouble);
    }
    if (reply != NULL && reply->type == REPLY_ERROR) {
        (void)trouble_answer(trouble, conn_name(conn), reply->text, reply->len);
        reply_free(reply);
        reply = NULL;
    }
    conn_close(conn);
    return reply;
}

/* ---- sentinels ------------------------------------------------------------------------
 */

static bool read_address(const struct reply *reply, const struct settings *settings,
                         const struct endpoint *sentinel, struct endpoint *master,
                         struct trouble *trouble)
{
    const struct reply *host = reply_item(reply, 0), *port = reply_item(reply, 1);
    char name[ENDPOINT_TEXT], both[300];

    endpoint_text(sentinel, name);
    if (reply->type == REPLY_NIL)
        return trouble_set(trouble, TROUBLE_OTHER,
                           "sentinel %.110s: knows no master '%.60s'", name,
                           settings->sentinel_master);
    if (host != NULL && port != NULL && reply_is_text(host) && reply_is_text(port) &&
        host->len > 0 && host->len < sizeof master->host && port->len < 6) {
        int len = snprintf(both, sizeof both, "[%s]:%s", host->text, port->text);

        if (endpoint_parse(both, (size_t)len, 0, master))
            return true;
    }
    return trouble_set(trouble, TROUBLE_PROTOCOL,
                       "sentinel %.110s: an answer that is no address", name);
}

static bool ask_sentinel(struct route *route, size_t which, int64_t deadline,
                         struct endpoint *master, struct trouble *trouble)
{
    const struct settings *settings = route->settings;
    const char *const words[] = {"SENTINEL", "get-master-addr-by-name",
                                 settings->sentinel_master};
    const struct endpoint *sentinel = &settings->endpoints[which];
    struct reply *reply = question(settings, sentinel, &settings->sentinel_login, words,
                                   3, deadline, trouble);
    bool known;

    if (reply == NULL)
        return false;
    known = read_address(reply, settings, sentinel, master, trouble);
    reply_free(reply);
    return known;
}

/* Until when all may take.  A master that is known is used where nobody answers, so that
 * is found out soon. */
static int64_t patience(const struct route *route, int64_t deadline)
{
    int64_t soon = now_ms() + route->settings->io_timeout;

    return route->count > 0 && soon < deadline ? soon : deadline;
}

/* Until when one may take: half of the time, which leaves some for the others. */
static int64_t share(int64_t deadline, size_t others)
{
    int64_t now = now_ms(), half = (deadline - now) / 2;
    int64_t at = now + (half > SHARE_MS ? half : SHARE_MS);

    return others > 0 && at < deadline ? at : deadline;
}

/* More than half must name the same master.  Only those who do not answer use up time. */
static bool ask_all_sentinels(struct route *route, int64_t deadline,
                              struct endpoint *master, struct trouble *trouble)
{
    size_t count = route->settings->endpoint_count;
    struct endpoint named[ENDPOINTS_MAX];
    int64_t until = patience(route, deadline), from;
    size_t answers = 0;

    for (size_t i = 0; i < count && (from = now_ms()) < until; i++) {
        if (!ask_sentinel(route, i, share(until, count - 1 - i), &named[answers],
                          trouble))
            continue;
        answers++;
        until += now_ms() - from;
        if (until > deadline)
            until = deadline;
    }
    for (size_t i = 0; i < answers; i++) {
        size_t votes = 0;

        for (size_t j = 0; j < answers; j++)
            votes += endpoint_same(&named[i], &named[j]);
        if (votes > count / 2) {
            *master = named[i];
            return true;
        }
    }
    return trouble_set(trouble, answers > count / 2 ? TROUBLE_AWAY : TROUBLE_TIMEOUT,
                       "the sentinels do not agree on the master of '%.60s': %zu of %zu "
                       "answered",
                       route->settings->sentinel_master, answers, count);
}

static bool ask_any_sentinel(struct route *route, int64_t deadline,
                             struct endpoint *master, struct trouble *trouble)
{
    size_t count = route->settings->endpoint_count, first = route->first_sentinel;
    int64_t until = patience(route, deadline);

    route->first_sentinel = (first + 1) % count; /* which has most time then */
    for (size_t i = 0; i < count; i++) {
        size_t which = (first + i) % count;

        if (now_ms() >= until)
            return trouble_set(trouble, TROUBLE_TIMEOUT, "no sentinel answered in time");
        if (ask_sentinel(route, which, share(until, count - 1 - i), master, trouble)) {
            route->first_sentinel = which;
            return true;
        }
    }
    return false;
}

static bool ask_sentinels(struct route *route, int64_t deadline, struct slot_map *map,
                          struct trouble *trouble)
{
    map->count = 1;
    memset(map->owner, 0, sizeof map->owner);
    return route->settings->sentinel_majority
               ? ask_all_sentinels(route, deadline, &map->masters[0], trouble)
               : ask_any_sentinel(route, deadline, &map->masters[0], trouble);
}

/* ---- the cluster ----------------------------------------------------------------------
 */

static bool ask_node(struct route *route, const struct endpoint *endpoint,
                     int64_t deadline, struct slot_map *map, struct trouble *trouble)
{
    static const char *const words[] = {"CLUSTER", "SLOTS"};
    const struct settings *settings = route->settings;
    struct reply *reply =
        question(settings, endpoint, &settings->login, words, 2, deadline, trouble);
    char name[ENDPOINT_TEXT];
    bool known;

    if (reply == NULL)
        return false;
    known = slot_map_read(reply, endpoint, map);
    reply_free(reply);
    if (known)
        return true;
    endpoint_text(endpoint, name);
    return trouble_set(trouble, TROUBLE_AWAY, "%.110s: the cluster is not ready", name);
}

/* Whom to ask, those first who answered lately. */
struct candidates {
    struct endpoint list[ENDPOINTS_MAX + 16];
    size_t count;
};

static void add_candidate(struct candidates *candidates, const struct endpoint *endpoint)
{
    for (size_t i = 0; i < candidates->count; i++)
        if (endpoint_same(&candidates->list[i], endpoint))
            return;
    candidates->list[candidates->count++] = *endpoint;
}

/* Some masters from a random place on, the seeds, and last the masters that are down. */
static void find_candidates(struct route *route, struct candidates *candidates)
{
    const struct settings *settings = route->settings;
    size_t start;

    candidates->count = 0;
    pthread_mutex_lock(&route->lock);
    start = route->count > 0 ? (size_t)unique_number() % route->count : 0;
    for (size_t i = 0; i < route->count && candidates->count < 8; i++) {
        const struct node *node = route->nodes[(start + i) % route->count];

        if (!node_suspect(node))
            add_candidate(candidates, node_endpoint(node));
    }
    for (size_t i = 0; i < settings->endpoint_count; i++)
        add_candidate(candidates, &settings->endpoints[i]);
    for (size_t i = 0; i < route->count && candidates->count < ENDPOINTS_MAX + 16; i++)
        add_candidate(candidates, node_endpoint(route->nodes[i]));
    pthread_mutex_unlock(&route->lock);
}

static bool ask_cluster(struct route *route, int64_t deadline, struct slot_map *map,
                        struct trouble *trouble)
{
    struct candidates candidates;

    find_candidates(route, &candidates);
    for (size_t i = 0; i < candidates.count; i++) {
        if (now_ms() >= deadline)
            return trouble_set(trouble, TROUBLE_TIMEOUT,
                               "no node of the cluster answered in time");
        if (ask_node(route, &candidates.list[i], deadline, map, trouble))
            return true;
    }
    return false;
}

/* ---- learning -------------------------------------------------------------------------
 */

static bool ask(struct route *route, int64_t deadline, struct slot_map *map,
                struct trouble *trouble)
{
    tally_add(&route->settings->tally->refreshes, 1);
    switch (route->settings->mode) {
    case MODE_SENTINEL:
        return ask_sentinels(route, deadline, map, trouble);
    case MODE_CLUSTER:
        return ask_cluster(route, deadline, map, trouble);
    case MODE_SINGLE:
        break;
    }
    map->count = 1;
    map->masters[0] = route->settings->endpoints[0];
    memset(map->owner, 0, sizeof map->owner);
    return true;
}

/* No sentinel answered, although there was time. */
static bool silent(const struct route *route, int64_t deadline,
                   const struct trouble *trouble)
{
    return route->settings->mode == MODE_SENTINEL && now_ms() < deadline &&
           (trouble->kind == TROUBLE_LOST || trouble->kind == TROUBLE_TIMEOUT);
}

/* Locked.  Where nobody answers the known master serves, and is asked for again less and
 * less often: sooner where something speaks against it. */
static void note_silence(struct route *route)
{
    int64_t pause = jitter_double(route->again_pause, ASK_PAUSE_MS,
                                  PAUSE_TIMES * route->settings->io_timeout);

    route->again_pause = pause;
    route->again_at = now_ms() + pause / 2 + jitter(pause);
}

/* Locked when called and when it returns. */
static bool learn(struct route *route, int64_t deadline, struct trouble *trouble)
{
    struct slot_map *map = malloc(sizeof *map);
    bool known;

    if (map == NULL)
        return trouble_set(trouble, TROUBLE_NOMEM, "no memory");
    route->asking = true;
    route->urgent = route->stale;
    route->stale = false;
    pthread_mutex_unlock(&route->lock);
    known = ask(route, deadline, map, trouble);
    pthread_mutex_lock(&route->lock);
    if (known && !adopt(route, map))
        known = trouble_set(trouble, TROUBLE_NOMEM, "no memory");
    if (known)
        route->again_pause = 0;
    else if (silent(route, deadline, trouble))
        note_silence(route);
    else
        route->stale = true;
    route->asking = false;
    route->picked_at = now_ms();
    route->ask_at = now_ms() + ASK_PAUSE_MS / 2 + jitter(ASK_PAUSE_MS);
    pthread_cond_broadcast(&route->learnt);
    free(map);
    return known;
}

static bool wait_learnt(struct route *route, int64_t deadline)
{
    struct timespec until = {.tv_sec = (time_t)(deadline / 1000),
                             .tv_nsec = (long)(deadline % 1000) * 1000000};

    return pthread_cond_timedwait(&route->learnt, &route->lock, &until) != ETIMEDOUT;
}

bool route_learn(struct route *route, int64_t deadline, struct trouble *trouble)
{
    bool known;

    pthread_mutex_lock(&route->lock);
    known = learn(route, deadline, trouble);
    pthread_mutex_unlock(&route->lock);
    return known;
}

void route_doubt(struct route *route)
{
    if (route->settings->mode == MODE_SINGLE)
        return;
    pthread_mutex_lock(&route->lock);
    route->stale = true;
    pthread_mutex_unlock(&route->lock);
}

/* ---- picking --------------------------------------------------------------------------
 */

/* Locked.  What is known may serve although nobody could be asked: a cluster's other
 * masters, or a master whose sentinels are all away. */
static bool pick(struct route *route, uint16_t slot, struct node **node)
{
    uint16_t owner = route->owner[slot];

    if (owner == SLOT_NOBODY || owner >= route->count)
        return false;
    *node = node_ref(route->nodes[owner]);
    return true;
}

/* Locked.  A master that was stopped and replaced may go on, and for a moment even have a
 * replica that confirms saves; it cannot have been replaced within io_timeout.  So one
 * that was not used for longer is asked for again. */
static void doubt_unused(struct route *route)
{
    int64_t now;

    if (route->settings->mode != MODE_SENTINEL)
        return;
    now = now_ms();
    if (now - route->picked_at > route->settings->io_timeout)
        route->stale = true;
    route->picked_at = now;
}

/* Locked.  What is in doubt is asked for by one, and the others wait for the answer.
 * Where there was none the last time, and there is no other doubt, the others go on. */
static void refresh(struct route *route, int64_t deadline, struct trouble *trouble)
{
    int64_t now;

    trouble->kind = TROUBLE_NONE;
    do
        doubt_unused(route);
    while (route->asking && (route->urgent || route->stale) &&
           wait_learnt(route, deadline));
    now = now_ms();
    if (!route->asking && ((route->stale && now >= route->ask_at) ||
                           (route->again_pause > 0 && now >= route->again_at)))
        (void)learn(route, deadline, trouble);
}

bool route_known(struct route *route, uint16_t slot, struct node **node)
{
    bool found;

    pthread_mutex_lock(&route->lock);
    found = pick(route, slot, node);
    pthread_mutex_unlock(&route->lock);
    return found;
}

bool route_pick(struct route *route, uint16_t slot, int64_t deadline, struct node **node,
                struct trouble *trouble)
{
    bool found;

    pthread_mutex_lock(&route->lock);
    refresh(route, deadline, trouble);
    found = pick(route, slot, node);
    if (!found)
        route->stale = true;
    pthread_mutex_unlock(&route->lock);
    if (!found && trouble->kind == TROUBLE_NONE)
        (void)trouble_set(trouble, TROUBLE_AWAY, "slot %u: no master known",
                          (unsigned)slot);
    return found;
}

bool route_at(struct route *route, const struct endpoint *endpoint, struct node **node,
              struct trouble *trouble)
{
    uint16_t at;

    pthread_mutex_lock(&route->lock);
    at = node_at(route, endpoint);
    if (at != SLOT_NOBODY)
        *node = node_ref(route->nodes[at]);
    pthread_mutex_unlock(&route->lock);
    return at != SLOT_NOBODY || trouble_set(trouble, TROUBLE_NOMEM, "no memory");
}

/* Locked.  More may have moved, and whoever is asked at once may not know yet.  The next
 * who is told that does not put it off again. */
static void doubt_moved(struct route *route)
{
    int64_t at = now_ms() + ASK_PAUSE_MS;

    if (!route->stale && route->ask_at < at)
        route->ask_at = at;
    route->stale = true;
}

bool route_moved(struct route *route, uint16_t slot, const struct endpoint *endpoint,
                 struct trouble *trouble)
{
    uint16_t at;

    pthread_mutex_lock(&route->lock);
    at = node_at(route, endpoint);
    if (at != SLOT_NOBODY && slot < SLOTS)
        route->owner[slot] = at;
    doubt_moved(route);
    pthread_mutex_unlock(&route->lock);
    return at != SLOT_NOBODY || trouble_set(trouble, TROUBLE_NOMEM, "no memory");
}

struct node **route_masters(struct route *route, int64_t deadline, size_t *count,
                            struct trouble *trouble)
{
    struct node **list;
    size_t used = 0;
    bool owns[MASTERS_MAX] = {false};

    pthread_mutex_lock(&route->lock);
    refresh(route, deadline, trouble);
    list = malloc((route->count + 1) * sizeof(struct node *));
    for (size_t slot = 0; slot < SLOTS; slot++)
        if (route->owner[slot] < route->count)
            owns[route->owner[slot]] = true;
    for (size_t i = 0; list != NULL && i < route->count; i++)
        if (owns[i])
            list[used++] = node_ref(route->nodes[i]);
    pthread_mutex_unlock(&route->lock);
    *count = used;
    if (used > 0)
        return list;
    if (list == NULL)
        (void)trouble_set(trouble, TROUBLE_NOMEM, "no memory");
    else
        (void)trouble_set(trouble, TROUBLE_AWAY, "no master is known");
    free(list);
    return NULL;
}

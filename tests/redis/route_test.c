/* tests/redis/route_test.c - which server a store asks, what it goes by where nobody
 * tells it, and who waits for a connection. */
#include "client.h"
#include "proxy.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#define PATIENCE_MS 60000

static struct server other;

static void take_both_away(void)
{
    server_remove(&other);
    take_away();
}

TestSuite(redis_route, .timeout = 240, .fini = take_both_away);

/* ---- a cluster ------------------------------------------------------------------------
 */

#define NODE "--cluster-enabled", "yes", "--cluster-require-full-coverage", "no"

/* Of two nodes the first has all slots, and the other knows that. */
static void begin_cluster(void)
{
    char meet[64];

    store_settings = ", \"retry_after\": 0";
    other = (struct server){.options = {NODE}};
    server_start(&other);
    server = (struct server){.options = {NODE}};
    server_start(&server);
    must_answer("CLUSTER ADDSLOTSRANGE 0 16383", "+OK");
    (void)snprintf(meet, sizeof meet, "CLUSTER MEET 127.0.0.1 %u", (unsigned)other.port);
    must_answer(meet, "+OK");
    until_answer("CLUSTER INFO", "cluster_known_nodes:2");
    until_answer("CLUSTER INFO", "cluster_state:ok");
    while (!server_says(&other, "CLUSTER INFO", "cluster_slots_ok:16384"))
        breathe();
}

/* A store that believes the other node to have all slots; from now on it is told. */
static mako_store *open_misled(struct proxy *proxy)
{
    const struct proxy_rule pass = {.fault = PROXY_PASS};
    static char slots[128]; /* a line may still be saying it */
    char options[256];
    struct proxy_rule mislead = {.lie = {.words = "SLOTS", .text = slots}};
    struct mako_error err = {""};
    mako_store *store = NULL;

    mislead.lie.len =
        (size_t)snprintf(slots, sizeof slots,
                         "*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%u\r\n",
                         (unsigned)proxy_port(proxy));
    (void)snprintf(options, sizeof options,
                   "\"mode\": \"cluster\", \"wait_replicas\": 0, "
                   "\"endpoints\": \"127.0.0.1:%u\"" PATIENT,
                   (unsigned)proxy_port(proxy));
    proxy_rule(proxy, &mislead);
    cr_assert_eq(open_with("crash", options, &store, &err), MAKO_OK, "%s", err.text);
    proxy_rule(proxy, &pass);
    return store;
}

/* Each save goes to the wrong node and is sent on, one soon after the other: all the same
 * the table is asked for, and not one slot after the other learnt. */
Test(redis_route, who_is_redirected_again_and_again_asks)
{
    struct proxy *proxy;
    mako_store *store;
    uint64_t refreshes;
    char stream[32];

    begin_cluster();
    proxy = proxy_start(other.port);
    store = open_misled(proxy);
    refreshes = counter(store, "refreshes");
    for (unsigned i = 0; counter(store, "refreshes") == refreshes; i++) {
        (void)snprintf(stream, sizeof stream, "s%u", i);
        must_save(store, stream, 1, 100);
        cr_assert_lt(counter(store, "redirects"), 6000);
    }
    cr_assert_geq(counter(store, "redirects"), 1);
    mako_store_unref(store);
    proxy_stop(proxy);
}

/* ---- sentinels ------------------------------------------------------------------------
 */

#define SENTINELS 5

/* They pass on to the server, but for the one question. */
static struct proxy *sentinels[SENTINELS];
static size_t sentinel_count;

static void silence(size_t from, size_t to)
{
    const struct proxy_rule swallow = {.fault = PROXY_SWALLOW};

    for (size_t i = from; i < to; i++)
        proxy_rule(sentinels[i], &swallow);
}

/* These and those behind them say that this is the master. */
static void name_master(size_t from, const struct server *master)
{
    static char texts[2][64]; /* a line may still be saying one */
    char *text = texts[master == &other];
    struct proxy_rule rule = {.lie = {.words = "get-master", .text = text}};

    rule.lie.len =
        (size_t)snprintf(text, sizeof texts[0], "*2\r\n$9\r\n127.0.0.1\r\n$5\r\n%u\r\n",
                         (unsigned)master->port);
    for (size_t i = from; i < sentinel_count; i++)
        proxy_rule(sentinels[i], &rule);
}

static mako_store *open_watched(size_t count, const char *options)
{
    char all[1024];
    size_t len;
    struct mako_error err = {""};
    mako_store *store = NULL;

    store_settings = ", \"retry_after\": 0";
    server = (struct server){.options = {NULL}};
    server_start(&server);
    len = (size_t)snprintf(all, sizeof all,
                           "\"mode\": \"sentinel\", \"sentinel_master\": \"m\", "
                           "\"wait_replicas\": 0%s, \"endpoints\": \"",
                           options);
    for (sentinel_count = 0; sentinel_count < count; sentinel_count++) {
        sentinels[sentinel_count] = proxy_start(server.port);
        len += (size_t)snprintf(all + len, sizeof all - len, "%s127.0.0.1:%u",
                                sentinel_count > 0 ? "," : "",
                                (unsigned)proxy_port(sentinels[sentinel_count]));
    }
    (void)snprintf(all + len, sizeof all - len, "\"");
    name_master(0, &server);
    cr_assert_eq(open_with("crash", all, &store, &err), MAKO_OK, "%s", err.text);
    return store;
}

static void finish(mako_store *store)
{
    mako_store_unref(store);
    for (size_t i = 0; i < sentinel_count; i++)
        proxy_stop(sentinels[i]);
}

/* Longer than io_timeout, so that a master that was not used is in doubt. */
static void idle(uint64_t io_timeout)
{
    uint64_t end = now_ms() + io_timeout + 100;

    while (now_ms() < end)
        breathe();
}

/* However many there are: if each took as long as it may take alone, no time were left.
 */
Test(redis_route, silent_sentinels_do_not_stop_a_store)
{
    mako_store *store = open_watched(5, ", \"op_timeout\": \"20s\", \"io_timeout\": "
                                        "\"1s\", \"connect_timeout\": \"4s\"");
    uint64_t refreshes;

    must_save(store, "a", 1, 100);
    silence(0, 5);
    refreshes = counter(store, "refreshes");
    idle(1000);
    must_save(store, "a", 2, 100);
    cr_assert_gt(counter(store, "refreshes"), refreshes);
    finish(store);
}

static void one_that_answers_is_heard(const char *options, size_t silent)
{
    mako_store *store = open_watched(3, options);
    uint64_t end = now_ms() + PATIENCE_MS, seq = 1;

    other = (struct server){.options = {NULL}};
    server_start(&other);
    must_save(store, "a", seq, 100);
    silence(0, silent);
    name_master(silent, &other);
    do {
        cr_assert(now_ms() < end, "the new master is not heard of");
        idle(2000);
        must_save(store, "a", ++seq, 100);
    } while (!server_says(&other, "EXISTS snap:{a}", ":1"));
    finish(store);
}

/* Behind those who say nothing there is one who knows the new master. */
Test(redis_route, a_sentinel_is_heard_behind_silent_ones)
{
    one_that_answers_is_heard(", \"io_timeout\": \"2s\", \"op_timeout\": \"60s\"", 2);
}

Test(redis_route, a_majority_is_heard_behind_a_silent_one)
{
    one_that_answers_is_heard(", \"io_timeout\": \"2s\", \"op_timeout\": \"60s\", "
                              "\"sentinel_majority\": true",
                              1);
}

/* ---- threads --------------------------------------------------------------------------
 */

#define SAVERS 4

static struct saver {
    pthread_t thread;
    mako_store *store;
    char stream[32];
    atomic_uint saves;
    int status; /* of the last */
    struct mako_error err;
} savers[SAVERS];

static atomic_bool stop;

static void *run_saver(void *arg)
{
    struct saver *saver = arg;

    while (!atomic_load(&stop) && saver->status == MAKO_OK) {
        unsigned seq = atomic_load(&saver->saves) + 1;

        saver->status = save(saver->store, saver->stream, seq, 100, &saver->err);
        atomic_store(&saver->saves, seq);
    }
    return NULL;
}

static void start_savers(mako_store *store, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        savers[i] = (struct saver){.store = store};
        (void)snprintf(savers[i].stream, sizeof savers[i].stream, "t%zu", i);
        cr_assert_eq(pthread_create(&savers[i].thread, NULL, run_saver, &savers[i]), 0);
    }
}

static void end_savers(size_t count)
{
    atomic_store(&stop, true);
    for (size_t i = 0; i < count; i++) {
        cr_assert_eq(pthread_join(savers[i].thread, NULL), 0);
        cr_assert_eq(savers[i].status, MAKO_OK, "%s", savers[i].err.text);
    }
}

static unsigned all_saves(void)
{
    unsigned sum = 0;

    for (size_t i = 0; i < SAVERS; i++)
        sum += atomic_load(&savers[i].saves);
    return sum;
}

/* One asks the silent sentinels again, which takes io_timeout: saves that began and ended
 * within that are the others'. */
Test(redis_route, others_go_on_while_one_asks)
{
    mako_store *store = open_watched(
        3, ", \"op_timeout\": \"60s\", \"io_timeout\": \"2s\", \"retry_max\": \"50ms\"");
    uint64_t end = now_ms() + PATIENCE_MS, before, asked, from = 0;
    unsigned saves = 0;
    bool seen = false;

    must_save(store, "a", 1, 100);
    silence(0, 3);
    idle(2000);
    must_save(store, "a", 2, 100);
    start_savers(store, SAVERS);
    asked = counter(store, "refreshes");
    for (before = now_ms(); !seen; breathe()) {
        uint64_t now = now_ms(), count = counter(store, "refreshes");

        cr_assert(now < end, "nobody saves while the sentinels are asked");
        if (count != asked) {
            asked = count;
            saves = all_saves();
            from = before; /* asking began after that */
        }
        seen = from > 0 && all_saves() > saves + 4 * SAVERS && now_ms() < from + 2000;
        before = now;
    }
    end_savers(SAVERS);
    finish(store);
}

/* ---- waiting for a connection ---------------------------------------------------------
 */

/* A store whose server takes its time for every answer. */
static mako_store *open_slow(struct proxy **proxy, const char *options)
{
    const struct proxy_rule drip = {.fault = PROXY_DRIP};
    char all[512];
    struct mako_error err = {""};
    mako_store *store = NULL;

    server = (struct server){.options = {NULL}};
    server_start(&server);
    *proxy = proxy_start(server.port);
    (void)snprintf(all, sizeof all, "\"endpoints\": \"127.0.0.1:%u\"%s" PATIENT,
                   (unsigned)proxy_port(*proxy), options);
    cr_assert_eq(open_with("crash", all, &store, &err), MAKO_OK, "%s", err.text);
    proxy_rule(*proxy, &drip);
    return store;
}

/* Who gives something back goes on before who is woken by that: on one processor, and
 * without the right of the woken to go first. */
static void keep_the_processor(void)
{
    const struct sched_param none = {.sched_priority = 0};
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((size_t)sched_getcpu(), &set);
    cr_assert_eq(sched_setaffinity(0, sizeof set, &set), 0);
    (void)sched_setscheduler(0, SCHED_BATCH, &none);
}

/* Each has waited long when the one before gives the connection back, and wants it again
 * at once. */
Test(redis_route, who_waits_for_a_connection_gets_it_in_turn)
{
    struct proxy *proxy;
    mako_store *store = open_slow(&proxy, ", \"pool_max\": 1");

    keep_the_processor();
    start_savers(store, SAVERS);
    while (all_saves() < 20 * SAVERS)
        breathe();
    end_savers(SAVERS);
    for (size_t i = 0; i < SAVERS; i++)
        cr_assert_geq(atomic_load(&savers[i].saves), 14, "thread %zu: %u saves", i,
                      atomic_load(&savers[i].saves));
    mako_store_unref(store);
    proxy_stop(proxy);
}

/* Those that are not needed any more are closed, although there is always one in use. */
Test(redis_route, unused_connections_are_closed)
{
    const struct proxy_rule pass = {.fault = PROXY_PASS};
    struct proxy *proxy;
    mako_store *store = open_slow(&proxy, ", \"pool_idle\": \"1s\"");
    uint64_t end, seq = 0;

    start_savers(store, SAVERS);
    while (counter(store, "connections") < SAVERS)
        breathe();
    end_savers(SAVERS);
    proxy_rule(proxy, &pass);
    for (end = now_ms() + PATIENCE_MS; counter(store, "connections") > 1; breathe()) {
        must_save(store, "a", ++seq, 100);
        cr_assert(now_ms() < end, "%llu connections are kept",
                  (unsigned long long)counter(store, "connections"));
    }
    mako_store_unref(store);
    proxy_stop(proxy);
}

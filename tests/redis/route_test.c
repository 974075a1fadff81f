/* tests/redis/route_test.c - which server a store asks, and what it goes by where nobody
 * tells it. */
#include "client.h"
#include "proxy.h"

#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

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

/* tests/redis/topology_test.c - the Redis store on a cluster and behind sentinels where
 * nobody dies under load: every slot, replicas that are gone, sentinels that are away,
 * disagree, or want a password.  The servers come from with-redis, one set for each
 * case. */
#include "client.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

enum {
    SLOTS = 16384,
    BATCH = 1024
};

TestSuite(redis_cluster, .timeout = 240);
TestSuite(redis_sentinel, .timeout = 240);

static struct server nodes[6];
static size_t node_count;
static const char *durability = "crash";

static void begin(void)
{
    node_count = find_servers(nodes, 6);
    store_settings = ", \"retry_after\": 0";
}

static mako_store *must_open_nodes(const char *endpoints, const char *options)
{
    char all[1024];
    mako_store *store = NULL;
    struct mako_error err = {""};

    (void)snprintf(all, sizeof all, "\"endpoints\": \"%.400s\"%s", endpoints, options);
    cr_assert_eq(open_with(durability, all, &store, &err), MAKO_OK, "%s", err.text);
    return store;
}

static void cannot_open(const char *endpoints, const char *options, int want,
                        struct mako_error *err)
{
    char all[1024];
    mako_store *store = NULL;
    int status;

    (void)snprintf(all, sizeof all, "\"endpoints\": \"%.400s\"%s", endpoints, options);
    status = open_with(durability, all, &store, err);
    cr_assert_eq(status, want, "%s: %s", mako_status_name(status), err->text);
}

static void open_fails(const char *endpoints, const char *options, int want,
                       const char *words)
{
    struct mako_error err = {""};

    cannot_open(endpoints, options, want, &err);
    has_words(err.text, words);
}

/* Until it says so: its last attempt may be cut short by the time limit. */
static void open_fails_at_last(const char *endpoints, const char *options, int want,
                               const char *words)
{
    uint64_t end = now_ms() + 60000;
    struct mako_error err = {""};

    do {
        cr_assert(now_ms() < end, "'%s' lacks '%s'", err.text, words);
        cannot_open(endpoints, options, want, &err);
    } while (!strstr(err.text, words));
}

/* ---- cluster --------------------------------------------------------------------------
 */

#define CLUSTER ", \"mode\": \"cluster\""

/* Slots between two streams of a batch that is no run of slots. */
#define STEP 41u

/* A stream for each slot. */
static char names[SLOTS][16];

/* CRC16 of what stands in the braces of the key, here by itself; bit by bit, as the
 * cluster's specification has it. */
static size_t slot_of(const char *text)
{
    unsigned crc = 0;

    for (; *text; text++) {
        crc ^= (unsigned)(unsigned char)*text << 8;
        for (unsigned bit = 0; bit < 8; bit++)
            crc = (crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1) & 0xffff;
    }
    return crc % SLOTS;
}

static void name_streams(void)
{
    size_t found = 0;

    for (unsigned i = 0; found < SLOTS; i++) {
        char name[16] = "";
        size_t slot;

        (void)snprintf(name, sizeof name, "s/%u", i);
        slot = slot_of(name);
        if (names[slot][0])
            continue;
        memcpy(names[slot], name, sizeof name);
        found++;
    }
}

static void save_slots(mako_store *store, size_t first)
{
    static struct mako_save saves[BATCH];
    const struct mako_save *pointers[BATCH];
    const char *streams[BATCH];
    int statuses[BATCH], status;
    struct mako_error err = {""};

    for (size_t i = 0; i < BATCH; i++) {
        streams[i] = names[first + i];
        saves[i] = (struct mako_save){.struct_size = sizeof saves[i],
                                      .seq = first + i + 1,
                                      .schema = 1,
                                      .state = names[first + i],
                                      .state_len = sizeof names[first + i]};
        pointers[i] = &saves[i];
    }
    status = mako_store_save_many(store, streams, pointers, BATCH, statuses, &err);
    cr_assert_eq(status, MAKO_OK, "%s", err.text);
    for (size_t i = 0; i < BATCH; i++)
        cr_assert_eq(statuses[i], MAKO_OK, "slot %zu: %s", first + i, err.text);
}

static void load_slots(mako_store *store, size_t first)
{
    static const struct mako_expect any = {
        .struct_size = sizeof any, .schema_min = 1, .schema_max = 1};
    const struct mako_expect *expects[BATCH];
    const char *streams[BATCH];
    mako_snapshot *snapshots[BATCH];
    int statuses[BATCH], status;
    struct mako_error err = {""};

    for (size_t i = 0; i < BATCH; i++) {
        streams[i] = names[first + i];
        expects[i] = &any;
    }
    status = mako_store_load_many(store, streams, expects, BATCH, snapshots, NULL,
                                  statuses, &err);
    cr_assert_eq(status, MAKO_OK, "%s", err.text);
    for (size_t i = 0; i < BATCH; i++) {
        size_t len;

        cr_assert_eq(statuses[i], MAKO_OK, "slot %zu: %s", first + i, err.text);
        cr_assert_eq(mako_snapshot_meta(snapshots[i]).seq, first + i + 1);
        cr_assert_str_eq((const char *)mako_snapshot_state(snapshots[i], &len),
                         names[first + i]);
        mako_snapshot_unref(snapshots[i]);
    }
}

/* By sequence, which tells the slot. */
static bool tick_off(void *arg, struct mako_str stream, const struct mako_meta *meta,
                     uint64_t size)
{
    bool *seen = arg;

    (void)size;
    cr_assert(meta->seq > 0 && meta->seq <= SLOTS && !seen[meta->seq - 1]);
    cr_assert_str_eq(stream.ptr, names[meta->seq - 1]);
    seen[meta->seq - 1] = true;
    return true;
}

Test(redis_cluster, every_slot)
{
    static bool seen[SLOTS];
    struct mako_error err = {""};
    size_t count = 0;
    mako_store *store;

    begin();
    name_streams();
    store = must_open_nodes(getenv("MAKO_TEST_REDIS"), CLUSTER PATIENT);
    for (size_t at = 0; at < SLOTS; at += BATCH)
        save_slots(store, at);
    for (size_t at = 0; at < SLOTS; at += BATCH)
        load_slots(store, at);
    cr_assert_eq(mako_store_scan(store, NULL, tick_off, seen, &err), MAKO_OK, "%s",
                 err.text);
    for (size_t i = 0; i < SLOTS; i++)
        count += seen[i];
    cr_assert_eq(count, SLOTS, "%zu of %d streams are listed", count, SLOTS);
    cr_assert_eq(counter(store, "redirects"), 0, "each was asked of its own master");
    mako_store_unref(store);
}

/* Streams of every STEP-th slot, in one batch. */
enum {
    WIDE = SLOTS / STEP
};

static const char *wide[WIDE];
static int wide_statuses[WIDE];

static mako_store *open_wide(void)
{
    begin();
    name_streams();
    for (size_t i = 0; i < WIDE; i++)
        wide[i] = names[i * STEP];
    return must_open_nodes(getenv("MAKO_TEST_REDIS"),
                           CLUSTER ", \"wait_replicas\": 0, \"op_timeout\": \"6s\"");
}

/* All but those of the slots from first to last. */
static void must_be_done_but(size_t first, size_t last, const struct mako_error *err)
{
    for (size_t i = 0; i < WIDE; i++) {
        size_t slot = i * STEP;

        cr_assert_eq(wide_statuses[i],
                     slot >= first && slot <= last ? MAKO_E_UNAVAILABLE : MAKO_OK,
                     "slot %zu: %s: %s", slot, mako_status_name(wide_statuses[i]),
                     err->text);
    }
}

static void save_wide_but(mako_store *store, size_t first, size_t last)
{
    const struct mako_save save = {
        .struct_size = sizeof save, .seq = 1, .schema = 1, .state = "", .state_len = 1};
    const struct mako_save *saves[WIDE];
    struct mako_error err = {""};

    for (size_t i = 0; i < WIDE; i++)
        saves[i] = &save;
    cr_assert_eq(mako_store_save_many(store, wide, saves, WIDE, wide_statuses, &err),
                 MAKO_OK, "%s", err.text);
    must_be_done_but(first, last, &err);
}

static void load_wide_but(mako_store *store, size_t first, size_t last)
{
    const struct mako_expect any = {
        .struct_size = sizeof any, .schema_min = 1, .schema_max = 1};
    const struct mako_expect *expects[WIDE];
    mako_snapshot *snapshots[WIDE];
    struct mako_error err = {""};

    for (size_t i = 0; i < WIDE; i++)
        expects[i] = &any;
    cr_assert_eq(mako_store_load_many(store, wide, expects, WIDE, snapshots, NULL,
                                      wide_statuses, &err),
                 MAKO_OK, "%s", err.text);
    for (size_t i = 0; i < WIDE; i++)
        mako_snapshot_unref(snapshots[i]);
    must_be_done_but(first, last, &err);
}

/* A master without a replica dies: a batch does what is for the others. */
Test(redis_cluster, a_batch_while_a_master_is_away)
{
    mako_store *store = open_wide();

    for (size_t i = 0; i < node_count; i++)
        if (server_says(&nodes[i], "ROLE", "slave"))
            (void)kill(nodes[i].pid, SIGKILL);
    (void)kill(nodes[0].pid, SIGKILL); /* the master of slots 0 to 5460 */
    save_wide_but(store, 0, 5460);
    load_wide_but(store, 0, 5460);
    mako_store_unref(store);
}

/* Nor is one slot that is nobody's the end of it. */
Test(redis_cluster, a_batch_with_a_slot_of_nobody)
{
    mako_store *store = open_wide();

    for (size_t i = 0; i < node_count; i++)
        cr_assert(server_says(&nodes[i], "CLUSTER DELSLOTS 41", "+OK"));
    save_wide_but(store, STEP, STEP);
    mako_store_unref(store);
}

/* Nobody confirms saves any more: they fail, and loads go on; who asks for no
 * confirmation goes on saving. */
static void lose_replicas(void)
{
    mako_store *store, *content;
    struct mako_error err = {""};
    uint64_t first = 0, found;

    begin();
    store = must_open_nodes(getenv("MAKO_TEST_REDIS"),
                            CLUSTER ", \"wait_timeout\": \"300ms\"");
    content =
        must_open_nodes(getenv("MAKO_TEST_REDIS"), CLUSTER ", \"wait_replicas\": 0");
    saves_until(store, &first, 100, MAKO_OK, "");
    for (size_t i = 0; i < node_count; i++)
        if (server_says(&nodes[i], "ROLE", "slave"))
            (void)kill(nodes[i].pid, SIGKILL);
    for (size_t len = 100; len < MIB; len *= 1000) {
        cr_assert_eq(save(store, "a", len, len, &err), MAKO_E_IO, "%s", err.text);
        has_words(err.text, "0 of 1 replicas confirmed in time (wait_replicas)");
        has_words(err.text, "it may have been done nevertheless");
    }
    found = kept(store, "a");
    cr_assert(found == first || found == 100 || found == 100000, "%llu",
              (unsigned long long)found);
    must_save(content, "a", 200000, 100);
    cr_assert_eq(kept(store, "a"), 200000);
    mako_store_unref(store);
    mako_store_unref(content);
}

Test(redis_cluster, no_replica_is_left)
{
    lose_replicas();
}

Test(redis_cluster, no_replica_is_left_at_power)
{
    durability = "power";
    lose_replicas();
}

/* ---- power ----------------------------------------------------------------------------
 */

static void save_at_power(const char *options)
{
    mako_store *store;
    bool asked = false;

    durability = "power";
    server = nodes[0];
    store = must_open_nodes(getenv("MAKO_TEST_REDIS"), options);
    for (uint64_t seq = 1; seq < 5; seq++)
        must_save(store, "a", seq, seq % 2 ? 100 : 100000);
    cr_assert_eq(kept(store, "a"), 4);
    for (size_t i = 0; i < node_count; i++)
        asked |= server_says(&nodes[i], "INFO commandstats", "cmdstat_waitaof:");
    cr_assert_eq(asked, has_waitaof());
    mako_store_unref(store);
}

/* A save is on the master's disk, and a replica has it: on its disk, with WAITAOF. */
Test(redis_cluster, saves_at_power)
{
    begin();
    save_at_power(CLUSTER PATIENT);
}

Test(redis_cluster, saves_at_power_that_are_flushed_each_second)
{
    begin();
    server = nodes[0];
    durability = "power";
    if (waitaof_is_true())
        save_at_power(CLUSTER PATIENT);
    else
        open_fails(getenv("MAKO_TEST_REDIS"), CLUSTER, MAKO_E_CONFIG,
                   "has appendfsync everysec; 'always' is needed before Redis 8");
}

/* ---- sentinel -------------------------------------------------------------------------
 */

#define SENTINEL ", \"mode\": \"sentinel\", \"sentinel_master\": \"mako\""
#define HASTY    ", \"op_timeout\": \"4s\""

Test(redis_sentinel, saves_at_power)
{
    begin();
    save_at_power(SENTINEL PATIENT);
}

/* Of the three: the last. */
static const char *last_sentinel(void)
{
    const char *all = getenv("MAKO_TEST_REDIS");

    cr_assert(all && strrchr(all, ','));
    return strrchr(all, ',') + 1;
}

Test(redis_sentinel, some_sentinels_are_away)
{
    char endpoints[256];
    mako_store *store;

    begin();
    (void)snprintf(endpoints, sizeof endpoints, "127.0.0.1:1,127.0.0.1:2,%s",
                   last_sentinel());
    store = must_open_nodes(endpoints, SENTINEL PATIENT);
    must_save(store, "a", 1, 100);
    cr_assert_eq(kept(store, "a"), 1);
    mako_store_unref(store);

    open_fails_at_last(endpoints, SENTINEL HASTY ", \"sentinel_majority\": true",
                       MAKO_E_UNAVAILABLE,
                       "do not agree on the master of 'mako': 1 of 3 answered");
    store = must_open_nodes(getenv("MAKO_TEST_REDIS"),
                            SENTINEL PATIENT ", \"sentinel_majority\": true");
    must_save(store, "a", 2, 100);
    mako_store_unref(store);
    open_fails("127.0.0.1:1,127.0.0.1:2", SENTINEL HASTY, MAKO_E_UNAVAILABLE,
               "127.0.0.1:");
}

/* A user and a password at the sentinels, another than at the servers. */
Test(redis_sentinel, sentinels_want_a_password)
{
    struct server sentinel = {.port = 0};
    char options[512], path[300];
    mako_store *store;

    begin();
    sentinel.port = (uint16_t)strtoul(strchr(last_sentinel(), ':') + 1, NULL, 10);
    cr_assert(
        server_says(&sentinel, "ACL SETUSER default resetpass >first-secret", "+OK"));
    open_fails(last_sentinel(), SENTINEL, MAKO_E_CONFIG, "NOAUTH");
    open_fails(last_sentinel(), SENTINEL ", \"sentinel_password\": \"other-secret\"",
               MAKO_E_CONFIG, "WRONGPASS");
    store = must_open_nodes(last_sentinel(),
                            SENTINEL PATIENT ", \"sentinel_password\": \"first-secret\"");
    must_save(store, "a", 1, 100);
    mako_store_unref(store);

    cr_assert(
        server_says(&sentinel,
                    "AUTH first-secret\r\nACL SETUSER watcher on >next-secret +auth "
                    "+sentinel|get-master-addr-by-name",
                    "+OK\r\n+OK"));
    memcpy(&server, &nodes[0], sizeof server);
    write_file("sentinel-password", "next-secret\n", path);
    (void)snprintf(options, sizeof options,
                   SENTINEL ", \"sentinel_username\": \"watcher\", "
                            "\"sentinel_password_file\": \"%s\"",
                   path);
    store = must_open_nodes(last_sentinel(), options);
    cr_assert_eq(kept(store, "a"), 1);
    mako_store_unref(store);
}

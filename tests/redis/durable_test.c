/* tests/redis/durable_test.c - what the Redis store promises about a save, on servers
 * that are set up wrongly, killed, stopped and started again.  Each case has its own. */
#include "client.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

TestSuite(redis, .timeout = 240, .fini = take_away);

/* ---- servers that cannot promise ------------------------------------------------------
 */

Test(redis, without_append_only_file_is_refused_at_power)
{
    server = (struct server){.options = {NULL}};
    server_start(&server);
    refused("power", "", "gives only durability 'crash'");
    refused("power", "", "has appendonly no");
    refused("power", "", "change the backend, or ask for \"durability\": \"crash\"");
    refused("power", ", \"assume_durable\": true", "has appendonly no");
    mako_store_unref(must_open("crash", ""));
}

/* With or without WAITAOF. */
Test(redis, never_flushing_is_refused_at_power)
{
    server = (struct server){.options = {"--appendonly", "yes", "--appendfsync", "no"}};
    server_start(&server);
    refused("power", "", "has appendfsync no; 'always'");
    refused("power", "", "ask for \"durability\": \"crash\"");
    mako_store_unref(must_open("crash", ""));
}

/* Before Redis 8 nothing tells when such a server has flushed: WAITAOF, where there is
 * it, does not wait. */
Test(redis, everysec_is_refused_at_power_before_version_8)
{
    mako_store *store;

    server =
        (struct server){.options = {"--appendonly", "yes", "--appendfsync", "everysec"}};
    server_start(&server);
    if (!waitaof_is_true()) {
        refused("power", "",
                "has appendfsync everysec; 'always' is needed before Redis 8");
        refused("power", "", "change the backend, or ask for \"durability\": \"crash\"");
        store = must_open("crash", "");
    } else {
        store = must_open("power", PATIENT);
    }
    must_save(store, "a", 1, 100);
    mako_store_unref(store);
}

Test(redis, eviction_is_refused_at_power)
{
    mako_store *store;

    server = (struct server){
        .options = {ALWAYS, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"}};
    server_start(&server);
    refused("power", "", "may evict snapshots when its memory is full");
    refused("power", "", "set noeviction, or allow_eviction here");
    store = must_open("power", ", \"allow_eviction\": true");
    mako_store_unref(store);
}

Test(redis, a_server_that_stops_flushing_later_is_noticed)
{
    mako_store *store;
    uint64_t seq = 1;

    server = (struct server){.options = {ALWAYS}};
    server_start(&server);
    store = must_open("power", has_waitaof() ? "" : ", \"recheck\": \"100ms\"");
    must_save(store, "a", seq, 100);
    must_answer("CONFIG SET appendfsync no", "+OK");
    saves_until(store, &seq, 100, MAKO_E_IO,
                has_waitaof() ? "not flushed" : "has appendfsync no; 'always'");
    must_answer("CONFIG SET appendfsync always", "+OK");
    saves_until(store, &seq, 100, MAKO_OK, "");
    cr_assert_eq(kept(store, "a"), seq);
    mako_store_unref(store);
}

Test(redis, passwords)
{
    char options[512], path[300];

    server = (struct server){.options = {"--requirepass", "right-secret"}};
    server_start(&server);
    refused("crash", "", "NOAUTH");
    refused("crash", ", \"password\": \"wrong-secret\"", "WRONGPASS");
    refused("crash", ", \"password\": \"wrong-secret\"", "127.0.0.1:");
    mako_store_unref(must_open("crash", ", \"password\": \"right-secret\""));

    write_file("password", "right-secret\n", path);
    (void)snprintf(options, sizeof options, ", \"password_file\": \"%s\"", path);
    mako_store_unref(must_open("crash", options));
}

/* ---- servers that end ----------------------------------------------------------------
 */

static volatile sig_atomic_t broken_pipes;

static void note_pipe(int signal)
{
    (void)signal;
    broken_pipes = broken_pipes + 1;
}

/* Whatever way the server ended, the next save finds the new one. */
Test(redis, a_restart_between_two_saves_costs_nothing)
{
    const struct sigaction action = {.sa_handler = note_pipe};
    mako_store *store;
    uint64_t seq = 0;

    (void)sigaction(SIGPIPE, &action, NULL);
    server = (struct server){.options = {ALWAYS}};
    server_start(&server);
    store = must_open("power", "");
    must_save(store, "a", ++seq, 100);
    for (unsigned round = 0; round < 6; round++) {
        server_kill(&server, round % 2 ? SIGKILL : SIGTERM);
        server_restart(&server);
        must_save(store, "a", ++seq, round < 3 ? 100 : MIB);
        must_save(store, "a", ++seq, round < 3 ? MIB : 100);
        cr_assert_eq(kept(store, "a"), seq);
    }
    cr_assert_eq(broken_pipes, 0, "%d SIGPIPE", (int)broken_pipes);
    mako_store_unref(store);
}

/* Saves in a loop, and what it was told about them.  No save fails: each has time enough
 * until the server is back. */
struct saver {
    mako_store *store;
    char stream[16];
    struct mako_error err; /* the thread's, until failed is set */
    _Atomic uint64_t tried, saved;
    atomic_bool stop, failed;
    pthread_t thread;
};

static void *save_on(void *arg)
{
    static const size_t sizes[] = {100, 5000, 20000, 100000, 400000};
    struct saver *saver = arg;

    while (!atomic_load(&saver->stop) && !atomic_load(&saver->failed)) {
        uint64_t seq = atomic_fetch_add(&saver->tried, 1) + 1;

        if (save(saver->store, saver->stream, seq, sizes[seq % 5], &saver->err) !=
            MAKO_OK)
            atomic_store(&saver->failed, true);
        else
            atomic_store(&saver->saved, seq);
    }
    return NULL;
}

#define SAVERS 3

static void none_failed(const struct saver *savers)
{
    for (size_t i = 0; i < SAVERS; i++)
        cr_assert(!atomic_load(&savers[i].failed), "a save failed: %s",
                  savers[i].err.text);
}

static void wait_for_saves(struct saver *savers)
{
    uint64_t want[SAVERS], end = now_ms() + 90000;

    for (size_t i = 0; i < SAVERS; i++)
        want[i] = atomic_load(&savers[i].saved) + 5;
    for (size_t i = 0; i < SAVERS; i++) {
        while (atomic_load(&savers[i].saved) < want[i]) {
            none_failed(savers);
            cr_assert(now_ms() < end, "%s: no save gets through", savers[i].stream);
            breathe();
        }
    }
}

/* By a store of our own, of which no connection knew the old server. */
static void check_saves(const struct saver *savers, const uint64_t *at_least)
{
    mako_store *store = must_open("crash", "");

    for (size_t i = 0; i < SAVERS; i++) {
        uint64_t found = kept(store, savers[i].stream);

        cr_assert_geq(found, at_least[i], "%s: sequence %llu, %llu was acknowledged",
                      savers[i].stream, (unsigned long long)found,
                      (unsigned long long)at_least[i]);
        cr_assert_leq(found, atomic_load(&savers[i].tried));
    }
    mako_store_unref(store);
}

static void kill_and_check(struct saver *savers)
{
    uint64_t saved[SAVERS];

    wait_for_saves(savers);
    server_kill(&server, SIGKILL);
    for (size_t i = 0; i < SAVERS; i++)
        saved[i] = atomic_load(&savers[i].saved);
    server_restart(&server);
    check_saves(savers, saved);
}

static void begin_saves(struct saver *savers, mako_store *store)
{
    for (size_t i = 0; i < SAVERS; i++) {
        savers[i].store = store;
        (void)snprintf(savers[i].stream, sizeof savers[i].stream, "s/%zu", i);
        cr_assert_eq(pthread_create(&savers[i].thread, NULL, save_on, &savers[i]), 0);
    }
}

static void end_saves(struct saver *savers)
{
    uint64_t saved[SAVERS];

    for (size_t i = 0; i < SAVERS; i++)
        atomic_store(&savers[i].stop, true);
    for (size_t i = 0; i < SAVERS; i++) {
        (void)pthread_join(savers[i].thread, NULL);
        saved[i] = atomic_load(&savers[i].saved);
    }
    none_failed(savers);
    check_saves(savers, saved);
}

#define SOON PATIENT ", \"tmp_ttl\": \"2s\""

/* The script of a save is refused: its temporary key stays behind. */
static void leave_a_key(void)
{
    mako_store *store;
    struct mako_error err = {""};

    must_answer("ACL SETUSER cut on >secret ~* +@all -eval -evalsha", "+OK");
    store = must_open("power", SOON ", \"username\": \"cut\", \"password\": \"secret\"");
    cr_assert_eq(save(store, "cut", 1, 100000, &err), MAKO_E_IO, "%s", err.text);
    mako_store_unref(store);
}

/* In the end no temporary key is left, of saves that were cut off neither. */
static void outlive_kills(unsigned kills)
{
    static struct saver savers[SAVERS];
    mako_store *store = must_open("power", SOON);

    leave_a_key();
    begin_saves(savers, store);
    for (unsigned round = 0; round < kills; round++)
        kill_and_check(savers);
    end_saves(savers);
    mako_store_unref(store);
    until_answer("KEYS snap:{*}:*", "*0\r\n");
}

Test(redis, acknowledged_saves_outlive_kill_9)
{
    server = (struct server){.options = {ALWAYS}};
    server_start(&server);
    outlive_kills(20);
}

/* A save may wait for the flush of its second. */
Test(redis, acknowledged_saves_outlive_kill_9_with_everysec)
{
    server =
        (struct server){.options = {"--appendonly", "yes", "--appendfsync", "everysec"}};
    server_start(&server);
    if (!waitaof_is_true())
        cr_skip_test("before Redis 8 this is refused");
    outlive_kills(3);
}

/* ---- what a refusal and an outage cost ------------------------------------------------
 */

/* What the server has sent, to anybody. */
static uint64_t bytes_sent(void)
{
    static const char name[] = "total_net_output_bytes:";
    char answer[8192];
    const char *at;

    server_ask(&server, "INFO stats", answer, sizeof answer);
    at = strstr(answer, name);
    cr_assert_not_null(at, "%s", answer);
    return strtoull(at + sizeof name - 1, NULL, 10);
}

Test(redis, a_refused_megabyte_stays_where_it_is)
{
    const struct mako_expect newer = {
        .struct_size = sizeof newer, .schema_min = 2, .schema_max = 2};
    mako_snapshot *snapshot = NULL;
    struct mako_error err = {""};
    uint64_t start, idle, moved;
    mako_store *store;
    int status;

    server = (struct server){.options = {NULL}};
    server_start(&server);
    store = must_open("crash", "");
    must_save(store, "a", 1, MIB);
    cr_assert_eq(kept(store, "a"), 1); /* it is there, and would come whole */
    start = bytes_sent();
    idle = bytes_sent() - start; /* what asking costs */
    start = bytes_sent();
    status = mako_store_load(store, "a", &newer, &snapshot, NULL, &err);
    moved = bytes_sent() - start;
    cr_assert_eq(status, MAKO_SCHEMA_OLDER, "%s", err.text);
    cr_assert_null(snapshot);
    cr_assert_lt(moved, idle + 5120, "%llu bytes", (unsigned long long)(moved - idle));
    cr_assert_gt(moved, idle, "nothing was asked");
    mako_store_unref(store);
}

/* A hundred calls on a server that is away: their time together, in milliseconds. */
static uint64_t hundred_calls(mako_store *store, uint64_t *seq)
{
    uint64_t start = now_ms(), took;
    unsigned quick = 0;

    for (unsigned i = 0; i < 100; i++) {
        struct mako_error err = {""};
        int status = save(store, "a", ++*seq, 100, &err);

        cr_assert_eq(status, MAKO_E_UNAVAILABLE, "%s: %s", mako_status_name(status),
                     err.text);
        quick += strstr(err.text, "not tried again for") != NULL;
    }
    took = now_ms() - start;
    cr_assert_geq(quick, 90, "%u of 100 were not tried", quick);
    return took;
}

Test(redis, an_outage_costs_less_than_two_time_limits)
{
    mako_store *store;
    uint64_t seq = 1, took;

    server = (struct server){.options = {NULL}};
    server_start(&server);
    store = must_open("crash", ", \"op_timeout\": \"10s\"");
    must_save(store, "a", seq, 100);

    (void)kill(server.pid, SIGSTOP); /* takes connections, and never answers */
    took = hundred_calls(store, &seq);
    cr_assert_lt(took, 20000, "%llu ms", (unsigned long long)took);
    (void)kill(server.pid, SIGCONT);
    saves_until(store, &seq, 100, MAKO_OK, "");

    server_kill(&server, SIGKILL); /* refuses connections */
    took = hundred_calls(store, &seq);
    cr_assert_lt(took, 20000, "%llu ms", (unsigned long long)took);
    server_restart(&server);
    saves_until(store, &seq, 100, MAKO_OK, "");
    cr_assert_eq(kept(store, "a"), seq);
    mako_store_unref(store);
}

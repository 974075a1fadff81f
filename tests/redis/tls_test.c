/* tests/redis/tls_test.c - TLS on a network that breaks, and a server that dies in the
 * middle of what is said to it: no signal, and a failure in time.  The server is that of
 * "with-redis tls"; whom the store believes is in tls.sh. */
#include "client.h"
#include "proxy.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

enum {
    SAVERS = 4
};

TestSuite(redis_tls, .timeout = 240);

static volatile sig_atomic_t broken_pipes;

static void note_pipe(int signal)
{
    (void)signal;
    broken_pipes = broken_pipes + 1;
}

static void count_pipes(void)
{
    const struct sigaction action = {.sa_handler = note_pipe};

    (void)sigaction(SIGPIPE, &action, NULL);
}

static mako_store *must_open_tls(uint16_t port, const char *op_timeout)
{
    const char *certs = getenv("MAKO_TEST_REDIS_CERTS");
    char options[2048];
    mako_store *store = NULL;
    struct mako_error err = {""};

    cr_assert_not_null(certs, "to be run by with-redis tls");
    (void)snprintf(
        options, sizeof options,
        "\"endpoints\": \"127.0.0.1:%u\", \"tls\": true, \"tls_ca\": \"%.200s/ca.crt\", "
        "\"tls_cert\": \"%.200s/client.crt\", \"tls_key\": "
        "\"%.200s/client.key\", \"op_timeout\": \"%s\", \"io_timeout\": \"300ms\"",
        (unsigned)port, certs, certs, certs, op_timeout);
    store_settings = ", \"retry_after\": 0";
    cr_assert_eq(open_with("crash", options, &store, &err), MAKO_OK, "%s", err.text);
    return store;
}

/* Ends, resets, and ends that are followed by a reset when more is said. */
Test(redis_tls, connections_break_once)
{
    static const enum proxy_fault faults[] = {PROXY_CLOSE, PROXY_HALF_CLOSE, PROXY_RESET,
                                              PROXY_SWALLOW, PROXY_CUT_ANSWER};
    static const size_t after[] = {0, 1000, 100000, 1000000};
    struct server one;
    struct proxy *proxy;
    uint64_t seq = 0;

    count_pipes();
    cr_assert_eq(find_servers(&one, 1), 1);
    proxy = proxy_start(one.port);
    for (size_t i = 0; i < 20; i++) {
        const struct proxy_rule rule = {
            .fault = faults[i % 5], .after = after[i % 4], .once = true};
        mako_store *store = must_open_tls(proxy_port(proxy), "60s");

        must_save(store, "a", ++seq, 100);
        proxy_rule(proxy, &rule);
        must_save(store, "a", ++seq, 3 * MIB);
        cr_assert_eq(kept(store, "a"), seq);
        mako_store_unref(store);
    }
    cr_assert_eq(broken_pipes, 0, "%d SIGPIPE", (int)broken_pipes);
    proxy_stop(proxy);
}

/* Large saves one after the other, until one fails. */
struct saver {
    mako_store *store;
    char stream[16];
    int status;
    struct mako_error err;
    pthread_t thread;
};

static void *save_until_failure(void *arg)
{
    struct saver *saver = arg;

    for (uint64_t seq = 1; saver->status == MAKO_OK; seq++)
        saver->status = save(saver->store, saver->stream, seq, 3 * MIB, &saver->err);
    return NULL;
}

Test(redis_tls, a_server_dies_in_the_middle)
{
    static struct saver savers[SAVERS];
    mako_store *store;
    uint64_t start, moved;
    struct server one;

    count_pipes();
    cr_assert_eq(find_servers(&one, 1), 1);
    store = must_open_tls(one.port, "10s");
    must_save(store, "a", 1, MIB);
    cr_assert_eq(kept(store, "a"), 1);
    for (size_t i = 0; i < SAVERS; i++) {
        savers[i].store = store;
        (void)snprintf(savers[i].stream, sizeof savers[i].stream, "s/%zu", i);
        cr_assert_eq(
            pthread_create(&savers[i].thread, NULL, save_until_failure, &savers[i]), 0);
    }
    moved = counter(store, "bytes_out");
    start = now_ms();
    while (counter(store, "bytes_out") < moved + 20ull * MIB) {
        cr_assert_lt(now_ms() - start, 60000, "the savers do not go on");
        breathe();
    }
    start = now_ms();
    (void)kill(one.pid, SIGKILL);
    for (size_t i = 0; i < SAVERS; i++) {
        (void)pthread_join(savers[i].thread, NULL);
        cr_assert_eq(savers[i].status, MAKO_E_UNAVAILABLE, "%s", savers[i].err.text);
    }
    cr_assert_lt(now_ms() - start, 60000);
    cr_assert_eq(broken_pipes, 0, "%d SIGPIPE", (int)broken_pipes);
    mako_store_unref(store);
}

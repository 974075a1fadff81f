/* plugins/redis/settings.h - what an open store was told: the options, converted, and
 * the few things that every layer shares (counters, the host).  Read-only once open has
 * returned, the counters excepted. */
#ifndef MAKO_REDIS_SETTINGS_H
#define MAKO_REDIS_SETTINGS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <mako/store_plugin.h>

#define ENDPOINTS_MAX  64u
#define ENDPOINT_TEXT  300u
#define KEY_PREFIX_MAX 128u

enum mode {
    MODE_SINGLE,
    MODE_SENTINEL,
    MODE_CLUSTER
};

/* Where a server listens; port 0: the Unix socket whose path host is. */
struct endpoint {
    char host[256];
    uint16_t port;
};

struct credentials {
    const char *username, *password, *password_file; /* NULL: absent */
};

/* What the store did since opening; "connections", and how many threads spin, go up and
 * down. */
struct tally {
    atomic_uint_fast64_t connections, connects, reconnects, round_trips, redirects,
        retries, refreshes, scripts_loaded, bytes_in, bytes_out, spins, spins_missed,
        spinning;
};

struct settings {
    const struct mako_host *host;
    struct tally *tally;
    enum mode mode;
    struct endpoint endpoints[ENDPOINTS_MAX]; /* the server, seeds, or sentinels */
    size_t endpoint_count;
    const char *sentinel_master;
    bool sentinel_majority;
    struct credentials login, sentinel_login;
    int64_t db;
    struct tls *tls; /* NULL: plain */
    const char *key_prefix;
    size_t key_prefix_len;
    bool power; /* a save must be on the disk before it is acknowledged */
    bool assume_durable, allow_eviction;
    int64_t wait_replicas, wait_timeout;
    int64_t connect_timeout, io_timeout, op_timeout;
    int64_t retry_base, retry_max;
    int64_t pool_max, pool_idle;
    int64_t inline_max, tmp_ttl, ttl, recheck;
    int64_t spin;      /* ns */
    unsigned spinners; /* threads at most at a time */
};

static inline int64_t now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline int64_t now_ms(void)
{
    return now_ns() / 1000000;
}

static inline void tally_add(atomic_uint_fast64_t *counter, uint64_t amount)
{
    atomic_fetch_add_explicit(counter, amount, memory_order_relaxed);
}

#endif

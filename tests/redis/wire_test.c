/* tests/redis/wire_test.c - what the Redis store says to a server that is well: in how
 * many round trips, at which sizes, and that sequences are compared exactly, for single
 * saves, large ones and batches alike. */
#include "batch.h"

#include <dirent.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

TestSuite(redis_wire, .timeout = 240, .fini = take_away);

static void begin(void)
{
    server = (struct server){.options = {NULL}};
    server_start(&server);
}

/* ---- round trips ----------------------------------------------------------------------
 */

/* Since the last call. */
static uint64_t trips(mako_store *store)
{
    static uint64_t before;
    uint64_t now = counter(store, "round_trips"), since = now - before;

    before = now;
    return since;
}

static void load_costs(mako_store *store, size_t len, uint64_t seq, uint64_t want)
{
    uint64_t cost;

    must_save(store, "tenant/order/000001", seq, len);
    (void)trips(store);
    cr_assert_eq(kept(store, "tenant/order/000001"), seq);
    cost = trips(store);
    cr_assert_eq(cost, want, "a load of %zu bytes: %llu round trips", len,
                 (unsigned long long)cost);
}

Test(redis_wire, a_load_is_one_round_trip_up_to_4_kib)
{
    mako_store *store;

    begin();
    store = must_open("crash", PATIENT);
    load_costs(store, 0, 1, 1);
    load_costs(store, 1024, 2, 1);
    load_costs(store, 4096, 3, 1);
    load_costs(store, 8192, 4, 2);
    load_costs(store, MIB, 5, 2);
    mako_store_unref(store);
}

Test(redis_wire, a_save_is_one_round_trip)
{
    static const size_t sizes[] = {0, 100, 8000, 9000, 100000, MIB};
    mako_store *store;
    struct mako_error err = {""};
    struct mako_meta meta;

    begin();
    store = must_open("crash", PATIENT);
    must_save(store, "a", 1, 100); /* its connection is made */
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        (void)trips(store);
        must_save(store, "a", i + 2, sizes[i]);
        cr_assert_eq(trips(store), 1, "%zu bytes", sizes[i]);
    }
    cr_assert_eq(mako_store_peek(store, "a", &meta, &err), MAKO_OK, "%s", err.text);
    cr_assert_eq(trips(store), 1);
    cr_assert_eq(mako_store_remove(store, "a", &err), MAKO_OK, "%s", err.text);
    cr_assert_eq(trips(store), 1);
    mako_store_unref(store);
}

Test(redis_wire, a_batch_is_one_round_trip)
{
    static struct batch batch;
    mako_store *store;

    begin();
    store = must_open("crash", PATIENT);
    batch_make(&batch, 1, 1000);
    batch_must_save(store, &batch); /* finds out that there are transactions */
    batch_make(&batch, 2, 1000);
    (void)trips(store);
    batch_must_save(store, &batch);
    cr_assert_eq(trips(store), 1);
    batch_must_load(store, &batch);
    cr_assert_eq(trips(store), 1);
    batch_make(&batch, 3, 20000);
    batch_must_save(store, &batch);
    cr_assert_eq(trips(store), 1);
    batch_must_load(store, &batch);
    cr_assert_eq(trips(store), 2);
    mako_store_unref(store);
}

/* ---- sizes ----------------------------------------------------------------------------
 */

#ifdef SANITIZED
#define STEP 199
#else
#define STEP 37
#endif

/* Around each border that the plugin has, and up to 10 MiB; fewer of the largest where
 * they are slow. */
Test(redis_wire, every_size_comes_back)
{
    static const size_t borders[] = {0,     1024,      2048,   4096, 8192,     16384,
                                     32768, 64 * 1024, 262144, MIB,  4u * MIB, 10u * MIB};
    mako_store *store;
    uint64_t seq = 0;

    begin();
    max_snapshot = "11MiB";
    store = must_open("crash", ", \"io_timeout\": \"60s\", \"op_timeout\": \"120s\"");
    for (size_t i = 0; i < sizeof borders / sizeof borders[0]; i++) {
        size_t border = borders[i], step = border > MIB ? 397 : STEP;

        for (size_t len = border > 400 ? border - 400 : 0; len <= border + 4;
             len += step) {
            must_save(store, "a", ++seq, len);
            cr_assert_eq(kept(store, "a"), seq, "%zu bytes", len);
        }
    }
    mako_store_unref(store);
}

/* ---- sequences ------------------------------------------------------------------------
 */

static const uint64_t rising[] = {1,
                                  255,
                                  256,
                                  0x7fffffff,
                                  0x80000000,
                                  0xffffffff,
                                  0x100000000,
                                  (1ull << 53) - 1,
                                  1ull << 53,
                                  (1ull << 53) + 1,
                                  (1ull << 53) + 2,
                                  0x7fefffffffffffff, /* as a double: the largest, */
                                  0x7ff0000000000000, /* infinity, */
                                  0x7ff0000000000001, /* no number */
                                  0x7fffffffffffffff,
                                  0x8000000000000000, /* minus zero */
                                  0x8000000000000001, /* the largest below */
                                  0x80000000ffffffff,
                                  0x8000000100000000,
                                  0xfff0000000000000, /* minus infinity */
                                  0xfff0000000000001,
                                  UINT64_MAX - 1,
                                  UINT64_MAX};
#define RISING (sizeof rising / sizeof rising[0])

/* For each two neighbours: the later one stays, and one that is equal replaces. */
static void compared_exactly(mako_store *store, size_t len)
{
    struct mako_error err = {""};

    for (size_t i = 1; i < RISING; i++) {
        must_save(store, "a", rising[i - 1], len);
        must_save(store, "a", rising[i], len);
        cr_assert_eq(save(store, "a", rising[i - 1], len, &err), MAKO_STALE,
                     "%llx over %llx", (unsigned long long)rising[i - 1],
                     (unsigned long long)rising[i]);
        must_save(store, "a", rising[i], len);
        cr_assert_eq(kept(store, "a"), rising[i]);
        cr_assert_eq(mako_store_remove(store, "a", &err), MAKO_OK, "%s", err.text);
    }
}

Test(redis_wire, sequences_are_compared_exactly)
{
    mako_store *store;

    begin();
    store = must_open("crash", "");
    compared_exactly(store, 100);
    compared_exactly(store, 100000);
    mako_store_unref(store);
}

/* Every other one is late: it is told so, and what is there stays, its life with it. */
static void late_ones_in_a_batch(mako_store *store, size_t len, uint64_t low,
                                 uint64_t high)
{
    static struct batch first, second;
    struct mako_error err = {""};

    batch_make(&first, 1, len);
    batch_make(&second, 1, len);
    for (size_t i = 0; i < BATCH; i++) {
        first.seqs[i] = i % 2 ? high : low;
        second.seqs[i] = i % 2 ? low : high;
        cr_assert_geq(mako_store_remove(store, first.streams[i], &err), 0, "%s",
                      err.text);
    }
    batch_must_save(store, &first);
    batch_save(store, &second);
    for (size_t i = 0; i < BATCH; i++) {
        cr_assert_eq(second.statuses[i], i % 2 ? MAKO_STALE : MAKO_OK, "%llu, %llu: %s",
                     (unsigned long long)low, (unsigned long long)high,
                     mako_status_name(second.statuses[i]));
        if (i % 2 == 0)
            first.seqs[i] = second.seqs[i];
    }
    batch_must_load(store, &first);
    batch_must_save(store, &first); /* equal ones replace */
    must_answer("DBSIZE", ":64\r\n");
}

Test(redis_wire, sequences_in_a_batch_are_compared_exactly)
{
    mako_store *store;

    begin();
    store = must_open("crash", "");
    for (size_t low = 0; low < RISING; low++)
        for (size_t high = low + 1; high < RISING; high++)
            late_ones_in_a_batch(store, 100, rising[low], rising[high]);
    late_ones_in_a_batch(store, 20000, 1, 2);
    mako_store_unref(store);
    store = must_open("crash", ", \"ttl\": \"1h\"");
    late_ones_in_a_batch(store, 100, 1, 2);
    must_answer(
        "EVAL \"for _, k in ipairs(redis.call('KEYS', '*')) do "
        "if redis.call('PTTL', k) < 3000000 then return k end end return 'all'\" 0",
        "all");
    mako_store_unref(store);
}

/* Late ones of which the others end their lives meanwhile. */
Test(redis_wire, lives_that_end_in_a_batch)
{
    static struct batch batch;
    mako_store *store;

    begin();
    store = must_open("crash", "");
    for (unsigned round = 0; round < 5; round++) {
        batch_make(&batch, 100, 100);
        batch_must_save(store, &batch);
        must_answer("EVAL \"for i = 0, 62 do redis.call('PEXPIRE', "
                    "'snap:{b/' .. i .. '}', 1 + math.floor(i / 4)) end return 'set'\" 0",
                    "set");
        batch_make(&batch, 50, 100);
        for (unsigned i = 0; i < 20; i++) {
            batch_save(store, &batch);
            cr_assert_eq(batch.statuses[63], MAKO_STALE, "%s",
                         mako_status_name(batch.statuses[63]));
        }
        cr_assert_eq(kept(store, "b/63"), 100);
    }
    must_answer("EVAL \"for _, k in ipairs(redis.call('KEYS', '*')) do "
                "if k:sub(-1) ~= '}' then return k end end return 'tidy'\" 0",
                "tidy");
    mako_store_unref(store);
}

/* Keys that hold something else, or no whole head, are no reason to keep a save out. */
Test(redis_wire, a_batch_heals)
{
    static struct batch batch;
    mako_store *store;

    begin();
    store = must_open("crash", "");
    must_answer("RPUSH snap:{b/1} x", ":1");
    must_answer("SET snap:{b/2} short", "+OK");
    must_answer("SET snap:{b/3} XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX",
                "+OK");
    batch_make(&batch, 1, 100);
    batch_must_save(store, &batch);
    batch_must_load(store, &batch);
    must_answer("DBSIZE", ":64\r\n");
    mako_store_unref(store);
}

/* ---- sockets --------------------------------------------------------------------------
 */

/* How many sockets this process has, every one of them closed in a program that it
 * starts. */
static size_t sockets(void)
{
    DIR *dir = opendir("/proc/self/fd");
    const struct dirent *entry;
    size_t count = 0;

    cr_assert_not_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        char target[64] = "";
        int fd = (int)strtol(entry->d_name, NULL, 10);

        if (readlinkat(dirfd(dir), entry->d_name, target, sizeof target - 1) < 0 ||
            strncmp(target, "socket:", 7) != 0)
            continue;
        if ((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0)
            count++;
    }
    (void)closedir(dir);
    return count;
}

Test(redis_wire, sockets_are_closed_on_exec)
{
    size_t before = sockets();
    mako_store *store;

    begin();
    store = must_open("crash", "");
    must_save(store, "a", 1, 100);
    cr_assert_eq(sockets(), before + counter(store, "connections"));
    cr_assert_eq(counter(store, "connections"), 1);
    mako_store_unref(store);
    cr_assert_eq(sockets(), before);
}

/* What others print to a descriptor that is closed must not go to the server. */
Test(redis_wire, sockets_are_no_standard_descriptors)
{
    int kept = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    mako_store *store;

    begin();
    (void)close(STDIN_FILENO);
    store = must_open("crash", "");
    must_save(store, "a", 1, 100);
    cr_assert_lt(fcntl(STDIN_FILENO, F_GETFD), 0);
    mako_store_unref(store);
    (void)dup2(kept, STDIN_FILENO);
}

/* The loopback interface has an address of version 6. */
static bool has_ipv6(void)
{
    char line[256];
    bool found = false;
    FILE *file = fopen("/proc/net/if_inet6", "re");

    while (file && fgets(line, sizeof line, file))
        found |= strncmp(line, "00000000000000000000000000000001", 32) == 0;
    if (file)
        (void)fclose(file);
    return found;
}

/* Host is the server's own machine; false: it is not known by that name here. */
static bool reached_as(const char *host)
{
    char options[128];
    mako_store *store = NULL;
    struct mako_error err = {""};
    int status;

    (void)snprintf(options, sizeof options, "\"endpoints\": \"%s:%u\"", host,
                   (unsigned)server.port);
    status = open_with("crash", options, &store, &err);
    if (status == MAKO_E_UNAVAILABLE) {
        has_words(err.text, host);
        return false;
    }
    cr_assert_eq(status, MAKO_OK, "%s", err.text);
    must_save(store, host, 1, 100);
    mako_store_unref(store);
    return true;
}

/* By a name, which may be that of two addresses of which one refuses; and by IPv6. */
Test(redis_wire, names_and_addresses)
{
    struct addrinfo *list = NULL;
    bool named = getaddrinfo("localhost", NULL, NULL, &list) == 0;

    if (list)
        freeaddrinfo(list);
    server = (struct server){.options = {"--bind", "127.0.0.1", "-::1"}};
    server_start(&server);
    cr_assert(reached_as("127.0.0.1"));
    cr_assert_eq(reached_as("localhost"), named);
    cr_assert_eq(reached_as("[::1]"), has_ipv6());
    cr_assert_not(reached_as("no-such-host.invalid"));
}

/* ---- secrets --------------------------------------------------------------------------
 */

/* A password that cannot be read is named, and not taken for none. */
Test(redis_wire, a_password_file_that_is_not_there)
{
    begin();
    refused("memory", ", \"password_file\": \"/nowhere/secret\"",
            "/nowhere/secret: No such file or directory");
    refused("memory", ", \"password_file\": \"/\"", "/: Is a directory");
}

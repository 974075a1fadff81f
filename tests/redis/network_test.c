/* tests/redis/network_test.c - the Redis store behind a network that breaks, and on
 * servers that lie: never a snapshot that was not saved, never an acknowledgement that
 * the server did not give, within the time limit and within bounds of memory. */
#include "batch.h"
#include "proxy.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

/* Generous beside the time limits of the options below. */
#define LIMIT_MS 30000
#ifndef SANITIZED
#define MEMORY_KB 65536
#endif

static struct proxy *proxy;

TestSuite(redis_network, .timeout = 240, .fini = take_away);

static void begin(void)
{
    store_settings = ", \"retry_after\": 0";
    server = (struct server){.options = {NULL}};
    server_start(&server);
    proxy = proxy_start(server.port);
}

/* Of the store's operations. */
static const char *times = "\"op_timeout\": \"600ms\", \"io_timeout\": \"150ms\"";

static int try_open(const char *durability, const char *options, mako_store **store,
                    struct mako_error *err)
{
    char all[1024];

    (void)snprintf(all, sizeof all,
                   "\"endpoints\": \"127.0.0.1:%u\", \"retry_max\": \"50ms\", %s%s",
                   (unsigned)proxy_port(proxy), times, options);
    return open_with(durability, all, store, err);
}

static mako_store *must_open_here(const char *options)
{
    mako_store *store = NULL;
    struct mako_error err = {""};
    uint64_t start = now_ms();
    int status;

    do
        status = try_open("crash", options, &store, &err);
    while (too_slow(status, start));
    cr_assert_eq(status, MAKO_OK, "%s", err.text);
    return store;
}

static void put(const char *stream, uint64_t seq, size_t len)
{
    mako_store *store = must_open_here("");

    save_at_last(store, stream, seq, len);
    mako_store_unref(store);
}

static void finish(mako_store *store)
{
    mako_store_unref(store);
    proxy_stop(proxy);
}

/* ---- memory ---------------------------------------------------------------------------
 */

/* The largest resident size since forget_peak(), in KiB. */
static long peak(void)
{
    char line[256];
    long kb = 0;
    FILE *file = fopen("/proc/self/status", "re");

    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "VmHWM:", 6) == 0)
            kb = strtol(line + 6, NULL, 10);
    if (file)
        (void)fclose(file);
    return kb;
}

static long forget_peak(void)
{
    FILE *file = fopen("/proc/self/clear_refs", "we");

    if (file) {
        (void)fputs("5", file);
        (void)fclose(file);
    }
    return peak();
}

static void within_bounds(const char *what, uint64_t start, long memory)
{
    uint64_t took = now_ms() - start;

    cr_assert_lt(took, LIMIT_MS, "%s: %llu ms", what, (unsigned long long)took);
#ifndef SANITIZED
    cr_assert_lt(peak() - memory, MEMORY_KB, "%s: %ld KiB", what, peak() - memory);
#else
    (void)memory;
#endif
}

/* ---- servers that lie -----------------------------------------------------------------
 */

#define TEXT(text) text, sizeof(text) - 1

static const struct lie {
    const char *name, *text;
    size_t len;
    bool endless, close;
} lies[] = {
    {"http", TEXT("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"), false, true},
    {"noise", TEXT("\x01\xff\x80 what is this\r\n"), false, false},
    {"nothing and an end", TEXT(""), false, true},
    {"nothing", TEXT(""), false, false},
    {"negative length", TEXT("$-5\r\n"), false, false},
    {"largest length", TEXT("$9223372036854775807\r\nabc"), false, false},
    {"length that overflows", TEXT("$99999999999999999999\r\nabc"), false, false},
    {"four gigabytes", TEXT("$4000000000\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
     true, false},
    {"length of letters", TEXT("$abc\r\n"), false, false},
    {"line without end", TEXT("+xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
     true, false},
    {"error without end", TEXT("-ERR xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
     true, false},
    {"two billion items", TEXT("*2147483647\r\n"), false, false},
    {"more items", TEXT("*4294967297\r\n:1\r\n"), false, false},
    {"nested", TEXT("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n"),
     false, false},
    {"nested without end", TEXT("*1\r\n"), true, false},
    {"items without end", TEXT("*1000000\r\n:1\r\n:1\r\n:1\r\n"), true, false},
    {"half a bulk", TEXT("$100\r\nabc"), false, true},
    {"bulk of the wrong end", TEXT("$3\r\nabcdef\r\n"), false, false},
    {"another type", TEXT(":5\r\n"), false, false},
    {"a status", TEXT("+OK\r\n"), false, false},
    {"an array", TEXT("*2\r\n$1\r\na\r\n$1\r\nb\r\n"), false, false},
    {"a protocol of later versions", TEXT("_\r\n"), false, false},
    {"short value", TEXT("$5\r\nMKRV\x01\r\n"), false, false},
    {"foreign value",
     TEXT("$60\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
          "xxxxxxxx\r\n"),
     false, false},
    {"unknown error", TEXT("-WHATEVER \x1b[31mred\x07\r\n"), false, false},
    {"answers without end", TEXT("$2\r\nab\r\n"), true, false},
};
#define LIES (sizeof lies / sizeof lies[0])

static void tell(const struct lie *lie, const char *words)
{
    const struct proxy_rule rule = {
        .lie = {words, lie->text, lie->len, lie->endless, lie->close}};

    proxy_rule(proxy, &rule);
}

/* A sentence that names the store, of bounded length, that is safe to print. */
static void fit_to_read(const char *what, const char *text)
{
    cr_assert(strstr(text, "store 's' (redis)"), "%s: %s", what, text);
    for (; *text; text++)
        cr_assert((unsigned char)*text >= 0x20, "%s: control character", what);
}

/* What was said too much may still be on its way, and answer once more. */
static void loads_again(mako_store *store, const char *what)
{
    struct mako_error err = {""};
    uint64_t seq, end = now_ms() + LIMIT_MS;

    while (load(store, "a", &seq, &err) != MAKO_OK) {
        cr_assert(now_ms() < end, "%s: %s", what, err.text);
        breathe();
    }
}

/* Loads of what the server lies about; behind it all is well again. */
Test(redis_network, lies_about_a_load)
{
    const struct proxy_rule pass = {.fault = PROXY_PASS};

    begin();
    put("a", 7, 3000);
    for (size_t i = 0; i < LIES; i++) {
        mako_store *store = must_open_here("");
        struct mako_error err = {""};
        uint64_t seq, from = now_ms();
        long memory = forget_peak();
        int status;

        tell(&lies[i], "GETRANGE");
        status = load(store, "a", &seq, &err);
        within_bounds(lies[i].name, from, memory);
        cr_assert(status == MAKO_E_IO || status == MAKO_E_UNAVAILABLE ||
                      status == MAKO_DAMAGED || status == MAKO_E_LIMIT ||
                      status == MAKO_TOO_LARGE,
                  "%s: %s: %s", lies[i].name, mako_status_name(status), err.text);
        fit_to_read(lies[i].name, err.text);
        proxy_rule(proxy, &pass);
        loads_again(store, lies[i].name);
        mako_store_unref(store);
    }
    proxy_stop(proxy);
}

/* No lie makes an acknowledgement out of a save that the server never saw. */
Test(redis_network, lies_about_a_save)
{
    const struct proxy_rule pass = {.fault = PROXY_PASS};
    mako_store *straight;

    begin();
    straight = must_open("crash", "");
    for (size_t i = 0; i < LIES; i++) {
        mako_store *store = must_open_here("");
        struct mako_error err = {""};
        uint64_t from = now_ms();
        long memory = forget_peak();
        int status;

        must_save(straight, "a", i * 2 + 1, 100);
        tell(&lies[i], "EVAL");
        status = save(store, "a", i * 2 + 2, i % 2 ? 100 : 20000, &err);
        within_bounds(lies[i].name, from, memory);
        cr_assert_lt(status, 0, "%s: %s", lies[i].name, mako_status_name(status));
        fit_to_read(lies[i].name, err.text);
        /* Asked while the lie lasts: what still waits in the proxy passes afterwards. */
        cr_assert_eq(kept(straight, "a"), i * 2 + 1, "%s", lies[i].name);
        proxy_rule(proxy, &pass);
        save_at_last(store, "a", i * 2 + 2, 100);
        cr_assert_eq(kept_at_last(store, "a"), i * 2 + 2, "%s", lies[i].name);
        mako_store_unref(store);
    }
    finish(straight);
}

/* Nothing that a server says while a store is opened does harm, nor stays. */
Test(redis_network, lies_at_opening)
{
    static const char *const words[] = {"SETNAME", "ROLE", "INFO", "WAITAOF"};
    const struct proxy_rule pass = {.fault = PROXY_PASS};

    begin();
    for (size_t i = 0; i < LIES * 4; i++) {
        const struct lie *lie = &lies[i / 4];
        mako_store *store = NULL;
        struct mako_error err = {""};
        uint64_t from = now_ms();
        long memory = forget_peak();
        int status;

        tell(lie, words[i % 4]);
        status = try_open(i % 4 == 3 ? "power" : "crash", "", &store, &err);
        within_bounds(lie->name, from, memory);
        cr_assert(status < 0 || i % 4 < 3, "%s: opened at power", lie->name);
        if (status < 0)
            fit_to_read(lie->name, err.text);
        mako_store_unref(store);
        proxy_rule(proxy, &pass);
    }
    finish(must_open_here(""));
}

/* Waiting for replicas and the disk: only numbers count. */
Test(redis_network, lies_about_replicas)
{
    static const char *const answers[] = {
        ":1\r\n+OK\r\n",     ":1\r\n$1\r\n1\r\n", ":1\r\n*0\r\n",
        ":1\r\n:0\r\n",      ":1\r\n:-5\r\n",     ":1\r\n*2\r\n:1\r\n:0\r\n",
        ":1\r\n-ERR no\r\n", ":1\r\n*-1\r\n",     ":1\r\n$-1\r\n",
        ":7\r\n:1\r\n",      ":-9\r\n:1\r\n",     "$1\r\n1\r\n:1\r\n",
    };
    mako_store *store;

    begin();
    store = must_open_here(", \"wait_replicas\": 1");
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        const struct proxy_rule rule = {
            .lie = {"EVAL", answers[i], strlen(answers[i]), false, false}};
        struct mako_error err = {""};
        int status;

        proxy_rule(proxy, &rule);
        status = save(store, "a", i + 1, 100, &err);
        cr_assert_lt(status, 0, "%s: %s", answers[i], mako_status_name(status));
        fit_to_read(answers[i], err.text);
    }
    finish(store);
}

static bool count_one(void *arg, struct mako_str stream, const struct mako_meta *meta,
                      uint64_t size)
{
    (void)stream;
    (void)meta;
    (void)size;
    ++*(unsigned *)arg;
    return true;
}

/* A server that stops answering for a key in the middle of a listing, for it is no master
 * any more: the listing fails, instead of naming a stream of which nothing is known. */
Test(redis_network, a_listing_is_refused_in_the_middle)
{
    static const struct {
        const char *text;
        int status;
    } answers[] = {{"-MOVED 15495 127.0.0.1:1\r\n", MAKO_E_UNAVAILABLE},
                   {"-CLUSTERDOWN The cluster is down\r\n", MAKO_E_UNAVAILABLE},
                   {"-MASTERDOWN Link with MASTER is down\r\n", MAKO_E_UNAVAILABLE},
                   {"-NOPERM no rights\r\n", MAKO_E_IO}};
    const struct proxy_rule pass = {.fault = PROXY_PASS};

    begin();
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        const struct proxy_rule rule = {
            .lie = {"GETRANGE", answers[i].text, strlen(answers[i].text), false, false}};
        mako_store *store = must_open_here("");
        struct mako_error err = {""};
        uint64_t start = now_ms();
        unsigned count = 0;
        int status;

        save_at_last(store, "a", i + 1, 100);
        proxy_rule(proxy, &rule);
        do
            status = mako_store_scan(store, NULL, count_one, &count, &err);
        while (status != answers[i].status && too_slow(status, start));
        cr_assert_eq(status, answers[i].status, "%s: %s", answers[i].text, err.text);
        fit_to_read(answers[i].text, err.text);
        cr_assert_eq(count, 0, "%s", answers[i].text);
        proxy_rule(proxy, &pass);
        mako_store_unref(store);
    }
    finish(must_open_here(""));
}

/* Keys that are none. */
Test(redis_network, lies_about_a_listing)
{
    static const char *const answers[] = {
        "*2\r\n$1\r\n0\r\n*2\r\n$8\r\nsnap:{a}\r\n*3\r\n:1\r\n:2\r\n:3\r\n",
        "*2\r\n$1\r\n0\r\n*1\r\n:500\r\n",
        "*2\r\n$1\r\n0\r\n*1\r\n$-1\r\n",
        "*2\r\n$1\r\n0\r\n$8\r\nsnap:{a}\r\n",
        "*2\r\n*0\r\n*0\r\n",
    };
    mako_store *store;

    begin();
    store = must_open_here("");
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        const struct proxy_rule rule = {
            .lie = {"SCAN", answers[i], strlen(answers[i]), false, false}};
        struct mako_error err = {""};
        uint64_t start = now_ms();
        unsigned count = 0;
        int status;

        proxy_rule(proxy, &rule);
        do
            status = mako_store_scan(store, NULL, count_one, &count, &err);
        while (too_slow(status, start));
        cr_assert_lt(status, 0, "%s: %s", answers[i], mako_status_name(status));
        fit_to_read(answers[i], err.text);
        has_words(err.text, "the answer to SCAN is none");
        cr_assert_eq(count, 0, "%s", answers[i]);
    }
    finish(store);
}

/* Each byte of an answer, one bit changed: what was saved, or a failure. */
Test(redis_network, a_flipped_bit_on_the_way)
{
    mako_store *store;

    times = "\"op_timeout\": \"100ms\", \"io_timeout\": \"30ms\"";
    begin();
    store = must_open_here("");
    save_at_last(store, "a", 7, 64);
    for (size_t at = 0; at < 300; at++) {
        const struct proxy_rule flip = {
            .fault = PROXY_FLIP, .at = at, .flip = (uint8_t)(1u << at % 8)};
        struct mako_error err = {""};
        uint64_t seq = 7;
        int status;

        proxy_rule(proxy, &flip);
        status = load(store, "a", &seq, &err); /* looks at every byte */
        cr_assert_eq(seq, 7, "byte %zu", at);
        cr_assert_neq(status, MAKO_NOT_FOUND, "byte %zu", at);
    }
    finish(store);
}

/* The answers to nothing are not taken for the answers to the next question. */
Test(redis_network, every_answer_twice)
{
    const struct proxy_rule twice = {.fault = PROXY_TWICE};
    mako_store *store;

    begin();
    store = must_open_here("");
    save_at_last(store, "a", 1, 100);
    save_at_last(store, "b", 2, 100);
    proxy_rule(proxy, &twice);
    for (unsigned i = 0; i < 20; i++) {
        struct mako_error err = {""};
        uint64_t seq = 0;
        int status = load(store, i % 2 ? "a" : "b", &seq, &err);

        if (status == MAKO_OK)
            cr_assert_eq(seq, i % 2 ? 1 : 2, "round %u", i);
        else
            cr_assert(status < 0 || status == MAKO_DAMAGED, "%s: %s",
                      mako_status_name(status), err.text);
    }
    finish(store);
}

/* The snapshot of another stream is not this one's. */
Test(redis_network, the_answer_for_another_stream)
{
    const struct proxy_rule swap = {.from = "snap:{a}", .to = "snap:{b}"};
    struct mako_error err = {""};
    uint64_t seq = 0, start = now_ms();
    mako_store *store;
    int status;

    begin();
    store = must_open_here("");
    save_at_last(store, "a", 1, 100);
    save_at_last(store, "b", 2, 100);
    proxy_rule(proxy, &swap);
    do
        status = load(store, "a", &seq, &err);
    while (too_slow(status, start));
    cr_assert_eq(status, MAKO_DAMAGED, "%s", err.text);
    finish(store);
}

/* ---- answers that take their time -----------------------------------------------------
 */

/* Saves whose answers come a byte at a time; the store is left open. */
static mako_store *save_slowly(const char *options, unsigned count)
{
    const struct proxy_rule drip = {.fault = PROXY_DRIP};
    mako_store *store;

    times = "\"op_timeout\": \"60s\", \"io_timeout\": \"30s\"";
    begin();
    store = must_open_here(options);
    proxy_rule(proxy, &drip);
    for (unsigned i = 0; i < count; i++)
        must_save(store, "a", i + 1, 100);
    return store;
}

static bool one_processor(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof set, &set) != 0 || CPU_COUNT(&set) < 2;
}

Test(redis_network, an_answer_is_looked_for)
{
    mako_store *store;
    unsigned seq = 3;

    if (one_processor())
        cr_skip_test("nobody spins on one processor");
    store = save_slowly(", \"spin_us\": 1000000", seq);
    while (counter(store, "spins") < 3 && seq < 20)
        must_save(store, "a", ++seq, 100);
    cr_assert_geq(counter(store, "spins"), 3);
    finish(store);
}

Test(redis_network, an_answer_is_not_looked_for)
{
    mako_store *store = save_slowly(", \"spin_us\": 0", 3);

    cr_assert_eq(counter(store, "spins"), 0);
    finish(store);
}

/* The server could not answer meanwhile. */
Test(redis_network, an_answer_is_not_looked_for_on_the_only_processor)
{
    mako_store *store;
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((size_t)sched_getcpu(), &set);
    cr_assert_eq(sched_setaffinity(0, sizeof set, &set), 0);
    store = save_slowly(", \"spin_us\": 1000000", 3);
    cr_assert_eq(counter(store, "spins"), 0);
    finish(store);
}

/* An answer that comes when the time is over is none, however it is waited for. */
Test(redis_network, an_answer_is_not_looked_for_too_long)
{
    mako_store *store;
    struct mako_error err = {""};
    uint64_t seq = 1;
    int status = MAKO_OK;

    times = "\"op_timeout\": \"300ms\", \"io_timeout\": \"100ms\"";
    begin();
    store = must_open_here(", \"spin_us\": 1000000");
    save_at_last(store, "a", seq, 100);
    while (status == MAKO_OK && seq < 20) {
        must_answer("CLIENT PAUSE 600 WRITE", "+OK");
        status = save(store, "a", ++seq, 100, &err);
    }
    cr_assert_eq(status, MAKO_E_UNAVAILABLE, "%s: %s", mako_status_name(status),
                 err.text);
    finish(store);
}

/* Each is too late to be worth a look: soon few are looked for. */
Test(redis_network, late_answers_are_no_longer_looked_for)
{
    mako_store *store;
    uint64_t missed;

    if (one_processor())
        cr_skip_test("nobody spins on one processor");
    store = save_slowly(", \"spin_us\": 1000", 24);
    missed = counter(store, "spins_missed");
    cr_assert(missed >= 1 && missed < 12, "%llu", (unsigned long long)missed);
    finish(store);
}

/* ---- what sentinels and clusters say
 * ---------------------------------------------------
 */

struct topology {
    const char *text; /* @: the proxy's port */
    int status;       /* of opening and a load; 1: any failure */
    const char *words;
};

/* The text outlives the test, for a line may still be saying it. */
static const char *expand(const char *text)
{
    static char texts[32][512];
    static size_t used;
    char *out = texts[used++];
    size_t len = 0;

    cr_assert_lt(used, 32);

    for (; *text; text++)
        if (*text == '@')
            len += (size_t)snprintf(out + len, 8, "%u", (unsigned)proxy_port(proxy));
        else
            out[len++] = *text;
    out[len] = '\0';
    return out;
}

static void try_topology(const char *options, const char *words,
                         const struct topology *row)
{
    const struct proxy_rule pass = {.fault = PROXY_PASS};
    const char *text = expand(row->text);
    const struct proxy_rule rule = {.lie = {words, text, strlen(text), false, false}};
    uint64_t start = now_ms();
    mako_store *store = NULL;
    struct mako_error err = {""};
    int status;

    proxy_rule(proxy, &pass);
    proxy_rule(proxy, &rule);
    do {
        uint64_t from = now_ms(), seq;
        long memory = forget_peak();

        mako_store_unref(store);
        status = try_open("crash", options, &store, &err);
        if (status == MAKO_OK)
            status = load(store, "a", &seq, &err);
        within_bounds(row->text, from, memory);
    } while (row->status != 1 && too_slow(status, start));
    if (row->status == 1)
        cr_assert_lt(status, 0, "%s: %s", row->text, mako_status_name(status));
    else
        cr_assert_eq(status, row->status, "%s: %s: %s", row->text,
                     mako_status_name(status), err.text);
    if (status < 0) {
        fit_to_read(row->text, err.text);
        has_words(err.text, row->words);
    }
    mako_store_unref(store);
}

Test(redis_network, what_sentinels_say)
{
    static const struct topology rows[] = {
        {"*2\r\n$9\r\n127.0.0.1\r\n$5\r\n@\r\n", MAKO_OK, ""},
        {"*-1\r\n", MAKO_E_CONFIG, "knows no master 'm'"},
        {"*0\r\n", 1, ""},
        {"*1\r\n$9\r\n127.0.0.1\r\n", 1, ""},
        {"*2\r\n$9\r\n127.0.0.1\r\n$3\r\nabc\r\n", 1, ""},
        {"*2\r\n$9\r\n127.0.0.1\r\n$1\r\n0\r\n", 1, ""},
        {"*2\r\n$9\r\n127.0.0.1\r\n$6\r\n999999\r\n", 1, ""},
        {"*2\r\n$0\r\n\r\n$4\r\n6379\r\n", 1, ""},
        {"*2\r\n:1\r\n:2\r\n", 1, ""},
        {"*2\r\n*0\r\n*0\r\n", 1, ""},
        {"+OK\r\n", 1, ""},
        {"-ERR No such master with that name\r\n", 1, ""},
        {"*2147483647\r\n", 1, ""},
    };

    begin();
    put("a", 1, 100);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        try_topology(", \"mode\": \"sentinel\", \"sentinel_master\": \"m\"", "get-master",
                     &rows[i]);
    proxy_stop(proxy);
}

#define ALL ":0\r\n:16383\r\n"

/* While we were connecting to it a master may have been replaced: it is asked for again.
 */
Test(redis_network, a_master_that_was_picked_too_long_ago)
{
    const char *text = "*2\r\n$9\r\n127.0.0.1\r\n$5\r\n@\r\n";
    struct proxy_rule rule = {.lie = {"get-master", NULL, 0, false, false}};
    mako_store *store = NULL;
    struct mako_error err = {""};
    uint64_t seq = 1, asked;

    times = "\"op_timeout\": \"60s\", \"io_timeout\": \"3s\", "
            "\"connect_timeout\": \"10s\"";
    begin();
    rule.lie.text = expand(text);
    rule.lie.len = strlen(rule.lie.text);
    proxy_rule(proxy, &rule);
    cr_assert_eq(try_open("crash",
                          ", \"mode\": \"sentinel\", \"sentinel_master\": \"m\", "
                          "\"wait_replicas\": 0, \"pool_idle\": \"100ms\"",
                          &store, &err),
                 MAKO_OK, "%s", err.text);
    asked = counter(store, "refreshes");
    while (counter(store, "refreshes") == asked) {
        uint64_t start = now_ms();

        cr_assert_lt(seq, 12, "nobody was asked");
        while (now_ms() - start < 200) /* its connections are too old */
            breathe();
        (void)server_says(&server, "CLIENT PAUSE 2000 ALL", "+OK");
        must_save(store, "a", ++seq, 100);
    }
    cr_assert_eq(kept(store, "a"), seq);
    finish(store);
}

Test(redis_network, what_clusters_say)
{
    static const struct topology rows[] = {
        {"*1\r\n*3\r\n" ALL "*2\r\n$9\r\n127.0.0.1\r\n:@\r\n", MAKO_OK, ""},
        {"*1\r\n*3\r\n" ALL "*2\r\n$-1\r\n:@\r\n", MAKO_OK, ""},
        {"*1\r\n*3\r\n" ALL "*2\r\n$0\r\n\r\n:@\r\n", MAKO_OK, ""},
        {"*1\r\n*3\r\n" ALL "*4\r\n$9\r\n127.0.0.1\r\n:@\r\n$1\r\nx\r\n*0\r\n", MAKO_OK,
         ""},
        {"*0\r\n", 1, ""},
        {"*-1\r\n", 1, ""},
        {"+OK\r\n", 1, ""},
        {"*1\r\n*0\r\n", 1, ""},
        {"*1\r\n:1\r\n", 1, ""},
        {"*1\r\n*3\r\n:0\r\n:99999\r\n*2\r\n$9\r\n127.0.0.1\r\n:@\r\n", 1, ""},
        {"*1\r\n*3\r\n:-1\r\n:5\r\n*2\r\n$9\r\n127.0.0.1\r\n:@\r\n", 1, ""},
        {"*1\r\n*3\r\n:9\r\n:5\r\n*2\r\n$9\r\n127.0.0.1\r\n:@\r\n", 1, ""},
        {"*1\r\n*3\r\n" ALL "*2\r\n$9\r\n127.0.0.1\r\n:99999\r\n", 1, ""},
        {"*1\r\n*3\r\n" ALL "*2\r\n$9\r\n127.0.0.1\r\n:0\r\n", 1, ""},
        {"*1\r\n*3\r\n" ALL "*0\r\n", 1, ""},
        {"*1\r\n*3\r\n" ALL ":1\r\n", 1, ""},
        {"*20001\r\n", 1, ""},
        {"*2147483647\r\n", 1, ""},
        {"-ERR This instance has cluster support disabled\r\n", 1, ""},
    };

    mako_store *straight;

    store_settings = ", \"retry_after\": 0";
    server = (struct server){
        .options = {"--cluster-enabled", "yes", "--cluster-require-full-coverage", "no"}};
    server_start(&server);
    must_answer("CLUSTER ADDSLOTSRANGE 0 16383", "+OK");
    until_answer("CLUSTER INFO", "cluster_state:ok");
    proxy = proxy_start(server.port);
    straight = must_open("crash", ", \"mode\": \"cluster\", \"wait_replicas\": 0");
    must_save(straight, "a", 1, 100);
    mako_store_unref(straight);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        try_topology(", \"mode\": \"cluster\"", "SLOTS", &rows[i]);
    proxy_stop(proxy);
}

/* Of two masters one loads its data: it is believed or not when it is back. */
Test(redis_network, a_master_that_is_loading_while_a_store_is_opened)
{
    static const char loading[] =
        "-ERR unknown "
        "command\r\n$0\r\n\r\n*2\r\n$10\r\nappendonly\r\n$2\r\nno\r\n*0\r\n*0\r\n"
        "$9\r\nloading:1\r\n$0\r\n\r\n";
    const struct proxy_rule of_other = {
        .lie = {"persistence", loading, sizeof loading - 1, false, false}};
    char slots[200];
    struct proxy_rule of_first = {.lie = {.words = "SLOTS", .text = slots}};
    struct mako_error err = {""};
    mako_store *store = NULL;
    uint64_t start = now_ms();
    struct proxy *other;
    int status;

    store_settings = ", \"retry_after\": 0";
    server = (struct server){.options = {ALWAYS, "--cluster-enabled", "yes",
                                         "--cluster-require-full-coverage", "no"}};
    server_start(&server);
    must_answer("CLUSTER ADDSLOTSRANGE 0 16383", "+OK");
    until_answer("CLUSTER INFO", "cluster_state:ok");
    proxy = proxy_start(server.port);
    other = proxy_start(server.port);
    of_first.lie.len =
        (size_t)snprintf(slots, sizeof slots,
                         "*2\r\n*3\r\n:0\r\n:8000\r\n*2\r\n$9\r\n127.0.0.1\r\n:%u\r\n"
                         "*3\r\n:8001\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%u\r\n",
                         (unsigned)proxy_port(other), (unsigned)proxy_port(proxy));
    proxy_rule(proxy, &of_first);
    proxy_rule(other, &of_other);
    do
        status = try_open("power", ", \"mode\": \"cluster\"", &store, &err);
    while (too_slow(status, start));
    cr_assert_eq(status, MAKO_OK, "%s: %s", mako_status_name(status), err.text);
    mako_store_unref(store);
    proxy_stop(proxy);
    proxy_stop(other);
}

/* ---- networks that break --------------------------------------------------------------
 */

static const struct breakage {
    const char *name;
    enum proxy_fault fault;
    size_t after;
} breakages[] = {
    {"swallowed before the request", PROXY_SWALLOW, 0},
    {"swallowed in its middle", PROXY_SWALLOW, 1000},
    {"swallowed behind half of the payload", PROXY_SWALLOW, 100000},
    {"answer swallowed", PROXY_MUTE, 0},
    {"reset before the request", PROXY_RESET, 0},
    {"reset in its middle", PROXY_RESET, 1000},
    {"reset behind half of the payload", PROXY_RESET, 100000},
    {"closed before the request", PROXY_CLOSE, 0},
    {"closed in its middle", PROXY_CLOSE, 1000},
    {"half closed in its middle", PROXY_HALF_CLOSE, 1000},
    {"half of an answer, closed", PROXY_CUT_ANSWER, 0},
    {"half of an answer, reset", PROXY_RESET_ANSWER, 0},
    {"a byte at a time", PROXY_DRIP, 0},
};
#define BREAKAGES (sizeof breakages / sizeof breakages[0])

static void break_it(const struct breakage *breakage, bool once)
{
    const struct proxy_rule rule = {
        .fault = breakage->fault, .after = breakage->after, .once = once};

    proxy_rule(proxy, &rule);
}

/* For as long as it is broken nothing is acknowledged that is not there, no call takes
 * longer than its limit; when it is mended all goes on. */
Test(redis_network, broken_for_good)
{
    static const size_t sizes[] = {3000, 200000};
    const struct proxy_rule pass = {.fault = PROXY_PASS};

    begin();
    for (size_t i = 0; i < BREAKAGES * 2; i++) {
        const struct breakage *breakage = &breakages[i / 2];
        mako_store *store = must_open_here("");
        mako_store *straight = must_open("crash", "");
        struct mako_error err = {""};
        uint64_t seq = i * 10 + 1, from, found;
        int status;

        save_at_last(store, "a", seq, 100);
        break_it(breakage, false);
        from = now_ms();
        status = save(store, "a", seq + 1, sizes[i % 2], &err);
        cr_assert_lt(now_ms() - from, LIMIT_MS, "%s", breakage->name);
        found = kept(straight, "a");
        cr_assert(found == seq + 1 || (found == seq && status != MAKO_OK), "%s: %s, %llu",
                  breakage->name, mako_status_name(status), (unsigned long long)found);
        if (status != MAKO_OK)
            cr_assert_eq(status, MAKO_E_UNAVAILABLE, "%s: %s", breakage->name, err.text);
        (void)load(store, "a", &found, &err);
        proxy_rule(proxy, &pass);
        seq += 1;
        saves_until(store, &seq, sizes[i % 2], MAKO_OK, "");
        cr_assert_eq(kept_at_last(store, "a"), seq, "%s", breakage->name);
        mako_store_unref(store);
        mako_store_unref(straight);
    }
    proxy_stop(proxy);
}

/* Only the connections that are there break, half-open ones among them: the call finds
 * a new one, and nobody notices. */
Test(redis_network, broken_once)
{
    times = "\"op_timeout\": \"60s\", \"io_timeout\": \"300ms\"";
    begin();
    for (size_t i = 0; i < BREAKAGES; i++) {
        mako_store *store = must_open_here("");
        uint64_t seq = i * 10 + 1;

        must_save(store, "a", seq, 100);
        break_it(&breakages[i], true);
        must_save(store, "a", seq + 1, 200000);
        cr_assert_eq(kept(store, "a"), seq + 1, "%s", breakages[i].name);
        break_it(&breakages[i], true);
        cr_assert_eq(kept(store, "a"), seq + 1, "%s", breakages[i].name);
        mako_store_unref(store);
    }
    proxy_stop(proxy);
}

struct batch_beside {
    mako_store *store;
    struct batch batch;
};

static void *save_batch_beside(void *arg)
{
    struct batch_beside *beside = arg;

    batch_save(beside->store, &beside->batch);
    return NULL;
}

/* Behind an outage the first who knocks is in a hurry.  A batch that was done ends that:
 * the next one outlasts an outage, like a save. */
Test(redis_network, a_batch_ends_an_outage)
{
    static const struct proxy_rule pass = {.fault = PROXY_PASS},
                                   swallow = {.fault = PROXY_SWALLOW},
                                   down = {.lie = {"SCAN", TEXT("-CLUSTERDOWN no\r\n"),
                                                   false, false}};
    static struct batch_beside beside;
    struct mako_error err = {""};
    pthread_t thread;
    unsigned count = 0;
    uint64_t start;

    times = "\"op_timeout\": \"120s\", \"io_timeout\": \"1s\", "
            "\"connect_timeout\": \"1s\"";
    begin();
    beside.store = must_open_here("");
    proxy_rule(proxy, &down);
    cr_assert_eq(mako_store_scan(beside.store, NULL, count_one, &count, &err),
                 MAKO_E_UNAVAILABLE, "%s", err.text);
    proxy_rule(proxy, &pass);
    batch_make(&beside.batch, 1, 100);
    do
        batch_save(beside.store, &beside.batch);
    while (beside.batch.statuses[0] != MAKO_OK);
    proxy_rule(proxy, &swallow);
    batch_make(&beside.batch, 2, 100);
    start = now_ms();
    cr_assert_eq(pthread_create(&thread, NULL, save_batch_beside, &beside), 0);
    while (now_ms() - start < 4000) /* more than one in a hurry has */
        breathe();
    proxy_rule(proxy, &pass);
    (void)pthread_join(thread, NULL);
    for (size_t i = 0; i < BATCH; i++)
        cr_assert_eq(beside.batch.statuses[i], MAKO_OK, "%s",
                     mako_status_name(beside.batch.statuses[i]));
    finish(beside.store);
}

/* Of each save of a batch it is told whether it is there, however much of it got through;
 * where nobody answers not each of them waits. */
Test(redis_network, a_batch_is_broken)
{
    static const struct proxy_rule pass = {.fault = PROXY_PASS};
    static struct batch saved, found;

    begin();
    for (size_t i = 0; i < BREAKAGES; i++) {
        const char *name = breakages[i].name;
        mako_store *store = must_open_here(""), *straight = must_open("crash", "");
        uint64_t seq = i * 10 + 1, from;

        batch_make(&saved, seq, 3000);
        batch_save(store, &saved); /* it is connected, and knows what it may */
        batch_must_save(straight, &saved);
        break_it(&breakages[i], false);
        batch_make(&saved, seq + 1, 3000);
        from = now_ms();
        batch_save(store, &saved);
        batch_make(&found, 0, 0);
        batch_load(store, &found);
        cr_assert_lt(now_ms() - from, LIMIT_MS, "%s", name);
        for (size_t j = 0; j < BATCH; j++) {
            cr_assert(saved.statuses[j] == MAKO_OK ||
                          saved.statuses[j] == MAKO_E_UNAVAILABLE,
                      "%s: %s", name, mako_status_name(saved.statuses[j]));
            cr_assert(found.statuses[j] == MAKO_OK ||
                          found.statuses[j] == MAKO_E_UNAVAILABLE,
                      "%s: %s", name, mako_status_name(found.statuses[j]));
        }
        batch_load(straight, &found);
        for (size_t j = 0; j < BATCH; j++)
            cr_assert(found.statuses[j] == MAKO_OK &&
                          (found.seqs[j] == seq + 1 ||
                           (found.seqs[j] == seq && saved.statuses[j] != MAKO_OK)),
                      "%s: %s, %llu", name, mako_status_name(saved.statuses[j]),
                      (unsigned long long)found.seqs[j]);
        proxy_rule(proxy, &pass);
        mako_store_unref(store);
        mako_store_unref(straight);
    }
    proxy_stop(proxy);
}

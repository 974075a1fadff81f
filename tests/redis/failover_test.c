/* tests/redis/failover_test.c - masters that die, stop, or lose slots while many threads
 * save: no acknowledged save is lost, and saving goes on.
 *
 * The servers come from with-redis, one set for each case.  In a cluster saving goes on
 * within 3 times cluster-node-timeout, which is 5 s there.  A noisy machine may take
 * longer now and then: then there is another failover, up to 3, of which one must be in
 * time. */
#include "client.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>

enum {
    NODES = 6,
    THREADS = 4,
    STREAMS = 16, /* of a thread */
    NODE_TIMEOUT_MS = 5000,
    LIMIT_MS = 60000,
    FAILOVERS = 3,
    PATIENCE_MS = 90000
};

TestSuite(redis_cluster, .timeout = 480);
TestSuite(redis_sentinel, .timeout = 240);

/* ---- the servers ----------------------------------------------------------------------
 */

static struct server nodes[NODES];
static size_t node_count;

static void find_nodes(void)
{
    node_count = find_servers(nodes, NODES);
}

/* The node that owns the key of a stream; another than not.  NULL: none now. */
static struct server *owner(const char *stream, const struct server * not )
{
    char command[128], answer[128];

    (void)snprintf(command, sizeof command, "EXISTS snap:{%s}", stream);
    for (size_t i = 0; i < node_count; i++) {
        if (&nodes[i] == not )
            continue;
        server_ask(&nodes[i], command, answer, sizeof answer);
        if (answer[0] == ':' && server_says(&nodes[i], "ROLE", "master"))
            return &nodes[i];
    }
    return NULL;
}

static struct server *wait_owner(const char *stream, const struct server * not )
{
    uint64_t end = now_ms() + PATIENCE_MS;
    struct server *node;

    while ((node = owner(stream, not )) == NULL) {
        cr_assert(now_ms() < end, "%s: no master takes over", stream);
        breathe();
    }
    return node;
}

/* The same server again, with the options of with-redis; it ends with this test. */
static void restart(struct server *node, const char *const *options)
{
    const char *program = getenv("MAKO_TEST_REDIS_SERVER");
    const char *argv[32] = {program ? program : "redis-server",
                            "--bind",
                            "127.0.0.1",
                            "--save",
                            "",
                            "--appendonly",
                            "no",
                            "--repl-diskless-sync-delay",
                            "0",
                            "--port"};
    size_t at = 10;
    char port[8];
    pid_t pid;

    (void)snprintf(port, sizeof port, "%u", (unsigned)node->port);
    argv[at++] = port;
    while (*options)
        argv[at++] = *options++;
    pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (chdir(node->dir) != 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 ||
            dup2(null, 2) < 0)
            _exit(126);
        (void)execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    node->pid = pid;
}

/* ---- the load -------------------------------------------------------------------------
 */

struct stream {
    char name[32];
    _Atomic uint64_t tried, acked, acked_at; /* ms */
};

struct saver {
    mako_store *_Atomic store;
    struct stream streams[STREAMS];
    atomic_uint failed;
    struct mako_error err; /* of the last failure */
    pthread_t thread;
};

static struct saver savers[THREADS];
static atomic_bool stop;

static void *save_on(void *arg)
{
    static const size_t sizes[] = {100, 3000, 20000, 90000};
    struct saver *saver = arg;

    for (size_t i = 0; !atomic_load(&stop); i = (i + 1) % STREAMS) {
        struct stream *stream = &saver->streams[i];
        uint64_t seq = atomic_fetch_add(&stream->tried, 1) + 1;

        if (save(atomic_load(&saver->store), stream->name, seq, sizes[(seq + i) % 4],
                 &saver->err) != MAKO_OK) {
            atomic_fetch_add(&saver->failed, 1);
            continue;
        }
        atomic_store(&stream->acked, seq);
        atomic_store(&stream->acked_at, now_ms());
    }
    return NULL;
}

static mako_store *open_nodes(const char *options)
{
    char all[1024];
    mako_store *store = NULL;
    struct mako_error err = {""};
    const char *endpoints = getenv("MAKO_TEST_REDIS");

    cr_assert_not_null(endpoints);
    (void)snprintf(all, sizeof all,
                   "\"endpoints\": \"%s\", \"op_timeout\": \"60s\", \"pool_max\": 8%s",
                   endpoints, options);
    store_settings = ", \"retry_after\": 0";
    cr_assert_eq(open_with("crash", all, &store, &err), MAKO_OK, "%s", err.text);
    return store;
}

static struct stream *stream_at(size_t i)
{
    return &savers[i / STREAMS].streams[i % STREAMS];
}

static unsigned failures(void)
{
    unsigned count = 0;

    for (size_t i = 0; i < THREADS; i++)
        count += atomic_load(&savers[i].failed);
    return count;
}

/* Until each stream was acknowledged again since then; when that was, in ms. */
static uint64_t all_acked_since(uint64_t since)
{
    uint64_t end = now_ms() + PATIENCE_MS, last = since;

    for (size_t i = 0; i < (size_t)THREADS * STREAMS; i++) {
        const struct stream *stream = stream_at(i);

        while (atomic_load(&stream->acked_at) <= since) {
            cr_assert(now_ms() < end, "%s: no save gets through: %s", stream->name,
                      savers[i / STREAMS].err.text);
            breathe();
        }
        if (atomic_load(&stream->acked_at) > last)
            last = atomic_load(&stream->acked_at);
    }
    return last;
}

/* Two times around, so that everything is under way; failures count from then on. */
static void begin_load(mako_store *store)
{
    atomic_store(&stop, false);
    for (size_t t = 0; t < THREADS; t++) {
        atomic_store(&savers[t].store, store);
        for (size_t i = 0; i < STREAMS; i++)
            (void)snprintf(savers[t].streams[i].name, sizeof savers[t].streams[i].name,
                           "f/%zu/%zu", t, i);
        cr_assert_eq(pthread_create(&savers[t].thread, NULL, save_on, &savers[t]), 0);
    }
    (void)all_acked_since(now_ms());
    (void)all_acked_since(now_ms());
    for (size_t t = 0; t < THREADS; t++)
        atomic_store(&savers[t].failed, 0);
}

static void end_load(void)
{
    atomic_store(&stop, true);
    for (size_t t = 0; t < THREADS; t++)
        (void)pthread_join(savers[t].thread, NULL);
}

/* By a store that knows nothing of what happened. */
static void nothing_lost(const char *options)
{
    mako_store *fresh = open_nodes(options);

    for (size_t i = 0; i < (size_t)THREADS * STREAMS; i++) {
        const struct stream *stream = stream_at(i);
        uint64_t found = kept(fresh, stream->name), acked = atomic_load(&stream->acked);

        cr_assert_geq(found, acked, "%s: sequence %llu, %llu was acknowledged",
                      stream->name, (unsigned long long)found, (unsigned long long)acked);
        cr_assert_leq(found, atomic_load(&stream->tried), "%s", stream->name);
    }
    mako_store_unref(fresh);
}

/* Saves that reach a master that was stopped and replaced, and goes on as if it were the
 * master still: it answers them. */
enum {
    SLEEPERS = 3
};

static struct sleeper {
    mako_store *store;
    char name[32];
    int status;
    struct mako_error err;
    pthread_t thread;
} sleepers[SLEEPERS];

static void *sleep_on(void *arg)
{
    struct sleeper *sleeper = arg;

    sleeper->status = save(sleeper->store, sleeper->name, 2, 100, &sleeper->err);
    return NULL;
}

/* A slow machine may miss the time limit of the replicas. */
static void save_confirmed(mako_store *store, const char *stream)
{
    uint64_t end = now_ms() + PATIENCE_MS;
    struct mako_error err = {""};

    while (save(store, stream, 1, 100, &err) != MAKO_OK) {
        cr_assert(now_ms() < end, "%s", err.text);
        breathe();
    }
}

/* On streams of this master; each has a connection to it then. */
static void place_sleepers(mako_store *store, const struct server *master)
{
    size_t count = 0;

    for (unsigned i = 0; count < SLEEPERS; i++) {
        struct sleeper *sleeper = &sleepers[count];

        cr_assert_lt(i, 1000);
        (void)snprintf(sleeper->name, sizeof sleeper->name, "z/%u", i);
        if (owner(sleeper->name, NULL) != master)
            continue;
        sleeper->store = store;
        save_confirmed(store, sleeper->name);
        count++;
    }
}

static void begin_sleepers(void)
{
    for (size_t i = 0; i < SLEEPERS; i++)
        cr_assert_eq(pthread_create(&sleepers[i].thread, NULL, sleep_on, &sleepers[i]),
                     0);
}

/* Those that failed may have been done. */
static void end_sleepers(const char *options)
{
    mako_store *fresh = open_nodes(options);

    for (size_t i = 0; i < SLEEPERS; i++) {
        struct sleeper *sleeper = &sleepers[i];
        uint64_t found;

        (void)pthread_join(sleeper->thread, NULL);
        found = kept(fresh, sleeper->name);
        cr_assert(found == 2 || (found == 1 && sleeper->status != MAKO_OK),
                  "%s: sequence %llu: %s: %s", sleeper->name, (unsigned long long)found,
                  mako_status_name(sleeper->status), sleeper->err.text);
    }
    mako_store_unref(fresh);
}

/* ---- cluster --------------------------------------------------------------------------
 */

#define CLUSTER ", \"mode\": \"cluster\""

static const char *const cluster_options[] = {"--cluster-enabled", "yes",
                                              "--cluster-node-timeout", "5000", NULL};

/* Within the bound; false: somewhat later. */
static bool went_on_in_time(uint64_t since)
{
    uint64_t took = all_acked_since(since) - since;

    cr_log_info("saves of all streams again after %llu ms, %u failed",
                (unsigned long long)took, failures());
    cr_assert_lt(took, LIMIT_MS, "%llu ms", (unsigned long long)took);
    return took < 3 * NODE_TIMEOUT_MS;
}

/* A master is stopped or killed, and replaced; it comes back, for somebody must confirm
 * the saves of the new one.  What is done meanwhile may be NULL. */
static bool fail_over(int signal, void (*meanwhile)(void))
{
    struct server *master = wait_owner("f/0/0", NULL);
    uint64_t since;
    bool in_time;

    (void)kill(master->pid, signal);
    since = now_ms();
    if (meanwhile)
        meanwhile();
    (void)wait_owner("f/0/0", master);
    if (signal == SIGSTOP)
        (void)kill(master->pid, SIGCONT);
    else
        restart(master, cluster_options);
    in_time = went_on_in_time(since);
    (void)all_acked_since(now_ms());
    return in_time;
}

/* The first one was, or one of some more. */
static void one_in_time(bool first, int signal)
{
    bool in_time = first;

    for (unsigned i = 1; i < FAILOVERS && !in_time; i++)
        in_time = fail_over(signal, NULL);
    cr_assert(in_time, "none of %d failovers within %d ms", FAILOVERS,
              3 * NODE_TIMEOUT_MS);
}

Test(redis_cluster, a_master_is_killed)
{
    mako_store *store;

    find_nodes();
    store = open_nodes(CLUSTER);
    begin_load(store);
    one_in_time(fail_over(SIGKILL, NULL), SIGKILL);
    end_load();
    nothing_lost(CLUSTER);
    mako_store_unref(store);
}

/* It is stopped, replaced, and goes on as if nothing had happened.  Saves were sent to it
 * meanwhile, by a store that waits for long. */
Test(redis_cluster, a_master_is_stopped_and_goes_on)
{
    mako_store *store, *asleep;

    find_nodes();
    store = open_nodes(CLUSTER);
    asleep = open_nodes(CLUSTER ", \"io_timeout\": \"60s\"");
    begin_load(store);
    place_sleepers(asleep, wait_owner("f/0/0", NULL));
    one_in_time(fail_over(SIGSTOP, begin_sleepers), SIGSTOP);
    end_load();
    nothing_lost(CLUSTER);
    end_sleepers(CLUSTER);
    mako_store_unref(store);
    mako_store_unref(asleep);
}

/* ---- slots that move ------------------------------------------------------------------
 */

static void node_id(const struct server *node, char id[41])
{
    char answer[128];

    server_ask(node, "CLUSTER MYID", answer, sizeof answer);
    cr_assert(answer[0] == '$' && strlen(answer) > 45, "%s", answer);
    memcpy(id, answer + 5, 40);
    id[40] = '\0';
}

static void tell(const struct server *node, const char *words)
{
    char answer[512];

    server_ask(node, words, answer, sizeof answer);
    cr_assert(answer[0] == '+', "%s: %s", words, answer);
}

static void set_slot(const struct server *node, unsigned slot, const char *state,
                     const char *id)
{
    char words[128];

    (void)snprintf(words, sizeof words, "CLUSTER SETSLOT %u %s %s", slot, state, id);
    tell(node, words);
}

/* The keys of the slot, one after the other; the savers go on making some. */
static void move_keys(const struct server *from, const struct server *to, unsigned slot)
{
    char words[256], answer[4096], *key, *end;

    (void)snprintf(words, sizeof words, "CLUSTER GETKEYSINSLOT %u 1", slot);
    for (;;) {
        server_ask(from, words, answer, sizeof answer);
        key = strstr(answer, "snap:");
        if (!key)
            return;
        end = strchr(key, '\r');
        cr_assert_not_null(end);
        *end = '\0';
        (void)snprintf(words, sizeof words, "MIGRATE 127.0.0.1 %u %.150s 0 5000",
                       (unsigned)to->port, key);
        tell(from, words);
        (void)snprintf(words, sizeof words, "CLUSTER GETKEYSINSLOT %u 1", slot);
    }
}

/* Again and again, as long as the slot is in between. */
static void until_redirected(mako_store *store)
{
    uint64_t end = now_ms() + PATIENCE_MS, before = counter(store, "redirects");

    while (counter(store, "redirects") == before) {
        cr_assert(now_ms() < end, "nobody was redirected");
        breathe();
    }
}

static bool count_stream(void *arg, struct mako_str stream, const struct mako_meta *meta,
                         uint64_t size)
{
    (void)stream, (void)size;
    *(size_t *)arg += meta != NULL;
    return true;
}

static void all_are_listed(mako_store *store)
{
    struct mako_error err = {""};
    size_t count = 0;

    cr_assert_eq(mako_store_scan(store, NULL, count_stream, &count, &err), MAKO_OK, "%s",
                 err.text);
    cr_assert_geq(count, THREADS * STREAMS);
}

static void move_slot(mako_store *store, const char *stream, struct server *to)
{
    struct server *from = wait_owner(stream, NULL);
    char words[128], answer[64], from_id[41], to_id[41];
    unsigned slot;

    if (from == to)
        return;
    (void)snprintf(words, sizeof words, "CLUSTER KEYSLOT snap:{%s}", stream);
    server_ask(from, words, answer, sizeof answer);
    slot = (unsigned)strtoul(answer + 1, NULL, 10);
    node_id(from, from_id);
    node_id(to, to_id);
    set_slot(to, slot, "IMPORTING", from_id);
    set_slot(from, slot, "MIGRATING", to_id);
    move_keys(from, to, slot);
    until_redirected(store); /* ASK: the slot is in between */
    all_are_listed(store);
    move_keys(from, to, slot);
    set_slot(to, slot, "NODE", to_id);
    set_slot(from, slot, "NODE", to_id);
    /* MOVED, once: all may have been told already. */
    (void)all_acked_since(now_ms());
}

/* Nobody notices. */
Test(redis_cluster, slots_move_under_load)
{
    struct server *to;
    mako_store *store;

    find_nodes();
    for (size_t i = 0; i < node_count; i++)
        make_user(&nodes[i]);
    store = open_nodes(CLUSTER AS_USER
                       ", \"wait_timeout\": \"30s\", \"io_timeout\": \"30s\"");
    begin_load(store);
    to = wait_owner("f/1/1", NULL);
    for (size_t i = 0; i < (size_t)THREADS * STREAMS; i += 12)
        move_slot(store, stream_at(i)->name, to);
    (void)all_acked_since(now_ms());
    end_load();
    for (size_t t = 0; t < THREADS; t++)
        cr_assert_eq(atomic_load(&savers[t].failed), 0, "%s", savers[t].err.text);
    nothing_lost(CLUSTER);
    mako_store_unref(store);
}

/* ---- servers that are not there -------------------------------------------------------
 */

static void opening_fails(const char *options, int want, const char *words)
{
    mako_store *store = NULL;
    struct mako_error err = {""};
    int status = open_with("crash", options, &store, &err);

    cr_assert_eq(status, want, "%s: %s", mako_status_name(status), err.text);
    has_words(err.text, "store 's' (redis)");
    has_words(err.text, words);
}

Test(redis_cluster, some_seeds_or_all_are_away)
{
    char options[256];
    mako_store *store = NULL;
    struct mako_error err = {""};

    find_nodes();
    (void)snprintf(
        options, sizeof options,
        "\"mode\": \"cluster\", \"op_timeout\": \"10s\", \"wait_timeout\": \"10s\", "
        "\"endpoints\": \"127.0.0.1:1,127.0.0.1:2,127.0.0.1:%u\"",
        (unsigned)nodes[4].port);
    cr_assert_eq(open_with("crash", options, &store, &err), MAKO_OK, "%s", err.text);
    must_save(store, "a", 1, 100);
    (void)snprintf(options, sizeof options, "\"endpoints\": \"127.0.0.1:%u\"",
                   (unsigned)nodes[0].port);
    opening_fails(options, MAKO_E_CONFIG, "cluster");
    for (size_t i = 0; i < node_count; i++)
        (void)kill(nodes[i].pid, SIGKILL);
    cr_assert_eq(save(store, "a", 2, 100, &err), MAKO_E_UNAVAILABLE, "%s", err.text);
    has_words(err.text, "store 's' (redis): 127.0.0.1:");
    mako_store_unref(store);
}

/* ---- sentinel -------------------------------------------------------------------------
 */

#define SENTINEL ", \"mode\": \"sentinel\", \"sentinel_master\": \"mako\""

static void wait_for_other_master(const struct server *old)
{
    struct server sentinel = {.port = 0};
    const char *endpoints = getenv("MAKO_TEST_REDIS");
    uint64_t end = now_ms() + PATIENCE_MS;
    char answer[256], port[16];

    cr_assert(endpoints && strchr(endpoints, ':'));
    sentinel.port = (uint16_t)strtoul(strchr(endpoints, ':') + 1, NULL, 10);
    (void)snprintf(port, sizeof port, "\n%u\r", (unsigned)old->port);
    do {
        server_ask(&sentinel, "SENTINEL get-master-addr-by-name mako", answer,
                   sizeof answer);
        cr_assert(now_ms() < end, "the sentinels choose no other master");
        breathe();
    } while (answer[0] != '*' || strstr(answer, port));
}

static bool count_one(void *arg, struct mako_str stream, const struct mako_meta *meta,
                      uint64_t size)
{
    (void)stream, (void)meta, (void)size;
    ++*(size_t *)arg;
    return true;
}

/* A store that does nothing else finds the new master as well. */
static void lists_all(mako_store *store)
{
    struct mako_error err = {""};
    size_t count = 0;

    cr_assert_eq(mako_store_scan(store, NULL, count_one, &count, &err), MAKO_OK, "%s",
                 err.text);
    cr_assert_eq(count, (size_t)THREADS * STREAMS);
}

Test(redis_sentinel, a_master_is_killed)
{
    mako_store *store, *lister;
    uint64_t since;

    find_nodes();
    store = open_nodes(SENTINEL);
    lister = open_nodes(SENTINEL);
    begin_load(store);
    (void)kill(nodes[0].pid, SIGKILL);
    since = now_ms();
    wait_for_other_master(&nodes[0]);
    cr_log_info("saves of all streams again after %llu ms, %u failed",
                (unsigned long long)(all_acked_since(now_ms()) - since), failures());
    (void)all_acked_since(now_ms());
    end_load();
    nothing_lost(SENTINEL);
    lists_all(lister);
    mako_store_unref(store);
    mako_store_unref(lister);
}

/* As long as it takes itself for a master, it says OK to saves that it will lose. */
Test(redis_sentinel, a_master_is_stopped_and_goes_on)
{
    mako_store *store, *asleep;
    uint64_t since, end;

    find_nodes();
    store = open_nodes(SENTINEL);
    asleep = open_nodes(SENTINEL);
    begin_load(store);
    place_sleepers(asleep, &nodes[0]);
    (void)kill(nodes[0].pid, SIGSTOP);
    since = now_ms();
    wait_for_other_master(&nodes[0]);
    (void)kill(nodes[0].pid, SIGCONT);
    begin_sleepers();
    cr_log_info("saves of all streams again after %llu ms, %u failed",
                (unsigned long long)(all_acked_since(now_ms()) - since), failures());
    for (end = now_ms() + PATIENCE_MS; !server_says(&nodes[0], "ROLE", "slave");
         breathe())
        cr_assert(now_ms() < end, "the old master is not told");
    (void)all_acked_since(now_ms());
    end_load();
    nothing_lost(SENTINEL);
    end_sleepers(SENTINEL);
    mako_store_unref(store);
    mako_store_unref(asleep);
}

Test(redis_sentinel, wrong_names_and_roles)
{
    char options[512];
    mako_store *store = NULL;
    struct mako_error err = {""};
    uint64_t start;
    int status;

    find_nodes();
    (void)snprintf(options, sizeof options,
                   "\"mode\": \"sentinel\", \"sentinel_master\": \"nobody\", "
                   "\"endpoints\": \"%.200s\"",
                   getenv("MAKO_TEST_REDIS"));
    opening_fails(options, MAKO_E_CONFIG, "knows no master 'nobody'");
    (void)snprintf(options, sizeof options,
                   "\"op_timeout\": \"2s\", \"endpoints\": \"127.0.0.1:%u\"",
                   (unsigned)nodes[1].port);
    start = now_ms();
    do
        status = open_with("crash", options, &store, &err);
    while (too_slow(status, start));
    cr_assert_eq(status, MAKO_OK, "%s", err.text);
    until_told(store, "READONLY");
    mako_store_unref(store);
    (void)snprintf(options, sizeof options,
                   "\"mode\": \"cluster\", \"endpoints\": \"127.0.0.1:%u\"",
                   (unsigned)nodes[0].port);
    opening_fails(options, MAKO_E_CONFIG, "cluster");
}

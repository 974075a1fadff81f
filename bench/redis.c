/* bench/redis.c - the Redis store against a bare loop of hiredis on the same server: one
 * connection, plain GET and SET, which compare nothing and judge nothing.
 *
 * Two servers are started for it, one that keeps nothing on disk and one that flushes
 * every write (appendfsync always), and end with it.  hiredis is the peer here, as SQLite
 * would be; the store itself is used through the library only. */
#include "groups.h"
#include "workload.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <hiredis/hiredis.h>
#include <mako/store_plugin.h>

enum {
    KIB = 1024,
    MIB = 1024 * 1024,
    DEPTH = 64, /* of a batch, and of the pipeline beside it */
    THREADS = 8,
    TRIES = 10,
    PATIENCE_MS = 20000
};

/* ---- servers ------------------------------------------------------------------------
 */

struct server {
    pid_t pid; /* 0: none */
    uint16_t port;
    redisContext *peer;
};

/* Below the ports that the kernel gives away.  0: none. */
static uint16_t free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    bool bound = false;

    for (unsigned i = 0; i < 1000 && !bound; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        at.sin_port = htons(
            (uint16_t)(10000 + (bench_now() / 7 + (uint64_t)getpid() * 131) % 22000));
        bound = fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0;
        if (fd >= 0)
            (void)close(fd);
    }
    return bound ? ntohs(at.sin_port) : 0;
}

/* In the child. */
static _Noreturn void become_server(const char *dir, uint16_t port, bool always)
{
    char number[8];
    const char *argv[] = {
        "redis-server",        "--port",        number,   "--bind",
        "127.0.0.1",           "--save",        "",       "--appendonly",
        always ? "yes" : "no", "--appendfsync", "always", NULL};
    int null = open("/dev/null", O_RDWR);

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)snprintf(number, sizeof number, "%u", (unsigned)port);
    if (chdir(dir) != 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0)
        _exit(126);
    (void)execvp(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
}

/* On the port there might be another. */
static bool is_ours(const struct server *server)
{
    redisReply *reply = redisCommand(server->peer, "INFO server");
    char pid[32];
    bool ours;

    (void)snprintf(pid, sizeof pid, "\nprocess_id:%d\r", (int)server->pid);
    ours = reply && reply->str && strstr(reply->str, pid);
    freeReplyObject(reply);
    return ours;
}

/* MAKO_NOT_FOUND: there is no redis-server on this machine. */
static int await_server(struct server *server, struct mako_error *err)
{
    const struct timespec pause = {.tv_nsec = 10000000};
    uint64_t end = bench_now() + PATIENCE_MS * UINT64_C(1000000);
    int status;

    while (bench_now() < end) {
        if (waitpid(server->pid, &status, WNOHANG) == server->pid) {
            server->pid = 0;
            return WIFEXITED(status) && WEXITSTATUS(status) == 127
                       ? MAKO_NOT_FOUND
                       : mako_fail(err, MAKO_E_UNAVAILABLE, "redis-server ended at once");
        }
        server->peer = redisConnect("127.0.0.1", server->port);
        if (server->peer && !server->peer->err && is_ours(server))
            return MAKO_OK;
        redisFree(server->peer);
        server->peer = NULL;
        (void)nanosleep(&pause, NULL);
    }
    return mako_fail(err, MAKO_E_UNAVAILABLE, "redis-server does not answer");
}

static int start_server(const struct bench *bench, const char *name, bool always,
                        struct server *server, struct mako_error *err)
{
    char *dir = bench_path(bench->dir, name);
    int status;

    if (!dir)
        return mako_fail(err, MAKO_E_NOMEM, "no memory for a path");
    if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
        status = mako_fail(err, MAKO_E_IO, "%s: %s", dir, strerror(errno));
        free(dir);
        return status;
    }
    for (unsigned i = 0; i < TRIES; i++) {
        server->port = free_port();
        server->pid = fork();
        if (server->pid == 0)
            become_server(dir, server->port, always);
        if (server->pid < 0) {
            server->pid = 0;
            status = mako_fail(err, MAKO_E_UNAVAILABLE, "fork: %s", strerror(errno));
            break;
        }
        status = await_server(server, err);
        if (status != MAKO_E_UNAVAILABLE || server->pid > 0)
            break;
    }
    free(dir);
    return status;
}

static void stop_server(struct server *server)
{
    redisFree(server->peer);
    if (server->pid > 0) {
        (void)kill(server->pid, SIGKILL);
        (void)waitpid(server->pid, NULL, 0);
    }
}

/* options: more of them, each with a comma before it. */
static int open_store(const struct server *server, const char *durability,
                      const char *options, mako_store **store, struct mako_error *err)
{
    char json[256];
    int len =
        snprintf(json, sizeof json,
                 "{\"stores\":{\"bench\":{\"plugin\":\"redis\",\"durability\":\"%s\","
                 "\"options\":{\"endpoints\":\"127.0.0.1:%u\"%s}}}}",
                 durability, (unsigned)server->port, options);

    return mako_store_open_json(json, (size_t)len, "bench", store, err);
}

/* ---- the peer -----------------------------------------------------------------------
 */

/* One answer, which must be a success. */
static int heard(redisContext *peer, redisReply *reply, struct mako_error *err)
{
    int status = MAKO_OK;

    if (!reply)
        return mako_fail(err, MAKO_E_IO, "hiredis: %s", peer->errstr);
    if (reply->type == REDIS_REPLY_ERROR || reply->type == REDIS_REPLY_NIL)
        status = mako_fail(err, MAKO_E_IO, "redis-server: %s",
                           reply->str ? reply->str : "no such key");
    freeReplyObject(reply);
    return status;
}

static int peer_args(const char *id, const char *state, size_t len, const char *argv[3],
                     size_t lens[3])
{
    argv[0] = state ? "SET" : "GET";
    argv[1] = id;
    argv[2] = state;
    lens[0] = 3;
    lens[1] = strlen(id);
    lens[2] = len;
    return state ? 3 : 2;
}

/* SET where there is a state, else GET. */
static int peer_call(redisContext *peer, const char *id, const char *state, size_t len,
                     struct mako_error *err)
{
    const char *argv[3];
    size_t lens[3];
    int argc = peer_args(id, state, len, argv, lens);

    return heard(peer, redisCommandArgv(peer, argc, argv, lens), err);
}

static int peer_pipeline(redisContext *peer, const char *const *ids, const char *state,
                         size_t len, struct mako_error *err)
{
    const char *argv[3];
    size_t lens[3];
    int status = MAKO_OK;

    for (size_t i = 0; i < DEPTH; i++)
        if (redisAppendCommandArgv(peer, peer_args(ids[i], state, len, argv, lens), argv,
                                   lens) != REDIS_OK)
            return mako_fail(err, MAKO_E_IO, "hiredis: %s", peer->errstr);
    for (size_t i = 0; i < DEPTH && status == MAKO_OK; i++) {
        void *reply = NULL;

        (void)redisGetReply(peer, &reply);
        status = heard(peer, reply, err);
    }
    return status;
}

/* ---- contests -----------------------------------------------------------------------
 */

enum work {
    LOAD,
    SAVE,
    LOAD_MANY,
    SAVE_MANY
};

/* What is measured: the store's time beside the peer's. */
struct contest {
    struct bench_spec spec;
    enum work work;
    size_t len, streams, calls;
    mako_store *store;
    redisContext *peer;
    const struct bench_streams *ids;
    const char *state;
    struct bench_rng rng;
    uint64_t seq;
};

static const char *pick(struct contest *contest)
{
    return contest->ids->ids[bench_rng_pick(&contest->rng, contest->streams)];
}

/* As many different streams as a batch has items, in a row. */
static void pick_many(struct contest *contest, const char *ids[DEPTH])
{
    size_t first = bench_rng_pick(&contest->rng, contest->streams);

    for (size_t i = 0; i < DEPTH; i++)
        ids[i] = contest->ids->ids[(first + i) % contest->streams];
}

static struct mako_save save_of(const struct contest *contest)
{
    return (struct mako_save){.struct_size = sizeof(struct mako_save),
                              .seq = contest->seq,
                              .schema = 1,
                              .state = contest->state,
                              .state_len = contest->len};
}

static const struct mako_expect expect = {
    .struct_size = sizeof expect, .schema_min = 1, .schema_max = 1};

static int store_load(struct contest *contest, const char *id, struct mako_error *err)
{
    mako_snapshot *snapshot;
    int status = mako_store_load(contest->store, id, &expect, &snapshot, NULL, err);

    if (status == MAKO_OK)
        mako_snapshot_unref(snapshot);
    return status;
}

static int store_save(struct contest *contest, const char *id, struct mako_error *err)
{
    struct mako_save save = save_of(contest);

    return mako_store_save(contest->store, id, &save, err);
}

static int store_load_many(struct contest *contest, struct mako_error *err)
{
    const char *ids[DEPTH];
    const struct mako_expect *expects[DEPTH];
    mako_snapshot *snapshots[DEPTH];
    int statuses[DEPTH], status;

    pick_many(contest, ids);
    for (size_t i = 0; i < DEPTH; i++)
        expects[i] = &expect;
    status = mako_store_load_many(contest->store, ids, expects, DEPTH, snapshots, NULL,
                                  statuses, err);
    for (size_t i = 0; i < DEPTH && status == MAKO_OK; i++)
        mako_snapshot_unref(snapshots[i]);
    for (size_t i = 0; i < DEPTH && status == MAKO_OK; i++)
        status = statuses[i];
    return status;
}

static int store_save_many(struct contest *contest, struct mako_error *err)
{
    struct mako_save save = save_of(contest);
    const struct mako_save *saves[DEPTH];
    const char *ids[DEPTH];
    int statuses[DEPTH], status;

    pick_many(contest, ids);
    for (size_t i = 0; i < DEPTH; i++)
        saves[i] = &save;
    status = mako_store_save_many(contest->store, ids, saves, DEPTH, statuses, err);
    for (size_t i = 0; i < DEPTH && status == MAKO_OK; i++)
        status = statuses[i];
    return status;
}

static int store_once(struct contest *contest, struct mako_error *err)
{
    contest->seq++;
    switch (contest->work) {
    case LOAD:
        return store_load(contest, pick(contest), err);
    case SAVE:
        return store_save(contest, pick(contest), err);
    case LOAD_MANY:
        return store_load_many(contest, err);
    case SAVE_MANY:
        break;
    }
    return store_save_many(contest, err);
}

static int peer_once(struct contest *contest, struct mako_error *err)
{
    bool saves = contest->work == SAVE || contest->work == SAVE_MANY;
    const char *state = saves ? contest->state : NULL, *ids[DEPTH];

    if (contest->work == LOAD || contest->work == SAVE)
        return peer_call(contest->peer, pick(contest), state, contest->len, err);
    pick_many(contest, ids);
    return peer_pipeline(contest->peer, ids, state, contest->len, err);
}

static int run_calls(struct contest *contest, double *us, struct mako_error *err,
                     int (*once)(struct contest *, struct mako_error *))
{
    uint64_t begin = bench_now();

    for (size_t i = 0; i < contest->calls; i++) {
        int status = once(contest, err);

        if (status != MAKO_OK)
            return status < 0 ? status
                              : mako_fail(err, MAKO_E_PLUGIN, "%s: a call returned %s",
                                          contest->spec.name, mako_status_name(status));
    }
    *us = (double)(bench_now() - begin) / 1e3 / (double)contest->calls;
    return MAKO_OK;
}

static int run_store(void *arg, double *us, struct mako_error *err)
{
    return run_calls(arg, us, err, store_once);
}

static int run_peer(void *arg, double *us, struct mako_error *err)
{
    return run_calls(arg, us, err, peer_once);
}

/* Everything that will be loaded is there, on both sides. */
static int prepare(struct contest *contest, struct mako_error *err)
{
    int status = MAKO_OK;

    contest->seq++;
    for (size_t i = 0; i < contest->streams && status == MAKO_OK; i++) {
        const char *id = contest->ids->ids[i];

        status = store_save(contest, id, err);
        if (status == MAKO_OK)
            status = peer_call(contest->peer, id, contest->state, contest->len, err);
    }
    return status;
}

/* Both sides in turn; the figure is how many times as fast the store is. */
static int race(struct bench *bench, struct bench_side sides[2],
                const struct bench_spec *spec, struct mako_error *err)
{
    size_t rounds = bench_size(bench, 21, 3);
    double *values = calloc(2 * rounds, sizeof *values);
    int status;

    if (!values)
        return mako_fail(err, MAKO_E_NOMEM, "no memory for %zu rounds", rounds);
    status = bench_rounds(sides, 2, rounds, values, err);
    for (size_t i = 0; i < rounds && status == MAKO_OK; i++)
        values[i] = values[rounds + i] / values[i];
    if (status == MAKO_OK)
        status = bench_report(bench, spec, values, rounds, err);
    free(values);
    return status;
}

static int hold(struct bench *bench, struct contest contest, uint64_t *seq,
                struct mako_error *err)
{
    struct bench_side sides[] = {{run_store, &contest}, {run_peer, &contest}};
    int status;

    contest.calls = bench_size(bench, contest.calls, 3);
    contest.rng = bench_rng_make(1);
    contest.seq = *seq;
    status = prepare(&contest, err);
    if (status == MAKO_OK)
        status = race(bench, sides, &contest.spec, err);
    *seq = contest.seq;
    return status;
}

/* ---- refusals -----------------------------------------------------------------------
 */

static int bytes_sent(redisContext *peer, double *bytes, struct mako_error *err)
{
    static const char name[] = "total_net_output_bytes:";
    redisReply *reply = redisCommand(peer, "INFO stats");
    const char *at = reply && reply->str ? strstr(reply->str, name) : NULL;

    if (at)
        *bytes = (double)strtoull(at + sizeof name - 1, NULL, 10);
    if (reply)
        freeReplyObject(reply);
    return at ? MAKO_OK : mako_fail(err, MAKO_E_IO, "redis-server: no INFO stats");
}

/* What the server sends for a load of 1 MiB of the wrong schema. */
static int measure_refusal(struct bench *bench, struct contest contest,
                           struct mako_error *err)
{
    static const struct bench_spec spec = {"redis.refused_1m_bytes", "bytes", BENCH_BELOW,
                                           5120};
    const struct mako_expect newer = {
        .struct_size = sizeof newer, .schema_min = 2, .schema_max = 2};
    double first = 0, second = 0, third = 0;
    mako_snapshot *snapshot;
    int status, refused;

    contest.seq++;
    status = store_save(&contest, "refused", err);
    if (status == MAKO_OK)
        status = bytes_sent(contest.peer, &first, err);
    if (status == MAKO_OK)
        status = bytes_sent(contest.peer, &second, err);
    if (status != MAKO_OK)
        return status;
    refused = mako_store_load(contest.store, "refused", &newer, &snapshot, NULL, err);
    status = bytes_sent(contest.peer, &third, err);
    if (refused != MAKO_SCHEMA_OLDER)
        return mako_fail(err, MAKO_E_PLUGIN, "a refused load returned %s",
                         mako_status_name(refused));
    third -= second + (second - first); /* the question itself */
    return status == MAKO_OK ? bench_report(bench, &spec, &third, 1, err) : status;
}

/* ---- threads ------------------------------------------------------------------------
 */

struct crowd {
    struct contest each[THREADS];
    struct bench_streams shares[THREADS];
    size_t count;
};

static int crowd_work(void *arg, size_t index, struct mako_error *err)
{
    struct crowd *crowd = arg;
    double us;

    return run_store(&crowd->each[index], &us, err);
}

static int run_crowd(void *arg, double *us, struct mako_error *err)
{
    struct crowd *crowd = arg;
    uint64_t elapsed;
    int status = bench_threads(crowd->count, crowd_work, crowd, &elapsed, err);

    if (status == MAKO_OK)
        *us = (double)elapsed / 1e3 / (double)(crowd->count * crowd->each[0].calls);
    return status;
}

/* Each has streams of its own, so that none finds its saves stale. */
static void staff(const struct bench *bench, struct crowd *crowd, size_t count,
                  size_t first, const struct contest *contest)
{
    crowd->count = count;
    for (size_t i = 0; i < count; i++) {
        crowd->shares[i] = bench_streams_share(contest->ids, first + i, THREADS + 1);
        crowd->each[i] = *contest;
        crowd->each[i].ids = &crowd->shares[i];
        crowd->each[i].streams = crowd->shares[i].count;
        crowd->each[i].calls = bench_size(bench, 100, 3);
        crowd->each[i].rng = bench_rng_make(i + 1);
    }
}

/* Threads share the server's flushes. */
static int measure_crowd(struct bench *bench, const struct contest *contest,
                         struct mako_error *err)
{
    static const struct bench_spec spec = {"redis.save_always_t8_vs_t1", "ratio",
                                           BENCH_AT_LEAST, 3};
    struct crowd one, eight;
    struct bench_side sides[] = {{run_crowd, &eight}, {run_crowd, &one}};

    staff(bench, &eight, THREADS, 0, contest);
    staff(bench, &one, 1, THREADS, contest);
    return race(bench, sides, &spec, err);
}

/* ---- the group ----------------------------------------------------------------------
 */

/* What is raced on the server that keeps nothing on disk. */
static const struct race {
    struct bench_spec spec;
    enum work work;
    size_t len, streams, calls;
    bool sleeps; /* while it waits, as hiredis does */
} races[] = {
    {{"redis.load_1k_vs_hiredis", "ratio", BENCH_AT_LEAST, 0.9},
     LOAD,
     KIB,
     1000,
     2000,
     false},
    {{"redis.save_1k_vs_hiredis", "ratio", BENCH_AT_LEAST, 0.75},
     SAVE,
     KIB,
     1000,
     2000,
     false},
    {{"redis.load_64k_vs_hiredis", "ratio", BENCH_AT_LEAST, 0.6},
     LOAD,
     64 * KIB,
     200,
     500,
     false},
    {{"redis.save_64k_vs_hiredis", "ratio", BENCH_AT_LEAST, 0.8},
     SAVE,
     64 * KIB,
     200,
     500,
     false},
    {{"redis.save_1m_vs_hiredis", "ratio", BENCH_AT_LEAST, 2}, SAVE, MIB, 16, 30, false},
    {{"redis.load_many_64_vs_pipeline", "ratio", BENCH_AT_LEAST, 0.8},
     LOAD_MANY,
     KIB,
     1000,
     100,
     false},
    {{"redis.save_many_64_vs_pipeline", "ratio", BENCH_AT_LEAST, 0.8},
     SAVE_MANY,
     KIB,
     1000,
     100,
     false},
    {{"redis.load_1k_asleep_vs_hiredis", "ratio", BENCH_NO_TARGET, 0},
     LOAD,
     KIB,
     1000,
     2000,
     true},
    {{"redis.save_1k_asleep_vs_hiredis", "ratio", BENCH_NO_TARGET, 0},
     SAVE,
     KIB,
     1000,
     2000,
     true},
};

static int measure_plain(struct bench *bench, const struct server *server,
                         struct contest base, struct mako_error *err)
{
    mako_store *spins = base.store, *sleeps = NULL;
    int status = open_store(server, "crash", ",\"spin_us\":0", &sleeps, err);

    for (size_t i = 0; i < sizeof races / sizeof races[0] && status == MAKO_OK; i++) {
        base.store = races[i].sleeps ? sleeps : spins;
        base.spec = races[i].spec;
        base.work = races[i].work;
        base.len = races[i].len;
        base.streams = races[i].streams;
        base.calls = races[i].calls;
        status = hold(bench, base, &base.seq, err);
    }
    mako_store_unref(sleeps);
    base.store = spins;
    base.len = MIB;
    return status == MAKO_OK ? measure_refusal(bench, base, err) : status;
}

/* Where every acknowledged save has been flushed, as "durability": "power" asks for. */
static int measure_always(struct bench *bench, struct contest base,
                          struct mako_error *err)
{
    int status;

    base.spec = (struct bench_spec){"redis.save_many_64_always_vs_pipeline", "ratio",
                                    BENCH_NO_TARGET, 0};
    base.work = SAVE_MANY;
    base.len = KIB;
    base.streams = 1000;
    base.calls = 20;
    status = hold(bench, base, &base.seq, err);
    base.work = SAVE;
    return status == MAKO_OK ? measure_crowd(bench, &base, err) : status;
}

static int on_server(struct bench *bench, const char *name, bool always,
                     const struct contest *base, struct mako_error *err)
{
    struct contest contest = *base;
    struct server server = {0};
    int status = start_server(bench, name, always, &server, err);

    contest.peer = server.peer;
    if (status == MAKO_OK)
        status = open_store(&server, always ? "power" : "crash", "", &contest.store, err);
    if (status == MAKO_OK)
        status = always ? measure_always(bench, contest, err)
                        : measure_plain(bench, &server, contest, err);
    mako_store_unref(contest.store);
    stop_server(&server);
    return status;
}

int bench_redis(struct bench *bench, struct mako_error *err)
{
    struct bench_streams streams;
    char *state = calloc(1, MIB);
    struct contest base = {.ids = &streams, .state = state};
    int status;

    if (!state)
        return mako_fail(err, MAKO_E_NOMEM, "no memory for a state");
    status = bench_streams_make(1000, &streams, err);
    if (status != MAKO_OK)
        goto state;
    status = on_server(bench, "redis-plain", false, &base, err);
    if (status == MAKO_OK)
        status = on_server(bench, "redis-always", true, &base, err);
    if (status == MAKO_NOT_FOUND) {
        (void)fputs("mako-bench: redis: left out, redis-server is not installed\n",
                    stderr);
        status = MAKO_OK;
    }
    bench_streams_free(&streams);
state:
    free(state);
    return status;
}

/* tests/soak/servers.c - the servers below Redis stores: see rig.h.
 *
 * They are those of with-redis, and are started again as it does.  At most one is in
 * trouble at a time, and the next fault waits until all are in step again: what is
 * promised of replicas holds as long as the one that confirmed a save is there. */
#include "rig.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define ANSWER_MAX 16384
#define ASK_S      1
#define ARGS       40
/* Less than down-after-milliseconds of with-redis. */
#define UNNOTICED_MS 300

/* ---- asking ---------------------------------------------------------------------------
 */

/* Empty where nobody answers in time. */
static void ask(uint16_t port, const char *command, char *out, size_t room)
{
    const struct timeval patience = {.tv_sec = ASK_S};
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons(port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char line[300];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int len = snprintf(line, sizeof line, "%s\r\n", command);
    size_t at = 0;
    ssize_t got = 1;

    if (fd >= 0) {
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        if (connect(fd, (const struct sockaddr *)&to, sizeof to) == 0 &&
            send(fd, line, (size_t)len, MSG_NOSIGNAL) == len &&
            shutdown(fd, SHUT_WR) == 0)
            while (at + 1 < room && (got = recv(fd, out + at, room - 1 - at, 0)) > 0)
                at += (size_t)got;
        (void)close(fd);
    }
    out[at] = '\0';
}

static bool says(const struct node *node, const char *command, const char *words)
{
    char answer[ANSWER_MAX];

    ask(node->port, command, answer, sizeof answer);
    return strstr(answer, words) != NULL;
}

static void tell(const struct node *node, const char *command)
{
    char answer[ANSWER_MAX];

    ask(node->port, command, answer, sizeof answer);
}

static bool is_mode(const struct rig *rig, const char *mode)
{
    return strcmp(rig->backend->mode, mode) == 0;
}

/* ---- the servers ----------------------------------------------------------------------
 */

bool rig_find_servers(struct rig *rig)
{
    const char *list = getenv("MAKO_TEST_REDIS_NODES"), *tmp = getenv("TMPDIR");
    char *end;

    rig->endpoints = getenv("MAKO_TEST_REDIS");
    if (!list || !tmp || !rig->endpoints)
        return false;
    while (*list && rig->node_count < NODES) {
        struct node *node = &rig->nodes[rig->node_count++];

        node->port = (uint16_t)strtoul(list, &end, 10);
        node->pid = *end == ':' ? (pid_t)strtol(end + 1, &end, 10) : 0;
        (void)snprintf(node->dir, sizeof node->dir, "%.200s/%u", tmp,
                       (unsigned)node->port);
        list = end + (*end == ' ');
    }
    if (rig->node_count == 1)
        rig->proxy = proxy_begin(rig->nodes[0].port, random_next(&rig->random));
    if (rig->proxy)
        (void)snprintf(rig->proxied, sizeof rig->proxied, "127.0.0.1:%u",
                       (unsigned)rig->proxy->port);
    return rig->node_count > 0;
}

uint64_t rig_keys(const struct rig *rig)
{
    uint64_t most = 0;

    for (unsigned i = 0; i < rig->node_count; i++) {
        char answer[ANSWER_MAX];
        uint64_t keys;

        ask(rig->nodes[i].port, "DBSIZE", answer, sizeof answer);
        keys = answer[0] == ':' ? strtoull(answer + 1, NULL, 10) : 0;
        most = keys > most ? keys : most;
    }
    return most;
}

void rig_end(struct rig *rig)
{
    rig_unmount(rig);
    proxy_end(rig->proxy);
    rig->proxy = NULL;
    for (unsigned i = 0; i < rig->node_count; i++) {
        if (!rig->nodes[i].ours)
            continue;
        (void)kill(rig->nodes[i].pid, SIGKILL);
        (void)waitpid(rig->nodes[i].pid, NULL, 0);
        rig->nodes[i].ours = false;
    }
}

/* In the child.  Its output goes to where it went before. */
static _Noreturn void become(const struct node *node, const char *const *argv)
{
    char path[320];
    int null = open("/dev/null", O_RDONLY), log;

    (void)snprintf(path, sizeof path, "%s/log", node->dir);
    log = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (null < 0 || log < 0 || dup2(null, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0)
        _exit(126);
    (void)execvp(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
}

static size_t put(const char **argv, size_t at, const char *a, const char *b)
{
    argv[at++] = a;
    argv[at++] = b;
    return at;
}

/* Under sentinels: a node that is a master now. */
static const struct node *master_of(const struct rig *rig)
{
    for (unsigned i = 0; i < rig->node_count; i++)
        if (says(&rig->nodes[i], "ROLE", "master"))
            return &rig->nodes[i];
    return NULL;
}

/* With the options that with-redis gave it. */
static void start_server(struct rig *rig, struct node *node)
{
    const char *program = getenv("MAKO_TEST_REDIS_SERVER"), *argv[ARGS] = {NULL};
    const struct node *master = is_mode(rig, "sentinel") ? master_of(rig) : NULL;
    char port[8], from[8];
    size_t at = 0;

    argv[at++] = program ? program : "redis-server";
    (void)snprintf(port, sizeof port, "%u", (unsigned)node->port);
    at = put(argv, at, "--port", port);
    at = put(argv, at, "--bind", "127.0.0.1");
    at = put(argv, at, "--dir", node->dir);
    at = put(argv, at, "--save", "");
    at = put(argv, at, "--repl-diskless-sync-delay", "0");
    at = put(argv, at, "--appendonly", "yes");
    at = put(argv, at, "--appendfsync", "always");
    if (is_mode(rig, "cluster")) {
        at = put(argv, at, "--cluster-enabled", "yes");
        at = put(argv, at, "--cluster-node-timeout", "5000");
    }
    if (master && master != node) {
        (void)snprintf(from, sizeof from, "%u", (unsigned)master->port);
        at = put(argv, at, "--replicaof", "127.0.0.1");
        argv[at++] = from;
    }
    node->pid = fork();
    if (node->pid == 0)
        become(node, argv);
    node->ours = true;
}

/* ---- faults ---------------------------------------------------------------------------
 */

static struct node *any_node(struct rig *rig)
{
    rig->node = (unsigned)random_below(&rig->random, rig->node_count);
    return &rig->nodes[rig->node];
}

/* A node that is going to be away. */
static struct node *any_victim(struct rig *rig)
{
    struct node *node = any_node(rig);

    rig->master = is_mode(rig, "sentinel") && says(node, "ROLE", "master");
    rig->since_ms = now_ms();
    return node;
}

static bool kill_server(struct rig *rig)
{
    struct node *node = any_victim(rig);

    if (kill(node->pid, SIGKILL) != 0)
        return false;
    if (node->ours)
        (void)waitpid(node->pid, NULL, 0);
    return true;
}

static void restart_server(struct rig *rig)
{
    start_server(rig, &rig->nodes[rig->node]);
}

static bool stop_server(struct rig *rig)
{
    return kill(any_victim(rig)->pid, SIGSTOP) == 0;
}

static void continue_server(struct rig *rig)
{
    (void)kill(rig->nodes[rig->node].pid, SIGCONT);
}

static bool kill_clients(struct rig *rig)
{
    tell(any_node(rig), "CLIENT KILL TYPE normal SKIPME yes");
    return true;
}

/* Less than what is there. */
static bool starve_server(struct rig *rig)
{
    tell(any_node(rig), "CONFIG SET maxmemory 1000000");
    return true;
}

static void feed_server(struct rig *rig)
{
    tell(&rig->nodes[rig->node], "CONFIG SET maxmemory 0");
}

static bool rewrite(struct rig *rig)
{
    tell(any_node(rig), "BGREWRITEAOF");
    return true;
}

static bool forget_scripts(struct rig *rig)
{
    tell(any_node(rig), "SCRIPT FLUSH");
    return true;
}

static bool cut_network(struct rig *rig)
{
    if (rig->proxy)
        atomic_store(&rig->proxy->state, PROXY_CUTS);
    return rig->proxy != NULL;
}

static bool stall_network(struct rig *rig)
{
    if (rig->proxy)
        atomic_store(&rig->proxy->state, PROXY_STALLS);
    return rig->proxy != NULL;
}

static void mend_network(struct rig *rig)
{
    atomic_store(&rig->proxy->state, PROXY_WELL);
}

/* ---- whether all is well --------------------------------------------------------------
 */

/* One that did not start, for its old port was not free yet, is started again. */
static bool answers(struct rig *rig, struct node *node)
{
    if (node->ours && waitpid(node->pid, NULL, WNOHANG) == node->pid) {
        start_server(rig, node);
        return false;
    }
    return says(node, "PING", "+PONG");
}

/* A master with so many replicas in step, or one of these. */
static bool in_step(const struct node *node, unsigned replicas)
{
    char answer[ANSWER_MAX];
    unsigned online = 0;

    ask(node->port, "INFO replication", answer, sizeof answer);
    if (strstr(answer, "role:slave"))
        return strstr(answer, "master_link_status:up") != NULL;
    for (const char *at = answer; (at = strstr(at, "state=online")) != NULL; at++)
        online++;
    return online == replicas && strstr(answer, "role:master") != NULL;
}

/* All sentinels name the same master, and it is one. */
static bool sentinels_agree(const struct rig *rig)
{
    const struct node *master = master_of(rig);
    const char *at = rig->endpoints;
    char answer[ANSWER_MAX], port[16];

    if (!master)
        return false;
    (void)snprintf(port, sizeof port, "\r\n%u\r\n", (unsigned)master->port);
    while ((at = strchr(at, ':')) != NULL) {
        ask((uint16_t)strtoul(++at, NULL, 10), "SENTINEL get-master-addr-by-name mako",
            answer, sizeof answer);
        if (!strstr(answer, port))
            return false;
    }
    return true;
}

static bool is_well(struct rig *rig)
{
    for (unsigned i = 0; i < rig->node_count; i++) {
        struct node *node = &rig->nodes[i];

        if (!answers(rig, node))
            return false;
        if (is_mode(rig, "cluster") && !says(node, "CLUSTER INFO", "cluster_state:ok"))
            return false;
        if (!is_mode(rig, "single") && !in_step(node, is_mode(rig, "sentinel") ? 2 : 1))
            return false;
    }
    return !is_mode(rig, "sentinel") || sentinels_agree(rig);
}

/* A master comes back before sentinels notice, or when its successor has everything. What
 * happens between the two is in docs/redis.md, and what is lost then no violation. */
static bool is_being_replaced(struct rig *rig)
{
    if (!rig->master || now_ms() - rig->since_ms < UNNOTICED_MS)
        return false;
    if (!sentinels_agree(rig))
        return true;
    for (unsigned i = 0; i < rig->node_count; i++)
        if (i != rig->node && !in_step(&rig->nodes[i], 1))
            return true;
    return false;
}

/* ---- tables ---------------------------------------------------------------------------
 */

/* The last ones are for a single server. */
static const struct fault of_redis[] = {{.name = "killed server",
                                         .weight = 5,
                                         .shortest_ms = 10,
                                         .longest_ms = 2500,
                                         .excuses = true,
                                         .begin = kill_server,
                                         .stays = is_being_replaced,
                                         .end = restart_server,
                                         .over = is_well},
                                        {.name = "stopped server",
                                         .weight = 4,
                                         .shortest_ms = 50,
                                         .longest_ms = 4000,
                                         .excuses = true,
                                         .begin = stop_server,
                                         .stays = is_being_replaced,
                                         .end = continue_server,
                                         .over = is_well},
                                        {.name = "killed connections",
                                         .weight = 4,
                                         .shortest_ms = 1,
                                         .longest_ms = 2,
                                         .excuses = true,
                                         .begin = kill_clients},
                                        {.name = "server without memory",
                                         .weight = 3,
                                         .shortest_ms = 50,
                                         .longest_ms = 2000,
                                         .excuses = true,
                                         .begin = starve_server,
                                         .end = feed_server,
                                         .over = is_well},
                                        {.name = "log rewritten",
                                         .weight = 1,
                                         .shortest_ms = 1,
                                         .longest_ms = 500,
                                         .excuses = true,
                                         .begin = rewrite},
                                        {.name = "scripts forgotten",
                                         .weight = 2,
                                         .shortest_ms = 1,
                                         .longest_ms = 2,
                                         .begin = forget_scripts},
                                        {.name = "stopped worker",
                                         .weight = 2,
                                         .shortest_ms = 20,
                                         .longest_ms = 2500,
                                         .excuses = true,
                                         .begin = rig_stop_worker,
                                         .end = rig_continue_worker},
                                        {.name = "cut connections",
                                         .weight = 5,
                                         .shortest_ms = 100,
                                         .longest_ms = 3000,
                                         .excuses = true,
                                         .begin = cut_network,
                                         .end = mend_network},
                                        {.name = "stalled network",
                                         .weight = 3,
                                         .shortest_ms = 50,
                                         .longest_ms = 3000,
                                         .excuses = true,
                                         .begin = stall_network,
                                         .end = mend_network}};

const struct fault *faults_of_redis(const struct rig *rig, size_t *number)
{
    *number = sizeof of_redis / sizeof of_redis[0];
    if (!is_mode(rig, "single"))
        *number -= 2;
    return of_redis;
}

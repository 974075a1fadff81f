/* tests/soak/rig.h - what a store stands on during a soak, and what can go wrong with it:
 * a disk that is full, limits, servers that are killed and stopped, a broken network. */
#ifndef MAKO_TESTS_SOAK_RIG_H
#define MAKO_TESTS_SOAK_RIG_H

#include "proxy.h"
#include "settings.h"

#include <sys/resource.h>
#include <sys/types.h>

#define NODES 6

/* A server, which with-redis started, or we. */
struct node {
    uint16_t port;
    pid_t pid;
    char dir[300];
    bool ours; /* our child */
};

struct rig {
    const struct backend *backend;
    struct journal *journal;
    uint64_t random;
    char work[200]; /* the directory of this run */
    char disk[300]; /* of the stores of a file backend */
    bool mounted;   /* a file system of our own is there */
    pid_t workers[SLOTS];
    const char *endpoints;
    struct node nodes[NODES];
    unsigned node_count;
    struct proxy *proxy;
    char proxied[32];
    /* Of the fault that is in force. */
    unsigned node, slot;
    bool master; /* the node was the one that sentinels watch */
    int64_t since_ms;
    struct rlimit limit;
};

/* One thing that can go wrong.  begin: false where it cannot right now.  stays: it must
 * not end yet, though it is time.  end: of it; over: whether everything is well again
 * after that, else it is asked again.  NULL: nothing to do. */
struct fault {
    const char *name;
    unsigned weight;
    unsigned shortest_ms, longest_ms;
    bool excuses; /* operations may fail because of it */
    bool parks;   /* begins when no store is open, else as soon as it may */
    bool (*begin)(struct rig *rig);
    bool (*stays)(struct rig *rig);
    void (*end)(struct rig *rig);
    bool (*over)(struct rig *rig);
};

/* A file system of our own for the stores, where that is allowed; ext4: on a loop device,
 * else in memory.  Says what it is. */
const char *rig_mount(struct rig *rig, bool ext4);
/* The servers that with-redis started, and the proxy; false: there are none. */
bool rig_find_servers(struct rig *rig);
void rig_unmount(const struct rig *rig);
/* Ends all that was begun. */
void rig_end(struct rig *rig);
/* The most keys on any of the servers. */
uint64_t rig_keys(const struct rig *rig);
/* Copy what the stores are on to where it outlives us: work/kept. */
void rig_keep(const struct rig *rig);

/* A fault of every backend. */
bool rig_stop_worker(struct rig *rig);
void rig_continue_worker(struct rig *rig);
unsigned process_descriptors(pid_t pid);

/* What can go wrong with the backend: number faults. */
const struct fault *faults_of_file(const struct rig *rig, size_t *number);
const struct fault *faults_of_redis(const struct rig *rig, size_t *number);
const struct fault *faults_of_any(const struct rig *rig, size_t *number);

#endif

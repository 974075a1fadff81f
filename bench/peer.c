/* bench/peer.c - which contenders there are; what all of them share. */
#include "peer.h"

#include <string.h>

const struct bench_peer *const bench_peers[] = {
    &bench_peer_mako,    &bench_peer_mako_map,
#ifdef BENCH_ROCKSDB
    &bench_peer_rocksdb,
#endif
#ifdef BENCH_LMDB
    &bench_peer_lmdb,    &bench_peer_lmdb_writemap,
#endif
#ifdef BENCH_SQLITE
    &bench_peer_sqlite,
#endif
    &bench_peer_files,   &bench_peer_limit,
};
const size_t bench_peer_count = sizeof bench_peers / sizeof bench_peers[0];

const char *bench_peers_missing(void)
{
    return ""
#ifndef BENCH_ROCKSDB
           " rocksdb"
#endif
#ifndef BENCH_LMDB
           " lmdb"
#endif
#ifndef BENCH_SQLITE
           " sqlite"
#endif
        ;
}

const struct bench_peer *bench_peer_find(const char *name)
{
    for (size_t i = 0; i < bench_peer_count; i++)
        if (strcmp(bench_peers[i]->name, name) == 0)
            return bench_peers[i];
    return NULL;
}

uint64_t bench_digest(const void *state, size_t len)
{
    const unsigned char *bytes = state;
    uint64_t sum = 0, word;

    for (size_t at = 0; at + sizeof word <= len; at += sizeof word) {
        memcpy(&word, bytes + at, sizeof word);
        sum += word;
    }
    return sum;
}

struct wanted {
    const char *name;
    uint64_t value;
    bool found;
};

static void look(void *arg, const char *name, uint64_t value)
{
    struct wanted *wanted = arg;

    if (strcmp(name, wanted->name) != 0)
        return;
    wanted->value = value;
    wanted->found = true;
}

int bench_peer_counter(const struct bench_peer *peer, void *self, const char *name,
                       uint64_t *value, struct mako_error *err)
{
    struct wanted wanted = {.name = name};
    int status = peer->stats ? peer->stats(self, look, &wanted, err) : MAKO_OK;

    if (status != MAKO_OK)
        return status;
    if (!wanted.found)
        return mako_fail(err, MAKO_E_PLUGIN, "%s: no counter '%s'", peer->name, name);
    *value = wanted.value;
    return MAKO_OK;
}

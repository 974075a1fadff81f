/* cli/streams.h - the streams of a log that is being replayed: id to process.
 *
 * A hash table that only grows; memory is bounded by the number of streams. */
#ifndef MAKO_CLI_STREAMS_H
#define MAKO_CLI_STREAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mako/process.h>

struct stream {
    char *id;
    size_t id_len;
    uint64_t hash;
    uint64_t last;         /* sequence of its latest event in the log; 0: new */
    mako_process *process; /* on top of the store */
    mako_process *plain;   /* without snapshots, for --verify; else NULL */
    int snapshot;          /* what became of its snapshot, a status */
    bool again;            /* to be folded from the start in a second pass */
    bool differs;          /* found by --verify */
};

struct streams {
    struct stream **slots; /* size is a power of two; at most half are taken */
    size_t size, count;
};

/* The stream called id; a new one has last 0 and no process. */
struct stream *streams_find(struct streams *streams, const char *id, size_t len);
/* All of them, sorted bytewise; the caller's array. */
struct stream **streams_sorted(const struct streams *streams);
/* Closes the processes too. */
void streams_free(struct streams *streams);

#endif

/* tests/faults/host.h - a small host for the file plugin: loads its binary, opens a
 * store in a directory of its own, and keeps what it logs. */
#ifndef MAKO_TESTS_FAULTS_HOST_H
#define MAKO_TESTS_FAULTS_HOST_H

#include <stdbool.h>

#include <mako/store_plugin.h>

struct box {
    const struct mako_store_plugin *plugin;
    char dir[256];  /* made by box_make(), removed by box_free() */
    char path[300]; /* the store's directory, below dir */
    int64_t segment_size, lock_wait, dead_space, erase_ms, rate;
    bool map, read_only;
    bool keep_indexes; /* else openings find no index file, and read the segments */
    uint32_t durability;
    void *store; /* NULL: closed */
    size_t got;  /* bytes of the last snapshot that get() found */
    struct mako_error err;
};

/* A box with defaults: durability POWER, segments of 64 KiB, no waiting for locks,
 * nothing compacted unasked, index files removed before openings. */
void box_make(struct box *box);
void box_free(struct box *box);
int box_open(struct box *box);
void box_close(struct box *box);
/* Open, which must succeed; likewise close and open. */
void box_must_open(struct box *box);
void box_reopen(struct box *box);

/* Remove the store of a closed box. */
void box_wipe(struct box *box);

/* What the plugin has logged since the last box_open(), a line each: "W text".  Good
 * until this thread asks again. */
const char *box_log(void);
/* Whether it has text in it; also while the plugin's threads may log. */
bool box_logged(const char *text);

/* The bytes that belong to a stream at a sequence; len of them. */
void pattern(unsigned char *bytes, size_t len, const char *stream, uint64_t seq);

/* Save pattern bytes.  flags as in struct mako_record. */
int put(struct box *box, const char *stream, uint64_t seq, size_t len, uint32_t flags);
/* Load; MAKO_OK only with exactly the pattern of *seq, which comes from the metadata.
 * -100: altered bytes. */
int get(struct box *box, const char *stream, uint64_t *seq);
int drop(struct box *box, const char *stream);
/* Give back all that is dead. */
int compact(struct box *box);
#define ALTERED (-100)

/* The store has stream at seq; seq 0: nothing.  False, with a line on standard error. */
bool holds(struct box *box, const char *stream, uint64_t seq);

uint64_t counter(struct box *box, const char *name);
/* That the process has open. */
size_t descriptors(void);

/* ---- files of the store ----------------------------------------------------------- */

struct bytes {
    unsigned char *data;
    size_t len;
};

/* Segments in the directory; the number'th of them by name, from 0, into name. */
size_t segment_count(const struct box *box);
void segment_path(const struct box *box, size_t number, char *path, size_t room);
struct bytes read_whole(const char *path);
void write_whole(const char *path, const void *data, size_t len);

#endif

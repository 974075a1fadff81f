/* tests/redis/batch.h - many saves and many loads at once, of streams b/0 and so on. */
#ifndef MAKO_TESTS_REDIS_BATCH_H
#define MAKO_TESTS_REDIS_BATCH_H

#include "client.h"

enum {
    BATCH = 64
};

/* One save, or load, for each stream; all saves are of one size. */
struct batch {
    char names[BATCH][16];
    const char *streams[BATCH];
    uint64_t seqs[BATCH];
    size_t len;
    int statuses[BATCH];
};

/* All at sequence seq. */
void batch_make(struct batch *batch, uint64_t seq, size_t len);
/* The statuses are told. */
void batch_save(mako_store *store, struct batch *batch);
void batch_must_save(mako_store *store, struct batch *batch);
/* The statuses are told, and the sequences of what is kept, whose every byte is right. */
void batch_load(mako_store *store, struct batch *batch);
/* What is kept is what was saved. */
void batch_must_load(mako_store *store, const struct batch *batch);

#endif

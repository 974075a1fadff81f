/* tests/redis/batch.c - see batch.h. */
#include "batch.h"

#include <stdio.h>
#include <stdlib.h>

#include <criterion/criterion.h>

void batch_make(struct batch *batch, uint64_t seq, size_t len)
{
    batch->len = len;
    for (size_t i = 0; i < BATCH; i++) {
        (void)snprintf(batch->names[i], sizeof batch->names[i], "b/%zu", i);
        batch->streams[i] = batch->names[i];
        batch->seqs[i] = seq;
    }
}

void batch_save(mako_store *store, struct batch *batch)
{
    unsigned char *states = malloc(BATCH * (batch->len + 1));
    struct mako_save saves[BATCH];
    const struct mako_save *pointers[BATCH];
    struct mako_error err = {""};
    int status;

    cr_assert_not_null(states);
    for (size_t i = 0; i < BATCH; i++) {
        unsigned char *state = states + i * batch->len;

        fill(state, batch->len, batch->seqs[i]);
        saves[i] = (struct mako_save){.struct_size = sizeof saves[i],
                                      .seq = batch->seqs[i],
                                      .schema = 1,
                                      .state = state,
                                      .state_len = batch->len};
        pointers[i] = &saves[i];
    }
    status = mako_store_save_many(store, batch->streams, pointers, BATCH, batch->statuses,
                                  &err);
    free(states);
    cr_assert_eq(status, MAKO_OK, "%s", err.text);
}

void batch_must_save(mako_store *store, struct batch *batch)
{
    batch_save(store, batch);
    for (size_t i = 0; i < BATCH; i++)
        cr_assert_eq(batch->statuses[i], MAKO_OK, "%s: %s", batch->streams[i],
                     mako_status_name(batch->statuses[i]));
}

void batch_load(mako_store *store, struct batch *batch)
{
    static const struct mako_expect any = {
        .struct_size = sizeof any, .schema_min = 1, .schema_max = 1};
    const struct mako_expect *expects[BATCH];
    mako_snapshot *snapshots[BATCH];
    struct mako_error err = {""};
    int status;

    for (size_t i = 0; i < BATCH; i++)
        expects[i] = &any;
    status = mako_store_load_many(store, batch->streams, expects, BATCH, snapshots, NULL,
                                  batch->statuses, &err);
    cr_assert_eq(status, MAKO_OK, "%s", err.text);
    for (size_t i = 0; i < BATCH; i++)
        if (batch->statuses[i] == MAKO_OK)
            batch->seqs[i] = read_snapshot(snapshots[i]);
}

void batch_must_load(mako_store *store, const struct batch *batch)
{
    struct batch found;

    batch_make(&found, 0, 0);
    batch_load(store, &found);
    for (size_t i = 0; i < BATCH; i++) {
        cr_assert_eq(found.statuses[i], MAKO_OK, "%s: %s", found.streams[i],
                     mako_status_name(found.statuses[i]));
        cr_assert_eq(found.seqs[i], batch->seqs[i], "%s: %llu", found.streams[i],
                     (unsigned long long)found.seqs[i]);
    }
}

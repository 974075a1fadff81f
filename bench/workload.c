/* bench/workload.c - see workload.h. */
#include "workload.h"

#include <stdlib.h>

#define BATCH 500u

static const unsigned char state[BENCH_STATE_SIZE] = "{\"balance\":1250}";

/* ---- streams ---------------------------------------------------------------- */

int bench_streams_make(size_t count, struct bench_streams *streams,
                       struct mako_error *err)
{
    char(*ids)[BENCH_ID_ROOM] = calloc(count, sizeof *ids);

    if (!ids)
        return mako_fail(err, MAKO_E_NOMEM, "no memory for %zu streams", count);
    for (size_t i = 0; i < count; i++)
        (void)snprintf(ids[i], sizeof ids[i], "account/%012zu", i);
    *streams = (struct bench_streams){.count = count, .ids = ids};
    return MAKO_OK;
}

void bench_streams_free(struct bench_streams *streams)
{
    free(streams->ids);
    *streams = (struct bench_streams){0};
}

struct bench_streams bench_streams_share(const struct bench_streams *streams,
                                         size_t index, size_t parts)
{
    size_t each = streams->count / parts;

    return (struct bench_streams){.count = each, .ids = streams->ids + index * each};
}

/* ---- stores ----------------------------------------------------------------- */

int bench_open(const char *plugin, const char *durability, const char *dir,
               mako_store **store, struct mako_error *err)
{
    const char *const none[] = {NULL};

    return bench_open_with(plugin, durability, dir, none, store, err);
}

int bench_open_with(const char *plugin, const char *durability, const char *dir,
                    const char *const *more, mako_store **store, struct mako_error *err)
{
    char json[256], option[4096];
    const char *overrides[8] = {NULL};
    size_t count = 0;
    int len =
        snprintf(json, sizeof json,
                 "{\"stores\":{\"bench\":{\"plugin\":\"%s\",\"durability\":\"%s\"}}}",
                 plugin, durability);
    struct mako_source source = {
        .struct_size = sizeof source,
        .json = json,
        .json_len = (size_t)len,
        .overrides = overrides,
    };

    if (dir && (size_t)snprintf(option, sizeof option, "dir=%s", dir) >= sizeof option)
        return mako_fail(err, MAKO_E_LIMIT, "%s: too long a path", dir);
    if (dir)
        overrides[count++] = option;
    for (; *more && count + 1 < sizeof overrides / sizeof overrides[0]; more++)
        overrides[count++] = *more;
    return mako_store_open_source(&source, store, err);
}

static struct mako_save save_of(uint64_t seq, size_t len)
{
    return (struct mako_save){
        .struct_size = sizeof(struct mako_save),
        .seq = seq,
        .schema = 1,
        .state = state,
        .state_len = len,
    };
}

/* A positive status is no success here: the figure would be of something else. */
static int insist(int status, const char *what, const char *id, struct mako_error *err)
{
    struct mako_error cause = *err;

    if (status <= 0)
        return status;
    return mako_fail(err, MAKO_E_PLUGIN, "%s of '%s' returned %s: %.300s", what, id,
                     mako_status_name(status), cause.text);
}

int bench_save(mako_store *store, const char *id, uint64_t seq, size_t len,
               struct mako_error *err)
{
    struct mako_save save = save_of(seq, len);
    int status = mako_store_save(store, id, &save, err);

    return status == MAKO_OK ? MAKO_OK : insist(status, "save", id, err);
}

int bench_load(mako_store *store, const char *id, size_t len, struct mako_error *err)
{
    static const struct mako_expect expect = {
        .struct_size = sizeof expect, .schema_min = 1, .schema_max = 1};
    mako_snapshot *snapshot;
    size_t found;
    int status = mako_store_load(store, id, &expect, &snapshot, NULL, err);

    if (status != MAKO_OK)
        return insist(status, "load", id, err);
    (void)mako_snapshot_state(snapshot, &found);
    mako_snapshot_unref(snapshot);
    if (found != len)
        return mako_fail(err, MAKO_E_PLUGIN, "load of '%s' gave %zu bytes, not %zu", id,
                         found, len);
    return MAKO_OK;
}

static int fill_batch(mako_store *store, const struct bench_streams *streams,
                      size_t first, size_t count, struct mako_error *err)
{
    struct mako_save save = save_of(1, BENCH_STATE_SIZE);
    const struct mako_save *saves[BATCH];
    const char *ids[BATCH];
    int statuses[BATCH], status;

    for (size_t i = 0; i < count; i++) {
        ids[i] = streams->ids[first + i];
        saves[i] = &save;
    }
    status = mako_store_save_many(store, ids, saves, count, statuses, err);
    for (size_t i = 0; status == MAKO_OK && i < count; i++)
        status = insist(statuses[i], "save", ids[i], err);
    return status;
}

int bench_fill(mako_store *store, const struct bench_streams *streams,
               struct mako_error *err)
{
    int status = MAKO_OK;

    for (size_t done = 0; status == MAKO_OK && done < streams->count; done += BATCH) {
        size_t left = streams->count - done;

        status = fill_batch(store, streams, done, left < BATCH ? left : BATCH, err);
    }
    return status;
}

/* ---- walks ------------------------------------------------------------------ */

static const char *pick(struct bench_walk *walk)
{
    return walk->streams.ids[bench_rng_pick(&walk->rng, walk->streams.count)];
}

int bench_walk_save(void *arg, double *us, struct mako_error *err)
{
    struct bench_walk *walk = arg;
    uint64_t begin = walk->clock();
    int status = MAKO_OK;

    for (size_t i = 0; i < walk->calls && status == MAKO_OK; i++)
        status = bench_save(walk->store, pick(walk), ++walk->seq, BENCH_STATE_SIZE, err);
    *us = (double)(walk->clock() - begin) / 1e3 / (double)walk->calls;
    return status;
}

int bench_walk_load(void *arg, double *us, struct mako_error *err)
{
    struct bench_walk *walk = arg;
    uint64_t begin = walk->clock();
    int status = MAKO_OK;

    for (size_t i = 0; i < walk->calls && status == MAKO_OK; i++)
        status = bench_load(walk->store, pick(walk), BENCH_STATE_SIZE, err);
    *us = (double)(walk->clock() - begin) / 1e3 / (double)walk->calls;
    return status;
}

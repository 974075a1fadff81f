/* bench/core.c - what the core adds to a plugin.
 *
 * One save and one load of 64 bytes on the noop store, through the library and straight
 * into the plugin's operations; the figure is the difference. */
#include "groups.h"
#include "workload.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include <mako/store_plugin.h>

#define STATE_SIZE 64u
#define BLOB_SIZE  192u /* about what the core makes of such a state */

static const char stream_id[] = "account/000000000001";

struct bare {
    const struct mako_store_plugin *plugin;
    void *code, *store;
    struct mako_host host;
};

struct pairs {
    mako_store *store;
    struct bare bare;
    size_t calls;
    uint64_t seq;
};

/* ---- through the library ------------------------------------------------------ */

static int core_pairs(void *arg, double *ns, struct mako_error *err)
{
    static const struct mako_expect expect = {
        .struct_size = sizeof expect, .schema_min = 1, .schema_max = 1};
    struct pairs *pairs = arg;
    mako_snapshot *snapshot;
    uint64_t begin = bench_cpu_now();

    for (size_t i = 0; i < pairs->calls; i++) {
        int status = bench_save(pairs->store, stream_id, ++pairs->seq, STATE_SIZE, err);

        if (status != MAKO_OK)
            return status;
        status = mako_store_load(pairs->store, stream_id, &expect, &snapshot, NULL, err);
        if (status != MAKO_NOT_FOUND)
            return mako_fail(err, MAKO_E_PLUGIN, "noop: a load returned %d", status);
    }
    *ns = (double)(bench_cpu_now() - begin) / (double)pairs->calls;
    return MAKO_OK;
}

/* ---- straight into the plugin ------------------------------------------------- */

static void drop_message(const struct mako_host *host, int level, const char *message)
{
    (void)host;
    (void)level;
    (void)message;
}

static int bare_open(const char *path, struct bare *bare, struct mako_error *err)
{
    const struct mako_store_plugin *(*entry)(void);
    struct mako_traits traits = {.struct_size = sizeof traits,
                                 .durability = MAKO_DURABLE_NONE};
    const struct mako_store_plugin *plugin;
    void *symbol;
    int status;

    bare->code = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    symbol = bare->code ? dlsym(bare->code, "mako_store_plugin_entry") : NULL;
    if (!symbol)
        return mako_fail(err, MAKO_E_PLUGIN, "%s: %s", path, dlerror());
    memcpy(&entry, &symbol, sizeof entry);

    plugin = entry();
    bare->host = (struct mako_host){
        .struct_size = sizeof bare->host,
        .abi = MAKO_STORE_ABI,
        .store_name = "bench",
        .max_blob = 1u << 20,
        .log = drop_message,
    };
    traits.threads = plugin->threads;
    traits.features = plugin->features;
    status = plugin->open(&bare->host, NULL, &traits, &bare->store, err);
    if (status == MAKO_OK)
        bare->plugin = plugin;
    return status;
}

static void bare_close(struct bare *bare)
{
    if (bare->plugin)
        bare->plugin->close(bare->store);
    if (bare->code)
        (void)dlclose(bare->code);
}

static void *accept_anything(struct mako_sink *sink, const struct mako_meta *meta,
                             size_t len)
{
    static _Alignas(16) unsigned char room[BLOB_SIZE];

    (void)sink;
    (void)meta;
    return len <= sizeof room ? room : NULL;
}

static int decline_loan(struct mako_sink *sink, const struct mako_meta *meta,
                        const void *blob, size_t len, void (*release)(void *),
                        void *cookie)
{
    (void)sink;
    (void)meta;
    (void)blob;
    (void)len;
    (void)release;
    (void)cookie;
    return 1;
}

static int bare_pairs(void *arg, double *ns, struct mako_error *err)
{
    static const unsigned char blob[BLOB_SIZE];
    struct pairs *pairs = arg;
    const struct mako_store_plugin *plugin = pairs->bare.plugin;
    struct mako_str stream = {.ptr = stream_id, .len = sizeof stream_id - 1};
    struct mako_record record = {
        .stream = stream, .meta.schema = 1, .blob = blob, .blob_len = sizeof blob};
    struct mako_sink sink = {
        .struct_size = sizeof sink, .accept = accept_anything, .lend = decline_loan};
    uint64_t begin = bench_cpu_now();

    for (size_t i = 0; i < pairs->calls; i++) {
        record.meta.seq = ++pairs->seq;
        if (plugin->save(pairs->bare.store, &record, err) != MAKO_OK ||
            plugin->load(pairs->bare.store, stream, &sink, err) != MAKO_NOT_FOUND)
            return mako_fail(err, MAKO_E_PLUGIN, "noop: a bare call failed");
    }
    *ns = (double)(bench_cpu_now() - begin) / (double)pairs->calls;
    return MAKO_OK;
}

/* ---- the figure ----------------------------------------------------------------- */

static int measure(struct bench *bench, struct pairs *pairs, struct mako_error *err)
{
    static const struct bench_spec spec = {"core.noop_pair_ns", "ns", BENCH_BELOW, 150};
    struct bench_side sides[] = {{core_pairs, pairs}, {bare_pairs, pairs}};
    size_t rounds = bench_size(bench, 41, 3);
    double *values = calloc(2 * rounds, sizeof *values);
    int status;

    if (!values)
        return mako_fail(err, MAKO_E_NOMEM, "no memory for %zu rounds", rounds);
    status = bench_rounds(sides, 2, rounds, values, err);
    for (size_t i = 0; i < rounds; i++)
        values[i] -= values[rounds + i];
    if (status == MAKO_OK)
        status = bench_report(bench, &spec, values, rounds, err);
    free(values);
    return status;
}

int bench_core(struct bench *bench, struct mako_error *err)
{
    struct pairs pairs = {.calls = bench_size(bench, 50000, 100)};
    struct mako_info info = {.struct_size = sizeof info};
    int status = bench_open("noop", "none", NULL, &pairs.store, err);

    if (status != MAKO_OK)
        return status;
    mako_store_info(pairs.store, &info);
    status = bare_open(info.plugin_path, &pairs.bare, err);
    if (status == MAKO_OK)
        status = measure(bench, &pairs, err);
    bare_close(&pairs.bare);
    mako_store_unref(pairs.store);
    return status;
}

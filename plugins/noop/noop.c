/* noop - the store that keeps nothing: every save succeeds, every load finds nothing.
 *
 * For programs that want to run without snapshots by configuration, for measuring what
 * the core costs, and as the smallest plugin to read. */
#include <mako/store_plugin.h>

static int noop_open(const struct mako_host *host, const union mako_value *options,
                     struct mako_traits *traits, void **store, struct mako_error *err)
{
    (void)options;
    if (traits->flags & ~MAKO_OPEN_READ_ONLY)
        return mako_fail(err, MAKO_E_UNSUPPORTED, "unknown open flags 0x%x",
                         (unsigned)traits->flags);

    traits->durability = MAKO_DURABLE_NONE;
    host->log(host, MAKO_LOG_WARN, "no snapshot is kept: every load replays in full");
    *store = NULL;
    return MAKO_OK;
}

static void noop_close(void *store)
{
    (void)store;
}

static int noop_save(void *store, const struct mako_record *record,
                     struct mako_error *err)
{
    (void)store;
    if (record->flags & 0xffffu & ~MAKO_SAVE_IF_NEWER)
        return mako_fail(err, MAKO_E_UNSUPPORTED, "unknown record flags 0x%x",
                         (unsigned)record->flags);
    return MAKO_OK;
}

static int noop_load(void *store, struct mako_str stream, struct mako_sink *sink,
                     struct mako_error *err)
{
    (void)store;
    (void)stream;
    (void)sink;
    (void)err;
    return MAKO_NOT_FOUND;
}

static int noop_remove(void *store, struct mako_str stream, struct mako_error *err)
{
    (void)store;
    (void)stream;
    (void)err;
    return MAKO_NOT_FOUND;
}

/* Nothing is stored, so there is nothing to visit. */
static int noop_scan(void *store, struct mako_str prefix, struct mako_visitor *visitor,
                     struct mako_error *err)
{
    (void)store;
    (void)prefix;
    (void)visitor;
    (void)err;
    return MAKO_OK;
}

static const struct mako_store_plugin noop = {
    MAKO_STORE_PLUGIN_HEAD,
    .name = "noop",
    .version = "0.1.0",
    .summary = "keeps nothing",
    .durability = MAKO_DURABLE_NONE,
    .threads = MAKO_THREADS_PARALLEL,
    .features = MAKO_FEATURE_EARLY_META | MAKO_FEATURE_IF_NEWER,
    .open = noop_open,
    .close = noop_close,
    .save = noop_save,
    .load = noop_load,
    .remove = noop_remove,
    .scan = noop_scan,
};

MAKO_EXPORT_STORE_PLUGIN(noop)

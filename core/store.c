/* store.c - the store handle: opening, closing, and what concerns the store as a whole.
 * Saving is in save.c, loading in load.c, the way into a plugin in call.c. */
#include "store.h"

#include <stdlib.h>
#include <string.h>

#include "envelope.h"
#include "error.h"

/* ---- opening and closing ------------------------------------------------------ */

const char *mako_threads_name(uint32_t threads)
{
    static const char *const names[] = {"plugin", "store", "parallel"};

    return threads <= MAKO_THREADS_PARALLEL ? names[threads] : "?";
}

int mako_plugin_get(char *const *dirs, const char *name, struct mako_plugin **plugin,
                    struct mako_error *err)
{
    struct mako_plugin *found = NULL;
    char where[400];
    int status = mako_loader_get(dirs, name, &found, err);

    if (status != MAKO_OK)
        return status;
    status = mako_options_check(found->options, found->option_count, err);
    if (status != MAKO_OK) {
        (void)snprintf(where, sizeof where, "%s: ", found->path);
        mako_error_prefix(err, where);
        return status;
    }
    *plugin = found;
    return MAKO_OK;
}

int mako_plugin_options(const struct mako_plugin *plugin,
                        const struct mako_store_config *config,
                        struct mako_options *options, struct mako_error *err)
{
    char where[400];
    int status =
        mako_options_convert(plugin->options, plugin->option_count, config->options,
                             config->option_count, config->dir, options, err);

    if (status != MAKO_OK) {
        (void)snprintf(where, sizeof where, "%s: stores.%s.", config->source,
                       config->name);
        mako_error_prefix(err, where);
    }
    return status;
}

static void host_log(const struct mako_host *host, int level, const char *message)
{
    const mako_store *store = host->ctx;

    mako_log(level, "%s%s", store->prefix, message);
}

static void init_locks(mako_store *store)
{
    pthread_mutexattr_t attr;

    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(&store->lock, &attr);
    pthread_mutexattr_destroy(&attr);
    pthread_mutex_init(&store->outage.lock, NULL);
    for (size_t i = 0; i < MAKO_STRIPES; i++)
        pthread_mutex_init(&store->stripes[i], NULL);
}

/* Memory only: after a fork the locks may be held by threads that are not here. */
static void drop(mako_store *store)
{
    mako_options_free(&store->options);
    mako_store_config_free(store->config);
    free(store);
}

static void close_store(mako_store *store)
{
    struct mako_plugin *plugin = store->plugin;
    bool locked =
        store->threads == MAKO_THREADS_PLUGIN && pthread_mutex_lock(&plugin->lock) == 0;

    plugin->ops.close(store->data);
    if (locked)
        pthread_mutex_unlock(&plugin->lock);
    pthread_mutex_destroy(&store->lock);
    pthread_mutex_destroy(&store->outage.lock);
    for (size_t i = 0; i < MAKO_STRIPES; i++)
        pthread_mutex_destroy(&store->stripes[i]);
    drop(store);
}

/* What open gave against what was declared: promises may only be lowered. */
static void clamp_traits(mako_store *store, struct mako_traits *traits)
{
    const struct mako_store_plugin *ops = &store->plugin->ops;

    if (traits->durability > ops->durability || traits->threads > ops->threads ||
        (traits->features & ~ops->features)) {
        mako_log(MAKO_LOG_WARN, "%sopen promised more than the plugin declares; ignored",
                 store->prefix);
        if (traits->durability > ops->durability)
            traits->durability = ops->durability;
        if (traits->threads > ops->threads)
            traits->threads = ops->threads;
        traits->features &= ops->features;
    }
    store->durability = traits->durability;
    store->threads = traits->threads;
    if (store->threads == MAKO_THREADS_PLUGIN)
        atomic_store_explicit(&store->plugin->lowered, true, memory_order_relaxed);
    store->features = traits->features;
}

static int check_given(mako_store *store, const char *reason, struct mako_error *err)
{
    uint32_t wanted = store->config->durability;
    char why[300];

    if (store->durability < wanted) {
        (void)snprintf(why, sizeof why, "%s%.250s%s", reason[0] ? " (" : "", reason,
                       reason[0] ? ")" : "");
        return mako_refuse(store, err, MAKO_E_CONFIG,
                           "gives only durability '%s' as the backend is set up%s, '%s' "
                           "is required: change the backend, or ask for "
                           "\"durability\": \"%s\"",
                           mako_durability_name(store->durability), why,
                           mako_durability_name(wanted),
                           mako_durability_name(store->durability));
    }
    if ((store->features & MAKO_FEATURE_SHARED) &&
        !(store->features & MAKO_FEATURE_IF_NEWER) && !store->config->stale_replace)
        return mako_refuse(store, err, MAKO_E_CONFIG,
                           "shared between processes and cannot tell which of two saves "
                           "is the later: ask for \"stale_saves\": \"replace\"");
    return MAKO_OK;
}

static int check_whole(const mako_store *store, struct mako_error *err)
{
    if (!store->plugin->cut_off)
        return MAKO_OK;
    return mako_refuse(store, err, MAKO_E_FORKED,
                       "this process was forked in the middle of a call into the plugin, "
                       "which is of the plugin thread model: fork between calls");
}

static int check_declared(const mako_store *store, struct mako_error *err)
{
    const struct mako_store_plugin *ops = &store->plugin->ops;

    if (ops->durability >= store->config->durability)
        return MAKO_OK;
    return mako_refuse(store, err, MAKO_E_CONFIG,
                       "the plugin gives at most durability '%s', '%s' is required: "
                       "choose a plugin that gives it, or ask for \"durability\": \"%s\"",
                       mako_durability_name(ops->durability),
                       mako_durability_name(store->config->durability),
                       mako_durability_name(ops->durability));
}

static int call_open(mako_store *store, uint32_t flags, struct mako_error *err)
{
    const struct mako_store_plugin *ops = &store->plugin->ops;
    struct mako_traits traits = {.struct_size = sizeof traits,
                                 .flags = flags,
                                 .durability = store->config->durability,
                                 .threads = ops->threads,
                                 .features = ops->features};
    bool alone = ops->threads == MAKO_THREADS_PLUGIN ||
                 atomic_load_explicit(&store->plugin->lowered, memory_order_relaxed);
    pthread_mutex_t *lock = alone ? &store->plugin->lock : NULL;
    int status;

    if (lock && pthread_mutex_lock(lock) != 0)
        return mako_refuse(store, err, MAKO_E_INVALID,
                           "opened from inside a scan of the same plugin");
    err->text[0] = '\0';
    status = ops->open(&store->host, store->options.values, &traits, &store->data, err);
    if (lock)
        pthread_mutex_unlock(lock);
    if (status == MAKO_OK) {
        clamp_traits(store, &traits);
        return MAKO_OK;
    }
    if (status > 0 || status < MAKO_E_NO_SPACE)
        return mako_refuse(store, err, MAKO_E_PLUGIN,
                           "open returned %d, which it may not", status);
    if (!err->text[0])
        return mako_refuse(store, err, status, "open failed without a message (%s)",
                           mako_status_name(status));
    mako_error_prefix(err, store->prefix);
    return status;
}

static void init_host(mako_store *store)
{
    store->host = (struct mako_host){
        .struct_size = sizeof store->host,
        .abi = MAKO_STORE_ABI,
        .ctx = store,
        .store_name = store->config->name,
        .max_blob =
            store->config->max_snapshot + MAKO_ENVELOPE_HEADER_MAX + MAKO_STREAM_MAX,
        .log = host_log,
    };
}

/* config is the store's from here on, whatever comes. */
static int open_plugin(struct mako_plugin *plugin, struct mako_store_config *config,
                       bool read_only, mako_store **out, struct mako_error *err)
{
    mako_store *store = calloc(1, sizeof *store);
    struct mako_error reason;
    int status;

    if (!store) {
        mako_store_config_free(config);
        return mako_fail(err, MAKO_E_NOMEM, "store: no memory");
    }
    store->config = config;
    store->plugin = plugin;
    store->read_only = read_only;
    store->generation = mako_generation();
    atomic_init(&store->refs, 1);
    (void)snprintf(store->prefix, sizeof store->prefix,
                   "store '%.60s' (%s): ", config->name, plugin->ops.name);
    mako_text_clean(store->prefix);
    init_host(store);
    status = check_whole(store, err);
    if (status == MAKO_OK)
        status = check_declared(store, err);
    if (status == MAKO_OK)
        status = mako_plugin_options(plugin, config, &store->options, err);
    if (status == MAKO_OK)
        status = call_open(store, store->read_only ? MAKO_OPEN_READ_ONLY : 0, err);
    if (status == MAKO_E_UNSUPPORTED && store->read_only)
        status = call_open(store, 0, err);
    if (status != MAKO_OK) {
        drop(store);
        return status;
    }

    init_locks(store);
    reason = *err;
    status = check_given(store, reason.text, err);
    if (status != MAKO_OK) {
        close_store(store);
        return status;
    }
    *out = store;
    return MAKO_OK;
}

int mako_store_open_source(const struct mako_source *source, mako_store **store,
                           struct mako_error *err)
{
    struct mako_error scratch;
    struct mako_source src;
    struct mako_config *config;
    struct mako_store_config *entry = NULL;
    struct mako_plugin *plugin = NULL;
    int status;

    if (!err)
        err = &scratch;
    if (!mako_watch_forks())
        return mako_fail(err, MAKO_E_NOMEM, "store: no memory");
    status = mako_take_struct(NULL, &src, sizeof src, MAKO_SOURCE_FIRST, source,
                              "mako_source", err);
    if (status != MAKO_OK)
        return status;
    if (src.flags & ~MAKO_SOURCE_READ_ONLY)
        return mako_fail(err, MAKO_E_UNSUPPORTED,
                         "struct mako_source: unknown flags 0x%x", (unsigned)src.flags);
    status = mako_config_read(&src, &config, err);
    if (status != MAKO_OK)
        return status;
    status = mako_config_store(config, src.name, src.overrides, &entry, err);
    mako_config_free(config);
    if (status != MAKO_OK)
        return status;
    status = mako_plugin_get(entry->plugin_dirs, entry->plugin, &plugin, err);
    if (status != MAKO_OK) {
        char where[200];

        (void)snprintf(where, sizeof where, "store '%.60s': ", entry->name);
        mako_error_prefix(err, where);
        mako_store_config_free(entry);
        return status;
    }
    return open_plugin(plugin, entry, (src.flags & MAKO_SOURCE_READ_ONLY) != 0, store,
                       err);
}

int mako_store_open(const char *path, const char *name, mako_store **store,
                    struct mako_error *err)
{
    const struct mako_source source = {
        .struct_size = sizeof source, .path = path, .name = name};

    return mako_store_open_source(&source, store, err);
}

int mako_store_open_json(const char *json, size_t len, const char *name,
                         mako_store **store, struct mako_error *err)
{
    const struct mako_source source = {
        .struct_size = sizeof source, .json = json, .json_len = len, .name = name};

    return mako_store_open_source(&source, store, err);
}

mako_store *mako_store_ref(mako_store *store)
{
    atomic_fetch_add_explicit(&store->refs, 1, memory_order_relaxed);
    return store;
}

void mako_store_unref(mako_store *store)
{
    if (!store || atomic_fetch_sub_explicit(&store->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (store->generation == mako_generation())
        close_store(store);
    else
        drop(store);
}

/* ---- the store as a whole ----------------------------------------------------- */

struct visit {
    struct mako_visitor visitor;
    const char *prefix;
    size_t prefix_len;
    bool (*entry)(void *arg, struct mako_str stream, const struct mako_meta *meta,
                  uint64_t size);
    void *arg;
};

static int visit_entry(struct mako_visitor *visitor, struct mako_str stream,
                       const struct mako_meta *meta, uint64_t blob_len)
{
    static const struct mako_meta unknown;
    struct visit *v = (struct visit *)visitor;

    if (stream.len < v->prefix_len || memcmp(stream.ptr, v->prefix, v->prefix_len) != 0)
        return 0;
    return !v->entry(v->arg, stream, meta ? meta : &unknown, blob_len);
}

int mako_store_scan(mako_store *store, const char *prefix,
                    bool (*entry)(void *arg, struct mako_str stream,
                                  const struct mako_meta *meta, uint64_t size),
                    void *arg, struct mako_error *err)
{
    struct visit visit = {
        .visitor = {.struct_size = sizeof visit.visitor, .entry = visit_entry},
        .prefix = prefix ? prefix : "",
        .prefix_len = prefix ? strlen(prefix) : 0,
        .entry = entry,
        .arg = arg};
    struct mako_str wanted = {.ptr = visit.prefix, .len = visit.prefix_len};
    struct mako_call call;
    int status;

    if (store->generation == mako_generation() && !store->plugin->ops.scan)
        return mako_refuse(store, err, MAKO_E_UNSUPPORTED, "this plugin cannot scan");
    status = mako_call_begin(&call, store, "scan", NULL, err);
    if (status != MAKO_OK)
        return status;
    status = store->plugin->ops.scan(store->data, wanted, &visit.visitor, call.err);
    return mako_call_end(&call, status, 0);
}

struct stepper {
    struct mako_progress progress;
    bool (*report)(void *arg, uint64_t done, uint64_t total);
    void *arg;
};

static int step(struct mako_progress *progress, uint64_t done, uint64_t total)
{
    struct stepper *s = (struct stepper *)progress;

    return s->report && !s->report(s->arg, done, total);
}

int mako_store_compact(mako_store *store,
                       bool (*progress)(void *arg, uint64_t done, uint64_t total),
                       void *arg, struct mako_error *err)
{
    struct stepper stepper = {
        .progress = {.struct_size = sizeof stepper.progress, .step = step},
        .report = progress,
        .arg = arg};
    struct mako_call call;
    int status;

    if (store->generation == mako_generation() && !store->plugin->ops.compact)
        return mako_refuse(store, err, MAKO_E_UNSUPPORTED, "this plugin cannot compact");
    status = mako_check_writable(store, err);
    if (status == MAKO_OK)
        status = mako_call_begin(&call, store, "compact", NULL, err);
    if (status != MAKO_OK)
        return status;
    status = store->plugin->ops.compact(store->data, &stepper.progress, call.err);
    return mako_call_end(&call, status, 0);
}

void mako_store_info(const mako_store *store, struct mako_info *info)
{
    const struct mako_store_config *config = store->config;
    const struct mako_info full = {
        .struct_size = info->struct_size,
        .schema_min = config->schema_min,
        .schema_max = config->schema_max,
        .fail_on_load_failure = config->fail_on_load_failure,
        .name = config->name,
        .plugin = store->plugin->ops.name,
        .plugin_version = store->plugin->ops.version ? store->plugin->ops.version : "",
        .plugin_path = store->plugin->path,
        .durability = mako_durability_name(store->durability),
        .threads = mako_threads_name(store->threads),
        .features = store->features,
        .snapshot_every = config->snapshot_every,
        .max_snapshot = config->max_snapshot,
        .replay_limit = config->replay_limit,
        .retry_after_ms = config->retry_after_ms,
    };
    size_t size = info->struct_size < sizeof full ? info->struct_size : sizeof full;

    memcpy(info, &full, size);
}

struct adder {
    struct mako_counters counters;
    void (*counter)(void *arg, const char *name, uint64_t value);
    void *arg;
};

static void add_counter(struct mako_counters *counters, const char *name, uint64_t value)
{
    struct adder *a = (struct adder *)counters;
    char full[100];

    (void)snprintf(full, sizeof full, "plugin.%.80s", name);
    a->counter(a->arg, full, value);
}

int mako_store_stats(mako_store *store,
                     void (*counter)(void *arg, const char *name, uint64_t value),
                     void *arg, struct mako_error *err)
{
    static const char *const names[MAKO_COUNTERS] = {
        "saves",      "saves_stale",   "saves_failed",  "loads_ok",
        "loads_none", "loads_refused", "loads_damaged", "loads_failed",
        "removes",    "bytes_saved",   "bytes_moved"};
    struct adder adder = {
        .counters = {.struct_size = sizeof adder.counters, .add = add_counter},
        .counter = counter,
        .arg = arg};
    struct mako_call call;
    int status = mako_call_begin_local(&call, store, "stats", err);

    if (status != MAKO_OK)
        return status;
    for (size_t i = 0; i < MAKO_COUNTERS; i++)
        counter(arg, names[i],
                atomic_load_explicit(&store->counters[i], memory_order_relaxed));
    if (store->plugin->ops.stats)
        status = store->plugin->ops.stats(store->data, &adder.counters, call.err);
    return mako_call_end(&call, status, 0);
}

bool mako_store_due(const mako_store *store, uint64_t event_count,
                    uint64_t last_snapshot_at)
{
    return mako_should_take(event_count, last_snapshot_at, store->config->snapshot_every);
}

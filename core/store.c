/* store.c - the store handle: its life, the way into the plugin and back, and every
 * operation but loading (load.c).
 *
 * What must be the same whatever the backend is done here, once: reference counts, the
 * fork guard, the locks of the thread model, outages, the durability requirement, which
 * of two saves is the later one, and the texts of errors. */
#include "store.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <xxhash.h>

#include "envelope.h"
#include "error.h"
#include "policy.h"

/* Envelopes up to this size are built on the stack. */
#define SMALL_BLOB  4096u

#define BIT(status) (1u << (status))

/* ---- processes ---------------------------------------------------------------- */

static atomic_uint generation;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void in_child(void)
{
    atomic_fetch_add_explicit(&generation, 1, memory_order_relaxed);
}

static void watch_forks(void)
{
    (void)pthread_atfork(NULL, NULL, in_child);
}

unsigned mako_generation(void)
{
    return atomic_load_explicit(&generation, memory_order_relaxed);
}

/* ---- texts -------------------------------------------------------------------- */

int mako_refuse(const mako_store *store, struct mako_error *err, int status,
                const char *format, ...)
{
    size_t used;
    va_list args;

    if (!err)
        return status;
    used = mako_error_add(err, 0, store->prefix);
    va_start(args, format);
    (void)vsnprintf(err->text + used, sizeof err->text - used, format, args);
    va_end(args);
    return status;
}

/* What a status means where the plugin left no text; save and load take this way often,
 * so it does not format. */
static const char *usual_text(int status)
{
    switch (status) {
    case MAKO_NOT_FOUND:
        return "no snapshot";
    case MAKO_STALE:
        return "a later snapshot is kept";
    case MAKO_REFUSED:
        return "declined";
    case MAKO_DAMAGED:
        return "the stored snapshot is damaged";
    default:
        return NULL;
    }
}

static void say_usual(const struct mako_call *call, const char *text,
                      struct mako_error *err)
{
    size_t at = mako_error_add(err, 0, call->store->prefix);

    if (call->stream) {
        at = mako_error_add(err, at, "stream '");
        at = mako_error_add(err, at, call->stream);
        at = mako_error_add(err, at, "': ");
    }
    (void)mako_error_add(err, at, text);
}

int mako_call_check(const struct mako_call *call, int status, unsigned expected,
                    struct mako_error *err)
{
    const char *usual = usual_text(status);

    if (status == MAKO_OK)
        return status;
    if (status > 0
            ? status > 31 || !(expected & BIT(status))
            : status < MAKO_E_NO_SPACE || (status == MAKO_E_PLUGIN && !call->judged) ||
                  status == MAKO_E_FORKED || status == MAKO_E_CALLBACK ||
                  status == MAKO_E_CONFIG || status == MAKO_E_INVALID)
        return mako_refuse(call->store, err, MAKO_E_PLUGIN,
                           "%s returned %d, which it may not", call->name, status);
    if (err->text[0])
        mako_error_prefix(err, call->store->prefix);
    else if (usual)
        say_usual(call, usual, err);
    else
        (void)mako_refuse(call->store, err, status, "%s failed without a message (%s)",
                          call->name, mako_status_name(status));
    return status;
}

/* ---- outages ------------------------------------------------------------------ */

static uint64_t monotonic_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

/* Three quarters to five quarters of ms, so that many processes do not return at once. */
static uint64_t jittered(uint64_t ms)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return ms - ms / 4 + XXH3_64bits(&now, sizeof now) % (ms / 2 + 1);
}

static int outage_check(struct mako_call *call)
{
    struct mako_outage *outage = &call->store->outage;
    uint64_t now = monotonic_ms();
    int status = MAKO_OK;

    pthread_mutex_lock(&outage->lock);
    if (!outage->probing && now >= outage->until_ms) {
        outage->probing = true;
        call->probe = true;
    } else {
        uint64_t left = now < outage->until_ms ? outage->until_ms - now : 0;

        status = mako_refuse(call->store, call->err, MAKO_E_UNAVAILABLE,
                             "not tried again for %llu ms after: %s",
                             (unsigned long long)left, outage->cause);
    }
    pthread_mutex_unlock(&outage->lock);
    return status;
}

/* text is the plugin's, before the prefix. */
static void outage_begin(struct mako_call *call)
{
    struct mako_outage *outage = &call->store->outage;
    uint64_t pause = call->store->config->retry_after_ms;

    if (pause == 0)
        return;
    pthread_mutex_lock(&outage->lock);
    outage->until_ms = monotonic_ms() + jittered(pause);
    if (call->probe)
        outage->probing = false;
    (void)snprintf(outage->cause, sizeof outage->cause, "%.250s",
                   call->err->text[0] ? call->err->text : "unavailable");
    atomic_store_explicit(&outage->down, true, memory_order_relaxed);
    pthread_mutex_unlock(&outage->lock);
}

/* up: the backend has answered. */
static void outage_end(struct mako_call *call, bool up)
{
    struct mako_outage *outage = &call->store->outage;

    pthread_mutex_lock(&outage->lock);
    if (call->probe)
        outage->probing = false;
    if (up)
        atomic_store_explicit(&outage->down, false, memory_order_relaxed);
    pthread_mutex_unlock(&outage->lock);
}

/* ---- the way in and out ------------------------------------------------------- */

/* The lock that the plugin's thread model asks for, or NULL. */
static pthread_mutex_t *model_lock(mako_store *store)
{
    if (store->threads == MAKO_THREADS_PARALLEL)
        return NULL;
    return store->threads == MAKO_THREADS_STORE ? &store->lock : &store->plugin->lock;
}

int mako_call_begin(struct mako_call *call, mako_store *store, const char *name,
                    const char *stream, struct mako_error *err)
{
    pthread_mutex_t *lock = model_lock(store);
    int status;

    call->store = store;
    call->name = name;
    call->stream = stream;
    call->err = err ? err : &call->scratch;
    call->probe = false;
    call->unavailable = false;
    call->judged = false;
    if (store->generation != mako_generation())
        return mako_refuse(store, err, MAKO_E_FORKED,
                           "opened in the parent process; a child opens its own");
    if (atomic_load_explicit(&store->outage.down, memory_order_relaxed)) {
        status = outage_check(call);
        if (status != MAKO_OK)
            return status;
    }
    if (lock && pthread_mutex_lock(lock) != 0) {
        if (call->probe)
            outage_end(call, false);
        return mako_refuse(store, err, MAKO_E_INVALID,
                           "%s called from inside a scan of a plugin of the %s thread "
                           "model",
                           name, mako_threads_name(store->threads));
    }
    atomic_fetch_add_explicit(&store->refs, 1, memory_order_relaxed);
    call->err->text[0] = '\0';
    return MAKO_OK;
}

int mako_call_leave(struct mako_call *call, int status, unsigned expected)
{
    mako_store *store = call->store;
    pthread_mutex_t *lock = model_lock(store);

    if (lock)
        pthread_mutex_unlock(lock);
    if (status == MAKO_E_UNAVAILABLE || call->unavailable)
        outage_begin(call);
    else if (atomic_load_explicit(&store->outage.down, memory_order_relaxed))
        outage_end(call, true);
    return mako_call_check(call, status, expected, call->err);
}

int mako_call_end(struct mako_call *call, int status, unsigned expected)
{
    status = mako_call_leave(call, status, expected);
    mako_store_unref(call->store);
    return status;
}

int mako_check_stream(const mako_store *store, const char *stream, struct mako_str *out,
                      struct mako_error *err)
{
    size_t len = stream ? strnlen(stream, MAKO_STREAM_MAX + 1) : 0;

    if (len == 0)
        return mako_refuse(store, err, MAKO_E_INVALID, "an empty stream id");
    if (len > MAKO_STREAM_MAX)
        return mako_refuse(store, err, MAKO_E_INVALID,
                           "stream '%.40s...': an id has at most %u bytes", stream,
                           MAKO_STREAM_MAX);
    if (!mako_utf8_valid(stream, len))
        return mako_refuse(store, err, MAKO_E_INVALID, "a stream id that is not UTF-8");
    *out = (struct mako_str){.ptr = stream, .len = len};
    return MAKO_OK;
}

int mako_take_struct(const mako_store *store, void *ours, size_t size, const void *theirs,
                     const char *name, struct mako_error *err)
{
    uint32_t given = 0;

    if (theirs)
        memcpy(&given, theirs, sizeof given);
    if (given < size)
        return mako_refuse(store, err, MAKO_E_INVALID,
                           "struct %s: struct_size is %u, must be sizeof, at least %zu",
                           name, (unsigned)given, size);
    for (size_t i = size; i < given; i++)
        if (((const unsigned char *)theirs)[i] != 0)
            return mako_refuse(store, err, MAKO_E_UNSUPPORTED,
                               "struct %s: a member that this library does not know",
                               name);
    memcpy(ours, theirs, size);
    return MAKO_OK;
}

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
    pthread_mutex_t *lock =
        store->threads == MAKO_THREADS_PLUGIN ? &store->plugin->lock : NULL;
    bool locked = lock && pthread_mutex_lock(lock) == 0;

    store->plugin->ops.close(store->data);
    if (locked)
        pthread_mutex_unlock(lock);
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

static int call_open(mako_store *store, struct mako_error *err)
{
    const struct mako_store_plugin *ops = &store->plugin->ops;
    struct mako_traits traits = {.struct_size = sizeof traits,
                                 .durability = store->config->durability,
                                 .threads = ops->threads,
                                 .features = ops->features};
    pthread_mutex_t *lock =
        ops->threads == MAKO_THREADS_PLUGIN ? &store->plugin->lock : NULL;
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
                       mako_store **out, struct mako_error *err)
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
    store->generation = mako_generation();
    atomic_init(&store->refs, 1);
    (void)snprintf(store->prefix, sizeof store->prefix,
                   "store '%.60s' (%s): ", config->name, plugin->ops.name);
    init_host(store);
    status = check_declared(store, err);
    if (status == MAKO_OK)
        status = mako_plugin_options(plugin, config, &store->options, err);
    if (status == MAKO_OK)
        status = call_open(store, err);
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
    static const mako_store nobody = {.prefix = ""};
    struct mako_error scratch;
    struct mako_source src;
    struct mako_config *config;
    struct mako_store_config *entry = NULL;
    struct mako_plugin *plugin = NULL;
    int status;

    if (!err)
        err = &scratch;
    pthread_once(&fork_once, watch_forks);
    status = mako_take_struct(&nobody, &src, sizeof src, source, "mako_source", err);
    if (status != MAKO_OK)
        return status;
    if (src.flags)
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
    return open_plugin(plugin, entry, store, err);
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

/* ---- saving ------------------------------------------------------------------- */

static int check_save(const mako_store *store, struct mako_str stream,
                      const struct mako_save *save, struct mako_error *err)
{
    if (save->flags & ~MAKO_SAVE_FORCE)
        return mako_refuse(store, err, MAKO_E_UNSUPPORTED,
                           "struct mako_save: unknown flags 0x%x", (unsigned)save->flags);
    if (save->seq == 0 || save->schema == 0)
        return mako_refuse(store, err, MAKO_E_INVALID,
                           "stream '%.100s': %s 0 cannot be saved", stream.ptr,
                           save->seq == 0 ? "sequence" : "schema");
    if (save->state_len > 0 && !save->state)
        return mako_refuse(store, err, MAKO_E_INVALID,
                           "stream '%.100s': state is NULL, state_len is not 0",
                           stream.ptr);
    if (save->state_len > store->config->max_snapshot)
        return mako_refuse(store, err, MAKO_E_LIMIT,
                           "stream '%.100s': a state of %zu bytes, max_snapshot is %llu",
                           stream.ptr, save->state_len,
                           (unsigned long long)store->config->max_snapshot);
    return MAKO_OK;
}

/* Milliseconds since 1970, to the clock's tick: who saved first is told by sequences. */
static int64_t wall_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME_COARSE, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void make_record(const mako_store *store, struct mako_str stream,
                        const struct mako_save *save, void *blob,
                        struct mako_record *record)
{
    const struct mako_envelope e = {
        .meta = {.seq = save->seq, .schema = save->schema, .created_ms = wall_ms()},
        .anchor = save->anchor,
        .kind = mako_envelope_kind(save->kind),
        .state = save->state,
        .state_len = save->state_len};
    bool any = (save->flags & MAKO_SAVE_FORCE) || store->config->stale_replace;

    mako_envelope_write(blob, stream, &e);
    *record =
        (struct mako_record){.stream = stream,
                             .meta = e.meta,
                             .flags = any ? 0 : MAKO_SAVE_IF_NEWER,
                             .blob = blob,
                             .blob_len = mako_envelope_size(stream.len, save->state_len)};
}

/* IF_NEWER for a plugin that cannot: look, then save, one at a time for a stream. */
static int save_if_newer(struct mako_call *call, struct mako_record *record)
{
    mako_store *store = call->store;
    struct mako_error *err = call->err;
    uint64_t hash = XXH3_64bits(record->stream.ptr, record->stream.len);
    pthread_mutex_t *stripe = &store->stripes[hash % MAKO_STRIPES];
    struct mako_meta stored = {0};
    int status;

    pthread_mutex_lock(stripe);
    status = mako_peek_inside(store, record->stream, &stored, err);
    call->judged = status == MAKO_E_PLUGIN;
    if (status >= 0 && stored.seq > record->meta.seq) {
        status = mako_fail(err, MAKO_STALE, "stream '%.100s': %llu is stored, %llu comes",
                           record->stream.ptr, (unsigned long long)stored.seq,
                           (unsigned long long)record->meta.seq);
    } else if (status >= 0) {
        err->text[0] = '\0';
        record->flags &= ~MAKO_SAVE_IF_NEWER;
        status = store->plugin->ops.save(store->data, record, err);
    }
    pthread_mutex_unlock(stripe);
    return status;
}

static void count_save(mako_store *store, int status, size_t len)
{
    if (status == MAKO_OK) {
        mako_count(store, MAKO_COUNT_SAVES, 1);
        mako_count(store, MAKO_COUNT_BYTES_SAVED, len);
    } else {
        mako_count(
            store,
            status == MAKO_STALE ? MAKO_COUNT_SAVES_STALE : MAKO_COUNT_SAVES_FAILED, 1);
    }
}

static bool emulates(const mako_store *store, const struct mako_record *record)
{
    return (record->flags & MAKO_SAVE_IF_NEWER) &&
           !(store->features & MAKO_FEATURE_IF_NEWER);
}

static int call_save(mako_store *store, struct mako_record *record,
                     struct mako_error *err)
{
    struct mako_call call;
    int status = mako_call_begin(&call, store, "save", record->stream.ptr, err);

    if (status != MAKO_OK)
        return status;
    if (emulates(store, record))
        status = save_if_newer(&call, record);
    else
        status = store->plugin->ops.save(store->data, record, call.err);
    count_save(store, status, record->blob_len);
    return mako_call_end(&call, status, BIT(MAKO_STALE));
}

/* Check one save and build its record; what was allocated comes back in *heap. */
static int prepare(const mako_store *store, const char *stream,
                   const struct mako_save *given, void *small, void **heap,
                   struct mako_record *record, struct mako_error *err)
{
    struct mako_save save;
    struct mako_str id;
    size_t size;
    int status = mako_check_stream(store, stream, &id, err);

    *heap = NULL;
    if (status == MAKO_OK)
        status = mako_take_struct(store, &save, sizeof save, given, "mako_save", err);
    if (status == MAKO_OK)
        status = check_save(store, id, &save, err);
    if (status != MAKO_OK)
        return status;
    size = mako_envelope_size(id.len, save.state_len);
    if (!small || size > SMALL_BLOB) {
        *heap = malloc(size);
        if (!*heap)
            return mako_refuse(store, err, MAKO_E_NOMEM,
                               "stream '%.100s': no memory for %zu bytes", stream, size);
    }
    make_record(store, id, &save, *heap ? *heap : small, record);
    return MAKO_OK;
}

int mako_store_save(mako_store *store, const char *stream, const struct mako_save *save,
                    struct mako_error *err)
{
    _Alignas(16) unsigned char small[SMALL_BLOB];
    struct mako_record record;
    void *heap;
    int status = prepare(store, stream, save, small, &heap, &record, err);

    if (status != MAKO_OK)
        return status;
    status = call_save(store, &record, err);
    free(heap);
    return status;
}

/* ---- many saves --------------------------------------------------------------- */

/* Of an item that the plugin has forgotten: refused like any status that it may not
 * return. */
#define NO_STATUS INT_MIN

/* The items of a batch that passed the checks, for one call into the plugin. */
struct batch {
    struct mako_record *records;
    void **heaps;
    size_t *items; /* record i is item items[i] */
    int *statuses; /* the plugin's, by record */
    size_t count;
};

static void batch_free(struct batch *b)
{
    for (size_t i = 0; b->heaps && i < b->count; i++)
        free(b->heaps[i]);
    free(b->records);
    free(b->heaps);
    free(b->items);
    free(b->statuses);
}

static bool batch_room(struct batch *b, size_t count)
{
    b->records = calloc(count + 1, sizeof *b->records);
    b->heaps = calloc(count + 1, sizeof *b->heaps);
    b->items = calloc(count + 1, sizeof *b->items);
    b->statuses = calloc(count + 1, sizeof *b->statuses);
    return b->records && b->heaps && b->items && b->statuses;
}

static int call_save_many(mako_store *store, struct batch *b, int *statuses,
                          struct mako_error *err)
{
    struct mako_call call;
    struct mako_error text = {""}, why;
    int status = mako_call_begin(&call, store, "save_many", NULL, &text);

    if (status != MAKO_OK) {
        if (err)
            *err = text;
        return status;
    }
    for (size_t i = 0; i < b->count; i++)
        b->statuses[i] = NO_STATUS;
    status = store->plugin->ops.save_many(store->data, b->records, b->count, b->statuses,
                                          call.err);
    for (size_t i = 0; status == MAKO_OK && i < b->count; i++) {
        why = *call.err;
        call.unavailable |= b->statuses[i] == MAKO_E_UNAVAILABLE;
        count_save(store, b->statuses[i], b->records[i].blob_len);
        b->statuses[i] = mako_call_check(&call, b->statuses[i], BIT(MAKO_STALE), &why);
        statuses[b->items[i]] = b->statuses[i];
        mako_note_first(err, &why, b->statuses[i]);
    }
    status = mako_call_end(&call, status, 0);
    if (status != MAKO_OK && err)
        *err = text;
    return status;
}

static int save_batch(mako_store *store, const char *const *streams,
                      const struct mako_save *const *saves, size_t count, int *statuses,
                      struct mako_error *err)
{
    struct batch b = {0};
    struct mako_error why;
    int status = MAKO_OK;

    if (!batch_room(&b, count)) {
        batch_free(&b);
        return mako_refuse(store, err, MAKO_E_NOMEM, "no memory for %zu saves", count);
    }
    for (size_t i = 0; i < count; i++) {
        statuses[i] = prepare(store, streams[i], saves[i], NULL, &b.heaps[b.count],
                              &b.records[b.count], &why);
        mako_note_first(err, &why, statuses[i]);
        if (statuses[i] == MAKO_OK)
            b.items[b.count++] = i;
    }
    if (b.count > 0)
        status = call_save_many(store, &b, statuses, err);
    batch_free(&b);
    return status;
}

int mako_store_save_many(mako_store *store, const char *const *streams,
                         const struct mako_save *const *saves, size_t count,
                         int *statuses, struct mako_error *err)
{
    struct mako_error why;
    bool native =
        (store->features & MAKO_FEATURE_IF_NEWER) || store->config->stale_replace;

    if (err)
        err->text[0] = '\0';
    if (native && store->plugin->ops.save_many && count > 1)
        return save_batch(store, streams, saves, count, statuses, err);
    for (size_t i = 0; i < count; i++) {
        statuses[i] = mako_store_save(store, streams[i], saves[i], &why);
        mako_note_first(err, &why, statuses[i]);
    }
    return MAKO_OK;
}

/* ---- removing ----------------------------------------------------------------- */

int mako_store_remove(mako_store *store, const char *stream, struct mako_error *err)
{
    struct mako_call call;
    struct mako_str id;
    int status = mako_check_stream(store, stream, &id, err);

    if (status == MAKO_OK)
        status = mako_call_begin(&call, store, "remove", stream, err);
    if (status != MAKO_OK)
        return status;
    status = store->plugin->ops.remove(store->data, id, call.err);
    if (status >= 0)
        mako_count(store, MAKO_COUNT_REMOVES, 1);
    return mako_call_end(&call, status, BIT(MAKO_NOT_FOUND));
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

    if (!store->plugin->ops.scan)
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

    if (!store->plugin->ops.compact)
        return mako_refuse(store, err, MAKO_E_UNSUPPORTED, "this plugin cannot compact");
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
    int status = mako_call_begin(&call, store, "stats", NULL, err);

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

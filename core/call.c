/* call.c - the way into a plugin and back: fork guard, outages, the lock of the thread
 * model, and the texts of errors.  Knows no operation. */
#include "store.h"

#include <string.h>
#include <time.h>

#include <xxhash.h>

#include "envelope.h"
#include "error.h"

/* ---- processes ---------------------------------------------------------------- */

static atomic_uint generation;
static pthread_mutex_t watch_lock = PTHREAD_MUTEX_INITIALIZER;
static bool watching;

/* A child may open stores of its own: what is global must be whole there, whatever other
 * threads did at that moment. */
static void before_fork(void)
{
    pthread_mutex_lock(&watch_lock);
    mako_loader_hold();
    mako_log_hold();
}

static void after_fork_in_parent(void)
{
    mako_log_release();
    mako_loader_release();
    pthread_mutex_unlock(&watch_lock);
}

static void after_fork_in_child(void)
{
    atomic_fetch_add_explicit(&generation, 1, memory_order_relaxed);
    mako_log_release();
    mako_loader_forked();
    mako_loader_release();
    pthread_mutex_unlock(&watch_lock);
}

/* When the library is loaded, so that a fork at the same time as the first opening finds
 * the handlers; again where there was no memory. */
__attribute__((constructor)) static void watch_forks(void)
{
    if (!watching)
        watching =
            pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) == 0;
}

/* The first hash of more than 240 bytes lets libxxhash choose its functions, without a
 * lock: here, before there are calls that could do it at the same time. */
static void choose_hash(void)
{
    static const char bytes[256];
    volatile XXH64_hash_t hash = XXH3_64bits(bytes, sizeof bytes);

    (void)hash;
}

bool mako_watch_forks(void)
{
    bool good;

    pthread_mutex_lock(&watch_lock);
    watch_forks();
    good = watching;
    mako_config_ready();
    choose_hash();
    pthread_mutex_unlock(&watch_lock);
    return good;
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
    used = store ? mako_error_add(err, 0, store->prefix, strlen(store->prefix)) : 0;
    va_start(args, format);
    (void)vsnprintf(err->text + used, sizeof err->text - used, format, args);
    va_end(args);
    mako_text_clean(err->text);
    return status;
}

int mako_check_writable(const mako_store *store, struct mako_error *err)
{
    if (!store->read_only)
        return MAKO_OK;
    return mako_refuse(store, err, MAKO_E_INVALID, "was opened only to be read");
}

#define TEXT(literal) ((struct mako_str){.ptr = (literal), .len = sizeof(literal) - 1})

/* What a status means where the plugin left no text; save and load take this way often,
 * so it does not format. */
static struct mako_str usual_text(int status)
{
    switch (status) {
    case MAKO_NOT_FOUND:
        return TEXT("no snapshot");
    case MAKO_STALE:
        return TEXT("a later snapshot is kept");
    case MAKO_REFUSED:
        return TEXT("declined");
    case MAKO_DAMAGED:
        return TEXT("the stored snapshot is damaged");
    default:
        return (struct mako_str){.ptr = NULL};
    }
}

/* A long id must not push the cause out. */
static void say_usual(const struct mako_call *call, struct mako_str text,
                      struct mako_error *err)
{
    const char *prefix = call->store->prefix;
    char *id;
    size_t at = mako_error_add(err, 0, prefix, strlen(prefix));

    if (call->stream) {
        at = mako_error_add(err, at, "stream '", 8);
        id = err->text + at;
        at = mako_error_add(err, at, call->stream, strnlen(call->stream, 100));
        mako_text_clean(id);
        at = mako_error_add(err, at, "': ", 3);
    }
    (void)mako_error_add(err, at, text.ptr, text.len);
}

int mako_call_check(const struct mako_call *call, int status, unsigned expected,
                    struct mako_error *err)
{
    struct mako_str usual;

    if (status == MAKO_OK || call->judged)
        return status;
    usual = usual_text(status);
    if (status > 0 ? status > 31 || !(expected & MAKO_BIT(status))
                   : status < MAKO_E_NO_SPACE || status == MAKO_E_PLUGIN ||
                         status == MAKO_E_FORKED || status == MAKO_E_CALLBACK ||
                         status == MAKO_E_CONFIG || status == MAKO_E_INVALID)
        return mako_refuse(call->store, err, MAKO_E_PLUGIN,
                           "%s returned %d, which it may not", call->name, status);
    if (err->text[0])
        mako_error_prefix(err, call->store->prefix);
    else if (usual.ptr)
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
    uint64_t now;
    int status = MAKO_OK;

    if (call->local || call->probe ||
        !atomic_load_explicit(&outage->down, memory_order_relaxed))
        return MAKO_OK;
    now = monotonic_ms();
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

/* call->local and call->stream are set. */
static int enter(struct mako_call *call, mako_store *store, const char *name,
                 struct mako_error *err)
{
    pthread_mutex_t *lock = model_lock(store);
    int status;

    call->store = store;
    call->name = name;
    call->err = err ? err : &call->scratch;
    call->probe = false;
    call->unavailable = false;
    call->judged = false;
    if (store->generation != mako_generation())
        return mako_refuse(store, err, MAKO_E_FORKED,
                           "opened in the parent process; a child opens its own");
    status = outage_check(call);
    if (status != MAKO_OK)
        return status;
    if (lock && pthread_mutex_lock(lock) != 0) {
        if (call->probe)
            outage_end(call, false);
        return mako_refuse(store, err, MAKO_E_INVALID,
                           "%s called from inside a scan of a plugin of the %s thread "
                           "model",
                           name, mako_threads_name(store->threads));
    }
    status = lock ? outage_check(call) : MAKO_OK; /* of the call that was waited for */
    if (status != MAKO_OK) {
        pthread_mutex_unlock(lock);
        return status;
    }
    atomic_fetch_add_explicit(&store->refs, 1, memory_order_relaxed);
    call->err->text[0] = '\0';
    return MAKO_OK;
}

int mako_call_begin(struct mako_call *call, mako_store *store, const char *name,
                    const char *stream, struct mako_error *err)
{
    call->local = false;
    call->stream = stream;
    return enter(call, store, name, err);
}

int mako_call_begin_local(struct mako_call *call, mako_store *store, const char *name,
                          struct mako_error *err)
{
    call->local = true;
    call->stream = NULL;
    return enter(call, store, name, err);
}

int mako_call_again(struct mako_call *call)
{
    int status = outage_check(call);

    if (status != MAKO_OK)
        call->local = call->judged = true;
    return status;
}

/* Without memory a call may not have come as far as the backend. */
static void note_outage(struct mako_call *call, int status)
{
    if (status == MAKO_E_UNAVAILABLE || call->unavailable)
        outage_begin(call);
    else if (atomic_load_explicit(&call->store->outage.down, memory_order_relaxed))
        outage_end(call, status != MAKO_E_NOMEM);
}

/* Who waits for the lock must find the outage. */
int mako_call_leave(struct mako_call *call, int status, unsigned expected)
{
    pthread_mutex_t *lock = model_lock(call->store);

    if (!call->local)
        note_outage(call, status);
    if (lock)
        pthread_mutex_unlock(lock);
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

int mako_take_struct(const mako_store *store, void *ours, size_t size, size_t first,
                     const void *theirs, const char *name, struct mako_error *err)
{
    uint32_t given = 0;

    if (theirs)
        memcpy(&given, theirs, sizeof given);
    if (!theirs || given < first)
        return mako_refuse(store, err, MAKO_E_INVALID,
                           "struct %s: struct_size is %u, must be sizeof, at least %zu",
                           name, (unsigned)given, first);
    for (size_t i = size; i < given; i++)
        if (((const unsigned char *)theirs)[i] != 0)
            return mako_refuse(store, err, MAKO_E_UNSUPPORTED,
                               "struct %s: a member that this library does not know",
                               name);
    memset(ours, 0, size);
    memcpy(ours, theirs, given < size ? given : size);
    return MAKO_OK;
}

/* core/store.h - the handle behind mako_store, shared by store.c (its life, the store as
 * a whole), save.c and load.c.  Every call into a plugin goes between mako_call_begin()
 * and mako_call_end(), which are in call.c. */
#ifndef MAKO_CORE_STORE_H
#define MAKO_CORE_STORE_H

#include <pthread.h>
#include <stdatomic.h>

#include "config.h"
#include "loader.h"
#include "options.h"

#define MAKO_STRIPES 16u

/* A status in the set of those that an operation may end with. */
#define MAKO_BIT(status) (1u << (status))

enum mako_counter {
    MAKO_COUNT_SAVES,
    MAKO_COUNT_SAVES_STALE,
    MAKO_COUNT_SAVES_FAILED,
    MAKO_COUNT_LOADS_OK,
    MAKO_COUNT_LOADS_NONE,
    MAKO_COUNT_LOADS_REFUSED,
    MAKO_COUNT_LOADS_DAMAGED,
    MAKO_COUNT_LOADS_FAILED,
    MAKO_COUNT_REMOVES,
    MAKO_COUNT_BYTES_SAVED,
    MAKO_COUNT_BYTES_MOVED,
    MAKO_COUNTERS
};

/* After UNAVAILABLE nobody calls the plugin until retry_after has passed, then one
 * caller does. */
struct mako_outage {
    atomic_bool down;
    pthread_mutex_t lock;
    bool probing;
    uint64_t until_ms; /* monotonic */
    char cause[256];
};

struct mako_store {
    atomic_uint refs; /* handles, lent snapshots and calls in flight */
    unsigned generation;
    struct mako_plugin *plugin;
    void *data; /* the plugin's store */
    struct mako_store_config *config;
    struct mako_options options;
    struct mako_host host;
    uint32_t durability, threads; /* as given by open */
    bool read_only;
    uint64_t features;
    char prefix[128];                      /* "store 'orders' (file): " */
    pthread_mutex_t lock;                  /* MAKO_THREADS_STORE; error checking */
    pthread_mutex_t stripes[MAKO_STRIPES]; /* of streams: IF_NEWER for plugins without */
    struct mako_outage outage;
    atomic_uint_fast64_t counters[MAKO_COUNTERS];
};

/* One call into the plugin. */
struct mako_call {
    mako_store *store;
    const char *name;   /* "save", for messages */
    const char *stream; /* likewise; NULL where it is of none */
    struct mako_error *err;
    struct mako_error scratch; /* where the caller gave no err */
    bool local;                /* has no part in outages: it does not ask the backend */
    bool probe;                /* the one call that tries again after an outage */
    bool unavailable;          /* an item of a batch found the backend away */
    bool judged;               /* the status is the core's own word, its text stands */
};

/* Forks are counted, and find what is global whole.  False: no memory for that.  Before
 * anything that makes a store. */
MAKO_CHECKED bool mako_watch_forks(void);
/* The generation of this process: goes up in every forked child. */
unsigned mako_generation(void);

/* Fork guard, outage, reference, the thread model's lock.  MAKO_OK: end must follow.
 * err may be NULL; from here on call->err is never. */
MAKO_CHECKED int mako_call_begin(struct mako_call *call, mako_store *store,
                                 const char *name, const char *stream,
                                 struct mako_error *err);
/* The same for what asks the plugin, but not its backend: goes on in an outage, and tells
 * nothing of it. */
MAKO_CHECKED int mako_call_begin_local(struct mako_call *call, mako_store *store,
                                       const char *name, struct mako_error *err);
/* Inside a call that has waited: E_UNAVAILABLE where the backend went away meanwhile.
 * The call must still end, with that; it is local from then on. */
MAKO_CHECKED int mako_call_again(struct mako_call *call);
/* Undoes all of it but the reference: unlocks, notes outages, turns what a plugin may
 * not return into E_PLUGIN, and puts "store 'x' (plugin): " before the text, or makes
 * one.  expected: the positive statuses of this operation, as bits 1 << status.  The
 * caller lets go with mako_store_unref(). */
int mako_call_leave(struct mako_call *call, int status, unsigned expected);
/* The same, and the reference too: the store may be gone afterwards. */
int mako_call_end(struct mako_call *call, int status, unsigned expected);

/* A status of the plugin's for one item of a batch, made presentable likewise. */
int mako_call_check(const struct mako_call *call, int status, unsigned expected,
                    struct mako_error *err);

/* Refuse on the core's own account: prefix and text into err (may be NULL). */
__attribute__((format(printf, 4, 5))) int mako_refuse(const mako_store *store,
                                                      struct mako_error *err, int status,
                                                      const char *format, ...);

/* E_INVALID where the store was opened only to be read. */
MAKO_CHECKED int mako_check_writable(const mako_store *store, struct mako_error *err);

/* Non-empty UTF-8 of at most 1024 bytes. */
MAKO_CHECKED int mako_check_stream(const mako_store *store, const char *stream,
                                   struct mako_str *out, struct mako_error *err);

/* Programs built with the first version still come. */
#define MAKO_SAVE_FIRST      MAKO_FIRST_SIZE(mako_save, state_len)
#define MAKO_EXPECT_FIRST    MAKO_FIRST_SIZE(mako_expect, kind)
#define MAKO_SOURCE_FIRST    MAKO_FIRST_SIZE(mako_source, overrides)
#define MAKO_AGGREGATE_FIRST MAKO_FIRST_SIZE(mako_aggregate, read)
/* Copy a struct of the application's, which may be of an older header, but not than the
 * first, or of a newer one: what we do not know of must be zero.  store may be NULL. */
MAKO_CHECKED int mako_take_struct(const mako_store *store, void *ours, size_t size,
                                  size_t first, const void *theirs, const char *name,
                                  struct mako_error *err);

/* The stored metadata, inside a call: MAKO_OK, NOT_FOUND, DAMAGED, FOREIGN, TOO_LARGE
 * (meta zero where not known) or a failure, for mako_call_leave() to make presentable. */
int mako_peek_inside(struct mako_call *call, struct mako_str stream,
                     struct mako_meta *meta);

static inline void mako_count(mako_store *store, enum mako_counter counter,
                              uint64_t amount)
{
    atomic_fetch_add_explicit(&store->counters[counter], amount, memory_order_relaxed);
}

/* In a batch: err, where not NULL, keeps the text of the first status but OK. */
static inline void mako_note_first(struct mako_error *err, const struct mako_error *why,
                                   int status)
{
    if (err && status != MAKO_OK && !err->text[0])
        *err = *why;
}

/* Find a plugin and check its option table. */
MAKO_CHECKED int mako_plugin_get(char *const *dirs, const char *name,
                                 struct mako_plugin **plugin, struct mako_error *err);

/* Convert a store's options; the text of an error begins with file and key path. */
MAKO_CHECKED int mako_plugin_options(const struct mako_plugin *plugin,
                                     const struct mako_store_config *config,
                                     struct mako_options *options,
                                     struct mako_error *err);

const char *mako_threads_name(uint32_t threads);

#endif

/* mako/store_plugin.h - the contract between the core and a store plugin.
 *
 * A plugin is a shared object mako-store-NAME.so that exports one symbol,
 * mako_store_plugin_entry, and needs none from the core: it links against nothing of
 * ours.  This header is all its author needs.
 *
 * Every struct that the host makes begins with struct_size, so that it can grow; structs
 * that stand in arrays are frozen.  Growth is by appending members; MAKO_STORE_ABI
 * changes only when a meaning does.
 *
 * Ownership: what a plugin is given is borrowed for that call, except the host and the
 * option values, which live until close returns.  Nothing allocated on one side is freed
 * on the other.  The descriptor, its strings and its option table are static const.
 *
 * Threads: the core takes the locks that the declared thread model asks for; open and
 * close never overlap another call on that store; calls come from different threads over
 * time.
 *
 * A plugin does not fork, exit, abort, longjmp, throw, or change signals, working
 * directory, umask or locale; its descriptors are CLOEXEC; its threads are joined in
 * close.  Its code stays mapped until the process ends. */
#ifndef MAKO_STORE_PLUGIN_H
#define MAKO_STORE_PLUGIN_H

#include <mako/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MAKO_STORE_ABI 1u /* bumped only when an existing meaning changes */

/* True if the host-made struct behind p is new enough to have the member. */
#define MAKO_HAS(type, p, member) \
    ((p)->struct_size >= offsetof(type, member) + sizeof((p)->member))

/* ---- a record, as a plugin sees it (frozen) ------------------------------- */

/* Keep what is stored, and return MAKO_STALE, where its sequence is strictly
 * higher; equal or lower is replaced.  One atomic decision with the save.  Only
 * asked of plugins that declare MAKO_FEATURE_IF_NEWER. */
#define MAKO_SAVE_IF_NEWER (1u << 0)

/* One snapshot to keep.  Stands in arrays: frozen. */
struct mako_record {
    struct mako_str stream; /* whose it is; 1 to 1024 bytes */
    struct mako_meta meta;  /* to index and to gate by; repeated inside blob */
    uint32_t flags;         /* unknown bits 0-15: MAKO_E_UNSUPPORTED; 16-31: ignore */
    uint32_t reserved;      /* ignore */
    const void *blob;       /* opaque to the plugin */
    size_t blob_len;        /* bytes */
};

/* ---- what the host lends -------------------------------------------------- */

/* How grave a message is. */
enum mako_log_level {
    MAKO_LOG_ERROR, /* something is lost or does not work */
    MAKO_LOG_WARN,  /* somebody should look at it */
    MAKO_LOG_INFO,  /* good to know */
    MAKO_LOG_DEBUG  /* for the plugin's author */
};

/* Who calls.  Valid from open until close returns. */
struct mako_host {
    uint32_t struct_size, abi; /* its own (ask with MAKO_HAS); its MAKO_STORE_ABI */
    void *ctx;                 /* the host's own */
    const char *store_name;    /* as in the configuration */
    uint64_t max_blob;         /* no larger blob will be saved or accepted */
    /* One line; level is enum mako_log_level.  Any thread, also outside a call. */
    void (*log)(const struct mako_host *host, int level, const char *message);
};

/* Where load puts what it finds.  Used on the calling thread, inside the call. */
struct mako_sink {
    uint32_t struct_size, reserved; /* set by the host (ask with MAKO_HAS); 0 */
    /* meta may be NULL when it is not known before the transfer.  Returns room for
     * exactly blob_len bytes, 16-aligned, the host's; or NULL: transfer nothing,
     * return MAKO_REFUSED.  May be called again when a transfer failed or was
     * overtaken by a newer save; the last room counts, earlier room is not touched. */
    void *(*accept)(struct mako_sink *sink, const struct mako_meta *meta,
                    size_t blob_len);
    /* Instead: immutable bytes in place, until the host calls release(cookie), once,
     * from any thread, also during another call on this store, before it closes it.
     * release does not block and does not call the host; NULL: the bytes stay until
     * close.  Nonzero: declined, release is not called; return MAKO_REFUSED.  Never
     * released in a forked child. */
    int (*lend)(struct mako_sink *sink, const struct mako_meta *meta, const void *blob,
                size_t blob_len, void (*release)(void *cookie), void *cookie);
};

/* Where scan puts what it finds. */
struct mako_visitor {
    uint32_t struct_size, reserved; /* set by the host (ask with MAKO_HAS); 0 */
    /* One stream and its record's size.  Nonzero stops the scan, which then returns
     * MAKO_OK.  meta may be NULL.  A plugin holds no lock of its own meanwhile. */
    int (*entry)(struct mako_visitor *visitor, struct mako_str stream,
                 const struct mako_meta *meta, uint64_t blob_len);
};

/* Where stats puts its figures. */
struct mako_counters {
    uint32_t struct_size, reserved; /* set by the host (ask with MAKO_HAS); 0 */
    /* One figure; name is copied, the host puts "plugin." before it. */
    void (*add)(struct mako_counters *counters, const char *name, uint64_t value);
};

/* Who hears how far compact has come. */
struct mako_progress {
    uint32_t struct_size, reserved; /* set by the host (ask with MAKO_HAS); 0 */
    /* done of total, in what unit the plugin likes.  Nonzero asks the plugin to stop
     * early and return MAKO_OK. */
    int (*step)(struct mako_progress *progress, uint64_t done, uint64_t total);
};

/* ---- options: declared by the plugin, checked and converted by the core ---- */

/* What an option's value is, and how it is written. */
enum mako_option_type {
    MAKO_OPT_STRING = 1, /* any text */
    MAKO_OPT_BOOL,       /* true, false; num is 1 or 0 */
    MAKO_OPT_INT,        /* a whole number */
    MAKO_OPT_SIZE,       /* bytes: 65536, "64KiB" */
    MAKO_OPT_DURATION,   /* milliseconds: 1500, "1.5s" */
    MAKO_OPT_PATH        /* a relative one starts at the configuration file's directory */
};
/* In flags: the configuration must give it; it has no fallback. */
#define MAKO_OPT_REQUIRED (1u << 0)
/* In flags: never logged nor printed. */
#define MAKO_OPT_SECRET (1u << 1)

/* One option of a plugin; a table of them ends with a NULL name. */
struct mako_option {
    const char *name;     /* NULL ends the table */
    const char *help;     /* one line for people */
    const char *fallback; /* as written in a file; NULL: absent (strings, paths only) */
    const char *choices;  /* "single|sentinel|cluster", or NULL */
    uint32_t type, flags; /* enum mako_option_type; MAKO_OPT_... */
    int64_t min, max;     /* numbers only (min == max: unbounded) */
};

/* What an option was set to: one a row of the table, in its order. */
union mako_value {
    const char *str; /* STRING, PATH; NULL: absent */
    int64_t num;     /* BOOL, INT, SIZE in bytes, DURATION in milliseconds */
};

/* ---- what a plugin promises ------------------------------------------------ */

/* What a snapshot outlives, once save has returned MAKO_OK. */
enum mako_durability {
    MAKO_DURABLE_NONE,   /* nothing: it is not kept */
    MAKO_DURABLE_MEMORY, /* dies with this process */
    MAKO_DURABLE_CRASH,  /* outlives this process */
    MAKO_DURABLE_POWER   /* outlives a power cut at the storage */
};

/* How the core must call the plugin; the core takes the locks. */
enum mako_threads {
    MAKO_THREADS_PLUGIN,  /* one call at a time into the whole plugin */
    MAKO_THREADS_STORE,   /* one call at a time for each open store */
    MAKO_THREADS_PARALLEL /* any number of calls at once */
};

/* accept and lend get meta before the payload moves */
#define MAKO_FEATURE_EARLY_META (1ull << 0)
/* other processes may use the same store */
#define MAKO_FEATURE_SHARED (1ull << 1)
/* does MAKO_SAVE_IF_NEWER itself */
#define MAKO_FEATURE_IF_NEWER (1ull << 2)

/* In traits->flags: the host will only load, peek and scan.  A flag that a plugin does
 * not know or cannot honour: MAKO_E_UNSUPPORTED. */
#define MAKO_OPEN_READ_ONLY (1u << 0)

/* In: the durability asked for (at most the plugin's own), the plugin's threads and
 * features, flags.  Out: what this store gives; below what was asked, the core
 * closes it again and says so. */
struct mako_traits {
    uint32_t struct_size, flags;  /* set by the host; MAKO_OPEN_... */
    uint32_t durability, threads; /* enum mako_durability; enum mako_threads */
    uint64_t features;            /* MAKO_FEATURE_... */
};

/* What a plugin is: its descriptor, static const.
 *
 * err->text is empty on entry; left empty on a positive status, the host writes the usual
 * sentence.  Statuses: save OK STALE; load OK NOT_FOUND REFUSED DAMAGED; remove OK
 * NOT_FOUND; others OK; and failures: IO UNAVAILABLE NO_SPACE LIMIT NOMEM UNSUPPORTED. */
struct mako_store_plugin {
    uint32_t struct_size, abi;         /* MAKO_STORE_PLUGIN_HEAD sets them */
    uint32_t option_size, reserved;    /* sizeof(struct mako_option); 0 */
    const char *name;                  /* as in mako-store-NAME.so */
    const char *version, *summary;     /* its own, for people */
    uint32_t durability, threads;      /* the most it can give; how it must be called */
    uint64_t features;                 /* MAKO_FEATURE_... */
    const struct mako_option *options; /* NULL: takes none */

    /* Options as declared, converted and checked.  MAKO_OK sets *store (NULL is legal);
     * on anything else nothing is left behind and close is not called. */
    int (*open)(const struct mako_host *host, const union mako_value *options,
                struct mako_traits *traits, void **store, struct mako_error *err);
    /* The last call on a store: release everything, join every thread.  Cannot fail. */
    void (*close)(void *store);
    /* Replaces the stream's record.  MAKO_OK only once it is as durable as open said. */
    int (*save)(void *store, const struct mako_record *record, struct mako_error *err);
    /* Answers through the sink; MAKO_OK after a filled accept or a taken lend. */
    int (*load)(void *store, struct mako_str stream, struct mako_sink *sink,
                struct mako_error *err);
    /* Forget the stream's record, as durably as a save.  NOT_FOUND: there was none. */
    int (*remove)(void *store, struct mako_str stream, struct mako_error *err);

    /* Optional from here on: NULL, or beyond struct_size. */

    /* visitor->entry() for each stream that begins with prefix.  Streams present
     * throughout come at least once, others perhaps; in no order. */
    int (*scan)(void *store, struct mako_str prefix, struct mako_visitor *visitor,
                struct mako_error *err);
    /* Many saves at once.  MAKO_OK: every statuses[i] is set.  Negative: no item's
     * outcome is known.  Items are independent; repeats of one stream apply in order; err
     * tells the first failure. */
    int (*save_many)(void *store, const struct mako_record *records, size_t count,
                     int *statuses, struct mako_error *err);
    /* Many loads at once, each into its own sink; statuses as for save_many. */
    int (*load_many)(void *store, const struct mako_str *streams,
                     struct mako_sink *const *sinks, size_t count, int *statuses,
                     struct mako_error *err);
    /* counters->add() each figure, names like "streams", "bytes", "flushes". */
    int (*stats)(void *store, struct mako_counters *counters, struct mako_error *err);
    /* Give back space, and make removed and replaced snapshots unreadable. */
    int (*compact)(void *store, struct mako_progress *progress, struct mako_error *err);
};

/* The smallest descriptor that a host accepts: all that is required is in it. */
#define MAKO_STORE_PLUGIN_MIN_SIZE offsetof(struct mako_store_plugin, scan)

/* ---- for plugin authors ----------------------------------------------------- */

/* The first line of a descriptor's initializer: the sizes and the ABI it is built for. */
#define MAKO_STORE_PLUGIN_HEAD                                              \
    .struct_size = sizeof(struct mako_store_plugin), .abi = MAKO_STORE_ABI, \
    .option_size = sizeof(struct mako_option)

/* The one symbol that a plugin exports: its descriptor.  Called once, by the host. */
#if defined(__GNUC__)
__attribute__((visibility("default")))
#endif
const struct mako_store_plugin *
mako_store_plugin_entry(void);

/* Define mako_store_plugin_entry() for a descriptor called plugin. */
#define MAKO_EXPORT_STORE_PLUGIN(plugin)                          \
    const struct mako_store_plugin *mako_store_plugin_entry(void) \
    {                                                             \
        return &(plugin);                                         \
    }

#ifdef __cplusplus
}
#endif
#endif

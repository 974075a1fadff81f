/* mako/snapshot.h - snapshots of event streams, kept by a configured backend.
 *
 * An event-sourced program rebuilds an aggregate by replaying its stream of events.  A
 * snapshot is the aggregate's state at one sequence number, so that only later events
 * need replaying.  This header saves and loads snapshots; mako/process.h does the whole
 * job for one aggregate and is where most programs should begin.
 *
 * What this library will not do for you:
 *  - Snapshots are never the source of truth.  Any load may answer "none" (a positive
 *    status), and then the whole stream must be replayed.  Event logs that are cut off
 *    behind a snapshot are not supported.
 *  - The event log is yours: nothing here reads or writes it.
 *  - A store belongs to the process that opened it.  After fork() every call in the
 *    child returns MAKO_E_FORKED; open a store of the child's own.
 *  - Calls block.  The plugin bounds the time of its own calls; nothing is asynchronous.
 *  - Saving does not fence: a save in flight while its stream is removed may land after
 *    the removal.
 *  - Plugins stay mapped until the process ends, whatever is closed.
 *  - Open stores before starting threads where you can: old dynamic loaders have races
 *    between dlopen() and thread creation.
 *
 * Unless said otherwise: every function may be called from any thread; strings are
 * borrowed for the call; err may be NULL; outputs are untouched unless MAKO_OK. */
#ifndef MAKO_SNAPSHOT_H
#define MAKO_SNAPSHOT_H

#include <stdbool.h>

#include <mako/types.h>

/* On every function that the library exports. */
#if defined(MAKO_BUILDING) && defined(__GNUC__)
#define MAKO_API __attribute__((visibility("default")))
#else
#define MAKO_API
#endif

/* On every function whose status must not be dropped: the compiler warns. */
#if defined(__GNUC__)
#define MAKO_CHECKED __attribute__((warn_unused_result))
#else
#define MAKO_CHECKED
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* An open backend.  Reference counted; safe from any thread.  Belongs to the process
 * that opened it. */
typedef struct mako_store mako_store;

/* An immutable snapshot; reference counted; safe from any thread; readable in a forked
 * child too. */
typedef struct mako_snapshot mako_snapshot;

/* What to save.  Set struct_size to sizeof, zero what you do not use. */
struct mako_save {
    uint32_t struct_size, flags; /* sizeof; MAKO_SAVE_FORCE, or 0 */
    uint64_t seq;                /* last event folded into the state; >= 1 */
    uint64_t anchor;             /* yours: a hash of that event's id or bytes; 0: none */
    uint32_t schema;             /* version of the state's layout; >= 1 */
    uint32_t reserved;           /* 0 */
    const char *kind;            /* kind of aggregate, "account"; NULL: none */
    const void *state;           /* opaque bytes; may be NULL when state_len is 0 */
    size_t state_len;            /* bytes; at most the store's max_snapshot */
};
/* In flags: replace even a later one, because the log was rolled back. */
#define MAKO_SAVE_FORCE (1u << 0)

/* What the caller can use.  Set struct_size to sizeof, zero what you do not use. */
struct mako_expect {
    uint32_t struct_size, flags;     /* sizeof; MAKO_EXPECT_HEAD, or 0 */
    uint32_t schema_min, schema_max; /* both 0: the store's configured range */
    uint64_t head;                   /* the stream's last sequence, with ..._HEAD */
    const char *kind;                /* NULL: any */
};
/* In flags: head is given; a snapshot beyond it is MAKO_AHEAD. */
#define MAKO_EXPECT_HEAD (1u << 0)

/* ---- opening -------------------------------------------------------------- */

/* Open the store called name, of the configuration file at path, or of a JSON text
 * (whose relative paths start at the working directory).  name NULL: the only store
 * there is, or the one called "default".  MAKO_OK gives the caller one reference.
 * Errors: E_CONFIG (the file, the plugin or its options), or what the plugin's own
 * open says; the text names the file and the cause. */
MAKO_API MAKO_CHECKED int mako_store_open(const char *path, const char *name,
                                          mako_store **store, struct mako_error *err);
MAKO_API MAKO_CHECKED int mako_store_open_json(const char *json, size_t len,
                                               const char *name, mako_store **store,
                                               struct mako_error *err);

/* Only to load, peek, scan and count; saving, removing and compacting are E_INVALID. With
 * the file plugin the store of a running program can be looked into that way; a plugin
 * that knows no such opening is opened as usual. */
#define MAKO_SOURCE_READ_ONLY (1u << 0)

/* The same with everything that can be said about an opening.  Set struct_size to
 * sizeof; exactly one of path and json. */
struct mako_source {
    uint32_t struct_size, flags;  /* sizeof; MAKO_SOURCE_..., or 0 */
    const char *path;             /* configuration file */
    const char *json;             /* or its text */
    size_t json_len;              /* its bytes */
    const char *name;             /* store; NULL as above */
    const char *const *overrides; /* "KEY=VALUE" plugin options, NULL ends; or NULL */
};
/* Open what source says: mako_store_open() and mako_store_open_json() with flags and
 * overrides besides.  The same statuses; E_INVALID where source is no good. */
MAKO_API MAKO_CHECKED int mako_store_open_source(const struct mako_source *source,
                                                 mako_store **store,
                                                 struct mako_error *err);

/* One more reference; returns store. */
MAKO_API mako_store *mako_store_ref(mako_store *store);
/* Drop one; the last, once no call is in flight, closes the backend.  NULL is fine.
 * In a forked child it only drops memory. */
MAKO_API void mako_store_unref(mako_store *store);

/* ---- snapshots ------------------------------------------------------------ */

/* Save the state of a stream, replacing its previous snapshot.  stream: non-empty
 * UTF-8 of at most 1024 bytes.  MAKO_OK: as durable as the store's class.  MAKO_STALE:
 * a strictly later one is stored and was kept.  E_LIMIT: larger than max_snapshot. */
MAKO_API MAKO_CHECKED int mako_store_save(mako_store *store, const char *stream,
                                          const struct mako_save *save,
                                          struct mako_error *err);

/* Load the most recent snapshot.  MAKO_OK sets *snapshot, one reference for the
 * caller.  Positive: no usable snapshot, and why: replay the whole stream.  Negative:
 * the store failed.  found, where not NULL, gets the metadata of what is there on
 * MAKO_OK, SCHEMA_OLDER, SCHEMA_NEWER, AHEAD and FOREIGN (all zero where an unknown
 * envelope hides it).  E_INVALID where neither expect nor the configuration says which
 * schema versions can be read. */
MAKO_API MAKO_CHECKED int mako_store_load(mako_store *store, const char *stream,
                                          const struct mako_expect *expect,
                                          mako_snapshot **snapshot,
                                          struct mako_meta *found,
                                          struct mako_error *err);

/* One more reference; returns snapshot. */
MAKO_API mako_snapshot *mako_snapshot_ref(mako_snapshot *snapshot);
/* Drop one; NULL is fine. */
MAKO_API void mako_snapshot_unref(mako_snapshot *snapshot);
/* Its sequence, schema and time, as they were saved. */
MAKO_API struct mako_meta mako_snapshot_meta(const mako_snapshot *snapshot);
/* The anchor it was saved with; 0: none. */
MAKO_API uint64_t mako_snapshot_anchor(const mako_snapshot *snapshot);
/* Its bytes, 16-aligned where the backend copied them, valid until the last unref. */
MAKO_API const void *mako_snapshot_state(const mako_snapshot *snapshot, size_t *len);

/* The metadata of whatever is there, ungated, without the state.  MAKO_OK, NOT_FOUND,
 * DAMAGED, FOREIGN, or a failure; TOO_LARGE where the plugin copies and has no
 * EARLY_META: the metadata would come with more bytes than max_snapshot allows. */
MAKO_API MAKO_CHECKED int mako_store_peek(mako_store *store, const char *stream,
                                          struct mako_meta *meta, struct mako_error *err);

/* Remove a stream's snapshot, as durable as a save.  MAKO_NOT_FOUND is success. */
MAKO_API MAKO_CHECKED int mako_store_remove(mako_store *store, const char *stream,
                                            struct mako_error *err);

/* Many at once: one flush or round trip where the plugin has such a thing, a loop
 * where not.  Items are independent; repeats of one stream apply in order.  MAKO_OK:
 * every statuses[i] is set to what the single call would have returned, err tells the
 * first failure, if any.  Negative: no item's outcome is known.  Arrays of pointers, so
 * that the structs can grow. */
MAKO_API MAKO_CHECKED int mako_store_save_many(mako_store *store,
                                               const char *const *streams,
                                               const struct mako_save *const *saves,
                                               size_t count, int *statuses,
                                               struct mako_error *err);
/* snapshots[i] is set where statuses[i] is MAKO_OK and NULL elsewhere; found, where not
 * NULL, as in mako_store_load. */
MAKO_API MAKO_CHECKED int mako_store_load_many(mako_store *store,
                                               const char *const *streams,
                                               const struct mako_expect *const *expects,
                                               size_t count, mako_snapshot **snapshots,
                                               struct mako_meta *found, int *statuses,
                                               struct mako_error *err);

/* ---- the store as a whole ------------------------------------------------- */

/* Call entry for each stream that begins with prefix (NULL: all).  Streams present
 * throughout come at least once; in no order; false stops.  meta has schema 0 where
 * it is not known; size is the envelope's and the state's together, in bytes.
 * E_UNSUPPORTED where the plugin cannot.  entry may use the store only where the plugin
 * is of the parallel thread model; elsewhere such a call returns E_INVALID. */
MAKO_API MAKO_CHECKED int mako_store_scan(mako_store *store, const char *prefix,
                                          bool (*entry)(void *arg, struct mako_str stream,
                                                        const struct mako_meta *meta,
                                                        uint64_t size),
                                          void *arg, struct mako_error *err);

/* Give back space, and make removed and replaced snapshots unreadable.  progress may
 * be NULL; false asks to stop early.  E_UNSUPPORTED where the plugin cannot. */
MAKO_API MAKO_CHECKED int mako_store_compact(mako_store *store,
                                             bool (*progress)(void *arg, uint64_t done,
                                                              uint64_t total),
                                             void *arg, struct mako_error *err);

/* What this store is.  Set struct_size to sizeof first; strings live as long as the
 * store. */
struct mako_info {
    uint32_t struct_size;            /* sizeof(struct mako_info), set by the caller */
    uint32_t schema_min, schema_max; /* configured range (0: none) */
    uint32_t fail_on_load_failure;   /* "on_load_failure": "fail" */
    const char *name;                /* as in the configuration */
    const char *plugin, *plugin_version, *plugin_path; /* who keeps it, and which file */
    const char *durability; /* what it gives: "none" "memory" "crash" "power" */
    const char *threads;    /* "plugin" "store" "parallel" */
    uint64_t features;      /* MAKO_FEATURE_... of mako/store_plugin.h */
    uint64_t snapshot_every, max_snapshot, replay_limit; /* events; bytes; events */
    uint64_t retry_after_ms; /* "retry_after", in milliseconds */
};
/* Fill info, as far as info->struct_size goes.  It cannot fail. */
MAKO_API void mako_store_info(const mako_store *store, struct mako_info *info);

/* Counters since opening, the core's ("saves", "loads_ok", ...), then the plugin's own
 * ("plugin.streams", ...).  Also in the pause after UNAVAILABLE, and never the call that
 * ends it. */
MAKO_API MAKO_CHECKED int mako_store_stats(mako_store *store,
                                           void (*counter)(void *arg, const char *name,
                                                           uint64_t value),
                                           void *arg, struct mako_error *err);

/* ---- policy --------------------------------------------------------------- */

/* interval > 0, event_count > 0 and at least interval events since last_snapshot_at
 * (none where that lies above event_count). */
MAKO_API bool mako_should_take(uint64_t event_count, uint64_t last_snapshot_at,
                               uint64_t interval);
/* The same, with the store's configured "snapshot_every". */
MAKO_API bool mako_store_due(const mako_store *store, uint64_t event_count,
                             uint64_t last_snapshot_at);

/* ---- tools and odds ------------------------------------------------------- */

/* What a plugin is: line() gets dotted keys ("durability", "option.dir.type") and their
 * values, in a fixed order, valid during the call.  plugin: a name, or the absolute path
 * of a file.  path: a configuration file whose plugin_dirs are searched, or NULL. */
MAKO_API MAKO_CHECKED int mako_plugin_describe(const char *path, const char *plugin,
                                               void (*line)(void *arg, const char *key,
                                                            const char *value),
                                               void *arg, struct mako_error *err);

/* Check a whole configuration, every store of it (or source->name alone), without
 * opening any, and report it resolved, defaults filled in, secrets hidden: keys like
 * "stores.orders.options.dir". */
MAKO_API MAKO_CHECKED int mako_config_describe(const struct mako_source *source,
                                               void (*line)(void *arg, const char *key,
                                                            const char *value),
                                               void *arg, struct mako_error *err);

/* "NOT_FOUND", "E_IO" ...; "?" for a number that is none. */
MAKO_API const char *mako_status_name(int status);
/* The library's version, "0.1.0". */
MAKO_API const char *mako_version(void);

/* Where messages go, of all stores; level is enum mako_log_level of
 * mako/store_plugin.h, 0 the gravest.  NULL: warnings and errors to standard error.
 * log may be called from any thread, must not call back into the library.  Set it
 * before opening stores. */
MAKO_API void mako_set_log(void (*log)(void *arg, int level, const char *message),
                           void *arg);

#ifdef __cplusplus
}
#endif
#endif

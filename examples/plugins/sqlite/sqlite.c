/* sqlite - snapshots in a table of a SQLite database, one row a stream.
 *
 * One connection a store, and .threads = STORE: the core lets one call at a time into it,
 * so there is not a lock in here.  SQLite has one writer at a time anyway; who needs
 * loads in parallel opens a store for each thread, which .features = SHARED allows.
 *
 * This file is the plugin as the host sees it.  The statements, and what they return, are
 * the business of table.c. */
#include <mako/store_plugin.h>

#include <string.h>

#include "table.h"

enum {
    OPTION_FILE,
    OPTION_BUSY_TIMEOUT
};

static const struct mako_option options[] = {
    [OPTION_FILE] = {.name = "file",
                     .help = "the database; made where it is not there, its directory is "
                             "not",
                     .type = MAKO_OPT_PATH,
                     .flags = MAKO_OPT_REQUIRED},
    [OPTION_BUSY_TIMEOUT] = {.name = "busy_timeout",
                             .help = "how long a call waits for other writers",
                             .fallback = "5s",
                             .type = MAKO_OPT_DURATION,
                             .min = 0,
                             .max = 600000},
    {.name = NULL},
};

static int sqlite_open(const struct mako_host *host, const union mako_value *values,
                       struct mako_traits *traits, void **store, struct mako_error *err)
{
    struct table_setup setup = {.file = values[OPTION_FILE].str,
                                .busy_ms = (int)values[OPTION_BUSY_TIMEOUT].num,
                                .read_only = (traits->flags & MAKO_OPEN_READ_ONLY) != 0,
                                .power = traits->durability >= MAKO_DURABLE_POWER};
    struct table *table;
    int status;

    (void)host;
    if (traits->flags & ~MAKO_OPEN_READ_ONLY)
        return mako_fail(err, MAKO_E_UNSUPPORTED, "%s: unknown open flags 0x%x",
                         setup.file, (unsigned)traits->flags);
    status = table_open(&setup, &table, err);
    if (status != MAKO_OK)
        return status;
    traits->durability = setup.power ? MAKO_DURABLE_POWER : MAKO_DURABLE_CRASH;
    *store = table;
    return MAKO_OK;
}

static void sqlite_close(void *store)
{
    table_close(store);
}

/* A flag that is not known may mean anything; the upper half are hints. */
static int check_flags(const struct mako_record *record, struct mako_error *err)
{
    if (record->flags & 0xffffu & ~MAKO_SAVE_IF_NEWER)
        return mako_fail(err, MAKO_E_UNSUPPORTED, "unknown record flags 0x%x",
                         (unsigned)record->flags);
    return MAKO_OK;
}

/* A single statement is a transaction of its own. */
static int sqlite_save(void *store, const struct mako_record *record,
                       struct mako_error *err)
{
    int status = check_flags(record, err);

    return status == MAKO_OK ? table_save(store, record, err) : status;
}

/* What concerns one record only; anything else ends the transaction they share. */
static bool is_of_item(int status)
{
    return status == MAKO_OK || status == MAKO_STALE || status == MAKO_E_UNSUPPORTED ||
           status == MAKO_E_LIMIT;
}

static int save_all(struct table *table, const struct mako_record *records, size_t count,
                    int *statuses, struct mako_error *err)
{
    /* cppcheck-suppress unusedVariable ; other is where first points later */
    struct mako_error other, *first = err;

    for (size_t i = 0; i < count; i++) {
        statuses[i] = sqlite_save(table, &records[i], first);
        if (!is_of_item(statuses[i])) {
            *err = *first;
            return statuses[i];
        }
        if (statuses[i] < MAKO_OK)
            first = &other; /* err tells the first failure */
    }
    return MAKO_OK;
}

/* One transaction, and one flush. */
static int sqlite_save_many(void *store, const struct mako_record *records, size_t count,
                            int *statuses, struct mako_error *err)
{
    int status = table_begin(store, err);

    if (status != MAKO_OK)
        return status;
    status = save_all(store, records, count, statuses, err);
    if (status == MAKO_OK)
        status = table_commit(store, err);
    if (status != MAKO_OK)
        table_roll_back(store);
    return status;
}

/* The sink decides before a byte of the record is read. */
static int sqlite_load(void *store, struct mako_str stream, struct mako_sink *sink,
                       struct mako_error *err)
{
    struct table_row row;
    int status = table_find(store, stream, &row, err);
    void *room;

    if (status == MAKO_OK) {
        room = sink->accept(sink, &row.meta, row.len);
        status = room ? table_read(store, &row, room, err) : MAKO_REFUSED;
    }
    table_found(store);
    return status;
}

static int sqlite_remove(void *store, struct mako_str stream, struct mako_error *err)
{
    return table_remove(store, stream, err);
}

/* One query a step, so that none is open while the visitor takes its time. */
static int sqlite_scan(void *store, struct mako_str prefix, struct mako_visitor *visitor,
                       struct mako_error *err)
{
    struct table_walk walk;
    struct mako_str stream = {.ptr = walk.stream};
    int status;

    table_walk_from(prefix, &walk);
    for (;;) {
        status = table_walk(store, &walk, err);
        stream.len = walk.len;
        if (status != MAKO_OK || stream.len < prefix.len ||
            memcmp(walk.stream, prefix.ptr, prefix.len) != 0 ||
            visitor->entry(visitor, stream, &walk.row.meta, walk.row.len) != 0)
            return status == MAKO_NOT_FOUND ? MAKO_OK : status;
    }
}

static int sqlite_stats(void *store, struct mako_counters *counters,
                        struct mako_error *err)
{
    struct table_figures figures;
    int status = table_stat(store, &figures, err);

    if (status != MAKO_OK)
        return status;
    counters->add(counters, "streams", (uint64_t)figures.streams);
    counters->add(counters, "bytes", (uint64_t)figures.bytes);
    counters->add(counters, "bytes_free", (uint64_t)figures.bytes_free);
    return MAKO_OK;
}

static int sqlite_compact(void *store, struct mako_progress *progress,
                          struct mako_error *err)
{
    return table_compact(store, progress, err);
}

static const struct mako_store_plugin sqlite = {
    MAKO_STORE_PLUGIN_HEAD,
    .name = "sqlite",
    .version = "1",
    .summary = "a table of a SQLite database",
    .durability = MAKO_DURABLE_POWER,
    .threads = MAKO_THREADS_STORE,
    .features = MAKO_FEATURE_EARLY_META | MAKO_FEATURE_SHARED | MAKO_FEATURE_IF_NEWER,
    .options = options,
    .open = sqlite_open,
    .close = sqlite_close,
    .save = sqlite_save,
    .load = sqlite_load,
    .remove = sqlite_remove,
    .scan = sqlite_scan,
    .save_many = sqlite_save_many,
    .stats = sqlite_stats,
    .compact = sqlite_compact,
};

MAKO_EXPORT_STORE_PLUGIN(sqlite)

/* log.c - the event log in SQLite; see log.h. */
#include "log.h"

/* A busy log is waited for this long; writers of one file take turns. */
#define BUSY_MS 20000

static const char SETUP[] = "PRAGMA journal_mode = WAL;"
                            "PRAGMA secure_delete = ON;"
                            "CREATE TABLE IF NOT EXISTS event ("
                            " account TEXT, seq INTEGER, id INTEGER NOT NULL,"
                            " cents INTEGER NOT NULL, owner TEXT,"
                            " PRIMARY KEY (account, seq)) WITHOUT ROWID";

static const char READ[] = "SELECT seq, id, cents, owner FROM event"
                           " WHERE account = ?1 AND seq >= ?2 ORDER BY seq";

static const char APPEND[] = "INSERT INTO event SELECT ?1, ?2, ?3, ?4, ?5 WHERE ?2 = 1 +"
                             " (SELECT coalesce(max(seq), 0) FROM event"
                             "  WHERE account = ?1)";

static const char ERASE[] = "DELETE FROM event WHERE account = ?1";

static const char FILL[] = "WITH RECURSIVE n(i) AS"
                           " (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2)"
                           " INSERT INTO event SELECT ?1, head + i, random() | 1,"
                           "  iif(i % 10, 1 + abs(random() % 10000), -1), NULL"
                           " FROM n, (SELECT max(seq) AS head FROM event"
                           "  WHERE account = ?1) WHERE head > 0";

static int fail(struct log *log, struct mako_error *err)
{
    return mako_fail(err, MAKO_E_CALLBACK, "event log: %s", sqlite3_errmsg(log->db));
}

/* Where several begin a new log at once, all but one are told that it is busy, whatever
 * the timeout says: SQLite does not wait while it turns to write-ahead logging. */
static bool set_up(struct log *log)
{
    int rc, waited = 0;

    while ((rc = sqlite3_exec(log->db, SETUP, NULL, NULL, NULL)) == SQLITE_BUSY &&
           waited < BUSY_MS)
        waited += sqlite3_sleep(10);
    return rc == SQLITE_OK;
}

int log_open(struct log *log, const char *path, struct mako_error *err)
{
    if (sqlite3_open(path, &log->db) != SQLITE_OK)
        return fail(log, err);

    (void)sqlite3_busy_timeout(log->db, BUSY_MS);
    if (!set_up(log) ||
        sqlite3_prepare_v2(log->db, READ, -1, &log->read, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(log->db, APPEND, -1, &log->append, NULL) != SQLITE_OK)
        return fail(log, err);

    return MAKO_OK;
}

void log_close(struct log *log)
{
    (void)sqlite3_finalize(log->read);
    (void)sqlite3_finalize(log->append);
    (void)sqlite3_close(log->db);
}

struct entry log_entry(const char *owner, sqlite3_int64 cents)
{
    struct entry entry = {.cents = cents, .owner = owner};

    sqlite3_randomness(sizeof entry.id, &entry.id);
    entry.id |= 1; /* an anchor of 0 would mean "not checked" */
    return entry;
}

struct mako_event log_event(uint64_t seq, const struct entry *entry)
{
    return (struct mako_event){seq, (uint64_t)entry->id, entry};
}

static bool bind(sqlite3_stmt *stmt, const char *account, sqlite3_int64 number)
{
    return sqlite3_bind_text(stmt, 1, account, -1, SQLITE_TRANSIENT) == SQLITE_OK &&
           sqlite3_bind_int64(stmt, 2, number) == SQLITE_OK;
}

int log_append(struct log *log, const char *account, uint64_t seq,
               const struct entry *entry, bool *lost, struct mako_error *err)
{
    bool done = bind(log->append, account, (sqlite3_int64)seq) &&
                sqlite3_bind_int64(log->append, 3, entry->id) == SQLITE_OK &&
                sqlite3_bind_int64(log->append, 4, entry->cents) == SQLITE_OK &&
                sqlite3_bind_text(log->append, 5, entry->owner, -1, SQLITE_TRANSIENT) ==
                    SQLITE_OK &&
                sqlite3_step(log->append) == SQLITE_DONE;
    int status = done ? MAKO_OK : fail(log, err);

    (void)sqlite3_reset(log->append);
    if (status == MAKO_OK)
        *lost = sqlite3_changes(log->db) == 0;
    return status;
}

int log_read(void *app, const char *account, uint64_t from, mako_feed *feed,
             struct mako_error *err)
{
    struct log *log = app;
    sqlite3_stmt *read = log->read;
    int rc = SQLITE_ERROR, status = MAKO_OK;

    if (bind(read, account, (sqlite3_int64)from))
        rc = sqlite3_step(read);
    while (rc == SQLITE_ROW && status == MAKO_OK) {
        struct entry entry = {sqlite3_column_int64(read, 1),
                              sqlite3_column_int64(read, 2),
                              (const char *)sqlite3_column_text(read, 3)};
        struct mako_event event =
            log_event((uint64_t)sqlite3_column_int64(read, 0), &entry);

        status = mako_feed_event(feed, &event);
        if (status == MAKO_OK)
            rc = sqlite3_step(read);
    }
    if (status == MAKO_OK && rc != SQLITE_DONE)
        status = fail(log, err);
    (void)sqlite3_reset(read);
    return status;
}

/* One statement over an account and a number. */
static int change(struct log *log, const char *sql, const char *account,
                  sqlite3_int64 number, struct mako_error *err)
{
    sqlite3_stmt *stmt = NULL;
    bool done = sqlite3_prepare_v2(log->db, sql, -1, &stmt, NULL) == SQLITE_OK &&
                sqlite3_bind_text(stmt, 1, account, -1, SQLITE_TRANSIENT) == SQLITE_OK &&
                (sqlite3_bind_parameter_count(stmt) < 2 ||
                 sqlite3_bind_int64(stmt, 2, number) == SQLITE_OK) &&
                sqlite3_step(stmt) == SQLITE_DONE;
    int status = done ? MAKO_OK : fail(log, err);

    (void)sqlite3_finalize(stmt);
    return status;
}

/* The deleted rows are overwritten in the table (secure_delete); what the write-ahead
 * log still has of them goes when it is emptied. */
int log_erase(struct log *log, const char *account, struct mako_error *err)
{
    int status = change(log, ERASE, account, 0, err);

    if (status == MAKO_OK &&
        sqlite3_wal_checkpoint_v2(log->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL,
                                  NULL) != SQLITE_OK)
        status = fail(log, err);
    return status;
}

int log_fill(struct log *log, const char *account, sqlite3_int64 count,
             struct mako_error *err)
{
    return change(log, FILL, account, count, err);
}

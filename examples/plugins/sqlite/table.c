/* table.c - see table.h.  All that knows of SQLite stands here. */
#include "table.h"

#include "family.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#define LAYOUT   1 /* of the table, as PRAGMA user_version */
#define RETRY_MS 5

enum statement {
    SAVE,
    FIND,
    REMOVE,
    WALK,
    BEGIN,
    COMMIT,
    COUNT,
    STATEMENTS
};

struct table {
    sqlite3 *db;
    const char *file;
    bool read_only;
    struct family_member member;
    sqlite3_stmt *statements[STATEMENTS];
};

/* SQLite's integers are signed, sequences are not: of two with different signs the
 * negative one is the larger.  The row is changed in its place, or not at all. */
static const char *const sql[STATEMENTS] = {
    [SAVE] = "INSERT INTO snapshot (stream, seq, schema, created_ms, record)"
             " VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (stream) DO UPDATE SET"
             " seq = ?2, schema = ?3, created_ms = ?4, record = ?5"
             " WHERE ?6 OR CASE WHEN (seq < 0) = (?2 < 0) THEN seq <= ?2 ELSE ?2 < 0 END",
    [FIND] = "SELECT rowid, seq, schema, created_ms, length(record) FROM snapshot"
             " WHERE stream = ?1",
    [REMOVE] = "DELETE FROM snapshot WHERE stream = ?1",
    [WALK] = "SELECT rowid, seq, schema, created_ms, length(record), stream FROM snapshot"
             " WHERE stream >= ?1 ORDER BY stream LIMIT 1",
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [COUNT] = "SELECT count(*) FROM snapshot",
};

/* ---- failures --------------------------------------------------------------------- */

/* A corrupt database is IO and not MAKO_DAMAGED: saving again does not mend it. */
static int status_of(int code)
{
    switch (code) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL: /* others came first, time and again */
        return MAKO_E_UNAVAILABLE;
    case SQLITE_FULL:
        return MAKO_E_NO_SPACE;
    case SQLITE_TOOBIG:
        return MAKO_E_LIMIT;
    case SQLITE_NOMEM:
        return MAKO_E_NOMEM;
    default:
        return MAKO_E_IO;
    }
}

/* Of files, SQLite only says that it failed; the system says why. */
static int file_fail(const struct table *table, int error, struct mako_error *err)
{
    int status = error == ENOSPC || error == EDQUOT ? MAKO_E_NO_SPACE : MAKO_E_IO;

    return mako_fail(err, status, "%s: %s: %s", table->file, sqlite3_errmsg(table->db),
                     strerror(error));
}

static int fail(const struct table *table, struct mako_error *err)
{
    int code = sqlite3_errcode(table->db), error = sqlite3_system_errno(table->db);

    if ((code == SQLITE_CANTOPEN || code == SQLITE_IOERR) && error != 0)
        return file_fail(table, error, err);
    return mako_fail(err, status_of(code), "%s: %s", table->file,
                     sqlite3_errmsg(table->db));
}

static int check_writable(const struct table *table, struct mako_error *err)
{
    if (!table->read_only)
        return MAKO_OK;
    return mako_fail(err, MAKO_E_UNSUPPORTED, "%s: is open for reading only",
                     table->file);
}

/* ---- running statements ----------------------------------------------------------- */

/* What is bound is the host's, and may be gone when the call is over. */
static void done_with(const struct table *table, enum statement which)
{
    (void)sqlite3_reset(table->statements[which]);
    (void)sqlite3_clear_bindings(table->statements[which]);
}

/* One that gives no row. */
static int run(const struct table *table, enum statement which, struct mako_error *err)
{
    int status = MAKO_OK;

    if (sqlite3_step(table->statements[which]) != SQLITE_DONE)
        status = fail(table, err);
    done_with(table, which);
    return status;
}

static int execute(const struct table *table, const char *text, struct mako_error *err)
{
    if (sqlite3_exec(table->db, text, NULL, NULL, NULL) != SQLITE_OK)
        return fail(table, err);
    return MAKO_OK;
}

static int bind_stream(const struct table *table, enum statement which,
                       struct mako_str stream, struct mako_error *err)
{
    if (sqlite3_bind_text64(table->statements[which], 1, stream.ptr, stream.len,
                            SQLITE_STATIC, SQLITE_UTF8) != SQLITE_OK)
        return fail(table, err);
    return MAKO_OK;
}

/* The value of a statement with one row of one number. */
static int number(const struct table *table, const char *text, int64_t *value,
                  struct mako_error *err)
{
    sqlite3_stmt *statement = NULL;
    int status = MAKO_OK;

    if (sqlite3_prepare_v2(table->db, text, -1, &statement, NULL) != SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_ROW)
        status = fail(table, err);
    else
        *value = sqlite3_column_int64(statement, 0);
    (void)sqlite3_finalize(statement);
    return status;
}

/* ---- opening ---------------------------------------------------------------------- */

void table_close(struct table *table)
{
    for (int i = 0; i < STATEMENTS; i++)
        (void)sqlite3_finalize(table->statements[i]);
    if (table->db)
        (void)sqlite3_close(table->db);
    family_leave(&table->member);
    free(table);
}

/* An empty file is an empty database.  SQLite would let everybody read it; what it puts
 * beside it later has the same mode. */
static void make_file(const char *file)
{
    int fd = open(file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd >= 0)
        (void)close(fd); /* of one that was there, this would drop SQLite's locks */
}

/* NOMUTEX: the core lets in one call at a time. */
static int open_database(struct table *table, const struct table_setup *setup,
                         struct mako_error *err)
{
    int flags = setup->read_only ? SQLITE_OPEN_READONLY
                                 : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;

    flags |= SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE;
    if (sqlite3_open_v2(setup->file, &table->db, flags, NULL) != SQLITE_OK) {
        if (table->db)
            return fail(table, err);
        return mako_fail(err, MAKO_E_NOMEM, "%s: no memory", setup->file);
    }
    (void)sqlite3_busy_timeout(table->db, setup->busy_ms);
    return MAKO_OK;
}

/* Where the log cannot be had SQLite says so by naming another mode, and goes on. */
static int try_log(const struct table *table, struct mako_error *err)
{
    sqlite3_stmt *statement = NULL;
    int status = MAKO_OK;

    if (sqlite3_prepare_v2(table->db, "PRAGMA journal_mode = WAL", -1, &statement,
                           NULL) != SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_ROW)
        status = fail(table, err);
    else if (strcmp((const char *)sqlite3_column_text(statement, 0), "wal") != 0)
        status = mako_fail(err, MAKO_E_IO, "%s: cannot have a write-ahead log here",
                           table->file);
    (void)sqlite3_finalize(statement);
    return status;
}

/* SQLite gives a log to a new database only where nobody else is at it, and does not wait
 * for that by itself. */
static int use_log(const struct table *table, int busy_ms, struct mako_error *err)
{
    int status = try_log(table, err);

    for (int waited = 0; status == MAKO_E_UNAVAILABLE && waited < busy_ms;
         waited += RETRY_MS) {
        (void)sqlite3_sleep(RETRY_MS);
        status = try_log(table, err);
    }
    return status;
}

/* FULL flushes the log at each commit; NORMAL only before it is copied into the database,
 * so that a power cut may undo commits, but never damages anything.  secure_delete: bytes
 * that are freed are overwritten, so that no old snapshot is left in a page. */
static int set_up(const struct table *table, const struct table_setup *setup,
                  struct mako_error *err)
{
    int status = execute(
        table, setup->power ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL",
        err);

    if (status == MAKO_OK)
        status = execute(table, "PRAGMA secure_delete = ON", err);
    if (status == MAKO_OK)
        status = use_log(table, setup->busy_ms, err);
    return status;
}

static int make_table(struct table *table, struct mako_error *err)
{
    int64_t layout = 0;
    int status = execute(table, "BEGIN IMMEDIATE", err);

    if (status == MAKO_OK)
        status = number(table, "PRAGMA user_version", &layout, err);
    if (status == MAKO_OK && layout == 0)
        status = execute(table,
                         "CREATE TABLE snapshot (stream TEXT UNIQUE, seq INTEGER,"
                         " schema INTEGER, created_ms INTEGER, record BLOB);"
                         " PRAGMA user_version = 1",
                         err);
    if (status == MAKO_OK)
        status = execute(table, "COMMIT", err);
    if (status != MAKO_OK)
        table_roll_back(table);
    return status;
}

/* Looking first lets an opening pass that finds all in order, while another process
 * writes. */
static int check_layout(struct table *table, struct mako_error *err)
{
    int64_t layout = 0;
    int status = number(table, "PRAGMA user_version", &layout, err);

    if (status == MAKO_OK && layout == 0 && !table->read_only) {
        status = make_table(table, err);
        layout = LAYOUT;
    }
    if (status != MAKO_OK || layout == LAYOUT)
        return status;
    return mako_fail(err, MAKO_E_UNSUPPORTED, "%s: has layout %lld, this is layout %d",
                     table->file, (long long)layout, LAYOUT);
}

static int prepare(struct table *table, struct mako_error *err)
{
    for (int i = 0; i < STATEMENTS; i++)
        if (sqlite3_prepare_v3(table->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &table->statements[i], NULL) != SQLITE_OK)
            return fail(table, err);
    return MAKO_OK;
}

int table_open(const struct table_setup *setup, struct table **out,
               struct mako_error *err)
{
    struct table *table = calloc(1, sizeof *table);
    int status;

    if (!table)
        return mako_fail(err, MAKO_E_NOMEM, "%s: no memory", setup->file);
    table->file = setup->file;
    table->read_only = setup->read_only;
    if (!setup->read_only)
        make_file(setup->file);
    status = family_join(setup->file, &table->member, err);
    if (status == MAKO_OK)
        status = open_database(table, setup, err);
    if (status == MAKO_OK && !setup->read_only)
        status = set_up(table, setup, err);
    if (status == MAKO_OK)
        status = check_layout(table, err);
    if (status == MAKO_OK)
        status = prepare(table, err);
    if (status != MAKO_OK) {
        table_close(table);
        return status;
    }
    *out = table;
    return MAKO_OK;
}

/* ---- changing --------------------------------------------------------------------- */

static int bind_record(const struct table *table, const struct mako_record *record,
                       struct mako_error *err)
{
    sqlite3_stmt *save = table->statements[SAVE];
    int status = bind_stream(table, SAVE, record->stream, err);

    if (status != MAKO_OK)
        return status;
    if (sqlite3_bind_int64(save, 2, (sqlite3_int64)record->meta.seq) != SQLITE_OK ||
        sqlite3_bind_int64(save, 3, record->meta.schema) != SQLITE_OK ||
        sqlite3_bind_int64(save, 4, record->meta.created_ms) != SQLITE_OK ||
        sqlite3_bind_blob64(save, 5, record->blob, record->blob_len, SQLITE_STATIC) !=
            SQLITE_OK ||
        sqlite3_bind_int(save, 6, !(record->flags & MAKO_SAVE_IF_NEWER)) != SQLITE_OK)
        return fail(table, err);
    return MAKO_OK;
}

int table_save(struct table *table, const struct mako_record *record,
               struct mako_error *err)
{
    int status = check_writable(table, err);

    if (status == MAKO_OK)
        status = bind_record(table, record, err);
    if (status == MAKO_OK)
        status = run(table, SAVE, err);
    else
        done_with(table, SAVE);
    if (status == MAKO_OK && sqlite3_changes(table->db) == 0)
        return MAKO_STALE;
    return status;
}

int table_remove(struct table *table, struct mako_str stream, struct mako_error *err)
{
    int status = check_writable(table, err);

    if (status == MAKO_OK)
        status = bind_stream(table, REMOVE, stream, err);
    if (status == MAKO_OK)
        status = run(table, REMOVE, err);
    if (status == MAKO_OK && sqlite3_changes(table->db) == 0)
        return MAKO_NOT_FOUND;
    return status;
}

/* IMMEDIATE: waits for other writers now, where waiting is possible. */
int table_begin(struct table *table, struct mako_error *err)
{
    int status = check_writable(table, err);

    return status == MAKO_OK ? run(table, BEGIN, err) : status;
}

int table_commit(struct table *table, struct mako_error *err)
{
    return run(table, COMMIT, err);
}

/* Some failures have done so already. */
void table_roll_back(struct table *table)
{
    if (!sqlite3_get_autocommit(table->db))
        (void)sqlite3_exec(table->db, "ROLLBACK", NULL, NULL, NULL);
}

/* ---- looking ---------------------------------------------------------------------- */

static struct table_row row_of(sqlite3_stmt *statement)
{
    return (struct table_row){
        .rowid = sqlite3_column_int64(statement, 0),
        .meta = {.seq = (uint64_t)sqlite3_column_int64(statement, 1),
                 .schema = (uint32_t)sqlite3_column_int64(statement, 2),
                 .created_ms = sqlite3_column_int64(statement, 3)},
        .len = (size_t)sqlite3_column_int64(statement, 4)};
}

/* SQLite finds the length of a blob without reading it.  The statement stays where it is:
 * as long as it does, the connection sees this moment of the database. */
int table_find(struct table *table, struct mako_str stream, struct table_row *row,
               struct mako_error *err)
{
    int code, status = bind_stream(table, FIND, stream, err);

    if (status != MAKO_OK)
        return status;
    code = sqlite3_step(table->statements[FIND]);
    if (code == SQLITE_DONE)
        return MAKO_NOT_FOUND;
    if (code != SQLITE_ROW)
        return fail(table, err);
    *row = row_of(table->statements[FIND]);
    return MAKO_OK;
}

void table_found(struct table *table)
{
    done_with(table, FIND);
}

/* From the pages into the room: a column would be one more copy.  SQLITE_ERROR is of this
 * row alone, its record is no blob of that length: the next save replaces it. */
int table_read(struct table *table, const struct table_row *row, void *room,
               struct mako_error *err)
{
    sqlite3_blob *blob = NULL;
    int status = MAKO_OK, code = sqlite3_blob_open(table->db, "main", "snapshot",
                                                   "record", row->rowid, 0, &blob);

    if (code == SQLITE_OK)
        code = sqlite3_blob_read(blob, room, (int)row->len, 0);
    if (code == SQLITE_ERROR)
        status = mako_fail(err, MAKO_DAMAGED, "%s: the record is not a blob of %zu bytes",
                           table->file, row->len);
    else if (code != SQLITE_OK)
        status = fail(table, err);
    (void)sqlite3_blob_close(blob);
    return status;
}

void table_walk_from(struct mako_str start, struct table_walk *walk)
{
    memcpy(walk->stream, start.ptr, start.len);
    walk->at = start.len;
}

/* The smallest string behind a stream is that stream and a NUL. */
static int take_step(sqlite3_stmt *statement, struct table_walk *walk)
{
    const void *stream = sqlite3_column_text(statement, 5);
    size_t len = (size_t)sqlite3_column_bytes(statement, 5);

    if (!stream || len > 1024)
        return MAKO_E_IO;
    memcpy(walk->stream, stream, len);
    walk->stream[len] = '\0';
    walk->len = len;
    walk->at = len + 1;
    walk->row = row_of(statement);
    return MAKO_OK;
}

int table_walk(struct table *table, struct table_walk *walk, struct mako_error *err)
{
    struct mako_str from = {.ptr = walk->stream, .len = walk->at};
    int code, status = bind_stream(table, WALK, from, err);

    if (status != MAKO_OK)
        return status;
    walk->len = 0;
    code = sqlite3_step(table->statements[WALK]);
    if (code == SQLITE_DONE)
        status = MAKO_NOT_FOUND;
    else if (code != SQLITE_ROW)
        status = fail(table, err);
    else if (take_step(table->statements[WALK], walk) != MAKO_OK)
        status = mako_fail(err, MAKO_E_IO, "%s: a row without a stream", table->file);
    done_with(table, WALK);
    return status;
}

int table_stat(struct table *table, struct table_figures *figures, struct mako_error *err)
{
    int64_t page = 0, pages = 0, unused = 0, streams = 0;
    int status = number(table, sql[COUNT], &streams, err);

    if (status == MAKO_OK)
        status = number(table, "PRAGMA page_size", &page, err);
    if (status == MAKO_OK)
        status = number(table, "PRAGMA page_count", &pages, err);
    if (status == MAKO_OK)
        status = number(table, "PRAGMA freelist_count", &unused, err);
    if (status == MAKO_OK)
        *figures = (struct table_figures){
            .streams = streams, .bytes = pages * page, .bytes_free = unused * page};
    return status;
}

/* ---- compacting ------------------------------------------------------------------- */

struct compaction {
    struct mako_progress *progress;
    bool stopped;
};

/* SQLite asks now and then; how far it is nobody knows. */
static int ask(void *arg)
{
    struct compaction *compaction = arg;

    compaction->stopped = compaction->progress->step(compaction->progress, 0, 2) != 0;
    return compaction->stopped;
}

static int vacuum(const struct table *table, struct compaction *compaction,
                  struct mako_error *err)
{
    int status;

    sqlite3_progress_handler(table->db, 10000, ask, compaction);
    status = execute(table, "VACUUM", err);
    sqlite3_progress_handler(table->db, 0, NULL, NULL);
    if (!compaction->stopped)
        return status;
    err->text[0] = '\0'; /* "interrupted" is what was asked for */
    return MAKO_OK;
}

/* The log still has what was replaced, until it is copied and cut off.  A reader who
 * looks at an older moment holds that up. */
static int empty_log(const struct table *table, struct mako_error *err)
{
    if (sqlite3_wal_checkpoint_v2(table->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL,
                                  NULL) != SQLITE_OK)
        return fail(table, err);
    return MAKO_OK;
}

int table_compact(struct table *table, struct mako_progress *progress,
                  struct mako_error *err)
{
    struct compaction compaction = {.progress = progress};
    int status = check_writable(table, err);

    if (status != MAKO_OK || progress->step(progress, 0, 2) != 0)
        return status;
    status = vacuum(table, &compaction, err);
    if (status != MAKO_OK || compaction.stopped || progress->step(progress, 1, 2) != 0)
        return status;
    status = empty_log(table, err);
    if (status == MAKO_OK)
        (void)progress->step(progress, 2, 2);
    return status;
}

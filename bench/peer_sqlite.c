/* bench/peer_sqlite.c - SQLite.  What is set, and why; pages are of www.sqlite.org:
 *
 *  - journal_mode=WAL: wal.html, "significantly faster in most scenarios", and readers do
 *    not wait for the writer;
 *  - durable: synchronous=FULL, which in this mode flushes the log at each commit
 *    (pragma.html).  Else synchronous=NORMAL, which flushes at checkpoints only: a power
 *    cut may cost commits, never the database, which is what the file store promises
 *    there.  OFF would let the database be damaged;
 *  - wal_autocheckpoint of 64 MiB instead of 4: wal.html, to maximize write performance
 *    one lets the log "grow as large as possible before each checkpoint"; it is emptied
 *    before loads are timed, which wal.html says for reading;
 *  - a rowid table with a unique index on the id: withoutrowid.html, rows of more than a
 *    20th of a page are no good in a WITHOUT ROWID table;
 *  - page_size 16384 for states of 16 KiB and more: intern-v-extern-blob.html;
 *  - a connection a thread, SQLITE_OPEN_NOMUTEX: threadsafe.html;
 *  - prepared statements; an upsert, which changes the row in its place, where REPLACE
 *    would delete it and insert another (lang_UPSERT.html);
 *  - mmap_size as large as it goes: mmap.html, reading copies less;
 *  - saving threads queue at a mutex of the program: a busy handler sleeps for up to
 *    0.1 s where only microseconds are needed.  The handler is set besides. */
#include "peer.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct connection {
    sqlite3 *db;
    sqlite3_stmt *save, *load, *begin, *commit;
};

struct sqlite_peer {
    size_t len, threads;
    pthread_mutex_t writer;
    struct connection *connections; /* one a thread */
};

static int fail(sqlite3 *db, const char *what, struct mako_error *err)
{
    return mako_fail(err, MAKO_E_IO, "sqlite: %s: %s", what,
                     db ? sqlite3_errmsg(db) : "no memory");
}

static void close_sqlite(void *self)
{
    struct sqlite_peer *peer = self;

    for (size_t i = 0; peer->connections && i < peer->threads; i++) {
        struct connection *connection = &peer->connections[i];

        (void)sqlite3_finalize(connection->save);
        (void)sqlite3_finalize(connection->load);
        (void)sqlite3_finalize(connection->begin);
        (void)sqlite3_finalize(connection->commit);
        (void)sqlite3_close(connection->db);
    }
    free(peer->connections);
    (void)pthread_mutex_destroy(&peer->writer);
    free(peer);
}

/* Order matters: the page size must come before the journal mode makes the file. */
static int configure(struct connection *connection, const struct bench_peer_use *use,
                     struct mako_error *err)
{
    unsigned page = use->len < 16384 ? 4096 : 16384;
    char text[512];

    (void)snprintf(
        text, sizeof text,
        "PRAGMA page_size=%u; PRAGMA journal_mode=WAL; PRAGMA synchronous=%s;"
        "PRAGMA wal_autocheckpoint=%u; PRAGMA mmap_size=2147418112;"
        "CREATE TABLE IF NOT EXISTS snapshot(id TEXT PRIMARY KEY, state BLOB);",
        page, use->durable ? "FULL" : "NORMAL", (64u << 20) / page);
    (void)sqlite3_busy_timeout(connection->db, 60000);
    if (sqlite3_exec(connection->db, text, NULL, NULL, NULL) != SQLITE_OK)
        return fail(connection->db, "configure", err);
    return MAKO_OK;
}

static int prepare(sqlite3 *db, const char *text, sqlite3_stmt **statement,
                   struct mako_error *err)
{
    if (sqlite3_prepare_v3(db, text, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL) !=
        SQLITE_OK)
        return fail(db, text, err);
    return MAKO_OK;
}

static int prepare_all(struct connection *connection, struct mako_error *err)
{
    sqlite3 *db = connection->db;
    int status = prepare(db, "BEGIN IMMEDIATE", &connection->begin, err);

    if (status == MAKO_OK)
        status = prepare(db, "COMMIT", &connection->commit, err);
    if (status == MAKO_OK)
        status = prepare(db, "SELECT state FROM snapshot WHERE id = ?", &connection->load,
                         err);
    if (status == MAKO_OK)
        status = prepare(db,
                         "INSERT INTO snapshot VALUES(?, ?)"
                         " ON CONFLICT(id) DO UPDATE SET state = excluded.state",
                         &connection->save, err);
    return status;
}

static int connect_all(struct sqlite_peer *peer, const struct bench_peer_use *use,
                       const char *path, struct mako_error *err)
{
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    int status = MAKO_OK;

    for (size_t i = 0; i < use->threads && status == MAKO_OK; i++) {
        struct connection *connection = &peer->connections[i];

        if (sqlite3_open_v2(path, &connection->db, flags, NULL) != SQLITE_OK)
            return fail(connection->db, path, err);
        status = configure(connection, use, err);
        if (status == MAKO_OK)
            status = prepare_all(connection, err);
    }
    return status;
}

static int open_sqlite(const struct bench_peer_use *use, void **self,
                       struct mako_error *err)
{
    struct sqlite_peer *peer = calloc(1, sizeof *peer);
    char *path = bench_path(use->dir, "snapshots.db");
    int status;

    if (!peer || !path) {
        free(peer);
        free(path);
        return mako_fail(err, MAKO_E_NOMEM, "%s: no memory", use->dir);
    }
    *peer = (struct sqlite_peer){.len = use->len, .threads = use->threads};
    (void)pthread_mutex_init(&peer->writer, NULL);
    peer->connections = calloc(use->threads, sizeof *peer->connections);
    if (!peer->connections)
        status = mako_fail(err, MAKO_E_NOMEM, "%s: no memory", use->dir);
    else if (mkdir(use->dir, 0700) != 0 && errno != EEXIST)
        status = mako_fail(err, MAKO_E_IO, "%s: %s", use->dir, strerror(errno));
    else
        status = connect_all(peer, use, path, err);
    free(path);
    if (status != MAKO_OK)
        close_sqlite(peer);
    else
        *self = peer;
    return status;
}

/* Run a statement that gives no rows, and make it ready for the next time. */
static int run(sqlite3_stmt *statement)
{
    int result = sqlite3_step(statement);

    (void)sqlite3_reset(statement);
    return result;
}

static int put_one(const struct sqlite_peer *peer, struct connection *connection,
                   const struct bench_put *put, struct mako_error *err)
{
    (void)sqlite3_bind_text(connection->save, 1, put->id, -1, SQLITE_STATIC);
    (void)sqlite3_bind_blob64(connection->save, 2, put->state, peer->len, SQLITE_STATIC);
    if (run(connection->save) != SQLITE_DONE)
        return fail(connection->db, "save", err);
    return MAKO_OK;
}

/* A single statement is its own transaction. */
static int save(void *self, size_t thread, const struct bench_put *put,
                struct mako_error *err)
{
    struct sqlite_peer *peer = self;
    int status;

    (void)pthread_mutex_lock(&peer->writer);
    status = put_one(peer, &peer->connections[thread], put, err);
    (void)pthread_mutex_unlock(&peer->writer);
    return status;
}

static int save_many(void *self, size_t thread, const struct bench_put *puts,
                     size_t count, struct mako_error *err)
{
    struct sqlite_peer *peer = self;
    struct connection *connection = &peer->connections[thread];
    int status = MAKO_OK;

    (void)pthread_mutex_lock(&peer->writer);
    if (run(connection->begin) != SQLITE_DONE)
        status = fail(connection->db, "begin", err);
    for (size_t i = 0; i < count && status == MAKO_OK; i++)
        status = put_one(peer, connection, &puts[i], err);
    if (status == MAKO_OK && run(connection->commit) != SQLITE_DONE)
        status = fail(connection->db, "commit", err);
    (void)pthread_mutex_unlock(&peer->writer);
    return status;
}

static int load(void *self, size_t thread, const char *id, uint64_t *digest,
                struct mako_error *err)
{
    struct sqlite_peer *peer = self;
    struct connection *connection = &peer->connections[thread];
    sqlite3_stmt *statement = connection->load;
    int status = MAKO_OK;

    (void)sqlite3_bind_text(statement, 1, id, -1, SQLITE_STATIC);
    if (sqlite3_step(statement) == SQLITE_ROW)
        *digest = bench_digest(sqlite3_column_blob(statement, 0),
                               (size_t)sqlite3_column_bytes(statement, 0));
    else
        status = fail(connection->db, id, err);
    (void)sqlite3_reset(statement);
    return status;
}

/* Nothing runs in the background; the log is carried over before others are timed. */
static int settle(void *self, struct mako_error *err)
{
    struct sqlite_peer *peer = self;
    sqlite3 *db = peer->connections[0].db;
    int status = MAKO_OK;

    (void)pthread_mutex_lock(&peer->writer);
    if (sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL) !=
        SQLITE_OK)
        status = fail(db, "checkpoint", err);
    (void)pthread_mutex_unlock(&peer->writer);
    return status;
}

const struct bench_peer bench_peer_sqlite = {
    .name = "sqlite",
    .open = open_sqlite,
    .save = save,
    .save_many = save_many,
    .load = load,
    .settle = settle,
    .close = close_sqlite,
};

/* log.h - the event log: one table in SQLite, and the only truth.
 *
 * Any number of threads and processes use it at once.  Each thread has a connection of
 * its own.  What an event does to an account is account.c's business. */
#ifndef LEDGER_LOG_H
#define LEDGER_LOG_H

#include <stdbool.h>

#include <mako/process.h>

#include <sqlite3.h>

struct log {
    sqlite3 *db;
    sqlite3_stmt *read, *append;
};

/* An event's body.  The id is random and is the event's anchor as well: two logs that
 * took different turns differ at every event after the fork, also where amounts are
 * equal. */
struct entry {
    sqlite3_int64 id;
    sqlite3_int64 cents; /* above 0: deposit; below 0: withdrawal */
    const char *owner;   /* of the event that opens the account; else NULL */
};

/* A new entry, with an id. */
struct entry log_entry(const char *owner, sqlite3_int64 cents);
struct mako_event log_event(uint64_t seq, const struct entry *entry);

/* err says what went wrong with the log; every status is MAKO_OK or MAKO_E_CALLBACK. */
int log_open(struct log *log, const char *path, struct mako_error *err);
void log_close(struct log *log);

/* Append as number seq, in one atomic step with the look whether seq is what comes next.
 * Where it is not, because another writer was first or the account was erased, *lost is
 * set and nothing is written. */
int log_append(struct log *log, const char *account, uint64_t seq,
               const struct entry *entry, bool *lost, struct mako_error *err);

/* The read callback of an aggregate whose app is a struct log. */
int log_read(void *app, const char *account, uint64_t from, mako_feed *feed,
             struct mako_error *err);

/* Forget every event of an account, down to the bytes in the log's files. */
int log_erase(struct log *log, const char *account, struct mako_error *err);

/* Append made-up bookings in one transaction, as an import would. */
int log_fill(struct log *log, const char *account, sqlite3_int64 count,
             struct mako_error *err);

#endif

/* table.h - the table, its statements, and one connection that they belong to.
 *
 *     CREATE TABLE snapshot (stream TEXT UNIQUE, seq INTEGER, schema INTEGER,
 *                            created_ms INTEGER, record BLOB)
 *
 * record comes last, so that the columns before it are read without it. */
#ifndef TABLE_H
#define TABLE_H

#include <mako/store_plugin.h>

#include <stdbool.h>

struct table;

struct table_setup {
    const char *file; /* outlives the table */
    int busy_ms;
    bool read_only, power;
};

int table_open(const struct table_setup *setup, struct table **out,
               struct mako_error *err);

void table_close(struct table *table);

/* MAKO_STALE where MAKO_SAVE_IF_NEWER says to keep what is there. */
int table_save(struct table *table, const struct mako_record *record,
               struct mako_error *err);

int table_remove(struct table *table, struct mako_str stream, struct mako_error *err);

/* Around saves, which are one transaction then.  Rolling back where none is open is
 * fine. */
int table_begin(struct table *table, struct mako_error *err);
int table_commit(struct table *table, struct mako_error *err);
void table_roll_back(struct table *table);

/* A row without its record. */
struct table_row {
    int64_t rowid; /* SQLite's own name for it */
    struct mako_meta meta;
    size_t len;
};

/* MAKO_NOT_FOUND or a row, which nobody changes until table_found; that is called
 * whatever the status was. */
int table_find(struct table *table, struct mako_str stream, struct table_row *row,
               struct mako_error *err);
int table_read(struct table *table, const struct table_row *row, void *room,
               struct mako_error *err);
void table_found(struct table *table);

/* Rows in the order of their streams' bytes. */
struct table_walk {
    char stream[1026];
    size_t len, at; /* at: of the bytes that the next stream is not less than */
    struct table_row row;
};

void table_walk_from(struct mako_str start, struct table_walk *walk);

/* MAKO_NOT_FOUND after the last. */
int table_walk(struct table *table, struct table_walk *walk, struct mako_error *err);

struct table_figures {
    int64_t streams, bytes, bytes_free;
};

int table_stat(struct table *table, struct table_figures *figures,
               struct mako_error *err);

/* Rewrite the database and empty its log, so that nothing removed is left in either. */
int table_compact(struct table *table, struct mako_progress *progress,
                  struct mako_error *err);

#endif

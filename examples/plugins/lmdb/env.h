/* env.h - environments of LMDB: opening, transactions, growth.
 *
 * LMDB forbids to open an environment twice in one process, so stores on one directory
 * share one.  Its map has a size, which no transaction of this process may be open to
 * change: every transaction holds a lock that growing waits for. */
#ifndef ENV_H
#define ENV_H

#include <mako/store_plugin.h>

#include <lmdb.h>
#include <stdbool.h>

struct env;

/* What a transaction waits for when it ends; each is weaker than the one before. */
enum env_flush {
    ENV_FLUSH_ALL,
    ENV_FLUSH_DATA, /* not for the page that says where the data is: MDB_NOMETASYNC */
    ENV_FLUSH_NONE  /* MDB_NOSYNC */
};

struct env_setup {
    const char *dir;
    bool read_only;
    enum env_flush flush;
    uint64_t map_size, max_size;
    unsigned readers;
};

/* Made where only the last part of dir is missing; shared where this process has it. */
int env_get(const struct env_setup *setup, struct env **out, struct mako_error *err);

void env_put(struct env *env);

/* What to do in a transaction.  Returns LMDB's codes; may be called again, after another
 * attempt was undone. */
typedef int env_work(MDB_txn *txn, MDB_dbi dbi, void *arg);

/* MAKO_OK once what work did is as durable as the environment's flush says.  The map
 * grows where it is full. */
int env_write(struct env *env, env_work *work, void *arg, struct mako_error *err);

/* The same for what makes room, which also a full map lets pass. */
int env_remove(struct env *env, env_work *work, void *arg, struct mako_error *err);

/* work sees one moment of the map. */
int env_read(struct env *env, env_work *work, void *arg, struct mako_error *err);

struct env_figures {
    uint64_t streams, bytes, bytes_used, map_bytes, readers;
};

int env_stat(struct env *env, struct env_figures *figures, struct mako_error *err);

#endif

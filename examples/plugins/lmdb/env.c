/* env.c - see env.h.  What knows of files, locks and LMDB's environment stands here, and
 * nothing that knows what is stored. */
#include "env.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* The table's name says how its records are laid out; another layout gets another. */
#define TABLE     "mako-1"

#define BEYOND    (1u << 20) /* bytes at a time, for who removes from a full map */
#define FULL_DISK (1u << 20) /* bytes left, of those that anybody may use */

struct env {
    struct env *next;
    dev_t device; /* which directory: paths may differ */
    ino_t inode;
    unsigned refs; /* under list_lock */
    char *dir;
    bool read_only;
    enum env_flush flush;
    size_t max_size;
    MDB_env *mdb;
    MDB_dbi dbi;
    pthread_rwlock_t map_lock; /* to read: a transaction is open; to write: it moves */
    int lost;                  /* why there is no map any more; under map_lock */
};

/* ---- failures --------------------------------------------------------------------- */

/* Codes above zero are errno's. */
static int env_status(int code)
{
    switch (code) {
    case MDB_MAP_FULL:
    case ENOSPC:
    case EDQUOT:
        return MAKO_E_NO_SPACE;
    case MDB_TXN_FULL:
    case MDB_BAD_VALSIZE:
        return MAKO_E_LIMIT;
    case MDB_READERS_FULL:
    case EAGAIN:
    case EBUSY:
        return MAKO_E_UNAVAILABLE;
    case ENOMEM:
        return MAKO_E_NOMEM;
    default:
        return MAKO_E_IO;
    }
}

static int env_fail(const struct env *env, int code, struct mako_error *err)
{
    int status = env_status(code);

    if (code == MDB_MAP_FULL)
        return mako_fail(err, status, "%s: full at max_size, %zu bytes", env->dir,
                         env->max_size);
    if (code == MDB_READERS_FULL)
        return mako_fail(err, status, "%s: as many are reading as 'readers' allows",
                         env->dir);
    if (code == MDB_NOTFOUND)
        return mako_fail(err, status, "%s: an LMDB database without the table '%s'",
                         env->dir, TABLE);
    return mako_fail(err, status, "%s: %s", env->dir, mdb_strerror(code));
}

/* ---- the map's size --------------------------------------------------------------- */

/* Of max_size. */
enum limit {
    KEEPS_TO,
    MAY_PASS
};

static size_t map_size(const struct env *env)
{
    MDB_envinfo info;

    return mdb_env_info(env->mdb, &info) == 0 ? info.me_mapsize : 0;
}

/* LMDB unmaps before it maps; where that fails there is nothing to go on with. */
static int move_map(struct env *env, size_t size)
{
    env->lost = mdb_env_set_mapsize(env->mdb, size);
    return env->lost;
}

/* What would be the next size.  Who removes may go beyond the limit: before LMDB frees a
 * page it wants others, for the changed copies of those that lead there. */
static int next_size(const struct env *env, size_t size, enum limit limit, size_t *next)
{
    if (size < env->max_size)
        *next = size < env->max_size / 2 ? size * 2 : env->max_size;
    else if (limit == MAY_PASS)
        *next = size + BEYOND;
    else
        return MDB_MAP_FULL;
    return 0;
}

/* Larger, unless another thread was faster, or pages can be had that only readers who
 * died still held. */
static int grow(struct env *env, size_t full_at, enum limit limit)
{
    int code = 0, dead = 0;
    size_t next;

    (void)pthread_rwlock_wrlock(&env->map_lock);
    if (!env->lost && map_size(env) == full_at) {
        code = mdb_reader_check(env->mdb, &dead);
        if (code == 0 && dead == 0)
            code = next_size(env, full_at, limit, &next);
        if (code == 0 && dead == 0)
            code = move_map(env, next);
    }
    (void)pthread_rwlock_unlock(&env->map_lock);
    return code;
}

/* Another process made it larger, or who removed was let beyond the limit.  LMDB cuts off
 * nothing that is in use. */
static int follow(struct env *env)
{
    int code;

    (void)pthread_rwlock_wrlock(&env->map_lock);
    code = env->lost ? env->lost : move_map(env, 0);
    if (code == 0 && map_size(env) > env->max_size)
        code = move_map(env, env->max_size);
    (void)pthread_rwlock_unlock(&env->map_lock);
    return code;
}

/* Mend what can be mended.  0: the attempt is worth another. */
static int mend(struct env *env, int code, size_t full_at, enum limit limit)
{
    int dead = 0, failed;

    if (code == MDB_MAP_FULL)
        return grow(env, full_at, limit);
    if (code == MDB_MAP_RESIZED)
        return follow(env);
    if (code != MDB_READERS_FULL)
        return code;
    failed = mdb_reader_check(env->mdb, &dead);
    return failed == 0 && dead > 0 ? 0 : code;
}

/* ---- transactions ----------------------------------------------------------------- */

static int attempt(struct env *env, unsigned flags, env_work *work, void *arg)
{
    MDB_txn *txn;
    int code = mdb_txn_begin(env->mdb, NULL, flags, &txn);

    if (code != 0)
        return code;
    code = work(txn, env->dbi, arg);
    if (code == 0)
        return mdb_txn_commit(txn); /* ends it also when it fails, or only read */
    mdb_txn_abort(txn);
    return code;
}

/* LMDB calls it an input/output error when less is written than was to be. */
static bool disk_is_full(const struct env *env)
{
    struct statvfs disk;

    return statvfs(env->dir, &disk) == 0 &&
           (uint64_t)disk.f_bavail * disk.f_frsize < FULL_DISK;
}

static int run(struct env *env, unsigned flags, enum limit limit, env_work *work,
               void *arg, struct mako_error *err)
{
    size_t size;
    int code;

    do {
        (void)pthread_rwlock_rdlock(&env->map_lock);
        size = map_size(env);
        code = env->lost ? env->lost : attempt(env, flags, work, arg);
        (void)pthread_rwlock_unlock(&env->map_lock);
        if (code == 0)
            return MAKO_OK;
        code = mend(env, code, size, limit);
    } while (code == 0);
    if (code == EIO && flags == 0 && disk_is_full(env))
        code = ENOSPC;
    return env_fail(env, code, err);
}

int env_write(struct env *env, env_work *work, void *arg, struct mako_error *err)
{
    return run(env, 0, KEEPS_TO, work, arg, err);
}

/* What came free is there for those who save, within the limit. */
int env_remove(struct env *env, env_work *work, void *arg, struct mako_error *err)
{
    int status = run(env, 0, MAY_PASS, work, arg, err);
    bool passed;

    (void)pthread_rwlock_rdlock(&env->map_lock);
    passed = !env->lost && map_size(env) > env->max_size;
    (void)pthread_rwlock_unlock(&env->map_lock);
    if (passed)
        (void)follow(env);
    return status;
}

int env_read(struct env *env, env_work *work, void *arg, struct mako_error *err)
{
    return run(env, MDB_RDONLY, KEEPS_TO, work, arg, err);
}

/* ---- those that are open in this process ------------------------------------------ */

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct env *list;
static pthread_once_t handlers_once = PTHREAD_ONCE_INIT;
static int handlers_error;

static void before_fork(void)
{
    (void)pthread_mutex_lock(&list_lock);
}

static void after_fork_in_parent(void)
{
    (void)pthread_mutex_unlock(&list_lock);
}

/* An environment is of no use in a child, not even to be closed: it is forgotten, and the
 * child may open one of its own. */
static void after_fork_in_child(void)
{
    list = NULL;
    (void)pthread_mutex_unlock(&list_lock);
}

static void add_handlers(void)
{
    handlers_error =
        pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

/* ---- directories ------------------------------------------------------------------ */

static int dir_fail(const char *dir, int error, const char *hint, struct mako_error *err)
{
    int status = error == ENOSPC || error == EDQUOT ? MAKO_E_NO_SPACE : MAKO_E_IO;

    return mako_fail(err, status, "%s: %s%s", dir, strerror(error), hint);
}

static int make_dir(const char *dir, struct mako_error *err)
{
    if (mkdir(dir, 0700) == 0 || errno == EEXIST)
        return MAKO_OK;
    return dir_fail(dir, errno,
                    errno == ENOENT ? " (the directory above it must exist)" : "", err);
}

/* LMDB flushes its files; that they are there at all is up to their directories. */
static int flush_names(int fd)
{
    int above, error = 0;

    if (fsync(fd) != 0)
        return errno;
    above = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (above < 0) /* not even readable: then it is not we who made the directory */
        return errno == EACCES ? 0 : errno;
    if (fsync(above) != 0)
        error = errno;
    (void)close(above);
    return error;
}

/* With flush: what is in it has a name after a power cut. */
static int look_at_dir(const char *dir, bool flush, struct stat *st,
                       struct mako_error *err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), error = 0;

    if (fd < 0)
        return dir_fail(dir, errno, "", err);
    if (fstat(fd, st) != 0)
        error = errno;
    else if (flush)
        error = flush_names(fd);
    (void)close(fd);
    return error != 0 ? dir_fail(dir, error, "", err) : MAKO_OK;
}

/* ---- opening ---------------------------------------------------------------------- */

static void env_free(struct env *env)
{
    if (env->mdb)
        mdb_env_close(env->mdb);
    (void)pthread_rwlock_destroy(&env->map_lock);
    free(env->dir);
    free(env);
}

/* Larger than any machine's pages, of which a map is made. */
static size_t whole_pages(uint64_t size)
{
    return (size_t)(size & ~(uint64_t)0xffff);
}

/* Growing must not wait for ever behind transactions that keep coming. */
static void init_map_lock(pthread_rwlock_t *lock)
{
    pthread_rwlockattr_t attributes;

    (void)pthread_rwlockattr_init(&attributes);
    (void)pthread_rwlockattr_setkind_np(&attributes,
                                        PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    (void)pthread_rwlock_init(lock, &attributes);
    (void)pthread_rwlockattr_destroy(&attributes);
}

static struct env *env_new(const struct env_setup *setup)
{
    struct env *env = calloc(1, sizeof *env);

    if (!env)
        return NULL;
    *env = (struct env){.refs = 1,
                        .dir = strdup(setup->dir),
                        .read_only = setup->read_only,
                        .flush = setup->flush,
                        .max_size = whole_pages(setup->max_size)};
    init_map_lock(&env->map_lock);
    if (!env->dir) {
        env_free(env);
        return NULL;
    }
    return env;
}

/* LMDB leaves its data file open across exec(). */
static int close_on_exec(MDB_env *mdb)
{
    int fd, code = mdb_env_get_fd(mdb, &fd);

    if (code == 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
        code = errno;
    return code;
}

/* MDB_NOTLS: reading belongs to a transaction, not to a thread; threads come and go. */
static unsigned open_flags(const struct env_setup *setup)
{
    static const unsigned flush[] = {[ENV_FLUSH_ALL] = 0,
                                     [ENV_FLUSH_DATA] = MDB_NOMETASYNC,
                                     [ENV_FLUSH_NONE] = MDB_NOSYNC};

    return MDB_NOTLS | (setup->read_only ? MDB_RDONLY : flush[setup->flush]);
}

static int open_mdb(struct env *env, const struct env_setup *setup)
{
    int dead, code = mdb_env_create(&env->mdb);

    if (code != 0) {
        env->mdb = NULL;
        return code;
    }
    code = mdb_env_set_maxdbs(env->mdb, 1);
    if (code == 0)
        code = mdb_env_set_maxreaders(env->mdb, setup->readers);
    if (code == 0)
        code = mdb_env_set_mapsize(env->mdb, whole_pages(setup->map_size));
    if (code == 0)
        code = mdb_env_open(env->mdb, setup->dir, open_flags(setup), 0600);
    if (code == 0)
        code = close_on_exec(env->mdb);
    if (code == 0)
        code = mdb_reader_check(env->mdb, &dead);
    return code;
}

static int open_table(MDB_txn *txn, MDB_dbi none, void *arg)
{
    struct env *env = arg;

    (void)none;
    return mdb_dbi_open(txn, TABLE, env->read_only ? 0 : MDB_CREATE, &env->dbi);
}

/* An environment that is there serves if it gives as much as is asked for. */
static int join(struct env *env, const struct env_setup *setup, struct env **out,
                struct mako_error *err)
{
    if ((env->read_only && !setup->read_only) ||
        (!setup->read_only && env->flush > setup->flush))
        return mako_fail(err, MAKO_E_UNAVAILABLE,
                         "%s: this process has it open already, %s; close that first",
                         setup->dir,
                         env->read_only ? "for reading only" : "with less durability");
    env->refs++;
    *out = env;
    return MAKO_OK;
}

static int open_new(const struct env_setup *setup, const struct stat *st,
                    struct env **out, struct mako_error *err)
{
    struct env *env = env_new(setup);
    struct stat again;
    int code, status;

    if (!env)
        return mako_fail(err, MAKO_E_NOMEM, "%s: no memory", setup->dir);
    env->device = st->st_dev;
    env->inode = st->st_ino;
    code = open_mdb(env, setup);
    if (code != 0)
        status = env_fail(env, code, err);
    else
        status =
            run(env, env->read_only ? MDB_RDONLY : 0, KEEPS_TO, open_table, env, err);
    if (status == MAKO_OK && !setup->read_only && setup->flush == ENV_FLUSH_ALL)
        status = look_at_dir(setup->dir, true, &again, err);
    if (status != MAKO_OK) {
        env_free(env);
        return status;
    }
    env->next = list;
    list = *out = env;
    return MAKO_OK;
}

int env_get(const struct env_setup *setup, struct env **out, struct mako_error *err)
{
    struct stat st;
    struct env *env;
    int status = MAKO_OK;

    (void)pthread_once(&handlers_once, add_handlers);
    if (handlers_error != 0)
        return mako_fail(err, MAKO_E_NOMEM, "%s: handlers of fork: %s", setup->dir,
                         strerror(handlers_error));
    if (!setup->read_only)
        status = make_dir(setup->dir, err);
    if (status == MAKO_OK)
        status = look_at_dir(setup->dir, false, &st, err);
    if (status != MAKO_OK)
        return status;
    (void)pthread_mutex_lock(&list_lock);
    for (env = list; env; env = env->next)
        if (env->device == st.st_dev && env->inode == st.st_ino)
            break;
    status = env ? join(env, setup, out, err) : open_new(setup, &st, out, err);
    (void)pthread_mutex_unlock(&list_lock);
    return status;
}

void env_put(struct env *env)
{
    struct env **place = &list;

    (void)pthread_mutex_lock(&list_lock);
    if (--env->refs == 0) {
        while (*place != env)
            place = &(*place)->next;
        *place = env->next;
        env_free(env);
    }
    (void)pthread_mutex_unlock(&list_lock);
}

/* ---- figures ---------------------------------------------------------------------- */

static int read_figures(MDB_txn *txn, MDB_dbi dbi, void *arg)
{
    struct env_figures *figures = arg;
    MDB_stat stat;
    MDB_envinfo info;
    int code = mdb_stat(txn, dbi, &stat);

    if (code == 0)
        code = mdb_env_info(mdb_txn_env(txn), &info);
    if (code != 0)
        return code;
    *figures =
        (struct env_figures){.streams = stat.ms_entries,
                             .bytes = (uint64_t)(info.me_last_pgno + 1) * stat.ms_psize,
                             .bytes_used = (uint64_t)stat.ms_psize *
                                           (stat.ms_branch_pages + stat.ms_leaf_pages +
                                            stat.ms_overflow_pages),
                             .map_bytes = info.me_mapsize,
                             .readers = info.me_numreaders};
    return 0;
}

int env_stat(struct env *env, struct env_figures *figures, struct mako_error *err)
{
    return env_read(env, read_figures, figures, err);
}

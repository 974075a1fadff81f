/* plugins/file/lock.c - flock on a file "lock" in the directory, which names its holder.
 *
 * A flock belongs to the open file, which a forked child shares: the child must close
 * its copy, or the lock outlives the parent's store.  So every descriptor is listed
 * from before it can be locked, and a handler of fork() closes them in the child. */
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "io.h"

#define LOCK_NAME "lock"
#define POLL_MS   10

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct lock *list;
static pthread_mutex_t handlers_lock = PTHREAD_MUTEX_INITIALIZER;
static bool handled; /* the handlers of fork() are set */

static void before_fork(void)
{
    (void)pthread_mutex_lock(&handlers_lock);
    (void)pthread_mutex_lock(&list_lock);
}

static void after_fork_in_parent(void)
{
    (void)pthread_mutex_unlock(&list_lock);
    (void)pthread_mutex_unlock(&handlers_lock);
}

/* Close, never unlock: that would unlock the parent's. */
static void after_fork_in_child(void)
{
    for (; list != NULL; list = list->next) {
        io_close(list->fd);
        list->fd = -1;
    }
    (void)pthread_mutex_unlock(&list_lock);
    (void)pthread_mutex_unlock(&handlers_lock);
}

/* When the plugin is loaded: a fork at the same time as the first opening must find the
 * handlers, or the child has the lock and waits for handlers_lock for ever.  Nobody else
 * is here yet, and no lock is taken: the loader holds its own, which a fork takes last.
 */
__attribute__((constructor)) static void add_handlers_early(void)
{
    handled = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) == 0;
}

/* Once; after a failure the next opening tries again. */
static int add_handlers(void)
{
    int error = 0;

    (void)pthread_mutex_lock(&handlers_lock);
    if (!handled)
        error = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
    handled = error == 0;
    (void)pthread_mutex_unlock(&handlers_lock);
    return error;
}

/* List lock, unless its directory is listed. */
static bool enlist(struct lock *lock)
{
    const struct lock *other;

    (void)pthread_mutex_lock(&list_lock);
    for (other = list; other != NULL; other = other->next)
        if (other->dev == lock->dev && other->ino == lock->ino)
            break;
    if (other == NULL) {
        lock->next = list;
        list = lock;
    }
    (void)pthread_mutex_unlock(&list_lock);
    return other == NULL;
}

/* In a forked child lock is not listed any more. */
static void delist(struct lock *lock)
{
    struct lock **at = &list;

    (void)pthread_mutex_lock(&list_lock);
    while (*at != NULL && *at != lock)
        at = &(*at)->next;
    if (*at != NULL)
        *at = lock->next;
    io_close(lock->fd);
    lock->fd = -1;
    (void)pthread_mutex_unlock(&list_lock);
}

/* Open the lock file while no fork can come between that and its listing. */
static int open_file(struct lock *lock, int dir)
{
    int error;

    (void)pthread_mutex_lock(&list_lock);
    io_close(lock->fd);
    lock->fd = -1;
    error = io_open(dir, LOCK_NAME, O_RDWR | O_CREAT, &lock->fd);
    (void)pthread_mutex_unlock(&list_lock);
    return error;
}

/* Whether the file that is open is still the one in the directory. */
static int still_there(const struct lock *lock, int dir, bool *is)
{
    struct stat mine, now = {.st_ino = 0};

    *is = false;
    if (lock->fd < 0)
        return 0;
    if (fstat(lock->fd, &mine) != 0 ||
        (fstatat(dir, LOCK_NAME, &now, 0) != 0 && errno != ENOENT))
        return errno;
    *is = mine.st_dev == now.st_dev && mine.st_ino == now.st_ino;
    return 0;
}

/* Lock the file that is in the directory; EWOULDBLOCK: not now. */
static int try_lock(struct lock *lock, int dir)
{
    bool is;
    int error = still_there(lock, dir, &is);

    if (error == 0 && !is)
        error = open_file(lock, dir);
    while (error == 0 && flock(lock->fd, LOCK_EX | LOCK_NB) != 0)
        error = errno != EINTR ? errno : 0;
    if (error == 0)
        error = still_there(lock, dir, &is);
    return error == 0 && !is ? EWOULDBLOCK : error;
}

static int64_t monotonic_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void pause_ms(long ms)
{
    struct timespec pause = {.tv_nsec = ms * 1000000};

    (void)nanosleep(&pause, NULL);
}

/* The number in the lock file, as its holder wrote it. */
static void read_holder(const struct lock *lock, char *holder, size_t room)
{
    size_t got = 0;

    if (io_read(lock->fd, holder, room - 1, 0, &got) != 0)
        got = 0;
    holder[got] = '\0';
    holder[strspn(holder, "0123456789")] = '\0';
}

static int in_use(const struct lock *lock, const char *path, struct mako_error *err)
{
    char holder[24];

    read_holder(lock, holder, sizeof holder);
    if (holder[0] == '\0')
        return mako_fail(err, MAKO_E_UNAVAILABLE, "%s: in use by another process", path);
    return mako_fail(err, MAKO_E_UNAVAILABLE, "%s: in use by process %s", path, holder);
}

static int failed(const char *path, int error, struct mako_error *err)
{
    return mako_fail(err, io_status(error), "%s/" LOCK_NAME ": %s", path,
                     strerror(error));
}

static int wait_for_lock(struct lock *lock, int dir, const char *path, int64_t wait_ms,
                         struct mako_error *err)
{
    int64_t deadline = monotonic_ms() + wait_ms;

    for (;;) {
        int error = try_lock(lock, dir);

        if (error == 0)
            return MAKO_OK;
        if (error != EWOULDBLOCK)
            return failed(path, error, err);
        if (monotonic_ms() >= deadline)
            return in_use(lock, path, err);
        pause_ms(POLL_MS);
    }
}

static int write_holder(const struct lock *lock)
{
    char text[24];
    struct iovec iov = {.iov_base = text};
    int error = io_truncate(lock->fd, 0);

    iov.iov_len = (size_t)snprintf(text, sizeof text, "%ld\n", (long)getpid());
    return error != 0 ? error : io_write(lock->fd, &iov, 1, 0);
}

int lock_take(struct lock *lock, int dir, const char *path, int64_t wait_ms,
              struct mako_error *err)
{
    struct stat st;
    int status, error = add_handlers();

    if (error != 0)
        return mako_fail(err, MAKO_E_NOMEM, "%s: %s", path, strerror(error));
    if (fstat(dir, &st) != 0)
        return mako_fail(err, io_status(errno), "%s: %s", path, strerror(errno));
    *lock = (struct lock){.dev = st.st_dev, .ino = st.st_ino, .fd = -1};
    if (!enlist(lock))
        return mako_fail(err, MAKO_E_INVALID,
                         "%s: open in this process already; share that store with "
                         "mako_store_ref",
                         path);
    status = wait_for_lock(lock, dir, path, wait_ms, err);
    if (status == MAKO_OK && write_holder(lock) != 0) {
        /* Only the message of another process suffers: a full disk must not keep a
         * store from being read. */
        (void)io_truncate(lock->fd, 0);
    }
    if (status != MAKO_OK)
        delist(lock);
    return status;
}

void lock_drop(struct lock *lock)
{
    delist(lock);
}

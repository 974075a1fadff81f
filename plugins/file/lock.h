/* plugins/file/lock.h - one opening of a directory at a time, across processes and
 * within this one. */
#ifndef MAKO_FILE_LOCK_H
#define MAKO_FILE_LOCK_H

#include <sys/types.h>

#include <mako/store_plugin.h>

/* Held from lock_take() to lock_drop(); stands still meanwhile. */
struct lock {
    struct lock *next; /* in the list of those held here */
    dev_t dev;         /* of the directory */
    ino_t ino;
    int fd;
};

/* Take the lock of the directory dir; path is its name, for messages.  Waits up to
 * wait_ms for another process.  MAKO_E_INVALID: held by this process already. */
int lock_take(struct lock *lock, int dir, const char *path, int64_t wait_ms,
              struct mako_error *err);
void lock_drop(struct lock *lock);

#endif

/* plugins/file/io.h - the only way to the disk.
 *
 * Everything that reads or changes what is stored goes through these functions: they
 * finish short reads and writes and calls that a signal interrupted, and a harness that
 * records or fails single calls has one place to stand in.  They know nothing of
 * segments or records.
 *
 * All return 0 or an errno number, unless said otherwise. */
#ifndef MAKO_FILE_IO_H
#define MAKO_FILE_IO_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include <mako/store_plugin.h>

/* The status that tells of a failure with this error. */
int io_status(int error);

/* Open name below the directory dir, CLOEXEC; new files get mode 0600.  Unless dir is
 * AT_FDCWD, name may not be a symbolic link: whoever can write the directory does not
 * choose which file elsewhere is written; and opening a FIFO does not wait. */
int io_open(int dir, const char *name, int flags, int *fd);
void io_close(int fd);

/* Make the directory at path (0700).  EEXIST is an answer like others. */
int io_make_dir(const char *path);
/* The directory that path is in. */
int io_open_parent(const char *path, int *fd);
/* The entry of path in its parent is on the medium. */
int io_flush_parent(const char *path);

/* Write all of iov at offset.  iov is used up. */
int io_write(int fd, struct iovec *iov, size_t count, uint64_t offset);

/* Read len bytes at offset; *got tells how many there were before the end of the file. */
int io_read(int fd, void *buffer, size_t len, uint64_t offset, size_t *got);

/* The file's data, and what is needed to find it, are on the medium.  After a failure
 * nothing is known of what was written since the last success: never ask again. */
int io_flush(int fd);
/* Likewise the entries of a directory. */
int io_flush_dir(int dir);

int io_truncate(int fd, uint64_t len);
int io_unlink(int dir, const char *name);
/* Atomic; replaces to. */
int io_rename(int dir, const char *from, const char *to);
int io_size(int fd, uint64_t *len);

/* Forget clean cached pages from there on, so that the next read asks the medium.  Best
 * effort. */
void io_forget(int fd, uint64_t from);

/* Move what was written in [from, from + len) to the medium, so that a later flush finds
 * little to do.  Success promises nothing.  Failure says what that flush will not say any
 * more: the system tells of lost writes once. */
int io_write_back(int fd, uint64_t from, uint64_t len);

/* The first len bytes, read-only; NULL: cannot be mapped.  Reading behind the end of a
 * file that became shorter kills the process. */
void *io_map(int fd, size_t len);
/* NULL is fine. */
void io_unmap(void *map, size_t len);

/* Random bytes. */
int io_random(void *bytes, size_t len);

/* A thread that takes no signals, for work of the plugin's own. */
int io_thread(pthread_t *thread, void *(*run)(void *arg), void *arg);

#endif

/* plugins/file/io.c - system calls, made whole.  Nothing here decides anything. */
#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

int io_status(int error)
{
    switch (error) {
    case ENOSPC:
    case EDQUOT:
        return MAKO_E_NO_SPACE;
    case ENOMEM:
        return MAKO_E_NOMEM;
    default:
        return MAKO_E_IO;
    }
}

/* A program may have closed 0, 1 and 2; what is then printed by somebody who does not
 * know would go into our file. */
static int above_standard(int opened, int *fd)
{
    int error = 0, moved = opened;

    if (opened <= STDERR_FILENO) {
        moved = fcntl(opened, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        error = moved < 0 ? errno : 0;
        (void)close(opened);
    }
    if (error == 0)
        *fd = moved;
    return error;
}

int io_open(int dir, const char *name, int flags, int *fd)
{
    int opened, error;

    if (dir != AT_FDCWD)
        flags |= O_NOFOLLOW | O_NONBLOCK;
    do
        opened = openat(dir, name, flags | O_CLOEXEC, (mode_t)0600);
    while (opened < 0 && errno == EINTR);
    if (opened < 0)
        return errno;
    error = above_standard(opened, fd);
    if (error != 0 && (flags & O_EXCL) != 0)
        (void)unlinkat(dir, name, 0); /* just made: the next try shall make it again */
    return error;
}

void io_close(int fd)
{
    if (fd >= 0)
        (void)close(fd);
}

int io_make_dir(const char *path)
{
    return mkdir(path, 0700) != 0 ? errno : 0;
}

/* The parent of path, as open() wants it; the caller's to free. */
static char *parent_of(const char *path)
{
    size_t len = strlen(path);

    while (len > 1 && path[len - 1] == '/')
        len--;
    while (len > 0 && path[len - 1] != '/')
        len--;
    return len == 0 ? strdup(".") : strndup(path, len);
}

int io_open_parent(const char *path, int *fd)
{
    char *parent = parent_of(path);
    int error;

    if (parent == NULL)
        return ENOMEM;
    error = io_open(AT_FDCWD, parent, O_RDONLY | O_DIRECTORY, fd);
    free(parent);
    return error;
}

int io_flush_parent(const char *path)
{
    int fd = -1, error = io_open_parent(path, &fd);

    if (error != 0)
        return error;
    error = io_flush_dir(fd);
    io_close(fd);
    return error;
}

/* Step over n bytes that were written. */
static void advance(struct iovec **iov, size_t *count, size_t n)
{
    while (*count > 0 && n >= (*iov)->iov_len) {
        n -= (*iov)->iov_len;
        (*iov)++;
        (*count)--;
    }
    if (*count > 0) {
        (*iov)->iov_base = (char *)(*iov)->iov_base + n;
        (*iov)->iov_len -= n;
    }
}

/* Beyond the process's limit the kernel raises SIGXFSZ, which ends a program that does
 * not expect it: so not beyond. */
static int within_limit(uint64_t end)
{
    struct rlimit limit;

    return getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
                   end > limit.rlim_cur
               ? EFBIG
               : 0;
}

int io_write(int fd, struct iovec *iov, size_t count, uint64_t offset)
{
    uint64_t end = offset;
    int error;

    for (size_t i = 0; i < count; i++)
        end += iov[i].iov_len;
    error = within_limit(end);
    if (error != 0)
        return error;
    advance(&iov, &count, 0);
    while (count > 0) {
        int batch = count < IOV_MAX ? (int)count : IOV_MAX;
        ssize_t n = pwritev(fd, iov, batch, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? errno : EIO;
        offset += (uint64_t)n;
        advance(&iov, &count, (size_t)n);
    }
    return 0;
}

int io_read(int fd, void *buffer, size_t len, uint64_t offset, size_t *got)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = pread(fd, (char *)buffer + done, len - done, (off_t)(offset + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    *got = done;
    return 0;
}

int io_flush(int fd)
{
    int failed;

    do
        failed = fdatasync(fd);
    while (failed != 0 && errno == EINTR);
    return failed != 0 ? errno : 0;
}

int io_flush_dir(int dir)
{
    int failed;

    do
        failed = fsync(dir);
    while (failed != 0 && errno == EINTR);
    return failed != 0 ? errno : 0;
}

int io_truncate(int fd, uint64_t len)
{
    int failed, error = within_limit(len);

    if (error != 0)
        return error;
    do
        failed = ftruncate(fd, (off_t)len);
    while (failed != 0 && errno == EINTR);
    return failed != 0 ? errno : 0;
}

int io_unlink(int dir, const char *name)
{
    return unlinkat(dir, name, 0) != 0 ? errno : 0;
}

int io_rename(int dir, const char *from, const char *to)
{
    return renameat(dir, from, dir, to) != 0 ? errno : 0;
}

int io_size(int fd, uint64_t *len)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return errno;
    if (!S_ISREG(st.st_mode))
        return EINVAL;
    *len = (uint64_t)st.st_size;
    return 0;
}

void io_forget(int fd, uint64_t from)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE); /* no part of one is forgotten */

    (void)posix_fadvise(fd, (off_t)(from - from % page), 0, POSIX_FADV_DONTNEED);
}

int io_write_back(int fd, uint64_t from, uint64_t len)
{
    int failed;

    do
        failed = sync_file_range(fd, (off_t)from, (off_t)len,
                                 SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                                     SYNC_FILE_RANGE_WAIT_AFTER);
    while (failed != 0 && errno == EINTR);
    /* A system that does not have it has done nothing. */
    return failed != 0 && errno != ENOSYS && errno != EINVAL ? errno : 0;
}

void *io_map(int fd, size_t len)
{
    void *map = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);

    return map != MAP_FAILED ? map : NULL;
}

void io_unmap(void *map, size_t len)
{
    if (map != NULL)
        (void)munmap(map, len);
}

int io_random(void *bytes, size_t len)
{
    ssize_t got;

    do
        got = getrandom(bytes, len, 0);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return errno;
    return got == (ssize_t)len ? 0 : EIO;
}

int io_thread(pthread_t *thread, void *(*run)(void *arg), void *arg)
{
    sigset_t all, before;
    int error;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(thread, NULL, run, arg);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

/* tests/faults/inject.c - see inject.h.  Every call counts itself, may fail, and goes
 * on to the C library's; only flushes do not: no power is cut here, and they are slow. */
#include "inject.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct plan {
    long count, first, last; /* calls with these numbers fail */
    int error;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct plan plans[INJECT_CALLS];
static long short_write = -1;
static bool hold, held;
static _Atomic bool everywhere;
static int held_error;

static void *next_of(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

/* Whether this thread is the plugin's own: they take no signals. */
static bool is_own_thread(void)
{
    sigset_t blocked;

    return pthread_sigmask(SIG_SETMASK, NULL, &blocked) == 0 &&
           sigismember(&blocked, SIGTERM) == 1;
}

/* Count a call; 0, or the error it should fail with. */
static int count(enum inject_call call)
{
    struct plan *plan = &plans[call];
    int error = 0;

    if (!everywhere && is_own_thread())
        return 0;
    (void)pthread_mutex_lock(&lock);
    plan->count++;
    if (plan->count >= plan->first && plan->count <= plan->last)
        error = plan->error;
    (void)pthread_mutex_unlock(&lock);
    return error;
}

long inject_count(enum inject_call call)
{
    long n;

    (void)pthread_mutex_lock(&lock);
    n = plans[call].count;
    (void)pthread_mutex_unlock(&lock);
    return n;
}

void inject_reset(void)
{
    (void)pthread_mutex_lock(&lock);
    for (int i = 0; i < INJECT_CALLS; i++)
        plans[i] = (struct plan){.last = -1};
    short_write = -1;
    everywhere = false;
    (void)pthread_mutex_unlock(&lock);
}

void inject_everywhere(bool all)
{
    everywhere = all;
}

void inject_fail(enum inject_call call, long nth, long times, int error)
{
    struct plan *plan = &plans[call];

    (void)pthread_mutex_lock(&lock);
    plan->first = plan->count + nth;
    plan->last = plan->first + times - 1;
    plan->error = error;
    (void)pthread_mutex_unlock(&lock);
}

void inject_short_write(long bytes)
{
    (void)pthread_mutex_lock(&lock);
    short_write = bytes;
    (void)pthread_mutex_unlock(&lock);
}

void inject_hold(void)
{
    (void)pthread_mutex_lock(&lock);
    hold = true;
    held = false;
    (void)pthread_mutex_unlock(&lock);
}

void inject_held(void)
{
    (void)pthread_mutex_lock(&lock);
    while (!held)
        (void)pthread_cond_wait(&changed, &lock);
    (void)pthread_mutex_unlock(&lock);
}

void inject_release(int error)
{
    (void)pthread_mutex_lock(&lock);
    hold = false;
    held_error = error;
    (void)pthread_cond_broadcast(&changed);
    (void)pthread_mutex_unlock(&lock);
}

/* Where the flush is to be held: wait for the release; the error it brings. */
static int wait_held(void)
{
    int error = 0;

    (void)pthread_mutex_lock(&lock);
    if (hold && !held) {
        held = true;
        (void)pthread_cond_broadcast(&changed);
        while (hold)
            (void)pthread_cond_wait(&changed, &lock);
        error = held_error;
    }
    (void)pthread_mutex_unlock(&lock);
    return error;
}

static int fail_with(int error)
{
    errno = error;
    return -1;
}

int fdatasync(int fd)
{
    int error = count(INJECT_FDATASYNC);

    (void)fd;
    if (error == 0 && !is_own_thread())
        error = wait_held();
    return error != 0 ? fail_with(error) : 0;
}

int fsync(int fd)
{
    int error = count(INJECT_FSYNC);

    (void)fd;
    return error != 0 ? fail_with(error) : 0;
}

int ftruncate(int fd, off_t length)
{
    union {
        void *symbol;
        int (*call)(int, off_t);
    } next = {.symbol = next_of("ftruncate")};
    int error = count(INJECT_FTRUNCATE);

    return error != 0 ? fail_with(error) : next.call(fd, length);
}

/* How much of the next write goes through; -1: all. */
static long take_short_write(void)
{
    long bytes;

    (void)pthread_mutex_lock(&lock);
    bytes = short_write;
    short_write = -1;
    (void)pthread_mutex_unlock(&lock);
    return bytes;
}

ssize_t pwritev(int fd, const struct iovec *iov, int iovcnt, off_t offset)
{
    union {
        void *symbol;
        ssize_t (*call)(int, const struct iovec *, int, off_t);
    } next = {.symbol = next_of("pwritev")};
    int error = count(INJECT_PWRITEV);
    long most;

    if (error != 0)
        return fail_with(error);
    most = is_own_thread() ? -1 : take_short_write();
    if (most >= 0 && iovcnt > 0) {
        struct iovec part = iov[0];

        if (part.iov_len > (size_t)most)
            part.iov_len = (size_t)most;
        return next.call(fd, &part, 1, offset);
    }
    return next.call(fd, iov, iovcnt, offset);
}

static int call_openat(const char *name, int dir, const char *path, int flags,
                       mode_t mode)
{
    union {
        void *symbol;
        int (*call)(int, const char *, int, ...);
    } next = {.symbol = next_of(name)};
    int error = count(INJECT_OPENAT);

    return error != 0 ? fail_with(error) : next.call(dir, path, flags, mode);
}

int openat(int dir, const char *path, int flags, ...)
{
    mode_t mode = 0;
    va_list args;

    va_start(args, flags);
    if ((flags & O_CREAT) != 0)
        mode = (mode_t)va_arg(args, unsigned);
    va_end(args);
    return call_openat("openat", dir, path, flags, mode);
}

ssize_t pread(int fd, void *buffer, size_t len, off_t offset)
{
    union {
        void *symbol;
        ssize_t (*call)(int, void *, size_t, off_t);
    } next = {.symbol = next_of("pread")};
    int error = count(INJECT_PREAD);

    return error != 0 ? fail_with(error) : next.call(fd, buffer, len, offset);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    union {
        void *symbol;
        int (*call)(int, const char *, int, const char *);
    } next = {.symbol = next_of("renameat")};
    int error = count(INJECT_RENAMEAT);

    return error != 0 ? fail_with(error) : next.call(from_dir, from, to_dir, to);
}

int unlinkat(int dir, const char *path, int flags)
{
    union {
        void *symbol;
        int (*call)(int, const char *, int);
    } next = {.symbol = next_of("unlinkat")};
    int error = count(INJECT_UNLINKAT);

    return error != 0 ? fail_with(error) : next.call(dir, path, flags);
}

/* Only of files: memory is another matter, and a sanitizer asks for it before anything
 * else works. */
void *mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset)
{
    union {
        long result;
        void *map;
    } mapped;
    int error = fd >= 0 ? count(INJECT_MMAP) : 0;

    if (error != 0) {
        errno = error;
        return MAP_FAILED;
    }
    mapped.result = syscall(SYS_mmap, at, len, protection, flags, fd, offset);
    return mapped.map;
}

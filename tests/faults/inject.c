/* tests/faults/inject.c - see inject.h.  Every call counts itself, may fail, and goes
 * on to the C library's; only flushes do not: no power is cut here, and they are slow. */
#include "inject.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
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
static struct plan outage;
static unsigned outage_mask;
static void (*act_before)(void);
static enum inject_call act_call;
static long act_at;
static long fired;
static _Atomic long mapped;
static _Atomic bool wrapped;
static _Thread_local int inside; /* an operation of the plugin that was wrapped */

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

/* Whether a call of this thread counts. */
static bool concerns(void)
{
    if (wrapped)
        return inside != 0 || is_own_thread();
    return everywhere || !is_own_thread();
}

/* Count a call in plan; 0, or the error it should fail with. */
static int step(struct plan *plan)
{
    plan->count++;
    return plan->count >= plan->first && plan->count <= plan->last ? plan->error : 0;
}

static int count_always(enum inject_call call)
{
    int error;

    (void)pthread_mutex_lock(&lock);
    error = step(&plans[call]);
    if (error == 0 && (outage_mask & INJECT_BIT(call)) != 0)
        error = step(&outage);
    fired += error != 0;
    (void)pthread_mutex_unlock(&lock);
    return error;
}

static void act_if_due(enum inject_call call)
{
    void (*act)(void) = NULL;

    (void)pthread_mutex_lock(&lock);
    if (act_before != NULL && call == act_call && plans[call].count + 1 == act_at) {
        act = act_before;
        act_before = NULL;
    }
    (void)pthread_mutex_unlock(&lock);
    if (act != NULL)
        act();
}

/* Count a call; 0, or the error it should fail with. */
static int count(enum inject_call call)
{
    if (!concerns())
        return 0;
    act_if_due(call);
    return count_always(call);
}

int inject_count_memory(void)
{
    static _Thread_local signed char own = -1;

    if (!wrapped)
        return 0;
    if (inside == 0 && own < 0)
        own = is_own_thread() ? 1 : 0;
    return inside != 0 || own > 0 ? count_always(INJECT_MEMORY) : 0;
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
    outage = (struct plan){.last = -1};
    outage_mask = 0;
    act_before = NULL;
    fired = 0;
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

void inject_outage(unsigned mask, long nth, long times, int error)
{
    (void)pthread_mutex_lock(&lock);
    outage = (struct plan){.first = nth, .last = nth + times - 1, .error = error};
    outage_mask = mask;
    (void)pthread_mutex_unlock(&lock);
}

void inject_before(enum inject_call call, long nth, void (*act)(void))
{
    (void)pthread_mutex_lock(&lock);
    act_before = act;
    act_call = call;
    act_at = plans[call].count + nth;
    (void)pthread_mutex_unlock(&lock);
}

long inject_outage_count(void)
{
    long n;

    (void)pthread_mutex_lock(&lock);
    n = outage.count;
    (void)pthread_mutex_unlock(&lock);
    return n;
}

long inject_fired(void)
{
    long n;

    (void)pthread_mutex_lock(&lock);
    n = fired;
    (void)pthread_mutex_unlock(&lock);
    return n;
}

long inject_mapped(void)
{
    return mapped;
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

    if (error > 0)
        return fail_with(error);
    most = error != 0 ? -error : is_own_thread() ? -1 : take_short_write();
    if (most >= 0 && iovcnt > 0) {
        struct iovec part = iov[0];

        if (part.iov_len > (size_t)most)
            part.iov_len = (size_t)most;
        return next.call(fd, &part, 1, offset);
    }
    return next.call(fd, iov, iovcnt, offset);
}

/* Whether opening path should fail.  That a file has vanished can happen to those in a
 * directory only. */
static int count_open(int dir, const char *path, int flags)
{
    int error = count(INJECT_OPENAT);

    if (error == 0 && (flags & O_CREAT) != 0)
        error = count(INJECT_CREATE);
    return error == ENOENT && (dir == AT_FDCWD || path[0] == '.') ? 0 : error;
}

int openat(int dir, const char *path, int flags, ...)
{
    union {
        void *symbol;
        int (*call)(int, const char *, int, ...);
    } next = {.symbol = next_of("openat")};
    int error = count_open(dir, path, flags);
    mode_t mode = 0;
    va_list args;

    va_start(args, flags);
    if ((flags & O_CREAT) != 0)
        mode = (mode_t)va_arg(args, unsigned);
    va_end(args);
    return error != 0 ? fail_with(error) : next.call(dir, path, flags, mode);
}

ssize_t pread(int fd, void *buffer, size_t len, off_t offset)
{
    union {
        void *symbol;
        ssize_t (*call)(int, void *, size_t, off_t);
    } next = {.symbol = next_of("pread")};
    int error = count(INJECT_PREAD);

    if (error > 0)
        return fail_with(error);
    if (error < 0 && len > (size_t)-error)
        len = (size_t)-error;
    return next.call(fd, buffer, len, offset);
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

/* Of memory as INJECT_MEMORY, where the plugin asks for it. */
void *mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset)
{
    union {
        void *symbol;
        void *(*call)(void *, size_t, int, int, int, off_t);
    } next = {.symbol = next_of("mmap")};
    int error = fd >= 0 ? count(INJECT_MMAP) : inject_count_memory();
    void *map;

    if (error != 0) {
        errno = error;
        return MAP_FAILED;
    }
    map = next.call(at, len, protection, flags, fd, offset);
    if (map != MAP_FAILED && wrapped && concerns())
        mapped += (long)len;
    return map;
}

int munmap(void *at, size_t len)
{
    union {
        void *symbol;
        int (*call)(void *, size_t);
    } next = {.symbol = next_of("munmap")};

    if (wrapped && concerns())
        mapped -= (long)len;
    return next.call(at, len);
}

int mkdir(const char *path, mode_t mode)
{
    union {
        void *symbol;
        int (*call)(const char *, mode_t);
    } next = {.symbol = next_of("mkdir")};
    int error = count(INJECT_MKDIR);

    return error != 0 ? fail_with(error) : next.call(path, mode);
}

int fstat(int fd, struct stat *st)
{
    union {
        void *symbol;
        int (*call)(int, struct stat *);
    } next = {.symbol = next_of("fstat")};
    int error = count(INJECT_FSTAT);

    return error != 0 ? fail_with(error) : next.call(fd, st);
}

int fstatat(int dir, const char *path, struct stat *st, int flags)
{
    union {
        void *symbol;
        int (*call)(int, const char *, struct stat *, int);
    } next = {.symbol = next_of("fstatat")};
    int error = count(INJECT_FSTAT);

    return error != 0 ? fail_with(error) : next.call(dir, path, st, flags);
}

int flock(int fd, int operation)
{
    union {
        void *symbol;
        int (*call)(int, int);
    } next = {.symbol = next_of("flock")};
    int error = count(INJECT_FLOCK);

    return error != 0 ? fail_with(error) : next.call(fd, operation);
}

ssize_t getrandom(void *buffer, size_t len, unsigned flags)
{
    union {
        void *symbol;
        ssize_t (*call)(void *, size_t, unsigned);
    } next = {.symbol = next_of("getrandom")};
    int error = count(INJECT_GETRANDOM);

    return error != 0 ? fail_with(error) : next.call(buffer, len, flags);
}

int sync_file_range(int fd, off_t offset, off_t len, unsigned flags)
{
    int error = count(INJECT_SYNC_RANGE);

    (void)fd;
    (void)offset;
    (void)len;
    (void)flags;
    return error != 0 ? fail_with(error) : 0;
}

int posix_fadvise(int fd, off_t offset, off_t len, int advice)
{
    (void)fd;
    (void)offset;
    (void)len;
    (void)advice;
    return count(INJECT_FADVISE);
}

DIR *fdopendir(int fd)
{
    union {
        void *symbol;
        DIR *(*call)(int);
    } next = {.symbol = next_of("fdopendir")};
    int error = count(INJECT_FDOPENDIR);

    if (error != 0) {
        errno = error;
        return NULL;
    }
    return next.call(fd);
}

struct dirent *readdir(DIR *dir)
{
    union {
        void *symbol;
        struct dirent *(*call)(DIR *);
    } next = {.symbol = next_of("readdir")};
    int error = count(INJECT_READDIR);

    if (error != 0) {
        errno = error;
        return NULL;
    }
    return next.call(dir);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
                   void *arg)
{
    union {
        void *symbol;
        int (*call)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    } next = {.symbol = next_of("pthread_create")};
    int error = wrapped ? count(INJECT_THREAD) : 0;

    return error != 0 ? error : next.call(thread, attr, run, arg);
}

/* What pthread_atfork() comes down to. */
int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void),
                      void *object);
int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void),
                      void *object)
{
    union {
        void *symbol;
        int (*call)(void (*)(void), void (*)(void), void (*)(void), void *);
    } next = {.symbol = next_of("__register_atfork")};
    int error = count(INJECT_ATFORK);

    return error != 0 ? error : next.call(prepare, parent, child, object);
}

/* The C library's own name for it: a sanitizer asks before dlsym() can be called. */
long __sysconf(int name);
long sysconf(int name)
{
    int error = name == _SC_NPROCESSORS_ONLN ? count(INJECT_PROCESSORS) : 0;

    return error != 0 ? fail_with(error) : __sysconf(name);
}

/* ---- operations that mark their calls -----------------------------------------------
 */

static const struct mako_store_plugin *original;

static int wrapped_open(const struct mako_host *host, const union mako_value *options,
                        struct mako_traits *traits, void **store, struct mako_error *err)
{
    int status;

    inside++;
    status = original->open(host, options, traits, store, err);
    inside--;
    return status;
}

static void wrapped_close(void *store)
{
    inside++;
    original->close(store);
    inside--;
}

static int wrapped_save(void *store, const struct mako_record *record,
                        struct mako_error *err)
{
    int status;

    inside++;
    status = original->save(store, record, err);
    inside--;
    return status;
}

static int wrapped_load(void *store, struct mako_str stream, struct mako_sink *sink,
                        struct mako_error *err)
{
    int status;

    inside++;
    status = original->load(store, stream, sink, err);
    inside--;
    return status;
}

static int wrapped_remove(void *store, struct mako_str stream, struct mako_error *err)
{
    int status;

    inside++;
    status = original->remove(store, stream, err);
    inside--;
    return status;
}

static int wrapped_scan(void *store, struct mako_str prefix, struct mako_visitor *visitor,
                        struct mako_error *err)
{
    int status;

    inside++;
    status = original->scan(store, prefix, visitor, err);
    inside--;
    return status;
}

static int wrapped_save_many(void *store, const struct mako_record *records, size_t count,
                             int *statuses, struct mako_error *err)
{
    int status;

    inside++;
    status = original->save_many(store, records, count, statuses, err);
    inside--;
    return status;
}

static int wrapped_stats(void *store, struct mako_counters *counters,
                         struct mako_error *err)
{
    int status;

    inside++;
    status = original->stats(store, counters, err);
    inside--;
    return status;
}

static int wrapped_compact(void *store, struct mako_progress *progress,
                           struct mako_error *err)
{
    int status;

    inside++;
    status = original->compact(store, progress, err);
    inside--;
    return status;
}

static uintptr_t code_from, code_to;

bool inject_is_plugin(uintptr_t at)
{
    return at >= code_from && at < code_to;
}

/* The segment of the object that the plugin's code is in. */
static int find_code(struct dl_phdr_info *info, size_t size, void *arg)
{
    uintptr_t wanted = (uintptr_t)original->save;

    (void)size;
    (void)arg;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        uintptr_t from = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;

        if (info->dlpi_phdr[i].p_type == PT_LOAD && wanted >= from &&
            wanted < from + info->dlpi_phdr[i].p_memsz) {
            code_from = from;
            code_to = from + info->dlpi_phdr[i].p_memsz;
        }
    }
    return 0;
}

const struct mako_store_plugin *inject_wrap(const struct mako_store_plugin *plugin)
{
    static struct mako_store_plugin copy;

    original = plugin;
    (void)dl_iterate_phdr(find_code, NULL);
    copy = *plugin;
    copy.open = wrapped_open;
    copy.close = wrapped_close;
    copy.save = wrapped_save;
    copy.load = wrapped_load;
    copy.remove = wrapped_remove;
    copy.scan = wrapped_scan;
    copy.save_many = wrapped_save_many;
    copy.stats = wrapped_stats;
    copy.compact = wrapped_compact;
    wrapped = true;
    return &copy;
}

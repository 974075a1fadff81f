/* tests/power/record.c - see record.h. */
#include "record.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define NOT_KNOWN UINT32_MAX
#define FLUSH_NS                                                           \
    40000 /* what a flush takes: others come meanwhile, and share the next \
           */
#define SECTOR     512u
#define FULL_CALLS 25 /* a full disk stays so for so many calls, or until an unlink */

static struct record_setup setup;
static _Atomic bool recording, no_flush;
static unsigned full; /* calls for which the disk is still full; under the trace's lock */
static _Thread_local bool opening;
static _Thread_local enum flush_kind dir_flush; /* what the next flush of it is for */

static void *next_of(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

/* A directory is known by its device and inode, too. */
static void know(const struct stat *st, uint32_t file)
{
    struct trace *trace = setup.trace;

    if (trace->known_count == KNOWN_MAX)
        abort();
    trace->known[trace->known_count++] =
        (struct known){.dev = st->st_dev, .ino = st->st_ino, .file = file};
}

/* The latest to have this inode. */
static uint32_t known_file(const struct stat *st)
{
    const struct trace *trace = setup.trace;

    for (size_t i = trace->known_count; i-- > 0;)
        if (trace->known[i].ino == st->st_ino && trace->known[i].dev == st->st_dev)
            return trace->known[i].file;
    return NOT_KNOWN;
}

/* Take the lock if fd is of the store; its file's number, else NOT_KNOWN, unlocked. */
static uint32_t enter(int fd)
{
    uint32_t file = NOT_KNOWN;
    int error = errno;
    struct stat st;

    if (!recording || fstat(fd, &st) != 0) {
        errno = error;
        return NOT_KNOWN;
    }
    trace_lock(setup.trace);
    file = known_file(&st);
    if (file == NOT_KNOWN)
        trace_unlock(setup.trace);
    return file;
}

static void leave(void)
{
    int error = errno;

    trace_unlock(setup.trace);
    errno = error;
}

void record_start(const struct record_setup *how)
{
    struct stat st;

    setup = *how;
    full = 0;
    if (stat(setup.root, &st) != 0)
        abort();
    trace_lock(setup.trace);
    know(&st, DIR_ROOT);
    trace_unlock(setup.trace);
    recording = true;
}

void record_stop(void)
{
    recording = false;
}

void record_fill_disk(void)
{
    trace_lock(setup.trace);
    full = UINT_MAX;
    trace_unlock(setup.trace);
}

void record_fail_flushes(bool fail)
{
    no_flush = fail;
}

void record_opening(bool is)
{
    opening = is;
}

/* ---- calls that fail -------------------------------------------------------------- */

static bool fails(void)
{
    return setup.faults != 0 && random_below(&setup.seed, 1000) < setup.faults;
}

/* The errno number of a write that fails, or 0. */
static int write_error(void)
{
    if (full > 0) {
        full--;
        return ENOSPC;
    }
    if (!fails())
        return 0;
    if (random_chance(&setup.seed, 50))
        return EIO;
    full = FULL_CALLS;
    return ENOSPC;
}

/* ---- bytes ------------------------------------------------------------------------ */

static size_t total_of(const struct iovec *iov, int count)
{
    size_t total = 0;

    for (int i = 0; i < count; i++)
        total += iov[i].iov_len;
    return total;
}

/* The first len bytes of iov, into the trace. */
static uint64_t keep_bytes(const struct iovec *iov, int count, size_t len)
{
    uint64_t room = trace_room(setup.trace, len), at = room;

    for (int i = 0; i < count && len > 0; i++) {
        size_t piece = iov[i].iov_len < len ? iov[i].iov_len : len;

        if (piece != 0)
            memcpy(setup.trace->bytes + at, iov[i].iov_base, piece);
        at += piece;
        len -= piece;
    }
    return room;
}

/* Write len bytes of iov for real, and note them; the caller holds the lock. */
static ssize_t write_and_note(int fd, uint32_t file, const struct iovec *iov, int count,
                              size_t len, off_t offset)
{
    struct event event = {.kind = EVENT_WRITE,
                          .file = file,
                          .offset = (uint64_t)offset,
                          .len = len,
                          .bytes = keep_bytes(iov, count, len)};
    ssize_t n = pwrite(fd, setup.trace->bytes + event.bytes, len, offset);

    if (n != (ssize_t)len)
        return -1; /* the file system in memory is full: the model will differ */
    (void)trace_add(setup.trace, &event);
    return n;
}

/* How much of a write goes through that does not as a whole: up to the end of a sector,
 * as file systems have it. */
static size_t part_of(off_t offset, size_t len)
{
    uint64_t end = (uint64_t)offset + random_below(&setup.seed, len + 1);

    end -= end % SECTOR;
    return end > (uint64_t)offset ? (size_t)(end - (uint64_t)offset) : 0;
}

ssize_t pwritev(int fd, const struct iovec *iov, int count, off_t offset)
{
    union {
        void *symbol;
        ssize_t (*call)(int, const struct iovec *, int, off_t);
    } next;
    uint32_t file = enter(fd);
    size_t len = total_of(iov, count);
    ssize_t n = -1;
    int error;

    if (file == NOT_KNOWN) {
        next.symbol = next_of("pwritev");
        return next.call(fd, iov, count, offset);
    }
    error = write_error();
    if (error != 0 && (full > FULL_CALLS || random_chance(&setup.seed, 50)))
        len = 0;
    else if (error != 0 || fails())
        len = part_of(offset, len);
    if (len > 0)
        n = write_and_note(fd, file, iov, count, len, offset);
    else
        errno = error != 0 ? error : EIO;
    leave();
    return n;
}

int ftruncate(int fd, off_t length)
{
    union {
        void *symbol;
        int (*call)(int, off_t);
    } next = {.symbol = next_of("ftruncate")};
    uint32_t file = enter(fd);
    struct event event = {.kind = EVENT_SIZE, .file = file, .len = (uint64_t)length};
    int result = -1;

    if (file == NOT_KNOWN)
        return next.call(fd, length);
    if (fails())
        errno = EIO;
    else
        result = next.call(fd, length);
    if (result == 0)
        (void)trace_add(setup.trace, &event);
    leave();
    return result;
}

/* ---- names ------------------------------------------------------------------------ */

static void name_event(struct event *event, const char *name, const char *to)
{
    (void)snprintf(event->name, NAME_ROOM, "%s", name);
    (void)snprintf(event->to, NAME_ROOM, "%s", to);
}

/* What open() has done to name in the store's directory; the caller holds the lock. */
static void note_open(int fd, const char *name, int flags, bool was_there)
{
    struct event event = {.kind = EVENT_CREATE};
    struct stat st;

    if (fstat(fd, &st) != 0)
        abort();
    if (!was_there) {
        event.file = ++setup.trace->files;
        know(&st, event.file);
        name_event(&event, name, "");
        (void)trace_add(setup.trace, &event);
        if (strstr(name, ".seg") != NULL)
            dir_flush = FLUSH_SEGMENT_ENTRY;
    } else if ((flags & O_TRUNC) != 0) {
        event.kind = EVENT_SIZE;
        event.file = known_file(&st);
        (void)trace_add(setup.trace, &event);
    }
}

int openat(int dir, const char *path, int flags, ...)
{
    union {
        void *symbol;
        int (*call)(int, const char *, int, ...);
    } next = {.symbol = next_of("openat")};
    bool changes = (flags & (O_CREAT | O_TRUNC)) != 0, was_there;
    mode_t mode = 0;
    va_list args;
    int fd = -1;

    va_start(args, flags);
    if ((flags & O_CREAT) != 0)
        mode = (mode_t)va_arg(args, unsigned);
    va_end(args);
    if (!changes || dir == AT_FDCWD || enter(dir) == NOT_KNOWN)
        return next.call(dir, path, flags, mode);
    was_there = faccessat(dir, path, F_OK, 0) == 0;
    if (!was_there && (full > 0 || fails()))
        errno = ENOSPC;
    else
        fd = next.call(dir, path, flags, mode);
    if (fd >= 0)
        note_open(fd, path, flags, was_there);
    leave();
    return fd;
}

int mkdir(const char *path, mode_t mode)
{
    union {
        void *symbol;
        int (*call)(const char *, mode_t);
    } next = {.symbol = next_of("mkdir")};
    struct event event = {.kind = EVENT_MKDIR, .file = DIR_STORE};
    struct stat st;
    int result;

    if (!recording)
        return next.call(path, mode);
    trace_lock(setup.trace);
    result = next.call(path, mode);
    if (result == 0 && stat(path, &st) == 0) {
        know(&st, DIR_STORE);
        (void)trace_add(setup.trace, &event);
    }
    leave();
    return result;
}

/* The number of name's file; the caller holds the lock. */
static uint32_t named_file(int dir, const char *name)
{
    struct stat st;

    return fstatat(dir, name, &st, 0) == 0 ? known_file(&st) : NOT_KNOWN;
}

int unlinkat(int dir, const char *name, int flags)
{
    union {
        void *symbol;
        int (*call)(int, const char *, int);
    } next = {.symbol = next_of("unlinkat")};
    struct event event = {.kind = EVENT_UNLINK};
    int result;

    if (enter(dir) == NOT_KNOWN)
        return next.call(dir, name, flags);
    event.file = named_file(dir, name);
    name_event(&event, name, "");
    result = next.call(dir, name, flags);
    if (result == 0) {
        (void)trace_add(setup.trace, &event);
        dir_flush = FLUSH_UNLINKS;
        full = 0;
    }
    leave();
    return result;
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    union {
        void *symbol;
        int (*call)(int, const char *, int, const char *);
    } next = {.symbol = next_of("renameat")};
    struct event event = {.kind = EVENT_RENAME};
    int result;

    if (enter(from_dir) == NOT_KNOWN)
        return next.call(from_dir, from, to_dir, to);
    event.file = named_file(from_dir, from);
    name_event(&event, from, to);
    result = next.call(from_dir, from, to_dir, to);
    if (result == 0) {
        (void)trace_add(setup.trace, &event);
        dir_flush = FLUSH_COPY_ENTRY;
    }
    leave();
    return result;
}

/* ---- flushes ---------------------------------------------------------------------- */

/* What a flush of file is for. */
static enum flush_kind kind_of(int fd, uint32_t file)
{
    char link[64], path[512] = "";
    ssize_t n;

    if (file == DIR_ROOT)
        return FLUSH_PARENT;
    if (file == DIR_STORE)
        return opening ? FLUSH_RECOVERY_ENTRIES : dir_flush;
    if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY)
        return FLUSH_RECOVERY; /* who writes a segment has it open for writing */
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof path - 1);
    return n > 0 && strstr(path, "compact.tmp") != NULL ? FLUSH_COPY : FLUSH_SEGMENT;
}

/* The caller holds no lock; others work on meanwhile. */
static void take_time(void)
{
    struct timespec pause = {.tv_nsec = FLUSH_NS};

    (void)nanosleep(&pause, NULL);
}

static int note_flush(int fd)
{
    uint32_t file = enter(fd);
    struct event event = {.kind = EVENT_FLUSH, .file = file};
    bool failed;

    if (file == NOT_KNOWN)
        return 0; /* no power is cut where nothing is recorded */
    event.flush = (uint8_t)kind_of(fd, file);
    event.at = trace_add(setup.trace, &event);
    failed = no_flush || fails();
    leave();
    take_time();
    event.kind = EVENT_FLUSHED;
    event.status = failed ? EIO : 0;
    (void)trace_note(setup.trace, &event);
    if (failed)
        errno = EIO;
    return failed ? -1 : 0;
}

int fdatasync(int fd)
{
    return note_flush(fd);
}

int fsync(int fd)
{
    return note_flush(fd);
}

/* Clean pages are read from the medium again: after a flush that failed, what is there
 * may be something else. */
static void forget(int fd, uint32_t file)
{
    struct event event = {
        .kind = EVENT_FORGET, .file = file, .offset = random_next(&setup.seed)};
    char link[64];
    size_t len;
    const unsigned char *bytes;
    int writable;

    disk_advance(setup.disk, setup.trace, setup.trace->count);
    bytes = disk_forget(setup.disk, file, event.offset, &len);
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    writable = open(link, O_WRONLY | O_TRUNC | O_CLOEXEC);
    if (writable < 0 || (len != 0 && write(writable, bytes, len) != (ssize_t)len))
        abort();
    (void)close(writable);
    (void)trace_add(setup.trace, &event);
}

int posix_fadvise(int fd, off_t offset, off_t len, int advice)
{
    uint32_t file = advice == POSIX_FADV_DONTNEED ? enter(fd) : NOT_KNOWN;

    (void)offset;
    (void)len;
    if (file == NOT_KNOWN)
        return 0;
    if (setup.trace->faulty)
        forget(fd, file);
    leave();
    return 0;
}

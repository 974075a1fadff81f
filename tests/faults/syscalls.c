/* tests/faults/syscalls.c - see syscalls.h. */
#include "syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

enum {
    ERRORS = 6,
    PATIENCE_S = 60
};

/* What tells that a row's call concerns us, and how it moves bytes. */
enum kind {
    PLAIN,
    ON_FD,  /* its first argument is a descriptor */
    READS,  /* fd, buffer, length[, offset] */
    WRITES, /* likewise */
    MAPS,   /* memory: under a sanitizer files' only, for it gives up without memory */
    OF_MEMORY
};

struct row {
    int number;
    enum kind kind;
    const char *name;
    int errors[ERRORS]; /* 0 ends */
};

#define ROW(call, kind, ...)     \
    {                            \
        SYS_##call, kind, #call, \
        {                        \
            __VA_ARGS__          \
        }                        \
    }

static const struct row rows[] = {
    ROW(openat, PLAIN, EMFILE, EIO, EACCES, ENOMEM, EINTR),
    ROW(read, READS, EIO, SYSCALLS_SHORT, EINTR, ENOMEM),
    ROW(pread64, READS, EIO, SYSCALLS_SHORT, EINTR),
    ROW(write, WRITES, ENOSPC, EIO, SYSCALLS_SHORT, EINTR, EPIPE),
    ROW(pwritev, ON_FD, ENOSPC, EIO, EDQUOT, EINTR),
    ROW(writev, ON_FD, ENOSPC, EIO, EINTR),
    ROW(close, ON_FD, EIO, EINTR),
    ROW(fstat, ON_FD, EIO, ENOMEM),
    ROW(newfstatat, PLAIN, EIO, ENOMEM, EACCES),
    ROW(statx, PLAIN, EIO, ENOMEM, EACCES),
    ROW(faccessat, PLAIN, EIO, ENOMEM, EACCES),
    ROW(faccessat2, PLAIN, EIO, ENOMEM, EACCES),
    ROW(readlinkat, PLAIN, EIO, ENOMEM, EACCES),
    ROW(mmap, MAPS, ENOMEM, EACCES),
    ROW(munmap, OF_MEMORY, ENOMEM),
    ROW(mprotect, OF_MEMORY, ENOMEM, EACCES),
    ROW(renameat, PLAIN, EIO, ENOSPC, EACCES, EROFS),
    ROW(unlinkat, PLAIN, EIO, EACCES, EROFS),
    ROW(mkdirat, PLAIN, ENOSPC, EACCES, EROFS, EIO),
    ROW(fsync, ON_FD, EIO, ENOSPC, EINTR),
    ROW(fdatasync, ON_FD, EIO, ENOSPC, EINTR),
    ROW(sync_file_range, ON_FD, EIO, ENOSPC),
    ROW(ftruncate, ON_FD, EIO, EINTR, EROFS),
    ROW(fallocate, ON_FD, ENOSPC, EOPNOTSUPP),
    ROW(fadvise64, ON_FD, EINVAL),
    ROW(flock, ON_FD, ENOLCK, EINTR),
    ROW(fcntl, ON_FD, EMFILE, ENOLCK),
    ROW(getdents64, ON_FD, EIO, ENOMEM),
    ROW(ioctl, ON_FD, ENOTTY, EIO),
    ROW(lseek, ON_FD, EIO, ESPIPE),
    ROW(getcwd, PLAIN, ENOENT, ENOMEM, EACCES),
    ROW(fchmod, ON_FD, EPERM, EIO),
    ROW(fchown, ON_FD, EPERM, EIO),
    ROW(fstatfs, ON_FD, EIO, ENOSYS),
    ROW(dup, ON_FD, EMFILE, EINTR),
    ROW(getrandom, PLAIN, ENOSYS, EINTR),
    ROW(clock_gettime, PLAIN, EINVAL),
    ROW(clone3, PLAIN, EAGAIN, ENOMEM),
    ROW(clone, PLAIN, EAGAIN, ENOMEM),
    ROW(socket, PLAIN, EMFILE, EACCES),
#ifdef SYS_open /* the older ones, which newer machines do without */
    ROW(open, PLAIN, EMFILE, EIO, EACCES, ENOMEM, EINTR),
    ROW(stat, PLAIN, EIO, ENOMEM, EACCES),
    ROW(lstat, PLAIN, EIO, ENOMEM, EACCES),
    ROW(access, PLAIN, EIO, ENOMEM, EACCES),
    ROW(readlink, PLAIN, EIO, ENOMEM, EACCES),
    ROW(rename, PLAIN, EIO, ENOSPC, EACCES, EROFS),
    ROW(unlink, PLAIN, EIO, EACCES, EROFS),
    ROW(mkdir, PLAIN, ENOSPC, EACCES, EROFS, EIO),
#endif
};

enum {
    ROWS = sizeof rows / sizeof rows[0]
};
_Static_assert((int)ROWS <= (int)SYSCALLS_KINDS, "a report has room for each kind");

/* With the process under trial. */
struct shared {
    _Atomic bool armed;
};
static struct shared *shared;

/* ---- the process under trial ---------------------------------------------------------
 */

void syscalls_begin(void)
{
    shared->armed = true;
}

static void disarm(void)
{
    shared->armed = false;
}

/* Stop at each call of that kind, or of all; the descriptor to be asked at, or -1. */
static int install_filter(int kind)
{
    unsigned first = kind < 0 ? 0 : (unsigned)kind, count = kind < 0 ? ROWS : 1;
    struct sock_filter code[ROWS + 3];
    struct sock_fprog program = {.len = (unsigned short)(count + 3), .filter = code};

    code[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                           offsetof(struct seccomp_data, nr));
    for (unsigned i = 0; i < count; i++)
        code[i + 1] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                                                   (unsigned)rows[first + i].number,
                                                   (unsigned char)(count - i), 0);
    code[count + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    code[count + 2] =
        (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return -1;
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                        SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

/* One descriptor as a message's right. */
union right {
    struct cmsghdr head;
    char room[CMSG_SPACE(sizeof(int))];
};

static bool send_descriptor(int socket, int fd)
{
    union right right = {.head = {.cmsg_len = CMSG_LEN(sizeof fd),
                                  .cmsg_level = SOL_SOCKET,
                                  .cmsg_type = SCM_RIGHTS}};
    struct iovec byte = {.iov_base = (char[]){0}, .iov_len = 1};
    struct msghdr message = {.msg_iov = &byte,
                             .msg_iovlen = 1,
                             .msg_control = &right,
                             .msg_controllen = sizeof right};

    memcpy(CMSG_DATA(&right.head), &fd, sizeof fd);
    return sendmsg(socket, &message, 0) == 1;
}

static int receive_descriptor(int socket)
{
    union right right;
    struct iovec byte = {.iov_base = (char[]){0}, .iov_len = 1};
    struct msghdr message = {.msg_iov = &byte,
                             .msg_iovlen = 1,
                             .msg_control = &right,
                             .msg_controllen = sizeof right};
    int fd = -1;

    if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) == 1 &&
        message.msg_controllen >= sizeof right)
        memcpy(&fd, CMSG_DATA(&right.head), sizeof fd);
    return fd;
}

static _Noreturn void be_child(int socket, int kind, int (*child)(void *), void *arg)
{
    int listener = install_filter(kind);

    /* Without one it ends, and the parent sees the socket's end. */
    if (listener < 0 || !send_descriptor(socket, listener) || atexit(disarm) != 0)
        _exit(98);
    (void)close(listener);
    (void)close(socket);
    exit(child(arg));
}

/* ---- the parent: one call -------------------------------------------------------------
 */

const char *syscalls_name(int kind)
{
    return kind < ROWS ? rows[kind].name : NULL;
}

int syscalls_error(int kind, unsigned choice)
{
    return choice < ERRORS ? rows[kind].errors[choice] : 0;
}

static int kind_of(int number)
{
    int kind = 0;

    while (kind < ROWS - 1 && rows[kind].number != number)
        kind++;
    return kind;
}

static bool concerns(const struct row *row, const struct seccomp_data *data)
{
    if (!shared->armed)
        return false;
    if (!SANITIZED)
        return true;
    return row->kind == MAPS ? (int)data->args[4] >= 0 : row->kind != OF_MEMORY;
}

/* The error that the call gets; 0: none. */
static int decide(int kind, const struct seccomp_data *data,
                  const struct syscalls_plan *plan, struct syscalls_report *report)
{
    const struct row *row = &rows[kind];
    long count;

    if (!concerns(row, data))
        return 0;
    count = ++report->seen[kind];
    if (plan->kind != kind || count < plan->nth || (count > plan->nth && !plan->for_ever))
        return 0;
    if (report->fired++ == 0 && row->kind != PLAIN && row->kind < MAPS)
        report->fd = (int)data->args[0];
    return row->errors[plan->choice];
}

/* Move half of what is wanted in the place of the stopped process; returns what its call
 * does, or -1 with errno. */
static ssize_t move_half(const struct row *row, pid_t pid,
                         const struct seccomp_notif *asked)
{
    static char bytes[64 * 1024];
    const unsigned long long *args = asked->data.args;
    size_t half = (size_t)(args[2] + 1) / 2;
    struct iovec here = {.iov_base = bytes,
                         .iov_len = half < sizeof bytes ? half : sizeof bytes};
    struct iovec there = {.iov_base = (void *)(uintptr_t)args[1],
                          .iov_len = here.iov_len};
    int process = pidfd_open(pid, 0); /* asked->pid may be a thread's */
    int fd = process < 0 ? -1 : pidfd_getfd(process, (int)args[0], 0), error;
    ssize_t moved = -1;

    if (fd >= 0 && row->kind == WRITES)
        moved = process_vm_readv(pid, &here, 1, &there, 1, 0);
    if (moved > 0)
        moved = write(fd, bytes, (size_t)moved);
    else if (fd >= 0 && row->kind == READS)
        moved = asked->data.nr == SYS_pread64
                    ? pread(fd, bytes, here.iov_len, (off_t)args[3])
                    : read(fd, bytes, here.iov_len);
    here.iov_len = there.iov_len = (size_t)moved;
    if (moved > 0 && row->kind == READS)
        moved = process_vm_writev(pid, &here, 1, &there, 1, 0);
    error = errno;
    if (fd >= 0)
        (void)close(fd);
    if (process >= 0)
        (void)close(process);
    errno = error;
    return moved;
}

static void answer(pid_t pid, int listener, const struct syscalls_plan *plan,
                   struct syscalls_report *report)
{
    struct seccomp_notif asked;
    struct seccomp_notif_resp said;
    int kind, error;

    memset(&asked, 0, sizeof asked);
    memset(&said, 0, sizeof said);
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked) != 0)
        return; /* it was killed meanwhile */
    kind = kind_of(asked.data.nr);
    error = decide(kind, &asked.data, plan, report);
    said.id = asked.id;
    if (error > 0) {
        said.error = -error;
    } else if (error == SYSCALLS_SHORT && asked.data.args[2] > 1) {
        said.val = move_half(&rows[kind], pid, &asked);
        said.error = said.val < 0 ? -errno : 0;
    } else {
        said.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    }
    (void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &said);
}

/* ---- the parent: one process ----------------------------------------------------------
 */

/* Switching between the two is cheaper where the kernel knows that they take turns. */
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS      SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif

/* Answer until the process ends. */
static void serve(pid_t child, int listener, const struct syscalls_plan *plan,
                  struct syscalls_report *report)
{
    int process = pidfd_open(child, 0);
    time_t end = time(NULL) + PATIENCE_S;
    struct pollfd entries[] = {{.fd = process, .events = POLLIN},
                               {.fd = listener, .events = POLLIN}};

    (void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS,
                SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
    while (entries[0].revents == 0) {
        int ready = poll(entries, 2, PATIENCE_S * 1000);

        if (ready == 0 || time(NULL) > end || (ready < 0 && errno != EINTR)) {
            report->hangs = true;
            (void)kill(child, SIGKILL);
            break;
        }
        if (ready > 0 && (entries[1].revents & POLLIN) != 0)
            answer(child, listener, plan, report);
    }
    if (process >= 0)
        (void)close(process);
}

int syscalls_run(int (*child)(void *arg), void *arg, const struct syscalls_plan *plan,
                 struct syscalls_report *report)
{
    int pair[2], listener, status = -1;
    pid_t pid;

    *report = (struct syscalls_report){.fd = -1};
    if (shared == NULL)
        shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        abort();
    shared->armed = false;
    (void)fflush(NULL);
    pid = fork();
    if (pid == 0) {
        (void)close(pair[0]);
        be_child(pair[1], plan->kind, child, arg);
    }
    (void)close(pair[1]);
    listener = receive_descriptor(pair[0]);
    (void)close(pair[0]);
    if (listener >= 0) {
        serve(pid, listener, plan, report);
        (void)close(listener);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return status;
}

/* ---- whether it works -----------------------------------------------------------------
 */

static int reads_one(void *arg)
{
    char bytes[2] = "";
    int pipes[2];

    (void)arg;
    if (pipe(pipes) != 0 || write(pipes[1], "ab", 2) != 2)
        return 2;
    syscalls_begin();
    return read(pipes[0], bytes, 2) == 1 && bytes[0] == 'a' ? 0 : 3;
}

bool syscalls_work(const char **why)
{
    static char text[160];
    struct syscalls_report report;
    int status = syscalls_run(
        reads_one, NULL,
        &(struct syscalls_plan){.kind = kind_of(SYS_read), .nth = 1, .choice = 1},
        &report);

    (void)snprintf(text, sizeof text,
                   "seccomp's user notification, pidfd_getfd() or process_vm_writev() "
                   "are not to be had here (status %#x, %ld calls failed)",
                   (unsigned)status, report.fired);
    *why = text;
    return status == 0 && report.fired == 1;
}

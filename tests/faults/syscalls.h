/* tests/faults/syscalls.h - system calls of a process that fail on demand, whoever makes
 * them: the program, its libraries, the C library inside of itself, the linker.
 *
 * The kernel asks (seccomp, "user notification"): a process under trial stops at each
 * call that a row of the table in syscalls.c names, and its parent lets the call go on,
 * answers it with an error, or moves half of the bytes.  Functions under the C library's
 * names, as in inject.c, do not see what the C library calls within itself: all of stdio.
 */
#ifndef MAKO_TESTS_FAULTS_SYSCALLS_H
#define MAKO_TESTS_FAULTS_SYSCALLS_H

#include <stdbool.h>

enum {
    SYSCALLS_KINDS = 48, /* rows of the table, or more */
    SYSCALLS_SHORT = -1  /* an "error": half of the bytes are moved */
};

struct syscalls_plan {
    int kind;        /* which row's calls count; -1: all, and none fails */
    long nth;        /* the one that fails, 1 is the first */
    unsigned choice; /* with which of its errors */
    bool for_ever;   /* so do all later ones */
};

struct syscalls_report {
    long seen[SYSCALLS_KINDS]; /* calls of each kind that counted */
    long fired;                /* calls that failed */
    int fd;                    /* the first one's descriptor, where it has one, else -1 */
    bool hangs;                /* was killed: did not end in a minute */
};

/* What a kind's calls are named; NULL: there is no such kind. */
const char *syscalls_name(int kind);
/* One of its errors; 0: it has fewer. */
int syscalls_error(int kind, unsigned choice);

/* Whether the kernel serves this process; else why has a sentence. */
bool syscalls_work(const char **why);
/* Run child(arg) in a process of its own, which ends with its result.  Calls count from
 * syscalls_begin() on, which child calls, until its exit handlers run.  Returns what
 * waitpid() says. */
int syscalls_run(int (*child)(void *arg), void *arg, const struct syscalls_plan *plan,
                 struct syscalls_report *report);
void syscalls_begin(void);

#endif

/* tests/faults/inject.h - system calls that fail on demand.
 *
 * The functions in inject.c have the names of the C library's and stand in the test
 * program, so that the plugin's calls come to them first. */
#ifndef MAKO_TESTS_FAULTS_INJECT_H
#define MAKO_TESTS_FAULTS_INJECT_H

#include <stdbool.h>

enum inject_call {
    INJECT_FDATASYNC,
    INJECT_FSYNC,
    INJECT_PWRITEV,
    INJECT_OPENAT,
    INJECT_FTRUNCATE,
    INJECT_PREAD,
    INJECT_RENAMEAT,
    INJECT_UNLINKAT,
    INJECT_MMAP,
    INJECT_CALLS
};

/* How often call was made since inject_reset(). */
long inject_count(enum inject_call call);
void inject_reset(void);
/* Whether calls of the plugin's own threads count and fail, too; not after a reset. */
void inject_everywhere(bool everywhere);

/* The nth call from now on (1 is the next) fails with error; times of them in a row. */
void inject_fail(enum inject_call call, long nth, long times, int error);
/* The next pwritev writes at most this many bytes, as a disk that is nearly full does. */
void inject_short_write(long bytes);
/* The next fdatasync waits in inject_release(); inject_held() waits until it does. */
void inject_hold(void);
void inject_held(void);
/* Let it go: it fails with error, or works where that is 0. */
void inject_release(int error);

#endif

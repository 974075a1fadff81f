/* tests/faults/inject.h - system calls that fail on demand.
 *
 * The functions in inject.c have the names of the C library's and stand in the test
 * program, so that the plugin's calls come to them first. */
#ifndef MAKO_TESTS_FAULTS_INJECT_H
#define MAKO_TESTS_FAULTS_INJECT_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include <mako/store_plugin.h>

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
    INJECT_CREATE, /* openat() with O_CREAT, beside INJECT_OPENAT */
    INJECT_MKDIR,
    INJECT_FSTAT, /* fstatat(), too */
    INJECT_FLOCK,
    INJECT_GETRANDOM,
    INJECT_SYNC_RANGE,
    INJECT_FADVISE,
    INJECT_FDOPENDIR,
    INJECT_READDIR,
    INJECT_THREAD,
    INJECT_ATFORK,
    INJECT_PROCESSORS, /* sysconf(), asked for their number */
    INJECT_MEMORY,     /* malloc() and its like; see inject_memory.c */
    INJECT_CALLS
};

/* A copy of plugin whose operations mark their calls: from then on only what happens
 * inside of them, and in the plugin's own threads, counts and fails. */
const struct mako_store_plugin *inject_wrap(const struct mako_store_plugin *plugin);

/* How often call was made since inject_reset(). */
long inject_count(enum inject_call call);
void inject_reset(void);
/* Whether calls of the plugin's own threads count and fail, too; not after a reset. */
void inject_everywhere(bool everywhere);

#define INJECT_FOREVER (LONG_MAX / 2)

/* The nth call from now on (1 is the next) fails with error; times of them in a row.
 * Error -n of INJECT_PREAD and INJECT_PWRITEV: it does not fail, but moves at most n
 * bytes. */
void inject_fail(enum inject_call call, long nth, long times, int error);
/* Likewise of all calls whose bits are in mask, counted together: a disk that is full or
 * broken for a while. */
void inject_outage(unsigned mask, long nth, long times, int error);
/* Before the nth call from now on its thread calls act. */
void inject_before(enum inject_call call, long nth, void (*act)(void));
#define INJECT_BIT(call) (1u << (call))
long inject_outage_count(void);
/* How many calls have failed, or were short, since the reset. */
long inject_fired(void);
/* Bytes mapped inside the plugin, and not unmapped. */
long inject_mapped(void);

/* For inject_memory.c: count a call where it is the plugin's; 0, or how it fails. */
int inject_count_memory(void);
/* Whether the wrapped plugin's code is there. */
bool inject_is_plugin(uintptr_t at);
/* The next pwritev writes at most this many bytes, as a disk that is nearly full does. */
void inject_short_write(long bytes);
/* The next fdatasync waits in inject_release(); inject_held() waits until it does. */
void inject_hold(void);
void inject_held(void);
/* Let it go: it fails with error, or works where that is 0. */
void inject_release(int error);

#endif

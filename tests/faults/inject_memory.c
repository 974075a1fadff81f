/* tests/faults/inject_memory.c - allocations that fail on demand, as INJECT_MEMORY.
 *
 * malloc() and its like stand in the test program and so serve the whole process; only
 * what the plugin asks for, itself or through a library that it calls, is counted.  All
 * go on to the sanitizer's where there is one, so that leaks are still seen. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "inject.h"

#ifdef MAKO_SANITIZED
#define SANITIZED  1
#define NEXT(name) __interceptor_##name
void *__interceptor_malloc(size_t size);
void *__interceptor_calloc(size_t count, size_t size);
void *__interceptor_realloc(void *memory, size_t size);
#else
#define SANITIZED  0
#define NEXT(name) __libc_##name
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
#endif

/* Where this program's own code stands. */
extern const char __executable_start[], etext[];

/* Whether an allocation that the code at caller asks for should fail: never the test's
 * own, which callbacks make inside of the plugin's operations. */
static int fails(const void *caller)
{
    uintptr_t at = (uintptr_t)caller;

    if (SANITIZED ? !inject_is_plugin(at)
                  : at >= (uintptr_t)__executable_start && at < (uintptr_t)etext)
        return 0;
    if (inject_count_memory() == 0)
        return 0;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : NEXT(malloc)(size);
}

void *calloc(size_t count, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : NEXT(calloc)(count, size);
}

void *realloc(void *memory, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : NEXT(realloc)(memory, size);
}

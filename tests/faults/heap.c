/* tests/faults/heap.c - see heap.h.  All go on to the sanitizer's where there is one, so
 * that leaks are still seen; what its own strdup() and the like ask for is not counted
 * then. */
#include "heap.h"

#include <errno.h>
#include <stdlib.h>

#ifdef MAKO_SANITIZED
#define NEXT(name) __interceptor_##name
void *__interceptor_malloc(size_t size);
void *__interceptor_calloc(size_t count, size_t size);
void *__interceptor_realloc(void *memory, size_t size);
void *__interceptor_aligned_alloc(size_t align, size_t size);
#define ALIGNED(align, size) __interceptor_aligned_alloc(align, size)
#else
#define NEXT(name)           __libc_##name
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t align, size_t size);
#define ALIGNED(align, size) __libc_memalign(align, size)
#endif

static _Thread_local bool armed;
static _Thread_local long left, last; /* allocations until the first, and the last */
static _Thread_local long fired;

void heap_fail(long nth, long times)
{
    left = nth - 1;
    last = times;
    fired = 0;
    armed = true;
}

bool heap_heal(void)
{
    armed = false;
    return fired != 0;
}

/* Count an allocation; whether it should fail. */
static bool fails(void)
{
    if (!armed || left-- > 0)
        return false;
    if (fired >= last)
        return false;
    fired++;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    return fails() ? NULL : NEXT(malloc)(size);
}

void *calloc(size_t count, size_t size)
{
    return fails() ? NULL : NEXT(calloc)(count, size);
}

void *realloc(void *memory, size_t size)
{
    return fails() ? NULL : NEXT(realloc)(memory, size);
}

void *aligned_alloc(size_t align, size_t size)
{
    return fails() ? NULL : ALIGNED(align, size);
}

int posix_memalign(void **memory, size_t align, size_t size)
{
    void *room = fails() ? NULL : ALIGNED(align, size);

    if (room == NULL)
        return ENOMEM;
    *memory = room;
    return 0;
}

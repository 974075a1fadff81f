/* tests/faults/heap.h - allocations that fail on demand, whoever asks: core, plugin, and
 * the libraries that they call.
 *
 * malloc() and its like in heap.c stand in the test program under the C library's names.
 * What counts is what this thread asks for while heap_fail() is in force; a plugin's own
 * threads are the business of inject.h. */
#ifndef MAKO_TESTS_FAULTS_HEAP_H
#define MAKO_TESTS_FAULTS_HEAP_H

#include <limits.h>
#include <stdbool.h>

#define HEAP_FOREVER (LONG_MAX / 2)

/* The nth allocation of this thread from now on (1 is the next) fails, and times of them
 * in a row. */
void heap_fail(long nth, long times);
/* No more of that; whether one has failed. */
bool heap_heal(void);

#endif

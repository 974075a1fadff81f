/* plugins/redis/jitter.h - numbers that differ between threads and processes: pauses,
 * names of temporary keys, marks of saves.  Not for secrets. */
#ifndef MAKO_REDIS_JITTER_H
#define MAKO_REDIS_JITTER_H

#include <stdint.h>

/* Unlike any other of this or another process, with 64 bits of chance. */
uint64_t unique_number(void);
/* From 0 to limit, evenly. */
int64_t jitter(int64_t limit);
/* The next longer pause. */
static inline int64_t jitter_double(int64_t pause, int64_t base, int64_t max)
{
    int64_t next = pause > 0 ? pause * 2 : base;

    return next < max ? next : max;
}

#endif

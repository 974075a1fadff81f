/* plugins/redis/jitter.c - a counter, hashed with a seed that is drawn once, and changed
 * in a forked child: it goes on from the same counter, and what it makes up, such as
 * temporary keys, must not be what its parent or its siblings make up. */
#include "jitter.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <xxhash.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint64_t seed;
static bool by_pid; /* nobody tells of a fork: each number asks */
static atomic_uint_fast64_t counter;

/* At first, and in a forked child: not the parent's numbers once more. */
static void draw_seed(void)
{
    struct {
        struct timespec now;
        uint64_t seed, pid;
    } of = {.seed = seed, .pid = (uint64_t)getpid()};

    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) == (ssize_t)sizeof seed)
        return;
    (void)clock_gettime(CLOCK_REALTIME, &of.now);
    seed = XXH3_64bits(&of, sizeof of);
}

static void make_seed(void)
{
    by_pid = pthread_atfork(NULL, NULL, draw_seed) != 0;
    draw_seed();
}

uint64_t unique_number(void)
{
    uint64_t number[2];

    (void)pthread_once(&once, make_seed);
    number[1] = by_pid ? (uint64_t)getpid() : 0;
    number[0] = atomic_fetch_add_explicit(&counter, 1, memory_order_relaxed);
    return XXH3_64bits_withSeed(number, sizeof number, seed);
}

int64_t jitter(int64_t limit)
{
    return limit > 0 ? (int64_t)(unique_number() % ((uint64_t)limit + 1)) : 0;
}

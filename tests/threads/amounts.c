/* Arguments, the clock, and numbers drawn by lot. */
#include "amounts.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static bool read_number(const char *text, uint64_t *number)
{
    char *end;

    errno = 0;
    *number = strtoull(text, &end, 10);
    return errno == 0 && *text >= '0' && *text <= '9' && *end == '\0';
}

static bool refuse(const char *program, const char *words)
{
    (void)fprintf(
        stderr, "usage: %s [--rounds N] [--seconds N] [--threads 1..%d] [--seed N] %s\n",
        program, THREADS_MAX, words);
    return false;
}

bool amounts_read(struct amounts *amounts, int argc, char **argv, const char *words)
{
    static const struct option known[] = {{"rounds", required_argument, NULL, 'r'},
                                          {"seconds", required_argument, NULL, 's'},
                                          {"threads", required_argument, NULL, 't'},
                                          {"seed", required_argument, NULL, 'x'},
                                          {NULL, 0, NULL, 0}};
    struct timespec now;
    uint64_t number;
    int one;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    amounts->seed = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    while ((one = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (one == '?' || !read_number(optarg, &number))
            return refuse(argv[0], words);
        if (one == 'r')
            amounts->rounds = number;
        else if (one == 's')
            amounts->seconds = number;
        else if (one == 't')
            amounts->threads = number;
        else
            amounts->seed = number;
    }
    amounts->words = argv + optind;
    amounts->end = now_ms() + 1000 * amounts->seconds;
    if (optind == argc || amounts->threads < 1 || amounts->threads > THREADS_MAX)
        return refuse(argv[0], words);
    return true;
}

bool amounts_more(const struct amounts *amounts, unsigned long done)
{
    return amounts->seconds > 0 ? now_ms() < amounts->end : done < amounts->rounds;
}

uint64_t draw(uint64_t *seed)
{
    uint64_t v = *seed += 0x9e3779b97f4a7c15u;

    v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9u;
    v = (v ^ v >> 27) * 0x94d049bb133111ebu;
    return v ^ v >> 31;
}

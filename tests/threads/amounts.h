/* tests/threads/amounts.h - how much a program of this folder does: so that tests do a
 * little and people can ask for more.
 *
 *     PROGRAM [--rounds N] [--seconds N] [--threads N] [--seed N] WORD...
 *
 * With --seconds it goes on until then, however many rounds that takes. */
#ifndef MAKO_TESTS_AMOUNTS_H
#define MAKO_TESTS_AMOUNTS_H

#include <stdbool.h>
#include <stdint.h>

enum {
    THREADS_MAX = 64
};

struct amounts {
    unsigned long rounds, seconds,
        threads;   /* given: what is meant where nothing is said */
    uint64_t seed; /* of the clock, unless it is given */
    char **words;  /* what is left, until NULL */
    uint64_t end;  /* of amounts_more */
};

/* False: how it is called was said on standard error. */
bool amounts_read(struct amounts *amounts, int argc, char **argv, const char *words);
/* Whether another round is wanted after so many. */
bool amounts_more(const struct amounts *amounts, unsigned long done);

/* A number of the sequence that begins with *seed; of two seeds that differ the sequences
 * do. */
uint64_t draw(uint64_t *seed);

#endif

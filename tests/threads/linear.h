/* tests/threads/linear.h - whether what threads saw of a stream can be explained by calls
 * that happened one after the other, each at some moment between its begin and its end.
 *
 * That is linearizability (Herlihy and Wing, Linearizability: A Correctness Condition for
 * Concurrent Objects, TOPLAS 12(3), 1990).  It is local: a store is linearizable if each
 * of its streams is, so that one stream's calls are judged at a time.  Knows no store and
 * no threads: a history is an array. */
#ifndef MAKO_TESTS_LINEAR_H
#define MAKO_TESTS_LINEAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum call_kind {
    CALL_SAVE,
    CALL_REMOVE,
    CALL_LOAD, /* and peek: what is there */
    CALL_LATE  /* copies of a save that are sent again: any number, at any time until end
                */
};

/* The end of a call whose outcome nobody knows: it may happen later, or never. */
#define NEVER UINT64_MAX

struct call {
    enum call_kind kind;
    bool forced;     /* a save that replaces whatever is there */
    unsigned thread; /* for people */
    /* MAKO_OK, MAKO_STALE, MAKO_NOT_FOUND; negative: unknown, and of no use to a load */
    int status;
    uint64_t seq;   /* of a save */
    uint32_t value; /* of a save: unlike all others', not 0; of a load: whose was seen */
    uint64_t begin, end;
};

enum linear {
    LINEAR,
    NOT_LINEAR,
    UNDECIDED /* no memory for the search */
};

/* Whether the calls of one stream, which is empty at first, are linearizable. */
enum linear linear_check(const struct call *calls, size_t count);

/* The smallest part of a history that is not linearizable which still is not, whatever
 * was stored before it; for people to look at.  window has room for count calls; the
 * result says how many came, by their begin. */
size_t linear_window(const struct call *calls, size_t count, struct call *window);

void linear_print(FILE *out, const struct call *calls, size_t count);

#endif

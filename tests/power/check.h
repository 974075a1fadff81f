/* tests/power/check.h - a store after a power cut, held against the rules. */
#ifndef MAKO_TESTS_POWER_CHECK_H
#define MAKO_TESTS_POWER_CHECK_H

#include "driver.h"
#include "rules.h"

struct check_setup {
    const struct rules *rules;
    const char *root; /* the store is in a directory below it */
    bool compact;     /* also give back what is dead, and look again */
    bool allow_lost;  /* openings may say that a segment is lost: see below */
    char *text;       /* where to say what is wrong */
    size_t room;
};

/* Open the store, first to read only, and see that each stream shows what it may, that
 * nothing is said to be damaged, and that new saves are taken and are there after another
 * opening.
 *
 * On a full disk compaction unlinks what needs no copy first, and its place is empty for
 * a moment; then an opening may miss a segment, but nothing that counted. */
bool check_store(const struct check_setup *setup);

/* Likewise, but only to read. */
bool check_shown(const struct check_setup *setup);

#endif

/* tests/conformance/kit/pages.h - memory that is lent for one call and then is no more.
 *
 * Each piece ends where a page begins that nobody may touch, and stands among canaries;
 * taken back, its address is never used again, so that whoever kept it is found out. */
#ifndef MAKO_KIT_PAGES_H
#define MAKO_KIT_PAGES_H

#include <stdbool.h>
#include <stddef.h>

struct pages {
    unsigned char *base, *at; /* the mapping; what is lent */
    size_t total, len;
};

/* len zero bytes at p->at, aligned; up to align - 1 canaries lie behind them. */
void pages_get(struct pages *p, size_t len, size_t align);
/* From here on they are only read. */
void pages_seal(const struct pages *p);
/* False: somebody wrote beside them. */
bool pages_intact(const struct pages *p);
/* Nobody may touch them any more, ever.  As pages_intact(). */
bool pages_end(struct pages *p);

#endif

/* plugins/file/pages.h - zeroed memory straight from the kernel, which may back it with
 * huge pages: a lookup among millions of streams is mostly misses, and each costs less
 * there.  Nothing is used up before it is touched. */
#ifndef MAKO_FILE_PAGES_H
#define MAKO_FILE_PAGES_H

#include <stdbool.h>
#include <stddef.h>

struct pages {
    void *mapped; /* NULL: none */
    size_t len;
    void *base; /* within it; aligned to a huge page */
};

/* Room for bytes.  False: no memory. */
bool pages_take(struct pages *pages, size_t bytes, bool huge);
void pages_give(struct pages *pages);

#endif

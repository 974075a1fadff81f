/* Memory that is lent for one call and then is no more. */
#include "pages.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CANARY 0xa5

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static void give_up(void)
{
    perror("mako-conformance: no memory to lend");
    abort();
}

void pages_get(struct pages *p, size_t len, size_t align)
{
    size_t page = page_size(), room = (len + align + 63 + page) / page * page;
    uintptr_t at;
    void *base = mmap(NULL, room + page, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (base == MAP_FAILED)
        give_up();
    p->base = base;
    p->total = room + page;
    p->len = len;
    at = ((uintptr_t)p->base + room - len) & ~(uintptr_t)(align - 1);
    p->at = p->base + (at - (uintptr_t)p->base);
    if (mprotect(p->base + room, page, PROT_NONE) != 0)
        give_up();
    memset(p->base, CANARY, room);
    memset(p->at, 0, len);
}

void pages_seal(const struct pages *p)
{
    if (mprotect(p->base, p->total - page_size(), PROT_READ) != 0)
        give_up();
}

static bool all_canaries(const unsigned char *from, const unsigned char *to)
{
    while (from < to && *from == CANARY)
        from++;
    return from == to;
}

bool pages_intact(const struct pages *p)
{
    return all_canaries(p->base, p->at) &&
           all_canaries(p->at + p->len, p->base + p->total - page_size());
}

bool pages_end(struct pages *p)
{
    bool intact = !p->base || pages_intact(p);

    /* Mapped anew, so that the kernel joins neighbours: mappings are limited. */
    if (p->base && mmap(p->base, p->total, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
                        0) == MAP_FAILED)
        give_up();
    *p = (struct pages){.base = NULL};
    return intact;
}

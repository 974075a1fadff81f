/* plugins/file/pages.c - see pages.h. */
#include "pages.h"

#include <stdint.h>
#include <sys/mman.h>

#define HUGE_PAGE ((size_t)2 << 20)

bool pages_take(struct pages *pages, size_t bytes, bool huge)
{
    size_t len = bytes + HUGE_PAGE;
    void *mapped = mmap(NULL, len, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (mapped == MAP_FAILED)
        return false;
    *pages = (struct pages){.mapped = mapped,
                            .len = len,
                            .base = (char *)mapped +
                                    (HUGE_PAGE - (uintptr_t)mapped % HUGE_PAGE)};
    if (huge)
        (void)madvise(pages->base, bytes, MADV_HUGEPAGE);
    return true;
}

void pages_give(struct pages *pages)
{
    if (pages->mapped != NULL)
        (void)munmap(pages->mapped, pages->len);
    *pages = (struct pages){.mapped = NULL};
}

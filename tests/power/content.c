/* tests/power/content.c - see content.h. */
#include "content.h"

#include <string.h>

#include "trace.h"

static const char mark[8] = {'\xc5', 'M', 'A', 'R', 'K', 'E', 'D', '\x9b'};

void content_make(unsigned char *bytes, size_t len, uint64_t version)
{
    uint64_t state = version, word = 0;
    size_t from = 0;

    if (len >= CONTENT_MARKED) {
        memcpy(bytes, mark, sizeof mark);
        memcpy(bytes + sizeof mark, &version, sizeof version);
        from = CONTENT_MARKED;
    }
    for (size_t i = from; i < len; i++, word >>= 8) {
        if ((i - from) % 8 == 0)
            word = random_next(&state);
        bytes[i] = (unsigned char)word;
    }
}

const unsigned char *content_find(const unsigned char *bytes, size_t len,
                                  uint64_t *version)
{
    const unsigned char *at = memmem(bytes, len, mark, sizeof mark);

    if (at == NULL || len - (size_t)(at - bytes) < CONTENT_MARKED)
        return NULL;
    memcpy(version, at + sizeof mark, sizeof *version);
    return at;
}

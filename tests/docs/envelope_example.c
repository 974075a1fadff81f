/* envelope_example.c - the envelope that docs/envelope.md shows, in hexadecimal, sixteen
 * bytes a line; what its fields are is read back first. */
#include <stdio.h>
#include <string.h>

#include "envelope.h"

static const char stream[] = "account/alice", state[] = "balance 10";

/* What was written must be what is read. */
static bool comes_back(const unsigned char *blob, size_t len,
                       const struct mako_envelope *wrote)
{
    struct mako_envelope e;
    struct mako_error err;
    struct mako_str id = {stream, strlen(stream)};

    return mako_envelope_read(blob, len, id, &e, &err) == MAKO_OK &&
           mako_envelope_intact(&e) && e.meta.seq == wrote->meta.seq &&
           e.meta.schema == wrote->meta.schema && e.anchor == wrote->anchor &&
           e.kind == wrote->kind && e.state_len == wrote->state_len;
}

int main(void)
{
    struct mako_str id = {stream, strlen(stream)};
    struct mako_envelope e = {
        .meta = {.seq = 250, .schema = 3, .created_ms = 1769860800000},
        .anchor = 0x0123456789abcdef,
        .kind = mako_envelope_kind("account"),
        .state = (const unsigned char *)state,
        .state_len = strlen(state)};
    unsigned char blob[256];
    size_t len = mako_envelope_size(id.len, e.state_len);

    mako_envelope_write(blob, id, &e);
    if (!comes_back(blob, len, &e))
        return 1;
    for (size_t i = 0; i < len; i++) {
        if (i % 16 == 0)
            (void)printf("%s%4zu ", i == 0 ? "" : "\n", i);
        (void)printf(" %02x", blob[i]);
    }
    (void)putchar('\n');
    return 0;
}

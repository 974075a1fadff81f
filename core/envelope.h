/* core/envelope.h - the format of what is stored: a header that can be checked on its
 * own, the stream's id, the state.  Pure functions over bytes; docs/envelope.md has the
 * layout. */
#ifndef MAKO_CORE_ENVELOPE_H
#define MAKO_CORE_ENVELOPE_H

#include <stdbool.h>

#include <mako/snapshot.h>

#define MAKO_ENVELOPE_HEADER     96u
#define MAKO_ENVELOPE_HEADER_MAX 4096u
#define MAKO_STREAM_MAX          1024u

/* A decoded header.  state points into the blob. */
struct mako_envelope {
    uint16_t format;
    uint32_t flags;
    uint16_t codec;
    uint32_t key_id;
    struct mako_meta meta;
    uint64_t anchor, kind;
    uint64_t payload_xxh;
    const unsigned char *state;
    size_t state_len;
};

/* XXH3-64 of the kind's name; 0 for NULL. */
uint64_t mako_envelope_kind(const char *name);

/* Bytes before the state, and in all. */
size_t mako_envelope_overhead(size_t stream_len);
size_t mako_envelope_size(size_t stream_len, size_t state_len);

/* Write an envelope of exactly mako_envelope_size() bytes at blob; meta, anchor, kind,
 * state and state_len are taken from e. */
void mako_envelope_write(void *blob, struct mako_str stream,
                         const struct mako_envelope *e);

/* Check and decode the header of len bytes.  MAKO_OK, MAKO_DAMAGED or MAKO_FOREIGN (e
 * filled as far as its layout is known: e->meta is zero where it is not).  The payload
 * is not looked at. */
int mako_envelope_read(const void *blob, size_t len, struct mako_str stream,
                       struct mako_envelope *e, struct mako_error *err);

/* Whether the state is what was written. */
bool mako_envelope_intact(const struct mako_envelope *e);

#endif

/* envelope.c - the format of what is stored.  Little endian, offsets as laid down in
 * docs/envelope.md; a header that can be checked before any payload is looked at. */
#include "envelope.h"

#include <string.h>

#include <xxhash.h>
#ifdef MAKO_XXH_DISPATCH
#include <xxh_x86dispatch.h> /* the same sums, three times as fast for long states */
#endif

static const unsigned char magic[4] = {'M', 'K', 'S', 'E'};

enum {
    FORMAT = 1,
    AT_FORMAT = 4,
    AT_HEADER_SIZE = 6,
    AT_FLAGS = 8,
    AT_CODEC = 12,
    AT_STREAM_LEN = 14,
    AT_SEQ = 16,
    AT_SCHEMA = 24,
    AT_KEY_ID = 28,
    AT_CREATED = 32,
    AT_ANCHOR = 40,
    AT_KIND = 48,
    AT_PLAIN_LEN = 56,
    AT_STORED_LEN = 64,
    AT_PAYLOAD_XXH = 72,
    AT_RESERVED = 80,
    AT_HEADER_XXH = 88
};

/* A flag in these bits changes the meaning of what follows. */
#define FLAGS_MUST_KNOW 0xffff0000u

static void put16(unsigned char *p, uint16_t v)
{
    p[0] = (unsigned char)v;
    p[1] = (unsigned char)(v >> 8);
}

static void put32(unsigned char *p, uint32_t v)
{
    put16(p, (uint16_t)v);
    put16(p + 2, (uint16_t)(v >> 16));
}

static void put64(unsigned char *p, uint64_t v)
{
    put32(p, (uint32_t)v);
    put32(p + 4, (uint32_t)(v >> 32));
}

static uint16_t get16(const unsigned char *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t get32(const unsigned char *p)
{
    return (uint32_t)get16(p) | (uint32_t)get16(p + 2) << 16;
}

static uint64_t get64(const unsigned char *p)
{
    return (uint64_t)get32(p) | (uint64_t)get32(p + 4) << 32;
}

static size_t padded(size_t len)
{
    return (len + 15u) & ~(size_t)15u;
}

uint64_t mako_envelope_kind(const char *name)
{
    return name ? XXH3_64bits(name, strlen(name)) : 0;
}

size_t mako_envelope_overhead(size_t stream_len)
{
    return MAKO_ENVELOPE_HEADER + padded(stream_len);
}

size_t mako_envelope_size(size_t stream_len, size_t state_len)
{
    return mako_envelope_overhead(stream_len) + state_len;
}

void mako_envelope_write(void *blob, struct mako_str stream,
                         const struct mako_envelope *e)
{
    unsigned char *p = blob;
    size_t head = mako_envelope_overhead(stream.len);

    memset(p, 0, MAKO_ENVELOPE_HEADER);
    memcpy(p, magic, sizeof magic);
    put16(p + AT_FORMAT, FORMAT);
    put16(p + AT_HEADER_SIZE, MAKO_ENVELOPE_HEADER);
    put16(p + AT_STREAM_LEN, (uint16_t)stream.len);
    put64(p + AT_SEQ, e->meta.seq);
    put32(p + AT_SCHEMA, e->meta.schema);
    put64(p + AT_CREATED, (uint64_t)e->meta.created_ms);
    put64(p + AT_ANCHOR, e->anchor);
    put64(p + AT_KIND, e->kind);
    put64(p + AT_PLAIN_LEN, e->state_len);
    put64(p + AT_STORED_LEN, e->state_len);
    put64(p + AT_PAYLOAD_XXH, XXH3_64bits(e->state, e->state_len));
    memcpy(p + MAKO_ENVELOPE_HEADER, stream.ptr, stream.len);
    memset(p + MAKO_ENVELOPE_HEADER + stream.len, 0, padded(stream.len) - stream.len);
    put64(p + AT_HEADER_XXH, XXH3_64bits(p, head));
    if (e->state_len > 0)
        memcpy(p + head, e->state, e->state_len);
}

/* The hash of the header, itself as zero, and the padded id. */
static uint64_t header_hash(const unsigned char *p, size_t header_size, size_t id_room)
{
    unsigned char copy[MAKO_ENVELOPE_HEADER_MAX + MAKO_STREAM_MAX];

    memcpy(copy, p, header_size + id_room);
    memset(copy + AT_HEADER_XXH, 0, 8);
    return XXH3_64bits(copy, header_size + id_room);
}

static bool all_zero(const unsigned char *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (p[i] != 0)
            return false;
    return true;
}

/* Where the header ends and how much room the id has, once both were seen to fit. */
struct frame {
    size_t header_size, stream_len, id_room;
};

static int read_frame(const unsigned char *p, size_t len, struct frame *f,
                      struct mako_error *err)
{
    if (len < MAKO_ENVELOPE_HEADER)
        return mako_fail(err, MAKO_DAMAGED, "only %zu bytes, an envelope has %u", len,
                         MAKO_ENVELOPE_HEADER);
    if (memcmp(p, magic, sizeof magic) != 0)
        return mako_fail(err, MAKO_DAMAGED, "does not begin as an envelope does");
    if (get16(p + AT_FORMAT) != FORMAT)
        return mako_fail(err, MAKO_FOREIGN, "envelope format %u, this library reads %d",
                         (unsigned)get16(p + AT_FORMAT), FORMAT);

    f->header_size = get16(p + AT_HEADER_SIZE);
    f->stream_len = get16(p + AT_STREAM_LEN);
    f->id_room = padded(f->stream_len);
    if (f->header_size < MAKO_ENVELOPE_HEADER ||
        f->header_size > MAKO_ENVELOPE_HEADER_MAX || f->stream_len == 0 ||
        f->stream_len > MAKO_STREAM_MAX || f->header_size + f->id_room > len)
        return mako_fail(err, MAKO_DAMAGED, "impossible lengths in the envelope");
    if (header_hash(p, f->header_size, f->id_room) != get64(p + AT_HEADER_XXH))
        return mako_fail(err, MAKO_DAMAGED, "the envelope's header fails its checksum");
    return MAKO_OK;
}

static int check_stream(const unsigned char *p, const struct frame *f,
                        struct mako_str stream, struct mako_error *err)
{
    const unsigned char *id = p + f->header_size;

    if (f->stream_len != stream.len || memcmp(id, stream.ptr, stream.len) != 0)
        return mako_fail(err, MAKO_DAMAGED, "the envelope is of another stream, '%.*s'",
                         (int)(f->stream_len < 200 ? f->stream_len : 200),
                         (const char *)id);
    if (!all_zero(id + f->stream_len, f->id_room - f->stream_len))
        return mako_fail(err, MAKO_DAMAGED, "the envelope's padding is not zero");
    return MAKO_OK;
}

static void read_fields(const unsigned char *p, const struct frame *f,
                        struct mako_envelope *e)
{
    *e = (struct mako_envelope){
        .format = get16(p + AT_FORMAT),
        .flags = get32(p + AT_FLAGS),
        .codec = get16(p + AT_CODEC),
        .key_id = get32(p + AT_KEY_ID),
        .meta = {.seq = get64(p + AT_SEQ),
                 .schema = get32(p + AT_SCHEMA),
                 .created_ms = (int64_t)get64(p + AT_CREATED)},
        .anchor = get64(p + AT_ANCHOR),
        .kind = get64(p + AT_KIND),
        .payload_xxh = get64(p + AT_PAYLOAD_XXH),
        .state = p + f->header_size + f->id_room,
        .state_len = (size_t)get64(p + AT_STORED_LEN),
    };
}

/* What an intact header of a newer library may say that this one cannot follow. */
static int check_known(const struct mako_envelope *e, struct mako_error *err)
{
    if (e->flags & FLAGS_MUST_KNOW)
        return mako_fail(err, MAKO_FOREIGN, "unknown envelope flags 0x%x",
                         (unsigned)e->flags);
    if (e->codec != 0)
        return mako_fail(err, MAKO_FOREIGN, "unknown codec %u", (unsigned)e->codec);
    if (e->key_id != 0)
        return mako_fail(err, MAKO_FOREIGN, "encrypted with key %u, which is not here",
                         (unsigned)e->key_id);
    return MAKO_OK;
}

int mako_envelope_read(const void *blob, size_t len, struct mako_str stream,
                       struct mako_envelope *e, struct mako_error *err)
{
    const unsigned char *p = blob;
    struct frame f = {0};
    int status;

    memset(e, 0, sizeof *e);
    status = read_frame(p, len, &f, err);
    if (status != MAKO_OK)
        return status;
    status = check_stream(p, &f, stream, err);
    if (status != MAKO_OK)
        return status;

    read_fields(p, &f, e);
    status = check_known(e, err);
    if (status != MAKO_OK)
        return status;
    if (get64(p + AT_STORED_LEN) != len - f.header_size - f.id_room ||
        get64(p + AT_PLAIN_LEN) != get64(p + AT_STORED_LEN))
        return mako_fail(err, MAKO_DAMAGED, "%zu bytes of state, the envelope says %llu",
                         len - f.header_size - f.id_room,
                         (unsigned long long)get64(p + AT_STORED_LEN));
    if (e->meta.seq == 0 || e->meta.schema == 0)
        return mako_fail(err, MAKO_DAMAGED, "sequence or schema 0 in the envelope");
    return MAKO_OK;
}

bool mako_envelope_intact(const struct mako_envelope *e)
{
    return XXH3_64bits(e->state, e->state_len) == e->payload_xxh;
}

/* plugins/file/format.c - encoding and checking, byte by byte.  No I/O, no state. */
#include "format.h"

#include <string.h>
#include <xxhash.h>
#ifdef MAKO_XXH_DISPATCH
#include <xxh_x86dispatch.h> /* the same sums, three times as fast for long states */
#endif

/* The segment header stands twice in its block, so that one bad sector or bit does not
 * cost every record behind it. */
#define COPY_SIZE   256u
#define COPY_SECOND 2048u

static const unsigned char header_magic[8] = {'m', 'a', 'k', 'o', 's', 'e', 'g', '\n'};
static const unsigned char listing_magic[8] = {'m', 'a', 'k', 'o', 'i', 'd', 'x', '\n'};
static const unsigned char frame_magic[4] = {'m', 'k', 'R', 0x1e};

static void put(unsigned char *at, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        at[i] = (unsigned char)(value >> (8 * i));
}

static uint64_t get(const unsigned char *at, size_t bytes)
{
    uint64_t value = 0;

    for (size_t i = 0; i < bytes; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

static void put_recent(unsigned char *at, const struct format_recent *recent)
{
    put(at, recent->streams[0], 8);
    put(at + 8, recent->streams[1], 8);
}

static struct format_recent get_recent(const unsigned char *at)
{
    return (struct format_recent){.streams = {get(at, 8), get(at + 8, 8)}};
}

uint64_t format_pad(uint64_t n)
{
    return (n + (FORMAT_ALIGN - 1)) & ~(uint64_t)(FORMAT_ALIGN - 1);
}

uint64_t format_head_size(uint64_t stream_len)
{
    return FORMAT_FRAME + format_pad(stream_len);
}

uint64_t format_record_size(uint64_t stream_len, uint64_t blob_len)
{
    return format_head_size(stream_len) + format_pad(blob_len);
}

uint64_t format_hash(const void *bytes, size_t len)
{
    return XXH3_64bits(bytes, len);
}

static uint64_t header_checksum(const unsigned char *copy)
{
    return XXH3_64bits(copy, COPY_SIZE - 8);
}

void format_header_write(unsigned char block[FORMAT_HEADER],
                         const struct format_header *header)
{
    memset(block, 0, FORMAT_HEADER);
    memcpy(block, header_magic, sizeof header_magic);
    put(block + 8, FORMAT_VERSION, 4);
    put(block + 12, FORMAT_HEADER, 4);
    put(block + 16, header->number, 8);
    put(block + 24, header->id, 8);
    put(block + 32, header->kind, 4);
    put(block + 36, header->durability, 4);
    put(block + 40, header->first, 8);
    put(block + 48, (uint64_t)header->created_ms, 8);
    put(block + 56, header->before.number, 8);
    put(block + 64, header->before.id, 8);
    put(block + 72, header->before.length, 8);
    put(block + 80, header->before.acknowledged, 8);
    put(block + 88, header->before.last, 8);
    put_recent(block + 96, &header->before.recent);
    put(block + 112, header->low, 8);
    put(block + 120, header->generation, 4);
    put(block + 128, header->clean, 8);
    put(block + 136, header->end.length, 8);
    put(block + 144, header->end.last, 8);
    put_recent(block + 152, &header->end.recent);
    put(block + COPY_SIZE - 8, header_checksum(block), 8);
    memcpy(block + COPY_SECOND, block, COPY_SIZE);
}

static void get_header(const unsigned char *copy, struct format_header *header)
{
    header->number = get(copy + 16, 8);
    header->id = get(copy + 24, 8);
    header->kind = (uint32_t)get(copy + 32, 4);
    header->durability = (uint32_t)get(copy + 36, 4);
    header->first = get(copy + 40, 8);
    header->created_ms = (int64_t)get(copy + 48, 8);
    header->before.number = get(copy + 56, 8);
    header->before.id = get(copy + 64, 8);
    header->before.length = get(copy + 72, 8);
    header->before.acknowledged = get(copy + 80, 8);
    header->before.last = get(copy + 88, 8);
    header->before.recent = get_recent(copy + 96);
    header->low = get(copy + 112, 8);
    header->generation = (uint32_t)get(copy + 120, 4);
    header->clean = get(copy + 128, 8);
    header->end = (struct format_tail){.number = header->number,
                                       .id = header->id,
                                       .length = get(copy + 136, 8),
                                       .acknowledged = get(copy + 136, 8),
                                       .last = get(copy + 144, 8),
                                       .recent = get_recent(copy + 152)};
}

uint64_t format_last_number(const struct format_header *header)
{
    return header->kind == FORMAT_KIND_COPY
               ? header->end.last
               : header->first | ((UINT64_C(1) << FORMAT_OPENING_SHIFT) - 1);
}

static enum format_verdict copy_read(const unsigned char *copy,
                                     struct format_header *header, uint32_t *version)
{
    uint32_t found = (uint32_t)get(copy + 8, 4);

    if (memcmp(copy, header_magic, sizeof header_magic) != 0)
        return FORMAT_BAD;
    if (found != FORMAT_VERSION) {
        *version = found;
        return FORMAT_UNKNOWN;
    }
    if (get(copy + COPY_SIZE - 8, 8) != header_checksum(copy) ||
        get(copy + 12, 4) != FORMAT_HEADER)
        return FORMAT_BAD;
    get_header(copy, header);
    return header->before.number < header->low && header->low <= header->number
               ? FORMAT_GOOD
               : FORMAT_BAD;
}

enum format_verdict format_header_read(const unsigned char block[FORMAT_HEADER],
                                       struct format_header *header, uint32_t *version)
{
    enum format_verdict first = copy_read(block, header, version), second;

    if (first == FORMAT_GOOD)
        return FORMAT_GOOD;
    second = copy_read(block + COPY_SECOND, header, version);
    if (second == FORMAT_BAD)
        return first;
    return second;
}

/* A frame is good only in its own segment and at its own place: neither a stale block
 * nor a copy of a record inside somebody's blob passes for one. */
static uint64_t frame_checksum(const unsigned char *head, size_t len, uint64_t id,
                               uint64_t offset)
{
    unsigned char frame[FORMAT_FRAME + FORMAT_STREAM];

    memcpy(frame, head, len);
    memset(frame + 8, 0, 8);
    return XXH3_64bits_withSeed(frame, len, id + offset);
}

void format_frame_write(unsigned char *out, uint64_t id, uint64_t offset,
                        const struct format_frame *frame, const char *stream)
{
    size_t len = (size_t)format_head_size(frame->stream_len);

    memset(out, 0, len);
    memcpy(out, frame_magic, sizeof frame_magic);
    out[4] = frame->type;
    put(out + 6, frame->stream_len, 2);
    put(out + 16, frame->number, 8);
    put(out + 24, frame->meta.seq, 8);
    put(out + 32, (uint64_t)frame->meta.created_ms, 8);
    put(out + 40, frame->meta.schema, 4);
    put(out + 44, frame->acknowledged / FORMAT_ALIGN, 4);
    put(out + 48, frame->blob_len, 8);
    put(out + 56, frame->blob_xxh, 8);
    put_recent(out + 64, &frame->before);
    memcpy(out + FORMAT_FRAME, stream, frame->stream_len);
    put(out + 8, frame_checksum(out, len, id, offset), 8);
}

bool format_frame_begins(const unsigned char *in)
{
    return memcmp(in, frame_magic, sizeof frame_magic) == 0;
}

bool format_frame_read(const unsigned char *in, size_t len, uint64_t id, uint64_t offset,
                       struct format_frame *frame)
{
    uint64_t stream_len, head;

    if (len < FORMAT_FRAME || !format_frame_begins(in))
        return false;
    stream_len = get(in + 6, 2);
    head = format_head_size(stream_len);
    if (stream_len == 0 || stream_len > FORMAT_STREAM || head > len ||
        get(in + 8, 8) != frame_checksum(in, (size_t)head, id, offset))
        return false;
    frame->type = in[4];
    frame->blob_len = get(in + 48, 8);
    if (frame->blob_len > FORMAT_BLOB_MAX ||
        (frame->blob_len != 0 &&
         (frame->type == FORMAT_REMOVAL || frame->type == FORMAT_DAMAGED)))
        return false;
    frame->stream_len = (uint16_t)stream_len;
    frame->number = get(in + 16, 8);
    frame->meta = (struct mako_meta){.seq = get(in + 24, 8),
                                     .created_ms = (int64_t)get(in + 32, 8),
                                     .schema = (uint32_t)get(in + 40, 4)};
    frame->acknowledged = get(in + 44, 4) * FORMAT_ALIGN;
    frame->blob_xxh = get(in + 56, 8);
    frame->before = get_recent(in + 64);
    return true;
}

/* ---- index files ------------------------------------------------------------------ */

void format_listing_write(unsigned char block[FORMAT_LISTING],
                          const struct format_listing *listing)
{
    memset(block, 0, FORMAT_LISTING);
    memcpy(block, listing_magic, sizeof listing_magic);
    put(block + 8, FORMAT_VERSION, 4);
    put(block + 12, listing->generation, 4);
    put(block + 16, listing->number, 8);
    put(block + 24, listing->low, 8);
    put(block + 32, listing->id, 8);
    put(block + 40, listing->boot[0], 8);
    put(block + 48, listing->boot[1], 8);
    put(block + 56, listing->end.length, 8);
    put(block + 64, listing->end.last, 8);
    put_recent(block + 72, &listing->end.recent);
    put(block + 88, listing->count, 8);
    put(block + 96, listing->bytes, 8);
    put(block + 104, listing->checksum, 8);
    put(block + FORMAT_LISTING - 8, XXH3_64bits(block, FORMAT_LISTING - 8), 8);
}

bool format_listing_read(const unsigned char block[FORMAT_LISTING],
                         struct format_listing *listing)
{
    if (memcmp(block, listing_magic, sizeof listing_magic) != 0 ||
        get(block + 8, 4) != FORMAT_VERSION ||
        get(block + FORMAT_LISTING - 8, 8) != XXH3_64bits(block, FORMAT_LISTING - 8))
        return false;
    *listing = (struct format_listing){.generation = (uint32_t)get(block + 12, 4),
                                       .number = get(block + 16, 8),
                                       .low = get(block + 24, 8),
                                       .id = get(block + 32, 8),
                                       .boot = {get(block + 40, 8), get(block + 48, 8)},
                                       .end = {.number = get(block + 16, 8),
                                               .id = get(block + 32, 8),
                                               .length = get(block + 56, 8),
                                               .acknowledged = get(block + 56, 8),
                                               .last = get(block + 64, 8),
                                               .recent = get_recent(block + 72)},
                                       .count = get(block + 88, 8),
                                       .bytes = get(block + 96, 8),
                                       .checksum = get(block + 104, 8)};
    return true;
}

size_t format_entry_size(size_t stream_len)
{
    return FORMAT_ENTRY + (size_t)format_pad(stream_len);
}

void format_entry_write(unsigned char *out, const struct format_frame *frame,
                        uint64_t offset, const char *stream)
{
    memset(out, 0, format_entry_size(frame->stream_len));
    put(out, frame->number, 8);
    put(out + 8, offset, 8);
    put(out + 16, frame->meta.seq, 8);
    put(out + 24, (uint64_t)frame->meta.created_ms, 8);
    put(out + 32, frame->meta.schema, 4);
    put(out + 36, frame->blob_len, 4);
    put(out + 40, frame->stream_len, 2);
    out[42] = frame->type;
    memcpy(out + FORMAT_ENTRY, stream, frame->stream_len);
}

bool format_entry_read(const unsigned char *in, size_t len, struct format_frame *frame,
                       uint64_t *offset, const char **stream)
{
    size_t stream_len = len < FORMAT_ENTRY ? 0 : (size_t)get(in + 40, 2);

    if (stream_len == 0 || stream_len > FORMAT_STREAM ||
        format_entry_size(stream_len) > len)
        return false;
    *frame = (struct format_frame){.number = get(in, 8),
                                   .type = in[42],
                                   .stream_len = (uint16_t)stream_len,
                                   .meta = {.seq = get(in + 16, 8),
                                            .created_ms = (int64_t)get(in + 24, 8),
                                            .schema = (uint32_t)get(in + 32, 4)},
                                   .blob_len = get(in + 36, 4)};
    *offset = get(in + 8, 8);
    *stream = (const char *)in + FORMAT_ENTRY;
    return true;
}

/* tests/fuzz/envelope.c - the envelope: bytes from a backend are read or refused, what is
 * read lies within them, and what is written reads back.
 *
 * The first byte says what is done: the rest as it is; the rest with its header's
 * checksum put right, which lets other damage through; or an envelope written from it. */
#include "fuzz.h"

#include <xxhash.h>

#include "envelope.h"

enum {
    AT_SIZE = 6, /* of the header, two bytes */
    AT_STREAM = 14,
    AT_CHECKSUM = 88
};

/* What lies within is what the caller may be given. */
static void check_read(const unsigned char *blob, size_t len, struct mako_str stream)
{
    struct mako_envelope e = {.state = NULL};
    struct mako_error err = {""};
    int status = mako_envelope_read(blob, len, stream, &e, &err);

    MUST(status == MAKO_OK || status == MAKO_DAMAGED || status == MAKO_FOREIGN);
    must_say(status, &err);
    if (status != MAKO_OK)
        return;
    MUST(e.meta.seq > 0 && e.meta.schema > 0);
    MUST(e.state >= blob && e.state_len <= len &&
         (size_t)(e.state - blob) <= len - e.state_len);
    if (mako_envelope_intact(&e))
        MUST(e.payload_xxh == XXH3_64bits(e.state, e.state_len));
}

/* The header's checksum covers it, itself as zero, and the padded id. */
static void put_right(unsigned char *blob, size_t len)
{
    size_t header, covered;
    uint64_t sum;

    if (len < MAKO_ENVELOPE_HEADER)
        return;
    header = (size_t)(blob[AT_SIZE] | blob[AT_SIZE + 1] << 8);
    covered = header +
              (((size_t)(blob[AT_STREAM] | blob[AT_STREAM + 1] << 8) + 15) & ~(size_t)15);
    if (covered > len)
        return;
    memset(blob + AT_CHECKSUM, 0, 8);
    sum = XXH3_64bits(blob, covered);
    for (size_t i = 0; i < 8; i++)
        blob[AT_CHECKSUM + i] = (unsigned char)(sum >> (8 * i));
}

static void read_bytes(struct feed *feed, bool right)
{
    char *name = feed_text(feed, MAKO_STREAM_MAX);
    size_t len = feed->left;
    unsigned char *blob = malloc(len > 0 ? len : 1);

    MUST(blob);
    if (len > 0)
        memcpy(blob, feed->at, len);
    if (right)
        put_right(blob, len);
    check_read(blob, len, (struct mako_str){name, strlen(name)});
    free(blob);
    free(name);
}

static void write_and_read(struct feed *feed)
{
    char *name = feed_text(feed, MAKO_STREAM_MAX);
    struct mako_str stream = {name, strlen(name)};
    struct mako_envelope e = {.meta = {.seq = feed_number(feed) | 1,
                                       .schema = (uint32_t)feed_number(feed) | 1,
                                       .created_ms = (int64_t)feed_number(feed)},
                              .anchor = feed_number(feed),
                              .kind = feed_number(feed)};
    struct mako_envelope back = {.state = NULL};
    struct mako_error err = {""};
    unsigned char *blob;

    e.state = feed->at;
    e.state_len = feed->left;
    blob = malloc(mako_envelope_size(stream.len, e.state_len));
    MUST(blob);
    if (stream.len > 0) {
        mako_envelope_write(blob, stream, &e);
        MUST(mako_envelope_read(blob, mako_envelope_size(stream.len, e.state_len), stream,
                                &back, &err) == MAKO_OK);
        MUST(mako_envelope_intact(&back));
        MUST(memcmp(&back.meta, &e.meta, sizeof e.meta) == 0);
        MUST(back.anchor == e.anchor && back.kind == e.kind);
        MUST(back.state_len == e.state_len);
        MUST(e.state_len == 0 || memcmp(back.state, e.state, e.state_len) == 0);
    }
    free(blob);
    free(name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct feed feed = {data, size};

    switch (feed_byte(&feed) % 3) {
    case 0:
        read_bytes(&feed, false);
        break;
    case 1:
        read_bytes(&feed, true);
        break;
    default:
        write_and_read(&feed);
    }
    return 0;
}

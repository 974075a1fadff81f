/* The envelope, byte for byte: where each field lies, what a reader refuses and how it
 * calls it, and that no flipped bit and no lie about a length gets through. */
#include "envelope.h"

#include <inttypes.h>
#include <string.h>

#include <criterion/criterion.h>
#include <xxhash.h>

TestSuite(envelope, .timeout = 60);

#define STREAM   "orders/7"
#define STATE    "the state of things"
#define ID_ROOM  16u
#define HEAD     (MAKO_ENVELOPE_HEADER + ID_ROOM)
#define BLOB_LEN (HEAD + sizeof STATE - 1)

static struct mako_str text(const char *s)
{
    return (struct mako_str){s, strlen(s)};
}

static uint64_t get(const unsigned char *p, size_t bytes)
{
    uint64_t v = 0;

    for (size_t i = bytes; i-- > 0;)
        v = v << 8 | p[i];
    return v;
}

static void put(unsigned char *p, size_t bytes, uint64_t v)
{
    for (size_t i = 0; i < bytes; i++)
        p[i] = (unsigned char)(v >> (8 * i));
}

/* Make the header's checksum right again after a deliberate change. */
static void seal(unsigned char *blob, size_t head)
{
    put(blob + 88, 8, 0);
    put(blob + 88, 8, XXH3_64bits(blob, head));
}

static void write_sample(unsigned char blob[BLOB_LEN])
{
    struct mako_envelope e = {
        .meta = {.seq = 0x1122334455667788u,
                 .schema = 0x99aabbccu,
                 .created_ms = 1700000000123},
        .anchor = 0x0102030405060708u,
        .kind = mako_envelope_kind("account"),
        .state = (const unsigned char *)STATE,
        .state_len = sizeof STATE - 1,
    };

    mako_envelope_write(blob, text(STREAM), &e);
}

static int read_as(const unsigned char *blob, size_t len, const char *stream,
                   struct mako_envelope *e, struct mako_error *err)
{
    memset(err, 0, sizeof *err);
    return mako_envelope_read(blob, len, text(stream), e, err);
}

static void expect_read(const unsigned char *blob, size_t len, int want,
                        const char *sentence)
{
    struct mako_envelope e;
    struct mako_error err;
    int status = read_as(blob, len, STREAM, &e, &err);

    cr_assert_eq(status, want, "%s, not %s: %s", mako_status_name(status),
                 mako_status_name(want), err.text);
    if (want != MAKO_OK)
        cr_assert(strstr(err.text, sentence), "'%s' lacks '%s'", err.text, sentence);
}

Test(envelope, sizes)
{
    cr_assert_eq(mako_envelope_overhead(1), 96 + 16);
    cr_assert_eq(mako_envelope_overhead(16), 96 + 16);
    cr_assert_eq(mako_envelope_overhead(17), 96 + 32);
    cr_assert_eq(mako_envelope_overhead(1024), 96 + 1024);
    cr_assert_eq(mako_envelope_size(17, 5), 96 + 32 + 5);
}

Test(envelope, kind_is_the_hash_of_its_name)
{
    cr_assert_eq(mako_envelope_kind(NULL), 0);
    cr_assert_eq(mako_envelope_kind("account"), XXH3_64bits("account", 7));
    cr_assert_neq(mako_envelope_kind("account"), mako_envelope_kind("Account"));
}

Test(envelope, every_field_lies_where_the_format_says)
{
    unsigned char b[BLOB_LEN];
    const unsigned char none[8] = {0};

    write_sample(b);
    cr_assert_eq(memcmp(b, "MKSE", 4), 0, "magic");
    cr_assert_eq(get(b + 4, 2), 1, "format");
    cr_assert_eq(get(b + 6, 2), 96, "header_size");
    cr_assert_eq(get(b + 8, 4), 0, "flags");
    cr_assert_eq(get(b + 12, 2), 0, "codec");
    cr_assert_eq(get(b + 14, 2), 8, "stream_len");
    cr_assert_eq(get(b + 16, 8), 0x1122334455667788u, "seq");
    cr_assert_eq(get(b + 24, 4), 0x99aabbccu, "schema");
    cr_assert_eq(get(b + 28, 4), 0, "key_id");
    cr_assert_eq(get(b + 32, 8), 1700000000123u, "created_ms");
    cr_assert_eq(get(b + 40, 8), 0x0102030405060708u, "anchor");
    cr_assert_eq(get(b + 48, 8), XXH3_64bits("account", 7), "kind");
    cr_assert_eq(get(b + 56, 8), sizeof STATE - 1, "plain_len");
    cr_assert_eq(get(b + 64, 8), sizeof STATE - 1, "stored_len");
    cr_assert_eq(get(b + 72, 8), XXH3_64bits(STATE, sizeof STATE - 1), "payload_xxh");
    cr_assert_eq(get(b + 80, 8), 0, "reserved");
    cr_assert_eq(memcmp(b + 96, STREAM, 8), 0, "the id");
    cr_assert_eq(memcmp(b + 104, none, 8), 0, "its padding");
    cr_assert_eq(memcmp(b + HEAD, STATE, sizeof STATE - 1), 0, "the state");

    uint64_t sum = get(b + 88, 8);
    put(b + 88, 8, 0);
    cr_assert_eq(sum, XXH3_64bits(b, HEAD), "header_xxh");
}

Test(envelope, reads_back_what_was_written)
{
    unsigned char b[BLOB_LEN];
    struct mako_envelope e;
    struct mako_error err;

    write_sample(b);
    cr_assert_eq(read_as(b, sizeof b, STREAM, &e, &err), MAKO_OK, "%s", err.text);
    cr_assert_eq(e.format, 1);
    cr_assert_eq(e.meta.seq, 0x1122334455667788u);
    cr_assert_eq(e.meta.schema, 0x99aabbccu);
    cr_assert_eq(e.meta.reserved, 0);
    cr_assert_eq(e.meta.created_ms, 1700000000123);
    cr_assert_eq(e.anchor, 0x0102030405060708u);
    cr_assert_eq(e.kind, mako_envelope_kind("account"));
    cr_assert_eq(e.state, b + HEAD);
    cr_assert_eq(e.state_len, sizeof STATE - 1);
    cr_assert(mako_envelope_intact(&e));
}

Test(envelope, an_empty_state_is_one)
{
    unsigned char b[HEAD];
    struct mako_envelope e = {.meta = {.seq = 1, .schema = 1}}, got;
    struct mako_error err;

    mako_envelope_write(b, text(STREAM), &e);
    cr_assert_eq(read_as(b, sizeof b, STREAM, &got, &err), MAKO_OK, "%s", err.text);
    cr_assert_eq(got.state_len, 0);
    cr_assert(mako_envelope_intact(&got));
}

/* The format's number itself cannot be told from a newer library's. */
Test(envelope, no_flipped_bit_gets_through)
{
    unsigned char b[BLOB_LEN];
    struct mako_envelope e;
    struct mako_error err;

    write_sample(b);
    for (size_t bit = 0; bit < 8 * sizeof b; bit++) {
        size_t at = bit / 8;
        int want = at == 4 || at == 5 ? MAKO_FOREIGN : MAKO_DAMAGED;

        b[at] ^= (unsigned char)(1u << bit % 8);
        int status = read_as(b, sizeof b, STREAM, &e, &err);
        if (at < HEAD)
            cr_assert_eq(status, want, "bit %zu: %s", bit, mako_status_name(status));
        else
            cr_assert(status == MAKO_OK && !mako_envelope_intact(&e), "bit %zu", bit);
        b[at] ^= (unsigned char)(1u << bit % 8);
    }
    cr_assert_eq(read_as(b, sizeof b, STREAM, &e, &err), MAKO_OK);
}

Test(envelope, cut_anywhere_it_is_damaged)
{
    unsigned char b[BLOB_LEN], copy[BLOB_LEN];
    struct mako_envelope e;
    struct mako_error err;

    write_sample(b);
    for (size_t len = 0; len < sizeof b; len++) {
        memcpy(copy, b, len);
        cr_assert_eq(read_as(copy, len, STREAM, &e, &err), MAKO_DAMAGED, "%zu bytes",
                     len);
    }
    expect_read(b, 95, MAKO_DAMAGED, "only 95 bytes, an envelope has 96");
}

Test(envelope, more_bytes_than_it_says_are_damage)
{
    unsigned char b[BLOB_LEN + 1] = {0};

    write_sample(b);
    expect_read(b, sizeof b, MAKO_DAMAGED, "20 bytes of state, the envelope says 19");
}

Test(envelope, another_stream_is_damage)
{
    static const char *const others[] = {"orders/8", "orders/", "orders/77", "Orders/7",
                                         "o"};
    unsigned char b[BLOB_LEN];
    struct mako_envelope e;
    struct mako_error err;

    write_sample(b);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        cr_assert_eq(read_as(b, sizeof b, others[i], &e, &err), MAKO_DAMAGED, "%s",
                     others[i]);
        cr_assert(strstr(err.text, "of another stream, 'orders/7'"), "%s", err.text);
    }
}

Test(envelope, padding_that_is_not_zero_is_damage)
{
    unsigned char b[BLOB_LEN];

    write_sample(b);
    b[111] = 1;
    seal(b, HEAD);
    expect_read(b, sizeof b, MAKO_DAMAGED, "padding is not zero");
}

/* A newer writer may append to the header: what is not known is skipped. */
static void grow(size_t header_size, int want)
{
    static unsigned char grown[8192];
    unsigned char b[BLOB_LEN];
    size_t extra = header_size - 96, len = sizeof b + extra;

    write_sample(b);
    memset(grown, 0xa5, sizeof grown);
    memcpy(grown, b, 96);
    memcpy(grown + header_size, b + 96, sizeof b - 96);
    put(grown + 6, 2, header_size);
    seal(grown, header_size + ID_ROOM);
    expect_read(grown, len, want, "impossible lengths");
    if (want == MAKO_OK) {
        struct mako_envelope e;
        struct mako_error err;

        cr_assert_eq(read_as(grown, len, STREAM, &e, &err), MAKO_OK);
        cr_assert_eq(e.state, grown + header_size + ID_ROOM);
        cr_assert_eq(e.state_len, sizeof STATE - 1);
        cr_assert(mako_envelope_intact(&e));
        grown[header_size - 1] ^= 1;
        expect_read(grown, len, extra ? MAKO_DAMAGED : want, "checksum");
    }
}

Test(envelope, a_larger_header_is_read)
{
    for (size_t size = 97; size <= 4096; size += size < 200 ? 1 : 61)
        grow(size, MAKO_OK);
    grow(4096, MAKO_OK);
}

Test(envelope, a_header_too_large_or_small_is_damage)
{
    unsigned char b[BLOB_LEN];

    grow(4097, MAKO_DAMAGED);
    write_sample(b);
    put(b + 6, 2, 95);
    seal(b, HEAD);
    expect_read(b, sizeof b, MAKO_DAMAGED, "impossible lengths");
}

Test(envelope, unknown_high_flags_are_foreign)
{
    unsigned char b[BLOB_LEN];

    for (unsigned bit = 16; bit < 32; bit++) {
        write_sample(b);
        put(b + 8, 4, 1u << bit);
        seal(b, HEAD);
        expect_read(b, sizeof b, MAKO_FOREIGN, "unknown envelope flags 0x");
    }
}

Test(envelope, unknown_low_flags_are_ignored)
{
    unsigned char b[BLOB_LEN];

    write_sample(b);
    put(b + 8, 4, 0xffff);
    seal(b, HEAD);
    expect_read(b, sizeof b, MAKO_OK, "");
}

Test(envelope, unknown_format_codec_and_key_are_foreign)
{
    unsigned char b[BLOB_LEN];
    struct mako_envelope e;
    struct mako_error err;

    write_sample(b);
    put(b + 4, 2, 2);
    expect_read(b, sizeof b, MAKO_FOREIGN, "envelope format 2, this library reads 1");
    cr_assert_eq(read_as(b, sizeof b, STREAM, &e, &err), MAKO_FOREIGN);
    cr_assert(e.meta.seq == 0 && e.meta.schema == 0, "nothing is known of format 2");

    write_sample(b);
    put(b + 12, 2, 3);
    seal(b, HEAD);
    expect_read(b, sizeof b, MAKO_FOREIGN, "unknown codec 3");
    cr_assert_eq(read_as(b, sizeof b, STREAM, &e, &err), MAKO_FOREIGN);
    cr_assert_eq(e.meta.seq, 0x1122334455667788u, "the layout is known, so is this");

    write_sample(b);
    put(b + 28, 4, 9);
    seal(b, HEAD);
    expect_read(b, sizeof b, MAKO_FOREIGN, "encrypted with key 9, which is not here");
}

/* Whoever owns the checksum may still lie; no read beyond the blob may follow from it. */
static void lie(size_t at, size_t bytes, uint64_t value)
{
    unsigned char b[BLOB_LEN];
    struct mako_envelope e;
    struct mako_error err;

    write_sample(b);
    put(b + at, bytes, value);
    seal(b, HEAD);
    int status = read_as(b, sizeof b, STREAM, &e, &err);
    cr_assert_eq(status, MAKO_DAMAGED, "offset %zu, value %" PRIu64 ": %s", at, value,
                 mako_status_name(status));
}

Test(envelope, lies_about_lengths_are_damage)
{
    static const uint64_t wrong[] = {0, 18, 20, 1u << 20, UINT32_MAX, UINT64_MAX};

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        lie(56, 8, wrong[i]);
        lie(64, 8, wrong[i]);
    }
    lie(14, 2, 0);
    lie(14, 2, 7);
    lie(14, 2, 9);
    lie(14, 2, 1025);
    lie(14, 2, 65535);
    lie(6, 2, 112);
    lie(6, 2, 0);
    lie(6, 2, 65535);
}

Test(envelope, sequence_and_schema_zero_are_damage)
{
    lie(16, 8, 0);
    lie(24, 4, 0);
}

Test(envelope, the_longest_id)
{
    static char id[1025];
    static unsigned char b[96 + 1024 + 1];
    struct mako_envelope e = {.meta = {.seq = 1, .schema = 1},
                              .state = (const unsigned char *)"x",
                              .state_len = 1};
    struct mako_error err;

    memset(id, 'i', 1024);
    cr_assert_eq(mako_envelope_size(1024, 1), sizeof b);
    mako_envelope_write(b, text(id), &e);
    cr_assert_eq(read_as(b, sizeof b, id, &e, &err), MAKO_OK, "%s", err.text);
    id[1023] = 'j';
    cr_assert_eq(read_as(b, sizeof b, id, &e, &err), MAKO_DAMAGED);
}

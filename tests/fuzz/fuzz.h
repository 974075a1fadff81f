/* tests/fuzz/fuzz.h - what the fuzz targets share: taking an input apart, and saying
 * which promise an input broke.
 *
 * A target is one file with LLVMFuzzerTestOneInput(); libFuzzer, AFL++ and replay.c call
 * it.  It keeps nothing from one input to the next, and touches nothing but a directory
 * of its own. */
#ifndef MAKO_TESTS_FUZZ_H
#define MAKO_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mako/types.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A promise that no input may break; the fuzzer keeps the input when the program dies. */
#define MUST(condition)                                                           \
    do {                                                                          \
        if (!(condition)) {                                                       \
            (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                              \
        }                                                                         \
    } while (0)

/* What is left of an input.  An empty one gives zeros. */
struct feed {
    const unsigned char *at;
    size_t left;
};

static inline unsigned char feed_byte(struct feed *feed)
{
    if (feed->left == 0)
        return 0;
    feed->left--;
    return *feed->at++;
}

/* Of as many bytes as the first one says, so that small numbers are as likely as large.
 */
static inline uint64_t feed_number(struct feed *feed)
{
    uint64_t number = 0;

    for (unsigned bytes = feed_byte(feed) % 9u; bytes > 0; bytes--)
        number = number << 8 | feed_byte(feed);
    return number;
}

/* At most max bytes; how many there are comes first. */
static inline const unsigned char *feed_bytes(struct feed *feed, size_t max, size_t *len)
{
    const unsigned char *bytes;
    size_t want = (size_t)feed_number(feed);

    want = want % (max + 1);
    *len = want < feed->left ? want : feed->left;
    bytes = feed->at;
    feed->at += *len;
    feed->left -= *len;
    return bytes;
}

/* The same as a string of its own, cut at a NUL; the caller's. */
static inline char *feed_text(struct feed *feed, size_t max)
{
    size_t len;
    const unsigned char *bytes = feed_bytes(feed, max, &len);
    char *text = calloc(1, len + 1);

    MUST(text);
    if (len > 0)
        memcpy(text, bytes, len);
    return text;
}

/* What every failure owes its caller: one line of text. */
static inline void must_say(int status, const struct mako_error *err)
{
    size_t len = strnlen(err->text, sizeof err->text);

    MUST(len < sizeof err->text);
    if (status == MAKO_OK)
        return;
    MUST(len > 0);
    for (size_t i = 0; i < len; i++)
        MUST((unsigned char)err->text[i] >= 0x20 && err->text[i] != 0x7f);
}

#endif

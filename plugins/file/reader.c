/* plugins/file/reader.c - a window over a file, and the search for frames in it. */
#include "reader.h"

#include <errno.h>
#include <string.h>
#include <xxhash.h>

#include "io.h"

/* Read at once where the reading jumps: the next head, and perhaps little more. */
#define JUMP 65536u

int reader_view(struct reader *reader, uint64_t offset, size_t want, size_t *got,
                const unsigned char **bytes)
{
    uint64_t left = offset < reader->limit ? reader->limit - offset : 0;
    uint64_t end = reader->from + reader->have;

    if (want > left)
        want = (size_t)left;
    if (offset < reader->from || offset + want > end) {
        size_t ask = offset <= end + JUMP ? READER_WINDOW : JUMP, have;
        int error;

        if (ask < want)
            ask = want;
        if (ask > left)
            ask = (size_t)left;
        error = io_read(reader->fd, reader->window, ask, offset, &have);
        if (error != 0)
            return error;
        reader->from = offset;
        reader->have = have;
        if (want > have)
            want = have;
    }
    *got = want;
    *bytes = reader->window + (offset - reader->from);
    return 0;
}

/* What fits the window. */
static int hash_short(struct reader *reader, uint64_t from, uint64_t to, uint64_t *hash,
                      bool *whole)
{
    size_t len = (size_t)(to - from), got = 0;
    const unsigned char *bytes;
    int error = reader_view(reader, from, len, &got, &bytes);

    if (error != 0)
        return error;
    *hash = format_hash(bytes, got);
    *whole = got == len;
    return 0;
}

static int hash_long(struct reader *reader, uint64_t from, uint64_t to, uint64_t *hash,
                     bool *whole)
{
    XXH3_state_t *state = XXH3_createState();
    int error = 0;

    if (state == NULL)
        return ENOMEM;
    (void)XXH3_64bits_reset(state);
    *whole = true;
    while (from < to && *whole && error == 0) {
        size_t want = to - from < READER_WINDOW ? (size_t)(to - from) : READER_WINDOW;
        const unsigned char *bytes;
        size_t got = 0;

        error = reader_view(reader, from, want, &got, &bytes);
        if (error == 0)
            (void)XXH3_64bits_update(state, bytes, got);
        from += got;
        *whole = got == want;
    }
    *hash = XXH3_64bits_digest(state);
    (void)XXH3_freeState(state);
    return error;
}

struct reader reader_of(const struct format_header *header, uint64_t limit)
{
    return (struct reader){
        .fd = -1, .id = header->id, .limit = limit, .last = format_last_number(header)};
}

int reader_hash(struct reader *reader, uint64_t from, uint64_t to, uint64_t *hash,
                bool *whole)
{
    return to - from <= READER_WINDOW ? hash_short(reader, from, to, hash, whole)
                                      : hash_long(reader, from, to, hash, whole);
}

int reader_next(struct reader *reader, uint64_t *offset, struct format_frame *frame,
                char stream[FORMAT_STREAM], bool *found)
{
    uint64_t at = *offset;

    for (; at + FORMAT_FRAME <= reader->limit; at += FORMAT_ALIGN) {
        const unsigned char *head;
        size_t got = 0;
        int error = reader_view(reader, at, FORMAT_FRAME, &got, &head);

        if (error != 0)
            return error;
        if (got < FORMAT_FRAME)
            break;
        if (!format_frame_begins(head))
            continue;
        error = reader_view(reader, at, FORMAT_FRAME + FORMAT_STREAM, &got, &head);
        if (error != 0)
            return error;
        if (format_frame_read(head, got, reader->id, at, frame) &&
            frame->number <= reader->last) {
            memcpy(stream, head + FORMAT_FRAME, frame->stream_len);
            *offset = at;
            *found = true;
            return 0;
        }
    }
    *offset = reader->limit;
    *found = false;
    return 0;
}

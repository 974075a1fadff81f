/* plugins/file/listing.c - writing and reading index files. */
#include "listing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "io.h"
#include "reader.h"

#define BUFFER 262144u

/* ---- writing ----------------------------------------------------------------------- */

int listing_begin(struct listing_writer *writer, struct segments *segments, uint64_t id)
{
    char name[SEGMENT_NAME];
    int error;

    *writer = (struct listing_writer){.segments = segments, .id = id, .fd = -1};
    writer->buffer = malloc(BUFFER);
    writer->state = XXH3_createState();
    if (writer->buffer == NULL || writer->state == NULL) {
        listing_abort(writer);
        return ENOMEM;
    }
    (void)XXH3_64bits_reset(writer->state);
    segment_index_name(id, name);
    error = io_open(segments->dir, name, O_RDWR | O_CREAT | O_TRUNC, &writer->fd);
    if (error != 0)
        listing_abort(writer);
    return error;
}

static int write_at(int fd, void *bytes, size_t len, uint64_t offset)
{
    struct iovec iov = {.iov_base = bytes, .iov_len = len};

    return io_write(fd, &iov, 1, offset);
}

static int write_buffer(struct listing_writer *writer)
{
    int error = write_at(writer->fd, writer->buffer, writer->fill,
                         FORMAT_LISTING + writer->bytes);

    (void)XXH3_64bits_update(writer->state, writer->buffer, writer->fill);
    writer->bytes += writer->fill;
    writer->fill = 0;
    return error;
}

int listing_add(struct listing_writer *writer, const struct format_frame *frame,
                uint64_t offset, const char *stream)
{
    size_t size = format_entry_size(frame->stream_len);
    int error = writer->fill + size > BUFFER ? write_buffer(writer) : 0;

    format_entry_write(writer->buffer + writer->fill, frame, offset, stream);
    writer->fill += size;
    writer->count++;
    return error;
}

static void let_go(struct listing_writer *writer)
{
    io_close(writer->fd);
    free(writer->buffer);
    (void)XXH3_freeState(writer->state);
    *writer = (struct listing_writer){.fd = -1};
}

/* What tells one start of the machine from another; false: nothing does. */
static bool boot_id(uint64_t boot[2])
{
    char text[40] = "", digits[33];
    size_t got = 0, count = 0;
    int fd, error = io_open(AT_FDCWD, "/proc/sys/kernel/random/boot_id", O_RDONLY, &fd);

    if (error != 0)
        return false;
    error = io_read(fd, text, sizeof text - 1, 0, &got);
    io_close(fd);
    for (size_t i = 0; i < got && count < 32; i++)
        if (text[i] != '-' && text[i] != '\n')
            digits[count++] = text[i];
    if (error != 0 || count != 32)
        return false;
    digits[32] = '\0';
    boot[1] = strtoull(digits + 16, NULL, 16);
    digits[16] = '\0';
    boot[0] = strtoull(digits, NULL, 16);
    return true;
}

int listing_finish(struct listing_writer *writer, const struct format_header *header,
                   const struct format_tail *end, bool bound)
{
    unsigned char block[FORMAT_LISTING];
    struct format_listing listing = {.number = header->number,
                                     .low = header->low,
                                     .id = header->id,
                                     .generation = header->generation,
                                     .end = *end};
    int error = bound && !boot_id(listing.boot) ? ENOSYS : write_buffer(writer);

    if (error == 0) {
        listing.count = writer->count;
        listing.bytes = writer->bytes;
        listing.checksum = XXH3_64bits_digest(writer->state);
        format_listing_write(block, &listing);
        error = write_at(writer->fd, block, sizeof block, 0);
    }
    if (error != 0)
        listing_abort(writer);
    else
        let_go(writer);
    return error;
}

void listing_abort(struct listing_writer *writer)
{
    struct segments *segments = writer->segments;
    uint64_t id = writer->id;
    bool made = writer->fd >= 0;

    let_go(writer);
    if (made)
        listing_remove(segments, id);
}

void listing_remove(struct segments *segments, uint64_t id)
{
    char name[SEGMENT_NAME];

    segment_index_name(id, name);
    (void)io_unlink(segments->dir, name);
}

/* ---- from a segment's records -------------------------------------------------------
 */

/* Whether another record of the same segment replaced this one.  What others hold does
 * not matter: an opening to read, or a copy of the directory, may lack them. */
static bool is_replaced(struct index *index, const struct segment *segment,
                        const struct format_frame *frame, const char *stream)
{
    struct mako_str id = {.ptr = stream, .len = frame->stream_len};
    struct place place;
    bool is;

    if (!index_find(index, id, format_hash(stream, id.len), &place))
        return false;
    is = place.segment == segment && place.number > frame->number;
    segment_release(place.segment);
    return is;
}

static int list_records(struct reader *reader, struct index *index,
                        const struct segment *segment, struct listing_writer *writer,
                        struct format_tail *end)
{
    uint64_t offset = FORMAT_HEADER, from;
    char stream[FORMAT_STREAM];
    struct format_frame frame;
    bool found = true;
    int error = 0;

    while (error == 0) {
        from = offset;
        error = reader_next(reader, &offset, &frame, stream, &found);
        if (error != 0 || !found)
            break;
        if (offset != from)
            return EILSEQ;
        if (!is_replaced(index, segment, &frame, stream))
            error = listing_add(writer, &frame, offset, stream);
        end->last = frame.number;
        end->recent = (struct format_recent){
            .streams = {format_hash(stream, frame.stream_len), frame.before.streams[0]}};
        offset += format_record_size(frame.stream_len, frame.blob_len);
        if (offset > reader->limit)
            offset = reader->limit; /* only padding was cut off */
    }
    return error == 0 && from != reader->limit ? EILSEQ : error;
}

int listing_build(struct segments *segments, struct index *index, struct segment *segment,
                  bool bound)
{
    struct format_tail end = {.number = segment->header.number,
                              .id = segment->header.id,
                              .last = segment->header.first - 1,
                              .length = atomic_load(&segment->length)};
    struct reader reader = reader_of(&segment->header, end.length);
    struct listing_writer writer;
    int error;

    segment_hold(segment);
    reader.window = malloc(READER_WINDOW);
    error = reader.window == NULL ? ENOMEM : segment_fd(segment, &reader.fd);
    if (error == 0)
        error = listing_begin(&writer, segments, end.id);
    if (error == 0) {
        error = list_records(&reader, index, segment, &writer, &end);
        if (error == 0)
            error = listing_finish(&writer, &segment->header, &end, bound);
        else
            listing_abort(&writer);
    }
    free(reader.window);
    segment_release(segment);
    return error;
}

/* ---- reading ------------------------------------------------------------------------
 */

/* Whether the machine is still the one that the file counts on. */
static bool boot_holds(const struct format_listing *head)
{
    uint64_t boot[2];

    if (head->boot[0] == 0 && head->boot[1] == 0)
        return true;
    return boot_id(boot) && boot[0] == head->boot[0] && boot[1] == head->boot[1];
}

/* Whether the numbers before the entries can be true of a file of that size: nothing may
 * be allocated, or counted on, for their sake. */
static bool head_holds(const struct format_listing *head, uint64_t size)
{
    return size >= FORMAT_LISTING && head->bytes == size - FORMAT_LISTING &&
           head->count <= head->bytes / format_entry_size(1) &&
           head->low <= head->number && head->end.length >= FORMAT_HEADER;
}

/* Whether the entries are records of one segment of that length, one behind the other,
 * and of known types: of others the segment itself must tell. */
static bool entries_hold(const struct listing *listing)
{
    uint64_t end = FORMAT_HEADER, length = listing->head.end.length;
    size_t at = 0, len = (size_t)listing->head.bytes;

    while (at < len) {
        struct format_frame frame;
        const char *stream;
        uint64_t offset, bytes;

        if (!format_entry_read(listing->entries + at, len - at, &frame, &offset, &stream))
            return false;
        bytes = format_head_size(frame.stream_len) + frame.blob_len; /* no padding */
        if (offset < end || offset % FORMAT_ALIGN != 0 || offset > length ||
            bytes > length - offset || frame.number > listing->head.end.last ||
            frame.type < FORMAT_SAVE || frame.type > FORMAT_DAMAGED)
            return false;
        end = offset + bytes;
        at += format_entry_size(frame.stream_len);
    }
    return true;
}

static int read_entries(int fd, struct listing *listing)
{
    size_t got = 0, bytes = (size_t)listing->head.bytes;
    int error;

    listing->entries = malloc(bytes + 1);
    if (listing->entries == NULL)
        return ENOMEM;
    error = io_read(fd, listing->entries, bytes, FORMAT_LISTING, &got);
    if (error != 0)
        return error;
    return got == bytes && format_hash(listing->entries, got) == listing->head.checksum &&
                   entries_hold(listing)
               ? 0
               : ENOENT;
}

/* Open that of segment id, and read what stands before the entries. */
static int open_head(struct segments *segments, uint64_t id, struct format_listing *head,
                     int *fd)
{
    unsigned char block[FORMAT_LISTING] = {0};
    char name[SEGMENT_NAME];
    uint64_t size = 0;
    size_t got = 0;
    int error;

    segment_index_name(id, name);
    error = io_open(segments->dir, name, O_RDONLY, fd);
    if (error != 0)
        return error;
    error = io_read(*fd, block, sizeof block, 0, &got);
    if (error == 0)
        error = io_size(*fd, &size);
    if (error == 0 &&
        (!format_listing_read(block, head) || head->id != id || !head_holds(head, size)))
        error = ENOENT;
    if (error != 0)
        io_close(*fd);
    return error;
}

uint64_t listing_count(struct segments *segments, uint64_t id)
{
    struct format_listing head;
    int fd;

    if (open_head(segments, id, &head, &fd) != 0)
        return 0;
    io_close(fd);
    return head.count;
}

int listing_read(struct segments *segments, uint64_t id, struct listing *listing)
{
    int fd, error;

    *listing = (struct listing){.entries = NULL};
    error = open_head(segments, id, &listing->head, &fd);
    if (error == 0) {
        error = boot_holds(&listing->head) ? read_entries(fd, listing) : ENOENT;
        io_close(fd);
    }
    if (error != 0)
        listing_free(listing);
    return error;
}

void listing_free(struct listing *listing)
{
    free(listing->entries);
    listing->entries = NULL;
}

int listing_each(const struct listing *listing,
                 int (*visit)(void *arg, const struct format_frame *frame,
                              uint64_t offset, const char *stream),
                 void *arg)
{
    size_t at = 0, len = (size_t)listing->head.bytes;
    int result = 0;

    while (at < len && result == 0) {
        struct format_frame frame;
        const char *stream;
        uint64_t offset;

        (void)format_entry_read(listing->entries + at, len - at, &frame, &offset,
                                &stream);
        result = visit(arg, &frame, offset, stream);
        at += format_entry_size(frame.stream_len);
    }
    return result;
}

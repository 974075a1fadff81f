/* plugins/file/copy.c - what still counts of a run goes into one new file, record by
 * record, and the file takes the run's place. */
#include "copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "compact.h"
#include "io.h"
#include "listing.h"
#include "reader.h"

#define BUFFER     262144u /* bytes gathered before they are written */
#define WRITE_BACK 524288u /* bytes written before they are sent to the medium */

/* A copy being made. */
struct copy {
    struct segments *segments;
    struct index *index;
    const struct run *run;
    struct format_header header;
    struct listing_writer listing;
    bool listed;  /* listing is begun */
    bool stopped; /* it is the target that cannot be written, or not in time */
    int fd;
    unsigned char *buffer;
    size_t fill;
    uint64_t end;  /* where the next record goes; fill bytes before it are in buffer */
    uint64_t sent; /* up to here the medium has been asked to take it */
    int64_t began_ns;
    unsigned char *window; /* of the readers */
};

/* ---- the target ----------------------------------------------------------------------
 */

static int64_t now_ns(clockid_t clock)
{
    struct timespec now;

    (void)clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Not faster than the budget allows: what is written in one go makes others' flushes wait
 * for it. */
static int pace(struct copy *copy)
{
    uint64_t done = copy->end - copy->fill, rate = copy->run->rate;
    int64_t ahead;
    int error;

    if (done - copy->sent < WRITE_BACK)
        return 0;
    error = io_write_back(copy->fd, copy->sent, done - copy->sent);
    copy->sent = done;
    if (rate == 0 || error != 0)
        return error;
    ahead = (int64_t)((double)done / (double)rate * 1e9) -
            (now_ns(CLOCK_MONOTONIC) - copy->began_ns);
    while (ahead > 0 && !(copy->run->stop != NULL && atomic_load(copy->run->stop))) {
        struct timespec pause = {.tv_nsec = ahead < 50000000 ? (long)ahead : 50000000};

        (void)nanosleep(&pause, NULL);
        ahead -= 50000000;
    }
    return 0;
}

static int write_buffer(struct copy *copy)
{
    struct iovec iov = {.iov_base = copy->buffer, .iov_len = copy->fill};
    int error = io_write(copy->fd, &iov, 1, copy->end - copy->fill);

    copy->fill = 0;
    if (error == 0)
        error = pace(copy);
    if (error == 0 && copy->run->stop != NULL && atomic_load(copy->run->stop))
        error = ECANCELED;
    copy->stopped = error != 0;
    return error;
}

static int put(struct copy *copy, const void *bytes, size_t len)
{
    const unsigned char *at = bytes;
    int error = 0;

    while (len > 0 && error == 0) {
        size_t piece = BUFFER - copy->fill < len ? BUFFER - copy->fill : len;

        if (at != NULL) {
            memcpy(copy->buffer + copy->fill, at, piece);
            at += piece;
        } else {
            memset(copy->buffer + copy->fill, 0, piece);
        }
        copy->fill += piece;
        copy->end += piece;
        len -= piece;
        if (copy->fill == BUFFER)
            error = write_buffer(copy);
    }
    return error;
}

/* The head of a record, which goes to the end; its blob follows. */
static int put_head(struct copy *copy, struct format_frame *frame, const char *stream)
{
    unsigned char head[FORMAT_FRAME + FORMAT_STREAM];
    int error = listing_add(&copy->listing, frame, copy->end, stream);

    if (frame->number > copy->header.end.last)
        copy->header.end.last = frame->number;
    frame->acknowledged = 0;
    frame->before = copy->header.end.recent;
    format_frame_write(head, copy->header.id, copy->end, frame, stream);
    copy->header.end.recent = (struct format_recent){
        .streams = {format_hash(stream, frame->stream_len), frame->before.streams[0]}};
    copy->stopped = error != 0;
    return error != 0 ? error
                      : put(copy, head, (size_t)format_head_size(frame->stream_len));
}

/* That the stream's snapshot is damaged, in place of its bytes. */
static int put_marker(struct copy *copy, const struct format_frame *frame,
                      const char *stream)
{
    struct format_frame marker = *frame;

    marker.type = FORMAT_DAMAGED;
    marker.blob_len = 0;
    marker.blob_xxh = format_hash("", 0);
    return put_head(copy, &marker, stream);
}

/* ---- records -------------------------------------------------------------------------
 */

/* A save that counts: check its bytes, and copy them. */
static int put_save(struct copy *copy, struct reader *reader, struct format_frame *frame,
                    const char *stream, uint64_t offset)
{
    uint64_t from = offset + format_head_size(frame->stream_len), hash = 0;
    uint64_t to = from + frame->blob_len;
    bool whole = false;
    int error = reader_hash(reader, from, to, &hash, &whole);

    if (error != 0)
        return error;
    if (!whole || hash != frame->blob_xxh)
        return put_marker(copy, frame, stream);
    error = put_head(copy, frame, stream);
    while (from < to && error == 0) {
        const unsigned char *bytes;
        size_t got = 0;

        error = reader_view(
            reader, from, to - from < READER_WINDOW ? (size_t)(to - from) : READER_WINDOW,
            &got, &bytes);
        if (error == 0 && got == 0)
            error = EIO; /* it was there a moment ago */
        if (error == 0)
            error = put(copy, bytes, got);
        from += got;
    }
    if (error == 0)
        error = put(copy, NULL, (size_t)(format_pad(frame->blob_len) - frame->blob_len));
    return error;
}

/* A removal, unless nothing is left that it removes. */
static int put_removal(struct copy *copy, struct format_frame *frame, const char *stream)
{
    struct mako_str id = {.ptr = stream, .len = frame->stream_len};
    uint64_t seq, number = 0;

    (void)index_peek(copy->index, id, format_hash(stream, id.len), &seq, &number);
    if (number > frame->number || frame->number <= copy->run->below_clean)
        return 0;
    return put_head(copy, frame, stream);
}

static int take_record(struct copy *copy, const struct segment *part,
                       struct reader *reader, struct format_frame *frame,
                       const char *stream, uint64_t offset)
{
    struct mako_str id = {.ptr = stream, .len = frame->stream_len};
    struct place place;
    bool stored;

    if (frame->number > copy->header.end.last)
        copy->header.end.last = frame->number;
    if (frame->type == FORMAT_REMOVAL)
        return put_removal(copy, frame, stream);
    stored = index_find(copy->index, id, format_hash(stream, id.len), &place);
    if (stored)
        segment_release(place.segment);
    if (!stored || place.segment != part || place.offset != offset ||
        place.number != frame->number)
        return 0;
    return frame->type == FORMAT_SAVE ? put_save(copy, reader, frame, stream, offset)
                                      : put_marker(copy, frame, stream);
}

/* What of one segment still counts. */
static int take_part(struct copy *copy, struct segment *part)
{
    struct reader reader = reader_of(&part->header, atomic_load(&part->length));
    uint64_t offset = FORMAT_HEADER, from;
    char stream[FORMAT_STREAM];
    struct format_frame frame;
    bool found = true;
    int error;

    reader.window = copy->window;
    segment_hold(part);
    error = segment_fd(part, &reader.fd);
    while (error == 0) {
        from = offset;
        error = reader_next(&reader, &offset, &frame, stream, &found);
        if (error == 0 && offset != from)
            atomic_store(&part->spoiled, true);
        if (error != 0 || !found)
            break;
        error = take_record(copy, part, &reader, &frame, stream, offset);
        offset += format_record_size(frame.stream_len, frame.blob_len);
        if (offset > reader.limit)
            offset = reader.limit; /* only padding was cut off */
    }
    if (error == EIO && !copy->stopped)
        atomic_store(&part->stuck, true);
    segment_release(part);
    return error;
}

/* ---- records that cannot be found
 * ------------------------------------------------------ */

struct missing {
    struct copy *copy;
    struct segment *part;
    int error;
};

static bool is_part(const struct run *run, const struct segment *segment)
{
    for (size_t i = 0; i < run->count; i++)
        if (run->parts[i] == segment)
            return true;
    return false;
}

/* Whether the stream's record at place has been seen by take_part(). */
static int seen(struct mako_str stream, const struct place *place, bool *is)
{
    unsigned char head[FORMAT_FRAME + FORMAT_STREAM];
    struct format_frame frame;
    size_t got = 0;
    int fd, error;

    *is = false;
    if (place->segment->lost)
        return 0;
    segment_hold(place->segment);
    error = segment_fd(place->segment, &fd);
    if (error == 0)
        error = io_read(fd, head, sizeof head, place->offset, &got);
    segment_release(place->segment);
    *is =
        error == 0 &&
        format_frame_read(head, got, place->segment->header.id, place->offset, &frame) &&
        frame.number == place->number && frame.stream_len == stream.len &&
        memcmp(head + FORMAT_FRAME, stream.ptr, stream.len) == 0;
    return error;
}

/* The index knows of a record that the file does not show: the stream stays damaged. */
static int mark_missing(void *arg, struct mako_str stream, const struct place *place)
{
    struct missing *missing = arg;
    struct format_frame frame = {
        .number = place->number, .stream_len = (uint16_t)stream.len, .meta = place->meta};
    bool is = false;

    if (!is_part(missing->copy->run, place->segment))
        return 0;
    missing->error = seen(stream, place, &is);
    if (missing->error == 0 && !is)
        missing->error = put_marker(missing->copy, &frame, stream.ptr);
    return missing->error;
}

/* Likewise of a removal: what it removed must not come back. */
static int put_unseen(void *arg, const struct format_frame *frame, uint64_t offset,
                      const char *stream)
{
    struct missing *missing = arg;
    struct mako_str id = {.ptr = stream, .len = frame->stream_len};
    struct place place = place_of(missing->part, frame, offset);
    struct format_frame removal = *frame;
    bool is = false;

    if (frame->type != FORMAT_REMOVAL)
        return 0;
    removal.blob_len = 0; /* whatever a file says that was made up */
    removal.blob_xxh = format_hash("", 0);
    missing->error = seen(id, &place, &is);
    if (missing->error == 0 && !is)
        missing->error = put_removal(missing->copy, &removal, stream);
    return missing->error;
}

/* Removals that the part's index file told of and that the part does not show. */
static int take_unseen(struct copy *copy, struct segment *part)
{
    struct missing missing = {.copy = copy, .part = part};
    struct listing listing;
    int error;

    if (atomic_load(&part->tombs) == 0 || (!part->lost && !atomic_load(&part->spoiled)))
        return 0;
    error = listing_read(copy->segments, part->header.id, &listing);
    if (error != 0)
        return error == ENOENT ? 0 : error; /* without it nothing tells of them */
    (void)listing_each(&listing, put_unseen, &missing);
    listing_free(&listing);
    return missing.error;
}

static int take_missing(struct copy *copy)
{
    struct missing missing = {.copy = copy};
    bool spoiled = false;

    for (size_t i = 0; i < copy->run->count; i++)
        spoiled = spoiled || atomic_load(&copy->run->parts[i]->spoiled);
    if (spoiled && !index_scan(copy->index, (struct mako_str){.ptr = "", .len = 0},
                               mark_missing, &missing))
        return ENOMEM;
    return missing.error;
}

/* ---- a run
 * ------------------------------------------------------------------------------ */

bool run_needs(const struct run *run, struct segment *part)
{
    uint64_t last = part->header.end.last != 0 ? part->header.end.last : UINT64_MAX;

    if (atomic_load(&part->live) != 0)
        return true;
    return atomic_load(&part->tombs) != 0 && run->below_clean < last;
}

bool run_closes_gap(const struct run *run)
{
    return run->parts[0]->lost ||
           run->parts[0]->header.before.number != run->below_number;
}

static struct format_header make_header(const struct run *run, uint64_t id)
{
    const struct format_header *first = &run->parts[0]->header;
    struct format_header header = {.number = run->parts[run->count - 1]->header.number,
                                   .low = first->before.number + 1,
                                   .id = id,
                                   .kind = FORMAT_KIND_COPY,
                                   .durability = MAKO_DURABLE_POWER,
                                   .first = first->first,
                                   .created_ms = now_ns(CLOCK_REALTIME) / 1000000,
                                   .before = first->before,
                                   .clean = run->clean};

    if (run_closes_gap(run)) {
        header.before = (struct format_tail){.number = run->below_number};
        header.low = run->below_number + 1;
    }
    for (size_t i = 0; i < run->count; i++) {
        const struct format_header *part = &run->parts[i]->header;

        if (part->generation >= header.generation)
            header.generation = part->generation + 1;
        if (part->first < header.first)
            header.first = part->first;
        if (part->first > header.end.last)
            header.end.last = part->first;
        if (part->end.last > header.end.last)
            header.end.last = part->end.last;
    }
    return header;
}

static int copy_open(struct copy *copy)
{
    uint64_t id;
    int error;

    copy->buffer = malloc(BUFFER);
    copy->window = malloc(READER_WINDOW);
    if (copy->buffer == NULL || copy->window == NULL)
        return ENOMEM;
    error = io_random(&id, sizeof id);
    if (error != 0)
        return error;
    copy->header = make_header(copy->run, id);
    copy->end = copy->sent = FORMAT_HEADER;
    copy->began_ns = now_ns(CLOCK_MONOTONIC);
    error = io_open(copy->segments->dir, COMPACT_TARGET, O_RDWR | O_CREAT | O_TRUNC,
                    &copy->fd);
    if (error == EMFILE || error == ENFILE) {
        segments_spare_fd(copy->segments);
        error = io_open(copy->segments->dir, COMPACT_TARGET, O_RDWR | O_CREAT | O_TRUNC,
                        &copy->fd);
    }
    if (error == 0) {
        error = listing_begin(&copy->listing, copy->segments, id);
        copy->listed = error == 0;
    }
    return error;
}

/* Everything that counts, then the header, and on to the medium. */
static int copy_fill(struct copy *copy)
{
    unsigned char block[FORMAT_HEADER];
    struct iovec iov = {.iov_base = block, .iov_len = sizeof block};
    int error = 0;

    for (size_t i = 0; i < copy->run->count && error == 0; i++) {
        struct segment *part = copy->run->parts[i];

        if (!run_needs(copy->run, part))
            continue;
        if (!part->lost)
            error = take_part(copy, part);
        if (error == 0)
            error = take_unseen(copy, part);
    }
    if (error == 0)
        error = take_missing(copy);
    if (error == 0 && copy->fill != 0)
        error = write_buffer(copy);
    if (error != 0)
        return error;
    copy->header.end.length = copy->end;
    copy->listed = false; /* listing_finish() ends it in any case */
    (void)listing_finish(&copy->listing, &copy->header, &copy->header.end,
                         copy->run->bound); /* else the next opening makes one */
    format_header_write(block, &copy->header);
    error = io_write(copy->fd, &iov, 1, 0);
    return error == 0 ? io_flush(copy->fd) : error;
}

/* The parts are not to be touched before the next opening. */
static void keep_parts(const struct run *run)
{
    for (size_t i = 0; i < run->count; i++)
        atomic_store(&run->parts[i]->stuck, true);
}

/* From here on the copy is the truth on the disk.  One that can neither be kept for sure
 * nor be taken back will count at the next opening: no other may reach into its range. */
static int copy_publish(struct copy *copy, bool *clear)
{
    char name[SEGMENT_NAME];
    int error;

    segment_name(&copy->header, name);
    error = io_rename(copy->segments->dir, COMPACT_TARGET, name);
    if (error != 0)
        return error;
    error = io_flush_dir(copy->segments->dir);
    if (error != 0) {
        if (io_unlink(copy->segments->dir, name) != 0)
            keep_parts(copy->run);
        *clear = false;
    }
    return error;
}

/* Let the index follow what was copied. */
static int repoint(struct copy *copy, struct segment *target)
{
    struct reader reader = reader_of(&copy->header, copy->end);
    uint64_t offset = FORMAT_HEADER;
    char stream[FORMAT_STREAM];
    struct format_frame frame;
    bool found = true;
    int error = 0;

    reader.fd = copy->fd;
    reader.window = copy->window;
    while (error == 0 && found) {
        struct mako_str id = {.ptr = stream};
        struct place place;

        error = reader_next(&reader, &offset, &frame, stream, &found);
        if (error != 0 || !found)
            break;
        id.len = frame.stream_len;
        place = place_of(target, &frame, offset);
        if (place.removed)
            (void)atomic_fetch_add(&target->tombs, format_record_size(id.len, 0));
        else if (!index_move(copy->index, id, format_hash(stream, id.len), &place))
            segment_died(target, 0); /* overtaken meanwhile */
        offset += format_record_size(frame.stream_len, frame.blob_len);
    }
    return error;
}

/* The index file first: left behind, it would tell of what the part has lost. */
static bool unlink_part(struct segments *segments, const struct segment *part)
{
    char name[SEGMENT_NAME];
    int error;

    listing_remove(segments, part->header.id);
    segment_name(&part->header, name);
    error = io_unlink(segments->dir, name);
    return error == 0 || error == ENOENT;
}

/* The parts' files go.  True: for good. */
static bool unlink_parts(struct segments *segments, const struct run *run)
{
    bool done = true;

    for (size_t i = 0; i < run->count; i++)
        done = unlink_part(segments, run->parts[i]) && done;
    return io_flush_dir(segments->dir) == 0 && done;
}

/* Whether the index points to none of the parts any more.  What an index file made up may
 * stand where no record is found. */
static bool deserted(const struct run *run)
{
    for (size_t i = 0; i < run->count; i++)
        if (atomic_load(&run->parts[i]->live) != 0)
            return false;
    return true;
}

/* The copy takes its parts' place. */
static int copy_replace(struct copy *copy, struct segment *target, bool *clear)
{
    int error = repoint(copy, target);

    if (error == 0 && !deserted(copy->run))
        error = EIO;
    atomic_store(&target->sealed, true);
    atomic_store(&target->indexed, true);
    if (error != 0) {
        /* Some of the index points here, some there: keep both until the next opening,
         * which will believe the copy. */
        keep_parts(copy->run);
        atomic_store(&target->stuck, true);
        segments_replace(copy->segments, NULL, 0, target);
        return error;
    }
    segments_replace(copy->segments, copy->run->parts, copy->run->count, target);
    *clear = unlink_parts(copy->segments, copy->run);
    return 0;
}

static void copy_done(struct copy *copy, bool failed)
{
    if (copy->listed)
        listing_abort(&copy->listing);
    if (failed && copy->fd >= 0) {
        (void)io_unlink(copy->segments->dir, COMPACT_TARGET);
        listing_remove(copy->segments, copy->header.id);
    }
    io_close(copy->fd);
    free(copy->buffer);
    free(copy->window);
}

int copy_run(struct segments *segments, struct index *index, const struct run *run,
             bool *clear, uint64_t *length)
{
    struct copy copy = {.segments = segments, .index = index, .run = run, .fd = -1};
    struct segment *target = NULL;
    int error = copy_open(&copy);

    if (error == 0)
        error = copy_fill(&copy);
    if (error == 0) {
        target = segments_prepare(segments, &copy.header, copy.end);
        error = target == NULL ? ENOMEM : copy_publish(&copy, clear);
    }
    if (error != 0) {
        segments_unprepare(target);
        copy_done(&copy, true);
        return error;
    }
    *length = copy.end;
    error = copy_replace(&copy, target, clear);
    copy_done(&copy, false);
    return error;
}

/* No copy stands for them yet, so each must be gone for good before the next: a removal
 * must not go and leave what it removed.  And its index file before it, which would tell
 * of it as lost. */
bool copy_unlink_first(struct segments *segments, const struct run *run)
{
    bool done = true;

    for (size_t i = 0; i < run->count && done; i++) {
        listing_remove(segments, run->parts[i]->header.id);
        done = io_flush_dir(segments->dir) == 0 && unlink_part(segments, run->parts[i]) &&
               io_flush_dir(segments->dir) == 0;
        segment_spare_fd(run->parts[i]);
    }
    return done;
}

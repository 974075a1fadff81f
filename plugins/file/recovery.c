/* plugins/file/recovery.c - reading what a directory's segments hold, after whatever
 * happened.
 *
 * The survey says which files count, and how far.  Sealed ones have index files; the
 * others are read record by record, in any order and by several threads: the highest log
 * number of a stream wins. */
#include "recovery.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "io.h"
#include "reader.h"
#include "survey.h"

#define SECTOR      512u /* what a disk writes whole or not at all */
#define THREADS_MAX 8
#define LOOKS       50 /* a millisecond apart, while another process writes */

/* Where something ends, and what the records up to there tell of themselves. */
struct end {
    uint64_t offset;
    uint64_t last; /* log number of the last record */
    struct format_recent recent;
};

/* What was perhaps never written whole; see settle_doubts(). */
struct doubt {
    struct doubt *next;
    enum {
        DOUBT_BLOB,   /* a record whose frame is good */
        DOUBT_RECORD, /* one whose frame cannot be read */
        DOUBT_STRETCH /* bytes that are no records; number: where they end */
    } kind;
    struct place place;
    struct end end; /* of DOUBT_BLOB and DOUBT_STRETCH, if they count */
    uint64_t lost;  /* DOUBT_RECORD: the hash of its stream's id */
    char stream[];  /* DOUBT_BLOB: the id */
};

/* All of the reading. */
struct recovery {
    const struct recovery_setup *setup;
    struct survey survey;
    struct segment **segments; /* of the survey's files; NULL: does not count */
    _Atomic size_t next;       /* file to be read, counted from the last */
    pthread_mutex_t lock;      /* of what follows */
    int status;                /* of the first failure */
    struct mako_error *err;    /* and its text */
    _Atomic bool vanished;
    struct doubt *lost; /* records that were acknowledged, but have no frame any more */
    struct format_tail tail; /* the end of the last segment */
};

/* One segment being read. */
struct scan {
    struct recovery *recovery;
    const struct recovery_setup *setup;
    struct mako_error *err;
    char name[SEGMENT_NAME];
    struct segment *segment;
    struct reader reader;
    const struct found *file;
    uint64_t size; /* bytes in the file */
    uint64_t acknowledged;
    struct end end; /* of what counts: good or damaged, but not cut short */
    uint64_t gap;   /* the first record that was cut short, or bad stretch, behind
                     * what was acknowledged; UINT64_MAX: none */
    uint64_t last;  /* log number of the last good frame, whether it counts or not */
    struct doubt *doubts;
    bool clean;                /* nothing was found wrong */
    bool unsure;               /* the page cache may show what never reached the medium */
    struct index_found *batch; /* entries of its index file, on their way to the index */
    size_t batched;
};

static int scan_failed(const struct scan *scan, int error)
{
    return survey_failed(scan->setup, scan->name, error, scan->err);
}

/* ---- reading one segment -------------------------------------------------------- */

static bool all_zero(const unsigned char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

/* Whether a sector of [from, to) was never written: it lies beyond the end, or reads
 * as zeros.  A bit that went bad later does not look like that. */
static int unwritten(struct scan *scan, uint64_t from, uint64_t to, bool *is)
{
    uint64_t sector = from - from % SECTOR;
    int error = 0;

    *is = to > scan->reader.limit;
    for (; sector < to && !*is && error == 0; sector += SECTOR) {
        const unsigned char *bytes;
        size_t got = 0;

        error = reader_view(&scan->reader, sector, SECTOR, &got, &bytes);
        *is = error == 0 && all_zero(bytes, got);
    }
    return error;
}

static void report_damaged(const struct scan *scan, const char *stream,
                           const struct place *place)
{
    survey_say(scan->setup, MAKO_LOG_WARN, scan->name,
               "damaged: the record at offset %" PRIu64
               ", of stream %.*s, sequence %" PRIu64,
               place->offset, (int)(place->stream_len < 200 ? place->stream_len : 200),
               stream, place->meta.seq);
}

/* Into the index, if it is the latest. */
static int apply(struct scan *scan, const char *stream, const struct place *place)
{
    struct mako_str id = {.ptr = stream, .len = place->stream_len};

    if (place->removed)
        (void)atomic_fetch_add(&scan->segment->tombs, format_record_size(id.len, 0));
    if (!index_recover(scan->setup->index, id, format_hash(stream, id.len), place))
        return scan_failed(scan, ENOMEM);
    return MAKO_OK;
}

/* A record that was acknowledged, and is damaged. */
static int apply_damaged(struct scan *scan, const char *stream, const struct place *place)
{
    scan->clean = false;
    report_damaged(scan, stream, place);
    return apply(scan, stream, place);
}

/* end: NULL of a record without a frame; stream: NULL where it is not known; lost: 0
 * where nothing is. */
static int add_doubt(struct scan *scan, const struct place *place, const struct end *end,
                     const char *stream, uint64_t lost)
{
    size_t len = stream != NULL ? place->stream_len : 0;
    struct doubt *doubt = malloc(sizeof *doubt + len);

    if (doubt == NULL)
        return scan_failed(scan, ENOMEM);
    doubt->kind = stream != NULL ? DOUBT_BLOB : lost != 0 ? DOUBT_RECORD : DOUBT_STRETCH;
    doubt->place = *place;
    doubt->end = end != NULL ? *end : (struct end){.offset = 0};
    doubt->lost = lost;
    if (len != 0)
        memcpy(doubt->stream, stream, len);
    doubt->next = scan->doubts;
    scan->doubts = doubt;
    return MAKO_OK;
}

/* Of the records up to number, those behind the last good frame are lost; recent tells
 * the streams of two of them. */
static int add_lost(struct scan *scan, uint64_t offset, uint64_t number,
                    const struct format_recent *recent)
{
    int status = MAKO_OK;

    if (number > scan->reader.last)
        return MAKO_OK; /* none of this segment's */
    for (size_t i = 0; i < 2 && status == MAKO_OK && number > scan->last; i++, number--) {
        struct place place = {.segment = scan->segment,
                              .number = number,
                              .offset = offset,
                              .damaged = true,
                              .unnamed = true};

        if (recent->streams[i] != 0)
            status = add_doubt(scan, &place, NULL, NULL, recent->streams[i]);
    }
    return status;
}

/* While a writer is at work what is read may be half of what it writes: look again.
 * Returns whether there is reason to. */
static bool look_again(struct scan *scan, int *tries)
{
    struct timespec pause = {.tv_nsec = 1000000};

    if (!scan->setup->read_only || !scan->file->last || ++*tries > LOOKS)
        return false;
    (void)nanosleep(&pause, NULL);
    scan->reader.have = 0;
    return true;
}

/* Whether a save's payload is good. */
static int check_payload(struct scan *scan, uint64_t from,
                         const struct format_frame *frame, bool *good)
{
    uint64_t hash = 0;
    bool whole = false;
    int tries = 0, error;

    do {
        error = reader_hash(&scan->reader, from, from + frame->blob_len, &hash, &whole);
        *good = whole && hash == frame->blob_xxh;
    } while (error == 0 && !*good && look_again(scan, &tries));
    return error;
}

/* What stands before that end counts. */
static void count_to(struct scan *scan, const struct end *end)
{
    if (end->offset <= scan->end.offset)
        return;
    scan->end = *end;
    if (scan->end.offset > scan->reader.limit)
        scan->end.offset = scan->reader.limit; /* padding, or a blob, was cut off */
}

/* A save whose frame is good: is its payload? */
static int take_save(struct scan *scan, const char *stream, struct place *place,
                     const struct format_frame *frame, const struct end *end)
{
    uint64_t from = place->offset + format_head_size(frame->stream_len);
    bool good = false, torn = false;
    int error = check_payload(scan, from, frame, &good);

    if (error == 0 && !good)
        error = unwritten(scan, from, from + frame->blob_len, &torn);
    if (error != 0)
        return scan_failed(scan, error);
    place->damaged = !good;
    if (!good && torn)
        return add_doubt(scan, place, end, stream, 0);
    count_to(scan, end);
    return good ? apply(scan, stream, place) : apply_damaged(scan, stream, place);
}

static int take_record(struct scan *scan, uint64_t offset, const char *stream,
                       const struct format_frame *frame)
{
    struct place place = place_of(scan->segment, frame, offset);
    struct end end = {.offset =
                          offset + format_record_size(frame->stream_len, frame->blob_len),
                      .last = frame->number,
                      .recent = {.streams = {format_hash(stream, frame->stream_len),
                                             frame->before.streams[0]}}};

    if (frame->type < FORMAT_SAVE || frame->type > FORMAT_DAMAGED)
        return mako_fail(
            scan->err, MAKO_E_UNSUPPORTED,
            "%s/%s: a record of type %u at offset %" PRIu64 ", of a newer version",
            scan->setup->segments->path, scan->name, (unsigned)frame->type, offset);
    if (frame->acknowledged > scan->acknowledged)
        scan->acknowledged = frame->acknowledged;
    if (place.damaged)
        report_damaged(scan, stream, &place);
    scan->last = frame->number;
    if (frame->type == FORMAT_SAVE)
        return take_save(scan, stream, &place, frame, &end);
    count_to(scan, &end);
    return apply(scan, stream, &place);
}

/* Whether anything at all stands from there to the end. */
static int written(struct scan *scan, uint64_t from, bool *is)
{
    int error = 0;

    *is = false;
    while (from < scan->reader.limit && !*is && error == 0) {
        const unsigned char *bytes;
        size_t got = 0;

        error = reader_view(&scan->reader, from, READER_WINDOW, &got, &bytes);
        if (error != 0 || got == 0)
            break;
        *is = !all_zero(bytes, got);
        from += got;
    }
    return error;
}

/* What follows the last record: a torn tail, unless it was acknowledged once. */
static int judge_tail(struct scan *scan, uint64_t from)
{
    bool found;
    int error;

    if (from < scan->acknowledged) {
        scan->clean = false;
        survey_say(scan->setup, MAKO_LOG_WARN, scan->name,
                   "damaged: offsets %" PRIu64 " to %" PRIu64
                   "; the streams in it are unknown",
                   from, scan->acknowledged);
        return add_lost(scan, from, scan->file->bound.last, &scan->file->bound.recent);
    }
    error = written(scan, from, &found);
    if (error != 0)
        return scan_failed(scan, error);
    if (found)
        survey_say(scan->setup, MAKO_LOG_INFO, scan->name,
                   "a write that was cut short at offset %" PRIu64 " is ignored", from);
    return MAKO_OK;
}

/* A doubt about what was acknowledged once: it is damaged.  Takes it over. */
static int confirm(struct scan *scan, struct doubt *doubt)
{
    struct recovery *recovery = scan->recovery;
    int status = MAKO_OK;

    if (doubt->kind == DOUBT_RECORD) {
        (void)pthread_mutex_lock(&recovery->lock);
        doubt->next = recovery->lost;
        recovery->lost = doubt;
        (void)pthread_mutex_unlock(&recovery->lock);
        return MAKO_OK;
    }
    scan->clean = false;
    count_to(scan, &doubt->end);
    if (doubt->kind == DOUBT_BLOB)
        status = apply_damaged(scan, doubt->stream, &doubt->place);
    else
        survey_say(scan->setup, MAKO_LOG_WARN, scan->name,
                   "damaged: offsets %" PRIu64 " to %" PRIu64
                   "; the streams in it are unknown",
                   doubt->place.offset, doubt->place.number);
    free(doubt);
    return status;
}

/* A doubt about what was never acknowledged.  Takes it over. */
static void dismiss(struct scan *scan, struct doubt *doubt)
{
    if (doubt->place.offset < scan->gap)
        scan->gap = doubt->place.offset;
    if (doubt->kind != DOUBT_RECORD)
        survey_say(scan->setup, MAKO_LOG_INFO, scan->name,
                   "a record that was cut short at offset %" PRIu64 " is ignored",
                   doubt->place.offset);
    free(doubt);
}

/* Now that it is known how far the segment was acknowledged: what stands before that
 * was whole once, and is damaged; the rest never was, and does not count.  After a
 * failure it only frees. */
static int settle_doubts(struct scan *scan, int status)
{
    while (scan->doubts != NULL) {
        struct doubt *doubt = scan->doubts;

        scan->doubts = doubt->next;
        if (status != MAKO_OK)
            free(doubt);
        else if (doubt->place.offset < scan->acknowledged)
            status = confirm(scan, doubt);
        else
            dismiss(scan, doubt);
    }
    return status;
}

/* The bytes between from and offset, where the record of frame stands, are no records. */
static int skip_damage(struct scan *scan, uint64_t from, uint64_t offset,
                       const struct format_frame *frame)
{
    struct place place = {.segment = scan->segment, .number = offset, .offset = from};
    struct end end = {
        .offset = offset, .last = frame->number - 1, .recent = frame->before};
    int status;

    if (from == offset)
        return MAKO_OK;
    status = add_doubt(scan, &place, &end, NULL, 0);
    return status == MAKO_OK ? add_lost(scan, from, frame->number - 1, &frame->before)
                             : status;
}

/* The next record at or behind *offset; *found: there is one. */
static int next_record(struct scan *scan, uint64_t *offset, struct format_frame *frame,
                       char stream[FORMAT_STREAM], bool *found)
{
    uint64_t from = *offset;
    int tries = 0, error;

    do {
        *offset = from;
        error = reader_next(&scan->reader, offset, frame, stream, found);
    } while (error == 0 && *found && *offset != from && look_again(scan, &tries));
    return error != 0 ? scan_failed(scan, error) : MAKO_OK;
}

static int scan_records(struct scan *scan)
{
    uint64_t offset = FORMAT_HEADER;
    struct format_frame frame;
    char stream[FORMAT_STREAM];
    bool found;
    int status;

    for (;;) {
        uint64_t from = offset;

        status = next_record(scan, &offset, &frame, stream, &found);
        if (status == MAKO_OK && !found)
            return judge_tail(scan, from);
        if (status == MAKO_OK)
            status = skip_damage(scan, from, offset, &frame);
        if (status == MAKO_OK)
            status = take_record(scan, offset, stream, &frame);
        if (status != MAKO_OK)
            return status;
        offset += format_record_size(frame.stream_len, frame.blob_len);
    }
}

/* What was found whole counts from now on as what was acknowledged does. */
static uint64_t known_whole(const struct scan *scan)
{
    uint64_t to = scan->gap < scan->end.offset ? scan->gap : scan->end.offset;

    return to > scan->acknowledged ? to : scan->acknowledged;
}

/* What a frame was written after: all that had been flushed by then. */
static int find_flushed(struct scan *scan, uint64_t *flushed)
{
    uint64_t offset = FORMAT_HEADER;
    char stream[FORMAT_STREAM];
    struct format_frame frame;
    bool found = true;
    int error = 0;

    *flushed = 0;
    while (error == 0 && found) {
        error = reader_next(&scan->reader, &offset, &frame, stream, &found);
        if (error != 0 || !found)
            break;
        if (frame.acknowledged > *flushed)
            *flushed = frame.acknowledged;
        offset += format_record_size(frame.stream_len, frame.blob_len);
    }
    return error;
}

/* After a failed flush the page cache shows data that never reached the medium: read it
 * from there, as far as it may be of that. */
static int distrust_cache(struct scan *scan)
{
    uint64_t flushed;
    int error = find_flushed(scan, &flushed);

    if (error == 0)
        io_forget(scan->reader.fd, flushed);
    scan->reader.have = 0;
    return error;
}

/* Read the segment's own records. */
static int read_records(struct scan *scan, struct format_tail *tail)
{
    int status, error = 0;

    scan->reader.window = malloc(READER_WINDOW);
    if (scan->reader.window == NULL)
        return scan_failed(scan, ENOMEM);
    if (scan->unsure)
        error = distrust_cache(scan);
    status =
        error != 0 ? scan_failed(scan, error) : settle_doubts(scan, scan_records(scan));
    free(scan->reader.window);
    if (status != MAKO_OK)
        return status;
    if (!scan->clean)
        atomic_store(&scan->segment->spoiled, true);
    /* Where a record in it does not count, an index file cannot say so. */
    if (scan->gap < scan->end.offset)
        atomic_store(&scan->segment->indexed, true);
    *tail = (struct format_tail){.number = scan->file->header.number,
                                 .id = scan->file->header.id,
                                 .length = scan->end.offset,
                                 .acknowledged = known_whole(scan),
                                 .last = scan->end.last,
                                 .recent = scan->end.recent};
    return MAKO_OK;
}

/* ---- one segment, by its index file ------------------------------------------------ */

/* Whether the index file speaks of this very segment, as its other witnesses know it. */
static bool fits(const struct found *file, const struct format_listing *head)
{
    return head->number == file->header.number && head->low == file->header.low &&
           head->generation == file->header.generation &&
           head->end.last <= format_last_number(&file->header) &&
           (file->bound.number == 0 || file->bound.length == head->end.length);
}

static int apply_batch(struct scan *scan)
{
    bool applied = index_recover_many(scan->setup->index, scan->batch, scan->batched);

    scan->batched = 0;
    return applied ? MAKO_OK : scan_failed(scan, ENOMEM);
}

/* As apply(), with others that come.  stream stays where it is until then. */
static int apply_later(struct scan *scan, const char *stream, const struct place *place)
{
    struct mako_str id = {.ptr = stream, .len = place->stream_len};

    if (place->removed)
        (void)atomic_fetch_add(&scan->segment->tombs, format_record_size(id.len, 0));
    scan->batch[scan->batched++] = (struct index_found){
        .stream = id, .hash = format_hash(stream, id.len), .place = *place};
    return scan->batched == INDEX_MANY ? apply_batch(scan) : MAKO_OK;
}

static int take_entry(void *arg, const struct format_frame *frame, uint64_t offset,
                      const char *stream)
{
    struct scan *scan = arg;
    struct place place = place_of(scan->segment, frame, offset);
    uint64_t end =
        offset + format_head_size(frame->stream_len) + frame->blob_len; /* no padding */

    if (place.damaged) {
        report_damaged(scan, stream, &place);
    } else if (scan->file->lost || (end > scan->size && !place.removed)) {
        place.damaged = true;
        scan->clean = false;
    }
    return apply_later(scan, stream, &place);
}

static int take_entries(struct scan *scan, const struct listing *listing)
{
    int status;

    scan->batch = malloc(INDEX_MANY * sizeof *scan->batch);
    if (scan->batch == NULL)
        return scan_failed(scan, ENOMEM);
    status = listing_each(listing, take_entry, scan);
    if (status == MAKO_OK)
        status = apply_batch(scan);
    free(scan->batch);
    return status;
}

static int take_listing(struct scan *scan, const struct listing *listing,
                        struct format_tail *tail)
{
    int status = take_entries(scan, listing);

    if (!scan->clean && !scan->file->lost && scan->file->bound.number == 0)
        survey_say(scan->setup, MAKO_LOG_WARN, scan->name,
                   "damaged: has %" PRIu64 " bytes, but %" PRIu64 " were written",
                   scan->size, listing->head.end.length);
    if (status == MAKO_OK) {
        *tail = listing->head.end;
        atomic_store(&scan->segment->indexed, true);
        if (!scan->clean)
            atomic_store(&scan->segment->spoiled, true);
    }
    return status;
}

/* ---- all of them ------------------------------------------------------------------- */

/* What is found must count for sure, and nothing else: on the medium, with the end that
 * the file has now, and, where the segment itself is read, not only in the page cache,
 * which after a failed flush shows data that never reached the medium.  An index file
 * vouches for what counts, but not that what failed behind it stays cut off. */
static int make_durable(struct scan *scan)
{
    bool power = scan->file->header.durability >= MAKO_DURABLE_POWER;
    int error;

    if (scan->setup->read_only || (power ? !scan->file->last : !scan->setup->flush))
        return 0;
    error = io_flush(scan->reader.fd);
    scan->unsure = power;
    if (error == 0 && !power)
        io_forget(scan->reader.fd, 0); /* a flush before may have failed */
    return error;
}

/* While a writer is at work the segment may have grown since the survey, and may have got
 * its index file only then. */
static int look_at_size(struct scan *scan, const struct format_listing *head)
{
    if (!scan->setup->read_only || head->end.length <= scan->size)
        return 0;
    return io_size(scan->reader.fd, &scan->size);
}

static int read_segment(struct scan *scan, struct format_tail *tail)
{
    struct listing listing = {.entries = NULL};
    int error = listing_read(scan->setup->segments, scan->file->header.id, &listing);
    bool listed = error == 0 && fits(scan->file, &listing.head);
    int status;

    if (error != ENOMEM)
        error = make_durable(scan);
    if (error == 0 && listed)
        error = look_at_size(scan, &listing.head);
    if (error != 0)
        status = scan_failed(scan, error);
    else
        status = listed ? take_listing(scan, &listing, tail) : read_records(scan, tail);
    listing_free(&listing);
    return status;
}

/* Everything of one file. */
static int scan_file(struct recovery *recovery, size_t which, struct mako_error *err)
{
    const struct found *file = &recovery->survey.files[which];
    struct scan scan = {.recovery = recovery,
                        .setup = recovery->setup,
                        .err = err,
                        .file = file,
                        .size = file->size,
                        .segment = recovery->segments[which],
                        .reader = reader_of(&file->header, file->limit),
                        .acknowledged = file->bound.acknowledged,
                        .last = file->header.first - 1,
                        .end = {.offset = FORMAT_HEADER, .last = file->header.first - 1},
                        .gap = UINT64_MAX,
                        .clean = true};
    struct format_tail tail = {.number = 0};
    int status, error = 0;

    segment_name(&file->name, scan.name);
    if (!file->lost)
        error =
            io_open(recovery->setup->segments->dir, scan.name, O_RDONLY, &scan.reader.fd);
    if (error == ENOENT && recovery->setup->read_only) {
        recovery->vanished = true; /* set by any thread, read after all have ended */
        return MAKO_OK;
    }
    if (error != 0)
        status = scan_failed(&scan, error);
    else if (file->lost)
        status = take_listing(&scan, &file->listing, &tail);
    else
        status = read_segment(&scan, &tail);
    io_close(scan.reader.fd);
    if (status != MAKO_OK)
        return status;
    atomic_store(&scan.segment->length, tail.length);
    if (file->last)
        recovery->tail = tail;
    return MAKO_OK;
}

static void *work(void *arg)
{
    struct recovery *recovery = arg;
    struct mako_error err = {.text = ""};
    int status = MAKO_OK;
    size_t count = recovery->survey.count, done;

    /* The last one first: it has no index file, so that it takes longest. */
    while (status == MAKO_OK && (done = atomic_fetch_add(&recovery->next, 1)) < count)
        if (recovery->segments[count - 1 - done] != NULL)
            status = scan_file(recovery, count - 1 - done, &err);
    if (status != MAKO_OK) {
        atomic_store(&recovery->next, recovery->survey.count);
        (void)pthread_mutex_lock(&recovery->lock);
        if (recovery->status == MAKO_OK) {
            recovery->status = status;
            *recovery->err = err;
        }
        (void)pthread_mutex_unlock(&recovery->lock);
    }
    return NULL;
}

/* Share the files among as many threads as there are processors; one is this. */
static void scan_files(struct recovery *recovery)
{
    pthread_t threads[THREADS_MAX];
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    size_t wanted = processors < 1 ? 1 : (size_t)processors, started = 0;

    if (wanted > THREADS_MAX)
        wanted = THREADS_MAX;
    if (wanted > recovery->survey.count)
        wanted = recovery->survey.count;
    while (started + 1 < wanted && io_thread(&threads[started], work, recovery) == 0)
        started++;
    (void)work(recovery);
    while (started > 0)
        (void)pthread_join(threads[--started], NULL);
}

/* Every segment has been read: what the lost records replaced must not show. */
static void apply_lost(struct recovery *recovery, bool *unnamed)
{
    while (recovery->lost != NULL) {
        struct doubt *doubt = recovery->lost;

        *unnamed =
            index_recover_lost(recovery->setup->index, doubt->lost, &doubt->place) ||
            *unnamed;
        recovery->lost = doubt->next;
        free(doubt);
    }
}

/* A place in the table for every file that counts, in their order. */
static int add_segments(struct recovery *recovery)
{
    const struct survey *survey = &recovery->survey;
    uint64_t streams = 0;

    recovery->segments = calloc(survey->count + 1, sizeof(struct segment *));
    if (recovery->segments == NULL)
        return survey_failed(recovery->setup, ".", ENOMEM, survey->err);
    for (size_t i = 0; i < survey->count; i++) {
        struct segment *segment;

        if (!survey->files[i].counts)
            continue;
        segment = segments_add(recovery->setup->segments, &survey->files[i].header,
                               FORMAT_HEADER);
        if (segment == NULL)
            return survey_failed(recovery->setup, ".", ENOMEM, survey->err);
        segment->lost = survey->files[i].lost;
        atomic_store(&segment->sealed, true);
        recovery->segments[i] = segment;
        streams += listing_count(recovery->setup->segments, segment->header.id);
    }
    index_expect(recovery->setup->index, streams);
    return MAKO_OK;
}

/* Since when bytes may have been dead is not known: since they were written, or, where
 * that cannot be, since now. */
static void date_deaths(struct recovery *recovery)
{
    struct timespec now;
    int64_t age, created_ms, now_ms;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    now_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    for (size_t i = 0; i < recovery->survey.count; i++) {
        struct segment *segment = recovery->segments[i];

        if (segment == NULL)
            continue;
        created_ms = segment->header.created_ms;
        age = created_ms < 0 || created_ms > now_ms ? 0 : now_ms - created_ms;
        atomic_store(&segment->died_ms, segment_dead(segment) != 0
                                            ? segment_clock_ms() - age
                                            : SEGMENT_ALL_LIVE);
    }
}

/* The directory's entries must count for sure, too.  Also where there are none: a segment
 * that was taken back must not come back. */
static int flush_entries(const struct survey *survey)
{
    int error = 0;

    if (survey->setup->flush && !survey->setup->read_only)
        error = io_flush_dir(survey->setup->segments->dir);
    return error == 0 ? MAKO_OK : survey_failed(survey->setup, ".", error, survey->err);
}

static int read_all(struct recovery *recovery, bool *unnamed)
{
    int status = add_segments(recovery);

    if (status != MAKO_OK)
        return status;
    scan_files(recovery);
    apply_lost(recovery, unnamed);
    index_settle(recovery->setup->index);
    date_deaths(recovery);
    return recovery->status;
}

int recover(const struct recovery_setup *setup, struct log_start *start,
            struct mako_error *err)
{
    struct recovery recovery = {
        .setup = setup, .survey = {.setup = setup, .err = err}, .err = err};
    struct log_start found = {.segment = 0};
    int status = take_survey(&recovery.survey);

    (void)pthread_mutex_init(&recovery.lock, NULL);
    if (status == MAKO_OK)
        status = survey_start(&recovery.survey, &found);
    if (status == MAKO_OK)
        status = flush_entries(&recovery.survey);
    if (status == MAKO_OK && !survey_in_vain(&recovery.survey))
        status = read_all(&recovery, &found.unnamed);
    if (status == MAKO_OK) {
        if (setup->read_only)
            survey_looked(&recovery.survey, recovery.vanished);
        else
            survey_sweep(&recovery.survey);
        found.before = recovery.tail;
        *start = found;
    }
    free(recovery.segments);
    survey_done(&recovery.survey);
    (void)pthread_mutex_destroy(&recovery.lock);
    return status;
}

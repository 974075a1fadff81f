/* plugins/file/recovery.c - reading a directory of segments after whatever happened.
 *
 * First the headers: they say which segments count, and how far.  Then the records, in
 * any order of segments: the highest log number of a stream wins. */
#include "recovery.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "io.h"

#define WINDOW (1024u * 1024u) /* bytes of a segment at hand at once */
#define SECTOR 512u            /* what a disk writes whole or not at all */

/* A file with a segment's name. */
struct found {
    uint64_t number, size;
    struct format_header header;
    bool good;                /* header is */
    bool counts;              /* good, and not left behind by a beginning that failed */
    bool last;                /* no other counts after it */
    uint64_t limit;           /* records end here at the latest */
    struct format_tail bound; /* what the next segment says of it; else zero */
};

/* A record that was perhaps never written whole; see settle_doubts(). */
struct doubt {
    struct doubt *next;
    struct place place;
    uint64_t lost; /* its frame cannot be read: the hash of its stream's id */
    char stream[]; /* else the id */
};

struct survey {
    const struct recovery_setup *setup;
    struct mako_error *err;
    struct found *files;
    size_t count, room;
    unsigned char *window; /* for the scans, one after the other */
    struct doubt *lost; /* records that were acknowledged, but have no frame any more */
};

/* One segment being read. */
struct scan {
    const struct recovery_setup *setup;
    struct mako_error *err;
    char name[SEGMENT_NAME];
    struct segment *segment;
    int fd;
    unsigned char *window; /* WINDOW bytes, of which have stand in the file at from */
    uint64_t from, have;
    const struct found *file;
    uint64_t limit, acknowledged;
    uint64_t length; /* end of the last record that counts */
    uint64_t gap;    /* the first record that was cut short, or bad stretch, behind
                      * what was acknowledged; UINT64_MAX: none */
    uint64_t last;   /* log number of the last good frame */
    struct format_recent recent;
    struct doubt *doubts;
};

/* ---- words ---------------------------------------------------------------------- */

__attribute__((format(printf, 4, 5))) static void say(const struct recovery_setup *setup,
                                                      int level, const char *name,
                                                      const char *format, ...)
{
    char text[512];
    va_list args;
    int at = snprintf(text, sizeof text, "%s/%s: ", setup->segments->path, name);

    if (at < 0 || (size_t)at >= sizeof text)
        at = 0;
    va_start(args, format);
    (void)vsnprintf(text + at, sizeof text - (size_t)at, format, args);
    va_end(args);
    setup->host->log(setup->host, level, text);
}

static int failed(const struct recovery_setup *setup, const char *name, int error,
                  struct mako_error *err)
{
    return mako_fail(err, error == ENOMEM ? MAKO_E_NOMEM : MAKO_E_IO, "%s/%s: %s",
                     setup->segments->path, name, strerror(error));
}

/* ---- which segments count ------------------------------------------------------- */

static int add_file(struct survey *survey, uint64_t number)
{
    if (survey->count == survey->room) {
        size_t room = survey->room == 0 ? 64 : survey->room * 2;
        struct found *files = realloc(survey->files, room * sizeof *files);

        if (files == NULL)
            return ENOMEM;
        survey->files = files;
        survey->room = room;
    }
    survey->files[survey->count++] = (struct found){.number = number};
    return 0;
}

static int by_number(const void *left, const void *right)
{
    const struct found *a = left, *b = right;

    return (a->number > b->number) - (a->number < b->number);
}

static int read_names(struct survey *survey, DIR *dir)
{
    int error = 0;

    while (error == 0) {
        const struct dirent *entry;
        uint64_t number;

        errno = 0;
        entry = readdir(dir);
        if (entry == NULL)
            return errno;
        if (segment_named(entry->d_name, &number))
            error = add_file(survey, number);
    }
    return error;
}

static int list_files(struct survey *survey)
{
    DIR *dir = NULL;
    int fd,
        error = io_open(survey->setup->segments->dir, ".", O_RDONLY | O_DIRECTORY, &fd);

    if (error == 0) {
        dir = fdopendir(fd);
        if (dir == NULL) {
            error = errno;
            io_close(fd);
        } else {
            error = read_names(survey, dir);
            (void)closedir(dir);
        }
    }
    if (error != 0)
        return failed(survey->setup, ".", error, survey->err);
    if (survey->count != 0)
        qsort(survey->files, survey->count, sizeof *survey->files, by_number);
    return MAKO_OK;
}

/* What a file's first block says. */
static int judge_header(struct survey *survey, struct found *file, const char *name,
                        const unsigned char *block)
{
    uint32_t version = FORMAT_VERSION;
    enum format_verdict verdict = format_header_read(block, &file->header, &version);

    if (verdict == FORMAT_UNKNOWN)
        return mako_fail(survey->err, MAKO_E_UNSUPPORTED,
                         "%s/%s: format version %" PRIu32
                         ", this plugin reads version %u",
                         survey->setup->segments->path, name, version, FORMAT_VERSION);
    if (verdict == FORMAT_BAD)
        return MAKO_OK;
    if (file->header.kind != FORMAT_KIND_LOG)
        return mako_fail(survey->err, MAKO_E_UNSUPPORTED,
                         "%s/%s: a segment of kind %" PRIu32 ", of a newer version",
                         survey->setup->segments->path, name, file->header.kind);
    file->good = file->header.number == file->number;
    if (!file->good)
        say(survey->setup, MAKO_LOG_WARN, name,
            "is a copy of segment %016" PRIx64 " under another name; ignored",
            file->header.number);
    return MAKO_OK;
}

static int read_header(struct survey *survey, struct found *file)
{
    unsigned char block[FORMAT_HEADER] = {0};
    char name[SEGMENT_NAME];
    size_t got;
    int fd, error;

    segment_name(file->number, name);
    error = io_open(survey->setup->segments->dir, name, O_RDONLY, &fd);
    if (error != 0)
        return failed(survey->setup, name, error, survey->err);
    error = io_size(fd, &file->size);
    if (error == 0)
        error = io_read(fd, block, sizeof block, 0, &got);
    io_close(fd);
    if (error != 0)
        return failed(survey->setup, name, error, survey->err);
    file->limit = file->size;
    return judge_header(survey, file, name, block);
}

/* Take over what the next segment says of this one. */
static void apply_bound(const struct survey *survey, struct found *file,
                        const struct format_tail *bound)
{
    char name[SEGMENT_NAME];

    if (bound->number != file->number || bound->id != file->header.id)
        return;
    file->bound = *bound;
    if (bound->length <= file->limit) {
        file->limit = bound->length;
        return;
    }
    segment_name(file->number, name);
    say(survey->setup, MAKO_LOG_WARN, name,
        "damaged: has %" PRIu64 " bytes, but %" PRIu64 " were written", file->size,
        bound->length);
}

/* The newest file, without a header.  It will be left out for good. */
static void report_headless(const struct survey *survey, const struct found *file)
{
    char name[SEGMENT_NAME];

    segment_name(file->number, name);
    say(survey->setup, file->size > FORMAT_HEADER ? MAKO_LOG_WARN : MAKO_LOG_INFO, name,
        "has no header that can be read: never begun, or damaged; ignored");
}

/* A segment whose header cannot be read, or that is not there. */
static void report_lost(const struct survey *survey, uint64_t number, const char *how)
{
    char name[SEGMENT_NAME];

    segment_name(number, name);
    say(survey->setup, MAKO_LOG_WARN, name,
        "%s; its snapshots are lost, and older or removed ones may show in their place",
        how);
}

/* From the last segment down: each names the one before it, and what stands between
 * the two is a beginning in which nothing was acknowledged. */
static void link_files(struct survey *survey)
{
    struct format_tail before = {.number = UINT64_MAX};
    bool linked = true;

    for (size_t i = survey->count; i-- > 0;) {
        struct found *file = &survey->files[i];

        if (file->number > before.number)
            continue;
        if (file->number < before.number && !linked)
            report_lost(survey, before.number, "missing");
        linked = true;
        if (!file->good) {
            if (before.number != UINT64_MAX)
                report_lost(survey, file->number, "the header is damaged");
            else
                report_headless(survey, file);
            continue;
        }
        file->counts = true;
        file->last = before.number == UINT64_MAX;
        apply_bound(survey, file, &before);
        before = file->header.before;
        linked = before.number == 0;
    }
    if (!linked)
        report_lost(survey, before.number, "missing");
}

static int take_survey(struct survey *survey)
{
    int status = list_files(survey);

    for (size_t i = 0; status == MAKO_OK && i < survey->count; i++)
        status = read_header(survey, &survey->files[i]);
    if (status == MAKO_OK)
        link_files(survey);
    return status;
}

/* ---- reading one segment -------------------------------------------------------- */

/* Up to want bytes at offset, *got of them; NULL on a read error. */
static const unsigned char *view(struct scan *scan, uint64_t offset, size_t want,
                                 size_t *got)
{
    uint64_t left = offset < scan->limit ? scan->limit - offset : 0;
    size_t have;
    int error;

    if (want > left)
        want = (size_t)left;
    if (offset < scan->from || offset + want > scan->from + scan->have) {
        size_t ask = left < WINDOW ? (size_t)left : WINDOW;

        error = io_read(scan->fd, scan->window, ask, offset, &have);
        if (error != 0) {
            (void)failed(scan->setup, scan->name, error, scan->err);
            return NULL;
        }
        scan->from = offset;
        scan->have = have;
        if (want > have)
            want = have;
    }
    *got = want;
    return scan->window + (offset - scan->from);
}

static bool all_zero(const unsigned char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

/* Whether [from, to) is all there, and the checksum of it.  Negative: a status. */
static int hash_short(struct scan *scan, uint64_t from, uint64_t to, uint64_t *hash)
{
    size_t len = (size_t)(to - from), got = 0;
    const unsigned char *bytes = view(scan, from, len, &got);

    if (bytes == NULL)
        return MAKO_E_IO;
    *hash = format_hash(bytes, got);
    return got == len;
}

/* Likewise for what is longer than the window. */
static int hash_long(struct scan *scan, uint64_t from, uint64_t to, uint64_t *hash)
{
    XXH3_state_t *state = XXH3_createState();
    bool whole = true;

    if (state == NULL || XXH3_64bits_reset(state) != XXH_OK) {
        (void)XXH3_freeState(state);
        return failed(scan->setup, scan->name, ENOMEM, scan->err);
    }
    while (from < to && whole) {
        size_t want = to - from < WINDOW ? (size_t)(to - from) : WINDOW, got = 0;
        const unsigned char *bytes = view(scan, from, want, &got);

        if (bytes == NULL) {
            (void)XXH3_freeState(state);
            return MAKO_E_IO;
        }
        (void)XXH3_64bits_update(state, bytes, got);
        from += got;
        whole = got == want;
    }
    *hash = XXH3_64bits_digest(state);
    (void)XXH3_freeState(state);
    return whole;
}

/* Whether a sector of [from, to) was never written: it lies beyond the end, or reads
 * as zeros.  A bit that went bad later does not look like that.  Negative: a status. */
static int unwritten(struct scan *scan, uint64_t from, uint64_t to)
{
    uint64_t sector = from - from % SECTOR;

    if (to > scan->limit)
        return true;
    for (; sector < to; sector += SECTOR) {
        size_t got = 0;
        const unsigned char *bytes = view(scan, sector, SECTOR, &got);

        if (bytes == NULL)
            return MAKO_E_IO;
        if (all_zero(bytes, got))
            return true;
    }
    return false;
}

static void report_damaged(const struct scan *scan, const char *stream,
                           const struct place *place)
{
    say(scan->setup, MAKO_LOG_WARN, scan->name,
        "damaged: the record at offset %" PRIu64 ", of stream %.*s, sequence %" PRIu64,
        place->offset, (int)(place->stream_len < 200 ? place->stream_len : 200), stream,
        place->meta.seq);
}

/* Into the index, if it is the latest. */
static int apply(struct scan *scan, const char *stream, const struct place *place)
{
    struct mako_str id = {.ptr = stream, .len = place->stream_len};

    if (place->damaged)
        report_damaged(scan, stream, place);
    if (!index_recover(scan->setup->index, id, format_hash(stream, id.len), place))
        return failed(scan->setup, scan->name, ENOMEM, scan->err);
    return MAKO_OK;
}

static int add_doubt(struct scan *scan, const struct place *place, const char *stream,
                     uint64_t lost)
{
    size_t len = stream != NULL ? place->stream_len : 0;
    struct doubt *doubt = malloc(sizeof *doubt + len);

    if (doubt == NULL)
        return failed(scan->setup, scan->name, ENOMEM, scan->err);
    doubt->place = *place;
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

    for (size_t i = 0; i < 2 && status == MAKO_OK && number > scan->last; i++, number--) {
        struct place place = {.segment = scan->segment,
                              .number = number,
                              .offset = offset,
                              .damaged = true};

        if (recent->streams[i] != 0)
            status = add_doubt(scan, &place, NULL, recent->streams[i]);
    }
    return status;
}

/* A save whose frame is good: is its payload?  *kept tells whether it counts for sure. */
static int take_save(struct scan *scan, const char *stream, struct place *place,
                     const struct format_frame *frame, bool *kept)
{
    uint64_t from = place->offset + format_head_size(frame->stream_len);
    uint64_t to = from + frame->blob_len, hash = 0;
    int whole = frame->blob_len <= WINDOW ? hash_short(scan, from, to, &hash)
                                          : hash_long(scan, from, to, &hash);
    int torn;

    *kept = true;
    if (whole < 0)
        return whole;
    if (whole && hash == frame->blob_xxh)
        return apply(scan, stream, place);
    torn = unwritten(scan, from, to);
    if (torn < 0)
        return torn;
    place->damaged = true;
    if (!torn)
        return apply(scan, stream, place);
    *kept = false;
    return add_doubt(scan, place, stream, 0);
}

static int take_record(struct scan *scan, uint64_t offset, const char *stream,
                       const struct format_frame *frame)
{
    struct place place = {.segment = scan->segment,
                          .number = frame->number,
                          .offset = offset,
                          .meta = frame->meta,
                          .blob_len = (uint32_t)frame->blob_len,
                          .stream_len = frame->stream_len,
                          .removed = frame->type == FORMAT_REMOVAL};
    bool kept = true;
    int status;

    if (frame->type != FORMAT_SAVE && frame->type != FORMAT_REMOVAL)
        return mako_fail(
            scan->err, MAKO_E_UNSUPPORTED,
            "%s/%s: a record of type %u at offset %" PRIu64 ", of a newer version",
            scan->setup->segments->path, scan->name, (unsigned)frame->type, offset);
    if (frame->acknowledged > scan->acknowledged)
        scan->acknowledged = frame->acknowledged;
    scan->last = frame->number;
    scan->recent = (struct format_recent){
        .streams = {format_hash(stream, frame->stream_len), frame->before.streams[0]}};
    status = place.removed ? apply(scan, stream, &place)
                           : take_save(scan, stream, &place, frame, &kept);
    if (kept) {
        scan->length = offset + format_record_size(frame->stream_len, frame->blob_len);
        if (scan->length > scan->limit)
            scan->length = scan->limit; /* only padding was cut off */
    }
    return status;
}

/* The next record at or behind *offset.  MAKO_NOT_FOUND: none follows. */
static int next_record(struct scan *scan, uint64_t *offset, struct format_frame *frame,
                       char stream[FORMAT_STREAM])
{
    uint64_t at = *offset;

    for (; at + FORMAT_FRAME <= scan->limit; at += FORMAT_ALIGN) {
        size_t got = 0;
        const unsigned char *head = view(scan, at, FORMAT_FRAME, &got);

        if (head == NULL)
            return MAKO_E_IO;
        if (got < FORMAT_FRAME)
            break;
        if (!format_frame_begins(head))
            continue;
        head = view(scan, at, FORMAT_FRAME + FORMAT_STREAM, &got);
        if (head == NULL)
            return MAKO_E_IO;
        if (format_frame_read(head, got, scan->segment->header.id, at, frame)) {
            memcpy(stream, head + FORMAT_FRAME, frame->stream_len);
            *offset = at;
            return MAKO_OK;
        }
    }
    return MAKO_NOT_FOUND;
}

/* Whether [from, to) holds anything at all.  Negative: a status. */
static int written(struct scan *scan, uint64_t from, uint64_t to)
{
    while (from < to) {
        size_t got = 0;
        const unsigned char *bytes =
            view(scan, from, to - from < WINDOW ? (size_t)(to - from) : WINDOW, &got);

        if (bytes == NULL)
            return MAKO_E_IO;
        if (got == 0)
            break;
        if (!all_zero(bytes, got))
            return true;
        from += got;
    }
    return false;
}

/* What follows the last record: a torn tail, unless it was acknowledged once. */
static int judge_tail(struct scan *scan, uint64_t from)
{
    int found;

    if (from < scan->acknowledged) {
        say(scan->setup, MAKO_LOG_WARN, scan->name,
            "damaged: offsets %" PRIu64 " to %" PRIu64 "; the streams in it are unknown",
            from, scan->acknowledged);
        return add_lost(scan, from, scan->file->bound.last, &scan->file->bound.recent);
    }
    found = written(scan, from, scan->limit);
    if (found < 0)
        return found;
    if (found)
        say(scan->setup, MAKO_LOG_INFO, scan->name,
            "a write that was cut short at offset %" PRIu64 " is ignored", from);
    return MAKO_OK;
}

/* Now that it is known how far the segment was acknowledged: what stands before that
 * was whole once, and is damaged; the rest never was, and does not count.  After a
 * failure it only frees. */
static int settle_doubts(struct scan *scan, struct survey *survey, int status)
{
    while (scan->doubts != NULL) {
        struct doubt *doubt = scan->doubts;
        bool counts = doubt->place.offset < scan->acknowledged && status == MAKO_OK;

        scan->doubts = doubt->next;
        if (counts && doubt->lost != 0) {
            doubt->next = survey->lost;
            survey->lost = doubt;
            continue;
        }
        if (!counts && doubt->place.offset < scan->gap)
            scan->gap = doubt->place.offset;
        if (counts)
            status = apply(scan, doubt->stream, &doubt->place);
        else if (status == MAKO_OK && doubt->lost == 0)
            say(scan->setup, MAKO_LOG_INFO, scan->name,
                "a record that was cut short at offset %" PRIu64 " is ignored",
                doubt->place.offset);
        free(doubt);
    }
    return status;
}

/* Every segment has been read: what the lost records replaced must not show. */
static void apply_lost(struct survey *survey)
{
    while (survey->lost != NULL) {
        struct doubt *doubt = survey->lost;

        index_recover_lost(survey->setup->index, doubt->lost, &doubt->place);
        survey->lost = doubt->next;
        free(doubt);
    }
}

/* The bytes between from and offset, where the record of frame stands, are no records. */
static int skip_damage(struct scan *scan, uint64_t from, uint64_t offset,
                       const struct format_frame *frame)
{
    if (from == offset)
        return MAKO_OK;
    say(scan->setup, MAKO_LOG_WARN, scan->name,
        "damaged: offsets %" PRIu64 " to %" PRIu64 "; the streams in it are unknown",
        from, offset);
    return add_lost(scan, from, frame->number - 1, &frame->before);
}

static int scan_records(struct scan *scan)
{
    uint64_t offset = FORMAT_HEADER;
    struct format_frame frame;
    char stream[FORMAT_STREAM];
    int status;

    for (;;) {
        uint64_t from = offset;

        status = next_record(scan, &offset, &frame, stream);
        if (status == MAKO_NOT_FOUND)
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

/* What is found must count for sure: on the medium, and not only in the page cache,
 * which after a failed flush shows data that never reached the medium. */
static int make_durable(const struct scan *scan, const struct found *file)
{
    int error = 0;

    if (!scan->setup->flush ||
        (!file->last && file->header.durability >= MAKO_DURABLE_POWER))
        return 0;
    error = io_flush(scan->fd);
    if (error == 0 && file->header.durability >= MAKO_DURABLE_POWER)
        io_forget(scan->fd);
    return error;
}

/* What was found whole counts from now on as what was acknowledged does. */
static uint64_t known_whole(const struct scan *scan)
{
    uint64_t to = scan->gap < scan->length ? scan->gap : scan->length;

    return to > scan->acknowledged ? to : scan->acknowledged;
}

static int scan_file(struct survey *survey, const struct found *file,
                     struct format_tail *tail)
{
    struct scan scan = {.setup = survey->setup,
                        .err = survey->err,
                        .window = survey->window,
                        .limit = file->limit,
                        .file = file,
                        .acknowledged = file->bound.acknowledged,
                        .last = file->header.first - 1,
                        .length = FORMAT_HEADER,
                        .gap = UINT64_MAX,
                        .fd = -1};
    struct segments *segments = survey->setup->segments;
    int error, status;

    segment_name(file->number, scan.name);
    scan.segment = segments_add(segments, &file->header, FORMAT_HEADER);
    error = scan.segment == NULL ? ENOMEM
                                 : io_open(segments->dir, scan.name, O_RDONLY, &scan.fd);
    if (error == 0)
        error = make_durable(&scan, file);
    status = error != 0 ? failed(survey->setup, scan.name, error, survey->err)
                        : scan_records(&scan);
    status = settle_doubts(&scan, survey, status);
    io_close(scan.fd);
    if (status != MAKO_OK)
        return status;
    atomic_store(&scan.segment->length, scan.length);
    *tail = (struct format_tail){.number = file->number,
                                 .id = file->header.id,
                                 .length = scan.length,
                                 .acknowledged = known_whole(&scan),
                                 .last = scan.last,
                                 .recent = scan.recent};
    return MAKO_OK;
}

/* ---- all of them ---------------------------------------------------------------- */

static int scan_files(struct survey *survey, struct format_tail *tail)
{
    int status = MAKO_OK;

    survey->window = malloc(WINDOW);
    if (survey->window == NULL)
        return failed(survey->setup, ".", ENOMEM, survey->err);
    for (size_t i = 0; status == MAKO_OK && i < survey->count; i++)
        if (survey->files[i].counts)
            status = scan_file(survey, &survey->files[i], tail);
    free(survey->window);
    apply_lost(survey);
    index_settle(survey->setup->index);
    return status;
}

/* The directory's entries must count for sure, too. */
static int flush_entries(const struct survey *survey)
{
    int error = 0;

    if (survey->setup->flush && survey->count != 0)
        error = io_flush_dir(survey->setup->segments->dir);
    return error == 0 ? MAKO_OK : failed(survey->setup, ".", error, survey->err);
}

/* Numbers that no segment has had: see docs/file-format.md on why the files' own are
 * enough to know them. */
static int find_start(const struct survey *survey, struct log_start *start)
{
    start->segment = start->opening = 1;
    for (size_t i = 0; i < survey->count; i++) {
        const struct found *file = &survey->files[i];
        uint64_t opening = file->header.first >> FORMAT_OPENING_SHIFT;

        if (file->number >= start->segment)
            start->segment = file->number + 1;
        if (file->good && opening >= start->opening)
            start->opening = opening + 1;
    }
    if (start->segment == 0 || start->opening >> (64 - FORMAT_OPENING_SHIFT) != 0)
        return mako_fail(survey->err, MAKO_E_LIMIT, "%s: its numbers are used up",
                         survey->setup->segments->path);
    return MAKO_OK;
}

int recover(const struct recovery_setup *setup, struct log_start *start,
            struct mako_error *err)
{
    struct survey survey = {.setup = setup, .err = err};
    struct log_start found = {.segment = 0};
    int status = take_survey(&survey);

    if (status == MAKO_OK)
        status = find_start(&survey, &found);
    if (status == MAKO_OK)
        status = flush_entries(&survey);
    if (status == MAKO_OK)
        status = scan_files(&survey, &found.before);
    free(survey.files);
    if (status == MAKO_OK)
        *start = found;
    return status;
}

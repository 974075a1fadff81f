/* plugins/file/survey.c - names, headers, and the chain that they make. */
#include "survey.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "compact.h"
#include "io.h"

#define GAP_LOOKS 5 /* that miss the same, before a file is missing */

/* ---- words ---------------------------------------------------------------------- */

void survey_say(const struct recovery_setup *setup, int level, const char *name,
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

int survey_failed(const struct recovery_setup *setup, const char *name, int error,
                  struct mako_error *err)
{
    return mako_fail(err, io_status(error), "%s/%s: %s", setup->segments->path, name,
                     strerror(error));
}

/* ---- the files -------------------------------------------------------------------- */

static struct found *add_file(struct survey *survey, const struct format_header *name)
{
    if (survey->count == survey->room) {
        size_t room = survey->room == 0 ? 64 : survey->room * 2;
        struct found *files = realloc(survey->files, room * sizeof *files);

        if (files == NULL)
            return NULL;
        survey->files = files;
        survey->room = room;
    }
    survey->files[survey->count] = (struct found){.name = *name};
    return &survey->files[survey->count++];
}

static int add_listing(struct survey *survey, uint64_t id)
{
    if (survey->listing_count == survey->listing_room) {
        size_t room = survey->listing_room == 0 ? 64 : survey->listing_room * 2;
        uint64_t *listings = realloc(survey->listings, room * sizeof *listings);

        if (listings == NULL)
            return ENOMEM;
        survey->listings = listings;
        survey->listing_room = room;
    }
    survey->listings[survey->listing_count++] = id;
    return 0;
}

/* Ascending by number; of files that end with the same number, the one that stands for
 * most comes last, and of these the newest. */
static int by_number(const void *left, const void *right)
{
    const struct format_header *a = &((const struct found *)left)->name;
    const struct format_header *b = &((const struct found *)right)->name;

    if (a->number != b->number)
        return a->number > b->number ? 1 : -1;
    if (a->low != b->low)
        return a->low < b->low ? 1 : -1;
    return (a->generation > b->generation) - (a->generation < b->generation);
}

static int add_name(struct survey *survey, const char *text)
{
    struct format_header name;
    uint64_t id;

    if (segment_named(text, &name))
        return add_file(survey, &name) != NULL ? 0 : ENOMEM;
    if (segment_index_named(text, &id))
        return add_listing(survey, id);
    return 0;
}

static int read_names(struct survey *survey, DIR *dir)
{
    int error = 0;

    while (error == 0) {
        const struct dirent *entry;

        errno = 0;
        entry = readdir(dir);
        if (entry == NULL)
            return errno;
        error = add_name(survey, entry->d_name);
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
        return survey_failed(survey->setup, ".", error, survey->err);
    if (survey->count != 0)
        qsort(survey->files, survey->count, sizeof *survey->files, by_number);
    return MAKO_OK;
}

/* Of those who only read: a directory is listed piece by piece, and a file that came in a
 * piece before may stand for one that went from a piece behind.  List it once more. */
static int list_again(struct survey *survey)
{
    struct survey again = {.setup = survey->setup, .err = survey->err};
    int status = list_files(&again);

    survey->changed = again.count != survey->count;
    for (size_t i = 0; i < survey->count && !survey->changed; i++)
        survey->changed = by_number(&survey->files[i], &again.files[i]) != 0;
    survey_done(&again);
    return status;
}

/* Whether a header is that of the file with this name. */
static bool same_place(const struct format_header *header,
                       const struct format_header *name)
{
    return header->number == name->number && header->low == name->low &&
           header->generation == name->generation;
}

static bool is_blank(const unsigned char block[FORMAT_HEADER])
{
    size_t i = 0;

    while (i < FORMAT_HEADER && block[i] == 0)
        i++;
    return i == FORMAT_HEADER;
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
    if (verdict == FORMAT_BAD) {
        file->blank = is_blank(block);
        return MAKO_OK;
    }
    if (file->header.kind != FORMAT_KIND_LOG && file->header.kind != FORMAT_KIND_COPY)
        return mako_fail(survey->err, MAKO_E_UNSUPPORTED,
                         "%s/%s: a segment of kind %" PRIu32 ", of a newer version",
                         survey->setup->segments->path, name, file->header.kind);
    file->good = same_place(&file->header, &file->name);
    if (!file->good)
        survey_say(survey->setup, MAKO_LOG_WARN, name,
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

    segment_name(&file->name, name);
    error = io_open(survey->setup->segments->dir, name, O_RDONLY, &fd);
    if (error == ENOENT && survey->setup->read_only) {
        survey->changed = true;
        return MAKO_OK;
    }
    if (error != 0)
        return survey_failed(survey->setup, name, error, survey->err);
    error = io_size(fd, &file->size);
    if (error == 0)
        error = io_read(fd, block, sizeof block, 0, &got);
    io_close(fd);
    if (error != 0)
        return survey_failed(survey->setup, name, error, survey->err);
    file->limit = file->size;
    return judge_header(survey, file, name, block);
}

/* ---- which of them count ----------------------------------------------------------- */

/* Take over what is known of a file's end. */
static void apply_bound(const struct survey *survey, struct found *file,
                        const struct format_tail *bound)
{
    char name[SEGMENT_NAME];

    if (bound->number != file->header.number || bound->id != file->header.id)
        return;
    file->bound = *bound;
    if (bound->length <= file->limit || bound->length <= FORMAT_HEADER) {
        file->limit = bound->length; /* of a header alone, the end may be missing */
        return;
    }
    segment_name(&file->name, name);
    survey_say(survey->setup, MAKO_LOG_WARN, name,
               "damaged: has %" PRIu64 " bytes, but %" PRIu64 " were written", file->size,
               bound->length);
}

/* The newest file, without a header.  It will be left out for good. */
static void report_headless(const struct survey *survey, const struct found *file)
{
    char name[SEGMENT_NAME];

    segment_name(&file->name, name);
    if (file->blank || file->size <= FORMAT_HEADER)
        survey_say(survey->setup, MAKO_LOG_INFO, name, "was never begun; ignored");
    else
        survey_say(survey->setup, MAKO_LOG_WARN, name,
                   "has no header that can be read: never begun, or damaged; ignored");
}

/* A segment whose header cannot be read, or that is not there.  listing: its index file;
 * NULL: there is none. */
static void report_lost(const struct survey *survey, const struct format_header *header,
                        const char *how, const struct listing *listing)
{
    char name[SEGMENT_NAME];

    if (listing != NULL && listing->head.count == 0)
        return; /* there was nothing in it */
    segment_name(header, name);
    if (listing != NULL)
        survey_say(survey->setup, MAKO_LOG_WARN, name,
                   "%s; its snapshots are lost: %" PRIu64
                   " streams are damaged, but for those that were saved since",
                   how, listing->head.count);
    else
        survey_say(
            survey->setup, MAKO_LOG_WARN, name,
            "%s; its snapshots are lost, and older or removed ones may show in their "
            "place",
            how);
}

/* One that cannot be read now may be that of a segment that is lost: without it older
 * snapshots would show. */
static int read_listing(struct survey *survey, uint64_t id, struct listing *listing,
                        bool *found)
{
    int error = listing_read(survey->setup->segments, id, listing);
    char name[SEGMENT_NAME];

    *found = error == 0;
    if (error == 0 || error == ENOENT)
        return MAKO_OK;
    segment_index_name(id, name);
    return survey_failed(survey->setup, name, error, survey->err);
}

/* Whether an index file may be that of a segment that is lost: of the number, and of all
 * that the name of its file says; file NULL: it has none. */
static bool may_be(const struct format_listing *head, uint64_t number,
                   const struct found *file)
{
    return head->number == number &&
           (file == NULL ||
            (head->low == file->name.low && head->generation == file->name.generation));
}

/* Whether it stands for less than another, or is older: a copy that was never finished
 * leaves one that stands for more. */
static bool is_narrower(const struct format_listing *head,
                        const struct format_listing *other)
{
    return head->low != other->low ? head->low > other->low
                                   : head->generation < other->generation;
}

/* The index file of a segment that is lost. */
static int find_listing(struct survey *survey, uint64_t number, const struct found *file,
                        struct listing *listing, bool *found)
{
    int status = MAKO_OK;

    *found = false;
    for (size_t i = 0; i < survey->listing_count && status == MAKO_OK; i++) {
        struct listing other;
        bool is;

        status = read_listing(survey, survey->listings[i], &other, &is);
        if (is && may_be(&other.head, number, file) &&
            (!*found || is_narrower(&other.head, &listing->head))) {
            if (*found)
                listing_free(listing);
            *listing = other;
            *found = true;
        } else if (is) {
            listing_free(&other);
        }
    }
    if (status != MAKO_OK && *found) {
        listing_free(listing);
        *found = false;
    }
    return status;
}

static bool has_file(const struct survey *survey, uint64_t id)
{
    for (size_t i = 0; i < survey->count; i++)
        if (survey->files[i].good && survey->files[i].header.id == id)
            return true;
    return false;
}

/* The highest number that index files without segments tell; 0: none does. */
static int find_highest(struct survey *survey, uint64_t *number)
{
    int status = MAKO_OK;

    *number = 0;
    for (size_t i = 0; i < survey->listing_count && status == MAKO_OK; i++) {
        struct listing listing;
        bool found = false;

        if (!has_file(survey, survey->listings[i]))
            status = read_listing(survey, survey->listings[i], &listing, &found);
        if (!found)
            continue;
        if (listing.head.number > *number)
            *number = listing.head.number;
        listing_free(&listing);
    }
    return status;
}

/* Whether a gap that is found now is one for good. */
static bool gaps_are_known(const struct survey *survey)
{
    const struct recovery_looks *looks = survey->setup->looks;

    return looks == NULL || looks->same >= GAP_LOOKS;
}

bool survey_in_vain(const struct survey *survey)
{
    const struct recovery_looks *looks = survey->setup->looks;

    return survey->changed ||
           (looks != NULL && survey->missing != 0 &&
            !(gaps_are_known(survey) && survey->missing == looks->missing));
}

void survey_looked(const struct survey *survey, bool vanished)
{
    struct recovery_looks *looks = survey->setup->looks;

    looks->settled = !vanished && !survey_in_vain(survey);
    if (looks->settled)
        return;
    if (vanished || survey->changed)
        looks->same = 0;
    else if (survey->missing != looks->missing)
        looks->same = 1;
    else
        looks->same++;
    looks->missing = survey->missing;
}

/* Of those who only read: there is a gap.  Whether its index file is there belongs to it.
 */
static void add_gap(struct survey *survey, const struct format_tail *gap, bool listed)
{
    uint64_t all[] = {survey->missing, gap->number, gap->id, listed};

    survey->missing = format_hash(all, sizeof all) | 1;
}

/* The chain, from the last segment down. */
struct chain {
    struct format_tail before;    /* what must come next; number UINT64_MAX: anything */
    uint64_t floor;               /* what has this number or more has been passed */
    bool wanting;                 /* before has not been found */
    bool begun;                   /* one that counts has been found */
    const struct found *headless; /* it is there, without a header that can be read */
};

/* A lost segment of which the index file is left, which it takes: its streams are known,
 * and are damaged. */
static int add_lost(struct survey *survey, struct chain *chain, struct listing *listing)
{
    struct format_header header = {.number = listing->head.number,
                                   .low = listing->head.low,
                                   .id = listing->head.id,
                                   .generation = listing->head.generation,
                                   .first = listing->head.end.last,
                                   .end = listing->head.end};
    struct found *file = add_file(survey, &header);

    if (file == NULL) {
        listing_free(listing);
        return survey_failed(survey->setup, ".", ENOMEM, survey->err);
    }
    file->header = header;
    file->listing = *listing;
    file->counts = file->lost = true;
    file->last = !chain->begun;
    chain->begun = true;
    chain->floor = header.low;
    return MAKO_OK;
}

/* The segment that the chain wants is lost. */
static int lose(struct survey *survey, struct chain *chain)
{
    struct format_header header = {.number = chain->before.number,
                                   .low = chain->before.number};
    const char *how = chain->headless != NULL ? "the header is damaged" : "missing";
    struct listing listing;
    bool known;
    int status;

    if (chain->headless != NULL)
        header = chain->headless->name;
    status = find_listing(survey, header.number, chain->headless, &listing, &known);
    if (status != MAKO_OK)
        return status;
    if (chain->headless == NULL)
        add_gap(survey, &chain->before, known);
    if (known) {
        header.low = listing.head.low;
        header.generation = listing.head.generation;
    }
    if (chain->headless != NULL || gaps_are_known(survey))
        report_lost(survey, &header, how, known ? &listing : NULL);
    chain->wanting = false;
    chain->headless = NULL;
    return known ? add_lost(survey, chain, &listing) : MAKO_OK;
}

/* Whether the newest file, which has no good header, was sealed once. */
static int was_sealed(struct survey *survey, const struct found *file, bool *sealed)
{
    struct listing listing;
    int status = find_listing(survey, file->name.number, file, &listing, sealed);

    if (*sealed)
        listing_free(&listing);
    return status;
}

/* A file that has no good header, at its place in the chain. */
static int pass_headless(struct survey *survey, struct chain *chain,
                         const struct found *file)
{
    bool sealed = false;
    int status = MAKO_OK;

    if (chain->before.number == UINT64_MAX)
        status = was_sealed(survey, file, &sealed);
    if (status != MAKO_OK)
        return status;
    if (sealed)
        *chain = (struct chain){.before = {.number = file->name.number},
                                .floor = chain->floor,
                                .wanting = true,
                                .headless = file};
    else if (chain->before.number == UINT64_MAX && file->name.generation == 0)
        report_headless(survey, file);
    else if (chain->wanting && file->name.number == chain->before.number)
        chain->headless = file;
    else if (file->name.generation == 0 || chain->before.number == UINT64_MAX)
        report_lost(survey, &file->name, "the header is damaged", NULL);
    return MAKO_OK;
}

/* Nothing names the last segment but its index file, which goes before it does. */
static int begin_chain(struct survey *survey, struct chain *chain)
{
    uint64_t number,
        last = survey->count != 0 ? survey->files[survey->count - 1].name.number : 0;
    int status = find_highest(survey, &number);

    *chain = (struct chain){.before = {.number = UINT64_MAX}, .floor = UINT64_MAX};
    if (status == MAKO_OK && number > last) {
        chain->before.number = number;
        chain->wanting = true;
    }
    return status;
}

/* From the last segment down: each names the one before it.  What stands between the two
 * is a beginning in which nothing was acknowledged; what a copy stands for does not count
 * beside it. */
static int link_files(struct survey *survey)
{
    struct chain chain;
    int status = begin_chain(survey, &chain);

    for (size_t i = survey->count; i-- > 0 && status == MAKO_OK;) {
        uint64_t number = survey->files[i].name.number;

        if (number >= chain.floor) {
            survey->files[i].covered = true;
            continue;
        }
        if (number > chain.before.number)
            continue;
        if (!survey->files[i].good) {
            status = pass_headless(survey, &chain, &survey->files[i]);
            continue;
        }
        if (number < chain.before.number && chain.wanting) {
            status = lose(survey, &chain);
            i++; /* look at it again: a copy may have been lost that stood for it */
            continue;
        }
        survey->files[i].counts = true;
        survey->files[i].last = !chain.begun;
        apply_bound(survey, &survey->files[i],
                    survey->files[i].header.kind == FORMAT_KIND_COPY
                        ? &survey->files[i].header.end
                        : &chain.before);
        chain = (struct chain){.before = survey->files[i].header.before,
                               .floor = survey->files[i].header.low,
                               .begun = true};
        chain.wanting = chain.before.number != 0;
    }
    return status == MAKO_OK && chain.wanting ? lose(survey, &chain) : status;
}

int take_survey(struct survey *survey)
{
    int status = list_files(survey);

    if (status == MAKO_OK && survey->setup->read_only)
        status = list_again(survey);
    for (size_t i = 0; status == MAKO_OK && i < survey->count; i++)
        status = read_header(survey, &survey->files[i]);
    if (status == MAKO_OK && !survey->changed)
        status = link_files(survey);
    return status;
}

void survey_done(struct survey *survey)
{
    for (size_t i = 0; i < survey->count; i++)
        listing_free(&survey->files[i].listing);
    free(survey->files);
    free(survey->listings);
}

/* ---- what follows from it ------------------------------------------------------------
 */

static bool listing_is_used(const struct survey *survey, uint64_t id)
{
    for (size_t i = 0; i < survey->count; i++)
        if (survey->files[i].counts && survey->files[i].header.id == id)
            return true;
    return false;
}

void survey_sweep(const struct survey *survey)
{
    struct segments *segments = survey->setup->segments;
    char name[SEGMENT_NAME];

    (void)io_unlink(segments->dir, COMPACT_TARGET);
    for (size_t i = 0; i < survey->count; i++) {
        if (!survey->files[i].covered)
            continue;
        segment_name(&survey->files[i].name, name);
        (void)io_unlink(segments->dir, name);
    }
    for (size_t i = 0; i < survey->listing_count; i++)
        if (!listing_is_used(survey, survey->listings[i]))
            listing_remove(segments, survey->listings[i]);
}

/* The largest opening whose numbers a header names. */
static uint64_t opening_of(const struct format_header *header)
{
    uint64_t number = header->first;

    if (header->end.last > number)
        number = header->end.last;
    if (header->clean > number)
        number = header->clean;
    return number >> FORMAT_OPENING_SHIFT;
}

int survey_start(const struct survey *survey, struct log_start *start)
{
    start->segment = start->opening = 1;
    for (size_t i = 0; i < survey->count; i++) {
        const struct found *file = &survey->files[i];

        if (file->name.number >= start->segment)
            start->segment = file->name.number + 1;
        if ((file->good || file->lost) && opening_of(&file->header) >= start->opening)
            start->opening = opening_of(&file->header) + 1;
    }
    if (start->segment == 0 || start->opening >> (64 - FORMAT_OPENING_SHIFT) != 0)
        return mako_fail(survey->err, MAKO_E_LIMIT, "%s: its numbers are used up",
                         survey->setup->segments->path);
    return MAKO_OK;
}

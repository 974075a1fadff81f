/* cli/events.c - reads an event log line by line. */
#include "events.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>
#include <zlib.h>

#include "cli.h"

enum {
    CHUNK = 256 * 1024,
    LINE_MAX_BYTES = 64 * 1024 * 1024,
    STREAM_MAX_BYTES = 1024
};

struct events {
    gzFile file;
    char *name; /* printable */
    bool regular;
    uint64_t size; /* of the file; 0: not known */
    char *buffer;  /* what was read: [at, end) is not yet used */
    size_t at, end, room;
    bool eof;
    uint64_t line;
};

/* ---- opening ----------------------------------------------------------------------- */

static int wrap(struct events *events, int fd, struct mako_error *err)
{
    struct stat there;

    if (fstat(fd, &there) != 0)
        return mako_fail(err, MAKO_E_INVALID, "%s: %s", events->name, strerror(errno));
    if (S_ISDIR(there.st_mode))
        return mako_fail(err, MAKO_E_INVALID, "%s: is a directory", events->name);
    events->size = S_ISREG(there.st_mode) ? (uint64_t)there.st_size : 0;
    events->regular = S_ISREG(there.st_mode);
    events->file = gzdopen(fd, "rb");
    if (!events->file || gzbuffer(events->file, CHUNK) != 0)
        no_memory();
    return MAKO_OK;
}

int events_open(const char *path, struct events **events, struct mako_error *err)
{
    bool standard = strcmp(path, "-") == 0;
    int fd = standard ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    int error = errno, status;
    struct events *made = must_alloc(NULL, sizeof *made);

    *made = (struct events){.name = standard ? must_copy("standard input", 14)
                                             : printable(path, strlen(path))};
    status = fd < 0 ? mako_fail(err, MAKO_E_INVALID, "cannot open %s: %s", made->name,
                                strerror(error))
                    : wrap(made, fd, err);
    if (status != MAKO_OK) {
        if (fd >= 0 && !made->file)
            (void)close(fd);
        events_close(made);
        return status;
    }
    made->regular = made->regular && !standard;
    *events = made;
    return MAKO_OK;
}

void events_close(struct events *events)
{
    if (!events)
        return;
    if (events->file)
        (void)gzclose_r(events->file);
    free(events->buffer);
    free(events->name);
    free(events);
}

const char *events_name(const struct events *events)
{
    return events->name;
}

bool events_again(const struct events *events)
{
    return events->regular;
}

int events_rewind(struct events *events, struct mako_error *err)
{
    errno = 0;
    if (gzrewind(events->file) != 0)
        return mako_fail(err, MAKO_E_INVALID, "%s: cannot be read again: %s",
                         events->name,
                         errno != 0 ? strerror(errno) : "no way back to its start");
    events->at = events->end = 0;
    events->eof = false;
    events->line = 0;
    return MAKO_OK;
}

double events_part(struct events *events)
{
    z_off_t at = gzoffset(events->file);

    return events->size && at >= 0 ? (double)at / (double)events->size : -1;
}

/* ---- lines ---------------------------------------------------------------------------
 */

static int broken(const struct events *events, struct mako_error *err, const char *why)
{
    return mako_fail(err, MAKO_E_INVALID, "%s:%" PRIu64 ": %s", events->name,
                     events->line, why);
}

/* Make room for one more chunk behind what is not yet used. */
static void make_room(struct events *events)
{
    size_t kept = events->end - events->at;

    if (kept > 0 && events->at > 0)
        memmove(events->buffer, events->buffer + events->at, kept);
    events->at = 0;
    events->end = kept;
    if (events->room - kept < CHUNK) {
        events->room = 2 * events->room + CHUNK;
        events->buffer = must_alloc(events->buffer, events->room);
    }
}

static int fill(struct events *events, struct mako_error *err)
{
    int error = Z_OK, got;
    const char *text;

    make_room(events);
    got = gzread(events->file, events->buffer + events->end, CHUNK);
    if (got > 0) {
        events->end += (size_t)got;
        return MAKO_OK;
    }
    text = gzerror(events->file, &error);
    if (error == Z_BUF_ERROR)
        return broken(events, err, "the compressed file ends too early");
    if (error == Z_ERRNO)
        return broken(events, err, strerror(errno));
    if (got < 0 || (error != Z_OK && error != Z_STREAM_END))
        return broken(events, err, text);
    events->eof = true;
    return MAKO_OK;
}

/* The next line without its newline.  MAKO_NOT_FOUND: there is none. */
static int next_line(struct events *events, const char **line, size_t *len,
                     struct mako_error *err)
{
    size_t seen = 0;

    events->line++;
    for (;;) {
        size_t have = events->end - events->at;
        char *begin = have > 0 ? events->buffer + events->at : NULL, *newline = NULL;

        if (have > seen)
            newline = memchr(begin + seen, '\n', have - seen);
        if ((newline ? (size_t)(newline - begin) : have) > LINE_MAX_BYTES)
            return broken(events, err, "the line is longer than 64 MiB");
        if (newline || (events->eof && have > 0)) {
            *line = begin;
            *len = newline ? (size_t)(newline - begin) : have;
            events->at += *len + (newline != NULL);
            return MAKO_OK;
        }
        if (events->eof)
            return MAKO_NOT_FOUND;
        seen = have;
        if (fill(events, err) != MAKO_OK)
            return MAKO_E_INVALID;
    }
}

/* ---- one event
 * ------------------------------------------------------------------------- */

static bool has_nul(const json_t *string)
{
    return strlen(json_string_value(string)) != json_string_length(string);
}

/* What is wrong with the members; NULL: nothing. */
static const char *wrong(const json_t *stream, const json_t *sequence,
                         const struct event *event)
{
    if (!json_is_string(stream))
        return "\"stream\" must be there and be a string";
    if (json_string_length(stream) == 0 ||
        json_string_length(stream) > STREAM_MAX_BYTES || has_nul(stream))
        return "\"stream\" must have 1 to 1024 bytes, none of them NUL";
    if (!json_is_integer(sequence) || json_integer_value(sequence) < 1)
        return "\"sequence\" must be there and be a whole number of at least 1";
    if (!json_is_string(event->type) || has_nul(event->type))
        return "\"type\" must be there and be a string without NUL";
    if (!json_is_string(event->time))
        return "\"time\" must be there and be a string";
    if (!json_is_object(event->data))
        return "\"data\" must be there and be an object";
    return NULL;
}

static int not_json(const struct events *events, const json_error_t *error,
                    struct mako_error *err)
{
    return mako_fail(err, MAKO_E_INVALID, "%s:%" PRIu64 ": not JSON: %s (column %d)",
                     events->name, events->line, error->text, error->column);
}

static int read_event(const struct events *events, const char *line, size_t len,
                      struct event *event, struct mako_error *err)
{
    json_error_t error;
    json_t *root, *stream, *sequence;
    const char *why;

    errno = 0; /* says whether it is for memory that jansson fails */
    root = json_loadb(line, len, JSON_ALLOW_NUL, &error);
    stream = json_object_get(root, "stream");
    sequence = json_object_get(root, "sequence");
    if (!root && errno == ENOMEM)
        no_memory();
    if (!root)
        return not_json(events, &error, err);
    *event = (struct event){.line = events->line,
                            .type = json_object_get(root, "type"),
                            .time = json_object_get(root, "time"),
                            .data = json_object_get(root, "data"),
                            .root = root};
    why = json_is_object(root) ? wrong(stream, sequence, event) : "not a JSON object";
    if (why) {
        event_done(event);
        return broken(events, err, why);
    }
    event->stream = json_string_value(stream);
    event->stream_len = json_string_length(stream);
    event->sequence = (uint64_t)json_integer_value(sequence);
    event->anchor = XXH3_64bits(line, len);
    event->anchor += event->anchor == 0; /* 0 would say: not known */
    return MAKO_OK;
}

int events_next(struct events *events, struct event *event, struct mako_error *err)
{
    const char *line = NULL;
    size_t len = 0;
    int status = next_line(events, &line, &len, err);

    if (status != MAKO_OK)
        return status;
    if (len == 0)
        return broken(events, err, "an empty line");
    return read_event(events, line, len, event, err);
}

void event_done(struct event *event)
{
    json_decref(event->root);
    event->root = NULL;
}

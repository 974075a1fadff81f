/* cli/events.h - an event log: one JSON object a line, plain or gzip.
 *
 * Knows lines and the shape of one event.  Order within a stream is the caller's. */
#ifndef MAKO_CLI_EVENTS_H
#define MAKO_CLI_EVENTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mako/types.h>

struct event {
    const char *stream; /* no NUL inside, 1 to 1024 bytes */
    size_t stream_len;
    uint64_t sequence; /* >= 1 */
    uint64_t line;     /* number in the log, from 1 */
    uint64_t anchor;   /* hash of the line's bytes; never 0 */
    json_t *type, *time, *data;
    json_t *root; /* owns the above */
};

struct events;

/* path "-" is standard input.  MAKO_OK, or MAKO_E_INVALID with the reason. */
int events_open(const char *path, struct events **events, struct mako_error *err);
void events_close(struct events *events);
/* The log's name for messages. */
const char *events_name(const struct events *events);
/* MAKO_OK, MAKO_NOT_FOUND at the end, or MAKO_E_INVALID: the text names the line. */
int events_next(struct events *events, struct event *event, struct mako_error *err);
void event_done(struct event *event);
/* Whether the log can be read again: a regular file that was opened by name. */
bool events_again(const struct events *events);
int events_rewind(struct events *events, struct mako_error *err);
/* How much was read, 0 to 1; negative where the size is not known. */
double events_part(struct events *events);

#endif

/* tests/fuzz/events.c - the event log of the command-line program and its fold: any bytes
 * are events or refused with a line's number; folding what was read keeps a state that
 * its encoding gives back; and a merge patch does what RFC 7396 says.  The same bytes are
 * also what a snapshot may hold: a state of the fold, or refused. */
#include "fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

#include <mako/json.h>

#include "events.h"
#include "fold.h"

/* What fold_merge() should give, straight from the RFC: a new document. */
static json_t *merged(const json_t *target, const json_t *patch)
{
    json_t *result, *value;
    const char *key;

    if (!json_is_object(patch))
        return json_deep_copy(patch);
    result = json_is_object(target) ? json_deep_copy(target) : json_object();
    json_object_foreach((json_t *)(uintptr_t)patch, key, value)
    {
        if (json_is_null(value))
            (void)json_object_del(result, key);
        else
            (void)json_object_set_new(result, key,
                                      merged(json_object_get(result, key), value));
    }
    return result;
}

/* What is encoded decodes to the same. */
static void check_state(const struct mako_aggregate *fold, const void *state)
{
    char *text = json_dumps(fold_document(state), JSON_COMPACT);
    struct mako_error err = {""};
    void *back = NULL;

    if (!text) /* deeper than jansson writes */
        return;
    if (fold->decode(NULL, 1, text, strlen(text), &back, &err) == MAKO_OK) {
        MUST(json_equal(fold_document(back), fold_document(state)));
        fold->destroy(NULL, back);
    } else {
        must_say(MAKO_DAMAGED, &err);
    }
    free(text);
}

static void check_merge(const json_t *before, const json_t *patch, const json_t *after)
{
    json_t *wanted = merged(before, patch);

    MUST(json_equal(wanted, after));
    json_decref(wanted);
}

static void apply(const struct mako_aggregate *fold, void *state, struct event *event)
{
    const struct mako_event pushed = {.body = event};
    const json_t *document = fold_document(state);
    json_t *before = json_deep_copy(json_object_get(document, "data"));
    struct mako_error err = {""};

    MUST(event->sequence >= 1 && event->anchor != 0 && event->line >= 1);
    MUST(event->stream_len >= 1 && event->stream_len <= 1024);
    MUST(memchr(event->stream, '\0', event->stream_len) == NULL);
    MUST(fold->apply(NULL, state, &pushed, &err) == MAKO_OK);
    check_merge(before, event->data, json_object_get(document, "data"));
    json_decref(before);
}

static void read_all(struct events *events)
{
    struct mako_aggregate fold = fold_aggregate(1);
    void *state = fold.create(NULL);
    struct mako_error err = {""};
    struct event event;
    uint64_t line = 0;
    int status;

    while ((status = events_next(events, &event, &err)) == MAKO_OK) {
        MUST(event.line > line);
        line = event.line;
        apply(&fold, state, &event);
        event_done(&event);
    }
    MUST(status == MAKO_NOT_FOUND || status == MAKO_E_INVALID);
    if (status == MAKO_E_INVALID)
        must_say(status, &err);
    check_state(&fold, state);
    fold.destroy(NULL, state);
}

static void read_state(const uint8_t *data, size_t size)
{
    struct mako_aggregate fold = fold_aggregate(1);
    struct mako_error err = {""};
    void *state = NULL;
    int status = fold.decode(NULL, 1, data, size, &state, &err);

    must_say(status, &err);
    MUST((status == MAKO_OK) == (state != NULL));
    if (state == NULL)
        return;
    check_state(&fold, state);
    fold.destroy(NULL, state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fd = memfd_create("events", MFD_CLOEXEC);
    struct mako_error err = {""};
    struct events *events;
    char path[64];
    int status;

    MUST(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    MUST(events_open(path, &events, &err) == MAKO_OK);
    MUST(strcmp(events_name(events), path) == 0);
    read_all(events);
    MUST(events_part(events) <= 1);
    status = events_rewind(events, &err);
    must_say(status, &err);
    if (status == MAKO_OK)
        read_all(events);
    events_close(events);
    (void)close(fd);
    read_state(data, size);
    return 0;
}

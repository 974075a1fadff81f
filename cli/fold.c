/* cli/fold.c - the aggregate behind replay. */
#include "fold.h"

#include <stdlib.h>

#include <mako/json.h>

#include "cli.h"
#include "events.h"

/* A state: its document, and the members that every event changes. */
struct fold {
    json_t *document;
    json_t *events, *counts, *data; /* borrowed from it */
};

/* The depth of recursion is that of a parsed document, which jansson bounds (2048). */
int fold_merge(json_t *target, const json_t *patch)
{
    const char *key;
    json_t *value;
    void *at;

    for (at = json_object_iter((json_t *)(uintptr_t)patch); at;
         at = json_object_iter_next((json_t *)(uintptr_t)patch, at)) {
        key = json_object_iter_key(at);
        value = json_object_iter_value(at);
        if (json_is_null(value)) {
            (void)json_object_del(target, key);
        } else if (json_is_object(value)) {
            json_t *inner = json_object_get(target, key);

            if (!json_is_object(inner)) {
                inner = json_object();
                if (json_object_set_new(target, key, inner) != 0)
                    return -1;
            }
            if (fold_merge(inner, value) != 0)
                return -1;
        } else if (json_object_set(target, key, value) != 0) {
            return -1;
        }
    }
    return 0;
}

const json_t *fold_document(const void *state)
{
    return ((const struct fold *)state)->document;
}

/* ---- callbacks
 * ------------------------------------------------------------------------- */

static void fold_destroy(void *app, void *state)
{
    struct fold *fold = state;

    (void)app;
    json_decref(fold->document);
    free(fold);
}

/* Whether document, whose reference is taken, is a state; fold borrows its members. */
static bool fold_take(struct fold *fold, json_t *document)
{
    *fold = (struct fold){document, json_object_get(document, "events"),
                          json_object_get(document, "counts"),
                          json_object_get(document, "data")};
    return json_is_string(json_object_get(document, "type")) &&
           json_is_string(json_object_get(document, "time")) &&
           json_is_integer(fold->events) && json_is_object(fold->counts) &&
           json_is_object(fold->data) && json_object_size(document) == 5;
}

static void *fold_create(void *app)
{
    struct fold *fold = must_alloc(NULL, sizeof *fold);
    json_t *document = json_pack("{s:s, s:s, s:i, s:{}, s:{}}", "type", "", "time", "",
                                 "events", 0, "counts", "data");

    (void)app;
    if (!document || !fold_take(fold, document))
        no_memory();
    return fold;
}

static bool count_type(json_t *counts, const char *type)
{
    json_t *count = json_object_get(counts, type);

    if (json_is_integer(count))
        return json_integer_set(count, json_integer_value(count) + 1) == 0;
    return json_object_set_new(counts, type, json_integer(1)) == 0;
}

static int fold_apply(void *app, void *state, const struct mako_event *pushed,
                      struct mako_error *err)
{
    const struct event *event = pushed->body;
    struct fold *fold = state;

    (void)app;
    if (json_object_set(fold->document, "type", event->type) != 0 ||
        json_object_set(fold->document, "time", event->time) != 0 ||
        json_integer_set(fold->events, json_integer_value(fold->events) + 1) != 0 ||
        !count_type(fold->counts, json_string_value(event->type)) ||
        fold_merge(fold->data, event->data) != 0)
        return mako_fail(err, MAKO_E_CALLBACK, "out of memory in the fold");
    return MAKO_OK;
}

static int fold_encode(void *app, const void *state, mako_bytes *out,
                       struct mako_error *err)
{
    (void)app;
    return mako_json_encode(fold_document(state), out, err);
}

static int fold_decode(void *app, uint32_t schema, const void *bytes, size_t len,
                       void **state, struct mako_error *err)
{
    json_t *document = NULL;
    struct fold *fold;
    int status = mako_json_decode(bytes, len, &document, err);

    (void)schema; /* one layout, whatever it is called */
    if (status == MAKO_E_NOMEM)
        no_memory(); /* nothing is wrong with the snapshot */
    if (status != MAKO_OK)
        return status;
    fold = must_alloc(NULL, sizeof *fold);
    if (!fold_take(fold, document)) {
        fold_destroy(app, fold);
        return mako_fail(err, MAKO_E_CALLBACK, "not a state of replay");
    }
    *state = fold;
    return MAKO_OK;
}

struct mako_aggregate fold_aggregate(uint32_t schema)
{
    return (struct mako_aggregate){.struct_size = sizeof(struct mako_aggregate),
                                   .schema = schema,
                                   .create = fold_create,
                                   .destroy = fold_destroy,
                                   .apply = fold_apply,
                                   .encode = fold_encode,
                                   .decode = fold_decode};
}

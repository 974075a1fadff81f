/* json.c - states that are JSON documents: thin helpers over snapshot.h and process.h. */
#include <mako/json.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "store.h"

#define ENCODING (JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY)

static int no_json(struct mako_error *err, int status, const char *why)
{
    return err ? mako_fail(err, status, "state: %s", why) : status;
}

/* Why jansson failed, where errno was 0 before: its own error does not tell. */
static int not_encoded(struct mako_error *err, int status)
{
    return errno == ENOMEM ? no_json(err, MAKO_E_NOMEM, "no memory")
                           : no_json(err, status, "cannot be encoded as JSON");
}

int mako_json_save(mako_store *store, const char *stream, const struct mako_save *save,
                   const json_t *state, struct mako_error *err)
{
    struct mako_save with;
    char *text;
    int status = mako_take_struct(store, &with, sizeof with, MAKO_SAVE_FIRST, save,
                                  "mako_save", err);

    if (status != MAKO_OK)
        return status;
    errno = 0;
    text = json_dumps(state, ENCODING);
    if (!text)
        return not_encoded(err, MAKO_E_INVALID);
    with.struct_size = sizeof with;
    with.state = text;
    with.state_len = strlen(text);
    status = mako_store_save(store, stream, &with, err);
    free(text);
    return status;
}

static int parse(const void *bytes, size_t len, int failure, json_t **state,
                 struct mako_error *err)
{
    json_error_t why;
    json_t *made;

    errno = 0;
    made = json_loadb(bytes, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
    if (!made && errno == ENOMEM)
        return no_json(err, MAKO_E_NOMEM, "no memory");
    if (!made)
        return err ? mako_fail(err, failure, "state: not JSON: %s", why.text) : failure;
    *state = made;
    return MAKO_OK;
}

/* As the core's own texts begin. */
static void name_stream(const mako_store *store, const char *stream,
                        struct mako_error *err)
{
    struct mako_info info = {.struct_size = sizeof info};
    char where[200];

    mako_store_info(store, &info);
    (void)snprintf(where, sizeof where, "store '%.60s' (%s): stream '%.90s': ", info.name,
                   info.plugin, stream);
    mako_error_prefix(err, where);
}

int mako_json_load(mako_store *store, const char *stream,
                   const struct mako_expect *expect, json_t **state,
                   struct mako_meta *meta, struct mako_error *err)
{
    const struct mako_meta before = meta ? *meta : (struct mako_meta){0};
    mako_snapshot *snapshot;
    const void *bytes;
    size_t len;
    int status = mako_store_load(store, stream, expect, &snapshot, meta, err);

    if (status != MAKO_OK)
        return status;
    bytes = mako_snapshot_state(snapshot, &len);
    status = parse(bytes, len, MAKO_DAMAGED, state, err);
    mako_snapshot_unref(snapshot);
    if (status != MAKO_OK && meta)
        *meta = before; /* told with the document, or not at all */
    if (status != MAKO_OK && err)
        name_stream(store, stream, err);
    return status;
}

static int put_piece(const char *buffer, size_t size, void *data)
{
    return mako_bytes_put(data, buffer, size) == MAKO_OK ? 0 : -1;
}

int mako_json_encode(const json_t *state, mako_bytes *out, struct mako_error *err)
{
    errno = 0;
    if (json_dump_callback(state, put_piece, out, ENCODING) != 0)
        return not_encoded(err, MAKO_E_CALLBACK);
    return MAKO_OK;
}

int mako_json_decode(const void *bytes, size_t len, json_t **state,
                     struct mako_error *err)
{
    return parse(bytes, len, MAKO_E_CALLBACK, state, err);
}

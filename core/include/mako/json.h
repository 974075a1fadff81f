/* mako/json.h - states that are JSON documents, by way of jansson.
 *
 * The library itself treats a state as bytes; these few functions save a program that
 * keeps its state as json_t from writing the same ten lines.  The encoding is compact,
 * keys sorted, so that equal documents give equal bytes. */
#ifndef MAKO_JSON_H
#define MAKO_JSON_H

#include <jansson.h>

#include <mako/process.h>
#include <mako/snapshot.h>

#ifdef __cplusplus
extern "C" {
#endif

/* mako_store_save() with state as the bytes; save->state and state_len are ignored.
 * state is borrowed.  E_INVALID where it cannot be encoded. */
MAKO_API MAKO_CHECKED int mako_json_save(mako_store *store, const char *stream,
                                         const struct mako_save *save,
                                         const json_t *state, struct mako_error *err);

/* mako_store_load() into a new document, the caller's reference.  meta may be NULL; else
 * as found there.  Bytes that are not JSON: MAKO_DAMAGED. */
MAKO_API MAKO_CHECKED int mako_json_load(mako_store *store, const char *stream,
                                         const struct mako_expect *expect, json_t **state,
                                         struct mako_meta *meta, struct mako_error *err);

/* For an aggregate's encode and decode: the document as bytes, and back (a new
 * reference).  MAKO_OK, E_NOMEM, or E_CALLBACK with the reason. */
MAKO_API MAKO_CHECKED int mako_json_encode(const json_t *state, mako_bytes *out,
                                           struct mako_error *err);
MAKO_API MAKO_CHECKED int mako_json_decode(const void *bytes, size_t len, json_t **state,
                                           struct mako_error *err);

#ifdef __cplusplus
}
#endif
#endif

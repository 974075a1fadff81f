/* cli/fold.h - the fold of replay: what an event does to a state.
 *
 * state = {"type", "time" of the last event, "events": how many, "counts": {type: n},
 * "data": the RFC 7396 merge of every event's data}. */
#ifndef MAKO_CLI_FOLD_H
#define MAKO_CLI_FOLD_H

#include <jansson.h>

#include <mako/process.h>

/* The aggregate, for states of this schema version; an event's body is a struct event
 * of events.h.  It has no read: events are pushed. */
struct mako_aggregate fold_aggregate(uint32_t schema);

/* The document of a state that mako_process_state() returned. */
const json_t *fold_document(const void *state);

/* RFC 7396: merge patch, an object, into the object target.  target never shares an
 * object with patch, so that it can be changed in place.  Negative: no memory. */
int fold_merge(json_t *target, const json_t *patch);

#endif

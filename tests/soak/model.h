/* tests/soak/model.h - what a stream may show, by what was asked for and acknowledged.
 *
 * A stream shows the change that was acknowledged last, or one that is unsure: under way
 * when its process was killed, or failed.
 *
 * Where one process has the store, an acknowledged change is the end of all that were
 * unsure before it, what an opening shows first is settled, and while the store is open
 * nothing that failed shows.
 *
 * On servers a failed change may arrive late, from a socket that a stopped server had not
 * read yet: until MODEL_LATE_MS after the failure and after the last fault.  It cannot
 * replace a later snapshot; a late removal can.
 *
 * Where replicas take over, what was not acknowledged may be shown and be gone again, and
 * for a while an old master may be asked that has not what was acknowledged since: then
 * all that is checked is that it was saved once.  See docs/redis.md. */
#ifndef MAKO_TESTS_SOAK_MODEL_H
#define MAKO_TESTS_SOAK_MODEL_H

#include "journal.h"

#include <mako/snapshot.h>

#define MODEL_LATE_MS 5000
#define KIND          "soak"

/* What follows from the kind of store. */
struct rules {
    bool keeps;   /* else nothing is ever there */
    bool forgets; /* when it is closed */
    bool late;    /* what failed may come later */
    bool settles; /* what was shown stays */
};

/* What may be read, and how it is asked for. */
struct question {
    struct mako_expect expect;
    uint32_t schema_min, schema_max; /* with the store's own range taken into account */
    size_t max_snapshot;
    bool peek;   /* the metadata only, whatever it is */
    bool beside; /* through an opening of its own, which sees what the disk has */
};

struct answer {
    int status;
    struct mako_meta meta; /* seq 0: not told */
    uint64_t anchor;       /* of status OK, but for a peek */
    int64_t asked_ms;
};

struct place {
    struct journal *journal;
    const struct rules *rules;
    unsigned slot, thread, own;
};

/* Of a name. */
#define STREAM_ROOM 1026
void stream_name(char *name, unsigned slot, unsigned thread, unsigned own);
/* The bytes of a version: their length, and themselves. */
size_t state_size(const struct place *place, uint64_t version);
void state_make(const struct place *place, uint64_t version, unsigned char *bytes);
#define STATE_MAX 160000

/* Nothing was ever there. */
void model_clear(struct slot *slot);
/* An opening begins, by the worker alone. */
void model_open(struct journal *journal, const struct rules *rules, unsigned slot);

/* Announce a change; its version. */
uint64_t model_begin(const struct place *place, uint64_t seq, uint32_t schema,
                     bool removal, bool forced);
/* What became of it, and whether that can be: NULL, or what is wrong. */
const char *model_end(const struct place *place, uint64_t version, int64_t began_ms,
                      int status, size_t max_snapshot);
/* Whether this answer to the stream's own thread can be: NULL, or what is wrong. */
const char *model_answer(const struct place *place, const struct question *question,
                         const struct answer *answer);
/* The same where others change the stream meanwhile; before: what model_floor() said
 * before the question. */
const char *model_glance(const struct place *place, const struct answer *answer,
                         uint64_t before);
uint64_t model_floor(const struct place *place);
/* Another master may take over just now, or has until a moment before asked_ms. */
bool model_is_loose(const struct journal *journal, const struct rules *rules,
                    int64_t asked_ms);
/* What is acknowledged; and whether nothing is unsure. */
struct change model_kept(const struct place *place, bool *sure);
/* The last changes, for people. */
void model_print(const struct place *place);

#endif

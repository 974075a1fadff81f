/* tests/power/rules.h - what a store may show, by what was asked of it and acknowledged.
 *
 * Of each stream: the last acknowledged operation, or one that was begun since, be it
 * under way or failed.  What the first load after an opening has shown is settled.  What
 * had been replaced or removed before a compaction that was acknowledged is in no file.
 */
#ifndef MAKO_TESTS_POWER_RULES_H
#define MAKO_TESTS_POWER_RULES_H

#include "trace.h"

#define ALLOWED_MAX 512

/* An operation. */
struct version {
    uint64_t seq, len;
    uint16_t stream;
    bool removal;
    bool counted;  /* acknowledged, or shown */
    uint64_t dead; /* since this event it cannot show any more; 0: it can */
};

struct rules {
    struct version *versions; /* by number; 0 is a removal of everything */
    uint64_t room;
    uint64_t allowed[STREAMS]
                    [ALLOWED_MAX]; /* versions, in the order of their beginning */
    size_t count[STREAMS];
    uint64_t erased; /* what was dead before this event is in no file */
    size_t next;     /* event */
    char wrong[200]; /* the first event that was not allowed */
};

/* NULL: no memory. */
struct rules *rules_new(void);
void rules_free(struct rules *rules);
/* Take events up to, not including, to into account.  False: one of them shows what is
 * not allowed; rules->wrong tells. */
bool rules_advance(struct rules *rules, const struct trace *trace, size_t to);

/* Whether stream may show version; 0: nothing. */
bool rules_allow(const struct rules *rules, size_t stream, uint64_t version);
/* Whether the bytes of version must be in no file. */
bool rules_erased(const struct rules *rules, uint64_t version);
/* What is allowed, as text. */
void rules_expect(const struct rules *rules, size_t stream, char *text, size_t room);

#endif

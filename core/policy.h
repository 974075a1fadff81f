/* core/policy.h - decisions as pure functions: when to take, which schema to read. */
#ifndef MAKO_CORE_POLICY_H
#define MAKO_CORE_POLICY_H

#include <mako/snapshot.h>

struct mako_range {
    uint32_t min, max; /* both 0: none */
};

/* What both the caller and the configuration accept; one that is none gives way. */
struct mako_range mako_range_meet(struct mako_range caller, struct mako_range config);

/* MAKO_OK, MAKO_SCHEMA_OLDER or MAKO_SCHEMA_NEWER. */
int mako_range_gate(struct mako_range range, uint32_t schema);

#endif

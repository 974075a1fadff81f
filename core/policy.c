/* policy.c - decisions as pure functions: when to take, which schema to read. */
#include "policy.h"

bool mako_should_take(uint64_t event_count, uint64_t last_snapshot_at, uint64_t interval)
{
    uint64_t since = event_count > last_snapshot_at ? event_count - last_snapshot_at : 0;

    return interval > 0 && event_count > 0 && since >= interval;
}

struct mako_range mako_range_meet(struct mako_range caller, struct mako_range config)
{
    if (caller.max == 0)
        return config;
    if (config.max == 0)
        return caller;
    if (config.min > caller.min)
        caller.min = config.min;
    if (config.max < caller.max)
        caller.max = config.max;
    return caller;
}

int mako_range_gate(struct mako_range range, uint32_t schema)
{
    if (schema < range.min)
        return MAKO_SCHEMA_OLDER;
    return schema > range.max ? MAKO_SCHEMA_NEWER : MAKO_OK;
}

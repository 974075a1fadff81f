/* Batches, counters and compaction: the optional operations but scans. */
#include <stdlib.h>

#include "raw.h"

enum {
    MANY = 300
};

static char names[MANY][30];
static struct raw_record records[MANY];
static const char *streams[MANY];
static struct raw_sink sinks[MANY];
static int statuses[MANY];

static void make_records(void)
{
    for (size_t i = 0; i < MANY; i++) {
        (void)snprintf(names[i], sizeof names[i], "batch/%zu", i);
        streams[i] = names[i];
        records[i] = (struct raw_record){
            .stream = names[i], .seq = i + 1, .len = 20 + i * 3, .seed = i};
        sinks[i] = (struct raw_sink){.declines = false};
    }
}

static enum verdict open_for_saves(struct trial *t, struct raw_store *s)
{
    if (!raw_ops.save_many)
        return trial_skip(t, "this plugin has no save_many");
    make_records();
    return raw_open_well(t, s);
}

static enum verdict open_for_loads(struct trial *t, struct raw_store *s)
{
    if (!raw_ops.load_many)
        return trial_skip(t, "this plugin has no load_many");
    make_records();
    return raw_open_well(t, s);
}

static enum verdict save_many_saves_all(struct trial *t)
{
    static const size_t counts[] = {1, 2, MANY};
    struct raw_store s;

    TRY(open_for_saves(t, &s));
    for (size_t c = 0; c < 3; c++) {
        WANT(raw_save_many(&s, records, counts[c], statuses), MAKO_OK);
        for (size_t i = 0; i < counts[c]; i++)
            CHECKF(statuses[i] == MAKO_OK, "item %zu: %s: %s", i,
                   mako_status_name(statuses[i]), raw_error()->text);
        for (size_t i = 0; i < counts[c]; i++)
            TRY(raw_holds(t, &s, records[i]));
    }
    raw_close(&s);
    return PASS;
}

static enum verdict repeats_apply_in_order(struct trial *t)
{
    struct raw_store s;

    TRY(open_for_saves(t, &s));
    for (size_t i = 0; i < 20; i++)
        records[i] = (struct raw_record){
            .stream = names[i % 3], .seq = 100 - i, .len = 30 + i, .seed = i};
    WANT(raw_save_many(&s, records, 20, statuses), MAKO_OK);
    for (size_t i = 0; i < 20; i++)
        CHECKF(statuses[i] == MAKO_OK, "item %zu: %s", i, mako_status_name(statuses[i]));
    for (size_t i = 17; i < 20; i++)
        TRY(raw_holds(t, &s, records[i]));
    raw_close(&s);
    return PASS;
}

/* One that is refused, one that is stale: the others are saved. */
static enum verdict items_are_independent(struct trial *t)
{
    bool newer = raw_has(MAKO_FEATURE_IF_NEWER) && keeps(t);
    struct raw_store s;

    TRY(open_for_saves(t, &s));
    WANT(raw_save(&s, (struct raw_record){.stream = names[2], .seq = 99, .len = 10}),
         MAKO_OK);
    records[1].flags = 1u << 9;
    if (newer)
        records[2].flags = MAKO_SAVE_IF_NEWER;
    WANT(raw_save_many(&s, records, 5, statuses), MAKO_OK);
    CHECKF(statuses[1] == MAKO_E_UNSUPPORTED, "an unknown flag: %s",
           mako_status_name(statuses[1]));
    TRY(raw_holds_nothing(t, &s, names[1]));
    CHECKF(statuses[2] == (newer ? MAKO_STALE : MAKO_OK), "the second save is %s",
           mako_status_name(statuses[2]));
    for (size_t i = 0; i < 5; i += i == 0 ? 3 : 1) {
        CHECKF(statuses[i] == MAKO_OK, "item %zu: %s", i, mako_status_name(statuses[i]));
        TRY(raw_holds(t, &s, records[i]));
    }
    raw_close(&s);
    return PASS;
}

/* Some were never saved, some are declined. */
static int wanted_status(const struct trial *t, size_t i)
{
    if (i % 3 == 0 || !keeps(t))
        return MAKO_NOT_FOUND;
    return i % 5 == 0 ? MAKO_REFUSED : MAKO_OK;
}

static enum verdict load_many_loads_each(struct trial *t)
{
    struct raw_store s;

    TRY(open_for_loads(t, &s));
    for (size_t i = 0; i < MANY; i++) {
        if (i % 3 != 0)
            WANT(raw_save(&s, records[i]), MAKO_OK);
        sinks[i].declines = i % 5 == 0;
    }
    WANT(raw_load_many(&s, streams, sinks, MANY, statuses), MAKO_OK);
    for (size_t i = 0; i < MANY; i++) {
        int want = wanted_status(t, i);

        CHECKF(statuses[i] == want, "item %zu is %s, not %s", i,
               mako_status_name(statuses[i]), mako_status_name(want));
        if (want == MAKO_OK)
            TRY(raw_sink_is(t, &sinks[i], records[i]));
    }
    for (size_t i = 0; i < MANY; i++)
        raw_drop(&sinks[i]);
    raw_close(&s);
    return PASS;
}

/* The same stream several times: each sink gets it. */
static enum verdict load_many_of_one_stream(struct trial *t)
{
    struct raw_store s;

    TRY(open_for_loads(t, &s));
    WANT(raw_save(&s, records[7]), MAKO_OK);
    for (size_t i = 0; i < 6; i++)
        streams[i] = names[7];
    WANT(raw_load_many(&s, streams, sinks, 6, statuses), MAKO_OK);
    for (size_t i = 0; i < 6; i++) {
        CHECKF(statuses[i] == (keeps(t) ? MAKO_OK : MAKO_NOT_FOUND), "item %zu: %s", i,
               mako_status_name(statuses[i]));
        if (keeps(t))
            TRY(raw_sink_is(t, &sinks[i], records[7]));
        raw_drop(&sinks[i]);
    }
    raw_close(&s);
    return PASS;
}

const struct test_case raw_batch_cases[] = {
    {"save_many_saves_all", save_many_saves_all},
    {"repeats_apply_in_order", repeats_apply_in_order},
    {"items_are_independent", items_are_independent},
    {"load_many_loads_each", load_many_loads_each},
    {"load_many_of_one_stream", load_many_of_one_stream},
    {NULL, NULL},
};

/* ---- compaction and counters ------------------------------------------------------ */

/* Much that was replaced and removed, a little that stays. */
static enum verdict make_waste(struct trial *t, struct raw_store *s)
{
    if (!raw_ops.compact)
        return trial_skip(t, "this plugin cannot compact");
    make_records();
    TRY(raw_open_well(t, s));
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < 100; i++)
            WANT(raw_save(s, records[i]), MAKO_OK);
    for (size_t i = 0; i < 100; i += 2)
        CHECK(raw_remove(s, names[i]) >= 0);
    return PASS;
}

static enum verdict nothing_is_lost(struct trial *t, struct raw_store *s)
{
    for (size_t i = 0; i < 100; i++)
        TRY(i % 2 == 0 ? raw_holds_nothing(t, s, names[i]) : raw_holds(t, s, records[i]));
    return PASS;
}

static enum verdict compaction_loses_nothing(struct trial *t)
{
    struct raw_compact compact = {.steps = 0};
    struct raw_store s;

    TRY(make_waste(t, &s));
    WANT(raw_compact(&s, &compact), MAKO_OK);
    TRY(nothing_is_lost(t, &s));
    WANT(raw_compact(&s, &compact), MAKO_OK);
    TRY(nothing_is_lost(t, &s));
    raw_close(&s);
    if (!outlives(t))
        return PASS;
    TRY(raw_open_well(t, &s));
    TRY(nothing_is_lost(t, &s));
    raw_close(&s);
    return PASS;
}

static enum verdict compaction_stops_when_told(struct trial *t)
{
    struct raw_compact compact = {.stop_at = 1};
    struct raw_store s;

    TRY(make_waste(t, &s));
    WANT(raw_compact(&s, &compact), MAKO_OK);
    CHECKF(compact.steps <= 1, "%u steps, after the first said stop", compact.steps);
    TRY(nothing_is_lost(t, &s));
    WANT(raw_save(&s, records[0]), MAKO_OK);
    TRY(raw_holds(t, &s, records[0]));
    raw_close(&s);
    return PASS;
}

static enum verdict counters_have_names(struct trial *t)
{
    unsigned first = 0, again = 0;
    struct raw_store s;

    if (!raw_ops.stats)
        return trial_skip(t, "this plugin has no stats");
    TRY(raw_open_well(t, &s));
    WANT(raw_stats(&s, &first), MAKO_OK);
    WANT(raw_save(&s, (struct raw_record){.stream = "a", .seq = 1, .len = 10}), MAKO_OK);
    WANT(raw_stats(&s, &again), MAKO_OK);
    CHECKF(first > 0 && again > 0, "no counter was told");
    raw_close(&s);
    return PASS;
}

const struct test_case raw_whole_cases[] = {
    {"compaction_loses_nothing", compaction_loses_nothing},
    {"compaction_stops_when_told", compaction_stops_when_told},
    {"counters_have_names", counters_have_names},
    {NULL, NULL},
};

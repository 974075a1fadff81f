/* When a snapshot is due, and which of two saves stays. */
#include "cases.h"

#include <stdlib.h>

static const struct {
    uint64_t count, last;
    bool due; /* at an interval of 100 */
} policy[] = {
    {0, 0, false},     {99, 0, false},    {100, 0, true},    {101, 0, true},
    {200, 0, true},    {99, 100, false},  {100, 100, false}, {101, 100, false},
    {199, 100, false}, {200, 100, true},  {250, 100, true},  {0, 100, false},
    {100, 101, false}, {50, 5000, false},
};

static enum verdict should_take(struct trial *t)
{
    for (size_t i = 0; i < sizeof policy / sizeof policy[0]; i++)
        CHECKF(mako_should_take(policy[i].count, policy[i].last, 100) == policy[i].due,
               "(%llu, %llu, 100)", (unsigned long long)policy[i].count,
               (unsigned long long)policy[i].last);
    for (uint64_t count = 1; count < 300; count++) {
        CHECK(mako_should_take(count, count - 1, 1));
        CHECK(!mako_should_take(count, 0, 0));
        CHECK(!mako_should_take(count, count + 1, 1));
        CHECK(!mako_should_take(count, UINT64_MAX, 1));
    }
    return PASS;
}

/* The same, with the interval of the configuration. */
static enum verdict due_follows_the_configuration(struct trial *t)
{
    static const uint64_t intervals[] = {100, 1, 0, 7};
    char members[60];

    for (size_t i = 0; i < sizeof intervals / sizeof intervals[0]; i++) {
        trial_close(t);
        (void)snprintf(members, sizeof members, "\"snapshot_every\": %llu",
                       (unsigned long long)intervals[i]);
        TRY(trial_open_with(t, members));
        CHECK(t->info.snapshot_every == intervals[i]);
        for (size_t row = 0; i == 0 && row < sizeof policy / sizeof policy[0]; row++)
            CHECK(mako_store_due(t->store, policy[row].count, policy[row].last) ==
                  policy[row].due);
        for (uint64_t count = 0; count < 30; count++)
            for (uint64_t last = 0; last < 30; last++)
                CHECK(mako_store_due(t->store, count, last) ==
                      mako_should_take(count, last, intervals[i]));
    }
    return PASS;
}

static enum verdict an_equal_sequence_replaces(struct trial *t)
{
    struct sample s = {.seq = 8, .schema = 2, .state = "second", .len = 6};
    struct mako_error err;

    CHECK(put_text(t, "a", 8, "first") == MAKO_OK);
    STATUS(put(t, "a", s, &err), MAKO_OK);
    TRY(holds(t, "a", s));
    s.schema = 1;
    s.state = "third!";
    STATUS(put(t, "a", s, &err), MAKO_OK);
    return holds(t, "a", s);
}

static enum verdict a_lower_sequence_is_stale(struct trial *t)
{
    struct sample late = {.seq = 8, .schema = 2, .state = "late", .len = 4};
    struct sample early = {.seq = 7, .schema = 3, .state = "early", .len = 5};
    struct mako_error err;

    CHECK(put(t, "a", late, NULL) == MAKO_OK);
    STATUS(put(t, "a", early, &err), keeps(t) ? MAKO_STALE : MAKO_OK);
    TRY(holds(t, "a", late));
    early.seq = 1;
    STATUS(put(t, "a", early, &err), keeps(t) ? MAKO_STALE : MAKO_OK);
    TRY(holds(t, "a", late));
    late.seq = 9;
    STATUS(put(t, "a", late, &err), MAKO_OK);
    return holds(t, "a", late);
}

/* The top bit is a number like any other. */
static enum verdict sequences_are_unsigned(struct trial *t)
{
    struct mako_error err;
    struct sample s = {.seq = 1ull << 63, .state = "x", .len = 1};

    CHECK(put_text(t, "a", (1ull << 63) - 1, "y") == MAKO_OK);
    STATUS(put(t, "a", s, &err), MAKO_OK);
    TRY(holds(t, "a", s));
    CHECK(put_text(t, "a", 1, "z") == (keeps(t) ? MAKO_STALE : MAKO_OK));
    s.seq = UINT64_MAX;
    STATUS(put(t, "a", s, &err), MAKO_OK);
    return holds(t, "a", s);
}

static enum verdict a_forced_lower_sequence_replaces(struct trial *t)
{
    struct sample s = {.seq = 3, .state = "forced", .len = 6, .flags = MAKO_SAVE_FORCE};
    struct mako_error err;

    CHECK(put_text(t, "a", 900, "x") == MAKO_OK);
    STATUS(put(t, "a", s, &err), MAKO_OK);
    TRY(holds(t, "a", s));
    s.flags = 0;
    s.seq = 2;
    STATUS(put(t, "a", s, &err), keeps(t) ? MAKO_STALE : MAKO_OK);
    s.seq = 4;
    STATUS(put(t, "a", s, &err), MAKO_OK);
    return holds(t, "a", s);
}

static enum verdict stale_saves_may_replace_by_configuration(struct trial *t)
{
    trial_close(t);
    TRY(trial_open_with(t, "\"stale_saves\": \"replace\""));
    CHECK(put_text(t, "a", 900, "late") == MAKO_OK);
    CHECK(put_text(t, "a", 3, "early") == MAKO_OK);
    return holds_text(t, "a", 3, "early");
}

/* What decides is still known after a restart. */
static enum verdict stale_after_restart(struct trial *t)
{
    if (!outlives(t))
        return trial_skip(t, "nothing outlives the process");
    CHECK(put_text(t, "a", 10, "ten") == MAKO_OK);
    CHECK(put_text(t, "b", 10, "ten") == MAKO_OK);
    CHECK(mako_store_remove(t->store, "b", NULL) == MAKO_OK);
    trial_close(t);
    TRY(trial_open(t));
    CHECK(put_text(t, "a", 9, "nine") == MAKO_STALE);
    CHECK(put_text(t, "b", 9, "nine") == MAKO_OK);
    TRY(holds_text(t, "a", 10, "ten"));
    return holds_text(t, "b", 9, "nine");
}

/* The last save stays over a restart, also where it was forced below an earlier one. */
static enum verdict forced_stays_after_restart(struct trial *t)
{
    struct sample s = {.seq = 3, .state = "low", .len = 3, .flags = MAKO_SAVE_FORCE};

    if (!outlives(t))
        return trial_skip(t, "nothing outlives the process");
    CHECK(put_text(t, "a", 900, "high") == MAKO_OK);
    CHECK(put(t, "a", s, NULL) == MAKO_OK);
    for (int i = 0; i < 3; i++) {
        trial_close(t);
        TRY(trial_open(t));
        TRY(holds_text(t, "a", 3, "low"));
        CHECK(put_text(t, "other", (uint64_t)i + 1, "x") == MAKO_OK);
    }
    return PASS;
}

const struct test_case cases_order[] = {
    {"should_take", should_take},
    {"due_follows_the_configuration", due_follows_the_configuration},
    {"an_equal_sequence_replaces", an_equal_sequence_replaces},
    {"a_lower_sequence_is_stale", a_lower_sequence_is_stale},
    {"sequences_are_unsigned", sequences_are_unsigned},
    {"a_forced_lower_sequence_replaces", a_forced_lower_sequence_replaces},
    {"stale_saves_may_replace_by_configuration",
     stale_saves_may_replace_by_configuration},
    {"stale_after_restart", stale_after_restart},
    {"forced_stays_after_restart", forced_stays_after_restart},
    {NULL, NULL},
};

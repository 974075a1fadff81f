/* When a snapshot is due, and which schema versions may be read. */
#include "policy.h"

#include <criterion/criterion.h>

TestSuite(policy, .timeout = 30);

Test(policy, should_take)
{
    static const struct {
        uint64_t count, last, interval;
        bool due;
    } rows[] = {
        {0, 0, 100, false},
        {99, 0, 100, false},
        {100, 0, 100, true},
        {101, 0, 100, true},
        {200, 0, 100, true},
        {99, 100, 100, false},
        {100, 100, 100, false},
        {101, 100, 100, false},
        {199, 100, 100, false},
        {200, 100, 100, true},
        {250, 100, 100, true},
        {0, 0, 1, false},
        {1, 0, 1, true},
        {2, 1, 1, true},
        {1, 1, 1, false},
        {0, 0, 0, false},
        {100, 0, 0, false},
        {UINT64_MAX, 0, 0, false},
        {100, 101, 1, false},
        {100, UINT64_MAX, 100, false},
        {UINT64_MAX, 0, UINT64_MAX, true},
        {UINT64_MAX - 1, 0, UINT64_MAX, false},
        {UINT64_MAX, UINT64_MAX - 1, 1, true},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        cr_assert_eq(mako_should_take(rows[i].count, rows[i].last, rows[i].interval),
                     rows[i].due, "row %zu", i);
}

static void expect_meet(struct mako_range a, struct mako_range b, struct mako_range want)
{
    struct mako_range got = mako_range_meet(a, b);

    cr_assert(got.min == want.min && got.max == want.max, "%u-%u", got.min, got.max);
}

Test(policy, ranges_meet)
{
    struct mako_range none = {0, 0};

    expect_meet(none, none, none);
    expect_meet((struct mako_range){2, 4}, none, (struct mako_range){2, 4});
    expect_meet(none, (struct mako_range){2, 4}, (struct mako_range){2, 4});
    expect_meet((struct mako_range){1, 9}, (struct mako_range){2, 4},
                (struct mako_range){2, 4});
    expect_meet((struct mako_range){3, 9}, (struct mako_range){2, 4},
                (struct mako_range){3, 4});
    expect_meet((struct mako_range){1, 3}, (struct mako_range){2, 4},
                (struct mako_range){2, 3});
}

/* Ranges that do not touch leave nothing to read, never everything. */
Test(policy, disjoint_ranges_read_nothing)
{
    struct mako_range both =
        mako_range_meet((struct mako_range){1, 2}, (struct mako_range){5, 6});

    for (uint32_t schema = 1; schema < 9; schema++)
        cr_assert_neq(mako_range_gate(both, schema), MAKO_OK, "%u", schema);
}

Test(policy, gate)
{
    struct mako_range range = {3, 5};

    cr_assert_eq(mako_range_gate(range, 1), MAKO_SCHEMA_OLDER);
    cr_assert_eq(mako_range_gate(range, 2), MAKO_SCHEMA_OLDER);
    cr_assert_eq(mako_range_gate(range, 3), MAKO_OK);
    cr_assert_eq(mako_range_gate(range, 5), MAKO_OK);
    cr_assert_eq(mako_range_gate(range, 6), MAKO_SCHEMA_NEWER);
    cr_assert_eq(mako_range_gate(range, UINT32_MAX), MAKO_SCHEMA_NEWER);
}

/* tests/threads/linear_test.c - the checker itself: histories made by hand that are and
 * that are not linearizable, and random ones against a search without any wit. */
#include "linear.h"

#include <criterion/criterion.h>
#include <string.h>

#include <mako/types.h>

#include "amounts.h"

TestSuite(linear, .timeout = 60);

/* ---- histories ---- */

#define SAVE(at, until, number, of)                                                      \
    {                                                                                    \
        .kind = CALL_SAVE, .begin = (at), .end = (until), .value = (number), .seq = (of) \
    }
#define STALE(at, until, number, of)                                         \
    {                                                                        \
        .kind = CALL_SAVE, .begin = (at), .end = (until), .value = (number), \
        .seq = (of), .status = MAKO_STALE                                    \
    }
#define FORCE(at, until, number, of)                                      \
    {                                                                     \
        .kind = CALL_SAVE, .forced = true, .begin = (at), .end = (until), \
        .value = (number), .seq = (of)                                    \
    }
#define LOST(at, number, of)                                                            \
    {                                                                                   \
        .kind = CALL_SAVE, .begin = (at), .end = NEVER, .value = (number), .seq = (of), \
        .status = MAKO_E_UNAVAILABLE                                                    \
    }
#define LATE(at, number, of)                                                           \
    {                                                                                  \
        .kind = CALL_LATE, .begin = (at), .end = NEVER, .value = (number), .seq = (of) \
    }
#define COPIES(at, until, number, of)                                     \
    {                                                                     \
        .kind = CALL_LATE, .forced = true, .begin = (at), .end = (until), \
        .value = (number), .seq = (of)                                    \
    }
#define LOAD(at, until, number)                                             \
    {                                                                       \
        .kind = CALL_LOAD, .begin = (at), .end = (until), .value = (number) \
    }
#define NOTHING(at, until)                                                         \
    {                                                                              \
        .kind = CALL_LOAD, .begin = (at), .end = (until), .status = MAKO_NOT_FOUND \
    }
#define REMOVE(at, until)                                  \
    {                                                      \
        .kind = CALL_REMOVE, .begin = (at), .end = (until) \
    }
#define REMOVE_NONE(at, until)                                                       \
    {                                                                                \
        .kind = CALL_REMOVE, .begin = (at), .end = (until), .status = MAKO_NOT_FOUND \
    }
#define REMOVE_LOST(at)                                                                \
    {                                                                                  \
        .kind = CALL_REMOVE, .begin = (at), .end = NEVER, .status = MAKO_E_UNAVAILABLE \
    }

struct history {
    const char *name;
    enum linear verdict;
    struct call calls[9]; /* up to the first that never began */
};

#define HISTORY(called, wanted, ...)                                                 \
    {                                                                                \
        .name = #called, .verdict = (wanted), .calls = { __VA_ARGS__, {.begin = 0} } \
    }

static const struct history histories[] = {
    /* one after the other */
    HISTORY(what_is_saved_is_loaded, LINEAR, SAVE(1, 2, 1, 5), LOAD(3, 4, 1)),
    HISTORY(nothing_is_there_at_first, LINEAR, NOTHING(1, 2), REMOVE_NONE(3, 4)),
    HISTORY(a_save_is_lost, NOT_LINEAR, SAVE(1, 2, 1, 5), NOTHING(3, 4)),
    HISTORY(a_value_from_nowhere, NOT_LINEAR, SAVE(1, 2, 1, 5), LOAD(3, 4, 2)),
    HISTORY(a_value_from_the_future, NOT_LINEAR, LOAD(1, 2, 1), SAVE(3, 4, 1, 5)),
    HISTORY(a_later_one_is_kept, LINEAR, SAVE(1, 2, 1, 5), STALE(3, 4, 2, 4),
            LOAD(5, 6, 1)),
    HISTORY(an_equal_one_replaces, LINEAR, SAVE(1, 2, 1, 5), SAVE(3, 4, 2, 5),
            LOAD(5, 6, 2)),
    HISTORY(an_equal_one_is_not_stale, NOT_LINEAR, SAVE(1, 2, 1, 5), STALE(3, 4, 2, 5)),
    HISTORY(a_lower_one_replaces, NOT_LINEAR, SAVE(1, 2, 1, 5), SAVE(3, 4, 2, 4)),
    HISTORY(force_replaces, LINEAR, SAVE(1, 2, 1, 5), FORCE(3, 4, 2, 4), LOAD(5, 6, 2)),
    HISTORY(force_is_dropped, NOT_LINEAR, SAVE(1, 2, 1, 5), FORCE(3, 4, 2, 4),
            LOAD(5, 6, 1)),
    HISTORY(stale_is_stored_all_the_same, NOT_LINEAR, SAVE(1, 2, 1, 5), STALE(3, 4, 2, 4),
            LOAD(5, 6, 2)),
    HISTORY(nothing_makes_stale, NOT_LINEAR, STALE(1, 2, 1, 5)),
    HISTORY(lower_after_a_removal, LINEAR, SAVE(1, 2, 1, 5), REMOVE(3, 4),
            SAVE(5, 6, 2, 1), LOAD(7, 8, 2)),
    HISTORY(removed_stays, NOT_LINEAR, SAVE(1, 2, 1, 5), REMOVE(3, 4), LOAD(5, 6, 1)),
    HISTORY(removed_twice, NOT_LINEAR, SAVE(1, 2, 1, 5), REMOVE(3, 4), REMOVE(5, 6)),
    HISTORY(a_removal_finds_nothing, NOT_LINEAR, SAVE(1, 2, 1, 5), REMOVE_NONE(3, 4)),
    /* at the same time */
    HISTORY(a_load_beside_a_save_sees_it, LINEAR, SAVE(1, 4, 1, 5), LOAD(2, 3, 1)),
    HISTORY(a_load_beside_a_save_does_not, LINEAR, SAVE(1, 4, 1, 5), NOTHING(2, 3)),
    /* What one load saw another that began later must see. */
    HISTORY(a_load_goes_back, NOT_LINEAR, SAVE(1, 8, 1, 5), LOAD(2, 3, 1), NOTHING(4, 5)),
    HISTORY(two_loads_beside_it_in_order, LINEAR, SAVE(1, 8, 1, 5), NOTHING(2, 3),
            LOAD(4, 5, 1)),
    HISTORY(saves_beside_each_other, LINEAR, SAVE(1, 6, 1, 5), SAVE(2, 5, 2, 7),
            LOAD(7, 8, 2)),
    HISTORY(the_lower_one_wins, NOT_LINEAR, SAVE(1, 6, 1, 5), SAVE(2, 5, 2, 7),
            LOAD(7, 8, 1)),
    HISTORY(stale_against_one_beside_it, LINEAR, STALE(1, 6, 1, 5), SAVE(2, 7, 2, 7)),
    HISTORY(stale_against_each_other, NOT_LINEAR, STALE(1, 6, 1, 5), STALE(2, 7, 2, 7)),
    HISTORY(forced_beside_conditional, NOT_LINEAR, SAVE(1, 2, 1, 5), FORCE(3, 8, 2, 9),
            SAVE(4, 7, 3, 7), LOAD(9, 10, 3)),
    HISTORY(both_removals_remove, NOT_LINEAR, SAVE(1, 2, 1, 5), REMOVE(3, 6),
            REMOVE(4, 5)),
    HISTORY(one_removal_removes, LINEAR, SAVE(1, 2, 1, 5), REMOVE_NONE(3, 6),
            REMOVE(4, 5)),
    HISTORY(two_threads_see_two_orders, NOT_LINEAR, FORCE(1, 10, 1, 5),
            FORCE(1, 10, 2, 6), LOAD(2, 3, 1), LOAD(4, 5, 2), LOAD(2, 4, 2),
            LOAD(5, 6, 1)),
    HISTORY(at_the_same_moment_they_overlap, LINEAR, SAVE(1, 2, 1, 5), NOTHING(2, 3)),
    /* unknown outcomes */
    HISTORY(a_lost_save_happened, LINEAR, LOST(1, 1, 5), LOAD(2, 3, 1)),
    HISTORY(a_lost_save_did_not, LINEAR, LOST(1, 1, 5), NOTHING(2, 3)),
    HISTORY(a_lost_save_comes_late, LINEAR, LOST(1, 1, 5), NOTHING(2, 3), LOAD(4, 5, 1)),
    HISTORY(a_lost_save_comes_twice, NOT_LINEAR, LOST(1, 1, 5), LOAD(2, 3, 1),
            REMOVE(4, 5), LOAD(6, 7, 1)),
    HISTORY(a_late_copy_of_it, LINEAR, LOST(1, 1, 5), LATE(1, 1, 5), LOAD(2, 3, 1),
            REMOVE(4, 5), LOAD(6, 7, 1)),
    HISTORY(a_late_copy_replaces_no_later_one, NOT_LINEAR, SAVE(1, 2, 1, 5),
            LATE(1, 1, 5), SAVE(3, 4, 2, 6), LOAD(5, 6, 1)),
    HISTORY(a_copy_before_the_end, LINEAR, FORCE(1, 10, 1, 5), COPIES(1, 10, 1, 5),
            LOAD(2, 3, 1), SAVE(4, 5, 2, 7), LOAD(6, 11, 1)),
    HISTORY(a_copy_after_the_end, NOT_LINEAR, FORCE(1, 10, 1, 5), COPIES(1, 10, 1, 5),
            LOAD(2, 3, 1), SAVE(4, 5, 2, 7), LOAD(12, 13, 2), LOAD(14, 15, 1)),
    HISTORY(a_copy_of_what_is_not_sent_yet, NOT_LINEAR, LOAD(1, 2, 1), FORCE(3, 10, 1, 5),
            COPIES(3, 10, 1, 5)),
    HISTORY(many_copies, LINEAR, LOST(1, 1, 5), LATE(1, 1, 5), LOAD(2, 3, 1),
            REMOVE(4, 5), LOAD(6, 7, 1), REMOVE(8, 9), LOAD(10, 11, 1)),
    HISTORY(a_lost_save_does_not_come_early, NOT_LINEAR, LOAD(1, 2, 1), LOST(3, 1, 5)),
    HISTORY(a_lost_removal_happened, LINEAR, SAVE(1, 2, 1, 5), REMOVE_LOST(3),
            NOTHING(4, 5)),
    HISTORY(a_lost_removal_comes_late, LINEAR, SAVE(1, 2, 1, 5), REMOVE_LOST(3),
            LOAD(4, 5, 1), NOTHING(6, 7)),
    HISTORY(a_lost_removal_comes_once, NOT_LINEAR, SAVE(1, 2, 1, 5), REMOVE_LOST(3),
            NOTHING(4, 5), SAVE(6, 7, 2, 5), NOTHING(8, 9)),
};

Test(linear, by_hand)
{
    for (size_t i = 0; i < sizeof histories / sizeof histories[0]; i++) {
        const struct history *h = &histories[i];
        size_t count = 0;

        while (h->calls[count].begin > 0)
            count++;
        cr_expect(count > 0 && linear_check(h->calls, count) == h->verdict, "%s",
                  h->name);
    }
}

/* ---- random ones ---- */

/* The slow way: every order that time allows, nothing remembered. */
static bool try_all(const struct call *calls, size_t count, unsigned placed, uint32_t seq,
                    uint32_t value)
{
    bool rest = false;

    for (size_t i = 0; i < count; i++) {
        const struct call *c = &calls[i];
        bool first = !(placed & 1u << i), may = c->forced || !value || seq <= c->seq;

        rest |= first && c->end != NEVER;
        for (size_t k = 0; k < count; k++)
            first = first && (placed & 1u << k || calls[k].end >= c->begin);
        if (!first)
            continue;
        if (c->kind == CALL_SAVE && may != (c->status == MAKO_STALE) &&
            try_all(calls, count, placed | 1u << i, may ? (uint32_t)c->seq : seq,
                    may ? c->value : value))
            return true;
        if (c->kind == CALL_REMOVE && !value == (c->status == MAKO_NOT_FOUND) &&
            try_all(calls, count, placed | 1u << i, 0, 0))
            return true;
        if (c->kind == CALL_LOAD && c->value == value &&
            !value == (c->status == MAKO_NOT_FOUND) &&
            try_all(calls, count, placed | 1u << i, seq, value))
            return true;
    }
    return !rest;
}

/* One that is linearizable more often than not: calls in some order, then spread. */
static size_t make_history(uint64_t *seed, struct call *calls)
{
    size_t count = 3 + draw(seed) % 5;

    for (size_t i = 0; i < count; i++) {
        uint64_t at = draw(seed) % 12, kind = draw(seed) % 8;
        struct call *c = &calls[i];

        *c = (struct call){.kind = kind < 4   ? CALL_SAVE
                                   : kind < 5 ? CALL_REMOVE
                                              : CALL_LOAD,
                           .begin = at,
                           .end = at + draw(seed) % 6};
        if (c->kind == CALL_SAVE) {
            c->forced = draw(seed) % 3 == 0;
            c->seq = 1 + draw(seed) % 3;
            c->value = (uint32_t)i + 1;
            c->status = !c->forced && draw(seed) % 4 == 0 ? MAKO_STALE : MAKO_OK;
        } else if (c->kind == CALL_LOAD && draw(seed) % 4) {
            c->value = 1 + (uint32_t)(draw(seed) % count);
        } else if (c->kind == CALL_LOAD || draw(seed) % 2) {
            c->status = MAKO_NOT_FOUND;
        }
        if (c->status == MAKO_OK && c->kind == CALL_SAVE && draw(seed) % 8 == 0)
            c->end = NEVER;
    }
    return count;
}

Test(linear, the_slow_way_says_the_same)
{
    unsigned yes = 0, no = 0;

    for (uint64_t round = 1; round <= 20000; round++) {
        uint64_t seed = round;
        struct call calls[8], window[8];
        size_t count = make_history(&seed, calls), left;
        bool want = try_all(calls, count, 0, 0, 0);

        cr_assert(linear_check(calls, count) == (want ? LINEAR : NOT_LINEAR),
                  "round %llu", (unsigned long long)round);
        yes += want;
        no += !want;
        if (want)
            continue;
        left = linear_window(calls, count, window);
        cr_assert(left > 0 && left <= count && linear_check(window, left) == NOT_LINEAR,
                  "round %llu: its window", (unsigned long long)round);
    }
    cr_assert(yes > 1000 && no > 1000, "%u are, %u are not", yes, no);
}

/* ---- windows ---- */

/* A long history of which two calls are wrong. */
Test(linear, the_window_is_small)
{
    enum {
        COUNT = 600
    };
    static struct call calls[COUNT], window[COUNT];
    size_t left;

    for (size_t i = 0; i < COUNT; i++) {
        uint64_t at = 10 * i + 1;

        calls[i] = (struct call){.kind = i % 3 ? CALL_LOAD : CALL_SAVE,
                                 .begin = at,
                                 .end = at + (i % 3 == 1 ? 12 : 5),
                                 .seq = i + 1,
                                 .value = (uint32_t)(i - i % 3 + 1)};
    }
    cr_assert(linear_check(calls, COUNT) == LINEAR);
    calls[400].value = calls[396].value;
    cr_assert(linear_check(calls, COUNT) == NOT_LINEAR);
    left = linear_window(calls, COUNT, window);
    cr_assert(left == 2, "%zu calls", left);
    cr_expect(window[0].kind == CALL_SAVE && window[0].value == calls[399].value);
    cr_expect(window[1].kind == CALL_LOAD && window[1].value == calls[396].value);
}

/* The search must not try every order: that would not end. */
Test(linear, many_at_the_same_time)
{
    static struct call calls[2001];

    for (size_t i = 0; i < 2000; i++)
        calls[i] = (struct call){.kind = i % 2 ? CALL_LOAD : CALL_SAVE,
                                 .forced = true,
                                 .begin = i / 6 * 100 + 1,
                                 .end = i / 6 * 100 + 90,
                                 .seq = 1,
                                 .value = (uint32_t)i / 2 + 1};
    calls[2000] = (struct call)NOTHING(40000, 40001);
    cr_assert(linear_check(calls, 2000) == LINEAR);
    cr_assert(linear_check(calls, 2001) == NOT_LINEAR);
}

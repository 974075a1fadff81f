/* Many at once: as if one after the other. */
#include "cases.h"

#include <stdlib.h>

enum {
    ITEMS = 9
};

static enum verdict many_saves_with_mixed_outcomes(struct trial *t)
{
    const char *streams[ITEMS] = {"a", "", "b", "a", "late", "a", "\xff", "late", "c"};
    const uint64_t seqs[ITEMS] = {1, 1, 5, 2, 6, 1, 1, 4, 0};
    int kept_only = keeps(t) ? MAKO_STALE : MAKO_OK;
    const int want[ITEMS] = {MAKO_OK,   MAKO_E_INVALID, MAKO_OK, MAKO_OK,       kept_only,
                             kept_only, MAKO_E_INVALID, MAKO_OK, MAKO_E_INVALID};
    struct mako_save saves[ITEMS];
    const struct mako_save *pointers[ITEMS];
    int statuses[ITEMS];
    struct mako_error err = {""};

    CHECK(put_text(t, "late", 7, "seven") == MAKO_OK);
    for (size_t i = 0; i < ITEMS; i++) {
        struct sample s = {.seq = seqs[i], .state = &"012345678"[i], .len = 1};

        saves[i] = save_of(s);
        pointers[i] = &saves[i];
    }
    saves[7].flags = MAKO_SAVE_FORCE;
    CHECK(mako_store_save_many(t->store, streams, pointers, ITEMS, statuses, &err) ==
          MAKO_OK);
    for (size_t i = 0; i < ITEMS; i++)
        CHECKF(statuses[i] == want[i], "item %zu: %s, not %s", i,
               mako_status_name(statuses[i]), mako_status_name(want[i]));
    TRY(trial_status(t, __FILE__, __LINE__, "the text of the first failure",
                     MAKO_E_INVALID, MAKO_E_INVALID, &err));
    TRY(holds_text(t, "a", 2, "3"));
    TRY(holds_text(t, "b", 5, "2"));
    TRY(holds_nothing(t, "c"));
    return holds_text(t, "late", 4, "7");
}

static enum verdict many_loads_with_mixed_outcomes(struct trial *t)
{
    const char *streams[ITEMS] = {"a", "none", "a", "", "a", "b", "b", "none", "a"};
    struct mako_expect expects[ITEMS];
    const struct mako_expect *pointers[ITEMS];
    int kept = keeps(t);
    const int want[ITEMS] = {kept ? MAKO_OK : MAKO_NOT_FOUND,
                             MAKO_NOT_FOUND,
                             kept ? MAKO_SCHEMA_NEWER : MAKO_NOT_FOUND,
                             MAKO_E_INVALID,
                             kept ? MAKO_SCHEMA_OLDER : MAKO_NOT_FOUND,
                             kept ? MAKO_OK : MAKO_NOT_FOUND,
                             kept ? MAKO_AHEAD : MAKO_NOT_FOUND,
                             MAKO_NOT_FOUND,
                             kept ? MAKO_OK : MAKO_NOT_FOUND};
    mako_snapshot *snapshots[ITEMS];
    struct mako_meta found[ITEMS];
    int statuses[ITEMS];
    struct mako_error err = {""};

    CHECK(put(t, "a", (struct sample){.seq = 3, .schema = 5, .state = "A", .len = 1},
              NULL) == MAKO_OK);
    CHECK(put_text(t, "b", 9, "B") == MAKO_OK);
    for (size_t i = 0; i < ITEMS; i++) {
        expects[i] = expect_range(1, 9);
        pointers[i] = &expects[i];
        snapshots[i] = (mako_snapshot *)&statuses;
        found[i].seq = 4711;
    }
    expects[2] = expect_range(1, 4);
    expects[4] = expect_range(6, 9);
    expects[6].flags = MAKO_EXPECT_HEAD;
    expects[6].head = 8;
    CHECK(mako_store_load_many(t->store, streams, pointers, ITEMS, snapshots, found,
                               statuses, &err) == MAKO_OK);
    for (size_t i = 0; i < ITEMS; i++) {
        uint64_t seq = streams[i][0] == 'a' ? 3 : 9;
        bool there = want[i] != MAKO_NOT_FOUND && want[i] != MAKO_E_INVALID;

        CHECKF(statuses[i] == want[i], "item %zu: %s, not %s", i,
               mako_status_name(statuses[i]), mako_status_name(want[i]));
        CHECK((snapshots[i] != NULL) == (want[i] == MAKO_OK));
        CHECKF(!there || found[i].seq == seq, "item %zu found %llu", i,
               (unsigned long long)found[i].seq);
        CHECK(!snapshots[i] || mako_snapshot_meta(snapshots[i]).seq == seq);
        mako_snapshot_unref(snapshots[i]);
    }
    return trial_status(t, __FILE__, __LINE__, "the text of the first failure",
                        MAKO_NOT_FOUND, MAKO_NOT_FOUND, &err);
}

static enum verdict none_at_once(struct trial *t)
{
    CHECK(mako_store_save_many(t->store, NULL, NULL, 0, NULL, NULL) == MAKO_OK);
    CHECK(mako_store_load_many(t->store, NULL, NULL, 0, NULL, NULL, NULL, NULL) ==
          MAKO_OK);
    return PASS;
}

enum {
    MANY = 1000
};

static struct {
    char ids[MANY][24];
    const char *streams[MANY];
    unsigned char states[MANY][64];
    struct mako_save saves[MANY];
    const struct mako_save *save_pointers[MANY];
    struct mako_expect expects[MANY];
    const struct mako_expect *expect_pointers[MANY];
    mako_snapshot *snapshots[MANY];
    int statuses[MANY];
} many;

static void make_many(void)
{
    for (size_t i = 0; i < MANY; i++) {
        (void)snprintf(many.ids[i], sizeof many.ids[i], "many/%zu", i);
        many.streams[i] = many.ids[i];
        pattern(many.states[i], sizeof many.states[i], i);
        many.saves[i] = save_of((struct sample){
            .seq = i + 1, .state = many.states[i], .len = sizeof many.states[i]});
        many.save_pointers[i] = &many.saves[i];
        many.expects[i] = expect_range(1, 1);
        many.expect_pointers[i] = &many.expects[i];
    }
}

static enum verdict check_many(struct trial *t)
{
    CHECK(mako_store_load_many(t->store, many.streams, many.expect_pointers, MANY,
                               many.snapshots, NULL, many.statuses, NULL) == MAKO_OK);
    for (size_t i = 0; i < MANY; i++) {
        size_t len = 0;

        CHECK(many.statuses[i] == (keeps(t) ? MAKO_OK : MAKO_NOT_FOUND));
        CHECK((many.snapshots[i] != NULL) == keeps(t));
        if (!many.snapshots[i])
            continue;
        CHECK(is_pattern(mako_snapshot_state(many.snapshots[i], &len), 64, i));
        CHECK(len == 64 && mako_snapshot_meta(many.snapshots[i]).seq == i + 1);
        mako_snapshot_unref(many.snapshots[i]);
    }
    return PASS;
}

static enum verdict a_thousand_at_once(struct trial *t)
{
    make_many();
    CHECK(mako_store_save_many(t->store, many.streams, many.save_pointers, MANY,
                               many.statuses, NULL) == MAKO_OK);
    for (size_t i = 0; i < MANY; i++)
        CHECK(many.statuses[i] == MAKO_OK);
    TRY(check_many(t));
    if (!outlives(t))
        return PASS;
    trial_close(t);
    TRY(trial_open(t));
    return check_many(t);
}

/* "stale_saves": "replace" makes the last of a batch win, whatever its sequence. */
static enum verdict repeats_replace_in_order(struct trial *t)
{
    static const uint64_t seqs[] = {5, 9, 2, 7, 3};
    const char *streams[5];
    struct mako_save saves[5];
    const struct mako_save *pointers[5];
    int statuses[5];

    trial_close(t);
    TRY(trial_open_with(t, "\"stale_saves\": \"replace\""));
    for (size_t i = 0; i < 5; i++) {
        streams[i] = "a";
        saves[i] =
            save_of((struct sample){.seq = seqs[i], .state = &"01234"[i], .len = 1});
        pointers[i] = &saves[i];
    }
    CHECK(mako_store_save_many(t->store, streams, pointers, 5, statuses, NULL) ==
          MAKO_OK);
    for (size_t i = 0; i < 5; i++)
        CHECK(statuses[i] == MAKO_OK);
    return holds_text(t, "a", 3, "4");
}

const struct test_case cases_batch[] = {
    {"many_saves_with_mixed_outcomes", many_saves_with_mixed_outcomes},
    {"many_loads_with_mixed_outcomes", many_loads_with_mixed_outcomes},
    {"none_at_once", none_at_once},
    {"a_thousand_at_once", a_thousand_at_once},
    {"repeats_replace_in_order", repeats_replace_in_order},
    {NULL, NULL},
};

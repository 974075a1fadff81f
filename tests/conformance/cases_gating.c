/* What a load hands out, and what it refuses and how it calls it. */
#include "cases.h"

#include <stdlib.h>

#include <mako/json.h>

#define NEEDS_KEPT(t)                                \
    do {                                             \
        if (!keeps(t))                               \
            return trial_skip(t, "nothing is kept"); \
    } while (0)

static int load(struct trial *t, struct mako_expect expect, struct mako_meta *found,
                struct mako_error *err)
{
    mako_snapshot *snapshot = NULL;
    int status = mako_store_load(t->store, "a", &expect, &snapshot, found, err);

    mako_snapshot_unref(snapshot);
    return (snapshot != NULL) == (status == MAKO_OK) ? status : INT_MIN;
}

/* A refused schema hands out nothing, says what is there, and moves no payload where the
 * plugin knows the schema before. */
static enum verdict gate(struct trial *t, uint32_t min, uint32_t max, int want)
{
    bool early = (t->info.features & MAKO_FEATURE_EARLY_META) != 0;
    uint64_t before = counter(t, "bytes_moved");
    struct mako_meta found = {.seq = 4711};
    struct mako_error err;

    STATUS(load(t, expect_range(min, max), &found, &err), want);
    CHECK(found.seq == 77 && found.schema == 5 && found.created_ms > 0);
    CHECKF(want == MAKO_OK || !early || counter(t, "bytes_moved") == before,
           "%llu bytes were moved",
           (unsigned long long)(counter(t, "bytes_moved") - before));
    return PASS;
}

static enum verdict schemas_out_of_range_are_refused(struct trial *t)
{
    static unsigned char state[50000];
    struct sample s = {.seq = 77, .schema = 5, .state = state, .len = sizeof state};

    NEEDS_KEPT(t);
    CHECK(put(t, "a", s, NULL) == MAKO_OK);
    TRY(gate(t, 5, 5, MAKO_OK));
    TRY(gate(t, 1, 5, MAKO_OK));
    TRY(gate(t, 5, 9, MAKO_OK));
    TRY(gate(t, 1, UINT32_MAX, MAKO_OK));
    TRY(gate(t, 1, 4, MAKO_SCHEMA_NEWER));
    TRY(gate(t, 1, 1, MAKO_SCHEMA_NEWER));
    TRY(gate(t, 6, 9, MAKO_SCHEMA_OLDER));
    TRY(gate(t, 6, UINT32_MAX, MAKO_SCHEMA_OLDER));
    CHECK(counter(t, "loads_refused") == 4);
    return PASS;
}

static enum verdict nothing_is_ungated_by_accident(struct trial *t)
{
    struct mako_meta found = {.seq = 4711};
    struct mako_error err;

    CHECK(put_text(t, "a", 1, "x") == MAKO_OK);
    STATUS(load(t, expect_range(0, 0), &found, &err), MAKO_E_INVALID);
    STATUS(load(t, expect_range(3, 2), &found, &err), MAKO_E_INVALID);
    CHECK(found.seq == 4711);
    return PASS;
}

static enum verdict the_configured_range_narrows(struct trial *t)
{
    struct sample s = {.seq = 77, .schema = 5, .state = "x", .len = 1};

    NEEDS_KEPT(t);
    trial_close(t);
    TRY(trial_open_with(t, "\"schema\": {\"min\": 3, \"max\": 5}"));
    CHECK(t->info.schema_min == 3 && t->info.schema_max == 5);
    CHECK(put(t, "a", s, NULL) == MAKO_OK);
    TRY(gate(t, 0, 0, MAKO_OK));
    TRY(gate(t, 1, 9, MAKO_OK));
    TRY(gate(t, 1, 4, MAKO_SCHEMA_NEWER));
    s.schema = 6;
    CHECK(put(t, "a", s, NULL) == MAKO_OK);
    CHECK(load(t, expect_range(0, 0), NULL, NULL) == MAKO_SCHEMA_NEWER);
    CHECK(load(t, expect_range(1, 9), NULL, NULL) == MAKO_SCHEMA_NEWER);
    s.schema = 2;
    CHECK(put(t, "a", s, NULL) == MAKO_OK);
    CHECK(load(t, expect_range(0, 0), NULL, NULL) == MAKO_SCHEMA_OLDER);
    CHECK(load(t, expect_range(1, 9), NULL, NULL) == MAKO_SCHEMA_OLDER);
    return PASS;
}

static struct mako_expect expect_kind(const char *kind)
{
    struct mako_expect expect = expect_range(1, UINT32_MAX);

    expect.kind = kind;
    return expect;
}

static enum verdict another_kind_is_foreign(struct trial *t)
{
    struct sample s = {.seq = 6, .schema = 2, .state = "x", .len = 1, .kind = "account"};
    struct mako_meta found = {.seq = 4711};
    struct mako_error err;

    NEEDS_KEPT(t);
    CHECK(put(t, "a", s, NULL) == MAKO_OK);
    STATUS(load(t, expect_kind("account"), &found, &err), MAKO_OK);
    STATUS(load(t, expect_kind(NULL), &found, &err), MAKO_OK);
    found = (struct mako_meta){.seq = 4711};
    STATUS(load(t, expect_kind("order"), &found, &err), MAKO_FOREIGN);
    CHECK(found.seq == 6 && found.schema == 2);
    STATUS(load(t, expect_kind("Account"), NULL, &err), MAKO_FOREIGN);
    CHECK(mako_store_peek(t->store, "a", &found, NULL) == MAKO_OK);
    return PASS;
}

/* Saved without a kind it is not an account either. */
static enum verdict no_kind_is_another_kind(struct trial *t)
{
    struct mako_error err;

    NEEDS_KEPT(t);
    CHECK(put_text(t, "a", 1, "x") == MAKO_OK);
    STATUS(load(t, expect_kind("account"), NULL, &err), MAKO_FOREIGN);
    return PASS;
}

static enum verdict beyond_the_head_is_ahead(struct trial *t)
{
    struct mako_expect expect = expect_range(1, 1);
    struct mako_meta found = {.seq = 4711};
    struct mako_error err;

    NEEDS_KEPT(t);
    CHECK(put_text(t, "a", 50, "x") == MAKO_OK);
    expect.flags = MAKO_EXPECT_HEAD;
    expect.head = 50;
    STATUS(load(t, expect, &found, &err), MAKO_OK);
    expect.head = 51;
    STATUS(load(t, expect, &found, &err), MAKO_OK);
    found = (struct mako_meta){.seq = 4711};
    expect.head = 49;
    STATUS(load(t, expect, &found, &err), MAKO_AHEAD);
    CHECK(found.seq == 50 && found.schema == 1);
    expect.head = 0;
    STATUS(load(t, expect, &found, &err), MAKO_AHEAD);
    expect.flags = 0;
    STATUS(load(t, expect, &found, &err), MAKO_OK);
    return PASS;
}

/* Bytes that nobody could decode are judged by their header first. */
static enum verdict a_refused_schema_is_never_decoded(struct trial *t)
{
    struct sample s = {.seq = 3, .schema = 9, .state = "{not json", .len = 9};
    struct mako_expect expect = expect_range(1, 8);
    struct mako_error err;
    json_t *state = NULL;

    NEEDS_KEPT(t);
    CHECK(put(t, "a", s, NULL) == MAKO_OK);
    STATUS(mako_json_load(t->store, "a", &expect, &state, NULL, &err), MAKO_SCHEMA_NEWER);
    expect = expect_range(10, 10);
    STATUS(mako_json_load(t->store, "a", &expect, &state, NULL, &err), MAKO_SCHEMA_OLDER);
    expect = expect_range(9, 9);
    CHECK(mako_json_load(t->store, "a", &expect, &state, NULL, &err) == MAKO_DAMAGED);
    CHECK(state == NULL);
    return PASS;
}

static enum verdict json_round_trip(struct trial *t)
{
    json_t *out = json_pack("{s:i, s:[s, n, b]}", "z", 1, "a", "é", 1), *back = NULL;
    struct mako_save save = save_of((struct sample){.seq = 2});
    struct mako_expect expect = expect_range(1, 1);
    struct mako_error err;
    struct mako_meta meta = {0};
    int status = mako_json_save(t->store, "a", &save, out, &err);
    bool same;

    TRY(trial_status(t, __FILE__, __LINE__, "json save", status, MAKO_OK, &err));
    TRY(holds_text(t, "a", 2, "{\"a\":[\"é\",null,true],\"z\":1}"));
    status = mako_json_load(t->store, "a", &expect, &back, &meta, &err);
    same = json_equal(out, back) && meta.seq == 2;
    json_decref(out);
    json_decref(back);
    TRY(trial_status(t, __FILE__, __LINE__, "json load", status,
                     keeps(t) ? MAKO_OK : MAKO_NOT_FOUND, &err));
    CHECK(same == keeps(t));
    return PASS;
}

const struct test_case cases_gating[] = {
    {"schemas_out_of_range_are_refused", schemas_out_of_range_are_refused},
    {"nothing_is_ungated_by_accident", nothing_is_ungated_by_accident},
    {"the_configured_range_narrows", the_configured_range_narrows},
    {"another_kind_is_foreign", another_kind_is_foreign},
    {"no_kind_is_another_kind", no_kind_is_another_kind},
    {"beyond_the_head_is_ahead", beyond_the_head_is_ahead},
    {"a_refused_schema_is_never_decoded", a_refused_schema_is_never_decoded},
    {"json_round_trip", json_round_trip},
    {NULL, NULL},
};

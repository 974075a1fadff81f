/* Saving and removing: bytes, metadata, flags, sequences, ids. */
#include <stdlib.h>

#include "raw.h"

static enum verdict put_and_hold(struct trial *t, struct raw_store *s,
                                 struct raw_record record)
{
    WANT(raw_save(s, record), MAKO_OK);
    return raw_holds(t, s, record);
}

static enum verdict what_is_saved_is_loaded(struct trial *t)
{
    static const size_t lens[] = {1,     15,    16,    17,     31,   32,
                                  112,   113,   1000,  4095,   4096, 4097,
                                  65535, 65536, 65537, 300000, 0};
    struct raw_store s;
    char id[40];

    TRY(raw_open_well(t, &s));
    for (const size_t *len = lens; *len; len++) {
        (void)snprintf(id, sizeof id, "size/%zu", *len);
        TRY(put_and_hold(
            t, &s,
            (struct raw_record){.stream = id, .seq = *len, .len = *len, .seed = 9}));
    }
    for (const size_t *len = lens; *len; len++) {
        (void)snprintf(id, sizeof id, "size/%zu", *len);
        TRY(raw_holds(
            t, &s,
            (struct raw_record){.stream = id, .seq = *len, .len = *len, .seed = 9}));
    }
    raw_close(&s);
    return PASS;
}

/* The largest that a host may save. */
static enum verdict the_largest_is_kept(struct trial *t)
{
    struct raw_store s;

    TRY(raw_open_well(t, &s));
    TRY(put_and_hold(
        t, &s, (struct raw_record){.stream = "a", .seq = 1, .len = 2u << 20, .seed = 9}));
    raw_close(&s);
    return PASS;
}

/* Larger, smaller, with a lower sequence: the last one counts. */
static enum verdict a_save_replaces(struct trial *t)
{
    static const struct {
        uint64_t seq;
        size_t len;
    } steps[] = {{5, 500}, {6, 9000}, {7, 20}, {3, 700}, {3, 701}, {1, 40000}, {9, 1}};
    struct raw_store s;

    TRY(raw_open_well(t, &s));
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
        TRY(put_and_hold(
            t, &s,
            (struct raw_record){
                .stream = "a", .seq = steps[i].seq, .len = steps[i].len, .seed = i}));
    raw_close(&s);
    return PASS;
}

/* ---- IF_NEWER --------------------------------------------------------------------- */

static enum verdict if_newer(struct trial *t, struct raw_store *s, uint64_t stored,
                             uint64_t comes)
{
    struct raw_record first = {.stream = "a", .seq = stored, .len = 300, .seed = 1},
                      next = {.stream = "a",
                              .seq = comes,
                              .len = 200,
                              .seed = 2,
                              .flags = MAKO_SAVE_IF_NEWER};

    WANT(raw_save(s, first), MAKO_OK);
    if (!keeps(t))
        return PASS;
    WANT(raw_save(s, next), comes < stored ? MAKO_STALE : MAKO_OK);
    return raw_holds(t, s, comes < stored ? first : next);
}

static enum verdict if_newer_keeps_the_later(struct trial *t)
{
    struct raw_store s;

    if (!raw_has(MAKO_FEATURE_IF_NEWER))
        return trial_skip(t, "IF_NEWER is not declared");
    TRY(raw_open_well(t, &s));
    WANT(raw_save(&s, (struct raw_record){.stream = "new",
                                          .seq = 4,
                                          .len = 100,
                                          .flags = MAKO_SAVE_IF_NEWER}),
         MAKO_OK);
    TRY(if_newer(t, &s, 10, 9));
    TRY(if_newer(t, &s, 10, 11));
    TRY(if_newer(t, &s, 10, 10));
    TRY(if_newer(t, &s, 1, 1000000));
    TRY(if_newer(t, &s, 1000000, 1));
    CHECK(raw_remove(&s, "a") >= 0);
    WANT(raw_save(&s,
                  (struct raw_record){
                      .stream = "a", .seq = 2, .len = 9, .flags = MAKO_SAVE_IF_NEWER}),
         MAKO_OK);
    raw_close(&s);
    return PASS;
}

/* As unsigned numbers, and not by way of a double. */
static enum verdict sequences_are_64_bits_wide(struct trial *t)
{
    static const uint64_t points[] = {1,
                                      9,
                                      10,
                                      UINT32_MAX,
                                      1ull << 32,
                                      (1ull << 53) - 1,
                                      1ull << 53,
                                      (1ull << 53) + 1,
                                      INT64_MAX - 1,
                                      INT64_MAX,
                                      1ull << 63,
                                      (1ull << 63) + 1,
                                      UINT64_MAX - 1,
                                      UINT64_MAX};
    const size_t count = sizeof points / sizeof points[0];
    struct raw_store s;

    TRY(raw_open_well(t, &s));
    for (size_t i = 0; i < count; i++)
        TRY(put_and_hold(
            t, &s, (struct raw_record){.stream = "a", .seq = points[i], .len = 60}));
    for (size_t i = 0; i + 1 < count && raw_has(MAKO_FEATURE_IF_NEWER); i++) {
        TRY(if_newer(t, &s, points[i], points[i + 1]));
        TRY(if_newer(t, &s, points[i + 1], points[i]));
        TRY(if_newer(t, &s, points[i], points[count - 1 - i]));
    }
    raw_close(&s);
    return PASS;
}

/* ---- flags and arguments ---------------------------------------------------------- */

static enum verdict unknown_record_flags_are_refused(struct trial *t)
{
    struct raw_record first = {.stream = "a", .seq = 5, .len = 300, .seed = 1};
    struct raw_store s;

    TRY(raw_open_well(t, &s));
    WANT(raw_save(&s, first), MAKO_OK);
    for (unsigned bit = 1; bit < 16; bit++) {
        struct raw_record odd = {.stream = "a", .seq = 6, .len = 20, .flags = 1u << bit};

        WANT(raw_save(&s, odd), MAKO_E_UNSUPPORTED);
        odd.stream = "b";
        WANT(raw_save(&s, odd), MAKO_E_UNSUPPORTED);
    }
    TRY(raw_holds(t, &s, first));
    TRY(raw_holds_nothing(t, &s, "b"));
    raw_close(&s);
    return PASS;
}

static enum verdict high_record_flags_are_ignored(struct trial *t)
{
    struct raw_store s;

    TRY(raw_open_well(t, &s));
    for (unsigned bit = 16; bit < 32; bit++)
        TRY(put_and_hold(t, &s,
                         (struct raw_record){
                             .stream = "a", .seq = bit, .len = 90, .flags = 1u << bit}));
    raw_close(&s);
    return PASS;
}

/* Whatever was lent for the first calls is gone when the last ones look. */
static enum verdict arguments_end_with_the_call(struct trial *t)
{
    struct raw_store s;
    char id[40];

    TRY(raw_open_well(t, &s));
    for (int round = 0; round < 2; round++)
        for (uint64_t i = 1; i <= 60; i++) {
            struct raw_record r = {.stream = id, .seq = i, .len = 50 + i * 7, .seed = i};

            (void)snprintf(id, sizeof id, "argument/%llu", (unsigned long long)i);
            if (round == 0)
                WANT(raw_save(&s, r), MAKO_OK);
            else
                TRY(raw_holds(t, &s, r));
        }
    raw_close(&s);
    return PASS;
}

static enum verdict metadata_is_kept(struct trial *t)
{
    static const int64_t times[] = {0, 1, 1700000000123, 4102444800000};
    static const uint32_t schemas[] = {1, 2, 255, 65536, INT32_MAX, UINT32_MAX};
    struct raw_store s;

    TRY(raw_open_well(t, &s));
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++)
        for (size_t j = 0; j < sizeof schemas / sizeof schemas[0]; j++)
            TRY(put_and_hold(t, &s,
                             (struct raw_record){.stream = "a",
                                                 .seq = 7,
                                                 .len = 77,
                                                 .schema = schemas[j],
                                                 .created_ms = times[i]}));
    raw_close(&s);
    return PASS;
}

/* ---- removing --------------------------------------------------------------------- */

static enum verdict removed_is_gone(struct trial *t)
{
    uint32_t newer = raw_has(MAKO_FEATURE_IF_NEWER) ? MAKO_SAVE_IF_NEWER : 0;
    struct raw_store s;

    TRY(raw_open_well(t, &s));
    for (uint64_t seq = 9; seq > 5; seq--) {
        struct raw_record r = {.stream = "a", .seq = seq, .len = 300, .flags = newer};
        int status;

        WANT(raw_save(&s, r), MAKO_OK);
        r.len = 20;
        WANT(raw_save(&s, r), MAKO_OK);
        status = raw_remove(&s, "a");
        CHECKF(status == MAKO_OK || (!keeps(t) && status == MAKO_NOT_FOUND),
               "remove returned %s", mako_status_name(status));
        TRY(raw_holds_nothing(t, &s, "a"));
    }
    if (outlives(t)) {
        raw_close(&s);
        TRY(raw_open_well(t, &s));
    }
    TRY(raw_holds_nothing(t, &s, "a"));
    raw_close(&s);
    return PASS;
}

static enum verdict removing_nothing_is_no_failure(struct trial *t)
{
    struct raw_store s;
    int status;

    TRY(raw_open_well(t, &s));
    for (int i = 0; i < 2; i++) {
        status = raw_remove(&s, "never/saved");
        CHECKF(status == MAKO_OK || status == MAKO_NOT_FOUND, "remove returned %s: %s",
               mako_status_name(status), raw_error()->text);
    }
    TRY(put_and_hold(t, &s, (struct raw_record){.stream = "a", .seq = 1, .len = 10}));
    raw_close(&s);
    return PASS;
}

/* ---- ids -------------------------------------------------------------------------- */

enum {
    ID_MAX = 1024,
    IDS = 40
};

static char ids[IDS][ID_MAX + 1];

static size_t make_ids(void)
{
    static const char *const short_ids[] = {
        "a",      "A",       "a/",         "a/b",   "a//b", "/a",   "../a",
        "..",     ".",       "a.",         " a",    "a ",   "a\n",  "a\tb",
        "a\\b",   "a:b",     "a%2fb",      "a%2Fb", "*",    "?",    "[a]",
        "{a}",    "~",       "-a",         "a'b",   "a\"b", "\x7f", "\x01",
        "\u00e9", "e\u0301", "\U0001f600", "con",   "CON",  "0",    "00"};
    size_t count = sizeof short_ids / sizeof short_ids[0];

    for (size_t i = 0; i < count; i++)
        (void)snprintf(ids[i], sizeof ids[i], "%s", short_ids[i]);
    for (size_t i = count; i < IDS; i++) {
        size_t len = ID_MAX - (i - count) / 2;

        memset(ids[i], 'x', len);
        ids[i][len - 1] = (char)('0' + i % 2);
    }
    return IDS;
}

static enum verdict streams_are_kept_apart(struct trial *t)
{
    size_t count = make_ids();
    struct raw_store s;

    TRY(raw_open_well(t, &s));
    for (size_t i = 0; i < count; i++)
        WANT(raw_save(&s,
                      (struct raw_record){
                          .stream = ids[i], .seq = i + 1, .len = 30 + i, .seed = i}),
             MAKO_OK);
    for (size_t i = 0; i < count; i++)
        TRY(raw_holds(t, &s,
                      (struct raw_record){
                          .stream = ids[i], .seq = i + 1, .len = 30 + i, .seed = i}));
    for (size_t i = 0; i < count; i += 2)
        CHECK(raw_remove(&s, ids[i]) >= 0);
    for (size_t i = 0; i < count; i++)
        TRY(i % 2 == 0
                ? raw_holds_nothing(t, &s, ids[i])
                : raw_holds(
                      t, &s,
                      (struct raw_record){
                          .stream = ids[i], .seq = i + 1, .len = 30 + i, .seed = i}));
    raw_close(&s);
    return PASS;
}

const struct test_case raw_save_cases[] = {
    {"what_is_saved_is_loaded", what_is_saved_is_loaded},
    {"the_largest_is_kept", the_largest_is_kept},
    {"a_save_replaces", a_save_replaces},
    {"if_newer_keeps_the_later", if_newer_keeps_the_later},
    {"sequences_are_64_bits_wide", sequences_are_64_bits_wide},
    {"unknown_record_flags_are_refused", unknown_record_flags_are_refused},
    {"high_record_flags_are_ignored", high_record_flags_are_ignored},
    {"arguments_end_with_the_call", arguments_end_with_the_call},
    {"metadata_is_kept", metadata_is_kept},
    {"removed_is_gone", removed_is_gone},
    {"removing_nothing_is_no_failure", removing_nothing_is_no_failure},
    {"streams_are_kept_apart", streams_are_kept_apart},
    {NULL, NULL},
};

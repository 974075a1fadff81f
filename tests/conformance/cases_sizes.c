/* States of every awkward size, up to the limit and one more. */
#include "cases.h"

#include <stdlib.h>

static enum verdict one_size(struct trial *t, size_t len)
{
    unsigned char *bytes = malloc(len + 1);
    char id[40];
    struct mako_error err;
    struct sample s = {.seq = len + 1, .state = bytes, .len = len};
    enum verdict verdict;

    CHECK(bytes);
    pattern(bytes, len, len);
    (void)snprintf(id, sizeof id, "size/%zu", len);
    verdict =
        trial_status(t, __FILE__, __LINE__, "saving", put(t, id, s, &err), MAKO_OK, &err);
    if (verdict == PASS)
        verdict = holds(t, id, s);
    free(bytes);
    return verdict;
}

static const size_t sizes[] = {0,    1,    2,     15,    16,    17,      63,
                               64,   65,   127,   128,   255,   256,     257,
                               1000, 3983, 3984,  3985,  4095,  4096,    4097,
                               8191, 8192, 65535, 65536, 65537, 1u << 20};

static enum verdict awkward_sizes(struct trial *t)
{
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (sizes[i] <= t->info.max_snapshot)
            TRY(one_size(t, sizes[i]));
    return PASS;
}

static enum verdict awkward_sizes_survive_a_restart(struct trial *t)
{
    unsigned char *bytes;
    char id[40];
    enum verdict verdict = PASS;

    if (!outlives(t))
        return trial_skip(t, "nothing outlives the process");
    TRY(awkward_sizes(t));
    trial_close(t);
    TRY(trial_open(t));
    bytes = malloc(1u << 20);
    CHECK(bytes);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0] && verdict == PASS; i++) {
        pattern(bytes, sizes[i], sizes[i]);
        (void)snprintf(id, sizeof id, "size/%zu", sizes[i]);
        verdict = holds(
            t, id, (struct sample){.seq = sizes[i] + 1, .state = bytes, .len = sizes[i]});
    }
    free(bytes);
    return verdict;
}

/* The same stream grows and shrinks; nothing of the longer state shows. */
static enum verdict sizes_come_and_go(struct trial *t)
{
    static const size_t steps[] = {100000, 10, 0, 5000, 4999, 1, 0, 70000};
    static unsigned char bytes[100000];

    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct sample s = {.seq = i + 1, .state = bytes, .len = steps[i]};

        pattern(bytes, steps[i], i);
        CHECK(put(t, "a", s, NULL) == MAKO_OK);
        TRY(holds(t, "a", s));
    }
    return PASS;
}

static enum verdict the_limit_and_one_more(struct trial *t)
{
    size_t limit = (size_t)t->info.max_snapshot;
    unsigned char *bytes;
    struct mako_error err = {""};
    int status;

    if (limit > 64u << 20)
        return trial_skip(t, "max_snapshot is too large to try");
    TRY(one_size(t, limit));
    bytes = calloc(1, limit + 1);
    CHECK(bytes);
    status =
        put(t, "over", (struct sample){.seq = 1, .state = bytes, .len = limit + 1}, &err);
    free(bytes);
    TRY(trial_status(t, __FILE__, __LINE__, "limit + 1", status, MAKO_E_LIMIT, &err));
    CHECKF(strstr(err.text, "max_snapshot is"), "%s", err.text);
    TRY(holds_nothing(t, "over"));
    CHECK(counter(t, "saves") == 1);
    return PASS;
}

/* What was saved under a larger limit is too large, not damaged, and can be replaced. */
static enum verdict too_large_after_the_limit_fell(struct trial *t)
{
    static unsigned char bytes[2000];
    mako_snapshot *snapshot = NULL;
    struct mako_error err;
    struct mako_meta meta;

    if (!outlives(t))
        return trial_skip(t, "nothing outlives the process");
    CHECK(put(t, "a", (struct sample){.seq = 5, .state = bytes, .len = 2000}, NULL) ==
          MAKO_OK);
    CHECK(put(t, "b", (struct sample){.seq = 5, .state = bytes, .len = 1000}, NULL) ==
          MAKO_OK);
    trial_close(t);
    TRY(trial_open_with(t, "\"max_snapshot\": 1000"));
    STATUS(get(t, "a", &snapshot, &err), MAKO_TOO_LARGE);
    CHECK(snapshot == NULL);
    TRY(holds(t, "b", (struct sample){.seq = 5, .state = bytes, .len = 1000}));
    STATUS(mako_store_peek(t->store, "a", &meta, &err), MAKO_OK);
    CHECK(meta.seq == 5);
    CHECK(put_text(t, "a", 6, "small") == MAKO_OK);
    return holds_text(t, "a", 6, "small");
}

static enum verdict every_byte_value(struct trial *t)
{
    unsigned char bytes[256 * 3];
    struct sample s = {.seq = 1, .state = bytes, .len = sizeof bytes};

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 7 + i / 256);
    CHECK(put(t, "a", s, NULL) == MAKO_OK);
    TRY(holds(t, "a", s));
    memset(bytes, 0, sizeof bytes);
    CHECK(put(t, "b", s, NULL) == MAKO_OK);
    TRY(holds(t, "b", s));
    memset(bytes, 0xff, sizeof bytes);
    CHECK(put(t, "c", s, NULL) == MAKO_OK);
    return holds(t, "c", s);
}

/* The state pointer of an empty state may be NULL. */
static enum verdict an_empty_state(struct trial *t)
{
    struct sample s = {.seq = 4, .state = NULL, .len = 0, .anchor = 9};

    CHECK(put(t, "a", s, NULL) == MAKO_OK);
    return holds(t, "a", s);
}

const struct test_case cases_sizes[] = {
    {"awkward_sizes", awkward_sizes},
    {"awkward_sizes_survive_a_restart", awkward_sizes_survive_a_restart},
    {"sizes_come_and_go", sizes_come_and_go},
    {"the_limit_and_one_more", the_limit_and_one_more},
    {"too_large_after_the_limit_fell", too_large_after_the_limit_fell},
    {"every_byte_value", every_byte_value},
    {"an_empty_state", an_empty_state},
    {NULL, NULL},
};

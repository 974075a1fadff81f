/* Loading: the room, the sink that declines, and bytes that are lent. */
#include <stdlib.h>

#include "raw.h"

static struct raw_record record_of(const char *stream, uint64_t seq, size_t len)
{
    return (struct raw_record){.stream = stream, .seq = seq, .len = len, .seed = 4};
}

/* ---- the sink --------------------------------------------------------------------- */

/* Sizes around the alignment, so that canaries stand right behind the room. */
static enum verdict room_is_filled_exactly(struct trial *t)
{
    struct raw_store s;

    TRY(raw_open_well(t, &s));
    for (size_t len = 1; len <= 40; len++) {
        WANT(raw_save(&s, record_of("a", len, len)), MAKO_OK);
        TRY(raw_holds(t, &s, record_of("a", len, len)));
    }
    for (size_t len = 4080; len <= 4112; len++) {
        WANT(raw_save(&s, record_of("a", len, len)), MAKO_OK);
        TRY(raw_holds(t, &s, record_of("a", len, len)));
    }
    raw_close(&s);
    return PASS;
}

static enum verdict a_declined_load_is_refused(struct trial *t)
{
    static const size_t lens[] = {50, 5000, 300000};
    struct raw_store s;

    TRY(raw_open_well(t, &s));
    for (size_t i = 0; i < 3; i++) {
        struct raw_record r = record_of("a", i + 1, lens[i]);
        struct raw_sink k = {.declines = true};

        WANT(raw_save(&s, r), MAKO_OK);
        WANT(raw_load(&s, "a", &k), keeps(t) ? MAKO_REFUSED : MAKO_NOT_FOUND);
        WANT(raw_load(&s, "a", &k), keeps(t) ? MAKO_REFUSED : MAKO_NOT_FOUND);
        TRY(raw_holds(t, &s, r));
    }
    raw_close(&s);
    return PASS;
}

/* The sink has both before a byte moves, which is what the feature is for. */
static enum verdict metadata_comes_early(struct trial *t)
{
    struct raw_record r = record_of("a", 1ull << 63, 5000);
    struct raw_sink k = {.declines = true};
    struct raw_store s;

    if (!raw_has(MAKO_FEATURE_EARLY_META))
        return trial_skip(t, "EARLY_META is not declared");
    TRY(raw_open_well(t, &s));
    r.schema = 77;
    WANT(raw_save(&s, r), MAKO_OK);
    WANT(raw_load(&s, "a", &k), keeps(t) ? MAKO_REFUSED : MAKO_NOT_FOUND);
    CHECKF(!keeps(t) || (k.has_meta && k.meta.seq == r.seq && k.meta.schema == 77 &&
                         k.len == r.len),
           "the sink was told sequence %llu, schema %u, %zu bytes",
           (unsigned long long)k.meta.seq, k.meta.schema, k.len);
    raw_close(&s);
    return PASS;
}

static enum verdict what_is_not_there_is_not_found(struct trial *t)
{
    struct raw_store s;

    TRY(raw_open_well(t, &s));
    TRY(raw_holds_nothing(t, &s, "a"));
    WANT(raw_save(&s, record_of("ab", 1, 10)), MAKO_OK);
    TRY(raw_holds_nothing(t, &s, "a"));
    TRY(raw_holds_nothing(t, &s, "abc"));
    raw_close(&s);
    return PASS;
}

static enum verdict loading_changes_nothing(struct trial *t)
{
    struct raw_store s;

    TRY(raw_open_well(t, &s));
    WANT(raw_save(&s, record_of("a", 8, 900)), MAKO_OK);
    for (int i = 0; i < 30; i++)
        TRY(raw_holds(t, &s, record_of("a", 8, 900)));
    raw_close(&s);
    return PASS;
}

const struct test_case raw_load_cases[] = {
    {"room_is_filled_exactly", room_is_filled_exactly},
    {"a_declined_load_is_refused", a_declined_load_is_refused},
    {"metadata_comes_early", metadata_comes_early},
    {"what_is_not_there_is_not_found", what_is_not_there_is_not_found},
    {"loading_changes_nothing", loading_changes_nothing},
    {NULL, NULL},
};

/* ---- lending ---------------------------------------------------------------------- */

static const size_t lend_lens[] = {60, 5000, 300000};

/* A record of a size that this plugin lends, loaded into k. */
static enum verdict borrow(struct trial *t, struct raw_store *s, const char *stream,
                           struct raw_record *record, struct raw_sink *k)
{
    for (size_t i = 0; i < 3; i++) {
        *record = record_of(stream, 10, lend_lens[i]);
        *k = (struct raw_sink){.declines = false};
        WANT(raw_save(s, *record), MAKO_OK);
        WANT(raw_load(s, stream, k), keeps(t) ? MAKO_OK : MAKO_NOT_FOUND);
        if (k->lent)
            return PASS;
        raw_drop(k);
    }
    raw_close(s);
    return trial_skip(t, "this plugin does not lend");
}

static enum verdict disturb(struct trial *t, struct raw_store *s, const char *stream)
{
    struct raw_compact compact = {.steps = 0};

    WANT(raw_save(s, record_of(stream, 11, 7000)), MAKO_OK);
    WANT(raw_save(s, record_of(stream, 12, 100)), MAKO_OK);
    CHECK(raw_remove(s, stream) >= 0);
    for (uint64_t i = 1; i < 40; i++)
        WANT(raw_save(s, record_of("filler", i, 9000)), MAKO_OK);
    if (raw_ops.compact)
        WANT(raw_compact(s, &compact), MAKO_OK);
    return PASS;
}

static enum verdict lent_bytes_do_not_change(struct trial *t)
{
    struct raw_record r;
    struct raw_store s;
    struct raw_sink k;

    TRY(raw_open_well(t, &s));
    TRY(borrow(t, &s, "a", &r, &k));
    TRY(raw_sink_is(t, &k, r));
    TRY(disturb(t, &s, "a"));
    TRY(raw_sink_is(t, &k, r));
    raw_drop(&k);
    raw_close(&s);
    return PASS;
}

static void *drop_sink(void *arg)
{
    raw_drop(arg);
    return NULL;
}

static void drop_elsewhere(struct raw_sink *k)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, drop_sink, k) != 0 ||
        pthread_join(thread, NULL) != 0)
        audit("no thread to release in");
}

static enum verdict any_thread_may_release(struct trial *t)
{
    struct raw_record r;
    struct raw_store s;
    struct raw_sink k;

    TRY(raw_open_well(t, &s));
    for (int i = 0; i < 20; i++) {
        TRY(borrow(t, &s, "a", &r, &k));
        if (i % 2)
            TRY(disturb(t, &s, "a"));
        TRY(raw_sink_is(t, &k, r));
        drop_elsewhere(&k);
    }
    raw_close(&s);
    return PASS;
}

/* Inside of accept or lend of another load; a release that waits for the store's lock
 * never comes back. */
static void release_within(struct raw_sink *k)
{
    drop_elsewhere(k->arg);
}

static enum verdict release_during_another_call(struct trial *t)
{
    struct raw_record r, other = record_of("b", 3, 700);
    struct raw_store s;
    struct raw_sink k, within = {.during = release_within, .arg = &k};

    TRY(raw_open_well(t, &s));
    WANT(raw_save(&s, other), MAKO_OK);
    for (int i = 0; i < 10; i++) {
        TRY(borrow(t, &s, "a", &r, &k));
        if (i % 2)
            WANT(raw_save(&s, record_of("a", 99, 10)), MAKO_OK);
        WANT(raw_load(&s, "b", &within), MAKO_OK);
        CHECK(!k.lent);
        TRY(raw_sink_is(t, &within, other));
        raw_drop(&within);
    }
    raw_close(&s);
    return PASS;
}

enum {
    BORROWED = 60
};

/* All of them at once, given back in another order, the last before close. */
static enum verdict many_are_lent_at_once(struct trial *t)
{
    static struct raw_sink sinks[BORROWED];
    static struct raw_record records[BORROWED];
    static char names[BORROWED][20];
    struct raw_store s;

    TRY(raw_open_well(t, &s));
    for (size_t i = 0; i < BORROWED; i++) {
        (void)snprintf(names[i], sizeof names[i], "lent/%zu", i % 7);
        TRY(borrow(t, &s, names[i], &records[i], &sinks[i]));
    }
    TRY(disturb(t, &s, "lent/3"));
    for (size_t i = 0; i < BORROWED; i++) {
        size_t at = i * 37 % BORROWED;

        TRY(raw_sink_is(t, &sinks[at], records[at]));
        raw_drop(&sinks[at]);
    }
    raw_close(&s);
    return PASS;
}

const struct test_case raw_lend_cases[] = {
    {"lent_bytes_do_not_change", lent_bytes_do_not_change},
    {"any_thread_may_release", any_thread_may_release},
    {"release_during_another_call", release_during_another_call},
    {"many_are_lent_at_once", many_are_lent_at_once},
    {NULL, NULL},
};

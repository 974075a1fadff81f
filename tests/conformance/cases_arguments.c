/* What a caller may get wrong, and that outputs stay untouched then. */
#include "cases.h"

#include <stdlib.h>

#define UNTOUCHED ((mako_snapshot *)(uintptr_t)0x1234)

static enum verdict save_says(struct trial *t, struct mako_save save, int want,
                              const char *sentence)
{
    struct mako_error err;

    STATUS(mako_store_save(t->store, "a", &save, &err), want);
    CHECKF(strstr(err.text, sentence), "'%s' lacks '%s'", err.text, sentence);
    CHECK(mako_store_save(t->store, "a", &save, NULL) == want);
    return PASS;
}

static enum verdict bad_saves(struct trial *t)
{
    struct mako_save good = save_of((struct sample){.seq = 1, .state = "x", .len = 1});
    struct mako_save save = good;

    save.seq = 0;
    TRY(save_says(t, save, MAKO_E_INVALID, "sequence 0"));
    save = good;
    save.schema = 0;
    TRY(save_says(t, save, MAKO_E_INVALID, "schema 0"));
    save = good;
    save.state = NULL;
    TRY(save_says(t, save, MAKO_E_INVALID, "NULL"));
    save = good;
    save.flags = MAKO_SAVE_FORCE | 1u << 5;
    TRY(save_says(t, save, MAKO_E_UNSUPPORTED, "unknown flags"));
    save = good;
    save.struct_size = 0;
    TRY(save_says(t, save, MAKO_E_INVALID, "struct_size is 0"));
    save.struct_size = sizeof save - 1;
    TRY(save_says(t, save, MAKO_E_INVALID, "struct_size is"));
    CHECK(mako_store_save(t->store, "a", NULL, NULL) == MAKO_E_INVALID);
    CHECK(counter(t, "saves") == 0);
    return holds_nothing(t, "a");
}

static enum verdict load_says(struct trial *t, const struct mako_expect *expect, int want,
                              const char *sentence)
{
    mako_snapshot *snapshot = UNTOUCHED;
    struct mako_meta found = {.seq = 4711};
    struct mako_error err;

    STATUS(mako_store_load(t->store, "a", expect, &snapshot, &found, &err), want);
    CHECKF(strstr(err.text, sentence), "'%s' lacks '%s'", err.text, sentence);
    CHECK(snapshot == UNTOUCHED && found.seq == 4711);
    CHECK(mako_store_load(t->store, "a", expect, &snapshot, NULL, NULL) == want);
    CHECK(snapshot == UNTOUCHED);
    return PASS;
}

static enum verdict bad_loads(struct trial *t)
{
    struct mako_expect good = expect_range(1, 1), expect = good;

    CHECK(put_text(t, "a", 1, "x") == MAKO_OK);
    expect.flags = 1u << 7;
    TRY(load_says(t, &expect, MAKO_E_UNSUPPORTED, "unknown flags"));
    expect = good;
    expect.struct_size = 0;
    TRY(load_says(t, &expect, MAKO_E_INVALID, "struct_size is 0"));
    expect.struct_size = sizeof expect - 1;
    TRY(load_says(t, &expect, MAKO_E_INVALID, "struct_size is"));
    expect = good;
    expect.schema_min = 2;
    TRY(load_says(t, &expect, MAKO_E_INVALID, "schema"));
    expect = (struct mako_expect){.struct_size = sizeof expect};
    return load_says(t, &expect, MAKO_E_INVALID, "schema");
}

/* Structs of a newer header: zero where they have grown is fine. */
static enum verdict longer_structs(struct trial *t)
{
    struct {
        struct mako_save known;
        uint64_t more[16]; /* further than the library's own may have grown */
    } save = {.known = save_of((struct sample){.seq = 1, .state = "x", .len = 1})};
    struct {
        struct mako_expect known;
        uint64_t more[16]; /* further than the library's own may have grown */
    } expect = {.known = expect_range(1, 1)};
    mako_snapshot *snapshot = NULL;

    save.known.struct_size = sizeof save;
    expect.known.struct_size = sizeof expect;
    CHECK(mako_store_save(t->store, "a", &save.known, NULL) == MAKO_OK);
    CHECK(mako_store_load(t->store, "a", &expect.known, &snapshot, NULL, NULL) ==
          (keeps(t) ? MAKO_OK : MAKO_NOT_FOUND));
    mako_snapshot_unref(snapshot);
    save.more[15] = 1;
    expect.more[15] = 1;
    CHECK(mako_store_save(t->store, "a", &save.known, NULL) == MAKO_E_UNSUPPORTED);
    CHECK(mako_store_load(t->store, "a", &expect.known, &snapshot, NULL, NULL) ==
          MAKO_E_UNSUPPORTED);
    return PASS;
}

/* Where there is nothing to say, nothing is touched. */
static enum verdict nothing_found_touches_nothing(struct trial *t)
{
    mako_snapshot *snapshot = UNTOUCHED;
    struct mako_meta found = {.seq = 4711};
    struct mako_expect expect = expect_range(1, 1);
    struct mako_error err;

    STATUS(mako_store_load(t->store, "none", &expect, &snapshot, &found, &err),
           MAKO_NOT_FOUND);
    CHECK(snapshot == UNTOUCHED && found.seq == 4711);
    STATUS(mako_store_peek(t->store, "none", &found, &err), MAKO_NOT_FOUND);
    CHECK(found.seq == 4711);
    if (!keeps(t))
        return PASS;
    CHECK(put_text(t, "a", 1, "x") == MAKO_OK);
    expect = expect_range(2, 2);
    STATUS(mako_store_load(t->store, "a", &expect, &snapshot, &found, &err),
           MAKO_SCHEMA_OLDER);
    CHECK(snapshot == UNTOUCHED);
    return PASS;
}

static void no_counter(void *arg, const char *name, uint64_t value)
{
    (void)arg, (void)name, (void)value;
}

static bool no_entry(void *arg, struct mako_str stream, const struct mako_meta *meta,
                     uint64_t size)
{
    (void)arg, (void)stream, (void)meta, (void)size;
    return true;
}

/* Whoever does not care for the text passes no place for it, whatever happens. */
static enum verdict no_error_text_is_wanted(struct trial *t)
{
    static const char *const ids[] = {"a", "none", "", "\xff", NULL};
    struct mako_expect one = expect_range(1, 1), none = expect_range(0, 0);

    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        struct mako_save save = save_of((struct sample){.seq = 2});
        const struct mako_save *saves[] = {&save, &save};
        const struct mako_expect *expects[] = {&one, &none};
        const char *streams[] = {ids[i], ids[i]};
        mako_snapshot *snapshots[2] = {NULL, NULL};
        struct mako_meta meta;
        int statuses[2];

        (void)!mako_store_save(t->store, ids[i], &save, NULL);
        save.seq = 1;
        (void)!mako_store_save(t->store, ids[i], &save, NULL);
        (void)!mako_store_load(t->store, ids[i], &none, &snapshots[0], NULL, NULL);
        (void)!mako_store_peek(t->store, ids[i], &meta, NULL);
        CHECK(mako_store_save_many(t->store, streams, saves, 2, statuses, NULL) ==
              MAKO_OK);
        CHECK(mako_store_load_many(t->store, streams, expects, 2, snapshots, NULL,
                                   statuses, NULL) == MAKO_OK);
        mako_snapshot_unref(snapshots[0]);
        mako_snapshot_unref(snapshots[1]);
        (void)!mako_store_remove(t->store, ids[i], NULL);
        (void)!mako_store_remove(t->store, ids[i], NULL);
    }
    (void)!mako_store_scan(t->store, NULL, no_entry, NULL, NULL);
    (void)!mako_store_compact(t->store, NULL, NULL, NULL);
    CHECK(mako_store_stats(t->store, no_counter, NULL, NULL) == MAKO_OK);
    return PASS;
}

static enum verdict info_fills_what_there_is_room_for(struct trial *t)
{
    struct mako_info info = {.struct_size = offsetof(struct mako_info, name)};

    mako_store_info(t->store, &info);
    CHECK(info.struct_size == offsetof(struct mako_info, name));
    CHECK(info.name == NULL && info.max_snapshot == 0);
    return PASS;
}

static enum verdict bad_openings(struct trial *t)
{
    mako_store *store = (mako_store *)(uintptr_t)0x1234;
    struct mako_error err = {""};
    struct mako_source source = {
        .struct_size = sizeof source, .flags = 1u << 31, .path = t->conf, .name = "test"};

    CHECK(mako_store_open(t->conf, "tset", &store, &err) == MAKO_E_CONFIG);
    CHECKF(strstr(err.text, t->conf) && strstr(err.text, "did you mean 'test'"), "%s",
           err.text);
    CHECK(mako_store_open("/nowhere/x.json", "test", &store, &err) == MAKO_E_CONFIG);
    CHECKF(strstr(err.text, "/nowhere/x.json"), "%s", err.text);
    CHECK(mako_store_open_source(&source, &store, &err) == MAKO_E_UNSUPPORTED);
    source.flags = 0;
    source.struct_size = 4;
    CHECK(mako_store_open_source(&source, &store, &err) == MAKO_E_INVALID);
    source.struct_size = sizeof source;
    source.overrides = (const char *const[]){"no_such_option=1", NULL};
    CHECK(mako_store_open_source(&source, &store, &err) == MAKO_E_CONFIG);
    CHECKF(strstr(err.text, "no_such_option"), "%s", err.text);
    CHECK(mako_store_open_source(&source, &store, NULL) == MAKO_E_CONFIG);
    CHECK(store == (mako_store *)(uintptr_t)0x1234);
    return PASS;
}

/* A second opening only to read, where the first is closed or the plugin can do both at
 * once: it shows what was saved, and writes nothing. */
static enum verdict read_only(struct trial *t)
{
    struct mako_source source = {.struct_size = sizeof source,
                                 .flags = MAKO_SOURCE_READ_ONLY,
                                 .path = t->conf,
                                 .name = "test"};
    const struct mako_save save = {
        .struct_size = sizeof save, .seq = 1, .schema = 1, .state = "x", .state_len = 1};
    const struct mako_save *saves[] = {&save, &save};
    const char *streams[] = {"a", "b"};
    struct mako_error err = {""};
    mako_store *store = NULL;
    int statuses[2];

    trial_close(t);
    CHECKF(mako_store_open_source(&source, &store, &err) == MAKO_OK, "%s", err.text);
    CHECK(mako_store_save(store, "a", &save, &err) == MAKO_E_INVALID);
    CHECKF(strstr(err.text, "was opened only to be read"), "%s", err.text);
    CHECK(mako_store_save_many(store, streams, saves, 2, statuses, &err) == MAKO_OK);
    CHECK(statuses[0] == MAKO_E_INVALID && statuses[1] == MAKO_E_INVALID);
    CHECK(mako_store_remove(store, "a", &err) == MAKO_E_INVALID);
    CHECK(mako_store_compact(store, NULL, NULL, &err) < 0);
    CHECK(mako_store_peek(store, "a", NULL, &err) == MAKO_NOT_FOUND);
    mako_store_unref(store);
    return PASS;
}

/* More than a plugin promises is refused before it is opened, and the words that would
 * help are named. */
static enum verdict more_durability_than_promised(struct trial *t)
{
    static const char *const words[] = {"none", "memory", "crash", "power"};
    mako_store *open = t->store;
    enum mako_durability gives = t->durability;

    if (gives == MAKO_DURABLE_POWER)
        return trial_skip(t, "there is no more to ask for");
    if (!outlives(t)) {
        char members[60], want[60];
        enum verdict verdict;

        (void)snprintf(members, sizeof members, "\"durability\": \"%s\"",
                       words[gives + 1]);
        (void)snprintf(want, sizeof want, "\"durability\": \"%s\"", words[gives]);
        t->store = NULL;
        verdict = trial_open_with(t, members);
        if (verdict == PASS)
            trial_close(t);
        t->store = open;
        CHECKF(verdict == FAIL, "'%s' was given", words[gives + 1]);
        CHECKF(strstr(t->message, want) && strstr(t->message, words[gives + 1]), "%s",
               t->message);
        return PASS;
    }
    return trial_skip(t, "the plugin may be able to give more");
}

const struct test_case cases_arguments[] = {
    {"bad_saves", bad_saves},
    {"bad_loads", bad_loads},
    {"longer_structs", longer_structs},
    {"nothing_found_touches_nothing", nothing_found_touches_nothing},
    {"no_error_text_is_wanted", no_error_text_is_wanted},
    {"info_fills_what_there_is_room_for", info_fills_what_there_is_room_for},
    {"bad_openings", bad_openings},
    {"read_only", read_only},
    {"more_durability_than_promised", more_durability_than_promised},
    {NULL, NULL},
};

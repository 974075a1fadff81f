/* Saving, loading, peeking, removing, counting: the everyday. */
#include "cases.h"

#include <stdlib.h>
#include <time.h>

/* What is saved is found; where nothing is kept, the save succeeds all the same. */
static enum verdict what_is_saved_is_found_if_kept(struct trial *t)
{
    mako_snapshot *snapshot = NULL;
    struct mako_error err;
    struct sample s = {.seq = 7, .state = "state", .len = 5};

    STATUS(put(t, "a", s, &err), MAKO_OK);
    STATUS(get(t, "a", &snapshot, &err), keeps(t) ? MAKO_OK : MAKO_NOT_FOUND);
    CHECK((snapshot != NULL) == keeps(t));
    mako_snapshot_unref(snapshot);
    return PASS;
}

static enum verdict round_trip(struct trial *t)
{
    struct sample s = {.seq = UINT64_MAX,
                       .schema = UINT32_MAX,
                       .state = "\0zero\0bytes",
                       .len = 11,
                       .anchor = 0xfedcba9876543210u,
                       .kind = "account"};

    CHECK(put(t, "round/trip", s, NULL) == MAKO_OK);
    TRY(holds(t, "round/trip", s));
    s = (struct sample){.seq = 1, .schema = 1, .state = "x", .len = 1};
    CHECK(put(t, "least", s, NULL) == MAKO_OK);
    return holds(t, "least", s);
}

static int64_t now_ms(void)
{
    return (int64_t)time(NULL) * 1000;
}

static enum verdict created_is_now(struct trial *t)
{
    int64_t before = now_ms(), created;
    struct mako_meta meta;

    CHECK(put_text(t, "a", 1, "x") == MAKO_OK);
    if (!keeps(t))
        return trial_skip(t, "nothing is kept");
    CHECK(mako_store_peek(t->store, "a", &meta, NULL) == MAKO_OK);
    created = meta.created_ms;
    CHECKF(created >= before - 2000 && created <= now_ms() + 2000, "%lld, now %lld",
           (long long)created, (long long)now_ms());
    return PASS;
}

static enum verdict overwrite_keeps_the_latest(struct trial *t)
{
    char text[32];

    for (uint64_t seq = 1; seq <= 50; seq++) {
        (void)snprintf(text, sizeof text, "state %llu", (unsigned long long)seq);
        CHECK(put_text(t, "a", seq, text) == MAKO_OK);
        TRY(holds_text(t, "a", seq, text));
    }
    return PASS;
}

static enum verdict streams_are_isolated(struct trial *t)
{
    CHECK(put_text(t, "a", 1, "of a") == MAKO_OK);
    CHECK(put_text(t, "b", 2, "of b") == MAKO_OK);
    TRY(holds_text(t, "a", 1, "of a"));
    TRY(holds_text(t, "b", 2, "of b"));
    CHECK(put_text(t, "a", 3, "of a again") == MAKO_OK);
    TRY(holds_text(t, "b", 2, "of b"));
    CHECK(mako_store_remove(t->store, "a", NULL) >= MAKO_OK);
    TRY(holds_nothing(t, "a"));
    return holds_text(t, "b", 2, "of b");
}

static bool count_entry(void *arg, struct mako_str stream, const struct mako_meta *meta,
                        uint64_t size)
{
    (void)stream, (void)meta, (void)size;
    ++*(unsigned *)arg;
    return true;
}

/* By scan where there is one, by the plugin's own counter where there is that. */
static enum verdict a_new_store_is_empty_and_then_not(struct trial *t)
{
    bool counts = counter(t, "plugin.streams") != UINT64_MAX;
    unsigned entries = 0;

    if (!counts && !t->can_scan)
        return trial_skip(t, "neither a scan nor a counter plugin.streams");
    if (t->can_scan)
        CHECK(mako_store_scan(t->store, NULL, count_entry, &entries, NULL) == MAKO_OK);
    CHECK(entries == 0);
    CHECK(!counts || counter(t, "plugin.streams") == 0);
    CHECK(put_text(t, "a", 1, "x") == MAKO_OK);
    if (t->can_scan)
        CHECK(mako_store_scan(t->store, NULL, count_entry, &entries, NULL) == MAKO_OK);
    CHECK(!t->can_scan || entries == (unsigned)keeps(t));
    CHECK(!counts || counter(t, "plugin.streams") == (unsigned)keeps(t));
    return PASS;
}

static enum verdict peek(struct trial *t)
{
    struct mako_meta meta = {.seq = 4711};
    struct mako_error err;
    struct sample s = {.seq = 9, .schema = 3, .state = "x", .len = 1, .kind = "k"};

    STATUS(mako_store_peek(t->store, "a", &meta, &err), MAKO_NOT_FOUND);
    CHECK(meta.seq == 4711);
    CHECK(put(t, "a", s, NULL) == MAKO_OK);
    STATUS(mako_store_peek(t->store, "a", &meta, &err),
           keeps(t) ? MAKO_OK : MAKO_NOT_FOUND);
    CHECK(!keeps(t) || (meta.seq == 9 && meta.schema == 3 && meta.reserved == 0));
    CHECK(keeps(t) || meta.seq == 4711);
    return PASS;
}

/* A peek wants no bytes; whoever can answer it from an index moves none. */
static enum verdict peek_moves_no_payload(struct trial *t)
{
    static unsigned char big[65536];
    struct sample s = {.seq = 1, .state = big, .len = sizeof big};
    struct mako_meta meta;
    uint64_t before;

    if (!keeps(t) || !(t->info.features & MAKO_FEATURE_EARLY_META))
        return trial_skip(t, "EARLY_META is not declared, or nothing is kept");
    CHECK(put(t, "a", s, NULL) == MAKO_OK);
    before = counter(t, "bytes_moved");
    CHECK(mako_store_peek(t->store, "a", &meta, NULL) == MAKO_OK);
    CHECKF(counter(t, "bytes_moved") == before, "%llu bytes were moved",
           (unsigned long long)(counter(t, "bytes_moved") - before));
    return PASS;
}

static enum verdict remove_twice(struct trial *t)
{
    struct mako_error err;

    STATUS(mako_store_remove(t->store, "a", &err), MAKO_NOT_FOUND);
    CHECK(put_text(t, "a", 5, "x") == MAKO_OK);
    STATUS(mako_store_remove(t->store, "a", &err), keeps(t) ? MAKO_OK : MAKO_NOT_FOUND);
    TRY(holds_nothing(t, "a"));
    STATUS(mako_store_remove(t->store, "a", &err), MAKO_NOT_FOUND);
    return holds_nothing(t, "a");
}

/* After a removal a stream begins anew: nothing is later than a lower sequence. */
static enum verdict save_lower_after_remove(struct trial *t)
{
    struct mako_error err;
    struct sample s = {.seq = 3, .state = "anew", .len = 4};

    CHECK(put_text(t, "a", 500, "x") == MAKO_OK);
    CHECK(mako_store_remove(t->store, "a", NULL) >= MAKO_OK);
    STATUS(put(t, "a", s, &err), MAKO_OK);
    return holds(t, "a", s);
}

static enum verdict counters_count(struct trial *t)
{
    mako_snapshot *snapshot = NULL;
    struct mako_expect too_new = expect_range(8, 9);
    bool kept = keeps(t);

    CHECK(put_text(t, "a", 5, "12345") == MAKO_OK);
    CHECK(put_text(t, "a", 4, "1234") == (kept ? MAKO_STALE : MAKO_OK));
    CHECK(get(t, "a", &snapshot, NULL) == (kept ? MAKO_OK : MAKO_NOT_FOUND));
    mako_snapshot_unref(snapshot);
    CHECK(get(t, "b", &snapshot, NULL) == MAKO_NOT_FOUND);
    CHECK(mako_store_load(t->store, "a", &too_new, &snapshot, NULL, NULL) ==
          (kept ? MAKO_SCHEMA_OLDER : MAKO_NOT_FOUND));
    CHECK(counter(t, "saves") == (kept ? 1 : 2));
    CHECK(counter(t, "saves_stale") == (kept ? 1 : 0));
    CHECK(counter(t, "saves_failed") == 0);
    CHECK(counter(t, "loads_ok") == (kept ? 1 : 0));
    CHECK(counter(t, "loads_none") == (kept ? 1 : 3));
    CHECK(counter(t, "loads_refused") == (kept ? 1 : 0));
    CHECK(counter(t, "loads_damaged") == 0);
    CHECK(counter(t, "loads_failed") == 0);
    CHECK(counter(t, "bytes_saved") >= 5);
    CHECK(counter(t, "bytes_moved") >= (kept ? 5 : 0));
    CHECK(mako_store_remove(t->store, "a", NULL) >= MAKO_OK);
    CHECK(counter(t, "removes") == 1);
    return PASS;
}

static enum verdict info_is_complete(struct trial *t)
{
    CHECK(strcmp(t->info.name, "test") == 0);
    CHECK(t->info.plugin && t->info.plugin[0]);
    CHECK(t->info.plugin_version && t->info.plugin_path);
    CHECK(t->info.plugin_path[0] == '/');
    CHECK(t->info.max_snapshot > 0);
    CHECK(t->info.schema_min == 0 && t->info.schema_max == 0);
    return PASS;
}

static bool keep_going(void *arg, uint64_t done, uint64_t total)
{
    (void)done, (void)total;
    ++*(unsigned *)arg;
    return true;
}

/* Whatever compaction does, it changes nothing that can be seen. */
static enum verdict compact_keeps_everything(struct trial *t)
{
    unsigned steps = 0;
    int status;

    for (uint64_t seq = 1; seq <= 30; seq++)
        CHECK(put_text(t, "a", seq, "of a") == MAKO_OK);
    CHECK(put_text(t, "b", 1, "of b") == MAKO_OK);
    CHECK(put_text(t, "gone", 1, "x") == MAKO_OK);
    CHECK(mako_store_remove(t->store, "gone", NULL) >= MAKO_OK);
    status = mako_store_compact(t->store, keep_going, &steps, NULL);
    if (status == MAKO_E_UNSUPPORTED)
        return trial_skip(t, "this plugin cannot compact");
    CHECK(status == MAKO_OK);
    CHECK(mako_store_compact(t->store, NULL, NULL, NULL) == MAKO_OK);
    TRY(holds_text(t, "a", 30, "of a"));
    TRY(holds_text(t, "b", 1, "of b"));
    return holds_nothing(t, "gone");
}

const struct test_case cases_basics[] = {
    {"what_is_saved_is_found_if_kept", what_is_saved_is_found_if_kept},
    {"round_trip", round_trip},
    {"created_is_now", created_is_now},
    {"overwrite_keeps_the_latest", overwrite_keeps_the_latest},
    {"streams_are_isolated", streams_are_isolated},
    {"a_new_store_is_empty_and_then_not", a_new_store_is_empty_and_then_not},
    {"peek", peek},
    {"peek_moves_no_payload", peek_moves_no_payload},
    {"remove_twice", remove_twice},
    {"save_lower_after_remove", save_lower_after_remove},
    {"counters_count", counters_count},
    {"info_is_complete", info_is_complete},
    {"compact_keeps_everything", compact_keeps_everything},
    {NULL, NULL},
};

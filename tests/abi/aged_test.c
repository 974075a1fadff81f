/* tests/abi/aged_test.c - plugins of another time with today's core: of the first
 * version, one with the required members alone and one with all there were; and one whose
 * header has grown.  What they lack is emulated, or said to be missing. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include <mako/snapshot.h>

#define MANY 3

TestSuite(old, .timeout = 60);
TestSuite(whole, .timeout = 60);
TestSuite(future, .timeout = 60);

static mako_store *open_plugin(const char *path)
{
    mako_store *store = NULL;
    struct mako_error err = {{0}};
    char json[1024];
    int len =
        snprintf(json, sizeof json,
                 "{\"stores\": {\"test\": {\"plugin\": \"%s\", "
                 "\"durability\": \"memory\", \"schema\": {\"min\": 1, \"max\": 9}}}}",
                 path);
    int status;

    cr_assert(len > 0 && (size_t)len < sizeof json);
    status = mako_store_open_json(json, (size_t)len, NULL, &store, &err);
    cr_assert(status == MAKO_OK, "%s", err.text);
    return store;
}

static int save(mako_store *store, const char *stream, uint64_t seq, const char *state,
                struct mako_error *err)
{
    const struct mako_save what = {.struct_size = sizeof what,
                                   .seq = seq,
                                   .schema = 1,
                                   .state = state,
                                   .state_len = strlen(state)};

    return mako_store_save(store, stream, &what, err);
}

static void has_state(mako_snapshot *snapshot, uint64_t seq, const char *state)
{
    size_t len = 0;
    const void *bytes;

    cr_assert(snapshot != NULL);
    bytes = mako_snapshot_state(snapshot, &len);
    cr_expect(mako_snapshot_meta(snapshot).seq == seq);
    cr_expect(len == strlen(state) && memcmp(bytes, state, len) == 0);
    mako_snapshot_unref(snapshot);
}

static void one_at_a_time(const char *path)
{
    mako_store *store = open_plugin(path);
    mako_snapshot *snapshot = NULL;
    struct mako_meta meta = {0};
    struct mako_error err = {{0}};

    cr_expect(mako_store_load(store, "a", NULL, &snapshot, NULL, &err) == MAKO_NOT_FOUND);
    cr_expect(save(store, "a", 5, "five", &err) == MAKO_OK, "%s", err.text);
    cr_expect(save(store, "a", 4, "four", &err) == MAKO_STALE, "%s", err.text);
    cr_expect(save(store, "a", 6, "six", &err) == MAKO_OK, "%s", err.text);
    cr_expect(mako_store_load(store, "a", NULL, &snapshot, NULL, &err) == MAKO_OK, "%s",
              err.text);
    has_state(snapshot, 6, "six");
    cr_expect(mako_store_peek(store, "a", &meta, &err) == MAKO_OK && meta.seq == 6);
    cr_expect(mako_store_remove(store, "a", &err) == MAKO_OK, "%s", err.text);
    cr_expect(mako_store_remove(store, "a", &err) == MAKO_NOT_FOUND);
    mako_store_unref(store);
}

/* A loop where the plugin has no batches. */
static void many_at_once(const char *path)
{
    static const char *const streams[MANY] = {"a", "b", "c"};
    static const char *const states[MANY] = {"one", "two", "three"};
    mako_store *store = open_plugin(path);
    struct mako_save save_of[MANY];
    const struct mako_save *saves[MANY];
    mako_snapshot *snapshots[MANY] = {NULL, NULL, NULL};
    int statuses[MANY] = {-1, -1, -1};
    struct mako_error err = {{0}};

    for (size_t i = 0; i < MANY; i++) {
        save_of[i] = (struct mako_save){.struct_size = sizeof save_of[i],
                                        .seq = i + 1,
                                        .schema = 1,
                                        .state = states[i],
                                        .state_len = strlen(states[i])};
        saves[i] = &save_of[i];
    }
    cr_expect(mako_store_save_many(store, streams, saves, MANY, statuses, &err) ==
                  MAKO_OK,
              "%s", err.text);
    for (size_t i = 0; i < MANY; i++)
        cr_expect(statuses[i] == MAKO_OK, "item %zu: %d", i, statuses[i]);
    cr_expect(mako_store_load_many(store, streams, NULL, MANY, snapshots, NULL, statuses,
                                   &err) == MAKO_OK,
              "%s", err.text);
    for (size_t i = 0; i < MANY; i++)
        has_state(snapshots[i], i + 1, states[i]);
    mako_store_unref(store);
}

static bool no_entry(void *arg, struct mako_str stream, const struct mako_meta *meta,
                     uint64_t size)
{
    (void)arg, (void)stream, (void)meta, (void)size;
    return true;
}

static void count_counters(void *arg, const char *name, uint64_t value)
{
    int *count = arg;

    (void)value;
    *count += strncmp(name, "plugin.", 7) != 0;
}

/* What cannot be emulated is said to be missing; the core counts by itself. */
static void what_is_missing(const char *path, const char *name)
{
    mako_store *store = open_plugin(path);
    struct mako_error err = {{0}};
    int counters = 0;

    cr_expect(mako_store_scan(store, NULL, no_entry, NULL, &err) == MAKO_E_UNSUPPORTED);
    cr_expect(strstr(err.text, "scan") && strstr(err.text, name), "%s", err.text);
    cr_expect(mako_store_compact(store, NULL, NULL, &err) == MAKO_E_UNSUPPORTED);
    cr_expect(strstr(err.text, "compact") && strstr(err.text, name), "%s", err.text);
    cr_expect(mako_store_stats(store, count_counters, &counters, &err) == MAKO_OK, "%s",
              err.text);
    cr_expect(counters > 0);
    mako_store_unref(store);
}

Test(old, one_at_a_time)
{
    one_at_a_time(OLD_PLUGIN);
}

Test(old, many_at_once)
{
    many_at_once(OLD_PLUGIN);
}

Test(old, what_is_missing)
{
    what_is_missing(OLD_PLUGIN, "old");
}

Test(future, one_at_a_time)
{
    one_at_a_time(FUTURE_PLUGIN);
}

Test(future, many_at_once)
{
    many_at_once(FUTURE_PLUGIN);
}

Test(future, what_is_missing)
{
    what_is_missing(FUTURE_PLUGIN, "future");
}

Test(whole, one_at_a_time)
{
    one_at_a_time(WHOLE_PLUGIN);
}

Test(whole, many_at_once)
{
    many_at_once(WHOLE_PLUGIN);
}

static bool count_entry(void *arg, struct mako_str stream, const struct mako_meta *meta,
                        uint64_t size)
{
    int *count = arg;

    (*count)++;
    cr_expect(meta && meta->seq == 5 && size > 0 && strcmp(stream.ptr, "a/b") == 0);
    return true;
}

static void batches(void *arg, const char *name, uint64_t value)
{
    if (strcmp(name, "plugin.batches") == 0)
        *(uint64_t *)arg = value;
}

/* Everything that the first version had arrives where it belongs.  A core that knows less
 * of it (see core-of) says so. */
Test(whole, what_is_there)
{
    mako_store *store = open_plugin(WHOLE_PLUGIN);
    mako_snapshot *snapshots[2] = {NULL, NULL};
    static const char *const streams[2] = {"a/b", "b"};
    struct mako_error err = {{0}};
    int statuses[2], entries = 0;
    uint64_t seen = 0;
    bool before = strstr(mako_version(), "before") != NULL;
    int want = before ? MAKO_E_UNSUPPORTED : MAKO_OK;

    cr_expect(save(store, streams[0], 5, "five", &err) == MAKO_OK, "%s", err.text);
    cr_expect(save(store, streams[1], 6, "six", &err) == MAKO_OK, "%s", err.text);
    cr_expect(mako_store_scan(store, "a", count_entry, &entries, &err) == want);
    cr_expect(entries == !before);
    cr_expect(mako_store_load_many(store, streams, NULL, 2, snapshots, NULL, statuses,
                                   &err) == MAKO_OK);
    has_state(snapshots[0], 5, "five");
    has_state(snapshots[1], 6, "six");
    cr_expect(mako_store_compact(store, NULL, NULL, &err) == want);
    cr_expect(mako_store_stats(store, batches, &seen, &err) == MAKO_OK);
    cr_expect(seen == !before);
    mako_store_unref(store);
}

struct look {
    const char *key;
    char value[64];
};

static void look(void *arg, const char *key, const char *value)
{
    struct look *l = arg;

    if (strcmp(key, l->key) == 0)
        (void)snprintf(l->value, sizeof l->value, "%s", value);
}

static void says(const char *key, const char *value)
{
    struct look l = {.key = key};
    struct mako_error err = {{0}};

    cr_expect(mako_plugin_describe(NULL, FUTURE_PLUGIN, look, &l, &err) == MAKO_OK, "%s",
              err.text);
    cr_expect_str_eq(l.value, value);
}

/* Longer option rows are read by the plugin's own stride. */
Test(future, options)
{
    says("option.depth.type", "int");
    says("option.label.type", "string");
}

/* tests/loader/calls_test.c - plugins that load, and then break the contract in their
 * calls: opening, loading, saving, and the time around them. */
#include "fixture.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(opening, .init = fixture_begin, .fini = fixture_end, .timeout = 60);
TestSuite(loading, .init = fixture_begin, .fini = fixture_end, .timeout = 60);
TestSuite(saving, .init = fixture_begin, .fini = fixture_end, .timeout = 60);
TestSuite(lifetime, .init = fixture_begin, .fini = fixture_end, .timeout = 60);

/* Longer than any test needs, for what must come. */
#define PATIENCE 30000

/* ---- opening ---------------------------------------------------------------------- */

static int try_open(const char *fault, struct trace *trace, mako_store **store,
                    struct mako_error *err)
{
    *trace = make_trace();
    return open_plugin(install_plugin(fault), text("\"trace\": %d", trace->out), store,
                       err);
}

/* Opening fails with this status and text, after exactly these calls. */
static void will_not_open(const char *fault, int want, const char *calls,
                          const char *const *fragments)
{
    struct trace trace;
    struct mako_error err = {{0}};
    mako_store *store = NULL;
    int status = try_open(fault, &trace, &store, &err);

    cr_expect(status == want, "%s: %s", mako_status_name(status), err.text);
    cr_expect(store == NULL);
    has(err.text, fragments);
    cr_expect_str_eq(letters(&trace), calls);
}

#define WILL_NOT_OPEN(fault, want, calls, ...)                                        \
    Test(opening, fault)                                                              \
    {                                                                                 \
        will_not_open(#fault, want, calls, (const char *const[]){__VA_ARGS__, NULL}); \
    }

WILL_NOT_OPEN(open_fails, MAKO_E_IO, "o", "store 'test'", "the shelf has fallen down")
WILL_NOT_OPEN(open_fails_silently, MAKO_E_UNAVAILABLE, "", "store 'test'",
              "open-fails-silently", "open", "without a message")
WILL_NOT_OPEN(open_strange, MAKO_E_PLUGIN, "", "store 'test'", "open-strange", "open",
              "-77")
WILL_NOT_OPEN(open_positive, MAKO_E_PLUGIN, "", "store 'test'", "open-positive", "open",
              "returned 1")
WILL_NOT_OPEN(open_lowers_durability, MAKO_E_CONFIG, "oc", "store 'test'", "memory",
              "none")

/* Opens it, or ends the test. */
static mako_store *opened(const char *fault, struct trace *trace)
{
    struct mako_error err = {{0}};
    mako_store *store = NULL;
    int status = try_open(fault, trace, &store, &err);

    cr_assert(status == MAKO_OK, "%s: %s", mako_status_name(status), err.text);
    return store;
}

static struct mako_info info_of(const mako_store *store)
{
    struct mako_info info = {.struct_size = sizeof info};

    mako_store_info(store, &info);
    return info;
}

Test(opening, open_raises_durability)
{
    struct trace trace;
    mako_store *store = opened("open_raises_durability", &trace);

    cr_expect_str_eq(info_of(store).durability, "memory");
    cr_expect(logged("open-raises-durability") && logged("promised more"));
    mako_store_unref(store);
}

Test(opening, open_raises_threads)
{
    struct trace trace;
    mako_store *store = opened("open_raises_threads", &trace);

    cr_expect_str_eq(info_of(store).threads, "store");
    cr_expect(logged("open-raises-threads") && logged("promised more"));
    mako_store_unref(store);
}

Test(opening, open_raises_features)
{
    struct trace trace;
    mako_store *store = opened("open_raises_features", &trace);

    cr_expect(info_of(store).features == 0);
    cr_expect(logged("open-raises-features") && logged("promised more"));
    mako_store_unref(store);
}

Test(opening, open_lowers_threads)
{
    struct trace trace;
    mako_store *store = opened("open_lowers_threads", &trace);

    cr_expect_str_eq(info_of(store).threads, "plugin");
    mako_store_unref(store);
    cr_expect_str_eq(letters(&trace), "oc");
}

/* ---- one snapshot -------------------------------------------------------------------
 */

static int save(mako_store *store, const char *stream, uint64_t seq, uint32_t schema,
                struct mako_error *err)
{
    const struct mako_save what = {.struct_size = sizeof what,
                                   .seq = seq,
                                   .schema = schema,
                                   .state = "state of things",
                                   .state_len = 15};

    return mako_store_save(store, stream, &what, err);
}

static void must_save(mako_store *store, const char *stream, uint64_t seq,
                      uint32_t schema)
{
    struct mako_error err = {{0}};
    int status = save(store, stream, seq, schema, &err);

    cr_assert(status == MAKO_OK, "%s: %s", mako_status_name(status), err.text);
}

/* Loads what can be read of schema 1 to max; the state, where there is one, is right. */
static int load(mako_store *store, const char *stream, uint32_t max,
                struct mako_meta *found, struct mako_error *err)
{
    const struct mako_expect expect = {
        .struct_size = sizeof expect, .schema_min = 1, .schema_max = max};
    mako_snapshot *snapshot = NULL;
    size_t len = 0;
    int status = mako_store_load(store, stream, &expect, &snapshot, found, err);

    cr_expect((status == MAKO_OK) == (snapshot != NULL));
    if (!snapshot)
        return status;
    cr_expect(memcmp(mako_snapshot_state(snapshot, &len), "state of things", 15) == 0);
    cr_expect(len == 15);
    mako_snapshot_unref(snapshot);
    return status;
}

/* ---- loading -------------------------------------------------------------------------
 */

/* After a save of sequence 7, schema 2, a load returns want and a text with the
 * fragments; the store is still good for a save. */
static void loads(const char *fault, int want, const char *const *fragments)
{
    struct trace trace;
    mako_store *store = opened(fault, &trace);
    struct mako_error err = {{0}};
    int status;

    must_save(store, "stream", 7, 2);
    status = load(store, "stream", 9, NULL, &err);
    cr_expect(status == want, "%s, not %s: %s", mako_status_name(status),
              mako_status_name(want), err.text);
    if (status != MAKO_OK)
        has(err.text, fragments);
    must_save(store, "stream", 8, 2);
    mako_store_unref(store);
}

#define LOADS(fault, want, ...)                                        \
    Test(loading, fault)                                               \
    {                                                                  \
        loads(#fault, want, (const char *const[]){__VA_ARGS__, NULL}); \
    }

LOADS(good, MAKO_OK, "")
LOADS(open_null, MAKO_OK, "")
LOADS(load_nothing, MAKO_E_PLUGIN, "store 'test'", "load-nothing", "load",
      "handed nothing over")
LOADS(load_twice, MAKO_OK, "")
LOADS(load_short, MAKO_DAMAGED, "store 'test'", "stream")
LOADS(load_long, MAKO_DAMAGED, "store 'test'", "stream")
LOADS(load_empty, MAKO_DAMAGED, "store 'test'", "stream")
LOADS(load_huge, MAKO_TOO_LARGE, "stream")
LOADS(load_unfilled, MAKO_DAMAGED, "store 'test'", "stream")
LOADS(load_overtaken, MAKO_NOT_FOUND, "stream")
LOADS(load_strange, MAKO_E_PLUGIN, "store 'test'", "load-strange", "load", "77")
LOADS(load_stale, MAKO_E_PLUGIN, "store 'test'", "load-stale", "load", "returned 6")
LOADS(load_fails_silently, MAKO_E_IO, "store 'test'", "load-fails-silently", "load",
      "without a message")
LOADS(load_endless_text, MAKO_E_IO, "store 'test'", "xxxx")
LOADS(load_refuses, MAKO_E_PLUGIN, "store 'test'", "load-refuses", "REFUSED")
LOADS(load_flipped, MAKO_DAMAGED, "store 'test'", "stream")
LOADS(load_damaged, MAKO_DAMAGED, "store 'test'", "stream", "checksum differs")
LOADS(lend_flipped, MAKO_DAMAGED, "store 'test'", "stream")
LOADS(lend_nothing, MAKO_DAMAGED, "store 'test'", "stream")
LOADS(lend_then_fail, MAKO_E_IO, "store 'test'", "torn away")

/* Bytes that are whole, but another stream's. */
Test(loading, load_aliased)
{
    struct trace trace;
    mako_store *store = opened("load_aliased", &trace);
    struct mako_error err = {{0}};
    int status;

    must_save(store, "alice", 7, 2);
    must_save(store, "bob", 7, 2);
    status = load(store, "bob", 9, NULL, &err);
    cr_expect(status == MAKO_DAMAGED, "%s: %s", mako_status_name(status), err.text);
    HAS(err.text, "bob", "stream");
    cr_expect(load(store, "alice", 9, NULL, &err) == MAKO_OK, "%s", err.text);
    mako_store_unref(store);
}

/* The envelope is the truth, the plugin's metadata only an index. */
Test(loading, load_wrong_seq)
{
    struct trace trace;
    mako_store *store = opened("load_wrong_seq", &trace);
    struct mako_error err = {{0}};
    struct mako_meta found = {0};

    must_save(store, "stream", 7, 2);
    cr_expect(load(store, "stream", 9, &found, &err) == MAKO_OK, "%s", err.text);
    cr_expect(found.seq == 7, "seq %llu", (unsigned long long)found.seq);
    mako_store_unref(store);
}

Test(loading, load_wrong_schema)
{
    struct trace trace;
    mako_store *store = opened("load_wrong_schema", &trace);
    struct mako_error err = {{0}};
    struct mako_meta found = {0};
    int status;

    must_save(store, "stream", 7, 5);
    status = load(store, "stream", 2, &found, &err);
    cr_expect(status == MAKO_SCHEMA_NEWER, "%s: %s", mako_status_name(status), err.text);
    cr_expect(found.schema == 5 && found.seq == 7);
    mako_store_unref(store);
}

/* It was declined, and the plugin says that all went well: nothing is handed out. */
Test(loading, load_forgets_refusal)
{
    struct trace trace;
    mako_store *store = opened("load_forgets_refusal", &trace);
    struct mako_error err = {{0}};
    int status;

    must_save(store, "stream", 7, 5);
    status = load(store, "stream", 2, NULL, &err);
    cr_expect(status == MAKO_E_PLUGIN || status == MAKO_SCHEMA_NEWER, "%s: %s",
              mako_status_name(status), err.text);
    cr_expect(load(store, "stream", 5, NULL, &err) == MAKO_OK, "%s", err.text);
    mako_store_unref(store);
}

/* ---- lending
 * --------------------------------------------------------------------------- */

static size_t how_many(const char *all, char letter)
{
    size_t count = 0;

    for (; *all; all++)
        count += *all == letter;
    return count;
}

/* What was lent is given back once, before the store is closed, whatever came of it. */
static void gives_back(const char *fault, size_t least)
{
    struct trace trace;
    mako_store *store = opened(fault, &trace);
    struct mako_error err = {{0}};
    const char *all;

    must_save(store, "stream", 7, 2);
    (void)load(store, "stream", 9, NULL, &err);
    mako_store_unref(store);
    all = letters(&trace);
    cr_expect(how_many(all, 'L') >= least, "%s", all);
    cr_expect(how_many(all, 'L') == how_many(all, 'r'), "%s", all);
    cr_expect(all[strlen(all) - 1] == 'c' && how_many(all, 'c') == 1, "%s", all);
}

#define GIVES_BACK(fault, least)   \
    Test(lifetime, fault)          \
    {                              \
        gives_back(#fault, least); \
    }

GIVES_BACK(lend, 1)
GIVES_BACK(lend_flipped, 1)
GIVES_BACK(lend_then_fail, 1)
GIVES_BACK(lend_twice, 1)
GIVES_BACK(lend_nothing, 1)
GIVES_BACK(lend_then_accept, 1)

/* A lent snapshot keeps the store open; the last of both closes it. */
Test(lifetime, lent_snapshot_outlives_the_last_unref)
{
    struct trace trace;
    mako_store *store = opened("lend", &trace);
    mako_snapshot *snapshot = NULL;
    struct mako_error err = {{0}};
    size_t len = 0;

    must_save(store, "stream", 7, 2);
    cr_assert(mako_store_load(store, "stream", NULL, &snapshot, NULL, &err) == MAKO_OK,
              "%s", err.text);
    mako_store_unref(store);
    cr_expect_str_eq(letters(&trace), "oslL");
    cr_expect(memcmp(mako_snapshot_state(snapshot, &len), "state of things", 15) == 0);
    mako_snapshot_unref(snapshot);
    cr_expect_str_eq(letters(&trace), "rc");
}

/* ---- saving and the rest
 * ------------------------------------------------------------------ */

/* A save returns want and a text with the fragments. */
static void saves(const char *fault, int want, const char *const *fragments)
{
    struct trace trace;
    mako_store *store = opened(fault, &trace);
    struct mako_error err = {{0}};
    int status = save(store, "stream", 7, 2, &err);

    cr_expect(status == want, "%s: %s", mako_status_name(status), err.text);
    has(err.text, fragments);
    mako_store_unref(store);
}

#define SAVES(fault, want, ...)                                        \
    Test(saving, fault)                                                \
    {                                                                  \
        saves(#fault, want, (const char *const[]){__VA_ARGS__, NULL}); \
    }

SAVES(save_nothing, MAKO_OK, "")
SAVES(save_strange, MAKO_E_PLUGIN, "store 'test'", "save-strange", "save", "77")
SAVES(save_not_found, MAKO_E_PLUGIN, "store 'test'", "save-not-found", "save",
      "returned 1")
SAVES(save_fails_silently, MAKO_E_NO_SPACE, "store 'test'", "save-fails-silently", "save",
      "without a message")

/* Where the core must look before it saves, what is wrong is the plugin's load. */
Test(saving, through_a_broken_load)
{
    const char *json =
        config_of(install_plugin("load_nothing"), "\"durability\": \"memory\"");
    mako_store *store = NULL;
    struct mako_error err = {{0}};
    int status = mako_store_open_json(json, strlen(json), "test", &store, &err);

    cr_assert(status == MAKO_OK, "%s", err.text);
    status = save(store, "stream", 7, 2, &err);
    cr_expect(status == MAKO_E_PLUGIN, "%s: %s", mako_status_name(status), err.text);
    HAS(err.text, "store 'test'", "load-nothing", "load returned OK", "handed nothing");
    mako_store_unref(store);
}

/* A save that lies is found out by the next load. */
Test(saving, save_nothing_then_load)
{
    struct trace trace;
    mako_store *store = opened("save_nothing", &trace);
    struct mako_error err = {{0}};

    must_save(store, "stream", 7, 2);
    cr_expect(load(store, "stream", 9, NULL, &err) == MAKO_NOT_FOUND);
    mako_store_unref(store);
}

static bool no_entry(void *arg, struct mako_str stream, const struct mako_meta *meta,
                     uint64_t size)
{
    (void)arg, (void)stream, (void)meta, (void)size;
    return true;
}

static void no_counter(void *arg, const char *name, uint64_t value)
{
    (void)arg, (void)name, (void)value;
}

/* A status that the call cannot have is the plugin's fault, and is named. */
static void strange(const char *fault, const char *number, int status,
                    const struct mako_error *err)
{
    cr_expect(status == MAKO_E_PLUGIN, "%s: %s", mako_status_name(status), err->text);
    HAS(err->text, "store 'test'", fault, number);
}

Test(saving, remove_strange)
{
    struct trace trace;
    mako_store *store = opened("remove_strange", &trace);
    struct mako_error err = {{0}};

    strange("remove-strange", "-77", mako_store_remove(store, "stream", &err), &err);
    mako_store_unref(store);
}

Test(saving, scan_strange)
{
    struct trace trace;
    mako_store *store = opened("scan_strange", &trace);
    struct mako_error err = {{0}};

    strange("scan-strange", "77", mako_store_scan(store, NULL, no_entry, NULL, &err),
            &err);
    mako_store_unref(store);
}

Test(saving, stats_strange)
{
    struct trace trace;
    mako_store *store = opened("stats_strange", &trace);
    struct mako_error err = {{0}};

    strange("stats-strange", "77", mako_store_stats(store, no_counter, NULL, &err), &err);
    mako_store_unref(store);
}

Test(saving, compact_strange)
{
    struct trace trace;
    mako_store *store = opened("compact_strange", &trace);
    struct mako_error err = {{0}};

    strange("compact-strange", "77", mako_store_compact(store, NULL, NULL, &err), &err);
    mako_store_unref(store);
}

/* ---- batches
 * ---------------------------------------------------------------------------- */

#define MANY 3

/* Neither a batch nor an item of it succeeds that the plugin did not say so of. */
static void batch_is_broken(const char *call, int status, const int *statuses,
                            const struct mako_error *err)
{
    if (status == MAKO_OK)
        for (size_t i = 0; i < MANY; i++)
            cr_expect(statuses[i] == MAKO_E_PLUGIN, "%s: item %zu is %d", call, i,
                      statuses[i]);
    else
        cr_expect(status == MAKO_E_PLUGIN, "%s: %s", call, mako_status_name(status));
    HAS(err->text, "store 'test'", "batch-");
}

static void batches(const char *fault)
{
    static const char *const streams[MANY] = {"a", "b", "c"};
    const struct mako_save one = {.struct_size = sizeof one, .seq = 1, .schema = 1};
    const struct mako_save *const saves_of[MANY] = {&one, &one, &one};
    const struct mako_expect any = {
        .struct_size = sizeof any, .schema_min = 1, .schema_max = 1};
    const struct mako_expect *const expects[MANY] = {&any, &any, &any};
    mako_snapshot *snapshots[MANY] = {NULL, NULL, NULL};
    int statuses[MANY] = {0, 0, 0};
    struct trace trace;
    mako_store *store = opened(fault, &trace);
    struct mako_error err = {{0}};
    int status = mako_store_save_many(store, streams, saves_of, MANY, statuses, &err);

    batch_is_broken("save_many", status, statuses, &err);
    memset(statuses, 0, sizeof statuses);
    err.text[0] = '\0';
    status = mako_store_load_many(store, streams, expects, MANY, snapshots, NULL,
                                  statuses, &err);
    batch_is_broken("load_many", status, statuses, &err);
    for (size_t i = 0; i < MANY; i++)
        cr_expect(snapshots[i] == NULL);
    mako_store_unref(store);
}

Test(saving, batch_unset)
{
    batches("batch_unset");
}

Test(saving, batch_strange)
{
    batches("batch_strange");
}

Test(saving, batch_positive)
{
    batches("batch_positive");
}

/* ---- lifetime
 * ---------------------------------------------------------------------------- */

struct slow {
    mako_store *store;
    int status;
};

static void *load_slowly(void *arg)
{
    struct slow *slow = arg;
    struct mako_error err = {{0}};

    slow->status = load(slow->store, "stream", 9, NULL, &err);
    return NULL;
}

static void *unref_it(void *arg)
{
    mako_store_unref(arg);
    return NULL;
}

/* The last reference goes while a load is under way: the close waits for it. */
Test(lifetime, close_waits_for_the_last_call)
{
    struct trace trace = make_trace(), gate = make_trace();
    struct slow slow = {.status = -1};
    struct mako_error err = {{0}};
    pthread_t loader, leaver;
    int status = open_plugin(install_plugin("load_slow"),
                             text("\"trace\": %d, \"gate\": %d", trace.out, gate.in),
                             &slow.store, &err);

    cr_assert(status == MAKO_OK, "%s", err.text);
    must_save(slow.store, "stream", 7, 2);
    cr_assert_str_eq(letters(&trace), "os");
    cr_assert(pthread_create(&loader, NULL, load_slowly, &slow) == 0);
    cr_assert(next_letter(&trace, PATIENCE) == 'l');
    cr_assert(pthread_create(&leaver, NULL, unref_it, slow.store) == 0);
    cr_expect(next_letter(&trace, 100) == '\0', "closed under a load");
    cr_assert(write(gate.out, "x", 1) == 1);
    pthread_join(loader, NULL);
    pthread_join(leaver, NULL);
    cr_expect(slow.status == MAKO_OK, "%s", mako_status_name(slow.status));
    cr_expect_str_eq(letters(&trace), "ec");
}

Test(lifetime, two_stores_of_one_plugin)
{
    struct trace ta = make_trace(), tb = make_trace();
    const char *path = install_plugin("good");
    mako_store *a = NULL, *b = NULL;
    struct mako_error err = {{0}};

    cr_assert(open_plugin(path, text("\"trace\": %d", ta.out), &a, &err) == MAKO_OK);
    cr_assert(open_plugin(path, text("\"trace\": %d", tb.out), &b, &err) == MAKO_OK);
    must_save(a, "stream", 7, 2);
    cr_expect(load(b, "stream", 9, NULL, &err) == MAKO_NOT_FOUND);
    mako_store_unref(a);
    cr_expect_str_eq(letters(&ta), "osc");
    must_save(b, "stream", 8, 2);
    cr_expect(load(b, "stream", 9, NULL, &err) == MAKO_OK, "%s", err.text);
    mako_store_unref(b);
    cr_expect_str_eq(letters(&tb), "olslc");
    cr_expect(constructed() == 1 && entered() == 1);
}

/* Somebody else closes handles that are not theirs: the code stays. */
Test(lifetime, dlclose_by_others)
{
    const char *path = install_plugin("good");
    mako_store *store = NULL;
    struct mako_error err = {{0}};
    void *handle;

    cr_assert(open_plugin(path, "", &store, &err) == MAKO_OK, "%s", err.text);
    handle = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    cr_assert(handle != NULL, "not mapped");
    for (int i = 0; i < 4; i++)
        (void)dlclose(handle);
    must_save(store, "stream", 7, 2);
    cr_expect(load(store, "stream", 9, NULL, &err) == MAKO_OK, "%s", err.text);
    mako_store_unref(store);
}

/* What a plugin exports is its own business. */
Test(lifetime, symbols_stay_local)
{
    const char *path = install_plugin("good");

    (void)described(NULL, path, "name");
    cr_expect(dlsym(RTLD_DEFAULT, "mako_store_plugin_entry") == NULL);
}

Test(lifetime, exit_with_an_open_store)
{
    const char *json = config_of(install_plugin("good"), "\"durability\": \"memory\"");
    const char *config = make_file(below("open.json"), json, strlen(json));
    const char *out = below("out");
    size_t len;
    int status = system(text("%s exit %s >%s 2>&1", PROBE, config, out));

    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x: %s",
              (unsigned)status, (const char *)read_file(out, &len));
    (void)read_file(out, &len);
    cr_expect(len == 0, "it said something");
}

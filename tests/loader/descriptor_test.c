/* tests/loader/descriptor_test.c - what a plugin says of itself, and is refused for; and
 * what is odd, but legal.  bad_plugin.c has the plugins. */
#include "fixture.h"

#include <string.h>

TestSuite(descriptor, .init = fixture_begin, .fini = fixture_end, .timeout = 60);
TestSuite(options, .init = fixture_begin, .fini = fixture_end, .timeout = 60);

/* The plugin with this fault is refused as broken; the text names its file and says each
 * of the fragments. */
#define BROKEN(suite, fault, ...)                        \
    Test(suite, fault)                                   \
    {                                                    \
        const char *path = install_plugin(#fault);       \
                                                         \
        REFUSED(path, MAKO_E_PLUGIN, path, __VA_ARGS__); \
    }

#define MIN_SIZE text("%zu", MAKO_STORE_PLUGIN_MIN_SIZE)
#define ROW_SIZE text("%zu", sizeof(struct mako_option))

BROKEN(descriptor, entry_missing, "does not export mako_store_plugin_entry")
BROKEN(descriptor, entry_null, "mako_store_plugin_entry returned NULL")
BROKEN(descriptor, abi_0, "built for store ABI 0, this core speaks 1")
BROKEN(descriptor, abi_2, "built for store ABI 2, this core speaks 1", "upgrade the core")
BROKEN(descriptor, size_0, "descriptor of 0 bytes", MIN_SIZE)
BROKEN(descriptor, size_below_min,
       text("descriptor of %zu bytes", MAKO_STORE_PLUGIN_MIN_SIZE - 1), MIN_SIZE)
BROKEN(descriptor, no_open, "required open is NULL")
BROKEN(descriptor, no_close, "required close is NULL")
BROKEN(descriptor, no_save, "required save is NULL")
BROKEN(descriptor, no_load, "required load is NULL")
BROKEN(descriptor, no_remove, "required remove is NULL")
BROKEN(descriptor, name_null, "name is NULL")
BROKEN(descriptor, name_empty, "name is ''")
BROKEN(descriptor, name_bad, "name is 'Bad name'")
BROKEN(descriptor, name_long, "name is 'abcdefghijklmnopqrstuvwxyz-123456'")
BROKEN(descriptor, name_other, "'someone-else'", "its file says 'name-other'")
BROKEN(descriptor, durability_range, "unknown durability 4, the highest is 3")
BROKEN(descriptor, threads_range, "unknown thread model 3, the highest is 2")

BROKEN(options, option_size_small,
       text("option rows of %zu bytes", sizeof(struct mako_option) - 8), ROW_SIZE)
BROKEN(options, option_size_zero, "option rows of 0 bytes", ROW_SIZE)
BROKEN(options, option_size_odd,
       text("option rows of %zu bytes", sizeof(struct mako_option) + 1), "multiple")
BROKEN(options, option_endless, "more than 256 options")
BROKEN(options, option_duplicate, "option 'trace' is declared twice")
BROKEN(options, option_name_empty, "bad name, ''")
BROKEN(options, option_name_bad, "bad name, 'Bad name'")
BROKEN(options, option_type_0, "option 'odd'", "unknown type 0")
BROKEN(options, option_type_99, "option 'odd'", "unknown type 99")
BROKEN(options, option_fallback_int, "option 'odd'", "fallback 'many'", "int")
BROKEN(options, option_fallback_bool, "option 'odd'", "fallback 'perhaps'", "bool")
BROKEN(options, option_fallback_size, "option 'odd'", "fallback '12 parsecs'", "size")
BROKEN(options, option_fallback_duration, "option 'odd'", "fallback 'soon'", "duration")
BROKEN(options, option_fallback_range, "option 'odd'", "fallback '11'")
BROKEN(options, option_fallback_choice, "option 'odd'", "fallback 'green'")
BROKEN(options, option_no_fallback, "option 'odd'", "no fallback", "REQUIRED")
BROKEN(options, option_min_over_max, "option 'odd'", "min 10 is above max 1")
BROKEN(options, option_required_fallback, "option 'odd'", "required and has a fallback")

/* ---- order ---------------------------------------------------------------------- */

/* Of another ABI nothing else can be judged, so that is what is said. */
Test(descriptor, abi_is_judged_first)
{
    const char *path = copy_plugin("abi_2", below("mako-store-renamed.so"));

    REFUSED(path, MAKO_E_PLUGIN, path, "ABI 2");
}

/* A refused plugin is not remembered as a good one. */
Test(descriptor, refused_again)
{
    const char *path = install_plugin("abi_2");

    for (int i = 0; i < 3; i++)
        REFUSED(path, MAKO_E_PLUGIN, path, "ABI 2");
    cr_expect(constructed() == 1, "mapped %d times", constructed());
}

/* ---- odd, but legal --------------------------------------------------------------- */

/* Saves and loads once. */
static mako_store *works(const char *fault)
{
    const struct mako_save save = {.struct_size = sizeof save,
                                   .seq = 7,
                                   .schema = 2,
                                   .state = "state",
                                   .state_len = 5};
    struct mako_error err = {{0}};
    mako_store *store = NULL;
    mako_snapshot *snapshot = NULL;
    size_t len = 0;
    int status = open_plugin(install_plugin(fault), "", &store, &err);

    cr_assert(status == MAKO_OK, "open: %s", err.text);
    status = mako_store_save(store, "stream", &save, &err);
    cr_assert(status == MAKO_OK, "save: %s", err.text);
    status = mako_store_load(store, "stream", NULL, &snapshot, NULL, &err);
    cr_assert(status == MAKO_OK, "load: %s", err.text);
    cr_expect(mako_snapshot_meta(snapshot).seq == 7);
    cr_expect(memcmp(mako_snapshot_state(snapshot, &len), "state", 5) == 0 && len == 5);
    mako_snapshot_unref(snapshot);
    return store;
}

static bool never(void *arg, struct mako_str stream, const struct mako_meta *meta,
                  uint64_t size)
{
    (void)arg, (void)stream, (void)meta, (void)size;
    return false;
}

/* The plugin works, and its scan, which lies beyond its size, is not called. */
static void works_without_scan(const char *fault)
{
    mako_store *store = works(fault);
    struct mako_error err = {{0}};
    int status = mako_store_scan(store, NULL, never, NULL, &err);

    cr_expect(status == MAKO_E_UNSUPPORTED, "%s: %s", mako_status_name(status), err.text);
    HAS(err.text, "scan");
    mako_store_unref(store);
}

Test(descriptor, good)
{
    mako_store_unref(works("good"));
}

Test(descriptor, size_min)
{
    works_without_scan("size_min");
}

/* Half a pointer is none. */
Test(descriptor, size_half_pointer)
{
    works_without_scan("size_half_pointer");
}

/* What is longer is cut, and runs over nothing beside it. */
Test(descriptor, size_future)
{
    mako_store *store = works("size_future");
    struct mako_info info = {.struct_size = sizeof info};

    mako_store_info(store, &info);
    cr_expect_str_eq(info.plugin_path, below("mako-store-size-future.so"));
    mako_store_unref(store);
}

Test(descriptor, features_unknown)
{
    mako_store_unref(works("features_unknown"));
}

Test(descriptor, texts_null)
{
    mako_store *store = works("texts_null");
    struct mako_info info = {.struct_size = sizeof info};

    mako_store_info(store, &info);
    cr_expect(info.plugin_version != NULL);
    mako_store_unref(store);
    (void)described(NULL, below("mako-store-texts-null.so"), "version");
}

Test(options, options_null)
{
    const char *path = install_plugin("options_null");
    mako_store *store = NULL;
    struct mako_error err = {{0}};

    cr_expect(open_plugin(path, "\"dir\": \"x\"", &store, &err) == MAKO_E_CONFIG);
    HAS(err.text, "options.dir", "takes none");
    cr_expect(open_plugin(path, "", &store, &err) == MAKO_OK, "%s", err.text);
    mako_store_unref(store);
}

/* Rows of a later header are longer; each begins where its own plugin says. */
Test(options, option_size_large)
{
    const char *path = install_plugin("option_size_large");
    struct trace trace = make_trace();
    mako_store *store = NULL;
    struct mako_error err = {{0}};

    cr_expect_str_eq(described(NULL, path, "option.trace.type"), "int");
    cr_expect_str_eq(described(NULL, path, "option.gate.type"), "int");
    cr_expect_str_eq(described(NULL, path, "option.odd.type"), "int");
    cr_assert(open_plugin(path, text("\"trace\": %d", trace.out), &store, &err) ==
                  MAKO_OK,
              "%s", err.text);
    cr_expect(next_letter(&trace, 0) == 'o', "the value did not arrive");
    mako_store_unref(store);
}

/* ---- what describe says ---------------------------------------------------------------
 */

Test(descriptor, described)
{
    const char *path = install_plugin("good");

    cr_expect_str_eq(described(NULL, path, "name"), "good");
    cr_expect_str_eq(described(NULL, path, "path"), path);
    cr_expect_str_eq(described(NULL, path, "version"), "1.0");
    cr_expect_str_eq(described(NULL, path, "summary"), "nothing is wrong with it");
    cr_expect_str_eq(described(NULL, path, "durability"), "memory");
    cr_expect_str_eq(described(NULL, path, "threads"), "store");
    cr_expect_str_eq(described(NULL, path, "option.trace.type"), "int");
}

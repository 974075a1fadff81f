/* The configuration file: each rule, with the words in which it is refused. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>
#include <mako/store_plugin.h>

TestSuite(config, .timeout = 30);

static int read_text(const char *json, struct mako_config **config,
                     struct mako_error *err)
{
    struct mako_source source = {
        .struct_size = sizeof source, .json = json, .json_len = strlen(json)};

    return mako_config_read(&source, config, err);
}

/* The store called name of a text that must be good. */
static struct mako_store_config *take(const char *json, const char *name,
                                      const char *const *overrides)
{
    struct mako_config *config;
    struct mako_store_config *store;
    struct mako_error err;

    cr_assert_eq(read_text(json, &config, &err), MAKO_OK, "%s", err.text);
    cr_assert_eq(mako_config_store(config, name, overrides, &store, &err), MAKO_OK, "%s",
                 err.text);
    mako_config_free(config);
    return store;
}

/* The file or its only store is refused in these words. */
static void refused(const char *json, const char *want)
{
    struct mako_config *config = NULL;
    struct mako_store_config *store = NULL;
    struct mako_error err = {""};
    int status = read_text(json, &config, &err);

    if (status == MAKO_OK)
        status = mako_config_store(config, NULL, NULL, &store, &err);
    cr_assert_eq(status, MAKO_E_CONFIG, "%s passed", json);
    cr_assert_str_eq(err.text, want);
    cr_assert_null(store, "the output was touched");
    mako_config_free(config);
}

/* One store "s" of plugin p with members in it. */
static void store_refused(const char *members, const char *want)
{
    char json[600], full[600];

    (void)snprintf(json, sizeof json, "{\"stores\": {\"s\": {\"plugin\": \"p\"%s%s}}}",
                   *members ? ", " : "", members);
    (void)snprintf(full, sizeof full, "(text): %s", want);
    refused(json, full);
}

Test(config, defaults)
{
    struct mako_store_config *s =
        take("{\"stores\": {\"orders\": {\"plugin\": \"file\"}}}", NULL, NULL);

    cr_assert_str_eq(s->source, "(text)");
    cr_assert_str_eq(s->name, "orders");
    cr_assert_str_eq(s->plugin, "file");
    cr_assert_eq(s->durability, MAKO_DURABLE_POWER);
    cr_assert_eq(s->snapshot_every, 100);
    cr_assert_eq(s->max_snapshot, 16u << 20);
    cr_assert_not(s->stale_replace);
    cr_assert_not(s->fail_on_load_failure);
    cr_assert_eq(s->replay_limit, 10000);
    cr_assert_eq(s->retry_after_ms, 1000);
    cr_assert(s->schema_min == 0 && s->schema_max == 0);
    cr_assert_eq(s->option_count, 0);
    cr_assert_null(s->plugin_dirs[0]);
    mako_store_config_free(s);
    mako_store_config_free(NULL);
    mako_config_free(NULL);
}

Test(config, everything_said)
{
    struct mako_store_config *s =
        take("{\"plugin_dirs\": [\"/opt/acme/mako\"], \"stores\": {\"orders\": {"
             "\"plugin\": \"/x/mako-store-y.so\", \"durability\": \"crash\","
             "\"snapshot_every\": 5, \"max_snapshot\": \"64KiB\","
             "\"stale_saves\": \"replace\", \"on_load_failure\": \"fail\","
             "\"replay_limit\": 0, \"retry_after\": \"2.5s\","
             "\"schema\": {\"min\": 3, \"max\": 5},"
             "\"options\": {\"dir\": \"/d\", \"n\": -7, \"on\": true, \"off\": false}}}}",
             "orders", NULL);

    cr_assert_str_eq(s->plugin, "/x/mako-store-y.so");
    cr_assert_str_eq(s->plugin_dirs[0], "/opt/acme/mako");
    cr_assert_null(s->plugin_dirs[1]);
    cr_assert_eq(s->durability, MAKO_DURABLE_CRASH);
    cr_assert_eq(s->snapshot_every, 5);
    cr_assert_eq(s->max_snapshot, 65536);
    cr_assert(s->stale_replace && s->fail_on_load_failure);
    cr_assert_eq(s->replay_limit, 0);
    cr_assert_eq(s->retry_after_ms, 2500);
    cr_assert(s->schema_min == 3 && s->schema_max == 5);
    cr_assert_eq(s->option_count, 4);
    cr_assert_str_eq(s->options[0].key, "dir");
    cr_assert_str_eq(s->options[0].text, "/d");
    cr_assert_eq(s->options[0].kind, MAKO_PAIR_STRING);
    cr_assert(s->options[1].kind == MAKO_PAIR_INT && s->options[1].num == -7);
    cr_assert(s->options[2].kind == MAKO_PAIR_BOOL && s->options[2].num == 1);
    cr_assert(s->options[3].kind == MAKO_PAIR_BOOL && s->options[3].num == 0);
    mako_store_config_free(s);
}

Test(config, syntax_names_file_line_and_column)
{
    refused("{\"stores\":\n {,}}", "(text):2:3: string or '}' expected near ','");
    refused("", "(text):1:0: '[' or '{' expected near end of file");
    refused("{\"stores\": {\"s\": {\"plugin\": \"p\"}}} x",
            "(text):1:36: end of file expected near 'x'");
    refused("{\"stores\": {\"a\": {\"plugin\": \"p\"},\n\"a\": {\"plugin\": \"q\"}}}",
            "(text):2:3: duplicate object key near '\"a\"'");
}

Test(config, the_whole)
{
    refused("[]", "(text): must be an object with 'stores' in it");
    refused("{}", "(text): 'stores' must be an object with at least one store");
    refused("{\"stores\": []}",
            "(text): 'stores' must be an object with at least one store");
    refused("{\"stores\": {\"_off\": {\"plugin\": \"p\"}}}",
            "(text): 'stores' must be an object with at least one store");
    refused("{\"store\": {}}", "(text): unknown key 'store' (did you mean 'stores'?)");
    refused("{\"stores\": {\"s\": 7}}", "(text): stores.s: must be an object");
    refused("{\"stores\": {\"s\": {}}}", "(text): stores.s: 'plugin' is required");
}

/* As the JSON Schema has it; also beside others. */
Test(config, a_store_without_a_name)
{
    static const char want[] = "(text): stores: the name of a store may not be empty";

    refused("{\"stores\": {\"\": {\"plugin\": \"p\"}}}", want);
    refused("{\"stores\": {\"default\": {\"plugin\": \"p\"}, \"\": 7}}", want);
}

Test(config, plugin_dirs)
{
    static const char *const bad[] = {"7", "\"/x\"", "[7]", "[\"\"]", "[\"/x\", null]"};

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char json[200];

        (void)snprintf(json, sizeof json,
                       "{\"plugin_dirs\": %s, \"stores\": {\"s\": {\"plugin\": "
                       "\"p\"}}}",
                       bad[i]);
        refused(json, "(text): plugin_dirs: must be a list of directories");
    }
}

Test(config, unknown_keys)
{
    store_refused("\"durabilty\": \"crash\"",
                  "stores.s: unknown key 'durabilty' (did you mean 'durability'?)");
    store_refused("\"snapshot-every\": 5",
                  "stores.s: unknown key 'snapshot-every' (did you mean "
                  "'snapshot_every'?)");
    store_refused("\"xyzzy\": 5", "stores.s: unknown key 'xyzzy'");
    store_refused("\"schema\": {\"min\": 1, \"max\": 2, \"mox\": 3}",
                  "stores.s.schema: unknown key 'mox' (did you mean 'max'?)");
}

Test(config, words)
{
    store_refused("\"durability\": \"powers\"",
                  "stores.s.durability: 'powers' is not one of none, memory, crash, "
                  "power (did you mean 'power'?)");
    store_refused("\"durability\": 3", "stores.s.durability: must be a non-empty string");
    store_refused("\"stale_saves\": \"drop\"",
                  "stores.s.stale_saves: 'drop' is not one of skip, replace");
    store_refused("\"on_load_failure\": \"\"",
                  "stores.s.on_load_failure: must be a non-empty string");
    store_refused("\"on_load_failure\": \"reply\"",
                  "stores.s.on_load_failure: 'reply' is not one of replay, fail (did "
                  "you mean 'replay'?)");
}

Test(config, numbers)
{
    store_refused("\"snapshot_every\": -1",
                  "stores.s.snapshot_every: must be a whole number, 0 or more");
    store_refused("\"snapshot_every\": 1.5",
                  "stores.s.snapshot_every: must be a whole number, 0 or more");
    store_refused("\"snapshot_every\": \"5\"",
                  "stores.s.snapshot_every: must be a whole number, 0 or more");
    store_refused("\"replay_limit\": true",
                  "stores.s.replay_limit: must be a whole number, 0 or more");
    store_refused("\"max_snapshot\": \"16 bananas\"",
                  "stores.s.max_snapshot: must be a size like 65536 or \"16MiB\"");
    store_refused("\"max_snapshot\": -1",
                  "stores.s.max_snapshot: must be a size like 65536 or \"16MiB\"");
    store_refused("\"max_snapshot\": \"5GiB\"",
                  "stores.s.max_snapshot: at most 4294967295 bytes");
    store_refused("\"retry_after\": \"soon\"",
                  "stores.s.retry_after: must be a duration like 1000 or \"1s\"");
    store_refused("\"retry_after\": false",
                  "stores.s.retry_after: must be a duration like 1000 or \"1s\"");
}

Test(config, schema)
{
    const char *range = "stores.s.schema: needs 1 <= min <= max <= 4294967295";

    store_refused("\"schema\": 3", "stores.s.schema: must be an object with min and max");
    store_refused("\"schema\": {\"min\": 3}", range);
    store_refused("\"schema\": {\"max\": 3}", range);
    store_refused("\"schema\": {\"min\": 5, \"max\": 4}", range);
    store_refused("\"schema\": {\"min\": 0, \"max\": 4}", range);
    store_refused("\"schema\": {\"min\": 1, \"max\": 4294967296}", range);
    store_refused("\"schema\": {\"min\": \"1\", \"max\": 4}",
                  "stores.s.schema.min: must be a whole number, 0 or more");
}

Test(config, option_values)
{
    const char *want =
        "stores.s.options.x: must be a string, a whole number, true or false";

    store_refused("\"options\": []", "stores.s.options: must be an object");
    store_refused("\"options\": {\"x\": null}", want);
    store_refused("\"options\": {\"x\": 1.5}", want);
    store_refused("\"options\": {\"x\": []}", want);
    store_refused("\"options\": {\"x\": {}}", want);
}

Test(config, plugin_is_a_string)
{
    refused("{\"stores\": {\"s\": {\"plugin\": 7}}}",
            "(text): stores.s.plugin: must be a non-empty string");
    refused("{\"stores\": {\"s\": {\"plugin\": \"\"}}}",
            "(text): stores.s.plugin: must be a non-empty string");
}

Test(config, comments_are_allowed_anywhere)
{
    struct mako_store_config *s =
        take("{\"$schema\": \"x\", \"_why\": 1, \"stores\": {\"_note\": \"n\", \"s\": {"
             "\"$schema\": 1, \"_c\": [], \"plugin\": \"p\", \"schema\": {\"_\": 1, "
             "\"min\": 1, \"max\": 1}, \"options\": {\"_o\": null, \"$schema\": 2}}}}",
             NULL, NULL);

    cr_assert_eq(s->option_count, 0);
    mako_store_config_free(s);
}

/* Brackets in strings are no levels, whatever stands around them. */
Test(config, depth)
{
    char json[400];
    int at = snprintf(json, sizeof json,
                      "{\"stores\": {\"s\": {\"plugin\": \"p\"}}, "
                      "\"_a\": \"\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\\\", "
                      "\"_b\": ");

    for (size_t depth = 31; depth <= 32; depth++) {
        memset(json + at, '[', depth);
        memset(json + at + depth, ']', depth);
        (void)snprintf(json + at + 2 * depth, 10, "}");
        if (depth == 31)
            mako_store_config_free(take(json, NULL, NULL));
        else
            refused(json, "(text): nested deeper than 32 levels");
    }
    refused("]{}", "(text):1:1: '[' or '{' expected near ']'");
}

/* What comes behind a whole configuration is looked at in another piece of 1 KiB. */
Test(config, depth_behind_the_end)
{
    char json[1100];

    memset(json, ' ', sizeof json);
    memcpy(json, "{}", 2);
    memset(json + 1024, '[', 33);
    json[1060] = '\0';
    refused(json, "(text): nested deeper than 32 levels");
}

Test(config, environment)
{
    struct mako_store_config *s;

    (void)setenv("MAKO_T1", "one", 1);
    (void)setenv("MAKO_T2", "$HOME ${MAKO_T1}", 1);
    s = take("{\"plugin_dirs\": [\"/${MAKO_T1}/x\"], \"stores\": {\"s\": {\"plugin\": "
             "\"${MAKO_T1}\", \"options\": {\"a\": \"x${MAKO_T1}y${MAKO_T1}\", \"b\": "
             "\"${MAKO_T2}\", \"c\": \"$$5 $${MAKO_T1}\", \"d\": \"\"}}}}",
             NULL, NULL);
    cr_assert_str_eq(s->plugin, "one");
    cr_assert_str_eq(s->plugin_dirs[0], "/one/x");
    cr_assert_str_eq(s->options[0].text, "xoneyone");
    cr_assert_str_eq(s->options[1].text, "$HOME ${MAKO_T1}", "values are not expanded");
    cr_assert_str_eq(s->options[2].text, "$5 ${MAKO_T1}");
    cr_assert_str_eq(s->options[3].text, "");
    mako_store_config_free(s);
}

Test(config, environment_errors)
{
    (void)unsetenv("MAKO_T3");
    store_refused("\"options\": {\"x\": \"${MAKO_T3}\"}",
                  "stores.s.options.x: the environment variable MAKO_T3 is not set");
    store_refused("\"options\": {\"x\": \"a$b\"}",
                  "stores.s.options.x: a lone '$': write '$$', or '${NAME}'");
    store_refused("\"options\": {\"x\": \"a$\"}",
                  "stores.s.options.x: a lone '$': write '$$', or '${NAME}'");
    store_refused("\"options\": {\"x\": \"${\"}",
                  "stores.s.options.x: '${' without a name and a '}'");
    store_refused("\"options\": {\"x\": \"${}\"}",
                  "stores.s.options.x: '${' without a name and a '}'");
    store_refused("\"durability\": \"${MAKO_T3}\"",
                  "stores.s.durability: the environment variable MAKO_T3 is not set");
    store_refused("\"max_snapshot\": \"${MAKO_T3}\"",
                  "stores.s.max_snapshot: the environment variable MAKO_T3 is not set");
    refused(
        "{\"plugin_dirs\": [\"${MAKO_T3}\"], \"stores\": {\"s\": {\"plugin\": \"p\"}}}",
        "(text): plugin_dirs: the environment variable MAKO_T3 is not set");
}

/* It would be the directory of the file itself. */
Test(config, a_plugin_directory_from_an_empty_variable)
{
    (void)setenv("MAKO_T4", "", 1);
    refused(
        "{\"plugin_dirs\": [\"${MAKO_T4}\"], \"stores\": {\"s\": {\"plugin\": \"p\"}}}",
        "(text): plugin_dirs: must be a list of directories");
}

/* A name longer than any that is used. */
Test(config, a_variable_of_a_long_name)
{
    char members[400], name[200];

    memset(name, 'A', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    (void)snprintf(members, sizeof members, "\"options\": {\"x\": \"${%s}\"}", name);
    store_refused(members, "stores.s.options.x: '${' without a name and a '}'");
}

/* The word that is near is looked for among the first of very many. */
Test(config, one_of_very_many)
{
    struct mako_store_config *store = NULL;
    struct mako_config *config;
    struct mako_error err;
    char json[4000] = "{\"stores\": {";

    for (int i = 0; i < 70; i++)
        (void)snprintf(json + strlen(json), sizeof json - strlen(json),
                       "%s\"store%d\": {\"plugin\": \"p\"}", i ? ", " : "", i);
    (void)snprintf(json + strlen(json), sizeof json - strlen(json), "}}");
    cr_assert_eq(read_text(json, &config, &err), MAKO_OK, "%s", err.text);
    cr_assert_eq(mako_config_store(config, "stone1", NULL, &store, &err), MAKO_E_CONFIG);
    cr_assert_str_eq(err.text, "(text): no store 'stone1' (did you mean 'store1'?)");
    cr_assert_eq(mako_config_store(config, "store69", NULL, &store, &err), MAKO_OK);
    mako_store_config_free(store);
    mako_config_free(config);
}

/* Relative paths in a text start in the current directory, which may be gone. */
Test(config, no_directory_to_start_from)
{
    char dir[] = "/tmp/mako-config.XXXXXX";
    struct mako_config *config = NULL;
    struct mako_error err = {""};

    cr_assert(mkdtemp(dir) && chdir(dir) == 0 && rmdir(dir) == 0);
    cr_assert_eq(read_text("{\"stores\": {}}", &config, &err), MAKO_E_CONFIG);
    cr_assert_str_eq(err.text, "(text): its directory: No such file or directory");
    cr_assert_null(config);
}

#define TWO "{\"stores\": {\"orders\": {\"plugin\": \"p\"}, \"%s\": {\"plugin\": \"q\"}}}"

Test(config, which_store)
{
    struct mako_config *config;
    struct mako_store_config *store = NULL;
    struct mako_error err;
    char json[200];

    (void)snprintf(json, sizeof json, TWO, "default");
    store = take(json, NULL, NULL);
    cr_assert_str_eq(store->name, "default");
    mako_store_config_free(store);
    store = take(json, "orders", NULL);
    cr_assert_str_eq(store->plugin, "p");
    mako_store_config_free(store);

    (void)snprintf(json, sizeof json, TWO, "_hidden");
    store = take(json, NULL, NULL);
    cr_assert_str_eq(store->name, "orders");
    mako_store_config_free(store);

    (void)snprintf(json, sizeof json, TWO, "other");
    refused(json, "(text): 2 stores and none called 'default': name one");
    cr_assert_eq(read_text(json, &config, &err), MAKO_OK);
    cr_assert_eq(mako_config_store(config, "order", NULL, &store, &err), MAKO_E_CONFIG);
    cr_assert_str_eq(err.text, "(text): no store 'order' (did you mean 'orders'?)");
    cr_assert_eq(mako_config_count(config), 2);
    cr_assert_str_eq(mako_config_name(config, 0), "orders");
    cr_assert_str_eq(mako_config_name(config, 1), "other");
    mako_config_free(config);
}

Test(config, overrides)
{
    const char *const words[] = {"dir=/b", "extra=a=b", "empty=", NULL};
    struct mako_store_config *s =
        take("{\"stores\": {\"s\": {\"plugin\": \"p\", \"options\": {\"dir\": \"/a\"}}}}",
             NULL, words);

    cr_assert_eq(s->option_count, 3);
    cr_assert_str_eq(s->options[0].key, "dir");
    cr_assert_str_eq(s->options[0].text, "/b");
    cr_assert_eq(s->options[0].kind, MAKO_PAIR_TEXT);
    cr_assert_str_eq(s->options[1].text, "a=b");
    cr_assert_str_eq(s->options[2].text, "");
    mako_store_config_free(s);
}

Test(config, bad_overrides)
{
    static const char *const bad[] = {"dir", "=x", ""};
    struct mako_config *config;
    struct mako_store_config *store = NULL;
    struct mako_error err;

    cr_assert_eq(read_text("{\"stores\": {\"s\": {\"plugin\": \"p\"}}}", &config, &err),
                 MAKO_OK);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const char *const words[] = {bad[i], NULL};
        char want[100];

        cr_assert_eq(mako_config_store(config, NULL, words, &store, &err), MAKO_E_CONFIG);
        (void)snprintf(want, sizeof want, "option override '%s': not KEY=VALUE", bad[i]);
        cr_assert_str_eq(err.text, want);
        cr_assert_null(store);
    }
    mako_config_free(config);
}

Test(config, path_or_text_not_both)
{
    struct mako_source none = {.struct_size = sizeof none}, both = none;
    struct mako_config *config = NULL;
    struct mako_error err;

    both.path = "x";
    both.json = "{}";
    both.json_len = 2;
    cr_assert_eq(mako_config_read(&none, &config, &err), MAKO_E_INVALID);
    cr_assert_eq(mako_config_read(&both, &config, &err), MAKO_E_INVALID);
    cr_assert_null(config);
}

/* A file's messages name the file; its relative paths start where it lies. */
Test(config, file)
{
    char dir[] = "/tmp/mako-config.XXXXXX", path[64], want[200];
    struct mako_source source = {.struct_size = sizeof source, .path = path};
    struct mako_config *config;
    struct mako_error err;
    FILE *file;

    cr_assert(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/c.json", dir);
    cr_assert_eq(mako_config_read(&source, &config, &err), MAKO_E_CONFIG);
    (void)snprintf(want, sizeof want, "%s: No such file or directory", path);
    cr_assert_str_eq(err.text, want);
    source.path = dir;
    cr_assert_eq(mako_config_read(&source, &config, &err), MAKO_E_CONFIG);
    (void)snprintf(want, sizeof want, "%s: Is a directory", dir);
    cr_assert_str_eq(err.text, want);
    source.path = path;

    file = fopen(path, "w");
    cr_assert(file &&
              fputs("{\"plugin_dirs\": [\"sub\"], \"stores\": {\"s\": {\"plugin\":"
                    " \"p\", \"durability\": \"x\"}}}",
                    file) >= 0);
    cr_assert_eq(fclose(file), 0);
    cr_assert_eq(mako_config_read(&source, &config, &err), MAKO_OK, "%s", err.text);
    (void)snprintf(want, sizeof want, "%s/sub", dir);
    cr_assert_str_eq(mako_config_dirs(config)[0], want);
    struct mako_store_config *store = NULL;
    cr_assert_eq(mako_config_store(config, NULL, NULL, &store, &err), MAKO_E_CONFIG);
    (void)snprintf(want, sizeof want, "%s: stores.s.durability: 'x' is not one of", path);
    cr_assert_eq(strncmp(err.text, want, strlen(want)), 0, "%s", err.text);
    mako_config_free(config);
    (void)unlink(path);
    (void)rmdir(dir);
}

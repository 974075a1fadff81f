/* A plugin's option table: conversion of what a file says, what is refused and in which
 * words, and the check of the table itself. */
#include "options.h"

#include <string.h>

#include <criterion/criterion.h>

TestSuite(options, .timeout = 30);

enum {
    DIR,
    MODE,
    SYNC,
    LEVEL,
    CACHE,
    WAIT,
    PASSWORD,
    PIN,
    LABEL,
    ROWS
};

static const struct mako_option table[] = {
    [DIR] = {.name = "dir",
             .help = "where",
             .type = MAKO_OPT_PATH,
             .flags = MAKO_OPT_REQUIRED},
    [MODE] = {.name = "mode",
              .fallback = "single",
              .choices = "single|sentinel|cluster",
              .type = MAKO_OPT_STRING},
    [SYNC] = {.name = "sync", .fallback = "true", .type = MAKO_OPT_BOOL},
    [LEVEL] =
        {.name = "level", .fallback = "3", .type = MAKO_OPT_INT, .min = -5, .max = 9},
    [CACHE] = {.name = "cache",
               .fallback = "64KiB",
               .type = MAKO_OPT_SIZE,
               .min = 1024,
               .max = 1 << 20},
    [WAIT] = {.name = "wait", .fallback = "1.5s", .type = MAKO_OPT_DURATION},
    [PASSWORD] = {.name = "password",
                  .choices = "hunter2|swordfish",
                  .type = MAKO_OPT_STRING,
                  .flags = MAKO_OPT_SECRET},
    [PIN] = {.name = "pin",
             .fallback = "1000",
             .type = MAKO_OPT_INT,
             .flags = MAKO_OPT_SECRET,
             .min = 1000,
             .max = 9999},
    [LABEL] = {.name = "label", .type = MAKO_OPT_STRING},
    [ROWS] = {.name = NULL},
};

/* Pairs as tests write them; the core does not change them. */
static struct mako_pair word(char *key, char *text)
{
    return (struct mako_pair){.key = key, .text = text, .kind = MAKO_PAIR_STRING};
}

static struct mako_pair override(char *key, char *text)
{
    return (struct mako_pair){.key = key, .text = text, .kind = MAKO_PAIR_TEXT};
}

static struct mako_pair number(char *key, int64_t num)
{
    return (struct mako_pair){.key = key, .num = num, .kind = MAKO_PAIR_INT};
}

static struct mako_pair truth(char *key, bool value)
{
    return (struct mako_pair){.key = key, .num = value, .kind = MAKO_PAIR_BOOL};
}

static char dir_key[] = "dir", dir_text[] = "data";

/* Convert pair on top of the required one. */
static int convert(struct mako_pair pair, struct mako_options *options,
                   struct mako_error *err)
{
    struct mako_pair pairs[] = {word(dir_key, dir_text), pair};

    return mako_options_convert(table, ROWS, pairs, 2, "/etc/mako", options, err);
}

static void expect_num(struct mako_pair pair, int row, int64_t want)
{
    struct mako_options options;
    struct mako_error err;

    cr_assert_eq(convert(pair, &options, &err), MAKO_OK, "%s", err.text);
    cr_assert_eq(options.values[row].num, want, "%s: %lld", pair.key,
                 (long long)options.values[row].num);
    mako_options_free(&options);
}

static void expect_text(struct mako_pair pair, int row, const char *want)
{
    struct mako_options options;
    struct mako_error err;

    cr_assert_eq(convert(pair, &options, &err), MAKO_OK, "%s", err.text);
    cr_assert_str_eq(options.values[row].str, want);
    mako_options_free(&options);
}

static void expect_refused(struct mako_pair pair, const char *want)
{
    struct mako_options options = {.count = 4711};
    struct mako_error err = {""};

    cr_assert_eq(convert(pair, &options, &err), MAKO_E_CONFIG, "%s passed", pair.key);
    cr_assert_str_eq(err.text, want);
    cr_assert_eq(options.count, 4711, "the output was touched");
}

#define KEY(name) ((char[]){name})

Test(options, fallbacks)
{
    struct mako_pair pairs[] = {word(dir_key, dir_text)};
    struct mako_options o;
    struct mako_error err;

    cr_assert_eq(mako_options_convert(table, ROWS, pairs, 1, "/etc/mako", &o, &err),
                 MAKO_OK, "%s", err.text);
    cr_assert_eq(o.count, ROWS);
    cr_assert_str_eq(o.values[DIR].str, "/etc/mako/data");
    cr_assert_str_eq(o.values[MODE].str, "single");
    cr_assert_eq(o.values[SYNC].num, 1);
    cr_assert_eq(o.values[LEVEL].num, 3);
    cr_assert_eq(o.values[CACHE].num, 65536);
    cr_assert_eq(o.values[WAIT].num, 1500);
    cr_assert_null(o.values[PASSWORD].str);
    cr_assert_null(o.values[LABEL].str);
    mako_options_free(&o);
}

Test(options, conversions)
{
    expect_num(truth(KEY("sync"), false), SYNC, 0);
    expect_num(truth(KEY("sync"), true), SYNC, 1);
    expect_num(number(KEY("level"), -5), LEVEL, -5);
    expect_num(number(KEY("level"), 9), LEVEL, 9);
    expect_num(number(KEY("cache"), 4096), CACHE, 4096);
    expect_num(word(KEY("cache"), KEY("4KiB")), CACHE, 4096);
    expect_num(word(KEY("cache"), KEY("4096")), CACHE, 4096);
    expect_num(number(KEY("wait"), 250), WAIT, 250);
    expect_num(word(KEY("wait"), KEY("2 min")), WAIT, 120000);
    expect_text(word(KEY("mode"), KEY("cluster")), MODE, "cluster");
    expect_text(word(KEY("label"), KEY("")), LABEL, "");
    expect_text(word(KEY("label"), KEY("7")), LABEL, "7");
}

Test(options, paths)
{
    expect_text(word(dir_key, KEY("../x")), DIR, "/etc/mako/../x");
    expect_text(word(dir_key, KEY("/var/x")), DIR, "/var/x");
    expect_refused(word(dir_key, KEY("")), "options.dir: must be a path");
}

/* An override is text: it is read as whatever the table wants. */
Test(options, overrides)
{
    expect_num(override(KEY("sync"), KEY("false")), SYNC, 0);
    expect_num(override(KEY("level"), KEY("-2")), LEVEL, -2);
    expect_num(override(KEY("cache"), KEY("2KiB")), CACHE, 2048);
    expect_num(override(KEY("wait"), KEY("3s")), WAIT, 3000);
    expect_text(override(dir_key, KEY("other")), DIR, "/etc/mako/other");
    expect_refused(override(KEY("sync"), KEY("yes")),
                   "options.sync: must be true or false");
    expect_refused(override(KEY("level"), KEY("2x")),
                   "options.level: must be a whole number");
    expect_refused(override(KEY("level"), KEY("")),
                   "options.level: must be a whole number");
    expect_refused(override(KEY("level"), KEY("99999999999999999999")),
                   "options.level: must be a whole number");
}

Test(options, wrong_types)
{
    const char *size = "options.cache: must be a size like 65536 or \"64KiB\"";
    const char *wait = "options.wait: must be a duration like 1500 or \"1.5s\"";

    expect_refused(number(KEY("sync"), 1), "options.sync: must be true or false");
    expect_refused(word(KEY("sync"), KEY("true")), "options.sync: must be true or false");
    expect_refused(word(KEY("level"), KEY("3")), "options.level: must be a whole number");
    expect_refused(truth(KEY("level"), true), "options.level: must be a whole number");
    expect_refused(word(KEY("cache"), KEY("64 parsecs")), size);
    expect_refused(number(KEY("cache"), -1), size);
    expect_refused(truth(KEY("cache"), true), size);
    expect_refused(word(KEY("wait"), KEY("64KiB")), wait);
    expect_refused(number(KEY("wait"), -1), wait);
    expect_refused(number(KEY("mode"), 1), "options.mode: must be a string");
    expect_refused(truth(dir_key, true), "options.dir: must be a path");
}

Test(options, ranges)
{
    expect_refused(number(KEY("level"), 10), "options.level: 10 is not between -5 and 9");
    expect_refused(number(KEY("level"), -6), "options.level: -6 is not between -5 and 9");
    expect_refused(number(KEY("cache"), 1023),
                   "options.cache: 1023 is not between 1024 and 1048576");
    expect_refused(word(KEY("cache"), KEY("2MiB")),
                   "options.cache: 2097152 is not between 1024 and 1048576");
}

Test(options, choices)
{
    expect_refused(word(KEY("mode"), KEY("double")),
                   "options.mode: 'double' is not one of single|sentinel|cluster");
    expect_refused(word(KEY("mode"), KEY("sing")),
                   "options.mode: 'sing' is not one of single|sentinel|cluster");
    expect_refused(word(KEY("mode"), KEY("single|sentinel")),
                   "options.mode: 'single|sentinel' is not one of "
                   "single|sentinel|cluster");
    expect_refused(word(KEY("mode"), KEY("")),
                   "options.mode: '' is not one of single|sentinel|cluster");
}

/* Neither words nor numbers of a secret stand in a message. */
Test(options, secrets_stay_out_of_messages)
{
    struct mako_options options;
    struct mako_error err = {""};

    cr_assert_eq(convert(word(KEY("password"), KEY("letmein")), &options, &err),
                 MAKO_E_CONFIG);
    cr_assert_null(strstr(err.text, "letmein"), "%s", err.text);
    cr_assert_eq(convert(number(KEY("pin"), 77123), &options, &err), MAKO_E_CONFIG);
    cr_assert_null(strstr(err.text, "77123"), "%s", err.text);
    cr_assert_eq(convert(word(KEY("pin"), KEY("77123")), &options, &err), MAKO_E_CONFIG);
    cr_assert_null(strstr(err.text, "77123"), "%s", err.text);
}

Test(options, unknown_keys_name_the_nearest)
{
    struct mako_pair pair = word(KEY("dir"), KEY("x"));
    struct mako_options options;
    struct mako_error err;

    expect_refused(word(KEY("modes"), KEY("single")),
                   "options.modes: unknown option (did you mean 'mode'?)");
    expect_refused(word(KEY("xyzzy"), KEY("1")), "options.xyzzy: unknown option");
    cr_assert_eq(mako_options_convert(NULL, 0, &pair, 1, "/", &options, &err),
                 MAKO_E_CONFIG);
    cr_assert_str_eq(err.text, "options.dir: unknown; this plugin takes none");
}

Test(options, required)
{
    struct mako_options options;
    struct mako_error err;

    cr_assert_eq(mako_options_convert(table, ROWS, NULL, 0, "/", &options, &err),
                 MAKO_E_CONFIG);
    cr_assert_str_eq(err.text, "options.dir: required (where)");
}

Test(options, no_table_no_pairs)
{
    struct mako_options options;
    struct mako_error err;

    cr_assert_eq(mako_options_convert(NULL, 0, NULL, 0, "/", &options, &err), MAKO_OK);
    cr_assert_eq(options.count, 0);
    mako_options_free(&options);
    mako_options_free(&options);
}

static void expect_shown(int row, union mako_value value, const char *want)
{
    char out[64];

    cr_assert_str_eq(mako_option_show(&table[row], &value, out, sizeof out), want);
}

Test(options, show)
{
    expect_shown(DIR, (union mako_value){.str = "/x"}, "/x");
    expect_shown(LABEL, (union mako_value){.str = NULL}, "");
    expect_shown(SYNC, (union mako_value){.num = 1}, "true");
    expect_shown(SYNC, (union mako_value){.num = 0}, "false");
    expect_shown(LEVEL, (union mako_value){.num = -5}, "-5");
    expect_shown(CACHE, (union mako_value){.num = 65536}, "64KiB");
    expect_shown(WAIT, (union mako_value){.num = 1500}, "1500ms");
    expect_shown(PASSWORD, (union mako_value){.str = "swordfish"}, "(hidden)");
    expect_shown(PIN, (union mako_value){.num = 1234}, "(hidden)");
}

Test(options, type_names)
{
    cr_assert_str_eq(mako_option_type_name(MAKO_OPT_STRING), "string");
    cr_assert_str_eq(mako_option_type_name(MAKO_OPT_BOOL), "bool");
    cr_assert_str_eq(mako_option_type_name(MAKO_OPT_INT), "int");
    cr_assert_str_eq(mako_option_type_name(MAKO_OPT_SIZE), "size");
    cr_assert_str_eq(mako_option_type_name(MAKO_OPT_DURATION), "duration");
    cr_assert_str_eq(mako_option_type_name(MAKO_OPT_PATH), "path");
    cr_assert_null(mako_option_type_name(0));
    cr_assert_null(mako_option_type_name(7));
}

Test(options, a_good_table)
{
    struct mako_error err;

    cr_assert_eq(mako_options_check(table, ROWS, &err), MAKO_OK, "%s", err.text);
    cr_assert_eq(mako_options_check(NULL, 0, &err), MAKO_OK);
}

static void expect_bad(struct mako_option row, const char *want)
{
    struct mako_option rows[] = {table[LEVEL], row};
    struct mako_error err = {""};

    cr_assert_eq(mako_options_check(rows, 2, &err), MAKO_E_PLUGIN, "%s passed", want);
    cr_assert_str_eq(err.text, want);
}

Test(options, a_bad_name)
{
    expect_bad((struct mako_option){.name = "", .type = MAKO_OPT_STRING},
               "option 1 has a bad name, ''");
    expect_bad((struct mako_option){.name = "a b", .type = MAKO_OPT_STRING},
               "option 1 has a bad name, 'a b'");
    expect_bad((struct mako_option){.name = "Dir", .type = MAKO_OPT_STRING},
               "option 1 has a bad name, 'Dir'");
    expect_bad((struct mako_option){.name = "level", .type = MAKO_OPT_STRING},
               "option 'level' is declared twice");
}

Test(options, a_bad_type_or_range)
{
    expect_bad((struct mako_option){.name = "x", .type = 99},
               "option 'x' has the unknown type 99");
    expect_bad((struct mako_option){.name = "x"}, "option 'x' has the unknown type 0");
    expect_bad(
        (struct mako_option){
            .name = "x", .type = MAKO_OPT_INT, .fallback = "1", .min = 5, .max = 1},
        "option 'x': min 5 is above max 1");
}

Test(options, a_bad_fallback)
{
    expect_bad((struct mako_option){.name = "x", .type = MAKO_OPT_INT},
               "option 'x' is a number without REQUIRED and has no fallback");
    expect_bad((struct mako_option){.name = "x", .type = MAKO_OPT_BOOL},
               "option 'x' is a number without REQUIRED and has no fallback");
    expect_bad((struct mako_option){.name = "x",
                                    .type = MAKO_OPT_STRING,
                                    .flags = MAKO_OPT_REQUIRED,
                                    .fallback = "y"},
               "option 'x' is required and has a fallback");
    expect_bad((struct mako_option){.name = "x", .type = MAKO_OPT_INT, .fallback = "y"},
               "option 'x': its fallback 'y' is no int");
    expect_bad(
        (struct mako_option){
            .name = "x", .type = MAKO_OPT_SIZE, .fallback = "2KiB", .max = 1024},
        "option 'x': its fallback '2KiB' is no size");
    expect_bad(
        (struct mako_option){
            .name = "x", .type = MAKO_OPT_STRING, .choices = "a|b", .fallback = "c"},
        "option 'x': its fallback 'c' is no string");
}

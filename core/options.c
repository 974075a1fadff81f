/* options.c - a plugin's declared options: from words in a file to checked values. */
#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "units.h"

#define OPTIONS_MAX 256u

const char *mako_option_type_name(uint32_t type)
{
    static const char *const names[] = {NULL,   "string",   "bool", "int",
                                        "size", "duration", "path"};

    return type < sizeof names / sizeof names[0] ? names[type] : NULL;
}

static bool is_text(uint32_t type)
{
    return type == MAKO_OPT_STRING || type == MAKO_OPT_PATH;
}

/* ---- numbers ------------------------------------------------------------------ */

static bool parse_int(const char *text, int64_t *out)
{
    char *end;
    long long v;

    if (*text != '-' && !isdigit((unsigned char)*text))
        return false;
    errno = 0;
    v = strtoll(text, &end, 10);
    if (errno != 0 || *end != '\0')
        return false;
    *out = v;
    return true;
}

static bool parse_bool(const char *text, int64_t *out)
{
    if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
        return false;
    *out = *text == 't';
    return true;
}

/* A number of the row's type from text, as a file's string, an override or a fallback
 * gives it. */
static bool number_from_text(const struct mako_option *row, const char *text,
                             int64_t *out)
{
    uint64_t v = 0;
    bool ok = false;

    if (row->type == MAKO_OPT_BOOL)
        return parse_bool(text, out);
    if (row->type == MAKO_OPT_INT)
        return parse_int(text, out);
    if (row->type == MAKO_OPT_SIZE)
        ok = mako_parse_size(text, &v);
    else if (row->type == MAKO_OPT_DURATION)
        ok = mako_parse_duration(text, &v);
    if (ok)
        *out = (int64_t)v;
    return ok;
}

/* ---- one value ---------------------------------------------------------------- */

static const char *wanted(uint32_t type)
{
    switch (type) {
    case MAKO_OPT_BOOL:
        return "true or false";
    case MAKO_OPT_INT:
        return "a whole number";
    case MAKO_OPT_SIZE:
        return "a size like 65536 or \"64KiB\"";
    case MAKO_OPT_DURATION:
        return "a duration like 1500 or \"1.5s\"";
    case MAKO_OPT_PATH:
        return "a path";
    default:
        return "a string";
    }
}

static int wrong_type(const struct mako_option *row, struct mako_error *err)
{
    return mako_fail(err, MAKO_E_CONFIG, "options.%s: must be %s", row->name,
                     wanted(row->type));
}

static int check_range(const struct mako_option *row, int64_t num, struct mako_error *err)
{
    if (row->type == MAKO_OPT_BOOL || row->min == row->max ||
        (num >= row->min && num <= row->max))
        return MAKO_OK;
    if (row->flags & MAKO_OPT_SECRET)
        return mako_fail(err, MAKO_E_CONFIG,
                         "options.%s: not between %" PRId64 " and %" PRId64, row->name,
                         row->min, row->max);
    return mako_fail(err, MAKO_E_CONFIG,
                     "options.%s: %" PRId64 " is not between %" PRId64 " and %" PRId64,
                     row->name, num, row->min, row->max);
}

static bool is_choice(const char *choices, const char *text)
{
    size_t len = strlen(text);

    if (strchr(text, '|'))
        return false;
    for (const char *p = choices; p; p = strchr(p, '|')) {
        if (*p == '|')
            p++;
        if (strncmp(p, text, len) == 0 && (p[len] == '|' || p[len] == '\0'))
            return true;
    }
    return false;
}

static int check_choice(const struct mako_option *row, const char *text,
                        struct mako_error *err)
{
    bool secret = row->flags & MAKO_OPT_SECRET;

    if (!row->choices || is_choice(row->choices, text))
        return MAKO_OK;
    return mako_fail(err, MAKO_E_CONFIG, "options.%s: '%s' is not one of %s", row->name,
                     secret ? "(hidden)" : text, row->choices);
}

static int set_text(const struct mako_option *row, const char *text, const char *dir,
                    struct mako_options *options, size_t at, struct mako_error *err)
{
    char *copy = NULL;
    int status = check_choice(row, text, err);

    if (status != MAKO_OK)
        return status;
    if (row->type == MAKO_OPT_PATH && *text == '\0')
        return wrong_type(row, err);
    if (row->type == MAKO_OPT_PATH && *text != '/') {
        if (asprintf(&copy, "%s/%s", dir, text) < 0)
            copy = NULL;
    } else {
        copy = strdup(text);
    }
    if (!copy)
        return mako_fail(err, MAKO_E_NOMEM, "options.%s: no memory", row->name);
    mako_wipe_free(options->strings[at]);
    options->strings[at] = copy;
    options->values[at].str = copy;
    return MAKO_OK;
}

static int set_number(const struct mako_option *row, int64_t num,
                      struct mako_options *options, size_t at, struct mako_error *err)
{
    int status = check_range(row, num, err);

    if (status == MAKO_OK)
        options->values[at].num = num;
    return status;
}

static int set_from_text(const struct mako_option *row, const char *text, const char *dir,
                         struct mako_options *options, size_t at, struct mako_error *err)
{
    int64_t num;

    if (is_text(row->type))
        return set_text(row, text, dir, options, at, err);
    if (!number_from_text(row, text, &num))
        return wrong_type(row, err);
    return set_number(row, num, options, at, err);
}

/* A JSON value must be of the JSON type that the row's type is written in. */
static int set_pair(const struct mako_option *row, const struct mako_pair *pair,
                    const char *dir, struct mako_options *options, size_t at,
                    struct mako_error *err)
{
    bool number = row->type == MAKO_OPT_INT || row->type == MAKO_OPT_SIZE ||
                  row->type == MAKO_OPT_DURATION;

    switch (pair->kind) {
    case MAKO_PAIR_INT:
        if (!number || (row->type != MAKO_OPT_INT && pair->num < 0))
            return wrong_type(row, err);
        return set_number(row, pair->num, options, at, err);
    case MAKO_PAIR_BOOL:
        if (row->type != MAKO_OPT_BOOL)
            return wrong_type(row, err);
        return set_number(row, pair->num, options, at, err);
    case MAKO_PAIR_STRING:
        if (row->type == MAKO_OPT_BOOL || row->type == MAKO_OPT_INT)
            return wrong_type(row, err);
        return set_from_text(row, pair->text, dir, options, at, err);
    case MAKO_PAIR_TEXT:
    default:
        return set_from_text(row, pair->text, dir, options, at, err);
    }
}

/* ---- the table ---------------------------------------------------------------- */

static int unknown_key(const struct mako_option *table, size_t count, const char *key,
                       struct mako_error *err)
{
    const char *names[OPTIONS_MAX] = {NULL};
    char near[80];

    if (count == 0)
        return mako_fail(err, MAKO_E_CONFIG,
                         "options.%s: unknown; this plugin takes none", key);
    for (size_t i = 0; i < count; i++)
        names[i] = table[i].name;
    return mako_fail(err, MAKO_E_CONFIG, "options.%s: unknown option%s", key,
                     mako_nearest(key, names, count, near, sizeof near));
}

static int apply_pairs(const struct mako_option *table, size_t count,
                       const struct mako_pair *pairs, size_t pair_count, const char *dir,
                       struct mako_options *options, bool *given, struct mako_error *err)
{
    for (size_t i = 0; i < pair_count; i++) {
        size_t at = 0;
        int status;

        while (at < count && strcmp(table[at].name, pairs[i].key) != 0)
            at++;
        if (at == count)
            return unknown_key(table, count, pairs[i].key, err);
        status = set_pair(&table[at], &pairs[i], dir, options, at, err);
        if (status != MAKO_OK)
            return status;
        given[at] = true;
    }
    return MAKO_OK;
}

static int apply_fallbacks(const struct mako_option *table, size_t count, const char *dir,
                           struct mako_options *options, const bool *given,
                           struct mako_error *err)
{
    for (size_t i = 0; i < count; i++) {
        int status;

        if (given[i])
            continue;
        if (table[i].flags & MAKO_OPT_REQUIRED)
            return mako_fail(err, MAKO_E_CONFIG, "options.%s: required (%s)",
                             table[i].name, table[i].help ? table[i].help : "no help");
        if (!table[i].fallback)
            continue;
        status = set_from_text(&table[i], table[i].fallback, dir, options, i, err);
        if (status != MAKO_OK)
            return status;
    }
    return MAKO_OK;
}

int mako_options_convert(const struct mako_option *table, size_t count,
                         const struct mako_pair *pairs, size_t pair_count,
                         const char *dir, struct mako_options *options,
                         struct mako_error *err)
{
    struct mako_options made = {.count = count};
    bool given[OPTIONS_MAX] = {false};
    int status;

    made.values = calloc(count + 1, sizeof *made.values);
    made.strings = calloc(count + 1, sizeof *made.strings);
    if (!made.values || !made.strings) {
        mako_options_free(&made);
        return mako_fail(err, MAKO_E_NOMEM, "options: no memory");
    }

    status = apply_pairs(table, count, pairs, pair_count, dir, &made, given, err);
    if (status == MAKO_OK)
        status = apply_fallbacks(table, count, dir, &made, given, err);
    if (status != MAKO_OK) {
        mako_options_free(&made);
        return status;
    }
    *options = made;
    return MAKO_OK;
}

void mako_options_free(struct mako_options *options)
{
    for (size_t i = 0; options->strings && i < options->count; i++)
        mako_wipe_free(options->strings[i]);
    free(options->strings);
    free(options->values);
    *options = (struct mako_options){0};
}

static bool good_name(const char *name)
{
    size_t len = strlen(name);

    return len > 0 && len <= 40 && islower((unsigned char)name[0]) &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == len;
}

static int check_fallback(const struct mako_option *row, struct mako_error *err)
{
    struct mako_error why;
    int64_t num;

    if ((row->flags & MAKO_OPT_REQUIRED) && row->fallback)
        return mako_fail(err, MAKO_E_PLUGIN, "option '%s' is required and has a fallback",
                         row->name);
    if (!row->fallback) {
        if (is_text(row->type) || (row->flags & MAKO_OPT_REQUIRED))
            return MAKO_OK;
        return mako_fail(err, MAKO_E_PLUGIN,
                         "option '%s' is a number without REQUIRED and has no fallback",
                         row->name);
    }
    if (is_text(row->type) ? check_choice(row, row->fallback, &why) == MAKO_OK
                           : number_from_text(row, row->fallback, &num) &&
                                 check_range(row, num, &why) == MAKO_OK)
        return MAKO_OK;
    return mako_fail(err, MAKO_E_PLUGIN, "option '%s': its fallback '%s' is no %s",
                     row->name, row->fallback, mako_option_type_name(row->type));
}

static int check_row(const struct mako_option *table, size_t at, struct mako_error *err)
{
    const struct mako_option *row = &table[at];

    if (!good_name(row->name))
        return mako_fail(err, MAKO_E_PLUGIN, "option %zu has a bad name, '%.40s'", at,
                         row->name);
    for (size_t i = 0; i < at; i++)
        if (strcmp(table[i].name, row->name) == 0)
            return mako_fail(err, MAKO_E_PLUGIN, "option '%s' is declared twice",
                             row->name);
    if (!mako_option_type_name(row->type))
        return mako_fail(err, MAKO_E_PLUGIN, "option '%s' has the unknown type %u",
                         row->name, (unsigned)row->type);
    if (row->min > row->max)
        return mako_fail(err, MAKO_E_PLUGIN,
                         "option '%s': min %" PRId64 " is above max %" PRId64, row->name,
                         row->min, row->max);
    return check_fallback(row, err);
}

int mako_options_check(const struct mako_option *table, size_t count,
                       struct mako_error *err)
{
    for (size_t i = 0; i < count; i++) {
        int status = check_row(table, i, err);

        if (status != MAKO_OK)
            return status;
    }
    return MAKO_OK;
}

const char *mako_option_show(const struct mako_option *row, const union mako_value *value,
                             char *out, size_t room)
{
    if (row->flags & MAKO_OPT_SECRET)
        (void)snprintf(out, room, "(hidden)");
    else if (is_text(row->type))
        (void)snprintf(out, room, "%s", value->str ? value->str : "");
    else if (row->type == MAKO_OPT_BOOL)
        (void)snprintf(out, room, "%s", value->num ? "true" : "false");
    else if (row->type == MAKO_OPT_SIZE)
        mako_show_size((uint64_t)value->num, out, room);
    else if (row->type == MAKO_OPT_DURATION)
        mako_show_duration((uint64_t)value->num, out, room);
    else
        (void)snprintf(out, room, "%" PRId64, value->num);
    return out;
}

/* tests/fuzz/options.c - plugin options: a table of any content is found good or refused,
 * any words are converted or refused, what is converted is in range, and what is shown
 * reads back.  Numbers with units besides. */
#include "fuzz.h"

#include "options.h"
#include "units.h"

enum {
    ROWS_MAX = 6,
    PAIRS_MAX = 8
};

static const struct mako_option every_type[] = {
    {.name = "text", .help = "h", .type = MAKO_OPT_STRING},
    {.name = "word",
     .help = "h",
     .fallback = "b",
     .choices = "a|b|cd",
     .type = MAKO_OPT_STRING},
    {.name = "secret", .help = "h", .type = MAKO_OPT_STRING, .flags = MAKO_OPT_SECRET},
    {.name = "yes", .help = "h", .fallback = "true", .type = MAKO_OPT_BOOL},
    {.name = "count",
     .help = "h",
     .fallback = "7",
     .type = MAKO_OPT_INT,
     .min = -5,
     .max = 99},
    {.name = "size",
     .help = "h",
     .fallback = "64KiB",
     .type = MAKO_OPT_SIZE,
     .max = INT64_MAX},
    {.name = "wait", .help = "h", .fallback = "1s", .type = MAKO_OPT_DURATION},
    {.name = "dir", .help = "h", .type = MAKO_OPT_PATH, .flags = MAKO_OPT_REQUIRED},
};

struct words {
    struct mako_pair pairs[PAIRS_MAX];
    size_t count;
};

/* Keys mostly of the table, so that values are looked at. */
static void take_pairs(struct feed *feed, const struct mako_option *table, size_t rows,
                       struct words *words)
{
    words->count = feed_byte(feed) % (PAIRS_MAX + 1);
    for (size_t i = 0; i < words->count; i++) {
        struct mako_pair *pair = &words->pairs[i];
        unsigned char which = feed_byte(feed);

        pair->kind = (enum mako_pair_kind)(feed_byte(feed) % 4);
        pair->key = which < 200 && rows > 0 ? strdup(table[which % rows].name)
                                            : feed_text(feed, 16);
        pair->text = NULL;
        pair->num = 0;
        if (pair->kind == MAKO_PAIR_STRING || pair->kind == MAKO_PAIR_TEXT)
            pair->text = feed_text(feed, 64);
        else
            pair->num = (int64_t)feed_number(feed);
        if (pair->kind == MAKO_PAIR_BOOL)
            pair->num = pair->num & 1;
        MUST(pair->key);
    }
}

static void free_pairs(struct words *words)
{
    for (size_t i = 0; i < words->count; i++) {
        free(words->pairs[i].key);
        free(words->pairs[i].text);
    }
}

static bool is_number(const struct mako_option *row)
{
    return row->type == MAKO_OPT_INT || row->type == MAKO_OPT_SIZE ||
           row->type == MAKO_OPT_DURATION;
}

/* In range, and the same again after it was shown. */
static void check_value(const struct mako_option *row, const union mako_value *value)
{
    char shown[256];
    uint64_t again;

    MUST(strlen(mako_option_show(row, value, shown, sizeof shown)) < 4096);
    if (is_number(row) && row->min != row->max)
        MUST(value->num >= row->min && value->num <= row->max);
    if (row->type == MAKO_OPT_BOOL)
        MUST(value->num == 0 || value->num == 1);
    if (row->type == MAKO_OPT_PATH && value->str)
        MUST(value->str[0] == '/');
    if (row->type == MAKO_OPT_SIZE && !(row->flags & MAKO_OPT_SECRET))
        MUST(mako_parse_size(shown, &again) && again == (uint64_t)value->num);
    if (row->type == MAKO_OPT_DURATION && !(row->flags & MAKO_OPT_SECRET))
        MUST(mako_parse_duration(shown, &again) && again == (uint64_t)value->num);
}

static void convert(struct feed *feed, const struct mako_option *table, size_t rows)
{
    struct words words;
    struct mako_options options = {.count = 0};
    struct mako_error err = {""};
    int status;

    take_pairs(feed, table, rows, &words);
    status = mako_options_convert(table, rows, words.pairs, words.count, "/base",
                                  &options, &err);
    must_say(status, &err);
    if (status == MAKO_OK) {
        MUST(options.count == rows);
        for (size_t i = 0; i < rows; i++)
            check_value(&table[i], &options.values[i]);
        mako_options_free(&options);
    }
    free_pairs(&words);
}

static char *maybe_text(struct feed *feed, size_t max)
{
    return feed_byte(feed) % 4 == 0 ? NULL : feed_text(feed, max);
}

/* A table as a plugin might bring it. */
static void any_table(struct feed *feed)
{
    struct mako_option table[ROWS_MAX];
    size_t rows = feed_byte(feed) % (ROWS_MAX + 1);
    struct mako_error err = {""};
    int status;

    for (size_t i = 0; i < rows; i++)
        table[i] = (struct mako_option){.name = feed_text(feed, 20),
                                        .help = maybe_text(feed, 8),
                                        .fallback = maybe_text(feed, 24),
                                        .choices = maybe_text(feed, 24),
                                        .type = feed_byte(feed) % 9u,
                                        .flags = feed_byte(feed) % 4u,
                                        .min = (int64_t)feed_number(feed),
                                        .max = (int64_t)feed_number(feed)};
    status = mako_options_check(table, rows, &err);
    MUST(status == MAKO_OK || status == MAKO_E_PLUGIN);
    must_say(status, &err);
    if (status == MAKO_OK)
        convert(feed, table, rows);
    for (size_t i = 0; i < rows; i++) {
        free((void *)(uintptr_t)table[i].name);
        free((void *)(uintptr_t)table[i].help);
        free((void *)(uintptr_t)table[i].fallback);
        free((void *)(uintptr_t)table[i].choices);
    }
}

static void any_units(struct feed *feed)
{
    char *text = feed_text(feed, 64), shown[64];
    uint64_t value, again;

    if (mako_parse_size(text, &value)) {
        mako_show_size(value, shown, sizeof shown);
        MUST(mako_parse_size(shown, &again) && again == value);
    }
    if (mako_parse_duration(text, &value)) {
        mako_show_duration(value, shown, sizeof shown);
        MUST(mako_parse_duration(shown, &again) && again == value);
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct feed feed = {data, size};

    switch (feed_byte(&feed) % 3) {
    case 0:
        convert(&feed, every_type, sizeof every_type / sizeof every_type[0]);
        break;
    case 1:
        any_table(&feed);
        break;
    default:
        any_units(&feed);
    }
    return 0;
}

/* Numbers with units, both ways. */
#include "units.h"

#include <stdlib.h>

#include <criterion/criterion.h>

TestSuite(units, .timeout = 30);

struct row {
    const char *text;
    uint64_t value;
};

Test(units, sizes)
{
    static const struct row rows[] = {
        {"0", 0},
        {"65536", 65536},
        {"65536B", 65536},
        {"64KiB", 65536},
        {"64 KiB", 65536},
        {"1kB", 1000},
        {"1MB", 1000000},
        {"1.5MiB", 1572864},
        {"16MiB", 16u << 20},
        {"2GiB", 2ull << 30},
        {"1GB", 1000000000},
        {"1TiB", 1ull << 40},
        {"1TB", 1000000000000},
        {"0.5KiB", 512},
        {"4611686018427387904", 1ull << 62},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t got = 0;

        cr_assert(mako_parse_size(rows[i].text, &got), "%s", rows[i].text);
        cr_assert_eq(got, rows[i].value, "%s: %llu", rows[i].text,
                     (unsigned long long)got);
    }
}

Test(units, durations)
{
    static const struct row rows[] = {
        {"0", 0},          {"1500", 1500},    {"1500ms", 1500}, {"1.5s", 1500},
        {"2 min", 120000}, {"2m", 120000},    {"1h", 3600000},  {"1d", 86400000},
        {"0.001s", 1},     {"0.5min", 30000}, {"10s", 10000},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t got = 0;

        cr_assert(mako_parse_duration(rows[i].text, &got), "%s", rows[i].text);
        cr_assert_eq(got, rows[i].value, "%s: %llu", rows[i].text,
                     (unsigned long long)got);
    }
}

static void expect_none(bool (*parse)(const char *, uint64_t *), const char *text)
{
    uint64_t got = 4711;

    cr_assert_not(parse(text, &got), "'%s' passed as %llu", text,
                  (unsigned long long)got);
    cr_assert_eq(got, 4711, "'%s' touched the output", text);
}

Test(units, what_is_none)
{
    static const char *const neither[] = {
        "",
        " ",
        "-1",
        "+1",
        ".5",
        "1.",
        "1.s",
        "KiB",
        "s",
        "1 2",
        "1e3",
        "0x10",
        "1,5s",
        "1..5",
        "∞",
        "1KiBx",
        " 1",
        "1.5.2",
        "99999999999999999999",
        "9223372036854775808",
        "9223372036854775807TiB",
    };

    for (size_t i = 0; i < sizeof neither / sizeof neither[0]; i++) {
        expect_none(mako_parse_size, neither[i]);
        expect_none(mako_parse_duration, neither[i]);
    }
    expect_none(mako_parse_size, "10s");
    expect_none(mako_parse_size, "10kib");
    expect_none(mako_parse_duration, "10KiB");
    expect_none(mako_parse_duration, "10S");
    expect_none(mako_parse_duration, "200000000000d");
}

static void expect_shown(uint64_t value, bool size, const char *want)
{
    char out[40];
    uint64_t back = 0;

    if (size)
        mako_show_size(value, out, sizeof out);
    else
        mako_show_duration(value, out, sizeof out);
    cr_assert_str_eq(out, want);
    cr_assert(size ? mako_parse_size(out, &back) : mako_parse_duration(out, &back));
    cr_assert_eq(back, value, "'%s' reads back as %llu", out, (unsigned long long)back);
}

Test(units, what_is_shown_reads_back)
{
    expect_shown(0, true, "0");
    expect_shown(1000, true, "1000");
    expect_shown(1024, true, "1KiB");
    expect_shown(1025, true, "1025");
    expect_shown(16u << 20, true, "16MiB");
    expect_shown(1536u << 10, true, "1536KiB");
    expect_shown(3ull << 40, true, "3TiB");
    expect_shown(0, false, "0ms");
    expect_shown(1500, false, "1500ms");
    expect_shown(1000, false, "1s");
    expect_shown(90000, false, "90s");
    expect_shown(120000, false, "2min");
    expect_shown(7200000, false, "2h");
    expect_shown(86400000, false, "1d");
}

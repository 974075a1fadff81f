/* Texts for people: prefixing, cutting, the nearest word, UTF-8, status names, the log.
 */
#include "error.h"

#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>
#include <mako/snapshot.h>

TestSuite(error, .timeout = 30);

Test(error, prefix_goes_first)
{
    struct mako_error err = {"the cause"};

    mako_error_prefix(&err, "the thing: ");
    cr_assert_str_eq(err.text, "the thing: the cause");
    mako_error_prefix(&err, "");
    cr_assert_str_eq(err.text, "the thing: the cause");
}

Test(error, prefix_cuts_the_end)
{
    struct mako_error err;
    char wide[600];

    memset(err.text, 'c', sizeof err.text - 1);
    err.text[sizeof err.text - 1] = '\0';
    mako_error_prefix(&err, "thing: ");
    cr_assert_eq(strlen(err.text), sizeof err.text - 1);
    cr_assert_eq(strncmp(err.text, "thing: ccc", 10), 0);

    memset(wide, 'w', sizeof wide - 1);
    wide[sizeof wide - 1] = '\0';
    mako_error_prefix(&err, wide);
    cr_assert_eq(strlen(err.text), sizeof err.text - 1);
    cr_assert_eq(strspn(err.text, "w"), sizeof err.text - 1);
}

Test(error, prefix_survives_a_text_without_end)
{
    struct mako_error err;

    memset(err.text, 'x', sizeof err.text);
    mako_error_prefix(&err, "a: ");
    cr_assert_eq(strnlen(err.text, sizeof err.text), sizeof err.text - 1);
    cr_assert_eq(strncmp(err.text, "a: xxx", 6), 0);
}

Test(error, add_appends_and_cuts)
{
    struct mako_error err;
    size_t at = mako_error_add(&err, 0, "one ", 4);

    cr_assert_eq(at, 4);
    at = mako_error_add(&err, at, "two", 3);
    cr_assert_eq(at, 7);
    cr_assert_str_eq(err.text, "one two");
    for (int i = 0; i < 200; i++)
        at = mako_error_add(&err, at, "longer", 6);
    cr_assert_eq(at, sizeof err.text - 1);
    cr_assert_eq(strlen(err.text), sizeof err.text - 1);
}

Test(error, fail_cuts)
{
    struct mako_error err;
    char wide[600];

    memset(wide, 'w', sizeof wide - 1);
    wide[sizeof wide - 1] = '\0';
    cr_assert_eq(mako_fail(&err, MAKO_E_IO, "%s", wide), MAKO_E_IO);
    cr_assert_eq(strlen(err.text), sizeof err.text - 1);
}

static const char *near(const char *word)
{
    static const char *const words[] = {"plugin", "durability", "snapshot_every", "dir"};
    static char out[80];

    return mako_nearest(word, words, 4, out, sizeof out);
}

Test(error, nearest)
{
    cr_assert_str_eq(near("plugins"), " (did you mean 'plugin'?)");
    cr_assert_str_eq(near("plguin"), " (did you mean 'plugin'?)");
    cr_assert_str_eq(near("durabilty"), " (did you mean 'durability'?)");
    cr_assert_str_eq(near("snapshot-every"), " (did you mean 'snapshot_every'?)");
    cr_assert_str_eq(near("dri"), " (did you mean 'dir'?)");
    cr_assert_str_eq(near("xyzzy"), "");
    cr_assert_str_eq(near("a word that is far longer than any that there could be"), "");
    cr_assert_str_eq(near(""), "");
}

Test(error, nearest_of_none)
{
    char out[80] = "before";

    cr_assert_str_eq(mako_nearest("word", NULL, 0, out, sizeof out), "");
}

static bool valid(const char *s)
{
    return mako_utf8_valid(s, strlen(s));
}

Test(error, utf8_accepts)
{
    static const char *const good[] = {
        "",
        "plain",
        "\x7f",
        "\xc2\x80",
        "\xdf\xbf",
        "é",
        "\xe0\xa0\x80",
        "\xed\x9f\xbf",
        "\xee\x80\x80",
        "\xef\xbf\xbf",
        "日本",
        "🙂",
        "\xf0\x90\x80\x80",
        "\xf4\x8f\xbf\xbf",
    };

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        cr_assert(valid(good[i]), "row %zu", i);
    cr_assert(mako_utf8_valid("a\0b", 3), "NUL is a character of UTF-8");
}

Test(error, utf8_refuses)
{
    static const char *const bad[] = {
        "\x80",
        "\xbf",
        "a\xff",
        "\xfe",
        "\xc0\x80",
        "\xc1\xbf",
        "\xc2",
        "\xc2\x41",
        "\xe0\x9f\xbf",
        "\xe0\xa0",
        "\xe0\xa0\x41",
        "\xed\xa0\x80",
        "\xed\xbf\xbf",
        "\xf0\x8f\xbf\xbf",
        "\xf0\x90\x80",
        "\xf0\x90\x80\x41",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xf8\x88\x80\x80\x80",
        "fine, then\xe2\x82",
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_assert_not(valid(bad[i]), "row %zu", i);
}

/* Wherever it stands between plain letters, also where those are checked many at once. */
Test(error, utf8_looks_at_every_byte)
{
    char text[48];

    for (size_t at = 0; at + 2 <= sizeof text; at++) {
        memset(text, 'a', sizeof text);
        cr_assert(mako_utf8_valid(text, sizeof text));
        memcpy(text + at, "\xc3\xa9", 2);
        cr_assert(mako_utf8_valid(text, sizeof text), "at %zu", at);
        text[at + 1] = 'a';
        cr_assert_not(mako_utf8_valid(text, sizeof text), "at %zu", at);
        text[at] = '\x80';
        cr_assert_not(mako_utf8_valid(text, sizeof text), "at %zu", at);
        cr_assert_not(mako_utf8_valid(text, at + 1), "at %zu", at);
    }
}

/* Exactly the 1 112 064 scalar values have a form, and each has one. */
Test(error, utf8_knows_every_form_of_up_to_three_bytes)
{
    unsigned count = 0;
    char s[3];

    for (unsigned v = 0x800; v <= 0xffff; v++) {
        s[0] = (char)(0xe0 | v >> 12);
        s[1] = (char)(0x80 | (v >> 6 & 0x3f));
        s[2] = (char)(0x80 | (v & 0x3f));
        count += mako_utf8_valid(s, 3);
    }
    cr_assert_eq(count, 0x10000 - 0x800 - 0x800);
    count = 0;
    for (unsigned a = 0x80; a <= 0xff; a++)
        for (unsigned b = 0; b <= 0xff; b++) {
            s[0] = (char)a;
            s[1] = (char)b;
            count += mako_utf8_valid(s, 2);
        }
    cr_assert_eq(count, 0x800 - 0x80);
}

Test(error, every_status_has_a_name)
{
    for (int status = MAKO_E_NO_SPACE; status <= MAKO_TOO_LARGE; status++)
        cr_assert_str_neq(mako_status_name(status), "?", "%d", status);
    cr_assert_str_eq(mako_status_name(MAKO_OK), "OK");
    cr_assert_str_eq(mako_status_name(MAKO_TOO_LARGE), "TOO_LARGE");
    cr_assert_str_eq(mako_status_name(MAKO_DIVERGED), "DIVERGED");
    cr_assert_str_eq(mako_status_name(MAKO_E_UNAVAILABLE), "E_UNAVAILABLE");
    cr_assert_str_eq(mako_status_name(MAKO_E_NO_SPACE), "E_NO_SPACE");
    cr_assert_str_eq(mako_status_name(12), "?");
    cr_assert_str_eq(mako_status_name(-12), "?");
    cr_assert_str_eq(mako_status_name(INT32_MIN), "?");
}

struct seen {
    int level;
    char text[1200];
};

static void hear(void *arg, int level, const char *message)
{
    struct seen *seen = arg;

    seen->level = level;
    (void)snprintf(seen->text, sizeof seen->text, "%s", message);
}

/* Escapes, line breaks, DEL and both bytes of C1; other characters stay as they are. */
#define HOSTILE                  \
    "a\033[31m\r\n\x7f\xc2\x9b"  \
    "2J\xc2\x80\xc2\xa0\xc3\x9b" \
    "z"
#define HARMLESS "a?[31m?????2J??\xc2\xa0\xc3\x9bz"

Test(error, control_characters_reach_no_text)
{
    struct mako_error err;

    cr_assert_eq(mako_fail(&err, MAKO_E_IO, "%s", HOSTILE), MAKO_E_IO);
    cr_assert_str_eq(err.text, HARMLESS);
    (void)mako_fail(&err, MAKO_E_IO, "x\xc2");
    cr_assert_str_eq(err.text, "x\xc2");
    err.text[0] = '\0';
    mako_error_prefix(&err, HOSTILE);
    cr_assert_str_eq(err.text, HARMLESS);
}

Test(error, control_characters_reach_no_log)
{
    struct seen seen = {-1, ""};

    mako_set_log(hear, &seen);
    mako_log(MAKO_LOG_WARN, "%s", HOSTILE);
    cr_assert_str_eq(seen.text, HARMLESS);
}

Test(error, log_goes_where_it_was_sent)
{
    struct seen seen = {-1, ""};

    mako_set_log(hear, &seen);
    mako_log(MAKO_LOG_DEBUG, "%s %d", "number", 7);
    cr_assert_eq(seen.level, MAKO_LOG_DEBUG);
    cr_assert_str_eq(seen.text, "number 7");
    mako_set_log(NULL, NULL);
    mako_log(MAKO_LOG_INFO, "into the void");
    cr_assert_str_eq(seen.text, "number 7");
}

/* tests/cli/show_test.c - what the tool shows: text with escapes, sizes, ages, numbers
 * that JSON has no room for, colours and bars.  The terminal here is a pseudo-terminal.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "cli.h"

#include <mako/store_plugin.h>

TestSuite(show, .timeout = 60);

/* ---- text ------------------------------------------------------------------------- */

#define SHOWN(bytes, want) shown_as(bytes, sizeof bytes - 1, want)
static void shown_as(const char *bytes, size_t len, const char *want)
{
    char *shown = printable(bytes, len);

    cr_expect_str_eq(shown, want, "'%s', not '%s'", shown, want);
    free(shown);
}

Test(show, what_is_text_stays)
{
    SHOWN("", "");
    SHOWN("a b~", "a b~");
    SHOWN("\xc3\xa4", "\xc3\xa4");                 /* two bytes */
    SHOWN("\xc2\xa0", "\xc2\xa0");                 /* no control character any more */
    SHOWN("\xe2\x82\xac", "\xe2\x82\xac");         /* three */
    SHOWN("\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"); /* four */
}

Test(show, what_is_none_is_escaped)
{
    SHOWN("a\0b", "a\\x00"
                  "b");
    SHOWN("\x1b[31m", "\\x1b[31m");
    SHOWN("\x7f", "\\x7f");
    SHOWN("\xc2\x9b", "\\xc2\\x9b"); /* CSI in one character */
    SHOWN("\x80", "\\x80");
    SHOWN("\xc1\x81", "\\xc1\\x81");
    SHOWN("\xc3", "\\xc3"); /* cut off */
    shown_as("\xc3\xa4", 1, "\\xc3");
    SHOWN("\xc3x", "\\xc3x");
    SHOWN("\xe2\x82z", "\\xe2\\x82z");
    SHOWN("\xf5\x80\x80\x80", "\\xf5\\x80\\x80\\x80");
}

/* ---- numbers ------------------------------------------------------------------------
 */

Test(show, sizes)
{
    cr_expect_str_eq(show_size(0).text, "0 B");
    cr_expect_str_eq(show_size(1023).text, "1023 B");
    cr_expect_str_eq(show_size(1024).text, "1.0 KiB");
    cr_expect_str_eq(show_size(1536).text, "1.5 KiB");
    cr_expect_str_eq(show_size(1024 * 1024 - 1).text, "1.0 MiB");
    cr_expect_str_eq(show_size(UINT64_MAX).text, "16.0 EiB");
}

static struct shown age_of(int64_t seconds)
{
    return show_age(((int64_t)time(NULL) - seconds) * 1000);
}

/* Half of a unit is room enough for a test that is slow. */
Test(show, ages)
{
    cr_expect_str_eq(show_age(0).text, "?");
    cr_expect_str_eq(age_of(-5000).text, "0 s");
    cr_expect(strstr(age_of(10).text, "min") == NULL && strstr(age_of(10).text, " s"));
    cr_expect_eq(strncmp(age_of(60).text, "1 min ", 6), 0);
    cr_expect_eq(strncmp(age_of(90).text, "1 min ", 6), 0);
    cr_expect_str_eq(age_of(2 * 3600 + 90).text, "2 h 1 min");
    cr_expect_str_eq(age_of(3 * 86400 + 4 * 3600 + 1800).text, "3 d 4 h");
}

Test(show, times)
{
    cr_expect_str_eq(show_time(0).text, "not known");
    cr_expect_str_eq(show_time(951827696000).text, "2000-02-29 12:34:56 UTC");
    cr_expect_str_eq(show_anchor(0).text, "none");
    cr_expect_str_eq(show_anchor(255).text, "0x00000000000000ff");
}

Test(show, counts_that_json_has_no_room_for)
{
    json_t *fits = json_count(INT64_MAX), *does_not = json_count(UINT64_MAX);

    cr_expect_eq(json_integer_value(fits), INT64_MAX);
    cr_expect_str_eq(json_string_value(does_not), "18446744073709551615");
    json_decref(fits);
    json_decref(does_not);
}

Test(show, text_in_json)
{
    json_t *text = json_text("a\n"), *no_utf8 = json_text("a\xff");

    cr_expect_str_eq(json_string_value(text), "a\n");
    cr_expect_str_eq(json_string_value(no_utf8), "a\\xff");
    json_decref(text);
    json_decref(no_utf8);
}

/* ---- a terminal ---------------------------------------------------------------------
 */

static int other_end;

/* A file that is a terminal; what is written to it comes out at the other end. */
static FILE *terminal(void)
{
    int made = posix_openpt(O_RDWR | O_NOCTTY), fd;
    FILE *file;

    cr_assert(made >= 0 && grantpt(made) == 0 && unlockpt(made) == 0);
    fd = open(ptsname(made), O_RDWR | O_NOCTTY);
    file = fdopen(fd, "w");
    cr_assert_not_null(file);
    other_end = made;
    return file;
}

/* All that was written: a terminal gives it in parts, so a mark says where it ends. */
static const char *written(FILE *file)
{
    static char text[1024];
    size_t len = 0;
    ssize_t got;

    (void)fputc('\1', file);
    (void)fflush(file);
    do {
        got = read(other_end, text + len, sizeof text - 1 - len);
        len += got > 0 ? (size_t)got : 0;
    } while (got > 0 && text[len - 1] != '\1');
    text[len > 0 ? len - 1 : 0] = '\0';
    return text;
}

Test(show, colours)
{
    FILE *out = terminal(), *plain = tmpfile();

    unsetenv("NO_COLOR");
    setenv("TERM", "xterm", 1);
    cr_expect_str_eq(colour(out, COLOUR_BAD), "\033[31m");
    cr_expect_str_eq(colour(plain, COLOUR_BAD), "");
    setenv("NO_COLOR", "", 1);
    cr_expect_str_eq(colour(out, COLOUR_BAD), "\033[31m");
    setenv("NO_COLOR", "1", 1);
    cr_expect_str_eq(colour(out, COLOUR_BAD), "");
    unsetenv("NO_COLOR");
    setenv("TERM", "dumb", 1);
    cr_expect_str_eq(colour(out, COLOUR_BAD), "");
    unsetenv("TERM");
    cr_expect_str_eq(colour(out, COLOUR_BAD), "");
    (void)fclose(out);
    (void)fclose(plain);
}

/* A terminal gets no byte that is not ASCII, a file gets what there is. */
Test(show, json_on_a_terminal)
{
    FILE *out = terminal(), *plain = tmpfile();
    char text[16] = "";

    json_print(out, json_string("\xc2\x9b"));
    cr_expect_not_null(strstr(written(out), "\"\\u009B\""));
    json_print(plain, json_string("\xc2\x9b"));
    rewind(plain);
    cr_expect_not_null(fgets(text, sizeof text, plain));
    cr_expect_str_eq(text, "\"\xc2\x9b\"\n");
    (void)fclose(out);
    (void)fclose(plain);
}

static int64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The bar goes before anything else is written; parts that make no sense are taken as the
 * nearest that do, or show nothing. */
Test(show, bars)
{
    FILE *out = terminal();
    const char *text;
    int64_t from;
    bool early;

    cr_assert(dup2(fileno(out), STDERR_FILENO) >= 0);
    progress("work", -1);
    from = now_ms();
    progress("work", 7);
    text = written(stderr);
    cr_expect_eq(strncmp(text, "\rwork [#####", 12), 0, "%s", text);
    cr_expect_not_null(strstr(text, "#] 700 %"), "%s", text);
    progress("work", 0.5); /* too early for another look, if we are quick */
    early = now_ms() - from < 100;
    log_line(NULL, MAKO_LOG_ERROR, "one\a");
    log_line(NULL, MAKO_LOG_WARN, "two");
    log_line(NULL, MAKO_LOG_INFO, "three");
    text = written(stderr);
    if (early) {
        cr_expect_null(strstr(text, "50 %"), "%s", text);
        cr_expect_eq(strncmp(text, "\r      ", 7), 0, "%s", text);
    } else {
        cr_expect_not_null(strstr(text, "\r      "), "%s", text);
    }
    cr_expect_not_null(strstr(text, "error: "));
    cr_expect_not_null(strstr(text, "one\\x07"));
    cr_expect_not_null(strstr(text, "warning: "));
    cr_expect_null(strstr(text, "three"), "%s", text);
}

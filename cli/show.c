/* cli/show.c - output: for people with escapes, units and colours, for machines as JSON.
 *
 * Knows nothing of stores. */
#include "cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <mako/store_plugin.h>

/* A progress bar stands on the terminal's line and must go before other text. */
static atomic_bool bar_shown;

const char *colour(FILE *out, enum colour which)
{
    static const char *const codes[] = {"\033[0m", "\033[1m", "\033[32m", "\033[33m",
                                        "\033[31m"};
    const char *off = getenv("NO_COLOR"), *term = getenv("TERM");

    if ((off && *off) || !term || strcmp(term, "dumb") == 0 || !isatty(fileno(out)))
        return "";
    return codes[which];
}

/* Length of the well-formed UTF-8 character at text that may be shown; 0: none. */
static size_t shown_bytes(const unsigned char *text, size_t len)
{
    size_t need = text[0] < 0x80   ? 1
                  : text[0] < 0xc2 ? 0
                  : text[0] < 0xe0 ? 2
                  : text[0] < 0xf0 ? 3
                  : text[0] < 0xf5 ? 4
                                   : 0;

    if (need == 0 || need > len || text[0] < 0x20 || text[0] == 0x7f)
        return 0;
    for (size_t i = 1; i < need; i++)
        if ((text[i] & 0xc0u) != 0x80)
            return 0;
    if (text[0] == 0xc2 && text[1] < 0xa0)
        return 0; /* the C1 control characters */
    return need;
}

char *printable(const char *text, size_t len)
{
    const unsigned char *bytes = (const unsigned char *)text;
    char *out = must_alloc(NULL, 4 * len + 1);
    size_t at = 0;

    for (size_t i = 0; i < len;) {
        size_t step = shown_bytes(bytes + i, len - i);

        if (step == 0) {
            at += (size_t)snprintf(out + at, 5, "\\x%02x", bytes[i]);
            i++;
            continue;
        }
        memcpy(out + at, text + i, step);
        at += step;
        i += step;
    }
    out[at] = '\0';
    return out;
}

size_t columns(const char *text)
{
    size_t count = 0;

    for (; *text; text++)
        if (((unsigned char)*text & 0xc0u) != 0x80)
            count++;
    return count;
}

static void line(enum colour which, const char *word, const char *text)
{
    char *shown = printable(text, strlen(text));

    progress_end();
    fprintf(stderr, "mako-snapshot: %s%s%s%s\n", colour(stderr, which), word,
            colour(stderr, COLOUR_PLAIN), shown);
    free(shown);
}

void warn(const char *format, ...)
{
    char text[2048];
    va_list list;

    va_start(list, format);
    (void)vsnprintf(text, sizeof text, format, list);
    va_end(list);
    line(COLOUR_WARN, "warning: ", text);
}

int complain(int code, const char *format, ...)
{
    char text[2048];
    va_list list;

    va_start(list, format);
    (void)vsnprintf(text, sizeof text, format, list);
    va_end(list);
    line(COLOUR_BAD, "", text);
    return code;
}

void log_line(void *arg, int level, const char *message)
{
    (void)arg;
    if (level <= MAKO_LOG_WARN)
        line(level == MAKO_LOG_ERROR ? COLOUR_BAD : COLOUR_WARN,
             level == MAKO_LOG_ERROR ? "error: " : "warning: ", message);
}

struct shown show_size(uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    struct shown shown;
    double value = (double)bytes;
    size_t unit = 0;

    while (value >= 1023.95 && unit < 6) {
        value /= 1024;
        unit++;
    }
    (void)snprintf(shown.text, sizeof shown.text, "%.*f %s", unit > 0, value,
                   units[unit]);
    return shown;
}

struct shown show_age(int64_t created_ms)
{
    static const struct {
        int64_t seconds;
        const char *name;
    } units[] = {{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}};
    struct shown shown = {"?"};
    int64_t age = (int64_t)time(NULL) - created_ms / 1000;
    size_t i = 0;

    if (created_ms == 0)
        return shown;
    age = age < 0 ? 0 : age;
    while (i < 3 && age < units[i].seconds)
        i++;
    if (i == 3)
        (void)snprintf(shown.text, sizeof shown.text, "%" PRId64 " s", age);
    else
        (void)snprintf(shown.text, sizeof shown.text, "%" PRId64 " %s %" PRId64 " %s",
                       age / units[i].seconds, units[i].name,
                       age % units[i].seconds / units[i + 1].seconds, units[i + 1].name);
    return shown;
}

struct shown show_time(int64_t created_ms)
{
    struct shown shown = {"not known"};
    time_t seconds = (time_t)(created_ms / 1000);
    struct tm parts;

    if (created_ms != 0 && gmtime_r(&seconds, &parts))
        (void)strftime(shown.text, sizeof shown.text, "%Y-%m-%d %H:%M:%S UTC", &parts);
    return shown;
}

struct shown show_anchor(uint64_t anchor)
{
    struct shown shown = {"none"};

    if (anchor != 0)
        (void)snprintf(shown.text, sizeof shown.text, "0x%016" PRIx64, anchor);
    return shown;
}

struct shown show_count(uint64_t value)
{
    struct shown shown;

    (void)snprintf(shown.text, sizeof shown.text, "%" PRIu64, value);
    return shown;
}

void show_line(FILE *out, const char *key, const char *value)
{
    char *shown = printable(value, strlen(value));

    fprintf(out, "%s%-18s%s  %s\n", colour(out, COLOUR_BOLD), key,
            colour(out, COLOUR_PLAIN), shown);
    free(shown);
}

json_t *json_count(uint64_t value)
{
    return value <= INT64_MAX ? json_integer((json_int_t)value)
                              : json_string(show_count(value).text);
}

void json_put(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) != 0)
        no_memory();
}

json_t *json_text(const char *text)
{
    json_t *value = json_string(text);
    char *shown;

    if (value)
        return value;
    shown = printable(text, strlen(text));
    value = json_string(shown);
    free(shown);
    return value;
}

void json_meta(json_t *object, const struct mako_meta *meta)
{
    json_put(object, "sequence", json_count(meta->seq));
    json_put(object, "schema", json_integer(meta->schema));
    json_put(object, "created_ms", json_integer(meta->created_ms));
}

size_t json_flags(FILE *out)
{
    return JSON_ENCODE_ANY | (isatty(fileno(out)) ? JSON_ENSURE_ASCII : 0);
}

void json_print(FILE *out, json_t *document)
{
    int failed = json_dumpf(document, out, JSON_INDENT(2) | json_flags(out));

    json_decref(document);
    if (failed && !ferror(out))
        no_memory();
    if (failed)
        exit(complain(EXIT_USAGE, "cannot write the JSON document: %s", strerror(errno)));
    fputc('\n', out);
}

void progress(const char *what, double part)
{
    static struct timespec last;
    struct timespec now;
    int filled = (int)(part * 40);

    if (part < 0 || !isatty(STDERR_FILENO) || clock_gettime(CLOCK_MONOTONIC, &now) != 0)
        return;
    if ((now.tv_sec - last.tv_sec) * 1000 + (now.tv_nsec - last.tv_nsec) / 1000000 < 100)
        return;
    last = now;
    filled = filled < 0 ? 0 : filled > 40 ? 40 : filled;
    atomic_store(&bar_shown, true);
    fprintf(stderr, "\r%s [%.*s%*s] %3d %%", what, filled,
            "########################################", 40 - filled, "",
            (int)(part * 100));
}

void progress_end(void)
{
    if (atomic_exchange(&bar_shown, false))
        fprintf(stderr, "\r%-70s\r", "");
}

void no_memory(void)
{
    fputs("mako-snapshot: out of memory\n", stderr);
    exit(EXIT_STORE);
}

void *must_alloc(void *old, size_t size)
{
    void *memory = realloc(old, size ? size : 1);

    if (!memory)
        no_memory();
    return memory;
}

char *must_copy(const char *text, size_t len)
{
    char *copy = must_alloc(NULL, len + 1);

    memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

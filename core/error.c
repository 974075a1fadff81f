/* error.c - texts for people: error sentences, log lines, the nearest valid word. */
#include "error.h"

#include <pthread.h>
#include <string.h>

#include <mako/snapshot.h>

/* Names come from anywhere; a text is one line, and does nothing to a terminal.  As
 * mako_fail() does it, C1 (U+0080 to U+009F) included: one of them is an escape too. */
void mako_text_clean(char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
        else if ((unsigned char)text[0] == 0xc2 &&
                 ((unsigned char)text[1] & 0xe0) == 0x80)
            text[0] = text[1] = '?';
    }
}

void mako_error_prefix(struct mako_error *err, const char *prefix)
{
    size_t add = strlen(prefix);
    size_t have = strnlen(err->text, sizeof err->text - 1);

    if (add >= sizeof err->text)
        add = sizeof err->text - 1;
    if (have > sizeof err->text - 1 - add)
        have = sizeof err->text - 1 - add;
    memmove(err->text + add, err->text, have);
    memcpy(err->text, prefix, add);
    err->text[add + have] = '\0';
    mako_text_clean(err->text);
}

/* ---- the log ------------------------------------------------------------------ */

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static void (*log_to)(void *arg, int level, const char *message);
static void *log_arg;

void mako_set_log(void (*log)(void *arg, int level, const char *message), void *arg)
{
    pthread_mutex_lock(&log_lock);
    log_to = log;
    log_arg = arg;
    pthread_mutex_unlock(&log_lock);
}

void mako_log_hold(void)
{
    pthread_mutex_lock(&log_lock);
}

void mako_log_release(void)
{
    pthread_mutex_unlock(&log_lock);
}

void mako_log(int level, const char *format, ...)
{
    static const char *const words[] = {"error", "warning", "info", "debug"};
    char line[1024];
    void (*to)(void *, int, const char *);
    void *arg;
    va_list args;

    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    mako_text_clean(line);

    pthread_mutex_lock(&log_lock);
    to = log_to;
    arg = log_arg;
    pthread_mutex_unlock(&log_lock);
    if (to)
        to(arg, level, line);
    else if (level >= MAKO_LOG_ERROR && level <= MAKO_LOG_WARN)
        (void)fprintf(stderr, "mako-snapshot: %s: %s\n", words[level], line);
}

/* ---- words -------------------------------------------------------------------- */

const char *mako_status_name(int status)
{
    static const char *const positive[] = {
        "OK",    "NOT_FOUND", "SCHEMA_OLDER", "SCHEMA_NEWER", "AHEAD",   "DAMAGED",
        "STALE", "REFUSED",   "FOREIGN",      "DIVERGED",     "NOT_DUE", "TOO_LARGE"};
    static const char *const negative[] = {
        "OK",      "E_INVALID",     "E_NOMEM",  "E_CONFIG", "E_IO",       "E_UNAVAILABLE",
        "E_LIMIT", "E_UNSUPPORTED", "E_PLUGIN", "E_FORKED", "E_CALLBACK", "E_NO_SPACE"};

    if (status >= 0 && status <= MAKO_TOO_LARGE)
        return positive[status];
    if (status < 0 && status >= MAKO_E_NO_SPACE)
        return negative[-status];
    return "?";
}

const char *mako_version(void)
{
    return MAKO_VERSION;
}

#define WORD_MAX 40u

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Insertions, deletions, substitutions and swaps of neighbours that turn a into b
 * (optimal string alignment; Damerau 1964, Wagner and Fischer 1974). */
static unsigned distance(const char *a, const char *b)
{
    unsigned d[WORD_MAX + 1][WORD_MAX + 1];
    size_t la = strlen(a), lb = strlen(b);

    if (la > WORD_MAX || lb > WORD_MAX)
        return WORD_MAX;
    for (size_t i = 0; i <= la; i++)
        d[i][0] = (unsigned)i;
    for (size_t j = 0; j <= lb; j++)
        d[0][j] = (unsigned)j;
    for (size_t i = 1; i <= la; i++) {
        for (size_t j = 1; j <= lb; j++) {
            unsigned put = least(d[i - 1][j], d[i][j - 1]) + 1;
            unsigned swap = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);

            d[i][j] = least(put, swap);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                d[i][j] = least(d[i][j], d[i - 2][j - 2] + 1);
        }
    }
    return d[la][lb];
}

const char *mako_nearest(const char *word, const char *const *words, size_t count,
                         char *out, size_t room)
{
    unsigned best = WORD_MAX;
    const char *near = NULL;

    for (size_t i = 0; i < count; i++) {
        unsigned d = distance(word, words[i]);

        if (d < best) {
            best = d;
            near = words[i];
        }
    }
    out[0] = '\0';
    if (near && best <= 1 + strlen(near) / 3)
        (void)snprintf(out, room, " (did you mean '%s'?)", near);
    return out;
}

/* Bytes that follow a lead byte and the range of the first of them, per RFC 3629's
 * table of well-formed sequences. */
static size_t follow(const unsigned char *p, unsigned char *low, unsigned char *high)
{
    *low = 0x80;
    *high = 0xbf;
    if (p[0] >= 0xc2 && p[0] <= 0xdf)
        return 1;
    if (p[0] >= 0xe0 && p[0] <= 0xef) {
        if (p[0] == 0xe0)
            *low = 0xa0;
        if (p[0] == 0xed)
            *high = 0x9f;
        return 2;
    }
    if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        if (p[0] == 0xf0)
            *low = 0x90;
        if (p[0] == 0xf4)
            *high = 0x8f;
        return 3;
    }
    return 0;
}

/* How many bytes at the beginning are ASCII for certain, eight at a time: most stream ids
 * are nothing else, and every call checks one. */
static size_t ascii_run(const unsigned char *p, size_t len)
{
    size_t at = 0;
    uint64_t eight;

    for (; at + sizeof eight <= len; at += sizeof eight) {
        memcpy(&eight, p + at, sizeof eight);
        if (eight & 0x8080808080808080u)
            break;
    }
    return at;
}

bool mako_utf8_valid(const char *text, size_t len)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + len;

    p += ascii_run(p, len);
    while (p < end) {
        unsigned char low, high;
        size_t more;

        if (*p < 0x80) {
            p++;
            continue;
        }
        more = follow(p, &low, &high);
        if (more == 0 || (size_t)(end - p) <= more || p[1] < low || p[1] > high)
            return false;
        for (size_t i = 2; i <= more; i++)
            if ((p[i] & 0xc0) != 0x80)
                return false;
        p += more + 1;
    }
    return true;
}

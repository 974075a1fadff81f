/* core/error.h - texts for people: error sentences, log lines, the nearest valid word.
 * Knows nothing of stores or configurations. */
#ifndef MAKO_CORE_ERROR_H
#define MAKO_CORE_ERROR_H

#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include <mako/store_plugin.h>

/* Control characters in a text become '?'; every text that is made without mako_fail() or
 * mako_log() goes through here. */
void mako_text_clean(char *text);

/* Put prefix before what err says already, cutting the end where it gets too long. */
void mako_error_prefix(struct mako_error *err, const char *prefix);

/* Append len bytes of text, cut where there is no more room; far cheaper than printf on
 * paths where a status is common.  at is the length so far; returns the new one. */
static inline size_t mako_error_add(struct mako_error *err, size_t at, const char *text,
                                    size_t len)
{
    size_t room = sizeof err->text - 1 - at;

    if (len > room)
        len = room;
    memcpy(err->text + at, text, len);
    err->text[at + len] = '\0';
    return at + len;
}

/* Send one line to where mako_set_log() says. */
__attribute__((format(printf, 2, 3))) void mako_log(int level, const char *format, ...);
/* Around a fork nobody looks where that is. */
void mako_log_hold(void);
void mako_log_release(void);

/* " (did you mean 'x'?)" into out where one of the count words is near to word, else "".
 * Returns out. */
const char *mako_nearest(const char *word, const char *const *words, size_t count,
                         char *out, size_t room);

/* Whether text is UTF-8 (RFC 3629: no surrogates, nothing overlong). */
bool mako_utf8_valid(const char *text, size_t len);

#endif

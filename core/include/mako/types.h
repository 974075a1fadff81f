/* mako/types.h - what applications, the core and store plugins share.
 *
 * Statuses, the error text, strings and the metadata of a snapshot.  Nothing in here
 * allocates or needs the library. */
#ifndef MAKO_TYPES_H
#define MAKO_TYPES_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What every call returns.  Positive: an expected outcome.  Negative: a failure; after a
 * failed save or remove the outcome is unknown (it may be there, now or later).  Numbers
 * are never changed nor reused. */
enum mako_status {
    MAKO_OK = 0,             /* done */
    MAKO_NOT_FOUND = 1,      /* no snapshot of this stream */
    MAKO_SCHEMA_OLDER = 2,   /* one exists, older than the caller can read */
    MAKO_SCHEMA_NEWER = 3,   /* one exists, newer than the caller can read */
    MAKO_AHEAD = 4,          /* one exists, beyond the stream's head */
    MAKO_DAMAGED = 5,        /* one exists, and its checks fail */
    MAKO_STALE = 6,          /* save: a later snapshot is kept */
    MAKO_REFUSED = 7,        /* plugin to core only: the sink declined */
    MAKO_FOREIGN = 8,        /* another envelope format, codec or kind of aggregate */
    MAKO_DIVERGED = 9,       /* not of this log: the event at its sequence is another */
    MAKO_NOT_DUE = 10,       /* take: the policy says not yet */
    MAKO_TOO_LARGE = 11,     /* load: larger than max_snapshot allows */
    MAKO_E_INVALID = -1,     /* the caller broke the contract */
    MAKO_E_NOMEM = -2,       /* no memory */
    MAKO_E_CONFIG = -3,      /* configuration rejected */
    MAKO_E_IO = -4,          /* storage failed; do not retry blindly */
    MAKO_E_UNAVAILABLE = -5, /* backend unreachable or timed out; retry later */
    MAKO_E_LIMIT = -6,       /* save: larger than a limit */
    MAKO_E_UNSUPPORTED = -7, /* optional operation or flag absent */
    MAKO_E_PLUGIN = -8,      /* the plugin broke the contract */
    MAKO_E_FORKED = -9,      /* store opened in another process */
    MAKO_E_CALLBACK = -10,   /* a callback of the application failed */
    MAKO_E_NO_SPACE = -11    /* storage is full; retry when there is room */
};

/* A sentence for people: the thing and the cause, no newline.  The caller's memory; a
 * plugin never gets NULL, an application may pass NULL where it does not care.  Filled
 * on every status but MAKO_OK. */
struct mako_error {
    char text[512]; /* ends with a NUL; a longer text is cut */
};

/* UTF-8 without NUL inside; ptr[len] == '\0'.  Stands in arrays: frozen. */
struct mako_str {
    const char *ptr; /* its first byte */
    size_t len;      /* bytes, without the NUL */
};

/* What is known of a snapshot without its state.  Stands in arrays: frozen. */
struct mako_meta {
    uint64_t seq;       /* last event folded into the state; >= 1 */
    uint32_t schema;    /* version of the state's layout; >= 1 */
    uint32_t reserved;  /* zero */
    int64_t created_ms; /* milliseconds since 1970, UTC; 0: not known */
};

/* Fill err and hand the status through, in one line:
 *     return mako_fail(err, MAKO_E_IO, "%s: %s", path, strerror(errno));
 * Texts longer than the room are cut; control characters, which names may have in them,
 * become '?', so that a text is one line wherever it is shown. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4), unused))
#endif
static int
mako_fail(struct mako_error *err, int status, const char *format, ...)
{
    va_list args;
    char *text;

    va_start(args, format);
    (void)vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    for (text = err->text; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
        else if ((unsigned char)text[0] == 0xc2 &&
                 ((unsigned char)text[1] & 0xe0) == 0x80)
            text[0] = text[1] = '?'; /* C1: U+0080 to U+009F */
    }
    return status;
}

#ifdef __cplusplus
}
#endif
#endif

/* plugins/redis/codec.h - the bytes: keys, the head of a stored value, and what a
 * server's error means.  Pure functions, no I/O, safe on any input. */
#ifndef MAKO_REDIS_CODEC_H
#define MAKO_REDIS_CODEC_H

#include "settings.h"

/* ---- keys ------------------------------------------------------------------------- */

/* PREFIX{ID}: the id stands percent-encoded in the braces, so that the braces are ours
 * alone, the id alone chooses the cluster's slot, and no glob character is left. */
#define KEY_ID_MAX    1024u
#define KEY_ROOM(len) (KEY_PREFIX_MAX + 3 + 3 * (size_t)(len))
#define KEY_MAX       KEY_ROOM(KEY_ID_MAX)
/* A save's temporary key: the same slot, and the same prefix for access rules. */
#define KEY_TMP_MAX (KEY_MAX + 17)

struct key {
    const char *text; /* ends with a NUL */
    size_t len;
    uint16_t slot;
};

/* In room for KEY_ROOM(stream.len), which the key points into.  False: the id is longer
 * than KEY_ID_MAX. */
bool key_make(const struct settings *settings, struct mako_str stream, char *room,
              struct key *key);
size_t key_tmp(const struct key *key, uint64_t number, char out[KEY_TMP_MAX]);
/* A glob pattern for the keys of the streams that begin with prefix. */
#define KEY_PATTERN_MAX (2 * KEY_PREFIX_MAX + 3 + 3 * KEY_ID_MAX + 1)
bool key_pattern(const struct settings *settings, struct mako_str prefix,
                 char out[KEY_PATTERN_MAX]);
/* The id of a key, at most KEY_ID_MAX bytes and a NUL; false: not one of ours. */
bool key_decode(const struct settings *settings, const char *text, size_t len,
                char out[KEY_ID_MAX + 1], size_t *out_len);

/* ---- the head of a value ------------------------------------------------------------
 */

/* Big endian:  0 magic4 | 4 version1 | 5 flags1 | 6 size2 | 8 seq8 | 16 schema4 |
 * 20 check4 | 24 created_ms8 | 32 blob_len8 | 40 nonce8, then the blob.  The scripts
 * read magic and seq: these stay where they are in every later version. */
#define HEAD_SIZE 48u
#define HEAD_SEQ  8u

struct head {
    struct mako_meta meta;
    uint64_t blob_len;
    uint64_t nonce; /* tells two saves apart that are otherwise alike */
};

void head_write(const struct head *head, unsigned char out[HEAD_SIZE]);
/* False: not a head of ours, or damaged. */
bool head_read(const unsigned char *in, size_t len, struct head *head);

/* ---- what went wrong ------------------------------------------------------------------
 */

enum trouble_kind {
    TROUBLE_NONE,
    /* of the connection */
    TROUBLE_LOST,     /* refused, reset, closed */
    TROUBLE_TIMEOUT,  /* no answer in time */
    TROUBLE_PROTOCOL, /* not Redis, or beyond a limit of ours */
    TROUBLE_NOMEM,
    /* answers that are worth another try */
    TROUBLE_MOVED,
    TROUBLE_ASK,
    TROUBLE_TRYAGAIN,  /* some keys of a slot are here, some there */
    TROUBLE_CONTENDED, /* others changed it in between */
    TROUBLE_AWAY,      /* loading, busy, cluster down ... */
    TROUBLE_READONLY,  /* no master any more */
    TROUBLE_NOSCRIPT,
    TROUBLE_UNSAFE, /* stored, but not as safely as was asked */
    /* and that are not */
    TROUBLE_FULL,
    TROUBLE_BROKEN, /* the server cannot write its own files */
    TROUBLE_DENIED, /* password, rights */
    TROUBLE_UNKNOWN_COMMAND,
    TROUBLE_WRONG_TYPE,
    TROUBLE_TOO_LARGE,
    TROUBLE_OTHER
};

/* text: "HOST:PORT: cause", presentable. */
struct trouble {
    enum trouble_kind kind;
    uint16_t slot;      /* MOVED, ASK */
    struct endpoint to; /* likewise; host "": the one that answered */
    char text[320];
};

__attribute__((format(printf, 3, 4))) bool trouble_set(struct trouble *trouble,
                                                       enum trouble_kind kind,
                                                       const char *format, ...);
/* From a server's error text; where names the server.  Always false, for return. */
bool trouble_answer(struct trouble *trouble, const char *where, const char *text,
                    size_t len);
/* The status that a caller sees. */
int trouble_status(enum trouble_kind kind);
/* Text from outside for a message: bounded, control characters escaped, arguments that
 * a server repeats cut off. */
void clean_text(char *out, size_t room, const char *text, size_t len);

/* ---- endpoints
 * ------------------------------------------------------------------------- */

/* "host", "host:port", "[::1]:port"; port where there is none. */
bool endpoint_parse(const char *text, size_t len, uint16_t port,
                    struct endpoint *endpoint);
void endpoint_text(const struct endpoint *endpoint, char out[ENDPOINT_TEXT]);
bool endpoint_same(const struct endpoint *a, const struct endpoint *b);

#endif

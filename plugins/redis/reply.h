/* plugins/redis/reply.h - a parsed answer of a server, whatever parsed it. */
#ifndef MAKO_REDIS_REPLY_H
#define MAKO_REDIS_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum reply_type {
    REPLY_STATUS,
    REPLY_ERROR,
    REPLY_BULK,
    REPLY_INTEGER,
    REPLY_NIL,
    REPLY_ARRAY
};

struct reply {
    enum reply_type type;
    int64_t integer;
    size_t len;           /* bytes of text, or number of items */
    struct reply **items; /* of an array */
    char text[];          /* of the first three types; ends with a NUL */
};

static inline bool reply_is_text(const struct reply *reply)
{
    return reply->type == REPLY_STATUS || reply->type == REPLY_BULK;
}

static inline bool reply_says(const struct reply *reply, const char *text)
{
    return reply_is_text(reply) && strcmp(reply->text, text) == 0;
}

/* The item of an array, or NULL where it is none, or too short. */
static inline const struct reply *reply_item(const struct reply *reply, size_t i)
{
    return reply->type == REPLY_ARRAY && i < reply->len ? reply->items[i] : NULL;
}

#endif

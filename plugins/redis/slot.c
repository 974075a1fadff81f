/* plugins/redis/slot.c - CRC16 (XMODEM) of the hash tag, and CLUSTER SLOTS. */
#include "slot.h"

#include "codec.h"

static uint16_t crc16(const unsigned char *bytes, size_t len)
{
    /* The polynomial 0x1021 for four bits at a time. */
    static const uint16_t table[16] = {0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5,
                                       0x60c6, 0x70e7, 0x8108, 0x9129, 0xa14a, 0xb16b,
                                       0xc18c, 0xd1ad, 0xe1ce, 0xf1ef};
    uint16_t crc = 0;

    for (size_t i = 0; i < len; i++) {
        crc = (uint16_t)((crc << 4) ^ table[(crc >> 12) ^ (bytes[i] >> 4)]);
        crc = (uint16_t)((crc << 4) ^ table[(crc >> 12) ^ (bytes[i] & 15)]);
    }
    return crc;
}

/* What stands between the first '{' and the next '}', where that is not empty. */
uint16_t slot_of(const char *key, size_t len)
{
    const char *open = memchr(key, '{', len), *close = NULL;

    if (open != NULL)
        close = memchr(open + 1, '}', len - (size_t)(open + 1 - key));
    if (close != NULL && close > open + 1) {
        len = (size_t)(close - open - 1);
        key = open + 1;
    }
    return crc16((const unsigned char *)key, len) % SLOTS;
}

static uint16_t map_master(struct slot_map *map, const struct endpoint *endpoint)
{
    for (size_t i = 0; i < map->count; i++)
        if (endpoint_same(&map->masters[i], endpoint))
            return (uint16_t)i;
    if (map->count == MASTERS_MAX)
        return SLOT_NOBODY;
    map->masters[map->count] = *endpoint;
    return (uint16_t)map->count++;
}

/* [host, port, ...]; an empty or missing host is the server that was asked, "?" is one
 * that nobody knows. */
static bool read_node(const struct reply *node, const struct endpoint *from,
                      struct endpoint *endpoint)
{
    const struct reply *host = reply_item(node, 0), *port = reply_item(node, 1);

    if (host == NULL || port == NULL || port->type != REPLY_INTEGER ||
        port->integer <= 0 || port->integer > 65535)
        return false;
    *endpoint = *from;
    if (reply_is_text(host) && host->len > 0) {
        if (host->len >= sizeof endpoint->host || strcmp(host->text, "?") == 0)
            return false;
        memcpy(endpoint->host, host->text, host->len + 1);
    } else if (host->type != REPLY_NIL && !reply_is_text(host)) {
        return false;
    }
    endpoint->port = (uint16_t)port->integer;
    return true;
}

static bool read_range(const struct reply *range, const struct endpoint *from,
                       struct slot_map *map)
{
    const struct reply *first = reply_item(range, 0), *last = reply_item(range, 1);
    const struct reply *node = reply_item(range, 2);
    struct endpoint endpoint;
    uint16_t owner;

    if (first == NULL || last == NULL || first->type != REPLY_INTEGER ||
        last->type != REPLY_INTEGER || first->integer < 0 ||
        first->integer > last->integer || last->integer >= (int64_t)SLOTS)
        return false;
    if (node == NULL || !read_node(node, from, &endpoint))
        return true; /* a range without a master that we could reach */
    owner = map_master(map, &endpoint);
    for (int64_t slot = first->integer; slot <= last->integer; slot++)
        map->owner[slot] = owner;
    return true;
}

bool slot_map_read(const struct reply *reply, const struct endpoint *from,
                   struct slot_map *map)
{
    if (reply->type != REPLY_ARRAY)
        return false;
    map->count = 0;
    for (size_t slot = 0; slot < SLOTS; slot++)
        map->owner[slot] = SLOT_NOBODY;
    for (size_t i = 0; i < reply->len; i++)
        if (!read_range(reply->items[i], from, map))
            return false;
    return map->count > 0;
}

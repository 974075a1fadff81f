/* plugins/redis/codec.c - keys, heads of values, errors of servers, endpoints. */
#include "codec.h"

#include <endian.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "slot.h"

/* ---- keys ------------------------------------------------------------------------- */

static bool plain(unsigned char c)
{
    static const bool special['~' + 1] = {
        ['%'] = true, ['{'] = true, ['}'] = true, ['*'] = true,
        ['?'] = true, ['['] = true, [']'] = true, ['\\'] = true};

    return c > 0x20 && c < 0x7f && !special[c];
}

static size_t percent_encode(char *out, struct mako_str in)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t at = 0;

    for (size_t i = 0; i < in.len; i++) {
        unsigned char c = (unsigned char)in.ptr[i];

        if (plain(c)) {
            out[at++] = (char)c;
        } else {
            out[at++] = '%';
            out[at++] = digits[c >> 4];
            out[at++] = digits[c & 15];
        }
    }
    return at;
}

bool key_make(const struct settings *settings, struct mako_str stream, char *room,
              struct key *key)
{
    size_t at = settings->key_prefix_len;

    if (stream.len > KEY_ID_MAX)
        return false;
    memcpy(room, settings->key_prefix, at);
    room[at++] = '{';
    at += percent_encode(room + at, stream);
    room[at++] = '}';
    room[at] = '\0';
    key->text = room;
    key->len = at;
    key->slot = settings->mode == MODE_CLUSTER ? slot_of(room, at) : 0;
    return true;
}

size_t key_tmp(const struct key *key, uint64_t number, char out[KEY_TMP_MAX])
{
    memcpy(out, key->text, key->len);
    (void)snprintf(out + key->len, KEY_TMP_MAX - key->len, ":%016llx",
                   (unsigned long long)number);
    return key->len + 17;
}

bool key_pattern(const struct settings *settings, struct mako_str prefix,
                 char out[KEY_PATTERN_MAX])
{
    size_t at = 0;

    if (prefix.len > KEY_ID_MAX)
        return false;
    for (size_t i = 0; i < settings->key_prefix_len; i++) {
        if (strchr("*?[]\\", settings->key_prefix[i]) != NULL)
            out[at++] = '\\';
        out[at++] = settings->key_prefix[i];
    }
    out[at++] = '{';
    at += percent_encode(out + at, prefix);
    memcpy(out + at, "*}", 3);
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* One byte of an id, canonical form only, so that no two keys are the same stream. */
static bool decode_byte(const char **in, const char *end, char *out)
{
    unsigned char c = (unsigned char)*(*in)++;
    int high, low;

    if (c != '%') {
        *out = (char)c;
        return plain(c);
    }
    if (end - *in < 2)
        return false;
    high = hex_digit((*in)[0]);
    low = hex_digit((*in)[1]);
    *in += 2;
    if (high < 0 || low < 0)
        return false;
    c = (unsigned char)(high * 16 + low);
    *out = (char)c;
    return c != 0 && !plain(c);
}

bool key_decode(const struct settings *settings, const char *text, size_t len,
                char out[KEY_ID_MAX + 1], size_t *out_len)
{
    size_t prefix = settings->key_prefix_len, at = 0;
    const char *in = text + prefix + 1, *end = text + len - 1;

    if (len < prefix + 3 || memcmp(text, settings->key_prefix, prefix) != 0 ||
        text[prefix] != '{' || *end != '}')
        return false;
    while (in < end)
        if (at == KEY_ID_MAX || !decode_byte(&in, end, &out[at++]))
            return false;
    out[at] = '\0';
    *out_len = at;
    return true;
}

/* ---- the head of a value ------------------------------------------------------------
 */

static const unsigned char lead[8] = {'M', 'K', 'R', 'V', 1, 0, 0, HEAD_SIZE};

static void put_8(unsigned char *out, uint64_t value)
{
    value = htobe64(value);
    memcpy(out, &value, sizeof value);
}

static void put_4(unsigned char *out, uint32_t value)
{
    value = htobe32(value);
    memcpy(out, &value, sizeof value);
}

static uint64_t get_8(const unsigned char *in)
{
    uint64_t value;

    memcpy(&value, in, sizeof value);
    return be64toh(value);
}

static uint32_t get_4(const unsigned char *in)
{
    uint32_t value;

    memcpy(&value, in, sizeof value);
    return be32toh(value);
}

/* The check counts as zero in its own sum. */
static uint32_t head_check(const unsigned char in[HEAD_SIZE])
{
    unsigned char copy[HEAD_SIZE];

    memcpy(copy, in, HEAD_SIZE);
    memset(copy + 20, 0, 4);
    return (uint32_t)XXH3_64bits(copy, HEAD_SIZE);
}

void head_write(const struct head *head, unsigned char out[HEAD_SIZE])
{
    memcpy(out, lead, sizeof lead);
    put_8(out + 8, head->meta.seq);
    put_4(out + 16, head->meta.schema);
    put_8(out + 24, (uint64_t)head->meta.created_ms);
    put_8(out + 32, head->blob_len);
    put_8(out + 40, head->nonce);
    put_4(out + 20, head_check(out));
}

bool head_read(const unsigned char *in, size_t len, struct head *head)
{
    if (len < HEAD_SIZE || memcmp(in, lead, sizeof lead) != 0 ||
        get_4(in + 20) != head_check(in))
        return false;
    *head = (struct head){.meta = {.seq = get_8(in + 8),
                                   .schema = get_4(in + 16),
                                   .created_ms = (int64_t)get_8(in + 24)},
                          .blob_len = get_8(in + 32),
                          .nonce = get_8(in + 40)};
    return true;
}

/* ---- what went wrong ------------------------------------------------------------------
 */

bool trouble_set(struct trouble *trouble, enum trouble_kind kind, const char *format, ...)
{
    va_list args;

    trouble->kind = kind;
    va_start(args, format);
    (void)vsnprintf(trouble->text, sizeof trouble->text, format, args);
    va_end(args);
    return false;
}

void clean_text(char *out, size_t room, const char *text, size_t len)
{
    static const char echo[] = "with args beginning";
    const char *cut = memmem(text, len, echo, sizeof echo - 1);
    size_t at = 0;

    if (cut != NULL)
        len = (size_t)(cut - text);
    for (size_t i = 0; i < len && at + 5 < room; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c >= 0x20 && c < 0x7f)
            out[at++] = (char)c;
        else
            at += (size_t)snprintf(out + at, room - at, "\\x%02x", c);
    }
    while (at > 0 && (out[at - 1] == ' ' || out[at - 1] == ','))
        at--;
    out[at] = '\0';
}

static const struct {
    const char *starts;
    enum trouble_kind kind;
} answers[] = {
    {"MOVED ", TROUBLE_MOVED},
    {"ASK ", TROUBLE_ASK},
    {"TRYAGAIN", TROUBLE_TRYAGAIN},
    {"CLUSTERDOWN", TROUBLE_AWAY},
    {"LOADING", TROUBLE_AWAY},
    {"MASTERDOWN", TROUBLE_AWAY},
    {"BUSY", TROUBLE_AWAY},
    {"UNBLOCKED", TROUBLE_AWAY},
    {"ERR max number of clients", TROUBLE_AWAY},
    {"READONLY", TROUBLE_READONLY},
    {"NOSCRIPT", TROUBLE_NOSCRIPT},
    {"NOREPLICAS", TROUBLE_UNSAFE},
    {"OOM", TROUBLE_FULL},
    {"MISCONF", TROUBLE_BROKEN},
    {"NOAUTH", TROUBLE_DENIED},
    {"WRONGPASS", TROUBLE_DENIED},
    {"NOPERM", TROUBLE_DENIED},
    {"ERR AUTH ", TROUBLE_DENIED},
    {"ERR invalid password", TROUBLE_DENIED},
    {"ERR The user executing the script", TROUBLE_DENIED},
    {"ERR WAITAOF cannot be used with replica", TROUBLE_READONLY},
    {"ERR unknown command", TROUBLE_UNKNOWN_COMMAND},
    {"ERR unknown subcommand", TROUBLE_UNKNOWN_COMMAND},
    {"ERR Unknown subcommand", TROUBLE_UNKNOWN_COMMAND},
    {"WRONGTYPE", TROUBLE_WRONG_TYPE},
    {"ERR Protocol error: invalid bulk length", TROUBLE_TOO_LARGE},
    {"ERR string exceeds maximum allowed size", TROUBLE_TOO_LARGE},
};

/* "MOVED 3999 127.0.0.1:6381"; the host may be left out. */
static bool read_redirect(const char *text, struct trouble *trouble)
{
    const char *at = strchr(text, ' ');
    unsigned long slot;
    char *end;

    if (at == NULL)
        return false;
    slot = strtoul(at + 1, &end, 10);
    if (slot >= SLOTS || *end != ' ')
        return false;
    trouble->slot = (uint16_t)slot;
    at = end + 1;
    if (*at == ':' && strchr(at + 1, ':') == NULL) { /* no address, else of IPv6 */
        slot = strtoul(at + 1, &end, 10);
        trouble->to = (struct endpoint){.port = (uint16_t)slot};
        return slot > 0 && slot < 65536 && *end == '\0';
    }
    return endpoint_parse(at, strlen(at), 0, &trouble->to) && trouble->to.port != 0;
}

/* Before 7.0 what a script was told stands in the middle. */
static enum trouble_kind kind_of(const char *text)
{
    static const char of_script[] = "ERR Error running script";
    const char *inner = strstr(text, ": -");

    if (inner != NULL && strncmp(text, of_script, sizeof of_script - 1) == 0)
        text = inner + 3;
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++)
        if (strncmp(text, answers[i].starts, strlen(answers[i].starts)) == 0)
            return answers[i].kind;
    return TROUBLE_OTHER;
}

bool trouble_answer(struct trouble *trouble, const char *where, const char *text,
                    size_t len)
{
    enum trouble_kind kind = kind_of(text);
    char clean[200];

    if ((kind == TROUBLE_MOVED || kind == TROUBLE_ASK) && !read_redirect(text, trouble))
        kind = TROUBLE_OTHER;
    if (kind == TROUBLE_BROKEN && strstr(text, "No space left") != NULL)
        kind = TROUBLE_FULL;
    clean_text(clean, sizeof clean, text, len);
    return trouble_set(trouble, kind, "%.110s: %s", where, clean);
}

int trouble_status(enum trouble_kind kind)
{
    switch (kind) {
    case TROUBLE_NONE:
        return MAKO_OK;
    case TROUBLE_NOMEM:
        return MAKO_E_NOMEM;
    case TROUBLE_FULL:
        return MAKO_E_NO_SPACE;
    case TROUBLE_TOO_LARGE:
        return MAKO_E_LIMIT;
    case TROUBLE_LOST:
    case TROUBLE_TIMEOUT:
    case TROUBLE_MOVED:
    case TROUBLE_ASK:
    case TROUBLE_TRYAGAIN:
    case TROUBLE_CONTENDED:
    case TROUBLE_AWAY:
    case TROUBLE_READONLY:
        return MAKO_E_UNAVAILABLE;
    case TROUBLE_PROTOCOL:
    case TROUBLE_NOSCRIPT:
    case TROUBLE_UNSAFE:
    case TROUBLE_BROKEN:
    case TROUBLE_DENIED:
    case TROUBLE_UNKNOWN_COMMAND:
    case TROUBLE_WRONG_TYPE:
    case TROUBLE_OTHER:
        return MAKO_E_IO;
    }
    return MAKO_E_IO;
}

/* ---- endpoints
 * ------------------------------------------------------------------------- */

static bool parse_port(const char *text, size_t len, uint16_t *port)
{
    unsigned long value = 0;

    if (len == 0 || len > 5)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        value = value * 10 + (unsigned long)(text[i] - '0');
    }
    *port = (uint16_t)value;
    return value > 0 && value < 65536;
}

/* What no host's name has in it; a server's answer may have it. */
static bool may_be_host(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] <= 0x20 || text[i] >= 0x7f || strchr(",[]", text[i]) != NULL)
            return false;
    return true;
}

bool endpoint_parse(const char *text, size_t len, uint16_t port,
                    struct endpoint *endpoint)
{
    const char *colon = memrchr(text, ':', len);
    const char *bracket = len > 0 && text[0] == '[' ? memchr(text, ']', len) : NULL;
    size_t host_len = len;

    if (len > 0 && text[0] == '[' && bracket == NULL)
        return false;
    if (bracket != NULL && colon != NULL && colon < bracket)
        colon = NULL;
    endpoint->port = port;
    if (colon != NULL) {
        host_len = (size_t)(colon - text);
        if (!parse_port(colon + 1, len - host_len - 1, &endpoint->port))
            return false;
    }
    if (bracket != NULL) {
        if (bracket + 1 != text + host_len)
            return false;
        text++;
        host_len -= 2;
    }
    if (host_len == 0 || host_len >= sizeof endpoint->host ||
        !may_be_host(text, host_len))
        return false;
    memset(endpoint->host, 0, sizeof endpoint->host);
    memcpy(endpoint->host, text, host_len);
    return true;
}

void endpoint_text(const struct endpoint *endpoint, char out[ENDPOINT_TEXT])
{
    char host[260];

    clean_text(host, sizeof host, endpoint->host, strlen(endpoint->host));
    if (endpoint->port == 0)
        (void)snprintf(out, ENDPOINT_TEXT, "unix:%s", host);
    else if (strchr(host, ':') != NULL)
        (void)snprintf(out, ENDPOINT_TEXT, "[%s]:%u", host, (unsigned)endpoint->port);
    else
        (void)snprintf(out, ENDPOINT_TEXT, "%s:%u", host, (unsigned)endpoint->port);
}

bool endpoint_same(const struct endpoint *a, const struct endpoint *b)
{
    return a->port == b->port && strcmp(a->host, b->host) == 0;
}

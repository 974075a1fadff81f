/* record.c - see record.h.  What knows how bytes lie in the map stands here, and nothing
 * that knows of transactions, files or the host. */
#include "record.h"

#include <string.h>

/* A key that goes on behind CUT bytes of the id: NUL, hash, number.  One byte is left, so
 * that "just behind this key" is a key as well. */
#define CUT      496u
#define HASH_AT  (CUT + 1)
#define NTH_AT   (HASH_AT + 4)
#define LONG_LEN (NTH_AT + 4)

_Static_assert(LONG_LEN < RECORD_KEY_MAX, "no room for a byte behind a long key");

struct head {
    uint64_t seq;
    int64_t created_ms;
    uint32_t schema, id_len;
};

static MDB_val val(const void *bytes, size_t len)
{
    return (MDB_val){.mv_size = len, .mv_data = (void *)(uintptr_t)bytes};
}

static void put_number(unsigned char *bytes, uint32_t number)
{
    for (int i = 0; i < 4; i++)
        bytes[i] = (unsigned char)(number >> (24 - 8 * i));
}

static uint32_t get_number(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
           bytes[3];
}

/* FNV-1a.  Ids with the same hash are told apart by their number, so it may be weak. */
static uint32_t hash(struct mako_str stream)
{
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < stream.len; i++)
        h = (h ^ (unsigned char)stream.ptr[i]) * 16777619u;
    return h;
}

static bool has_prefix(MDB_val key, const void *prefix, size_t len)
{
    return key.mv_size >= len && memcmp(key.mv_data, prefix, len) == 0;
}

/* Whatever the bytes are, nothing outside of them is looked at. */
static bool parse(MDB_val value, struct record *record)
{
    const char *bytes = value.mv_data;
    struct head head;

    if (value.mv_size < sizeof head)
        return false;
    memcpy(&head, bytes, sizeof head);
    if (head.id_len == 0 || head.id_len > value.mv_size - sizeof head)
        return false;
    *record = (struct record){
        .stream = {.ptr = bytes + sizeof head, .len = head.id_len},
        .meta = {.seq = head.seq, .schema = head.schema, .created_ms = head.created_ms},
        .blob = bytes + sizeof head + head.id_len,
        .blob_len = value.mv_size - sizeof head - head.id_len};
    return true;
}

static bool is_of(const struct record *record, struct mako_str stream)
{
    return record->stream.len == stream.len &&
           memcmp(record->stream.ptr, stream.ptr, stream.len) == 0;
}

/* ---- finding ---------------------------------------------------------------------- */

static int find_short(MDB_txn *txn, MDB_dbi dbi, struct mako_str stream,
                      struct record_key *key, struct record *record)
{
    MDB_val k, value;
    int code;

    memcpy(key->bytes, stream.ptr, stream.len);
    key->len = stream.len;
    k = val(key->bytes, key->len);
    code = mdb_get(txn, dbi, &k, &value);
    if (code == 0 && !(parse(value, record) && is_of(record, stream)))
        *record = (struct record){.stream = stream, .damaged = true};
    return code;
}

/* Look at each record whose cut id and hash are these: one, nearly always.  The number
 * that is free is the one behind the last. */
static int walk_long(MDB_cursor *cursor, struct mako_str stream, struct record_key *key,
                     struct record *record)
{
    MDB_val k = val(key->bytes, key->len), value;
    int code = mdb_cursor_get(cursor, &k, &value, MDB_SET_RANGE);

    while (code == 0 && k.mv_size == LONG_LEN && has_prefix(k, key->bytes, NTH_AT)) {
        uint32_t nth = get_number((const unsigned char *)k.mv_data + NTH_AT);

        put_number(key->bytes + NTH_AT, nth);
        if (parse(value, record) && is_of(record, stream))
            return 0;
        if (nth == UINT32_MAX)
            return MDB_BAD_VALSIZE;
        put_number(key->bytes + NTH_AT, nth + 1);
        code = mdb_cursor_get(cursor, &k, &value, MDB_NEXT);
    }
    return code == 0 ? MDB_NOTFOUND : code;
}

static int find_long(MDB_txn *txn, MDB_dbi dbi, struct mako_str stream,
                     struct record_key *key, struct record *record)
{
    MDB_cursor *cursor;
    int code = mdb_cursor_open(txn, dbi, &cursor);

    if (code != 0)
        return code;
    memcpy(key->bytes, stream.ptr, CUT);
    key->bytes[CUT] = '\0';
    put_number(key->bytes + HASH_AT, hash(stream));
    put_number(key->bytes + NTH_AT, 0);
    key->len = LONG_LEN;
    code = walk_long(cursor, stream, key, record);
    mdb_cursor_close(cursor);
    return code;
}

int record_find(MDB_txn *txn, MDB_dbi dbi, struct mako_str stream, struct record_key *key,
                struct record *record)
{
    if (stream.len <= CUT)
        return find_short(txn, dbi, stream, key, record);
    return find_long(txn, dbi, stream, key, record);
}

/* ---- changing --------------------------------------------------------------------- */

bool record_fits(const struct mako_record *record)
{
    return record->blob_len <= UINT32_MAX - sizeof(struct head) - record->stream.len;
}

/* MDB_RESERVE gives the place in the map's own page: the blob is copied once. */
int record_put(MDB_txn *txn, MDB_dbi dbi, const struct record_key *key,
               const struct mako_record *record)
{
    struct head head = {.seq = record->meta.seq,
                        .created_ms = record->meta.created_ms,
                        .schema = record->meta.schema,
                        .id_len = (uint32_t)record->stream.len};
    MDB_val k = val(key->bytes, key->len);
    MDB_val value = {.mv_size = sizeof head + record->stream.len + record->blob_len};
    int code = mdb_put(txn, dbi, &k, &value, MDB_RESERVE);
    char *bytes = value.mv_data;

    if (code != 0)
        return code;
    memcpy(bytes, &head, sizeof head);
    memcpy(bytes + sizeof head, record->stream.ptr, record->stream.len);
    memcpy(bytes + sizeof head + record->stream.len, record->blob, record->blob_len);
    return 0;
}

int record_remove(MDB_txn *txn, MDB_dbi dbi, const struct record_key *key)
{
    MDB_val k = val(key->bytes, key->len);

    return mdb_del(txn, dbi, &k, NULL);
}

/* ---- walking ---------------------------------------------------------------------- */

/* LMDB has no empty key; a NUL comes before every id. */
void record_first(struct mako_str prefix, struct record_key *at)
{
    at->len = prefix.len < CUT ? prefix.len : CUT;
    memcpy(at->bytes, prefix.ptr, at->len);
    if (at->len == 0)
        at->bytes[at->len++] = '\0';
}

/* A damaged one is known by its key, if that is the whole id. */
static bool look_at(MDB_val key, MDB_val value, struct record *record)
{
    if (parse(value, record))
        return true;
    *record = (struct record){.stream = {.ptr = key.mv_data, .len = key.mv_size},
                              .damaged = true};
    return key.mv_size <= CUT;
}

static int walk(MDB_cursor *cursor, struct mako_str prefix, struct record_key *at,
                struct record *record)
{
    MDB_val k = val(at->bytes, at->len), value;
    int code = mdb_cursor_get(cursor, &k, &value, MDB_SET_RANGE);
    size_t len = prefix.len < CUT ? prefix.len : CUT;

    for (; code == 0 && has_prefix(k, prefix.ptr, len);
         code = mdb_cursor_get(cursor, &k, &value, MDB_NEXT)) {
        if (!look_at(k, value, record) || record->stream.len < prefix.len ||
            memcmp(record->stream.ptr, prefix.ptr, prefix.len) != 0)
            continue;
        memcpy(at->bytes, k.mv_data, k.mv_size);
        at->bytes[k.mv_size] = '\0'; /* the smallest key behind this one */
        at->len = k.mv_size + 1;
        return 0;
    }
    return code == 0 ? MDB_NOTFOUND : code;
}

int record_next(MDB_txn *txn, MDB_dbi dbi, struct mako_str prefix, struct record_key *at,
                struct record *record)
{
    MDB_cursor *cursor;
    int code = mdb_cursor_open(txn, dbi, &cursor);

    if (code != 0)
        return code;
    code = walk(cursor, prefix, at, record);
    mdb_cursor_close(cursor);
    return code;
}

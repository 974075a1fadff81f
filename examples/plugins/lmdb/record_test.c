/* record_test - record.c on an environment of its own: ids that only differ late, or
 * share a hash besides, and values that are none of ours.
 *
 *     record_test DIRECTORY */
#include "record.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                             \
    do {                                                                             \
        if (!(condition)) {                                                          \
            fprintf(stderr, "%s:%d: %s is false\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                                 \
        }                                                                            \
    } while (0)

enum {
    HEAD = 600, /* more than a key holds of an id */
    TRIES = 1000000,
    ROOM = 1 << 20 /* of a table of hashes */
};

static MDB_txn *txn;
static MDB_dbi dbi;

static void begin(const char *dir)
{
    MDB_env *env;

    CHECK(mdb_env_create(&env) == 0);
    CHECK(mdb_env_set_mapsize(env, 64u << 20) == 0);
    CHECK(mdb_env_open(env, dir, 0, 0600) == 0);
    CHECK(mdb_txn_begin(env, NULL, 0, &txn) == 0);
    CHECK(mdb_dbi_open(txn, NULL, 0, &dbi) == 0);
}

static struct mako_str str(const char *text)
{
    return (struct mako_str){.ptr = text, .len = strlen(text)};
}

static void put(const char *id, uint64_t seq)
{
    struct mako_record record = {
        .stream = str(id), .meta = {.seq = seq}, .blob = id, .blob_len = strlen(id)};
    struct record_key key;
    struct record found;
    int code = record_find(txn, dbi, record.stream, &key, &found);

    CHECK(code == 0 || code == MDB_NOTFOUND);
    CHECK(record_put(txn, dbi, &key, &record) == 0);
}

/* Its sequence; 0: there is none. */
static uint64_t get(const char *id)
{
    struct record_key key;
    struct record found;
    int code = record_find(txn, dbi, str(id), &key, &found);

    CHECK(code == 0 || code == MDB_NOTFOUND);
    CHECK(code != 0 || found.damaged || memcmp(found.blob, id, strlen(id)) == 0);
    return code == 0 ? found.meta.seq : 0;
}

static void drop(const char *id)
{
    struct record_key key;
    struct record found;

    CHECK(record_find(txn, dbi, str(id), &key, &found) == 0);
    CHECK(record_remove(txn, dbi, &key) == 0);
}

static unsigned count(const char *prefix)
{
    struct record_key at;
    struct record found;
    unsigned n = 0;

    record_first(str(prefix), &at);
    while (record_next(txn, dbi, str(prefix), &at, &found) == 0)
        n++;
    return n;
}

/* An id with a long head; spread, so that the hashes are as good as random. */
static void make_id(char *id, unsigned n)
{
    unsigned spread = n * 2654435761u ^ n << 7 ^ (n >> 3) * 0x5bd1e995u;

    memset(id, 'x', HEAD);
    (void)snprintf(id + HEAD, 16, "%08x", spread);
}

/* The key that an id which is not there would get. */
static void key_of(const char *id, struct record_key *key)
{
    struct record found;

    CHECK(record_find(txn, dbi, str(id), key, &found) == MDB_NOTFOUND);
}

/* Two ids that would have one key, but for the number at its end. */
static void find_twins(char *one, char *two)
{
    unsigned *table = calloc(ROOM, sizeof *table);
    struct record_key key, other;

    CHECK(table);
    for (unsigned n = 1; n < TRIES; n++) {
        unsigned at;

        make_id(two, n);
        key_of(two, &key);
        memcpy(&at, key.bytes + key.len - 8, sizeof at); /* the hash */
        at %= ROOM;
        make_id(one, table[at]);
        key_of(one, &other);
        if (table[at] != 0 && memcmp(key.bytes, other.bytes, key.len) == 0) {
            free(table);
            return;
        }
        table[at] = n;
    }
    CHECK(!"two ids with one hash were found");
}

static void twins(void)
{
    char one[HEAD + 16], two[HEAD + 16];

    find_twins(one, two);
    CHECK(strcmp(one, two) != 0);
    put(one, 1);
    CHECK(get(one) == 1 && get(two) == 0);
    put(two, 2);
    CHECK(get(one) == 1 && get(two) == 2);
    put(one, 3);
    put(two, 4);
    CHECK(get(one) == 3 && get(two) == 4);
    CHECK(count(one) == 1 && count(two) == 1 && count("x") == 2);
    drop(one);
    CHECK(get(one) == 0 && get(two) == 4);
    put(one, 5);
    CHECK(get(one) == 5 && get(two) == 4 && count("xx") == 2);
    drop(one);
    drop(two);
    CHECK(count("") == 0);
}

/* One id is the head of the next; each length around that at which keys are cut. */
static void lengths(void)
{
    char id[1025];

    for (size_t len = 1; len <= 1024; len++) {
        memset(id, 'y', len);
        id[len] = '\0';
        put(id, len);
    }
    for (size_t len = 1; len <= 1024; len++) {
        memset(id, 'y', len);
        id[len] = '\0';
        CHECK(get(id) == len);
        CHECK(count(id) == 1025 - len);
    }
    CHECK(count("") == 1024);
}

static void damage(void)
{
    MDB_val key = {.mv_size = 4, .mv_data = "yyyy"}, value = {4, "junk"};
    struct record_key where;
    struct record found;

    CHECK(mdb_put(txn, dbi, &key, &value, 0) == 0);
    CHECK(record_find(txn, dbi, str("yyyy"), &where, &found) == 0 && found.damaged);
    CHECK(count("") == 1024);
    put("yyyy", 9);
    CHECK(get("yyyy") == 9);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    begin(argv[1]);
    twins();
    lengths();
    damage();
    mdb_txn_abort(txn);
    return 0;
}

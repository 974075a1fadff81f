/* tests/redis/codec_test.c - the Redis store's pure parts, compiled in: keys, slots,
 * heads of values, what servers' errors mean, the answer to CLUSTER SLOTS.  No server. */
#include "codec.h"
#include "jitter.h"
#include "slot.h"

#include <stdalign.h>
#include <stdio.h>

#include <criterion/criterion.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(redis_keys, .timeout = 60);
TestSuite(redis_heads, .timeout = 60);
TestSuite(redis_errors, .timeout = 60);
TestSuite(redis_slots, .timeout = 60);
TestSuite(redis_pauses, .timeout = 60);

/* ---- keys ------------------------------------------------------------------------- */

static struct settings settings_with(const char *prefix)
{
    return (struct settings){
        .mode = MODE_CLUSTER, .key_prefix = prefix, .key_prefix_len = strlen(prefix)};
}

static struct mako_str str(const char *text)
{
    return (struct mako_str){.ptr = text, .len = strlen(text)};
}

/* As the server's CLUSTER KEYSLOT says. */
Test(redis_keys, slots_are_those_of_the_server)
{
    static const struct {
        const char *key;
        uint16_t slot;
    } rows[] = {{"a", 15495},
                {"b", 3300},
                {"c", 7365},
                {"d", 11298},
                {"e", 15363},
                {"f", 3168},
                {"snap:{}", 2909},
                {"snap:{}x", 5108},
                {"snap:{a%7D}", 5650},
                {"123456789", 12739},
                {"", 0},
                {"x{a}y{b}", 15495},
                {"{b", 6215},
                {"x}{b}", 3300}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint16_t slot = slot_of(rows[i].key, strlen(rows[i].key));

        cr_assert_eq(slot, rows[i].slot, "%s: %u", rows[i].key, slot);
    }
}

static void round_trip(const struct settings *settings, const char *id, size_t len)
{
    static char room[KEY_MAX + 1], back[KEY_ID_MAX + 1];
    struct key key = {0};
    size_t back_len = SIZE_MAX;

    cr_assert(key_make(settings, (struct mako_str){id, len}, room, &key));
    cr_assert_lt(key.len, (size_t)KEY_ROOM(len));
    cr_assert_eq(key.len, strlen(key.text));
    for (size_t i = 0; i < key.len; i++)
        cr_assert(key.text[i] > 0x20 && key.text[i] < 0x7f, "byte %zu", i);
    cr_assert_eq(key.slot, slot_of(key.text, key.len));
    cr_assert(key_decode(settings, key.text, key.len, back, &back_len), "%s", key.text);
    cr_assert_eq(back_len, len, "%s", key.text);
    cr_assert_eq(memcmp(back, id, len), 0, "%s", key.text);
}

Test(redis_keys, every_byte_comes_back)
{
    const struct settings settings = settings_with("snap:");
    char id[4] = "x?x", all[255], longest[KEY_ID_MAX];

    for (int c = 1; c < 256; c++) {
        id[1] = all[c - 1] = (char)c;
        round_trip(&settings, id, 3);
        round_trip(&settings, id + 1, 1);
    }
    round_trip(&settings, all, sizeof all);
    memset(longest, 0xff, sizeof longest);
    round_trip(&settings, longest, sizeof longest);
}

/* The id alone chooses the slot, and every key of a stream is in it. */
Test(redis_keys, braces_of_an_id_stay_in_the_tag)
{
    const struct settings settings = settings_with("snap:"), other = settings_with("o:");
    char room[KEY_MAX], room_2[KEY_MAX], tmp[KEY_TMP_MAX];
    struct key key, key_2;
    size_t len;

    cr_assert(key_make(&settings, str("a}"), room, &key));
    cr_assert_str_eq(key.text, "snap:{a%7D}");
    cr_assert_eq(key.slot, 5650);
    cr_assert(key_make(&other, str("a}"), room_2, &key_2));
    cr_assert_eq(key_2.slot, 5650);
    len = key_tmp(&key, 0x123456789abcdef0, tmp);
    cr_assert_str_eq(tmp, "snap:{a%7D}:123456789abcdef0");
    cr_assert_eq(len, strlen(tmp));
    cr_assert_eq(slot_of(tmp, len), 5650);
    cr_assert(key_make(&settings, str("{x}{y}"), room, &key));
    cr_assert_str_eq(key.text, "snap:{%7Bx%7D%7By%7D}");
}

Test(redis_keys, one_byte_too_long_is_refused)
{
    const struct settings settings = settings_with("snap:");
    static char id[KEY_ID_MAX + 1], room[KEY_ROOM(KEY_ID_MAX + 1)],
        pattern[KEY_PATTERN_MAX];
    struct key key = {0};

    memset(id, 'i', sizeof id);
    cr_assert_not(key_make(&settings, (struct mako_str){id, sizeof id}, room, &key));
    cr_assert_null(key.text);
    cr_assert_not(key_pattern(&settings, (struct mako_str){id, sizeof id}, pattern));
}

/* Only the canonical spelling of a key is a stream of ours. */
Test(redis_keys, foreign_keys_are_no_streams)
{
    static const char *const foreign[] = {"",
                                          "snap:",
                                          "snap:{",
                                          "snap:}",
                                          "snap:{a",
                                          "snap:a}",
                                          "snap{a}",
                                          "snip:{a}",
                                          "snap:{a}:0123456789abcdef",
                                          "snap:{%}",
                                          "snap:{%4}",
                                          "snap:{%41}",
                                          "snap:{%7d}",
                                          "snap:{%00}",
                                          "snap:{%zz}",
                                          "snap:{a}b}",
                                          "snap:{a b}",
                                          "snap:{*}",
                                          "snap:{a{b}",
                                          "snap:{\x7f}",
                                          "snap:{\xc3\xa4}",
                                          "snap:{%C3%}",
                                          "snap:{\n}"};
    const struct settings settings = settings_with("snap:");
    char id[KEY_ID_MAX + 1];
    size_t len;

    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++)
        cr_assert_not(key_decode(&settings, foreign[i], strlen(foreign[i]), id, &len),
                      "%s", foreign[i]);
}

Test(redis_keys, patterns_are_escaped)
{
    const struct settings settings = settings_with("s[1]*?\\");
    char out[KEY_PATTERN_MAX];

    cr_assert(key_pattern(&settings, str("a*b/{"), out));
    cr_assert_str_eq(out, "s\\[1\\]\\*\\?\\\\{a%2Ab/%7B*}");
    cr_assert(key_pattern(&settings, str(""), out));
    cr_assert_str_eq(out, "s\\[1\\]\\*\\?\\\\{*}");
}

/* ---- the head of a value ------------------------------------------------------------
 */

static const struct head sample = {.meta = {.seq = 0xfedcba9876543210,
                                            .schema = 0x89abcdef,
                                            .created_ms = 1700000000123},
                                   .blob_len = 0x0123456789,
                                   .nonce = 0xf0f1f2f3f4f5f6f7};

Test(redis_heads, come_back_and_keep_their_places)
{
    static const unsigned char seq[8] = {0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10};
    unsigned char bytes[HEAD_SIZE];
    struct head back;

    head_write(&sample, bytes);
    cr_assert_eq(memcmp(bytes, "MKRV\1", 5), 0);
    cr_assert_eq(memcmp(bytes + HEAD_SEQ, seq, 8), 0, "the scripts read it there");
    cr_assert(head_read(bytes, sizeof bytes, &back));
    cr_assert_eq(back.meta.seq, sample.meta.seq);
    cr_assert_eq(back.meta.schema, sample.meta.schema);
    cr_assert_eq(back.meta.created_ms, sample.meta.created_ms);
    cr_assert_eq(back.blob_len, sample.blob_len);
    cr_assert_eq(back.nonce, sample.nonce);
}

Test(redis_heads, cut_short_are_refused)
{
    unsigned char bytes[HEAD_SIZE];
    struct head back = {.nonce = 7};

    head_write(&sample, bytes);
    for (size_t len = 0; len < HEAD_SIZE; len++)
        cr_assert_not(head_read(bytes, len, &back), "%zu bytes", len);
    cr_assert_eq(back.nonce, 7, "nothing is touched");
}

Test(redis_heads, every_flipped_bit_is_seen)
{
    unsigned char bytes[HEAD_SIZE];
    struct head back;

    head_write(&sample, bytes);
    for (size_t bit = 0; bit < 8 * HEAD_SIZE; bit++) {
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        cr_assert_not(head_read(bytes, sizeof bytes, &back), "bit %zu", bit);
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    cr_assert(head_read(bytes, sizeof bytes, &back));
}

/* ---- what went wrong ------------------------------------------------------------------
 */

static const struct {
    const char *text;
    enum trouble_kind kind;
    int status;
} answers[] = {
    {"ERR max number of clients reached", TROUBLE_AWAY, MAKO_E_UNAVAILABLE},
    {"LOADING Redis is loading the dataset in memory", TROUBLE_AWAY, MAKO_E_UNAVAILABLE},
    {"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN "
     "NOSAVE.",
     TROUBLE_AWAY, MAKO_E_UNAVAILABLE},
    {"TRYAGAIN Multiple keys request during rehashing of slot", TROUBLE_TRYAGAIN,
     MAKO_E_UNAVAILABLE},
    {"CLUSTERDOWN The cluster is down", TROUBLE_AWAY, MAKO_E_UNAVAILABLE},
    {"CLUSTERDOWN Hash slot not served", TROUBLE_AWAY, MAKO_E_UNAVAILABLE},
    {"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
     TROUBLE_AWAY, MAKO_E_UNAVAILABLE},
    {"UNBLOCKED force unblock from blocking operation, instance state changed (master -> "
     "replica?)",
     TROUBLE_AWAY, MAKO_E_UNAVAILABLE},
    {"READONLY You can't write against a read only replica.", TROUBLE_READONLY,
     MAKO_E_UNAVAILABLE},
    {"ERR Error running script (call to f_0123): @user_script:20: @user_script: 20: "
     "-READONLY You can't write against a read only replica.",
     TROUBLE_READONLY, MAKO_E_UNAVAILABLE},
    {"ERR Error running script (call to f_0123): @user_script:20: nil", TROUBLE_OTHER,
     MAKO_E_IO},
    {"READONLY You can't write against a read only replica. script: 0123, on "
     "@user_script:1.",
     TROUBLE_READONLY, MAKO_E_UNAVAILABLE},
    {"MOVED 3999 127.0.0.1:6381", TROUBLE_MOVED, MAKO_E_UNAVAILABLE},
    {"ASK 3999 127.0.0.1:6381", TROUBLE_ASK, MAKO_E_UNAVAILABLE},
    {"NOREPLICAS Not enough good replicas to write.", TROUBLE_UNSAFE, MAKO_E_IO},
    {"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to "
     "persist to disk.",
     TROUBLE_BROKEN, MAKO_E_IO},
    {"MISCONF Errors writing to the AOF file: No space left on device", TROUBLE_FULL,
     MAKO_E_NO_SPACE},
    {"OOM command not allowed when used memory > 'maxmemory'.", TROUBLE_FULL,
     MAKO_E_NO_SPACE},
    {"NOAUTH Authentication required.", TROUBLE_DENIED, MAKO_E_IO},
    {"WRONGPASS invalid username-password pair or user is disabled.", TROUBLE_DENIED,
     MAKO_E_IO},
    {"ERR AUTH <password> called without any password configured for the default user. "
     "Are you sure your configuration is correct?",
     TROUBLE_DENIED, MAKO_E_IO},
    {"NOPERM this user has no permissions to run the 'config|get' command",
     TROUBLE_DENIED, MAKO_E_IO},
    {"ERR The user executing the script can't run this command or subcommand script: "
     "0123, on @user_script:1.",
     TROUBLE_DENIED, MAKO_E_IO},
    {"NOSCRIPT No matching script. Please use EVAL.", TROUBLE_NOSCRIPT, MAKO_E_IO},
    {"ERR unknown command 'waitaof', with args beginning with: '1' '0' ",
     TROUBLE_UNKNOWN_COMMAND, MAKO_E_IO},
    {"WRONGTYPE Operation against a key holding the wrong kind of value",
     TROUBLE_WRONG_TYPE, MAKO_E_IO},
    {"ERR Protocol error: invalid bulk length", TROUBLE_TOO_LARGE, MAKO_E_LIMIT},
    {"ERR string exceeds maximum allowed size (proto-max-bulk-len)", TROUBLE_TOO_LARGE,
     MAKO_E_LIMIT},
    {"CROSSSLOT Keys in request don't hash to the same slot", TROUBLE_OTHER, MAKO_E_IO},
    {"ERR Script attempted to access a non local key in a cluster node", TROUBLE_OTHER,
     MAKO_E_IO},
    {"ERR anything else", TROUBLE_OTHER, MAKO_E_IO},
    {"", TROUBLE_OTHER, MAKO_E_IO},
    /* Redirections that lead nowhere. */
    {"MOVED", TROUBLE_OTHER, MAKO_E_IO},
    {"MOVED 16384 127.0.0.1:6381", TROUBLE_OTHER, MAKO_E_IO},
    {"MOVED 1 127.0.0.1", TROUBLE_OTHER, MAKO_E_IO},
    {"MOVED 1 127.0.0.1:0", TROUBLE_OTHER, MAKO_E_IO},
    {"MOVED 1 127.0.0.1:65536", TROUBLE_OTHER, MAKO_E_IO},
    {"MOVED x 127.0.0.1:6381", TROUBLE_OTHER, MAKO_E_IO},
    {"ASK 1 :", TROUBLE_OTHER, MAKO_E_IO},
    {"ASK -1 127.0.0.1:6381", TROUBLE_OTHER, MAKO_E_IO},
};

Test(redis_errors, mean_what_the_table_says)
{
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        const char *text = answers[i].text;
        struct trouble trouble = {.kind = TROUBLE_NONE};

        cr_assert_not(trouble_answer(&trouble, "h:1", text, strlen(text)));
        cr_assert_eq(trouble.kind, answers[i].kind, "%s: kind %d", text,
                     (int)trouble.kind);
        cr_assert_eq(trouble_status(trouble.kind), answers[i].status, "%s", text);
        cr_assert_eq(strncmp(trouble.text, "h:1: ", 5), 0, "%s", trouble.text);
        cr_assert_eq(
            strncmp(trouble.text + 5, text, strlen(text) < 16 ? strlen(text) : 16), 0,
            "%s", trouble.text);
    }
}

Test(redis_errors, redirections_name_slot_and_server)
{
    static const struct {
        const char *text, *host;
        uint16_t slot, port;
    } rows[] = {{"MOVED 3999 127.0.0.1:6381", "127.0.0.1", 3999, 6381},
                {"ASK 16383 redis-2.example:1", "redis-2.example", 16383, 1},
                {"MOVED 0 :65535", "", 0, 65535},
                {"MOVED 7 [::1]:6379", "::1", 7, 6379},
                {"MOVED 7 fe80::1:6379", "fe80::1", 7, 6379},
                {"MOVED 7 ::1:6379", "::1", 7, 6379}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct trouble trouble = {.kind = TROUBLE_NONE};

        (void)trouble_answer(&trouble, "h:1", rows[i].text, strlen(rows[i].text));
        cr_assert(trouble.kind == TROUBLE_MOVED || trouble.kind == TROUBLE_ASK);
        cr_assert_eq(trouble.slot, rows[i].slot, "%s", rows[i].text);
        cr_assert_eq(trouble.to.port, rows[i].port, "%s", rows[i].text);
        cr_assert_str_eq(trouble.to.host, rows[i].host);
    }
}

Test(redis_errors, texts_are_bounded_and_clean)
{
    static const char evil[] = "ERR \x1b[31m\r\n\xff unknown command 'x', with args "
                               "beginning with: 'secret'";
    char out[64], tiny[8], big[5000];
    struct trouble trouble;

    clean_text(out, sizeof out, evil, sizeof evil - 1);
    cr_assert_str_eq(out, "ERR \\x1b[31m\\x0d\\x0a\\xff unknown command 'x'");
    clean_text(tiny, sizeof tiny, "0123456789", 10);
    cr_assert_lt(strlen(tiny), sizeof tiny);
    cr_assert_eq(strncmp(tiny, "0123456789", strlen(tiny)), 0);
    memset(big, 0x01, sizeof big - 1);
    big[sizeof big - 1] = '\0';
    (void)trouble_answer(&trouble, big, big, sizeof big - 1);
    cr_assert_lt(strlen(trouble.text), sizeof trouble.text);
}

/* ---- endpoints ----------------------------------------------------------------------
 */

Test(redis_errors, endpoints_are_read_and_shown)
{
    static const struct {
        const char *in, *shown; /* NULL: none */
    } rows[] = {{"h", "h:6379"},
                {"h:1", "h:1"},
                {"[::1]:7", "[::1]:7"},
                {"[::1]", "[::1]:6379"},
                {"", NULL},
                {":1", NULL},
                {"h:", NULL},
                {"h:0", NULL},
                {"h:65536", NULL},
                {"h:1x", NULL},
                {"[::1", NULL},
                {"[::1]x:1", NULL},
                {"h:-1", NULL},
                {"h:000001", NULL},
                {"[]:1", NULL}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct endpoint endpoint;
        char shown[ENDPOINT_TEXT] = "";
        bool fine = endpoint_parse(rows[i].in, strlen(rows[i].in), 6379, &endpoint);

        cr_assert_eq(fine, rows[i].shown != NULL, "%s", rows[i].in);
        if (!fine)
            continue;
        endpoint_text(&endpoint, shown);
        cr_assert_str_eq(shown, rows[i].shown);
    }
}

/* ---- CLUSTER SLOTS --------------------------------------------------------------------
 */

/* Answers are made here, and go with the process. */
static alignas(max_align_t) unsigned char ground[16384];
static size_t ground_used;

static struct reply *reply_new(enum reply_type type, const char *text)
{
    size_t room = sizeof(struct reply) + (text ? strlen(text) + 1 : 0);
    void *at = ground + ground_used;
    struct reply *reply = at;

    ground_used +=
        (room + alignof(max_align_t)) / alignof(max_align_t) * alignof(max_align_t);
    cr_assert_lt(ground_used, sizeof ground);
    reply->type = type;
    if (text) {
        reply->len = strlen(text);
        memcpy(reply->text, text, reply->len + 1);
    }
    return reply;
}

static struct reply *number(int64_t value)
{
    struct reply *reply = reply_new(REPLY_INTEGER, NULL);

    reply->integer = value;
    return reply;
}

static struct reply *array(size_t len, struct reply **items)
{
    struct reply *reply = reply_new(REPLY_ARRAY, NULL);

    reply->len = len;
    reply->items = items;
    return reply;
}

#define ITEMS(...)                                                          \
    array(sizeof((struct reply *[]){__VA_ARGS__}) / sizeof(struct reply *), \
          (struct reply *[]){__VA_ARGS__})
#define HOST(text) reply_new(REPLY_BULK, text)
#define NIL()      reply_new(REPLY_NIL, NULL)

static const struct endpoint asked = {.host = "asked", .port = 1};
static struct slot_map map;

static const char *host_of(unsigned slot)
{
    return map.owner[slot] == SLOT_NOBODY ? "nobody" : map.masters[map.owner[slot]].host;
}

Test(redis_slots, ranges_have_masters)
{
    struct reply *m1 = ITEMS(HOST("m1"), number(7000), HOST("id"), ITEMS(HOST("x")));
    struct reply *m2 = ITEMS(HOST("m2"), number(7000));
    struct reply *answer = ITEMS(ITEMS(number(0), number(99), m1, m2),
                                 ITEMS(number(200), number(16383), m2, m1),
                                 ITEMS(number(100), number(100), m1));

    cr_assert(slot_map_read(answer, &asked, &map));
    cr_assert_eq(map.count, 2, "a master with two ranges is one");
    cr_assert_str_eq(host_of(0), "m1");
    cr_assert_str_eq(host_of(99), "m1");
    cr_assert_str_eq(host_of(100), "m1");
    cr_assert_str_eq(host_of(101), "nobody");
    cr_assert_str_eq(host_of(199), "nobody");
    cr_assert_str_eq(host_of(200), "m2");
    cr_assert_str_eq(host_of(16383), "m2");
}

/* An empty or missing name is the server that was asked; "?" is one nobody knows. */
Test(redis_slots, names_may_be_missing)
{
    struct reply *answer = ITEMS(ITEMS(number(0), number(0), ITEMS(NIL(), number(5))),
                                 ITEMS(number(1), number(1), ITEMS(HOST(""), number(6))),
                                 ITEMS(number(2), number(2), ITEMS(HOST("?"), number(7))),
                                 ITEMS(number(3), number(3)));

    cr_assert(slot_map_read(answer, &asked, &map));
    cr_assert_eq(map.count, 2);
    cr_assert_str_eq(host_of(0), "asked");
    cr_assert_eq(map.masters[map.owner[0]].port, 5);
    cr_assert_str_eq(host_of(1), "asked");
    cr_assert_eq(map.masters[map.owner[1]].port, 6);
    cr_assert_str_eq(host_of(2), "nobody");
    cr_assert_str_eq(host_of(3), "nobody");
}

/* While a slot changes hands two ranges may claim it: the last that is named counts. */
Test(redis_slots, of_two_claims_the_last_counts)
{
    struct reply *answer =
        ITEMS(ITEMS(number(0), number(9), ITEMS(HOST("m1"), number(1))),
              ITEMS(number(5), number(20), ITEMS(HOST("m2"), number(1))));

    cr_assert(slot_map_read(answer, &asked, &map));
    cr_assert_str_eq(host_of(4), "m1");
    cr_assert_str_eq(host_of(5), "m2");
    cr_assert_str_eq(host_of(20), "m2");
    cr_assert_str_eq(host_of(21), "nobody");
}

Test(redis_slots, nonsense_is_refused)
{
    struct reply *node = ITEMS(HOST("m"), number(1));
    struct reply *const bad[] = {
        array(0, NULL),
        NIL(),
        HOST("m"),
        ITEMS(number(1)),
        ITEMS(array(0, NULL)),
        ITEMS(ITEMS(number(0))),
        ITEMS(ITEMS(number(0), HOST("1"), node)),
        ITEMS(ITEMS(HOST("0"), number(1), node)),
        ITEMS(ITEMS(number(-1), number(1), node)),
        ITEMS(ITEMS(number(2), number(1), node)),
        ITEMS(ITEMS(number(0), number(16384), node)),
        ITEMS(ITEMS(number(0), number(INT64_MAX), node)),
        /* no server at all */
        ITEMS(ITEMS(number(0), number(1), ITEMS(HOST("m"), number(0)))),
        ITEMS(ITEMS(number(0), number(1), ITEMS(HOST("m"), number(65536)))),
        ITEMS(ITEMS(number(0), number(1), ITEMS(HOST("m"), HOST("1")))),
        ITEMS(ITEMS(number(0), number(1), ITEMS(number(1), number(1)))),
        ITEMS(ITEMS(number(0), number(1), HOST("m"))),
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_assert_not(slot_map_read(bad[i], &asked, &map), "answer %zu", i);
}

Test(redis_slots, a_name_too_long_is_nobody)
{
    static char name[300];
    struct reply *answer;

    memset(name, 'n', sizeof name - 1);
    answer = ITEMS(ITEMS(number(0), number(0), ITEMS(HOST(name), number(1))),
                   ITEMS(number(1), number(1), ITEMS(HOST("m"), number(1))));
    cr_assert(slot_map_read(answer, &asked, &map));
    cr_assert_eq(map.count, 1);
    cr_assert_str_eq(host_of(0), "nobody");
}

/* ---- pauses ---------------------------------------------------------------------------
 */

/* Each at most twice the last, none longer than the longest. */
Test(redis_pauses, double_up_to_a_limit)
{
    static const int64_t want[] = {20, 40, 80, 160, 320, 500, 500};
    int64_t pause = 0;

    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        pause = jitter_double(pause, 20, 500);
        cr_assert_eq(pause, want[i]);
    }
    cr_assert_eq(jitter_double(0, 1, 1), 1);
}

/* Callers that failed together do not come back together. */
Test(redis_pauses, are_drawn_from_the_whole_range)
{
    bool drawn[101] = {false};

    for (size_t i = 0; i < 100000; i++) {
        int64_t pause = jitter(100);

        cr_assert(pause >= 0 && pause <= 100);
        drawn[pause] = true;
    }
    for (size_t i = 0; i <= 100; i++)
        cr_assert(drawn[i], "%zu was never drawn", i);
    cr_assert_eq(jitter(0), 0);
    cr_assert_neq(unique_number(), unique_number());
}

/* A child goes on from its parent's memory, and names its temporary keys otherwise. */
Test(redis_pauses, numbers_of_a_child_are_its_own)
{
    uint64_t ours, theirs = 0;
    int ends[2];
    pid_t child;

    (void)unique_number();
    cr_assert_eq(pipe(ends), 0);
    child = fork();
    if (child == 0) {
        theirs = unique_number();
        _exit(write(ends[1], &theirs, sizeof theirs) == (ssize_t)sizeof theirs ? 0 : 1);
    }
    ours = unique_number();
    cr_assert_eq(read(ends[0], &theirs, sizeof theirs), (ssize_t)sizeof theirs);
    cr_assert_eq(waitpid(child, NULL, 0), child);
    cr_assert_neq(ours, theirs);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

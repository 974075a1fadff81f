/* Stream ids: any UTF-8 of 1 to 1024 bytes is one, and no two are the same. */
#include "cases.h"

#include <stdlib.h>

static char longest[1025], almost[1025], mostly[1025], wide[1025];

static const char *const awkward[] = {
    "../x",
    "..",
    ".",
    "./x",
    "x/.",
    "/",
    "//",
    "/etc/passwd",
    "a/b",
    "a//b",
    "a/b/",
    "a%2fb",
    "%2e",
    "%2E",
    "%",
    "%%",
    "%00",
    "%s%n",
    "Case",
    "case",
    "CASE",
    "a",
    "a ",
    " a",
    " ",
    "a\t",
    "a\n",
    "\n",
    "\x01",
    "\x1f\x7f",
    "\x1b[31mred",
    "\\",
    "a\\b",
    "\"quoted\"",
    "'quoted'",
    "*",
    "?[a-z]*",
    "{a,b}",
    "$HOME",
    "${HOME}",
    "`id`",
    ";rm",
    "-rf",
    "--",
    "~",
    "#",
    "a:b",
    "CON",
    "lock",
    "tmp",
    "index",
    "é",
    "e\xcc\x81", /* the same letter, composed otherwise */
    "\xc2\x80",
    "日本語",
    "🙂",
    "\xef\xbb\xbf", /* a byte order mark alone */
    "\xef\xbf\xbf",
    "process/TENANT-7/5f0c2c1e-0f7d-4f6e-8f51-7f1f2f3f4f5f",
    "[object Object]",
    "null",
    "0",
    "00",
    longest,
    almost,
    mostly,
    wide,
};
enum {
    AWKWARD = sizeof awkward / sizeof awkward[0]
};

static void make_long_ids(void)
{
    memset(longest, 'x', 1024);
    memset(almost, 'x', 1023);
    memset(mostly, 'x', 1024);
    mostly[1023] = 'y';
    for (size_t i = 0; i < 1024; i += 4)
        memcpy(wide + i, "🙂", 4);
}

static uint64_t seq_of(size_t i)
{
    return i + 1;
}

static enum verdict put_all(struct trial *t)
{
    make_long_ids();
    for (size_t i = 0; i < AWKWARD; i++) {
        struct mako_error err;
        struct sample s = {
            .seq = seq_of(i), .state = awkward[i], .len = strlen(awkward[i])};

        STATUS(put(t, awkward[i], s, &err), MAKO_OK);
    }
    return PASS;
}

static enum verdict hold_all(struct trial *t)
{
    for (size_t i = 0; i < AWKWARD; i++)
        TRY(holds_text(t, awkward[i], seq_of(i), awkward[i]));
    return PASS;
}

static enum verdict awkward_ids_are_ids(struct trial *t)
{
    TRY(put_all(t));
    return hold_all(t);
}

static enum verdict awkward_ids_survive_a_restart(struct trial *t)
{
    if (!outlives(t))
        return trial_skip(t, "nothing outlives the process");
    TRY(put_all(t));
    trial_close(t);
    TRY(trial_open(t));
    return hold_all(t);
}

static enum verdict awkward_ids_are_removed_one_by_one(struct trial *t)
{
    TRY(put_all(t));
    for (size_t i = 0; i < AWKWARD; i += 2)
        CHECK(mako_store_remove(t->store, awkward[i], NULL) >= MAKO_OK);
    for (size_t i = 0; i < AWKWARD; i++)
        if (i % 2)
            TRY(holds_text(t, awkward[i], seq_of(i), awkward[i]));
        else
            TRY(holds_nothing(t, awkward[i]));
    return PASS;
}

struct sightings {
    unsigned seen[AWKWARD];
    unsigned strangers;
};

static bool sight(void *arg, struct mako_str stream, const struct mako_meta *meta,
                  uint64_t size)
{
    struct sightings *s = arg;

    for (size_t i = 0; i < AWKWARD; i++)
        if (strlen(awkward[i]) == stream.len &&
            memcmp(awkward[i], stream.ptr, stream.len) == 0 &&
            stream.ptr[stream.len] == '\0' && size > stream.len &&
            (meta->schema == 0 || meta->seq == seq_of(i))) {
            s->seen[i]++;
            return true;
        }
    s->strangers++;
    return true;
}

static enum verdict awkward_ids_are_scanned(struct trial *t)
{
    struct sightings s = {.strangers = 0};

    if (!t->can_scan)
        return trial_skip(t, "this plugin cannot scan");
    TRY(put_all(t));
    CHECK(mako_store_scan(t->store, NULL, sight, &s, NULL) == MAKO_OK);
    CHECK(s.strangers == 0);
    for (size_t i = 0; i < AWKWARD; i++)
        CHECKF(s.seen[i] == (unsigned)keeps(t), "'%.40s' was seen %u times", awkward[i],
               s.seen[i]);
    return PASS;
}

static enum verdict refused_everywhere(struct trial *t, const char *id)
{
    struct mako_error err;
    struct mako_meta meta = {.seq = 4711};
    struct sample s = {.seq = 1, .state = "x", .len = 1};
    mako_snapshot *snapshot = NULL;

    STATUS(put(t, id, s, &err), MAKO_E_INVALID);
    STATUS(get(t, id, &snapshot, &err), MAKO_E_INVALID);
    STATUS(mako_store_peek(t->store, id, &meta, &err), MAKO_E_INVALID);
    STATUS(mako_store_remove(t->store, id, &err), MAKO_E_INVALID);
    CHECK(snapshot == NULL && meta.seq == 4711);
    return PASS;
}

static enum verdict what_is_no_id(struct trial *t)
{
    static const char *const bad[] = {"",
                                      "\xff",
                                      "\x80",
                                      "a\xc2",
                                      "\xc0\xaf",
                                      "\xed\xa0\x80",
                                      "\xf4\x90\x80\x80",
                                      "fine until\xe2\x82"};
    static char too_long[1100];

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        TRY(refused_everywhere(t, bad[i]));
    memset(too_long, 'x', 1025);
    TRY(refused_everywhere(t, too_long));
    memset(too_long, 'x', sizeof too_long - 1);
    TRY(refused_everywhere(t, too_long));
    return refused_everywhere(t, NULL);
}

/* 64 streams that differ in nothing but the last byte of the longest id. */
static enum verdict long_common_prefixes(struct trial *t)
{
    char id[1025] = {0};

    memset(id, 'p', 1023);
    for (int i = 0; i < 64; i++) {
        id[1023] = (char)('0' + i);
        CHECK(put_text(t, id, (uint64_t)i + 1, id + 1000) == MAKO_OK);
    }
    for (int i = 0; i < 64; i++) {
        id[1023] = (char)('0' + i);
        TRY(holds_text(t, id, (uint64_t)i + 1, id + 1000));
    }
    id[1023] = '\0';
    return holds_nothing(t, id);
}

const struct test_case cases_ids[] = {
    {"awkward_ids_are_ids", awkward_ids_are_ids},
    {"awkward_ids_survive_a_restart", awkward_ids_survive_a_restart},
    {"awkward_ids_are_removed_one_by_one", awkward_ids_are_removed_one_by_one},
    {"awkward_ids_are_scanned", awkward_ids_are_scanned},
    {"what_is_no_id", what_is_no_id},
    {"long_common_prefixes", long_common_prefixes},
    {NULL, NULL},
};

/* tests/faults/file_damage_test.c - any damage to any file: the store says what it lost,
 * never gives anything else in its place, and goes on saying the same.
 *
 * A seed makes a history of operations, of which the last answers are known, and then the
 * damage: a flipped bit, a stretch of zeros or ones, an end cut off, a file that is gone.
 * MAKO_DAMAGE_SEED is the first seed, MAKO_DAMAGE_ROUNDS how many there are. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "host.h"

enum {
    STREAMS = 8,
    FILES_MAX = 64,
    NAME = 256,
    TRACE = 16384
};

struct answer {
    int status;
    uint64_t seq; /* with MAKO_OK; else 0 */
};

static struct box box;
static uint64_t random_state;
static struct answer saved[STREAMS]; /* what was acknowledged last */
static char trace[TRACE];

static uint64_t below(uint64_t end)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (random_state >> 11) % end;
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text ? strtoull(text, NULL, 10) : otherwise;
}

static const char *name_of(uint64_t stream)
{
    static const char *const names[STREAMS] = {"a", "b", "c", "d", "e", "f", "g", "h"};

    return names[stream];
}

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...)
{
    size_t len = strlen(trace);
    va_list args;

    va_start(args, format);
    (void)vsnprintf(trace + len, sizeof trace - len, format, args);
    va_end(args);
}

/* ---- before ---------------------------------------------------------------------------
 */

static void operate(uint64_t *seq)
{
    uint64_t stream = below(STREAMS), len = below(6) == 0 ? below(30000) : below(300);

    switch (below(10)) {
    case 0:
        note("remove %s\n", name_of(stream));
        (void)drop(&box, name_of(stream));
        saved[stream] = (struct answer){.status = MAKO_NOT_FOUND};
        return;
    case 1:
        note("open again\n");
        box.keep_indexes = below(2) == 0;
        box_reopen(&box);
        return;
    case 2:
        note("compact\n");
        cr_assert_eq(compact(&box), MAKO_OK, "%s", box.err.text);
        return;
    default:
        note("save %s at %llu\n", name_of(stream), (unsigned long long)++*seq);
        cr_assert_eq(put(&box, name_of(stream), *seq, len + 16, 0), MAKO_OK);
        saved[stream] = (struct answer){.status = MAKO_OK, .seq = *seq};
    }
}

static void make_history(void)
{
    uint64_t seq = 0;

    box_make(&box);
    box.segment_size = below(2) == 0 ? 65536 : 16384;
    box.durability = below(2) == 0 ? MAKO_DURABLE_POWER : MAKO_DURABLE_CRASH;
    box.dead_space = below(3) == 0 ? 40 : box.dead_space;
    box.map = below(4) == 0;
    for (size_t i = 0; i < STREAMS; i++)
        saved[i] = (struct answer){.status = MAKO_NOT_FOUND};
    box_must_open(&box);
    for (uint64_t left = 3 + below(60); left > 0; left--)
        operate(&seq);
    box_close(&box);
}

/* ---- damage ---------------------------------------------------------------------------
 */

static int by_name(const void *left, const void *right)
{
    return strcmp(left, right);
}

/* Segments and index files; in an order that does not depend on the directory's, but for
 * the names of index files, which are random. */
static size_t list_files(char names[FILES_MAX][NAME])
{
    DIR *dir = opendir(box.path);
    const struct dirent *entry;
    size_t count = 0;

    cr_assert_not_null(dir);
    while ((entry = readdir(dir)) != NULL && count < FILES_MAX)
        if (strstr(entry->d_name, ".seg") != NULL ||
            strstr(entry->d_name, ".idx") != NULL)
            (void)snprintf(names[count++], NAME, "%s", entry->d_name);
    (void)closedir(dir);
    qsort(names, count, NAME, by_name);
    return count;
}

static void spoil(const char *path, struct bytes *file)
{
    size_t header = file->len > 4096 && below(3) != 0 ? 4096 : 0;
    size_t at = header + (size_t)below(file->len - header), len = 1 + (size_t)below(600);

    if (at + len > file->len)
        len = file->len - at;
    switch (below(6)) {
    case 0:
        note("of %s: zeros from %zu to %zu\n", path, at, at + len);
        memset(file->data + at, 0, len);
        break;
    case 1:
        note("of %s: ones from %zu to %zu\n", path, at, at + len);
        memset(file->data + at, 0xff, len);
        break;
    case 2:
        note("of %s: cut off at %zu of %zu\n", path, at, file->len);
        file->len = at;
        break;
    case 3:
        note("of %s: gone\n", path);
        cr_assert_eq(unlink(path), 0);
        return;
    default:
        note("of %s: a bit at %zu\n", path, at);
        file->data[at] ^= (unsigned char)(1u << below(8));
    }
    write_whole(path, file->data, file->len);
}

static void damage(void)
{
    char names[FILES_MAX][NAME], path[sizeof box.path + NAME];
    size_t count = list_files(names);
    struct bytes file;

    if (count == 0)
        return;
    (void)snprintf(path, sizeof path, "%s/%s", box.path, names[below(count)]);
    file = read_whole(path);
    if (file.len != 0)
        spoil(path, &file);
    free(file.data);
}

/* ---- afterwards -----------------------------------------------------------------------
 */

static void ask(struct answer answers[STREAMS])
{
    for (size_t i = 0; i < STREAMS; i++) {
        answers[i].status = get(&box, name_of(i), &answers[i].seq);
        if (answers[i].status != MAKO_OK)
            answers[i].seq = 0;
    }
}

/* A load leaves the look at the bytes to the host, so that more may turn out damaged;
 * ALTERED is what a host would not take. */
static bool may_follow(const struct answer *now, const struct answer *before)
{
    return (now->status == before->status && now->seq == before->seq) ||
           (now->status == MAKO_DAMAGED && before->status != MAKO_NOT_FOUND) ||
           (now->status == ALTERED && before->status == MAKO_OK);
}

static void must_follow(struct answer before[STREAMS], const char *when)
{
    struct answer now[STREAMS];

    ask(now);
    for (size_t i = 0; i < STREAMS; i++) {
        cr_assert(may_follow(&now[i], &before[i]),
                  "%s: '%s' is %d at %llu, was %d at %llu\n%s%s", when, name_of(i),
                  now[i].status, (unsigned long long)now[i].seq, before[i].status,
                  (unsigned long long)before[i].seq, trace, box_log());
        before[i] = now[i];
    }
}

static bool is_idle(void)
{
    static uint64_t runs;
    uint64_t before = runs;

    runs = counter(&box, "compactions");
    return runs == before;
}

static void go_on(struct answer answers[STREAMS])
{
    struct timespec pause = {.tv_nsec = 1000000};

    switch (below(4)) {
    case 0:
        (void)compact(&box); /* which may fail on what it finds */
        must_follow(answers, "after a compaction");
        return;
    case 1:
        box_reopen(&box);
        must_follow(answers, "opened again");
        return;
    case 2: /* with the compactor at work */
        box.dead_space = 40;
        box_reopen(&box);
        do
            (void)nanosleep(&pause, NULL);
        while (!is_idle());
        box_reopen(&box);
        must_follow(answers, "after compaction by itself");
        return;
    default:
        box_close(&box);
        box.read_only = true;
        box_must_open(&box);
        must_follow(answers, "opened to read");
        box.read_only = false;
        box_reopen(&box);
        must_follow(answers, "opened after that");
    }
}

static void try_seed(uint64_t seed)
{
    struct answer answers[STREAMS];

    trace[0] = '\0';
    note("MAKO_DAMAGE_SEED=%llu\n", (unsigned long long)seed);
    random_state = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15);
    make_history();
    damage();
    box.keep_indexes = true; /* they tell of what is lost */
    box_must_open(&box);
    memcpy(answers, saved, sizeof answers);
    must_follow(answers, "opened");
    for (int i = 0; i < 4; i++)
        go_on(answers);
    box_free(&box);
}

Test(file_damage, what_is_lost_is_said_and_stays_so, .timeout = 600)
{
    uint64_t seed = setting("MAKO_DAMAGE_SEED", 1);

    for (uint64_t left = setting("MAKO_DAMAGE_ROUNDS", 300); left > 0; left--)
        try_seed(seed++);
}

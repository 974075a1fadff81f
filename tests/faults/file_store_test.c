/* tests/faults/file_store_test.c - the file plugin, called as a host calls it: what it
 * keeps, across openings and segments, and what it says. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host.h"

static struct box box;

static void make_open(void)
{
    box_make(&box);
    box_must_open(&box);
}

static void clean(void)
{
    box_free(&box);
}

TestSuite(file_store, .init = make_open, .fini = clean, .timeout = 120);

static const char *path_in_box(const char *name)
{
    static char path[400];

    (void)snprintf(path, sizeof path, "%s/%s", box.path, name);
    return path;
}

Test(file_store, sizes_survive_reopening)
{
    static const size_t sizes[] = {
        0,    1,     15,    16,    17,   63, 64,  65,      4095,    4096,
        4097, 65535, 65536, 70000, 1000, 1,  100, 1 << 20, 5000000, (1 << 20) + 1};
    char stream[32];

    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            (void)snprintf(stream, sizeof stream, "stream/%zu", i);
            if (round == 0)
                cr_assert_eq(put(&box, stream, i + 1, sizes[i], 0), MAKO_OK);
            cr_assert(holds(&box, stream, i + 1));
        }
        box_reopen(&box);
        cr_assert_str_empty(box_log());
    }
}

Test(file_store, overwriting_keeps_the_latest_save_even_of_a_lower_sequence)
{
    cr_assert_eq(put(&box, "a", 5, 100, 0), MAKO_OK);
    cr_assert_eq(put(&box, "a", 3, 200, 0), MAKO_OK);
    cr_assert(holds(&box, "a", 3));
    box_reopen(&box);
    cr_assert(holds(&box, "a", 3));
    cr_assert_eq(counter(&box, "streams"), 1);
}

Test(file_store, log_numbers_decide_across_openings)
{
    for (uint64_t seq = 20; seq > 0; seq--) {
        cr_assert_eq(put(&box, "a", seq, 100, 0), MAKO_OK);
        box_reopen(&box);
        cr_assert(holds(&box, "a", seq));
    }
    cr_assert_eq(segment_count(&box), 20);
}

Test(file_store, an_opening_that_saves_nothing_makes_no_segment)
{
    cr_assert_eq(put(&box, "a", 1, 100, 0), MAKO_OK);
    for (int i = 0; i < 3; i++)
        box_reopen(&box);
    cr_assert_eq(drop(&box, "never"), MAKO_NOT_FOUND);
    cr_assert_eq(put(&box, "a", 0, 100, MAKO_SAVE_IF_NEWER), MAKO_STALE);
    cr_assert_eq(segment_count(&box), 1);
}

Test(file_store, if_newer)
{
    cr_assert_eq(put(&box, "a", 7, 100, MAKO_SAVE_IF_NEWER), MAKO_OK);
    cr_assert_eq(put(&box, "a", 6, 100, MAKO_SAVE_IF_NEWER), MAKO_STALE);
    cr_assert_str_eq(box.err.text, "stream 'a': 7 is kept, 6 came");
    cr_assert_eq(put(&box, "a", 7, 50, MAKO_SAVE_IF_NEWER), MAKO_OK);
    cr_assert(holds(&box, "a", 7));
    box_reopen(&box);
    cr_assert_eq(put(&box, "a", 6, 100, MAKO_SAVE_IF_NEWER), MAKO_STALE);
    cr_assert_eq(drop(&box, "a"), MAKO_OK);
    cr_assert_eq(put(&box, "a", 1, 100, MAKO_SAVE_IF_NEWER), MAKO_OK);
    cr_assert(holds(&box, "a", 1));
}

Test(file_store, removal_is_kept)
{
    cr_assert_eq(put(&box, "a", 1, 100, 0), MAKO_OK);
    cr_assert_eq(put(&box, "b", 1, 100, 0), MAKO_OK);
    cr_assert_eq(drop(&box, "a"), MAKO_OK);
    cr_assert_eq(drop(&box, "a"), MAKO_NOT_FOUND);
    cr_assert(holds(&box, "a", 0));
    box_reopen(&box);
    cr_assert(holds(&box, "a", 0));
    cr_assert(holds(&box, "b", 1));
    cr_assert_eq(counter(&box, "streams"), 1);
    cr_assert_eq(put(&box, "a", 1, 30, 0), MAKO_OK);
    box_reopen(&box);
    cr_assert(holds(&box, "a", 1));
}

/* Enough streams that the index's tables grow, collide, and close up behind removals. */
Test(file_store, many_streams_come_and_go)
{
    enum {
        COUNT = 20000
    };
    char stream[32];

    box_close(&box);
    box.durability = MAKO_DURABLE_CRASH;
    box.segment_size = 64 << 20;
    box_must_open(&box);
    for (uint64_t i = 0; i < COUNT; i++) {
        (void)snprintf(stream, sizeof stream, "s%llu", (unsigned long long)i);
        cr_assert_eq(put(&box, stream, i + 1, 20, 0), MAKO_OK);
    }
    for (uint64_t i = 0; i < COUNT; i += 3) {
        (void)snprintf(stream, sizeof stream, "s%llu", (unsigned long long)i);
        cr_assert_eq(drop(&box, stream), MAKO_OK);
    }
    for (int round = 0; round < 2; round++) {
        for (uint64_t i = 0; i < COUNT; i++) {
            (void)snprintf(stream, sizeof stream, "s%llu", (unsigned long long)i);
            cr_assert(holds(&box, stream, i % 3 == 0 ? 0 : i + 1));
        }
        cr_assert_eq(counter(&box, "streams"), COUNT - (COUNT + 2) / 3);
        box_reopen(&box);
    }
}

Test(file_store, segments_rotate)
{
    char stream[32];

    for (uint64_t i = 0; i < 300; i++) {
        (void)snprintf(stream, sizeof stream, "s%llu", (unsigned long long)i % 100);
        cr_assert_eq(put(&box, stream, i + 1, 4000, 0), MAKO_OK);
    }
    cr_assert_gt(segment_count(&box), 15);
    cr_assert_eq(counter(&box, "segments"), segment_count(&box));
    for (int round = 0; round < 2; round++) {
        for (uint64_t i = 0; i < 100; i++) {
            (void)snprintf(stream, sizeof stream, "s%llu", (unsigned long long)i);
            cr_assert(holds(&box, stream, 201 + i));
        }
        box_reopen(&box);
        cr_assert_str_empty(box_log());
    }
}

Test(file_store, more_segments_than_descriptors)
{
    char stream[32];

    for (uint64_t i = 0; i < 400; i++) {
        (void)snprintf(stream, sizeof stream, "s%llu", (unsigned long long)i);
        cr_assert_eq(put(&box, stream, 1, 40000, 0), MAKO_OK);
    }
    cr_assert_gt(segment_count(&box), 300);
    for (uint64_t i = 0; i < 400; i++) {
        (void)snprintf(stream, sizeof stream, "s%llu", (unsigned long long)i);
        cr_assert(holds(&box, stream, 1));
    }
}

Test(file_store, modes_do_not_depend_on_the_umask)
{
    struct stat st;

    box_close(&box);
    cr_assert_eq(rmdir(box.path) == 0 || unlink(path_in_box("lock")) == 0, true);
    (void)rmdir(box.path);
    (void)umask(0);
    box_must_open(&box);
    cr_assert_eq(put(&box, "a", 1, 10, 0), MAKO_OK);
    cr_assert_eq(stat(box.path, &st), 0);
    cr_assert_eq(st.st_mode & 07777, 0700);
    cr_assert_eq(stat(path_in_box("lock"), &st), 0);
    cr_assert_eq(st.st_mode & 07777, 0600);
    cr_assert_eq(stat(path_in_box("0000000000000001.seg"), &st), 0);
    cr_assert_eq(st.st_mode & 07777, 0600);
}

Test(file_store, a_closed_segment_has_no_slack)
{
    struct stat st;

    cr_assert_eq(put(&box, "a", 1, 10, 0), MAKO_OK);
    box_close(&box);
    cr_assert_eq(stat(path_in_box("0000000000000001.seg"), &st), 0);
    cr_assert_eq(st.st_size, 4096 + 80 + 16 + 16);
}

Test(file_store, unknown_flags)
{
    cr_assert_eq(put(&box, "a", 1, 10, 1u << 5), MAKO_E_UNSUPPORTED);
    cr_assert_str_eq(box.err.text, "unknown flags 0x20");
    cr_assert_eq(put(&box, "a", 1, 10, 1u << 20), MAKO_OK);
}

Test(file_store, a_missing_parent_is_named)
{
    struct box other = box;

    other.store = NULL;
    (void)snprintf(other.path, sizeof other.path, "%.200s/no/such", box.dir);
    cr_assert_eq(box_open(&other), MAKO_E_IO);
    cr_assert_not_null(strstr(other.err.text, "/no/such: No such file or directory (the "
                                              "directory above it must exist)"),
                       "%s", other.err.text);
}

Test(file_store, a_file_in_the_way_is_named)
{
    struct box other = box;

    other.store = NULL;
    (void)snprintf(other.path, sizeof other.path, "%.200s/file", box.dir);
    write_whole(other.path, "x", 1);
    cr_assert_eq(box_open(&other), MAKO_E_IO);
    cr_assert_not_null(strstr(other.err.text, "/file: Not a directory"), "%s",
                       other.err.text);
}

Test(file_store, crash_class_survives_reopening_and_power_reads_it)
{
    box_close(&box);
    box.durability = MAKO_DURABLE_CRASH;
    box_must_open(&box);
    for (uint64_t i = 1; i <= 100; i++)
        cr_assert_eq(put(&box, "a", i, 3000, 0), MAKO_OK);
    cr_assert_eq(counter(&box, "flushes"), 0);
    box_reopen(&box);
    cr_assert(holds(&box, "a", 100));
    box.durability = MAKO_DURABLE_POWER;
    box_reopen(&box);
    cr_assert(holds(&box, "a", 100));
}

/* ---- batches ---------------------------------------------------------------------- */

static struct mako_record record_of(const char *stream, uint64_t seq, uint32_t flags,
                                    unsigned char *bytes, size_t len)
{
    pattern(bytes, len, stream, seq);
    return (struct mako_record){.stream = {.ptr = stream, .len = strlen(stream)},
                                .meta = {.seq = seq, .schema = 1},
                                .flags = flags,
                                .blob = bytes,
                                .blob_len = len};
}

Test(file_store, save_many_is_one_flush_and_in_order)
{
    unsigned char bytes[5][64];
    struct mako_record records[5] = {record_of("a", 5, 0, bytes[0], 64),
                                     record_of("b", 1, 0, bytes[1], 64),
                                     record_of("a", 4, MAKO_SAVE_IF_NEWER, bytes[2], 64),
                                     record_of("a", 6, MAKO_SAVE_IF_NEWER, bytes[3], 64),
                                     record_of("c", 1, 1u << 3, bytes[4], 64)};
    int statuses[5];
    uint64_t before = counter(&box, "flushes");

    cr_assert_eq(box.plugin->save_many(box.store, records, 5, statuses, &box.err), 0);
    cr_assert_eq(statuses[0], MAKO_OK);
    cr_assert_eq(statuses[1], MAKO_OK);
    cr_assert_eq(statuses[2], MAKO_STALE);
    cr_assert_eq(statuses[3], MAKO_OK);
    cr_assert_eq(statuses[4], MAKO_E_UNSUPPORTED);
    cr_assert_str_eq(box.err.text, "unknown flags 0x8");
    cr_assert_eq(counter(&box, "flushes"), before + 1);
    cr_assert(holds(&box, "a", 6));
    cr_assert(holds(&box, "b", 1));
    cr_assert(holds(&box, "c", 0));
}

Test(file_store, a_large_batch)
{
    enum {
        COUNT = 5000,
        LEN = 40
    };
    struct mako_record *records = calloc(COUNT, sizeof *records);
    unsigned char *bytes = calloc(COUNT, LEN);
    char(*streams)[16] = calloc(COUNT, sizeof *streams);
    int *statuses = calloc(COUNT, sizeof *statuses);

    box.segment_size = 64 << 20;
    box_reopen(&box);
    for (size_t i = 0; i < COUNT; i++) {
        (void)snprintf(streams[i], sizeof streams[i], "s%zu", i);
        records[i] = record_of(streams[i], i + 1, 0, bytes + i * LEN, LEN);
    }
    cr_assert_eq(box.plugin->save_many(box.store, records, COUNT, statuses, &box.err), 0);
    cr_assert_eq(counter(&box, "flushes"), 1);
    box_reopen(&box);
    for (size_t i = 0; i < COUNT; i++) {
        cr_assert_eq(statuses[i], MAKO_OK);
        cr_assert(holds(&box, streams[i], i + 1));
    }
    free(records);
    free(bytes);
    free(streams);
    free(statuses);
}

/* ---- scan ------------------------------------------------------------------------- */

struct seen {
    struct mako_visitor visitor;
    size_t count, limit;
    uint64_t seqs;
    int touch; /* call the store from inside */
};

static int see(struct mako_visitor *visitor, struct mako_str stream,
               const struct mako_meta *meta, uint64_t blob_len)
{
    union {
        struct mako_visitor *visitor;
        struct seen *seen;
    } both = {.visitor = visitor};
    struct seen *seen = both.seen;

    cr_assert_eq(stream.ptr[stream.len], '\0');
    cr_assert_eq(strlen(stream.ptr), stream.len);
    cr_assert_eq(blob_len, 20);
    seen->seqs += meta->seq;
    if (seen->touch)
        cr_assert_eq(put(&box, stream.ptr, meta->seq, 20, 0), MAKO_OK);
    return ++seen->count == seen->limit;
}

static struct seen scan(const char *prefix, size_t limit, int touch)
{
    struct seen seen = {.visitor = {.struct_size = sizeof seen.visitor, .entry = see},
                        .limit = limit,
                        .touch = touch};
    struct mako_str str = {.ptr = prefix, .len = strlen(prefix)};

    cr_assert_eq(box.plugin->scan(box.store, str, &seen.visitor, &box.err), MAKO_OK);
    return seen;
}

Test(file_store, scan_lists_by_prefix_and_stops)
{
    char stream[32];
    struct seen seen;

    for (uint64_t i = 1; i <= 300; i++) {
        (void)snprintf(stream, sizeof stream, i <= 100 ? "x/%llu" : "y/%llu",
                       (unsigned long long)i);
        cr_assert_eq(put(&box, stream, i, 20, 0), MAKO_OK);
    }
    seen = scan("", 0, 0);
    cr_assert_eq(seen.count, 300);
    cr_assert_eq(seen.seqs, 300 * 301 / 2);
    seen = scan("x/", 0, 1);
    cr_assert_eq(seen.count, 100);
    cr_assert_eq(seen.seqs, 100 * 101 / 2);
    cr_assert_eq(scan("", 7, 0).count, 7);
    cr_assert_eq(scan("z", 0, 0).count, 0);
}

/* ---- threads ---------------------------------------------------------------------- */

enum {
    THREADS = 8,
    SAVES = 60,
    SHARED = 5
};
static atomic_int failures;

/* Saves own streams and shared ones, reads both; the shared only ever go up. */
static void *work(void *arg)
{
    char own[32], shared[32];
    uint64_t id = (uint64_t)(size_t)arg;

    (void)snprintf(own, sizeof own, "own/%llu", (unsigned long long)id);
    for (uint64_t i = 1; i <= SAVES; i++) {
        uint64_t seq = 0, before = 0;
        int status;

        (void)snprintf(shared, sizeof shared, "shared/%llu",
                       (unsigned long long)(i % SHARED));
        if (put(&box, own, i, 500, 0) != MAKO_OK || get(&box, own, &seq) != MAKO_OK ||
            seq != i)
            failures++;
        status = get(&box, shared, &before);
        if (status != MAKO_OK && status != MAKO_NOT_FOUND)
            failures++;
        status = put(&box, shared, i * THREADS + id, 300, MAKO_SAVE_IF_NEWER);
        if (status != MAKO_OK && status != MAKO_STALE)
            failures++;
        if (get(&box, shared, &seq) != MAKO_OK || seq < before || seq < i * THREADS + id)
            failures++;
    }
    return NULL;
}

Test(file_store, threads_share_a_store)
{
    pthread_t threads[THREADS];
    char stream[32];

    for (size_t i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, work, (void *)i), 0);
    for (size_t i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
    cr_assert_eq(failures, 0);
    box_reopen(&box);
    for (uint64_t i = 0; i < THREADS; i++) {
        (void)snprintf(stream, sizeof stream, "own/%llu", (unsigned long long)i);
        cr_assert(holds(&box, stream, SAVES));
    }
    for (uint64_t i = 0; i < SHARED; i++) {
        (void)snprintf(stream, sizeof stream, "shared/%llu", (unsigned long long)i);
        cr_assert(holds(&box, stream,
                        (i == 0 ? SAVES : SAVES - SHARED + i) * THREADS + THREADS - 1));
    }
}

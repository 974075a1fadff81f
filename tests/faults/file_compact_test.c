/* tests/faults/file_compact_test.c - the file plugin gives back what is dead, and nothing
 * else: compaction on demand and by itself, index files, mapped and read-only stores. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "host.h"
#include "inject.h"

static struct box box;

static void make(void)
{
    inject_reset();
    box_make(&box);
    box.keep_indexes = true;
    box_must_open(&box);
}

static void clean(void)
{
    inject_reset();
    box_free(&box);
}

TestSuite(file_compact, .init = make, .fini = clean, .timeout = 400);

static const char *name_of(size_t number)
{
    static _Thread_local char name[32];

    (void)snprintf(name, sizeof name, "stream-%zu", number);
    return name;
}

static void put_many(size_t count, uint64_t seq, size_t len)
{
    for (size_t i = 0; i < count; i++)
        cr_assert_eq(put(&box, name_of(i), seq, len, 0), MAKO_OK, "%s", box.err.text);
}

static void must_compact(void)
{
    int status = compact(&box);

    cr_assert_eq(status, MAKO_OK, "%d %s", status, box.err.text);
}

/* ---- what is on the disk ------------------------------------------------------------
 */

/* The file may shrink or vanish meanwhile. */
static bool file_holds(const char *path, const void *bytes, size_t len)
{
    size_t room = 1 << 20, got = 0;
    char *whole = malloc(room);
    FILE *file = fopen(path, "re");
    bool found;

    if (file != NULL) {
        got = fread(whole, 1, room, file);
        cr_assert_lt(got, room);
        (void)fclose(file);
    }
    found = got >= len && memmem(whole, got, bytes, len) != NULL;
    free(whole);
    return found;
}

/* Call look for each file of the store that ends with suffix; true from any is the
 * answer. */
static bool any_file(const char *suffix, bool (*look)(const char *path, void *arg),
                     void *arg)
{
    DIR *dir = opendir(box.path);
    const struct dirent *entry;
    bool found = false;

    cr_assert_not_null(dir);
    while (!found && (entry = readdir(dir)) != NULL) {
        size_t len = strlen(entry->d_name), end = strlen(suffix);
        char path[600];

        if (len < end || strcmp(entry->d_name + len - end, suffix) != 0)
            continue;
        (void)snprintf(path, sizeof path, "%s/%s", box.path, entry->d_name);
        found = look(path, arg);
    }
    (void)closedir(dir);
    return found;
}

struct needle {
    const void *bytes;
    size_t len;
};

static bool look_for_bytes(const char *path, void *arg)
{
    const struct needle *needle = arg;

    return file_holds(path, needle->bytes, needle->len);
}

/* Whether the bytes of a stream at a sequence are in any file. */
static bool on_disk(const char *stream, uint64_t seq)
{
    unsigned char bytes[64];

    pattern(bytes, sizeof bytes, stream, seq);
    return any_file(".seg", look_for_bytes,
                    &(struct needle){.bytes = bytes, .len = sizeof bytes});
}

static bool look_for_name(const char *path, void *arg)
{
    (void)snprintf(arg, 600, "%s", path);
    return true;
}

static bool find_file(const char *suffix, char path[600])
{
    return any_file(suffix, look_for_name, path);
}

/* Wait until done() holds; a test's timeout ends it otherwise. */
static void wait_until(bool (*done)(void))
{
    struct timespec pause = {.tv_nsec = 5000000};

    while (!done())
        (void)nanosleep(&pause, NULL);
}

/* ---- on demand ------------------------------------------------------------------------
 */

Test(file_compact, replaced_and_removed_snapshots_leave_the_disk)
{
    put_many(200, 1, 1000);
    put_many(100, 2, 1000);
    for (size_t i = 150; i < 200; i++)
        cr_assert_eq(drop(&box, name_of(i)), MAKO_OK);
    cr_assert(on_disk("stream-0", 1));
    cr_assert(on_disk("stream-160", 1));
    must_compact();
    for (size_t i = 0; i < 200; i += 9) {
        cr_assert_eq(on_disk(name_of(i), 1), i >= 100 && i < 150, "%zu", i);
        cr_assert_eq(on_disk(name_of(i), 2), i < 100);
    }
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < 200; i++)
            cr_assert(holds(&box, name_of(i), i < 100 ? 2 : i < 150 ? 1 : 0));
        box.keep_indexes = round % 2 == 0;
        box_reopen(&box);
        cr_assert_str_empty(box_log());
    }
    cr_assert_leq(counter(&box, "bytes") - 4096 * counter(&box, "segments"),
                  counter(&box, "bytes_live") + 50 * (80 + 16)); /* and removals */
}

Test(file_compact, an_empty_store_shrinks_to_one_header)
{
    struct stat st;
    char path[600];

    put_many(300, 1, 1000);
    for (size_t i = 0; i < 300; i++)
        cr_assert_eq(drop(&box, name_of(i)), MAKO_OK);
    must_compact();
    must_compact();
    cr_assert_eq(segment_count(&box), 1);
    cr_assert(find_file(".seg", path));
    cr_assert_eq(stat(path, &st), 0);
    cr_assert_eq(st.st_size, 4096);
    box_reopen(&box);
    cr_assert_eq(counter(&box, "streams"), 0);
    cr_assert_str_empty(box_log());
    put_many(3, 1, 100);
    box_reopen(&box);
    cr_assert(holds(&box, "stream-2", 1));
    cr_assert_str_empty(box_log());
}

/* The removal has to outlive every segment that may hold what it removed. */
Test(file_compact, a_removal_is_kept_while_older_segments_are)
{
    put_many(60, 1, 1000); /* fills the first segment, and stays there */
    cr_assert_eq(drop(&box, "stream-5"), MAKO_OK);
    put_many(1, 2, 40000);
    put_many(1, 3, 40000);
    put_many(1, 4, 40000);
    /* Only what stands behind the first segment is compacted. */
    for (int round = 0; round < 3; round++) {
        cr_assert(holds(&box, "stream-5", 0));
        must_compact();
        box.keep_indexes = round == 1;
        box_reopen(&box);
        cr_assert(holds(&box, "stream-5", 0));
        cr_assert(holds(&box, "stream-6", 1));
        cr_assert(holds(&box, "stream-0", 4));
    }
}

Test(file_compact, many_compactions_in_a_row)
{
    uint64_t latest[50] = {0};
    unsigned random = 12345;

    for (uint64_t round = 1; round <= 60; round++) {
        for (int i = 0; i < 40; i++) {
            size_t which = (random = random * 1103515245 + 12345) / 65536 % 50;

            if (random / 65536 % 4 == 0) {
                (void)drop(&box, name_of(which));
                latest[which] = 0;
            } else {
                cr_assert_eq(put(&box, name_of(which), round, 900, 0), MAKO_OK);
                latest[which] = round;
            }
        }
        if (round % 3 == 0)
            must_compact();
        if (round % 5 == 0) {
            box.keep_indexes = round % 2 == 0;
            box_reopen(&box);
            cr_assert_str_empty(box_log());
        }
        for (size_t i = 0; i < 50; i++)
            cr_assert(holds(&box, name_of(i), latest[i]), "round %zu", (size_t)round);
    }
}

static int stop_at_once(struct mako_progress *progress, uint64_t done, uint64_t total)
{
    (void)progress;
    (void)done;
    (void)total;
    return 1;
}

Test(file_compact, a_compaction_can_be_stopped)
{
    struct mako_progress progress = {.struct_size = sizeof progress,
                                     .step = stop_at_once};

    box.segment_size = 65536;
    put_many(400, 1, 1000);
    for (size_t i = 0; i < 400; i += 2)
        cr_assert_eq(put(&box, name_of(i), 2, 10, 0), MAKO_OK);
    cr_assert_eq(box.plugin->compact(box.store, &progress, &box.err), MAKO_OK);
    cr_assert_eq(counter(&box, "compactions"), 1);
    must_compact();
    for (size_t i = 0; i < 400; i++)
        cr_assert(holds(&box, name_of(i), i % 2 == 0 ? 2 : 1));
}

/* ---- damage
 * ----------------------------------------------------------------------------- */

/* Flip a bit of the bytes of a stream at a sequence, wherever they are. */
static bool flip_bytes(const char *path, void *arg)
{
    const struct needle *needle = arg;
    struct bytes whole = read_whole(path);
    unsigned char *at = memmem(whole.data, whole.len, needle->bytes, needle->len);

    if (at != NULL) {
        *at ^= 4;
        write_whole(path, whole.data, whole.len);
    }
    free(whole.data);
    return at != NULL;
}

static void damage(const char *stream, uint64_t seq)
{
    unsigned char bytes[64];

    pattern(bytes, sizeof bytes, stream, seq);
    cr_assert(any_file(".seg", flip_bytes,
                       &(struct needle){.bytes = bytes, .len = sizeof bytes}));
}

Test(file_compact, a_damaged_snapshot_stays_damaged)
{
    uint64_t seq;

    put_many(20, 1, 500);
    put_many(20, 2, 500);
    box_close(&box);
    damage("stream-7", 2);
    box.keep_indexes = false;
    for (int round = 0; round < 3; round++) {
        box_must_open(&box);
        cr_assert_eq(get(&box, "stream-7", &seq), MAKO_DAMAGED);
        cr_assert_not_null(strstr(box_log(), "of stream stream-7, sequence 2"), "%s",
                           box_log());
        must_compact();
        cr_assert_eq(get(&box, "stream-7", &seq), MAKO_DAMAGED);
        cr_assert(holds(&box, "stream-8", 2));
        box_close(&box);
        box.keep_indexes = round == 1;
    }
    box_must_open(&box);
    cr_assert_eq(counter(&box, "damaged"), 1);
    cr_assert_eq(put(&box, "stream-7", 1, 500, 0), MAKO_OK);
    must_compact();
    box_reopen(&box);
    cr_assert(holds(&box, "stream-7", 1));
    cr_assert_eq(counter(&box, "damaged"), 0);
    cr_assert_str_empty(box_log());
}

/* Damage that comes while the store is open, and only compaction sees. */
Test(file_compact, compaction_never_copies_damage)
{
    uint64_t seq;

    put_many(20, 1, 500);
    put_many(10, 2, 500);
    damage("stream-3", 2);
    damage("stream-13", 1);
    must_compact();
    for (int round = 0; round < 2; round++) {
        cr_assert_eq(get(&box, "stream-3", &seq), MAKO_DAMAGED);
        cr_assert_eq(get(&box, "stream-13", &seq), MAKO_DAMAGED);
        cr_assert(holds(&box, "stream-4", 2));
        cr_assert(holds(&box, "stream-14", 1));
        box_reopen(&box);
    }
}

/* len bytes of a segment, each bit of them. */
static void spoil(const char *path, size_t at, size_t len)
{
    struct bytes whole = read_whole(path);

    for (size_t i = at; i < at + len; i++)
        whole.data[i] ^= 0xff;
    write_whole(path, whole.data, whole.len);
    free(whole.data);
}

/* A frame that is lost: its stream is known by those behind it, and stays damaged when
 * both are copied. */
Test(file_compact, a_lost_frame_stays_lost)
{
    char path[600];
    uint64_t seq;

    cr_assert_eq(put(&box, "a", 1, 100, 0), MAKO_OK);
    cr_assert_eq(put(&box, "a", 2, 100, 0), MAKO_OK);
    cr_assert_eq(put(&box, "b", 1, 100, 0), MAKO_OK);
    box_close(&box);
    cr_assert(find_file(".seg", path));
    spoil(path, 4096 + 80 + 16 + 112, 80);
    box.keep_indexes = false;
    for (int round = 0; round < 3; round++) {
        box_must_open(&box);
        cr_assert_eq(get(&box, "a", &seq), MAKO_DAMAGED);
        must_compact();
        cr_assert_eq(get(&box, "a", &seq), MAKO_DAMAGED);
        cr_assert(holds(&box, "b", 1));
        box_close(&box);
    }
}

static bool is_compacted(void)
{
    return counter(&box, "compactions") != 0;
}

/* A lost frame whose stream only an older record names: it stays lost when that goes. */
Test(file_compact, a_lost_frame_stays_lost_without_the_older_one)
{
    char path[600];
    uint64_t seq;

    cr_assert_eq(put(&box, "a", 1, 100, 0), MAKO_OK);
    box_reopen(&box);
    cr_assert_eq(put(&box, "a", 2, 100, 0), MAKO_OK);
    cr_assert_eq(put(&box, "b", 1, 100, 0), MAKO_OK);
    box_close(&box);
    segment_path(&box, 1, path, sizeof path);
    spoil(path, 4096, 80);
    box.keep_indexes = false;
    box.dead_space = 40;
    box_must_open(&box);
    cr_assert_eq(get(&box, "a", &seq), MAKO_DAMAGED);
    wait_until(is_compacted);
    for (int round = 0; round < 3; round++) {
        cr_assert_eq(get(&box, "a", &seq), MAKO_DAMAGED);
        cr_assert(holds(&box, "b", 1));
        box_reopen(&box);
    }
}

/* Also when the segment with its removal has been copied. */
static void a_stays_removed(void)
{
    box.dead_space = 20;
    box_must_open(&box);
    cr_assert(holds(&box, "a", 0));
    wait_until(is_compacted);
    box_reopen(&box);
    cr_assert(holds(&box, "a", 0));
    cr_assert(holds(&box, "b", 1));
}

/* A removal of which only the index file tells: it is kept while what it removed is
 * there. */
static void lose_a_removal(bool unlinked)
{
    char path[600];

    cr_assert_eq(put(&box, "a", 1, 100, 0), MAKO_OK);
    cr_assert_eq(put(&box, "b", 1, 30000, 0), MAKO_OK);
    box_reopen(&box);
    for (uint64_t seq = 2; seq < 20; seq++)
        cr_assert_eq(put(&box, "c", seq, 1000, 0), MAKO_OK);
    cr_assert_eq(drop(&box, "a"), MAKO_OK);
    box_close(&box);
    segment_path(&box, 1, path, sizeof path);
    cr_assert_eq(unlinked ? unlink(path) : truncate(path, 4096 + 18 * 1104), 0);
    a_stays_removed();
}

Test(file_compact, a_lost_removal_stays)
{
    lose_a_removal(false);
}

Test(file_compact, also_with_its_segment)
{
    lose_a_removal(true);
}

/* Likewise beside one that the index file leaves out, because a save replaced it. */
Test(file_compact, a_lost_removal_stays_beside_one_that_was_replaced)
{
    char path[600];

    cr_assert_eq(put(&box, "a", 1, 100, 0), MAKO_OK);
    cr_assert_eq(put(&box, "b", 1, 30000, 0), MAKO_OK);
    box_reopen(&box);
    cr_assert_eq(put(&box, "q", 1, 100, 0), MAKO_OK);
    cr_assert_eq(drop(&box, "q"), MAKO_OK);
    cr_assert_eq(put(&box, "q", 2, 100, 0), MAKO_OK);
    cr_assert_eq(drop(&box, "a"), MAKO_OK);
    for (uint64_t seq = 2; seq < 20; seq++)
        cr_assert_eq(put(&box, "c", seq, 1000, 0), MAKO_OK);
    box_close(&box);
    segment_path(&box, 1, path, sizeof path);
    spoil(path, 4096 + 2 * (80 + 16 + 112) + 80 + 16 + 16, 1); /* its log number */
    a_stays_removed();
    cr_assert(holds(&box, "q", 2));
}

/* ---- index files
 * -------------------------------------------------------------------------- */

static size_t index_count(void)
{
    DIR *dir = opendir(box.path);
    const struct dirent *entry;
    size_t count = 0;

    while (dir != NULL && (entry = readdir(dir)) != NULL)
        count += strstr(entry->d_name, ".idx") != NULL;
    if (dir != NULL)
        (void)closedir(dir);
    return count;
}

static long reads_of_opening(void)
{
    long before = inject_count(INJECT_PREAD);

    inject_everywhere(true);
    box_must_open(&box);
    inject_everywhere(false);
    return inject_count(INJECT_PREAD) - before;
}

Test(file_compact, opening_reads_index_files_instead_of_segments)
{
    char path[600];
    struct stat st;

    put_many(500, 1, 1000);
    box_close(&box);
    cr_assert_eq(index_count(), segment_count(&box));
    /* Emptied blobs: nobody looks at them. */
    inject_fail(INJECT_FDATASYNC, 2, 1000, EIO); /* nor flushes any but the last */
    cr_assert_lt(reads_of_opening(), 20 * (long)segment_count(&box));
    inject_reset();
    for (size_t i = 0; i < 500; i++)
        cr_assert(holds(&box, name_of(i), 1));
    cr_assert(find_file(".idx", path));
    cr_assert_eq(stat(path, &st), 0);
    cr_assert_eq(st.st_mode & 0777, 0600);
}

/* Every byte of one wrong, its end cut off, another's in its place, none at all. */
Test(file_compact, an_index_file_that_is_not_right_is_made_again)
{
    char path[600];
    struct bytes whole;

    put_many(3, 1, 100);
    put_many(2, 2, 100);
    cr_assert_eq(drop(&box, "stream-1"), MAKO_OK);
    box_close(&box);
    cr_assert(find_file(".idx", path));
    whole = read_whole(path);
    for (size_t at = 0; at < whole.len; at++) {
        whole.data[at] ^= (unsigned char)(1u << at % 8);
        write_whole(path, whole.data, whole.len);
        whole.data[at] ^= (unsigned char)(1u << at % 8);
        box_must_open(&box);
        cr_assert(holds(&box, "stream-0", 2), "byte %zu", at);
        cr_assert(holds(&box, "stream-1", 0));
        cr_assert(holds(&box, "stream-2", 1));
        cr_assert_str_empty(box_log());
        box_close(&box);
    }
    for (size_t len = 0; len < whole.len; len += 7) {
        write_whole(path, whole.data, len);
        box_must_open(&box);
        cr_assert(holds(&box, "stream-0", 2));
        box_close(&box);
    }
    cr_assert(file_holds(path, whole.data, whole.len), "made again as it was");
    free(whole.data);
}

/* That of another segment, under this one's name. */
Test(file_compact, a_foreign_index_file_is_not_believed)
{
    char names[2][600];
    struct bytes whole;

    put_many(1, 1, 100);
    box_close(&box);
    cr_assert(find_file(".idx", names[0]));
    whole = read_whole(names[0]);
    cr_assert_eq(unlink(names[0]), 0);
    box.keep_indexes = false;
    box_must_open(&box);
    put_many(1, 2, 100);
    box_close(&box);
    box.keep_indexes = true;
    cr_assert(find_file(".idx", names[1]));
    write_whole(names[1], whole.data, whole.len);
    free(whole.data);
    box_must_open(&box);
    cr_assert(holds(&box, "stream-0", 2));
}

/* Unlink path if it is the index file of segment *number. */
static bool unlink_index_of(const char *path, void *number)
{
    struct bytes whole = read_whole(path);
    bool is = whole.len > 24 && memcmp(whole.data + 16, number, 8) == 0;

    free(whole.data);
    return is && unlink(path) == 0;
}

/* It was written when all its records had been replaced by those of a later segment.  A
 * copy of the directory that was begun before that, or somebody who only reads, may know
 * the one and not the other. */
Test(file_compact, an_index_file_does_not_depend_on_other_segments)
{
    uint64_t second = 2;
    char path[600];

    put_many(10, 1, 100);
    box_reopen(&box);
    put_many(8, 2, 100);
    put_many(2, 3, 100);
    cr_assert_eq(drop(&box, "stream-9"), MAKO_OK);
    box.keep_indexes = false;
    box_reopen(&box);
    box_close(&box);
    cr_assert_eq(index_count(), 2);
    segment_path(&box, 1, path, sizeof path);
    cr_assert_eq(unlink(path), 0);
    cr_assert(any_file(".idx", unlink_index_of, &second));
    box.keep_indexes = true;
    for (int round = 0; round < 2; round++) {
        box.read_only = round == 0;
        box_must_open(&box);
        for (size_t i = 0; i < 10; i++)
            cr_assert(holds(&box, name_of(i), 1));
        box_close(&box);
    }
}

/* A segment that is gone, or has no header any more: its index file names its streams, so
 * that nothing older shows. */
static void lose_and_look(bool unlinked, bool newest)
{
    unsigned char zeros[4096] = {0};
    uint64_t seq;
    char path[600], expected[200];

    put_many(3, 1, 100);
    box_reopen(&box);
    put_many(2, 2, 100);
    box_reopen(&box);
    if (!newest)
        cr_assert_eq(put(&box, "other", 1, 100, 0), MAKO_OK);
    box_close(&box);
    segment_path(&box, 1, path, sizeof path);
    if (unlinked)
        cr_assert_eq(unlink(path), 0);
    else
        write_whole(path, zeros, sizeof zeros);
    (void)snprintf(expected, sizeof expected,
                   "0000000000000002.seg: %s; its snapshots are lost: 2 streams are "
                   "damaged",
                   unlinked ? "missing" : "the header is damaged");
    for (int round = 0; round < 3; round++) {
        box.read_only = round == 0;
        box_must_open(&box);
        if (round < 2)
            cr_assert_not_null(strstr(box_log(), expected), "%s", box_log());
        cr_assert_eq(get(&box, "stream-0", &seq), MAKO_DAMAGED);
        cr_assert_eq(get(&box, "stream-1", &seq), MAKO_DAMAGED);
        cr_assert(holds(&box, "stream-2", 1));
        cr_assert(holds(&box, "other", newest ? 0 : 1));
        if (round == 1) /* it is as good as what is there */
            must_compact();
        box_close(&box);
    }
    box_must_open(&box);
    put_many(2, 3, 100);
    must_compact();
    box_reopen(&box);
    cr_assert(holds(&box, "stream-0", 3));
    cr_assert_str_empty(box_log());
}

Test(file_compact, the_streams_of_a_missing_segment_are_damaged)
{
    lose_and_look(true, false);
}

Test(file_compact, also_of_the_newest)
{
    lose_and_look(true, true);
}

Test(file_compact, the_streams_of_a_segment_without_header_are_damaged)
{
    lose_and_look(false, false);
}

Test(file_compact, also_of_the_newest_without_header)
{
    lose_and_look(false, true);
}

Test(file_compact, nothing_is_lost_with_a_segment_that_held_nothing)
{
    char path[600];

    put_many(3, 1, 100);
    for (size_t i = 0; i < 3; i++)
        cr_assert_eq(drop(&box, name_of(i)), MAKO_OK);
    must_compact();
    must_compact();
    cr_assert_eq(put(&box, "other", 1, 100, 0), MAKO_OK);
    box_close(&box);
    cr_assert(find_file(".idx", path));
    segment_path(&box, 0, path, sizeof path);
    cr_assert_eq(unlink(path), 0);
    box_must_open(&box);
    cr_assert_str_empty(box_log());
    cr_assert(holds(&box, "other", 1));
}

/* What tells of a lost segment cannot be read for once: no older snapshot shows. */
static void lose_and_fail(enum inject_call call, int error)
{
    uint64_t seq;

    for (long nth = 1; nth < 40; nth++) {
        int status;

        inject_reset();
        inject_everywhere(true);
        inject_fail(call, nth, 1, error);
        status = box_open(&box);
        if (status == MAKO_OK)
            cr_assert_eq(get(&box, "stream-0", &seq), MAKO_DAMAGED, "number %ld", nth);
        else
            cr_assert_not_null(strstr(box.err.text, strerror(error)), "%s", box.err.text);
        box_close(&box);
    }
    inject_reset();
}

/* Three segments, of which the middle one is lost for good; its index file is not. */
static void lose_the_middle(void)
{
    char path[600];

    put_many(3, 1, 100);
    box_reopen(&box);
    put_many(2, 2, 100);
    box_reopen(&box);
    cr_assert_eq(put(&box, "other", 1, 100, 0), MAKO_OK);
    box_close(&box);
    segment_path(&box, 1, path, sizeof path);
    cr_assert_eq(unlink(path), 0);
}

Test(file_compact, a_lost_segment_and_a_call_that_fails)
{
    uint64_t seq;

    lose_the_middle();
    lose_and_fail(INJECT_OPENAT, EMFILE);
    lose_and_fail(INJECT_PREAD, EIO);
    lose_and_fail(INJECT_FSTAT, ENOMEM);
    box_must_open(&box);
    cr_assert_eq(get(&box, "stream-0", &seq), MAKO_DAMAGED);
    cr_assert(holds(&box, "stream-2", 1));
}

Test(file_compact, a_segment_cut_short_keeps_what_is_left)
{
    char path[600];
    uint64_t seq;

    put_many(4, 1, 100);
    box_close(&box);
    segment_path(&box, 0, path, sizeof path);
    cr_assert_eq(truncate(path, 4096 + 2 * (80 + 16 + 112) + 50), 0);
    box_must_open(&box);
    cr_assert_not_null(strstr(box_log(), "damaged: has 4562 bytes, but 4928 were"), "%s",
                       box_log());
    for (int round = 0; round < 2; round++) {
        cr_assert(holds(&box, "stream-0", 1));
        cr_assert(holds(&box, "stream-1", 1));
        cr_assert_eq(get(&box, "stream-2", &seq), MAKO_DAMAGED);
        cr_assert_eq(get(&box, "stream-3", &seq), MAKO_DAMAGED);
        must_compact();
    }
}

static size_t intact, held_open;

/* Only counts: a failed assertion would leave with the store's locks held. */
static void read_everything(void)
{
    for (size_t i = 0; i < 300; i++)
        intact += holds(&box, name_of(i), 1);
    held_open = descriptors();
}

Test(file_compact, many_segments_take_few_descriptors_meanwhile)
{
    put_many(300, 1, 40000);
    cr_assert_eq(put(&box, "other", 1, 100, 0), MAKO_OK);
    cr_assert_eq(drop(&box, "other"), MAKO_OK);
    inject_before(INJECT_RENAMEAT, 1, read_everything);
    must_compact();
    cr_assert_gt(segment_count(&box), 200);
    cr_assert_eq(intact, 300);
    cr_assert_lt(held_open, 160);
}

/* ---- by itself
 * -------------------------------------------------------------------------------- */

static bool is_small(void)
{
    return counter(&box, "bytes") <= 2 * counter(&box, "bytes_live");
}

Test(file_compact, overwriting_does_not_fill_the_disk)
{
    box.dead_space = 40;
    box_reopen(&box);
    for (uint64_t round = 1; round <= 10; round++)
        put_many(300, round, 1000);
    wait_until(is_small);
    for (size_t i = 0; i < 300; i++)
        cr_assert(holds(&box, name_of(i), 10));
    cr_assert_gt(counter(&box, "compacted_bytes"), 5 * 300 * 1000);
    box_reopen(&box);
    for (size_t i = 0; i < 300; i++)
        cr_assert(holds(&box, name_of(i), 10));
}

static bool are_few(void)
{
    return counter(&box, "segments") < 40;
}

/* A file for each short opening would make later ones long. */
Test(file_compact, small_files_become_one)
{
    box.dead_space = 40;
    for (size_t i = 0; i < 200; i++) {
        box_reopen(&box);
        cr_assert_eq(put(&box, name_of(i), 1, 100, 0), MAKO_OK);
    }
    box_reopen(&box);
    wait_until(are_few);
    cr_assert_eq(counter(&box, "streams"), 200);
    for (size_t i = 0; i < 200; i++)
        cr_assert(holds(&box, name_of(i), 1));
    box_reopen(&box);
    cr_assert(are_few());
    for (size_t i = 0; i < 200; i++)
        cr_assert(holds(&box, name_of(i), 1));
}

static bool erased(void)
{
    return !on_disk("stream-0", 1) && !on_disk("stream-5", 1);
}

/* Also from the segment that is being written, and with nothing else going on. */
Test(file_compact, what_is_dead_is_erased_in_time)
{
    box.erase_ms = 200;
    box_reopen(&box);
    put_many(10, 1, 1000);
    put_many(1, 2, 1000);
    cr_assert_eq(drop(&box, "stream-5"), MAKO_OK);
    wait_until(erased);
    cr_assert(holds(&box, "stream-0", 2));
    cr_assert(holds(&box, "stream-5", 0));
    cr_assert(holds(&box, "stream-6", 1));
}

/* Also what was dead before an opening. */
Test(file_compact, what_was_dead_is_erased_in_time)
{
    put_many(10, 1, 1000);
    put_many(1, 2, 1000);
    cr_assert_eq(drop(&box, "stream-5"), MAKO_OK);
    box_close(&box);
    box.erase_ms = 50;
    box_must_open(&box);
    wait_until(erased);
    cr_assert(holds(&box, "stream-0", 2));
}

static bool has_failed(void)
{
    return box_logged(": compaction: Input/output error");
}

/* After a failure it sleeps, also where something has been dead for too long, and also
 * when it has been woken. */
Test(file_compact, a_failure_is_not_tried_again_at_once)
{
    struct timespec pause = {.tv_sec = 1};
    struct rusage before, after;

    box.erase_ms = 50;
    box_reopen(&box);
    inject_everywhere(true);
    inject_fail(INJECT_RENAMEAT, 1, INJECT_FOREVER, EIO);
    put_many(10, 1, 1000);
    put_many(1, 2, 1000);
    wait_until(has_failed);
    put_many(100, 3, 1000); /* more than a segment: the thread is told */
    cr_assert_eq(getrusage(RUSAGE_SELF, &before), 0);
    (void)nanosleep(&pause, NULL);
    cr_assert_eq(getrusage(RUSAGE_SELF, &after), 0);
    cr_assert_lt(after.ru_nvcsw - before.ru_nvcsw, 50);
    cr_assert_eq(inject_count(INJECT_RENAMEAT), 1);
}

/* ---- removals
 * ---------------------------------------------------------------------------------- */

static _Atomic bool box_opened;
static uint64_t saves_beside, failed_beside;

static bool is_open(void)
{
    return box_opened;
}

/* Somebody saves during each compaction.  The first may begin before the store is the
 * box's. */
static void save_beside(void)
{
    wait_until(is_open);
    failed_beside += put(&box, "beside", ++saves_beside, 100, 0) != MAKO_OK;
    inject_before(INJECT_RENAMEAT, 2, save_beside);
}

static bool is_swept(void)
{
    return counter(&box, "bytes") < 2000000 || counter(&box, "compactions") > 300;
}

/* Many removals, with long ids, behind snapshots that stay. */
static void remove_many(size_t count)
{
    char id[1001];

    for (size_t i = 0; i < 10; i++)
        cr_assert_eq(put(&box, name_of(i), 1, 30000, 0), MAKO_OK);
    for (size_t i = 0; i < 2 * count; i++) {
        (void)snprintf(id, sizeof id, "%01000zu", i % count);
        cr_assert_eq(i < count ? put(&box, id, 1, 10, 0) : drop(&box, id), MAKO_OK);
    }
}

/* Each segment is copied once to drop them, and not the first again and again. */
Test(file_compact, removals_are_dropped_while_others_save)
{
    uint64_t compactions;

    box.durability = MAKO_DURABLE_CRASH;
    box_reopen(&box);
    remove_many(3000);
    box_close(&box);
    inject_everywhere(true);
    inject_before(INJECT_RENAMEAT, 1, save_beside);
    box.dead_space = 99;
    box_must_open(&box);
    box_opened = true;
    wait_until(is_swept);
    cr_assert_lt(counter(&box, "bytes"), 2000000);
    compactions = counter(&box, "compactions");
    for (int round = 0; round < 2; round++) {
        cr_assert_eq(counter(&box, "streams"), 11);
        cr_assert(holds(&box, "stream-9", 1));
        box_close(&box); /* and its thread */
        inject_reset();
        box_must_open(&box);
    }
    cr_assert_leq(compactions, 80);
    cr_assert_gt(saves_beside, 20);
    cr_assert_eq(failed_beside, 0);
}

/* ---- beside others
 * -------------------------------------------------------------------------------- */

struct worker {
    pthread_t thread;
    size_t first;
    uint64_t rounds, last[10];
    _Atomic bool *stop;
};

/* Saves, removes and loads streams of its own, and knows what must be there. */
static void *work(void *arg)
{
    struct worker *worker = arg;
    uint64_t seq;

    for (uint64_t round = 1; round <= worker->rounds; round++)
        for (size_t i = 0; i < 10; i++) {
            char name[32];

            (void)snprintf(name, sizeof name, "worker-%zu", worker->first + i);
            if ((round + i) % 5 == 0) {
                cr_assert_eq(drop(&box, name) < 0, false);
                worker->last[i] = 0;
            } else {
                cr_assert_eq(put(&box, name, round, 300, 0), MAKO_OK);
                worker->last[i] = round;
            }
            if (worker->last[i] == 0)
                cr_assert_eq(get(&box, name, &seq), MAKO_NOT_FOUND, "%s", name);
            else
                cr_assert(get(&box, name, &seq) == MAKO_OK && seq == worker->last[i],
                          "%s: %s", name, box.err.text);
        }
    *worker->stop = true;
    return NULL;
}

static void run_workers(size_t count, uint64_t rounds)
{
    struct worker workers[4] = {{.first = 0}};
    _Atomic bool stop = false;

    for (size_t i = 0; i < count; i++) {
        workers[i] = (struct worker){.first = i * 10, .rounds = rounds, .stop = &stop};
        cr_assert_eq(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    while (!stop)
        must_compact();
    for (size_t i = 0; i < count; i++)
        cr_assert_eq(pthread_join(workers[i].thread, NULL), 0);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < count * 10; i++) {
            char name[32];

            (void)snprintf(name, sizeof name, "worker-%zu", i);
            cr_assert(holds(&box, name, workers[i / 10].last[i % 10]));
        }
        box.keep_indexes = round == 0;
        box_reopen(&box);
        cr_assert_str_empty(box_log());
    }
}

Test(file_compact, saves_removals_and_loads_go_on_meanwhile)
{
    box.dead_space = 40;
    box_reopen(&box);
    run_workers(4, 150);
}

Test(file_compact, also_of_mapped_stores)
{
    box.map = true;
    box.dead_space = 40;
    box_reopen(&box);
    run_workers(3, 150);
}

struct lent {
    struct mako_sink sink; /* first, so that the callbacks find the rest */
    const void *bytes;
    size_t len;
    void (*release)(void *cookie);
    void *cookie;
};

static int keep_lent(struct mako_sink *sink, const struct mako_meta *meta,
                     const void *blob, size_t blob_len, void (*release)(void *cookie),
                     void *cookie)
{
    union {
        struct mako_sink *sink;
        struct lent *lent;
    } both = {.sink = sink};

    (void)meta;
    *both.lent = (struct lent){.sink = *sink,
                               .bytes = blob,
                               .len = blob_len,
                               .release = release,
                               .cookie = cookie};
    return 0;
}

static void *no_room(struct mako_sink *sink, const struct mako_meta *meta, size_t len)
{
    (void)sink;
    (void)meta;
    (void)len;
    return NULL;
}

/* Compaction replaces the segment, and its file is gone, while its bytes are lent. */
Test(file_compact, lent_bytes_outlive_their_segment)
{
    struct lent lent = {
        .sink = {.struct_size = sizeof lent.sink, .accept = no_room, .lend = keep_lent}};
    struct mako_str stream = {.ptr = "stream-3", .len = 8};
    unsigned char expected[1000];
    uint64_t seq;

    box.map = true;
    put_many(100, 1, 1000);
    box_reopen(&box);
    cr_assert_eq(box.plugin->load(box.store, stream, &lent.sink, &box.err), MAKO_OK);
    put_many(100, 2, 1000);
    must_compact();
    cr_assert_not(on_disk("stream-3", 1));
    pattern(expected, sizeof expected, "stream-3", 1);
    cr_assert_eq(lent.len, sizeof expected);
    cr_assert_eq(memcmp(lent.bytes, expected, sizeof expected), 0);
    lent.release(lent.cookie);
    cr_assert_eq(get(&box, "stream-3", &seq), MAKO_OK);
    cr_assert_eq(seq, 2);
}

/* ---- read-only
 * ---------------------------------------------------------------------------------- */

Test(file_compact, a_store_in_use_can_be_read)
{
    struct box reader = box;
    uint64_t seq;

    reader.read_only = reader.keep_indexes = true;
    reader.store = NULL;
    put_many(300, 1, 1000);
    for (uint64_t round = 2; round < 12; round++) {
        box_must_open(&reader);
        cr_assert(holds(&reader, "stream-7", round - 1));
        put_many(300, round, 1000);
        must_compact();
        for (size_t i = 0; i < 300; i++) {
            int status = get(&reader, name_of(i), &seq);

            cr_assert_eq(status, MAKO_OK, "%d %s", status, reader.err.text);
            cr_assert(seq == round || (seq == round - 1 && i < 100), "%zu", (size_t)seq);
        }
        cr_assert_null(strstr(box_log(), "W "), "%s", box_log());
        if (round < 11)
            box_close(&reader);
    }
    cr_assert_eq(put(&reader, "x", 1, 10, 0), MAKO_E_UNSUPPORTED);
    cr_assert_not_null(strstr(reader.err.text, "is open for reading only"));
    cr_assert_eq(drop(&reader, "x"), MAKO_E_UNSUPPORTED);
    box_close(&reader);
}

struct reading {
    struct box reader;
    _Atomic bool stop;
};

static void *read_on(void *arg)
{
    struct reading *reading = arg;
    uint64_t seq;

    while (!reading->stop) {
        box_must_open(&reading->reader);
        for (size_t i = 0; i < 100; i++) {
            int status = get(&reading->reader, name_of(i), &seq);

            cr_assert_eq(status, MAKO_OK, "%d %s", status, reading->reader.err.text);
        }
        cr_assert_null(strstr(box_log(), "W "), "%s", box_log());
        box_close(&reading->reader);
    }
    return NULL;
}

static void open_while_in_use(uint32_t durability)
{
    struct reading reading;
    pthread_t thread;

    box.durability = durability;
    box_reopen(&box);
    reading = (struct reading){.reader = box};

    reading.reader.read_only = reading.reader.keep_indexes = true;
    reading.reader.store = NULL;
    put_many(100, 1, 1000);
    cr_assert_eq(pthread_create(&thread, NULL, read_on, &reading), 0);
    for (uint64_t round = 2; round < 60; round++) {
        put_many(100, round, 1000);
        if (round % 2 == 0)
            must_compact();
    }
    reading.stop = true;
    cr_assert_eq(pthread_join(thread, NULL), 0);
}

/* Openings at any moment of a writer's work. */
Test(file_compact, a_store_in_use_can_be_opened_to_read)
{
    open_while_in_use(MAKO_DURABLE_POWER);
}

/* Files that grow with each record. */
Test(file_compact, a_store_in_use_that_does_not_flush_can_be_opened_to_read)
{
    open_while_in_use(MAKO_DURABLE_CRASH);
}

/* So many names that a directory is read in several pieces. */
static void crowd(void)
{
    char path[600];

    for (int i = 0; i < 1000; i++) {
        (void)snprintf(path, sizeof path, "%s/%0100d", box.path, i);
        write_whole(path, "", 0);
    }
}

/* The newest segment gives way to its copy, of which the name may stand in a piece that
 * has been read, while its own stands in one that has not. */
Test(file_compact, what_is_replaced_while_the_directory_is_read_is_not_overlooked)
{
    struct box reader;

    crowd();
    reader = box;
    reader.read_only = reader.keep_indexes = true;
    reader.store = NULL;
    for (uint64_t round = 1; round <= 40; round++) {
        put_many(3, round, 100);
        inject_before(INJECT_READDIR, (long)round * 25, must_compact);
        box_must_open(&reader);
        for (size_t i = 0; i < 3; i++)
            cr_assert(holds(&reader, name_of(i), round), "round %zu", (size_t)round);
        box_close(&reader);
    }
}

/* Where one file is lost, one that is gone for a moment must not be taken for another. */
Test(file_compact, what_vanishes_beside_a_lost_segment_is_not_lost)
{
    long opened = LONG_MAX;
    uint64_t seq;

    lose_the_middle();
    box.read_only = true;
    for (long nth = 1; nth <= opened; nth++) {
        inject_reset();
        inject_fail(INJECT_OPENAT, nth, 1, ENOENT);
        box_must_open(&box);
        opened = inject_count(INJECT_OPENAT);
        inject_reset();
        cr_assert_not_null(strstr(box_log(), "0000000000000002.seg: missing; its"), "%s",
                           box_log());
        cr_assert_eq(get(&box, "stream-0", &seq), MAKO_DAMAGED, "call %ld", nth);
        cr_assert(holds(&box, "stream-2", 1), "call %ld", nth);
        cr_assert(holds(&box, "other", 1), "call %ld", nth);
        box_close(&box);
    }
    cr_assert_gt(opened, 10);
}

Test(file_compact, what_is_gone_each_time_is_said)
{
    char expected[600];

    put_many(3, 1, 100);
    box_close(&box);
    box.read_only = true;
    inject_fail(INJECT_OPENAT, 1, INJECT_FOREVER, ENOENT);
    cr_assert_eq(box_open(&box), MAKO_E_UNAVAILABLE);
    (void)snprintf(expected, sizeof expected,
                   "%s: files vanish while they are looked for, 500 times in a row",
                   box.path);
    cr_assert_str_eq(box.err.text, expected);
    inject_reset();
    box_must_open(&box);
    cr_assert(holds(&box, "stream-2", 1));
}

/* ---- no space
 * --------------------------------------------------------------------------------------
 */

Test(file_compact, no_space_for_the_copy)
{
    put_many(150, 1, 1000);
    for (size_t i = 0; i < 150; i += 2)
        cr_assert_eq(put(&box, name_of(i), 2, 1000, 0), MAKO_OK);
    inject_fail(INJECT_PWRITEV, 1, 1000, ENOSPC);
    cr_assert_eq(compact(&box), MAKO_E_NO_SPACE);
    cr_assert_not_null(strstr(box.err.text, ": compaction: No space left on device"),
                       "%s", box.err.text);
    cr_assert_str_empty(any_file(".tmp", look_for_name, (char[600]){""}) ? "left" : "");
    inject_reset();
    for (size_t i = 0; i < 150; i++)
        cr_assert(holds(&box, name_of(i), i % 2 == 0 ? 2 : 1));
    must_compact();
    cr_assert_not(on_disk("stream-2", 1));
    for (size_t i = 0; i < 150; i++)
        cr_assert(holds(&box, name_of(i), i % 2 == 0 ? 2 : 1));
    box_reopen(&box);
    cr_assert_str_empty(box_log());
}

/* What needs nothing goes first, even where there is no room for its copy's header. */
Test(file_compact, no_space_and_a_segment_that_needs_nothing)
{
    put_many(60, 1, 1000);
    put_many(60, 2, 1000);
    must_compact();
    put_many(60, 3, 1000);
    inject_fail(INJECT_OPENAT, 1, 1, ENOSPC);
    must_compact();
    cr_assert_not(on_disk("stream-2", 2));
    inject_reset();
    for (size_t i = 0; i < 60; i++)
        cr_assert(holds(&box, name_of(i), 3));
    box_reopen(&box);
    cr_assert_str_empty(box_log());
}

/* Nor may its index file be taken for that of a segment that was lost. */
Test(file_compact, no_space_and_a_segment_that_is_half_gone)
{
    put_many(60, 1, 1000);
    box_reopen(&box);
    put_many(60, 2, 1000);
    box_reopen(&box);
    inject_fail(INJECT_CREATE, 1, INJECT_FOREVER, ENOSPC);
    inject_fail(INJECT_UNLINKAT, 2, INJECT_FOREVER, EIO);
    cr_assert_eq(compact(&box), MAKO_E_NO_SPACE);
    cr_assert_gt(inject_count(INJECT_UNLINKAT), 1);
    inject_reset();
    box_reopen(&box);
    cr_assert_str_empty(box_log());
    for (size_t i = 0; i < 60; i++)
        cr_assert(holds(&box, name_of(i), 2));
}

/* ---- no medium
 * -------------------------------------------------------------------------------------
 */

/* Of writes that were lost the system tells once: to the call that sends a part of the
 * copy to the medium, and the flush that follows works. */
Test(file_compact, a_copy_of_which_a_part_was_lost_is_not_used)
{
    box.segment_size = 4 << 20;
    box_reopen(&box);
    put_many(1, 1, 1000);
    cr_assert_eq(put(&box, "stream-1", 1, 900000, 0), MAKO_OK);
    put_many(1, 2, 100);
    inject_fail(INJECT_SYNC_RANGE, 1, 1, EIO);
    cr_assert_eq(compact(&box), MAKO_E_IO);
    cr_assert_eq(inject_count(INJECT_SYNC_RANGE), 1);
    cr_assert_not_null(strstr(box.err.text, ": compaction: Input/output error"), "%s",
                       box.err.text);
    cr_assert(on_disk("stream-0", 1), "the copy took its place");
    cr_assert(holds(&box, "stream-1", 1));
    must_compact();
    cr_assert_not(on_disk("stream-0", 1));
    /* Where there is no such call, compaction does without. */
    put_many(1, 3, 1000);
    inject_fail(INJECT_SYNC_RANGE, 1, 1000, ENOSYS);
    must_compact();
    inject_reset();
    box_reopen(&box);
    cr_assert(holds(&box, "stream-0", 3));
    cr_assert(holds(&box, "stream-1", 1));
}

Test(file_compact, a_signal_during_getrandom_is_no_failure)
{
    put_many(20, 1, 500);
    put_many(10, 2, 500);
    inject_fail(INJECT_GETRANDOM, 1, 2, EINTR);
    must_compact();
    cr_assert_not(on_disk("stream-2", 1));
}

/* A segment that could not be read once is left alone until the next opening; that it has
 * been compacted must not be said. */
Test(file_compact, what_stays_is_said)
{
    put_many(20, 1, 500);
    put_many(10, 2, 500);
    box_reopen(&box); /* and nothing of it is in memory */
    inject_fail(INJECT_PREAD, 1, 1, EIO);
    cr_assert_eq(compact(&box), MAKO_E_IO);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(compact(&box), MAKO_E_IO);
        cr_assert_not_null(strstr(box.err.text,
                                  "0000000000000001.seg: is not compacted before the "
                                  "store is opened again, after a failure"),
                           "%s", box.err.text);
        cr_assert(on_disk("stream-2", 1));
    }
    box_reopen(&box);
    must_compact();
    cr_assert_not(on_disk("stream-2", 1));
}

/* The directory cannot be flushed when a copy of segments 2 and 3 has its name, and the
 * name cannot be taken back: so the next opening will believe it, and a copy of 1 and 2
 * must not be made beside it. */
Test(file_compact, a_copy_that_cannot_be_taken_back)
{
    static const size_t sizes[] = {30000, 20000, 40000, 30000};

    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(put(&box, name_of(i), 1, sizes[i], 0), MAKO_OK);
        cr_assert_eq(put(&box, name_of(10 + i), 1, 1000, 0), MAKO_OK);
        if (i < 3)
            box_reopen(&box);
    }
    cr_assert_eq(put(&box, name_of(11), 2, 1000, 0), MAKO_OK);
    cr_assert_eq(put(&box, name_of(12), 2, 1000, 0), MAKO_OK);
    inject_fail(INJECT_FSYNC, 1, 1, EIO);
    inject_fail(INJECT_UNLINKAT, 1, 1, EIO);
    cr_assert_eq(compact(&box), MAKO_E_IO);
    inject_reset();
    cr_assert_eq(put(&box, name_of(10), 2, 1000, 0), MAKO_OK);
    (void)compact(&box);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < 4; i++) {
            cr_assert(holds(&box, name_of(i), 1));
            cr_assert(holds(&box, name_of(10 + i), i < 3 ? 2 : 1));
        }
        box_reopen(&box);
        cr_assert_str_empty(box_log());
    }
    must_compact();
}

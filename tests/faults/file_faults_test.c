/* tests/faults/file_faults_test.c - the file plugin when system calls fail: what was
 * acknowledged stays, what failed does not come back behind a later save, and the store
 * goes on by itself. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host.h"
#include "inject.h"

static struct box box;

static void make(void)
{
    inject_reset();
    box_make(&box);
    box_must_open(&box);
}

static void clean(void)
{
    inject_reset();
    box_free(&box);
}

TestSuite(file_faults, .init = make, .fini = clean, .timeout = 400);

static void expect_text(const char *file, const char *cause)
{
    char expected[600];

    (void)snprintf(expected, sizeof expected, "%s/%s: %s", box.path, file, cause);
    cr_assert_str_eq(box.err.text, expected);
}

/* The page cache shows what a failed flush should have written; recovery must not
 * believe it once a later segment says where the log ended. */
Test(file_faults, a_failed_flush_is_left_behind)
{
    char segment[400];
    struct bytes left;

    cr_assert_eq(put(&box, "a", 1, 100, 0), MAKO_OK);
    inject_fail(INJECT_FDATASYNC, 1, 1, EIO);
    cr_assert_eq(put(&box, "a", 2, 100, 0), MAKO_E_IO);
    expect_text("0000000000000001.seg", "Input/output error");
    cr_assert(holds(&box, "a", 1));
    cr_assert_eq(put(&box, "b", 1, 100, 0), MAKO_OK);
    cr_assert_eq(segment_count(&box), 2);
    cr_assert(holds(&box, "a", 1));
    box_reopen(&box);
    cr_assert(holds(&box, "a", 1));
    cr_assert(holds(&box, "b", 1));
    segment_path(&box, 0, segment, sizeof segment);
    left = read_whole(segment);
    cr_assert_eq(left.len, 4096 + 80 + 16 + 112);
    free(left.data);
}

/* Also where cutting the failed data off fails, as it does on a disk that is gone. */
Test(file_faults, failed_data_that_stays_in_the_file_does_not_count)
{
    cr_assert_eq(put(&box, "a", 1, 100, 0), MAKO_OK);
    inject_fail(INJECT_FDATASYNC, 1, 1, EIO);
    inject_fail(INJECT_FTRUNCATE, 1, 1000, EIO);
    cr_assert_eq(put(&box, "a", 2, 100, 0), MAKO_E_IO);
    cr_assert_eq(put(&box, "b", 1, 100, 0), MAKO_OK);
    inject_reset();
    box_reopen(&box);
    cr_assert(holds(&box, "a", 1));
    cr_assert(holds(&box, "b", 1));
}

Test(file_faults, a_flush_is_never_repeated_over_failed_data)
{
    long before;

    cr_assert_eq(put(&box, "a", 1, 100, 0), MAKO_OK);
    inject_fail(INJECT_FDATASYNC, 1, 1, EIO);
    before = inject_count(INJECT_FDATASYNC);
    cr_assert_eq(put(&box, "a", 2, 100, 0), MAKO_E_IO);
    cr_assert_eq(inject_count(INJECT_FDATASYNC), before + 1);
    box_close(&box);
    cr_assert_eq(inject_count(INJECT_FDATASYNC), before + 1);
}

/* Nothing is flushed but, by each opening, what is there already: how often. */
static void expect_flushes_of_opening(long flushes, long forgotten)
{
    inject_reset();
    inject_everywhere(true);
    box_must_open(&box);
    cr_assert_eq(inject_count(INJECT_FDATASYNC), flushes);
    cr_assert_eq(inject_count(INJECT_FADVISE), forgotten);
    inject_reset();
}

/* What an opening that does not flush finds behind the last flush counts: its own segment
 * says so, and no later opening flushes the one before it. */
Test(file_faults, what_was_written_for_power_is_flushed_before_it_counts)
{
    cr_assert_eq(put(&box, "a", 1, 100, 0), MAKO_OK);
    box_close(&box);
    box.durability = MAKO_DURABLE_CRASH;
    expect_flushes_of_opening(1, 1);
    cr_assert(holds(&box, "a", 1));
    cr_assert_eq(put(&box, "b", 1, 100, 0), MAKO_OK);
    box_close(&box);
    expect_flushes_of_opening(0, 0); /* that is not the last any more */
    cr_assert(holds(&box, "a", 1));
    cr_assert(holds(&box, "b", 1));
}

/* The flush before may have failed, and so an opening: that this one works tells nothing
 * of what was lost then, and is still to be seen in memory. */
Test(file_faults, what_was_not_flushed_is_read_from_the_medium)
{
    box.durability = MAKO_DURABLE_CRASH;
    box_reopen(&box);
    cr_assert_eq(put(&box, "a", 1, 100, 0), MAKO_OK);
    box_close(&box);
    box.durability = MAKO_DURABLE_POWER;
    box.keep_indexes = true;
    inject_fail(INJECT_FDATASYNC, 1, 1, EIO);
    cr_assert_eq(box_open(&box), MAKO_E_IO);
    for (int round = 0; round < 2; round++) {
        expect_flushes_of_opening(1, 1);
        cr_assert(holds(&box, "a", 1));
        box_close(&box);
        box.keep_indexes = false;
    }
}

/* As many threads read as there are processors, where that can be told. */
Test(file_faults, how_many_processors_there_are_is_not_known)
{
    char name[16];

    for (int i = 0; i < 30; i++) {
        (void)snprintf(name, sizeof name, "s%d", i);
        cr_assert_eq(put(&box, name, 1, 100, 0), MAKO_OK);
        box_reopen(&box);
    }
    inject_fail(INJECT_PROCESSORS, 1, INJECT_FOREVER, EINVAL);
    box_reopen(&box);
    cr_assert_gt(inject_count(INJECT_PROCESSORS), 0);
    for (int i = 0; i < 30; i++) {
        (void)snprintf(name, sizeof name, "s%d", i);
        cr_assert(holds(&box, name, 1));
    }
}

Test(file_faults, an_interrupted_flush_is_not_a_failed_one)
{
    inject_fail(INJECT_FDATASYNC, 1, 3, EINTR);
    cr_assert_eq(put(&box, "a", 1, 100, 0), MAKO_OK);
    cr_assert(holds(&box, "a", 1));
}

/* A removal may not rest on an index that a failed save has not reached: that save may
 * come back until another segment says that it does not count. */
Test(file_faults, a_removal_after_a_failed_save_is_written)
{
    inject_fail(INJECT_FDATASYNC, 1, 1, EIO);
    inject_fail(INJECT_FTRUNCATE, 1, 1000, EIO);
    cr_assert_eq(put(&box, "b", 1, 100, 0), MAKO_E_IO);
    cr_assert_eq(put(&box, "a", 1, 100, 0), MAKO_OK);
    inject_fail(INJECT_FDATASYNC, 1, 1, EIO);
    cr_assert_eq(put(&box, "b", 2, 100, 0), MAKO_E_IO);
    cr_assert_eq(drop(&box, "b"), MAKO_OK);
    inject_reset();
    box_reopen(&box);
    cr_assert(holds(&box, "b", 0));
    cr_assert(holds(&box, "a", 1));
}

Test(file_faults, a_failed_removal_keeps_what_was_there)
{
    cr_assert_eq(put(&box, "a", 1, 100, 0), MAKO_OK);
    inject_fail(INJECT_FDATASYNC, 1, 1, EIO);
    cr_assert_eq(drop(&box, "a"), MAKO_E_IO);
    expect_text("0000000000000001.seg", "Input/output error");
    cr_assert(holds(&box, "a", 1));
    cr_assert_eq(drop(&box, "a"), MAKO_OK);
    box_reopen(&box);
    cr_assert(holds(&box, "a", 0));
}

/* The first flush of a segment is followed by its directory's. */
Test(file_faults, a_segment_counts_only_with_its_directory_entry)
{
    long before = inject_count(INJECT_FSYNC);

    inject_fail(INJECT_FSYNC, 1, 1, EIO);
    cr_assert_eq(put(&box, "a", 1, 100, 0), MAKO_E_IO);
    cr_assert_eq(inject_count(INJECT_FSYNC), before + 1);
    expect_text("0000000000000001.seg", "Input/output error");
    cr_assert_eq(segment_count(&box), 0);
    cr_assert_eq(put(&box, "a", 2, 100, 0), MAKO_OK);
    cr_assert_eq(put(&box, "a", 3, 100, 0), MAKO_OK);
    cr_assert_eq(inject_count(INJECT_FSYNC), before + 2);
    box_reopen(&box);
    cr_assert(holds(&box, "a", 3));
}

/* The first beginning of a segment fails, and its file comes back as it does where the
 * unlinking was lost in a power cut: it is no part of the log. */
Test(file_faults, a_beginning_that_failed_stays_out)
{
    char segment[400];
    struct bytes failed;

    cr_assert_eq(put(&box, "a", 1, 100, 0), MAKO_OK);
    box_reopen(&box);
    cr_assert_eq(put(&box, "a", 2, 100, 0), MAKO_OK);
    segment_path(&box, 1, segment, sizeof segment);
    failed = read_whole(segment);
    box_close(&box);
    cr_assert_eq(unlink(segment), 0);
    box_must_open(&box);
    inject_fail(INJECT_FDATASYNC, 1, 1, EIO);
    cr_assert_eq(put(&box, "b", 1, 100, 0), MAKO_E_IO);
    cr_assert_eq(put(&box, "b", 2, 100, 0), MAKO_OK);
    box_close(&box);
    write_whole(segment, failed.data, failed.len);
    free(failed.data);
    box_must_open(&box);
    cr_assert(holds(&box, "a", 1));
    cr_assert(holds(&box, "b", 2));
}

/* ---- a batch that fails ----------------------------------------------------------- */

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

/* 4 gives way to 5, which then fails: 4 must be decided again, and be saved. */
Test(file_faults, what_gave_way_to_a_failed_save_is_decided_again)
{
    unsigned char bytes[3][64];
    struct mako_record records[3] = {record_of("a", 5, MAKO_SAVE_IF_NEWER, bytes[0], 64),
                                     record_of("a", 4, MAKO_SAVE_IF_NEWER, bytes[1], 64),
                                     record_of("a", 3, MAKO_SAVE_IF_NEWER, bytes[2], 64)};
    int statuses[3];

    cr_assert_eq(put(&box, "z", 1, 10, 0), MAKO_OK);
    inject_fail(INJECT_FDATASYNC, 1, 1, EIO);
    cr_assert_eq(box.plugin->save_many(box.store, records, 3, statuses, &box.err), 0);
    cr_assert_eq(statuses[0], MAKO_E_IO);
    cr_assert_eq(statuses[1], MAKO_OK);
    cr_assert_eq(statuses[2], MAKO_STALE);
    cr_assert(holds(&box, "a", 4));
    box_reopen(&box);
    cr_assert(holds(&box, "a", 4));
}

enum {
    SAVERS = 8
};

struct saver {
    pthread_t thread;
    char stream[32];
    int status;
};

static void *save_one(void *arg)
{
    struct saver *saver = arg;

    saver->status = put(&box, saver->stream, 1, 100, 0);
    return NULL;
}

static void start_saver(struct saver *saver, size_t number)
{
    (void)snprintf(saver->stream, sizeof saver->stream, "s%zu", number);
    cr_assert_eq(pthread_create(&saver->thread, NULL, save_one, saver), 0);
}

/* One flush is under way and fails; the others come meanwhile and share the next. */
Test(file_faults, savers_that_wait_behind_a_failing_flush_succeed)
{
    struct saver savers[SAVERS];

    cr_assert_eq(put(&box, "z", 1, 10, 0), MAKO_OK);
    inject_hold();
    start_saver(&savers[0], 0);
    inject_held();
    for (size_t i = 1; i < SAVERS; i++)
        start_saver(&savers[i], i);
    inject_release(EIO);
    for (size_t i = 0; i < SAVERS; i++)
        cr_assert_eq(pthread_join(savers[i].thread, NULL), 0);
    cr_assert_eq(savers[0].status, MAKO_E_IO);
    box_reopen(&box);
    cr_assert(holds(&box, "s0", 0));
    for (size_t i = 1; i < SAVERS; i++) {
        cr_assert_eq(savers[i].status, MAKO_OK);
        cr_assert(holds(&box, savers[i].stream, 1));
    }
}

/* A save is seen only once it is acknowledged. */
Test(file_faults, loads_do_not_see_what_is_not_flushed)
{
    struct saver saver;

    cr_assert_eq(put(&box, "s0", 9, 10, 0), MAKO_OK);
    inject_hold();
    start_saver(&saver, 0);
    inject_held();
    cr_assert(holds(&box, "s0", 9));
    inject_release(0);
    cr_assert_eq(pthread_join(saver.thread, NULL), 0);
    cr_assert_eq(saver.status, MAKO_OK);
    cr_assert(holds(&box, "s0", 1));
}

/* ---- no space --------------------------------------------------------------------- */

Test(file_faults, a_full_disk_in_mid_record)
{
    char stream[32];

    cr_assert_eq(put(&box, "a", 1, 100, 0), MAKO_OK);
    for (long bytes = 0; bytes < 120; bytes += 13) {
        uint64_t seq = (uint64_t)bytes + 2;

        (void)snprintf(stream, sizeof stream, "b%ld", bytes);
        inject_short_write(bytes);
        inject_fail(INJECT_PWRITEV, bytes == 0 ? 1 : 2, 1, ENOSPC);
        cr_assert_eq(put(&box, "a", seq, 100, 0), MAKO_E_NO_SPACE);
        cr_assert_not_null(strstr(box.err.text, ".seg: No space left on device"), "%s",
                           box.err.text);
        inject_reset();
        cr_assert_eq(put(&box, stream, seq, 100, 0), MAKO_OK);
        cr_assert(holds(&box, "a", 1));
    }
    box_reopen(&box);
    cr_assert(holds(&box, "a", 1));
    for (long bytes = 0; bytes < 120; bytes += 13) {
        (void)snprintf(stream, sizeof stream, "b%ld", bytes);
        cr_assert(holds(&box, stream, (uint64_t)bytes + 2));
    }
    cr_assert_null(strstr(box_log(), "W "), "%s", box_log());
}

Test(file_faults, short_writes_are_finished)
{
    for (long bytes = 1; bytes < 200; bytes += 11) {
        inject_short_write(bytes);
        cr_assert_eq(put(&box, "a", (uint64_t)bytes, 300, 0), MAKO_OK);
        cr_assert(holds(&box, "a", (uint64_t)bytes));
    }
    inject_fail(INJECT_PWRITEV, 1, 2, EINTR);
    cr_assert_eq(put(&box, "a", 500, 300, 0), MAKO_OK);
    cr_assert_eq(segment_count(&box), 1);
    box_reopen(&box);
    cr_assert(holds(&box, "a", 500));
}

Test(file_faults, a_segment_that_cannot_be_begun)
{
    static const struct {
        enum inject_call call;
        int error, status;
        const char *cause;
    } cases[] = {{INJECT_OPENAT, ENOSPC, MAKO_E_NO_SPACE, "No space left on device"},
                 {INJECT_OPENAT, EDQUOT, MAKO_E_NO_SPACE, "Disk quota exceeded"},
                 {INJECT_OPENAT, EROFS, MAKO_E_IO, "Read-only file system"},
                 {INJECT_OPENAT, EMFILE, MAKO_E_IO, "Too many open files"},
                 {INJECT_PWRITEV, ENOSPC, MAKO_E_NO_SPACE, "No space left on device"},
                 {INJECT_PWRITEV, EIO, MAKO_E_IO, "Input/output error"}};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char name[32];

        inject_fail(cases[i].call, 1, cases[i].error == EMFILE ? 2 : 1, cases[i].error);
        cr_assert_eq(put(&box, "a", 1, 10, 0), cases[i].status);
        (void)snprintf(name, sizeof name, "%016zx.seg", i + 1);
        expect_text(name, cases[i].cause);
        cr_assert_eq(segment_count(&box), 0);
        cr_assert(holds(&box, "a", 0));
    }
    cr_assert_eq(put(&box, "a", 1, 10, 0), MAKO_OK);
    box_reopen(&box);
    cr_assert(holds(&box, "a", 1));
}

/* ---- opening ------------------------------------------------------------------------
 */

static void expect_opening_fails(int status, const char *cause)
{
    cr_assert_eq(box_open(&box), status, "%s", box.err.text);
    cr_assert_not_null(strstr(box.err.text, box.path), "%s", box.err.text);
    cr_assert_not_null(strstr(box.err.text, cause), "%s", box.err.text);
    inject_reset();
    box_must_open(&box);
    box_close(&box);
}

/* Nobody has the lock: another process must not be blamed. */
Test(file_faults, a_lock_file_that_cannot_be_looked_at)
{
    box_close(&box);
    for (long nth = 1; nth < 4; nth++) {
        inject_fail(INJECT_FSTAT, nth, 1, EIO);
        expect_opening_fails(MAKO_E_IO, "Input/output error");
    }
    inject_fail(INJECT_FLOCK, 1, 1, ENOLCK);
    expect_opening_fails(MAKO_E_IO, "No locks available");
    inject_fail(INJECT_FLOCK, 1, 3, EINTR);
    box_must_open(&box);
}

/* ---- a real full disk, where root may mount --------------------------------------- */

/* In a mount namespace of this process, so that nothing stays mounted behind it. */
static bool mount_small(void)
{
    if (unshare(CLONE_NEWNS) != 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        return false;
    return mount("tmpfs", box.path, "tmpfs", 0, "size=256k,mode=700") == 0;
}

static void fill_and_recover(void)
{
    static const unsigned char filler[100000];
    char ballast[400], stream[32];
    uint64_t saved = 0;
    int status;

    (void)snprintf(ballast, sizeof ballast, "%s/ballast", box.path);
    write_whole(ballast, filler, sizeof filler);
    box_must_open(&box);
    do {
        (void)snprintf(stream, sizeof stream, "s%llu", (unsigned long long)saved);
        status = put(&box, stream, 1, 3000, 0);
        saved += status == MAKO_OK;
    } while (status == MAKO_OK && saved < 1000);
    cr_assert_eq(status, MAKO_E_NO_SPACE, "%d %s", status, box.err.text);
    cr_assert_not_null(strstr(box.err.text, ".seg: No space left on device"));
    cr_assert_gt(saved, 10);
    cr_assert_eq(put(&box, "more", 1, 3000, 0), MAKO_E_NO_SPACE);
    cr_assert(holds(&box, "s0", 1));
    cr_assert_eq(unlink(ballast), 0);
    cr_assert_eq(put(&box, "more", 2, 3000, 0), MAKO_OK);
    box_reopen(&box);
    cr_assert(holds(&box, "more", 2));
    for (uint64_t i = 0; i < saved; i++) {
        (void)snprintf(stream, sizeof stream, "s%llu", (unsigned long long)i);
        cr_assert(holds(&box, stream, 1));
    }
    cr_assert_null(strstr(box_log(), "W "), "%s", box_log());
}

Test(file_faults, a_real_full_disk)
{
    if (!mount_small()) {
        int error = errno;

        clean(); /* skipping ends the test here */
        cr_skip("may not mount: %s", strerror(error));
    }
    box_close(&box);
    fill_and_recover();
    box_close(&box);
    cr_assert_eq(umount2(box.path, MNT_DETACH), 0);
}

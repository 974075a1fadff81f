/* tests/faults/file_revival_test.c - nothing that was removed or replaced comes back:
 * changes while a segment is being copied, changes that are in flight while it is, files
 * that come back, kill -9 in between, with index files and without. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
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
}

static void clean(void)
{
    inject_reset();
    box_free(&box);
}

TestSuite(file_revival, .init = make, .fini = clean, .timeout = 400);

/* Statuses of a forked child, too, where Criterion's asserts may not be used. */
static void must(bool right, const char *what)
{
    if (right)
        return;
    (void)fprintf(stderr, "%s: %s\n", what, box.err.text);
    abort();
}

static void must_put(const char *stream, uint64_t seq)
{
    must(put(&box, stream, seq, 1000, 0) == MAKO_OK, stream);
}

static void must_drop(const char *stream)
{
    must(drop(&box, stream) == MAKO_OK, stream);
}

/* A closed segment with everything that will change, and something dead. */
static void fill(void)
{
    static const char *const streams[] = {"kept", "replaced", "removed", "again",
                                          "twice"};

    box_must_open(&box);
    must_put("dead", 1);
    for (size_t i = 0; i < sizeof streams / sizeof streams[0]; i++)
        must_put(streams[i], 5);
    must_put("dead", 2);
    box_reopen(&box);
}

static void change(void)
{
    must_put("replaced", 3); /* a lower sequence: it is the order that counts */
    must_drop("removed");
    must_drop("again");
    must_put("again", 2);
    must_drop("twice");
    must_put("twice", 4);
    must_drop("twice");
}

static bool is_changed(void)
{
    return holds(&box, "kept", 5) && holds(&box, "replaced", 3) &&
           holds(&box, "removed", 0) && holds(&box, "again", 2) &&
           holds(&box, "twice", 0) && holds(&box, "dead", 2);
}

/* Now, in later openings, and after later compactions. */
static void expect_changed(void)
{
    if (box.store == NULL)
        box_must_open(&box);
    for (int round = 0; round < 6; round++) {
        cr_assert(is_changed(), "round %d", round);
        if (round % 3 == 2)
            cr_assert_eq(compact(&box), MAKO_OK, "%s", box.err.text);
        box.keep_indexes = round % 2 == 0;
        box_reopen(&box);
        cr_assert_str_empty(box_log());
    }
}

/* ---- changes while the copy is made -------------------------------------------------
 */

static int compacted;

static void *compact_now(void *arg)
{
    (void)arg;
    compacted = compact(&box);
    return NULL;
}

/* The copy is written, and waits for its flush. */
static pthread_t begin_compaction(void)
{
    pthread_t thread;

    inject_hold();
    must(pthread_create(&thread, NULL, compact_now, NULL) == 0, "a thread");
    inject_held();
    return thread;
}

static void compact_and_change(int error)
{
    pthread_t thread = begin_compaction();

    change();
    inject_release(error);
    must(pthread_join(thread, NULL) == 0, "join");
}

Test(file_revival, changes_while_a_segment_is_copied)
{
    fill();
    compact_and_change(0);
    cr_assert_eq(compacted, MAKO_OK);
    expect_changed();
}

Test(file_revival, changes_while_a_segment_is_copied_in_vain)
{
    fill();
    compact_and_change(EIO);
    cr_assert_eq(compacted, MAKO_E_IO);
    expect_changed();
}

/* In one that is copied for the second time, too. */
Test(file_revival, changes_while_a_copy_is_copied)
{
    fill();
    cr_assert_eq(compact(&box), MAKO_OK);
    must_put("dead", 2);
    compact_and_change(0);
    cr_assert_eq(compacted, MAKO_OK);
    expect_changed();
}

/* ---- changes in flight --------------------------------------------------------------
 */

static void wait_for_compaction(uint64_t before)
{
    struct timespec pause = {.tv_nsec = 2000000};

    while (counter(&box, "compactions") == before)
        (void)nanosleep(&pause, NULL);
}

static int flown;

static void *save_replaced(void *arg)
{
    (void)arg;
    flown = put(&box, "replaced", 3, 1000, 0);
    return NULL;
}

static void *drop_removed(void *arg)
{
    (void)arg;
    flown = drop(&box, "removed");
    return NULL;
}

/* The change is written, and waits for its flush, while the thread of the store copies
 * the segment with what it changes. */
static void compact_in_flight(void *(*fly)(void *arg), int error)
{
    pthread_t thread;

    fill();
    box.erase_ms = 600; /* so that the change comes first */
    box_reopen(&box);
    inject_hold(); /* not of the opening's own flush */
    cr_assert_eq(pthread_create(&thread, NULL, fly, NULL), 0);
    inject_held();
    wait_for_compaction(0);
    cr_assert(holds(&box, "replaced", 5));
    cr_assert(holds(&box, "removed", 5));
    inject_release(error);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert_eq(flown, error == 0 ? MAKO_OK : MAKO_E_IO);
}

Test(file_revival, a_save_in_flight_while_its_stream_is_copied)
{
    compact_in_flight(save_replaced, 0);
    for (int round = 0; round < 4; round++) {
        cr_assert(holds(&box, "replaced", 3), "round %d", round);
        box.keep_indexes = round % 2 == 0;
        box_reopen(&box);
    }
}

Test(file_revival, a_removal_in_flight_while_its_stream_is_copied)
{
    compact_in_flight(drop_removed, 0);
    for (int round = 0; round < 4; round++) {
        cr_assert(holds(&box, "removed", 0), "round %d", round);
        box.keep_indexes = round % 2 == 0;
        box_reopen(&box);
    }
}

/* What failed does not come back behind what was acknowledged later. */
Test(file_revival, changes_that_fail_while_their_stream_is_copied)
{
    compact_in_flight(save_replaced, EIO);
    cr_assert(holds(&box, "replaced", 5));
    must_drop("replaced");
    must_put("other", 1);
    for (int round = 0; round < 4; round++) {
        cr_assert(holds(&box, "replaced", 0), "round %d", round);
        cr_assert(holds(&box, "removed", 5), "round %d", round);
        box.keep_indexes = round % 2 == 0;
        box_reopen(&box);
    }
}

/* A save and a removal of one stream share a flush. */
struct racer {
    pthread_t thread;
    bool removes;
    int status;
};

static void *race(void *arg)
{
    struct racer *racer = arg;

    racer->status = racer->removes ? drop(&box, "race") : put(&box, "race", 7, 100, 0);
    return NULL;
}

Test(file_revival, a_save_and_a_removal_in_flight_together)
{
    struct racer racers[6];
    uint64_t seq = 0;
    pthread_t thread;
    int status;

    fill();
    must_put("race", 6);
    for (int round = 0; round < 10; round++) {
        inject_hold();
        cr_assert_eq(pthread_create(&thread, NULL, save_replaced, NULL), 0);
        inject_held();
        for (size_t i = 0; i < 6; i++) {
            racers[i].removes = i % 2 != 0;
            cr_assert_eq(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
        }
        inject_release(0);
        cr_assert_eq(pthread_join(thread, NULL), 0);
        for (size_t i = 0; i < 6; i++) {
            cr_assert_eq(pthread_join(racers[i].thread, NULL), 0);
            cr_assert(racers[i].status == MAKO_OK ||
                      (racers[i].removes && racers[i].status == MAKO_NOT_FOUND));
        }
        status = get(&box, "race", &seq);
        if (round % 3 == 1)
            cr_assert_eq(compact(&box), MAKO_OK);
        box.keep_indexes = round % 2 == 0;
        box_reopen(&box);
        cr_assert(holds(&box, "race", status == MAKO_OK ? seq : 0), "round %d", round);
    }
}

/* ---- kill -9 -------------------------------------------------------------------------
 */

enum moment {
    BEFORE_THE_COPY_COUNTS,
    AFTER_THE_COPY_COUNTS,
    AFTER_THE_REMOVALS_ARE_FORGOTTEN
};

static void live_and_die(enum moment moment)
{
    pthread_t thread;

    fill();
    thread = begin_compaction();
    change();
    if (moment != BEFORE_THE_COPY_COUNTS) {
        inject_release(0);
        must(pthread_join(thread, NULL) == 0 && compacted == MAKO_OK, "compaction");
    }
    for (int i = 0; i < 3 && moment == AFTER_THE_REMOVALS_ARE_FORGOTTEN; i++)
        must(compact(&box) == MAKO_OK, "compaction");
    (void)raise(SIGKILL);
}

static void die_and_look(enum moment moment)
{
    pid_t child = fork();
    int status = 0;

    cr_assert_geq(child, 0);
    if (child == 0) {
        live_and_die(moment);
        _exit(1);
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "status %d", status);
    expect_changed();
}

Test(file_revival, killed_before_the_copy_counts)
{
    die_and_look(BEFORE_THE_COPY_COUNTS);
}

Test(file_revival, killed_after_the_copy_counts)
{
    die_and_look(AFTER_THE_COPY_COUNTS);
}

Test(file_revival, killed_after_the_removals_are_forgotten)
{
    die_and_look(AFTER_THE_REMOVALS_ARE_FORGOTTEN);
}

Test(file_revival, killed_and_without_index_files)
{
    for (int moment = BEFORE_THE_COPY_COUNTS; moment <= AFTER_THE_REMOVALS_ARE_FORGOTTEN;
         moment++) {
        box.keep_indexes = false;
        die_and_look((enum moment)moment);
        box_close(&box);
        box_wipe(&box);
    }
}

/* ---- an index file of what never counted
 * ------------------------------------------------------------------------------------
 */

static void die(void)
{
    (void)raise(SIGKILL);
}

/* Four segments, and the index file of a copy of the first three, which was not made. */
static void leave_index_file(void)
{
    pid_t child;
    int status = 0;

    box_must_open(&box);
    must_put("dead", 1);
    must_put("first", 5);
    box_reopen(&box);
    must_put("second", 5);
    must_put("dead", 2);
    box_reopen(&box);
    must_put("third", 5);
    box_reopen(&box);
    must(put(&box, "fourth", 5, 20000, 0) == MAKO_OK, "fourth");
    box_close(&box);
    child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        inject_before(INJECT_RENAMEAT, 1, die);
        box_must_open(&box);
        (void)compact(&box);
        _exit(1);
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "status %d", status);
}

/* The third is lost, and no other. */
static void expect_third_lost(int expected)
{
    uint64_t seq;

    for (int round = 0; round < 2; round++) {
        box_must_open(&box);
        cr_assert_eq(get(&box, "third", &seq), expected, "round %d", round);
        cr_assert(holds(&box, "first", 5));
        cr_assert(holds(&box, "second", 5));
        cr_assert(holds(&box, "dead", 2));
        cr_assert(holds(&box, "fourth", 5));
        box_close(&box);
    }
    box_wipe(&box);
}

/* The index file of the third segment itself. */
static void unlink_own_index_file(void)
{
    static const uint64_t numbers[] = {3, 3}; /* and the first that it stands for */
    DIR *dir = opendir(box.path);
    const struct dirent *entry;
    size_t count = 0;

    cr_assert_not_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        struct bytes whole;
        char path[600];

        if (strstr(entry->d_name, ".idx") == NULL)
            continue;
        (void)snprintf(path, sizeof path, "%s/%s", box.path, entry->d_name);
        whole = read_whole(path);
        if (whole.len > 32 && memcmp(whole.data + 16, numbers, sizeof numbers) == 0)
            count += unlink(path) == 0;
        free(whole.data);
    }
    (void)closedir(dir);
    cr_assert_eq(count, 1);
}

/* Which of the index files is found first is chance. */
Test(file_revival, a_lost_segment_beside_an_index_file_of_a_copy)
{
    char path[600];

    for (int i = 0; i < 8; i++) {
        leave_index_file();
        segment_path(&box, 2, path, sizeof path);
        cr_assert_eq(unlink(path), 0);
        expect_third_lost(MAKO_DAMAGED);
    }
}

Test(file_revival, a_lost_header_beside_an_index_file_of_a_copy)
{
    static const unsigned char zeros[4096];
    char path[600];

    for (int i = 0; i < 8; i++) {
        leave_index_file();
        segment_path(&box, 2, path, sizeof path);
        write_whole(path, zeros, sizeof zeros);
        if (i < 4)
            unlink_own_index_file();
        expect_third_lost(i < 4 ? MAKO_NOT_FOUND : MAKO_DAMAGED);
    }
}

/* ---- files that come back
 * --------------------------------------------------------------
 */

struct kept {
    char path[600];
    struct bytes bytes;
};

static size_t keep_all(struct kept *kept, size_t room)
{
    DIR *dir = opendir(box.path);
    const struct dirent *entry;
    size_t count = 0;

    cr_assert_not_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.' || strcmp(entry->d_name, "lock") == 0)
            continue;
        cr_assert_lt(count, room);
        (void)snprintf(kept[count].path, sizeof kept[count].path, "%s/%s", box.path,
                       entry->d_name);
        kept[count].bytes = read_whole(kept[count].path);
        count++;
    }
    (void)closedir(dir);
    return count;
}

/* Those that are not there any more, as if their unlinking had never reached the disk. */
static void bring_back(const struct kept *kept, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (access(kept[i].path, F_OK) != 0)
            write_whole(kept[i].path, kept[i].bytes.data, kept[i].bytes.len);
}

Test(file_revival, unlinked_files_that_come_back)
{
    static struct kept kept[64];
    size_t count;

    fill();
    change();
    box_close(&box);
    count = keep_all(kept, 32);
    box_must_open(&box);
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(compact(&box), MAKO_OK);
        box_close(&box);
        count += keep_all(kept + count, 64 - count);
        bring_back(kept, count);
        box.keep_indexes = i % 2 == 0;
        box_must_open(&box);
        cr_assert(is_changed(), "round %d", i);
        cr_assert_null(strstr(box_log(), "W "), "%s", box_log());
    }
    expect_changed();
    while (count > 0)
        free(kept[--count].bytes.data);
}

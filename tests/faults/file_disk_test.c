/* tests/faults/file_disk_test.c - the file plugin on real file systems that are full,
 * read-only or limited, and its directory copied with cp while it is in use.  Where
 * mounting is not allowed those cases are skipped; see file_calls_test.c for the same
 * failures made up. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host.h"

static struct box box;

static void make(void)
{
    box_make(&box);
    box.keep_indexes = true;
}

static void clean(void)
{
    box_free(&box);
}

TestSuite(file_disk, .init = make, .fini = clean, .timeout = 400);

static const char *name_of(size_t which)
{
    static _Thread_local char name[32];

    (void)snprintf(name, sizeof name, "stream-%zu", which);
    return name;
}

static void expect_text(const char *text)
{
    cr_assert_not_null(strstr(box.err.text, text), "%s", box.err.text);
}

/* A mount namespace of this process, so that nothing stays mounted behind it; else the
 * case ends here. */
static void may_mount(void)
{
    if (unshare(CLONE_NEWNS) == 0 &&
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0)
        return;
    clean();
    cr_skip("may not mount");
}

/* ---- full
 * ------------------------------------------------------------------------------
 */

/* Save streams in turn until there is no space; what was saved last goes into seqs. */
static void fill_up(uint64_t *seqs, size_t streams, size_t len)
{
    int status = MAKO_OK;

    for (uint64_t seq = 1; status == MAKO_OK && seq < 10000; seq++) {
        size_t which = seq % streams;

        status = put(&box, name_of(which), seq, len, 0);
        if (status == MAKO_OK)
            seqs[which] = seq;
    }
    cr_assert_eq(status, MAKO_E_NO_SPACE, "%d %s", status, box.err.text);
    expect_text(".seg: No space left on device");
}

static void expect_all(const uint64_t *seqs, size_t streams)
{
    for (size_t i = 0; i < streams; i++)
        cr_assert(holds(&box, name_of(i), seqs[i]));
}

static void mount_small(const char *size)
{
    may_mount();
    cr_assert_eq(mkdir(box.path, 0700), 0);
    cr_assert_eq(mount("tmpfs", box.path, "tmpfs", 0, size), 0, "%s", strerror(errno));
}

static void unmount(void)
{
    box_close(&box);
    cr_assert_eq(umount2(box.path, MNT_DETACH), 0);
}

/* Everything is overwritten until nothing fits any more: compaction finds the space. */
Test(file_disk, compaction_on_a_full_disk)
{
    uint64_t seqs[20] = {0};

    mount_small("size=1m,mode=700");
    box_must_open(&box);
    for (int round = 0; round < 3; round++) {
        fill_up(seqs, 20, 3000);
        expect_all(seqs, 20);
        cr_assert_eq(put(&box, "stream-0", 99999, 3000, 0), MAKO_E_NO_SPACE);
        cr_assert_eq(drop(&box, "stream-1"), MAKO_E_NO_SPACE);
        expect_all(seqs, 20);
        cr_assert_eq(compact(&box), MAKO_OK, "%s", box.err.text);
        expect_all(seqs, 20);
        seqs[3] += 1;
        cr_assert_eq(put(&box, "stream-3", seqs[3], 3000, 0), MAKO_OK);
        box.keep_indexes = round != 1;
        box_reopen(&box);
        cr_assert_null(strstr(box_log(), "W "), "%s", box_log());
        expect_all(seqs, 20);
    }
    unmount();
}

/* The same by itself: saves fail, the thread makes room, saves work. */
Test(file_disk, a_full_disk_that_the_thread_empties)
{
    uint64_t seqs[20] = {0};
    size_t failed = 0;

    mount_small("size=1m,mode=700");
    box.dead_space = 40;
    box_must_open(&box);
    for (uint64_t seq = 1; seq < 3000; seq++) {
        size_t which = seq % 20;
        int status = put(&box, name_of(which), seq, 3000, 0);

        if (status == MAKO_OK)
            seqs[which] = seq;
        else
            cr_assert_eq(status, MAKO_E_NO_SPACE, "%d %s", status, box.err.text);
        failed += status != MAKO_OK;
    }
    cr_assert_lt(failed, 2900);
    expect_all(seqs, 20);
    box_reopen(&box);
    expect_all(seqs, 20);
    unmount();
}

/* A full disk keeps no store from being opened and read. */
Test(file_disk, opening_on_a_full_disk)
{
    uint64_t seqs[20] = {0};

    mount_small("size=512k,mode=700");
    box_must_open(&box);
    fill_up(seqs, 20, 3000);
    for (int round = 0; round < 3; round++) {
        box.keep_indexes = round != 1;
        box_reopen(&box);
        expect_all(seqs, 20);
    }
    cr_assert_eq(compact(&box), MAKO_OK, "%s", box.err.text);
    cr_assert_eq(put(&box, "more", 1, 3000, 0), MAKO_OK);
    expect_all(seqs, 20);
    unmount();
}

/* Nothing but segments, and what is none of ours. */
static void fill_with_others(void)
{
    char command[400], byte[4096] = {1};
    FILE *file;

    (void)snprintf(command, sizeof command, "rm -f '%s'/*.idx", box.path);
    cr_assert_eq(system(command), 0);
    (void)snprintf(command, sizeof command, "%s/others", box.path);
    file = fopen(command, "we");
    cr_assert_not_null(file);
    setbuf(file, NULL);
    while (fwrite(byte, sizeof byte, 1, file) == 1)
        ;
    (void)fclose(file);
}

/* Nor does a descriptor keep the space of what compaction unlinks. */
Test(file_disk, compaction_on_a_full_disk_of_what_has_been_read)
{
    uint64_t seqs[20] = {0};

    mount_small("size=512k,mode=700");
    box_must_open(&box);
    for (uint64_t seq = 1; put(&box, name_of(seq % 20), seq, 3000, 0) == MAKO_OK; seq++) {
        seqs[seq % 20] = seq;
        cr_assert(holds(&box, name_of(seq % 20), seq));
    }
    expect_text(".seg: No space left on device");
    fill_with_others();
    cr_assert_eq(compact(&box), MAKO_OK, "%s", box.err.text);
    expect_all(seqs, 20);
    unmount();
}

/* ---- limited
 * ---------------------------------------------------------------------------
 */

Test(file_disk, a_limit_of_file_sizes)
{
    struct rlimit before, limit = {.rlim_cur = 100000};

    (void)signal(SIGXFSZ, SIG_IGN);
    box_must_open(&box);
    cr_assert_eq(put(&box, "a", 1, 1000, 0), MAKO_OK);
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit.rlim_max = before.rlim_max;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(put(&box, "a", 2, 200000, 0), MAKO_E_IO);
        expect_text(".seg: File too large");
        cr_assert(holds(&box, "a", 1));
        cr_assert_eq(put(&box, "b", 1 + (uint64_t)i, 1000, 0), MAKO_OK);
    }
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    cr_assert_eq(put(&box, "c", 1, 200000, 0), MAKO_OK);
    box_reopen(&box);
    cr_assert(holds(&box, "a", 1));
    cr_assert(holds(&box, "b", 3));
    cr_assert(holds(&box, "c", 1));
}

/* From now on nothing more can be opened, but for the standard descriptors. */
static void limit_descriptors(struct rlimit *before)
{
    int next = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    struct rlimit limit = {.rlim_cur = (rlim_t)next};

    cr_assert_geq(next, 0);
    (void)close(next);
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, before), 0);
    limit.rlim_max = before->rlim_max;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

Test(file_disk, a_limit_of_descriptors)
{
    struct rlimit before;
    uint64_t seq;
    int status;

    box_must_open(&box);
    for (size_t i = 0; i < 5; i++) {
        cr_assert_eq(put(&box, name_of(i), 1, 1000, 0), MAKO_OK);
        box_reopen(&box);
    }
    limit_descriptors(&before);
    cr_assert_eq(get(&box, "stream-2", &seq), MAKO_E_IO);
    expect_text(".seg: the record at offset 4096: Too many open files");
    cr_assert_eq(put(&box, "a", 1, 1000, 0), MAKO_E_IO);
    expect_text(".seg: Too many open files");
    cr_assert_eq(compact(&box), MAKO_OK, "nothing is dead");
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    cr_assert(holds(&box, "stream-2", 1));
    /* With one descriptor in hand everything goes on: one at a time. */
    limit_descriptors(&before);
    for (size_t i = 0; i < 5; i++)
        cr_assert(holds(&box, name_of(i), 1));
    cr_assert_eq(put(&box, "a", 2, 1000, 0), MAKO_OK);
    status = get(&box, "a", &seq);
    cr_assert(status == MAKO_E_IO || status == MAKO_OK);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    box_reopen(&box);
    cr_assert(holds(&box, "a", 2));
    for (size_t i = 0; i < 5; i++)
        cr_assert(holds(&box, name_of(i), 1));
}

/* What others print to a descriptor that is closed must not come into a segment, not even
 * where that descriptor is the only one left. */
Test(file_disk, standard_descriptors_that_are_closed)
{
    struct rlimit before;
    uint64_t seq;
    int kept[2];

    for (int fd = 0; fd < 2; fd++) {
        kept[fd] = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        (void)close(fd);
    }
    box_must_open(&box);
    cr_assert_eq(put(&box, "a", 1, 1000, 0), MAKO_OK);
    box_reopen(&box);
    limit_descriptors(&before);
    cr_assert_eq(put(&box, "a", 2, 1000, 0), MAKO_E_IO);
    expect_text(".seg: Too many open files");
    cr_assert_eq(get(&box, "a", &seq), MAKO_E_IO);
    expect_text(".seg: the record at offset 4096: Too many open files");
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    for (int fd = 0; fd < 2; fd++) {
        cr_assert_lt(fcntl(fd, F_GETFD), 0, "%d is open", fd);
        (void)dup2(kept[fd], fd);
    }
    box_reopen(&box);
    cr_assert(holds(&box, "a", 1));
}

/* ---- read-only
 * -------------------------------------------------------------------------
 */

Test(file_disk, a_file_system_that_is_read_only)
{
    box_must_open(&box);
    for (size_t i = 0; i < 5; i++)
        cr_assert_eq(put(&box, name_of(i), 1, 1000, 0), MAKO_OK);
    box_close(&box);
    may_mount();
    cr_assert_eq(mount(box.dir, box.dir, NULL, MS_BIND, NULL), 0);
    cr_assert_eq(mount(NULL, box.dir, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), 0);
    cr_assert_eq(box_open(&box), MAKO_E_IO);
    expect_text("/store/lock: Read-only file system");
    box.read_only = true;
    box_must_open(&box);
    for (size_t i = 0; i < 5; i++)
        cr_assert(holds(&box, name_of(i), 1));
    box_close(&box);
    box.read_only = false;
    (void)snprintf(box.path + strlen(box.path), 2, "2");
    cr_assert_eq(box_open(&box), MAKO_E_IO);
    expect_text("/store2: Read-only file system");
    cr_assert_eq(umount2(box.dir, MNT_DETACH), 0);
}

/* An ext4 of its own in a file, whose errors make it read-only; on box.path.  What is in
 * the file already, after a check, or a new one. */
static void mount_image(bool made)
{
    char text[1200];

    (void)snprintf(text, sizeof text,
                   "PATH=$PATH:/sbin:/usr/sbin; cd '%s' && "
                   "if %s; then e2fsck -fy image; [ $? -le 1 ]; "
                   "else truncate -s 16M image && mkfs.ext4 -F image && mkdir store; fi "
                   ">said 2>&1 && mount -o loop,errors=remount-ro image store 2>>said",
                   box.dir, made ? "true" : "false");
    if (system(text) == 0)
        return;
    cr_assert_not(made, "%s/said", box.dir);
    clean();
    cr_skip("may not mount an ext4");
}

/* The file system has met an error, and is read-only under a store that is open.  (By
 * hand nobody makes it so: files are open for writing.) */
static void break_file_system(void)
{
    cr_assert_neq(mount(NULL, box.path, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
    cr_assert_eq(errno, EBUSY);
    cr_assert_eq(mount(NULL, box.path, NULL, MS_REMOUNT, "abort"), 0, "%s",
                 strerror(errno));
}

static void expect_no_change(void)
{
    cr_assert_eq(put(&box, "stream-0", 9, 1000, 0), MAKO_E_IO, "%s", box.err.text);
    expect_text(": Read-only file system");
    cr_assert_eq(put(&box, "new", 1, 100000, 0), MAKO_E_IO, "%s", box.err.text);
    expect_text(": Read-only file system");
    cr_assert_eq(drop(&box, "stream-1"), MAKO_E_IO, "%s", box.err.text);
    expect_text(": Read-only file system");
    cr_assert_eq(compact(&box), MAKO_E_IO, "%s", box.err.text);
    expect_text(": Read-only file system");
}

static const uint64_t five[5] = {3, 3, 3, 3, 3};

/* What was saved is there all the time; nothing else is, also after the repair. */
Test(file_disk, a_file_system_that_becomes_read_only)
{
    may_mount();
    mount_image(false);
    box_must_open(&box);
    for (uint64_t seq = 1; seq <= 3; seq++)
        for (size_t i = 0; i < 5; i++)
            cr_assert_eq(put(&box, name_of(i), seq, 3000, 0), MAKO_OK);
    break_file_system();
    for (int round = 0; round < 3; round++) {
        expect_no_change();
        expect_all(five, 5);
        cr_assert(holds(&box, "new", 0));
    }
    unmount();
    mount_image(true);
    box_must_open(&box);
    cr_assert_null(strstr(box_log(), "damaged"), "%s", box_log());
    expect_all(five, 5);
    cr_assert(holds(&box, "new", 0));
    cr_assert_eq(compact(&box), MAKO_OK, "%s", box.err.text);
    cr_assert_eq(put(&box, "new", 1, 100000, 0), MAKO_OK, "%s", box.err.text);
    expect_all(five, 5);
    unmount();
}

/* A store that does not flush binds its index files to this start of the machine, which
 * /proc tells; without it there are none. */
Test(file_disk, compaction_without_proc)
{
    may_mount();
    cr_assert_eq(mount("tmpfs", "/proc", "tmpfs", 0, "size=64k"), 0);
    box.durability = MAKO_DURABLE_CRASH;
    box_must_open(&box);
    for (uint64_t seq = 1; seq < 5; seq++)
        for (size_t i = 0; i < 5; i++)
            cr_assert_eq(put(&box, name_of(i), seq, 1000, 0), MAKO_OK);
    cr_assert_eq(compact(&box), MAKO_OK, "%s", box.err.text);
    cr_assert_leq(counter(&box, "bytes"), 4096 + 5 * 1200);
    box_reopen(&box);
    for (size_t i = 0; i < 5; i++)
        cr_assert(holds(&box, name_of(i), 4));
    cr_assert_eq(umount2("/proc", MNT_DETACH), 0);
}

/* ---- cp -r
 * ------------------------------------------------------------------------------
 */

enum {
    WRITERS = 3,
    EACH = 8, /* streams of one writer */
    COPIES = 25
};

/* A stream's history: sequences only grow, a removal is one of them. */
struct history {
    _Atomic uint64_t begun, done;      /* the last change */
    _Atomic uint64_t removals[100000]; /* sequence is a removal's */
};

static struct history histories[WRITERS * EACH];
static _Atomic bool stop;

static void write_once(size_t which, uint64_t seq)
{
    struct history *history = &histories[which];
    bool removes = seq % 7 == 0;
    int status;

    atomic_store(&history->removals[seq], removes ? 1 : 0);
    atomic_store(&history->begun, seq);
    status = removes ? drop(&box, name_of(which))
                     : put(&box, name_of(which), seq, 200 + which * 100, 0);
    cr_assert_eq(status, MAKO_OK, "%d %s", status, box.err.text);
    atomic_store(&history->done, seq);
}

static void *write_on(void *arg)
{
    size_t first = *(const size_t *)arg;

    for (uint64_t seq = 1; !stop && seq < 100000; seq++)
        for (size_t i = 0; i < EACH; i++)
            write_once(first + i, seq);
    return NULL;
}

static void *compact_on(void *arg)
{
    (void)arg;
    while (!stop)
        cr_assert_eq(compact(&box), MAKO_OK, "%s", box.err.text);
    return NULL;
}

/* Copy the store; whether a file vanished meanwhile. */
static bool copy_store(void)
{
    char text[1200];
    struct bytes said;
    bool vanished;
    int status;

    (void)snprintf(text, sizeof text,
                   "cd '%s' && rm -rf copy && LC_ALL=C cp -r store copy 2>said", box.dir);
    status = system(text);
    (void)snprintf(text, sizeof text, "%s/said", box.dir);
    said = read_whole(text);
    vanished = said.len != 0;
    cr_assert(!vanished || memmem(said.data, said.len, "No such file", 12) != NULL,
              "%.*s", (int)said.len, (char *)said.data);
    cr_assert_eq(status == 0, !vanished);
    free(said.data);
    return vanished;
}

/* What the copy has of one stream, whose last change was from when cp began and to when
 * it had ended.  cp reads a record in pieces: one that is being written may be there in
 * part, with later ones behind it. */
static void check_copied(struct box *copy, size_t which, uint64_t from, uint64_t to,
                         bool vanished)
{
    struct history *history = &histories[which];
    uint64_t seq = 0;
    int status = get(copy, name_of(which), &seq);
    bool absent = from == 0;

    for (uint64_t change = from; change <= to; change++)
        absent = absent || atomic_load(&history->removals[change]);
    if (status == MAKO_OK)
        cr_assert(seq <= to && (seq >= from || vanished) &&
                      !atomic_load(&history->removals[seq]),
                  "%s: %llu, from %llu to %llu", name_of(which), (unsigned long long)seq,
                  (unsigned long long)from, (unsigned long long)to);
    else if (status == MAKO_NOT_FOUND)
        cr_assert(absent || vanished, "%s: not there, from %llu to %llu\n%s",
                  name_of(which), (unsigned long long)from, (unsigned long long)to,
                  box_log());
    else
        cr_assert(status == MAKO_DAMAGED && (vanished || to > from), "%s: %d %s",
                  name_of(which), status, copy->err.text);
}

/* Returns whether a file vanished. */
static bool copy_and_check(int round)
{
    uint64_t from[WRITERS * EACH];
    struct box copy = box;
    bool vanished;

    copy.store = NULL;
    copy.keep_indexes = round % 4 != 3;
    (void)snprintf(copy.path, sizeof copy.path, "%s/copy", box.dir);
    for (size_t i = 0; i < WRITERS * EACH; i++)
        from[i] = atomic_load(&histories[i].done);
    vanished = copy_store();
    box_must_open(&copy);
    for (size_t i = 0; i < WRITERS * EACH; i++)
        check_copied(&copy, i, from[i], atomic_load(&histories[i].begun), vanished);
    cr_assert_eq(put(&copy, "new", 1, 100, 0), MAKO_OK);
    cr_assert(holds(&copy, "new", 1));
    box_close(&copy);
    return vanished;
}

static void copy_in_use(bool compacts)
{
    pthread_t threads[WRITERS + 1];
    size_t first[WRITERS];
    int whole = 0;

    box.dead_space = 60;
    box_must_open(&box);
    for (size_t i = 0; i < WRITERS; i++) {
        first[i] = i * EACH;
        cr_assert_eq(pthread_create(&threads[i], NULL, write_on, &first[i]), 0);
    }
    if (compacts)
        cr_assert_eq(pthread_create(&threads[WRITERS], NULL, compact_on, NULL), 0);
    for (int round = 0; round < COPIES; round++)
        whole += !copy_and_check(round);
    stop = true;
    for (size_t i = 0; i < WRITERS + (size_t)compacts; i++)
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
    (void)fprintf(stderr, "%d copies, %d of them whole\n", COPIES, whole);
}

Test(file_disk, a_copy_of_a_store_in_use)
{
    copy_in_use(false);
}

Test(file_disk, a_copy_of_a_store_that_compacts)
{
    copy_in_use(true);
}

/* tests/faults/trial.c - see trial.h: the model first, then the workload. */
#include "trial.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "inject.h"

enum {
    STREAMS = 16,
    MAYS = 40,
    BATCH = 6,
    BIG = 14, /* a stream whose snapshot is larger than a segment */
    PATIENCE_MS = 50
};

/* What a stream may hold; sequence 0: nothing. */
struct known {
    uint64_t may[MAYS]; /* the first is what was acknowledged last */
    size_t count;
    size_t before; /* of them, those from before this opening */
    bool sure;     /* while the store is open, it is the first */
};

static struct box box;
static struct known known[STREAMS];
static uint64_t last_seq;
static size_t removals;
static const struct fault *fault;

static const char *name_of(size_t which)
{
    static char names[STREAMS + 1][16];

    (void)snprintf(names[which], sizeof names[which], "stream-%zu", which);
    return names[which];
}

static void fail(const char *what, const char *stream, int status, uint64_t seq)
{
    cr_assert_fail("%s, number %ld, %ld times: %s: %s: %s: status %d, sequence %llu: "
                   "'%s'\n%s",
                   fault->name, fault->nth, fault->times, strerror(abs(fault->error)),
                   what, stream, status, (unsigned long long)seq, box.err.text,
                   box_log());
}

static void expect(bool right, const char *what)
{
    if (!right)
        fail(what, "-", 0, 0);
}

/* ---- the model ----------------------------------------------------------------------
 */

static void forget_all(void)
{
    for (size_t i = 0; i < STREAMS; i++)
        known[i] = (struct known){.count = 1, .sure = true};
    last_seq = removals = 0;
}

/* A change was written and acknowledged: no earlier failed one can come back. */
static void acknowledged(size_t which, uint64_t seq)
{
    for (size_t i = 0; i < STREAMS; i++)
        if (known[i].sure)
            known[i].count = 1;
    known[which] = (struct known){.may = {seq}, .count = 1, .sure = true};
    removals += seq == 0;
}

static void perhaps(size_t which, uint64_t seq)
{
    struct known *stream = &known[which];

    cr_assert_lt(stream->count, MAYS);
    stream->may[stream->count++] = seq;
    removals += seq == 0;
}

/* A load of the store's own found seq.  What failed since the opening can still come
 * back. */
static void found(struct known *stream, const char *name, uint64_t seq)
{
    size_t at = 0, end = stream->sure ? 1 : stream->before;

    while (at < end && stream->may[at] != seq)
        at++;
    if (at == end)
        fail("not what was acknowledged", name, MAKO_OK, seq);
    if (stream->sure)
        return;
    stream->count -= end - 1;
    memmove(stream->may + 1, stream->may + end,
            (stream->count - 1) * sizeof stream->may[0]);
    stream->may[0] = seq;
    stream->sure = true;
}

static bool names_cause(void)
{
    const char *text = box.err.text;

    return strstr(text, strerror(fault->error)) != NULL ||
           strstr(text, "opened again, after a failure") != NULL ||
           (fault->error == ENOMEM && strstr(text, "o memory") != NULL) ||
           (fault->call == INJECT_MEMORY && strstr(text, strerror(EAGAIN)) != NULL);
}

/* The status of an operation on stream that is not what it should be. */
static void check_failure(int status, const char *stream)
{
    if (status >= 0 || fault->invisible || inject_fired() == 0)
        fail("cannot be", stream, status, 0);
    if (fault->call == INJECT_MEMORY && status != MAKO_E_NOMEM)
        fail("not for lack of memory", stream, status, 0);
    if (strstr(box.err.text, box.path) == NULL && strstr(box.err.text, stream) == NULL)
        fail("names neither store nor stream", stream, status, 0);
    if (!names_cause())
        fail("names another cause", stream, status, 0);
}

/* After a failure: whether to try again.  Where only one call fails this must work. */
static bool again(int *tries)
{
    if (++*tries > 1)
        expect(fault->times > 1, "failed twice");
    return *tries == 1;
}

/* ---- operations ---------------------------------------------------------------------
 */

static bool open_box(void)
{
    int status, tries = 0;

    if (box.store != NULL)
        return true;
    do {
        box.err.text[0] = '\0';
        status = box_open(&box);
        if (status == MAKO_OK)
            break;
        check_failure(status, "-");
        expect(box.store == NULL, "left something behind");
    } while (again(&tries));
    if (status != MAKO_OK)
        return false;
    for (size_t i = 0; i < STREAMS; i++) {
        known[i].sure = false;
        known[i].before = known[i].count;
    }
    return true;
}

static size_t size_of(uint64_t seq, size_t which)
{
    static const size_t sizes[] = {9000, 0, 1, 15, 16, 100, 1000, 5000, 20000};

    return which == BIG ? 70000 : sizes[seq % (sizeof sizes / sizeof sizes[0])];
}

/* Whether it worked at once. */
static bool save(size_t which)
{
    int status, tries = 0;

    do {
        uint64_t seq = ++last_seq;

        box.err.text[0] = '\0';
        status = put(&box, name_of(which), seq, size_of(seq, which), 0);
        if (status == MAKO_OK) {
            acknowledged(which, seq);
            return tries == 0;
        }
        check_failure(status, name_of(which));
        perhaps(which, seq);
    } while (again(&tries));
    return false;
}

/* A save that comes late gives way to what is there. */
static void save_late(size_t which)
{
    struct known *stream = &known[which];
    uint64_t seq = stream->may[0] - 1;
    int status;

    if (!stream->sure || stream->may[0] < 2)
        return;
    status = put(&box, name_of(which), seq, 100, MAKO_SAVE_IF_NEWER);
    if (status != MAKO_STALE)
        check_failure(status, name_of(which));
}

static void remove_one(size_t which)
{
    int status, tries = 0;

    do {
        struct known *stream = &known[which];

        box.err.text[0] = '\0';
        status = drop(&box, name_of(which));
        if (status == MAKO_OK) {
            acknowledged(which, 0);
            return;
        }
        if (status == MAKO_NOT_FOUND) {
            found(stream, name_of(which), 0);
            return;
        }
        check_failure(status, name_of(which));
        perhaps(which, 0);
    } while (again(&tries));
}

static void save_batch(void)
{
    static unsigned char bytes[BATCH][2000];
    struct mako_record records[BATCH];
    int statuses[BATCH], status;

    box.err.text[0] = '\0';
    for (size_t i = 0; i < BATCH; i++) {
        records[i] = (struct mako_record){
            .stream = {.ptr = name_of(8 + i), .len = strlen(name_of(8 + i))},
            .meta = {.seq = ++last_seq, .schema = 1},
            .blob = bytes[i],
            .blob_len = sizeof bytes[i]};
        pattern(bytes[i], sizeof bytes[i], name_of(8 + i), last_seq);
    }
    status = box.plugin->save_many(box.store, records, BATCH, statuses, &box.err);
    if (status != MAKO_OK)
        check_failure(status, "-");
    for (size_t i = 0; status == MAKO_OK && i < BATCH; i++)
        if (statuses[i] == MAKO_OK)
            acknowledged(8 + i, records[i].meta.seq);
    for (size_t i = 0, failed = 0; i < BATCH; i++) {
        if (status == MAKO_OK && statuses[i] == MAKO_OK)
            continue;
        if (status == MAKO_OK && failed++ == 0) /* the text is the first one's */
            check_failure(statuses[i], name_of(8 + i));
        perhaps(8 + i, records[i].meta.seq);
    }
}

/* A batch's snapshots have a size of their own, and a late save's is never stored. */
static bool right_size(size_t which, uint64_t seq)
{
    return box.got == size_of(seq, which) || (which >= 8 && box.got == 2000);
}

/* reader: of a store that is open beside this one, which sees what it may. */
static void load(struct box *from, size_t which, bool reader)
{
    struct known copy = known[which];
    int status, tries = 0;

    do {
        uint64_t seq = 0;

        from->err.text[0] = '\0';
        status = get(from, name_of(which), &seq);
        box.err = from->err;
        box.got = from->got;
        if (status == MAKO_OK || status == MAKO_NOT_FOUND) {
            if (reader) {
                copy.sure = false;
                copy.before = copy.count;
            }
            found(&copy, name_of(which), seq);
            if (seq != 0 && !right_size(which, seq))
                fail("another size", name_of(which), status, seq);
            if (!reader)
                known[which] = copy;
            return;
        }
        check_failure(status, name_of(which));
    } while (again(&tries));
}

static void load_all(void)
{
    for (size_t i = 0; i < STREAMS; i++)
        load(&box, i, false);
}

struct list {
    struct mako_visitor visitor; /* first, so that the callback finds the rest */
    uint64_t seqs[STREAMS];
    size_t others;
};

static int list_one(struct mako_visitor *visitor, struct mako_str stream,
                    const struct mako_meta *meta, size_t blob_len)
{
    union {
        struct mako_visitor *visitor;
        struct list *list;
    } both = {.visitor = visitor};
    size_t which = 0;

    (void)blob_len;
    while (which < STREAMS && (strlen(name_of(which)) != stream.len ||
                               memcmp(name_of(which), stream.ptr, stream.len) != 0))
        which++;
    if (which == STREAMS || meta == NULL || both.list->seqs[which] != 0)
        both.list->others++;
    else
        both.list->seqs[which] = meta->seq;
    return 0;
}

static void scan(void)
{
    struct list list = {
        .visitor = {.struct_size = sizeof list.visitor, .entry = list_one}};
    int status;

    box.err.text[0] = '\0';
    status = box.plugin->scan(box.store, (struct mako_str){.ptr = "", .len = 0},
                              &list.visitor, &box.err);
    expect(list.others == 0, "a scan lists what is not there");
    if (status != MAKO_OK) {
        check_failure(status, "-");
        return;
    }
    for (size_t i = 0; i < STREAMS; i++)
        found(&known[i], name_of(i), list.seqs[i]);
}

static void compact_box(void)
{
    uint64_t bytes, most;
    int status;

    box.err.text[0] = '\0';
    status = compact(&box);
    if (status != MAKO_OK) {
        check_failure(status, "-");
        return;
    }
    bytes = counter(&box, "bytes") - 4096 * counter(&box, "segments");
    most = counter(&box, "bytes_live") + 112 * removals;
    expect(bytes <= most, "dead bytes are left");
}

/* ---- the workload -------------------------------------------------------------------
 */

static int64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Until the thread has compacted, or failed to.  Where it could not even look it says
 * nothing, and nothing depends on it. */
static void wait_for_thread(uint64_t before)
{
    struct timespec pause = {.tv_nsec = 200000};
    int64_t until = now_ms() + PATIENCE_MS;

    while (counter(&box, "compactions") == before && !box_logged(": compaction: ") &&
           now_ms() < until)
        (void)nanosleep(&pause, NULL);
}

static void read_beside(void)
{
    struct box reader = box;
    int status, tries = 0;

    reader.store = NULL;
    reader.read_only = reader.keep_indexes = true;
    do {
        reader.err.text[0] = '\0';
        status = box_open(&reader);
        box.err = reader.err;
        if (status == MAKO_OK)
            break;
        check_failure(status, "-");
    } while (again(&tries));
    for (size_t i = 0; status == MAKO_OK && i < STREAMS; i++)
        load(&reader, i, true);
    box_close(&reader);
}

/* Everything, in a store that is new. */
static void first_life(void)
{
    bool due = true;
    uint64_t runs;

    for (size_t i = 0; i < 8; i++)
        (void)save(i);
    save_batch();
    save_late(0);
    for (size_t i = 0; i < 16; i++)
        (void)save(i % 8);
    (void)save(BIG);
    remove_one(1);
    remove_one(3);
    remove_one(8);
    remove_one(STREAMS - 1); /* was never there */
    load_all();
    scan();
    compact_box();
    load_all();
    runs = counter(&box, "compactions");
    for (size_t i = 0; i < 24; i++)
        due = save(i % 6) && due;
    if (due)
        wait_for_thread(runs);
    load_all();
    read_beside();
    read_beside();
}

/* Again, from its index files, and mapped. */
static void second_life(void)
{
    load_all();
    (void)save(2);
    remove_one(4);
    remove_one(BIG);
    for (size_t i = 9; i < 12; i++)
        (void)save(i);
    compact_box();
    load_all();
    scan();
}

/* Again, from its segments. */
static void third_life(void)
{
    load_all();
    (void)save(4);
    (void)save(5);
    remove_one(0);
    load_all();
}

static void live(void)
{
    box.keep_indexes = box.map = false;
    box.dead_space = 40;
    if (open_box())
        first_life();
    box_close(&box);
    box.keep_indexes = box.map = true;
    if (open_box())
        second_life();
    box_close(&box);
    box.keep_indexes = box.map = false;
    if (open_box())
        third_life();
}

/* ---- afterwards ---------------------------------------------------------------------
 */

/* Where there is no space, what needs no copy is unlinked first; a store that is closed
 * before the copy of nothing was made will miss it. */
static void expect_silence(void)
{
    const char *log = box_log();

    for (const char *line = log; (line = strstr(line, "W ")) != NULL; line++)
        if ((line == log || line[-1] == '\n') &&
            !((fault->error == ENOSPC || fault->error == EDQUOT) &&
              strstr(line, "missing; its snapshots are lost") != NULL))
            fail("an opening warns", "-", 0, 0);
}

static size_t count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t count = 0;

    cr_assert_not_null(dir);
    while (readdir(dir) != NULL)
        count++;
    (void)closedir(dir);
    return count;
}

/* Nothing fails any more. */
static void check_after(void)
{
    static const struct fault none = {.name = "afterwards", .invisible = true};
    const struct fault *before = fault;

    if (box.store != NULL) {
        fault = &none;
        load_all();
        (void)save(6);
        remove_one(7);
        (void)save(7);
        fault = before;
    }
    for (int i = 0; i < 2; i++) {
        box_close(&box);
        box.keep_indexes = i == 0;
        inject_reset();
        if (!open_box())
            fail("does not open", "-", 0, 0);
        expect_silence();
        load_all();
        scan();
        (void)save(1 + (size_t)i);
    }
    compact_box();
    load_all();
    box_close(&box);
}

bool trial_run(const struct fault *what)
{
    size_t fds = count_fds();
    long mapped = inject_mapped();
    bool fired;

    fault = what;
    forget_all();
    inject_reset();
    if (fault->call >= 0)
        inject_fail((enum inject_call)fault->call, fault->nth, fault->times,
                    fault->error);
    else
        inject_outage(fault->mask, fault->nth, fault->times, fault->error);
    live();
    fired = inject_fired() != 0;
    inject_reset();
    check_after();
    expect(count_fds() == fds, "a descriptor stays open");
    expect(inject_mapped() == mapped, "a mapping stays");
    box_wipe(&box);
    return fired;
}

long trial_run_all(const struct fault *what, long stride)
{
    struct fault each = *what;
    long runs = 0;
    /* How many calls there are differs a little, because of threads. */
    int idle = 0, enough = stride < 8 ? 3 : 1;

    for (each.nth = 1; idle < enough; each.nth += stride, runs++)
        idle = trial_run(&each) ? 0 : idle + 1;
    return runs;
}

void trial_begin(void)
{
    inject_reset();
    if (access("/dev/shm", W_OK) == 0)
        (void)setenv("TMPDIR", "/dev/shm", 1);
    box_make(&box);
    box.plugin = inject_wrap(box.plugin);
}

void trial_end(void)
{
    inject_reset();
    box_free(&box);
}

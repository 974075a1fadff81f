/* Opening and closing: what is given, what is left, and what a plugin must not touch. */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kit.h"
#include "raw.h"

static struct raw_record record_of(const char *stream, uint64_t seq)
{
    return (struct raw_record){.stream = stream, .seq = seq, .len = 400, .seed = 3};
}

/* A little of everything. */
static enum verdict use(struct trial *t, struct raw_store *s)
{
    struct raw_scan scan = {.count = 0};
    struct raw_compact compact = {.steps = 0};
    unsigned counters = 0;

    for (uint64_t seq = 1; seq <= 5; seq++) {
        WANT(raw_save(s, record_of("a", seq)), MAKO_OK);
        WANT(raw_save(s, record_of("b", seq)), MAKO_OK);
    }
    TRY(raw_holds(t, s, record_of("a", 5)));
    CHECK(raw_remove(s, "b") >= 0);
    TRY(raw_holds_nothing(t, s, "b"));
    if (raw_ops.scan)
        WANT(raw_scan(s, "", &scan), MAKO_OK);
    if (raw_ops.compact)
        WANT(raw_compact(s, &compact), MAKO_OK);
    if (raw_ops.stats)
        WANT(raw_stats(s, &counters), MAKO_OK);
    return PASS;
}

static enum verdict one_life(struct trial *t)
{
    struct raw_store s;

    TRY(raw_open_well(t, &s));
    TRY(use(t, &s));
    raw_close(&s);
    return PASS;
}

static enum verdict open_and_close_leave_nothing(struct trial *t)
{
    struct place before;
    char why[1500];

    TRY(one_life(t)); /* a library's own first use */
    place_note(&before);
    for (int i = 0; i < 20; i++)
        TRY(one_life(t));
    CHECKF(place_same(&before, true, why, sizeof why), "after 20 openings %s", why);
    return PASS;
}

/* Nothing of the store's runs on, so nothing calls the host, which is gone. */
static enum verdict close_ends_every_thread(struct trial *t)
{
    struct place before;
    char why[1500];

    place_note(&before);
    TRY(one_life(t));
    CHECKF(place_same(&before, true, why, sizeof why), "after close %s", why);
    return PASS;
}

/* ---- openings that fail ----------------------------------------------------------- */

static enum verdict refused(struct trial *t, struct raw_opening how, int want)
{
    struct raw_store s;
    int status = raw_open(t, &s, how);

    if (status == MAKO_OK)
        raw_close(&s);
    CHECKF(want ? status == want : status < 0, "open returned %s: %s",
           mako_status_name(status), raw_error()->text);
    return PASS;
}

static enum verdict unknown_open_flags_are_refused(struct trial *t)
{
    for (unsigned bit = 1; bit < 32; bit++)
        TRY(refused(t, (struct raw_opening){.flags = 1u << bit}, MAKO_E_UNSUPPORTED));
    TRY(refused(t, (struct raw_opening){.flags = 1u << 20 | MAKO_OPEN_READ_ONLY},
                MAKO_E_UNSUPPORTED));
    return one_life(t);
}

/* A file where a directory should be. */
static enum verdict make_obstacle(struct trial *t, char *path)
{
    int fd;

    (void)snprintf(path, PATH_MAX, "%.4000s/obstacle", t->root);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CHECKF(fd >= 0 && close(fd) == 0, "%s: cannot be made", path);
    return PASS;
}

static enum verdict a_failed_open_leaves_nothing(struct trial *t)
{
    struct place before;
    char path[PATH_MAX], why[1500];

    if (!raw_path_in_dir(t))
        return trial_skip(t, "no path option leads into MAKO_TEST_DIR");
    TRY(make_obstacle(t, path));
    TRY(refused(t, (struct raw_opening){.data = path}, 0));
    place_note(&before);
    for (int i = 0; i < 20; i++)
        TRY(refused(t, (struct raw_opening){.data = path}, 0));
    CHECKF(place_same(&before, true, why, sizeof why), "after failed openings %s", why);
    return one_life(t);
}

/* ---- what is given ---------------------------------------------------------------- */

/* check_traits() of the host compares; less than was asked for is a store's right. */
static enum verdict every_durability_can_be_asked_for(struct trial *t)
{
    for (uint32_t asked = raw_durability_asked(t); asked <= raw_ops.durability; asked++) {
        struct raw_store s;
        int status = raw_open(t, &s, (struct raw_opening){.durability = asked});

        if (asked == raw_durability_asked(t) || asked == MAKO_DURABLE_NONE)
            CHECKF(status == MAKO_OK, "open with durability %u: %s", asked,
                   raw_error()->text);
        if (status == MAKO_OK && s.given.durability >= asked)
            TRY(use(t, &s));
        if (status == MAKO_OK)
            raw_close(&s);
    }
    return PASS;
}

static enum verdict a_store_can_be_opened_to_read(struct trial *t)
{
    struct raw_store s;
    int status;

    TRY(one_life(t));
    status = raw_open(t, &s, (struct raw_opening){.flags = MAKO_OPEN_READ_ONLY});
    if (status == MAKO_E_UNSUPPORTED)
        return trial_skip(t, "MAKO_OPEN_READ_ONLY is unsupported: %.300s",
                          raw_error()->text);
    CHECKF(status == MAKO_OK, "open returned %s: %s", mako_status_name(status),
           raw_error()->text);
    if (outlives(t))
        TRY(raw_holds(t, &s, record_of("a", 5)));
    TRY(raw_holds_nothing(t, &s, "b"));
    raw_close(&s);
    return one_life(t);
}

static enum verdict two_stores_are_two(struct trial *t)
{
    struct raw_store one, two;
    char data[PATH_MAX];

    if (outlives(t) && !raw_uses_dir(t))
        return trial_skip(t, "the configuration does not use MAKO_TEST_DIR");
    (void)snprintf(data, sizeof data, "%.4000s/data2", t->root);
    CHECK(mkdir(data, 0700) == 0);
    TRY(raw_open_well(t, &one));
    WANT(raw_open(t, &two, (struct raw_opening){.data = data}), MAKO_OK);
    WANT(raw_save(&one, record_of("a", 1)), MAKO_OK);
    TRY(raw_holds_nothing(t, &two, "a"));
    WANT(raw_save(&two, record_of("a", 7)), MAKO_OK);
    TRY(raw_holds(t, &one, record_of("a", 1)));
    CHECK(raw_remove(&one, "a") >= 0);
    raw_close(&one);
    TRY(raw_holds(t, &two, record_of("a", 7)));
    raw_close(&two);
    return PASS;
}

/* ---- the process ------------------------------------------------------------------ */

static enum verdict all_close_on_exec(struct trial *t)
{
    DIR *d = opendir("/proc/self/fd");
    char bad[200] = "", target[160], path[64];
    struct dirent *entry;

    CHECK(d);
    while ((entry = readdir(d)) != NULL) {
        int fd = (int)strtol(entry->d_name, NULL, 10);
        ssize_t len;

        if (entry->d_name[0] == '.' || fd <= STDERR_FILENO ||
            (fcntl(fd, F_GETFD) & FD_CLOEXEC))
            continue;
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        len = readlink(path, target, sizeof target - 1);
        target[len > 0 ? len : 0] = '\0';
        (void)snprintf(bad, sizeof bad, "%d -> %s", fd, target);
    }
    (void)closedir(d);
    CHECKF(!bad[0], "an open descriptor is not CLOEXEC: %s", bad);
    return PASS;
}

static enum verdict descriptors_close_on_exec(struct trial *t)
{
    struct raw_store s;

    TRY(raw_open_well(t, &s));
    TRY(all_close_on_exec(t));
    TRY(use(t, &s));
    TRY(all_close_on_exec(t));
    raw_close(&s);
    return PASS;
}

static enum verdict the_process_is_left_as_it_is(struct trial *t)
{
    struct place before;
    struct raw_store s;
    char why[1500];

    place_note(&before);
    TRY(raw_open_well(t, &s));
    CHECKF(place_same(&before, false, why, sizeof why), "after open %s", why);
    TRY(use(t, &s));
    CHECKF(place_same(&before, false, why, sizeof why), "after the operations %s", why);
    raw_close(&s);
    CHECKF(place_same(&before, false, why, sizeof why), "after close %s", why);
    return PASS;
}

/* ---- hosts of another age --------------------------------------------------------- */

/* Every struct is longer; what is beyond is poison, and must be left alone. */
static enum verdict a_newer_host_is_the_same(struct trial *t)
{
    raw_extra = 64;
    TRY(one_life(t));
    raw_extra = 4096;
    return one_life(t);
}

/* Every struct ends where the first release's ended; behind it is no memory. */
static enum verdict an_older_host_is_enough(struct trial *t)
{
    raw_extra = 0;
    return one_life(t);
}

const struct test_case raw_open_cases[] = {
    {"open_and_close_leave_nothing", open_and_close_leave_nothing},
    {"close_ends_every_thread", close_ends_every_thread},
    {"unknown_open_flags_are_refused", unknown_open_flags_are_refused},
    {"a_failed_open_leaves_nothing", a_failed_open_leaves_nothing},
    {"every_durability_can_be_asked_for", every_durability_can_be_asked_for},
    {"a_store_can_be_opened_to_read", a_store_can_be_opened_to_read},
    {"two_stores_are_two", two_stores_are_two},
    {"descriptors_close_on_exec", descriptors_close_on_exec},
    {"the_process_is_left_as_it_is", the_process_is_left_as_it_is},
    {"a_newer_host_is_the_same", a_newer_host_is_the_same},
    {"an_older_host_is_enough", an_older_host_is_enough},
    {NULL, NULL},
};

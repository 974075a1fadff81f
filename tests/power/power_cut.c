/* tests/power/power_cut.c - power cuts on a real file system: ext4 on a loop device is
 * shut down in the middle of a load, without its log being flushed, mounted again, and
 * what had been acknowledged must be there.
 *
 * usage: power_cut PLUGIN [CUTS [SEED]]
 *
 * What is asked for and acknowledged is noted in shared memory, outside that file system.
 * The file system stays the same for all cuts, so that histories grow.
 *
 * Everything is in a mount namespace of this process and on a file in memory, and the
 * loop device clears itself: nothing is left behind, however the process ends.  Where
 * this needs what is not allowed, the status is 77: skipped. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/loop.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "workload.h"

#define SHUTDOWN   0x8004587du /* EXT4_IOC_SHUTDOWN */
#define NOLOGFLUSH 2u
#define PLACE      "/tmp" /* a file system in memory is mounted there, for us alone */
#define IMAGE      PLACE "/image"
#define DISK       PLACE "/disk"

enum {
    SKIPPED = 77,
    IMAGE_MIB = 96,
    EVENTS_LEAST = 10,
    EVENTS_MORE = 300, /* of the trace, before the power is cut */
    PATIENCE_MS = 60000
};

struct rig {
    char device[32];
    int loop; /* keeps the device */
    struct trace *trace;
    struct rules *rules;
    uint64_t seed, random;
};

static _Noreturn void skip(const char *what)
{
    (void)fprintf(stderr,
                  "SKIPPED: no power was cut for real: %s: %s (it takes root, a mount "
                  "namespace, a loop device and mkfs.ext4)\n",
                  what, strerror(errno));
    exit(SKIPPED);
}

static _Noreturn void die(const char *what)
{
    (void)fprintf(stderr, "power_cut: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- the rig ---------------------------------------------------------------------- */

static void make_place(void)
{
    if (unshare(CLONE_NEWNS) != 0)
        skip("unshare");
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        skip("a private mount namespace");
    if (mount("mako", PLACE, "tmpfs", 0, "size=256m,mode=700") != 0)
        skip("mount tmpfs");
    if (mkdir(DISK, 0700) != 0)
        die(DISK);
}

static void make_image(void)
{
    int fd = open(IMAGE, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0 || ftruncate(fd, (off_t)IMAGE_MIB << 20) != 0)
        die(IMAGE);
    (void)close(fd);
    errno = 0;
    if (system("PATH=$PATH:/sbin:/usr/sbin mkfs.ext4 -q -F " IMAGE) != 0)
        skip("mkfs.ext4");
}

/* Another process may be quicker to take a device that was free. */
static void make_device(struct rig *rig)
{
    int image = open(IMAGE, O_RDWR | O_CLOEXEC);
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    struct loop_config config = {.fd = (uint32_t)image,
                                 .info = {.lo_flags = LO_FLAGS_AUTOCLEAR}};
    bool done = false;

    if (control < 0 || image < 0)
        skip("/dev/loop-control");
    for (int tries = 0; !done && tries < 20; tries++) {
        int number = ioctl(control, LOOP_CTL_GET_FREE);

        if (number < 0)
            skip("a free loop device");
        (void)snprintf(rig->device, sizeof rig->device, "/dev/loop%d", number);
        rig->loop = open(rig->device, O_RDWR | O_CLOEXEC);
        if (rig->loop < 0)
            skip(rig->device);
        done = ioctl(rig->loop, LOOP_CONFIGURE, &config) == 0;
        if (!done)
            (void)close(rig->loop);
    }
    if (!done)
        skip(rig->device);
    (void)close(control);
    (void)close(image);
}

static void mount_disk(const struct rig *rig)
{
    if (mount(rig->device, DISK, "ext4", 0, "") != 0)
        die("mount");
}

static int64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void pause_us(long us)
{
    struct timespec pause = {.tv_nsec = us * 1000};

    (void)nanosleep(&pause, NULL);
}

/* The kernel may hold a file of a dead process for a moment longer. */
static void unmount_disk(void)
{
    int64_t deadline = now_ms() + PATIENCE_MS;

    while (umount2(DISK, 0) != 0) {
        if (errno != EBUSY || now_ms() > deadline)
            die("umount");
        pause_us(1000);
    }
}

static void shut_down(void)
{
    uint32_t how = NOLOGFLUSH;
    int fd = open(DISK, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        die(DISK);
    if (ioctl(fd, SHUTDOWN, &how) != 0) {
        if (errno == ENOTTY || errno == EOPNOTSUPP)
            skip("EXT4_IOC_SHUTDOWN");
        die("EXT4_IOC_SHUTDOWN");
    }
    (void)close(fd);
}

/* ---- a cut ------------------------------------------------------------------------ */

/* The load, until there is no power any more. */
static _Noreturn void run_load(const struct rig *rig, uint64_t seed)
{
    struct workload workload = {.trace = rig->trace,
                                .path = DISK "/store",
                                .seed = seed,
                                .sessions = 1,
                                .threads = WORKLOAD_THREADS,
                                .own = STREAMS / WORKLOAD_THREADS,
                                .calls = UINT32_MAX,
                                .dead_space = seed % 2 != 0 ? 20 : 100,
                                .erase_ms = seed % 4 == 3 ? 20 : 0,
                                .compact_percent = 3,
                                .may_fail = true,
                                .ends_with_failure = true};

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)workload_run(&workload);
    _exit(0);
}

static size_t count_events(const struct rig *rig)
{
    size_t count;

    trace_lock(rig->trace);
    count = rig->trace->count;
    trace_unlock(rig->trace);
    return count;
}

/* Until so many more events have been noted. */
static void wait_for_events(const struct rig *rig, pid_t child, size_t events)
{
    size_t until = rig->trace->count + events;
    int64_t deadline = now_ms() + PATIENCE_MS;

    while (count_events(rig) < until) {
        if (waitpid(child, NULL, WNOHANG) != 0)
            die("the load ended by itself, with power");
        if (now_ms() > deadline)
            die("the load does not get on");
        pause_us(200);
    }
}

static bool complain(const struct rig *rig, unsigned cut, const char *text)
{
    char path[300] = "power-cut.trace";
    bool kept = trace_save(rig->trace, path);

    (void)fprintf(stderr, "seed %" PRIu64 ", cut %u: %s\n", rig->seed, cut, text);
    if (kept)
        (void)fprintf(stderr, "what was asked for is in %s\n", path);
    return false;
}

static bool check(const struct rig *rig, unsigned cut)
{
    char text[2000];
    struct check_setup setup = {
        .rules = rig->rules, .root = DISK, .text = text, .room = sizeof text};

    if (!rules_advance(rig->rules, rig->trace, rig->trace->count))
        return complain(rig, cut, rig->rules->wrong);
    return check_shown(&setup) || complain(rig, cut, text);
}

/* What was noted while the file system was being shut down says nothing: the load goes on
 * meanwhile, as it could not without power, and is told of flushes that did not happen.
 */
static void discount(struct trace *trace, size_t from)
{
    for (; from < trace->count; from++) {
        struct event *event = &trace->events[from];

        if (event->kind == EVENT_SEEN)
            event->kind = EVENT_LOADED;
        else if (event->kind == EVENT_END || event->kind == EVENT_ERASED)
            event->status = MAKO_E_UNAVAILABLE;
    }
}

static bool cut_once(struct rig *rig, unsigned cut)
{
    uint64_t seed = random_next(&rig->random);
    size_t events = EVENTS_LEAST + (size_t)random_below(&rig->random, EVENTS_MORE);
    size_t begun;
    pid_t child = fork();

    if (child < 0)
        die("fork");
    if (child == 0)
        run_load(rig, seed);
    wait_for_events(rig, child, events);
    begun = count_events(rig);
    shut_down();
    (void)kill(child, SIGKILL);
    (void)waitpid(child, NULL, 0);
    trace_unlock_dead(rig->trace);
    discount(rig->trace, begun);
    unmount_disk();
    mount_disk(rig);
    return check(rig, cut);
}

static uint64_t count_acknowledged(const struct trace *trace)
{
    uint64_t count = 0;

    for (size_t i = 0; i < trace->count; i++)
        count += trace->events[i].kind == EVENT_END && trace->events[i].status >= 0;
    return count;
}

int main(int argc, char **argv)
{
    unsigned cuts = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 200;
    struct rig rig = {.seed =
                          argc > 3 ? strtoull(argv[3], NULL, 10) : (uint64_t)time(NULL)};
    bool good = true;
    unsigned cut = 0;

    if (argc < 2) {
        (void)fprintf(stderr, "usage: power_cut PLUGIN [CUTS [SEED]]\n");
        return 2;
    }
    rig.random = rig.seed;
    rig.trace = trace_new();
    rig.rules = rules_new();
    if (rig.trace == NULL || rig.rules == NULL)
        die("memory");
    driver_load(argv[1]);
    make_place();
    make_image();
    make_device(&rig);
    mount_disk(&rig);
    for (; good && cut < cuts; cut++)
        good = cut_once(&rig, cut);
    if (good)
        (void)printf("%u cuts, %" PRIu64 " operations acknowledged, all as they must be; "
                     "seed %" PRIu64 "\n",
                     cut, count_acknowledged(rig.trace), rig.seed);
    unmount_disk();
    rules_free(rig.rules);
    trace_free(rig.trace);
    return good ? 0 : 1;
}

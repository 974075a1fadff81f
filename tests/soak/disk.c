/* tests/soak/disk.c - the disk below file stores, and limits of processes: see rig.h. */
#include "rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define IMAGE_MIB  96
#define MEMORY     "size=300m,mode=700"
#define SMALL      "size=96m,mode=700"
#define TRIES      20
#define CHUNK      (4 << 20)
#define FEW_KIB    64
#define FILE_LIMIT 100000

/* ---- mounting -------------------------------------------------------------------------
 */

static bool make_image(const char *path)
{
    char command[500];
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool made = fd >= 0 && ftruncate(fd, (off_t)IMAGE_MIB << 20) == 0;

    if (fd >= 0)
        (void)close(fd);
    (void)snprintf(command, sizeof command,
                   "PATH=$PATH:/sbin:/usr/sbin mkfs.ext4 -q -F '%s' >/dev/null 2>&1",
                   path);
    return made && system(command) == 0;
}

/* A device for the image, which clears itself; another process may be quicker to take one
 * that was free.  -1, or what keeps it. */
static int make_device(const char *path, char *device, size_t room)
{
    int image = open(path, O_RDWR | O_CLOEXEC);
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), loop = -1;
    struct loop_config config = {.fd = (uint32_t)image,
                                 .info = {.lo_flags = LO_FLAGS_AUTOCLEAR}};

    for (int tries = 0; control >= 0 && image >= 0 && loop < 0 && tries < TRIES;
         tries++) {
        int number = ioctl(control, LOOP_CTL_GET_FREE);

        if (number < 0)
            break;
        (void)snprintf(device, room, "/dev/loop%d", number);
        loop = open(device, O_RDWR | O_CLOEXEC);
        if (loop >= 0 && ioctl(loop, LOOP_CONFIGURE, &config) != 0) {
            (void)close(loop);
            loop = -1;
        }
    }
    if (control >= 0)
        (void)close(control);
    if (image >= 0)
        (void)close(image);
    return loop;
}

static bool mount_ext4(const struct rig *rig)
{
    char memory[320], image[340], device[40];
    int loop;
    bool mounted;

    (void)snprintf(memory, sizeof memory, "%s/memory", rig->work);
    (void)snprintf(image, sizeof image, "%s/image", memory);
    if (mkdir(memory, 0700) != 0 || mount("soak", memory, "tmpfs", 0, MEMORY) != 0 ||
        !make_image(image))
        return false;
    loop = make_device(image, device, sizeof device);
    if (loop < 0)
        return false;
    mounted = mount(device, rig->disk, "ext4", 0, "") == 0;
    (void)close(loop);
    return mounted;
}

const char *rig_mount(struct rig *rig, bool ext4)
{
    (void)snprintf(rig->disk, sizeof rig->disk, "%s/disk", rig->work);
    if (mkdir(rig->disk, 0700) != 0)
        return NULL;
    if (unshare(CLONE_NEWNS) != 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        return "a directory; no disk is full nor read-only, which takes root";
    rig->mounted = true;
    if (ext4 && mount_ext4(rig))
        return "an ext4 of its own, on a loop device";
    if (mount("soak", rig->disk, "tmpfs", 0, SMALL) == 0)
        return "a tmpfs of its own";
    rig->mounted = false;
    return "a directory; no disk is full nor read-only: mounting is not allowed";
}

void rig_unmount(const struct rig *rig)
{
    char memory[320];

    (void)snprintf(memory, sizeof memory, "%s/memory", rig->work);
    if (!rig->mounted)
        return;
    (void)umount2(rig->disk, MNT_DETACH);
    (void)umount2(memory, MNT_DETACH);
}

void rig_keep(const struct rig *rig)
{
    char command[900];
    const char *servers = getenv("TMPDIR");

    if (rig->disk[0] != '\0')
        (void)snprintf(command, sizeof command, "cp -a '%s' '%s/kept'", rig->disk,
                       rig->work);
    else if (rig->node_count > 0 && servers)
        (void)snprintf(command, sizeof command,
                       "mkdir '%s/kept' && cp -a '%s'/[0-9]* '%s/kept'", rig->work,
                       servers, rig->work);
    else
        return;
    if (system(command) != 0)
        (void)fprintf(stderr, "soak: the store could not be copied to %s/kept\n",
                      rig->work);
}

/* ---- full and read-only ---------------------------------------------------------------
 */

static void ballast_path(const struct rig *rig, char *path, size_t room)
{
    (void)snprintf(path, room, "%s/ballast", rig->disk);
}

/* All but some KiB, or nothing at all. */
static bool fill_disk(struct rig *rig)
{
    char path[400];
    off_t chunk = CHUNK, size = 0;
    bool filled;
    int fd;

    ballast_path(rig, path, sizeof path);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    while (chunk >= 4096) {
        if (fallocate(fd, 0, size, chunk) == 0)
            size += chunk;
        else
            chunk /= 2;
    }
    if (random_chance(&rig->random, 50))
        size -= (off_t)random_below(&rig->random, FEW_KIB << 10);
    filled = ftruncate(fd, size > 0 ? size : 0) == 0;
    (void)close(fd);
    return filled;
}

static void empty_disk(struct rig *rig)
{
    char path[400];

    ballast_path(rig, path, sizeof path);
    (void)unlink(path);
}

/* Nothing is open there: everything is parked. */
static bool forbid_writing(struct rig *rig)
{
    return mount(NULL, rig->disk, NULL, MS_REMOUNT | MS_RDONLY, NULL) == 0;
}

static void allow_writing(struct rig *rig)
{
    if (mount(NULL, rig->disk, NULL, MS_REMOUNT, NULL) != 0)
        (void)fprintf(stderr, "soak: %s stays read-only: %s\n", rig->disk,
                      strerror(errno));
}

/* ---- limits ---------------------------------------------------------------------------
 */

/* Of the worker in rig->slot. */
static bool limit(struct rig *rig, __rlimit_resource_t what, rlim_t soft)
{
    pid_t pid = rig->workers[rig->slot];
    struct rlimit less;

    if (pid <= 0 || prlimit(pid, what, NULL, &rig->limit) != 0)
        return false;
    less = (struct rlimit){.rlim_cur = soft, .rlim_max = rig->limit.rlim_max};
    return prlimit(pid, what, &less, NULL) == 0;
}

/* A worker that was killed meanwhile has a successor without the limit. */
static void free_limit(struct rig *rig, __rlimit_resource_t what)
{
    if (rig->workers[rig->slot] > 0)
        (void)prlimit(rig->workers[rig->slot], what, &rig->limit, NULL);
}

unsigned process_descriptors(pid_t pid)
{
    char path[60];
    DIR *dir;
    unsigned number = 0;

    (void)snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    dir = opendir(path);
    while (dir && readdir(dir))
        number++;
    if (dir)
        (void)closedir(dir);
    return number;
}

static bool limit_descriptors(struct rig *rig)
{
    rig->slot = (unsigned)random_below(&rig->random, SLOTS);
    return limit(rig, RLIMIT_NOFILE,
                 process_descriptors(rig->workers[rig->slot]) +
                     random_below(&rig->random, 4));
}

static void free_descriptors(struct rig *rig)
{
    free_limit(rig, RLIMIT_NOFILE);
}

static bool limit_sizes(struct rig *rig)
{
    rig->slot = (unsigned)random_below(&rig->random, SLOTS);
    return limit(rig, RLIMIT_FSIZE, FILE_LIMIT);
}

static void free_sizes(struct rig *rig)
{
    free_limit(rig, RLIMIT_FSIZE);
}

/* ---- workers that stand still
 * ---------------------------------------------------------- */

bool rig_stop_worker(struct rig *rig)
{
    rig->slot = (unsigned)random_below(&rig->random, SLOTS);
    return rig->workers[rig->slot] > 0 && kill(rig->workers[rig->slot], SIGSTOP) == 0;
}

void rig_continue_worker(struct rig *rig)
{
    if (rig->workers[rig->slot] > 0)
        (void)kill(rig->workers[rig->slot], SIGCONT);
}

/* ---- tables ---------------------------------------------------------------------------
 */

/* Where there is a file system of our own, from the first; else from the third. */
static const struct fault of_file[] = {{.name = "full disk",
                                        .weight = 25,
                                        .shortest_ms = 50,
                                        .longest_ms = 2500,
                                        .excuses = true,
                                        .begin = fill_disk,
                                        .end = empty_disk},
                                       {.name = "read-only disk",
                                        .weight = 2,
                                        .shortest_ms = 50,
                                        .longest_ms = 800,
                                        .excuses = true,
                                        .parks = true,
                                        .begin = forbid_writing,
                                        .end = allow_writing},
                                       {.name = "no descriptors",
                                        .weight = 15,
                                        .shortest_ms = 50,
                                        .longest_ms = 1500,
                                        .excuses = true,
                                        .begin = limit_descriptors,
                                        .end = free_descriptors},
                                       {.name = "limit of file sizes",
                                        .weight = 10,
                                        .shortest_ms = 50,
                                        .longest_ms = 1500,
                                        .excuses = true,
                                        .begin = limit_sizes,
                                        .end = free_sizes},
                                       {.name = "stopped worker",
                                        .weight = 10,
                                        .shortest_ms = 20,
                                        .longest_ms = 1500,
                                        .begin = rig_stop_worker,
                                        .end = rig_continue_worker}};

const struct fault *faults_of_file(const struct rig *rig, size_t *number)
{
    size_t from = rig->mounted ? 0 : 2;

    *number = sizeof of_file / sizeof of_file[0] - from;
    return of_file + from;
}

const struct fault *faults_of_any(const struct rig *rig, size_t *number)
{
    (void)rig;
    *number = 1;
    return &of_file[sizeof of_file / sizeof of_file[0] - 1];
}

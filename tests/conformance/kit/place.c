/* The process before and after: what a plugin must not change, and must not leave. */
#include "kit.h"

#include <dirent.h>
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static unsigned count_entries(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *entry;
    unsigned count = 0;

    while (d && (entry = readdir(d)) != NULL)
        count += entry->d_name[0] != '.';
    if (d)
        (void)closedir(d);
    return count;
}

/* What every open descriptor leads to, but for the one that looks. */
static unsigned list_descriptors(char *out, size_t room)
{
    DIR *d = opendir("/proc/self/fd");
    char target[256];
    struct dirent *entry;
    unsigned count = 0;
    size_t used = 0;

    out[0] = '\0';
    while (d && (entry = readdir(d)) != NULL) {
        ssize_t len = readlinkat(dirfd(d), entry->d_name, target, sizeof target - 1);

        if (len < 0 || strtol(entry->d_name, NULL, 10) == dirfd(d))
            continue;
        count++;
        target[len] = '\0';
        if (used < room - 1)
            used += (size_t)snprintf(out + used, room - used, "%s%s -> %s",
                                     used ? ", " : "", entry->d_name, target);
        if (used > room - 1)
            used = room - 1;
    }
    if (d)
        (void)closedir(d);
    return count;
}

static unsigned long long mix(unsigned long long hash, const void *bytes, size_t len)
{
    const unsigned char *p = bytes;

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ p[i]) * 0x100000001b3u;
    return hash;
}

static unsigned long long hash_signals(void)
{
    unsigned long long hash = 0xcbf29ce484222325u;
    sigset_t blocked;

    (void)sigemptyset(&blocked);
    (void)pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    for (int i = 1; i < NSIG; i++) {
        struct sigaction action;
        int is_blocked = sigismember(&blocked, i);

        memset(&action, 0, sizeof action);
        if (sigaction(i, NULL, &action) != 0)
            continue;
        hash = mix(hash, &action.sa_handler, sizeof action.sa_handler);
        hash = mix(hash, &action.sa_flags, sizeof action.sa_flags);
        hash = mix(hash, &is_blocked, sizeof is_blocked);
    }
    return hash;
}

static unsigned current_umask(void)
{
    mode_t mask = umask(077);

    (void)umask(mask);
    return (unsigned)mask;
}

void place_note(struct place *place)
{
    const char *locale = setlocale(LC_ALL, NULL);

    if (!getcwd(place->cwd, sizeof place->cwd))
        (void)snprintf(place->cwd, sizeof place->cwd, "(%s)", strerror(errno));
    (void)snprintf(place->locale, sizeof place->locale, "%s", locale ? locale : "");
    place->umask = current_umask();
    place->signals = hash_signals();
    place->threads = count_entries("/proc/self/task");
    place->descriptors = list_descriptors(place->open, sizeof place->open);
}

static bool same_settings(const struct place *before, const struct place *now, char *why,
                          size_t room)
{
    if (strcmp(before->cwd, now->cwd) != 0)
        (void)snprintf(why, room, "the working directory was changed to %.300s",
                       now->cwd);
    else if (before->umask != now->umask)
        (void)snprintf(why, room, "the umask was changed from %04o to %04o",
                       before->umask, now->umask);
    else if (before->signals != now->signals)
        (void)snprintf(why, room, "a signal's handler or the signal mask was changed");
    else if (strcmp(before->locale, now->locale) != 0)
        (void)snprintf(why, room, "the locale was changed to %s", now->locale);
    else
        return true;
    return false;
}

/* There only with the thread sanitizer, whose run time starts a thread of its own with
 * the first of the program's. */
extern void __tsan_init(void) __attribute__((weak));

static unsigned threads_allowed(const struct place *before)
{
    return before->threads + (__tsan_init ? 1 : 0);
}

/* A thread that was joined is in the kernel's list for a moment yet. */
static void wait_for_threads(const struct place *before, struct place *now)
{
    const struct timespec pause = {.tv_nsec = 2000000};

    for (int i = 0; i < 2500 && now->threads > threads_allowed(before); i++) {
        (void)nanosleep(&pause, NULL);
        now->threads = count_entries("/proc/self/task");
    }
}

bool place_same(const struct place *before, bool settled, char *why, size_t room)
{
    struct place now;

    place_note(&now);
    if (!same_settings(before, &now, why, room))
        return false;
    if (!settled)
        return true;
    if (now.descriptors > before->descriptors) {
        (void)snprintf(why, room, "%u descriptors were left open: %.1000s",
                       now.descriptors - before->descriptors, now.open);
        return false;
    }
    wait_for_threads(before, &now);
    if (now.threads > threads_allowed(before))
        (void)snprintf(why, room, "%u threads were left running",
                       now.threads - before->threads);
    return now.threads <= threads_allowed(before);
}

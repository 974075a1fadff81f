/* tests/soak/journal.c - see journal.h. */
#include "journal.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define NS_IN_MS 1000000

static const char *const op_names[OPS] = {
    [OP_OPEN] = "open",
    [OP_SAVE] = "save",
    [OP_SAVE_MANY] = "save in a batch",
    [OP_SAVE_COMMON] = "save, contended",
    [OP_REMOVE] = "remove",
    [OP_LOAD] = "load",
    [OP_LOAD_MANY] = "load in a batch",
    [OP_LOAD_OTHERS] = "load, being changed",
    [OP_LOAD_COMMON] = "load, contended",
    [OP_LOAD_BESIDE] = "load, second reader",
    [OP_PEEK] = "peek",
    [OP_SCAN] = "scan",
    [OP_COMPACT] = "compact",
    [OP_STATS] = "stats",
    [OP_PROCESS] = "process round",
    [OP_TAKE] = "process take",
};

const char *op_name(enum op op)
{
    return op_names[op];
}

int64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / NS_IN_MS;
}

void pause_ms(long ms)
{
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * NS_IN_MS};

    (void)nanosleep(&pause, NULL);
}

struct journal *journal_make(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    struct journal *journal = MAP_FAILED;

    if (fd < 0)
        return NULL;
    if (ftruncate(fd, sizeof *journal) == 0)
        journal = mmap(NULL, sizeof *journal, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)close(fd);
    return journal == MAP_FAILED ? NULL : journal;
}

void count(struct journal *journal, enum op op, int status)
{
    int at = status - STATUS_LOWEST;

    if (at < 0 || at >= STATUSES)
        at = MAKO_E_PLUGIN - STATUS_LOWEST;
    (void)atomic_fetch_add_explicit(&journal->counts[op][at], 1, memory_order_relaxed);
}

static void print_fault(const struct journal *journal)
{
    if (journal->fault)
        (void)fprintf(stderr, "soak: the last fault was '%s'%s, and %s %.3f s before\n",
                      journal->fault,
                      atomic_load(&journal->faulty) ? " and is there" : "",
                      "the last one that excuses failures ended",
                      (double)(now_ms() - atomic_load(&journal->fault_end_ms)) / 1000);
}

void violation(struct journal *journal, unsigned slot, const char *format, ...)
{
    char text[1500];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    print_fault(journal);
    if (!atomic_exchange(&journal->wrong, true))
        (void)fprintf(stderr,
                      "soak: VIOLATION, seed %llu, after %.3f s, worker %u, opening %u: "
                      "%s\n",
                      (unsigned long long)journal->seed,
                      (double)(now_ms() - journal->begin_ms) / 1000, slot,
                      (unsigned)atomic_load(&journal->slots[slot].opening), text);
    atomic_store(&journal->stop, true);
    _exit(3);
}

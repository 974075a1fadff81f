/* tests/power/trace.c - see trace.h. */
#include "trace.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char *const flush_names[FLUSH_KINDS] = {
    "none",    "segment",  "segment-entry",    "copy",  "copy-entry",
    "unlinks", "recovery", "recovery-entries", "parent"};

static const char *const event_names[] = {
    "?",      "begin",  "end",    "seen",  "loaded", "erase",   "erased", "write", "size",
    "create", "unlink", "rename", "mkdir", "flush",  "flushed", "forget", "cut"};

static _Noreturn void out_of(const char *what)
{
    (void)fprintf(stderr, "the trace has no room for more %s\n", what);
    abort();
}

static void init_lock(struct trace *trace)
{
    pthread_mutexattr_t attr;

    (void)pthread_mutexattr_init(&attr);
    (void)pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    (void)pthread_mutex_init(&trace->lock, &attr);
    (void)pthread_mutexattr_destroy(&attr);
}

void trace_clear(struct trace *trace)
{
    trace->count = trace->used = trace->kill_at = trace->known_count = 0;
    trace->versions = 0;
    trace->files = DIR_STORE;
    trace->faulty = false;
}

struct trace *trace_new(void)
{
    struct trace *trace = mmap(NULL, sizeof *trace, PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (trace == MAP_FAILED)
        return NULL;
    init_lock(trace);
    trace_clear(trace);
    return trace;
}

void trace_free(struct trace *trace)
{
    (void)pthread_mutex_destroy(&trace->lock);
    (void)munmap(trace, sizeof *trace);
}

void trace_unlock_dead(struct trace *trace)
{
    memset(&trace->lock, 0, sizeof trace->lock);
    init_lock(trace);
}

void trace_lock(struct trace *trace)
{
    (void)pthread_mutex_lock(&trace->lock);
}

void trace_unlock(struct trace *trace)
{
    (void)pthread_mutex_unlock(&trace->lock);
}

size_t trace_add(struct trace *trace, const struct event *event)
{
    if (trace->count == EVENTS_MAX)
        out_of("events");
    trace->events[trace->count++] = *event;
    if (trace->count == trace->kill_at) {
        (void)kill(getpid(), SIGKILL);
        for (;;)
            (void)pause();
    }
    return trace->count - 1;
}

size_t trace_note(struct trace *trace, const struct event *event)
{
    size_t at;

    trace_lock(trace);
    at = trace_add(trace, event);
    trace_unlock(trace);
    return at;
}

uint64_t trace_room(struct trace *trace, size_t len)
{
    size_t at = trace->used;

    if (len > BYTES_MAX - at)
        out_of("bytes");
    trace->used += len;
    return at;
}

/* ---- files ------------------------------------------------------------------------ */

/* What a file begins with. */
struct head {
    char magic[8];
    uint64_t event_size, count, used, faulty;
};

static const char magic[8] = {'m', 'a', 'k', 'o', 't', 'r', 'c', '1'};

bool trace_save(const struct trace *trace, const char *path)
{
    struct head head = {.event_size = sizeof(struct event),
                        .count = trace->count,
                        .used = trace->used,
                        .faulty = trace->faulty};
    FILE *file = fopen(path, "wbe");
    bool good;

    if (file == NULL)
        return false;
    memcpy(head.magic, magic, sizeof magic);
    good =
        fwrite(&head, sizeof head, 1, file) == 1 &&
        fwrite(trace->events, sizeof(struct event), trace->count, file) == trace->count &&
        fwrite(trace->bytes, 1, trace->used, file) == trace->used;
    return fclose(file) == 0 && good;
}

bool trace_load(struct trace *trace, const char *path)
{
    struct head head;
    FILE *file = fopen(path, "rbe");
    bool good;

    if (file == NULL)
        return false;
    good = fread(&head, sizeof head, 1, file) == 1 &&
           memcmp(head.magic, magic, sizeof magic) == 0 &&
           head.event_size == sizeof(struct event) && head.count <= EVENTS_MAX &&
           head.used <= BYTES_MAX &&
           fread(trace->events, sizeof(struct event), head.count, file) == head.count &&
           fread(trace->bytes, 1, head.used, file) == head.used;
    (void)fclose(file);
    if (good) {
        trace->count = head.count;
        trace->used = head.used;
        trace->faulty = head.faulty != 0;
    }
    return good;
}

/* ---- words ------------------------------------------------------------------------ */

const char *flush_name(enum flush_kind kind)
{
    return kind < FLUSH_KINDS ? flush_names[kind] : "?";
}

enum flush_kind flush_named(const char *name)
{
    for (int kind = FLUSH_NONE + 1; kind < FLUSH_KINDS; kind++)
        if (strcmp(flush_names[kind], name) == 0)
            return (enum flush_kind)kind;
    return FLUSH_NONE;
}

void trace_describe(const struct event *event, char *text, size_t room)
{
    const char *kind = event_names[event->kind <= EVENT_CUT ? event->kind : 0];

    if (event->kind <= EVENT_LOADED)
        (void)snprintf(text, room,
                       "%s of stream %u: version %" PRIu64 "%s, sequence %" PRIu64
                       ", %" PRIu64 " bytes, status %d",
                       kind, event->stream, event->version,
                       event->removal ? " (removal)" : "", event->seq, event->len,
                       event->status);
    else
        (void)snprintf(text, room,
                       "%s: file %u %s %s, offset %" PRIu64 ", len %" PRIu64
                       ", flush %s, since %" PRIu64 ", status %d",
                       kind, event->file, event->name, event->to, event->offset,
                       event->len, flush_name(event->flush), event->at, event->status);
}

/* ---- random numbers --------------------------------------------------------------- */

/* splitmix64 */
uint64_t random_next(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u;

    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

uint64_t random_below(uint64_t *state, uint64_t limit)
{
    return random_next(state) % limit;
}

bool random_chance(uint64_t *state, unsigned percent)
{
    return random_below(state, 100) < percent;
}

uint64_t random_mix(uint64_t a, uint64_t b)
{
    uint64_t state = a * 0x2545f4914f6cdd1du + b;

    return random_next(&state);
}

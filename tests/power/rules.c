/* tests/power/rules.c - see rules.h. */
#include "rules.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mako/types.h>

struct rules *rules_new(void)
{
    struct rules *rules = calloc(1, sizeof *rules);

    if (rules == NULL)
        return NULL;
    rules->room = EVENTS_MAX;
    rules->versions = calloc(rules->room, sizeof *rules->versions);
    if (rules->versions == NULL) {
        free(rules);
        return NULL;
    }
    rules->versions[0].removal = true;
    for (size_t stream = 0; stream < STREAMS; stream++)
        rules->count[stream] = 1;
    return rules;
}

void rules_free(struct rules *rules)
{
    if (rules != NULL)
        free(rules->versions);
    free(rules);
}

static bool shows(const struct rules *rules, uint64_t allowed, uint64_t version)
{
    return allowed == version || (version == 0 && rules->versions[allowed].removal);
}

bool rules_allow(const struct rules *rules, size_t stream, uint64_t version)
{
    for (size_t i = 0; i < rules->count[stream]; i++)
        if (shows(rules, rules->allowed[stream][i], version))
            return true;
    return false;
}

bool rules_erased(const struct rules *rules, uint64_t version)
{
    const struct version *of;

    if (version >= rules->room)
        return false;
    of = &rules->versions[version];
    return of->counted && of->dead != 0 && of->dead < rules->erased;
}

/* The n'th version that stream may show is none any more. */
static void forbid(struct rules *rules, size_t stream, size_t n)
{
    uint64_t *allowed = rules->allowed[stream];

    rules->versions[allowed[n]].dead = rules->next + 1;
    rules->count[stream]--;
    memmove(allowed + n, allowed + n + 1, (rules->count[stream] - n) * sizeof *allowed);
}

static void begin(struct rules *rules, const struct event *event)
{
    size_t stream = event->stream;

    if (rules->count[stream] == ALLOWED_MAX || event->version >= rules->room)
        abort();
    rules->versions[event->version] = (struct version){.seq = event->seq,
                                                       .len = event->len,
                                                       .stream = event->stream,
                                                       .removal = event->removal};
    rules->allowed[stream][rules->count[stream]++] = event->version;
}

/* An operation that was acknowledged leaves nothing of those begun before; one that gave
 * way does not show; one that failed may show. */
static void end(struct rules *rules, const struct event *event)
{
    size_t stream = event->stream, n = 0;

    while (n < rules->count[stream] && rules->allowed[stream][n] != event->version)
        n++;
    if (event->status < 0 || n == rules->count[stream])
        return;
    if (event->status == MAKO_STALE) {
        forbid(rules, stream, n);
        return;
    }
    rules->versions[event->version].counted = true;
    while (n-- > 0)
        forbid(rules, stream, 0);
}

/* What an opening has shown stays. */
static void settle(struct rules *rules, const struct event *event)
{
    size_t stream = event->stream;

    for (size_t n = rules->count[stream]; n-- > 0;)
        if (!shows(rules, rules->allowed[stream][n], event->version))
            forbid(rules, stream, n);
    rules->versions[event->version].counted = true;
}

static bool found(struct rules *rules, const struct event *event)
{
    const struct version *version;
    char expected[120];

    if (event->version < rules->room &&
        rules_allow(rules, event->stream, event->version)) {
        version = &rules->versions[event->version];
        if (version->seq == event->seq && version->len == event->len)
            return true;
    }
    rules_expect(rules, event->stream, expected, sizeof expected);
    (void)snprintf(rules->wrong, sizeof rules->wrong,
                   "event %zu: stream %u showed version %" PRIu64 ", expected %s",
                   rules->next, event->stream, event->version, expected);
    return false;
}

static bool take(struct rules *rules, const struct event *event)
{
    bool good = true;

    if (event->kind == EVENT_BEGIN)
        begin(rules, event);
    else if (event->kind == EVENT_END)
        end(rules, event);
    else if (event->kind == EVENT_SEEN || event->kind == EVENT_LOADED)
        good = found(rules, event);
    else if (event->kind == EVENT_ERASED && event->status == MAKO_OK &&
             event->at + 1 > rules->erased)
        rules->erased = event->at + 1;
    if (good && event->kind == EVENT_SEEN)
        settle(rules, event);
    return good;
}

bool rules_advance(struct rules *rules, const struct trace *trace, size_t to)
{
    bool good = true;

    for (; good && rules->next < to; rules->next++)
        good = take(rules, &trace->events[rules->next]);
    return good;
}

void rules_expect(const struct rules *rules, size_t stream, char *text, size_t room)
{
    size_t at = 0;

    text[0] = '\0';
    for (size_t i = 0; i < rules->count[stream] && at + 1 < room; i++) {
        uint64_t version = rules->allowed[stream][i];
        int n =
            rules->versions[version].removal
                ? snprintf(text + at, room - at, "%snothing", at > 0 ? " or " : "")
                : snprintf(text + at, room - at,
                           "%sversion %" PRIu64 " (sequence %" PRIu64 ")",
                           at > 0 ? " or " : "", version, rules->versions[version].seq);

        at += n > 0 ? (size_t)n : 0;
    }
}

/* The search is that of Wing and Gong (Testing and Verifying Concurrent Objects, JPDC 17,
 * 1993): of the calls that began before any other ended one is taken to be the first, and
 * so on with the rest; where none fits, the last choice is taken back.  Lowe (Testing for
 * Linearizability, CCPE 29(4), 2017) remembers which sets of calls led to which state
 * already: without that the search is exponential in the length of a history.  It still
 * is in how many saves and removals go on at the same time.
 *
 * The state of a stream is the save that is stored there, or none. */
#include "linear.h"

#include <stdlib.h>
#include <string.h>

#include <mako/types.h>

#include <xxhash.h>

/* In place of the number of a call: the stream is empty. */
#define EMPTY UINT32_MAX

/* A call's begin, or its end, in a list by time. */
struct event {
    struct event *prev, *next;
    struct event *end; /* of a begin; NULL where there is none, and of an end */
    uint64_t time;
    uint32_t call;
    bool begins;
};

/* The calls that are placed, as bits, and the state behind them. */
struct places {
    uint64_t *rows; /* words to a row; the last one is the state and a mark */
    size_t room, used, words;
};

/* A call that was placed, or one more copy of a save. */
struct choice {
    struct event *event; /* NULL: a copy */
    size_t copy;
    uint32_t state; /* before it */
    uint64_t latest;
};

/* What was not tried yet as the next choice. */
struct rest {
    struct event *event; /* this call and those behind it, then ... */
    size_t copy;         /* ... this copy and those behind it */
};

struct search {
    const struct call *calls;
    size_t count, missing; /* calls; those that must still be placed */
    struct event *events, head;
    uint32_t *copies; /* calls that are late copies */
    size_t copy_count;
    struct choice *choices;
    size_t depth, room;
    uint32_t state;
    uint64_t latest; /* begin of those that are placed */
    uint64_t *row;   /* what is placed now */
    struct places seen;
};

/* ---- the sequential stream --------------------------------------------------------- */

static bool is_known(const struct call *call)
{
    return call->status >= 0 && call->end != NEVER;
}

/* A failed load says nothing; copies come when they like. */
static bool is_listed(const struct call *call)
{
    return call->kind != CALL_LATE && (call->kind != CALL_LOAD || call->status >= 0);
}

static bool may_replace(const struct search *s, const struct call *save)
{
    return save->forced || s->state == EMPTY || s->calls[s->state].seq <= save->seq;
}

/* Whether the call, if it came now, would have answered what it did; what is stored after
 * it.  One of unknown outcome that changes nothing need not come at all. */
static bool step(const struct search *s, uint32_t at, uint32_t *next)
{
    const struct call *call = &s->calls[at];

    *next = s->state;
    switch (call->kind) {
    case CALL_SAVE:
        if (is_known(call) && call->status == MAKO_STALE)
            return !may_replace(s, call);
        *next = at;
        return may_replace(s, call);
    case CALL_REMOVE:
        *next = EMPTY;
        return (s->state == EMPTY) == (is_known(call) && call->status == MAKO_NOT_FOUND);
    case CALL_LOAD:
    case CALL_LATE:
        break;
    }
    if (call->status == MAKO_NOT_FOUND)
        return s->state == EMPTY;
    return s->state != EMPTY && s->calls[s->state].value == call->value;
}

/* It leaves everything as it was. */
static bool only_looks(const struct call *call)
{
    return call->kind == CALL_LOAD || (is_known(call) && call->status != MAKO_OK);
}

/* ---- what was tried already -------------------------------------------------------- */

#define USED (1ull << 63)

/* Where the row is, or the place for it. */
static uint64_t *find_row(const struct places *p, const uint64_t *row)
{
    size_t size = p->words * sizeof *row, mask = p->room - 1;
    size_t at = XXH3_64bits(row, size) & mask;

    for (;; at = (at + 1) & mask) {
        uint64_t *there = p->rows + at * p->words;

        if (!(there[p->words - 1] & USED) || memcmp(there, row, size) == 0)
            return there;
    }
}

static bool grow_places(struct places *p)
{
    struct places wider = {.room = p->room ? p->room * 2 : 64, .words = p->words};

    wider.rows = calloc(wider.room * wider.words, sizeof *wider.rows);
    if (!wider.rows)
        return false;
    for (size_t i = 0; i < p->room; i++) {
        const uint64_t *row = p->rows + i * p->words;

        if (row[p->words - 1] & USED)
            memcpy(find_row(&wider, row), row, p->words * sizeof *row);
    }
    free(p->rows);
    wider.used = p->used;
    *p = wider;
    return true;
}

/* 1: the row was new; 0: it was there; -1: no memory. */
static int note_row(struct places *p, const uint64_t *row)
{
    uint64_t *there;

    if (p->used * 2 >= p->room && !grow_places(p))
        return -1;
    there = find_row(p, row);
    if (there[p->words - 1] & USED)
        return 0;
    memcpy(there, row, p->words * sizeof *row);
    p->used++;
    return 1;
}

/* ---- the search -------------------------------------------------------------------- */

static void take_out(struct event *event)
{
    event->prev->next = event->next;
    if (event->next)
        event->next->prev = event->prev;
}

static void put_back(struct event *event)
{
    event->prev->next = event;
    if (event->next)
        event->next->prev = event;
}

static bool grow_choices(struct search *s)
{
    size_t room = s->room ? s->room * 2 : 64;
    struct choice *choices = realloc(s->choices, room * sizeof *choices);

    if (!choices)
        return false;
    s->choices = choices;
    s->room = room;
    return true;
}

/* 1: that is the state now; 0: what follows was tried already; -1: no memory. */
static int enter(struct search *s, struct choice choice, uint32_t next)
{
    int fresh;

    if (s->depth == s->room && !grow_choices(s))
        return -1;
    s->row[s->seen.words - 1] = USED | next;
    fresh = note_row(&s->seen, s->row);
    if (fresh == 1) {
        choice.state = s->state;
        choice.latest = s->latest;
        s->choices[s->depth++] = choice;
        s->state = next;
    }
    return fresh;
}

static void mark(struct search *s, uint32_t call, bool placed)
{
    uint64_t bit = 1ull << (call % 64), *word = &s->row[call / 64];

    *word = placed ? *word | bit : *word & ~bit;
}

static int choose_call(struct search *s, struct event *event)
{
    const struct call *call = &s->calls[event->call];
    uint32_t next;
    int fresh;

    if (!step(s, event->call, &next))
        return 0;
    mark(s, event->call, true);
    fresh = enter(s, (struct choice){.event = event}, next);
    if (fresh != 1) {
        mark(s, event->call, false);
        return fresh;
    }
    s->latest = call->begin > s->latest ? call->begin : s->latest;
    s->missing -= event->end != NULL;
    take_out(event);
    if (event->end)
        take_out(event->end);
    return 1;
}

/* Copies may come more than once: they leave no mark. */
static int choose_copy(struct search *s, size_t copy)
{
    return enter(s, (struct choice){.copy = copy}, s->copies[copy]);
}

static struct choice take_back(struct search *s)
{
    struct choice choice = s->choices[--s->depth];
    struct event *event = choice.event;

    s->state = choice.state;
    s->latest = choice.latest;
    if (!event)
        return choice;
    if (event->end)
        put_back(event->end);
    put_back(event);
    s->missing += event->end != NULL;
    mark(s, event->call, false);
    return choice;
}

/* The last choice that changed something was wrong; rest: the others.  A call that only
 * looks was never a choice: whatever can follow without it can follow it.  False: nothing
 * is left to be chosen otherwise. */
static bool take_back_change(struct search *s, struct rest *rest)
{
    while (s->depth > 0) {
        struct choice choice = take_back(s);

        rest->event = choice.event ? choice.event->next : NULL;
        rest->copy = choice.event ? 0 : choice.copy + 1;
        if (!choice.event || !only_looks(&s->calls[choice.event->call]))
            return true;
    }
    return false;
}

/* The first one from here on that can be the next call, of those that only look or of the
 * others. */
static struct event *find_next(const struct search *s, struct event *from, bool looks)
{
    uint32_t next;

    for (struct event *at = from; at && at->begins; at = at->next)
        if (only_looks(&s->calls[at->call]) == looks && step(s, at->call, &next))
            return at;
    return NULL;
}

/* Likewise of the copies: between begin and end of their own, where there is an end. */
static size_t find_copy(const struct search *s, size_t from)
{
    const struct event *end = s->head.next;

    while (end && end->begins)
        end = end->next;
    for (; from < s->copy_count; from++) {
        const struct call *copy = &s->calls[s->copies[from]];

        if ((!end || copy->begin <= end->time) && s->latest <= copy->end &&
            may_replace(s, copy))
            break;
    }
    return from;
}

/* Those that only look come as soon as they can; of the others each is tried, and copies
 * last. */
static enum linear run_search(struct search *s)
{
    struct rest rest = {.event = s->head.next};
    bool fresh = true;

    while (s->missing > 0) {
        struct event *look = fresh ? find_next(s, rest.event, true) : NULL;
        struct event *at = look ? look : find_next(s, rest.event, false);
        int chosen = 0;

        if (at) {
            rest.event = at->next;
            chosen = choose_call(s, at);
        } else {
            rest.event = NULL;
            rest.copy = find_copy(s, rest.copy);
            if (rest.copy < s->copy_count)
                chosen = choose_copy(s, rest.copy++);
            else if (!take_back_change(s, &rest))
                return NOT_LINEAR;
        }
        if (chosen < 0)
            return UNDECIDED;
        fresh = chosen > 0;
        if (fresh)
            rest = (struct rest){.event = s->head.next};
        else if (look && !take_back_change(s, &rest))
            return NOT_LINEAR;
    }
    return LINEAR;
}

/* At the same time begins come first: then the calls overlap. */
static int by_time(const void *a, const void *b)
{
    const struct event *x = *(struct event *const *)a, *y = *(struct event *const *)b;

    if (x->time != y->time)
        return x->time < y->time ? -1 : 1;
    return (int)y->begins - (int)x->begins;
}

static bool link_events(struct search *s)
{
    struct event **order = calloc(2 * s->count + 1, sizeof(struct event *));
    struct event *last = &s->head;
    size_t used = 0;

    if (!order)
        return false;
    for (uint32_t i = 0; i < s->count; i++) {
        const struct call *call = &s->calls[i];
        struct event *begin = &s->events[2 * i], *end = begin + 1;

        if (call->kind == CALL_LATE)
            s->copies[s->copy_count++] = i;
        if (!is_listed(call))
            continue;
        *begin = (struct event){.time = call->begin, .call = i, .begins = true};
        order[used++] = begin;
        if (!is_known(call))
            continue;
        *end = (struct event){.time = call->end, .call = i};
        begin->end = end;
        order[used++] = end;
        s->missing++;
    }
    qsort(order, used, sizeof *order, by_time);
    for (size_t i = 0; i < used; i++, last = last->next) {
        last->next = order[i];
        order[i]->prev = last;
    }
    free(order);
    return true;
}

enum linear linear_check(const struct call *calls, size_t count)
{
    struct search s = {.calls = calls,
                       .count = count,
                       .state = EMPTY,
                       .seen = {.words = count / 64 + 2}};
    enum linear verdict = UNDECIDED;

    s.events = calloc(2 * count + 1, sizeof *s.events);
    s.copies = calloc(count + 1, sizeof *s.copies);
    s.row = calloc(s.seen.words, sizeof *s.row);
    if (s.events && s.copies && s.row && link_events(&s))
        verdict = run_search(&s);
    free(s.events);
    free(s.copies);
    free(s.choices);
    free(s.row);
    free(s.seen.rows);
    return verdict;
}

/* ---- the window -------------------------------------------------------------------- */

/* Looks for the window: of all calls those from some time until some time. */
struct cut {
    const struct call *all;
    size_t count;
    uint64_t from;       /* what ended before is left out */
    struct call *first;  /* what may have been stored then, and behind it ... */
    struct call *window; /* ... those that are left */
    size_t left;
};

/* History up to a moment: calls that had not ended then may still do anything. */
static void cut_end(struct cut *cut, uint64_t until)
{
    cut->left = 0;
    for (size_t i = 0; i < cut->count; i++) {
        struct call call = cut->all[i];

        if (call.begin > until || (call.end < cut->from && is_known(&call)))
            continue;
        if (call.end > until && call.kind == CALL_LOAD)
            continue;
        if (call.end > until)
            call.end = NEVER;
        cut->window[cut->left++] = call;
    }
}

/* Whatever was stored before: nothing, or what a call that is left out saved. */
static bool is_wrong(const struct cut *cut)
{
    if (linear_check(cut->window, cut->left) != NOT_LINEAR)
        return false;
    for (size_t i = 0; i < cut->count; i++) {
        const struct call *save = &cut->all[i];

        if (save->kind != CALL_SAVE || save->status != MAKO_OK || save->end >= cut->from)
            continue;
        *cut->first = *save; /* at the beginning of time, whatever was there */
        cut->first->forced = true;
        cut->first->begin = cut->first->end = 0;
        if (linear_check(cut->first, cut->left + 1) != NOT_LINEAR)
            return false;
    }
    return true;
}

/* Every prefix of a linearizable history is one: the first end behind which it is wrong.
 * Calls stand in the order of their begin. */
static uint64_t find_end(struct cut *cut)
{
    uint64_t low = 0, high = 0;

    for (size_t i = 0; i < cut->count; i++)
        if (is_known(&cut->all[i]) && cut->all[i].end > high)
            high = cut->all[i].end;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;

        cut_end(cut, middle);
        if (is_wrong(cut))
            high = middle;
        else
            low = middle + 1;
    }
    return high;
}

/* Likewise what is wrong from some moment on is wrong from any earlier one on. */
static void find_begin(struct cut *cut, uint64_t until)
{
    uint64_t low = 0, high = until;

    while (low < high) {
        cut->from = low + (high - low + 1) / 2;
        cut_end(cut, until);
        if (is_wrong(cut))
            low = cut->from;
        else
            high = cut->from - 1;
    }
    cut->from = low;
    cut_end(cut, until);
}

/* Without any of those that only look a history is still one. */
static void leave_out_looks(struct cut *cut)
{
    for (size_t i = cut->left; i-- > 0;) {
        struct call call = cut->window[i];

        if (!only_looks(&call))
            continue;
        cut->left--;
        memmove(&cut->window[i], &cut->window[i + 1],
                (cut->left - i) * sizeof cut->window[0]);
        if (is_wrong(cut))
            continue;
        memmove(&cut->window[i + 1], &cut->window[i],
                (cut->left - i) * sizeof cut->window[0]);
        cut->window[i] = call;
        cut->left++;
    }
}

static int by_begin(const void *a, const void *b)
{
    const struct call *x = a, *y = b;

    return (x->begin > y->begin) - (x->begin < y->begin);
}

size_t linear_window(const struct call *calls, size_t count, struct call *window)
{
    struct call *all = calloc(2 * count + 1, sizeof *all);
    struct cut cut = {.all = all, .count = count};

    if (!all) {
        memcpy(window, calls, count * sizeof *calls);
        return count;
    }
    memcpy(all, calls, count * sizeof *calls);
    qsort(all, count, sizeof *all, by_begin);
    cut.first = all + count;
    cut.window = cut.first + 1;
    find_begin(&cut, find_end(&cut));
    leave_out_looks(&cut);
    memcpy(window, cut.window, cut.left * sizeof *window);
    free(all);
    return cut.left;
}

/* ---- for people -------------------------------------------------------------------- */

static const char *say_answer(const struct call *call)
{
    if (call->status < 0 || call->end == NEVER)
        return "unknown";
    if (call->status == MAKO_STALE)
        return "STALE";
    return call->status == MAKO_NOT_FOUND ? "NOT_FOUND" : "OK";
}

static void print_call(FILE *out, const struct call *call)
{
    static const char *const names[] = {"save", "remove", "load", "copies of"};
    bool force = call->kind == CALL_SAVE && call->forced;
    const char *name = force ? "save by force" : names[call->kind];
    char end[24] = "-", what[80] = "";

    if (call->end != NEVER)
        (void)snprintf(end, sizeof end, "%llu", (unsigned long long)call->end);
    if (call->kind == CALL_SAVE || call->kind == CALL_LATE)
        (void)snprintf(what, sizeof what, " #%u at sequence %llu", (unsigned)call->value,
                       (unsigned long long)call->seq);
    (void)fprintf(out, "  [%6llu, %6s] thread %u: %s%s: %s",
                  (unsigned long long)call->begin, end, call->thread, name, what,
                  say_answer(call));
    if (call->kind == CALL_LOAD && call->status == MAKO_OK)
        (void)fprintf(out, ", #%u", (unsigned)call->value);
    (void)fputc('\n', out);
}

void linear_print(FILE *out, const struct call *calls, size_t count)
{
    for (size_t i = 0; i < count; i++)
        print_call(out, &calls[i]);
}

/* Scans: what they find, when they stop, and what may happen meanwhile. */
#include <stdlib.h>

#include "raw.h"

enum {
    STREAMS = 50
};

static void name_of(size_t i, char *out, size_t room)
{
    (void)snprintf(out, room, "%s/%zu", i % 2 ? "odd" : "even", i);
}

static struct raw_record record_of(const char *stream, size_t i)
{
    return (struct raw_record){
        .stream = stream, .seq = i + 1, .len = 40 + i * 11, .seed = i, .schema = 3};
}

static enum verdict fill(struct trial *t, struct raw_store *s)
{
    char id[30];

    if (!raw_ops.scan)
        return trial_skip(t, "this plugin cannot scan");
    TRY(raw_open_well(t, s));
    for (size_t i = 0; i < STREAMS; i++) {
        name_of(i, id, sizeof id);
        WANT(raw_save(s, record_of(id, i)), MAKO_OK);
    }
    return PASS;
}

/* What was seen, by number; others is the first that should not have been. */
struct seen {
    unsigned times[STREAMS];
    char others[100], wrong[200];
    const char *prefix;
};

static bool note(struct raw_scan *scan, struct mako_str stream,
                 const struct mako_meta *meta, uint64_t blob_len)
{
    struct seen *seen = scan->arg;
    char id[30];

    for (size_t i = 0; i < STREAMS; i++) {
        struct raw_record r = record_of(id, i);

        name_of(i, id, sizeof id);
        if (strcmp(stream.ptr, id) != 0)
            continue;
        seen->times[i]++;
        if (blob_len != r.len || (meta && (meta->seq != r.seq || meta->schema != 3)))
            (void)snprintf(
                seen->wrong, sizeof seen->wrong, "%s: %llu bytes, sequence %llu", id,
                (unsigned long long)blob_len, (unsigned long long)(meta ? meta->seq : 0));
        if (strncmp(id, seen->prefix, strlen(seen->prefix)) == 0)
            return true;
    }
    (void)snprintf(seen->others, sizeof seen->others, "%.90s", stream.ptr);
    return true;
}

static enum verdict scan_well(struct trial *t, struct raw_store *s, const char *prefix,
                              size_t least, size_t step, struct seen *seen)
{
    struct raw_scan scan = {.entry = note, .arg = seen};

    memset(seen, 0, sizeof *seen);
    seen->prefix = prefix;
    WANT(raw_scan(s, prefix, &scan), MAKO_OK);
    CHECKF(!seen->others[0], "scan of '%s' told of '%s'", prefix, seen->others);
    for (size_t i = least; i < STREAMS && keeps(t); i += step)
        CHECKF(seen->times[i] > 0, "scan of '%s' did not tell of stream %zu", prefix, i);
    return PASS;
}

static enum verdict a_scan_finds_all(struct trial *t)
{
    struct raw_store s;
    struct seen seen;

    TRY(fill(t, &s));
    TRY(scan_well(t, &s, "", 0, 1, &seen));
    raw_close(&s);
    return PASS;
}

static enum verdict a_scan_keeps_to_its_prefix(struct trial *t)
{
    struct raw_scan none = {.count = 0};
    struct raw_store s;
    struct seen seen;

    TRY(fill(t, &s));
    TRY(scan_well(t, &s, "odd/", 1, 2, &seen));
    TRY(scan_well(t, &s, "even", 0, 2, &seen));
    TRY(scan_well(t, &s, "odd/49", 49, STREAMS, &seen));
    WANT(raw_scan(&s, "odd/490", &none), MAKO_OK);
    WANT(raw_scan(&s, "O", &none), MAKO_OK);
    CHECKF(none.count == 0, "a scan of what is not there told of something");
    raw_close(&s);
    return PASS;
}

static enum verdict a_scan_tells_the_truth(struct trial *t)
{
    struct raw_store s;
    struct seen seen;

    TRY(fill(t, &s));
    TRY(scan_well(t, &s, "", 0, 1, &seen));
    CHECKF(!seen.wrong[0], "scan: %s", seen.wrong);
    raw_close(&s);
    return PASS;
}

static bool third_is_enough(struct raw_scan *scan, struct mako_str stream,
                            const struct mako_meta *meta, uint64_t blob_len)
{
    (void)stream, (void)meta, (void)blob_len;
    return scan->count < 3;
}

/* raw_scan() itself complains of calls after the stop. */
static enum verdict a_scan_stops_when_told(struct trial *t)
{
    struct raw_scan scan = {.entry = third_is_enough};
    struct raw_store s;

    TRY(fill(t, &s));
    WANT(raw_scan(&s, "", &scan), MAKO_OK);
    CHECKF(!keeps(t) || scan.count == 3, "the visitor was called %u times", scan.count);
    TRY(raw_holds(t, &s, record_of("even/0", 0)));
    raw_close(&s);
    return PASS;
}

static enum verdict removed_streams_are_not_scanned(struct trial *t)
{
    struct raw_store s;
    struct seen seen;
    char id[30];

    TRY(fill(t, &s));
    for (size_t i = 0; i < STREAMS; i += 2) {
        name_of(i, id, sizeof id);
        CHECK(raw_remove(&s, id) >= 0);
    }
    TRY(scan_well(t, &s, "", 1, 2, &seen));
    for (size_t i = 0; i < STREAMS; i += 2)
        CHECKF(seen.times[i] == 0, "scan told of stream %zu, which was removed", i);
    raw_close(&s);
    return PASS;
}

/* ---- meanwhile -------------------------------------------------------------------- */

struct busy {
    struct trial *t;
    struct raw_store *s;
    enum verdict verdict;
    char id[100];
};

static enum verdict change(struct trial *t, struct busy *b)
{
    struct raw_record r = {.stream = b->id, .seq = 900, .len = 70, .seed = 5};

    TRY(raw_holds(t, b->s, (struct raw_record){.stream = "kept", .seq = 1, .len = 33}));
    WANT(raw_save(b->s, r), MAKO_OK);
    CHECK(raw_remove(b->s, b->id) >= 0);
    return PASS;
}

static void *change_there(void *arg)
{
    struct busy *b = arg;

    if (b->verdict == PASS)
        b->verdict = change(b->t, b);
    return NULL;
}

/* Here, and in another thread that this one waits for. */
static bool use_the_store(struct raw_scan *scan, struct mako_str stream,
                          const struct mako_meta *meta, uint64_t blob_len)
{
    struct busy *b = scan->arg;
    pthread_t thread;

    (void)meta, (void)blob_len;
    (void)snprintf(b->id, sizeof b->id, "%.99s", stream.ptr);
    if (strcmp(b->id, "kept") == 0)
        return true;
    (void)change_there(b);
    if (pthread_create(&thread, NULL, change_there, b) == 0)
        (void)pthread_join(thread, NULL);
    return b->verdict == PASS;
}

static enum verdict no_lock_is_held_in_a_scan(struct trial *t)
{
    struct raw_store s;
    struct busy busy = {.t = t, .s = &s};
    struct raw_scan scan = {.entry = use_the_store, .arg = &busy};

    if (raw_ops.threads != MAKO_THREADS_PARALLEL)
        return trial_skip(t, "the host calls nothing during a scan in this thread model");
    TRY(fill(t, &s));
    WANT(raw_save(&s, (struct raw_record){.stream = "kept", .seq = 1, .len = 33}),
         MAKO_OK);
    WANT(raw_scan(&s, "", &scan), MAKO_OK);
    CHECK(busy.verdict == PASS);
    TRY(raw_holds(t, &s, (struct raw_record){.stream = "kept", .seq = 1, .len = 33}));
    raw_close(&s);
    return PASS;
}

const struct test_case raw_scan_cases[] = {
    {"a_scan_finds_all", a_scan_finds_all},
    {"a_scan_keeps_to_its_prefix", a_scan_keeps_to_its_prefix},
    {"a_scan_tells_the_truth", a_scan_tells_the_truth},
    {"a_scan_stops_when_told", a_scan_stops_when_told},
    {"removed_streams_are_not_scanned", removed_streams_are_not_scanned},
    {"no_lock_is_held_in_a_scan", no_lock_is_held_in_a_scan},
    {NULL, NULL},
};

/* A store plugin for tests: keeps records in memory, does on order what a plugin must
 * not do, and counts who calls it.  Compiled several times with different promises:
 * PROBE_NAME, PROBE_THREADS, PROBE_FEATURES, and PROBE_BARE for the required operations
 * alone.  probe.h is its remote control. */
#include "probe.h"

#include <sched.h>

struct store {
    struct probe own; /* used where no control is named */
    struct probe *probe;
    const struct mako_host *host;
    bool locks; /* itself, where the core does not */
    _Atomic int inside;
};

static _Atomic int plugin_inside;

/* Every call goes through enter and leave, which see calls inside one another. */
static void enter(struct store *s, _Atomic uint64_t *counter)
{
    atomic_fetch_add(counter, 1);
    if (atomic_fetch_add(&s->inside, 1) > 0)
        atomic_fetch_add(&s->probe->store_overlaps, 1);
    if (atomic_fetch_add(&plugin_inside, 1) > 0)
        atomic_fetch_add(&s->probe->plugin_overlaps, 1);
    for (int i = 0; atomic_load(&s->probe->linger) && i < 3; i++)
        (void)sched_yield();
    while (atomic_load(&s->probe->hold))
        (void)sched_yield();
    if (s->locks)
        (void)pthread_mutex_lock(&s->probe->lock);
}

static int leave(struct store *s, int status)
{
    if (s->locks)
        (void)pthread_mutex_unlock(&s->probe->lock);
    atomic_fetch_sub(&plugin_inside, 1);
    atomic_fetch_sub(&s->inside, 1);
    return status;
}

static int ordered(const struct probe *p, int status, struct mako_error *err)
{
    return p->text ? mako_fail(err, status, "%s", p->text) : status;
}

static int probe_open(const struct mako_host *host, const union mako_value *options,
                      struct mako_traits *traits, void **store, struct mako_error *err)
{
    uint32_t asked = traits->durability;
    struct store *s;

    if (traits->flags & ~MAKO_OPEN_READ_ONLY)
        return mako_fail(err, MAKO_E_UNSUPPORTED, "unknown open flags 0x%x",
                         (unsigned)traits->flags);
    s = calloc(1, sizeof *s);
    if (!s)
        return mako_fail(err, MAKO_E_NOMEM, "no memory");
    (void)pthread_mutex_init(&s->own.lock, NULL);
    s->host = host;
    s->locks = PROBE_THREADS == MAKO_THREADS_PARALLEL;
    s->probe = &s->own;
    traits->durability = traits->durability < MAKO_DURABLE_MEMORY ? traits->durability
                                                                  : MAKO_DURABLE_MEMORY;
    if (options[0].str && *options[0].str) {
        s->probe = (struct probe *)(uintptr_t)strtoull(options[0].str, NULL, 16);
        s->probe->enters = asked;
        traits->durability = MAKO_DURABLE_CRASH;
        if (s->probe->gives)
            traits->durability = s->probe->gives - 1;
    }
    if (s->probe->serial)
        traits->threads = MAKO_THREADS_PLUGIN;
    atomic_fetch_add(&s->probe->opens, 1);
    int status = s->probe->orders.open;
    if (status != MAKO_OK) {
        status = ordered(s->probe, status, err);
        free(s);
        return status;
    }
    host->log(host, MAKO_LOG_INFO, "probe is open");
    *store = s;
    return MAKO_OK;
}

static void probe_close(void *store)
{
    struct store *s = store;

    atomic_fetch_add(&s->probe->closes, 1);
    probe_clear(&s->own);
    (void)pthread_mutex_destroy(&s->own.lock);
    free(s);
}

static int keep(struct probe *p, const struct mako_record *record, struct mako_error *err)
{
    struct probe_record **at = probe_find(p, record->stream.ptr, record->stream.len);
    struct probe_record *found = *at, *fresh;

    if (record->flags & 0xffffu & ~MAKO_SAVE_IF_NEWER)
        return mako_fail(err, MAKO_E_UNSUPPORTED, "unknown flags %#x", record->flags);
    if (record->flags & MAKO_SAVE_IF_NEWER) {
        p->if_newer++;
        if (found && found->meta.seq > record->meta.seq)
            return mako_fail(err, MAKO_STALE, "a later one is stored");
    }
    fresh = calloc(1, sizeof *fresh);
    if (!fresh || !(fresh->blob = malloc(record->blob_len))) {
        free(fresh);
        return mako_fail(err, MAKO_E_NOMEM, "no memory");
    }
    memcpy(fresh->stream, record->stream.ptr, record->stream.len);
    fresh->stream_len = record->stream.len;
    fresh->meta = record->meta;
    memcpy(fresh->blob, record->blob, record->blob_len);
    fresh->blob_len = record->blob_len;
    if (found) {
        probe_record_free(found->older);
        found->older = NULL;
        fresh->next = found->next;
        fresh->older = found;
    }
    *at = fresh;
    return MAKO_OK;
}

static int probe_save(void *store, const struct mako_record *record,
                      struct mako_error *err)
{
    struct store *s = store;
    int status;

    enter(s, &s->probe->saves);
    status = s->probe->orders.save;
    return leave(s, status != MAKO_OK ? ordered(s->probe, status, err)
                                      : keep(s->probe, record, err));
}

static const bool early = (PROBE_FEATURES & MAKO_FEATURE_EARLY_META) != 0;

/* What is lent is a copy, so that a test may change what is stored meanwhile. */
struct loan {
    struct probe *probe;
    unsigned char bytes[];
};

static void loan_release(void *cookie)
{
    struct loan *loan = cookie;

    atomic_fetch_add(&loan->probe->releases, 1);
    free(loan);
}

static int lend(struct probe *p, const struct probe_record *record,
                struct mako_sink *sink, struct mako_error *err)
{
    struct loan *loan;

    if (p->lend_for_good)
        return sink->lend(sink, &record->meta, record->blob, record->blob_len, NULL, NULL)
                   ? MAKO_REFUSED
                   : MAKO_OK;
    loan = malloc(sizeof *loan + record->blob_len);
    if (!loan)
        return mako_fail(err, MAKO_E_NOMEM, "no memory");
    loan->probe = p;
    memcpy(loan->bytes, record->blob, record->blob_len);
    if (sink->lend(sink, early ? &record->meta : NULL, p->lend_null ? NULL : loan->bytes,
                   record->blob_len, loan_release, loan)) {
        free(loan);
        return MAKO_REFUSED;
    }
    return MAKO_OK;
}

static int serve(struct probe *p, struct mako_str stream, struct mako_sink *sink,
                 struct mako_error *err)
{
    const struct probe_record *record = *probe_find(p, stream.ptr, stream.len);
    void *room;

    if (!record)
        return mako_fail(err, MAKO_NOT_FOUND, "nothing of '%s'", stream.ptr);
    if (p->accept_nothing)
        return MAKO_OK;
    if (p->lend)
        return lend(p, record, sink, err);
    room = sink->accept(sink, early ? &record->meta : NULL, record->blob_len);
    if (!room)
        return MAKO_REFUSED;
    memcpy(room, record->blob, record->blob_len);
    return MAKO_OK;
}

static int probe_load(void *store, struct mako_str stream, struct mako_sink *sink,
                      struct mako_error *err)
{
    struct store *s = store;
    int status;

    enter(s, &s->probe->loads);
    status = s->probe->orders.load;
    return leave(s, status != MAKO_OK ? ordered(s->probe, status, err)
                                      : serve(s->probe, stream, sink, err));
}

static int probe_remove(void *store, struct mako_str stream, struct mako_error *err)
{
    struct store *s = store;
    int status;

    enter(s, &s->probe->removes);
    status = s->probe->orders.remove;
    if (status == MAKO_OK) {
        struct probe_record **at = probe_find(s->probe, stream.ptr, stream.len);
        struct probe_record *record = *at;

        if (!record)
            return leave(s, mako_fail(err, MAKO_NOT_FOUND, "nothing to remove"));
        *at = record->next;
        probe_record_free(record);
        return leave(s, MAKO_OK);
    }
    return leave(s, ordered(s->probe, status, err));
}

#ifndef PROBE_BARE

/* A copy of one record without its bytes; the visitor is called without the lock. */
struct sight {
    char stream[1025];
    size_t len, blob_len;
    struct mako_meta meta;
};

static struct sight *look(const struct probe *p, struct mako_str prefix, size_t *count)
{
    size_t n = 0;

    for (const struct probe_record *r = p->records; r; r = r->next)
        n++;
    struct sight *sights = calloc(n + 1, sizeof *sights);
    *count = 0;
    for (const struct probe_record *r = p->records; sights && r; r = r->next) {
        struct sight *sight = &sights[*count];

        if (r->stream_len < prefix.len || memcmp(r->stream, prefix.ptr, prefix.len) != 0)
            continue;
        memcpy(sight->stream, r->stream, r->stream_len);
        sight->len = r->stream_len;
        sight->blob_len = r->blob_len;
        sight->meta = r->meta;
        (*count)++;
    }
    return sights;
}

static int probe_scan(void *store, struct mako_str prefix, struct mako_visitor *visitor,
                      struct mako_error *err)
{
    struct store *s = store;
    struct sight *sights;
    size_t count;
    int status = s->probe->orders.scan;

    enter(s, &s->probe->scans);
    sights = look(s->probe, prefix, &count);
    (void)leave(s, MAKO_OK);
    if (!sights)
        return mako_fail(err, MAKO_E_NOMEM, "no memory");
    for (size_t i = 0; status == MAKO_OK && i < count; i++)
        if (visitor->entry(visitor, (struct mako_str){sights[i].stream, sights[i].len},
                           &sights[i].meta, sights[i].blob_len))
            break;
    free(sights);
    return status == MAKO_OK ? MAKO_OK : ordered(s->probe, status, err);
}

#endif

#ifdef PROBE_BATCHES

static int probe_save_many(void *store, const struct mako_record *records, size_t count,
                           int *statuses, struct mako_error *err)
{
    struct store *s = store;
    struct mako_error each = {""};
    int status;

    enter(s, &s->probe->batches);
    status = s->probe->orders.save_many;
    if (status != MAKO_OK)
        return leave(s, ordered(s->probe, status, err));
    for (size_t i = 0; i < count; i++)
        statuses[i] = keep(s->probe, &records[i], &each);
    return leave(s, MAKO_OK);
}

static int probe_load_many(void *store, const struct mako_str *streams,
                           struct mako_sink *const *sinks, size_t count, int *statuses,
                           struct mako_error *err)
{
    struct store *s = store;
    struct mako_error each = {""};
    int status;

    enter(s, &s->probe->batches);
    status = s->probe->orders.load_many;
    if (status != MAKO_OK)
        return leave(s, ordered(s->probe, status, err));
    for (size_t i = 0; i < count; i++)
        statuses[i] = serve(s->probe, streams[i], sinks[i], &each);
    return leave(s, MAKO_OK);
}

static int probe_stats(void *store, struct mako_counters *counters,
                       struct mako_error *err)
{
    const struct store *s = store;
    int status = s->probe->orders.stats;

    counters->add(counters, "reached", (uint64_t)s->probe->loads);
    return status == MAKO_OK ? MAKO_OK : ordered(s->probe, status, err);
}

#endif

static const struct mako_option probe_options[] = {
    {.name = "control",
     .help = "address of a struct probe in this process, hexadecimal",
     .type = MAKO_OPT_STRING},
    {.name = NULL},
};

static const struct mako_store_plugin probe_plugin = {
    MAKO_STORE_PLUGIN_HEAD,
    .name = PROBE_NAME,
    .version = "1",
    .summary = "for tests: does what it is told, counts who calls",
    .durability = MAKO_DURABLE_CRASH,
    .threads = PROBE_THREADS,
    .features = PROBE_FEATURES,
    .options = probe_options,
    .open = probe_open,
    .close = probe_close,
    .save = probe_save,
    .load = probe_load,
    .remove = probe_remove,
#ifndef PROBE_BARE
    .scan = probe_scan,
#endif
#ifdef PROBE_BATCHES
    .save_many = probe_save_many,
    .load_many = probe_load_many,
    .stats = probe_stats,
#endif
};

MAKO_EXPORT_STORE_PLUGIN(probe_plugin)

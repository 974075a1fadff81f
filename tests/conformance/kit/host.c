/* The strict host: opening, saving, removing, the store as a whole.  Loads are sink.c. */
#include "host.h"

#include <stdarg.h>
#include <stdlib.h>

#include "values.h"

size_t raw_extra;

static const unsigned char future = 0xee;
static pthread_mutex_t plugin_lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local struct mako_error last_error;

/* ---- complaints ------------------------------------------------------------------- */

static pthread_mutex_t audit_lock = PTHREAD_MUTEX_INITIALIZER;
static char complaint[600];

void audit(const char *format, ...)
{
    va_list args;

    (void)pthread_mutex_lock(&audit_lock);
    if (!complaint[0]) {
        va_start(args, format);
        (void)vsnprintf(complaint, sizeof complaint, format, args);
        va_end(args);
    }
    (void)pthread_mutex_unlock(&audit_lock);
}

const char *audit_text(void)
{
    return complaint[0] ? complaint : NULL;
}

const struct mako_error *raw_error(void)
{
    return &last_error;
}

/* ---- lending ---------------------------------------------------------------------- */

void *lend_struct(struct pages *p, size_t before, size_t size)
{
    uint32_t told = (uint32_t)(size + raw_extra);

    pages_get(p, before + size + raw_extra, 8);
    memset(p->at + before + size, future, raw_extra);
    memcpy(p->at + before, &told, sizeof told);
    return p->at + before;
}

void end_struct(struct pages *p, size_t before, size_t size, const char *name)
{
    uint32_t told = 0;

    memcpy(&told, p->at + before, sizeof told);
    if (told != size + raw_extra)
        audit("struct %s: struct_size was changed to %u", name, told);
    for (size_t i = 0; i < raw_extra; i++)
        if (p->at[before + size + i] != future) {
            audit("struct %s: written to beyond what the plugin knows of", name);
            break;
        }
    if (!pages_end(p))
        audit("struct %s: written to beside it", name);
}

struct mako_str lend_text(struct pages *p, const char *text)
{
    size_t len = strlen(text);

    pages_get(p, len + 1, 1);
    memcpy(p->at, text, len);
    pages_seal(p);
    return (struct mako_str){.ptr = (const char *)p->at, .len = len};
}

void end_lent(struct pages *p, const char *what)
{
    if (!pages_end(p))
        audit("written to beside %s", what);
}

/* ---- what comes back -------------------------------------------------------------- */

static void check_text(const char *call, int status, const char *text)
{
    size_t len = strnlen(text, sizeof last_error.text);

    if (len == sizeof last_error.text)
        audit("%s: the text does not end", call);
    else if (status < 0 && len == 0)
        audit("%s failed with %s and says nothing", call, mako_status_name(status));
    else if (status < 0 && strchr(text, '\n'))
        audit("%s: there is a newline in the text '%.200s'", call, text);
}

static bool may_return(int status, unsigned positive)
{
    switch (status) {
    case MAKO_OK:
    case MAKO_E_IO:
    case MAKO_E_UNAVAILABLE:
    case MAKO_E_NO_SPACE:
    case MAKO_E_LIMIT:
    case MAKO_E_NOMEM:
    case MAKO_E_UNSUPPORTED:
        return true;
    default:
        return status > 0 && status < 32 && (positive & 1u << status);
    }
}

void check_status(const char *call, int status, unsigned positive)
{
    bool refuses = status == MAKO_E_CONFIG && strcmp(call, "open") == 0;

    if (!refuses && !may_return(status, positive))
        audit("%s returned %d (%s), which it may not", call, status,
              mako_status_name(status));
}

struct mako_error *call_begin(struct raw_store *s, struct pages *err)
{
    if (raw_ops.threads == MAKO_THREADS_PLUGIN)
        (void)pthread_mutex_lock(&plugin_lock);
    else if (raw_ops.threads == MAKO_THREADS_STORE && s)
        (void)pthread_mutex_lock(&s->lock);
    pages_get(err, sizeof(struct mako_error), 8);
    return (struct mako_error *)(void *)err->at;
}

static void unlock(struct raw_store *s)
{
    if (raw_ops.threads == MAKO_THREADS_PLUGIN)
        (void)pthread_mutex_unlock(&plugin_lock);
    else if (raw_ops.threads == MAKO_THREADS_STORE && s)
        (void)pthread_mutex_unlock(&s->lock);
}

int call_end(struct raw_store *s, struct pages *err, const char *call, int status,
             unsigned positive)
{
    unlock(s);
    check_text(call, status, (const char *)err->at);
    (void)snprintf(last_error.text, sizeof last_error.text, "%.*s",
                   (int)sizeof last_error.text - 1, (const char *)err->at);
    end_lent(err, "the error");
    check_secrets(last_error.text);
    check_status(call, status, positive);
    return status;
}

/* ---- the log ---------------------------------------------------------------------- */

_Thread_local bool raw_in_release;

/* What the host lends at open: ctx leads back, and the struct is last. */
struct lent_host {
    struct raw_store *store;
    struct mako_host host;
};

static char *secrets[8];

void check_secrets(const char *text)
{
    for (size_t i = 0; i < sizeof secrets / sizeof secrets[0] && secrets[i]; i++)
        if (strstr(text, secrets[i]))
            audit("a secret was told: '%.200s'", text);
}

static void host_log(const struct mako_host *host, int level, const char *message)
{
    const struct raw_store *s = host->ctx;

    if ((const unsigned char *)host != s->host.at + offsetof(struct lent_host, host))
        audit("log was given another host");
    if (level < MAKO_LOG_ERROR || level > MAKO_LOG_DEBUG)
        audit("log: level %d is none", level);
    if (!message || !*message)
        audit("log: an empty message");
    else
        check_secrets(message);
    if (raw_in_release)
        audit("release called the host");
}

/* ---- opening and closing ---------------------------------------------------------- */

static void lend_host(struct trial *t, struct raw_store *s)
{
    static const char name[] = "test";
    struct mako_host *host =
        lend_struct(&s->host, offsetof(struct lent_host, host), sizeof(struct mako_host));
    (void)t;
    host->abi = MAKO_STORE_ABI;
    host->ctx = s;
    host->store_name = name;
    host->max_blob = 2u << 20;
    host->log = host_log;
    pages_seal(&s->host);
}

static void note_secret(size_t at, const char *text)
{
    size_t i = 0;

    if (!(raw_option(at)->flags & MAKO_OPT_SECRET) || !text || strlen(text) < 6)
        return;
    while (i < sizeof secrets / sizeof secrets[0] - 1 && secrets[i])
        if (strcmp(secrets[i++], text) == 0)
            return;
    secrets[i] = strdup(text);
}

/* Values and their texts, in pages of their own. */
static void lend_values(struct trial *t, struct raw_store *s, const char *data)
{
    size_t count = raw_option_count(), used = 0;
    char *texts[256] = {NULL};
    union mako_value *values;

    for (size_t i = 0; i < count; i++) {
        texts[i] = raw_option_text(t, i, data);
        note_secret(i, texts[i]);
        used += texts[i] ? strlen(texts[i]) + 1 : 0;
    }
    pages_get(&s->values, count * sizeof *values, 8);
    pages_get(&s->strings, used, 1);
    values = (union mako_value *)(void *)s->values.at;
    used = 0;
    for (size_t i = 0; i < count; i++) {
        char *at = (char *)s->strings.at + used;

        if (texts[i])
            used += (size_t)(stpcpy(at, texts[i]) - at) + 1;
        values[i] = value_of(raw_option(i), texts[i] ? at : NULL);
        free(texts[i]);
    }
    pages_seal(&s->values);
    pages_seal(&s->strings);
}

static void end_opening(struct raw_store *s)
{
    end_lent(&s->values, "the option values");
    end_lent(&s->strings, "the options' texts");
    end_struct(&s->host, offsetof(struct lent_host, host), sizeof(struct mako_host),
               "mako_host");
}

static void check_traits(const struct mako_traits *given)
{
    if (given->durability > raw_ops.durability)
        audit("open: durability %u is given, %u is the plugin's most", given->durability,
              raw_ops.durability);
    if (given->threads > raw_ops.threads)
        audit("open: thread model %u is given, %u is the plugin's", given->threads,
              raw_ops.threads);
    if (given->features & ~raw_ops.features)
        audit("open: features that the plugin does not declare");
}

static int call_open(struct raw_store *s, const struct mako_traits *asked)
{
    static char untouched;
    struct pages page, err;
    struct mako_traits *traits = lend_struct(&page, 0, sizeof *traits);
    struct mako_error *text = call_begin(NULL, &err);
    int status;

    traits->flags = asked->flags;
    traits->durability = asked->durability;
    traits->threads = asked->threads;
    traits->features = asked->features;
    s->data = &untouched;
    status = raw_ops.open(
        (const struct mako_host *)(const void *)(s->host.at +
                                                 offsetof(struct lent_host, host)),
        (const union mako_value *)(const void *)s->values.at, traits, &s->data, text);
    status = call_end(NULL, &err, "open", status, 0);
    s->given = *traits;
    end_struct(&page, 0, sizeof *traits, "mako_traits");
    if (status == MAKO_OK && s->data == &untouched)
        audit("open returned OK and set no store");
    if (status == MAKO_OK)
        check_traits(&s->given);
    return status;
}

int raw_open(struct trial *t, struct raw_store *s, struct raw_opening how)
{
    struct mako_traits asked = {.flags = how.flags,
                                .durability = how.durability ? how.durability
                                                             : raw_durability_asked(t),
                                .threads = raw_ops.threads,
                                .features = raw_ops.features};
    int status;

    memset(s, 0, sizeof *s);
    (void)pthread_mutex_init(&s->lock, NULL);
    if (asked.durability > raw_ops.durability)
        asked.durability = raw_ops.durability;
    lend_host(t, s);
    lend_values(t, s, how.data ? how.data : t->data);
    status = call_open(s, &asked);
    s->open = status == MAKO_OK;
    if (!s->open)
        end_opening(s);
    return status;
}

enum verdict raw_open_well(struct trial *t, struct raw_store *s)
{
    WANT(raw_open(t, s, (struct raw_opening){0}), MAKO_OK);
    t->durability = (enum mako_durability)s->given.durability;
    t->threads = (enum mako_threads)s->given.threads;
    CHECKF(t->durability >= raw_durability_asked(t),
           "the store gives durability %u, the configuration requires %u",
           s->given.durability, raw_durability_asked(t));
    return PASS;
}

void raw_close(struct raw_store *s)
{
    struct pages err;

    if (!s->open)
        return;
    (void)call_begin(s, &err);
    raw_ops.close(s->data);
    unlock(s);
    end_lent(&err, "the error");
    s->open = false;
    s->data = NULL;
    end_opening(s);
}

/* ---- saving and removing ---------------------------------------------------------- */

void raw_blob(void *bytes, size_t len, uint64_t seq, uint64_t seed)
{
    pattern(bytes, len, seed ^ seq);
    memcpy(bytes, &seq, len < sizeof seq ? len : sizeof seq);
}

bool is_raw_blob(const void *bytes, size_t len, uint64_t seq, uint64_t seed)
{
    unsigned char *want = malloc(len + 1);
    bool same;

    if (!want)
        return false;
    raw_blob(want, len, seq, seed);
    same = memcmp(want, bytes, len) == 0;
    free(want);
    return same;
}

static void fill_record(struct mako_record *record, struct pages *stream,
                        struct pages *blob, const struct raw_record *r)
{
    record->stream = lend_text(stream, r->stream);
    record->meta = (struct mako_meta){
        .seq = r->seq, .schema = r->schema ? r->schema : 1, .created_ms = r->created_ms};
    record->flags = r->flags;
    record->reserved = 0;
    pages_get(blob, r->len, 1);
    raw_blob(blob->at, r->len, r->seq, r->seed);
    pages_seal(blob);
    record->blob = blob->at;
    record->blob_len = r->len;
}

int raw_save(struct raw_store *s, struct raw_record r)
{
    struct pages page, stream, blob, err;
    struct mako_error *text;
    struct mako_record *record;
    int status;

    pages_get(&page, sizeof *record, 8);
    record = (struct mako_record *)(void *)page.at;
    fill_record(record, &stream, &blob, &r);
    pages_seal(&page);
    text = call_begin(s, &err);
    status = raw_ops.save(s->data, record, text);
    status = call_end(s, &err, "save", status, 1u << MAKO_STALE);
    end_lent(&page, "the record");
    end_lent(&stream, "the stream id");
    end_lent(&blob, "the blob");
    return status;
}

int raw_remove(struct raw_store *s, const char *stream)
{
    struct pages page, err;
    struct mako_str id = lend_text(&page, stream);
    struct mako_error *text = call_begin(s, &err);
    int status = raw_ops.remove(s->data, id, text);

    status = call_end(s, &err, "remove", status, 1u << MAKO_NOT_FOUND);
    end_lent(&page, "the stream id");
    return status;
}

static void end_all(struct pages *pages, size_t count, const char *what)
{
    for (size_t i = 0; i < count; i++)
        end_lent(&pages[i], what);
    free(pages);
}

int *lend_statuses(struct pages *p, size_t count)
{
    int *statuses;

    pages_get(p, count * sizeof *statuses, 8);
    statuses = (int *)(void *)p->at;
    for (size_t i = 0; i < count; i++)
        statuses[i] = 0x7777;
    return statuses;
}

void end_statuses(struct pages *p, const char *call, int status, size_t count,
                  unsigned positive, int *out)
{
    const int *statuses = (const int *)(const void *)p->at;

    for (size_t i = 0; i < count; i++) {
        out[i] = statuses[i];
        if (status == MAKO_OK && statuses[i] == 0x7777)
            audit("%s returned OK and did not set status %zu", call, i);
        else if (status == MAKO_OK)
            check_status(call, statuses[i], positive);
    }
    end_lent(p, "the statuses");
}

int raw_save_many(struct raw_store *s, const struct raw_record *records, size_t count,
                  int *statuses)
{
    struct pages page, err, out, *streams = calloc(count + 1, sizeof *streams),
                                 *blobs = calloc(count + 1, sizeof *blobs);
    int *told = lend_statuses(&out, count), status;
    struct mako_record *lent;
    struct mako_error *text;

    pages_get(&page, count * sizeof *lent, 8);
    lent = (struct mako_record *)(void *)page.at;
    for (size_t i = 0; i < count && streams && blobs; i++)
        fill_record(&lent[i], &streams[i], &blobs[i], &records[i]);
    pages_seal(&page);
    text = call_begin(s, &err);
    status = raw_ops.save_many(s->data, lent, count, told, text);
    status = call_end(s, &err, "save_many", status, 0);
    end_statuses(&out, "save_many", status, count, 1u << MAKO_STALE, statuses);
    end_lent(&page, "the records");
    end_all(streams, count, "the stream ids");
    end_all(blobs, count, "the blobs");
    return status;
}

/* ---- the store as a whole --------------------------------------------------------- */

struct lent_visitor {
    struct raw_scan *scan;
    pthread_t caller;
    struct mako_visitor visitor;
};

static int visit(struct mako_visitor *visitor, struct mako_str stream,
                 const struct mako_meta *meta, uint64_t blob_len)
{
    struct lent_visitor *lent =
        (struct lent_visitor *)(void *)((char *)visitor -
                                        offsetof(struct lent_visitor, visitor));
    struct raw_scan *scan = lent->scan;

    if (!pthread_equal(lent->caller, pthread_self()))
        audit("scan: the visitor was called on another thread");
    if (!stream.ptr || stream.len == 0 || stream.ptr[stream.len] != '\0')
        audit("scan: a stream id that does not end with a NUL, or is empty");
    if (scan->stopped)
        scan->after_stop++;
    scan->count++;
    if (scan->entry && !scan->entry(scan, stream, meta, blob_len))
        scan->stopped = true;
    return scan->stopped;
}

int raw_scan(struct raw_store *s, const char *prefix, struct raw_scan *scan)
{
    struct pages page, id, err;
    struct mako_visitor *visitor =
        lend_struct(&page, offsetof(struct lent_visitor, visitor), sizeof *visitor);
    struct lent_visitor *lent = (struct lent_visitor *)(void *)page.at;
    struct mako_str wanted = lend_text(&id, prefix);
    struct mako_error *text = call_begin(s, &err);
    int status;

    lent->scan = scan;
    lent->caller = pthread_self();
    visitor->entry = visit;
    status = raw_ops.scan(s->data, wanted, visitor, text);
    status = call_end(s, &err, "scan", status, 0);
    end_struct(&page, offsetof(struct lent_visitor, visitor), sizeof *visitor,
               "mako_visitor");
    end_lent(&id, "the prefix");
    if (scan->after_stop)
        audit("scan: the visitor was called after it said stop");
    return status;
}

struct lent_progress {
    struct raw_compact *compact;
    pthread_t caller;
    struct mako_progress progress;
};

static int step(struct mako_progress *progress, uint64_t done, uint64_t total)
{
    struct lent_progress *lent =
        (struct lent_progress *)(void *)((char *)progress -
                                         offsetof(struct lent_progress, progress));
    struct raw_compact *compact = lent->compact;

    if (!pthread_equal(lent->caller, pthread_self()))
        audit("compact: step was called on another thread");
    if (done > total)
        audit("compact: %llu of %llu are done", (unsigned long long)done,
              (unsigned long long)total);
    compact->steps++;
    return compact->stop_at && compact->steps >= compact->stop_at;
}

int raw_compact(struct raw_store *s, struct raw_compact *compact)
{
    struct pages page, err;
    struct mako_progress *progress =
        lend_struct(&page, offsetof(struct lent_progress, progress), sizeof *progress);
    struct lent_progress *lent = (struct lent_progress *)(void *)page.at;
    struct mako_error *text = call_begin(s, &err);
    int status;

    lent->compact = compact;
    lent->caller = pthread_self();
    progress->step = step;
    status = raw_ops.compact(s->data, progress, text);
    status = call_end(s, &err, "compact", status, 0);
    end_struct(&page, offsetof(struct lent_progress, progress), sizeof *progress,
               "mako_progress");
    return status;
}

struct lent_counters {
    unsigned *count;
    pthread_t caller;
    struct mako_counters counters;
};

static void add(struct mako_counters *counters, const char *name, uint64_t value)
{
    struct lent_counters *lent =
        (struct lent_counters *)(void *)((char *)counters -
                                         offsetof(struct lent_counters, counters));
    (void)value;
    if (!pthread_equal(lent->caller, pthread_self()))
        audit("stats: add was called on another thread");
    if (!name || !*name ||
        strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.-") != strlen(name))
        audit("stats: '%.60s' is no name of a counter", name ? name : "NULL");
    ++*lent->count;
}

int raw_stats(struct raw_store *s, unsigned *count)
{
    struct pages page, err;
    struct mako_counters *counters =
        lend_struct(&page, offsetof(struct lent_counters, counters), sizeof *counters);
    struct lent_counters *lent = (struct lent_counters *)(void *)page.at;
    struct mako_error *text = call_begin(s, &err);
    int status;

    lent->count = count;
    lent->caller = pthread_self();
    counters->add = add;
    status = raw_ops.stats(s->data, counters, text);
    status = call_end(s, &err, "stats", status, 0);
    end_struct(&page, offsetof(struct lent_counters, counters), sizeof *counters,
               "mako_counters");
    return status;
}

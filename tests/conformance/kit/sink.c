/* The strict sink: room of exactly the size, answers that are held against what the
 * sink saw, and bytes that are given back. */
#include "host.h"

#include <stdlib.h>

struct lent_sink {
    struct raw_sink *owner;
    struct mako_sink sink;
};

enum {
    BEFORE = offsetof(struct lent_sink, sink)
};

static struct raw_sink *owner_of(struct mako_sink *sink)
{
    return ((struct lent_sink *)(void *)((char *)sink - BEFORE))->owner;
}

static void release(struct raw_sink *k)
{
    raw_in_release = true;
    if (k->release)
        k->release(k->cookie);
    raw_in_release = false;
    k->lent = false;
}

/* Everything that an earlier answer of the same load left is void now. */
static void forget(struct raw_sink *k)
{
    if (k->lent)
        release(k);
    if (k->room.base && !pages_end(&k->room))
        audit("load wrote beside the room of an earlier accept");
    k->accepted = false;
    k->bytes = NULL;
}

static void begin_answer(struct raw_sink *k, const char *call,
                         const struct mako_meta *meta, size_t len)
{
    forget(k);
    k->calls++;
    k->len = len;
    k->declined = k->declines;
    k->has_meta = meta != NULL;
    k->meta = meta ? *meta : (struct mako_meta){0};
    if (!pthread_equal(k->caller, pthread_self()))
        audit("%s was called on another thread", call);
    if (meta && meta->reserved != 0)
        audit("%s: meta.reserved is not zero", call);
    if (!meta && raw_has(MAKO_FEATURE_EARLY_META))
        audit("%s: EARLY_META is declared, and there is no meta", call);
    if (k->during)
        k->during(k);
}

static void *accept_blob(struct mako_sink *sink, const struct mako_meta *meta, size_t len)
{
    struct raw_sink *k = owner_of(sink);

    begin_answer(k, "accept", meta, len);
    if (k->declines)
        return NULL;
    pages_get(&k->room, len, 16);
    k->bytes = k->room.at;
    k->accepted = true;
    return k->room.at;
}

static int lend_blob(struct mako_sink *sink, const struct mako_meta *meta,
                     const void *blob, size_t len, void (*give_back)(void *cookie),
                     void *cookie)
{
    struct raw_sink *k = owner_of(sink);

    begin_answer(k, "lend", meta, len);
    if (!blob && len > 0)
        audit("lend: the bytes are NULL");
    if (k->declines || (!blob && len > 0))
        return 1;
    k->bytes = blob;
    k->release = give_back;
    k->cookie = cookie;
    k->lent = true;
    return 0;
}

static struct mako_sink *lend_sink(struct raw_sink *k)
{
    struct mako_sink *sink = lend_struct(&k->page, BEFORE, sizeof *sink);
    struct raw_sink was = *k;

    *k = (struct raw_sink){.declines = was.declines,
                           .during = was.during,
                           .arg = was.arg,
                           .page = was.page,
                           .caller = pthread_self()};
    sink->accept = accept_blob;
    sink->lend = lend_blob;
    ((struct lent_sink *)(void *)k->page.at)->owner = k;
    return sink;
}

/* What the plugin returned against what it did with the sink. */
static void end_sink(struct raw_sink *k, const char *call, int status)
{
    end_struct(&k->page, BEFORE, sizeof(struct mako_sink), "mako_sink");
    if (status == MAKO_OK && !k->accepted && !k->lent)
        audit("%s returned OK %s", call,
              k->declined ? "after the sink declined" : "and handed nothing over");
    if (status == MAKO_REFUSED && !k->declined)
        audit("%s returned REFUSED, and the sink did not decline", call);
    if (k->declined && status >= 0 && status != MAKO_REFUSED && status != MAKO_OK)
        audit("%s returned %s after the sink declined", call, mako_status_name(status));
    if (k->room.base && !pages_intact(&k->room))
        audit("%s wrote beside the room that accept gave", call);
    if (k->room.base)
        pages_seal(&k->room);
    if (status != MAKO_OK)
        forget(k);
}

int raw_load(struct raw_store *s, const char *stream, struct raw_sink *k)
{
    struct pages id, err;
    struct mako_sink *sink = lend_sink(k);
    struct mako_str wanted = lend_text(&id, stream);
    struct mako_error *text = call_begin(s, &err);
    int status = raw_ops.load(s->data, wanted, sink, text);

    status = call_end(s, &err, "load", status,
                      1u << MAKO_NOT_FOUND | 1u << MAKO_REFUSED | 1u << MAKO_DAMAGED);
    end_lent(&id, "the stream id");
    end_sink(k, "load", status);
    return status;
}

int raw_load_many(struct raw_store *s, const char *const *streams, struct raw_sink *sinks,
                  size_t count, int *statuses)
{
    struct pages ids, lent, out, err, *texts = calloc(count + 1, sizeof *texts);
    int *told = lend_statuses(&out, count), status;
    struct mako_str *wanted;
    struct mako_sink **given;
    struct mako_error *text;

    pages_get(&ids, count * sizeof *wanted, 8);
    pages_get(&lent, count * sizeof *given, 8);
    wanted = (struct mako_str *)(void *)ids.at;
    given = (struct mako_sink **)(void *)lent.at;
    for (size_t i = 0; texts && i < count; i++) {
        wanted[i] = lend_text(&texts[i], streams[i]);
        given[i] = lend_sink(&sinks[i]);
    }
    pages_seal(&ids);
    pages_seal(&lent);
    text = call_begin(s, &err);
    status = raw_ops.load_many(s->data, wanted, given, count, told, text);
    status = call_end(s, &err, "load_many", status, 0);
    end_statuses(&out, "load_many", status, count,
                 1u << MAKO_NOT_FOUND | 1u << MAKO_REFUSED | 1u << MAKO_DAMAGED,
                 statuses);
    for (size_t i = 0; texts && i < count; i++) {
        end_lent(&texts[i], "the stream ids");
        end_sink(&sinks[i], "load_many", status == MAKO_OK ? statuses[i] : status);
    }
    end_lent(&ids, "the stream ids");
    end_lent(&lent, "the sinks");
    free(texts);
    return status;
}

void raw_drop(struct raw_sink *k)
{
    forget(k);
}

/* ---- what is there ---------------------------------------------------------------- */

static enum verdict meta_is(struct trial *t, const struct raw_sink *k,
                            struct raw_record want)
{
    CHECKF(k->meta.seq == want.seq, "'%.60s': sequence %llu, not %llu", want.stream,
           (unsigned long long)k->meta.seq, (unsigned long long)want.seq);
    CHECKF(k->meta.schema == (want.schema ? want.schema : 1),
           "'%.60s': schema %u, not %u", want.stream, k->meta.schema,
           want.schema ? want.schema : 1);
    CHECKF(k->meta.created_ms == want.created_ms, "'%.60s': created %lld, not %lld",
           want.stream, (long long)k->meta.created_ms, (long long)want.created_ms);
    return PASS;
}

enum verdict raw_sink_is(struct trial *t, const struct raw_sink *k,
                         struct raw_record want)
{
    CHECKF(k->bytes, "'%.60s': nothing was handed over", want.stream);
    if (k->has_meta)
        TRY(meta_is(t, k, want));
    CHECKF(k->len == want.len, "'%.60s': %zu bytes, not %zu", want.stream, k->len,
           want.len);
    CHECKF(is_raw_blob(k->bytes, k->len, want.seq, want.seed), "'%.60s': other bytes",
           want.stream);
    return PASS;
}

enum verdict raw_holds_nothing(struct trial *t, struct raw_store *s, const char *stream)
{
    struct raw_sink k = {.declines = false};

    WANT(raw_load(s, stream, &k), MAKO_NOT_FOUND);
    CHECKF(k.calls == 0, "'%.60s' is not found, and the sink was called", stream);
    return PASS;
}

enum verdict raw_holds(struct trial *t, struct raw_store *s, struct raw_record want)
{
    struct raw_sink k = {.declines = false};
    enum verdict verdict;

    if (!keeps(t))
        return raw_holds_nothing(t, s, want.stream);
    WANT(raw_load(s, want.stream, &k), MAKO_OK);
    verdict = raw_sink_is(t, &k, want);
    raw_drop(&k);
    return verdict;
}

uint64_t raw_seq(struct raw_store *s, const char *stream)
{
    struct raw_sink k = {.declines = false};
    uint64_t seq = 0;

    if (raw_load(s, stream, &k) == MAKO_OK && k.bytes)
        memcpy(&seq, k.bytes, k.len < sizeof seq ? k.len : sizeof seq);
    raw_drop(&k);
    return seq;
}

/* save.c - writing: checks, the envelope, which of two saves is the later one where the
 * plugin cannot tell, batches, removal. */
#include "store.h"

#include <limits.h>
#include <stdlib.h>
#include <time.h>

#include <xxhash.h>

#include "envelope.h"

/* Envelopes up to this size are built on the stack. */
#define SMALL_BLOB 4096u
/* Those of a batch share pieces of memory of at least this size. */
#define PIECE_ROOM 65536u

/* ---- saving ------------------------------------------------------------------- */

static int check_save(const mako_store *store, struct mako_str stream,
                      const struct mako_save *save, struct mako_error *err)
{
    if (save->flags & ~MAKO_SAVE_FORCE)
        return mako_refuse(store, err, MAKO_E_UNSUPPORTED,
                           "struct mako_save: unknown flags 0x%x", (unsigned)save->flags);
    if (save->seq == 0 || save->schema == 0)
        return mako_refuse(store, err, MAKO_E_INVALID,
                           "stream '%.100s': %s 0 cannot be saved", stream.ptr,
                           save->seq == 0 ? "sequence" : "schema");
    if (save->state_len > 0 && !save->state)
        return mako_refuse(store, err, MAKO_E_INVALID,
                           "stream '%.100s': state is NULL, state_len is not 0",
                           stream.ptr);
    if (save->state_len > store->config->max_snapshot)
        return mako_refuse(store, err, MAKO_E_LIMIT,
                           "stream '%.100s': a state of %zu bytes, max_snapshot is %llu",
                           stream.ptr, save->state_len,
                           (unsigned long long)store->config->max_snapshot);
    return MAKO_OK;
}

/* Milliseconds since 1970, to the clock's tick: who saved first is told by sequences. */
static int64_t wall_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME_COARSE, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void make_record(const mako_store *store, struct mako_str stream,
                        const struct mako_save *save, void *blob,
                        struct mako_record *record)
{
    const struct mako_envelope e = {
        .meta = {.seq = save->seq, .schema = save->schema, .created_ms = wall_ms()},
        .anchor = save->anchor,
        .kind = mako_envelope_kind(save->kind),
        .state = save->state,
        .state_len = save->state_len};
    bool any = (save->flags & MAKO_SAVE_FORCE) || store->config->stale_replace;

    mako_envelope_write(blob, stream, &e);
    *record =
        (struct mako_record){.stream = stream,
                             .meta = e.meta,
                             .flags = any ? 0 : MAKO_SAVE_IF_NEWER,
                             .blob = blob,
                             .blob_len = mako_envelope_size(stream.len, save->state_len)};
}

/* For a plugin that cannot compare: look, then save, one at a time for a stream. */
static int save_in_turn(struct mako_call *call, struct mako_record *record)
{
    mako_store *store = call->store;
    struct mako_error *err = call->err;
    struct mako_meta stored = {0};
    int status = mako_call_again(call);

    if (status == MAKO_OK && (record->flags & MAKO_SAVE_IF_NEWER))
        status = mako_peek_inside(call, record->stream, &stored);
    if (status >= 0 && stored.seq > record->meta.seq) {
        status = mako_fail(err, MAKO_STALE, "stream '%.100s': %llu is stored, %llu comes",
                           record->stream.ptr, (unsigned long long)stored.seq,
                           (unsigned long long)record->meta.seq);
    } else if (status >= 0) {
        err->text[0] = '\0';
        record->flags &= ~MAKO_SAVE_IF_NEWER;
        status = store->plugin->ops.save(store->data, record, err);
    }
    return status;
}

static void count_save(mako_store *store, int status, size_t len)
{
    if (status == MAKO_OK) {
        mako_count(store, MAKO_COUNT_SAVES, 1);
        mako_count(store, MAKO_COUNT_BYTES_SAVED, len);
    } else {
        mako_count(
            store,
            status == MAKO_STALE ? MAKO_COUNT_SAVES_STALE : MAKO_COUNT_SAVES_FAILED, 1);
    }
}

/* The lock of a stream's turns; where no save looks, none needs to wait: NULL.  A save by
 * force does not look, but waits its turn: else it could land between another's look and
 * save, and be replaced by one that is older. */
static pthread_mutex_t *turns_of(mako_store *store, struct mako_str stream)
{
    if ((store->features & MAKO_FEATURE_IF_NEWER) || store->config->stale_replace)
        return NULL;
    return &store->stripes[XXH3_64bits(stream.ptr, stream.len) % MAKO_STRIPES];
}

/* A turn ends after the call has: the next must find its outage. */
static int call_save(mako_store *store, struct mako_record *record,
                     struct mako_error *err)
{
    struct mako_call call;
    pthread_mutex_t *turn;
    int status = mako_call_begin(&call, store, "save", record->stream.ptr, err);

    if (status != MAKO_OK)
        return status;
    turn = turns_of(store, record->stream);
    if (turn) {
        pthread_mutex_lock(turn);
        status = save_in_turn(&call, record);
    } else {
        status = store->plugin->ops.save(store->data, record, call.err);
    }
    if (!call.local)
        count_save(store, status, record->blob_len);
    status = mako_call_leave(&call, status, MAKO_BIT(MAKO_STALE));
    if (turn)
        pthread_mutex_unlock(turn);
    mako_store_unref(store);
    return status;
}

/* Memory for envelopes, one behind the other. */
struct piece {
    struct piece *older;
    size_t used, room;
    _Alignas(16) unsigned char bytes[];
};

/* A new piece has at least least bytes. */
static void *piece_take(struct piece **newest, size_t size, size_t least)
{
    struct piece *piece = *newest;
    void *taken;

    if (!piece || piece->room - piece->used < size) {
        size_t room = size > least ? size : least;

        piece = malloc(sizeof *piece + room);
        if (!piece)
            return NULL;
        *piece = (struct piece){.older = *newest, .room = room};
        *newest = piece;
    }
    taken = piece->bytes + piece->used;
    size = (size + 15) & ~(size_t)15;
    piece->used += size < piece->room - piece->used ? size : piece->room - piece->used;
    return taken;
}

static void pieces_free(struct piece *piece)
{
    while (piece) {
        struct piece *older = piece->older;

        free(piece);
        piece = older;
    }
}

/* Check one save and build its record, in small where it fits, else in a piece. */
static int prepare(const mako_store *store, const char *stream,
                   const struct mako_save *given, void *small, struct piece **pieces,
                   struct mako_record *record, struct mako_error *err)
{
    struct mako_save save;
    struct mako_str id;
    unsigned char *blob = small;
    size_t size;
    int status = mako_check_stream(store, stream, &id, err);

    if (status == MAKO_OK)
        status = mako_take_struct(store, &save, sizeof save, MAKO_SAVE_FIRST, given,
                                  "mako_save", err);
    if (status == MAKO_OK)
        status = check_save(store, id, &save, err);
    if (status != MAKO_OK)
        return status;
    size = mako_envelope_size(id.len, save.state_len);
    if (!small || size > SMALL_BLOB)
        blob = piece_take(pieces, size, small ? 0 : PIECE_ROOM);
    if (!blob)
        return mako_refuse(store, err, MAKO_E_NOMEM,
                           "stream '%.100s': no memory for %zu bytes", stream, size);
    make_record(store, id, &save, blob, record);
    return MAKO_OK;
}

int mako_store_save(mako_store *store, const char *stream, const struct mako_save *save,
                    struct mako_error *err)
{
    _Alignas(16) unsigned char small[SMALL_BLOB];
    struct mako_record record = {.flags = 0};
    struct piece *piece = NULL;
    int status = mako_check_writable(store, err);

    if (status == MAKO_OK)
        status = prepare(store, stream, save, small, &piece, &record, err);
    if (status == MAKO_OK)
        status = call_save(store, &record, err);
    pieces_free(piece);
    return status;
}

/* ---- many saves --------------------------------------------------------------- */

/* Of an item that the plugin has forgotten: refused like any status that it may not
 * return. */
#define NO_STATUS INT_MIN

/* The items of a batch that passed the checks, for one call into the plugin. */
struct batch {
    struct mako_record *records;
    struct piece *pieces;
    size_t *items; /* record i is item items[i] */
    int *statuses; /* the plugin's, by record */
    size_t count;
};

static void batch_free(struct batch *b)
{
    pieces_free(b->pieces);
    free(b->records);
    free(b->items);
    free(b->statuses);
}

static bool batch_room(struct batch *b, size_t count)
{
    b->records = calloc(count + 1, sizeof *b->records);
    b->items = calloc(count + 1, sizeof *b->items);
    b->statuses = calloc(count + 1, sizeof *b->statuses);
    return b->records && b->items && b->statuses;
}

static int call_save_many(mako_store *store, struct batch *b, int *statuses,
                          struct mako_error *err)
{
    struct mako_call call;
    struct mako_error text = {""}, why;
    int status = mako_call_begin(&call, store, "save_many", NULL, &text);

    if (status != MAKO_OK) {
        if (err)
            *err = text;
        return status;
    }
    for (size_t i = 0; i < b->count; i++)
        b->statuses[i] = NO_STATUS;
    status = store->plugin->ops.save_many(store->data, b->records, b->count, b->statuses,
                                          call.err);
    if (status != MAKO_OK)
        mako_count(store, MAKO_COUNT_SAVES_FAILED, b->count);
    for (size_t i = 0; status == MAKO_OK && i < b->count; i++) {
        if (b->statuses[i] < 0)
            why = *call.err; /* of the first item that failed */
        else
            why.text[0] = '\0';
        call.stream = b->records[i].stream.ptr;
        call.unavailable |= b->statuses[i] == MAKO_E_UNAVAILABLE;
        count_save(store, b->statuses[i], b->records[i].blob_len);
        b->statuses[i] =
            mako_call_check(&call, b->statuses[i], MAKO_BIT(MAKO_STALE), &why);
        statuses[b->items[i]] = b->statuses[i];
        mako_note_first(err, &why, b->statuses[i]);
    }
    call.stream = NULL;
    status = mako_call_end(&call, status, 0);
    if (status != MAKO_OK && err)
        *err = text;
    return status;
}

static int save_batch(mako_store *store, const char *const *streams,
                      const struct mako_save *const *saves, size_t count, int *statuses,
                      struct mako_error *err)
{
    struct batch b = {0};
    struct mako_error why;
    int status = MAKO_OK;

    if (!batch_room(&b, count)) {
        batch_free(&b);
        return mako_refuse(store, err, MAKO_E_NOMEM, "no memory for %zu saves", count);
    }
    for (size_t i = 0; i < count; i++) {
        statuses[i] = prepare(store, streams[i], saves[i], NULL, &b.pieces,
                              &b.records[b.count], &why);
        mako_note_first(err, &why, statuses[i]);
        if (statuses[i] == MAKO_OK)
            b.items[b.count++] = i;
    }
    if (b.count > 0)
        status = call_save_many(store, &b, statuses, err);
    batch_free(&b);
    return status;
}

int mako_store_save_many(mako_store *store, const char *const *streams,
                         const struct mako_save *const *saves, size_t count,
                         int *statuses, struct mako_error *err)
{
    struct mako_error why;
    bool native =
        (store->features & MAKO_FEATURE_IF_NEWER) || store->config->stale_replace;

    if (err)
        err->text[0] = '\0';
    if (native && store->plugin->ops.save_many && count > 1 && !store->read_only)
        return save_batch(store, streams, saves, count, statuses, err);
    for (size_t i = 0; i < count; i++) {
        statuses[i] = mako_store_save(store, streams[i], saves[i], &why);
        mako_note_first(err, &why, statuses[i]);
    }
    return MAKO_OK;
}

/* ---- removing ----------------------------------------------------------------- */

int mako_store_remove(mako_store *store, const char *stream, struct mako_error *err)
{
    struct mako_call call;
    struct mako_str id;
    int status = mako_check_writable(store, err);

    if (status == MAKO_OK)
        status = mako_check_stream(store, stream, &id, err);
    if (status == MAKO_OK)
        status = mako_call_begin(&call, store, "remove", stream, err);
    if (status != MAKO_OK)
        return status;
    status = store->plugin->ops.remove(store->data, id, call.err);
    if (status >= 0)
        mako_count(store, MAKO_COUNT_REMOVES, 1);
    return mako_call_end(&call, status, MAKO_BIT(MAKO_NOT_FOUND));
}

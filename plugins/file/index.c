/* plugins/file/index.c - shards of open-addressed tables of entries in an arena.
 *
 * An entry takes 52 bytes and the id, rounded up to 16, and 11 to 21 bytes of table.  It
 * never moves, so that a reservation can be a pointer to it. */
#include "index.h"

#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "slots.h"

#define SHARDS     256u
#define FIRST_ROOM 16u

struct index_entry {
    uint64_t number, seq;
    int64_t created_ms;
    struct segment *segment; /* NULL: only reserved, nothing is stored */
    uint32_t schema, blob_len;
    uint32_t place; /* offset in units of FORMAT_ALIGN */
    uint32_t holds; /* reservations */
    uint16_t stream_len;
    bool damaged : 1, unnamed : 1, removed;
    char stream[];
};

/* Linear probing, a power of two of slots, no holes inside a run. */
struct shard {
    pthread_mutex_t lock;
    struct slot *slots;
    uint32_t room, count;
    uint32_t absent; /* of count, those that are only reserved */
    bool removals;   /* recovery has found some */
    struct arena arena;
};

struct index {
    struct shard shards[SHARDS];
    struct arena_pool pool;
    struct slots_pool slots;
};

struct place place_of(struct segment *segment, const struct format_frame *frame,
                      uint64_t offset)
{
    return (struct place){.segment = segment,
                          .number = frame->number,
                          .offset = offset,
                          .meta = frame->meta,
                          .blob_len = (uint32_t)frame->blob_len,
                          .stream_len = frame->stream_len,
                          .damaged = frame->type == FORMAT_DAMAGED,
                          .removed = frame->type == FORMAT_REMOVAL};
}

struct index *index_new(void)
{
    struct index *index = calloc(1, sizeof *index);

    if (index == NULL)
        return NULL;
    arena_pool_init(&index->pool);
    slots_pool_init(&index->slots, SHARDS);
    for (size_t i = 0; i < SHARDS; i++) {
        index->shards[i].arena.pool = &index->pool;
        (void)pthread_mutex_init(&index->shards[i].lock, NULL);
    }
    return index;
}

void index_free(struct index *index)
{
    if (index == NULL)
        return;
    for (size_t i = 0; i < SHARDS; i++) {
        arena_done(&index->shards[i].arena);
        (void)pthread_mutex_destroy(&index->shards[i].lock);
    }
    arena_pool_done(&index->pool);
    slots_pool_done(&index->slots);
    free(index);
}

static struct shard *lock_shard(struct index *index, uint64_t hash)
{
    struct shard *shard = &index->shards[hash >> 56];

    (void)pthread_mutex_lock(&shard->lock);
    return shard;
}

static struct shard *lock_number(struct index *index, size_t number)
{
    return lock_shard(index, (uint64_t)number << 56);
}

static void unlock_shard(struct shard *shard)
{
    (void)pthread_mutex_unlock(&shard->lock);
}

/* ---- one shard -------------------------------------------------------------------- */

static struct index_entry *entry_at(const struct shard *shard, uint32_t slot)
{
    return arena_at(&shard->arena, shard->slots[slot].ref);
}

static size_t entry_size(size_t stream_len)
{
    return offsetof(struct index_entry, stream) + stream_len;
}

/* The slot of stream, or the free one where it would stand.  Needs a free slot. */
static uint32_t find_slot(const struct shard *shard, struct mako_str stream,
                          uint32_t hash)
{
    uint32_t mask = shard->room - 1, slot = hash & mask;

    while (shard->slots[slot].ref != 0) {
        if (shard->slots[slot].hash == hash) {
            const struct index_entry *entry = entry_at(shard, slot);

            __builtin_prefetch(entry->stream + stream.len); /* in the next line */
            if (entry->stream_len == stream.len &&
                memcmp(entry->stream, stream.ptr, stream.len) == 0)
                return slot;
        }
        slot = (slot + 1) & mask;
    }
    return slot;
}

/* The stream's entry, which may be only reserved. */
static struct index_entry *find_any(const struct shard *shard, struct mako_str stream,
                                    uint64_t hash)
{
    uint32_t slot;

    if (shard->room == 0)
        return NULL;
    slot = find_slot(shard, stream, (uint32_t)hash);
    return shard->slots[slot].ref != 0 ? entry_at(shard, slot) : NULL;
}

static struct index_entry *find(const struct shard *shard, struct mako_str stream,
                                uint64_t hash)
{
    struct index_entry *entry = find_any(shard, stream, hash);

    return entry != NULL && entry->segment != NULL ? entry : NULL;
}

static bool resize(struct index *index, struct shard *shard, uint32_t room)
{
    struct slot *slots =
        room == 0 ? NULL
                  : slots_take(&index->slots, (size_t)(shard - index->shards), room);

    if (slots == NULL)
        return false;
    for (uint32_t i = 0; i < shard->room; i++) {
        uint32_t at = shard->slots[i].hash & (room - 1);

        if (shard->slots[i].ref == 0)
            continue;
        while (slots[at].ref != 0)
            at = (at + 1) & (room - 1);
        slots[at] = shard->slots[i];
    }
    slots_give(&index->slots, shard->room);
    shard->slots = slots;
    shard->room = room;
    return true;
}

/* Make sure that one more entry fits; one slot stays free. */
static bool ensure_slot(struct index *index, struct shard *shard)
{
    uint64_t needed = (uint64_t)shard->count + 1;

    if (needed * 4 <= (uint64_t)shard->room * 3)
        return true;
    return resize(index, shard, shard->room == 0 ? FIRST_ROOM : shard->room * 2) ||
           needed < shard->room;
}

/* A new entry of stream, in its slot, with nothing stored. */
static struct index_entry *add(struct index *index, struct shard *shard,
                               struct mako_str stream, uint64_t hash)
{
    struct index_entry *entry;
    uint32_t ref, slot;

    if (!ensure_slot(index, shard))
        return NULL;
    ref = arena_take(&shard->arena, entry_size(stream.len));
    if (ref == 0)
        return NULL;
    slot = find_slot(shard, stream, (uint32_t)hash);
    shard->slots[slot] = (struct slot){.hash = (uint32_t)hash, .ref = ref};
    shard->count++;
    shard->absent++;
    entry = entry_at(shard, slot);
    memset(entry, 0, offsetof(struct index_entry, stream));
    entry->stream_len = (uint16_t)stream.len;
    memcpy(entry->stream, stream.ptr, stream.len);
    return entry;
}

/* Empty slot and move later entries of its run up, so that no hole is left. */
static void clear_slot(struct shard *shard, uint32_t slot)
{
    uint32_t mask = shard->room - 1, next = slot;

    arena_give(&shard->arena, shard->slots[slot].ref,
               entry_size(entry_at(shard, slot)->stream_len));
    shard->count--;
    for (;;) {
        uint32_t home;

        next = (next + 1) & mask;
        if (shard->slots[next].ref == 0)
            break;
        home = shard->slots[next].hash & mask;
        if (((next - home) & mask) >= ((next - slot) & mask)) {
            shard->slots[slot] = shard->slots[next];
            slot = next;
        }
    }
    shard->slots[slot].ref = 0;
}

/* ---- entries ----------------------------------------------------------------------- */

static uint64_t record_size(const struct index_entry *entry)
{
    return format_record_size(entry->stream_len, entry->blob_len);
}

/* Its record counts among the live bytes of its segment: removals do not, nor does a
 * place where only damage is. */
static bool weighs(const struct index_entry *entry)
{
    return entry->segment != NULL && !entry->removed;
}

/* Point entry at place, and keep the segments' count of live bytes. */
static void repoint(struct shard *shard, struct index_entry *entry,
                    const struct place *place)
{
    if (weighs(entry))
        segment_died(entry->segment, record_size(entry));
    shard->absent -= entry->segment == NULL;
    entry->number = place->number;
    entry->seq = place->meta.seq;
    entry->created_ms = place->meta.created_ms;
    entry->schema = place->meta.schema;
    entry->segment = place->segment;
    entry->blob_len = place->blob_len;
    entry->place = (uint32_t)(place->offset / FORMAT_ALIGN);
    entry->damaged = place->damaged;
    entry->unnamed = place->unnamed;
    entry->removed = place->removed;
    shard->removals = shard->removals || place->removed;
    if (weighs(entry))
        (void)atomic_fetch_add(&entry->segment->live, record_size(entry));
}

/* Nothing is stored of the stream in slot any more. */
static void drop(struct shard *shard, uint32_t slot)
{
    struct index_entry *entry = entry_at(shard, slot);

    if (weighs(entry))
        segment_died(entry->segment, record_size(entry));
    if (entry->holds == 0) {
        clear_slot(shard, slot);
    } else {
        entry->segment = NULL;
        entry->damaged = entry->removed = false;
        shard->absent++;
    }
}

static struct place place_in(const struct index_entry *entry)
{
    return (struct place){.segment = entry->segment,
                          .number = entry->number,
                          .offset = (uint64_t)entry->place * FORMAT_ALIGN,
                          .meta = {.seq = entry->seq,
                                   .schema = entry->schema,
                                   .created_ms = entry->created_ms},
                          .blob_len = entry->blob_len,
                          .stream_len = entry->stream_len,
                          .damaged = entry->damaged,
                          .unnamed = entry->unnamed,
                          .removed = entry->removed};
}

bool index_find(struct index *index, struct mako_str stream, uint64_t hash,
                struct place *place)
{
    struct shard *shard = lock_shard(index, hash);
    const struct index_entry *entry = find(shard, stream, hash);

    if (entry != NULL) {
        *place = place_in(entry);
        segment_hold(entry->segment);
    }
    unlock_shard(shard);
    return entry != NULL;
}

bool index_peek(struct index *index, struct mako_str stream, uint64_t hash, uint64_t *seq,
                uint64_t *number)
{
    struct shard *shard = lock_shard(index, hash);
    const struct index_entry *entry = find(shard, stream, hash);

    if (entry != NULL) {
        *seq = entry->seq;
        *number = entry->number;
    }
    unlock_shard(shard);
    return entry != NULL;
}

struct index_entry *index_reserve(struct index *index, struct mako_str stream,
                                  uint64_t hash)
{
    struct shard *shard = lock_shard(index, hash);
    struct index_entry *entry = find_any(shard, stream, hash);

    if (entry == NULL)
        entry = add(index, shard, stream, hash);
    if (entry != NULL)
        entry->holds++;
    unlock_shard(shard);
    return entry;
}

bool index_stored(struct index *index, const struct index_entry *entry, uint64_t hash,
                  uint64_t *seq)
{
    struct shard *shard = lock_shard(index, hash);
    bool stored = entry->segment != NULL;

    if (stored)
        *seq = entry->seq;
    unlock_shard(shard);
    return stored;
}

void index_unreserve(struct index *index, struct index_entry *entry, uint64_t hash)
{
    struct shard *shard;

    if (entry == NULL)
        return;
    shard = lock_shard(index, hash);
    entry->holds--;
    if (entry->holds == 0 && entry->segment == NULL) {
        struct mako_str id = {.ptr = entry->stream, .len = entry->stream_len};

        shard->absent--;
        clear_slot(shard, find_slot(shard, id, (uint32_t)hash));
    }
    unlock_shard(shard);
}

void index_publish(struct index *index, struct index_entry *entry, uint64_t hash,
                   const struct place *place)
{
    struct shard *shard = lock_shard(index, hash);

    entry->holds--;
    repoint(shard, entry, place);
    unlock_shard(shard);
}

void index_remove(struct index *index, struct mako_str stream, uint64_t hash)
{
    struct shard *shard = lock_shard(index, hash);

    if (find(shard, stream, hash) != NULL)
        drop(shard, find_slot(shard, stream, (uint32_t)hash));
    unlock_shard(shard);
}

bool index_move(struct index *index, struct mako_str stream, uint64_t hash,
                const struct place *place)
{
    struct shard *shard = lock_shard(index, hash);
    struct index_entry *entry = find(shard, stream, hash);
    bool moves = entry != NULL && entry->number == place->number;

    if (moves)
        repoint(shard, entry, place);
    unlock_shard(shard);
    return moves;
}

/* ---- recovery ---------------------------------------------------------------------- */

void index_expect(struct index *index, uint64_t streams)
{
    uint64_t each = streams / SHARDS + streams / SHARDS / 8 + 1, room = FIRST_ROOM;

    while (room * 3 / 4 < each)
        room *= 2;
    for (size_t i = 0; i < SHARDS && room <= UINT32_MAX / 2; i++) {
        struct shard *shard = lock_number(index, i);

        if (room > shard->room)
            (void)resize(index, shard, (uint32_t)room); /* else it grows as it must */
        unlock_shard(shard);
    }
}

/* Of two copies of one record, the whole one counts; else the last one, so that it does
 * not matter which is read first. */
static bool succeeds(const struct place *place, const struct index_entry *entry)
{
    uint64_t number = place->segment->header.number;

    if (place->damaged != entry->damaged)
        return entry->damaged;
    if (number != entry->segment->header.number)
        return number > entry->segment->header.number;
    return place->offset / FORMAT_ALIGN > entry->place;
}

/* The highest log number counts. */
static bool supersedes(const struct place *place, const struct index_entry *entry)
{
    return entry->segment == NULL || place->number > entry->number ||
           (place->number == entry->number && succeeds(place, entry));
}

/* The caller holds the lock. */
static bool recover_one(struct index *index, struct shard *shard, struct mako_str stream,
                        uint64_t hash, const struct place *place)
{
    struct index_entry *entry = find_any(shard, stream, hash);

    if (entry == NULL)
        entry = add(index, shard, stream, hash);
    if (entry != NULL && supersedes(place, entry))
        repoint(shard, entry, place);
    return entry != NULL;
}

bool index_recover(struct index *index, struct mako_str stream, uint64_t hash,
                   const struct place *place)
{
    struct shard *shard = lock_shard(index, hash);
    bool recovered = recover_one(index, shard, stream, hash, place);

    unlock_shard(shard);
    return recovered;
}

/* Those of one shard: which of found they are.  Asks for all slots, then for all entries
 * there; in this function, because gcc drops calls of one that does nothing else. */
static bool recover_some(struct index *index, const struct index_found *found,
                         const uint16_t *which, size_t count)
{
    struct shard *shard = lock_shard(index, found[which[0]].hash);
    uint32_t mask = shard->room - 1;
    bool recovered = true;

    for (size_t i = 0; shard->room != 0 && i < count; i++)
        __builtin_prefetch(&shard->slots[(uint32_t)found[which[i]].hash & mask]);
    for (size_t i = 0; shard->room != 0 && i < count; i++) {
        uint32_t slot = (uint32_t)found[which[i]].hash & mask;

        if (shard->slots[slot].ref != 0)
            __builtin_prefetch(entry_at(shard, slot));
    }
    for (size_t i = 0; i < count && recovered; i++) {
        const struct index_found *each = &found[which[i]];

        recovered = recover_one(index, shard, each->stream, each->hash, &each->place);
    }
    unlock_shard(shard);
    return recovered;
}

bool index_recover_many(struct index *index, const struct index_found *found,
                        size_t count)
{
    uint16_t ends[SHARDS] = {0}, which[INDEX_MANY];
    size_t from = 0;
    bool recovered = true;

    for (size_t i = 0; i < count; i++)
        ends[found[i].hash >> 56]++;
    for (size_t i = 1; i < SHARDS; i++)
        ends[i] = (uint16_t)(ends[i] + ends[i - 1]);
    for (size_t i = count; i-- > 0;)
        which[--ends[found[i].hash >> 56]] = (uint16_t)i;
    /* Now they are beginnings. */
    for (size_t i = 0; i < SHARDS && recovered; i++) {
        size_t end = i + 1 < SHARDS ? ends[i + 1] : count;

        if (end > from)
            recovered = recover_some(index, found, which + from, end - from);
        from = end;
    }
    return recovered;
}

/* The entry whose id hashes to hash. */
static struct index_entry *find_hash(const struct shard *shard, uint64_t hash)
{
    uint32_t mask = shard->room - 1, slot = (uint32_t)hash & mask;

    while (shard->room != 0 && shard->slots[slot].ref != 0) {
        struct index_entry *entry = entry_at(shard, slot);

        if (format_hash(entry->stream, entry->stream_len) == hash)
            return entry;
        slot = (slot + 1) & mask;
    }
    return NULL;
}

bool index_recover_lost(struct index *index, uint64_t hash, const struct place *place)
{
    struct shard *shard = lock_shard(index, hash);
    struct index_entry *entry = find_hash(shard, hash);
    bool is_lost = entry != NULL && entry->number < place->number;

    if (is_lost)
        repoint(shard, entry, place);
    unlock_shard(shard);
    return is_lost;
}

void index_settle(struct index *index)
{
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *shard = lock_number(index, i);
        uint32_t slot = 0;

        while (shard->removals && slot < shard->room) {
            if (shard->slots[slot].ref != 0 && entry_at(shard, slot)->removed)
                drop(shard, slot);
            else
                slot++;
        }
        shard->removals = false;
        unlock_shard(shard);
    }
}

/* ---- all of them ------------------------------------------------------------------- */

void index_count(struct index *index, uint64_t *streams, uint64_t *damaged)
{
    *streams = *damaged = 0;
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *shard = lock_number(index, i);

        *streams += shard->count - shard->absent;
        for (uint32_t slot = 0; slot < shard->room; slot++)
            *damaged += shard->slots[slot].ref != 0 && entry_at(shard, slot)->damaged;
        unlock_shard(shard);
    }
}

uint64_t index_bytes(struct index *index)
{
    uint64_t bytes = sizeof *index;

    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *shard = lock_number(index, i);

        bytes += shard->room * sizeof(struct slot) +
                 (uint64_t)shard->arena.count * ARENA_CHUNK * ARENA_UNIT;
        unlock_shard(shard);
    }
    return bytes;
}

static bool has_prefix(const struct index_entry *entry, struct mako_str prefix)
{
    return entry->segment != NULL && entry->stream_len >= prefix.len &&
           (prefix.len == 0 || memcmp(entry->stream, prefix.ptr, prefix.len) == 0);
}

/* One stream as a scan takes it out of a shard: its id and a NUL stand behind it. */
static size_t listed_size(size_t stream_len)
{
    return (sizeof(struct place) + stream_len + 8) & ~(size_t)7;
}

/* Copy the shard's streams into one allocation of *len bytes; NULL: no memory.  The
 * caller holds the lock. */
static char *list(const struct shard *shard, struct mako_str prefix, size_t *len)
{
    size_t size = 0, at = 0;
    char *copy;

    for (uint32_t slot = 0; slot < shard->room; slot++)
        if (shard->slots[slot].ref != 0 && has_prefix(entry_at(shard, slot), prefix))
            size += listed_size(entry_at(shard, slot)->stream_len);
    copy = calloc(1, size + 1);
    for (uint32_t slot = 0; copy != NULL && slot < shard->room; slot++) {
        const struct index_entry *entry;
        struct place place;

        if (shard->slots[slot].ref == 0 || !has_prefix(entry_at(shard, slot), prefix))
            continue;
        entry = entry_at(shard, slot);
        place = place_in(entry);
        memcpy(copy + at, &place, sizeof place);
        memcpy(copy + at + sizeof place, entry->stream, entry->stream_len);
        at += listed_size(entry->stream_len);
    }
    *len = size;
    return copy;
}

bool index_scan(struct index *index, struct mako_str prefix,
                int (*visit)(void *arg, struct mako_str stream,
                             const struct place *place),
                void *arg)
{
    int stop = 0;

    for (size_t i = 0; i < SHARDS && stop == 0; i++) {
        struct shard *shard = lock_number(index, i);
        size_t len = 0, at = 0;
        char *copy = list(shard, prefix, &len);

        unlock_shard(shard);
        if (copy == NULL)
            return false;
        while (at < len && stop == 0) {
            struct place place;
            struct mako_str stream;

            memcpy(&place, copy + at, sizeof place);
            stream = (struct mako_str){.ptr = copy + at + sizeof place,
                                       .len = place.stream_len};
            stop = visit(arg, stream, &place);
            at += listed_size(stream.len);
        }
        free(copy);
    }
    return true;
}

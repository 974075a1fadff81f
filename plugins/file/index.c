/* plugins/file/index.c - shards of open-addressed tables of pointers to entries.
 *
 * An entry is one allocation with the id behind it: 56 bytes and the id, and 11 to 21
 * bytes of table. */
#include "index.h"

#include <stdlib.h>
#include <string.h>

#define SHARDS     256u
#define FIRST_ROOM 16u

struct index_entry {
    uint64_t number, seq;
    int64_t created_ms;
    struct segment *segment;
    uint32_t schema, blob_len;
    uint32_t place; /* offset in units of FORMAT_ALIGN */
    uint32_t hash;  /* its low half */
    uint16_t stream_len;
    uint8_t shard;
    bool damaged, removed;
    char stream[];
};

/* Linear probing, a power of two of slots, no holes inside a run. */
struct shard {
    pthread_mutex_t lock;
    struct index_entry **slots;
    uint32_t room, count, reserved;
};

struct index {
    struct shard shards[SHARDS];
};

struct index *index_new(void)
{
    struct index *index = calloc(1, sizeof *index);

    for (size_t i = 0; index != NULL && i < SHARDS; i++)
        (void)pthread_mutex_init(&index->shards[i].lock, NULL);
    return index;
}

void index_free(struct index *index)
{
    if (index == NULL)
        return;
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *shard = &index->shards[i];

        for (uint32_t slot = 0; slot < shard->room; slot++)
            free(shard->slots[slot]);
        free(shard->slots);
        (void)pthread_mutex_destroy(&shard->lock);
    }
    free(index);
}

static uint8_t shard_number(uint64_t hash)
{
    return (uint8_t)(hash >> 56);
}

static struct shard *lock_shard(struct index *index, uint8_t number)
{
    struct shard *shard = &index->shards[number];

    (void)pthread_mutex_lock(&shard->lock);
    return shard;
}

static void unlock_shard(struct shard *shard)
{
    (void)pthread_mutex_unlock(&shard->lock);
}

static struct mako_str id_of(const struct index_entry *entry)
{
    return (struct mako_str){.ptr = entry->stream, .len = entry->stream_len};
}

/* The slot of stream, or the free one where it would stand.  Needs a free slot. */
static uint32_t find_slot(const struct shard *shard, struct mako_str stream,
                          uint32_t hash)
{
    uint32_t mask = shard->room - 1, slot = hash & mask;

    while (shard->slots[slot] != NULL) {
        const struct index_entry *entry = shard->slots[slot];

        if (entry->hash == hash && entry->stream_len == stream.len &&
            memcmp(entry->stream, stream.ptr, stream.len) == 0)
            return slot;
        slot = (slot + 1) & mask;
    }
    return slot;
}

static struct index_entry *find(const struct shard *shard, struct mako_str stream,
                                uint64_t hash)
{
    if (shard->room == 0)
        return NULL;
    return shard->slots[find_slot(shard, stream, (uint32_t)hash)];
}

static bool grow(struct shard *shard)
{
    uint32_t room = shard->room == 0 ? FIRST_ROOM : shard->room * 2;
    struct shard bigger = {.room = room};

    bigger.slots = room == 0 ? NULL : calloc(room, sizeof(struct index_entry *));
    if (bigger.slots == NULL)
        return false;
    for (uint32_t i = 0; i < shard->room; i++) {
        struct index_entry *entry = shard->slots[i];

        if (entry != NULL)
            bigger.slots[find_slot(&bigger, id_of(entry), entry->hash)] = entry;
    }
    free(shard->slots);
    shard->slots = bigger.slots;
    shard->room = room;
    return true;
}

/* Make sure that one more entry fits beside those reserved; one slot stays free. */
static bool ensure_slot(struct shard *shard)
{
    uint64_t needed = (uint64_t)shard->count + shard->reserved + 1;

    if (needed * 4 <= (uint64_t)shard->room * 3)
        return true;
    return grow(shard) || needed < shard->room;
}

static struct index_entry *entry_new(struct mako_str stream, uint64_t hash)
{
    struct index_entry *entry = malloc(sizeof *entry + stream.len);

    if (entry == NULL)
        return NULL;
    *entry = (struct index_entry){.hash = (uint32_t)hash,
                                  .shard = shard_number(hash),
                                  .stream_len = (uint16_t)stream.len};
    memcpy(entry->stream, stream.ptr, stream.len);
    return entry;
}

static uint64_t record_size(const struct index_entry *entry)
{
    return format_record_size(entry->stream_len, entry->removed ? 0 : entry->blob_len);
}

/* Point entry at place, and keep the segments' count of live bytes. */
static void repoint(struct index_entry *entry, const struct place *place)
{
    if (entry->segment != NULL)
        (void)atomic_fetch_sub(&entry->segment->live, record_size(entry));
    entry->number = place->number;
    entry->seq = place->meta.seq;
    entry->created_ms = place->meta.created_ms;
    entry->schema = place->meta.schema;
    entry->segment = place->segment;
    entry->blob_len = place->blob_len;
    entry->place = (uint32_t)(place->offset / FORMAT_ALIGN);
    entry->damaged = place->damaged;
    entry->removed = place->removed;
    (void)atomic_fetch_add(&entry->segment->live, record_size(entry));
}

static struct mako_meta meta_of(const struct index_entry *entry)
{
    return (struct mako_meta){
        .seq = entry->seq, .schema = entry->schema, .created_ms = entry->created_ms};
}

bool index_find(struct index *index, struct mako_str stream, uint64_t hash,
                struct place *place)
{
    struct shard *shard = lock_shard(index, shard_number(hash));
    const struct index_entry *entry = find(shard, stream, hash);

    if (entry != NULL)
        *place = (struct place){.segment = entry->segment,
                                .number = entry->number,
                                .offset = (uint64_t)entry->place * FORMAT_ALIGN,
                                .meta = meta_of(entry),
                                .blob_len = entry->blob_len,
                                .stream_len = entry->stream_len,
                                .damaged = entry->damaged};
    unlock_shard(shard);
    return entry != NULL;
}

struct index_entry *index_reserve(struct index *index, struct mako_str stream,
                                  uint64_t hash)
{
    struct index_entry *entry = entry_new(stream, hash);
    struct shard *shard;
    bool fits;

    if (entry == NULL)
        return NULL;
    shard = lock_shard(index, entry->shard);
    fits = ensure_slot(shard);
    if (fits)
        shard->reserved++;
    unlock_shard(shard);
    if (!fits) {
        free(entry);
        return NULL;
    }
    return entry;
}

void index_unreserve(struct index *index, struct index_entry *entry)
{
    struct shard *shard;

    if (entry == NULL)
        return;
    shard = lock_shard(index, entry->shard);
    shard->reserved--;
    unlock_shard(shard);
    free(entry);
}

void index_publish(struct index *index, struct index_entry *entry,
                   const struct place *place)
{
    struct shard *shard = lock_shard(index, entry->shard);
    uint32_t slot = find_slot(shard, id_of(entry), entry->hash);
    struct index_entry *spare = NULL;

    shard->reserved--;
    if (shard->slots[slot] != NULL) {
        spare = entry;
    } else {
        shard->slots[slot] = entry;
        shard->count++;
    }
    repoint(shard->slots[slot], place);
    unlock_shard(shard);
    free(spare);
}

/* Empty slot and move later entries of its run up, so that no hole is left. */
static void clear_slot(struct shard *shard, uint32_t slot)
{
    uint32_t mask = shard->room - 1, next = slot;

    free(shard->slots[slot]);
    shard->count--;
    for (;;) {
        uint32_t home;

        next = (next + 1) & mask;
        if (shard->slots[next] == NULL)
            break;
        home = shard->slots[next]->hash & mask;
        if (((next - home) & mask) >= ((next - slot) & mask)) {
            shard->slots[slot] = shard->slots[next];
            slot = next;
        }
    }
    shard->slots[slot] = NULL;
}

static void drop(struct shard *shard, uint32_t slot)
{
    struct index_entry *entry = shard->slots[slot];

    (void)atomic_fetch_sub(&entry->segment->live, record_size(entry));
    clear_slot(shard, slot);
}

void index_remove(struct index *index, struct mako_str stream, uint64_t hash)
{
    struct shard *shard = lock_shard(index, shard_number(hash));

    if (find(shard, stream, hash) != NULL)
        drop(shard, find_slot(shard, stream, (uint32_t)hash));
    unlock_shard(shard);
}

/* The highest log number counts; of two copies of one record, the whole one. */
static bool supersedes(const struct place *place, const struct index_entry *entry)
{
    return entry->segment == NULL || place->number > entry->number ||
           (place->number == entry->number && entry->damaged);
}

bool index_recover(struct index *index, struct mako_str stream, uint64_t hash,
                   const struct place *place)
{
    struct shard *shard = lock_shard(index, shard_number(hash));
    struct index_entry *entry = find(shard, stream, hash);
    bool done = true;

    if (entry == NULL) {
        entry = ensure_slot(shard) ? entry_new(stream, hash) : NULL;
        done = entry != NULL;
        if (done) {
            shard->slots[find_slot(shard, stream, (uint32_t)hash)] = entry;
            shard->count++;
        }
    }
    if (done && supersedes(place, entry))
        repoint(entry, place);
    unlock_shard(shard);
    return done;
}

/* The entry whose id hashes to hash. */
static struct index_entry *find_hash(const struct shard *shard, uint64_t hash)
{
    uint32_t mask = shard->room - 1, slot = (uint32_t)hash & mask;

    while (shard->room != 0 && shard->slots[slot] != NULL) {
        struct index_entry *entry = shard->slots[slot];

        if (format_hash(entry->stream, entry->stream_len) == hash)
            return entry;
        slot = (slot + 1) & mask;
    }
    return NULL;
}

void index_recover_lost(struct index *index, uint64_t hash, const struct place *place)
{
    struct shard *shard = lock_shard(index, shard_number(hash));
    struct index_entry *entry = find_hash(shard, hash);

    if (entry != NULL && entry->number < place->number)
        repoint(entry, place);
    unlock_shard(shard);
}

void index_settle(struct index *index)
{
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *shard = &index->shards[i];
        uint32_t slot = 0;

        while (slot < shard->room) {
            if (shard->slots[slot] != NULL && shard->slots[slot]->removed)
                drop(shard, slot);
            else
                slot++;
        }
    }
}

void index_count(struct index *index, uint64_t *streams, uint64_t *damaged)
{
    *streams = *damaged = 0;
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *shard = lock_shard(index, (uint8_t)i);

        *streams += shard->count;
        for (uint32_t slot = 0; slot < shard->room; slot++)
            *damaged += shard->slots[slot] != NULL && shard->slots[slot]->damaged;
        unlock_shard(shard);
    }
}

static bool has_prefix(const struct index_entry *entry, struct mako_str prefix)
{
    return entry->stream_len >= prefix.len &&
           (prefix.len == 0 || memcmp(entry->stream, prefix.ptr, prefix.len) == 0);
}

/* One stream as a scan takes it out of a shard: its id and a NUL stand behind it. */
struct listed {
    struct mako_meta meta;
    uint64_t blob_len, stream_len;
};

static size_t listed_size(size_t stream_len)
{
    return (sizeof(struct listed) + stream_len + 8) & ~(size_t)7;
}

/* Copy the shard's streams into one allocation of *len bytes; NULL: no memory.  The
 * caller holds the lock. */
static char *list(const struct shard *shard, struct mako_str prefix, size_t *len)
{
    size_t size = 0, at = 0;
    char *copy;

    for (uint32_t slot = 0; slot < shard->room; slot++)
        if (shard->slots[slot] != NULL && has_prefix(shard->slots[slot], prefix))
            size += listed_size(shard->slots[slot]->stream_len);
    copy = calloc(1, size + 1);
    for (uint32_t slot = 0; copy != NULL && slot < shard->room; slot++) {
        const struct index_entry *entry = shard->slots[slot];
        struct listed head;

        if (entry == NULL || !has_prefix(entry, prefix))
            continue;
        head = (struct listed){.meta = meta_of(entry),
                               .blob_len = entry->blob_len,
                               .stream_len = entry->stream_len};
        memcpy(copy + at, &head, sizeof head);
        memcpy(copy + at + sizeof head, entry->stream, entry->stream_len);
        at += listed_size(entry->stream_len);
    }
    *len = size;
    return copy;
}

bool index_scan(struct index *index, struct mako_str prefix,
                int (*visit)(void *arg, struct mako_str stream,
                             const struct mako_meta *meta, uint64_t blob_len),
                void *arg)
{
    int stop = 0;

    for (size_t i = 0; i < SHARDS && stop == 0; i++) {
        struct shard *shard = lock_shard(index, (uint8_t)i);
        size_t len = 0, at = 0;
        char *copy = list(shard, prefix, &len);

        unlock_shard(shard);
        if (copy == NULL)
            return false;
        while (at < len && stop == 0) {
            struct listed head;
            struct mako_str stream;

            memcpy(&head, copy + at, sizeof head);
            stream = (struct mako_str){.ptr = copy + at + sizeof head,
                                       .len = (size_t)head.stream_len};
            stop = visit(arg, stream, &head.meta, head.blob_len);
            at += listed_size(stream.len);
        }
        free(copy);
    }
    return true;
}

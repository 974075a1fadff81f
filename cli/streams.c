/* cli/streams.c - open addressing by XXH3. */
#include "streams.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "cli.h"

/* Where the stream is, or the empty slot where it belongs. */
static struct stream **slot_of(const struct streams *streams, const char *id, size_t len,
                               uint64_t hash)
{
    size_t at = (size_t)hash & (streams->size - 1);

    for (;; at = (at + 1) & (streams->size - 1)) {
        struct stream *there = streams->slots[at];

        if (!there || (there->hash == hash && there->id_len == len &&
                       memcmp(there->id, id, len) == 0))
            return &streams->slots[at];
    }
}

static void grow(struct streams *streams)
{
    struct streams larger = {NULL, streams->size ? 2 * streams->size : 1024,
                             streams->count};
    size_t bytes = larger.size * sizeof(struct stream *);

    larger.slots = must_alloc(NULL, bytes);
    memset(larger.slots, 0, bytes);
    for (size_t i = 0; i < streams->size; i++) {
        struct stream *one = streams->slots[i];

        if (one)
            *slot_of(&larger, one->id, one->id_len, one->hash) = one;
    }
    free(streams->slots);
    *streams = larger;
}

struct stream *streams_find(struct streams *streams, const char *id, size_t len)
{
    uint64_t hash = XXH3_64bits(id, len);
    struct stream **slot, *made;

    if (2 * streams->count >= streams->size)
        grow(streams);
    slot = slot_of(streams, id, len, hash);
    if (*slot)
        /* cppcheck-suppress identicalInnerCondition ; slot_of() never said so */
        return *slot;
    made = must_alloc(NULL, sizeof *made);
    *made = (struct stream){.id = must_copy(id, len),
                            .id_len = len,
                            .hash = hash,
                            .snapshot = MAKO_NOT_FOUND};
    *slot = made;
    streams->count++;
    return made;
}

static int by_id(const void *a, const void *b)
{
    struct stream *const *left = a, *const *right = b;

    return strcmp((*left)->id, (*right)->id);
}

struct stream **streams_sorted(const struct streams *streams)
{
    struct stream **all = must_alloc(NULL, streams->count * sizeof *all);
    size_t count = 0;

    for (size_t i = 0; i < streams->size; i++)
        if (streams->slots[i])
            all[count++] = streams->slots[i];
    qsort(all, count, sizeof *all, by_id);
    return all;
}

void streams_free(struct streams *streams)
{
    for (size_t i = 0; i < streams->size; i++) {
        struct stream *one = streams->slots[i];

        if (!one)
            continue;
        mako_process_close(one->process);
        mako_process_close(one->plain);
        free(one->id);
        free(one);
    }
    free(streams->slots);
    *streams = (struct streams){0};
}

/* tests/soak/model.c - see model.h.
 *
 * Threads of one worker look at each other's streams, hence the locks; they are the
 * worker's own and die with it. */
#include "model.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "../power/content.h"

static pthread_mutex_t locks[THREADS][OWN];

__attribute__((constructor)) static void make_locks(void)
{
    for (unsigned i = 0; i < THREADS; i++)
        for (unsigned j = 0; j < OWN; j++)
            (void)pthread_mutex_init(&locks[i][j], NULL);
}

static struct stream *lock(const struct place *place)
{
    (void)pthread_mutex_lock(&locks[place->thread][place->own]);
    return &place->journal->slots[place->slot].streams[place->thread][place->own];
}

static void unlock(const struct place *place)
{
    (void)pthread_mutex_unlock(&locks[place->thread][place->own]);
}

/* ---- names and bytes -----------------------------------------------------------------
 */

void stream_name(char *name, unsigned slot, unsigned thread, unsigned own)
{
    static const char *const tails[] = {"", "/{x}*?[a]%41", "/\xc3\xa4\xe2\x82\xac \\\"'",
                                        "/..//."};
    size_t len;

    (void)snprintf(name, STREAM_ROOM, "soak/%u/%u/%u%s", slot, thread, own,
                   tails[own % 4]);
    if (own % 6 != 5)
        return;
    len = strlen(name);
    memset(name + len, 'n', 1024 - len);
    name[1024] = '\0';
}

static uint64_t key_of(const struct place *place, uint64_t version)
{
    uint64_t stream = (place->slot * THREADS + place->thread) * OWN + place->own;

    return random_mix(random_mix(place->journal->seed, stream), version);
}

/* Apart from max_snapshot's values by more than an envelope. */
size_t state_size(const struct place *place, uint64_t version)
{
    uint64_t random = key_of(place, version) + 1, kind = random_below(&random, 200);

    if (kind < 80)
        return (size_t)random_below(&random, 300);
    if (kind < 150)
        return (size_t)random_below(&random, 4096);
    if (kind < 190)
        return (size_t)random_below(&random, 12000);
    if (kind < 198)
        return 24000 + (size_t)random_below(&random, 26000);
    return 80000 + (size_t)random_below(&random, STATE_MAX - 80000);
}

void state_make(const struct place *place, uint64_t version, unsigned char *bytes)
{
    content_make(bytes, state_size(place, version), key_of(place, version));
}

/* ---- openings ------------------------------------------------------------------------
 */

static void clear_stream(struct stream *stream)
{
    memset(stream, 0, sizeof *stream);
    stream->ring[0].removal = true;
    stream->ring[0].state = CHANGE_KEPT;
}

void model_clear(struct slot *slot)
{
    for (unsigned i = 0; i < THREADS; i++)
        for (unsigned j = 0; j < OWN; j++)
            clear_stream(&slot->streams[i][j]);
}

static struct change *slot_of(struct stream *stream, uint64_t version)
{
    return &stream->ring[version % RING];
}

/* NULL: not remembered. */
static struct change *find(struct stream *stream, uint64_t version)
{
    struct change *change = slot_of(stream, version);

    return change->version == version && version <= stream->version ? change : NULL;
}

/* The store is empty: as if everything had been removed, which is a change, too. */
static void forget(struct stream *stream, uint32_t opening)
{
    uint64_t version = stream->version + 1;

    for (unsigned i = 0; i < RING; i++)
        stream->ring[i].state = CHANGE_VOID;
    *slot_of(stream, version) = (struct change){
        .version = version, .opening = opening, .removal = true, .state = CHANGE_KEPT};
    stream->version = version;
    stream->kept = version;
    stream->blur = 0;
}

static void begin_opening(struct stream *stream, const struct rules *rules,
                          uint32_t opening)
{
    /* What a kill cut off before it was announced is nothing. */
    for (unsigned i = 0; i < RING; i++) {
        struct change *change = &stream->ring[i];

        if (change->version > stream->version)
            *change = (struct change){.version = 0, .state = CHANGE_VOID};
        if (change->state == CHANGE_UNSURE && change->ended_ms == 0)
            change->ended_ms = now_ms();
    }
    if (rules->forgets)
        forget(stream, opening);
}

void model_open(struct journal *journal, const struct rules *rules, unsigned slot)
{
    struct slot *its = &journal->slots[slot];
    uint32_t opening = ++its->opening;

    for (unsigned i = 0; i < THREADS; i++) {
        for (unsigned j = 0; j < OWN; j++)
            begin_opening(&its->streams[i][j], rules, opening);
        for (unsigned j = 0; j < AGGREGATES; j++)
            if (rules->forgets)
                its->aggregates[i][j].sure = false;
    }
    for (unsigned j = 0; rules->forgets && j < COMMON; j++)
        journal->common[slot][j].acknowledged = 0;
}

/* ---- changes -------------------------------------------------------------------------
 */

/* The kept one's place in the ring is passed over. */
static uint64_t next_version(struct stream *stream)
{
    uint64_t version = stream->version + 1;

    if (version % RING == stream->kept % RING)
        version++;
    return version;
}

uint64_t model_begin(const struct place *place, uint64_t seq, uint32_t schema,
                     bool removal, bool forced)
{
    struct stream *stream = lock(place);
    uint64_t version = next_version(stream);
    struct change *change = slot_of(stream, version);

    if (change->state == CHANGE_UNSURE) {
        stream->blur_ms = now_ms();
        stream->blur = change->version;
    }
    change->state = CHANGE_VOID;
    change->version = version;
    change->seq = seq;
    change->schema = schema;
    change->opening = place->journal->slots[place->slot].opening;
    change->ended_ms = 0;
    change->removal = removal;
    change->forced = forced;
    change->state = CHANGE_UNSURE;
    stream->version = version; /* from now on it counts */
    if (seq > stream->high)
        stream->high = seq;
    unlock(place);
    return version;
}

/* What ended then cannot arrive at the store any more. */
static bool is_past(const struct journal *journal, int64_t ended_ms, int64_t now)
{
    return ended_ms + MODEL_LATE_MS < now && !journal->faulty &&
           journal->fault_end_ms + MODEL_LATE_MS < now;
}

bool model_is_loose(const struct journal *journal, const struct rules *rules,
                    int64_t asked_ms)
{
    return rules->late && !rules->settles && !is_past(journal, 0, asked_ms);
}

static bool is_over(const struct place *place, const struct change *change, int64_t now)
{
    return !place->rules->late ||
           (change->ended_ms != 0 && is_past(place->journal, change->ended_ms, now));
}

static void clear_blur(const struct place *place, struct stream *stream, int64_t now)
{
    if (!place->rules->late || is_past(place->journal, stream->blur_ms, now))
        stream->blur = 0;
}

/* Version was acknowledged, or shown: older ones that were unsure are settled. */
static void keep(const struct place *place, struct stream *stream, uint64_t version,
                 int64_t began_ms)
{
    for (unsigned i = 0; i < RING; i++) {
        struct change *change = &stream->ring[i];

        if (change->state == CHANGE_UNSURE && change->version < version &&
            is_over(place, change, began_ms))
            change->state = CHANGE_VOID;
    }
    slot_of(stream, version)->state = CHANGE_KEPT;
    clear_blur(place, stream, began_ms);
    stream->kept = version;
}

static bool any_unsure(const struct stream *stream, uint64_t but)
{
    for (unsigned i = 0; i < RING; i++)
        if (stream->ring[i].state == CHANGE_UNSURE && stream->ring[i].version != but)
            return true;
    return stream->blur != 0;
}

/* A later snapshot is there, or may be. */
static bool may_be_stale(struct stream *stream, const struct change *change)
{
    const struct change *kept = slot_of(stream, stream->kept);

    return (!kept->removal && kept->seq > change->seq) ||
           any_unsure(stream, change->version);
}

static bool must_be_stale(struct stream *stream, const struct change *change)
{
    const struct change *kept = slot_of(stream, stream->kept);

    return !change->forced && !change->removal && !kept->removal &&
           kept->seq > change->seq && !any_unsure(stream, change->version);
}

static const char *end_change(const struct place *place, struct stream *stream,
                              struct change *change, int64_t began_ms, int status)
{
    const struct change *kept = slot_of(stream, stream->kept);
    bool loose = model_is_loose(place->journal, place->rules, began_ms);

    if (loose && status == MAKO_NOT_FOUND && change->removal)
        return NULL; /* of whom it was asked is not known */
    if (status == MAKO_STALE) {
        change->state = CHANGE_VOID;
        if (loose)
            return NULL;
        if (change->removal || change->forced || !may_be_stale(stream, change))
            return "is not stale";
        return NULL;
    }
    if (status == MAKO_OK && !loose && must_be_stale(stream, change))
        return "replaced a later one";
    if (status == MAKO_NOT_FOUND && !change->removal)
        return "cannot be the status of a save";
    if (status == MAKO_NOT_FOUND && !kept->removal &&
        !any_unsure(stream, change->version))
        return "found nothing to remove";
    keep(place, stream, change->version, began_ms);
    return NULL;
}

/* Where nothing is kept, nothing has an order. */
static const char *end_nowhere(struct change *change, int status)
{
    change->state = CHANGE_VOID;
    return status == MAKO_OK || (change->removal && status == MAKO_NOT_FOUND)
               ? NULL
               : "is not OK in a store that keeps nothing";
}

const char *model_end(const struct place *place, uint64_t version, int64_t began_ms,
                      int status, size_t max_snapshot)
{
    struct stream *stream = lock(place);
    struct change *change = slot_of(stream, version);
    bool fits = change->removal || state_size(place, version) <= max_snapshot;
    const char *wrong = NULL;

    change->ended_ms = now_ms();
    if (status == MAKO_E_LIMIT || !fits) {
        change->state = CHANGE_VOID;
        if (fits || status >= 0)
            wrong = fits ? "is within its limit" : "is beyond its limit";
    } else if (status >= 0 && !place->rules->keeps) {
        wrong = end_nowhere(change, status);
    } else if (status >= 0) {
        wrong = end_change(place, stream, change, began_ms, status);
    }
    unlock(place);
    return wrong;
}

/* ---- answers -------------------------------------------------------------------------
 */

static bool removal_unsure(const struct stream *stream)
{
    for (unsigned i = 0; i < RING; i++)
        if (stream->ring[i].state == CHANGE_UNSURE && stream->ring[i].removal)
            return true;
    return stream->blur != 0;
}

/* Whether an unsure change that is older than the kept one may have come after it. */
static bool may_come_late(struct stream *stream, const struct change *change)
{
    const struct change *kept = slot_of(stream, stream->kept);

    return change->removal || kept->removal || kept->seq <= change->seq ||
           removal_unsure(stream);
}

static bool may_show(const struct place *place, struct stream *stream,
                     const struct change *change, bool beside)
{
    uint32_t opening = place->journal->slots[place->slot].opening;

    if (change == slot_of(stream, stream->kept))
        return true;
    if (change->state != CHANGE_UNSURE)
        return false;
    if (place->rules->late)
        return change->version > stream->kept || may_come_late(stream, change);
    return beside || (stream->settled != opening && change->opening != opening);
}

/* How a load calls what is there. */
static int verdict(const struct place *place, const struct change *change,
                   const struct question *question)
{
    const struct mako_expect *expect = &question->expect;

    if (change->removal)
        return MAKO_NOT_FOUND;
    if (question->peek)
        return MAKO_OK;
    if (state_size(place, change->version) > question->max_snapshot)
        return MAKO_TOO_LARGE;
    if (change->schema < question->schema_min)
        return MAKO_SCHEMA_OLDER;
    if (change->schema > question->schema_max)
        return MAKO_SCHEMA_NEWER;
    if (expect->kind && strcmp(expect->kind, KIND) != 0)
        return MAKO_FOREIGN;
    if ((expect->flags & MAKO_EXPECT_HEAD) && change->seq > expect->head)
        return MAKO_AHEAD;
    return MAKO_OK;
}

static bool matches(const struct place *place, const struct change *change,
                    const struct question *question, const struct answer *answer)
{
    if (verdict(place, change, question) != answer->status)
        return false;
    if (answer->meta.seq != 0 &&
        (answer->meta.seq != change->seq || (answer->meta.schema != change->schema)))
        return false;
    return question->peek || answer->status != MAKO_OK ||
           answer->anchor == change->version;
}

/* What was shown is there. */
static void settle(const struct place *place, struct stream *stream, uint64_t version,
                   int64_t asked_ms)
{
    uint32_t opening = place->journal->slots[place->slot].opening;

    for (unsigned i = 0; i < RING; i++) {
        struct change *change = &stream->ring[i];

        if (change->state != CHANGE_UNSURE || change->version == version)
            continue;
        if (place->rules->late ? is_over(place, change, asked_ms)
                               : change->opening != opening)
            change->state = CHANGE_VOID;
    }
    slot_of(stream, version)->state = CHANGE_KEPT;
    stream->kept = version;
    stream->settled = opening;
    clear_blur(place, stream, asked_ms);
}

/* The newest change that explains the answer. */
static const struct change *explain(const struct place *place, struct stream *stream,
                                    const struct question *question,
                                    const struct answer *answer)
{
    const struct change *best = NULL;

    for (unsigned i = 0; i < RING; i++) {
        const struct change *change = &stream->ring[i];

        if (change->version <= stream->version &&
            may_show(place, stream, change, question->beside) &&
            matches(place, change, question, answer) &&
            (!best || best->version < change->version))
            best = change;
    }
    return best;
}

static bool is_blurred(const struct place *place, struct stream *stream)
{
    if (stream->blur == 0)
        return false;
    (void)atomic_fetch_add(&place->journal->blurred, 1);
    return true;
}

const char *model_answer(const struct place *place, const struct question *question,
                         const struct answer *answer)
{
    struct stream *stream = lock(place);
    const struct change *change = explain(place, stream, question, answer);
    const char *wrong = NULL;

    if (!place->rules->keeps)
        wrong = answer->status == MAKO_NOT_FOUND ? NULL : "is there";
    else if (!change && model_is_loose(place->journal, place->rules, answer->asked_ms))
        wrong = answer->anchor <= stream->version ? NULL : "was never saved";
    else if (!change)
        wrong = is_blurred(place, stream) ? NULL : "is not what was acknowledged";
    else if (place->rules->settles && !question->peek && !question->beside &&
             (answer->status == MAKO_OK || answer->status == MAKO_NOT_FOUND))
        settle(place, stream, change->version, answer->asked_ms);
    unlock(place);
    return wrong;
}

uint64_t model_floor(const struct place *place)
{
    const struct stream *stream = lock(place);
    uint64_t kept = stream->kept;

    unlock(place);
    return kept;
}

/* A removal that may be what another thread's load found. */
static bool may_be_gone(struct stream *stream, uint64_t before)
{
    const struct change *kept = find(stream, before);

    if (!kept || kept->removal || removal_unsure(stream))
        return true;
    for (unsigned i = 0; i < RING; i++)
        if (stream->ring[i].version > before && stream->ring[i].removal)
            return true;
    return false;
}

const char *model_glance(const struct place *place, const struct answer *answer,
                         uint64_t before)
{
    struct stream *stream = lock(place);
    const char *wrong = NULL;

    if (!place->rules->keeps)
        wrong = answer->status == MAKO_NOT_FOUND ? NULL : "is there";
    else if (place->rules->late && !is_past(place->journal, 0, answer->asked_ms))
        wrong = NULL;
    else if (answer->status == MAKO_NOT_FOUND)
        wrong = may_be_gone(stream, before) ? NULL : "is not there";
    else if (answer->anchor > stream->version)
        wrong = "was never saved";
    else if (answer->anchor < before && !is_blurred(place, stream))
        wrong = "is older than what was acknowledged";
    unlock(place);
    return wrong;
}

struct change model_kept(const struct place *place, bool *sure)
{
    struct stream *stream = lock(place);
    struct change kept = *slot_of(stream, stream->kept);

    *sure = !any_unsure(stream, 0);
    unlock(place);
    return kept;
}

void model_print(const struct place *place)
{
    const struct stream *stream = lock(place);

    (void)fprintf(stderr,
                  "soak: its changes; kept %llu, begun %llu, blur %llu, seen %u\n",
                  (unsigned long long)stream->kept, (unsigned long long)stream->version,
                  (unsigned long long)stream->blur, (unsigned)stream->settled);
    for (unsigned i = 0; i < RING; i++) {
        const struct change *change = &stream->ring[i];

        if (change->version == 0 && i > 0)
            continue;
        (void)fprintf(
            stderr, "soak:   %llu: %s%s of sequence %llu, schema %u, opening %u: %s\n",
            (unsigned long long)change->version, change->forced ? "forced " : "",
            change->removal ? "removal" : "save", (unsigned long long)change->seq,
            (unsigned)change->schema, (unsigned)change->opening,
            change->state == CHANGE_KEPT     ? "kept"
            : change->state == CHANGE_UNSURE ? "unsure"
                                             : "void");
    }
    unlock(place);
}

/* tests/loader/bad_plugin.c - a store of one snapshot, built once for each fault.
 *
 * The build defines NAME and one FAULT_x, for every x of the list below; the list says
 * what is then wrong (or odd, and legal), the rest is an honest plugin.  What a test
 * must know of the calls goes letter by letter to the descriptor in option "trace". */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mako/store_plugin.h>

/* One of these functions is used in any one build. */
#define CHOICE static __attribute__((unused))

/* ---- the faults ------------------------------------------------------------ */

#if defined(FAULT_good)
#define SUMMARY "nothing is wrong with it"

/* The object and its entry. */
#elif defined(FAULT_undefined_symbol)
#define LOAD load_undefined
#elif defined(FAULT_missing_dependency)
#define LOAD load_elsewhere
#elif defined(FAULT_entry_missing)
#define NO_ENTRY
#elif defined(FAULT_entry_null)
#define ENTRY_RESULT NULL

/* The head of the descriptor. */
#elif defined(FAULT_abi_0)
#define ABI 0u
#elif defined(FAULT_abi_2)
#define ABI 2u
#elif defined(FAULT_size_0)
#define SIZE 0u
#elif defined(FAULT_size_below_min)
#define SIZE (uint32_t)(MAKO_STORE_PLUGIN_MIN_SIZE - 1)
#elif defined(FAULT_size_min)
#define SIZE (uint32_t) MAKO_STORE_PLUGIN_MIN_SIZE
#define SCAN scan_trap
#elif defined(FAULT_size_half_pointer)
#define SIZE (uint32_t)(MAKO_STORE_PLUGIN_MIN_SIZE + sizeof(void *) / 2)
#define SCAN scan_trap
#elif defined(FAULT_size_future)
#define SIZE (uint32_t)(sizeof(struct mako_store_plugin) + 64)

/* The rest of the descriptor. */
#elif defined(FAULT_no_open)
#define OPEN NULL
#elif defined(FAULT_no_close)
#define CLOSE NULL
#elif defined(FAULT_no_save)
#define SAVE NULL
#elif defined(FAULT_no_load)
#define LOAD NULL
#elif defined(FAULT_no_remove)
#define REMOVE NULL
#elif defined(FAULT_name_null)
#define PLUGIN_NAME NULL
#elif defined(FAULT_name_empty)
#define PLUGIN_NAME ""
#elif defined(FAULT_name_bad)
#define PLUGIN_NAME "Bad name"
#elif defined(FAULT_name_long)
#define PLUGIN_NAME "abcdefghijklmnopqrstuvwxyz-123456"
#elif defined(FAULT_name_other)
#define PLUGIN_NAME "someone-else"
#elif defined(FAULT_texts_null)
#define VERSION NULL
#define SUMMARY NULL
#elif defined(FAULT_durability_range)
#define DURABILITY 4
#elif defined(FAULT_threads_range)
#define THREADS 3
#elif defined(FAULT_features_unknown)
#define FEATURES (1ull << 63 | 1ull << 40)

/* The option table. */
#elif defined(FAULT_options_null)
#define OPTIONS     NULL
#define OPTION_SIZE 0
#define OPEN        open_plain
#elif defined(FAULT_option_size_small)
#define OPTION_SIZE (sizeof(struct mako_option) - 8)
#elif defined(FAULT_option_size_zero)
#define OPTION_SIZE 0
#elif defined(FAULT_option_size_large)
#define STRIDE_TAIL 2
#elif defined(FAULT_option_size_odd)
#define OPTION_SIZE (sizeof(struct mako_option) + 1)
#elif defined(FAULT_option_endless)
#define TWICE(...) __VA_ARGS__ __VA_ARGS__
#define MORE_ROWS  TWICE(TWICE(TWICE(TWICE(TWICE(TWICE(TWICE(TWICE({.row = ROW}, ))))))))
#elif defined(FAULT_option_duplicate)
#define ROW                                                \
    {                                                      \
        "trace", "again", "1", NULL, MAKO_OPT_INT, 0, 0, 0 \
    }
#elif defined(FAULT_option_name_empty)
#define ROW                                          \
    {                                                \
        "", "help", "1", NULL, MAKO_OPT_INT, 0, 0, 0 \
    }
#elif defined(FAULT_option_name_bad)
#define ROW                                                  \
    {                                                        \
        "Bad name", "help", "1", NULL, MAKO_OPT_INT, 0, 0, 0 \
    }
#elif defined(FAULT_option_type_0)
#define ROW                                  \
    {                                        \
        "odd", "help", "1", NULL, 0, 0, 0, 0 \
    }
#elif defined(FAULT_option_type_99)
#define ROW                                   \
    {                                         \
        "odd", "help", "1", NULL, 99, 0, 0, 0 \
    }
#elif defined(FAULT_option_fallback_int)
#define ROW                                                \
    {                                                      \
        "odd", "help", "many", NULL, MAKO_OPT_INT, 0, 0, 0 \
    }
#elif defined(FAULT_option_fallback_bool)
#define ROW                                                    \
    {                                                          \
        "odd", "help", "perhaps", NULL, MAKO_OPT_BOOL, 0, 0, 0 \
    }
#elif defined(FAULT_option_fallback_size)
#define ROW                                                       \
    {                                                             \
        "odd", "help", "12 parsecs", NULL, MAKO_OPT_SIZE, 0, 0, 0 \
    }
#elif defined(FAULT_option_fallback_duration)
#define ROW                                                     \
    {                                                           \
        "odd", "help", "soon", NULL, MAKO_OPT_DURATION, 0, 0, 0 \
    }
#elif defined(FAULT_option_fallback_range)
#define ROW                                               \
    {                                                     \
        "odd", "help", "11", NULL, MAKO_OPT_INT, 0, 1, 10 \
    }
#elif defined(FAULT_option_fallback_choice)
#define ROW                                                          \
    {                                                                \
        "odd", "help", "green", "red|blue", MAKO_OPT_STRING, 0, 0, 0 \
    }
#elif defined(FAULT_option_no_fallback)
#define ROW                                              \
    {                                                    \
        "odd", "help", NULL, NULL, MAKO_OPT_INT, 0, 0, 0 \
    }
#elif defined(FAULT_option_min_over_max)
#define ROW                                              \
    {                                                    \
        "odd", "help", "5", NULL, MAKO_OPT_INT, 0, 10, 1 \
    }
#elif defined(FAULT_option_required_fallback)
#define ROW                                                             \
    {                                                                   \
        "odd", "help", "5", NULL, MAKO_OPT_INT, MAKO_OPT_REQUIRED, 0, 0 \
    }

/* Opening. */
#elif defined(FAULT_open_fails)
#define OPEN open_fails
#elif defined(FAULT_open_fails_silently)
#define OPEN open_fails_silently
#elif defined(FAULT_open_strange)
#define OPEN open_strange
#elif defined(FAULT_open_positive)
#define OPEN open_positive
#elif defined(FAULT_open_null)
#define OPEN open_null
#elif defined(FAULT_open_raises_durability)
#define OPEN open_raises_durability
#elif defined(FAULT_open_raises_threads)
#define THREADS MAKO_THREADS_STORE
#define OPEN    open_raises_threads
#elif defined(FAULT_open_raises_features)
#define OPEN open_raises_features
#elif defined(FAULT_open_lowers_durability)
#define OPEN open_lowers_durability
#elif defined(FAULT_open_lowers_threads)
#define THREADS MAKO_THREADS_PARALLEL
#define OPEN    open_lowers_threads

/* Loading. */
#elif defined(FAULT_load_nothing)
#define LOAD load_nothing
#elif defined(FAULT_load_twice)
#define LOAD load_twice
#elif defined(FAULT_load_short)
#define LOAD load_short
#elif defined(FAULT_load_long)
#define LOAD load_long
#elif defined(FAULT_load_empty)
#define LOAD load_empty
#elif defined(FAULT_load_huge)
#define LOAD load_huge
#elif defined(FAULT_load_unfilled)
#define LOAD load_unfilled
#elif defined(FAULT_load_overtaken)
#define LOAD load_overtaken
#elif defined(FAULT_load_strange)
#define LOAD load_strange
#elif defined(FAULT_load_stale)
#define LOAD load_stale
#elif defined(FAULT_load_fails_silently)
#define LOAD load_fails_silently
#elif defined(FAULT_load_endless_text)
#define LOAD load_endless_text
#elif defined(FAULT_load_refuses)
#define LOAD load_refuses
#elif defined(FAULT_load_forgets_refusal)
#define FEATURES MAKO_FEATURE_EARLY_META
#define LOAD     load_forgets_refusal
#elif defined(FAULT_load_wrong_seq)
#define FEATURES MAKO_FEATURE_EARLY_META
#define LOAD     load_wrong_seq
#elif defined(FAULT_load_wrong_schema)
#define FEATURES MAKO_FEATURE_EARLY_META
#define LOAD     load_wrong_schema
#elif defined(FAULT_load_flipped)
#define LOAD load_flipped
#elif defined(FAULT_load_aliased)
#define LOAD load_aliased
#elif defined(FAULT_load_damaged)
#define LOAD load_damaged
#elif defined(FAULT_load_slow)
#define THREADS MAKO_THREADS_PARALLEL
#define LOAD    load_slow
#elif defined(FAULT_lend)
#define LOAD lend_whole
#elif defined(FAULT_lend_flipped)
#define LOAD lend_flipped
#elif defined(FAULT_lend_then_fail)
#define LOAD lend_then_fail
#elif defined(FAULT_lend_twice)
#define LOAD lend_twice
#elif defined(FAULT_lend_nothing)
#define LOAD lend_nothing
#elif defined(FAULT_lend_then_accept)
#define LOAD lend_then_accept

/* The other calls. */
#elif defined(FAULT_save_nothing)
#define SAVE save_nothing
#elif defined(FAULT_save_strange)
#define SAVE save_strange
#elif defined(FAULT_save_not_found)
#define SAVE save_not_found
#elif defined(FAULT_save_fails_silently)
#define SAVE save_fails_silently
#elif defined(FAULT_remove_strange)
#define REMOVE remove_strange
#elif defined(FAULT_scan_strange)
#define SCAN scan_strange
#elif defined(FAULT_stats_strange)
#define STATS stats_strange
#elif defined(FAULT_compact_strange)
#define COMPACT compact_strange
#elif defined(FAULT_batch_unset)
#define SAVE_MANY save_many_unset
#define LOAD_MANY load_many_unset
#elif defined(FAULT_batch_strange)
#define SAVE_MANY save_many_strange
#define LOAD_MANY load_many_strange
#elif defined(FAULT_batch_positive)
#define SAVE_MANY save_many_positive
#define LOAD_MANY load_many_positive
#else
#error "define one FAULT_x"
#endif

/* ---- and what is right where the list is silent ---------------------------- */

#ifndef ABI
#define ABI MAKO_STORE_ABI
#endif
#ifndef SIZE
#define SIZE (uint32_t)sizeof(struct mako_store_plugin)
#endif
#ifndef PLUGIN_NAME
#define PLUGIN_NAME NAME
#endif
#ifndef VERSION
#define VERSION "1.0"
#endif
#ifndef SUMMARY
#define SUMMARY "wrong on purpose: " NAME
#endif
#ifndef DURABILITY
#define DURABILITY MAKO_DURABLE_MEMORY
#endif
#ifndef THREADS
#define THREADS MAKO_THREADS_STORE
#endif
#ifndef FEATURES
#define FEATURES 0
#endif
#ifndef STRIDE_TAIL
#define STRIDE_TAIL 0
#endif
#ifndef OPTIONS
#define OPTIONS &table[0].row
#endif
#ifndef OPTION_SIZE
#define OPTION_SIZE sizeof(struct stride)
#endif
#ifndef ROW
#define ROW                                             \
    {                                                   \
        "odd", "help", "5", NULL, MAKO_OPT_INT, 0, 0, 0 \
    }
#endif
#ifndef MORE_ROWS
#define MORE_ROWS
#endif
#ifndef OPEN
#define OPEN open_store
#endif
#ifndef CLOSE
#define CLOSE close_store
#endif
#ifndef SAVE
#define SAVE save_slot
#endif
#ifndef LOAD
#define LOAD load_slot
#endif
#ifndef REMOVE
#define REMOVE remove_slot
#endif
#ifndef SCAN
#define SCAN NULL
#endif
#ifndef SAVE_MANY
#define SAVE_MANY NULL
#endif
#ifndef LOAD_MANY
#define LOAD_MANY NULL
#endif
#ifndef STATS
#define STATS NULL
#endif
#ifndef COMPACT
#define COMPACT NULL
#endif
#ifndef ENTRY_RESULT
#define ENTRY_RESULT &descriptor.plugin
#endif

/* ---- state ------------------------------------------------------------------ */

/* The newest snapshot, and the one of the stream before it, to mix them up. */
struct slot {
    char stream[1025];
    struct mako_meta meta;
    unsigned char *blob;
    size_t len;
};
struct store {
    int trace, gate;
    struct slot now, before;
};
static struct store only; /* where open says that its store is NULL */

static struct store *self(void *store)
{
    return store ? store : &only;
}

static void note(const struct store *s, char what)
{
    if (s->trace >= 0) {
        ssize_t ignored = write(s->trace, &what, 1);

        (void)ignored;
    }
}

/* How often this object was mapped, and asked for its descriptor. */
static void count(const char *name)
{
    const char *old = getenv(name);
    char text[] = {old ? (char)(old[0] + 1) : '1', '\0'};

    (void)setenv(name, text, 1);
}

__attribute__((constructor)) static void constructed(void)
{
    count("MAKO_TEST_CONSTRUCTED");
}

/* ---- open and close --------------------------------------------------------- */

static void begin(struct store *s, const union mako_value *options)
{
    s->trace = options ? (int)options[0].num : -1;
    s->gate = options ? (int)options[1].num : -1;
    note(s, 'o');
}

CHOICE int open_store(const struct mako_host *host, const union mako_value *options,
                      struct mako_traits *traits, void **store, struct mako_error *err)
{
    struct store *s = calloc(1, sizeof *s);

    (void)host, (void)traits;
    if (!s)
        return mako_fail(err, MAKO_E_NOMEM, "no memory for a store");
    begin(s, options);
    *store = s;
    return MAKO_OK;
}

CHOICE int open_plain(const struct mako_host *host, const union mako_value *options,
                      struct mako_traits *traits, void **store, struct mako_error *err)
{
    (void)host, (void)options, (void)traits, (void)store, (void)err;
    begin(&only, NULL);
    return MAKO_OK;
}

CHOICE int open_fails(const struct mako_host *host, const union mako_value *options,
                      struct mako_traits *traits, void **store, struct mako_error *err)
{
    (void)host, (void)traits;
    begin(&only, options);
    *store = &only;
    return mako_fail(err, MAKO_E_IO, "the shelf has fallen down");
}

CHOICE int open_fails_silently(const struct mako_host *host,
                               const union mako_value *options,
                               struct mako_traits *traits, void **store,
                               struct mako_error *err)
{
    (void)host, (void)options, (void)traits, (void)store, (void)err;
    return MAKO_E_UNAVAILABLE;
}

CHOICE int open_strange(const struct mako_host *host, const union mako_value *options,
                        struct mako_traits *traits, void **store, struct mako_error *err)
{
    (void)host, (void)options, (void)traits, (void)store, (void)err;
    return -77;
}

CHOICE int open_positive(const struct mako_host *host, const union mako_value *options,
                         struct mako_traits *traits, void **store, struct mako_error *err)
{
    (void)host, (void)options, (void)traits, (void)store, (void)err;
    return MAKO_NOT_FOUND;
}

CHOICE int open_null(const struct mako_host *host, const union mako_value *options,
                     struct mako_traits *traits, void **store, struct mako_error *err)
{
    (void)host, (void)traits, (void)store, (void)err;
    begin(&only, options);
    return MAKO_OK;
}

CHOICE int open_raises_durability(const struct mako_host *host,
                                  const union mako_value *options,
                                  struct mako_traits *traits, void **store,
                                  struct mako_error *err)
{
    traits->durability = MAKO_DURABLE_POWER;
    return open_store(host, options, traits, store, err);
}

CHOICE int open_raises_threads(const struct mako_host *host,
                               const union mako_value *options,
                               struct mako_traits *traits, void **store,
                               struct mako_error *err)
{
    traits->threads = MAKO_THREADS_PARALLEL;
    return open_store(host, options, traits, store, err);
}

CHOICE int open_raises_features(const struct mako_host *host,
                                const union mako_value *options,
                                struct mako_traits *traits, void **store,
                                struct mako_error *err)
{
    traits->features |= MAKO_FEATURE_IF_NEWER;
    return open_store(host, options, traits, store, err);
}

CHOICE int open_lowers_durability(const struct mako_host *host,
                                  const union mako_value *options,
                                  struct mako_traits *traits, void **store,
                                  struct mako_error *err)
{
    traits->durability = MAKO_DURABLE_NONE;
    return open_store(host, options, traits, store, err);
}

CHOICE int open_lowers_threads(const struct mako_host *host,
                               const union mako_value *options,
                               struct mako_traits *traits, void **store,
                               struct mako_error *err)
{
    traits->threads = MAKO_THREADS_PLUGIN;
    return open_store(host, options, traits, store, err);
}

CHOICE void close_store(void *store)
{
    struct store *s = self(store);

    note(s, 'c');
    free(s->now.blob);
    free(s->before.blob);
    if (store && store != &only)
        free(store);
}

/* ---- save and remove -------------------------------------------------------- */

CHOICE int save_slot(void *store, const struct mako_record *record,
                     struct mako_error *err)
{
    struct store *s = self(store);
    unsigned char *copy = malloc(record->blob_len);

    if (!copy)
        return mako_fail(err, MAKO_E_NOMEM, "no memory for a snapshot");
    note(s, 's');
    memcpy(copy, record->blob, record->blob_len);
    free(s->before.blob);
    s->before = s->now;
    s->now.meta = record->meta;
    s->now.blob = copy;
    s->now.len = record->blob_len;
    memcpy(s->now.stream, record->stream.ptr, record->stream.len + 1);
    return MAKO_OK;
}

CHOICE int save_nothing(void *store, const struct mako_record *record,
                        struct mako_error *err)
{
    (void)store, (void)record, (void)err;
    return MAKO_OK;
}

CHOICE int save_strange(void *store, const struct mako_record *record,
                        struct mako_error *err)
{
    (void)store, (void)record, (void)err;
    return 77;
}

CHOICE int save_not_found(void *store, const struct mako_record *record,
                          struct mako_error *err)
{
    (void)store, (void)record, (void)err;
    return MAKO_NOT_FOUND;
}

CHOICE int save_fails_silently(void *store, const struct mako_record *record,
                               struct mako_error *err)
{
    (void)store, (void)record, (void)err;
    return MAKO_E_NO_SPACE;
}

CHOICE int remove_slot(void *store, struct mako_str stream, struct mako_error *err)
{
    struct slot *slot = &self(store)->now;

    if (!slot->blob || strcmp(slot->stream, stream.ptr) != 0)
        return mako_fail(err, MAKO_NOT_FOUND, "no snapshot of %s", stream.ptr);
    free(slot->blob);
    slot->blob = NULL;
    return MAKO_OK;
}

CHOICE int remove_strange(void *store, struct mako_str stream, struct mako_error *err)
{
    (void)store, (void)stream, (void)err;
    return -77;
}

/* ---- load ------------------------------------------------------------------- */

/* What is kept of the stream, or NULL. */
static struct slot *find(struct store *s, struct mako_str stream)
{
    note(s, 'l');
    if (!s->now.blob || strcmp(s->now.stream, stream.ptr) != 0)
        return NULL;
    return &s->now;
}

static int absent(struct mako_error *err, struct mako_str stream)
{
    return mako_fail(err, MAKO_NOT_FOUND, "no snapshot of %s", stream.ptr);
}

/* Hand over the first len bytes of bytes. */
static int hand_over(struct mako_sink *sink, const struct mako_meta *meta,
                     const unsigned char *bytes, size_t len, struct mako_error *err)
{
    void *room = sink->accept(sink, meta, len);

    if (!room)
        return mako_fail(err, MAKO_REFUSED, "declined");
    memcpy(room, bytes, len);
    return MAKO_OK;
}

CHOICE int load_slot(void *store, struct mako_str stream, struct mako_sink *sink,
                     struct mako_error *err)
{
    const struct slot *slot = find(self(store), stream);

    if (!slot)
        return absent(err, stream);
    return hand_over(sink, &slot->meta, slot->blob, slot->len, err);
}

#ifdef FAULT_undefined_symbol
int mako_test_defined_nowhere(void);

CHOICE int load_undefined(void *store, struct mako_str stream, struct mako_sink *sink,
                          struct mako_error *err)
{
    (void)store, (void)stream, (void)sink, (void)err;
    return mako_test_defined_nowhere();
}
#endif

#ifdef FAULT_missing_dependency
int mako_test_elsewhere(void);

CHOICE int load_elsewhere(void *store, struct mako_str stream, struct mako_sink *sink,
                          struct mako_error *err)
{
    (void)store, (void)stream, (void)sink, (void)err;
    return mako_test_elsewhere();
}
#endif

CHOICE int load_nothing(void *store, struct mako_str stream, struct mako_sink *sink,
                        struct mako_error *err)
{
    (void)store, (void)stream, (void)sink, (void)err;
    return MAKO_OK;
}

/* As after a transfer that a newer save has overtaken. */
CHOICE int load_twice(void *store, struct mako_str stream, struct mako_sink *sink,
                      struct mako_error *err)
{
    void *first = sink->accept(sink, NULL, 4096);

    if (!first)
        return mako_fail(err, MAKO_REFUSED, "declined");
    memset(first, 0xa5, 4096);
    return load_slot(store, stream, sink, err);
}

CHOICE int load_short(void *store, struct mako_str stream, struct mako_sink *sink,
                      struct mako_error *err)
{
    const struct slot *slot = find(self(store), stream);

    if (!slot)
        return absent(err, stream);
    return hand_over(sink, &slot->meta, slot->blob, slot->len - 1, err);
}

CHOICE int load_long(void *store, struct mako_str stream, struct mako_sink *sink,
                     struct mako_error *err)
{
    const struct slot *slot = find(self(store), stream);
    unsigned char *room = slot ? sink->accept(sink, NULL, slot->len + 1) : NULL;

    if (!room)
        return absent(err, stream);
    memcpy(room, slot->blob, slot->len);
    room[slot->len] = 0;
    return MAKO_OK;
}

CHOICE int load_empty(void *store, struct mako_str stream, struct mako_sink *sink,
                      struct mako_error *err)
{
    (void)store, (void)stream;
    return hand_over(sink, NULL, (const unsigned char *)"", 0, err);
}

CHOICE int load_huge(void *store, struct mako_str stream, struct mako_sink *sink,
                     struct mako_error *err)
{
    (void)store, (void)stream;
    if (sink->accept(sink, NULL, SIZE_MAX) || sink->accept(sink, NULL, SIZE_MAX / 2))
        return mako_fail(err, MAKO_E_IO, "half the world was promised");
    return mako_fail(err, MAKO_REFUSED, "declined");
}

CHOICE int load_unfilled(void *store, struct mako_str stream, struct mako_sink *sink,
                         struct mako_error *err)
{
    (void)store, (void)stream;
    if (!sink->accept(sink, NULL, 4096))
        return mako_fail(err, MAKO_REFUSED, "declined");
    return MAKO_OK;
}

/* Removed while it was under way. */
CHOICE int load_overtaken(void *store, struct mako_str stream, struct mako_sink *sink,
                          struct mako_error *err)
{
    int status = load_slot(store, stream, sink, err);

    return status == MAKO_OK ? absent(err, stream) : status;
}

CHOICE int load_strange(void *store, struct mako_str stream, struct mako_sink *sink,
                        struct mako_error *err)
{
    (void)store, (void)stream, (void)sink, (void)err;
    return 77;
}

CHOICE int load_stale(void *store, struct mako_str stream, struct mako_sink *sink,
                      struct mako_error *err)
{
    (void)store, (void)stream, (void)sink, (void)err;
    return MAKO_STALE;
}

CHOICE int load_fails_silently(void *store, struct mako_str stream,
                               struct mako_sink *sink, struct mako_error *err)
{
    (void)store, (void)stream, (void)sink, (void)err;
    return MAKO_E_IO;
}

CHOICE int load_endless_text(void *store, struct mako_str stream, struct mako_sink *sink,
                             struct mako_error *err)
{
    (void)store, (void)stream, (void)sink;
    memset(err->text, 'x', sizeof err->text);
    return MAKO_E_IO;
}

CHOICE int load_refuses(void *store, struct mako_str stream, struct mako_sink *sink,
                        struct mako_error *err)
{
    (void)store, (void)stream, (void)sink;
    return mako_fail(err, MAKO_REFUSED, "nobody declined");
}

CHOICE int load_forgets_refusal(void *store, struct mako_str stream,
                                struct mako_sink *sink, struct mako_error *err)
{
    int status = load_slot(store, stream, sink, err);

    return status == MAKO_REFUSED ? MAKO_OK : status;
}

CHOICE int load_wrong_seq(void *store, struct mako_str stream, struct mako_sink *sink,
                          struct mako_error *err)
{
    const struct slot *slot = find(self(store), stream);
    struct mako_meta meta;

    if (!slot)
        return absent(err, stream);
    meta = slot->meta;
    meta.seq += 1000;
    return hand_over(sink, &meta, slot->blob, slot->len, err);
}

/* Says schema 1 of everything. */
CHOICE int load_wrong_schema(void *store, struct mako_str stream, struct mako_sink *sink,
                             struct mako_error *err)
{
    const struct slot *slot = find(self(store), stream);
    struct mako_meta meta;

    if (!slot)
        return absent(err, stream);
    meta = slot->meta;
    meta.schema = 1;
    return hand_over(sink, &meta, slot->blob, slot->len, err);
}

CHOICE int load_flipped(void *store, struct mako_str stream, struct mako_sink *sink,
                        struct mako_error *err)
{
    struct slot *slot = find(self(store), stream);

    if (!slot)
        return absent(err, stream);
    slot->blob[slot->len - 1] ^= 0x10;
    return hand_over(sink, &slot->meta, slot->blob, slot->len, err);
}

/* The snapshot that was saved before the newest, whatever its stream. */
CHOICE int load_aliased(void *store, struct mako_str stream, struct mako_sink *sink,
                        struct mako_error *err)
{
    const struct store *s = self(store);

    if (!s->before.blob)
        return absent(err, stream);
    return hand_over(sink, NULL, s->before.blob, s->before.len, err);
}

CHOICE int load_damaged(void *store, struct mako_str stream, struct mako_sink *sink,
                        struct mako_error *err)
{
    (void)store, (void)sink;
    return mako_fail(err, MAKO_DAMAGED, "%s: checksum differs", stream.ptr);
}

/* Says that it has begun, waits for the gate, says that it ends. */
CHOICE int load_slow(void *store, struct mako_str stream, struct mako_sink *sink,
                     struct mako_error *err)
{
    struct store *s = self(store);
    int status = load_slot(store, stream, sink, err);
    char byte;

    while (read(s->gate, &byte, 1) < 0 && errno == EINTR)
        ;
    note(s, 'e');
    return status;
}

/* ---- lending ---------------------------------------------------------------- */

static void released(void *cookie)
{
    note(cookie, 'r');
}

/* Lends what is kept; notes 'L' where it was taken. */
static int lend(struct store *s, struct mako_str stream, struct mako_sink *sink,
                struct mako_error *err)
{
    const struct slot *slot = find(s, stream);

    if (!slot)
        return absent(err, stream);
    if (sink->lend(sink, &slot->meta, slot->blob, slot->len, released, s) != 0)
        return mako_fail(err, MAKO_REFUSED, "declined");
    note(s, 'L');
    return MAKO_OK;
}

CHOICE int lend_whole(void *store, struct mako_str stream, struct mako_sink *sink,
                      struct mako_error *err)
{
    return lend(self(store), stream, sink, err);
}

CHOICE int lend_flipped(void *store, struct mako_str stream, struct mako_sink *sink,
                        struct mako_error *err)
{
    struct store *s = self(store);

    if (s->now.blob)
        s->now.blob[9] ^= 0x01;
    return lend(s, stream, sink, err);
}

CHOICE int lend_then_fail(void *store, struct mako_str stream, struct mako_sink *sink,
                          struct mako_error *err)
{
    int status = lend(self(store), stream, sink, err);

    return status == MAKO_OK ? mako_fail(err, MAKO_E_IO, "torn away") : status;
}

CHOICE int lend_twice(void *store, struct mako_str stream, struct mako_sink *sink,
                      struct mako_error *err)
{
    int status = lend(self(store), stream, sink, err);

    return status == MAKO_OK ? lend(self(store), stream, sink, err) : status;
}

CHOICE int lend_nothing(void *store, struct mako_str stream, struct mako_sink *sink,
                        struct mako_error *err)
{
    (void)stream;
    if (sink->lend(sink, NULL, NULL, 0, released, self(store)) != 0)
        return mako_fail(err, MAKO_REFUSED, "declined");
    note(self(store), 'L');
    return MAKO_OK;
}

CHOICE int lend_then_accept(void *store, struct mako_str stream, struct mako_sink *sink,
                            struct mako_error *err)
{
    int status = lend(self(store), stream, sink, err);

    return status == MAKO_OK ? load_slot(store, stream, sink, err) : status;
}

/* ---- the optional calls ----------------------------------------------------- */

/* Must never run: it lies beyond the size that the descriptor states. */
CHOICE int scan_trap(void *store, struct mako_str prefix, struct mako_visitor *visitor,
                     struct mako_error *err)
{
    (void)store, (void)prefix, (void)visitor;
    return mako_fail(err, MAKO_E_IO, "called although beyond struct_size");
}

CHOICE int scan_strange(void *store, struct mako_str prefix, struct mako_visitor *visitor,
                        struct mako_error *err)
{
    (void)store, (void)prefix, (void)visitor, (void)err;
    return 77;
}

CHOICE int stats_strange(void *store, struct mako_counters *counters,
                         struct mako_error *err)
{
    (void)store, (void)counters, (void)err;
    return 77;
}

CHOICE int compact_strange(void *store, struct mako_progress *progress,
                           struct mako_error *err)
{
    (void)store, (void)progress, (void)err;
    return 77;
}

CHOICE int save_many_unset(void *store, const struct mako_record *records, size_t n,
                           int *statuses, struct mako_error *err)
{
    (void)store, (void)records, (void)n, (void)statuses, (void)err;
    return MAKO_OK;
}

CHOICE int load_many_unset(void *store, const struct mako_str *streams,
                           struct mako_sink *const *sinks, size_t n, int *statuses,
                           struct mako_error *err)
{
    (void)store, (void)streams, (void)sinks, (void)n, (void)statuses, (void)err;
    return MAKO_OK;
}

static int all_strange(size_t n, int *statuses)
{
    for (size_t i = 0; i < n; i++)
        statuses[i] = 77;
    return MAKO_OK;
}

CHOICE int save_many_strange(void *store, const struct mako_record *records, size_t n,
                             int *statuses, struct mako_error *err)
{
    (void)store, (void)records, (void)err;
    return all_strange(n, statuses);
}

CHOICE int load_many_strange(void *store, const struct mako_str *streams,
                             struct mako_sink *const *sinks, size_t n, int *statuses,
                             struct mako_error *err)
{
    (void)store, (void)streams, (void)sinks, (void)err;
    return all_strange(n, statuses);
}

CHOICE int save_many_positive(void *store, const struct mako_record *records, size_t n,
                              int *statuses, struct mako_error *err)
{
    (void)store, (void)records, (void)n, (void)statuses, (void)err;
    return MAKO_STALE;
}

CHOICE int load_many_positive(void *store, const struct mako_str *streams,
                              struct mako_sink *const *sinks, size_t n, int *statuses,
                              struct mako_error *err)
{
    (void)store, (void)streams, (void)sinks, (void)n, (void)statuses, (void)err;
    return MAKO_NOT_FOUND;
}

/* ---- descriptor ------------------------------------------------------------- */

/* Rows as a later header may have them: longer. */
struct stride {
    struct mako_option row;
#if STRIDE_TAIL > 0
    uint64_t tail[STRIDE_TAIL];
#endif
};

__attribute__((unused)) static const struct stride table[] = {
    {.row = {"trace", "descriptor that gets a letter a call", "-1", NULL, MAKO_OPT_INT, 0,
             0, 0}},
    {.row = {"gate", "descriptor to wait for", "-1", NULL, MAKO_OPT_INT, 0, 0, 0}},
    {.row = ROW},
    MORE_ROWS{.row = {NULL, NULL, NULL, NULL, 0, 0, 0, 0}},
};

/* As from a later header: members that this core has never heard of. */
static const struct {
    struct mako_store_plugin plugin;
    uint64_t future[8];
} descriptor = {
    .plugin =
        {
            .struct_size = SIZE,
            .abi = ABI,
            .option_size = OPTION_SIZE,
            .name = PLUGIN_NAME,
            .version = VERSION,
            .summary = SUMMARY,
            .durability = DURABILITY,
            .threads = THREADS,
            .features = FEATURES,
            .options = OPTIONS,
            .open = OPEN,
            .close = CLOSE,
            .save = SAVE,
            .load = LOAD,
            .remove = REMOVE,
            .scan = SCAN,
            .save_many = SAVE_MANY,
            .load_many = LOAD_MANY,
            .stats = STATS,
            .compact = COMPACT,
        },
    .future = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX,
               UINT64_MAX, UINT64_MAX},
};

CHOICE const struct mako_store_plugin *entry(void)
{
    count("MAKO_TEST_ENTERED");
    (void)&descriptor;
    return ENTRY_RESULT;
}

#ifndef NO_ENTRY
const struct mako_store_plugin *mako_store_plugin_entry(void)
{
    return entry();
}
#endif

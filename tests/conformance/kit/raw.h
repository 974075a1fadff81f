/* tests/conformance/kit/raw.h - the strict host: what cases of level raw stand on.
 *
 * It maps the plugin itself and calls it as a core would, but that nothing it lends can
 * be touched after the call, that every struct ends at the end of the world, and that
 * every answer is compared with what the header allows.  What is wrong goes to audit(),
 * from whatever thread; the first such complaint fails the case, however it ends. */
#ifndef MAKO_KIT_RAW_H
#define MAKO_KIT_RAW_H

#include <pthread.h>

#include "../cases.h"
#include "pages.h"

extern const struct test_case raw_descriptor[], raw_open_cases[], raw_save_cases[],
    raw_load_cases[], raw_lend_cases[], raw_scan_cases[], raw_batch_cases[],
    raw_whole_cases[], raw_thread_cases[], raw_process_cases[], raw_fault_cases[];
extern const struct test_case *const raw_lists[];

/* ---- the plugin ------------------------------------------------------------------- */

/* Its descriptor as the file has it; NULL where the entry says so. */
const struct mako_store_plugin *raw_descriptor_of(void);
/* A copy; what lies beyond its struct_size is zero. */
extern struct mako_store_plugin raw_ops;
const char *raw_binary(void);
/* mako_option rows, by the plugin's own stride. */
const struct mako_option *raw_option(size_t index);
size_t raw_option_count(void);
/* Why nothing but the descriptor can be tested; NULL: all can. */
const char *raw_unusable(void);

static inline bool raw_has(uint64_t feature)
{
    return (raw_ops.features & feature) != 0;
}

/* The configuration's word about option index: with variables put in, MAKO_TEST_DIR
 * being data; NULL: it has none.  Allocated. */
char *raw_option_text(struct trial *t, size_t index, const char *data);
/* Something of the configuration lies in MAKO_TEST_DIR; is a path in it. */
bool raw_uses_dir(struct trial *t);
bool raw_path_in_dir(struct trial *t);
/* "_conformance": {"faults": false} in the configuration says no, true says yes. */
bool raw_allows_faults(struct trial *t);
/* Durability that the configuration requires. */
uint32_t raw_durability_asked(struct trial *t);

/* ---- complaints ------------------------------------------------------------------- */

__attribute__((format(printf, 1, 2))) void audit(const char *format, ...);
/* The first one, or NULL. */
const char *audit_text(void);

/* Bytes that every host-made struct is longer than today's; 0, unless a case says so. */
extern size_t raw_extra;

/* ---- a store ---------------------------------------------------------------------- */

struct raw_store {
    void *data;
    struct pages host, values, strings;
    struct mako_traits given; /* as open left it */
    pthread_mutex_t lock;     /* for the store thread model */
    bool open;
};

struct raw_opening {
    uint32_t flags;
    uint32_t durability; /* 0: what the configuration requires */
    const char *data;    /* another MAKO_TEST_DIR */
};

int raw_open(struct trial *t, struct raw_store *s, struct raw_opening how);
/* As the configuration says; fails the case where that is refused. */
enum verdict raw_open_well(struct trial *t, struct raw_store *s);
void raw_close(struct raw_store *s);

/* What the last call on this thread said. */
const struct mako_error *raw_error(void);

/* want, of a raw call. */
#define WANT(call, want)                                                               \
    do {                                                                               \
        int status_ = (call);                                                          \
        TRY(trial_status(t, __FILE__, __LINE__, #call, status_, (want), raw_error())); \
    } while (0)

/* ---- records ---------------------------------------------------------------------- */

/* The blob begins with the sequence; behind it is a pattern. */
struct raw_record {
    const char *stream;
    uint64_t seq;
    size_t len;
    uint64_t seed;
    uint32_t schema; /* 0: means 1 */
    uint32_t flags;
    int64_t created_ms;
};

void raw_blob(void *bytes, size_t len, uint64_t seq, uint64_t seed);
bool is_raw_blob(const void *bytes, size_t len, uint64_t seq, uint64_t seed);
int raw_save(struct raw_store *s, struct raw_record record);
int raw_remove(struct raw_store *s, const char *stream);
/* statuses may be longer than what is looked at. */
int raw_save_many(struct raw_store *s, const struct raw_record *records, size_t count,
                  int *statuses);

/* ---- loads ------------------------------------------------------------------------ */

struct raw_sink {
    /* Set before the load. */
    bool declines;
    void (*during)(struct raw_sink *sink); /* called inside accept and lend */
    void *arg;
    /* Set by the load. */
    bool accepted, lent, declined, has_meta;
    unsigned calls;
    struct mako_meta meta;
    const void *bytes;
    size_t len;
    void (*release)(void *cookie);
    void *cookie;
    /* The host's own. */
    struct pages page, room;
    pthread_t caller;
};

int raw_load(struct raw_store *s, const char *stream, struct raw_sink *sink);
int raw_load_many(struct raw_store *s, const char *const *streams, struct raw_sink *sinks,
                  size_t count, int *statuses);
/* Give back what the sink holds, lent bytes by the plugin's release. */
void raw_drop(struct raw_sink *sink);
/* The sink's bytes and metadata are the record's. */
enum verdict raw_sink_is(struct trial *t, const struct raw_sink *sink,
                         struct raw_record want);

/* The stream holds the record, or nothing where the store keeps nothing. */
enum verdict raw_holds(struct trial *t, struct raw_store *s, struct raw_record want);
enum verdict raw_holds_nothing(struct trial *t, struct raw_store *s, const char *stream);
/* The sequence that the stream holds; 0: none. */
uint64_t raw_seq(struct raw_store *s, const char *stream);

/* ---- the store as a whole --------------------------------------------------------- */

struct raw_scan {
    bool (*entry)(struct raw_scan *scan, struct mako_str stream,
                  const struct mako_meta *meta, uint64_t blob_len); /* false stops */
    void *arg;
    unsigned count, after_stop;
    bool stopped;
};

int raw_scan(struct raw_store *s, const char *prefix, struct raw_scan *scan);

struct raw_compact {
    unsigned stop_at; /* step that says stop; 0: none */
    unsigned steps, after_stop;
};

int raw_compact(struct raw_store *s, struct raw_compact *compact);
/* counters: how many were told. */
int raw_stats(struct raw_store *s, unsigned *counters);

#endif

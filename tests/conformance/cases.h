/* tests/conformance/cases.h - what every store must do, as cases that know no test
 * framework and no plugin.
 *
 * A case gets an open store of a fresh, empty backend, which a configuration file
 * described.  What it may expect follows from what the store declares: its durability,
 * thread model, features, and which optional operations it has.  A case that needs more
 * than is promised says why it is skipped, or checks the opposite. */
#ifndef MAKO_TESTS_CASES_H
#define MAKO_TESTS_CASES_H

#include <limits.h>
#include <stdbool.h>
#include <string.h>

#include <mako/snapshot.h>
#include <mako/store_plugin.h>

enum verdict {
    PASS,
    FAIL,
    SKIP
};

/* One run of one case. */
struct trial {
    const char *conf;      /* the configuration file, with a store "test" in it */
    char root[PATH_MAX];   /* this run's own directory */
    char data[PATH_MAX];   /* MAKO_TEST_DIR: the backend's part of it */
    char opened[PATH_MAX]; /* the file that the store was opened from last */
    mako_store *store;     /* open; a case may close it, and open it again */
    struct mako_info info; /* strings die with the store */
    enum mako_durability durability;
    enum mako_threads threads;
    bool can_scan;
    char message[2048]; /* why it failed or was skipped */
};

struct test_case {
    const char *name;
    enum verdict (*run)(struct trial *t);
};

/* Where the test plugins are, and what their configuration files name, unless the
 * caller's environment says otherwise.  Before anything else. */
void trial_environment(void);

/* Run one case on the configuration file: fresh directory, open, run, close, clean. */
enum verdict case_run(const struct test_case *c, const char *conf, struct trial *t);

/* The same in two steps for a caller that brings an empty directory, root, and clears it
 * away; and that may do something else instead of the second. */
enum verdict trial_prepare(struct trial *t, const char *conf, const char *root);
enum verdict trial_run(const struct test_case *c, struct trial *t);

/* ---- for cases: opening --------------------------------------------------------- */

/* Open as the file says. */
enum verdict trial_open(struct trial *t);
/* Open with members of the store's entry replaced: a JSON object's inside, such as
 * "\"snapshot_every\": 5". */
enum verdict trial_open_with(struct trial *t, const char *members);
void trial_close(struct trial *t);
/* Close, and open again as it was opened last. */
enum verdict trial_reopen(struct trial *t);

static inline bool keeps(const struct trial *t)
{
    return t->durability >= MAKO_DURABLE_MEMORY;
}

static inline bool outlives(const struct trial *t)
{
    return t->durability >= MAKO_DURABLE_CRASH;
}

/* ---- for cases: saving and looking ------------------------------------------------ */

/* A state that can be told from every other: a pattern made from seed. */
void pattern(void *bytes, size_t len, uint64_t seed);
bool is_pattern(const void *bytes, size_t len, uint64_t seed);

/* What is saved by a case, and looked for by it. */
struct sample {
    uint64_t seq;
    uint32_t schema; /* 0: means 1 */
    const void *state;
    size_t len;
    uint64_t anchor;
    const char *kind;
    uint32_t flags;
};

int put(struct trial *t, const char *stream, struct sample s, struct mako_error *err);
/* A text as state, schema 1. */
int put_text(struct trial *t, const char *stream, uint64_t seq, const char *text);
/* Load whatever schema there is. */
int get(struct trial *t, const char *stream, mako_snapshot **snapshot,
        struct mako_error *err);
struct mako_save save_of(struct sample s);
struct mako_expect expect_range(uint32_t min, uint32_t max);

/* The stream holds exactly this sample, or nothing where the store keeps nothing. */
enum verdict holds(struct trial *t, const char *stream, struct sample s);
enum verdict holds_text(struct trial *t, const char *stream, uint64_t seq,
                        const char *text);
enum verdict holds_nothing(struct trial *t, const char *stream);

/* A counter of mako_store_stats(), or UINT64_MAX where there is none of that name. */
uint64_t counter(struct trial *t, const char *name);

/* ---- for cases: verdicts ----------------------------------------------------------- */

__attribute__((format(printf, 4, 5))) enum verdict trial_fail(struct trial *t,
                                                              const char *file, int line,
                                                              const char *format, ...);
__attribute__((format(printf, 2, 3))) enum verdict trial_skip(struct trial *t,
                                                              const char *format, ...);

/* Compare a status, naming both and the text. */
enum verdict trial_status(struct trial *t, const char *file, int line, const char *call,
                          int status, int want, const struct mako_error *err);

#define CHECK(condition)                                                \
    do {                                                                \
        if (!(condition))                                               \
            return trial_fail(t, __FILE__, __LINE__, "%s", #condition); \
    } while (0)
#define CHECKF(condition, ...)                                     \
    do {                                                           \
        if (!(condition))                                          \
            return trial_fail(t, __FILE__, __LINE__, __VA_ARGS__); \
    } while (0)
#define TRY(expression)                       \
    do {                                      \
        enum verdict verdict_ = (expression); \
        if (verdict_ != PASS)                 \
            return verdict_;                  \
    } while (0)
/* want, of a call that fills the variable err. */
#define STATUS(call, want)                                                    \
    do {                                                                      \
        err.text[0] = '\0';                                                   \
        int status_ = (call);                                                 \
        TRY(trial_status(t, __FILE__, __LINE__, #call, status_, want, &err)); \
    } while (0)

/* The lists, one a file. */
extern const struct test_case cases_basics[], cases_order[], cases_ids[], cases_sizes[],
    cases_gating[], cases_lifetime[], cases_batch[], cases_scan[], cases_arguments[],
    cases_damage[], cases_threads[], cases_process[];

#endif

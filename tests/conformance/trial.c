/* What all cases stand on: directories, configuration variants, samples, verdicts. */
#include "cases.h"

#include <errno.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

/* ---- verdicts --------------------------------------------------------------------- */

enum verdict trial_fail(struct trial *t, const char *file, int line, const char *format,
                        ...)
{
    const char *base = strrchr(file, '/');
    int used =
        snprintf(t->message, sizeof t->message, "%s:%d: ", base ? base + 1 : file, line);
    va_list args;

    va_start(args, format);
    (void)vsnprintf(t->message + used, sizeof t->message - (size_t)used, format, args);
    va_end(args);
    return FAIL;
}

enum verdict trial_skip(struct trial *t, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(t->message, sizeof t->message, format, args);
    va_end(args);
    return SKIP;
}

enum verdict trial_status(struct trial *t, const char *file, int line, const char *call,
                          int status, int want, const struct mako_error *err)
{
    char begin[128];

    if (status != want)
        return trial_fail(t, file, line, "%.300s is %s, not %s: %s", call,
                          mako_status_name(status), mako_status_name(want), err->text);
    if (status == MAKO_OK || !t->store)
        return PASS;
    (void)snprintf(begin, sizeof begin, "store 'test' (%s): ", t->info.plugin);
    if (strncmp(err->text, begin, strlen(begin)) != 0 || !err->text[strlen(begin)])
        return trial_fail(t, file, line, "%.300s: the text '%s' does not begin with '%s'",
                          call, err->text, begin);
    return PASS;
}

/* ---- opening ---------------------------------------------------------------------- */

static bool no_entry(void *arg, struct mako_str stream, const struct mako_meta *meta,
                     uint64_t size)
{
    (void)arg, (void)stream, (void)meta, (void)size;
    return false;
}

static unsigned word_index(const char *word, const char *const *words)
{
    unsigned i = 0;

    while (words[i] && strcmp(words[i], word) != 0)
        i++;
    return i;
}

static void read_info(struct trial *t)
{
    static const char *const durabilities[] = {"none", "memory", "crash", "power", NULL};
    static const char *const models[] = {"plugin", "store", "parallel", NULL};

    t->info = (struct mako_info){.struct_size = sizeof t->info};
    mako_store_info(t->store, &t->info);
    t->durability = (enum mako_durability)word_index(t->info.durability, durabilities);
    t->threads = (enum mako_threads)word_index(t->info.threads, models);
    t->can_scan =
        mako_store_scan(t->store, NULL, no_entry, NULL, NULL) != MAKO_E_UNSUPPORTED;
}

static enum verdict open_file(struct trial *t, const char *path)
{
    struct mako_error err = {""};
    int status = mako_store_open(path, "test", &t->store, &err);

    if (path != t->opened)
        (void)snprintf(t->opened, sizeof t->opened, "%s", path);
    CHECKF(status == MAKO_OK, "%s cannot be opened: %s", path, err.text);
    read_info(t);
    CHECKF(t->durability <= MAKO_DURABLE_POWER && t->threads <= MAKO_THREADS_PARALLEL,
           "durability '%s', threads '%s'", t->info.durability, t->info.threads);
    return PASS;
}

enum verdict trial_open(struct trial *t)
{
    return open_file(t, t->conf);
}

enum verdict trial_open_with(struct trial *t, const char *members)
{
    char text[1024], path[PATH_MAX + 16];
    json_t *root = json_load_file(t->conf, 0, NULL), *entry, *more;
    int failed;

    (void)snprintf(text, sizeof text, "{%s}", members);
    more = json_loads(text, 0, NULL);
    entry = json_object_get(json_object_get(root, "stores"), "test");
    (void)snprintf(path, sizeof path, "%s/variant.json", t->root);
    failed = !entry || !more || json_object_update(entry, more) ||
             json_dump_file(root, path, JSON_INDENT(2));
    json_decref(more);
    json_decref(root);
    CHECKF(!failed, "no variant of %s with %s", t->conf, members);
    return open_file(t, path);
}

void trial_close(struct trial *t)
{
    mako_store_unref(t->store);
    t->store = NULL;
}

enum verdict trial_reopen(struct trial *t)
{
    trial_close(t);
    return open_file(t, t->opened);
}

static int drop_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

/* A directory for this run alone, whose name goes to root. */
static enum verdict make_root(struct trial *t, char *root, size_t room)
{
    const char *tmp = getenv("TMPDIR");

    (void)snprintf(root, room, "%s/mako-conformance.XXXXXX", tmp && *tmp ? tmp : "/tmp");
    CHECKF(mkdtemp(root), "%s: %s", root, strerror(errno));
    return PASS;
}

enum verdict trial_prepare(struct trial *t, const char *conf, const char *root)
{
    memset(t, 0, sizeof *t);
    t->conf = conf;
    CHECK(snprintf(t->root, sizeof t->root, "%.4000s", root) > 0);
    CHECK(snprintf(t->data, sizeof t->data, "%.4000s/data", t->root) > 0);
    CHECKF(mkdir(t->data, 0700) == 0, "%s: %s", t->data, strerror(errno));
    CHECK(setenv("MAKO_TEST_DIR", t->data, 1) == 0);
    return PASS;
}

enum verdict trial_run(const struct test_case *c, struct trial *t)
{
    enum verdict verdict = trial_open(t);

    if (verdict == PASS)
        verdict = c->run(t);
    trial_close(t);
    return verdict;
}

enum verdict case_run(const struct test_case *c, const char *conf, struct trial *t)
{
    char root[PATH_MAX];
    enum verdict verdict = make_root(t, root, sizeof root);

    if (verdict != PASS)
        return verdict;
    verdict = trial_prepare(t, conf, root);
    if (verdict == PASS)
        verdict = trial_run(c, t);
    if (nftw(root, drop_entry, 16, FTW_DEPTH | FTW_PHYS) != 0 && verdict == PASS)
        verdict = trial_fail(t, __FILE__, __LINE__, "%s: %s", root, strerror(errno));
    return verdict;
}

/* ---- samples ------------------------------------------------------------------------
 */

static unsigned char pattern_byte(size_t at, uint64_t seed)
{
    uint64_t v = (seed + 1) * 0x9e3779b97f4a7c15u ^ (at / 8 + 1) * 0xd6e8feb86659fd93u;

    v ^= v >> 29;
    v *= 0xbf58476d1ce4e5b9u;
    return (unsigned char)(v >> (8 * (at % 8)));
}

void pattern(void *bytes, size_t len, uint64_t seed)
{
    unsigned char *p = bytes;

    for (size_t i = 0; i < len; i++)
        p[i] = pattern_byte(i, seed);
}

bool is_pattern(const void *bytes, size_t len, uint64_t seed)
{
    const unsigned char *p = bytes;

    for (size_t i = 0; i < len; i++)
        if (p[i] != pattern_byte(i, seed))
            return false;
    return true;
}

struct mako_save save_of(struct sample s)
{
    return (struct mako_save){.struct_size = sizeof(struct mako_save),
                              .flags = s.flags,
                              .seq = s.seq,
                              .anchor = s.anchor,
                              .schema = s.schema ? s.schema : 1,
                              .kind = s.kind,
                              .state = s.state,
                              .state_len = s.len};
}

int put(struct trial *t, const char *stream, struct sample s, struct mako_error *err)
{
    struct mako_save save = save_of(s);

    return mako_store_save(t->store, stream, &save, err);
}

int put_text(struct trial *t, const char *stream, uint64_t seq, const char *text)
{
    return put(t, stream, (struct sample){.seq = seq, .state = text, .len = strlen(text)},
               NULL);
}

struct mako_expect expect_range(uint32_t min, uint32_t max)
{
    return (struct mako_expect){
        .struct_size = sizeof(struct mako_expect), .schema_min = min, .schema_max = max};
}

int get(struct trial *t, const char *stream, mako_snapshot **snapshot,
        struct mako_error *err)
{
    struct mako_expect any = expect_range(1, UINT32_MAX);

    return mako_store_load(t->store, stream, &any, snapshot, NULL, err);
}

static enum verdict compare(struct trial *t, const char *stream,
                            const mako_snapshot *snapshot, struct sample s)
{
    struct mako_meta meta = mako_snapshot_meta(snapshot);
    size_t len = SIZE_MAX;
    const void *state = mako_snapshot_state(snapshot, &len);

    CHECKF(meta.seq == s.seq, "'%.60s': sequence %llu, not %llu", stream,
           (unsigned long long)meta.seq, (unsigned long long)s.seq);
    CHECKF(meta.schema == (s.schema ? s.schema : 1), "'%.60s': schema %u", stream,
           meta.schema);
    CHECK(meta.reserved == 0);
    CHECK(mako_snapshot_anchor(snapshot) == s.anchor);
    CHECKF(len == s.len, "'%.60s': %zu bytes, not %zu", stream, len, s.len);
    CHECKF(len == 0 || memcmp(state, s.state, len) == 0, "'%.60s': other bytes", stream);
    return PASS;
}

enum verdict holds_nothing(struct trial *t, const char *stream)
{
    mako_snapshot *snapshot = NULL;
    struct mako_error err;

    STATUS(get(t, stream, &snapshot, &err), MAKO_NOT_FOUND);
    CHECK(snapshot == NULL);
    return PASS;
}

enum verdict holds(struct trial *t, const char *stream, struct sample s)
{
    mako_snapshot *snapshot = NULL;
    struct mako_error err;
    enum verdict verdict;

    if (!keeps(t))
        return holds_nothing(t, stream);
    STATUS(get(t, stream, &snapshot, &err), MAKO_OK);
    CHECK(snapshot != NULL);
    verdict = compare(t, stream, snapshot, s);
    mako_snapshot_unref(snapshot);
    return verdict;
}

enum verdict holds_text(struct trial *t, const char *stream, uint64_t seq,
                        const char *text)
{
    return holds(t, stream,
                 (struct sample){.seq = seq, .state = text, .len = strlen(text)});
}

struct wanted_counter {
    const char *name;
    uint64_t value;
};

static void note_counter(void *arg, const char *name, uint64_t value)
{
    struct wanted_counter *wanted = arg;

    if (strcmp(name, wanted->name) == 0)
        wanted->value = value;
}

uint64_t counter(struct trial *t, const char *name)
{
    struct wanted_counter wanted = {name, UINT64_MAX};

    if (mako_store_stats(t->store, note_counter, &wanted, NULL) != MAKO_OK)
        return UINT64_MAX;
    return wanted.value;
}

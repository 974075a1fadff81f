/* How much stack calls take, and that all of them do their work on threads of 64 KiB.
 *
 * Measured: what a call touched of a stack that was painted before.  The thread's own
 * part of it (its descriptor, and the thread-local data of all libraries) counts. */
#include "life.h"

#include <mako/json.h>
#include <mako/process.h>
#include <stdlib.h>
#include <sys/mman.h>

enum {
    SMALL = 64 * 1024,
    MOST = 48 * 1024, /* of it, so that a caller has some too */
    ROOM = 4 * 1024 * 1024,
    PAINT = 0xa5
};

struct run {
    struct trial *t;
    enum verdict (*call)(struct trial *t);
    enum verdict verdict;
};

static struct ledger *book; /* of the case */

static void *run_call(void *arg)
{
    struct run *run = arg;

    run->verdict = run->call(run->t);
    return NULL;
}

/* ---- what is called --------------------------------------------------------------- */

static enum verdict nothing(struct trial *t)
{
    (void)t;
    return PASS;
}

static enum verdict open_and_close(struct trial *t)
{
    return trial_reopen(t);
}

static enum verdict everything(struct trial *t)
{
    struct work work = {.t = t, .ledger = book, .count = 0};
    struct worker w = {.work = &work, .seed = life_seed, .state = malloc(LEN_MAX)};

    CHECK(w.state != NULL);
    for (int i = 0; i < 300; i++)
        work_once(&w);
    free(w.state);
    return ledger_check(t, work.ledger);
}

static enum verdict the_largest(struct trial *t)
{
    size_t len = 2 << 20;
    unsigned char *bytes = malloc(len + 1);
    struct mako_error err;

    CHECK(bytes != NULL);
    pattern(bytes, len, 9);
    STATUS(put(t, "large", (struct sample){.seq = 1, .state = bytes, .len = len}, &err),
           MAKO_OK);
    TRY(holds(t, "large", (struct sample){.seq = 1, .state = bytes, .len = len}));
    STATUS(
        put(t, "large", (struct sample){.seq = 2, .state = bytes, .len = len + 1}, &err),
        MAKO_E_LIMIT);
    free(bytes);
    return PASS;
}

static bool see_entry(void *arg, struct mako_str stream, const struct mako_meta *meta,
                      uint64_t size)
{
    (void)stream, (void)meta, (void)size;
    ++*(unsigned *)arg;
    return true;
}

static enum verdict long_names_and_scans(struct trial *t)
{
    char stream[1025];
    unsigned seen = 0;

    memset(stream, 'x', sizeof stream - 1);
    stream[sizeof stream - 1] = '\0';
    for (unsigned i = 0; i < 200; i++) {
        (void)snprintf(stream, sizeof stream, "%03u", i);
        stream[3] = 'x';
        CHECK(put_text(t, stream, 1, "long") == MAKO_OK);
    }
    CHECK(mako_store_scan(t->store, NULL, see_entry, &seen, NULL) == MAKO_OK);
    CHECK(seen >= 200 || !keeps(t));
    return PASS;
}

static void see_line(void *arg, const char *key, const char *value)
{
    (void)arg, (void)key, (void)value;
}

static enum verdict descriptions(struct trial *t)
{
    const struct mako_source source = {.struct_size = sizeof source, .path = t->conf};
    struct mako_error err;

    CHECK(mako_config_describe(&source, see_line, NULL, &err) == MAKO_OK);
    CHECK(mako_plugin_describe(t->conf, t->info.plugin_path, see_line, NULL, &err) ==
          MAKO_OK);
    return PASS;
}

/* Refused, whatever it is, with a sentence. */
static enum verdict refuse_text(struct trial *t, const char *text)
{
    mako_store *store = NULL;
    struct mako_error err = {""};
    int status = mako_store_open_json(text, strlen(text), NULL, &store, &err);

    CHECKF(status == MAKO_E_CONFIG && err.text[0] != '\0', "%d: %s", status, err.text);
    return PASS;
}

static enum verdict refusals(struct trial *t)
{
    mako_store *store = NULL;
    struct mako_error err;
    char name[3000];

    TRY(refuse_text(t, "{\"stores\": {\"a\": {\"plugin\": \"nowhere\"}}}"));
    TRY(refuse_text(t, "{\"stores\": {\"a\": {\"plugin\": \"noop\", \"plgin\": 1}}}"));
    TRY(refuse_text(t, "{\"stores\": {\"a\": {\"plugin\": \"noop\", \"durability\": "
                       "\"power\"}}}"));
    TRY(refuse_text(t, "{\"stores\": "));
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    CHECK(mako_store_open(name, NULL, &store, &err) == MAKO_E_CONFIG);
    CHECK(mako_store_open(t->conf, name, &store, &err) == MAKO_E_CONFIG);
    name[0] = '/';
    CHECK(mako_plugin_describe(NULL, name, see_line, NULL, &err) == MAKO_E_CONFIG);
    CHECK(put_text(t, "", 1, "x") == MAKO_E_INVALID);
    CHECK(put_text(t, name, 1, "x") == MAKO_E_INVALID);
    return PASS;
}

/* Text of brackets, depth deep. */
static char *nested(const char *before, size_t depth, const char *after)
{
    size_t head = strlen(before), tail = strlen(after);
    char *text = malloc(head + 2 * depth + tail + 1);

    if (text == NULL)
        return NULL;
    memcpy(text, before, head);
    memset(text + head, '[', depth);
    memset(text + head + depth, ']', depth);
    memcpy(text + head + 2 * depth, after, tail + 1);
    return text;
}

/* A configuration is shallow; whatever else comes is refused, however deep it is. */
static enum verdict deep_configurations(struct trial *t)
{
    static const size_t depths[] = {10, 100, 1000, 2000, 100000};
    enum verdict verdict = PASS;

    for (size_t i = 0; verdict == PASS && i < sizeof depths / sizeof depths[0]; i++) {
        char *text = nested("{\"stores\": {\"a\": {\"plugin\": \"noop\", \"options\": "
                            "{\"x\": ",
                            depths[i], "}}}}");

        CHECK(text != NULL);
        verdict = refuse_text(t, text);
        free(text);
    }
    return verdict;
}

/* Documents of programs are theirs: this deep is enough for most, on a small stack too.
 */
static enum verdict json_documents(struct trial *t)
{
    struct mako_save save = save_of((struct sample){.seq = 1});
    struct mako_expect any = expect_range(1, 1);
    char *text = nested("[", 60, "]");
    json_t *made = json_loads(text, 0, NULL), *again = NULL;
    struct mako_error err;

    free(text);
    CHECK(made != NULL);
    STATUS(mako_json_save(t->store, "document", &save, made, &err), MAKO_OK);
    if (keeps(t)) {
        STATUS(mako_json_load(t->store, "document", &any, &again, NULL, &err), MAKO_OK);
        CHECK(json_equal(made, again));
    }
    json_decref(again);
    json_decref(made);
    return PASS;
}

/* ---- an aggregate ----------------------------------------------------------------- */

static void *make_count(void *app)
{
    (void)app;
    return calloc(1, sizeof(uint64_t));
}

static void free_count(void *app, void *state)
{
    (void)app;
    free(state);
}

static int apply(void *app, void *state, const struct mako_event *event,
                 struct mako_error *err)
{
    (void)app, (void)err;
    *(uint64_t *)state = event->seq;
    return 0;
}

static int encode(void *app, const void *state, mako_bytes *out, struct mako_error *err)
{
    (void)app, (void)err;
    return mako_bytes_put(out, state, sizeof(uint64_t));
}

static int decode(void *app, uint32_t schema, const void *bytes, size_t len, void **state,
                  struct mako_error *err)
{
    (void)schema;
    *state = make_count(app);
    if (*state == NULL || len != sizeof(uint64_t))
        return mako_fail(err, MAKO_E_CALLBACK, "%zu bytes", len);
    memcpy(*state, bytes, len);
    return 0;
}

static int read_log(void *app, const char *stream, uint64_t from, mako_feed *feed,
                    struct mako_error *err)
{
    (void)app, (void)stream, (void)err;
    for (struct mako_event event = {.seq = from}; event.seq <= 100; event.seq++) {
        int stop = mako_feed_event(feed, &event);

        if (stop != 0)
            return stop;
    }
    return 0;
}

static const struct mako_aggregate counts = {.struct_size = sizeof counts,
                                             .schema = 1,
                                             .create = make_count,
                                             .destroy = free_count,
                                             .apply = apply,
                                             .encode = encode,
                                             .decode = decode,
                                             .read = read_log};

static enum verdict processes(struct trial *t)
{
    struct mako_error err;

    for (int i = 0; i < 2; i++) {
        mako_process *process;

        STATUS(mako_process_open(t->store, &counts, "process", NULL, &process, &err),
               MAKO_OK);
        CHECK(mako_process_seq(process) == 100);
        CHECK(mako_process_catch_up(process, &err) == MAKO_OK);
        CHECK(mako_process_take(process, MAKO_TAKE_NOW, &err) >= MAKO_OK);
        mako_process_close(process);
    }
    return PASS;
}

/* ---- measuring -------------------------------------------------------------------- */

static const struct {
    const char *name;
    enum verdict (*call)(struct trial *t);
} calls[] = {{"nothing", nothing},
             {"opening", open_and_close},
             {"everything", everything},
             {"the largest", the_largest},
             {"long names, scans", long_names_and_scans},
             {"descriptions", descriptions},
             {"refusals", refusals},
             {"deep configurations", deep_configurations},
             {"JSON documents", json_documents},
             {"processes", processes}};

#define CALLS (sizeof calls / sizeof calls[0])

/* On a stack of size bytes at base, or one of the C library's own. */
static enum verdict run_on(struct trial *t, size_t call, void *base, size_t size)
{
    struct run run = {.t = t, .call = calls[call].call};
    pthread_attr_t attr;
    pthread_t thread;

    pthread_attr_init(&attr);
    CHECK((base != NULL ? pthread_attr_setstack(&attr, base, size)
                        : pthread_attr_setstacksize(&attr, size)) == 0);
    CHECK(pthread_create(&thread, &attr, run_call, &run) == 0);
    (void)pthread_join(thread, NULL);
    pthread_attr_destroy(&attr);
    return run.verdict;
}

static enum verdict measure(struct trial *t, size_t call)
{
    unsigned char *stack = mmap(NULL, ROOM, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    size_t unused = 0;
    enum verdict verdict;

    CHECK(stack != MAP_FAILED);
    memset(stack, PAINT, ROOM);
    verdict = run_on(t, call, stack, ROOM);
    while (unused < ROOM && stack[unused] == PAINT)
        unused++;
    (void)munmap(stack, ROOM);
    (void)printf("%6zu bytes of stack: %s\n", ROOM - unused, calls[call].name);
    CHECKF(verdict != PASS || ROOM - unused <= MOST, "%zu bytes of stack for %s",
           ROOM - unused, calls[call].name);
    return verdict;
}

static enum verdict how_much_calls_take(struct trial *t)
{
    enum verdict verdict = PASS;

    if (SANITIZED)
        return trial_skip(t, "a sanitizer's stacks are larger");
    book = ledger_new();
    for (size_t i = 0; i < CALLS; i++) {
        enum verdict one = measure(t, i);

        if (one == FAIL)
            verdict = one;
    }
    return verdict;
}

static enum verdict small_stacks(struct trial *t)
{
    struct work work = {.t = t, .count = 3, .stack = SMALL};

    if (SANITIZED)
        return trial_skip(t, "a sanitizer's stacks are larger");
    book = work.ledger = ledger_new();
    CHECK(book != NULL);
    for (size_t i = 0; i < CALLS; i++)
        TRY(run_on(t, i, NULL, SMALL));
    TRY(trial_reopen(t));
    if (!outlives(t))
        memset(book, 0, sizeof *book);
    TRY(work_start(&work));
    ledger_wait(work.ledger, life_rounds);
    work_stop(&work);
    return ledger_check(t, work.ledger);
}

static const struct test_case cases[] = {{"how_much_calls_take", how_much_calls_take},
                                         {"small_stacks", small_stacks},
                                         {NULL, NULL}};

int main(int argc, char **argv)
{
    return life_main(argc, argv, cases, 200);
}

/* Every way a process may end while its stores are open and calls are under way: it ends
 * with the code it asked for, at once, and what was acknowledged is there afterwards. */
#include "life.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATIENCE_S 60
#define CODE       7 /* what each ending asks for */

/* The process that ends. */
static struct {
    struct trial own;
    struct work work;
    mako_snapshot *kept;
    bool failed;
} mortal;

/* ---- handlers --------------------------------------------------------------------- */

/* Uses the store that is open, while others do. */
static void use_store(void)
{
    struct worker w = {.work = &mortal.work, .index = 3, .state = malloc(LEN_MAX)};

    for (int i = 0; w.state != NULL && i < 10; i++)
        work_once(&w);
    free(w.state);
    if (mortal.work.ledger->errors != 0)
        _exit(1);
}

/* What a careful program does. */
static void close_store(void)
{
    work_stop(&mortal.work);
    use_store();
    mako_snapshot_unref(mortal.kept);
    trial_close(&mortal.own);
}

/* Opens one where the other is closed, or open. */
static void open_another(void)
{
    mako_store *store = NULL;
    static const char text[] =
        "{\"stores\": {\"a\": {\"plugin\": \"memory\", \"durability\": \"memory\"}}}";

    if (mako_store_open_json(text, sizeof text - 1, "a", &store, NULL) != MAKO_OK)
        _exit(2);
    mako_store_unref(store);
}

/* ---- endings ---------------------------------------------------------------------- */

static void by_exit(void)
{
    exit(CODE);
}

static void by_exit_with_handlers_that_use_it(void)
{
    (void)atexit(open_another);
    (void)atexit(use_store);
    exit(CODE);
}

static void by_exit_with_a_handler_that_closes(void)
{
    (void)atexit(close_store);
    exit(CODE);
}

static void by_underscore_exit(void)
{
    _exit(CODE);
}

static void by_quick_exit(void)
{
    (void)at_quick_exit(use_store);
    quick_exit(CODE);
}

static void *exit_here(void *arg)
{
    const struct ledger *ledger = arg;

    ledger_wait(ledger, 10);
    exit(CODE);
}

static void by_another_thread(void)
{
    pthread_t thread;

    (void)atexit(use_store);
    if (pthread_create(&thread, NULL, exit_here, mortal.work.ledger) == 0)
        (void)pthread_join(thread, NULL);
}

static void by_another_thread_after_main(void)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, exit_here, mortal.work.ledger) == 0)
        pthread_exit(NULL);
}

/* ---- the process ------------------------------------------------------------------ */

static _Noreturn void live_and_end(const struct trial *t, struct ledger *ledger,
                                   void (*end)(void), uint64_t seed)
{
    (void)alarm(PATIENCE_S);
    mortal.own.conf = t->conf;
    mortal.work = (struct work){
        .t = &mortal.own, .ledger = ledger, .count = 2 + (unsigned)seed % 2};
    if (trial_open(&mortal.own) != PASS || work_start(&mortal.work) != PASS) {
        (void)fprintf(stderr, "%s\n", mortal.own.message);
        _exit(3);
    }
    ledger_wait(ledger, 1 + life_draw(&seed) % 60);
    if (get(&mortal.own, "life/0/0", &mortal.kept, NULL) < 0)
        _exit(4);
    end();
    _exit(5);
}

static enum verdict end_once(struct trial *t, void (*end)(void), uint64_t seed)
{
    struct ledger *ledger = ledger_new();
    pid_t child;
    int code;

    CHECK(ledger != NULL);
    trial_close(t);
    child = fork();
    if (child == 0)
        live_and_end(t, ledger, end, seed);
    code = life_wait(child);
    CHECKF(code == CODE, "the process ended with %d: %s", code, ledger->text);
    TRY(trial_open(t));
    return outlives(t) ? ledger_check(t, ledger) : ledger_errors(t, ledger);
}

static enum verdict end_often(struct trial *t, void (*end)(void))
{
    char data[sizeof t->data + 24];

    for (unsigned long round = 0; round < life_rounds; round++) {
        (void)snprintf(data, sizeof data, "%s-%lu", t->data, round);
        CHECK(mkdir(data, 0700) == 0 && setenv("MAKO_TEST_DIR", data, 1) == 0);
        TRY(trial_reopen(t));
        TRY(end_once(t, end, life_seed + round));
    }
    return PASS;
}

#define ENDING(name)                                 \
    static enum verdict ends_##name(struct trial *t) \
    {                                                \
        return end_often(t, name);                   \
    }

ENDING(by_exit)
ENDING(by_exit_with_handlers_that_use_it)
ENDING(by_exit_with_a_handler_that_closes)
ENDING(by_underscore_exit)
ENDING(by_quick_exit)
ENDING(by_another_thread)
ENDING(by_another_thread_after_main)

static const struct test_case cases[] = {
    {"by_exit", ends_by_exit},
    {"by_exit_with_handlers_that_use_it", ends_by_exit_with_handlers_that_use_it},
    {"by_exit_with_a_handler_that_closes", ends_by_exit_with_a_handler_that_closes},
    {"by_underscore_exit", ends_by_underscore_exit},
    {"by_quick_exit", ends_by_quick_exit},
    {"by_another_thread", ends_by_another_thread},
    {"by_another_thread_after_main", ends_by_another_thread_after_main},
    {NULL, NULL}};

int main(int argc, char **argv)
{
    return life_main(argc, argv, cases, 4);
}

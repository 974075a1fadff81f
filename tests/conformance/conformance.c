/* The conformance suite as a Criterion program: every case against the configuration
 * file that MAKO_TEST_CONF names.  Suite = the file's name, test = the case, each in a
 * process of its own:
 *
 *     MAKO_TEST_CONF=tests/conformance/file.json conformance --filter 'file/round_trip'
 *
 * With MAKO_TEST_THREADS in the environment only the cases that have several threads. */
#include "cases.h"

#include <stdlib.h>
#include <unistd.h>

#include <criterion/criterion.h>

enum {
    SECONDS_A_CASE = 240
};

static const struct test_case *const case_lists[] = {
    cases_basics,   cases_order,   cases_ids,  cases_sizes,     cases_gating,
    cases_lifetime, cases_batch,   cases_scan, cases_arguments, cases_damage,
    cases_threads,  cases_process, NULL};
static const struct test_case *const lists_with_threads[] = {cases_threads, NULL};

static const struct test_case *case_find(const char *name)
{
    for (const struct test_case *const *list = case_lists; *list; list++)
        for (const struct test_case *c = *list; c->name; c++)
            if (strcmp(c->name, name) == 0)
                return c;
    return NULL;
}

/* There only in a build with LeakSanitizer; turns a leak into an ordinary failure. */
extern int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

/* Runs in the worker: of what the runner knew, only names and environment are here. */
static void body(void)
{
    const struct test_case *c = case_find(criterion_current_test->name);
    const char *conf = getenv("MAKO_TEST_CONF");
    static struct trial t;
    enum verdict verdict;

    cr_assert(c && conf, "lost the case %s", criterion_current_test->name);
    verdict = case_run(c, conf, &t);
    cr_assert(verdict != FAIL, "%s", t.message);
    cr_assert(!__lsan_do_recoverable_leak_check || !__lsan_do_recoverable_leak_check(),
              "%s leaked memory (report above)", c->name);
    if (verdict == SKIP)
        cr_skip("%s", t.message);
}

static void trampoline(void)
{
    criterion_internal_test_setup();
    criterion_internal_test_main(body);
    criterion_internal_test_teardown();
}

/* "dir/file-crash.json" is the suite "file-crash". */
static void suite_name(const char *conf, char *out, size_t room)
{
    const char *base = strrchr(conf, '/');
    size_t len;

    (void)snprintf(out, room, "%s", base ? base + 1 : conf);
    len = strlen(out);
    if (len > 5 && strcmp(out + len - 5, ".json") == 0)
        out[len - 5] = '\0';
}

struct row {
    struct criterion_test_extra_data extra;
    char id[160];
};

static void register_case(struct criterion_test_set *set, const struct test_case *c,
                          const char *suite, struct row *row)
{
    (void)snprintf(row->id, sizeof row->id, "%s/%s", suite, c->name);
    row->extra = (struct criterion_test_extra_data){.lang_ = CR_LANG_C,
                                                    .compiler_ = CR_COMPILER_,
                                                    .kind_ = CR_TEST_NORMAL,
                                                    .identifier_ = row->id,
                                                    .file_ = __FILE__,
                                                    .line_ = __LINE__,
                                                    .timeout = SECONDS_A_CASE};
    struct criterion_test test = {c->name, suite, trampoline, &row->extra};
    criterion_register_test(set, &test);
}

static int run(int argc, char **argv, const char *conf)
{
    static struct row rows[200];
    struct criterion_test_set *set = criterion_initialize();
    const struct test_case *const *list =
        getenv("MAKO_TEST_THREADS") ? lists_with_threads : case_lists;
    char suite[64];
    size_t used = 0;
    int failed = 0;

    suite_name(conf, suite, sizeof suite);
    for (; *list; list++)
        for (const struct test_case *c = *list; c->name; c++)
            if (used < sizeof rows / sizeof rows[0])
                register_case(set, c, suite, &rows[used++]);
    if (used == sizeof rows / sizeof rows[0])
        failed = 2; /* a case would be lost */
    else if (criterion_handle_args(argc, argv, true))
        failed = !criterion_run_all_tests(set);
    criterion_finalize(set);
    return failed;
}

int main(int argc, char **argv)
{
    const char *conf = getenv("MAKO_TEST_CONF");

    if (!conf || access(conf, R_OK) != 0) {
        (void)fprintf(stderr, "MAKO_TEST_CONF must name a configuration file\n");
        return 2;
    }
    trial_environment();
    return run(argc, argv, conf);
}

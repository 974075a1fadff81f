/* The catalogue: which cases there are, at which level, and which of them are asked for.
 *
 * The core's cases are those of the project's own suite, but for the ones that need a
 * test plugin's control to damage what is stored, and for those that no plugin can fail.
 */
#include "kit.h"

#include <fnmatch.h>

#include "raw.h"

static const struct test_case *const core_lists[] = {
    cases_basics,    cases_order,    cases_ids,     cases_sizes,
    cases_gating,    cases_lifetime, cases_batch,   cases_scan,
    cases_arguments, cases_threads,  cases_process, NULL};

const struct test_case *const raw_lists[] = {
    raw_descriptor,   raw_open_cases,    raw_save_cases,  raw_load_cases,
    raw_lend_cases,   raw_scan_cases,    raw_batch_cases, raw_whole_cases,
    raw_thread_cases, raw_process_cases, raw_fault_cases, NULL};

/* Rules of the library alone. */
static const char *const of_the_library[] = {"info_is_complete",
                                             "should_take",
                                             "due_follows_the_configuration",
                                             "what_is_no_id",
                                             "nothing_is_ungated_by_accident",
                                             "null_references_are_fine",
                                             "a_child_is_told_why",
                                             "none_at_once",
                                             "calling_from_inside_a_scan",
                                             "who_cannot_scan_says_so",
                                             "bad_saves",
                                             "bad_loads",
                                             "no_error_text_is_wanted",
                                             "info_fills_what_there_is_room_for",
                                             "bad_openings",
                                             "more_durability_than_promised",
                                             NULL};

enum {
    CASES_MAX = 400
};

static struct kit_case all[CASES_MAX + 1], chosen[CASES_MAX + 1];

static bool is_of_the_library(const char *name)
{
    for (const char *const *of = of_the_library; *of; of++)
        if (strcmp(*of, name) == 0)
            return true;
    return false;
}

static size_t add_lists(size_t used, const char *level,
                        const struct test_case *const *lists)
{
    for (; *lists; lists++)
        for (const struct test_case *c = *lists; c->name && used < CASES_MAX; c++)
            if (!is_of_the_library(c->name))
                all[used++] = (struct kit_case){.level = level, .test = c};
    return used;
}

static const struct kit_case *all_cases(void)
{
    if (!all[0].test)
        (void)add_lists(add_lists(0, "core", core_lists), "raw", raw_lists);
    return all;
}

void kit_case_name(const struct kit_case *c, char *out, size_t room)
{
    (void)snprintf(out, room, "%s/%s", c->level, c->test->name);
}

static bool wanted(const struct kit_options *options, const struct kit_case *c)
{
    char full[200];

    if (options->level && strcmp(options->level, c->level) != 0)
        return false;
    if (!options->filters[0])
        return true;
    kit_case_name(c, full, sizeof full);
    for (const char *const *filter = options->filters; *filter; filter++)
        if (fnmatch(*filter, full, 0) == 0 || fnmatch(*filter, c->test->name, 0) == 0)
            return true;
    return false;
}

const struct kit_case *kit_cases(const struct kit_options *options)
{
    size_t used = 0;

    for (const struct kit_case *c = all_cases(); c->test; c++)
        if (wanted(options, c))
            chosen[used++] = *c;
    chosen[used] = (struct kit_case){.level = NULL};
    return chosen;
}

const struct kit_case *kit_case_named(const char *full)
{
    char name[200];

    for (const struct kit_case *c = all_cases(); c->test; c++) {
        kit_case_name(c, name, sizeof name);
        if (strcmp(name, full) == 0)
            return c;
    }
    return NULL;
}

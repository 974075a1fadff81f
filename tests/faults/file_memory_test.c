/* tests/faults/file_memory_test.c - every allocation of the file plugin fails: each one
 * once, and all for a while.  What may happen then stands in trial.h. */
#include <criterion/criterion.h>
#include <errno.h>

#include "inject.h"
#include "trial.h"

TestSuite(file_memory, .init = trial_begin, .fini = trial_end, .timeout = 550);

static void run_all(long times, long stride)
{
    long runs = trial_run_all(
        &(struct fault){
            .name = "memory", .call = INJECT_MEMORY, .error = ENOMEM, .times = times},
        stride * TRIAL_PART);

    (void)fprintf(stderr, "memory, %ld times: %ld runs\n", times, runs);
    /* Fewest are 49 to 52: each 17th of some 850, a few more or less by chance. */
    cr_assert_gt(runs, 30 / TRIAL_PART);
}

Test(file_memory, every_allocation_fails_once)
{
    run_all(1, 1);
}

Test(file_memory, allocations_fail_for_a_while)
{
    run_all(2, 7);
    run_all(30, 17);
}

Test(file_memory, no_memory_from_then_on)
{
    run_all(INJECT_FOREVER, 7);
}

/* tests/faults/file_calls_test.c - every system call of the file plugin fails: each one
 * once, each one from then on, and all that a disk serves for a while.  What may happen
 * then stands in trial.h. */
#include <criterion/criterion.h>
#include <errno.h>

#include "inject.h"
#include "trial.h"

TestSuite(file_calls, .init = trial_begin, .fini = trial_end, .timeout = 550);

struct plan {
    const char *name;
    enum inject_call call;
    const int *errors; /* ends with 0 */
};

static bool is_invisible(int error)
{
    return error == EINTR || error < 0;
}

/* Once, and from then on. */
static void run_plan(const struct plan *plan)
{
    long runs = 0, once = 0;

    for (size_t i = 0; plan->errors[i] != 0 && (i == 0 || TRIAL_PART < 10); i++) {
        struct fault fault = {.name = plan->name,
                              .call = (int)plan->call,
                              .error = plan->errors[i],
                              .times = 1,
                              .invisible = is_invisible(plan->errors[i])};

        once += trial_run_all(&fault, i == 0 ? TRIAL_PART : 3 * TRIAL_PART);
        fault.times = INJECT_FOREVER;
        if (!fault.invisible && fault.error != ENOENT)
            runs += trial_run_all(&fault, i == 0 ? 2 * TRIAL_PART : 7 * TRIAL_PART);
    }
    (void)fprintf(stderr, "%s: %ld runs, %ld with a single failure\n", plan->name,
                  runs + once, once);
    cr_assert_gt(once, 0);
}

#define RUN(which, ...)                             \
    run_plan(&(struct plan){.name = #which,         \
                            .call = INJECT_##which, \
                            .errors = (const int[]){__VA_ARGS__, 0}})

Test(file_calls, flushes)
{
    RUN(FDATASYNC, EIO, ENOSPC, EDQUOT, EINTR);
    RUN(FSYNC, EIO, ENOSPC, EINTR);
}

Test(file_calls, writes)
{
    RUN(PWRITEV, ENOSPC, EIO, EDQUOT, EROFS, EINTR, -1, -7, -113, -4099);
}

Test(file_calls, reads)
{
    RUN(PREAD, EIO, ENOMEM, EINTR, -1, -7, -113, -4099);
}

Test(file_calls, opening)
{
    RUN(OPENAT, EMFILE, EIO, ENFILE, ENOMEM, EACCES, ENOENT, EINTR);
    RUN(CREATE, ENOSPC, EDQUOT, EROFS);
}

Test(file_calls, names_and_sizes)
{
    RUN(RENAMEAT, EIO, ENOSPC, EDQUOT, EROFS, EACCES);
    RUN(UNLINKAT, EIO, EROFS, EACCES, ENOENT);
    RUN(FTRUNCATE, EIO, ENOSPC, EROFS, EINTR);
    RUN(MKDIR, ENOSPC, EDQUOT, EIO, EROFS, EACCES);
}

Test(file_calls, others)
{
    RUN(FSTAT, EIO, ENOMEM);
    RUN(FLOCK, ENOLCK, EINTR);
    RUN(GETRANDOM, ENOSYS, EINTR);
    RUN(SYNC_RANGE, EIO, ENOSPC);
    RUN(FDOPENDIR, ENOMEM, EMFILE);
    RUN(READDIR, EIO);
    RUN(MMAP, ENOMEM, EACCES);
    RUN(THREAD, EAGAIN);
}

/* They are set by the first opening of a process. */
Test(file_calls, handlers_of_fork)
{
    RUN(ATFORK, ENOMEM);
}

/* ---- a disk that fails for a while ----------------------------------------------------
 */

static void run_outages(const char *name, unsigned mask, int error)
{
    static const long lengths[] = {2, 5, 17, INJECT_FOREVER};
    long runs = 0;

    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
        runs += trial_run_all(&(struct fault){.name = name,
                                              .call = -1,
                                              .mask = mask,
                                              .error = error,
                                              .times = lengths[i]},
                              9 * TRIAL_PART);
    (void)fprintf(stderr, "%s: %ld runs\n", name, runs);
}

Test(file_calls, a_disk_that_is_full_for_a_while)
{
    unsigned mask = INJECT_BIT(INJECT_PWRITEV) | INJECT_BIT(INJECT_CREATE) |
                    INJECT_BIT(INJECT_MKDIR) | INJECT_BIT(INJECT_RENAMEAT) |
                    INJECT_BIT(INJECT_FDATASYNC) | INJECT_BIT(INJECT_FSYNC) |
                    INJECT_BIT(INJECT_SYNC_RANGE);

    run_outages("a full disk", mask, ENOSPC);
}

Test(file_calls, a_disk_that_is_broken_for_a_while)
{
    unsigned mask = INJECT_BIT(INJECT_PWRITEV) | INJECT_BIT(INJECT_PREAD) |
                    INJECT_BIT(INJECT_OPENAT) | INJECT_BIT(INJECT_MKDIR) |
                    INJECT_BIT(INJECT_RENAMEAT) | INJECT_BIT(INJECT_UNLINKAT) |
                    INJECT_BIT(INJECT_FTRUNCATE) | INJECT_BIT(INJECT_FDATASYNC) |
                    INJECT_BIT(INJECT_FSYNC) | INJECT_BIT(INJECT_SYNC_RANGE) |
                    INJECT_BIT(INJECT_READDIR);

    run_outages("a broken disk", mask, EIO);
}

Test(file_calls, a_disk_that_takes_no_writes_for_a_while)
{
    unsigned mask = INJECT_BIT(INJECT_PWRITEV) | INJECT_BIT(INJECT_CREATE) |
                    INJECT_BIT(INJECT_MKDIR) | INJECT_BIT(INJECT_RENAMEAT) |
                    INJECT_BIT(INJECT_UNLINKAT) | INJECT_BIT(INJECT_FTRUNCATE) |
                    INJECT_BIT(INJECT_FDATASYNC) | INJECT_BIT(INJECT_FSYNC);

    run_outages("a disk that became read-only", mask, EROFS);
}

Test(file_calls, no_descriptors_for_a_while)
{
    unsigned mask = INJECT_BIT(INJECT_OPENAT) | INJECT_BIT(INJECT_FDOPENDIR);

    run_outages("no descriptors", mask, EMFILE);
}

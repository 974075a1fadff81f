/* tests/faults/trial.h - one workload that uses everything the file store can do, against
 * a model of what each stream may hold, so that any call in it may be made to fail.
 *
 * The rules, whatever fails:
 * - An operation gives a right answer, or a negative status whose text names the store or
 *   the stream, and the cause.
 * - What was acknowledged is what loads show, exactly, until the next acknowledged
 * change. A failed save or removal changes nothing while the store is open.  The next
 * opening may show it instead, if nothing was acknowledged since; what it has shown
 * stays.
 * - Nothing is ever damaged or altered, and openings find nothing to warn of.
 * - A batch is as its operations are; a scan that succeeds lists each stream, and no
 * other.
 * - A compaction that succeeds leaves nothing dead on the disk.
 * - Where one call fails once, the same operation works when it is tried again, and where
 *   calls stop failing, operations work at once, without another opening.
 * - Interruptions and short transfers are no failures at all.
 * - Closing leaves no descriptor, no mapping, no memory. */
#ifndef MAKO_TESTS_FAULTS_TRIAL_H
#define MAKO_TESTS_FAULTS_TRIAL_H

#include "host.h"

/* What is to fail; also what messages say of it. */
struct fault {
    const char *name; /* of the calls */
    int call;         /* enum inject_call; -1: mask */
    unsigned mask;    /* of an outage */
    long nth, times;
    int error;
    bool invisible; /* nothing may fail */
};

/* Once for a test: a box on a fast file system. */
void trial_begin(void);
void trial_end(void);

/* Run the workload with fault.  False: it did not come to that many calls. */
bool trial_run(const struct fault *fault);
/* For every nth call, from the first on in steps of stride, until the workload has fewer.
 * Returns how often it ran. */
long trial_run_all(const struct fault *fault, long stride);

/* How much of the work sanitizers leave undone: they are many times slower. */
#if defined(__SANITIZE_THREAD__)
#define TRIAL_PART 40
#elif defined(__SANITIZE_ADDRESS__)
#define TRIAL_PART 8
#else
#define TRIAL_PART 1
#endif

#endif

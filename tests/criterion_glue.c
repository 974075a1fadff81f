/* Linked into every Criterion program: what a worker and its children need before a test
 * begins. */
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

/* Threads of a forked child must not get the stacks of those of its parent, which the
 * thread sanitizer still knows: theirs are smaller. */
static void ask_for_new_stacks(void)
{
    pthread_attr_t attr;

    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, 32u << 20);
    (void)pthread_setattr_default_np(&attr);
    (void)pthread_attr_destroy(&attr);
}

/* A worker that loses its runner dies with it, so that a stray child neither keeps a pipe
 * open nor outlives the run. */
__attribute__((constructor)) static void prepare(void)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)pthread_atfork(NULL, NULL, ask_for_new_stacks);
}

/* Criterion has libgit2 for one thing, to show how two strings differ, and only
 * assertions of criterion/new do that, which no test here uses.  But each process starts
 * it, and it reads all certificates of the machine, which takes longer than most tests;
 * four times as long where the address sanitizer looks at each string.  So these stand in
 * for it. */
__attribute__((visibility("default"))) int git_libgit2_init(void);
__attribute__((visibility("default"))) int git_libgit2_shutdown(void);

int git_libgit2_init(void)
{
    return 1;
}

int git_libgit2_shutdown(void)
{
    return 0;
}

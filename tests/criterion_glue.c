/* Linked into every Criterion program: a worker that loses its runner dies with it, so
 * that a stray child neither keeps a pipe open nor outlives the run. */
#include <signal.h>
#include <sys/prctl.h>

__attribute__((constructor)) static void die_with_parent(void)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
}

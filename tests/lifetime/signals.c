/* Signals with handlers, hundreds a second, while calls are under way: nothing is
 * noticed, whether the handlers restart system calls or not; and the signals that a write
 * to a broken connection would raise, which no program gets from us. */
#include "life.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static atomic_uint hits;

static void note(int number)
{
    (void)number;
    atomic_fetch_add_explicit(&hits, 1, memory_order_relaxed);
}

static enum verdict handle(struct trial *t, int number, int flags)
{
    const struct sigaction action = {.sa_handler = note, .sa_flags = flags};

    CHECK(sigaction(number, &action, NULL) == 0);
    return PASS;
}

/* ---- timers ----------------------------------------------------------------------- */

/* SIGALRM of the process: the kernel gives it to any thread. */
static enum verdict tick(struct trial *t, long microseconds)
{
    const struct itimerval timer = {.it_interval = {.tv_usec = microseconds},
                                    .it_value = {.tv_usec = microseconds}};

    CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
    return PASS;
}

/* Each worker is sent its own as well, so that none is spared. */
static void pester(const struct work *work, uint64_t calls)
{
    const struct timespec pause = {.tv_nsec = 500000};
    uint64_t until = atomic_load(&work->ledger->calls) + calls;
    unsigned enough = atomic_load(&hits) + 50;

    while ((atomic_load(&work->ledger->calls) < until || atomic_load(&hits) < enough) &&
           work->ledger->errors == 0) {
        for (unsigned i = 0; i < work->count; i++)
            (void)pthread_kill(work->threads[i], SIGUSR1);
        (void)nanosleep(&pause, NULL);
    }
}

static enum verdict work_under_signals(struct trial *t, int flags)
{
    struct work work = {.t = t, .ledger = ledger_new(), .count = 3};

    TRY(handle(t, SIGUSR1, flags));
    TRY(handle(t, SIGALRM, flags));
    TRY(work_start(&work));
    TRY(tick(t, 1000));
    pester(&work, 10 * life_rounds);
    for (unsigned long i = 0; i < life_rounds / 10 + 1; i++) {
        mako_store *kept = outlives(t) ? NULL : mako_store_ref(t->store);

        work_stop(&work);
        if (kept == NULL) /* opening and closing are I/O as well */
            TRY(trial_reopen(t));
        mako_store_unref(kept);
        TRY(ledger_check(t, work.ledger));
        TRY(work_start(&work));
        pester(&work, 30);
    }
    work_stop(&work);
    TRY(tick(t, 0));
    return ledger_check(t, work.ledger);
}

static enum verdict handlers_that_restart(struct trial *t)
{
    return work_under_signals(t, SA_RESTART);
}

static enum verdict handlers_that_interrupt(struct trial *t)
{
    return work_under_signals(t, 0);
}

/* A program that waits for its signals in one thread has them blocked in all. */
static enum verdict signals_stay_as_they_are(struct trial *t)
{
    struct worker w = {.seed = life_seed, .state = malloc(LEN_MAX)};
    struct work work = {.t = t, .ledger = ledger_new(), .count = 0};
    sigset_t mine, now;

    CHECK(w.state != NULL);
    w.work = &work;
    (void)sigfillset(&mine);
    (void)sigdelset(&mine, SIGALRM);
    CHECK(pthread_sigmask(SIG_SETMASK, &mine, NULL) == 0);
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &mine) == 0);
    for (unsigned long i = 0; i < life_rounds; i++) {
        work_once(&w);
        (void)pthread_sigmask(SIG_SETMASK, NULL, &now);
        CHECK(memcmp(&mine, &now, sizeof now) == 0);
    }
    (void)sigpending(&now);
    for (int number = 1; number < SIGRTMIN; number++)
        CHECKF(sigismember(&now, number) != 1, "signal %d was raised", number);
    free(w.state);
    return ledger_check(t, work.ledger);
}

/* Threads of the library and its plugins take no signal away from the program's: with the
 * program's blocked, one that is sent to the process stays pending. */
static enum verdict no_thread_takes_a_signal(struct trial *t)
{
    sigset_t usr2, now;

    TRY(handle(t, SIGUSR2, 0));
    (void)sigemptyset(&usr2);
    (void)sigaddset(&usr2, SIGUSR2);
    CHECK(trial_reopen(t) == PASS);
    CHECK(put_text(t, "a", 1, "x") == MAKO_OK);
    CHECK(pthread_sigmask(SIG_BLOCK, &usr2, NULL) == 0);
    hits = 0;
    CHECK(kill(getpid(), SIGUSR2) == 0);
    for (uint64_t i = 2; i < 30; i++)
        CHECK(put_text(t, "a", i, "x") == MAKO_OK);
    (void)sigpending(&now);
    CHECK(hits == 0 && sigismember(&now, SIGUSR2) == 1);
    CHECK(sigwaitinfo(&usr2, NULL) == SIGUSR2);
    return PASS;
}

static const struct test_case cases[] = {
    {"handlers_that_restart", handlers_that_restart},
    {"handlers_that_interrupt", handlers_that_interrupt},
    {"signals_stay_as_they_are", signals_stay_as_they_are},
    {"no_thread_takes_a_signal", no_thread_takes_a_signal},
    {NULL, NULL}};

int main(int argc, char **argv)
{
    return life_main(argc, argv, cases, 50);
}

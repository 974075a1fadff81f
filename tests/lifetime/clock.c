/* A clock that jumps, by years and back, while calls are under way: nobody waits longer,
 * nothing expires, nothing is kept from being saved.  What is stored of the time is what
 * the clock said.
 *
 * clock_gettime() of this program stands before the C library's, for the library and the
 * plugins as well. */
#include "life.h"

#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define YEAR_S (365 * 24 * 3600L)

static _Atomic long jump_s;
static atomic_ulong asked; /* how often somebody looked at a clock that jumps */

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = (int)syscall(SYS_clock_gettime, clock, now);

    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        now->tv_sec += atomic_load(&jump_s);
        atomic_fetch_add(&asked, 1);
    }
    return result;
}

static time_t real_seconds(void)
{
    struct timespec now;

    (void)syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
    return now.tv_sec;
}

/* To ten years ahead, to before 1970, and there and back. */
static void jump(uint64_t *seed)
{
    static const long jumps[] = {0,           1,       -1,           3600,
                                 10 * YEAR_S, -YEAR_S, -70 * YEAR_S, 200 * YEAR_S};

    atomic_store(&jump_s, jumps[life_draw(seed) % 8]);
}

static enum verdict work_under_jumps(struct trial *t, const struct work *work)
{
    uint64_t seed = life_seed;

    for (unsigned long i = 0; i < life_rounds; i++) {
        jump(&seed);
        ledger_wait(work->ledger, 5);
    }
    return ledger_errors(t, work->ledger);
}

static enum verdict jumps_while_calls_are_under_way(struct trial *t)
{
    struct work work = {.t = t, .ledger = ledger_new(), .count = 3};
    uint64_t seed = life_seed;
    enum verdict verdict = PASS;

    for (int life = 0; verdict == PASS && life < 5; life++) {
        TRY(work_start(&work));
        verdict = work_under_jumps(t, &work);
        work_stop(&work);
        jump(&seed);
        if (verdict == PASS && outlives(t))
            TRY(trial_reopen(t));
        if (verdict == PASS)
            verdict = ledger_check(t, work.ledger);
    }
    CHECK(verdict != PASS || asked > 0);
    return verdict;
}

/* The age of a snapshot is what the clock said when it was saved, whatever that was. */
static enum verdict saves_of_any_year(struct trial *t)
{
    static const long years[] = {0, 30, -60, 200, -20};
    struct mako_error err;
    struct mako_meta meta;

    if (!keeps(t))
        return trial_skip(t, "keeps nothing");
    for (size_t i = 0; i < sizeof years / sizeof years[0]; i++) {
        int64_t want = ((int64_t)real_seconds() + years[i] * YEAR_S) * 1000;

        atomic_store(&jump_s, years[i] * YEAR_S);
        CHECK(put_text(t, "a", i + 1, "x") == MAKO_OK);
        STATUS(mako_store_peek(t->store, "a", &meta, &err), MAKO_OK);
        CHECKF(meta.created_ms >= want - 10000 && meta.created_ms <= want + 300000,
               "saved at %lld, not %lld", (long long)meta.created_ms, (long long)want);
        TRY(holds_text(t, "a", i + 1, "x"));
    }
    return PASS;
}

/* What was replaced is erased by the time that passes, not by the clock. */
static enum verdict erasing_goes_on(struct trial *t)
{
    uint64_t seed = life_seed;

    if (strcmp(t->info.plugin, "file") != 0)
        return trial_skip(t, "erases at once");
    trial_close(t);
    TRY(trial_open_with(t, "\"options\": {\"dir\": \"${MAKO_TEST_DIR}/erasing\", "
                           "\"erase_within\": \"100ms\"}"));
    for (int i = 0; i < 4; i++) {
        uint64_t before = counter(t, "plugin.compactions");

        jump(&seed);
        for (uint64_t seq = 1; seq <= 20; seq++)
            CHECK(put_text(t, "a", (uint64_t)i * 20 + seq, "replaced") == MAKO_OK);
        while (counter(t, "plugin.compactions") == before)
            (void)usleep(5000);
        TRY(holds_text(t, "a", (uint64_t)i * 20 + 20, "replaced"));
    }
    return PASS;
}

static const struct test_case cases[] = {
    {"jumps_while_calls_are_under_way", jumps_while_calls_are_under_way},
    {"saves_of_any_year", saves_of_any_year},
    {"erasing_goes_on", erasing_goes_on},
    {NULL, NULL}};

int main(int argc, char **argv)
{
    return life_main(argc, argv, cases, 30);
}

/* The store handle over a plugin that does as it is told: outages, thread models, what
 * the core emulates, what it does not believe, and the words of it all. */
#include "support.h"

#include <sched.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "envelope.h"

TestSuite(store, .timeout = 120);

/* ---- opening ---------------------------------------------------------------------- */

static void refused_to_open(const char *plugin, const struct probe *p,
                            const char *members, int want, const char *sentence)
{
    mako_store *store = NULL;
    struct mako_error err = {""};
    int status = open_probe(plugin, p, members, &store, &err);

    cr_assert_eq(status, want, "%s, not %s: %s", mako_status_name(status),
                 mako_status_name(want), err.text);
    cr_assert(strstr(err.text, sentence), "'%s' lacks '%s'", err.text, sentence);
    cr_assert_null(store);
}

/* The promise of the plugin is looked at before it is opened. */
Test(store, a_promise_below_the_requirement)
{
    struct probe p = PROBE_INITIAL;

    refused_to_open("probe", &p, "", MAKO_E_CONFIG,
                    "store 's' (probe): the plugin gives at most durability 'crash', "
                    "'power' is required: choose a plugin that gives it, or ask for "
                    "\"durability\": \"crash\"");
    cr_assert_eq(p.opens, 0);
}

/* What open gives is looked at after it, and the store is closed again. */
Test(store, a_promise_lowered_by_open)
{
    struct probe p = PROBE_INITIAL;

    p.gives = MAKO_DURABLE_MEMORY + 1;
    refused_to_open("probe", &p, CRASH, MAKO_E_CONFIG,
                    "store 's' (probe): gives only durability 'memory' as the backend is "
                    "set up, 'crash' is required: change the backend, or ask for "
                    "\"durability\": \"memory\"");
    cr_assert(p.opens == 1 && p.closes == 1, "%d opens, %d closes", (int)p.opens,
              (int)p.closes);
}

Test(store, a_promise_raised_by_open_is_clamped)
{
    struct probe p = PROBE_INITIAL;
    struct mako_info info = {.struct_size = sizeof info};
    struct heard heard = {0, -1, ""};
    mako_store *store;

    mako_set_log(hear, &heard);
    p.gives = MAKO_DURABLE_POWER + 1;
    store = must_open("probe", &p, CRASH);
    mako_store_info(store, &info);
    cr_assert_str_eq(info.durability, "crash");
    cr_assert_eq(heard.level, MAKO_LOG_WARN);
    cr_assert_str_eq(heard.text,
                     "store 's' (probe): open promised more than the plugin declares; "
                     "ignored");
    mako_store_unref(store);
    mako_set_log(NULL, NULL);
    cr_assert_eq(p.closes, 1);
}

Test(store, the_durability_asked_for_reaches_open)
{
    static const char *const words[] = {"none", "memory", "crash"};
    struct probe p = PROBE_INITIAL;

    for (uint32_t i = 0; i < 3; i++) {
        char members[60];

        (void)snprintf(members, sizeof members, "\"durability\": \"%s\"", words[i]);
        mako_store_unref(must_open("probe", &p, members));
        cr_assert_eq(p.enters, i, "%u arrived for '%s'", p.enters, words[i]);
    }
}

Test(store, a_failed_open)
{
    struct probe p = PROBE_INITIAL;

    p.orders.open = MAKO_E_UNAVAILABLE;
    p.text = "nobody answers";
    refused_to_open("probe", &p, CRASH, MAKO_E_UNAVAILABLE,
                    "store 's' (probe): nobody answers");
    p.text = NULL;
    refused_to_open("probe", &p, CRASH, MAKO_E_UNAVAILABLE,
                    "store 's' (probe): open failed without a message (E_UNAVAILABLE)");
    p.orders.open = MAKO_NOT_FOUND;
    refused_to_open("probe", &p, CRASH, MAKO_E_PLUGIN,
                    "store 's' (probe): open returned 1, which it may not");
    p.orders.open = -77;
    refused_to_open("probe", &p, CRASH, MAKO_E_PLUGIN, "open returned -77");
    cr_assert_eq(p.closes, 0, "close is not called after a failed open");
}

/* Shared between processes, a plugin must tell itself which save is the later one. */
Test(store, shared_without_if_newer)
{
    struct probe p = PROBE_INITIAL;

    refused_to_open("probe-shared", &p, CRASH, MAKO_E_CONFIG,
                    "shared between processes and cannot tell which of two saves is the "
                    "later: ask for \"stale_saves\": \"replace\"");
    cr_assert_eq(p.opens, p.closes);
    mako_store_unref(
        must_open("probe-shared", &p, CRASH ", \"stale_saves\": \"replace\""));
}

Test(store, the_plugins_own_log_lines)
{
    struct probe p = PROBE_INITIAL;
    struct heard heard = {0, -1, ""};

    mako_set_log(hear, &heard);
    mako_store_unref(must_open("probe", &p, CRASH));
    mako_set_log(NULL, NULL);
    cr_assert_eq(heard.count, 1);
    cr_assert_eq(heard.level, MAKO_LOG_INFO);
    cr_assert_str_eq(heard.text, "store 's' (probe): probe is open");
}

/* ---- what a plugin may not return ---------------------------------------------------
 */

static void save_returns(mako_store *store, struct probe *p, int ordered, int want,
                         const char *text)
{
    struct mako_error err = {""};

    p->orders.save = ordered;
    int status = save_text(store, "a", 1, "x", &err);
    cr_assert_eq(status, want, "%s", mako_status_name(status));
    cr_assert_str_eq(err.text, text);
    cr_assert_eq(save_text(store, "a", 1, "x", NULL), want);
}

Test(store, statuses_that_a_save_may_not_return)
{
    static const int bad[] = {MAKO_NOT_FOUND,
                              MAKO_SCHEMA_OLDER,
                              MAKO_AHEAD,
                              MAKO_DAMAGED,
                              MAKO_REFUSED,
                              MAKO_FOREIGN,
                              MAKO_NOT_DUE,
                              12,
                              77,
                              INT32_MAX,
                              MAKO_E_FORKED,
                              MAKO_E_CALLBACK,
                              MAKO_E_CONFIG,
                              MAKO_E_INVALID,
                              -12,
                              INT32_MIN};
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open("probe", &p, CRASH);
    char want[100];

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        (void)snprintf(want, sizeof want,
                       "store 's' (probe): save returned %d, which it may not", bad[i]);
        save_returns(store, &p, bad[i], MAKO_E_PLUGIN, want);
    }
    mako_store_unref(store);
}

Test(store, statuses_that_a_save_may_return)
{
    static const int good[] = {MAKO_E_IO, MAKO_E_NO_SPACE, MAKO_E_LIMIT, MAKO_E_NOMEM,
                               MAKO_E_UNSUPPORTED};
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open("probe", &p, CRASH);
    char want[100];

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        p.text = "the disk is on fire";
        save_returns(store, &p, good[i], good[i],
                     "store 's' (probe): the disk is on fire");
        p.text = NULL;
        (void)snprintf(want, sizeof want,
                       "store 's' (probe): save failed without a message (%s)",
                       mako_status_name(good[i]));
        save_returns(store, &p, good[i], good[i], want);
    }
    cr_assert_eq(counter_of(store, "saves_failed"), 20);
    mako_store_unref(store);
}

static void load_returns(mako_store *store, struct probe *p, int ordered, int want,
                         const char *text)
{
    struct mako_error err = {""};

    p->orders.load = ordered;
    int status = load_any(store, "a", &err);
    cr_assert_eq(status, want, "%s: %s", mako_status_name(status), err.text);
    cr_assert_str_eq(err.text, text);
    cr_assert_eq(load_any(store, "a", NULL), want);
}

Test(store, statuses_of_a_load)
{
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open("probe", &p, CRASH);

    load_returns(store, &p, MAKO_STALE, MAKO_E_PLUGIN,
                 "store 's' (probe): load returned 6, which it may not");
    load_returns(store, &p, 77, MAKO_E_PLUGIN,
                 "store 's' (probe): load returned 77, which it may not");
    load_returns(
        store, &p, MAKO_REFUSED, MAKO_E_PLUGIN,
        "store 's' (probe): load returned REFUSED, but the sink did not decline");
    load_returns(store, &p, MAKO_NOT_FOUND, MAKO_NOT_FOUND,
                 "store 's' (probe): stream 'a': no snapshot");
    load_returns(store, &p, MAKO_DAMAGED, MAKO_DAMAGED,
                 "store 's' (probe): stream 'a': the stored snapshot is damaged");
    p.text = "the index is gone";
    load_returns(store, &p, MAKO_E_IO, MAKO_E_IO, "store 's' (probe): the index is gone");
    cr_assert_eq(counter_of(store, "loads_none"), 2);
    cr_assert_eq(counter_of(store, "loads_damaged"), 2);
    cr_assert_eq(counter_of(store, "loads_failed"), 8);
    mako_store_unref(store);
}

Test(store, ok_without_a_word_to_the_sink)
{
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open("probe", &p, CRASH);

    cr_assert_eq(save_text(store, "a", 1, "x", NULL), MAKO_OK);
    p.accept_nothing = true;
    load_returns(store, &p, MAKO_OK, MAKO_E_PLUGIN,
                 "store 's' (probe): load returned OK and handed nothing over");
    mako_store_unref(store);
    probe_clear(&p);
}

/* Damage is logged with its stream, also where the caller does not want the text. */
Test(store, damage_is_logged)
{
    struct probe p = PROBE_INITIAL;
    struct heard heard = {0, -1, ""};
    mako_store *store = must_open("probe", &p, CRASH);

    cr_assert_eq(save_text(store, "a", 1, "state", NULL), MAKO_OK);
    p.records->blob[p.records->blob_len - 1] ^= 1;
    mako_set_log(hear, &heard);
    cr_assert_eq(load_any(store, "a", NULL), MAKO_DAMAGED);
    mako_set_log(NULL, NULL);
    cr_assert_eq(heard.level, MAKO_LOG_WARN);
    cr_assert_str_eq(heard.text,
                     "store 's' (probe): stream 'a': the state fails its checksum");
    mako_store_unref(store);
    probe_clear(&p);
}

/* A record that the plugin says is small, but is not what it says. */
Test(store, another_streams_bytes_are_damage)
{
    struct probe p = PROBE_INITIAL;
    struct mako_error err;
    mako_store *store = must_open("probe", &p, CRASH);
    unsigned char *kept;

    cr_assert_eq(save_text(store, "a", 1, "of a", NULL), MAKO_OK);
    cr_assert_eq(save_text(store, "b", 1, "of b", NULL), MAKO_OK);
    struct probe_record *a = *probe_find(&p, "a", 1), *b = *probe_find(&p, "b", 1);
    cr_assert(a && b);
    if (a && b) {
        kept = a->blob;
        a->blob = b->blob;
        b->blob = kept;
    }
    cr_assert_eq(load_any(store, "a", &err), MAKO_DAMAGED);
    cr_assert(strstr(err.text, "of another stream, 'b'"), "%s", err.text);
    mako_store_unref(store);
    probe_clear(&p);
}

/* The plugin's index says schema 1, the envelope says 2: the envelope is the truth. */
Test(store, the_envelope_is_the_truth)
{
    struct probe p = PROBE_INITIAL;
    struct mako_expect one = {
        .struct_size = sizeof one, .schema_min = 1, .schema_max = 1};
    struct mako_save save = {
        .struct_size = sizeof save, .seq = 5, .schema = 2, .state = "x", .state_len = 1};
    mako_store *store = must_open("probe", &p, CRASH);
    mako_snapshot *snapshot = NULL;
    struct mako_meta found;

    cr_assert_eq(mako_store_save(store, "a", &save, NULL), MAKO_OK);
    p.records->meta.schema = 1;
    p.records->meta.seq = 999;
    cr_assert_eq(mako_store_load(store, "a", &one, &snapshot, &found, NULL),
                 MAKO_SCHEMA_NEWER);
    cr_assert(found.seq == 5 && found.schema == 2);
    mako_store_unref(store);
    probe_clear(&p);
}

/* ---- outages
 * ----------------------------------------------------------------------------- */

static void sleep_ms(unsigned ms)
{
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    (void)nanosleep(&pause, NULL);
}

#define OUTAGE(pause) CRASH ", \"retry_after\": \"" pause "\""

Test(store, an_outage_fails_at_once)
{
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open("probe", &p, OUTAGE("1h"));
    struct mako_error err = {""};
    struct mako_meta meta;

    p.orders.load = MAKO_E_UNAVAILABLE;
    p.text = "nobody answers";
    cr_assert_eq(load_any(store, "a", &err), MAKO_E_UNAVAILABLE);
    cr_assert_str_eq(err.text, "store 's' (probe): nobody answers");
    p.orders.load = MAKO_OK;
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(load_any(store, "a", &err), MAKO_E_UNAVAILABLE);
        cr_assert_eq(strncmp(err.text, "store 's' (probe): not tried again for ", 39), 0,
                     "%s", err.text);
        cr_assert(strstr(err.text, "after: nobody answers"), "%s", err.text);
    }
    cr_assert_eq(save_text(store, "a", 1, "x", NULL), MAKO_E_UNAVAILABLE);
    cr_assert_eq(mako_store_peek(store, "a", &meta, NULL), MAKO_E_UNAVAILABLE);
    cr_assert_eq(mako_store_remove(store, "a", NULL), MAKO_E_UNAVAILABLE);
    cr_assert(p.loads == 1 && p.saves == 0 && p.removes == 0, "the plugin was called");
    mako_store_unref(store);
}

/* Until a call gets through: the deadline is generous, the pause is not. */
Test(store, an_outage_ends)
{
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open("probe", &p, OUTAGE("20ms"));
    int status = MAKO_E_UNAVAILABLE;

    p.orders.save = MAKO_E_UNAVAILABLE;
    cr_assert_eq(save_text(store, "a", 1, "x", NULL), MAKO_E_UNAVAILABLE);
    p.orders.save = MAKO_OK;
    for (int i = 0; i < 3000 && status == MAKO_E_UNAVAILABLE; i++) {
        status = save_text(store, "a", 1, "x", NULL);
        if (status == MAKO_E_UNAVAILABLE)
            sleep_ms(1);
    }
    cr_assert_eq(status, MAKO_OK);
    cr_assert_eq(p.saves, 2, "%d saves reached the plugin", (int)p.saves);
    cr_assert_eq(load_any(store, "a", NULL), MAKO_OK, "others are let through again");
    mako_store_unref(store);
    probe_clear(&p);
}

Test(store, a_probe_that_fails_begins_the_pause_anew)
{
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open("probe", &p, OUTAGE("10ms"));

    p.orders.save = MAKO_E_UNAVAILABLE;
    while (p.saves < 4)
        cr_assert_eq(save_text(store, "a", 1, "x", NULL), MAKO_E_UNAVAILABLE);
    cr_assert_eq(save_text(store, "a", 1, "x", NULL), MAKO_E_UNAVAILABLE);
    mako_store_unref(store);
}

Test(store, no_pause_where_none_is_wanted)
{
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open("probe", &p, OUTAGE("0"));

    p.orders.save = MAKO_E_UNAVAILABLE;
    for (int i = 0; i < 5; i++)
        cr_assert_eq(save_text(store, "a", 1, "x", NULL), MAKO_E_UNAVAILABLE);
    cr_assert_eq(p.saves, 5);
    mako_store_unref(store);
}

/* Only UNAVAILABLE is worth a pause: other failures are not going to pass by. */
Test(store, other_failures_are_no_outage)
{
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open("probe", &p, OUTAGE("1h"));

    p.orders.save = MAKO_E_IO;
    for (int i = 0; i < 5; i++)
        cr_assert_eq(save_text(store, "a", 1, "x", NULL), MAKO_E_IO);
    cr_assert_eq(p.saves, 5);
    mako_store_unref(store);
}

struct crowd {
    mako_store *store;
    pthread_barrier_t gate;
    _Atomic unsigned turned_away;
};

static void *one_of_many(void *arg)
{
    struct crowd *c = arg;

    (void)pthread_barrier_wait(&c->gate);
    if (load_any(c->store, "a", NULL) == MAKO_E_UNAVAILABLE)
        atomic_fetch_add(&c->turned_away, 1);
    return NULL;
}

/* One of eight gets in, and fails; the others do not wait behind it. */
static void only_one_gets_in(mako_store *store, struct probe *p)
{
    struct crowd c = {.store = store};
    uint64_t before = p->loads;
    pthread_t threads[8];

    (void)pthread_barrier_init(&c.gate, NULL, 8);
    p->orders.load = MAKO_E_UNAVAILABLE;
    (void)pthread_mutex_lock(&p->lock); /* who gets in stays in */
    for (int i = 0; i < 8; i++)
        (void)pthread_create(&threads[i], NULL, one_of_many, &c);
    while (c.turned_away + p->loads < before + 8)
        (void)sched_yield();
    cr_assert_eq(p->loads, before + 1, "%d calls reached the plugin",
                 (int)(p->loads - before));
    (void)pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < 8; i++)
        (void)pthread_join(threads[i], NULL);
    cr_assert_eq(c.turned_away, 8, "the probe failed as well");
    cr_assert_eq(p->loads, before + 1);
}

/* A store whose pause is over: what follows finds it so. */
static mako_store *open_after_pause(struct probe *p)
{
    mako_store *store = must_open("probe", p, OUTAGE("40ms"));

    p->orders.load = MAKO_E_UNAVAILABLE;
    cr_assert_eq(load_any(store, "a", NULL), MAKO_E_UNAVAILABLE);
    sleep_ms(120); /* more than the longest pause */
    return store;
}

Test(store, one_caller_probes)
{
    struct probe p = PROBE_INITIAL;
    mako_store *store = open_after_pause(&p);

    only_one_gets_in(store, &p);
    mako_store_unref(store);
}

/* Who has no memory has not heard the backend. */
Test(store, a_probe_without_memory_ends_no_outage)
{
    struct probe p = PROBE_INITIAL;
    mako_store *store = open_after_pause(&p);

    p.orders.load = MAKO_E_NOMEM;
    cr_assert_eq(load_any(store, "a", NULL), MAKO_E_NOMEM);
    only_one_gets_in(store, &p);
    mako_store_unref(store);
}

/* Nor has who counts: that is told in the pause, and what tries again comes after it. */
Test(store, counting_is_no_probe)
{
    struct probe p = PROBE_INITIAL;
    mako_store *store = open_after_pause(&p);

    cr_assert_eq(counter_of(store, "loads_failed"), 1);
    only_one_gets_in(store, &p);
    mako_store_unref(store);
}

Test(store, counting_in_an_outage)
{
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open("probe", &p, OUTAGE("1h"));
    struct counter_wanted any = {"saves", 0};

    p.orders.stats = MAKO_E_UNAVAILABLE;
    cr_assert_eq(mako_store_stats(store, counter_note, &any, NULL), MAKO_E_UNAVAILABLE);
    p.orders.stats = MAKO_OK;
    cr_assert_eq(save_text(store, "a", 1, "x", NULL), MAKO_OK, "stats began a pause");
    p.orders.save = MAKO_E_UNAVAILABLE;
    cr_assert_eq(save_text(store, "a", 2, "x", NULL), MAKO_E_UNAVAILABLE);
    cr_assert_eq(counter_of(store, "saves"), 1);
    cr_assert_eq(counter_of(store, "saves_failed"), 1);
    cr_assert_eq(save_text(store, "a", 2, "x", NULL), MAKO_E_UNAVAILABLE);
    cr_assert_eq(p.saves, 2, "stats ended the pause");
    mako_store_unref(store);
    probe_clear(&p);
}

struct queue {
    mako_store *store;
    struct mako_error errs[4];
    _Atomic int next;
};

static void *one_in_line(void *arg)
{
    struct queue *q = arg;

    cr_assert_eq(save_text(q->store, "a", 1, "x", &q->errs[q->next++]),
                 MAKO_E_UNAVAILABLE);
    return NULL;
}

/* Who waits for the call that finds the backend away does not try it as well: whether
 * for the lock of a thread model or for the turn of a stream. */
Test(store, who_waits_in_line_is_turned_away)
{
    static const char *const plugins[] = {"probe-store", "probe-plugin", "probe-plain"};

    for (int i = 0; i < 3; i++) {
        struct probe p = PROBE_INITIAL;
        struct queue q = {.store = must_open(plugins[i], &p, OUTAGE("1h"))};
        pthread_t threads[4];
        char start[80];
        int told = 0;

        p.orders.load = MAKO_E_UNAVAILABLE;
        p.text = "nobody answers";
        p.hold = true;
        for (int j = 0; j < 4; j++)
            (void)pthread_create(&threads[j], NULL, one_in_line, &q);
        while (p.loads == 0)
            (void)sched_yield();
        sleep_ms(100); /* the others are in line, or come when it is known */
        p.hold = false;
        for (int j = 0; j < 4; j++)
            (void)pthread_join(threads[j], NULL);
        cr_assert_eq(p.loads, 1, "%s: %d calls", plugins[i], (int)p.loads);
        (void)snprintf(start, sizeof start, "store 's' (%s): not tried again for ",
                       plugins[i]);
        for (int j = 0; j < 4; j++)
            told += strncmp(q.errs[j].text, start, strlen(start)) == 0 &&
                    strstr(q.errs[j].text, " ms after: nobody answers");
        cr_assert_eq(told, 3, "'%s' '%s'", q.errs[0].text, q.errs[1].text);
        cr_assert_eq(counter_of(q.store, "saves_failed"), 1, "what was not tried counts");
        mako_store_unref(q.store);
    }
}

/* ---- thread models
 * ----------------------------------------------------------------------- */

struct hammer {
    mako_store *store;
    _Atomic bool *stop;
    unsigned rounds;
};

static void *strike(void *arg)
{
    const struct hammer *h = arg;

    for (unsigned i = 0; i < h->rounds && !(h->stop && *h->stop); i++) {
        struct mako_meta meta;

        cr_assert_geq(save_text(h->store, "a", i + 1, "x", NULL), MAKO_OK);
        cr_assert_geq(load_any(h->store, "a", NULL), MAKO_OK);
        cr_assert_geq(mako_store_peek(h->store, "a", &meta, NULL), MAKO_OK);
        cr_assert_geq(mako_store_remove(h->store, "a", NULL), MAKO_OK);
    }
    return NULL;
}

/* Two threads on each of two stores. */
static void strike_all(mako_store *first, mako_store *second, unsigned rounds,
                       _Atomic bool *stop)
{
    struct hammer hammers[4] = {{first, stop, rounds},
                                {second, stop, rounds},
                                {first, stop, rounds},
                                {second, stop, rounds}};
    pthread_t threads[4];

    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, strike, &hammers[i]), 0);
    for (int i = 0; i < 4; i++)
        (void)pthread_join(threads[i], NULL);
}

static void strike_both(const char *plugin, struct probe *one, struct probe *two,
                        unsigned rounds)
{
    mako_store *first = must_open(plugin, one, CRASH);
    mako_store *second = must_open(plugin, two, CRASH);

    one->linger = two->linger = true;
    strike_all(first, second, rounds, NULL);
    mako_store_unref(first);
    mako_store_unref(second);
    probe_clear(one);
    probe_clear(two);
}

Test(store, one_call_at_a_time_into_a_plugin)
{
    struct probe one = PROBE_INITIAL, two = PROBE_INITIAL;

    strike_both("probe-plugin", &one, &two, 500);
    cr_assert_eq(one.plugin_overlaps + two.plugin_overlaps, 0);
}

Test(store, one_call_at_a_time_into_a_store)
{
    struct probe one = PROBE_INITIAL, two = PROBE_INITIAL;

    strike_both("probe-store", &one, &two, 500);
    cr_assert_eq(one.store_overlaps + two.store_overlaps, 0);
}

/* Shows that the two tests above can see what they look for. */
Test(store, parallel_calls_overlap)
{
    struct probe one = PROBE_INITIAL, two = PROBE_INITIAL;

    for (int i = 0; i < 200 && one.store_overlaps + two.store_overlaps == 0; i++)
        strike_both("probe", &one, &two, 200);
    cr_assert_gt(one.store_overlaps + two.store_overlaps, 0);
}

struct late {
    struct probe *p;
    mako_store *store;
};

static void *call_in(void *arg)
{
    (void)load_any(((struct late *)arg)->store, "a", NULL);
    return NULL;
}

static void *open_late(void *arg)
{
    struct late *late = arg;

    late->store = must_open("probe", late->p, CRASH);
    return NULL;
}

/* A plugin of parallel calls whose open asks for one at a time, and one call inside. */
static void enter_lowered(struct late *one, pthread_t *caller)
{
    one->p->serial = true;
    one->store = must_open("probe", one->p, CRASH);
    one->p->hold = true;
    cr_assert_eq(pthread_create(caller, NULL, call_in, one), 0);
    while (one->p->loads == 0)
        (void)sched_yield();
}

/* Then nothing overlaps, the next opening neither. */
Test(store, a_thread_model_lowered_by_open)
{
    struct probe one = PROBE_INITIAL, two = PROBE_INITIAL;
    struct late first = {.p = &one}, second = {.p = &two};
    struct mako_info info = {.struct_size = sizeof info};
    pthread_t caller, opener;

    enter_lowered(&first, &caller);
    mako_store_info(first.store, &info);
    cr_assert_str_eq(info.threads, "plugin");
    cr_assert_eq(pthread_create(&opener, NULL, open_late, &second), 0);
    sleep_ms(100);
    cr_assert_eq(two.opens, 0, "opened beside a call");
    one.hold = false;
    (void)pthread_join(caller, NULL);
    (void)pthread_join(opener, NULL);
    cr_assert_eq(two.opens, 1);
    mako_store_unref(first.store);
    mako_store_unref(second.store);
}

#ifndef __SANITIZE_THREAD__ /* which bears no children of several threads */

/* And a child that is cut off from such a call is told so. */
Test(store, a_fork_inside_of_a_lowered_plugin)
{
    struct probe one = PROBE_INITIAL, two = PROBE_INITIAL;
    struct late first = {.p = &one};
    pthread_t caller;
    int ended = 0;
    pid_t child;

    enter_lowered(&first, &caller);
    child = fork();
    if (child == 0) {
        mako_store *store = NULL;
        struct mako_error err = {""};
        int status = open_probe("probe", &two, CRASH, &store, &err);

        _exit(status == MAKO_E_FORKED && strstr(err.text, "in the middle of a call") ? 0
                                                                                     : 1);
    }
    cr_assert(child > 0 && waitpid(child, &ended, 0) == child);
    one.hold = false;
    (void)pthread_join(caller, NULL);
    cr_assert_eq(ended, 0, "the child opened the plugin");
    mako_store_unref(first.store);
}

#endif

/* ---- what is emulated
 * --------------------------------------------------------------------- */

Test(store, if_newer_is_asked_of_who_declares_it)
{
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open("probe", &p, CRASH);

    cr_assert_eq(save_text(store, "a", 5, "x", NULL), MAKO_OK);
    cr_assert_eq(save_text(store, "a", 4, "x", NULL), MAKO_STALE);
    cr_assert(p.if_newer == 2 && p.loads == 0);
    mako_store_unref(store);
    probe_clear(&p);
}

Test(store, if_newer_is_emulated_for_others)
{
    static const char *const plugins[] = {"probe-store", "probe-plugin"};

    for (int i = 0; i < 2; i++) {
        struct probe p = PROBE_INITIAL;
        mako_store *store = must_open(plugins[i], &p, CRASH);
        struct mako_error err;

        cr_assert_eq(save_text(store, "a", 5, "five", NULL), MAKO_OK);
        cr_assert_eq(save_text(store, "a", 4, "four", &err), MAKO_STALE);
        cr_assert(strstr(err.text, "'a'"), "%s", err.text);
        cr_assert_eq(save_text(store, "a", 5, "also five", NULL), MAKO_OK);
        cr_assert_eq(save_text(store, "a", 6, "six", NULL), MAKO_OK);
        cr_assert_eq(p.if_newer, 0, "the flag is not for plugins without the feature");
        cr_assert_eq(p.records->meta.seq, 6);
        mako_store_unref(store);
        probe_clear(&p);
    }
}

/* What is stored cannot be judged: it does not keep a good save away. */
Test(store, emulated_if_newer_replaces_damage)
{
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open("probe-store", &p, CRASH);

    cr_assert_eq(save_text(store, "a", 50, "x", NULL), MAKO_OK);
    p.records->blob[20] ^= 1;
    cr_assert_eq(save_text(store, "a", 4, "x", NULL), MAKO_OK);
    cr_assert_eq(load_any(store, "a", NULL), MAKO_OK);
    mako_store_unref(store);
    probe_clear(&p);
}

/* The look before a save fails: the save fails with it, saying the same. */
Test(store, emulated_if_newer_fails_with_its_look)
{
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open("probe-store", &p, CRASH);
    struct mako_error err = {""};

    p.orders.load = MAKO_E_IO;
    p.text = "cannot look";
    cr_assert_eq(save_text(store, "a", 4, "x", &err), MAKO_E_IO);
    cr_assert_str_eq(err.text, "store 's' (probe-store): cannot look");
    cr_assert_eq(p.saves, 0);
    mako_store_unref(store);
}

/* A look that ends as no load may says nothing of what is stored. */
Test(store, emulated_if_newer_judges_its_look)
{
    static const int statuses[] = {77, 31, MAKO_STALE, MAKO_TOO_LARGE, MAKO_NOT_DUE};
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open("probe-store", &p, CRASH);
    struct mako_error err = {""};

    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        char want[80];

        p.orders.load = statuses[i];
        cr_assert_eq(save_text(store, "a", 4, "x", &err), MAKO_E_PLUGIN);
        (void)snprintf(want, sizeof want,
                       "store 's' (probe-store): load returned %d, which it may not",
                       statuses[i]);
        cr_assert_str_eq(err.text, want);
    }
    p.orders.load = MAKO_REFUSED;
    cr_assert_eq(save_text(store, "a", 4, "x", &err), MAKO_E_PLUGIN);
    cr_assert_str_eq(err.text, "store 's' (probe-store): load returned REFUSED, but the "
                               "sink did not decline");
    cr_assert_eq(p.saves, 0);
    cr_assert_eq(counter_of(store, "saves_failed"), 6);
    p.orders.load = MAKO_DAMAGED;
    cr_assert_eq(save_text(store, "a", 4, "x", NULL), MAKO_OK);
    mako_store_unref(store);
    probe_clear(&p);
}

/* What is lent takes no memory: a look reads its head, however large it is. */
Test(store, looks_at_what_is_lent_know_no_limit)
{
    static char large[20000];
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open("probe-plain", &p, CRASH);
    struct mako_meta meta;

    memset(large, 'x', sizeof large - 1);
    cr_assert_eq(save_text(store, "a", 5, large, NULL), MAKO_OK);
    mako_store_unref(store);
    store = must_open("probe-plain", &p, CRASH ", \"max_snapshot\": 10");
    p.lend = true;
    cr_assert_eq(load_any(store, "a", NULL), MAKO_TOO_LARGE);
    cr_assert_eq(mako_store_peek(store, "a", &meta, NULL), MAKO_OK);
    cr_assert_eq(meta.seq, 5);
    cr_assert_eq(save_text(store, "a", 4, "x", NULL), MAKO_STALE);
    p.lend = false; /* no memory is taken for what is copied */
    cr_assert_eq(mako_store_peek(store, "a", &meta, NULL), MAKO_TOO_LARGE);
    mako_store_unref(store);
    probe_clear(&p);
}

static void save_three(mako_store *store, int *statuses)
{
    const struct mako_save save = {
        .struct_size = sizeof save, .seq = 1, .schema = 1, .state = "x", .state_len = 1};
    const struct mako_save *const saves[] = {&save, &save, &save};
    const char *const streams[] = {"a", "b", "c"};

    cr_assert_eq(mako_store_save_many(store, streams, saves, 3, statuses, NULL), MAKO_OK);
}

static void load_three(mako_store *store, int *statuses)
{
    const struct mako_expect expect = {
        .struct_size = sizeof expect, .schema_min = 1, .schema_max = 1};
    const struct mako_expect *const expects[] = {&expect, &expect, &expect};
    const char *const streams[] = {"a", "none", "c"};
    mako_snapshot *snapshots[3];

    cr_assert_eq(
        mako_store_load_many(store, streams, expects, 3, snapshots, NULL, statuses, NULL),
        MAKO_OK);
    for (int i = 0; i < 3; i++)
        mako_snapshot_unref(snapshots[i]);
}

static void try_batches(const char *plugin, unsigned calls)
{
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open(plugin, &p, CRASH);
    int statuses[3] = {-99, -99, -99};

    save_three(store, statuses);
    cr_assert(statuses[0] == MAKO_OK && statuses[1] == MAKO_OK && statuses[2] == MAKO_OK);
    load_three(store, statuses);
    cr_assert(statuses[0] == MAKO_OK && statuses[1] == MAKO_NOT_FOUND &&
              statuses[2] == MAKO_OK);
    cr_assert_eq(p.batches, calls, "%s: %d batches", plugin, (int)p.batches);
    cr_assert(calls == 0 || (p.saves == 0 && p.loads == 0));
    cr_assert_eq(counter_of(store, "saves"), 3);
    cr_assert_eq(counter_of(store, "loads_ok"), 2);
    mako_store_unref(store);
    probe_clear(&p);
}

Test(store, batches_are_one_call_where_there_is_one)
{
    try_batches("probe", 2);
}

Test(store, batches_are_a_loop_where_there_is_none)
{
    try_batches("probe-plugin", 0);
}

Test(store, a_batch_that_fails_as_a_whole)
{
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open("probe", &p, CRASH);
    const struct mako_save save = {.struct_size = sizeof save, .seq = 1, .schema = 1};
    const struct mako_save *const saves[] = {&save, &save};
    const char *const streams[] = {"a", "b"};
    struct mako_error err;
    int statuses[2];

    p.orders.save_many = MAKO_E_NO_SPACE;
    p.text = "full";
    cr_assert_eq(mako_store_save_many(store, streams, saves, 2, statuses, &err),
                 MAKO_E_NO_SPACE);
    cr_assert_str_eq(err.text, "store 's' (probe): full");
    cr_assert_eq(counter_of(store, "saves_failed"), 2);
    p.orders.save_many = 5;
    cr_assert_eq(mako_store_save_many(store, streams, saves, 2, statuses, &err),
                 MAKO_E_PLUGIN);
    cr_assert_eq(counter_of(store, "saves_failed"), 4);
    mako_store_unref(store);
}

/* ---- lent bytes
 * ----------------------------------------------------------------------------- */

static mako_snapshot *load_one(mako_store *store)
{
    const struct mako_expect any = {
        .struct_size = sizeof any, .schema_min = 1, .schema_max = 9};
    mako_snapshot *snapshot = NULL;

    cr_assert_eq(mako_store_load(store, "a", &any, &snapshot, NULL, NULL), MAKO_OK);
    return snapshot;
}

Test(store, lent_snapshots_keep_the_store_open)
{
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open("probe", &p, CRASH);
    mako_snapshot *first, *second;
    size_t len;

    p.lend = true;
    cr_assert_eq(save_text(store, "a", 1, "state", NULL), MAKO_OK);
    first = load_one(store);
    second = load_one(store);
    mako_store_unref(store);
    cr_assert_eq(p.closes, 0);
    cr_assert_eq(memcmp(mako_snapshot_state(first, &len), "state", 5), 0);
    mako_snapshot_unref(first);
    cr_assert(p.releases == 1 && p.closes == 0);
    mako_snapshot_unref(second);
    cr_assert(p.releases == 2 && p.closes == 1);
    probe_clear(&p);
}

Test(store, copied_snapshots_do_not)
{
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open("probe", &p, CRASH);
    mako_snapshot *snapshot;
    size_t len;

    cr_assert_eq(save_text(store, "a", 1, "state", NULL), MAKO_OK);
    snapshot = load_one(store);
    mako_store_unref(store);
    cr_assert_eq(p.closes, 1);
    cr_assert_eq((uintptr_t)mako_snapshot_state(snapshot, &len) % 16, 0);
    mako_snapshot_unref(snapshot);
    probe_clear(&p);
}

/* What is refused after it was lent is given back at once. */
Test(store, refused_loans_are_given_back)
{
    const struct mako_expect other = {
        .struct_size = sizeof other, .schema_min = 1, .schema_max = 9, .kind = "another"};
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open("probe", &p, CRASH);
    mako_snapshot *snapshot = NULL;

    p.lend = true;
    cr_assert_eq(save_text(store, "a", 1, "state", NULL), MAKO_OK);
    cr_assert_eq(mako_store_load(store, "a", &other, &snapshot, NULL, NULL),
                 MAKO_FOREIGN);
    cr_assert_eq(p.releases, 1);
    p.records->blob[p.records->blob_len - 1] ^= 1;
    cr_assert_eq(load_any(store, "a", NULL), MAKO_DAMAGED);
    cr_assert_eq(p.releases, 2, "a CRASH store's loan is checked");
    mako_store_unref(store);
    cr_assert_eq(p.closes, 1);
    probe_clear(&p);
}

/* What lives for ever has no release. */
Test(store, loans_that_nobody_wants_back)
{
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open("probe", &p, CRASH);
    mako_snapshot *snapshot;
    size_t len;

    p.lend = p.lend_for_good = true;
    cr_assert_eq(save_text(store, "a", 1, "state", NULL), MAKO_OK);
    snapshot = load_one(store);
    cr_assert_eq(memcmp(mako_snapshot_state(snapshot, &len), "state", 5), 0);
    mako_store_unref(store);
    cr_assert_eq(p.closes, 0);
    mako_snapshot_unref(snapshot);
    cr_assert_eq(p.closes, 1);
    probe_clear(&p);
}

/* Bytes that are nowhere are not handed over. */
Test(store, loans_of_nothing)
{
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open("probe", &p, CRASH);
    struct mako_error err = {""};

    p.lend = p.lend_null = true;
    cr_assert_eq(save_text(store, "a", 1, "state", NULL), MAKO_OK);
    cr_assert_eq(load_any(store, "a", &err), MAKO_E_PLUGIN);
    cr_assert_str_eq(err.text, "store 's' (probe): load returned OK and handed nothing "
                               "over");
    cr_assert_eq(p.releases, 1);
    mako_store_unref(store);
    probe_clear(&p);
}

/* ---- short texts
 * --------------------------------------------------------------------------------- */

Test(store, long_texts_are_cut)
{
    char wide[900];
    struct probe p = PROBE_INITIAL;
    struct mako_error err;
    mako_store *store = must_open("probe", &p, CRASH);

    memset(wide, 'w', sizeof wide - 1);
    wide[sizeof wide - 1] = '\0';
    p.text = wide;
    p.orders.save = MAKO_E_IO;
    cr_assert_eq(save_text(store, "a", 1, "x", &err), MAKO_E_IO);
    cr_assert_eq(strlen(err.text), sizeof err.text - 1);
    cr_assert_eq(strncmp(err.text, "store 's' (probe): www", 22), 0);
    mako_store_unref(store);
}

/* However long the id, there is room for what is the matter with it. */
Test(store, long_ids_leave_room_for_the_cause)
{
    char id[1025];
    struct probe p = PROBE_INITIAL;
    struct mako_error err;
    mako_store *store = must_open("probe", &p, CRASH);

    memset(id, 'i', 1024);
    id[1024] = '\0';
    p.orders.load = MAKO_NOT_FOUND;
    cr_assert_eq(load_any(store, id, &err), MAKO_NOT_FOUND);
    cr_assert(strstr(err.text, "no snapshot"), "%s", err.text);
    mako_store_unref(store);
}

/* ---- what is seldom there
 * --------------------------------------------------------------
 */

/* A plugin that is at fault in its own words, and in a call that is about no stream. */
Test(store, failures_of_calls_about_no_stream)
{
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open("probe", &p, CRASH);
    struct mako_error err = {""};

    p.orders.scan = MAKO_E_IO;
    cr_assert_eq(mako_store_scan(store, NULL, NULL, NULL, &err), MAKO_E_IO);
    cr_assert(strstr(err.text, "scan failed without a message (E_IO)"), "%s", err.text);
    p.orders.scan = MAKO_E_PLUGIN;
    cr_assert_eq(mako_store_scan(store, NULL, NULL, NULL, &err), MAKO_E_PLUGIN);
    cr_assert(strstr(err.text, "scan returned"), "%s", err.text);
    mako_store_unref(store);
}

/* Operations that a plugin does not have, and errors that nobody wants to read. */
Test(store, what_a_plain_plugin_cannot)
{
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open("probe-plugin", &p, CRASH);
    struct mako_error err = {""};

    cr_assert_eq(mako_store_compact(store, NULL, NULL, &err), MAKO_E_UNSUPPORTED);
    cr_assert(strstr(err.text, "cannot compact"), "%s", err.text);
    cr_assert_eq(mako_store_compact(store, NULL, NULL, NULL), MAKO_E_UNSUPPORTED);
    mako_store_unref(store);
}

/* A batch that fails as a whole, for somebody who does not ask why. */
Test(store, batches_without_an_error_to_fill)
{
    static const struct mako_expect any = {
        .struct_size = sizeof any, .schema_min = 1, .schema_max = 9};
    static const struct mako_save save = {
        .struct_size = sizeof save, .seq = 1, .schema = 1, .state = "x", .state_len = 1};
    const char *streams[] = {"a", "b"};
    const struct mako_expect *expects[] = {&any, &any};
    const struct mako_save *saves[] = {&save, &save};
    mako_snapshot *snapshots[2];
    int statuses[2];
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open("probe", &p, OUTAGE("1h"));

    p.orders.load_many = MAKO_E_UNAVAILABLE;
    cr_assert_eq(
        mako_store_load_many(store, streams, expects, 2, snapshots, NULL, statuses, NULL),
        MAKO_E_UNAVAILABLE);
    cr_assert(snapshots[0] == NULL && snapshots[1] == NULL);
    cr_assert_eq(mako_store_save_many(store, streams, saves, 2, statuses, NULL),
                 MAKO_E_UNAVAILABLE, "in the pause");
    cr_assert_eq(
        mako_store_load_many(store, streams, expects, 2, snapshots, NULL, statuses, NULL),
        MAKO_E_UNAVAILABLE, "in the pause");
    cr_assert_eq(counter_of(store, "loads_failed"), 2, "what was tried counts");
    cr_assert_eq(counter_of(store, "saves_failed"), 0, "what was not tried does not");
    mako_store_unref(store);
}

/* What a batch finds damaged is said as well, also where nobody asks why. */
Test(store, damage_in_a_batch_is_logged)
{
    static const struct mako_expect any = {
        .struct_size = sizeof any, .schema_min = 1, .schema_max = 9};
    const char *streams[] = {"a", "b"};
    const struct mako_expect *expects[] = {&any, &any};
    struct probe p = PROBE_INITIAL;
    struct heard heard = {0, -1, ""};
    mako_store *store = must_open("probe", &p, CRASH);
    mako_snapshot *snapshots[2];
    int statuses[2];

    cr_assert_eq(save_text(store, "a", 1, "x", NULL), MAKO_OK);
    cr_assert_eq(save_text(store, "b", 1, "y", NULL), MAKO_OK);
    for (const struct probe_record *r = p.records; r; r = r->next)
        if (r->stream[0] == 'b')
            r->blob[3] ^= 1;
    mako_set_log(hear, &heard);
    cr_assert_eq(
        mako_store_load_many(store, streams, expects, 2, snapshots, NULL, statuses, NULL),
        MAKO_OK);
    mako_set_log(NULL, NULL);
    cr_assert(statuses[0] == MAKO_OK && statuses[1] == MAKO_DAMAGED);
    cr_assert(heard.level == MAKO_LOG_WARN && strstr(heard.text, "stream 'b'"), "%s",
              heard.text);
    mako_snapshot_unref(snapshots[0]);
    cr_assert_null(snapshots[1]);
    mako_store_unref(store);
    probe_clear(&p);
}

/* A range that begins at no schema is none. */
Test(store, a_range_without_a_beginning)
{
    static const struct mako_expect none = {
        .struct_size = sizeof none, .schema_min = 0, .schema_max = 5};
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open("probe", &p, CRASH);
    mako_snapshot *snapshot = NULL;
    struct mako_error err = {""};

    cr_assert_eq(mako_store_load(store, "a", &none, &snapshot, NULL, &err),
                 MAKO_E_INVALID);
    cr_assert(strstr(err.text, "stream 'a': schema 0 to 5 is no range"), "%s", err.text);
    mako_store_unref(store);
}

static void no_line(void *arg, const char *key, const char *value)
{
    (void)arg, (void)key, (void)value;
}

/* Nobody has to ask why. */
Test(store, descriptions_without_an_error_to_fill)
{
    static const char json[] = "{\"stores\": {}}";
    struct mako_source source = {
        .struct_size = sizeof source, .json = json, .json_len = sizeof json - 1};
    struct mako_error err = {""};

    cr_assert_eq(mako_config_describe(&source, no_line, NULL, NULL), MAKO_E_CONFIG);
    source.struct_size = 4;
    cr_assert_eq(mako_config_describe(&source, no_line, NULL, &err), MAKO_E_INVALID);
    cr_assert(strstr(err.text, "struct mako_source: struct_size is 4"), "%s", err.text);
}

/* A plugin that finds itself at fault says so in its own words. */
Test(store, plugins_that_blame_themselves)
{
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open("probe", &p, CRASH);

    cr_assert_eq(save_text(store, "a", 1, "x", NULL), MAKO_OK);
    p.orders.load = MAKO_E_PLUGIN;
    p.text = "lost its way";
    cr_assert_eq(load_any(store, "a", NULL), MAKO_E_PLUGIN);
    p.orders.load = MAKO_OK;
    cr_assert_eq(load_any(store, "a", NULL), MAKO_OK);
    mako_store_unref(store);
    probe_clear(&p);
}

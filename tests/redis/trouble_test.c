/* tests/redis/trouble_test.c - the Redis store on servers that are busy, full, or shut to
 * it: what it says, that loads go on, and that it recovers.  Each case has its own. */
#include "client.h"
#include "proxy.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>

/* A store that gives up soon, and says why. */
#define HASTY \
    ", \"op_timeout\": \"300ms\", \"io_timeout\": \"200ms\", \"retry_max\": \"20ms\""

/* The core would hold further calls back, behind a failure. */
static void try_always(void)
{
    store_settings = ", \"retry_after\": 0";
}
TestSuite(redis_trouble, .timeout = 240, .init = try_always, .fini = take_away);

static void start(const char *a, const char *b, const char *c, const char *d)
{
    server = (struct server){.options = {a, b, c, d}};
    server_start(&server);
}

static void fails(mako_store *store, uint64_t seq, size_t len, int want,
                  const char *words)
{
    struct mako_error err = {""};
    int status = save(store, "a", seq, len, &err);

    cr_assert_eq(status, want, "%s: %s", mako_status_name(status), err.text);
    has_words(err.text, words);
}

/* A slow machine may miss the time limits. */
static mako_store *open_hastily(const char *options)
{
    mako_store *store = NULL;
    struct mako_error err = {""};
    uint64_t from = now_ms();
    int status;

    do
        status = open_with("crash", options, &store, &err);
    while (too_slow(status, from));
    cr_assert_eq(status, MAKO_OK, "%s", err.text);
    return store;
}

/* A save that goes on beside the test. */
struct beside {
    mako_store *store;
    uint64_t seq;
    size_t len;
    int status;
    struct mako_error err;
    pthread_t thread;
};

static void *save_beside(void *arg)
{
    struct beside *beside = arg;

    beside->status = save(beside->store, "a", beside->seq, beside->len, &beside->err);
    return NULL;
}

static void begin(struct beside *beside)
{
    cr_assert_eq(pthread_create(&beside->thread, NULL, save_beside, beside), 0);
}

static void must_end_well(struct beside *beside)
{
    (void)pthread_join(beside->thread, NULL);
    cr_assert_eq(beside->status, MAKO_OK, "%s", beside->err.text);
}

/* It was refused at least once, and goes on. */
static void until_retried(mako_store *store)
{
    uint64_t end = now_ms() + 60000;

    while (counter(store, "retries") == 0) {
        cr_assert(now_ms() < end, "nothing was tried again");
        breathe();
    }
}

/* ---- busy -----------------------------------------------------------------------------
 */

/* The trouble's word is told to a store in a hurry; a patient one outlasts it. */
static void outlasted(mako_store *hasty, mako_store *patient, const char *word,
                      const char *cure)
{
    struct beside beside = {.store = patient, .seq = 1000000, .len = 100};

    until_told(hasty, word);
    begin(&beside);
    until_retried(patient);
    must_answer(cure, "+OK");
    must_end_well(&beside);
    cr_assert_eq(kept(patient, "a"), 1000000);
    mako_store_unref(hasty);
    mako_store_unref(patient);
}

Test(redis_trouble, loading)
{
    mako_store *hasty, *patient;

    start("--rdbcompression", "no", NULL, NULL);
    hasty = open_at_last("crash", HASTY);
    patient = must_open("crash", PATIENT);
    save_at_last(hasty, "a", 1, 100);
    must_answer("EVAL \"for i=1,2000 do redis.call('SET','f'..i,string.rep('x',2000)) "
                "end return 'filled'\" 0",
                "filled");
    must_answer("SAVE", "+OK");
    server_kill(&server, SIGKILL);
    server.options[2] = "--key-load-delay";
    server.options[3] = "20000";
    server.options[4] = "--loading-process-events-interval-bytes";
    server.options[5] = "1024";
    server_restart_loading(&server);
    outlasted(hasty, patient, "LOADING", "CONFIG SET key-load-delay 0");
}

static void *run_forever(void *arg)
{
    char answer[256];

    (void)arg;
    server_ask(&server, "EVAL \"while true do end\" 0", answer, sizeof answer);
    return NULL;
}

Test(redis_trouble, busy_with_a_script)
{
    mako_store *hasty, *patient;
    pthread_t thread;

    start("--lua-time-limit", "50", NULL, NULL);
    hasty = open_at_last("crash", HASTY);
    patient = must_open("crash", PATIENT);
    save_at_last(hasty, "a", 1, 100);
    cr_assert_eq(pthread_create(&thread, NULL, run_forever, NULL), 0);
    until_answer("PING", "-BUSY");
    outlasted(hasty, patient, "BUSY", "SCRIPT KILL");
    (void)pthread_join(thread, NULL);
}

/* Nor does it say then how it is set up, which is no reason to doubt it. */
Test(redis_trouble, busy_when_it_is_asked_how_it_is_set_up)
{
    struct beside beside = {.seq = 2, .len = 100};
    pthread_t thread;
    uint64_t saved;

    server = (struct server){.options = {ALWAYS, "--lua-time-limit", "50"}};
    server_start(&server);
    beside.store = must_open("power", PATIENT ", \"recheck\": \"100ms\"");
    must_save(beside.store, "a", 1, 100);
    saved = now_ms();
    cr_assert_eq(pthread_create(&thread, NULL, run_forever, NULL), 0);
    until_answer("PING", "-BUSY");
    while (now_ms() - saved < 150) /* it is to be asked again */
        breathe();
    begin(&beside);
    until_retried(beside.store);
    must_answer("SCRIPT KILL", "+OK");
    (void)pthread_join(thread, NULL);
    must_end_well(&beside);
    mako_store_unref(beside.store);
}

/* The server takes its time, and the save is sent to it again and again. */
Test(redis_trouble, paused)
{
    struct beside beside = {.seq = 2, .len = 100000};
    mako_store *store;

    start(NULL, NULL, NULL, NULL);
    store = must_open("crash", ", \"io_timeout\": \"100ms\", \"op_timeout\": \"120s\"");
    must_save(store, "a", 1, 100);
    must_answer("CLIENT PAUSE 60000 WRITE", "+OK");
    beside.store = store;
    begin(&beside);
    until_retried(store);
    must_answer("CLIENT UNPAUSE", "+OK");
    must_end_well(&beside);
    cr_assert_eq(kept(store, "a"), 2);
    mako_store_unref(store);
}

/* The server says so and hangs up: its words are heard, or only that it is gone. */
static bool turned_away(const struct mako_error *err)
{
    static const char *const words[] = {": ERR max number of clients reached",
                                        ": Connection reset by peer", ": Broken pipe",
                                        ": closed by the server"};

    has_words(err->text, "store 's' (redis): 127.0.0.1:");
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strstr(err->text, words[i]))
            return true;
    return false;
}

Test(redis_trouble, no_room_for_another_client)
{
    mako_store *first, *second = NULL;
    struct mako_error err = {""};
    uint64_t end = now_ms() + 60000;

    start("--maxclients", "1", NULL, NULL);
    first = must_open("crash", "");
    must_save(first, "a", 1, 100);
    do {
        int status = open_store("crash", HASTY, &second, &err);

        cr_assert_eq(status, MAKO_E_UNAVAILABLE, "%s: %s", mako_status_name(status),
                     err.text);
        cr_assert(now_ms() < end, "%s", err.text);
    } while (!turned_away(&err));
    must_save(first, "a", 2, 100);
    mako_store_unref(first);
    second = must_open("crash", "");
    cr_assert_eq(kept(second, "a"), 2);
    mako_store_unref(second);
}

/* ---- full -----------------------------------------------------------------------------
 */

Test(redis_trouble, out_of_memory)
{
    mako_store *store;
    uint64_t seq = 0;
    char stream[32];
    struct mako_error err = {""};
    int status = MAKO_OK;

    start("--maxmemory", "6mb", "--maxmemory-policy", "noeviction");
    store = must_open("crash", "");
    while (status == MAKO_OK && seq < 1000) {
        (void)snprintf(stream, sizeof stream, "s/%llu", (unsigned long long)++seq);
        status = save(store, stream, seq, seq % 2 ? 4000 : 100000, &err);
    }
    cr_assert_eq(status, MAKO_E_NO_SPACE, "%s: %s", mako_status_name(status), err.text);
    has_words(err.text, "store 's' (redis)");
    has_words(err.text, "OOM");
    cr_assert_eq(kept(store, "s/1"), 1, "loads go on");
    must_answer("CONFIG SET maxmemory 100mb", "+OK");
    must_save(store, stream, seq, 100000);
    mako_store_unref(store);
}

/* More than the server takes as one value. */
Test(redis_trouble, too_large_for_the_server)
{
    mako_store *store;

    start("--proto-max-bulk-len", "1mb", NULL, NULL);
    store_settings = "";
    store = must_open("crash", "");
    must_save(store, "a", 1, 100);
    fails(store, 2, 3 * MIB, MAKO_E_LIMIT, "Protocol error: invalid bulk length");
    must_save(store, "a", 3, 100000);
    cr_assert_eq(counter(store, "retries"), 0);
    mako_store_unref(store);
}

/* The server itself wants replicas; ours are wanted by the store. */
Test(redis_trouble, too_few_replicas)
{
    mako_store *store;

    start("--min-replicas-to-write", "1", NULL, NULL);
    store = must_open("crash", "");
    fails(store, 1, 100, MAKO_E_IO, "NOREPLICAS");
    fails(store, 1, 100000, MAKO_E_IO, "NOREPLICAS");
    cr_assert_eq(kept(store, "a"), 0);
    must_answer("CONFIG SET min-replicas-to-write 0", "+OK");
    must_save(store, "a", 2, 100);
    mako_store_unref(store);

    store = must_open("crash", ", \"wait_replicas\": 2, \"wait_timeout\": \"100ms\"");
    fails(store, 3, 100, MAKO_E_IO, "0 of 2 replicas confirmed in time");
    fails(store, 4, 100000, MAKO_E_IO, "it may have been done nevertheless");
    mako_store_unref(store);
}

static char small_disk[64];

/* A file system of 3 MiB that nobody else sees; false: not allowed. */
static bool mount_small_disk(void)
{
    const char *tmp = getenv("TMPDIR");

    (void)snprintf(small_disk, sizeof small_disk, "%.40s/mako-full.XXXXXX",
                   tmp && *tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    cr_assert(mkdtemp(small_disk));
    return unshare(CLONE_NEWNS) == 0 &&
           mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("mako", small_disk, "tmpfs", 0, "size=3m") == 0;
}

static void drop_small_disk(void)
{
    take_away();
    (void)umount2(small_disk, MNT_DETACH);
    (void)rmdir(small_disk);
}

/* All that is left of it, or nothing. */
static void fill_disk(bool full)
{
    static const char zeros[4096];
    char path[128];
    int fd;

    (void)snprintf(path, sizeof path, "%s/filler", small_disk);
    if (!full) {
        cr_assert_eq(unlink(path), 0);
        return;
    }
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    cr_assert_geq(fd, 0);
    while (write(fd, zeros, sizeof zeros) > 0)
        ;
    (void)close(fd);
}

static void on_small_disk(const char *fsync)
{
    if (!mount_small_disk()) {
        cr_skip_test("no file system may be mounted here: %s", strerror(errno));
    }
    server = (struct server){
        .options = {"--dir", small_disk, "--appendonly", "yes", "--appendfsync", fsync}};
    server_start(&server);
}

/* The server goes on and says MISCONF. */
Test(redis_trouble, disk_full_without_flushes, .fini = drop_small_disk)
{
    mako_store *store;
    uint64_t seq = 1;

    on_small_disk("everysec");
    store = must_open("crash", "");
    must_save(store, "b", 1, 1000);
    fill_disk(true);
    saves_until(store, &seq, 5000, MAKO_E_NO_SPACE, "MISCONF");
    cr_assert_eq(kept(store, "b"), 1, "loads go on");
    fill_disk(false);
    saves_until(store, &seq, 5000, MAKO_OK, "");
    cr_assert_eq(kept(store, "a"), seq);
    mako_store_unref(store);
}

/* The server ends itself rather than say that it flushed. */
Test(redis_trouble, disk_full_with_flushes, .fini = drop_small_disk)
{
    mako_store *store, *fresh;
    struct mako_error err = {""};
    uint64_t seq = 0, found;
    int status = MAKO_OK;

    on_small_disk("always");
    store = open_at_last("power", ", \"op_timeout\": \"2s\"");
    save_at_last(store, "a", ++seq, 100);
    fill_disk(true);
    while (status == MAKO_OK && seq < 100000)
        status = save(store, "a", ++seq, 5000, &err);
    cr_assert(status == MAKO_E_UNAVAILABLE || status == MAKO_E_NO_SPACE, "%s: %s",
              mako_status_name(status), err.text);
    fill_disk(false);
    server_kill(&server, SIGKILL);
    server_restart(&server);
    fresh = must_open("crash", "");
    found = kept(fresh, "a");
    mako_store_unref(fresh);
    cr_assert(found == seq - 1 || found == seq, "%llu was acknowledged, %llu is there",
              (unsigned long long)seq - 1, (unsigned long long)found);
    saves_until(store, &seq, 5000, MAKO_OK, "");
    mako_store_unref(store);
}

/* ---- rights ---------------------------------------------------------------------------
 */

static bool count_one(void *arg, struct mako_str stream, const struct mako_meta *meta,
                      uint64_t size)
{
    size_t *count = arg;

    (void)stream, (void)meta, (void)size;
    ++*count;
    return true;
}

static const char *const streams[] = {"b/1", "b/2", "b/3"};

/* Three saves in a batch, from sequence seq on. */
static void save_batch(mako_store *store, uint64_t seq, int statuses[3],
                       struct mako_error *err)
{
    static unsigned char states[3][20000];
    struct mako_save records[3];
    const struct mako_save *pointers[3];
    int status;

    for (size_t i = 0; i < 3; i++) {
        records[i] = (struct mako_save){.struct_size = sizeof records[i],
                                        .seq = seq + i,
                                        .schema = 1,
                                        .state = states[i],
                                        .state_len = i == 2 ? 20000 : 100};
        fill(states[i], records[i].state_len, seq + i);
        pointers[i] = &records[i];
    }
    status = mako_store_save_many(store, streams, pointers, 3, statuses, err);
    cr_assert_eq(status, MAKO_OK, "%s", err->text);
}

static void must_save_batch(mako_store *store, uint64_t seq)
{
    struct mako_error err = {""};
    int statuses[3];

    save_batch(store, seq, statuses, &err);
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(statuses[i], MAKO_OK, "%s: %s", streams[i], err.text);
        cr_assert_eq(kept(store, streams[i]), seq + i);
    }
}

/* Everything that a store does, at sequences from seq on. */
static void must_do_all(mako_store *store, uint64_t seq)
{
    struct mako_error err = {""};
    size_t count = 0;

    must_save(store, "a", seq, 100);
    must_save(store, "a", seq + 1, 100000);
    cr_assert_eq(save_flagged(store, "a", seq, 100, MAKO_SAVE_FORCE, &err), MAKO_OK, "%s",
                 err.text);
    cr_assert_eq(kept(store, "a"), seq);
    must_save_batch(store, seq);
    cr_assert_eq(mako_store_scan(store, NULL, count_one, &count, &err), MAKO_OK, "%s",
                 err.text);
    cr_assert_eq(count, 4);
    cr_assert_eq(mako_store_remove(store, "a", &err), MAKO_OK, "%s", err.text);
    cr_assert_eq(kept(store, "a"), 0);
}

Test(redis_trouble, the_rights_that_the_page_names_are_enough)
{
    mako_store *store;

    server = (struct server){.options = {ALWAYS}};
    server_start(&server);
    make_user(&server);
    store = must_open("power", AS_USER);
    must_do_all(store, 1);
    mako_store_unref(store);

    must_answer("ACL SETUSER snapshots -msetnx", "+OK");
    store = must_open("power", AS_USER);
    must_do_all(store, 11);
    must_do_all(store, 21);
    mako_store_unref(store);

    must_answer("ACL SETUSER snapshots -multi -exec", "+OK");
    store = must_open("power", AS_USER);
    must_do_all(store, 31);
    mako_store_unref(store);
}

/* Whatever right is missing, a late batch replaces nothing, and what is there stays. */
Test(redis_trouble, a_late_batch_without_a_right)
{
    static const char *const rights[] = {"set",  "msetnx",  "getrange", "unlink",
                                         "eval", "evalsha", "rename",   "multi"};
    mako_store *all, *some;

    start(NULL, NULL, NULL, NULL);
    make_user(&server);
    all = must_open("crash", "");
    must_save_batch(all, 100);
    some = must_open("crash", AS_USER);
    for (size_t i = 0; i < sizeof rights / sizeof rights[0]; i++) {
        for (size_t fresh = 0; fresh < 2; fresh++) {
            int statuses[3];
            struct mako_error err = {""};
            char command[64];

            (void)snprintf(command, sizeof command, "ACL SETUSER snapshots -%s",
                           rights[i]);
            must_answer(command, "+OK");
            if (fresh) {
                mako_store_unref(some);
                some = must_open("crash", AS_USER);
            }
            for (unsigned round = 0; round < 2; round++) {
                save_batch(some, 60, statuses, &err);
                for (size_t k = 0; k < 3; k++) {
                    cr_assert(statuses[k] == MAKO_STALE || statuses[k] < 0, "-%s: %s",
                              rights[i], mako_status_name(statuses[k]));
                    cr_assert_eq(kept(all, streams[k]), 100 + k, "-%s", rights[i]);
                }
            }
            (void)snprintf(command, sizeof command, "ACL SETUSER snapshots +%s",
                           rights[i]);
            must_answer(command, "+OK");
        }
    }
    mako_store_unref(some);
    mako_store_unref(all);
}

/* The right to transactions is taken from a connection at work: what is there stays. */
Test(redis_trouble, a_batch_that_may_not_be_one_any_more)
{
    static const char *const taken[] = {"multi", "exec"};
    mako_store *all, *some;

    start(NULL, NULL, NULL, NULL);
    if (!server_says(&server, "EVAL \"return type(redis.acl_check_cmd)\" 0", "function"))
        cr_skip_test("a server before 7.0 tells no script of rights");
    make_user(&server);
    all = must_open("crash", "");
    for (size_t i = 0; i < 2; i++) {
        int statuses[3];
        struct mako_error err = {""};
        char command[64];

        some = must_open("crash", AS_USER);
        must_save_batch(some, 100 * (i + 1));
        (void)snprintf(command, sizeof command, "ACL SETUSER snapshots -%s", taken[i]);
        must_answer(command, "+OK");
        must_answer("CONFIG SET maxmemory 1", "+OK");
        save_batch(some, 100 * (i + 1) + 50, statuses, &err);
        for (size_t k = 0; k < 3; k++) {
            cr_assert_eq(statuses[k], MAKO_E_NO_SPACE, "-%s: %s", taken[i],
                         mako_status_name(statuses[k]));
            cr_assert_eq(kept(all, streams[k]), 100 * (i + 1) + k, "-%s", taken[i]);
        }
        must_answer("CONFIG SET maxmemory 0", "+OK");
        (void)snprintf(command, sizeof command, "ACL SETUSER snapshots +%s", taken[i]);
        must_answer(command, "+OK");
        mako_store_unref(some);
    }
    mako_store_unref(all);
}

Test(redis_trouble, without_the_right_to_ask_for_settings)
{
    mako_store *store;

    server = (struct server){.options = {ALWAYS}};
    server_start(&server);
    make_user(&server);
    must_answer("ACL SETUSER snapshots -config|get -info", "+OK");
    refused("power", AS_USER, "does not answer CONFIG GET");
    refused("power", AS_USER, "allow +config|get, or set assume_durable");
    refused("power", AS_USER, "ask for \"durability\": \"crash\"");
    store = must_open("power", AS_USER ", \"assume_durable\": true");
    must_do_all(store, 1);
    mako_store_unref(store);
    mako_store_unref(must_open("crash", AS_USER));
}

Test(redis_trouble, without_the_right_to_run_scripts)
{
    mako_store *store;

    start(NULL, NULL, NULL, NULL);
    make_user(&server);
    must_answer("ACL SETUSER snapshots -eval -evalsha", "+OK");
    store = must_open("crash", AS_USER);
    fails(store, 1, 100, MAKO_E_IO, "NOPERM");
    fails(store, 1, 100, MAKO_E_IO, "eval");
    cr_assert_eq(kept(store, "a"), 0);
    mako_store_unref(store);
}

/* The connections that are open know the old password, new ones find the new. */
Test(redis_trouble, a_password_changes)
{
    char options[1024], path[300];
    mako_store *store;
    uint64_t seq = 3;

    start("--requirepass", "first-secret", NULL, NULL);
    write_file("password", "first-secret\n", path);
    (void)snprintf(options, sizeof options, PATIENT ", \"password_file\": \"%s\"", path);
    store = must_open("crash", options);
    must_save(store, "a", 1, 100);
    must_answer("AUTH first-secret\r\nCONFIG SET requirepass next-secret", "+OK\r\n+OK");
    must_save(store, "a", 2, 100);
    must_answer("AUTH next-secret\r\nCLIENT KILL TYPE normal", "+OK\r\n:1");
    fails(store, 3, 100, MAKO_E_IO, "WRONGPASS");
    write_file("password", "next-secret\n", path);
    saves_until(store, &seq, 100, MAKO_OK, "");
    cr_assert_eq(kept(store, "a"), seq);
    mako_store_unref(store);
}

/* ---- many at once ---------------------------------------------------------------------
 */

static _Atomic unsigned forced;

static void *force_beside(void *arg)
{
    struct mako_error err = {""};

    for (uint64_t seq = 1; seq < 20; seq++)
        forced += save_flagged(arg, "a", seq, 100000, MAKO_SAVE_FORCE, &err) == MAKO_OK;
    return NULL;
}

/* They change it under each other; each goes by way of a temporary key all the same. */
Test(redis_trouble, unconditional_saves_side_by_side)
{
    mako_store *store;
    char answer[64];

    start(NULL, NULL, NULL, NULL);
    store = must_open("crash", PATIENT);
    do {
        pthread_t threads[4];

        for (size_t i = 0; i < 4; i++)
            cr_assert_eq(pthread_create(&threads[i], NULL, force_beside, store), 0);
        for (size_t i = 0; i < 4; i++)
            (void)pthread_join(threads[i], NULL);
    } while (counter(store, "retries") == 0);
    cr_assert_eq(forced % 76, 0, "%u", forced);
    (void)snprintf(answer, sizeof answer, "cmdstat_rename:calls=%u,", forced);
    must_answer("INFO commandstats", answer);
    mako_store_unref(store);
}

/* ---- what others do to the server -----------------------------------------------------
 */

Test(redis_trouble, scripts_are_flushed)
{
    mako_store *store;

    start(NULL, NULL, NULL, NULL);
    store = must_open("crash", "");
    for (uint64_t seq = 1; seq < 40; seq += 10) {
        must_answer("SCRIPT FLUSH", "+OK");
        must_save(store, "a", seq, 100);
        must_answer("SCRIPT FLUSH", "+OK");
        must_save(store, "a", seq + 1, 100000);
        must_answer("SCRIPT FLUSH", "+OK");
        must_save_batch(store, seq);
        cr_assert_eq(kept(store, "a"), seq + 1);
    }
    mako_store_unref(store);
}

Test(redis_trouble, a_key_of_another_type_is_damage_and_heals)
{
    struct mako_error err = {""};
    mako_store *store;
    uint64_t seq = 0;

    start(NULL, NULL, NULL, NULL);
    store = must_open("crash", "");
    for (unsigned round = 0; round < 2; round++) {
        must_answer("DEL snap:{a}\r\nRPUSH snap:{a} x", ":1");
        cr_assert_eq(load(store, "a", &seq, &err), MAKO_DAMAGED, "%s", err.text);
        has_words(err.text, "WRONGTYPE");
        must_save(store, "a", 5, round ? 100000 : 100);
        cr_assert_eq(kept(store, "a"), 5);
    }
    mako_store_unref(store);
}

/* ---- late saves -----------------------------------------------------------------------
 */

static struct proxy *proxy;

static const struct late {
    const char *words; /* in the beginning of its request */
    size_t len;
    uint32_t flags;
} lates[] = {{"EVAL", 100, 0},
             {"\r\nSET\r\n", 100000, 0}, /* of the temporary key */
             {"EVAL", 100, MAKO_SAVE_FORCE},
             {"\r\nSET\r\n", 100000, MAKO_SAVE_FORCE}};

/* Of scripts, since the server was started. */
static uint64_t calls(void)
{
    static const char *const names[] = {"cmdstat_eval:calls=", "cmdstat_evalsha:calls="};
    char answer[16384];
    uint64_t count = 0;

    server_ask(&server, "INFO commandstats", answer, sizeof answer);
    for (size_t i = 0; i < 2; i++) {
        const char *at = strstr(answer, names[i]);

        count += at ? strtoull(at + strlen(names[i]), NULL, 10) : 0;
    }
    return count;
}

/* Through the proxy, which keeps it, until it is given up. */
static void save_held(const struct late *late, uint64_t seq)
{
    const struct proxy_rule hold = {.fault = PROXY_HOLD, .hold = late->words};
    uint64_t end = now_ms() + 60000;
    struct mako_error err = {""};
    char options[256];
    mako_store *store;

    (void)snprintf(options, sizeof options, "\"endpoints\": \"127.0.0.1:%u\"" HASTY,
                   (unsigned)proxy_port(proxy));
    store = open_hastily(options);
    proxy_rule(proxy, &hold);
    do {
        int status = save_flagged(store, "a", seq, late->len, late->flags, &err);

        cr_assert_eq(status, MAKO_E_UNAVAILABLE, "%s: %s", mako_status_name(status),
                     err.text);
        cr_assert(now_ms() < end, "nothing is held: %s", err.text);
    } while (proxy_held(proxy) == 0);
    mako_store_unref(store);
}

/* Late, behind a newer one or not; false: it was cut off on a slow machine. */
static bool comes_late(mako_store *straight, const struct late *late, uint64_t seq,
                       bool newer)
{
    uint64_t before;

    must_save(straight, "a", seq + 1, 100);
    save_held(late, seq + 5);
    cr_assert_eq(kept(straight, "a"), seq + 1);
    if (newer)
        must_save(straight, "a", seq + 9, late->len);
    before = calls();
    proxy_release(proxy);
    if (calls() == before)
        return false;
    cr_assert_eq(kept(straight, "a"), newer ? seq + 9 : seq + 5, "%zu bytes, flags %u",
                 late->len, late->flags);
    return true;
}

/* A save that was given up reaches the server when a newer one was acknowledged: the
 * newer one stays.  Where there is none, it is kept. */
Test(redis_trouble, a_late_save_never_replaces_a_newer_one)
{
    uint64_t seq = 0, end = now_ms() + 120000;
    mako_store *straight;

    start(NULL, NULL, NULL, NULL);
    proxy = proxy_start(server.port);
    straight = must_open("crash", PATIENT);
    for (size_t i = 0; i < 2 * sizeof lates / sizeof lates[0]; i++)
        while (!comes_late(straight, &lates[i / 2], seq += 10, i % 2)) {
            cr_assert(now_ms() < end, "no whole save comes late");
        }
    mako_store_unref(straight);
    proxy_stop(proxy);
}

/* ---- sharing --------------------------------------------------------------------------
 */

enum {
    THREADS = 8,
    SAVES = 60
};

struct worker {
    mako_store *store;
    size_t index;
    int status;
    struct mako_error err;
    pthread_t thread;
};

static void *work(void *arg)
{
    static const size_t sizes[] = {100, 5000, 50000};
    struct worker *worker = arg;
    char stream[16];

    (void)snprintf(stream, sizeof stream, "t/%zu", worker->index);
    for (uint64_t seq = 1; seq <= SAVES && worker->status == MAKO_OK; seq++) {
        worker->status = save(worker->store, stream, seq, sizes[seq % 3], &worker->err);
        cr_assert(worker->status != MAKO_OK || kept(worker->store, stream) == seq);
    }
    return NULL;
}

/* How many connections the server has from stores. */
static size_t connections(void)
{
    char answer[8192];
    size_t count = 0;

    server_ask(&server, "CLIENT LIST", answer, sizeof answer);
    for (const char *at = answer; (at = strstr(at, "name=mako-snapshot")); at++)
        count++;
    return count;
}

Test(redis_trouble, eight_threads_share_two_connections)
{
    static struct worker workers[THREADS];
    mako_store *store;

    start(NULL, NULL, NULL, NULL);
    store = must_open("crash", PATIENT ", \"pool_max\": 2");
    for (size_t i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.store = store, .index = i};
        cr_assert_eq(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < 50; i++)
        cr_assert_leq(connections(), 2);
    for (size_t i = 0; i < THREADS; i++) {
        (void)pthread_join(workers[i].thread, NULL);
        cr_assert_eq(workers[i].status, MAKO_OK, "%s", workers[i].err.text);
    }
    cr_assert_eq(connections(), 2);
    cr_assert_eq(counter(store, "connects"), 2);
    cr_assert_eq(counter(store, "retries"), 0, "they wait for one that is free");
    mako_store_unref(store);
}

static _Noreturn void be_a_child(mako_store *store)
{
    struct mako_error err = {""};
    struct mako_meta meta;
    bool refuses = save(store, "a", 9, 100, &err) == MAKO_E_FORKED &&
                   mako_store_peek(store, "a", &meta, &err) == MAKO_E_FORKED &&
                   mako_store_remove(store, "a", &err) == MAKO_E_FORKED;

    mako_store_unref(store);
    _exit(refuses ? 0 : 1);
}

/* A child neither uses nor closes what its parent goes on using. */
Test(redis_trouble, a_child_leaves_the_connections_alone)
{
    mako_store *store;
    int status;

    start(NULL, NULL, NULL, NULL);
    store = must_open("crash", PATIENT);
    must_save(store, "a", 1, 100);
    for (uint64_t seq = 2; seq < 6; seq++) {
        pid_t child = fork();

        if (child == 0)
            be_a_child(store);
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x", status);
        must_save(store, "a", seq, 100);
        cr_assert_eq(kept(store, "a"), seq);
    }
    cr_assert_eq(counter(store, "connects"), 1);
    mako_store_unref(store);
}

/* ---- other options --------------------------------------------------------------------
 */

Test(redis_trouble, snapshots_expire)
{
    mako_store *store;

    start(NULL, NULL, NULL, NULL);
    store = must_open("crash", ", \"ttl\": \"400ms\"");
    must_save(store, "a", 1, 100);
    until_answer("EXISTS snap:{a}", ":0");
    cr_assert_eq(kept(store, "a"), 0);
    must_save(store, "a", 1, 100000);
    until_answer("DBSIZE", ":0");
    mako_store_unref(store);
}

Test(redis_trouble, another_database_and_prefix)
{
    mako_store *store;

    start(NULL, NULL, NULL, NULL);
    store = must_open("crash", ", \"db\": 3, \"key_prefix\": \"mine/\"");
    must_save(store, "a", 1, 100);
    must_answer("EXISTS mine/{a}", ":0");
    must_answer("SELECT 3\r\nEXISTS mine/{a}", "+OK\r\n:1");
    mako_store_unref(store);
}

Test(redis_trouble, a_unix_socket)
{
    mako_store *store;
    struct mako_error err = {""};
    char options[512];

    start("--unixsocket", "socket", NULL, NULL);
    (void)snprintf(options, sizeof options, "\"unix_socket\": \"%s/socket\"" HASTY,
                   server.dir);
    store = open_hastily(options);
    save_at_last(store, "a", 1, 100000);
    server_kill(&server, SIGKILL);
    (void)save(store, "a", 2, 100, &err);
    server_restart(&server);
    saves_until(store, &(uint64_t){2}, 100, MAKO_OK, "");
    mako_store_unref(store);
}

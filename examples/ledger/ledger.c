/* ledger.c - accounts as a service: commands on standard input, one a line; answers on
 * standard output, one JSON document a line.
 *
 * Several threads take commands, and several processes may serve one event log.  What
 * they agree on is the log (log.c); what an account is stands in account.c.  Here is the
 * way of each command: open, decide, append, push, take (see run() and book()).
 *
 * CONF is a configuration file, or "-" to run without snapshots: the answers are the
 * same, only later. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <mako/process.h>

#include "account.h"
#include "log.h"

enum {
    THREADS_MAX = 64
};
#define CENTS_MAX 100000000000LL /* an amount */

/* This program's own outcome, beside the library's statuses. */
#define REFUSED 1000

struct service {
    const char *conf, *store_name, *log_path;
    const struct mako_aggregate *aggregate;
    mako_store *store; /* NULL: no snapshots */
    long long threads;
    /* Commands hold it shared; erasing holds it alone, so that no save is in flight. */
    pthread_rwlock_t gate;
};

struct worker {
    struct service *service;
    struct log log;
    pthread_t thread;
};

/* A line of input.  What it wants is told by entry: nothing (show), or an event. */
struct request {
    const char *verb, *account;
    const char *rest;   /* what follows the account's name, or NULL */
    struct entry entry; /* id 0: none */
};

/* What became of it, besides the state. */
struct outcome {
    struct mako_how how; /* how the state came about, before the command's own event */
    double ms;           /* until it was there */
    unsigned lost;       /* races: how often another writer was first */
    int taken;           /* status of the take */
};

/* ---- one command on one account ---------------------------------------------- */

static int decide(const struct request *request, const struct account *account,
                  struct mako_error *err)
{
    bool exists = account->owner[0] != '\0';

    if (request->entry.owner)
        return exists ? mako_fail(err, REFUSED, "the account exists") : MAKO_OK;
    if (!exists)
        return mako_fail(err, REFUSED, "no such account");
    if (account->balance + request->entry.cents < 0)
        return mako_fail(err, REFUSED, "not enough money");
    return MAKO_OK;
}

/* Decide on the state, append the event, and only then fold it.  Where another writer was
 * first, read what it wrote and decide again. */
static int book(struct worker *worker, const struct request *request,
                mako_process *process, struct outcome *outcome, struct mako_error *err)
{
    const struct entry *entry = &request->entry;
    struct mako_event event;
    bool lost;
    int status;

    for (;;) {
        status = decide(request, mako_process_state(process), err);
        if (status != MAKO_OK)
            return status;

        event = log_event(mako_process_seq(process) + 1, entry);
        status = log_append(&worker->log, request->account, event.seq, entry, &lost, err);
        if (status != MAKO_OK)
            return status;
        if (!lost)
            return mako_process_push(process, &event, err);

        outcome->lost++;
        status = mako_process_catch_up(process, err);
        if (status != MAKO_OK)
            return status;
    }
}

static double now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void answer(json_t *doc)
{
    char *text = doc ? json_dumps(doc, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;

    (void)printf("%s\n", text ? text : "{\"failed\":\"answer\",\"why\":\"no memory\"}");
    (void)fflush(stdout);
    free(text);
    json_decref(doc);
}

static void report(const struct worker *worker, const struct request *request,
                   const mako_process *process, const struct outcome *outcome)
{
    json_t *state =
        account_json(mako_process_state(process), worker->service->aggregate->schema);

    answer(json_pack("{s:s, s:s, s:I, s:o, s:s, s:I, s:I, s:i, s:s, s:f}", "done",
                     request->verb, "account", request->account, "seq",
                     (json_int_t)mako_process_seq(process), "state", state, "snapshot",
                     worker->service->store ? mako_status_name(outcome->how.snapshot)
                                            : "none",
                     "replayed", (json_int_t)outcome->how.folded, "spared",
                     (json_int_t)outcome->how.spared, "lost", (int)outcome->lost, "taken",
                     mako_status_name(outcome->taken), "ms", outcome->ms));
}

/* Once the event is in the log the command is done, whatever becomes of the snapshot. */
static int run(struct worker *worker, struct request *request, struct mako_error *err)
{
    struct outcome outcome = {.how = {.struct_size = sizeof outcome.how}};
    const struct service *service = worker->service;
    double since = now_ms();
    mako_process *process;
    int status = mako_process_open(service->store, service->aggregate, request->account,
                                   &worker->log, &process, err);

    if (status != MAKO_OK)
        return status;

    outcome.ms = now_ms() - since;
    mako_process_how(process, &outcome.how);
    if (request->entry.id != 0)
        status = book(worker, request, process, &outcome, err);
    else if (mako_process_seq(process) == 0)
        status = mako_fail(err, REFUSED, "no such account");
    if (status == MAKO_OK) {
        outcome.taken = mako_process_take(process, 0, NULL);
        report(worker, request, process, &outcome);
    }
    mako_process_close(process);
    return status;
}

/* ---- the commands ---------------------------------------------------------------- */

static bool parse_number(const char *text, long long most, long long *number)
{
    char *end;

    if (!text)
        return false;

    errno = 0;
    *number = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && *number > 0 && *number <= most;
}

static int cmd_open(struct worker *worker, struct request *request,
                    struct mako_error *err)
{
    if (!request->rest || strlen(request->rest) > OWNER_MAX)
        return mako_fail(err, REFUSED, "the owner's name has 1 to %d bytes", OWNER_MAX);

    request->entry = log_entry(request->rest, 0);
    return run(worker, request, err);
}

static int cmd_book(struct worker *worker, struct request *request,
                    struct mako_error *err)
{
    long long cents;

    if (!parse_number(request->rest, CENTS_MAX, &cents))
        return mako_fail(err, REFUSED, "an amount is 1 to %lld cents", CENTS_MAX);

    if (strcmp(request->verb, "withdraw") == 0)
        cents = -cents;
    request->entry = log_entry(NULL, cents);
    return run(worker, request, err);
}

/* Events first: nobody can append to the account nor take a snapshot of it after that.
 * Then the snapshot, and what is left of it in the store's files. */
static int cmd_erase(struct worker *worker, struct request *request,
                     struct mako_error *err)
{
    struct service *service = worker->service;
    int status = log_erase(&worker->log, request->account, err);

    if (status == MAKO_OK && service->store) {
        status = mako_store_remove(service->store, request->account, err);
        if (status == MAKO_OK || status == MAKO_NOT_FOUND)
            status = mako_store_compact(service->store, NULL, NULL, err);
    } else if (status == MAKO_OK && strcmp(service->conf, "-") != 0) {
        status = mako_fail(err, MAKO_E_UNAVAILABLE,
                           "the events are erased; the store, which is not open, may "
                           "still have a snapshot: erase again when it is");
    }
    if (status != MAKO_OK && status != MAKO_E_UNSUPPORTED)
        return status;

    answer(json_pack("{s:s, s:s}", "done", request->verb, "account", request->account));
    return MAKO_OK;
}

static int cmd_fill(struct worker *worker, struct request *request,
                    struct mako_error *err)
{
    long long count;
    int status;

    if (!parse_number(request->rest, 10000000, &count))
        return mako_fail(err, REFUSED, "a number of events is missing");

    status = log_fill(&worker->log, request->account, count, err);
    return status == MAKO_OK ? run(worker, request, err) : status;
}

static const struct command {
    const char *verb;
    bool alone; /* see the gate */
    int (*run)(struct worker *worker, struct request *request, struct mako_error *err);
    const char *help;
} commands[] = {
    {"open", false, cmd_open, "ACCOUNT OWNER"},
    {"deposit", false, cmd_book, "ACCOUNT CENTS"},
    {"withdraw", false, cmd_book, "ACCOUNT CENTS"},
    {"show", false, run, "ACCOUNT"},
    {"erase", true, cmd_erase, "ACCOUNT         forgets it, in the log and in the store"},
    {"fill", false, cmd_fill, "ACCOUNT COUNT   appends made-up bookings, to try it out"},
};
#define COMMANDS (sizeof commands / sizeof *commands)

/* ---- the threads ----------------------------------------------------------------- */

static int dispatch(struct worker *worker, struct request *request,
                    struct mako_error *err)
{
    pthread_rwlock_t *gate = &worker->service->gate;
    const struct command *command = commands;
    int status;

    while (command < commands + COMMANDS && strcmp(request->verb, command->verb) != 0)
        command++;
    if (command == commands + COMMANDS)
        return mako_fail(err, REFUSED, "no command '%.40s'", request->verb);

    (void)(command->alone ? pthread_rwlock_wrlock(gate) : pthread_rwlock_rdlock(gate));
    status = command->run(worker, request, err);
    (void)pthread_rwlock_unlock(gate);
    return status;
}

/* Nothing that is not UTF-8 may get into the log: no JSON could show it. */
static bool is_utf8(const char *line)
{
    json_t *text = json_string(line);
    bool ok = text != NULL;

    json_decref(text);
    return ok;
}

/* One line in, one line out. */
static void serve_line(struct worker *worker, char *line)
{
    struct mako_error err = {""};
    bool ok = is_utf8(line);
    char *rest = line, *verb = strtok_r(rest, " \t\n", &rest);
    struct request request = {.verb = verb, .account = strtok_r(NULL, " \t\n", &rest)};
    int status;

    if (!verb)
        return;

    rest += strspn(rest, " \t");
    request.rest = strtok_r(NULL, "\n", &rest);
    if (!ok)
        status = mako_fail(&err, REFUSED, "the line is not UTF-8");
    else if (!request.account)
        status = mako_fail(&err, REFUSED, "no account is named");
    else
        status = dispatch(worker, &request, &err);
    if (status != MAKO_OK)
        answer(json_pack("{s:s, s:s*, s:s}", status == REFUSED ? "refused" : "failed",
                         ok ? verb : "line", "account", ok ? request.account : NULL,
                         "why", err.text));
}

/* Each thread takes the next line as soon as it is free: getline() locks the stream. */
static void *work(void *arg)
{
    struct worker *worker = arg;
    char *line = NULL;
    size_t room = 0;

    while (getline(&line, &room, stdin) > 0)
        serve_line(worker, line);
    free(line);
    return NULL;
}

static int run_workers(struct worker *workers, long long count, struct mako_error *err)
{
    long long started = 0;
    int rc = 0;

    while (started < count && rc == 0) {
        rc = pthread_create(&workers[started].thread, NULL, work, &workers[started]);
        if (rc == 0)
            started++;
    }
    for (long long i = 0; i < started; i++)
        (void)pthread_join(workers[i].thread, NULL);
    return started > 0 ? MAKO_OK
                       : mako_fail(err, MAKO_E_NOMEM, "no thread: %s", strerror(rc));
}

static int serve(struct service *service, struct mako_error *err)
{
    struct worker workers[THREADS_MAX] = {0};
    int status = MAKO_OK;

    for (long long i = 0; i < service->threads && status == MAKO_OK; i++) {
        workers[i].service = service;
        status = log_open(&workers[i].log, service->log_path, err);
    }
    if (status == MAKO_OK)
        status = run_workers(workers, service->threads, err);
    for (long long i = 0; i < service->threads; i++)
        log_close(&workers[i].log);
    return status;
}

/* ---- the program ------------------------------------------------------------------ */

static int usage(void)
{
    (void)fputs("usage: ledger [-s STORE] [-t N] [-r 1|1-2|2] CONF|- LOG\n"
                "  -s STORE     its name in CONF\n"
                "  -t N         threads that take commands (4)\n"
                "  -r 1|1-2|2   layouts of the state that this release reads; it writes "
                "the last\n"
                "               of them (1-2)\n"
                "commands, one a line on standard input:\n",
                stderr);
    for (size_t i = 0; i < COMMANDS; i++)
        (void)fprintf(stderr, "  %-8s %s\n", commands[i].verb, commands[i].help);
    return 2;
}

static bool parse_options(int argc, char **argv, struct service *service)
{
    bool ok = true;
    int got;

    while (ok && (got = getopt(argc, argv, "s:t:r:")) != -1) {
        if (got == 's')
            service->store_name = optarg;
        else if (got == 't')
            ok = parse_number(optarg, THREADS_MAX, &service->threads);
        else
            ok = got == 'r' && (service->aggregate = account_release(optarg)) != NULL;
    }
    if (!ok || argc - optind != 2)
        return false;

    service->conf = argv[optind];
    service->log_path = argv[optind + 1];
    return true;
}

/* A configuration that is wrong is worth stopping for.  A store that cannot be opened is
 * not: without it everything still works, only slower. */
static int open_store(struct service *service, struct mako_error *err)
{
    int status = MAKO_OK;

    if (strcmp(service->conf, "-") != 0)
        status =
            mako_store_open(service->conf, service->store_name, &service->store, err);
    if (status == MAKO_OK || status == MAKO_E_CONFIG)
        return status;

    (void)fprintf(stderr, "ledger: %s; going on without snapshots\n", err->text);
    return MAKO_OK;
}

int main(int argc, char **argv)
{
    struct service service = {.aggregate = account_release("1-2"),
                              .threads = 4,
                              .gate = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP};
    struct mako_error err = {""};
    int status;

    if (!parse_options(argc, argv, &service))
        return usage();

    status = open_store(&service, &err);
    if (status == MAKO_OK)
        status = serve(&service, &err);
    if (status != MAKO_OK)
        (void)fprintf(stderr, "ledger: %s\n", err.text);
    mako_store_unref(service.store);
    if (status == MAKO_OK)
        return EXIT_SUCCESS;
    return status == MAKO_E_CONFIG ? 2 : EXIT_FAILURE;
}

/* account.c - bank accounts, the program to copy from.
 *
 * The event log is a SQLite table and the only truth.  An account is rehydrated with
 * mako/process.h: from its snapshot where there is a good one, from event 1 where not.
 * Each command goes the same way: open, decide, append, push, take (see book()).
 *
 * It plays three versions of itself, --schema 1 to 3, to show what happens to snapshots
 * when the layout of the state changes.  CONF is a configuration file, or "-" to run
 * without snapshots: the results are the same, only later. */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <mako/json.h>
#include <mako/process.h>

#include <sqlite3.h>

/* Exit codes. */
enum {
    EXIT_REFUSED = 1,
    EXIT_USAGE = 2,
    EXIT_FAILED = 3
};

/* This program's own outcome, beside the library's statuses. */
#define OVERDRAWN 1000

/* ---- the event log: a table, one row an event -------------------------------- */

/* What the callbacks get as app. */
struct bank {
    sqlite3 *db;
    sqlite3_stmt *read, *append;
    mako_store *store;   /* NULL: run without snapshots */
    uint32_t schema;     /* the version of this program's state */
    double since, ready; /* when the command began; when it had its state; ms */
};

/* An event's body.  The id is random, so that two logs that took different turns
 * differ at every event after the fork, also where the amounts are equal. */
struct booking {
    sqlite3_int64 id;
    sqlite3_int64 cents; /* above 0: deposit; below 0: withdrawal */
};

static const char TABLE[] = "PRAGMA journal_mode = WAL;"
                            "CREATE TABLE IF NOT EXISTS event ("
                            " account TEXT, seq INTEGER, id INTEGER, cents INTEGER,"
                            " PRIMARY KEY (account, seq)) WITHOUT ROWID";

static int log_fail(struct bank *bank, struct mako_error *err)
{
    return mako_fail(err, MAKO_E_CALLBACK, "event log: %s", sqlite3_errmsg(bank->db));
}

static int log_open(struct bank *bank, const char *path, struct mako_error *err)
{
    if (sqlite3_open(path, &bank->db) != SQLITE_OK)
        return log_fail(bank, err);

    (void)sqlite3_busy_timeout(bank->db, 10000);
    if (sqlite3_exec(bank->db, TABLE, NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(bank->db,
                           "SELECT seq, id, cents FROM event"
                           " WHERE account = ? AND seq >= ? ORDER BY seq",
                           -1, &bank->read, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(bank->db, "INSERT INTO event VALUES (?, ?, ?, ?)", -1,
                           &bank->append, NULL) != SQLITE_OK)
        return log_fail(bank, err);

    return MAKO_OK;
}

static void log_close(struct bank *bank)
{
    (void)sqlite3_finalize(bank->read);
    (void)sqlite3_finalize(bank->append);
    (void)sqlite3_close(bank->db);
}

static bool bind(sqlite3_stmt *stmt, const char *account, uint64_t seq)
{
    return sqlite3_bind_text(stmt, 1, account, -1, SQLITE_TRANSIENT) == SQLITE_OK &&
           sqlite3_bind_int64(stmt, 2, (sqlite3_int64)seq) == SQLITE_OK;
}

/* The table's key lets one writer win each sequence number: whoever decided on an older
 * state gets *conflict, and nothing is written. */
static int log_append(struct bank *bank, const char *account, uint64_t seq,
                      const struct booking *booking, bool *conflict,
                      struct mako_error *err)
{
    int rc = SQLITE_ERROR;

    if (bind(bank->append, account, seq) &&
        sqlite3_bind_int64(bank->append, 3, booking->id) == SQLITE_OK &&
        sqlite3_bind_int64(bank->append, 4, booking->cents) == SQLITE_OK)
        rc = sqlite3_step(bank->append);
    (void)sqlite3_reset(bank->append);
    if (rc != SQLITE_DONE && rc != SQLITE_CONSTRAINT)
        return log_fail(bank, err);

    *conflict = rc == SQLITE_CONSTRAINT;
    return MAKO_OK;
}

/* Any other change, as one statement over an account and a number. */
static int log_change(struct bank *bank, const char *sql, const char *account,
                      long long number, struct mako_error *err)
{
    sqlite3_stmt *stmt;
    bool done;

    if (sqlite3_prepare_v2(bank->db, sql, -1, &stmt, NULL) != SQLITE_OK)
        return log_fail(bank, err);

    done = bind(stmt, account, (uint64_t)number) && sqlite3_step(stmt) == SQLITE_DONE;
    (void)sqlite3_finalize(stmt);
    return done ? MAKO_OK : log_fail(bank, err);
}

/* FNV-1a; any hash will do. */
static uint64_t hash(const void *bytes, size_t len)
{
    const unsigned char *at = bytes;
    uint64_t h = 14695981039346656037u;

    for (size_t i = 0; i < len; i++)
        h = (h ^ at[i]) * 1099511628211u;
    return h;
}

/* The anchor says which event a snapshot was taken at; 0 would mean "not checked". */
static struct mako_event event_of(uint64_t seq, const struct booking *booking)
{
    uint64_t anchor = hash(booking, sizeof *booking);

    return (struct mako_event){seq, anchor ? anchor : 1, booking};
}

/* The aggregate's read(): hand over each event from seq from on. */
static int account_read(void *app, const char *account, uint64_t from, mako_feed *feed,
                        struct mako_error *err)
{
    struct bank *bank = app;
    int rc = SQLITE_ERROR, status = MAKO_OK;

    if (bind(bank->read, account, from))
        rc = sqlite3_step(bank->read);
    while (rc == SQLITE_ROW && status == MAKO_OK) {
        struct booking booking = {sqlite3_column_int64(bank->read, 1),
                                  sqlite3_column_int64(bank->read, 2)};
        struct mako_event event =
            event_of((uint64_t)sqlite3_column_int64(bank->read, 0), &booking);

        status = mako_feed_event(feed, &event);
        if (status == MAKO_OK)
            rc = sqlite3_step(bank->read);
    }
    (void)sqlite3_reset(bank->read);
    if (status == MAKO_OK && rc != SQLITE_DONE)
        return log_fail(bank, err);

    return status;
}

/* ---- the aggregate: what an account is --------------------------------------- */

struct account {
    json_int_t balance; /* cents */
    json_int_t bookings, deposits;
    json_int_t withdrawals; /* since schema 2; can be worked out from 1 */
    json_int_t largest;     /* deposit, since schema 3; an older state does not know it */
};

static void *account_create(void *app)
{
    (void)app;
    return calloc(1, sizeof(struct account));
}

static void account_destroy(void *app, void *state)
{
    (void)app;
    free(state);
}

static int account_apply(void *app, void *state, const struct mako_event *event,
                         struct mako_error *err)
{
    struct account *account = state;
    const struct booking *booking = event->body;

    (void)app;
    (void)err;
    account->balance += booking->cents;
    account->bookings++;
    if (booking->cents < 0)
        account->withdrawals++;
    else
        account->deposits++;
    if (booking->cents > account->largest)
        account->largest = booking->cents;
    return MAKO_OK;
}

/* The state as this version of the program writes it; NULL: no memory. */
static json_t *account_json(const struct bank *bank, const struct account *account)
{
    json_t *doc = json_pack("{s:I, s:I, s:I}", "balance", account->balance, "bookings",
                            account->bookings, "deposits", account->deposits);

    if (doc && bank->schema >= 2)
        (void)json_object_set_new(doc, "withdrawals", json_integer(account->withdrawals));
    if (doc && bank->schema >= 3)
        (void)json_object_set_new(doc, "largest", json_integer(account->largest));
    return doc;
}

static int account_encode(void *app, const void *state, mako_bytes *out,
                          struct mako_error *err)
{
    json_t *doc = account_json(app, state);
    int status = doc ? mako_json_encode(doc, out, err)
                     : mako_fail(err, MAKO_E_NOMEM, "account: no memory");

    json_decref(doc);
    return status;
}

/* schema is never outside what the aggregate says it can read. */
static int account_decode(void *app, uint32_t schema, const void *bytes, size_t len,
                          void **state, struct mako_error *err)
{
    struct account found = {0}, *account;
    json_error_t why;
    json_t *doc;
    int rc, status = mako_json_decode(bytes, len, &doc, err);

    (void)app;
    if (status != MAKO_OK)
        return status;

    rc = json_unpack_ex(doc, &why, 0, "{s:I, s:I, s:I, s?I, s?I}", "balance",
                        &found.balance, "bookings", &found.bookings, "deposits",
                        &found.deposits, "withdrawals", &found.withdrawals, "largest",
                        &found.largest);
    json_decref(doc);
    if (rc != 0)
        return mako_fail(err, MAKO_E_CALLBACK, "account: %s", why.text);

    if (schema == 1) /* the upgrade from layout 1 */
        found.withdrawals = found.bookings - found.deposits;
    account = malloc(sizeof *account);
    if (!account)
        return mako_fail(err, MAKO_E_NOMEM, "account: no memory");

    *account = found;
    *state = account;
    return MAKO_OK;
}

#define ACCOUNT(version, oldest)                                                      \
    {                                                                                 \
        .struct_size = sizeof(struct mako_aggregate), .schema = (version),            \
        .schema_oldest = (oldest), .kind = "account", .create = account_create,       \
        .destroy = account_destroy, .apply = account_apply, .encode = account_encode, \
        .decode = account_decode, .read = account_read                                \
    }

/* A real program has one of these.  Version 2 still reads what 1 wrote; version 3 has a
 * field that no older state knows, so that older snapshots are replayed. */
static const struct mako_aggregate versions[] = {ACCOUNT(1, 1), ACCOUNT(2, 1),
                                                 ACCOUNT(3, 3)};

/* ---- commands ------------------------------------------------------------------ */

static double now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int open_account(struct bank *bank, const char *name, mako_process **process,
                        struct mako_error *err)
{
    int status = mako_process_open(bank->store, &versions[bank->schema - 1], name, bank,
                                   process, err);

    bank->ready = now_ms();
    return status;
}

/* One line: the state, what it cost, and a hash to compare states by. */
static void report(struct bank *bank, const mako_process *process)
{
    const struct account *account = mako_process_state(process);
    struct mako_how how = {.struct_size = sizeof how};
    json_t *doc = account_json(bank, account);
    char *text = doc ? json_dumps(doc, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    double ms = now_ms() - bank->since;

    mako_process_how(process, &how);
    (void)printf(
        "balance=%.2f seq=%llu folded=%llu spared=%llu snapshot=%s ready=%.2f ms=%.2f "
        "state=%016llx\n",
        (double)account->balance / 100, (unsigned long long)mako_process_seq(process),
        (unsigned long long)how.folded, (unsigned long long)how.spared,
        bank->store ? mako_status_name(how.snapshot) : "none", bank->ready - bank->since,
        ms, text ? (unsigned long long)hash(text, strlen(text)) : 0);
    (void)fflush(stdout);
    free(text);
    json_decref(doc);
}

/* One command on a rehydrated account: decide on its state, append the event, and only
 * then fold it.  Where another writer was first, look again and decide again. */
static int book(struct bank *bank, const char *name, mako_process *process,
                long long cents, struct mako_error *err)
{
    struct booking booking = {.cents = cents};
    struct mako_event event;
    bool conflict;
    int status;

    sqlite3_randomness(sizeof booking.id, &booking.id);
    do {
        const struct account *account = mako_process_state(process);

        if (account->balance + cents < 0)
            return mako_fail(err, OVERDRAWN, "%s: not enough money", name);

        event = event_of(mako_process_seq(process) + 1, &booking);
        status = log_append(bank, name, event.seq, &booking, &conflict, err);
        if (status == MAKO_OK && conflict)
            status = mako_process_catch_up(process, err);
        if (status != MAKO_OK)
            return status;
    } while (conflict);

    status = mako_process_push(process, &event, err);
    if (status == MAKO_OK)
        (void)mako_process_take(process, 0, NULL); /* what was appended stands anyway */
    return status;
}

/* Commands as a server would run them: the account is opened for each. */
static int cmd_deposit(struct bank *bank, const char *name, const long long *args,
                       struct mako_error *err)
{
    int status = MAKO_OK;

    for (long long i = 0; i < args[1] && status == MAKO_OK; i++) {
        mako_process *process;

        status = open_account(bank, name, &process, err);
        if (status != MAKO_OK)
            return status;

        status = book(bank, name, process, args[0], err);
        if (status == MAKO_OK)
            report(bank, process);
        mako_process_close(process);
        bank->since = now_ms();
    }
    return status;
}

static int cmd_withdraw(struct bank *bank, const char *name, const long long *args,
                        struct mako_error *err)
{
    long long minus[] = {-args[0], args[1]};

    return cmd_deposit(bank, name, minus, err);
}

static int cmd_show(struct bank *bank, const char *name, const long long *args,
                    struct mako_error *err)
{
    mako_process *process;
    int status = open_account(bank, name, &process, err);

    (void)args;
    if (status != MAKO_OK)
        return status;

    report(bank, process);
    mako_process_close(process);
    return MAKO_OK;
}

/* Deposits on one open account until the program is killed; prints each sequence once
 * the event is in the log. */
static int cmd_run(struct bank *bank, const char *name, const long long *args,
                   struct mako_error *err)
{
    mako_process *process;
    int status = open_account(bank, name, &process, err);

    if (status != MAKO_OK)
        return status;

    while ((status = book(bank, name, process, args[0], err)) == MAKO_OK) {
        (void)printf("%llu\n", (unsigned long long)mako_process_seq(process));
        (void)fflush(stdout);
    }
    mako_process_close(process);
    return status;
}

/* Append made-up bookings in one transaction, as an import would. */
static int cmd_fill(struct bank *bank, const char *name, const long long *args,
                    struct mako_error *err)
{
    return log_change(bank,
                      "WITH RECURSIVE n(i) AS"
                      " (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2)"
                      " INSERT INTO event SELECT ?1, i + (SELECT coalesce(max(seq), 0)"
                      " FROM event WHERE account = ?1), random(),"
                      " CASE i % 10 WHEN 0 THEN -1 ELSE 1 + abs(random() % 10000) END"
                      " FROM n",
                      name, args[0], err);
}

/* Forget every event after a sequence, as a log restored from a backup does. */
static int cmd_cut(struct bank *bank, const char *name, const long long *args,
                   struct mako_error *err)
{
    return log_change(bank, "DELETE FROM event WHERE account = ?1 AND seq > ?2", name,
                      args[0], err);
}

static const struct command {
    const char *name;
    int args, defaults; /* how many numbers; how many of them may be left out (= 1) */
    int (*run)(struct bank *bank, const char *name, const long long *args,
               struct mako_error *err);
    const char *help;
} commands[] = {
    {"deposit", 2, 1, cmd_deposit, "ACCOUNT CENTS [TIMES]"},
    {"withdraw", 2, 1, cmd_withdraw, "ACCOUNT CENTS [TIMES]"},
    {"show", 0, 0, cmd_show, "ACCOUNT"},
    {"run", 1, 1, cmd_run, "ACCOUNT [CENTS]  deposits until it is killed"},
    {"fill", 1, 0, cmd_fill, "ACCOUNT EVENTS   appends made-up bookings"},
    {"cut", 1, 0, cmd_cut, "ACCOUNT SEQ      forgets all later events"},
};
#define COMMANDS (sizeof commands / sizeof *commands)

/* ---- the program ---------------------------------------------------------------- */

static int usage(void)
{
    (void)fputs("usage: account [--schema 1|2|3] CONF|- DB COMMAND ACCOUNT ...\n",
                stderr);
    for (size_t i = 0; i < COMMANDS; i++)
        (void)fprintf(stderr, "       %-8s %s\n", commands[i].name, commands[i].help);
    return EXIT_USAGE;
}

static bool parse_number(const char *text, long long *number)
{
    char *end;

    errno = 0;
    *number = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && *number >= 0;
}

/* What follows the account's name; numbers left out are 1. */
static bool parse_args(const struct command *command, char **words, int count,
                       long long *args)
{
    if (count > command->args || count < command->args - command->defaults)
        return false;

    args[0] = args[1] = 1;
    for (int i = 0; i < count; i++)
        if (!parse_number(words[i], &args[i]))
            return false;
    return true;
}

/* A configuration that is wrong is worth stopping for.  A store that cannot be opened is
 * not: without it everything still works, only slower. */
static int open_store(struct bank *bank, const char *conf, struct mako_error *err)
{
    int status = MAKO_OK;

    if (strcmp(conf, "-") != 0)
        status = mako_store_open(conf, NULL, &bank->store, err);
    if (status == MAKO_OK || status == MAKO_E_CONFIG)
        return status;

    (void)fprintf(stderr, "account: %s; going on without snapshots\n", err->text);
    return MAKO_OK;
}

static int exit_code(int status, const struct mako_error *err)
{
    if (status == MAKO_OK)
        return EXIT_SUCCESS;

    (void)fprintf(stderr, "account: %s\n", err->text);
    if (status == MAKO_E_CONFIG)
        return EXIT_USAGE;
    return status > 0 ? EXIT_REFUSED : EXIT_FAILED;
}

int main(int argc, char **argv)
{
    struct bank bank = {.schema = 1};
    const struct command *command = NULL;
    struct mako_error err = {""};
    long long args[2], schema;
    int status, at = 1;

    if (argc > 2 && strcmp(argv[1], "--schema") == 0) {
        if (!parse_number(argv[2], &schema) || schema < 1 || schema > 3)
            return usage();
        bank.schema = (uint32_t)schema;
        at = 3;
    }
    for (size_t i = 0; i < COMMANDS && at + 3 < argc; i++)
        if (strcmp(argv[at + 2], commands[i].name) == 0)
            command = &commands[i];
    if (!command || !parse_args(command, argv + at + 4, argc - at - 4, args))
        return usage();

    status = log_open(&bank, argv[at + 1], &err);
    if (status == MAKO_OK)
        status = open_store(&bank, argv[at], &err);
    bank.since = now_ms();
    if (status == MAKO_OK)
        status = command->run(&bank, argv[at + 3], args, &err);
    mako_store_unref(bank.store);
    log_close(&bank);
    return exit_code(status, &err);
}

/* tests/redis/client.c - stores on a server of the test's own. */
#include "client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <criterion/criterion.h>

#define PATIENCE_MS 60000

struct server server;
const char *store_settings = "";
const char *max_snapshot = "4MiB";

void take_away(void)
{
    server_remove(&server);
}

/* ---- stores -------------------------------------------------------------------------
 */

int open_with(const char *durability, const char *options, mako_store **store,
              struct mako_error *err)
{
    char json[2048];

    (void)snprintf(json, sizeof json,
                   "{\"stores\": {\"s\": {\"plugin\": \"%s\", \"durability\": \"%s\", "
                   "\"max_snapshot\": \"%s\"%s, \"options\": {%s}}}}",
                   MAKO_REDIS_PLUGIN, durability, max_snapshot, store_settings, options);
    return mako_store_open_json(json, strlen(json), "s", store, err);
}

int open_store(const char *durability, const char *options, mako_store **store,
               struct mako_error *err)
{
    char all[1536];

    (void)snprintf(all, sizeof all, "\"endpoints\": \"127.0.0.1:%u\"%s",
                   (unsigned)server.port, options);
    return open_with(durability, all, store, err);
}

mako_store *must_open(const char *durability, const char *options)
{
    mako_store *store = NULL;
    struct mako_error err = {""};
    int status = open_store(durability, options, &store, &err);

    cr_assert_eq(status, MAKO_OK, "%s", err.text);
    return store;
}

bool too_slow(int status, uint64_t start)
{
    if (status != MAKO_E_UNAVAILABLE || now_ms() - start > PATIENCE_MS)
        return false;
    breathe();
    return true;
}

mako_store *open_at_last(const char *durability, const char *options)
{
    mako_store *store = NULL;
    struct mako_error err = {""};
    uint64_t start = now_ms();
    int status;

    do
        status = open_store(durability, options, &store, &err);
    while (too_slow(status, start));
    cr_assert_eq(status, MAKO_OK, "%s", err.text);
    return store;
}

void refused(const char *durability, const char *options, const char *text)
{
    mako_store *store = NULL;
    struct mako_error err = {""};
    int status = open_store(durability, options, &store, &err);

    cr_assert_eq(status, MAKO_E_CONFIG, "%s: %s", mako_status_name(status), err.text);
    cr_assert_null(store);
    has_words(err.text, text);
}

void write_file(const char *name, const char *text, char *path)
{
    FILE *file;

    (void)snprintf(path, 300, "%s/%s", server.dir, name);
    file = fopen(path, "we");
    cr_assert(file && fputs(text, file) >= 0 && fclose(file) == 0, "%s", path);
}

/* ---- saves and loads ------------------------------------------------------------------
 */

void fill(unsigned char *state, size_t len, uint64_t seq)
{
    for (size_t i = 0; i < len; i++)
        state[i] = (unsigned char)((seq * 2654435761u + i * 40503u) >> 8);
}

int save_flagged(mako_store *store, const char *stream, uint64_t seq, size_t len,
                 uint32_t flags, struct mako_error *err)
{
    unsigned char *state = malloc(len + 1);
    struct mako_save record = {.struct_size = sizeof record,
                               .flags = flags,
                               .seq = seq,
                               .schema = 1,
                               .state = state,
                               .state_len = len};
    int status;

    if (!state)
        abort();
    fill(state, len, seq);
    status = mako_store_save(store, stream, &record, err);
    free(state);
    return status;
}

int save(mako_store *store, const char *stream, uint64_t seq, size_t len,
         struct mako_error *err)
{
    return save_flagged(store, stream, seq, len, 0, err);
}

void must_save(mako_store *store, const char *stream, uint64_t seq, size_t len)
{
    struct mako_error err = {""};
    int status = save(store, stream, seq, len, &err);

    cr_assert_eq(status, MAKO_OK, "sequence %llu: %s", (unsigned long long)seq, err.text);
}

void save_at_last(mako_store *store, const char *stream, uint64_t seq, size_t len)
{
    struct mako_error err = {""};
    uint64_t start = now_ms();
    int status;

    do
        status = save(store, stream, seq, len, &err);
    while (too_slow(status, start));
    cr_assert_eq(status, MAKO_OK, "sequence %llu: %s", (unsigned long long)seq, err.text);
}

void until_told(mako_store *store, const char *word)
{
    uint64_t seq = 1, end = now_ms() + PATIENCE_MS;
    struct mako_error err;

    do {
        int status = save(store, "a", ++seq, 100, &err);

        cr_assert_eq(status, MAKO_E_UNAVAILABLE, "%s: %s", mako_status_name(status),
                     err.text);
        cr_assert(now_ms() < end, "'%s' lacks '%s'", err.text, word);
    } while (!strstr(err.text, word));
}

void saves_until(mako_store *store, uint64_t *seq, size_t len, int status,
                 const char *text)
{
    uint64_t end = now_ms() + PATIENCE_MS;
    struct mako_error err;
    int got;

    for (;;) {
        err.text[0] = '\0';
        got = save(store, "a", ++*seq, len, &err);
        if (got == status)
            break;
        cr_assert(now_ms() < end, "sequence %llu is still %s: %s",
                  (unsigned long long)*seq, mako_status_name(got), err.text);
        breathe();
    }
    has_words(err.text, text);
}

uint64_t read_snapshot(mako_snapshot *snapshot)
{
    uint64_t seq = mako_snapshot_meta(snapshot).seq;
    size_t len;
    const unsigned char *state = mako_snapshot_state(snapshot, &len);
    unsigned char *want = malloc(len + 1);

    cr_assert_not_null(want);
    fill(want, len, seq);
    cr_assert_eq(memcmp(state, want, len), 0, "other bytes at sequence %llu",
                 (unsigned long long)seq);
    free(want);
    mako_snapshot_unref(snapshot);
    return seq;
}

int load(mako_store *store, const char *stream, uint64_t *seq, struct mako_error *err)
{
    const struct mako_expect any = {
        .struct_size = sizeof any, .schema_min = 1, .schema_max = UINT32_MAX};
    mako_snapshot *snapshot = NULL;
    int status = mako_store_load(store, stream, &any, &snapshot, NULL, err);

    if (status == MAKO_OK)
        *seq = read_snapshot(snapshot);
    return status;
}

static uint64_t must_keep(int status, uint64_t seq, const struct mako_error *err)
{
    if (status == MAKO_NOT_FOUND)
        return 0;
    cr_assert_eq(status, MAKO_OK, "%s: %s", mako_status_name(status), err->text);
    return seq;
}

uint64_t kept(mako_store *store, const char *stream)
{
    struct mako_error err = {""};
    uint64_t seq = 0;
    int status = load(store, stream, &seq, &err);

    return must_keep(status, seq, &err);
}

uint64_t kept_at_last(mako_store *store, const char *stream)
{
    struct mako_error err = {""};
    uint64_t seq = 0, start = now_ms();
    int status;

    do
        status = load(store, stream, &seq, &err);
    while (too_slow(status, start));
    return must_keep(status, seq, &err);
}

struct wanted {
    const char *name;
    uint64_t value;
};

static void take_counter(void *arg, const char *name, uint64_t value)
{
    struct wanted *wanted = arg;

    if (strncmp(name, "plugin.", 7) == 0 && strcmp(name + 7, wanted->name) == 0)
        wanted->value = value;
}

uint64_t counter(mako_store *store, const char *name)
{
    struct wanted wanted = {name, UINT64_MAX};
    struct mako_error err = {""};
    int status = mako_store_stats(store, take_counter, &wanted, &err);

    cr_assert_eq(status, MAKO_OK, "%s", err.text);
    cr_assert_neq(wanted.value, UINT64_MAX, "no counter '%s'", name);
    return wanted.value;
}

/* ---- the servers of with-redis --------------------------------------------------------
 */

size_t find_servers(struct server *servers, size_t room)
{
    const char *list = getenv("MAKO_TEST_REDIS_NODES"), *tmp = getenv("TMPDIR");
    size_t count = 0;
    char *end;

    cr_assert(list && tmp, "to be run by with-redis");
    while (*list && count < room) {
        struct server *one = &servers[count++];

        one->port = (uint16_t)strtoul(list, &end, 10);
        cr_assert_eq(*end, ':', "%s", list);
        one->pid = (pid_t)strtol(end + 1, &end, 10);
        (void)snprintf(one->dir, sizeof one->dir, "%.200s/%u", tmp, (unsigned)one->port);
        list = end + (*end == ' ');
    }
    return count;
}

bool server_says(const struct server *one, const char *command, const char *words)
{
    char answer[8192];

    server_ask(one, command, answer, sizeof answer);
    return strstr(answer, words) != NULL;
}

/* ---- rights and versions ------------------------------------------------------------
 */

void make_user(const struct server *one)
{
    char text[16384], command[1024];
    FILE *page = fopen(MAKO_REDIS_PAGE, "re");
    char *from, *end;
    size_t len, at = 0;

    cr_assert_not_null(page, "%s", MAKO_REDIS_PAGE);
    len = fread(text, 1, sizeof text - 1, page);
    (void)fclose(page);
    text[len] = '\0';
    from = strstr(text, "ACL SETUSER snapshots");
    cr_assert_not_null(from, "the page does not say what rights are needed");
    end = strstr(from, "```");
    cr_assert(end && (size_t)(end - from) < sizeof command - 1);
    for (; from < end; from++)
        if (strncmp(from, "PASSWORD", 8) == 0) {
            memcpy(command + at, "secret", 6);
            at += 6;
            from += 7;
        } else {
            command[at++] = *from == '\n' ? ' ' : *from;
        }
    command[at] = '\0';
    cr_assert(server_says(one, command, "+OK"), "%s", command);
    (void)server_says(one, "ACL SETUSER snapshots +waitaof",
                      "+OK"); /* where there is it */
}

bool has_waitaof(void)
{
    char answer[256];

    server_ask(&server, "WAITAOF 0 0 1", answer, sizeof answer);
    return strstr(answer, "unknown command") == NULL;
}

bool waitaof_is_true(void)
{
    char answer[8192];
    const char *version;

    server_ask(&server, "INFO server", answer, sizeof answer);
    version = strstr(answer, "redis_version:");
    return has_waitaof() && version && strtoul(version + 14, NULL, 10) >= 8;
}

/* ---- waiting --------------------------------------------------------------------------
 */

uint64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void breathe(void)
{
    const struct timespec pause = {.tv_nsec = 2000000};

    (void)nanosleep(&pause, NULL);
}

void has_words(const char *text, const char *words)
{
    cr_assert(strstr(text, words), "'%s' lacks '%s'", text, words);
}

void must_answer(const char *command, const char *text)
{
    char answer[4096];

    server_ask(&server, command, answer, sizeof answer);
    cr_assert(strstr(answer, text), "%s: '%s' lacks '%s'", command, answer, text);
}

void until_answer(const char *command, const char *text)
{
    uint64_t end = now_ms() + PATIENCE_MS;
    char answer[4096];

    do {
        server_ask(&server, command, answer, sizeof answer);
        cr_assert(now_ms() < end, "%s: '%s' still lacks '%s'", command, answer, text);
        breathe();
    } while (!strstr(answer, text));
}

/* tests/power/check.c - see check.h. */
#include "check.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <mako/types.h>

#define PROBE     (1ull << 40) /* versions of the saves made here, and the stream */
#define PROBE_SEQ (1ull << 50)

struct check {
    const struct check_setup *setup;
    struct driver driver;
    struct found first[STREAMS]; /* what the first opening showed */
};

static void describe(const struct found *found, const char *why, char *text, size_t room)
{
    if (found->status == MAKO_NOT_FOUND)
        (void)snprintf(text, room, "nothing");
    else if (found->status != MAKO_OK)
        (void)snprintf(text, room, "status %d (%s)", found->status, why);
    else
        (void)snprintf(text, room,
                       "version %" PRIu64 " (sequence %" PRIu64 ", %zu bytes)%s",
                       found->version, found->seq, found->len,
                       found->altered ? " with altered bytes" : "");
}

/* Whether it is exactly what was saved under its version. */
static bool is_whole(const struct rules *rules, size_t stream, const struct found *found)
{
    const struct version *version;

    if (found->altered || found->version == 0 || found->version >= rules->room)
        return false;
    version = &rules->versions[found->version];
    return version->stream == stream && !version->removal && version->seq == found->seq &&
           version->len == found->len;
}

static bool check_found(const struct rules *rules, size_t stream,
                        const struct found *found, const char *why, char *text,
                        size_t room)
{
    char expected[300], shown[700];

    if (found->status == MAKO_NOT_FOUND
            ? rules_allow(rules, stream, 0)
            : found->status == MAKO_OK && is_whole(rules, stream, found) &&
                  rules_allow(rules, stream, found->version))
        return true;
    rules_expect(rules, stream, expected, sizeof expected);
    describe(found, why, shown, sizeof shown);
    (void)snprintf(text, room, "stream %zu: expected %s, found %s", stream, expected,
                   shown);
    return false;
}

static bool fail(const struct check *check, const char *what, int status)
{
    (void)snprintf(check->setup->text, check->setup->room, "%s: status %d: %s", what,
                   status, check->driver.err.text);
    return false;
}

/* Whether the opening has said what it should not. */
static bool alarmed(const struct check *check)
{
    const char *line = driver_warnings();

    while (*line != '\0') {
        size_t len = strcspn(line, "\n");
        const char *lost = strstr(line, "; its snapshots are lost");

        if (!check->setup->allow_lost || lost == NULL || lost > line + len)
            return true;
        line += len + (line[len] == '\n');
    }
    return false;
}

/* A power cut damages nothing, so nothing may be said to be. */
static bool open_quietly(struct check *check, bool to_read)
{
    int status;

    check->driver.read_only = to_read;
    status = driver_open(&check->driver);
    if (status != MAKO_OK)
        return fail(check, to_read ? "opening to read" : "opening", status);
    if (!alarmed(check))
        return true;
    (void)snprintf(check->setup->text, check->setup->room, "opening%s said: %.*s",
                   to_read ? " to read" : "", (int)strcspn(driver_warnings(), "\n"),
                   driver_warnings());
    return false;
}

/* Every stream shows what it may. */
static bool look(struct check *check)
{
    for (size_t stream = 0; stream < STREAMS; stream++) {
        struct mako_error err = {.text = ""};
        struct found found = driver_find(&check->driver, stream, &err);

        if (!check_found(check->setup->rules, stream, &found, err.text,
                         check->setup->text, check->setup->room))
            return false;
        check->first[stream] = found;
    }
    return true;
}

/* The same as before. */
static bool look_again(struct check *check, const char *when)
{
    for (size_t stream = 0; stream < STREAMS; stream++) {
        struct mako_error err = {.text = ""};
        struct found found = driver_find(&check->driver, stream, &err);
        const struct found *first = &check->first[stream];
        char before[300], now[700];

        if (found.status == first->status && found.version == first->version &&
            !found.altered)
            continue;
        describe(first, "", before, sizeof before);
        describe(&found, err.text, now, sizeof now);
        (void)snprintf(check->setup->text, check->setup->room,
                       "stream %zu: %s it showed %s, before %s", stream, when, now,
                       before);
        return false;
    }
    return true;
}

/* A new snapshot of every stream; of every fourth, its removal. */
static bool save_all(struct check *check)
{
    for (size_t stream = 0; stream < STREAMS; stream++) {
        struct item item = {.version = PROBE + stream,
                            .seq = PROBE_SEQ,
                            .len = (uint32_t)(40 * stream),
                            .stream = (uint16_t)stream,
                            .if_newer = stream % 2 == 0};
        int status = stream % 4 == 3
                         ? driver_remove(&check->driver, stream, &check->driver.err)
                         : driver_save(&check->driver, &item, &check->driver.err);

        if (status != MAKO_OK && (stream % 4 != 3 || status != MAKO_NOT_FOUND))
            return fail(check, "a new save or removal", status);
        check->first[stream] =
            stream % 4 == 3 ? (struct found){.status = MAKO_NOT_FOUND}
                            : (struct found){.version = item.version, .seq = item.seq};
    }
    return true;
}

static bool compact(struct check *check)
{
    int status = driver_compact(&check->driver, &check->driver.err);

    return status == MAKO_OK ? look_again(check, "compacted")
                             : fail(check, "compaction", status);
}

/* What an opening to write finds, and takes. */
static bool use(struct check *check)
{
    bool give_back = check->setup->compact;
    bool good = open_quietly(check, false) && look_again(check, "opened to write") &&
                (!give_back || compact(check)) && save_all(check) &&
                look_again(check, "saved anew");

    driver_close(&check->driver);
    good = good && open_quietly(check, false) &&
           look_again(check, "opened after saves") && (!give_back || compact(check));
    driver_close(&check->driver);
    return good;
}

static struct check make_check(const struct check_setup *setup)
{
    struct check check = {.setup = setup, .driver = {.dead_space = 100}};

    (void)snprintf(check.driver.path, sizeof check.driver.path, "%s/store", setup->root);
    return check;
}

/* What an opening to read shows. */
static bool read_only(struct check *check)
{
    bool good = open_quietly(check, true) && look(check);

    driver_close(&check->driver);
    return good;
}

bool check_store(const struct check_setup *setup)
{
    struct check check = make_check(setup);

    return read_only(&check) && use(&check);
}

bool check_shown(const struct check_setup *setup)
{
    struct check check = make_check(setup);

    return read_only(&check);
}

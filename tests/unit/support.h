/* tests/unit/support.h - stores over the test plugin, for unit tests of what stands on
 * plugins.  No Criterion in the helpers' names, but they assert. */
#ifndef MAKO_TESTS_SUPPORT_H
#define MAKO_TESTS_SUPPORT_H

#include "plugins/probe.h"

#include <criterion/criterion.h>
#include <mako/snapshot.h>

/* Open store "s" of plugin with p as its control; members like "\"replay_limit\": 5" are
 * put into its entry. */
static inline int open_probe(const char *plugin, const struct probe *p,
                             const char *members, mako_store **store,
                             struct mako_error *err)
{
    char json[1024], address[32];

    (void)snprintf(json, sizeof json,
                   "{\"stores\": {\"s\": {\"plugin\": \"%s/mako-store-%s.so\", %s%s"
                   "\"options\": {\"control\": \"%s\"}}}}",
                   MAKO_TEST_PLUGIN_DIR, plugin, members, *members ? ", " : "",
                   probe_option(p, address));
    return mako_store_open_json(json, strlen(json), "s", store, err);
}

static inline mako_store *must_open(const char *plugin, const struct probe *p,
                                    const char *members)
{
    mako_store *store = NULL;
    struct mako_error err = {""};
    int status = open_probe(plugin, p, members, &store, &err);

    cr_assert_eq(status, MAKO_OK, "%s", err.text);
    return store;
}

#define CRASH "\"durability\": \"crash\""

static inline int save_text(mako_store *store, const char *stream, uint64_t seq,
                            const char *text, struct mako_error *err)
{
    const struct mako_save save = {.struct_size = sizeof save,
                                   .seq = seq,
                                   .schema = 1,
                                   .state = text,
                                   .state_len = strlen(text)};

    return mako_store_save(store, stream, &save, err);
}

/* The status of a load of any schema; what was loaded is let go. */
static inline int load_any(mako_store *store, const char *stream, struct mako_error *err)
{
    const struct mako_expect any = {
        .struct_size = sizeof any, .schema_min = 1, .schema_max = UINT32_MAX};
    mako_snapshot *snapshot = NULL;
    int status = mako_store_load(store, stream, &any, &snapshot, NULL, err);

    mako_snapshot_unref(snapshot);
    return status;
}

struct counter_wanted {
    const char *name;
    uint64_t value;
};

static inline void counter_note(void *arg, const char *name, uint64_t value)
{
    struct counter_wanted *wanted = arg;

    if (strcmp(name, wanted->name) == 0)
        wanted->value = value;
}

static inline uint64_t counter_of(mako_store *store, const char *name)
{
    struct counter_wanted wanted = {name, UINT64_MAX};

    cr_assert_eq(mako_store_stats(store, counter_note, &wanted, NULL), MAKO_OK);
    return wanted.value;
}

/* What was logged, for mako_set_log(). */
struct heard {
    unsigned count;
    int level; /* of the last */
    char text[1200];
};

static inline void hear(void *arg, int level, const char *message)
{
    struct heard *heard = arg;

    heard->count++;
    heard->level = level;
    (void)snprintf(heard->text, sizeof heard->text, "%s", message);
}

#endif

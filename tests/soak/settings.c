/* tests/soak/settings.c - see settings.h. */
#include "settings.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct backend backends[] = {
    {.name = "noop", .plugin = "noop", .explained = true},
    {.name = "memory",
     .plugin = "memory",
     .rules = {.keeps = true, .forgets = true, .settles = true},
     .explained = true},
    {.name = "file",
     .plugin = "file",
     .rules = {.keeps = true, .settles = true},
     .compacts = true,
     .explained = true,
     .fallible = true,
     .grace_ms = 1000},
    {.name = "redis",
     .plugin = "redis",
     .mode = "single",
     .rules = {.keeps = true, .late = true, .settles = true},
     .shared = true,
     .fallible = true,
     .grace_ms = 5000},
    {.name = "redis-sentinel",
     .plugin = "redis",
     .mode = "sentinel",
     .rules = {.keeps = true, .late = true},
     .shared = true,
     .fallible = true,
     .grace_ms = 5000},
    {.name = "redis-cluster",
     .plugin = "redis",
     .mode = "cluster",
     .rules = {.keeps = true, .late = true},
     .shared = true,
     .fallible = true,
     .grace_ms = 5000},
};

#define BACKENDS (sizeof backends / sizeof backends[0])

const struct backend *backend_find(const char *name)
{
    for (unsigned i = 0; i < BACKENDS; i++)
        if (strcmp(backends[i].name, name) == 0)
            return &backends[i];
    return NULL;
}

const char *backend_name(unsigned number)
{
    return number < BACKENDS ? backends[number].name : NULL;
}

/* ---- drawing -------------------------------------------------------------------------
 */

/* One of several texts, with "|" between them. */
struct drawn {
    char text[40];
};

static struct drawn draw(uint64_t *random, const char *choices)
{
    struct drawn drawn = {.text = ""};
    uint64_t number = 1;
    const char *at = choices;

    while ((at = strchr(at, '|')) != NULL) {
        at++;
        number++;
    }
    at = choices;
    for (number = random_below(random, number); number > 0; number--)
        at = strchr(at, '|') + 1;
    (void)snprintf(drawn.text, sizeof drawn.text, "%.*s", (int)strcspn(at, "|"), at);
    return drawn;
}

static void __attribute__((format(printf, 2, 3)))
add(struct settings *settings, const char *format, ...)
{
    size_t len = strlen(settings->json);
    va_list args;

    va_start(args, format);
    (void)vsnprintf(settings->json + len, sizeof settings->json - len, format, args);
    va_end(args);
}

/* A row: the option's name, and what it may be, as it stands in the file. */
struct row {
    const char *name, *choices;
};

static void add_rows(struct settings *settings, const struct row *rows, uint64_t *random)
{
    for (; rows->name; rows++)
        if (!random_chance(random, 20)) /* else its default */
            add(settings, ", \"%s\": %s", rows->name, draw(random, rows->choices).text);
}

/* ---- the options of each plugin ------------------------------------------------------
 */

static void add_file(struct settings *settings, const struct site *site, uint64_t *random)
{
    static const struct row rows[] = {
        {"segment_size", "65536|\"256KiB\"|\"1MiB\"|\"64MiB\""},
        {"lock_wait", "0|\"2s\"|\"10s\""},
        {"dead_space", "5|20|40|80"},
        {"erase_within", "0|\"200ms\"|\"2s\"|\"1min\""},
        {"compact_rate", "0|\"1MiB\"|\"32MiB\""},
        {"map", "true|false"},
        {NULL, NULL}};

    add(settings, "\"dir\": \"%s\"", site->dir);
    add_rows(settings, rows, random);
}

/* Times in which an answer must come differ by what the servers promise: docs/redis.md.
 */
static void add_redis(struct settings *settings, const struct backend *backend,
                      const struct site *site, uint64_t *random)
{
    static const struct row rows[] = {{"pool_max", "2|4|8"},
                                      {"pool_idle", "\"200ms\"|\"2s\"|\"30s\""},
                                      {"inline_max", "1024|\"8KiB\"|\"64KiB\""},
                                      {"tmp_ttl", "\"30s\"|\"60s\""},
                                      {"recheck", "\"500ms\"|\"30s\""},
                                      {"retry_base", "\"5ms\"|\"50ms\""},
                                      {"retry_max", "\"100ms\"|\"500ms\""},
                                      {"connect_timeout", "\"300ms\"|\"1s\""},
                                      {NULL, NULL}};
    static const struct row single[] = {{"io_timeout", "\"500ms\"|\"1.5s\""},
                                        {"op_timeout", "\"1s\"|\"3s\"|\"10s\""},
                                        {NULL, NULL}};
    static const struct row cluster[] = {{"io_timeout", "\"700ms\"|\"1.5s\""},
                                         {"op_timeout", "\"2s\"|\"15s\""},
                                         {NULL, NULL}};
    bool proxied = site->proxied && random_chance(random, 60);

    add(settings, "\"mode\": \"%s\", \"endpoints\": \"%s\"", backend->mode,
        proxied ? site->proxied : site->endpoints);
    add_rows(settings, rows, random);
    if (strcmp(backend->mode, "single") == 0)
        add_rows(settings, single, random);
    if (strcmp(backend->mode, "cluster") == 0)
        add_rows(settings, cluster, random);
    if (strcmp(backend->mode, "sentinel") == 0)
        add(settings,
            ", \"sentinel_master\": \"mako\", \"sentinel_majority\": %s, "
            "\"io_timeout\": \"400ms\"",
            draw(random, "true|false").text);
}

static void add_options(struct settings *settings, const struct backend *backend,
                        const struct site *site, uint64_t *random)
{
    add(settings, ", \"options\": {");
    if (strcmp(backend->plugin, "file") == 0)
        add_file(settings, site, random);
    if (backend->mode)
        add_redis(settings, backend, site, random);
    add(settings, "}");
}

/* ---- the store ------------------------------------------------------------------------
 */

static const char *draw_durability(const struct backend *backend, uint64_t *random)
{
    if (!backend->rules.keeps)
        return "none";
    if (backend->rules.forgets)
        return "memory";
    return random_chance(random, 50) ? "power" : "crash";
}

static void add_limit(struct settings *settings, uint64_t *random)
{
    static const size_t limits[] = {16u << 20, 16384, 65536, 16u << 20};

    settings->max_snapshot = limits[random_below(random, 4)];
    add(settings, ", \"max_snapshot\": %zu", settings->max_snapshot);
}

/* Version 2 can always be read. */
static void add_schemas(struct settings *settings, uint64_t *random)
{
    static const uint32_t ranges[][2] = {{0, 0}, {1, SCHEMAS}, {1, 2}, {2, 2}, {2, 4}};
    uint64_t which = random_chance(random, 40) ? 0 : random_below(random, 5);

    settings->schema_min = ranges[which][0];
    settings->schema_max = ranges[which][1];
    if (which != 0)
        add(settings, ", \"schema\": {\"min\": %u, \"max\": %u}",
            (unsigned)settings->schema_min, (unsigned)settings->schema_max);
}

void settings_draw(struct settings *settings, const struct backend *backend,
                   const struct site *site, uint64_t *random)
{
    *settings = (struct settings){.replaces = random_chance(random, 30),
                                  .fails = random_chance(random, 30)};
    add(settings,
        "{\"plugin_dirs\": [\"%s\"], \"stores\": {\"soak\": {\"plugin\": \"%s\", "
        "\"durability\": \"%s\", \"stale_saves\": \"%s\", \"on_load_failure\": \"%s\"",
        site->plugins, backend->plugin, draw_durability(backend, random),
        settings->replaces ? "replace" : "skip", settings->fails ? "fail" : "replay");
    add(settings, ", \"snapshot_every\": %s", draw(random, "1|10|100").text);
    add(settings, ", \"retry_after\": %s", draw(random, "0|\"100ms\"|\"1s\"").text);
    add_limit(settings, random);
    add_schemas(settings, random);
    add_options(settings, backend, site, random);
    add(settings, "}}}");
}

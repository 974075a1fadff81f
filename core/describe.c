/* describe.c - what a plugin and a configuration are, as dotted keys and values, for
 * tools.  Opens no store. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "store.h"
#include "units.h"

/* Where the lines go. */
struct out {
    void (*line)(void *arg, const char *key, const char *value);
    void *arg;
    const char *prefix; /* "stores.orders." or "" */
};

__attribute__((format(printf, 3, 4))) static void say(const struct out *out,
                                                      const char *key, const char *format,
                                                      ...)
{
    char full[300], value[1200];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(value, sizeof value, format, args);
    va_end(args);
    (void)snprintf(full, sizeof full, "%s%s", out->prefix, key);
    out->line(out->arg, full, value);
}

static void say_features(const struct out *out, uint64_t features)
{
    say(out, "feature.early_meta", "%s",
        features & MAKO_FEATURE_EARLY_META ? "true" : "false");
    say(out, "feature.shared", "%s", features & MAKO_FEATURE_SHARED ? "true" : "false");
    say(out, "feature.if_newer", "%s",
        features & MAKO_FEATURE_IF_NEWER ? "true" : "false");
}

static void say_operations(const struct out *out, const struct mako_store_plugin *ops)
{
    const struct {
        const char *name;
        bool there;
    } optional[] = {{"has.scan", ops->scan != NULL},
                    {"has.save_many", ops->save_many != NULL},
                    {"has.load_many", ops->load_many != NULL},
                    {"has.stats", ops->stats != NULL},
                    {"has.compact", ops->compact != NULL}};

    for (size_t i = 0; i < sizeof optional / sizeof optional[0]; i++)
        say(out, optional[i].name, "%s", optional[i].there ? "true" : "false");
}

static void say_option(const struct out *plain, const struct mako_option *row)
{
    bool number = row->type == MAKO_OPT_INT || row->type == MAKO_OPT_SIZE ||
                  row->type == MAKO_OPT_DURATION;
    char prefix[80];
    const struct out out = {.line = plain->line, .arg = plain->arg, .prefix = prefix};

    (void)snprintf(prefix, sizeof prefix, "option.%s.", row->name);
    say(&out, "type", "%s", mako_option_type_name(row->type));
    say(&out, "help", "%s", row->help ? row->help : "");
    if (row->fallback)
        say(&out, "default", "%s", row->fallback);
    if (row->choices)
        say(&out, "choices", "%s", row->choices);
    if (row->flags & MAKO_OPT_REQUIRED)
        say(&out, "required", "true");
    if (row->flags & MAKO_OPT_SECRET)
        say(&out, "secret", "true");
    if (number && row->min != row->max) {
        say(&out, "min", "%" PRId64, row->min);
        say(&out, "max", "%" PRId64, row->max);
    }
}

static void describe(const struct out *out, const struct mako_plugin *plugin)
{
    const struct mako_store_plugin *ops = &plugin->ops;

    say(out, "name", "%s", ops->name);
    say(out, "version", "%s", ops->version ? ops->version : "");
    say(out, "summary", "%s", ops->summary ? ops->summary : "");
    say(out, "path", "%s", plugin->path);
    say(out, "abi", "%u", (unsigned)ops->abi);
    say(out, "struct_size", "%u", (unsigned)plugin->built_size);
    say(out, "durability", "%s", mako_durability_name(ops->durability));
    say(out, "threads", "%s", mako_threads_name(ops->threads));
    say_features(out, ops->features);
    say_operations(out, ops);
    for (size_t i = 0; i < plugin->option_count; i++)
        say_option(out, &plugin->options[i]);
}

int mako_plugin_describe(const char *path, const char *plugin,
                         void (*line)(void *arg, const char *key, const char *value),
                         void *arg, struct mako_error *err)
{
    const struct mako_source source = {.struct_size = sizeof source, .path = path};
    const struct out out = {.line = line, .arg = arg, .prefix = ""};
    struct mako_config *config = NULL;
    struct mako_plugin *found = NULL;
    struct mako_error scratch;
    int status = MAKO_OK;

    if (!err)
        err = &scratch;
    if (path)
        status = mako_config_read(&source, &config, err);
    if (status == MAKO_OK)
        status = mako_plugin_get(config ? mako_config_dirs(config) : NULL, plugin, &found,
                                 err);
    if (status == MAKO_OK)
        describe(&out, found);
    mako_config_free(config);
    return status;
}

/* ---- configurations ----------------------------------------------------------- */

static void say_options(const struct out *out, const struct mako_plugin *plugin,
                        const struct mako_options *options)
{
    for (size_t i = 0; i < plugin->option_count; i++) {
        char key[80], value[1100];

        (void)snprintf(key, sizeof key, "options.%s", plugin->options[i].name);
        say(out, key, "%s",
            mako_option_show(&plugin->options[i], &options->values[i], value,
                             sizeof value));
    }
}

static void say_store(const struct out *out, const struct mako_store_config *config,
                      const struct mako_plugin *plugin)
{
    char size[40], pause[40];

    mako_show_size(config->max_snapshot, size, sizeof size);
    mako_show_duration(config->retry_after_ms, pause, sizeof pause);
    say(out, "plugin", "%s", config->plugin);
    say(out, "plugin_path", "%s", plugin->path);
    say(out, "durability", "%s", mako_durability_name(config->durability));
    say(out, "snapshot_every", "%" PRIu64, config->snapshot_every);
    say(out, "max_snapshot", "%s", size);
    say(out, "stale_saves", "%s", config->stale_replace ? "replace" : "skip");
    say(out, "on_load_failure", "%s", config->fail_on_load_failure ? "fail" : "replay");
    say(out, "replay_limit", "%" PRIu64, config->replay_limit);
    say(out, "retry_after", "%s", pause);
    if (config->schema_max > 0) {
        say(out, "schema.min", "%u", (unsigned)config->schema_min);
        say(out, "schema.max", "%u", (unsigned)config->schema_max);
    }
}

/* One store: found, checked, its options converted, its durability possible. */
static int check_store(const struct mako_config *file, const struct mako_source *source,
                       const char *name, const struct out *plain, struct mako_error *err)
{
    struct mako_store_config *config = NULL;
    struct mako_plugin *plugin = NULL;
    struct mako_options options = {0};
    char prefix[200];
    const struct out out = {.line = plain->line, .arg = plain->arg, .prefix = prefix};
    int status = mako_config_store(file, name, source->overrides, &config, err);

    if (status != MAKO_OK)
        return status;
    (void)snprintf(prefix, sizeof prefix, "store '%.60s': ", config->name);
    status = mako_plugin_get(config->plugin_dirs, config->plugin, &plugin, err);
    if (status != MAKO_OK)
        mako_error_prefix(err, prefix);
    if (status == MAKO_OK)
        status = mako_plugin_options(plugin, config, &options, err);
    if (status == MAKO_OK && plugin->ops.durability < config->durability)
        status = mako_fail(err, MAKO_E_CONFIG,
                           "%sthe plugin gives at most durability '%s', '%s' is required",
                           prefix, mako_durability_name(plugin->ops.durability),
                           mako_durability_name(config->durability));
    if (status == MAKO_OK) {
        (void)snprintf(prefix, sizeof prefix, "stores.%.150s.", config->name);
        say_store(&out, config, plugin);
        say_options(&out, plugin, &options);
    }
    mako_options_free(&options);
    mako_store_config_free(config);
    return status;
}

static int check_all(const struct mako_config *file, const struct mako_source *source,
                     const struct out *out, struct mako_error *err)
{
    int status = MAKO_OK;

    for (char **dir = mako_config_dirs(file); *dir; dir++)
        say(out, "plugin_dirs", "%s", *dir);
    if (source->name)
        return check_store(file, source, source->name, out, err);
    for (size_t i = 0; status == MAKO_OK && i < mako_config_count(file); i++)
        status = check_store(file, source, mako_config_name(file, i), out, err);
    return status;
}

int mako_config_describe(const struct mako_source *source,
                         void (*line)(void *arg, const char *key, const char *value),
                         void *arg, struct mako_error *err)
{
    const struct out out = {.line = line, .arg = arg, .prefix = ""};
    struct mako_config *file = NULL;
    struct mako_source src;
    struct mako_error scratch;
    int status;

    if (!err)
        err = &scratch;
    status = mako_take_struct(NULL, &src, sizeof src, MAKO_SOURCE_FIRST, source,
                              "mako_source", err);
    if (status == MAKO_OK)
        status = mako_config_read(&src, &file, err);
    if (status == MAKO_OK)
        status = check_all(file, &src, &out, err);
    mako_config_free(file);
    return status;
}

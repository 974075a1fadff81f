/* cli/about.c - the commands about what is configured: describe, config, stats. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"

/* ---- describe, config: the library's lines ------------------------------------------
 */

/* One "key value" after the other into one flat object in that order; a key that comes
 * again makes a list. */
static void gather(void *arg, const char *key, const char *value)
{
    json_t *object = arg, *there = json_object_get(object, key);
    json_t *list = json_is_array(there) ? there : NULL;

    if (there && !list) {
        list = json_array();
        if (json_array_append(list, there) != 0)
            no_memory();
        json_put(object, key, list);
    }
    if (!list)
        json_put(object, key, json_text(value));
    else if (json_array_append_new(list, json_text(value)) != 0)
        no_memory();
}

static size_t longest_key(json_t *object)
{
    size_t longest = 0;

    for (void *at = json_object_iter(object); at; at = json_object_iter_next(object, at))
        if (columns(json_object_iter_key(at)) > longest)
            longest = columns(json_object_iter_key(at));
    return longest;
}

static void print_line(const char *key, int width, const char *value)
{
    char *left = printable(key, strlen(key)), *right = printable(value, strlen(value));

    printf("%s%-*s%s  %s\n", colour(stdout, COLOUR_BOLD), width, left,
           colour(stdout, COLOUR_PLAIN), right);
    free(left);
    free(right);
}

static void print_lines(json_t *object)
{
    int width = (int)longest_key(object);

    for (void *at = json_object_iter(object); at;
         at = json_object_iter_next(object, at)) {
        const json_t *value = json_object_iter_value(at);

        if (json_is_string(value))
            print_line(json_object_iter_key(at), width, json_string_value(value));
        for (size_t i = 0; i < json_array_size(value); i++)
            print_line(json_object_iter_key(at), width,
                       json_string_value(json_array_get(value, i)));
    }
}

/* Show what was gathered, or say why there is nothing; takes the reference. */
static int finish(const struct args *args, json_t *object, void (*print)(json_t *object),
                  int status, const struct mako_error *err)
{
    if (status != MAKO_OK) {
        json_decref(object);
        /* What was named is no store plugin: whoever named it must know. */
        return complain(status == MAKO_E_PLUGIN ? EXIT_USAGE : exit_of(status), "%s",
                        err->text);
    }
    if (args->json) {
        json_print(stdout, object);
        return EXIT_DONE;
    }
    print(object);
    json_decref(object);
    return EXIT_DONE;
}

/* ---- describe -------------------------------------------------------------------------
 */

static const char option_key[] = "option.";

static const char *member(json_t *object, const char *option, const char *name)
{
    char key[128];

    (void)snprintf(key, sizeof key, "%s%s.%s", option_key, option, name);
    return json_string_value(json_object_get(object, key));
}

static void print_part(const char *before, const char *value)
{
    char *shown;

    if (!value)
        return;
    shown = printable(value, strlen(value));
    printf(", %s%s", before, shown);
    free(shown);
}

/* "  dir (path, required)" and its help below. */
static void print_option(json_t *object, const char *option)
{
    const char *type = member(object, option, "type");
    const char *help = member(object, option, "help");
    char *shown = printable(help ? help : "", help ? strlen(help) : 0);

    printf("  %s%s%s (%s", colour(stdout, COLOUR_BOLD), option,
           colour(stdout, COLOUR_PLAIN), type ? type : "?");
    if (member(object, option, "required"))
        printf(", required");
    if (member(object, option, "secret"))
        printf(", secret");
    print_part("one of ", member(object, option, "choices"));
    print_part("from ", member(object, option, "min"));
    print_part("to ", member(object, option, "max"));
    print_part("default ", member(object, option, "default"));
    printf(")\n      %s\n", shown);
    free(shown);
}

/* The plugin's own lines, then its options, each of which has several. */
static void print_plugin(json_t *object)
{
    json_t *plain = json_object();
    size_t skip = strlen(option_key), options = 0;

    for (void *at = json_object_iter(object); at; at = json_object_iter_next(object, at))
        if (strncmp(json_object_iter_key(at), option_key, skip) != 0)
            json_put(plain, json_object_iter_key(at),
                     json_incref(json_object_iter_value(at)));
    print_lines(plain);
    json_decref(plain);
    printf("\n%soptions%s\n", colour(stdout, COLOUR_BOLD), colour(stdout, COLOUR_PLAIN));
    for (void *at = json_object_iter(object); at;
         at = json_object_iter_next(object, at)) {
        const char *key = json_object_iter_key(at), *dot = strrchr(key, '.');
        char option[64];

        if (strncmp(key, option_key, skip) != 0 || strcmp(dot, ".type") != 0)
            continue;
        (void)snprintf(option, sizeof option, "%.*s", (int)(dot - key - (int)skip),
                       key + skip);
        print_option(object, option);
        options++;
    }
    if (options == 0)
        printf("  none\n");
}

static int run_describe(const struct args *args)
{
    const char *plugin = args->operands[0];
    bool is_file = strpbrk(plugin, "/.") != NULL; /* a name has neither */
    char *file = is_file ? realpath(plugin, NULL) : NULL;
    struct mako_error err = {""};
    json_t *object;
    int status;

    if (is_file && !file)
        return complain(EXIT_USAGE, "%s: %s", plugin, strerror(errno));
    object = json_object();
    status = mako_plugin_describe(config_path(args), file ? file : plugin, gather, object,
                                  &err);
    free(file);
    return finish(args, object, print_plugin, status, &err);
}

const struct command command_describe = {
    .name = "describe",
    .operands = "PLUGIN|FILE",
    .summary = "say what a plugin is, and which options it takes",
    .about =
        "Says what a store plugin is and which options it takes.  PLUGIN is a name,\n"
        "FILE a path.  Needs no configuration; where there is one, its\n"
        "\"plugin_dirs\" are searched.",
    .operands_min = 1,
    .operands_max = 1,
    .run = run_describe,
};

/* ---- config ---------------------------------------------------------------------------
 */

static int run_config(const struct args *args)
{
    struct mako_source source;
    struct mako_error err = {""};
    json_t *object;
    int result = source_of(args, &source);

    if (result != EXIT_DONE)
        return result;
    object = json_object();
    result = mako_config_describe(&source, gather, object, &err);
    return finish(args, object, print_lines, result, &err);
}

const struct command command_config = {
    .name = "config",
    .operands = "",
    .summary = "check the configuration file and print it resolved",
    .about =
        "Checks the whole configuration file, or STORE's part of it, without opening\n"
        "a store, and prints it resolved: defaults filled in, secrets hidden.",
    .run = run_config,
};

/* ---- stats
 * ------------------------------------------------------------------------------ */

static void counter(void *arg, const char *name, uint64_t value)
{
    json_t *counters = arg;

    json_put(counters, name, json_count(value));
}

static json_t *about_store(const struct mako_info *info)
{
    json_t *object = json_object();

    json_put(object, "store", json_text(info->name));
    json_put(object, "plugin", json_text(info->plugin));
    json_put(object, "plugin_version", json_text(info->plugin_version));
    json_put(object, "plugin_path", json_text(info->plugin_path));
    json_put(object, "durability", json_text(info->durability));
    json_put(object, "threads", json_text(info->threads));
    json_put(object, "snapshot_every", json_count(info->snapshot_every));
    json_put(object, "max_snapshot", json_count(info->max_snapshot));
    json_put(object, "replay_limit", json_count(info->replay_limit));
    json_put(object, "retry_after_ms", json_count(info->retry_after_ms));
    return object;
}

static void print_values(json_t *object)
{
    for (void *at = json_object_iter(object); at;
         at = json_object_iter_next(object, at)) {
        const json_t *value = json_object_iter_value(at);
        struct shown number = show_count((uint64_t)json_integer_value(value));

        show_line(stdout, json_object_iter_key(at),
                  json_is_string(value) ? json_string_value(value) : number.text);
    }
}

static int run_stats(const struct args *args)
{
    struct mako_info info = {.struct_size = sizeof info};
    struct mako_error err = {""};
    mako_store *store = NULL;
    json_t *counters, *about;
    int status, result = store_to_read(args, &store);

    if (result != EXIT_DONE)
        return result;
    counters = json_object();
    mako_store_info(store, &info);
    about = about_store(&info);
    status = mako_store_stats(store, counter, counters, &err);
    if (status != MAKO_OK) {
        result = failed(status, &err);
    } else if (args->json) {
        json_put(about, "counters", json_incref(counters));
        json_print(stdout, json_incref(about));
    } else {
        print_values(about);
        print_values(counters);
    }
    json_decref(about);
    json_decref(counters);
    mako_store_unref(store);
    return result;
}

const struct command command_stats = {
    .name = "stats",
    .operands = "",
    .summary = "show what a store is, and its counters",
    .about =
        "Shows what the store is, and its counters: the library's own, which begin at\n"
        "zero in each run, then the plugin's (\"plugin.\").",
    .run = run_stats,
};

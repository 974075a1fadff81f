/* config.c - the configuration file: JSON in, one struct a store out.
 *
 * The only reader of JSON in the core besides json.c.  What is unknown, repeated or
 * impossible is refused with the file, the line (syntax) or the key's path (meaning). */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "error.h"
#include "units.h"

#define TEXT_NAME "(text)"
#define DEPTH_MAX 32u /* levels; a store's options are the fourth */

struct mako_config {
    char *source, *dir;
    json_t *root, *stores;
    char **plugin_dirs;
};

/* Where in the document we are, for messages: file, key path. */
struct place {
    const struct mako_config *config;
    char path[256];
};

/* ---- small things ------------------------------------------------------------- */

static const char *const durability_names[] = {"none", "memory", "crash", "power"};

const char *mako_durability_name(uint32_t durability)
{
    return durability <= MAKO_DURABLE_POWER ? durability_names[durability] : NULL;
}

__attribute__((format(printf, 3, 4))) static int refuse(const struct place *at,
                                                        struct mako_error *err,
                                                        const char *format, ...)
{
    char what[400];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return mako_fail(err, MAKO_E_CONFIG, "%s: %s%s%s", at->config->source, at->path,
                     at->path[0] ? ": " : "", what);
}

static int no_memory(struct mako_error *err)
{
    return mako_fail(err, MAKO_E_NOMEM, "configuration: no memory");
}

static struct place below(const struct place *at, const char *key)
{
    struct place deeper = *at;
    size_t used = strlen(deeper.path);

    (void)snprintf(deeper.path + used, sizeof deeper.path - used, "%s%s", used ? "." : "",
                   key);
    return deeper;
}

/* "$schema" for editors, "_..." for comments. */
static bool is_ignored(const char *key)
{
    return key[0] == '_' || strcmp(key, "$schema") == 0;
}

static int check_keys(const struct place *at, json_t *object, const char *const *known,
                      size_t count, struct mako_error *err)
{
    for (void *i = json_object_iter(object); i; i = json_object_iter_next(object, i)) {
        const char *key = json_object_iter_key(i);
        char near[80];
        size_t word = 0;

        while (word < count && strcmp(known[word], key) != 0)
            word++;
        if (word == count && !is_ignored(key))
            return refuse(at, err, "unknown key '%s'%s", key,
                          mako_nearest(key, known, count, near, sizeof near));
    }
    return MAKO_OK;
}

/* ---- strings with ${NAME} ----------------------------------------------------- */

/* One variable, p behind its "${"; *end is set behind its "}". */
static int variable(const struct place *at, const char *p, const char **end,
                    const char **value, struct mako_error *err)
{
    char name[128];
    size_t len = strcspn(p, "}");

    if (p[len] != '}' || len == 0 || len >= sizeof name)
        return refuse(at, err, "'${' without a name and a '}'");
    memcpy(name, p, len);
    name[len] = '\0';
    *value = secure_getenv(name);
    if (!*value)
        return refuse(at, err, "the environment variable %s is not set", name);
    *end = p + len + 1;
    return MAKO_OK;
}

/* Memory grows with each piece: an environment may change while it is read. */
static int append(char **text, size_t *len, const char *piece, size_t size,
                  struct mako_error *err)
{
    char *grown = realloc(*text, *len + size + 1);

    if (!grown)
        return no_memory(err);
    memcpy(grown + *len, piece, size);
    *len += size;
    grown[*len] = '\0';
    *text = grown;
    return MAKO_OK;
}

/* The next piece of text, which moves on: plain characters, a dollar, or a variable. */
static int next_piece(const struct place *at, const char **text, const char **piece,
                      size_t *size, struct mako_error *err)
{
    int status = MAKO_OK;

    *piece = *text;
    *size = strcspn(*text, "$");
    if (*size > 0) {
        *text += *size;
    } else if ((*text)[1] == '$') {
        *size = 1;
        *text += 2;
    } else if ((*text)[1] == '{') {
        status = variable(at, *text + 2, text, piece, err);
        *size = status == MAKO_OK ? strlen(*piece) : 0;
    } else {
        status = refuse(at, err, "a lone '$': write '$$', or '${NAME}'");
    }
    return status;
}

/* A new string, environment variables filled in. */
static int expand(const struct place *at, const char *text, char **out,
                  struct mako_error *err)
{
    char *made = NULL;
    size_t len = 0, size = 0;
    const char *piece = text;
    int status = append(&made, &len, "", 0, err);

    while (status == MAKO_OK && *text) {
        status = next_piece(at, &text, &piece, &size, err);
        if (status == MAKO_OK)
            status = append(&made, &len, piece, size, err);
    }
    if (status != MAKO_OK) {
        free(made);
        return status;
    }
    *out = made;
    return MAKO_OK;
}

/* ---- typed members; a missing one leaves *out alone --------------------------- */

static int get_string(const struct place *parent, const json_t *object, const char *key,
                      char **out, struct mako_error *err)
{
    const json_t *value = json_object_get(object, key);
    struct place at = below(parent, key);

    if (!value)
        return MAKO_OK;
    if (!json_is_string(value) || !*json_string_value(value))
        return refuse(&at, err, "must be a non-empty string");
    return expand(&at, json_string_value(value), out, err);
}

static int get_count(const struct place *parent, const json_t *object, const char *key,
                     uint64_t *out, struct mako_error *err)
{
    const json_t *value = json_object_get(object, key);
    struct place at = below(parent, key);

    if (!value)
        return MAKO_OK;
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return refuse(&at, err, "must be a whole number, 0 or more");
    *out = (uint64_t)json_integer_value(value);
    return MAKO_OK;
}

/* A number, or a string with a unit. */
static int get_measure(const struct place *parent, const json_t *object, const char *key,
                       bool (*parse)(const char *, uint64_t *), const char *wanted,
                       uint64_t *out, struct mako_error *err)
{
    const json_t *value = json_object_get(object, key);
    struct place at = below(parent, key);
    char *text = NULL;
    bool ok = false;
    int status;

    if (!value)
        return MAKO_OK;
    if (json_is_integer(value) && json_integer_value(value) >= 0) {
        *out = (uint64_t)json_integer_value(value);
        return MAKO_OK;
    }
    if (json_is_string(value)) {
        status = expand(&at, json_string_value(value), &text, err);
        if (status != MAKO_OK)
            return status;
        ok = parse(text, out);
        free(text);
    }
    return ok ? MAKO_OK : refuse(&at, err, "must be %s", wanted);
}

/* The index of a word in a list of count. */
static int get_word(const struct place *parent, const json_t *object, const char *key,
                    const char *const *words, size_t count, uint32_t *out,
                    struct mako_error *err)
{
    struct place at = below(parent, key);
    char *text = NULL, list[120] = "", near[80];
    int status = get_string(parent, object, key, &text, err);

    if (status != MAKO_OK || !text)
        return status;
    for (size_t i = 0; i < count; i++) {
        size_t used = strlen(list);

        if (strcmp(words[i], text) == 0) {
            *out = (uint32_t)i;
            free(text);
            return MAKO_OK;
        }
        (void)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "",
                       words[i]);
    }
    status = refuse(&at, err, "'%.60s' is not one of %s%s", text, list,
                    mako_nearest(text, words, count, near, sizeof near));
    free(text);
    return status;
}

static int get_schema(const struct place *parent, const json_t *object,
                      struct mako_store_config *store, struct mako_error *err)
{
    static const char *const keys[] = {"min", "max"};
    json_t *value = json_object_get(object, "schema");
    struct place at = below(parent, "schema");
    uint64_t min = 0, max = 0;
    int status;

    if (!value)
        return MAKO_OK;
    if (!json_is_object(value))
        return refuse(&at, err, "must be an object with min and max");
    status = check_keys(&at, value, keys, 2, err);
    if (status == MAKO_OK)
        status = get_count(&at, value, "min", &min, err);
    if (status == MAKO_OK)
        status = get_count(&at, value, "max", &max, err);
    if (status != MAKO_OK)
        return status;
    if (min < 1 || max < min || max > UINT32_MAX)
        return refuse(&at, err, "needs 1 <= min <= max <= %" PRIu32, UINT32_MAX);
    store->schema_min = (uint32_t)min;
    store->schema_max = (uint32_t)max;
    return MAKO_OK;
}

/* ---- plugin options, still as pairs ------------------------------------------- */

static int set_pair(const struct place *at, struct mako_pair *pair, const json_t *value,
                    struct mako_error *err)
{
    switch (json_typeof(value)) {
    case JSON_STRING:
        pair->kind = MAKO_PAIR_STRING;
        return expand(at, json_string_value(value), &pair->text, err);
    case JSON_INTEGER:
        pair->kind = MAKO_PAIR_INT;
        pair->num = json_integer_value(value);
        return MAKO_OK;
    case JSON_TRUE:
    case JSON_FALSE:
        pair->kind = MAKO_PAIR_BOOL;
        pair->num = json_is_true(value);
        return MAKO_OK;
    case JSON_OBJECT:
    case JSON_ARRAY:
    case JSON_REAL:
    case JSON_NULL:
    default:
        return refuse(at, err, "must be a string, a whole number, true or false");
    }
}

static int add_pair(const struct place *parent, struct mako_store_config *store,
                    const char *key, const json_t *value, struct mako_error *err)
{
    struct place at = below(parent, key);
    struct mako_pair *pair = &store->options[store->option_count];

    pair->key = strdup(key);
    if (!pair->key)
        return no_memory(err);
    store->option_count++;
    return set_pair(&at, pair, value, err);
}

/* An override takes the place of the file's value. */
static int add_override(struct mako_store_config *store, const char *word,
                        struct mako_error *err)
{
    const char *equals = strchr(word, '=');
    struct mako_pair *pair = store->options, made = {.kind = MAKO_PAIR_TEXT};

    if (!equals || equals == word)
        return mako_fail(err, MAKO_E_CONFIG, "option override '%.80s': not KEY=VALUE",
                         word);
    made.key = strndup(word, (size_t)(equals - word));
    made.text = strdup(equals + 1);
    if (!made.key || !made.text) {
        free(made.key);
        mako_wipe_free(made.text);
        return no_memory(err);
    }
    while (pair < store->options + store->option_count &&
           strcmp(pair->key, made.key) != 0)
        pair++;
    if (pair == store->options + store->option_count) {
        store->option_count++;
    } else {
        free(pair->key);
        mako_wipe_free(pair->text);
    }
    *pair = made;
    return MAKO_OK;
}

static int get_options(const struct place *parent, const json_t *object,
                       const char *const *overrides, struct mako_store_config *store,
                       struct mako_error *err)
{
    json_t *options = json_object_get(object, "options");
    struct place at = below(parent, "options");
    size_t room = json_object_size(options) + 1;
    int status = MAKO_OK;

    if (options && !json_is_object(options))
        return refuse(&at, err, "must be an object");
    for (size_t i = 0; overrides && overrides[i]; i++)
        room++;
    store->options = calloc(room, sizeof *store->options);
    if (!store->options)
        return no_memory(err);
    for (void *i = json_object_iter(options); i && status == MAKO_OK;
         i = json_object_iter_next(options, i))
        if (!is_ignored(json_object_iter_key(i)))
            status = add_pair(&at, store, json_object_iter_key(i),
                              json_object_iter_value(i), err);
    for (; overrides && *overrides && status == MAKO_OK; overrides++)
        status = add_override(store, *overrides, err);
    return status;
}

/* ---- the file ----------------------------------------------------------------- */

static void free_strings(char **strings)
{
    for (char **s = strings; s && *s; s++)
        free(*s);
    free(strings);
}

void mako_config_free(struct mako_config *config)
{
    if (!config)
        return;
    json_decref(config->root);
    free_strings(config->plugin_dirs);
    free(config->source);
    free(config->dir);
    free(config);
}

/* path as it is, or below the file's directory. */
static char *absolute(const struct mako_config *config, const char *path)
{
    char *made = NULL;

    if (path[0] == '/')
        return strdup(path);
    return asprintf(&made, "%s/%s", config->dir, path) < 0 ? NULL : made;
}

static int get_dirs(struct mako_config *config, struct mako_error *err)
{
    const struct place top = {.config = config};
    struct place at = below(&top, "plugin_dirs");
    const json_t *list = json_object_get(config->root, "plugin_dirs");

    if (list && !json_is_array(list))
        return refuse(&at, err, "must be a list of directories");
    config->plugin_dirs = calloc(json_array_size(list) + 1, sizeof(char *));
    if (!config->plugin_dirs)
        return no_memory(err);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        char *expanded = NULL;
        int status;

        if (!text || !*text)
            return refuse(&at, err, "must be a list of directories");
        status = expand(&at, text, &expanded, err);
        if (status != MAKO_OK)
            return status;
        if (!*expanded) { /* of an empty variable */
            free(expanded);
            return refuse(&at, err, "must be a list of directories");
        }
        config->plugin_dirs[i] = absolute(config, expanded);
        free(expanded);
        if (!config->plugin_dirs[i])
            return no_memory(err);
    }
    return MAKO_OK;
}

static int check_root(struct mako_config *config, struct mako_error *err)
{
    static const char *const keys[] = {"plugin_dirs", "stores"};
    const struct place at = {.config = config};
    struct place stores = below(&at, "stores");
    int status;

    if (!json_is_object(config->root))
        return refuse(&at, err, "must be an object with 'stores' in it");
    status = check_keys(&at, config->root, keys, 2, err);
    if (status != MAKO_OK)
        return status;
    config->stores = json_object_get(config->root, "stores");
    if (!json_is_object(config->stores) || mako_config_count(config) == 0)
        return refuse(&at, err, "'stores' must be an object with at least one store");
    if (json_object_get(config->stores, ""))
        return refuse(&stores, err, "the name of a store may not be empty");
    return get_dirs(config, err);
}

/* The text on its way to jansson, which calls itself for each level: what is nested
 * deeper than a configuration can be ends here, for the caller's thread may have a small
 * stack. */
struct input {
    FILE *file; /* or text */
    const char *text;
    size_t len;
    unsigned depth;
    bool string, escape, deep;
    int error; /* why it could not be read; jansson takes that for the end */
};

static void count_level(struct input *in, char c)
{
    if (in->escape) {
        in->escape = false;
    } else if (in->string) {
        in->escape = c == '\\';
        in->string = c != '"';
    } else if (c == '"') {
        in->string = true;
    } else if (c == '[' || c == '{') {
        in->deep |= ++in->depth > DEPTH_MAX;
    } else if ((c == ']' || c == '}') && in->depth > 0) {
        in->depth--;
    }
}

static size_t read_input(void *buffer, size_t room, void *arg)
{
    struct input *in = arg;
    size_t got = in->len < room ? in->len : room;

    if (in->file) {
        got = fread(buffer, 1, room, in->file);
        if (ferror(in->file))
            in->error = errno;
    } else {
        memcpy(buffer, in->text, got);
        in->text += got;
        in->len -= got;
    }
    for (size_t i = 0; i < got; i++)
        count_level(in, ((const char *)buffer)[i]);
    return in->deep || in->error ? (size_t)-1 : got;
}

/* NULL: in->error or in->deep says why, else it is no JSON.  errno tells whether it was
 * for memory that jansson failed: its own error does not. */
static json_t *parse_input(const struct mako_source *source, struct input *in,
                           json_error_t *why)
{
    json_t *root;

    if (!source->json && !(in->file = fopen(source->path, "re"))) {
        in->error = errno;
        return NULL;
    }
    errno = 0;
    root = json_load_callback(read_input, in, JSON_REJECT_DUPLICATES, why);
    if (!root && !in->error && errno == ENOMEM)
        in->error = ENOMEM;
    if (root && (in->error || in->deep)) {
        json_decref(root);
        root = NULL;
    }
    if (in->file)
        (void)fclose(in->file);
    return root;
}

static int parse(const struct mako_source *source, struct mako_config *config,
                 struct mako_error *err)
{
    struct input in = {.text = source->json, .len = source->json_len};
    json_error_t why;

    config->root = parse_input(source, &in, &why);
    if (config->root)
        return MAKO_OK;
    if (in.error == ENOMEM)
        return no_memory(err);
    if (in.error)
        return mako_fail(err, MAKO_E_CONFIG, "%s: %s", source->path, strerror(in.error));
    if (in.deep)
        return mako_fail(err, MAKO_E_CONFIG, "%s: nested deeper than %u levels",
                         config->source, DEPTH_MAX);
    return mako_fail(err, MAKO_E_CONFIG, "%s:%d:%d: %s", config->source, why.line,
                     why.column, why.text);
}

/* Where relative paths start: the file's directory, or the working directory. */
static char *base_dir(const struct mako_source *source)
{
    char *real, *slash;

    if (!source->path)
        return realpath(".", NULL);
    real = realpath(source->path, NULL);
    slash = real ? strrchr(real, '/') : NULL;
    if (slash)
        slash[slash == real] = '\0';
    return real;
}

static int open_config(const struct mako_source *source, struct mako_config *config,
                       struct mako_error *err)
{
    int status;

    config->source = strdup(source->path ? source->path : TEXT_NAME);
    if (!config->source)
        return no_memory(err);
    status = parse(source, config, err);
    if (status != MAKO_OK)
        return status;
    config->dir = base_dir(source);
    if (!config->dir && errno == ENOMEM)
        return no_memory(err);
    if (!config->dir)
        return mako_fail(err, MAKO_E_CONFIG, "%s: its directory: %s", config->source,
                         strerror(errno));
    return check_root(config, err);
}

void mako_config_ready(void)
{
    json_object_seed(0);
}

int mako_config_read(const struct mako_source *source, struct mako_config **config,
                     struct mako_error *err)
{
    struct mako_config *made;
    int status;

    if (!source->path == !source->json)
        return mako_fail(err, MAKO_E_INVALID,
                         "a configuration comes from a path or a text, one of them");
    made = calloc(1, sizeof *made);
    if (!made)
        return no_memory(err);
    status = open_config(source, made, err);
    if (status != MAKO_OK) {
        mako_config_free(made);
        return status;
    }
    *config = made;
    return MAKO_OK;
}

static const char *store_key(const struct mako_config *config, size_t index)
{
    json_t *stores = config->stores;

    for (void *i = json_object_iter(stores); i; i = json_object_iter_next(stores, i)) {
        const char *key = json_object_iter_key(i);

        if (!is_ignored(key) && index-- == 0)
            return key;
    }
    return NULL;
}

size_t mako_config_count(const struct mako_config *config)
{
    size_t count = 0;

    while (store_key(config, count))
        count++;
    return count;
}

const char *mako_config_name(const struct mako_config *config, size_t index)
{
    return store_key(config, index);
}

char **mako_config_dirs(const struct mako_config *config)
{
    return config->plugin_dirs;
}

/* ---- one store ---------------------------------------------------------------- */

void mako_wipe_free(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
}

void mako_store_config_free(struct mako_store_config *store)
{
    if (!store)
        return;
    for (size_t i = 0; i < store->option_count; i++) {
        free(store->options[i].key);
        mako_wipe_free(store->options[i].text);
    }
    free(store->options);
    free_strings(store->plugin_dirs);
    free(store->source);
    free(store->dir);
    free(store->name);
    free(store->plugin);
    free(store);
}

static int get_words(const struct place *at, const json_t *object,
                     struct mako_store_config *store, struct mako_error *err)
{
    static const char *const stale[] = {"skip", "replace"};
    static const char *const failure[] = {"replay", "fail"};
    uint32_t stale_word = 0, failure_word = 0;
    int status;

    store->durability = MAKO_DURABLE_POWER;
    status =
        get_word(at, object, "durability", durability_names, 4, &store->durability, err);
    if (status == MAKO_OK)
        status = get_word(at, object, "stale_saves", stale, 2, &stale_word, err);
    if (status == MAKO_OK)
        status = get_word(at, object, "on_load_failure", failure, 2, &failure_word, err);
    store->stale_replace = stale_word == 1;
    store->fail_on_load_failure = failure_word == 1;
    return status;
}

static int get_numbers(const struct place *at, const json_t *object,
                       struct mako_store_config *store, struct mako_error *err)
{
    struct place size_at = below(at, "max_snapshot");
    int status;

    store->snapshot_every = 100;
    store->max_snapshot = 16u << 20;
    store->replay_limit = 10000;
    store->retry_after_ms = 1000;
    status = get_count(at, object, "snapshot_every", &store->snapshot_every, err);
    if (status == MAKO_OK)
        status = get_count(at, object, "replay_limit", &store->replay_limit, err);
    if (status == MAKO_OK)
        status = get_measure(at, object, "max_snapshot", mako_parse_size,
                             "a size like 65536 or \"16MiB\"", &store->max_snapshot, err);
    if (status == MAKO_OK)
        status =
            get_measure(at, object, "retry_after", mako_parse_duration,
                        "a duration like 1000 or \"1s\"", &store->retry_after_ms, err);
    if (status == MAKO_OK && store->max_snapshot > UINT32_MAX)
        return refuse(&size_at, err, "at most 4294967295 bytes");
    if (status == MAKO_OK)
        status = get_schema(at, object, store, err);
    return status;
}

static int copy_place(const struct mako_config *config, const char *name,
                      struct mako_store_config *store, struct mako_error *err)
{
    size_t count = 0;

    while (config->plugin_dirs[count])
        count++;
    store->source = strdup(config->source);
    store->dir = strdup(config->dir);
    store->name = strdup(name);
    store->plugin_dirs = calloc(count + 1, sizeof(char *));
    if (!store->source || !store->dir || !store->name || !store->plugin_dirs)
        return no_memory(err);
    for (size_t i = 0; i < count; i++) {
        char *dir = strdup(config->plugin_dirs[i]);

        if (!dir)
            return no_memory(err); /* -fanalyzer: those before it are the store's */
        store->plugin_dirs[i] = dir;
    }
    return MAKO_OK;
}

static int fill_store(const struct mako_config *config, const char *name, json_t *object,
                      const char *const *overrides, struct mako_store_config *store,
                      struct mako_error *err)
{
    static const char *const keys[] = {"plugin",       "durability",  "snapshot_every",
                                       "max_snapshot", "stale_saves", "on_load_failure",
                                       "replay_limit", "retry_after", "schema",
                                       "options"};
    const struct place top = {.config = config};
    struct place stores = below(&top, "stores"), at = below(&stores, name);
    int status;

    if (!json_is_object(object))
        return refuse(&at, err, "must be an object");
    status = check_keys(&at, object, keys, sizeof keys / sizeof keys[0], err);
    if (status == MAKO_OK)
        status = copy_place(config, name, store, err);
    if (status == MAKO_OK)
        status = get_string(&at, object, "plugin", &store->plugin, err);
    if (status == MAKO_OK && !store->plugin)
        return refuse(&at, err, "'plugin' is required");
    if (status == MAKO_OK)
        status = get_words(&at, object, store, err);
    if (status == MAKO_OK)
        status = get_numbers(&at, object, store, err);
    if (status == MAKO_OK)
        status = get_options(&at, object, overrides, store, err);
    return status;
}

/* The store that is meant where no name is given; NULL and err where none is. */
static const char *default_name(const struct mako_config *config, struct mako_error *err)
{
    const struct place at = {.config = config};
    const char *first = store_key(config, 0);

    if (first && !store_key(config, 1))
        return first;
    if (json_object_get(config->stores, "default"))
        return "default";
    (void)refuse(&at, err, "%zu stores and none called 'default': name one",
                 mako_config_count(config));
    return NULL;
}

static int unknown_store(const struct mako_config *config, const char *name,
                         struct mako_error *err)
{
    const struct place at = {.config = config};
    const char *names[64];
    char near[80];
    size_t count = 0;

    while (count < 64 && (names[count] = store_key(config, count)) != NULL)
        count++;
    return refuse(&at, err, "no store '%.100s'%s", name,
                  mako_nearest(name, names, count, near, sizeof near));
}

int mako_config_store(const struct mako_config *config, const char *name,
                      const char *const *overrides, struct mako_store_config **store,
                      struct mako_error *err)
{
    struct mako_store_config *made;
    json_t *object;
    int status;

    if (!name)
        name = default_name(config, err);
    if (!name)
        return MAKO_E_CONFIG;
    object = is_ignored(name) ? NULL : json_object_get(config->stores, name);
    if (!object)
        return unknown_store(config, name, err);

    made = calloc(1, sizeof *made);
    if (!made)
        return no_memory(err);
    status = fill_store(config, name, object, overrides, made, err);
    if (status != MAKO_OK) {
        mako_store_config_free(made);
        return status;
    }
    *store = made;
    return MAKO_OK;
}

/* The plugin under test, mapped without the library, and its options, converted as the
 * library would have. */
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>

#include <jansson.h>

#include "kit.h"
#include "raw.h"

enum {
    OPTIONS_MAX = 256
};

struct mako_store_plugin raw_ops;

static const struct mako_store_plugin *descriptor;
static const char *binary;
static char unusable[300];

const struct mako_store_plugin *raw_descriptor_of(void)
{
    return descriptor;
}

const char *raw_binary(void)
{
    return binary;
}

const char *raw_unusable(void)
{
    return unusable[0] ? unusable : NULL;
}

/* ---- mapping ---------------------------------------------------------------------- */

typedef const struct mako_store_plugin *(*entry_function)(void);

static bool map_plugin(const char *path)
{
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE), *symbol;
    entry_function entry;

    symbol = handle ? dlsym(handle, "mako_store_plugin_entry") : NULL;
    if (!symbol) {
        const char *why = dlerror();

        (void)snprintf(unusable, sizeof unusable, "it cannot be loaded: %.250s",
                       why ? why : "no mako_store_plugin_entry");
        return false;
    }
    memcpy(&entry, &symbol, sizeof entry); /* ISO C has no cast for this */
    descriptor = entry();
    if (descriptor && entry() != descriptor)
        audit("the entry returned two different descriptors");
    return true;
}

/* What must be right before anything can be called. */
static void check_usable(void)
{
    size_t size;

    if (!descriptor) {
        (void)snprintf(unusable, sizeof unusable, "the entry returned NULL");
        return;
    }
    size = descriptor->struct_size;
    if (descriptor->abi != MAKO_STORE_ABI || size < MAKO_STORE_PLUGIN_MIN_SIZE) {
        (void)snprintf(unusable, sizeof unusable,
                       "its descriptor is of ABI %u, %zu bytes", descriptor->abi, size);
        return;
    }
    memcpy(&raw_ops, descriptor, size < sizeof raw_ops ? size : sizeof raw_ops);
    if (!raw_ops.open || !raw_ops.close || !raw_ops.save || !raw_ops.load ||
        !raw_ops.remove)
        (void)snprintf(unusable, sizeof unusable, "a required operation is NULL");
    else if (raw_ops.options && raw_ops.option_size < sizeof(struct mako_option))
        (void)snprintf(unusable, sizeof unusable, "its option rows are too short");
}

static void describe_to(struct trial *t)
{
    t->durability = (enum mako_durability)raw_ops.durability;
    t->threads = (enum mako_threads)raw_ops.threads;
    t->can_scan = raw_ops.scan != NULL;
}

static bool is_of_descriptor(const struct test_case *test)
{
    for (const struct test_case *c = raw_descriptor; c->name; c++)
        if (strcmp(c->name, test->name) == 0)
            return true;
    return false;
}

enum verdict kit_raw_case(const struct test_case *test, const char *path, struct trial *t)
{
    enum verdict verdict;

    binary = path;
    if (!map_plugin(path))
        return trial_fail(t, __FILE__, __LINE__, "%s", unusable);
    check_usable();
    if (!is_of_descriptor(test) && unusable[0])
        return trial_fail(t, __FILE__, __LINE__, "%s", unusable);
    describe_to(t);
    verdict = test->run(t);
    if (verdict == FAIL || !audit_text())
        return verdict;
    (void)snprintf(t->message, sizeof t->message, "%s", audit_text());
    return FAIL;
}

/* ---- options ---------------------------------------------------------------------- */

const struct mako_option *raw_option(size_t index)
{
    const char *rows = (const char *)raw_ops.options;

    return (const struct mako_option *)(const void *)(rows + index * raw_ops.option_size);
}

size_t raw_option_count(void)
{
    size_t count = 0;

    while (raw_ops.options && count < OPTIONS_MAX && raw_option(count)->name)
        count++;
    return count;
}

/* Read once: later there may be no descriptor left to read it with. */
static json_t *conf_root(struct trial *t)
{
    static json_t *root;

    if (!root)
        root = json_load_file(t->conf, 0, NULL);
    return root;
}

static json_t *conf_entry(struct trial *t)
{
    return json_object_get(json_object_get(conf_root(t), "stores"), "test");
}

/* ${NAME} and $$; other dollars stay. */
static char *expand(const char *text, const char *data)
{
    size_t len;
    char *out = NULL;
    FILE *f = open_memstream(&out, &len);

    while (f && *text) {
        const char *end = text[0] == '$' && text[1] == '{' ? strchr(text, '}') : NULL;
        char name[100];
        const char *value;

        if (!end) {
            text += text[0] == '$' && text[1] == '$';
            (void)fputc(*text++, f);
            continue;
        }
        (void)snprintf(name, sizeof name, "%.*s", (int)(end - text - 2), text + 2);
        value = strcmp(name, "MAKO_TEST_DIR") == 0 ? data : getenv(name);
        (void)fputs(value ? value : "", f);
        text = end + 1;
    }
    if (f)
        (void)fclose(f);
    return out;
}

static char *json_text(const json_t *value, const char *data)
{
    char *text = NULL;

    if (json_is_string(value))
        return expand(json_string_value(value), data);
    if (json_is_boolean(value))
        return strdup(json_is_true(value) ? "true" : "false");
    if (json_is_integer(value) &&
        asprintf(&text, "%lld", (long long)json_integer_value(value)) > 0)
        return text;
    return NULL;
}

/* Where the configuration stood before it was copied. */
static char *in_conf_dir(const json_t *root, const char *relative)
{
    const char *dir = json_string_value(json_object_get(root, "_conf_dir"));
    char *text = NULL;

    return asprintf(&text, "%s%s", dir ? dir : "", relative) > 0 ? text : NULL;
}

char *raw_option_text(struct trial *t, size_t index, const char *data)
{
    const struct mako_option *row = raw_option(index);
    const json_t *options = json_object_get(conf_entry(t), "options");
    char *text = json_text(json_object_get(options, row->name), data);

    if (text && row->type == MAKO_OPT_PATH && text[0] != '/') {
        char *relative = text;

        text = in_conf_dir(conf_root(t), relative);
        free(relative);
    }
    if (!text && row->fallback)
        text = strdup(row->fallback);
    return text;
}

static bool mentions_dir(const json_t *value)
{
    const char *text = json_string_value(value);

    return text && strstr(text, "${MAKO_TEST_DIR}");
}

static bool option_in_dir(struct trial *t, bool only_paths)
{
    const json_t *options = json_object_get(conf_entry(t), "options");
    bool found = false;

    for (size_t i = 0; i < raw_option_count(); i++)
        found |= (!only_paths || raw_option(i)->type == MAKO_OPT_PATH) &&
                 mentions_dir(json_object_get(options, raw_option(i)->name));
    return found;
}

bool raw_uses_dir(struct trial *t)
{
    return option_in_dir(t, false);
}

bool raw_path_in_dir(struct trial *t)
{
    return option_in_dir(t, true);
}

bool raw_allows_faults(struct trial *t)
{
    const json_t *said =
        json_object_get(json_object_get(conf_root(t), "_conformance"), "faults");

    return json_is_boolean(said) ? json_is_true(said) : raw_path_in_dir(t);
}

uint32_t raw_durability_asked(struct trial *t)
{
    static const char *const words[] = {"none", "memory", "crash", "power"};
    const char *word = json_string_value(json_object_get(conf_entry(t), "durability"));
    uint32_t asked = MAKO_DURABLE_POWER;

    for (uint32_t i = 0; word && i < 4; i++)
        if (strcmp(word, words[i]) == 0)
            asked = i;
    return asked;
}

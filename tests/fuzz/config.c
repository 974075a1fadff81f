/* tests/fuzz/config.c - the configuration file: any text is parsed or refused with a
 * sentence, and what is parsed is whole.  After a NUL come overrides, one a line.  Opens
 * no store: an input may name any path. */
#include "fuzz.h"

#include "config.h"

enum {
    OVERRIDES_MAX = 8
};

static void check_store(const struct mako_store_config *store)
{
    MUST(store->name && store->plugin && store->dir && store->plugin_dirs);
    MUST(mako_durability_name(store->durability));
    MUST((store->schema_min == 0) == (store->schema_max == 0));
    MUST(store->schema_min <= store->schema_max);
    for (size_t i = 0; i < store->option_count; i++)
        MUST(store->options[i].key);
}

static void read_store(const struct mako_config *config, const char *name,
                       const char *const *overrides)
{
    struct mako_store_config *store = NULL;
    struct mako_error err = {""};
    int status = mako_config_store(config, name, overrides, &store, &err);

    must_say(status, &err);
    MUST((status == MAKO_OK) == (store != NULL));
    if (store)
        check_store(store);
    mako_store_config_free(store);
}

static void read_stores(const struct mako_config *config, const char *const *overrides)
{
    size_t count = mako_config_count(config);

    for (size_t i = 0; i < count; i++) {
        read_store(config, mako_config_name(config, i), NULL);
        read_store(config, mako_config_name(config, i), overrides);
    }
    read_store(config, NULL, overrides);
}

/* The lines of text, which is cut up for it. */
static void split(char *text, const char *overrides[OVERRIDES_MAX + 1])
{
    size_t count = 0;
    char *rest = NULL;

    for (char *line = strtok_r(text, "\n", &rest); line && count < OVERRIDES_MAX;
         line = strtok_r(NULL, "\n", &rest))
        overrides[count++] = line;
    overrides[count] = NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = calloc(1, size + 2);
    const char *overrides[OVERRIDES_MAX + 1];
    struct mako_source source = {.struct_size = sizeof source, .json = text};
    struct mako_config *config = NULL;
    struct mako_error err = {""};
    int status;

    MUST(text);
    if (size > 0)
        memcpy(text, data, size);
    source.json_len = strlen(text);
    split(source.json_len < size ? text + source.json_len + 1 : text + size, overrides);
    status = mako_config_read(&source, &config, &err);
    must_say(status, &err);
    MUST((status == MAKO_OK) == (config != NULL));
    if (config)
        read_stores(config, overrides);
    mako_config_free(config);
    free(text);
    return 0;
}

/* tests/fuzz/config.c - the configuration file: any text is parsed or refused with a
 * sentence, and what is parsed is whole.  After a NUL come overrides, one a line.  Some
 * texts are read from a file as well, which must give the same.  Opens no store: an input
 * may name any path. */
#include "fuzz.h"

#include <unistd.h>

#include "config.h"

enum {
    OVERRIDES_MAX = 8,
    FILE_EVERY = 256 /* a file takes longer than a text */
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
    read_store(config, "not there", overrides);
    read_store(config, "_", NULL);
}

static char file_path[80];

static void remove_file(void)
{
    (void)unlink(file_path);
}

/* One for the life of the program. */
static FILE *open_file(void)
{
    const char *tmp = getenv("TMPDIR");
    int fd;

    if (file_path[0])
        return fopen(file_path, "we");
    (void)snprintf(file_path, sizeof file_path, "%.50s/mako-fuzz.XXXXXX",
                   tmp ? tmp : "/tmp");
    fd = mkstemp(file_path);
    MUST(fd >= 0 && atexit(remove_file) == 0);
    return fdopen(fd, "w");
}

/* The same from a file. */
static void read_file(const char *text, size_t len, int wanted)
{
    struct mako_source source = {.struct_size = sizeof source, .path = file_path};
    struct mako_config *config = NULL;
    struct mako_error err = {""};
    FILE *file = open_file();
    int status;

    MUST(file && fwrite(text, 1, len, file) == len && fclose(file) == 0);
    status = mako_config_read(&source, &config, &err);
    must_say(status, &err);
    MUST(status == wanted);
    mako_config_free(config);
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
    if (size % FILE_EVERY == 0)
        read_file(text, source.json_len, status);
    if (config)
        read_stores(config, overrides);
    mako_config_free(config);
    free(text);
    return 0;
}

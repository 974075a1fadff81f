/* core/config.h - the configuration file: JSON in, one struct a store out.
 *
 * Unknown, repeated and impossible things are refused here; what a plugin's options
 * mean is the business of options.h. */
#ifndef MAKO_CORE_CONFIG_H
#define MAKO_CORE_CONFIG_H

#include <stdbool.h>

#include <mako/snapshot.h>

/* A plugin option as written, before the plugin's table says what it is. */
enum mako_pair_kind {
    MAKO_PAIR_STRING, /* text */
    MAKO_PAIR_INT,    /* num */
    MAKO_PAIR_BOOL,   /* num, 0 or 1 */
    MAKO_PAIR_TEXT    /* text of an override: read as whatever the table wants */
};
struct mako_pair {
    char *key, *text;
    enum mako_pair_kind kind;
    int64_t num;
};

/* One store's entry, checked, defaults filled in.  Owns everything it points to. */
struct mako_store_config {
    char *source;       /* file name, or "(text)", for messages */
    char *dir;          /* absolute: where relative paths start */
    char *name;         /* the store's */
    char *plugin;       /* name or absolute path */
    char **plugin_dirs; /* NULL ends */
    uint32_t durability;
    uint32_t schema_min, schema_max; /* 0: none */
    bool stale_replace, fail_on_load_failure;
    uint64_t snapshot_every, max_snapshot, replay_limit, retry_after_ms;
    struct mako_pair *options;
    size_t option_count;
};

/* A parsed file. */
struct mako_config;

/* What jansson draws once, now: else the first document does, and a child that was forked
 * meanwhile would wait for it for ever. */
void mako_config_ready(void);
/* Parse and check the file as a whole; source->name and overrides are not looked at. */
MAKO_CHECKED int mako_config_read(const struct mako_source *source,
                                  struct mako_config **config, struct mako_error *err);
void mako_config_free(struct mako_config *config);

/* The stores in it, in the order of the file. */
size_t mako_config_count(const struct mako_config *config);
const char *mako_config_name(const struct mako_config *config, size_t index);
/* The directories to search for plugins, NULL ends; owned by config. */
char **mako_config_dirs(const struct mako_config *config);

/* The entry called name; NULL: the only one, or "default".  overrides as in struct
 * mako_source. */
MAKO_CHECKED int mako_config_store(const struct mako_config *config, const char *name,
                                   const char *const *overrides,
                                   struct mako_store_config **store,
                                   struct mako_error *err);
void mako_store_config_free(struct mako_store_config *store);

/* free() of a string that may be a password, which is not left behind.  NULL is fine. */
void mako_wipe_free(char *text);

/* "power" and so on; NULL for a number that is none. */
const char *mako_durability_name(uint32_t durability);

#endif

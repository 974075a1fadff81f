/* core/loader.h - finds, checks and maps store plugins; a registry for the life of the
 * process.  Nothing is ever unloaded. */
#ifndef MAKO_CORE_LOADER_H
#define MAKO_CORE_LOADER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <mako/snapshot.h>
#include <mako/store_plugin.h>

/* How long a struct was in the first version, whose last member that was. */
#define MAKO_FIRST_SIZE(type, last) \
    (offsetof(struct type, last) + sizeof(((struct type *)NULL)->last))

/* A plugin that passed every check. */
struct mako_plugin {
    struct mako_store_plugin ops; /* copied; members beyond the plugin's size are zero */
    /* Copied, option_count rows (at most 256) and an end row; not yet checked. */
    struct mako_option *options;
    size_t option_count;
    uint32_t built_size; /* struct_size of the plugin's own descriptor */
    char *path;
    pthread_mutex_t lock; /* for MAKO_THREADS_PLUGIN; error checking */
    atomic_bool lowered;  /* to that by an open, whatever ops.threads says */
    bool cut_off;         /* a fork left that lock, and what it guards, to nobody */
};

/* plugin: a name, searched in dirs (NULL ends; may be NULL), MAKO_PLUGIN_PATH and the
 * built-in directory; or an absolute path.  Errors are E_CONFIG (what was asked for) or
 * E_PLUGIN (what was found), with the file, the cause and both numbers. */
MAKO_CHECKED int mako_loader_get(char *const *dirs, const char *plugin,
                                 struct mako_plugin **out, struct mako_error *err);

/* Around a fork nobody loads or finds a plugin. */
void mako_loader_hold(void);
void mako_loader_release(void);
/* In the child, while it is held: plugins whose lock another thread has are cut off. */
void mako_loader_forked(void);

#endif

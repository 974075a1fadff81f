/* tests/loader/fixture.h - what the loader's tests share: a directory of their own,
 * copies of the bad plugins in it, and the two ways to ask for one.  Each test runs in
 * its own process, so the state behind this is one test's. */
#ifndef MAKO_TEST_LOADER_FIXTURE_H
#define MAKO_TEST_LOADER_FIXTURE_H

#include <criterion/criterion.h>

#include <mako/snapshot.h>
#include <mako/store_plugin.h>

/* For .init and .fini of every suite. */
void fixture_begin(void);
void fixture_end(void);

/* Leaves the test as skipped; Criterion does not run .fini then. */
void skip(const char *why);

/* A text that lives until the test ends. */
__attribute__((format(printf, 1, 2))) const char *text(const char *format, ...);

/* The test's own directory, or something below it. */
const char *scratch(void);
const char *below(const char *name);

/* Copy the plugin built for fault to path (mode 0755), or under its own name below
 * scratch().  Returns path. */
const char *copy_plugin(const char *fault, const char *path);
const char *install_plugin(const char *fault);
/* A file of these bytes; a directory.  Return path. */
const char *make_file(const char *path, const void *bytes, size_t len);
const char *make_dir(const char *path);
/* The bytes of a file, until the test ends. */
unsigned char *read_file(const char *path, size_t *len);

/* The configuration of one store; members is put into the store's object. */
const char *config_of(const char *plugin, const char *members);
/* Open it, with the durability that the plugins here promise, and so that a save is one
 * call of the plugin's save. */
int open_plugin(const char *plugin, const char *options, mako_store **store,
                struct mako_error *err);
/* A configuration file that looks for plugins in dirs, written as in JSON. */
const char *config_file(const char *dirs);
/* mako_plugin_describe(); value, where not NULL, gets what it says of key, or NULL. */
int describe(const char *config, const char *plugin, const char *key, const char **value,
             struct mako_error *err);
/* The same of a plugin that must be all right. */
const char *described(const char *config, const char *plugin, const char *key);

/* Both mako_store_open_json() and mako_plugin_describe() refuse it: this status, and
 * each of these fragments in the text.  No descriptor stays open. */
#define REFUSED(plugin, status, ...) \
    refused(plugin, status, (const char *const[]){__VA_ARGS__, NULL})
void refused(const char *plugin, int status, const char *const *fragments);
#define HAS(got, ...) has(got, (const char *const[]){__VA_ARGS__, NULL})
void has(const char *got, const char *const *fragments);

/* What was logged since the test began holds this fragment. */
bool logged(const char *fragment);

/* How often plugin objects were mapped, and entries called, in this process. */
int constructed(void);
int entered(void);

/* One byte of the trace pipe; '\0' where none comes within ms. */
struct trace {
    int out, in; /* the plugin writes to out */
};
struct trace make_trace(void);
char next_letter(const struct trace *trace, int ms);
/* Every letter so far, until the test ends. */
const char *letters(const struct trace *trace);

/* Go on as the user nobody, who then owns scratch(); skips the test where this process
 * is not root. */
void become_nobody(void);

#endif

/* tests/conformance/kit/kit.h - mako-conformance: what its parts know of each other.
 *
 * main.c reads the command line; cases.c knows which cases there are; conf.c finds the
 * plugin and makes one case's configuration; run.c gives each case a process; inside.c is
 * what happens in it; place.c compares the process before and after; report.c speaks. */
#ifndef MAKO_KIT_H
#define MAKO_KIT_H

#include <stdio.h>

#include "../cases.h"

enum kit_format {
    KIT_HUMAN,
    KIT_TAP,
    KIT_JUNIT
};

enum {
    KIT_FILTERS = 64
};

struct kit_options {
    const char *conf;   /* absolute */
    const char *plugin; /* --plugin, or NULL */
    const char *output; /* --output, or NULL: standard output */
    const char *level;  /* --level, or NULL: both */
    const char *filters[KIT_FILTERS + 1];
    enum kit_format format;
    unsigned timeout; /* seconds for a case */
    unsigned jobs;
    bool list, in_process, help, version;
    char binary[PATH_MAX];                       /* the plugin's file, found */
    const char *one, *root, *verdict_descriptor; /* how the program calls itself */
};

/* ---- cases ------------------------------------------------------------------------ */

struct kit_case {
    const char *level; /* "core" or "raw" */
    const struct test_case *test;
};

/* Those that the options ask for, in order; an entry without a test ends them. */
const struct kit_case *kit_cases(const struct kit_options *options);
/* LEVEL/NAME, or NULL. */
const struct kit_case *kit_case_named(const char *full);
void kit_case_name(const struct kit_case *c, char *out, size_t room);

/* ---- what becomes of a case ------------------------------------------------------- */

struct kit_result {
    enum verdict verdict;
    double seconds;
    char message[2048];
    char *output; /* what it printed; NULL: nothing */
};

/* ---- configurations --------------------------------------------------------------- */

/* Find the plugin's file, and see that the configuration can be used at all.  False: err
 * says why not. */
bool kit_conf_check(struct kit_options *options, struct mako_error *err);
/* Write to path the configuration as it is used by one case: the plugin is the file
 * found, relative paths start where they started.  paths: those of the plugin's options
 * as well, for which the library loads the plugin. */
bool kit_conf_write(const struct kit_options *options, const char *path, bool paths,
                    struct mako_error *err);

/* ---- running ---------------------------------------------------------------------- */

struct kit_report;

/* Every case in a process of its own; results go to the report in the cases' order.
 * 0: none failed, 1: some did, 2: they cannot be run. */
int kit_run(const struct kit_options *options, const struct kit_case *cases,
            struct kit_report *report);
/* One case in this process, for a debugger; 2: it cannot be run. */
int kit_run_in_process(const struct kit_options *options, const struct kit_case *c,
                       struct kit_report *report);

/* In the case's own process: what kit_run() waits for.  The program's exit status. */
int kit_inside(struct kit_options *options);
/* root is an empty directory. */
enum verdict kit_inside_case(const struct kit_options *options, const struct kit_case *c,
                             const char *root, struct trial *t);

/* A case of level raw: t is prepared; path is the plugin. */
enum verdict kit_raw_case(const struct test_case *test, const char *path,
                          struct trial *t);

/* What the kit removes of its own accord: a directory and all that is in it. */
void kit_clear(const char *root);

/* ---- the process before and after ------------------------------------------------- */

/* What a plugin must leave as it was. */
struct place {
    char cwd[PATH_MAX];
    char locale[256];
    unsigned umask;
    unsigned long long signals; /* a hash of mask and dispositions */
    unsigned threads, descriptors;
    char open[2048]; /* the descriptors' targets, for the message */
};

void place_note(struct place *place);
/* False: why says what is different.  settled: threads and descriptors are compared as
 * well, which must be gone now, or within seconds where the kernel takes its time. */
bool place_same(const struct place *before, bool settled, char *why, size_t room);

/* ---- reports ---------------------------------------------------------------------- */

struct kit_report *kit_report_open(const struct kit_options *options, size_t count,
                                   struct mako_error *err);
void kit_report_add(struct kit_report *report, const struct kit_case *c,
                    const struct kit_result *result);
/* Whether a case failed, or the report could not be written. */
bool kit_report_close(struct kit_report *report);

#endif

/* cli/cli.h - what the files of mako-snapshot share: commands, their arguments, exit
 * codes, and how things are shown to people and to machines.
 *
 * The program uses the public headers only.  It gives up where memory runs out: nothing
 * that it holds is worth saving. */
#ifndef MAKO_CLI_H
#define MAKO_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <mako/snapshot.h>

enum exit_code {
    EXIT_DONE = 0,
    EXIT_NOTHING = 1, /* nothing usable there, or something there is wrong */
    EXIT_USAGE = 2,   /* command line, configuration, files named there */
    EXIT_STORE = 3    /* the store failed */
};

/* ---- args.c: the command line ------------------------------------------------ */

/* The values of all options of all commands, each as its row in a table says. */
struct args {
    const char *config, *store;
    const char **overrides; /* NULL ends */
    size_t override_count;
    bool json;
    bool force, verify;
    bool version;
    const char *kind, *output, *prefix;
    uint64_t sequence, anchor, schema;
    uint32_t schema_min, schema_max;
    const char *operands[2];
    size_t operand_count;
};

enum arg_kind {
    ARG_FLAG,   /* bool */
    ARG_TEXT,   /* const char * */
    ARG_NUMBER, /* uint64_t, min to max */
    ARG_RANGE,  /* MIN[-MAX] into two uint32_t */
    ARG_LIST,   /* appended to overrides */
    ARG_HELP
};

/* One option: the parser, the help and the tests of the manual page read this row. */
struct arg_option {
    const char *name;
    int letter; /* 0: none */
    enum arg_kind kind;
    bool required;
    size_t offset;     /* in struct args */
    const char *value; /* what the help calls it */
    const char *help;
    uint64_t min, max; /* of ARG_NUMBER */
};

struct command {
    const char *name, *operands, *summary, *about;
    const struct arg_option *options; /* name NULL ends; may be NULL */
    size_t operands_min, operands_max;
    int (*run)(const struct args *args);
};

/* Every command; run NULL ends.  commands[0] stands for the program itself. */
extern const struct command *const cli_commands[];

/* Read the options of command into args.  Negative: go on; else leave with that exit
 * code.  A command of the program itself stops at the first operand, whose index is
 * then *next. */
int args_read(const struct command *command, int argc, char **argv, struct args *args,
              int *next);
void args_free(struct args *args);

/* Say what is wrong with the command line.  Returns EXIT_USAGE. */
__attribute__((format(printf, 2, 3))) int usage_error(const struct command *command,
                                                      const char *format, ...);

/* ---- show.c: output ----------------------------------------------------------- */

/* One line on standard error, control characters escaped. */
__attribute__((format(printf, 1, 2))) void warn(const char *format, ...);
/* The same as a failure; returns code. */
__attribute__((format(printf, 2, 3))) int complain(int code, const char *format, ...);
/* Where the library's own messages go, see mako_set_log(). */
void log_line(void *arg, int level, const char *message);

enum colour {
    COLOUR_PLAIN,
    COLOUR_BOLD,
    COLOUR_GOOD,
    COLOUR_WARN,
    COLOUR_BAD
};
/* The escape sequence, or "" where out is no terminal or NO_COLOR is set. */
const char *colour(FILE *out, enum colour which);

/* A copy for people's eyes: control characters and what is not UTF-8 as \xNN. */
char *printable(const char *text, size_t len);
/* Columns that such a copy takes. */
size_t columns(const char *text);

struct shown {
    char text[48];
};
struct shown show_size(uint64_t bytes);     /* "1.5 KiB" */
struct shown show_age(int64_t created_ms);  /* "3 d 4 h"; "?" where not known */
struct shown show_time(int64_t created_ms); /* "2026-01-31 12:00:00 UTC" */
struct shown show_anchor(uint64_t anchor);  /* "0x00..."; "none" for 0 */
struct shown show_count(uint64_t value);    /* "13087" */

/* "key  value", keys aligned. */
void show_line(FILE *out, const char *key, const char *value);
/* JSON has no room for more than 63 bits: larger ones become decimal strings. */
json_t *json_count(uint64_t value);
/* A string; what is not UTF-8 in it as \xNN. */
json_t *json_text(const char *text);
/* The members of meta as members of object. */
void json_meta(json_t *object, const struct mako_meta *meta);
/* Put value, whose reference is taken, into object. */
void json_put(json_t *object, const char *key, json_t *value);
/* How jansson writes to out: any value, and to a terminal in ASCII, since an id may have
 * C1 control characters, which JSON does not escape. */
size_t json_flags(FILE *out);
/* One document and a newline; takes the reference. */
void json_print(FILE *out, json_t *document);

/* A bar on standard error where that is a terminal; nothing elsewhere, nor where part,
 * 0 to 1, is negative: not known. */
void progress(const char *what, double part);
void progress_end(void);

_Noreturn void no_memory(void);
void *must_alloc(void *old, size_t size); /* realloc() that does not fail */
char *must_copy(const char *text, size_t len);

/* ---- store.c: the store that the command line names ---------------------------- */

/* The exit code for a status of the library. */
int exit_of(int status);
/* complain() with the library's sentence and its exit code. */
int failed(int status, const struct mako_error *err);
/* The same about one stream. */
int failed_on(const char *stream, int status, const struct mako_error *err);

/* --config, or the environment's; NULL where neither is there. */
const char *config_path(const struct args *args);
/* What the command line says of the configuration.  EXIT_DONE or EXIT_USAGE. */
int source_of(const struct args *args, struct mako_source *source);
/* EXIT_DONE sets *store; else it has complained. */
int store_of(const struct args *args, mako_store **store);
/* The same, only to read: where the plugin can, beside a program that has it open. */
int store_to_read(const struct args *args, mako_store **store);

/* One entry of a listing. */
struct listed {
    char *stream;
    struct mako_meta meta;
    uint64_t size;
    size_t sight; /* how many the scan showed before it */
};
struct listing {
    struct listed *entries;
    size_t count, room;
};
/* All streams with prefix (NULL: all), sorted bytewise, each once. */
int listing_read(mako_store *store, const char *prefix, struct listing *listing);
void listing_free(struct listing *listing);

/* All of in, at most limit bytes; the caller's memory. */
int read_all(const char *name, size_t limit, char **bytes, size_t *len);

/* A file that appears whole or not at all: written beside its name, then renamed.
 * "-" is standard output; what is there and no regular file is written in place. */
struct output {
    FILE *file;
    char *path, *temporary; /* NULL: nothing to rename */
};
int output_open(const char *path, struct output *output);
int output_close(struct output *output, bool keep);

#endif

/* cli/args.c - the command line: options by table, values checked, the help text.
 *
 * Every option is one row of a table.  Parser, --help and the test that compares the
 * manual page with --help all follow from the rows. */
#include "cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum {
    ROWS_MAX = 24,
    ROW_BASE = 256 /* getopt_long's value for row 0: beyond every letter */
};

static const struct arg_option common_options[] = {
    {"config", 'c', ARG_TEXT, false, offsetof(struct args, config), "FILE",
     "configuration file (else the environment's MAKO_SNAPSHOT_CONFIG)", 0, 0},
    {"store", 's', ARG_TEXT, false, offsetof(struct args, store), "STORE",
     "store of that file (else the only one, or \"default\")", 0, 0},
    {"option", 'o', ARG_LIST, false, offsetof(struct args, overrides), "KEY=VALUE",
     "override an option of the store's plugin; may be repeated", 0, 0},
    {"json", 0, ARG_FLAG, false, offsetof(struct args, json), NULL,
     "print one JSON document for machines", 0, 0},
    {"help", 'h', ARG_HELP, false, 0, NULL, "show this text and leave", 0, 0},
    {NULL, 0, ARG_FLAG, false, 0, NULL, NULL, 0, 0},
};

/* The rows of one command in the two forms that are needed. */
struct rows {
    const struct arg_option *row[ROWS_MAX];
    size_t count;
    struct option longs[ROWS_MAX + 1];
    char shorts[2 * ROWS_MAX + 3];
};

static bool takes_value(const struct arg_option *row)
{
    return row->kind != ARG_FLAG && row->kind != ARG_HELP;
}

static void add_rows(struct rows *rows, const struct arg_option *options)
{
    for (; options && options->name && rows->count < ROWS_MAX; options++)
        rows->row[rows->count++] = options;
}

static void rows_of(const struct command *command, struct rows *rows)
{
    size_t at = 0;

    memset(rows, 0, sizeof *rows);
    add_rows(rows, command->options);
    add_rows(rows, common_options);
    if (!command->run)
        rows->shorts[at++] = '+'; /* stop at the command's name */
    rows->shorts[at++] = ':';
    for (size_t i = 0; i < rows->count; i++) {
        const struct arg_option *row = rows->row[i];

        rows->longs[i] =
            (struct option){row->name, takes_value(row) ? required_argument : no_argument,
                            NULL, ROW_BASE + (int)i};
        if (row->letter)
            rows->shorts[at++] = (char)row->letter;
        if (row->letter && takes_value(row))
            rows->shorts[at++] = ':';
    }
}

/* The row of what getopt_long() returned; count where there is none. */
static size_t row_at(const struct rows *rows, int value)
{
    size_t i = 0;

    if (value >= ROW_BASE)
        return (size_t)(value - ROW_BASE);
    while (i < rows->count && (!value || rows->row[i]->letter != value))
        i++;
    return i;
}

int usage_error(const struct command *command, const char *format, ...)
{
    const char *name = command->run ? command->name : "";
    const char *gap = *name ? " " : "";
    char text[1024];
    va_list list;

    va_start(list, format);
    (void)vsnprintf(text, sizeof text, format, list);
    va_end(list);
    return complain(EXIT_USAGE, "%s%s%s (see mako-snapshot%s%s --help)", name,
                    *name ? ": " : "", text, gap, name);
}

/* Digits, or 0x and hexadecimal ones, up to where end is set. */
static bool read_number(const char *text, const char **end, uint64_t *value)
{
    bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    const char *digits = hex ? text + 2 : text;
    char *stop = NULL;

    if (!strchr(hex ? "0123456789abcdefABCDEF" : "0123456789", *digits) || !*digits)
        return false;
    errno = 0;
    *value = strtoull(digits, &stop, hex ? 16 : 10);
    *end = stop;
    return errno == 0;
}

static bool set_number(const struct arg_option *row, const char *text, uint64_t *value)
{
    const char *end = NULL;
    uint64_t number = 0;

    if (!read_number(text, &end, &number) || *end || number < row->min ||
        number > row->max)
        return false;
    *value = number;
    return true;
}

static bool set_range(const char *text, uint32_t *range)
{
    const char *end = NULL;
    uint64_t low = 0, high = 0;

    if (!read_number(text, &end, &low))
        return false;
    high = low;
    if (*end == '-' && !read_number(end + 1, &end, &high))
        return false;
    if (*end || low == 0 || low > high || high > UINT32_MAX)
        return false;
    range[0] = (uint32_t)low;
    range[1] = (uint32_t)high;
    return true;
}

static void append(struct args *args, const char *text)
{
    size_t size = (args->override_count + 2) * sizeof *args->overrides;

    args->overrides = must_alloc(args->overrides, size);
    args->overrides[args->override_count++] = text;
    args->overrides[args->override_count] = NULL;
}

/* Put text where the row says; negative: done. */
static int set_value(const struct command *command, const struct arg_option *row,
                     const char *text, struct args *args)
{
    void *place = (char *)args + row->offset;

    switch (row->kind) {
    case ARG_FLAG:
        *(bool *)place = true;
        return -1;
    case ARG_TEXT:
        *(const char **)place = text;
        return -1;
    case ARG_NUMBER:
        if (set_number(row, text, place))
            return -1;
        return usage_error(command, "--%s: '%s' is no number from %ju to %ju", row->name,
                           text, (uintmax_t)row->min, (uintmax_t)row->max);
    case ARG_RANGE:
        if (set_range(text, place))
            return -1;
        return usage_error(command, "--%s: '%s' is no version (3) or range of them (3-5)",
                           row->name, text);
    case ARG_LIST:
        if (strchr(text, '=') && *text != '=') {
            append(args, text);
            return -1;
        }
        return usage_error(command, "--%s: '%s' is not KEY=VALUE", row->name, text);
    case ARG_HELP:
    default:
        return EXIT_DONE;
    }
}

static void help_rows(const struct arg_option *options)
{
    for (; options && options->name; options++) {
        char left[64], letter[5] = "    ";

        if (options->letter)
            (void)snprintf(letter, sizeof letter, "-%c, ", options->letter);
        (void)snprintf(left, sizeof left, "%s--%s%s%s", letter, options->name,
                       options->value ? " " : "", options->value ? options->value : "");
        printf("  %-26s  %s%s\n", left, options->help,
               options->required ? " (required)" : "");
    }
}

static void help_commands(void)
{
    printf("\nCommands:\n");
    for (size_t i = 1; cli_commands[i]; i++)
        printf("  %-26s  %s\n", cli_commands[i]->name, cli_commands[i]->summary);
    printf("\n'mako-snapshot COMMAND --help' tells more.\n");
}

static int help(const struct command *command)
{
    printf("Usage: mako-snapshot %s%s[OPTION]... %s\n\n%s\n\nOptions:\n",
           command->run ? command->name : "", command->run ? " " : "", command->operands,
           command->about);
    help_rows(command->options);
    help_rows(common_options);
    if (!command->run)
        help_commands();
    printf("\nExit codes: 0 done; 1 nothing usable there; 2 usage or configuration;\n"
           "3 the store failed.\n");
    return EXIT_DONE;
}

/* getopt_long() refused something: what? */
static int refused(const struct command *command, const struct rows *rows, int value,
                   char *const *argv)
{
    size_t at = row_at(rows, optopt);

    if (value == ':' && at < rows->count)
        return usage_error(command, "--%s needs a value: %s", rows->row[at]->name,
                           rows->row[at]->value);
    if (optopt >= ROW_BASE && at < rows->count)
        return usage_error(command, "--%s takes no value", rows->row[at]->name);
    if (optopt)
        return usage_error(command, "unknown option '-%c'", optopt);
    return usage_error(command, "unknown or ambiguous option '%s'", argv[optind - 1]);
}

static int read_options(const struct command *command, const struct rows *rows, int argc,
                        char **argv, struct args *args)
{
    bool seen[ROWS_MAX] = {false};
    int value, result;

    opterr = 0;
    optind = 0; /* glibc: begin anew */
    while ((value = getopt_long(argc, argv, rows->shorts, rows->longs, NULL)) != -1) {
        size_t at = row_at(rows, value);

        if (value == '?' || value == ':')
            return refused(command, rows, value, argv);
        if (at >= rows->count)
            return usage_error(command, "unknown option");
        if (rows->row[at]->kind == ARG_HELP)
            return help(command);
        result = set_value(command, rows->row[at], optarg, args);
        if (result >= 0)
            return result;
        seen[at] = true;
    }
    for (size_t i = 0; i < rows->count; i++)
        if (rows->row[i]->required && !seen[i])
            return usage_error(command, "--%s %s is needed", rows->row[i]->name,
                               rows->row[i]->value);
    return -1;
}

int args_read(const struct command *command, int argc, char **argv, struct args *args,
              int *next)
{
    struct rows rows;
    int result;

    rows_of(command, &rows);
    result = read_options(command, &rows, argc, argv, args);
    if (result >= 0)
        return result;
    *next = optind;
    if (!command->run)
        return -1;
    for (int i = optind; i < argc; i++) {
        if (args->operand_count == command->operands_max)
            return usage_error(command, "'%s' is one operand too many", argv[i]);
        args->operands[args->operand_count++] = argv[i];
    }
    if (args->operand_count < command->operands_min)
        return usage_error(command, "an operand is missing: %s", command->operands);
    return -1;
}

void args_free(struct args *args)
{
    free(args->overrides);
    args->overrides = NULL;
}

/* mako-conformance - whether a store plugin keeps the contract of mako/store_plugin.h.
 *
 * Takes a configuration whose store is called "test" and runs every case on it.  Every
 * option is one row of a table; parser, --help and the test that compares the manual page
 * with --help follow from the rows. */
#include "kit.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    SECONDS_A_CASE = 120,
    JOBS_MAX = 64
};

enum option_value {
    OPT_PLUGIN = 'p',
    OPT_FORMAT = 'f',
    OPT_OUTPUT = 'o',
    OPT_JOBS = 'j',
    OPT_LIST = 'l',
    OPT_HELP = 'h',
    OPT_VERSION = 'V',
    OPT_LEVEL = 256,
    OPT_FILTER,
    OPT_TIMEOUT,
    OPT_IN_PROCESS,
    OPT_ONE, /* from here on: how the program calls itself */
    OPT_ROOT,
    OPT_VERDICT
};

static const struct {
    const char *name;
    int value;
    const char *word; /* of its argument; NULL: takes none */
    const char *help; /* NULL: not for people */
} rows[] = {
    {"plugin", OPT_PLUGIN, "FILE", "the plugin, in place of the one that CONFIG names"},
    {"level", OPT_LEVEL, "LEVEL", "core or raw (default: both)"},
    {"filter", OPT_FILTER, "PATTERN",
     "only cases whose LEVEL/NAME or NAME is like this; may be repeated"},
    {"list", OPT_LIST, NULL, "print the names of the cases, and run none"},
    {"format", OPT_FORMAT, "FORMAT", "human, tap or junit (default: human)"},
    {"output", OPT_OUTPUT, "FILE",
     "write the report to FILE; on standard output say how it goes"},
    {"timeout", OPT_TIMEOUT, "SECONDS", "time for one case (default: 120)"},
    {"jobs", OPT_JOBS, "N", "cases to run at once (default: 1)"},
    {"in-process", OPT_IN_PROCESS, NULL,
     "run one case in this process, without a time limit: for a debugger"},
    {"help", OPT_HELP, NULL, "show this text and leave"},
    {"version", OPT_VERSION, NULL, "print the version and leave"},
    {"one-case", OPT_ONE, "CASE", NULL},
    {"case-root", OPT_ROOT, "DIR", NULL},
    {"verdict-descriptor", OPT_VERDICT, "N", NULL},
};

enum {
    ROWS = sizeof rows / sizeof rows[0]
};

static void print_help(void)
{
    printf("usage: mako-conformance [OPTION]... CONFIG\n"
           "       mako-conformance --list\n\n"
           "Runs a store plugin through every rule of mako/store_plugin.h.  CONFIG is a\n"
           "configuration file whose store is called \"test\"; in it, ${MAKO_TEST_DIR} "
           "is a\n"
           "new, empty directory for each case.\n\n");
    for (size_t i = 0; i < ROWS; i++) {
        char left[60];

        if (!rows[i].help)
            continue;
        (void)snprintf(
            left, sizeof left, "%c%c%s --%s%s%s", rows[i].value < 256 ? '-' : ' ',
            rows[i].value < 256 ? rows[i].value : ' ', rows[i].value < 256 ? "," : " ",
            rows[i].name, rows[i].word ? " " : "", rows[i].word ? rows[i].word : "");
        printf("  %-24s  %s\n", left, rows[i].help);
    }
    printf("\nExit status: 0 all passed, 1 some failed, 2 usage or configuration.\n");
}

__attribute__((format(printf, 1, 2))) static int usage(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)fputs("mako-conformance: ", stderr);
    (void)vfprintf(stderr, format, args);
    (void)fputs(" (see mako-conformance --help)\n", stderr);
    va_end(args);
    return 2;
}

static bool number(const char *text, unsigned most, unsigned *out)
{
    char *end = NULL;
    unsigned long value;

    errno = 0;
    value = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno != 0 || value < 1 || value > most)
        return false;
    *out = (unsigned)value;
    return true;
}

static int set_format(struct kit_options *options, const char *word)
{
    static const char *const words[] = {"human", "tap", "junit"};

    for (int i = 0; i < 3; i++)
        if (strcmp(words[i], word) == 0) {
            options->format = (enum kit_format)i;
            return 0;
        }
    return usage("--format: '%s' is none of human, tap, junit", word);
}

static int set_level(struct kit_options *options, const char *word)
{
    if (strcmp(word, "core") != 0 && strcmp(word, "raw") != 0)
        return usage("--level: '%s' is none of core, raw", word);
    options->level = word;
    return 0;
}

static int add_filter(struct kit_options *options, const char *pattern)
{
    size_t used = 0;

    while (options->filters[used])
        used++;
    if (used == KIT_FILTERS)
        return usage("--filter: more than %d patterns", KIT_FILTERS);
    options->filters[used] = pattern;
    return 0;
}

static int set_word(struct kit_options *options, int value, const char *word)
{
    switch (value) {
    case OPT_PLUGIN:
        options->plugin = word;
        return 0;
    case OPT_OUTPUT:
        options->output = word;
        return 0;
    case OPT_LEVEL:
        return set_level(options, word);
    case OPT_FILTER:
        return add_filter(options, word);
    case OPT_FORMAT:
        return set_format(options, word);
    case OPT_TIMEOUT:
        return number(word, 86400, &options->timeout)
                   ? 0
                   : usage("--timeout: '%s' is no number of seconds", word);
    case OPT_JOBS:
        return number(word, JOBS_MAX, &options->jobs)
                   ? 0
                   : usage("--jobs: '%s' is no number from 1 to %d", word, JOBS_MAX);
    case OPT_ONE:
        options->one = word;
        return 0;
    case OPT_ROOT:
        options->root = word;
        return 0;
    default:
        options->verdict_descriptor = word;
        return 0;
    }
}

static void set_flag(struct kit_options *options, int value)
{
    options->list |= value == OPT_LIST;
    options->help |= value == OPT_HELP;
    options->version |= value == OPT_VERSION;
    options->in_process |= value == OPT_IN_PROCESS;
}

static int read_options(int argc, char **argv, struct kit_options *options)
{
    struct option longs[ROWS + 1] = {{NULL, 0, NULL, 0}};
    int value, at = 0, bad = 0;

    for (int i = 0; i < ROWS; i++)
        longs[i] =
            (struct option){rows[i].name, rows[i].word ? required_argument : no_argument,
                            NULL, rows[i].value};
    opterr = 0;
    while (!bad && (value = getopt_long(argc, argv, ":p:f:o:j:lhV", longs, &at)) != -1) {
        if (value == '?')
            return usage("no option '%s'", argv[optind - 1]);
        if (value == ':')
            return usage("'%s' needs a value", argv[optind - 1]);
        if (optarg)
            bad = set_word(options, value, optarg);
        else
            set_flag(options, value);
    }
    return bad;
}

static int list(const struct kit_case *cases)
{
    for (; cases->test; cases++)
        printf("%s/%s\n", cases->level, cases->test->name);
    return 0;
}

static size_t count(const struct kit_case *cases)
{
    size_t n = 0;

    while (cases[n].test)
        n++;
    return n;
}

static int run(struct kit_options *options, const struct kit_case *cases)
{
    struct mako_error err = {""};
    struct kit_report *report;
    int result;

    if (!kit_conf_check(options, &err)) {
        (void)fprintf(stderr, "mako-conformance: %s\n", err.text);
        return 2;
    }
    report = kit_report_open(options, count(cases), &err);
    if (!report) {
        (void)fprintf(stderr, "mako-conformance: %s\n", err.text);
        return 2;
    }
    result = options->in_process ? kit_run_in_process(options, cases, report)
                                 : kit_run(options, cases, report);
    if (kit_report_close(report) && result == 0)
        return 1;
    return result;
}

/* Descriptors that a careless parent left open would look like a plugin's. */
static void close_inherited(void)
{
    if (close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) != 0)
        for (int fd = 3; fd < 256; fd++)
            (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
}

int main(int argc, char **argv)
{
    static struct kit_options options = {.timeout = SECONDS_A_CASE, .jobs = 1};
    static char conf[PATH_MAX];
    const struct kit_case *cases;

    if (read_options(argc, argv, &options))
        return 2;
    if (options.help)
        print_help();
    else if (options.version)
        printf("mako-conformance %s\n", mako_version());
    if (options.help || options.version)
        return 0;
    cases = kit_cases(&options);
    if (!cases[0].test)
        return usage("there is no such case");
    if (options.list)
        return list(cases);
    if (optind != argc - 1)
        return usage("%s", optind >= argc ? "a configuration file is needed"
                                          : "one configuration file, not several");
    if (!realpath(argv[optind], conf))
        return usage("%s: %s", argv[optind], strerror(errno));
    if (options.in_process && cases[1].test)
        return usage("--in-process is for one case, which --filter chooses");
    options.conf = conf;
    if (options.one)
        return kit_inside(&options);
    close_inherited();
    return run(&options, cases);
}

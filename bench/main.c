/* bench/main.c - mako-bench: which groups to run, where, and how the figures are shown.
 * What is measured is in the file of each group. */
#include "child.h"
#include "groups.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mako/snapshot.h>
#include <mako/store_plugin.h>

enum {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2
};

struct group {
    const char *name, *about;
    bool usual; /* run where none is named */
    int (*run)(struct bench *bench, struct mako_error *err);
};

/* Redis before those that give back large pieces of memory: after that malloc() keeps
 * what hiredis would otherwise ask the kernel for each time. */
static const struct group groups[] = {
    {"core", "what the core adds to a plugin's own calls", true, bench_core},
    {"memory", "loads and saves of the memory store", true, bench_memory},
    {"redis", "the Redis store, against bare hiredis", true, bench_redis},
    {"file", "the file store, against embedded databases", true, bench_file},
    {"million", "the same with a million streams; openings", true, bench_million},
    {"space", "disk after ten overwrites; compaction", true, bench_space},
    {"replay", "the tool replaying a long event log", true, bench_replay},
    {"rehydrate", "one long stream, with its snapshot and without", true,
     bench_rehydrate},
    {"peers", "durable saves, 1 to 64 threads, 256 bytes to 1 MiB", false, bench_matrix},
    {"scale", "ten million streams", false, bench_scale},
};
#define GROUP_COUNT (sizeof groups / sizeof groups[0])

struct settings {
    bool json, help;
    const char *parent; /* where the run's directory is made */
    bool chosen[GROUP_COUNT];
};

/* ---- showing ------------------------------------------------------------------------
 */

static void print_help(FILE *out)
{
    (void)fputs("usage: mako-bench [--json] [--quick] [--dir DIR] [GROUP...]\n\n"
                "  --json     one JSON object, name -> number\n"
                "  --quick    tiny sizes: shows that everything works, measures nothing\n"
                "  --dir DIR  where the run's files go (default: the working directory;\n"
                "             the figures of the file store are those of this disk)\n"
                "  --help     this text\n\nGroups (default: those with a star):\n",
                out);
    for (size_t i = 0; i < GROUP_COUNT; i++)
        (void)fprintf(out, "  %c %-9s %s\n", groups[i].usual ? '*' : ' ', groups[i].name,
                      groups[i].about);
}

static const char *goal_sign(enum bench_goal goal)
{
    static const char *const signs[] = {"", "<", "<=", ">="};

    return signs[goal];
}

static bool goal_met(const struct bench_figure *figure)
{
    switch (figure->spec.goal) {
    case BENCH_BELOW:
        return figure->median < figure->spec.target;
    case BENCH_AT_MOST:
        return figure->median <= figure->spec.target;
    case BENCH_AT_LEAST:
        return figure->median >= figure->spec.target;
    case BENCH_NO_TARGET:
        break;
    }
    return true;
}

/* Digits enough to compare with a target, and no more. */
static int digits(double value)
{
    return value >= 1000 ? 0 : value >= 10 ? 1 : 3;
}

static void print_row(const struct bench_figure *figure)
{
    int d = digits(figure->median);

    (void)printf("%-40s %12.*f %12.*f %12.*f  %-5s", figure->spec.name, d, figure->median,
                 d, figure->min, d, figure->max, figure->spec.unit);
    if (figure->spec.goal != BENCH_NO_TARGET)
        (void)printf("  %2s %-6g %s", goal_sign(figure->spec.goal), figure->spec.target,
                     goal_met(figure) ? "met" : "MISSED");
    (void)putchar('\n');
    (void)fflush(stdout);
}

static void print_json(const struct bench *bench)
{
    (void)putchar('{');
    for (size_t i = 0; i < bench->figure_count; i++)
        (void)printf("%s\n  \"%s\": %.6g", i ? "," : "", bench->figures[i].spec.name,
                     bench->figures[i].median);
    (void)puts("\n}");
}

/* ---- the run's surroundings -----------------------------------------------------------
 */

/* The library's warnings are known here (noop keeps nothing); its errors are not. */
static void log_errors(void *arg, int level, const char *message)
{
    (void)arg;
    if (level == MAKO_LOG_ERROR)
        (void)fprintf(stderr, "mako-bench: %s\n", message);
}

static void on_signal(int number)
{
    (void)number;
    bench_interrupt();
}

/* So that the run's directory is removed then, too. */
static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

/* The directory of this very program; the plugins of the same build are found from it,
 * unless MAKO_PLUGIN_PATH names others. */
static int find_tools(struct bench *bench, struct mako_error *err)
{
    char *program = realpath("/proc/self/exe", NULL), *plugins;
    char *slash = program ? strrchr(program, '/') : NULL;

    if (!slash) {
        free(program);
        return mako_fail(err, MAKO_E_IO, "/proc/self/exe: %s", strerror(errno));
    }
    *slash = '\0';
    bench->tools_dir = program;

    plugins = bench_path(program, "../lib/mako-snapshot");
    if (!plugins)
        return mako_fail(err, MAKO_E_NOMEM, "no memory for a path");
    if (access(plugins, X_OK) == 0)
        (void)setenv("MAKO_PLUGIN_PATH", plugins, 0);
    free(plugins);
    return MAKO_OK;
}

static int make_dir(struct bench *bench, const char *parent, struct mako_error *err)
{
    char *absolute = realpath(parent, NULL);
    char *dir = absolute ? bench_path(absolute, "mako-bench-XXXXXX") : NULL;

    free(absolute);
    if (!dir || !mkdtemp(dir)) {
        int status = mako_fail(err, MAKO_E_IO, "no directory in '%s': %s", parent,
                               strerror(errno));

        free(dir);
        return status;
    }
    bench->dir = dir;
    return MAKO_OK;
}

/* ---- running
 * --------------------------------------------------------------------------- */

static int run_groups(struct bench *bench, const struct settings *settings,
                      struct mako_error *err)
{
    int status = MAKO_OK;

    if (!settings->json) {
        bench->show = print_row;
        (void)printf("%-40s %12s %12s %12s  %-5s  %s\n", "figure", "median", "min", "max",
                     "unit", "target");
    }
    for (size_t i = 0; i < GROUP_COUNT && status == MAKO_OK; i++)
        if (settings->chosen[i])
            status = groups[i].run(bench, err);
    if (status == MAKO_OK && settings->json)
        print_json(bench);
    return status;
}

static int run(struct bench *bench, const struct settings *settings)
{
    struct mako_error err = {""}, cleaning = {""};
    int status = find_tools(bench, &err);

    if (status == MAKO_OK)
        status = make_dir(bench, settings->parent, &err);
    if (status == MAKO_OK) {
        status = run_groups(bench, settings, &err);
        if (bench_remove_tree(bench->dir, &cleaning) != MAKO_OK)
            (void)fprintf(stderr, "mako-bench: %s\n", cleaning.text);
    }
    if (status != MAKO_OK)
        (void)fprintf(stderr, "mako-bench: %s: %s\n", mako_status_name(status), err.text);
    free(bench->tools_dir);
    free(bench->dir);
    return status == MAKO_OK ? EXIT_DONE : EXIT_FAILED;
}

/* ---- arguments
 * --------------------------------------------------------------------------- */

static bool choose(struct settings *settings, const char *name)
{
    for (size_t i = 0; i < GROUP_COUNT; i++)
        if (strcmp(groups[i].name, name) == 0)
            return settings->chosen[i] = true;
    (void)fprintf(stderr, "mako-bench: no group '%s'; see --help\n", name);
    return false;
}

static bool parse(int argc, char **argv, struct settings *settings, bool *quick)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'},
        {"quick", no_argument, NULL, 'q'},
        {"dir", required_argument, NULL, 'd'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int letter;

    while ((letter = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (letter == 'j')
            settings->json = true;
        else if (letter == 'q')
            *quick = true;
        else if (letter == 'd')
            settings->parent = optarg;
        else if (letter == 'h')
            settings->help = true;
        else
            return false;
    }
    for (size_t i = 0; optind == argc && i < GROUP_COUNT; i++)
        settings->chosen[i] = groups[i].usual || *quick;
    for (int i = optind; i < argc; i++)
        if (!choose(settings, argv[i]))
            return false;
    return true;
}

int main(int argc, char **argv)
{
    static struct bench bench;
    struct settings settings = {.parent = "."};

    if (argc > 2 && strcmp(argv[1], BENCH_CHILD) == 0) {
        mako_set_log(log_errors, NULL);
        return bench_child_main(argc - 2, argv + 2);
    }
    if (!parse(argc, argv, &settings, &bench.quick))
        return EXIT_USAGE;
    if (settings.help) {
        print_help(stdout);
        return EXIT_DONE;
    }
    if (*bench_peers_missing())
        (void)fprintf(stderr, "mako-bench: built without%s: NOT MEASURED\n",
                      bench_peers_missing());
    catch_signals();
    mako_set_log(log_errors, NULL);
    return run(&bench, &settings);
}

/* cli/main.c - mako-snapshot: which command, and what the program says of itself. */
#include "cli.h"

#include <errno.h>
#include <string.h>

#include "commands.h"

static const struct arg_option program_options[] = {
    {"version", 'V', ARG_FLAG, false, offsetof(struct args, version), NULL,
     "print the version and leave", 0, 0},
    {NULL, 0, ARG_FLAG, false, 0, NULL, NULL, 0, 0},
};

static const struct command program = {
    .name = "mako-snapshot",
    .operands = "COMMAND [OPTION]... [OPERAND]...",
    .about = "Looks into stores of snapshots, and replays event logs on top of them.",
    .options = program_options,
};

const struct command *const cli_commands[] = {
    &program,
    &command_replay,
    &command_save,
    &command_load,
    &command_show,
    &command_ls,
    &command_rm,
    &command_verify,
    &command_compact,
    &command_describe,
    &command_config,
    &command_stats,
    NULL,
};

static const struct command *find(const char *name)
{
    for (size_t i = 1; cli_commands[i]; i++)
        if (strcmp(cli_commands[i]->name, name) == 0)
            return cli_commands[i];
    return NULL;
}

static int dispatch(int argc, char **argv, struct args *args)
{
    const struct command *command;
    int next = 0, result = args_read(&program, argc, argv, args, &next);

    if (result >= 0)
        return result;
    if (args->version) {
        printf("mako-snapshot %s\n", mako_version());
        return EXIT_DONE;
    }
    if (next >= argc)
        return usage_error(&program, "a command is needed");
    command = find(argv[next]);
    if (!command)
        return usage_error(&program, "unknown command '%s'", argv[next]);
    result = args_read(command, argc - next, argv + next, args, &next);
    return result >= 0 ? result : command->run(args);
}

int main(int argc, char **argv)
{
    struct args args = {.schema = 1};
    bool failed;
    int result;

    mako_set_log(log_line, NULL);
    result = dispatch(argc, argv, &args);
    progress_end();
    args_free(&args);
    failed = fflush(stdout) != 0;
    if ((failed || ferror(stdout)) && result == EXIT_DONE)
        return complain(EXIT_USAGE, "cannot write standard output: %s",
                        failed ? strerror(errno) : "an earlier write failed");
    return result;
}

/* tests/faults/cli_trial.h - the command-line program under faults: its commands on a
 * small store, each run a process, and what a run may do where something fails.
 *
 * A run ends with the output of one in which nothing fails, or with the exit status of a
 * failure and a sentence; never with another answer.  What it changes is changed where it
 * says so, and otherwise as before or as if it had worked; and the same command works on
 * what it left.  Nothing in the documents is longer than 13 bytes: see heap.h. */
#ifndef MAKO_TESTS_FAULTS_CLI_TRIAL_H
#define MAKO_TESTS_FAULTS_CLI_TRIAL_H

#include <stdbool.h>

enum {
    CLI_ROOM = 32768,
    CLI_WORDS = 16
};

struct cli_outcome {
    int code; /* -1: killed */
    char out[CLI_ROOM], err[CLI_ROOM];
};

struct cli_command {
    const char *words[CLI_WORDS]; /* after "mako-snapshot" */
    const char *in;               /* its standard input; NULL: none */
    const char *shows[CLI_WORDS]; /* the command that shows what it changed */
    const char *writes;           /* the file that it writes */
    int code;                     /* its exit code where nothing fails */
};

extern const struct cli_command cli_trials[];
extern const unsigned cli_trial_count;

/* What a command does where nothing fails. */
struct cli_usual {
    struct cli_outcome wanted, before, after;
};

/* How a process is made that runs child(arg); returns what waitpid() says. */
typedef int cli_launch(int (*child)(void *arg), void *arg, void *plan);
/* fork() and no more. */
int cli_plainly(int (*child)(void *arg), void *arg, void *plan);

/* Make the directory with all that the commands want, and go there. */
bool cli_prepare(void);
void cli_clean_up(void);
/* Everything as cli_prepare() left it. */
void cli_restore(void);

/* Run command, output to out or, where that is negative, into the outcome. */
void cli_run(const struct cli_command *command, int out, cli_launch *launch, void *plan,
             struct cli_outcome *outcome);
void cli_run_usual(const struct cli_command *command, struct cli_usual *usual);
/* What is wrong with what is there after a run with that outcome; NULL: nothing. */
const char *cli_left_wrong(const struct cli_command *command,
                           const struct cli_usual *usual, const struct cli_outcome *got);
/* Whether it changes anything; then what it left goes with cli_restore(). */
bool cli_changes(const struct cli_command *command);
/* The command in one line. */
const char *cli_line(const struct cli_command *command);

#endif

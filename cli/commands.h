/* cli/commands.h - the commands, one file a family. */
#ifndef MAKO_CLI_COMMANDS_H
#define MAKO_CLI_COMMANDS_H

#include "cli.h"

/* replay.c */
extern const struct command command_replay;
/* one.c: one stream's snapshot */
extern const struct command command_save, command_load, command_show;
/* whole.c: many snapshots */
extern const struct command command_ls, command_rm, command_verify, command_compact;
/* about.c: configuration, plugin, counters */
extern const struct command command_describe, command_config, command_stats;

#endif

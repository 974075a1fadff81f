/* tests/redis/server.h - a Redis server of the test's own: on a free port of the loopback
 * interface, in a fresh directory, gone with the process that started it. */
#ifndef MAKO_TESTS_REDIS_SERVER_H
#define MAKO_TESTS_REDIS_SERVER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SERVER_OPTIONS 16

struct server {
    pid_t pid; /* 0: not running */
    uint16_t port;
    const char *options[SERVER_OPTIONS]; /* of redis-server, until NULL */
    char dir[256];
};

/* Fills in port and dir, starts it with the options, and waits until it serves.  Ends the
 * test where that fails. */
void server_start(struct server *server);
/* The same server again, on its port and its files. */
void server_restart(struct server *server);
/* Likewise, but waits only until it answers that it is loading its data. */
void server_restart_loading(struct server *server);
/* With this signal, and waits for its end. */
void server_kill(struct server *server, int signal);
/* Kills it, and takes its directory away. */
void server_remove(struct server *server);
/* What it answers to a command line, whole and raw. */
void server_ask(const struct server *server, const char *command, char *out, size_t room);

#endif

/* tests/redis/client.h - what the cases on a server of their own share: that server, a
 * store on it, saves whose bytes tell their sequence, and waiting.  What fails ends the
 * test, unless a status is returned. */
#ifndef MAKO_TESTS_REDIS_CLIENT_H
#define MAKO_TESTS_REDIS_CLIENT_H

#include "server.h"

#include <stdbool.h>

#include <mako/snapshot.h>

/* A build that runs slowly and takes memory for itself. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

#define MIB    (1u << 20)
#define ALWAYS "--appendonly", "yes", "--appendfsync", "always"
/* Options of a store that a slow machine may keep waiting. */
#define PATIENT                                             \
    ", \"op_timeout\": \"120s\", \"io_timeout\": \"60s\", " \
    "\"connect_timeout\": \"60s\", \"wait_timeout\": \"60s\""

extern struct server server;
/* For .fini of a suite. */
void take_away(void);

/* More of a store's own settings, each with a comma before it; "" at first. */
extern const char *store_settings;
/* "4MiB" at first. */
extern const char *max_snapshot;
/* A store named "s" on the server; options: more of the plugin's, each with a comma
 * before it. */
int open_store(const char *durability, const char *options, mako_store **store,
               struct mako_error *err);
/* The same with all of the plugin's options. */
int open_with(const char *durability, const char *options, mako_store **store,
              struct mako_error *err);
mako_store *must_open(const char *durability, const char *options);
/* Whether what began at start, and ended with this status, is worth another attempt, for
 * the store's time limits are so short that a slow machine misses them. */
bool too_slow(int status, uint64_t start);
/* must_open(), must_save() and kept() of such a store. */
mako_store *open_at_last(const char *durability, const char *options);
void save_at_last(mako_store *store, const char *stream, uint64_t seq, size_t len);
uint64_t kept_at_last(mako_store *store, const char *stream);
/* Opening is refused as E_CONFIG with these words. */
void refused(const char *durability, const char *options, const char *text);
/* A file in the server's directory; path has room for 300. */
void write_file(const char *name, const char *text, char *path);

/* Every byte of a state tells its sequence. */
void fill(unsigned char *state, size_t len, uint64_t seq);
int save_flagged(mako_store *store, const char *stream, uint64_t seq, size_t len,
                 uint32_t flags, struct mako_error *err);
int save(mako_store *store, const char *stream, uint64_t seq, size_t len,
         struct mako_error *err);
void must_save(mako_store *store, const char *stream, uint64_t seq, size_t len);
/* Saves until one that would do otherwise ends with this word: a short time limit may
 * pass without any answer. */
void until_told(mako_store *store, const char *word);
/* Until one ends with this status and these words; *seq is its sequence. */
void saves_until(mako_store *store, uint64_t *seq, size_t len, int status,
                 const char *text);
/* Its sequence; every byte is right, or the test ends.  It is given back. */
uint64_t read_snapshot(mako_snapshot *snapshot);
/* What is kept: *seq tells its sequence, and every byte is right, or the test ends. */
int load(mako_store *store, const char *stream, uint64_t *seq, struct mako_error *err);
/* The sequence of what is kept; 0: nothing. */
uint64_t kept(mako_store *store, const char *stream);
/* Counter "plugin.NAME" of the store. */
uint64_t counter(mako_store *store, const char *name);

/* Those that with-redis started, sentinels left out: port, pid and directory of each. */
size_t find_servers(struct server *servers, size_t room);
/* It answers a command with these words. */
bool server_says(const struct server *one, const char *command, const char *words);

uint64_t now_ms(void);
void breathe(void);
void has_words(const char *text, const char *words);
/* The server answers a command with these words. */
void must_answer(const char *command, const char *text);
void until_answer(const char *command, const char *text);

/* Version 7.2 and later, Valkey too. */
bool has_waitaof(void);
/* Version 8 and later: it waits also where appendfsync is everysec. */
bool waitaof_is_true(void);
/* Makes the user that the plugin's page tells people to make. */
void make_user(const struct server *one);
/* Options of a store that is this user. */
#define AS_USER ", \"username\": \"snapshots\", \"password\": \"secret\""

#endif

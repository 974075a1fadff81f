/* plugins/redis/ops.h - the operations of the plugin: save.c, load.c, batch.c, scan.c. */
#ifndef MAKO_REDIS_OPS_H
#define MAKO_REDIS_OPS_H

#include "task.h"

int redis_save(void *handle, const struct mako_record *record, struct mako_error *err);
int redis_remove(void *handle, struct mako_str stream, struct mako_error *err);
int redis_load(void *handle, struct mako_str stream, struct mako_sink *sink,
               struct mako_error *err);
int redis_scan(void *handle, struct mako_str prefix, struct mako_visitor *visitor,
               struct mako_error *err);
int redis_save_many(void *handle, const struct mako_record *records, size_t count,
                    int *statuses, struct mako_error *err);
int redis_load_many(void *handle, const struct mako_str *streams,
                    struct mako_sink *const *sinks, size_t count, int *statuses,
                    struct mako_error *err);

/* ---- pieces of them that batch.c uses too -------------------------------------------
 */

int save_check(const struct mako_record *record, struct mako_error *err);
/* The same until a deadline that is set already. */
int save_until(struct store *store, const struct mako_record *record, int64_t deadline,
               struct mako_error *err);
int load_until(struct store *store, struct mako_str stream, struct mako_sink *sink,
               int64_t deadline, struct mako_error *err);

/* Those of scripts/. */
enum script {
    SCRIPT_SAVE,
    SCRIPT_SWAP,
    SCRIPT_GUARD
};

/* A command's name and its first argument, the script or its sum. */
void say_script(const struct settings *settings, struct session *session,
                enum script script, size_t args);
/* The server does not know it any more. */
void forget_script(struct session *session, enum script script);

/* A save on its way: what is said for it, and what the answers mean.  rule is that of
 * the scripts. */
struct saving {
    struct key key;
    unsigned char head[HEAD_SIZE];
    const struct mako_record *record;
    bool swap; /* by way of a temporary key */
    const void *rule;
    size_t rule_len;
};

/* room: as for key_make(). */
bool saving_make(const struct settings *settings, const struct mako_record *record,
                 char *room, struct saving *saving);
void saving_say(const struct settings *settings, struct session *session,
                const struct saving *saving);
/* An argument, the value. */
void saving_value(struct conn *conn, const struct saving *saving);
/* Takes the answers.  True: verdict is the script's. */
bool saving_hear(struct session *session, const struct saving *saving, int64_t *verdict,
                 struct trouble *trouble);

/* A load's conversation: a first look, and where that leaves room to fill, the whole. */
struct loading {
    const struct key *key;
    struct mako_sink *sink;
    struct mako_error *err;
    int status;
    struct head head;
    void *room; /* for all of the blob; NULL: there is nothing more to fetch */
};

void loading_probe(struct conn *conn, const struct loading *loading);
void loading_get(struct conn *conn, const struct loading *loading);
/* True: status (with its text in err) and room are set; false: trouble. */
bool loading_hear_probe(struct conn *conn, struct loading *loading,
                        struct trouble *trouble);
bool loading_hear_get(struct conn *conn, struct loading *loading,
                      struct trouble *trouble);

#endif

/* tests/conformance/kit/host.h - what host.c and sink.c share: the ways in and out of a
 * call, and what is lent for it. */
#ifndef MAKO_KIT_HOST_H
#define MAKO_KIT_HOST_H

#include "raw.h"

/* This thread is in a plugin's release. */
extern _Thread_local bool raw_in_release;

/* A struct that begins with its size, with before bytes of the host's in front; it ends
 * where the world ends, but for what raw_extra adds. */
void *lend_struct(struct pages *p, size_t before, size_t size);
void end_struct(struct pages *p, size_t before, size_t size, const char *name);
struct mako_str lend_text(struct pages *p, const char *text);
void end_lent(struct pages *p, const char *what);
int *lend_statuses(struct pages *p, size_t count);
void end_statuses(struct pages *p, const char *call, int status, size_t count,
                  unsigned positive, int *out);

/* Takes the lock of the thread model, lends the error. */
struct mako_error *call_begin(struct raw_store *s, struct pages *err);
int call_end(struct raw_store *s, struct pages *err, const char *call, int status,
             unsigned positive);
void check_status(const char *call, int status, unsigned positive);
void check_secrets(const char *text);

#endif

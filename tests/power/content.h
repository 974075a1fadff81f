/* tests/power/content.h - the bytes of a version of a snapshot.
 *
 * They begin with a mark and the version's number, so that a file can be searched for
 * what should have left it. */
#ifndef MAKO_TESTS_POWER_CONTENT_H
#define MAKO_TESTS_POWER_CONTENT_H

#include <stddef.h>
#include <stdint.h>

#define CONTENT_MARKED 16 /* shorter ones have no mark */

/* len bytes of version. */
void content_make(unsigned char *bytes, size_t len, uint64_t version);
/* The first mark among len bytes, and its version; NULL: there is none. */
const unsigned char *content_find(const unsigned char *bytes, size_t len,
                                  uint64_t *version);

#endif

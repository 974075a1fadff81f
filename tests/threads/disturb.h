/* tests/threads/disturb.h - a Redis server that hangs up on its clients, again and again:
 * answers are lost of which nobody knows whether their commands were carried out. */
#ifndef MAKO_TESTS_DISTURB_H
#define MAKO_TESTS_DISTURB_H

#include <stdbool.h>
#include <stdint.h>

/* Begin, at the server of MAKO_TEST_REDIS, HOST:PORT.  False: it was said why not. */
bool disturb_begin(uint64_t seed);
/* End; how often it hung up on somebody. */
unsigned disturb_end(void);

#endif

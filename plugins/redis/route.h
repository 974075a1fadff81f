/* plugins/redis/route.h - which server a key is on, in all three modes.
 *
 * One server is simple; sentinels are asked who the master is; a cluster's nodes are
 * asked who owns which slot.  What was learnt is kept until something contradicts it. */
#ifndef MAKO_REDIS_ROUTE_H
#define MAKO_REDIS_ROUTE_H

#include "pool.h"

struct route;

struct route *route_new(const struct settings *settings);
void route_free(struct route *route);

/* Ask now, as open must.  False: nobody could be asked, or the answer is of no use. */
bool route_learn(struct route *route, int64_t deadline, struct trouble *trouble);

/* The node for a slot, with a reference for the caller. */
bool route_pick(struct route *route, uint16_t slot, int64_t deadline, struct node **node,
                struct trouble *trouble);
/* The same without asking anybody, if it is known. */
bool route_known(struct route *route, uint16_t slot, struct node **node);
/* The node at an endpoint that a server named; as above. */
bool route_at(struct route *route, const struct endpoint *endpoint, struct node **node,
              struct trouble *trouble);
/* A server says that a slot is at that endpoint now. */
bool route_moved(struct route *route, uint16_t slot, const struct endpoint *endpoint,
                 struct trouble *trouble);
/* What is known may be wrong: ask again before the next pick. */
void route_doubt(struct route *route);

/* All masters, a reference each, in an array to be freed; NULL: trouble says why.  What
 * is in doubt is asked for. */
struct node **route_masters(struct route *route, int64_t deadline, size_t *count,
                            struct trouble *trouble);

#endif

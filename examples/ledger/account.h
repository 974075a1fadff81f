/* account.h - the aggregate: what an account is, and what events do to it. */
#ifndef LEDGER_ACCOUNT_H
#define LEDGER_ACCOUNT_H

#include <mako/json.h>
#include <mako/process.h>

enum {
    OWNER_MAX = 100 /* bytes */
};

struct account {
    char owner[OWNER_MAX + 1]; /* empty: not opened yet */
    json_int_t balance;        /* cents */
    json_int_t bookings, deposits;
    json_int_t withdrawals; /* since layout 2 */
};

/* A real program has one aggregate.  This one plays three releases of itself, named after
 * the layouts of the state that they read, "1", "1-2" and "2"; each writes the last of
 * them.  app is a struct log.  NULL: there is no such release. */
const struct mako_aggregate *account_release(const char *reads);

/* The state in that layout, a new reference; NULL: no memory. */
json_t *account_json(const struct account *account, uint32_t schema);

#endif

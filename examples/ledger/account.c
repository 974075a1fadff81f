/* account.c - the aggregate: create, apply, encode, decode.
 *
 * The release that came first wrote layout 1 of the state.  Layout 2 also counts
 * withdrawals. */
#include "account.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"

static void *create(void *app)
{
    (void)app;
    return calloc(1, sizeof(struct account));
}

static void destroy(void *app, void *state)
{
    (void)app;
    free(state);
}

static int set_owner(struct account *account, const char *owner, struct mako_error *err)
{
    int len = snprintf(account->owner, sizeof account->owner, "%s", owner);

    if (len < 0 || (size_t)len >= sizeof account->owner)
        return mako_fail(err, MAKO_E_CALLBACK, "account: the owner's name is too long");
    return MAKO_OK;
}

static int apply(void *app, void *state, const struct mako_event *event,
                 struct mako_error *err)
{
    struct account *account = state;
    const struct entry *entry = event->body;

    (void)app;
    if (entry->owner)
        return set_owner(account, entry->owner, err);

    account->balance += entry->cents;
    account->bookings++;
    if (entry->cents > 0)
        account->deposits++;
    else
        account->withdrawals++;
    return MAKO_OK;
}

json_t *account_json(const struct account *account, uint32_t schema)
{
    json_t *doc = json_pack("{s:s, s:I, s:I, s:I}", "owner", account->owner, "balance",
                            account->balance, "bookings", account->bookings, "deposits",
                            account->deposits);

    if (doc && schema >= 2)
        (void)json_object_set_new(doc, "withdrawals", json_integer(account->withdrawals));
    return doc;
}

static int encode(const struct account *account, uint32_t schema, mako_bytes *out,
                  struct mako_error *err)
{
    json_t *doc = account_json(account, schema);
    int status = doc ? mako_json_encode(doc, out, err)
                     : mako_fail(err, MAKO_E_NOMEM, "account: no memory");

    json_decref(doc);
    return status;
}

static int encode_1(void *app, const void *state, mako_bytes *out, struct mako_error *err)
{
    (void)app;
    return encode(state, 1, out, err);
}

static int encode_2(void *app, const void *state, mako_bytes *out, struct mako_error *err)
{
    (void)app;
    return encode(state, 2, out, err);
}

/* What layout 1 does not say can be worked out: the upgrade. */
static int unpack(json_t *doc, uint32_t schema, struct account *account,
                  struct mako_error *err)
{
    json_error_t why;
    const char *owner;
    int rc = json_unpack_ex(doc, &why, 0, "{s:s, s:I, s:I, s:I}", "owner", &owner,
                            "balance", &account->balance, "bookings", &account->bookings,
                            "deposits", &account->deposits);

    if (rc == 0 && schema == 1)
        account->withdrawals = account->bookings - account->deposits;
    else if (rc == 0)
        rc = json_unpack_ex(doc, &why, 0, "{s:I}", "withdrawals", &account->withdrawals);
    return rc == 0 ? set_owner(account, owner, err)
                   : mako_fail(err, MAKO_E_CALLBACK, "account: %s", why.text);
}

/* schema is never outside what the aggregate says it reads. */
static int decode(void *app, uint32_t schema, const void *bytes, size_t len, void **state,
                  struct mako_error *err)
{
    struct account *account;
    json_t *doc;
    int status = mako_json_decode(bytes, len, &doc, err);

    if (status != MAKO_OK)
        return status;

    account = create(app);
    status = account ? unpack(doc, schema, account, err)
                     : mako_fail(err, MAKO_E_NOMEM, "account: no memory");
    json_decref(doc);
    if (status == MAKO_OK)
        *state = account;
    else
        free(account);
    return status;
}

#define ACCOUNT(version, oldest, encoder)                                          \
    {                                                                              \
        .struct_size = sizeof(struct mako_aggregate), .schema = (version),         \
        .schema_oldest = (oldest), .kind = "account", .create = create,            \
        .destroy = destroy, .apply = apply, .encode = (encoder), .decode = decode, \
        .read = log_read                                                           \
    }

static const struct release {
    const char *reads;
    struct mako_aggregate aggregate;
} releases[] = {{"1", ACCOUNT(1, 1, encode_1)},
                {"1-2", ACCOUNT(2, 1, encode_2)},
                {"2", ACCOUNT(2, 2, encode_2)}};

const struct mako_aggregate *account_release(const char *reads)
{
    for (size_t i = 0; i < sizeof releases / sizeof *releases; i++)
        if (strcmp(releases[i].reads, reads) == 0)
            return &releases[i].aggregate;
    return NULL;
}

/* tests/install/application.c - a program of somebody else's, which knows the installed
 * headers and the library alone: saves a JSON document and loads it again.
 *
 *     application CONFIGURATION */
#include <stdio.h>

#include <mako/json.h>
#include <mako/process.h>
#include <mako/snapshot.h>

static int round_trip(mako_store *store, struct mako_error *err)
{
    struct mako_save save = {.struct_size = sizeof save, .seq = 3, .schema = 1};
    struct mako_expect expect = {
        .struct_size = sizeof expect, .schema_min = 1, .schema_max = 1};
    json_t *state = json_pack("{s:i}", "balance", 7), *found = NULL;
    int status = mako_json_save(store, "account/a", &save, state, err);

    if (status == MAKO_OK)
        status = mako_json_load(store, "account/a", &expect, &found, NULL, err);
    if (status == MAKO_OK)
        printf("%s, the same: %s\n", mako_version(),
               json_equal(state, found) ? "yes" : "no");
    json_decref(found);
    json_decref(state);
    return status;
}

int main(int argc, char **argv)
{
    struct mako_error err = {{0}};
    mako_store *store = NULL;
    int status = mako_store_open(argc > 1 ? argv[1] : "", NULL, &store, &err);

    if (status == MAKO_OK)
        status = round_trip(store, &err);
    mako_store_unref(store);
    if (status != MAKO_OK)
        fprintf(stderr, "%s\n", err.text);
    return status != MAKO_OK;
}

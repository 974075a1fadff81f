/* held - whether a program that uses a store holds a password in its memory.
 *
 *   held CONFIG STORE DROWSSAP [KEY=VALUE]
 *
 * Opens the store, saves and loads, and counts the places in its writable memory where
 * the password stands; then closes the store and counts again; prints both numbers.  That
 * is what a core dump would show.  The password is given backwards, so that the arguments
 * are no such place; of an override KEY=VALUE, VALUE is given backwards too, and what the
 * program itself held of it is wiped. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mako/snapshot.h>

/* The places in one mapping; word is backwards. */
static size_t count_in(const unsigned char *from, const unsigned char *to,
                       const char *word)
{
    size_t len = strlen(word), found = 0;

    for (const unsigned char *p = from; (size_t)(to - p) >= len; p++) {
        size_t same = 0;

        while (same < len && p[same] == (unsigned char)word[len - 1 - same])
            same++;
        found += same == len;
    }
    return found;
}

static size_t count(const char *word)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    size_t found = 0;

    if (!maps)
        return SIZE_MAX;
    while (fgets(line, sizeof line, maps)) {
        char *end, *flags;
        uintptr_t from = strtoull(line, &end, 16), to = 0;

        if (*end == '-')
            to = strtoull(end + 1, &flags, 16);
        if (to > from && strncmp(flags, " rw", 3) == 0)
            found +=
                count_in((const unsigned char *)from, (const unsigned char *)to, word);
    }
    (void)fclose(maps);
    return found;
}

/* VALUE behind the '=' the right way round. */
static char *turned(const char *word)
{
    char *copy = strdup(word), *at = copy ? strchr(copy, '=') : NULL;

    for (char *end = at ? at + strlen(at) - 1 : at; at && ++at < end; end--) {
        char c = *at;

        *at = *end;
        *end = c;
    }
    return copy;
}

static int use(mako_store *store, struct mako_error *err)
{
    const struct mako_save save = {
        .struct_size = sizeof save, .seq = 1, .schema = 1, .state = "x", .state_len = 1};
    const struct mako_expect any = {
        .struct_size = sizeof any, .schema_min = 1, .schema_max = 1};
    mako_snapshot *snapshot = NULL;
    int status = mako_store_save(store, "held", &save, err);

    if (status == MAKO_OK)
        status = mako_store_load(store, "held", &any, &snapshot, NULL, err);
    mako_snapshot_unref(snapshot);
    return status;
}

int main(int argc, char **argv)
{
    char *override = argc == 5 ? turned(argv[4]) : NULL;
    const char *const overrides[] = {override, NULL};
    const struct mako_source source = {.struct_size = sizeof source,
                                       .path = argc > 3 ? argv[1] : NULL,
                                       .name = argc > 3 ? argv[2] : NULL,
                                       .overrides = overrides};
    mako_store *store = NULL;
    struct mako_error err = {""};
    int status;

    if (argc < 4 || argc > 5) {
        (void)fputs("usage: held CONFIG STORE DROWSSAP [KEY=VALUE]\n", stderr);
        return 2;
    }
    status = mako_store_open_source(&source, &store, &err);
    if (override)
        explicit_bzero(override, strlen(override));
    if (status == MAKO_OK)
        status = use(store, &err);
    if (status != MAKO_OK) {
        (void)fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    printf("%zu ", count(argv[3]));
    mako_store_unref(store);
    printf("%zu\n", count(argv[3]));
    free(override);
    return 0;
}

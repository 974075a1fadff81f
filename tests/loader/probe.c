/* tests/loader/probe.c - a program of its own, for what a test inside its runner cannot
 * show: exit() with an open store, and raised privileges.
 *
 * probe describe PLUGIN   0: found, 3: not
 * probe secure            0: runs with raised privileges, 3: not
 * probe exit CONFIG       opens the store, saves, and exits with it open */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

#include <mako/snapshot.h>

static mako_store *left_open;

static void ignore_line(void *arg, const char *key, const char *value)
{
    (void)arg, (void)key, (void)value;
}

static int verdict(int status, const struct mako_error *err)
{
    if (status == MAKO_OK)
        return 0;
    (void)fprintf(stderr, "%s: %s\n", mako_status_name(status), err->text);
    return 3;
}

static int describe(const char *plugin)
{
    struct mako_error err;

    return verdict(mako_plugin_describe(NULL, plugin, ignore_line, NULL, &err), &err);
}

static int leave_open(const char *config)
{
    static const struct mako_save save = {
        .struct_size = sizeof save, .seq = 1, .schema = 1, .state = "x", .state_len = 1};
    struct mako_error err;
    int status = mako_store_open(config, NULL, &left_open, &err);

    if (status == MAKO_OK)
        status = mako_store_save(left_open, "stream", &save, &err);
    return verdict(status, &err);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "describe") == 0)
        return describe(argv[2]);
    if (argc >= 2 && strcmp(argv[1], "secure") == 0)
        return getauxval(AT_SECURE) ? 0 : 3;
    if (argc == 3 && strcmp(argv[1], "exit") == 0)
        return leave_open(argv[2]);
    return 2;
}

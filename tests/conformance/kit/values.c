/* From an option's text to what the plugin is given.  The texts were accepted by the
 * library before, so that nothing is refused here. */
#include "values.h"

#include <stdlib.h>
#include <string.h>

struct unit {
    const char *name;
    double times;
};

static const struct unit sizes[] = {
    {"KiB", 1024}, {"MiB", 1048576}, {"GiB", 1073741824}, {"TiB", 1099511627776.0},
    {"kB", 1e3},   {"MB", 1e6},      {"GB", 1e9},         {"TB", 1e12},
    {NULL, 1}};
static const struct unit durations[] = {{"ms", 1},   {"s", 1e3},    {"min", 60e3},
                                        {"m", 60e3}, {"h", 3600e3}, {"d", 86400e3},
                                        {NULL, 1}};

static int64_t with_unit(const char *text, const struct unit *units)
{
    char *end = NULL;
    double number = strtod(text, &end);

    while (*end == ' ')
        end++;
    while (units->name && strcmp(units->name, end) != 0)
        units++;
    return (int64_t)(number * units->times);
}

union mako_value value_of(const struct mako_option *row, const char *text)
{
    union mako_value value = {.num = 0};

    switch (row->type) {
    case MAKO_OPT_STRING:
    case MAKO_OPT_PATH:
        value.str = text;
        break;
    case MAKO_OPT_BOOL:
        value.num = text && strcmp(text, "true") == 0;
        break;
    case MAKO_OPT_SIZE:
        value.num = text ? with_unit(text, sizes) : 0;
        break;
    case MAKO_OPT_DURATION:
        value.num = text ? with_unit(text, durations) : 0;
        break;
    default:
        value.num = text ? strtoll(text, NULL, 10) : 0;
    }
    return value;
}

/* units.c - numbers with units, as people write them in a configuration. */
#include "units.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A table is ordered by falling factor; what comes first of equals is how it is shown. */
struct unit {
    const char *name;
    uint64_t factor;
    bool shown;
};

static const struct unit sizes[] = {{"TiB", 1ull << 40, true},
                                    {"GiB", 1ull << 30, true},
                                    {"MiB", 1ull << 20, true},
                                    {"KiB", 1ull << 10, true},
                                    {"TB", 1000000000000, false},
                                    {"GB", 1000000000, false},
                                    {"MB", 1000000, false},
                                    {"kB", 1000, false},
                                    {"B", 1, false},
                                    {"", 1, true},
                                    {NULL, 0, false}};

static const struct unit durations[] = {{"d", 86400000, true}, {"h", 3600000, true},
                                        {"min", 60000, true},  {"m", 60000, false},
                                        {"s", 1000, true},     {"ms", 1, true},
                                        {"", 1, false},        {NULL, 0, false}};

static const struct unit *find_unit(const struct unit *units, const char *name)
{
    while (*name == ' ')
        name++;
    for (; units->name; units++)
        if (strcmp(units->name, name) == 0)
            return units;
    return NULL;
}

/* "12", "1.5", at most nine decimals, as a whole number and billionths. */
static bool parse_decimal(const char **text, uint64_t *whole, uint64_t *billionths)
{
    const char *p = *text;
    uint64_t place = 100000000;

    *whole = 0;
    *billionths = 0;
    if (!isdigit((unsigned char)*p))
        return false;
    for (; isdigit((unsigned char)*p); p++) {
        if (*whole > (INT64_MAX - 9) / 10)
            return false;
        *whole = *whole * 10 + (uint64_t)(*p - '0');
    }
    if (*p == '.') {
        if (!isdigit((unsigned char)*++p))
            return false;
        for (; isdigit((unsigned char)*p); p++) {
            *billionths += (uint64_t)(*p - '0') * place;
            place /= 10;
        }
    }
    *text = p;
    return true;
}

static bool parse_units(const char *text, const struct unit *units, uint64_t *out)
{
    uint64_t whole, billionths;
    const struct unit *unit;

    if (!parse_decimal(&text, &whole, &billionths))
        return false;
    unit = find_unit(units, text);
    if (!unit || whole >= (uint64_t)INT64_MAX / unit->factor)
        return false;
    *out = whole * unit->factor +
           (uint64_t)((double)billionths * (double)unit->factor / 1e9 + 0.5);
    return true;
}

bool mako_parse_size(const char *text, uint64_t *bytes)
{
    return parse_units(text, sizes, bytes);
}

bool mako_parse_duration(const char *text, uint64_t *ms)
{
    return parse_units(text, durations, ms);
}

static void show(uint64_t number, const struct unit *units, char *out, size_t room)
{
    while (!units->shown || (units->factor > 1 && (!number || number % units->factor)))
        units++;
    (void)snprintf(out, room, "%" PRIu64 "%s", number / units->factor, units->name);
}

void mako_show_size(uint64_t bytes, char *out, size_t room)
{
    show(bytes, sizes, out, room);
}

void mako_show_duration(uint64_t ms, char *out, size_t room)
{
    show(ms, durations, out, room);
}

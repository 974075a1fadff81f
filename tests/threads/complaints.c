/* The count of complaints, which all threads share. */
#include "complaints.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

#include <mako/snapshot.h>
#include <mako/store_plugin.h> /* the levels */

enum {
    SAID = 6 /* of so many one can see what is wrong */
};

static atomic_uint count;

void complain(const char *format, ...)
{
    va_list args;

    if (atomic_fetch_add(&count, 1) >= SAID)
        return;
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
}

unsigned complaints(void)
{
    return count;
}

static void on_log(void *arg, int level, const char *message)
{
    (void)arg;
    if (level == MAKO_LOG_ERROR)
        complain("%s", message);
}

void complain_of_log_errors(void)
{
    mako_set_log(on_log, NULL);
}

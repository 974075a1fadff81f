/* analyzer.h - read by clang-tidy before every file, and by no compiler.
 *
 * The analyzer does not look into functions with "..." and so believes that mako_fail()
 * may return MAKO_OK; it then follows paths on which outputs were never set.  Here it is
 * told what is returned. */
#ifndef MAKO_ANALYZER_H
#define MAKO_ANALYZER_H

#include <mako/types.h>

void mako_analyzer_read(struct mako_error *err, const char *format, ...);
#define mako_fail(err, status, ...) \
    (mako_analyzer_read((err), __VA_ARGS__), (int)(status))

#endif

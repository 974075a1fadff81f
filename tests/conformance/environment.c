/* Where this build keeps its test plugins; the installed program has none. */
#include "cases.h"

#include <stdlib.h>

void trial_environment(void)
{
    (void)setenv("MAKO_PLUGIN_PATH", MAKO_TEST_PLUGIN_DIR, 0);
    (void)setenv("MAKO_TEST_PROBE", "", 0);
}

#ifndef MAKO_KIT_RAW_H
#define MAKO_KIT_RAW_H

#include "../cases.h"

extern const struct test_case *const raw_lists[];

#endif

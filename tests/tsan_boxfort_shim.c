/* Criterion's sandbox (BoxFort) places its shared arena at
 * 0x200000000000 + ((rand_r() & 0x3fffff) << 24), which ThreadSanitizer keeps for its
 * shadow: every try fails.  This rand_r() steers it into 0x5500_0000_0000 up to
 * 0x5540_0000_0000, which is left to applications (x86-64). */
#include <stdlib.h>

int rand_r(unsigned *seed)
{
    *seed = *seed * 1103515245u + 12345u;
    return (int)(0x350000u + ((*seed >> 8) % 0x4000u));
}

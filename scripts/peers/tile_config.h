/* For building llama.cpp with GCC before 12.4, 13.3 or 14 on processors with AMX.

   There _tile_loadconfig() tells the compiler that ldtilecfg reads 8 bytes of the 64 byte
   configuration, so the stores to the other 56 are removed and the instruction faults (GCC bug
   114098). Passed with -include, so that this peer runs with its fastest kernels. */
#ifdef __AMX_TILE__
#include <immintrin.h>
static inline void load_whole_tile_config(const void *config) {
    __asm__ volatile("ldtilecfg\t(%0)" : : "r"(config) : "memory");
}
#define _tile_loadconfig load_whole_tile_config
#endif

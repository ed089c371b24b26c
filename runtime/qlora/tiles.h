// All tiles. Included by the files that define them and by isa.cpp, which chooses.
#pragma once
#include "byte_tile.h"
#include "tile.h"

namespace lq {
extern const Tile tile_portable;
#if defined(__x86_64__)
extern const Tile tile_avx2, tile_avx512, tile_avx512_bf16, tile_amx;
extern const ByteTile byte_tile_avx512;
#endif
} // namespace lq

// SPDX-License-Identifier: Apache-2.0
// Four figures worked on at once, as wide as every x86-64 can.
#pragma once

#include <xmmintrin.h>

namespace outrider {

using Quad = float __attribute__((vector_size(16)));

/// Of all that is kept of a series, the most: its square is a float still.
inline constexpr float kFigureMost = 1e18F;

/// Stands for nothing where figures fade: less would become a number that is
/// slow to count with.
inline constexpr float kTiny = 1e-30F;

/// All four are `value`.
inline Quad quad_of(float value) { return Quad{} + value; }
inline Quad lesser(Quad a, Quad b) { return _mm_min_ps(a, b); }
inline Quad greater(Quad a, Quad b) { return _mm_max_ps(a, b); }
/// Exact, as IEEE 754 has it.
inline Quad root(Quad q) { return _mm_sqrt_ps(q); }
/// Of each and those before it.
inline Quad greatest_so_far(Quad q) {
  q = greater(q, __builtin_shufflevector(q, q, 0, 0, 1, 2));
  return greater(q, __builtin_shufflevector(q, q, 0, 1, 0, 1));
}
/// Whether one of `a` is above that of `b`.
inline bool any_above(Quad a, Quad b) {
  return _mm_movemask_ps(_mm_cmpgt_ps(a, b)) != 0;
}
/// Whether all are within 0 .. most, none of them not a number.
inline bool all_within(Quad q, float most) {
  return _mm_movemask_ps(_mm_and_ps(_mm_cmpge_ps(q, Quad{}),
                                    _mm_cmple_ps(q, quad_of(most)))) == 0xF;
}
inline float sum(Quad q) { return (q[0] + q[1]) + (q[2] + q[3]); }

}  // namespace outrider

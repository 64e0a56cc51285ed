// Comparisons of vectors. AVX-512 answers them in mask registers, and torch's types turn each answer into a vector and
// back; here they stay what they are.
#pragma once

#include <ATen/cpu/vec/vec.h>

#include <cstdint>

namespace whatwhere {

using Vec = at::vec::Vectorized<float>;
using Places = at::vec::Vectorized<int32_t>;
constexpr int64_t kLanes = Vec::size();

#ifdef CPU_CAPABILITY_AVX512

// ``yes`` where a > b, else ``no``.
inline Vec where_larger(const Vec& a, const Vec& b, const Vec& yes, const Vec& no) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), no, yes);
}

// ``yes`` where a == b, else zero.
inline Vec where_equal(const Places& a, const Places& b, const Vec& yes) {
  return _mm512_maskz_mov_ps(_mm512_cmpeq_epi32_mask(a, b), yes);
}

// One bit a lane: a == b.
inline uint64_t equal_bits(const Vec& a, const Vec& b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }

#else

inline Vec where_larger(const Vec& a, const Vec& b, const Vec& yes, const Vec& no) {
  return Vec::blendv(no, yes, a > b);
}

inline Vec where_equal(const Places& a, const Places& b, const Vec& yes) {
  return at::vec::cast<float>(a == b) & yes;
}

inline uint64_t equal_bits(const Vec& a, const Vec& b) { return (a != b).zero_mask(); }

#endif

}  // namespace whatwhere

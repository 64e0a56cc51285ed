// Numbers of a row in packs, as float32 whatever they are in memory.
#pragma once

#include <ATen/cpu/vec/functional.h>

#include <algorithm>
#include <cstdint>
#include <limits>

#include "compare.h"

namespace whatwhere {

using at::BFloat16;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// As many numbers as one vector of bfloat16 holds, as float32: what every loop over columns takes at a time.
struct Pack {
  Vec low, high;
};
constexpr int64_t kPack = 2 * kLanes;

// How many of a pack's numbers there are: all, known to the compiler, or an int64_t below kPack.
struct Whole {
  constexpr operator int64_t() const { return kPack; }
};

// Calls ``step(k, there, own)`` for a row's packs: from column k, ``there`` numbers may be read and written, of which
// ``own`` are the row's. A last pack that is not full reaches into the rows behind it as long as ``room``, counted from
// the row's first number, lasts: full packs cost less, and what is written there is written again in its turn.
template <class Step>
inline void over_packs(int64_t columns, int64_t room, Step step) {
  int64_t k = 0;
  for (; k + kPack <= columns; k += kPack) step(k, Whole{}, Whole{});
  if (k == columns) return;
  if (k + kPack <= room) return step(k, Whole{}, columns - k);
  step(k, columns - k, columns - k);
}

// The function of each half of the packs.
template <class Function, class... Packs>
inline Pack each(Function function, const Packs&... packs) {
  return {function(packs.low...), function(packs.high...)};
}

inline Pack operator+(const Pack& a, const Pack& b) { return {a.low + b.low, a.high + b.high}; }
inline Pack operator*(const Pack& a, const Pack& b) { return {a.low * b.low, a.high * b.high}; }
inline Pack same(float value) { return {Vec(value), Vec(value)}; }

inline Pack load(const float* from, Whole) { return {Vec::loadu(from), Vec::loadu(from + kLanes)}; }

// Zeros stand where there are no numbers.
inline Pack load(const float* from, int64_t count) {
  if (count <= kLanes) return {Vec::loadu(from, count), Vec(0.f)};
  return {Vec::loadu(from), Vec::loadu(from + kLanes, count - kLanes)};
}

template <class Count>
inline Pack load(const BFloat16* from, Count count) {
  const auto [low, high] = at::vec::convert_bfloat16_float(at::vec::Vectorized<BFloat16>::loadu(from, count));
  return {low, high};
}

inline void store(float* to, const Pack& pack, Whole) {
  pack.low.store(to);
  pack.high.store(to + kLanes);
}

inline void store(float* to, const Pack& pack, int64_t count) {
  pack.low.store(to, std::min(count, kLanes));
  if (count > kLanes) pack.high.store(to + kLanes, count - kLanes);
}

template <class Count>
inline void store(BFloat16* to, const Pack& pack, Count count) {
  at::vec::convert_float_bfloat16(pack.low, pack.high).store(to, count);
}

// The pack with ``other`` behind its first ``own`` numbers.
inline Pack filled(const Pack& pack, float, Whole) { return pack; }
inline Pack filled(const Pack& pack, float other, int64_t own) {
  const Vec lanes = Vec::arange(0.f, 1.f), count(static_cast<float>(own));
  return {where_larger(count, lanes, pack.low, Vec(other)),
          where_larger(count - Vec(kLanes), lanes, pack.high, Vec(other))};
}

// The larger of two; a NaN counts for nothing in ``b``.
inline Vec larger(const Vec& a, const Vec& b) { return at::vec::clamp_min(a, b); }
inline float total(const Vec& vec) {
  return at::vec::vec_reduce_all<float>([](const Vec& a, const Vec& b) { return a + b; }, vec);
}
inline float largest_of(const Vec& vec) {
  return at::vec::vec_reduce_all<float>([](const Vec& a, const Vec& b) { return larger(a, b); }, vec);
}

inline int64_t rounded_up(int64_t count, int64_t unit) { return (count + unit - 1) / unit * unit; }

}  // namespace whatwhere

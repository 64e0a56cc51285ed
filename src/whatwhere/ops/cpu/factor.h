// What the two numbers of an element, of its row and of its column, make of it.
#pragma once

#include <string_view>
#include <vector>

#include "planes.h"

namespace whatwhere {

// e^x, to a unit in the last place, infinity and NaN included; below -80 it is e^-80, which is nothing beside 1.
inline Vec exponential(const Vec& x) {
  const Vec bounded = at::vec::clamp_max(at::vec::clamp_min(x, Vec(-80.f)), Vec(89.f));
  // Adding 1.5 * 2^23 rounds to a whole number n, which then stands in the lowest bits; 126 more and they are those of
  // the exponent of 2^(n - 1).
  const Vec shift(12582912.f + 126.f);
  const Vec shifted = at::vec::fmadd(bounded, Vec(1.44269504f), shift);
  const Vec whole = shifted - shift;
  const Vec rest = at::vec::fmadd(whole, Vec(-1.42860677e-6f), at::vec::fmadd(whole, Vec(-0.693145752f), bounded));
  Vec power(1.f / 5040);
  for (const float coefficient : {1.f / 720, 1.f / 120, 1.f / 24, 1.f / 6, 0.5f, 1.f, 1.f}) {
    power = at::vec::fmadd(power, rest, Vec(coefficient));
  }
  using Bits = at::vec::Vectorized<int32_t>;
  const Vec half = at::vec::cast<float>(at::vec::cast<int32_t>(shifted) << Bits(23));
  return power * half * Vec(2.f);
}

inline Vec sigmoid(const Vec& logit) {
  return Vec(1.f) / (Vec(1.f) + exponential(logit.neg()));
}

// What an element adds to the gradients of its gate's numbers, which the strength is still to multiply, and of that.
struct Parts {
  Pack row, column, strength;
};

struct Gates {
  static Vec factor(const Vec& row, const Vec& column, const Vec&) { return row * column; }
  static Parts parts(const Pack& product, const Pack& row, const Pack& column) {
    return {product * column, product * row, product * (row * column + same(-1.f))};
  }
};

struct GatesByStrength : Gates {
  static Vec factor(const Vec& row, const Vec& column, const Vec& strength) {
    return at::vec::fmadd(strength, row * column - Vec(1.f), Vec(1.f));
  }
};

template <class Joined>
struct Logits {
  static Vec factor(const Vec& row, const Vec& column, const Vec& strength) {
    return at::vec::fmadd(strength, Joined::gate(row, column), Vec(1.f));
  }
  static Parts parts(const Pack& product, const Pack& row, const Pack& column) {
    const Pack gate = each(Joined::gate, row, column), gated = product * gate;
    const Pack sloped = gated * each([](const Vec& half) { return Vec(1.f) - half; }, gate);
    return {sloped * each(Joined::share, row, column), sloped * each(Joined::share, column, row), gated};
  }
};

struct Sum {
  static Vec gate(const Vec& row, const Vec& column) { return sigmoid(row + column); }
  static Vec share(const Vec&, const Vec&) { return Vec(1.f); }
};

// A sum of logits r and c whose numbers are e^-r and e^-c: no exponential an element.
struct SumOfPowers : Sum {
  static Vec gate(const Vec& row, const Vec& column) { return Vec(1.f) / at::vec::fmadd(row, column, Vec(1.f)); }
};

struct Product {
  static Vec gate(const Vec& row, const Vec& column) { return sigmoid(row * column); }
  static Vec share(const Vec&, const Vec& other) { return other; }
};

struct Max {
  static Vec gate(const Vec& row, const Vec& column) { return sigmoid(at::vec::maximum(row, column)); }
  // The smaller of two logits has no share in the slope, equal ones have half each.
  static Vec share(const Vec& mine, const Vec& other) {
    const Vec at_least = where_larger(other, mine, Vec(0.f), Vec(0.5f));
    return where_larger(mine, other, Vec(1.f), at_least);
  }
};

enum class Join { kGates, kGatesByStrength, kSum, kSumOfPowers, kProduct, kMax };

template <class Kernel>
inline void with_join(Join join, Kernel kernel) {
  switch (join) {
    case Join::kGates: return kernel(Gates{});
    case Join::kGatesByStrength: return kernel(GatesByStrength{});
    case Join::kSum: return kernel(Logits<Sum>{});
    case Join::kSumOfPowers: return kernel(Logits<SumOfPowers>{});
    case Join::kProduct: return kernel(Logits<Product>{});
    case Join::kMax: return kernel(Logits<Max>{});
  }
}

// The numbers of a gate as the kernels take them: both there, whole packs of columns, one way to join them an image.
struct Factor {
  Factor(const Tensor& x, const Given& row, const Given& column, std::string_view how, const Given& strength);

  const float* row(int64_t image) const { return rows.const_data_ptr<float>() + image * rows.size(1); }
  const float* column(int64_t image) const { return columns.const_data_ptr<float>() + image * columns.size(1); }

  Tensor rows, columns;  // (B, R), (B, K and what fills the last pack)
  std::vector<Join> joins;
  float strength;
};

}  // namespace whatwhere

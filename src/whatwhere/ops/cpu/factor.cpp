#include "factor.h"

#include <ATen/ops/full.h>

#include <cmath>

#include "checks.h"

namespace whatwhere {
namespace {

// Up to here a product of powers is neither too large nor too small for a float.
constexpr float kPowers = 40.f;

bool within(const float* numbers, int64_t count) {
  return std::all_of(numbers, numbers + count, [](float number) { return std::abs(number) <= kPowers; });
}

void to_powers(float* numbers, int64_t count) {
  for (int64_t k = 0; k < count; k += kLanes) {
    const int64_t left = std::min(count - k, kLanes);
    exponential(Vec::loadu(numbers + k, left).neg()).store(numbers + k, left);
  }
}

Join join_of(std::string_view how, bool both, bool strength) {
  if (how == "gates") return strength ? Join::kGatesByStrength : Join::kGates;
  TORCH_CHECK(how == "sum" || how == "product" || how == "max", "how: must be sum, product, max or gates, got ", how);
  if (how == "sum" || !both) return Join::kSum;
  return how == "product" ? Join::kProduct : Join::kMax;
}

}  // namespace

Factor::Factor(const Tensor& x, const Given& row, const Given& column, std::string_view how, const Given& given)
    : strength(1.f) {
  TORCH_CHECK(row || column, "row, column: one of them must be given");
  check_beside(row, x, 1, "row");
  check_beside(column, x, 2, "column");
  if (given) {
    TORCH_CHECK(given->is_cpu() && given->numel() == 1 && given->scalar_type() == at::kFloat,
                "strength: must be one float32 number on the CPU");
    strength = *given->const_data_ptr<float>();
  }
  const Join join = join_of(how, row && column, given.has_value());
  const float none = how == "gates" ? 1.f : 0.f;
  const int64_t padded = rounded_up(x.size(2), kPack);
  rows = row ? *row : at::full({x.size(0), x.size(1)}, none, x.options().dtype(at::kFloat));
  columns = column ? in_packs(*column) : at::full({x.size(0), padded}, none, x.options().dtype(at::kFloat));
  joins.assign(x.size(0), join);
  if (join != Join::kSum) return;
  if (row) rows = rows.clone();
  at::parallel_for(0, x.size(0), (1 << 14) / (x.size(1) + padded + 1) + 1, [&](int64_t begin, int64_t end) {
    for (int64_t image = begin; image < end; ++image) {
      float* const one = rows.mutable_data_ptr<float>() + image * x.size(1);
      float* const other = columns.mutable_data_ptr<float>() + image * padded;
      if (!within(one, x.size(1)) || !within(other, padded)) continue;
      to_powers(one, x.size(1));
      to_powers(other, padded);
      joins[image] = Join::kSumOfPowers;
    }
  });
}

}  // namespace whatwhere

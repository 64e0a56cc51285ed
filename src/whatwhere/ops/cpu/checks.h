// What every operator is owed by its caller: a wrong call raises and never reads past a tensor's end.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <limits>
#include <optional>

namespace whatwhere {

inline void check_map(const at::Tensor& x, const char* name) {
  TORCH_CHECK(x.dim() == 3 && x.is_contiguous(), name, ": must be planes (B, R, K), contiguous");
  TORCH_CHECK(x.is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16), name,
              ": must be float32 or bfloat16 on the CPU, got ", x.scalar_type(), " on ", x.device());
  TORCH_CHECK(std::max(x.size(1), x.size(2)) <= std::numeric_limits<int32_t>::max(), name,
              ": must have fewer than 2^31 rows and columns");
}

inline void check_like(const std::optional<at::Tensor>& other, const at::Tensor& x, const char* name) {
  if (!other) return;
  check_map(*other, name);
  TORCH_CHECK(other->sizes() == x.sizes() && other->scalar_type() == x.scalar_type(), name,
              ": must have the map's shape and dtype");
}

// Numbers beside the planes: one a row or a column of each image, as ``dim`` of x says.
inline void check_beside(const std::optional<at::Tensor>& numbers, const at::Tensor& x, int64_t dim, const char* name,
                         at::ScalarType type = at::kFloat) {
  if (!numbers) return;
  TORCH_CHECK(numbers->is_cpu() && numbers->is_contiguous() && numbers->scalar_type() == type, name, ": must be ", type,
              " on the CPU, contiguous");
  TORCH_CHECK(numbers->dim() == 2 && numbers->size(0) == x.size(0) && numbers->size(1) == x.size(dim), name,
              ": must have shape (", x.size(0), ", ", x.size(dim), "), got ", numbers->sizes());
}

}  // namespace whatwhere

// The operators ``pool`` and ``pool_weight_gradient``.
#include "pool.h"

#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <tuple>

#include "checks.h"

namespace whatwhere {
namespace {

std::tuple<Tensor, Tensor, Tensor> pool(const Tensor& x, int64_t dim, const Given& weight, bool largest, bool index) {
  check_map(x, "x");
  TORCH_CHECK(dim == 1 || dim == 2, "dim: must be 1 or 2, got ", dim);
  TORCH_CHECK(x.size(dim) > 0, "x: there is nothing to pool along dim ", dim);
  check_beside(weight, x, dim, "weight");
  const auto options = x.options().dtype(at::kFloat);
  const int64_t left = x.size(3 - dim);
  const auto numbers = [&](bool wanted, at::ScalarType type) {
    return wanted ? at::empty({x.size(0), left}, options.dtype(type)) : at::empty({0}, options.dtype(type));
  };
  Tensor mean = numbers(true, at::kFloat), most = numbers(largest, at::kFloat), place = numbers(largest, at::kInt);
  const Pools out{mean.mutable_data_ptr<float>(), largest ? most.mutable_data_ptr<float>() : nullptr,
                  largest ? place.mutable_data_ptr<int32_t>() : nullptr, static_cast<double>(x.size(dim))};
  if (mean.numel() > 0) (dim == 2 ? pool_across : pool_down)(x, data<float>(weight), out);
  return {mean, most, largest && !index ? numbers(false, at::kInt) : place};
}

// Adds ``x * largest`` where ``index`` points, image by image in the order of ``index``.
template <class T>
void add_largest(const Tensor& x, int64_t dim, const float* largest, const int32_t* index, float* to) {
  const int64_t columns = x.size(2), pooled = x.size(dim), left = x.size(3 - dim);
  const T* from = x.const_data_ptr<T>();
  at::parallel_for(0, x.size(0), (1 << 13) / left + 1, [&](int64_t begin, int64_t end) {
    for (int64_t image = begin; image < end; ++image) {
      const T* plane = from + image * x.size(1) * columns;
      for (int64_t i = 0; i < left; ++i) {
        const int64_t place = index[image * left + i];
        TORCH_CHECK_INDEX(place >= 0 && place < pooled, "index: ", place, " is not below ", pooled);
        const T value = dim == 1 ? plane[place * columns + i] : plane[i * columns + place];
        to[image * pooled + place] += static_cast<float>(value) * largest[image * left + i];
      }
    }
  });
}

Tensor pool_weight_gradient(const Tensor& x, int64_t dim, const Tensor& mean, const Given& largest,
                            const Given& index) {
  check_map(x, "x");
  TORCH_CHECK(dim == 1 || dim == 2, "dim: must be 1 or 2, got ", dim);
  check_beside(mean, x, 3 - dim, "mean");
  check_beside(largest, x, 3 - dim, "largest");
  check_beside(index, x, 3 - dim, "index", at::kInt);
  Tensor gradient = at::empty({x.size(0), x.size(dim)}, mean.options());
  if (x.numel() == 0) return gradient.zero_();
  const Pools out{gradient.mutable_data_ptr<float>(), nullptr, nullptr, 1.};
  (dim == 1 ? pool_across : pool_down)(x, mean.const_data_ptr<float>(), out);
  if (largest && index) {
    with_type_of(x, [&](auto type) {
      add_largest<decltype(type)>(x, dim, data<float>(largest), data<int32_t>(index), out.mean);
    });
  }
  return gradient;
}

}  // namespace

TORCH_LIBRARY_IMPL(whatwhere, CPU, m) {
  m.impl("pool", &pool);
  m.impl("pool_weight_gradient", &pool_weight_gradient);
}

}  // namespace whatwhere

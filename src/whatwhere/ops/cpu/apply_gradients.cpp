// The operator ``apply_gradients``.
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <tuple>
#include <vector>

#include "checks.h"
#include "factor.h"

namespace whatwhere {
namespace {

// Columns whose sums stay in a near cache while the rows go by.
constexpr int64_t kBlock = 1024;

// Adds ``Rows`` rows of one block of columns to the sums of both; returns the part of the strength's gradient.
template <int Rows, class Join, class T>
inline float add_rows(const T* gradient, const T* x, int64_t stride, int64_t room, const float* row,
                      const float* column, int64_t columns, float* by_row, float* by_column) {
  Vec moved(0.f), sums[Rows];
  std::fill_n(sums, Rows, Vec(0.f));
  over_packs(columns, room - (Rows - 1) * stride, [&](int64_t k, auto there, auto own) {
    const Pack numbers = load(column + k, Whole{});
    Pack down = load(by_column + k, Whole{});
    for (int i = 0; i < Rows; ++i) {
      const Pack product = load(gradient + i * stride + k, there) * load(x + i * stride + k, there);
      const int64_t next = later<Rows>(i, k, stride, kBlock);
      expect(gradient + next);
      expect(x + next);
      const Parts parts = Join::parts(product, same(row[i]), numbers);
      const Pack across = filled(parts.row, 0.f, own), strength = filled(parts.strength, 0.f, own);
      sums[i] = sums[i] + across.low + across.high;
      moved = moved + strength.low + strength.high;
      down = down + parts.column;
    }
    store(by_column + k, down, Whole{});
  });
  for (int i = 0; i < Rows; ++i) by_row[i] += total(sums[i]);
  return total(moved);
}

template <class Join, class T>
double add_task(const T* gradient, const T* x, int64_t rows, int64_t stride, const float* row, const float* column,
                float* by_row, float* by_column) {
  double moved = 0;
  for (int64_t first = 0; first < stride; first += kBlock) {
    const auto add = [&](auto together, int64_t r) {
      const int64_t at = r * stride + first;
      moved += add_rows<decltype(together)::value, Join>(gradient + at, x + at, stride, rows * stride - at, row + r,
                                                         column + first, std::min(kBlock, stride - first), by_row + r,
                                                         by_column + first);
    };
    int64_t r = 0;
    for (; r + Together::value <= rows; r += Together::value) add(Together{}, r);
    for (; r < rows; ++r) add(Alone{}, r);
  }
  return moved;
}

// The columns' sums over all tasks of an image, times the strength.
void join(const Tasks& tasks, float* parts, float strength, float* to) {
  const int64_t padded = tasks.padded(), columns = tasks.columns;
  at::parallel_for(0, tasks.images, (1 << 14) / (tasks.parts * columns + 1) + 1, [&](int64_t begin, int64_t end) {
    for (int64_t image = begin; image < end; ++image) {
      float* const sum = parts + image * tasks.parts * padded;
      over_pairs(tasks.parts, [&](int64_t one, int64_t later) {
        for (int64_t k = 0; k < columns; ++k) sum[one * padded + k] += sum[later * padded + k];
      });
      for (int64_t k = 0; k < columns; ++k) to[image * columns + k] = strength * sum[k];
    }
  });
}

std::tuple<Tensor, Tensor, Tensor> apply_gradients(const Tensor& gradient, const Tensor& x, const Given& row,
                                                   const Given& column, std::string_view how, const Given& strength) {
  check_map(x, "x");
  check_like(gradient, x, "gradient");
  const Factor factor(x, row, column, how, strength);
  const Tasks tasks(x);
  const auto options = x.options().dtype(at::kFloat);
  const Tensor drow = at::zeros({x.size(0), x.size(1)}, options);
  const Tensor dcolumn = at::empty({x.size(0), x.size(2)}, options);
  const Tensor parts = at::zeros({tasks.count(), tasks.padded()}, options);
  std::vector<double> moved(tasks.count());
  with_type_of(x, [&](auto type) {
    using T = decltype(type);
    const T *one = gradient.const_data_ptr<T>(), *other = x.const_data_ptr<T>();
    tasks.run([&](int64_t number, int64_t image, int64_t first, int64_t last) {
      const int64_t r = image * tasks.rows + first, at = r * tasks.columns;
      float* const sums = drow.mutable_data_ptr<float>() + r;
      with_join(factor.joins[image], [&](auto join) {
        moved[number] = add_task<decltype(join)>(
            one + at, other + at, last - first, tasks.columns, factor.row(image) + first, factor.column(image), sums,
            parts.mutable_data_ptr<float>() + number * tasks.padded());
      });
      for (int64_t i = 0; i < last - first; ++i) sums[i] *= factor.strength;
    });
  });
  if (column) join(tasks, parts.mutable_data_ptr<float>(), factor.strength, dcolumn.mutable_data_ptr<float>());
  double sum = 0;
  for (const double part : moved) sum += part;
  const Tensor none = at::empty({0}, options);
  const Tensor dstrength = strength ? at::full(strength->sizes(), sum, options) : none;
  return {row ? drow : none, column ? dcolumn : none, dstrength};
}

}  // namespace

TORCH_LIBRARY_IMPL(whatwhere, CPU, m) { m.impl("apply_gradients", &apply_gradients); }

}  // namespace whatwhere

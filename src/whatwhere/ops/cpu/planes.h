// Planes (B, R, K) as the kernels walk them: in tasks for the threads, some rows side by side.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <cstring>
#include <optional>
#include <type_traits>

#include "packs.h"

namespace whatwhere {

using at::Tensor;
using Given = std::optional<Tensor>;

// Rows that are walked side by side, and what is left of them one by one.
using Together = std::integral_constant<int, 4>;
using Alone = std::integral_constant<int, 1>;

// Asks for a pack that is loaded later; it need not exist.
template <class T>
inline void expect(const T* pack) {
  for (int64_t byte = 0; byte < kPack * static_cast<int64_t>(sizeof(T)); byte += 64) {
    __builtin_prefetch(reinterpret_cast<const char*>(pack) + byte, 0, 2);
  }
}

// What to ask for while ``Rows`` rows are walked side by side, at row i and column k: the packs of the next rows.
// Memory is fastest where it is asked in order, so where rows are walked whole, that is the order of asking.
template <int Rows>
inline int64_t later(int64_t i, int64_t k, int64_t columns, int64_t block) {
  return columns <= block ? Rows * (columns + k) + i * kPack : (i + Rows) * columns + k;
}

// The rows of all images in tasks of one image each. Their bounds follow from the shape alone, so what is added up in
// tasks has the same bits for any number of threads: about 32 tasks, of at least 2^15 numbers and at most 4096 rows.
struct Tasks {
  explicit Tasks(const Tensor& x) : images(x.size(0)), rows(x.size(1)), columns(x.size(2)) {
    const int64_t numbers = std::max<int64_t>(1 << 15, x.numel() / 32);
    const int64_t most = std::clamp<int64_t>(numbers / std::max<int64_t>(columns, 1), 1, 4096);
    parts = std::max<int64_t>((rows + most - 1) / most, 1);
    height = rounded_up((rows + parts - 1) / parts, Together::value);
    parts = std::max<int64_t>((rows + height - 1) / std::max<int64_t>(height, 1), 1);
  }

  int64_t count() const { return images * parts; }
  int64_t padded() const { return rounded_up(columns, kPack); }

  // Calls ``task(number, image, first, last)``, the last row excluded.
  template <class Task>
  void run(Task task) const {
    const int64_t grain = std::max<int64_t>((1 << 15) / std::max<int64_t>(height * columns, 1), 1);
    at::parallel_for(0, count(), grain, [&](int64_t begin, int64_t end) {
      for (int64_t number = begin; number < end; ++number) {
        const int64_t first = number % parts * height;
        task(number, number / parts, first, std::min(first + height, rows));
      }
    });
  }

  int64_t images, rows, columns;
  int64_t parts;   // tasks an image
  int64_t height;  // rows a task
};

// Calls ``add(one, later)`` until the first of ``count`` parts has them all: pairs, pairs of pairs and so on, so that
// sums of many parts lose little.
template <class Add>
inline void over_pairs(int64_t count, Add add) {
  for (int64_t apart = 1; apart < count; apart *= 2) {
    for (int64_t one = 0; one + apart < count; one += 2 * apart) add(one, one + apart);
  }
}

// Numbers (B, K) of 4 bytes in whole packs of columns, zeros behind, to be loaded without counting.
inline Tensor in_packs(const Tensor& numbers) {
  const int64_t columns = numbers.size(1), padded = rounded_up(columns, kPack);
  const Tensor whole = at::empty({numbers.size(0), padded}, numbers.options());
  char* to = static_cast<char*>(whole.mutable_data_ptr());
  const char* from = static_cast<const char*>(numbers.const_data_ptr());
  for (int64_t image = 0; image < numbers.size(0); ++image, to += 4 * padded, from += 4 * columns) {
    std::memcpy(to, from, 4 * columns);
    std::memset(to + 4 * columns, 0, 4 * (padded - columns));
  }
  return whole;
}

template <class T>
inline const T* data(const Given& tensor) {
  return tensor ? tensor->const_data_ptr<T>() : nullptr;
}

// Calls ``kernel`` with a number of the type that x consists of.
template <class Kernel>
inline void with_type_of(const Tensor& x, Kernel kernel) {
  if (x.scalar_type() == at::kFloat) {
    kernel(float{});
  } else {
    kernel(BFloat16{});
  }
}

}  // namespace whatwhere

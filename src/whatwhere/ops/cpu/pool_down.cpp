#include <ATen/ops/empty.h>
#include <c10/util/bit_cast.h>

#include <cstring>

#include "pool.h"

namespace whatwhere {
namespace {

// Columns whose sums and largest values stay in the nearest cache while the rows go by.
constexpr int64_t kBlock = 512;

// What is known of each column: its sum, its largest value and the row of that. Rows are counted from a task's first,
// so that a float holds their numbers, until the task is done; then they are the image's, in the bits of an int32.
struct Columns {
  Columns(float* from, int64_t padded) : sum(from), most(from + padded), place(from + 2 * padded) {}

  float *sum, *most, *place;
};

// Adds ``Rows`` rows to columns first to last.
template <int Rows, bool Largest, class T>
inline void add_rows(const T* x, int64_t stride, int64_t room, const float* weight, float row, const Columns& to,
                     int64_t first, int64_t last) {
  over_packs(last - first, room - (Rows - 1) * stride - first, [&](int64_t k, auto count, auto) {
    k += first;
    Pack values[Rows];
    for (int i = 0; i < Rows; ++i) {
      values[i] = load(x + i * stride + k, count);
      expect(x + later<Rows>(i, k, stride, kBlock));
      if (weight) values[i] = values[i] * same(weight[i]);
    }
    Pack sum = values[0];
    for (int i = 1; i < Rows; ++i) sum = sum + values[i];
    store(to.sum + k, load(to.sum + k, Whole{}) + sum, Whole{});
    if constexpr (Largest) {
      Pack most = load(to.most + k, Whole{}), place = load(to.place + k, Whole{});
      for (int i = 0; i < Rows; ++i) {
        const auto mark = [&](const Vec& value, const Vec& top, const Vec& old) {
          return where_larger(value, top, Vec(row + i), old);
        };
        place = each(mark, values[i], most, place);
        most = each(larger, most, values[i]);
      }
      store(to.most + k, most, Whole{});
      store(to.place + k, place, Whole{});
    }
  });
}

template <bool Largest, class T>
void pool_task(const T* x, const float* weight, int64_t first_row, int64_t rows, int64_t columns, const Columns& to) {
  const int64_t padded = rounded_up(columns, kPack);
  std::fill_n(to.sum, padded, 0.f);
  if constexpr (Largest) {
    std::fill_n(to.most, padded, -kInfinity);
    std::fill_n(to.place, padded, 0.f);
  }
  const auto add = [&](auto together, int64_t r, int64_t first) {
    add_rows<decltype(together)::value, Largest>(x + r * columns, columns, (rows - r) * columns,
                                                 weight ? weight + r : nullptr, r, to, first,
                                                 std::min(first + kBlock, columns));
  };
  for (int64_t first = 0; first < columns; first += kBlock) {
    int64_t r = 0;
    for (; r + Together::value <= rows; r += Together::value) add(Together{}, r, first);
    for (; r < rows; ++r) add(Alone{}, r, first);
  }
  if constexpr (Largest) {
    for (int64_t k = 0; k < columns; ++k) {
      to.place[k] = c10::bit_cast<float>(static_cast<int32_t>(first_row) + static_cast<int32_t>(to.place[k]));
    }
  }
}

// Adds to what is known of an image's columns what a later task knows.
template <bool Largest>
void join(const Columns& to, const Columns& later, int64_t padded) {
  for (int64_t k = 0; k < padded; k += kPack) {
    store(to.sum + k, load(to.sum + k, Whole{}) + load(later.sum + k, Whole{}), Whole{});
    if constexpr (Largest) {
      const Pack most = load(to.most + k, Whole{}), value = load(later.most + k, Whole{});
      store(to.place + k, each(where_larger, value, most, load(later.place + k, Whole{}), load(to.place + k, Whole{})),
            Whole{});
      store(to.most + k, each(larger, most, value), Whole{});
    }
  }
}

template <bool Largest, class T>
void finish(const T* x, const float* weight, int64_t rows, int64_t columns, const Columns& from, const Pools& out) {
  const float share = static_cast<float>(1 / out.count);
  for (int64_t k = 0; k < columns; ++k) out.mean[k] = from.sum[k] * share;
  if constexpr (Largest) {
    std::copy_n(from.most, columns, out.most);
    std::memcpy(out.place, from.place, columns * sizeof(int32_t));
    for (int64_t k = 0; k < columns; ++k) {
      if (from.sum[k] == from.sum[k]) continue;
      out.place[k] = first_largest(x + k, columns, weight, rows, out.most[k]);
    }
  }
}

template <bool Largest>
void pool_columns(const Tensor& x, const float* weight, const Pools& out) {
  const Tasks tasks(x);
  const int64_t rows = tasks.rows, columns = tasks.columns, padded = tasks.padded();
  const Tensor known = at::empty({tasks.count(), 3 * padded}, x.options().dtype(at::kFloat));
  float* const known_of = known.mutable_data_ptr<float>();
  with_type_of(x, [&](auto type) {
    using T = decltype(type);
    const T* from = x.const_data_ptr<T>();
    tasks.run([&](int64_t number, int64_t image, int64_t first, int64_t last) {
      const int64_t at = image * rows + first;
      pool_task<Largest>(from + at * columns, weight ? weight + at : nullptr, first, last - first, columns,
                         Columns(known_of + number * 3 * padded, padded));
    });
    at::parallel_for(0, tasks.images, (1 << 13) / (tasks.parts * columns) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t image = begin; image < end; ++image) {
        const auto of = [&](int64_t part) {
          return Columns(known_of + (image * tasks.parts + part) * 3 * padded, padded);
        };
        over_pairs(tasks.parts, [&](int64_t one, int64_t later) { join<Largest>(of(one), of(later), padded); });
        finish<Largest>(from + image * rows * columns, weight ? weight + image * rows : nullptr, rows, columns, of(0),
                        out.from(image * columns));
      }
    });
  });
}

}  // namespace

void pool_down(const Tensor& x, const float* weight, const Pools& out) {
  out.most ? pool_columns<true>(x, weight, out) : pool_columns<false>(x, weight, out);
}

}  // namespace whatwhere

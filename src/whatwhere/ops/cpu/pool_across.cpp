#include <c10/util/llvmMathExtras.h>

#include "pool.h"

namespace whatwhere {
namespace {

// So many columns are added up in float32, and these sums in float64.
constexpr int64_t kSegment = 1 << 15;

template <class T>
struct Row {
  const T* x;
  const float* weight;
  int64_t columns;
  int64_t room;  // how far x may be read, the rows behind it included

  template <class Count>
  Pack gated(int64_t k, Count count) const {
    const Pack pack = load(x + k, count);
    return weight ? pack * load(weight + k, count) : pack;
  }

  // Where the first number that equals ``value`` stands, from column k on.
  int64_t first_equal(float value, int64_t k) const {
    for (; k < columns; k += kPack) {
      const Pack pack = k + kPack <= columns ? gated(k, Whole{}) : gated(k, columns - k);
      const uint64_t bits = equal_bits(pack.low, Vec(value)) | equal_bits(pack.high, Vec(value)) << kLanes;
      if (bits != 0) return k + c10::llvm::countTrailingZeros(bits);
    }
    return 0;  // not reached, unless somebody changes x meanwhile
  }
};

struct Top {
  float value = -kInfinity;
  int64_t segment = 0;
};

// The sum of columns first to last.
template <bool Largest, class T>
inline float segment(const Row<T>& row, int64_t first, int64_t last, Top& top) {
  Pack sum = same(0.f), most = same(-kInfinity);
  over_packs(last - first, row.weight ? 0 : row.room - first, [&](int64_t k, auto there, auto own) {
    const Pack pack = row.gated(first + k, there);
    sum = sum + filled(pack, 0.f, own);
    if constexpr (Largest) most = each(larger, most, filled(pack, -kInfinity, own));
  });
  if constexpr (Largest) {
    const float value = largest_of(larger(most.low, most.high));
    if (value > top.value) top = {value, first};
  }
  return total(sum.low + sum.high);
}

template <bool Largest, class T>
inline void pool_row(const Row<T>& row, const Pools& out, int64_t to) {
  double sum = 0;
  Top top;
  for (int64_t first = 0; first < row.columns; first += kSegment) {
    sum += segment<Largest>(row, first, std::min(first + kSegment, row.columns), top);
  }
  out.mean[to] = static_cast<float>(sum / out.count);
  if constexpr (Largest) {
    const int64_t place = sum != sum ? first_largest(row.x, 1, row.weight, row.columns, top.value)
                                     : row.first_equal(top.value, top.segment);
    out.most[to] = top.value;
    out.place[to] = static_cast<int32_t>(place);
  }
}

// Rows up to this long are taken kLanes at a time, one a lane: no sum over the lanes of a vector, no second look.
constexpr int64_t kShort = 128;

inline const float* as_floats(const float* x, int64_t, float*) { return x; }
inline const float* as_floats(const BFloat16* x, int64_t numbers, float* space) {
  over_packs(numbers, numbers, [&](int64_t k, auto count, auto) { store(space + k, load(x + k, count), count); });
  return space;
}

template <bool Largest, class T>
inline void pool_lanes(const T* x, const float* weight, int64_t columns, const Pools& out, int64_t to) {
  alignas(64) float space[kShort * kLanes], lanes[kShort * kLanes];
  at::vec::transpose_mxn<float>(as_floats(x, columns * kLanes, space), columns, lanes, kLanes, kLanes,
                                static_cast<int>(columns));
  Vec sum(0.f), most(-kInfinity), place(0.f);
  for (int64_t k = 0; k < columns; ++k) {
    const Vec value = Vec::loadu(lanes + k * kLanes) * Vec(weight ? weight[k] : 1.f);
    sum = sum + value;
    if constexpr (Largest) {
      place = where_larger(value, most, Vec(static_cast<float>(k)), place);
      most = larger(most, value);
    }
  }
  (sum * Vec(static_cast<float>(1 / out.count))).store(out.mean + to);
  if constexpr (Largest) {
    most.store(out.most + to);
    at::vec::convert_to_int_of_same_size(place).store(out.place + to);
    for (int64_t r = 0; r < kLanes; ++r) {
      if (out.mean[to + r] == out.mean[to + r]) continue;
      out.place[to + r] = first_largest(x + r * columns, 1, weight, columns, out.most[to + r]);
    }
  }
}

template <bool Largest>
void pool_rows(const Tensor& x, const float* weight, const Pools& out) {
  const Tasks tasks(x);
  const int64_t columns = tasks.columns;
  with_type_of(x, [&](auto type) {
    using T = decltype(type);
    const T *const from = x.const_data_ptr<T>(), *const end = from + x.numel();
    tasks.run([&](int64_t, int64_t image, int64_t first, int64_t last) {
      const float* along = weight ? weight + image * columns : nullptr;
      int64_t r = image * tasks.rows + first;
      const int64_t stop = image * tasks.rows + last;
      for (; columns <= kShort && r + kLanes <= stop; r += kLanes) {
        pool_lanes<Largest>(from + r * columns, along, columns, out, r);
      }
      for (; r < stop; ++r) {
        const T* const row = from + r * columns;
        pool_row<Largest>(Row<T>{row, along, columns, end - row}, out, r);
      }
    });
  });
}

}  // namespace

void pool_across(const Tensor& x, const float* weight, const Pools& out) {
  out.most ? pool_rows<true>(x, weight, out) : pool_rows<false>(x, weight, out);
}

}  // namespace whatwhere

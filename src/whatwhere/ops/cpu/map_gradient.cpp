// The operator ``map_gradient``.
#include <ATen/core/List.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include "checks.h"
#include "factor.h"
#include "output.h"

namespace whatwhere {
namespace {

// Gradients of what was pooled; null where there is none.
struct Pooled {
  const float* mean;
  const float* largest;
  const int32_t* index;
  const float* weight;
};

// Those of all images, what runs along columns in whole packs.
struct AllPooled {
  AllPooled(const c10::List<Given>& given, const Tensor& x, int64_t dim, const char* name) {
    if (given.empty()) return;
    TORCH_CHECK(given.size() == 4, name, ": must have four members or none, got ", given.size());
    for (const int64_t i : {0, 1, 2, 3}) {
      const int64_t along = i == 3 ? dim : 3 - dim;
      check_beside(given[i], x, along, name, i == 2 ? at::kInt : at::kFloat);
      if (const Given numbers = given[i]) members[i] = along == 2 ? in_packs(*numbers) : *numbers;
    }
    TORCH_CHECK(members[0], name, ": must have a mean");
    TORCH_CHECK(members[1].has_value() == members[2].has_value(), name, ": must have largest and index or neither");
  }

  Pooled of(int64_t image) const {
    const auto at = [&](int i, auto zero) -> const decltype(zero)* {
      return members[i] ? members[i]->const_data_ptr<decltype(zero)>() + image * members[i]->size(1) : nullptr;
    };
    return {at(0, 0.f), at(1, 0.f), at(2, int32_t{}), at(3, 0.f)};
  }

  Given members[4];
};

// The values at ``place``; ``low`` and ``high`` are the places of the halves.
inline Pack only_at(int64_t place, const Places& low, const Places& high, const Pack& values) {
  const Places wanted(static_cast<int32_t>(place));
  return {where_equal(low, wanted, values.low), where_equal(high, wanted, values.high)};
}

// What row r of an image takes from along its columns, at the pack of column k.
inline Pack from_across(const Pooled& across, int64_t r, int64_t k) {
  Pack value = same(across.mean[r]);
  if (across.largest) {
    const Places lanes = Places::arange(0, 1);
    value = value + only_at(across.index[r] - k, lanes, lanes + Places(kLanes), same(across.largest[r]));
  }
  return across.weight ? value * load(across.weight + k, Whole{}) : value;
}

// What the pack of column k takes from along the rows, in row r.
inline Pack from_down(const Pooled& down, int64_t r, int64_t k) {
  Pack value = load(down.mean + k, Whole{});
  if (down.largest) {
    const int32_t* const index = down.index + k;
    value = value + only_at(r, Places::loadu(index), Places::loadu(index + kLanes), load(down.largest + k, Whole{}));
  }
  return down.weight ? value * same(down.weight[r]) : value;
}

// What all elements of one image share; null where there is none.
template <class T>
struct Sources {
  const T *gradient, *extra;
  const float *row, *column;
  Vec strength;
  Pooled across, down;
};

// Columns for which all numbers beside the map stay in the nearest cache while the rows go by.
constexpr int64_t kBlock = 1024;

// Columns first to last of row r, which stands at ``start`` in the map; ``room`` as over_packs has it.
template <class Join, class T>
inline void write_row(const Sources<T>& from, int64_t start, int64_t r, int64_t first, int64_t last, int64_t room,
                      const Output<T>& out) {
  const Vec row(from.row ? from.row[r] : 0.f);
  over_packs(last - first, room, [&](int64_t k, auto count, auto) {
    k += first;
    const int64_t at = start + k;
    Pack sum = same(0.f);
    if (from.gradient) {
      const auto factor = [&](const Vec& number) { return Join::factor(row, number, from.strength); };
      sum = load(from.gradient + at, count) * each(factor, load(from.column + k, Whole{}));
    }
    if (from.extra) sum = sum + load(from.extra + at, count);
    if (from.across.mean) sum = sum + from_across(from.across, r, k);
    if (from.down.mean) sum = sum + from_down(from.down, r, k);
    out.put(at, sum, count);
  });
}

Tensor map_gradient(const Tensor& x, const Given& gradient, const Given& row, const Given& column,
                    std::string_view how, const Given& strength, const c10::List<Given>& across,
                    const c10::List<Given>& down, const Given& extra) {
  check_map(x, "x");
  check_like(gradient, x, "gradient");
  check_like(extra, x, "extra");
  std::optional<Factor> factor;
  if (gradient) factor.emplace(x, row, column, how, strength);
  const AllPooled by_row(across, x, 2, "across"), by_column(down, x, 1, "down");
  const Tensor written = at::empty_like(x);
  const Tasks tasks(x);
  with_type_of(x, [&](auto type) {
    using T = decltype(type);
    const Output<T> out(written);
    tasks.run([&](int64_t, int64_t image, int64_t first, int64_t last) {
      const Sources<T> from{data<T>(gradient),
                            data<T>(extra),
                            factor ? factor->row(image) : nullptr,
                            factor ? factor->column(image) : nullptr,
                            Vec(factor ? factor->strength : 1.f),
                            by_row.of(image),
                            by_column.of(image)};
      const int64_t columns = tasks.columns, at = image * tasks.rows * columns;
      with_join(factor ? factor->joins[image] : Join::kGates, [&](auto join) {
        for (int64_t k = 0; k < columns; k += kBlock) {
          for (int64_t r = first; r < last; ++r) {
            // With several blocks the rows behind have been begun.
            const int64_t room = columns <= kBlock ? (last - r) * columns : 0;
            write_row<decltype(join)>(from, at + r * columns, r, k, std::min(k + kBlock, columns), room, out);
          }
        }
      });
      out.done();
    });
  });
  return written;
}

}  // namespace

TORCH_LIBRARY_IMPL(whatwhere, CPU, m) { m.impl("map_gradient", &map_gradient); }

}  // namespace whatwhere

// The operator ``apply``.
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include "checks.h"
#include "factor.h"
#include "output.h"

namespace whatwhere {
namespace {

template <class T>
struct Inputs {
  const T *x, *residual;
  Vec strength, least;  // no result is smaller than ``least``
};

// Row ``at`` of the map on; ``room`` as over_packs has it.
template <class Join, class T>
inline void apply_row(const Inputs<T>& from, int64_t at, const Vec& row, const float* column, int64_t columns,
                      int64_t room, const Output<T>& out) {
  over_packs(columns, room, [&](int64_t k, auto count, auto) {
    const auto factor = [&](const Vec& number) { return Join::factor(row, number, from.strength); };
    Pack pack = load(from.x + at + k, count) * each(factor, load(column + k, Whole{}));
    if (from.residual) pack = pack + load(from.residual + at + k, count);
    out.put(at + k, each([&](const Vec& value) { return larger(value, from.least); }, pack), count);
  });
}

Tensor apply(const Tensor& x, const Given& row, const Given& column, std::string_view how, const Given& strength,
             const Given& residual, bool relu) {
  check_map(x, "x");
  check_like(residual, x, "residual");
  const Factor factor(x, row, column, how, strength);
  const Tensor written = at::empty_like(x);
  const Tasks tasks(x);
  with_type_of(x, [&](auto type) {
    using T = decltype(type);
    const Inputs<T> from{x.const_data_ptr<T>(), data<T>(residual), Vec(factor.strength), Vec(relu ? 0.f : -kInfinity)};
    const Output<T> out(written);
    tasks.run([&](int64_t, int64_t image, int64_t first, int64_t last) {
      const float *rows = factor.row(image), *column = factor.column(image);
      with_join(factor.joins[image], [&](auto join) {
        for (int64_t r = first; r < last; ++r) {
          apply_row<decltype(join)>(from, (image * tasks.rows + r) * tasks.columns, Vec(rows[r]), column, tasks.columns,
                                    (last - r) * tasks.columns, out);
        }
      });
      out.done();
    });
  });
  return written;
}

}  // namespace

TORCH_LIBRARY_IMPL(whatwhere, CPU, m) { m.impl("apply", &apply); }

}  // namespace whatwhere

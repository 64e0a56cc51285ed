// Sums and largest values of planes, along columns (``pool_across``) and along rows (``pool_down``).
#pragma once

#include "planes.h"

namespace whatwhere {

// Where results go, one a row or a column; ``most`` and ``place`` are null where only sums are wanted.
struct Pools {
  float* mean;
  float* most;
  int32_t* place;
  double count;  // what sums are divided by

  Pools from(int64_t number) const {
    return {mean + number, most ? most + number : nullptr, place ? place + number : nullptr, count};
  }
};

void pool_across(const Tensor& x, const float* weight, const Pools& out);
void pool_down(const Tensor& x, const float* weight, const Pools& out);

// The first of the largest of ``count`` numbers, ``stride`` apart; a NaN is larger than any number. The loops below
// do not see NaNs and come here when their sum is one, as it is when there was one.
template <class T>
inline int32_t first_largest(const T* x, int64_t stride, const float* weight, int64_t count, float& most) {
  int64_t place = 0;
  for (int64_t i = 0; i < count; ++i) {
    const float value = static_cast<float>(x[i * stride]) * (weight ? weight[i] : 1.f);
    if (i == 0 || value > most || (value != value && most == most)) most = value, place = i;
  }
  return static_cast<int32_t>(place);
}

}  // namespace whatwhere

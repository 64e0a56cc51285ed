// Writing a map: large ones go past the caches, which saves reading what is about to be overwritten.
#pragma once

#include "planes.h"

namespace whatwhere {

#if defined(CPU_CAPABILITY_AVX512)
inline void stream(float* to, const Vec& values) { _mm512_stream_ps(to, values); }
inline void stream(BFloat16* to, const at::vec::Vectorized<BFloat16>& values) {
  _mm512_stream_si512(reinterpret_cast<__m512i*>(to), values);
}
inline void settle() { _mm_sfence(); }
#elif defined(CPU_CAPABILITY_AVX2)
inline void stream(float* to, const Vec& values) { _mm256_stream_ps(to, values); }
inline void stream(BFloat16* to, const at::vec::Vectorized<BFloat16>& values) {
  _mm256_stream_si256(reinterpret_cast<__m256i*>(to), values);
}
inline void settle() { _mm_sfence(); }
#else
template <class T, class Values>
inline void stream(T* to, const Values& values) {
  values.store(to);
}
inline void settle() {}
#endif

// From this size on a map is gone from the caches before anybody reads it; below, whoever reads it next loses more than
// the writer gains.
constexpr size_t kPastCaches = 16 << 20;

template <class T>
class Output {
 public:
  explicit Output(const Tensor& out)
      : to_(out.mutable_data_ptr<T>()),
        past_(out.nbytes() >= kPastCaches && out.size(2) % kPack == 0 && reinterpret_cast<uintptr_t>(to_) % 64 == 0) {
  }

  void put(int64_t at, const Pack& pack, Whole whole) const {
    if (!past_) return store(to_ + at, pack, whole);
    if constexpr (std::is_same_v<T, float>) {
      stream(to_ + at, pack.low);
      stream(to_ + at + kLanes, pack.high);
    } else {
      stream(to_ + at, at::vec::convert_float_bfloat16(pack.low, pack.high));
    }
  }
  void put(int64_t at, const Pack& pack, int64_t count) const { store(to_ + at, pack, count); }

  // To be called by each thread when it has written.
  void done() const {
    if (past_) settle();
  }

 private:
  T* to_;
  bool past_;
};

}  // namespace whatwhere

// Waiting for another thread without the kernel's help, for the short time in which that is faster.
#pragma once
#include <chrono>
#include <thread>

namespace intaglio {

// Longer than the gap between two kernels, shorter than anyone would notice on a shared machine.
inline constexpr auto kSpinTime = std::chrono::microseconds(40);

inline void Pause() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

// Whether is_ready() came true within `time`.
template <typename Ready>
bool SpinUntil(std::chrono::microseconds time, Ready is_ready) noexcept {
  constexpr int kPausesPerLook = 16;   // at the clock
  if (is_ready()) return true;
  if (time == time.zero()) return false;
  const auto deadline = std::chrono::steady_clock::now() + time;
  do {
    for (int i = 0; i < kPausesPerLook; ++i) {
      Pause();
      if (is_ready()) return true;
    }
  } while (std::chrono::steady_clock::now() < deadline);
  return false;
}

}  // namespace intaglio

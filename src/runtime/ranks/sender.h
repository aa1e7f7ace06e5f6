// A thread that runs a rank's all-reduces while its others compute: where ranks are connected by a network, the sum of some rows travels
// while the next rows are multiplied. Rows are summed by themselves, so that how they are cut changes no bit.
#pragma once
#include <atomic>
#include <cstdint>
#include <exception>
#include <span>
#include <thread>

#include "collectives/collectives.h"

namespace intaglio::runtime {

// Used by one thread, which leaves the group alone between Post and the return of Wait.
class Sender {
 public:
  explicit Sender(collectives::Collectives& group);
  ~Sender();
  Sender(const Sender&) = delete;
  Sender& operator=(const Sender&) = delete;

  // Hands over an all-reduce, once the one before is done. `values` belong to the sender until Wait returns.
  void Post(std::span<float> values, collectives::Wire wire);
  // Returns when all is done that was posted. Throws the group's Error.
  void Wait();

 private:
  void Loop();
  void AwaitDone() noexcept;

  collectives::Collectives& group_;
  std::span<float> values_;
  collectives::Wire wire_{};
  std::exception_ptr failure_;
  alignas(64) std::atomic<uint32_t> posted_{0};
  alignas(64) std::atomic<uint32_t> done_{0};
  bool is_over_ = false;
  std::thread thread_;
};

}  // namespace intaglio::runtime

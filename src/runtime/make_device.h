// What an engine computes on: one rank here, several as threads, or processes that have joined.
#pragma once
#include <memory>

#include "bundle/bundle.h"
#include "intaglio/engine.h"
#include "kernels/isa.h"
#include "runtime/device.h"

namespace intaglio::runtime {

// One rank computes on this thread and its pool, several on threads of their own or in processes that have joined. `bundle` (as rank 0 sees
// it, checked) must outlive it. Throws Error as CpuDevice, ThreadRanks and PlaceRanks, and kInvalidArgument when the processes that have
// joined are not as many as the bundle's ranks.
[[nodiscard]] std::unique_ptr<Device> MakeDevice(const bundle::Bundle& bundle, kernels::Isa isa, const EngineOptions& options);

}  // namespace intaglio::runtime

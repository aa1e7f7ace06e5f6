// Golden tensors as numbers.
#pragma once
#include <string>
#include <vector>

#include "checkpoint/safetensors.h"

namespace intaglio::parity {

// Throws Error naming the tensor when it is missing or not f32.
[[nodiscard]] std::vector<float> ToF32(const checkpoint::SafetensorsFile& file, const std::string& name);

}  // namespace intaglio::parity

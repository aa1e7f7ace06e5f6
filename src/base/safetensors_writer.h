// Writes named tensors as a .safetensors file, whole or not at all.
#pragma once
#include <filesystem>
#include <span>
#include <string>

#include "base/tensor.h"

namespace intaglio {

struct NamedTensor {
  std::string name;  // UTF-8
  TensorView tensor;
};

// Wide elements come first, so that every tensor is aligned; the order of equals is kept. The same input gives the same file.
// Throws Error: kInvalidArgument for a repeated or reserved name, or bytes that do not fit the shape; otherwise as OutputFile does.
void WriteSafetensors(const std::filesystem::path& path, std::span<const NamedTensor> tensors);

}  // namespace intaglio

#include "parity/tensors.h"

#include <cstring>

#include "base/fail.h"

namespace intaglio::parity {

std::vector<float> ToF32(const checkpoint::SafetensorsFile& file, const std::string& name) {
  const TensorView& tensor = file.tensor(name);
  Require(tensor.dtype == DType::kF32, ErrorCode::kDataLoss, "golden tensor ", name, " is ", tensor.dtype, ", expected f32");
  std::vector<float> values(tensor.bytes.size() / sizeof(float));
  std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

}  // namespace intaglio::parity

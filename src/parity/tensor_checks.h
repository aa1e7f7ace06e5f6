// Inner values of the probed prompt against golden tensors.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "checkpoint/safetensors.h"
#include "intaglio/parity.h"

namespace intaglio::parity {

// Values by probe name, [rows, columns] as an engine has them.
using ProbeValues = std::map<std::string, std::vector<float>>;

// How far an element may be from its golden: an amount, and a part of the tensor's largest entry.
struct Tolerance {
  double absolute = 0, relative = 0;
};
// `actual` against the golden tensor `name`. Throws Error naming the tensor when it is missing or not f32.
[[nodiscard]] ParityCheck CheckTensor(const checkpoint::SafetensorsFile& golden, const std::string& name, const std::vector<float>& actual,
                                      const Tolerance& tolerance);
// Names of the golden tensors "<prefix><name>" that a step can have: hidden states and what layers probe.
[[nodiscard]] std::vector<std::string> ProbeNames(const checkpoint::SafetensorsFile& golden, const std::string& prefix);
// One check a name; `tolerance` is relative to the tensor's largest entry. A name without values is a miss.
[[nodiscard]] std::vector<ParityCheck> CheckProbes(const checkpoint::SafetensorsFile& golden, const std::string& prefix, const ProbeValues& values,
                                                   double tolerance);
// Of the hidden states, in the order of the layers.
[[nodiscard]] std::vector<LayerDrift> MeasureDrift(const checkpoint::SafetensorsFile& golden, const std::string& prefix, const ProbeValues& values);

}  // namespace intaglio::parity

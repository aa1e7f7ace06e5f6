#include "parity/tensor_checks.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/fail.h"
#include "parity/golden.h"
#include "parity/graph_checks.h"
#include "parity/worst_element.h"

namespace intaglio::parity {
namespace {

using checkpoint::SafetensorsFile;

// [rows, heads * dim] as the engine has it -> [heads, rows, dim] as the goldens have it.
std::vector<float> HeadsFirst(const std::vector<float>& values, const Shape& shape) {
  const int64_t heads = shape[0], rows = shape[1], dim = shape[2];
  if (std::ssize(values) != heads * rows * dim) return values;
  std::vector<float> out(values.size());
  for (int64_t head = 0; head < heads; ++head) {
    for (int64_t row = 0; row < rows; ++row) {
      std::copy_n(values.begin() + (row * heads + head) * dim, dim, out.begin() + (head * rows + row) * dim);
    }
  }
  return out;
}

// A row's experts are compared as a set, and their weights by expert: the order within a row is free.
std::vector<ParityCheck> CheckExperts(const SafetensorsFile& golden, const std::string& prefix, const std::vector<float>& ids,
                                      const std::vector<float>& weights, double tolerance) {
  const TensorView golden_ids = golden.tensor(prefix + "expert_ids");
  const size_t num_ids = golden_ids.bytes.size() / sizeof(int32_t);
  ParityCheck sets{.name = prefix + "expert_ids", .worst = 0, .tolerance = 0, .where = {}, .is_ok = true};
  if (golden_ids.dtype != DType::kI32 || ids.size() != num_ids || weights.size() != num_ids) {
    return {{.name = sets.name,
             .worst = INFINITY,
             .tolerance = 0,
             .where = StrCat(ids.size(), " ids instead of i32 ", golden_ids.shape),
             .is_ok = false}};
  }
  const auto top_k = static_cast<size_t>(golden_ids.shape.back());
  std::vector<float> found(num_ids, 0.0f);
  for (size_t i = 0; i < num_ids; ++i) {
    int32_t expert = 0;
    std::memcpy(&expert, golden_ids.bytes.data() + i * sizeof expert, sizeof expert);
    const auto row = ids.begin() + static_cast<ptrdiff_t>(i / top_k * top_k), end = row + static_cast<ptrdiff_t>(top_k);
    const auto match = std::find(row, end, static_cast<float>(expert));
    if (match != end) {
      found[i] = weights[static_cast<size_t>(match - ids.begin())];
      continue;
    }
    sets.worst += 1;
    sets.where = StrCat("row ", i / top_k, ": expert ", expert, " was not chosen");
  }
  sets.is_ok = sets.worst == 0;
  return {std::move(sets), CheckTensor(golden, prefix + "expert_weights", found, {.relative = tolerance})};
}

double RelativeError(const std::vector<float>& actual, const std::vector<float>& expected) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double e = expected[i], d = actual[i] - e;
    difference += d * d, size += e * e;
  }
  return difference == 0 ? 0 : std::sqrt(difference / size);
}

}  // namespace

ParityCheck CheckTensor(const SafetensorsFile& golden, const std::string& name, const std::vector<float>& actual, const Tolerance& tolerance) {
  const std::vector<float> expected = ToF32(golden, name);
  const Shape& shape = golden.tensor(name).shape;
  if (actual.size() != expected.size()) {
    return {.name = name,
            .worst = INFINITY,
            .tolerance = tolerance.absolute + tolerance.relative,
            .where = StrCat(actual.size(), " elements instead of ", shape),
            .is_ok = false};
  }
  const WorstElement worst = FindWorst(actual, expected);
  const double allowed = tolerance.absolute + tolerance.relative * worst.largest;
  return {.name = name, .worst = worst.error, .tolerance = allowed, .where = Where(worst, shape.back()), .is_ok = worst.error <= allowed};
}

std::vector<std::string> ProbeNames(const SafetensorsFile& golden, const std::string& prefix) {
  std::vector<std::string> names;
  for (const std::string& name : golden.names()) {
    if ((name.starts_with(prefix + "hidden.") || name.starts_with(prefix + "layer")) && !IsGraphProbe(name))
      names.push_back(name.substr(prefix.size()));
  }
  return names;
}

std::vector<ParityCheck> CheckProbes(const SafetensorsFile& golden, const std::string& prefix, const ProbeValues& values, double tolerance) {
  std::vector<ParityCheck> checks;
  for (const std::string& name : ProbeNames(golden, prefix)) {
    const Shape& shape = golden.tensor(prefix + name).shape;
    Require(shape.size() >= 2 && shape.num_elements() > 0, ErrorCode::kDataLoss, "golden tensor ", prefix, name, " has shape ", shape,
            ", expected rows and columns");
    const auto found = values.find(name);
    if (found == values.end()) {
      checks.push_back({.name = prefix + name, .worst = INFINITY, .tolerance = 0, .where = "the engine has no such probe", .is_ok = false});
    } else if (name.ends_with(".expert_ids")) {
      const std::string layer = name.substr(0, name.rfind('.') + 1);
      const auto weights = values.find(layer + "expert_weights");
      const std::vector<float> none;
      std::ranges::move(CheckExperts(golden, prefix + layer, found->second, weights == values.end() ? none : weights->second, tolerance),
                        std::back_inserter(checks));
    } else if (!name.ends_with(".expert_weights")) {
      checks.push_back(
          CheckTensor(golden, prefix + name, shape.size() == 3 ? HeadsFirst(found->second, shape) : found->second, {.relative = tolerance}));
    }
  }
  return checks;
}

std::vector<LayerDrift> MeasureDrift(const SafetensorsFile& golden, const std::string& prefix, const ProbeValues& values) {
  std::vector<LayerDrift> drift;
  const auto measure = [&](const std::string& name) {
    const std::string tensor = StrCat(prefix, "hidden.", name);
    const auto found = values.find("hidden." + name);
    if (!golden.has(tensor) || found == values.end()) return false;
    const std::vector<float> expected = ToF32(golden, tensor);
    if (found->second.size() != expected.size()) return false;
    drift.push_back({.name = name, .error = RelativeError(found->second, expected)});
    return true;
  };
  measure("embed");
  for (int layer = 0; measure(StrCat("layer", layer)); ++layer) {}
  measure("final_norm");
  return drift;
}

}  // namespace intaglio::parity

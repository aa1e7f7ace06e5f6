#include "layers/rope.h"

#include <array>
#include <charconv>
#include <cmath>
#include <numbers>

#include "base/assert.h"
#include "base/strings.h"

namespace intaglio::layers {
namespace {

// torch computes `scalar / tensor` as scalar * reciprocal(tensor), each rounded to f32; so does this file.
float ScalarOver(double scalar, float x) { return static_cast<float>(scalar) * (1.0f / x); }

// _compute_llama3_parameters: long wavelengths are stretched by `factor`, short ones kept, those between interpolated.
float Llama3Frequency(const RopeSpec& spec, float frequency) {
  const double context = static_cast<double>(spec.original_max_position);
  const float wavelength = ScalarOver(2 * std::numbers::pi, frequency);
  const auto longest = static_cast<float>(context / spec.low_freq_factor), shortest = static_cast<float>(context / spec.high_freq_factor);
  const auto factor = static_cast<float>(spec.factor);
  if (wavelength > longest) return frequency / factor;
  if (wavelength < shortest) return frequency;
  const float smooth =
      (ScalarOver(context, wavelength) - static_cast<float>(spec.low_freq_factor)) / static_cast<float>(spec.high_freq_factor - spec.low_freq_factor);
  return (1.0f - smooth) * frequency / factor + smooth * frequency;
}

// The shortest text that reads back as `value`.
std::string Exact(double value) {
  std::array<char, 32> text{};
  return {text.data(), std::to_chars(text.data(), text.data() + text.size(), value).ptr};
}

}  // namespace

std::vector<float> InverseFrequencies(const RopeSpec& spec) {
  Assert(spec.rotary_dim > 0 && spec.rotary_dim % 2 == 0);
  std::vector<float> frequencies;
  for (int64_t i = 0; i < spec.rotary_dim; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(spec.rotary_dim);
    const float frequency = 1.0f / static_cast<float>(std::pow(static_cast<double>(static_cast<float>(spec.theta)), static_cast<double>(exponent)));
    switch (spec.scaling) {
      case RopeScaling::kNone:
        frequencies.push_back(frequency);
        break;
      case RopeScaling::kLinear:
        frequencies.push_back(frequency / static_cast<float>(spec.factor));
        break;
      case RopeScaling::kLlama3:
        frequencies.push_back(Llama3Frequency(spec, frequency));
        break;
    }
  }
  return frequencies;
}

std::vector<float> RopeTableData(const RopeSpec& spec, int64_t max_context) {
  const std::vector<float> frequencies = InverseFrequencies(spec);
  const size_t half = frequencies.size();
  std::vector<float> table(static_cast<size_t>(max_context) * 2 * half);
  for (int64_t position = 0; position < max_context; ++position) {
    float* row = table.data() + static_cast<size_t>(position) * 2 * half;
    for (size_t i = 0; i < half; ++i) {
      const float angle = static_cast<float>(position) * frequencies[i];
      row[i] = static_cast<float>(std::cos(static_cast<double>(angle)));
      row[half + i] = static_cast<float>(std::sin(static_cast<double>(angle)));
    }
  }
  return table;
}

std::string RopeTable::name() const {
  std::string name = StrCat("rope.dim", spec_.rotary_dim, ".theta", Exact(spec_.theta));
  if (spec_.scaling == RopeScaling::kLinear) name += StrCat(".linear", Exact(spec_.factor));
  if (spec_.scaling == RopeScaling::kLlama3) {
    name += StrCat(".llama3_", Exact(spec_.factor), '_', Exact(spec_.low_freq_factor), '_', Exact(spec_.high_freq_factor), '_',
                   spec_.original_max_position);
  }
  return name;
}

std::shared_ptr<const std::vector<float>> RopeTable::Data(int64_t max_context) const {
  const std::lock_guard lock(mutex_);
  auto& data = data_[max_context];
  if (data == nullptr) data = std::make_shared<const std::vector<float>>(RopeTableData(spec_, max_context));
  return data;
}

graph::ValueRef Rope(const graph::Builder& b, graph::ValueRef x, int64_t head_dim, const RopeTable& table) {
  const int64_t rotary_dim = table.spec().rotary_dim;
  const graph::ValueRef data = b.Table(table.name(), {b.max_context(), rotary_dim}, table.Data(b.max_context()));
  return graph::Rope(b, x, data, {.head_dim = head_dim, .rotary_dim = rotary_dim, .style = graph::RopeStyle::kHalves});
}

}  // namespace intaglio::layers

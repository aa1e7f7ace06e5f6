#include "layers/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/assert.h"
#include "base/hash.h"
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

// _compute_yarn_parameters: columns that turn often within the original context keep their frequency, those that turn rarely are stretched
// by `factor`; a ramp over the columns between.
class YarnRamp {
 public:
  YarnRamp() = default;
  explicit YarnRamp(const RopeSpec& spec) : low_(ColumnOfTurns(spec, spec.beta_fast)), high_(ColumnOfTurns(spec, spec.beta_slow)) {
    if (spec.truncate) low_ = std::floor(low_), high_ = std::ceil(high_);
    low_ = std::max(low_, 0.0), high_ = std::min(high_, static_cast<double>(spec.rotary_dim - 1));
    if (low_ == high_) high_ += 0.001;
  }
  // How much of the column's frequency is stretched.
  [[nodiscard]] float Stretched(int64_t column) const {
    return std::clamp((static_cast<float>(column) - static_cast<float>(low_)) / static_cast<float>(high_ - low_), 0.0f, 1.0f);
  }

 private:
  // The pair of columns that makes `turns` within the original context.
  static double ColumnOfTurns(const RopeSpec& spec, double turns) {
    const double length = static_cast<double>(spec.original_max_position) / (turns * 2 * std::numbers::pi);
    return static_cast<double>(spec.rotary_dim) * std::log(length) / (2 * std::log(spec.theta));
  }
  double low_ = 0, high_ = 1;
};

float YarnFrequency(const RopeSpec& spec, const YarnRamp& ramp, int64_t column, float power) {
  const float kept = 1.0f - ramp.Stretched(column);
  return 1.0f / (static_cast<float>(spec.factor) * power) * (1.0f - kept) + 1.0f / power * kept;
}

void AppendRows(const RopeSpec& spec, SequenceLength length, int64_t rows, std::vector<float>& table) {
  const std::vector<float> frequencies = InverseFrequencies(spec, length);
  const size_t half = frequencies.size(), begin = table.size();
  const auto attention_factor = static_cast<float>(spec.attention_factor);
  table.resize(begin + static_cast<size_t>(rows) * 2 * half);
  for (int64_t position = 0; position < rows; ++position) {
    float* row = table.data() + begin + static_cast<size_t>(position) * 2 * half;
    for (size_t i = 0; i < half; ++i) {
      const float angle = static_cast<float>(position) * frequencies[i];
      row[i] = static_cast<float>(std::cos(static_cast<double>(angle))) * attention_factor;
      row[half + i] = static_cast<float>(std::sin(static_cast<double>(angle))) * attention_factor;
    }
  }
}

}  // namespace

std::vector<float> InverseFrequencies(const RopeSpec& spec, SequenceLength length) {
  Assert(spec.rotary_dim > 0 && spec.rotary_dim % 2 == 0);
  const YarnRamp ramp = spec.scaling == RopeScaling::kYarn ? YarnRamp(spec) : YarnRamp();
  const std::vector<float>& factors = length == SequenceLength::kLong ? spec.long_factors : spec.short_factors;
  std::vector<float> frequencies;
  for (int64_t i = 0; i < spec.rotary_dim; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(spec.rotary_dim);
    const auto power = static_cast<float>(std::pow(static_cast<double>(static_cast<float>(spec.theta)), static_cast<double>(exponent)));
    const float frequency = 1.0f / power;
    switch (spec.scaling) {
      case RopeScaling::kNone:
      case RopeScaling::kDynamic:
        frequencies.push_back(frequency);
        break;
      case RopeScaling::kLinear:
        frequencies.push_back(frequency / static_cast<float>(spec.factor));
        break;
      case RopeScaling::kLlama3:
        frequencies.push_back(Llama3Frequency(spec, frequency));
        break;
      case RopeScaling::kYarn:
        frequencies.push_back(YarnFrequency(spec, ramp, i / 2, power));
        break;
      case RopeScaling::kLongRope:
        frequencies.push_back(1.0f / (factors.at(static_cast<size_t>(i / 2)) * power));
        break;
    }
  }
  return frequencies;
}

int64_t RopeSwitch(const RopeSpec& spec, int64_t max_context) {
  return spec.scaling == RopeScaling::kLongRope && max_context > spec.original_max_position ? spec.original_max_position : 0;
}

std::vector<float> RopeTableData(const RopeSpec& spec, int64_t max_context) {
  std::vector<float> table;
  const int64_t rope_switch = RopeSwitch(spec, max_context);
  if (rope_switch != 0) AppendRows(spec, SequenceLength::kShort, rope_switch, table);
  AppendRows(spec, rope_switch == 0 ? SequenceLength::kShort : SequenceLength::kLong, max_context, table);
  return table;
}

// _compute_dynamic_ntk_parameters, in f32 as torch computes with the length as a tensor.
std::vector<float> FrequenciesByLength(const RopeSpec& spec, int64_t max_context) {
  const auto original = static_cast<float>(spec.original_max_position), factor = static_cast<float>(spec.factor);
  const double dim = static_cast<double>(spec.rotary_dim);
  std::vector<float> table = InverseFrequencies(spec);
  RopeSpec stretched = spec;
  for (int64_t length = spec.original_max_position + 1; length <= max_context; ++length) {
    const float ratio = factor * static_cast<float>(length) / original - static_cast<float>(spec.factor - 1);
    const auto power = static_cast<float>(std::pow(static_cast<double>(ratio), static_cast<double>(static_cast<float>(dim / (dim - 2)))));
    stretched.theta = static_cast<double>(static_cast<float>(spec.theta) * power);
    const std::vector<float> frequencies = InverseFrequencies(stretched);
    table.insert(table.end(), frequencies.begin(), frequencies.end());
  }
  return table;
}

std::string RopeTable::name() const {
  std::string name = StrCat("rope.dim", spec_.rotary_dim, ".theta", Exact(spec_.theta));
  if (spec_.scaling == RopeScaling::kDynamic) name += StrCat(".dynamic", Exact(spec_.factor), '_', spec_.original_max_position);
  if (spec_.scaling == RopeScaling::kLinear) name += StrCat(".linear", Exact(spec_.factor));
  if (spec_.scaling == RopeScaling::kLlama3) {
    name += StrCat(".llama3_", Exact(spec_.factor), '_', Exact(spec_.low_freq_factor), '_', Exact(spec_.high_freq_factor), '_',
                   spec_.original_max_position);
  }
  if (spec_.scaling == RopeScaling::kYarn) {
    name += StrCat(".yarn", Exact(spec_.factor), '_', Exact(spec_.beta_fast), '_', Exact(spec_.beta_slow), '_', spec_.original_max_position,
                   spec_.truncate ? "" : "_exact");
  }
  if (spec_.scaling == RopeScaling::kLongRope) {
    name += StrCat(".longrope", spec_.original_max_position, '_', HashHex(std::as_bytes(std::span(spec_.short_factors))), '_',
                   HashHex(std::as_bytes(std::span(spec_.long_factors))));
  }
  if (spec_.attention_factor != 1) name += StrCat(".times", Exact(spec_.attention_factor));
  return name;
}

std::shared_ptr<const std::vector<float>> RopeTable::Data(int64_t max_context) const {
  const std::lock_guard lock(mutex_);
  auto& data = data_[max_context];
  const bool follows_length = spec_.scaling == RopeScaling::kDynamic;
  if (data == nullptr)
    data = std::make_shared<const std::vector<float>>(follows_length ? FrequenciesByLength(spec_, max_context) : RopeTableData(spec_, max_context));
  return data;
}

graph::ValueRef Rope(const graph::Builder& b, graph::ValueRef x, int64_t head_dim, const RopeTable& table, graph::RopeStyle style) {
  const RopeSpec& spec = table.spec();
  const graph::RopeAttrs attrs{.head_dim = head_dim, .rotary_dim = spec.rotary_dim, .style = style};
  const auto data = table.Data(b.max_context());
  if (spec.scaling == RopeScaling::kDynamic) {
    const int64_t half = spec.rotary_dim / 2;
    const graph::ValueRef frequencies = b.Table(table.name(), {std::ssize(*data) / half, half}, data);
    return graph::Rope(b, x, b.Rotary(frequencies, {.first_length = spec.original_max_position}), attrs);
  }
  const int64_t rope_switch = RopeSwitch(spec, b.max_context());
  const graph::ValueRef rows = b.Table(table.name(), {rope_switch + b.max_context(), spec.rotary_dim}, data);
  return graph::Rope(b, x, rows, attrs, rope_switch == 0 ? b.positions() : b.rope_rows(rope_switch));
}

}  // namespace intaglio::layers

// Typed look-ups in a config.json, with errors that name the field, what was found and what is supported. Knows the old and the new
// spellings (rope_theta / rope_parameters, torch_dtype / dtype).
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace intaglio::checkpoint {

// Rotary embedding settings, whatever style config.json used.
struct RopeConfig {
  std::string type = "default";   // default, linear, llama3, yarn, longrope, …
  double theta = 10000.0;
  double factor = 1.0;            // 0, yarn and longrope: max_position_embeddings / original_max_position_embeddings
  double low_freq_factor = 1.0, high_freq_factor = 4.0;       // llama3
  int64_t original_max_position_embeddings = 0;               // 0: not given
  double partial_rotary_factor = 1.0;
  bool has_partial_rotary_factor = false;                     // whether it was given
  double attention_factor = 0;                                // yarn, longrope; 0: not given
  double beta_fast = 32, beta_slow = 1;                       // yarn
  double mscale = 0, mscale_all_dim = 0;                      // yarn; 0: not given
  bool truncate = true;                                       // yarn
  std::vector<double> short_factor{}, long_factor{};            // longrope
};

class HfConfig {
 public:
  // Throws Error kDataLoss naming `where` for text that is not a JSON object.
  static HfConfig Parse(std::string_view json, std::string where);
  HfConfig(HfConfig&&) noexcept;
  HfConfig& operator=(HfConfig&&) noexcept;
  ~HfConfig();

  // The first of `architectures`. Throws when absent.
  [[nodiscard]] std::string architecture() const;
  [[nodiscard]] bool has(std::string_view key) const;     // present and not null
  [[nodiscard]] bool is_number(std::string_view key) const;
  [[nodiscard]] bool is_null(std::string_view key) const; // present and null: switched off, where an absent field would have a default
  // Throw Error kDataLoss when the field is absent, null, of another type or out of range.
  // Of quantization_config: "mxfp4", "fp8", …; empty if weights are plain.
  [[nodiscard]] std::string quantization() const;
  [[nodiscard]] int64_t Int(std::string_view key) const;        // must be positive
  [[nodiscard]] double Float(std::string_view key) const;
  [[nodiscard]] bool Bool(std::string_view key) const;
  [[nodiscard]] std::string String(std::string_view key) const;
  // The same, with a default for an absent or null field.
  [[nodiscard]] int64_t Int(std::string_view key, int64_t otherwise) const;
  [[nodiscard]] double Float(std::string_view key, double otherwise) const;
  [[nodiscard]] bool Bool(std::string_view key, bool otherwise) const;
  [[nodiscard]] std::string String(std::string_view key, std::string_view otherwise) const;
  [[nodiscard]] std::vector<std::string> Strings(std::string_view key) const;   // [] if absent
  [[nodiscard]] std::vector<int32_t> Ids(std::string_view key) const;           // a number or a list of numbers; [] if absent
  // Numbers, [] if absent; infinity may be written as Python or as Transformers does.
  [[nodiscard]] std::vector<double> Floats(std::string_view key) const;
  // rope_parameters (flat) or rope_theta + rope_scaling. `theta_key` names the old-style base (Gemma 3 has rope_local_base_freq too).
  // `layer_type` picks rope_parameters[layer_type] where that object is keyed by layer type. Throws for a rope type outside
  // `supported`, listing them.
  [[nodiscard]] RopeConfig Rope(const std::vector<std::string>& supported, std::string_view layer_type = {},
                                std::string_view theta_key = "rope_theta") const;
  // "f32" | "bf16" | "f16": torch_dtype or dtype; nullopt if absent.
  [[nodiscard]] std::optional<std::string> dtype() const;
  // Where the text came from, for error messages.
  [[nodiscard]] const std::string& where() const;

 private:
  struct Impl;
  explicit HfConfig(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace intaglio::checkpoint

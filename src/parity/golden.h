// The goldens of a fixture folder or a capture: what Transformers computed, as tests/fixtures/README.md lays it out.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "checkpoint/safetensors.h"

namespace intaglio::parity {

struct GoldenPrompt {
  std::vector<int32_t> input_ids, greedy_ids;
  std::vector<double> margins;                                          // top-1 minus top-2 logit of each greedy step
  std::vector<std::vector<std::pair<int32_t, double>>> top_logprobs;    // of the first greedy steps
};
struct GoldenText {
  std::string text, decode, decode_skip_special;
  std::vector<int32_t> ids, ids_no_special;
};
struct GoldenChat {
  std::string name, messages_json, tools_json, kwargs_json, rendered;
  bool add_generation_prompt = false, is_error = false;
};

// A text of an embedder's fixture; its vector is a row of "embeddings" in golden.safetensors.
struct GoldenEmbedding {
  std::string text;
  std::vector<int32_t> input_ids;
};

struct Golden {
  std::string model_type, stored_dtype, compute_dtype, chat_now;
  size_t probed_prompt = 0;   // whose inner values the tensors hold
  std::vector<GoldenPrompt> prompts;
  std::vector<GoldenText> texts;
  std::vector<GoldenChat> chats;
  std::vector<GoldenEmbedding> embeddings{};   // of an embedder, which has no prompts
};

// Whether an engine with such weights has to agree with the goldens within f32's rounding: it computes with the same weights in the same
// precision.
[[nodiscard]] bool IsExactFor(const Golden& golden, std::string_view weight_dtype);
// The folder's path such that its last part is its name.
[[nodiscard]] std::filesystem::path WithoutSlash(const std::filesystem::path& folder);

// Throws Error naming the file when the folder has no golden.json or it is malformed. Token ids are not checked against any vocabulary.
[[nodiscard]] Golden ReadGolden(const std::filesystem::path& fixture);

// A golden tensor as numbers. Throws Error naming the tensor when it is missing or not f32.
[[nodiscard]] std::vector<float> ToF32(const checkpoint::SafetensorsFile& file, const std::string& name);

}  // namespace intaglio::parity

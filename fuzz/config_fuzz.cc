// Any bytes as a config.json: every look-up gives a value or an Error, and so does the model that it describes.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "checkpoint/hf_config.h"
#include "intaglio/error.h"
#include "models/decoder.h"

namespace {

using namespace intaglio;

template <typename Action>
void Try(const Action& action) {
  try {
    (void)action();
  } catch (const Error&) {}
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto config = checkpoint::HfConfig::Parse({reinterpret_cast<const char*>(data), size}, "config.json");
    Try([&] { return config.Int("hidden_size"); });
    Try([&] { return config.Float("rms_norm_eps", 1e-6); });
    Try([&] { return config.Bool("tie_word_embeddings", false); });
    Try([&] { return config.String("hidden_act"); });
    Try([&] { return config.Strings("layer_types"); });
    Try([&] { return config.Ids("eos_token_id"); });
    Try([&] { return config.dtype(); });
    for (const char* layer_type : {"", "full_attention", "sliding_attention"}) {
      for (const char* theta_key : {"rope_theta", "rope_local_base_freq"}) {
        Try([&] { return config.Rope({"default", "linear", "llama3"}, layer_type, theta_key); });
      }
    }
    Try([&] { return models::ParseModel(config); });
  } catch (const Error&) {}
  return 0;
}

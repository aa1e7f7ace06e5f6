// The fixtures that are decoders: what holds for one of them is tested for all.
#pragma once

namespace intaglio::test {

inline constexpr const char* kDecoderFixtures[] = {
    "llama-tiny",
    "llama-bf16-tiny",
    "llama-untied-mqa-tiny",
    "llama-heads-not-divisible-tiny",
    "mistral-tiny",
    "qwen2-tiny",
    "qwen3-tiny",
    "gemma3-text-tiny",
    "phi3-tiny",
    "phi3-longrope-tiny",
    "granite-tiny",
    "gemma2-tiny",
    "smollm3-tiny",
    "olmo2-tiny",
    "mixtral-tiny",
    "qwen3-moe-tiny",
    "qwen3-moe-nonorm-tiny",
    "granitemoe-tiny",
    "gpt-oss-tiny",
    "llama4-text-tiny",
    "deepseek-v3-tiny",
    "deepseek-v3-noqlora-tiny",
    "qwen3-next-tiny",
    "falcon-h1-tiny",
};

}  // namespace intaglio::test

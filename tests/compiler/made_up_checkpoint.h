// A checkpoint of tensors made up on the spot: element i of a tensor is its seed + i, counted modulo `period` where that is given.
#pragma once
#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "intaglio/error.h"

namespace intaglio::compiler {

// Reading "broken" throws Error kIo.
class MadeUpCheckpoint final : public checkpoint::Checkpoint {
 public:
  struct Tensor {
    Shape shape;
    float seed = 0;
    bool is_bf16 = false;
    int64_t period = 0;
  };
  explicit MadeUpCheckpoint(std::map<std::string, Tensor> tensors) : tensors_(std::move(tensors)) {
    for (const auto& [name, tensor] : tensors_) names_.push_back(name);
  }

  [[nodiscard]] const std::string& config_json() const override { return nothing_; }
  [[nodiscard]] const std::map<std::string, std::string>& companion_files() const override { return files_; }
  [[nodiscard]] const std::vector<std::string>& tensor_names() const override { return names_; }
  [[nodiscard]] bool has(const std::string& name) const override { return tensors_.contains(name); }
  [[nodiscard]] Shape shape(const std::string& name) const override { return tensors_.at(name).shape; }
  [[nodiscard]] bool is_bf16(const std::string& name) const override { return tensors_.at(name).is_bf16; }
  [[nodiscard]] std::string stored_type(const std::string& name) const override { return is_bf16(name) ? "BF16" : "F32"; }
  [[nodiscard]] std::string digest() const override { return nothing_; }
  void ReadRows(const std::string& name, int64_t begin, int64_t, std::span<float> out) const override {
    if (name == "broken") throw Error(ErrorCode::kIo, "the disk is gone");
    const Tensor& tensor = tensors_.at(name);
    for (size_t i = 0; i < out.size(); ++i) {
      const int64_t element = begin * tensor.shape.back() + static_cast<int64_t>(i);
      out[i] = tensor.seed + static_cast<float>(tensor.period == 0 ? element : element % tensor.period);
    }
  }
  void ReadRowsBf16(const std::string& name, int64_t begin, int64_t count, std::span<uint16_t> out) const override {
    std::vector<float> wide(out.size());
    ReadRows(name, begin, count, wide);
    std::ranges::transform(wide, out.begin(), F32ToBf16);
  }
  // The whole tensor, as the oracle asks for it.
  [[nodiscard]] std::vector<float> Whole(const std::string& name) const {
    std::vector<float> elements(static_cast<size_t>(shape(name).num_elements()));
    ReadRows(name, 0, 0, elements);
    return elements;
  }

 private:
  std::map<std::string, Tensor> tensors_;
  std::map<std::string, std::string> files_;
  std::vector<std::string> names_;
  std::string nothing_;
};

}  // namespace intaglio::compiler

// Which format each matrix of a model is stored in: what the options of an export say, and what is sensible where they do not.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "checkpoint/checkpoint.h"
#include "compiler/layout.h"
#include "graph/graph.h"
#include "intaglio/export.h"

namespace intaglio::compiler {

class WeightFormats {
 public:
  // `checkpoint` outlives the formats. Throws Error kInvalidArgument naming the option, what was given and what is possible.
  WeightFormats(const ExportOptions& options, const checkpoint::Checkpoint& checkpoint);

  // Of a matrix. Depends on the whole tensors that it comes from, and so on no rank.
  [[nodiscard]] graph::WeightFormat Of(const graph::Weight& weight) const;
  // Of all of them, for a manifest: "f32", "bf16", "int8g32", …, "gguf" or "mxfp4" where tensors stay as they are stored; "… mixed" with --keep.
  [[nodiscard]] std::string NameOf(std::span<const graph::Weight> weights) const;
  // Throws Error kInvalidArgument for a --keep that is about none of the weights.
  void RequireUse(std::span<const graph::Weight> weights) const;

 private:
  struct Rule {
    std::string text, pattern;   // as given; the part before "="
    DType dtype = DType::kF32;
  };
  [[nodiscard]] DType Choose(const graph::Weight& weight) const;

  const checkpoint::Checkpoint& checkpoint_;
  std::vector<Rule> keep_;
  DType matrices_ = DType::kF32, vocabulary_ = DType::kF32;   // of matrices in general; of embedding and head
  DType exact_ = DType::kF32;                                 // of what quantising would spoil: the checkpoint's own precision
  bool keeps_stored_ = false;                                 // quantised tensors stay as they are
  bool is_gguf_ = false;
};

// A policy that stores every matrix as `dtype`.
[[nodiscard]] graph::FormatPolicy EveryMatrixAs(DType dtype);

}  // namespace intaglio::compiler

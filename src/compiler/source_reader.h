// Reads rows of a weight out of the checkpoint's tensors, whatever part of them they are: whole matrices, every second row, columns of a
// stack of transposed matrices, and of each row a rank's part. One reader a task; not thread-safe.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "graph/graph.h"

namespace intaglio::compiler {

class SourceReader {
 public:
  // `weight` and `checkpoint` outlive the reader.
  SourceReader(const graph::Weight& weight, const checkpoint::Checkpoint& checkpoint) : weight_(weight), checkpoint_(checkpoint) {}

  // Rows [begin, begin + count) of the stacked sources, as f32.   REQUIRES: out.size() is count times the weight's columns
  void Read(int64_t begin, int64_t count, std::span<float> out);
  // The same bit for bit.   REQUIRES: IsBf16()
  void ReadBf16(int64_t begin, int64_t count, std::span<uint16_t> out);
  // The same as they are stored.   REQUIRES: QuantizedAs() something
  void ReadQuantized(int64_t begin, int64_t count, QuantizedRows& out);
  // The format that all of the weight's rows are stored in; nullopt for floats, for several formats, and where rows are no rows of the tensor.
  [[nodiscard]] static std::optional<DType> QuantizedAs(const graph::Weight& weight, const checkpoint::Checkpoint& checkpoint);
  // True if every row, or the part of it that counts, is stored as bfloat16 in one piece.
  [[nodiscard]] static bool IsBf16(const graph::Weight& weight, const checkpoint::Checkpoint& checkpoint);

 private:
  void ReadSource(const graph::WeightSource& source, int64_t begin, int64_t count, std::span<float> out);
  void ReadMatrix(const graph::WeightSource& source, int64_t begin, int64_t count, std::span<float> out);
  void ReadColumns(const graph::WeightSource& source, int64_t begin, int64_t count, std::span<float> out);
  void ReadMxfp4(const graph::WeightSource& source, int64_t begin, int64_t count, std::span<float> out);
  void AppendMxfp4(const graph::WeightSource& source, int64_t begin, int64_t count, QuantizedRows& out);

  const graph::Weight& weight_;
  const checkpoint::Checkpoint& checkpoint_;
  const graph::WeightSource* cached_ = nullptr;   // whose matrix, or whole small tensor, is in cache_
  std::vector<float> cache_, exponents_;
  std::vector<uint16_t> bf16_rows_;
};

}  // namespace intaglio::compiler

#include "layers/embedding.h"

#include "layers/shard.h"

namespace intaglio::layers {

using graph::Builder;
using graph::ValueRef;

ValueRef VocabularyTable(const Builder& b, int64_t vocab_size, int64_t width) {
  return b.Weight("weight", {vocab_size, width}, graph::Shard::kVocab, graph::Layout::kMatmul);
}

ValueRef VocabParallelEmbedding(const Builder& b, ValueRef table, float scale) { return Embedding(b, table, scale); }

ValueRef VocabParallelHead(const Builder& b, ValueRef x, ValueRef table) { return MatMul(b, {.x = x, .weight = table}, PlainSegments(x.shape()[1])); }

}  // namespace intaglio::layers

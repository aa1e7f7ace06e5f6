#include "layers/embedding.h"

#include "layers/linear.h"

namespace intaglio::layers {

using graph::Builder;
using graph::ValueRef;

ValueRef VocabularyTable(const Builder& b, int64_t vocab_size, int64_t width) {
  OwnRows rows = PlainRows(b, vocab_size);
  rows.shard = graph::Shard::kVocab;
  return DeclareRows(b, rows, {.cols = width, .layout = graph::Layout::kMatmul});
}

ValueRef VocabParallelEmbedding(const Builder& b, const Vocabulary& vocabulary, float scale) {
  const ValueRef part = Embedding(b, vocabulary.table, scale, Own(PlainSegments(vocabulary.size), b.place()).begin);
  return b.place().is_alone() ? part : AllReduce(b, part);
}

ValueRef VocabParallelHead(const Builder& b, ValueRef x, ValueRef table) { return MatMul(b, {.x = x, .weight = table}, PlainSegments(x.shape()[1])); }

}  // namespace intaglio::layers

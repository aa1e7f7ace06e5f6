// The vocabulary-parallel ends of a decoder: ids to vectors, vectors to logits. Both split the rows of the vocabulary over ranks.
#pragma once
#include "graph/builder.h"

namespace intaglio::layers {

// The rank's rows of "<scope>.weight" [vocab_size, width].   REQUIRES: it has some
[[nodiscard]] graph::ValueRef VocabularyTable(const graph::Builder& b, int64_t vocab_size, int64_t width);

struct Vocabulary {
  graph::ValueRef table;
  int64_t size = 0;   // of all ranks
};
// The step's tokens looked up in the table, times `scale`.
[[nodiscard]] graph::ValueRef VocabParallelEmbedding(const graph::Builder& b, const Vocabulary& vocabulary, float scale);

// Logits of x over the rank's rows of `table`: the head's own, or the embedding's (tied).
[[nodiscard]] graph::ValueRef VocabParallelHead(const graph::Builder& b, graph::ValueRef x, graph::ValueRef table);

}  // namespace intaglio::layers

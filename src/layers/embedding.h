// The vocabulary-parallel ends of a decoder: ids to vectors, vectors to logits. Both split the rows of the vocabulary over ranks.
#pragma once
#include "graph/builder.h"

namespace intaglio::layers {

// "<scope>.weight" [vocab_size, width].
[[nodiscard]] graph::ValueRef VocabularyTable(const graph::Builder& b, int64_t vocab_size, int64_t width);

// The step's tokens looked up in `table`, times `scale`.
[[nodiscard]] graph::ValueRef VocabParallelEmbedding(const graph::Builder& b, graph::ValueRef table, float scale);

// Logits of x over `table`: the head's own, or the embedding's (tied).
[[nodiscard]] graph::ValueRef VocabParallelHead(const graph::Builder& b, graph::ValueRef x, graph::ValueRef table);

}  // namespace intaglio::layers

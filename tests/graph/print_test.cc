#include "graph/print.h"

#include <gtest/gtest.h>

#include "tests/graph/small_graph.h"

namespace intaglio::graph {

TEST(Print, HasOneLineANode) {
  EXPECT_EQ(Print(SmallGraph()), R"(context_encoding graph: 4 rows, 2 outputs, max_context 32
weights
  model.embed_tokens.weight [5, 8] matmul <- vocab
  rope [32, 4] table constant
  model.layers.0.self_attn.q_proj.weight [8, 8] matmul <- rows
  model.layers.0.self_attn.k_proj.weight [4, 8] matmul <- rows
  model.layers.0.self_attn.v_proj.weight [4, 8] matmul <- rows
  model.layers.0.self_attn.o_proj.weight [8, 8] matmul <- head_columns
  model.layers.0.self_attn.o_proj.bias [8] vector <- replicated
  model.norm.weight [8] vector + 1 <- replicated
kv_caches
  layer 0: 1 x 4, window 16
nodes
  %5 [4, 8] = embedding %tokens, @model.embed_tokens.weight {scale 2.5}  # model.embed_tokens: hidden.embed
  %8 [4, 8] = matmul %5, @model.layers.0.self_attn.q_proj.weight {segments 0 1 2 3 4 5 6 7 8}  # model.layers.0.self_attn.q_proj
  %9 [4, 8] = rope %8, %positions, @rope {head_dim 4, rotary_dim 4, halves}  # model.layers.0.self_attn
  %11 [4, 4] = matmul %5, @model.layers.0.self_attn.k_proj.weight {segments 0 1 2 3 4 5 6 7 8}  # model.layers.0.self_attn.k_proj
  %12 [4, 4] = rope %11, %positions, @rope {head_dim 4, rotary_dim 4, halves}  # model.layers.0.self_attn
  %14 [4, 4] = matmul %5, @model.layers.0.self_attn.v_proj.weight {segments 0 1 2 3 4 5 6 7 8}  # model.layers.0.self_attn.v_proj: layer0.v
  $0.16 = kv_update $0, %12, %14, %slots, %positions  # model.layers.0.self_attn
  %17 [4, 8] = attention %9, $0.16, %slots, %positions {heads 2, kv_heads 1, head_dim 4, window 16, scale 0.5}  # model.layers.0.self_attn
  %20 [4, 8] = matmul %17, @model.layers.0.self_attn.o_proj.weight, @model.layers.0.self_attn.o_proj.bias {segments 0 1 2 3 4 5 6 7 8, bias}  # model.layers.0.self_attn.o_proj: layer0.attn_out
  %21 [4, 8] = add %5, %20  # model.layers.0
  %22 [4, 8] = silu %21  # model.layers.0
  %23 [4, 8] = gelu_tanh %21  # model.layers.0
  %24 [4, 8] = mul %22, %23  # model.layers.0
  %25 [4, 8] = add %21, %24  # model.layers.0
  %27 [2, 8] = gather_rows %25, %output_rows  # model
  %28 [2, 8] = rms_norm %27, @model.norm.weight {eps 1e-06, width 8}  # model.norm
  %29 [2, 5] = matmul %28, @model.embed_tokens.weight {segments 0 1 2 3 4 5 6 7 8}  # lm_head
  %30 i32 [2, 1], %31 [2, 41] = sample %29  # sampler
results
  logits %29, ids %30, logprobs %31
)");
}

TEST(Print, SurvivesABrokenGraph) {
  Graph graph = SmallGraph();
  graph.nodes[0].inputs[1] = 999;
  graph.values[5].index = -3;
  EXPECT_NE(Print(graph).find("embedding %tokens, %?999"), std::string::npos);
}

}  // namespace intaglio::graph

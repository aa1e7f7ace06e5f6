// The short convolution that recurrent layers put before their state: every column by itself, over a few positions up to the row's own.
#pragma once
#include "layers/linear.h"

namespace intaglio::layers {

// silu(convolution of x with "<scope>.weight" [columns.all, 1, taps] + "<scope>.bias"); x has the rank's `columns`. The inputs of the last
// positions are state "conv".
[[nodiscard]] graph::ValueRef CausalConv(const graph::Builder& b, graph::ValueRef x, const OwnRows& columns, int64_t taps, Bias bias);

}  // namespace intaglio::layers

// The short convolution that recurrent layers put before their state: every column by itself, over a few positions up to the row's own.
#pragma once
#include "layers/linear.h"

namespace intaglio::layers {

// silu(convolution of x with "<scope>.weight" [columns, 1, taps] + "<scope>.bias"). The inputs of the last positions are state "conv".
[[nodiscard]] graph::ValueRef CausalConv(const graph::Builder& b, graph::ValueRef x, int64_t taps, Bias bias);

}  // namespace intaglio::layers

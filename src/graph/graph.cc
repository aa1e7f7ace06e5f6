#include "graph/graph.h"

namespace intaglio::graph {

std::string_view Name(Op op) {
  constexpr std::array kNames{
#define INTAGLIO_OP(name, text, least, most) std::string_view(text),
#include "graph/ops.inc"
#undef INTAGLIO_OP
  };
  return kNames[static_cast<size_t>(op)];
}

}  // namespace intaglio::graph

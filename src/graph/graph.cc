#include "graph/graph.h"

#include <algorithm>

namespace intaglio::graph {

std::string_view Name(Op op) {
  constexpr std::array kNames{
#define INTAGLIO_OP(name, text, least, most) std::string_view(text),
#include "graph/ops.inc"
#undef INTAGLIO_OP
  };
  return kNames[static_cast<size_t>(op)];
}

Segments AlignSegments(Segments segments, int64_t unit_k) {
  for (int64_t& border : segments) border = std::min(segments.back(), (border + unit_k - 1) / unit_k * unit_k);
  return segments;
}

int64_t WeightSource::rows() const {
  if (num_rows > 0) return num_rows;
  switch (view) {
    case SourceView::kRows:
      return shape.size() == 1 ? shape[0] : shape.num_elements() / shape.back();
    case SourceView::kMxfp4Rows:
      return shape.num_elements() / (shape.back() * shape[shape.size() - 2]);
    case SourceView::kColumns:
      return shape.back();
    case SourceView::kElements:
      return shape.num_elements();
  }
  return 0;
}

int64_t WeightSource::whole_cols() const {
  switch (view) {
    case SourceView::kRows:
      return shape.size() == 1 ? 1 : shape.back();
    case SourceView::kColumns:
      return shape[shape.size() - 2];
    case SourceView::kElements:
      return 1;
    case SourceView::kMxfp4Rows:
      return 2 * shape.back() * shape[shape.size() - 2];
  }
  return 0;
}

}  // namespace intaglio::graph

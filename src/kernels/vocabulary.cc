#include "kernels/vocabulary.h"

#include <algorithm>

#include "kernels/workspace.h"

namespace intaglio::kernels {
namespace {
int64_t Units(int64_t vocab) { return (vocab + kLanes - 1) / kLanes; }
}  // namespace

int64_t ProcessedFloats(int64_t vocab) noexcept { return Units(vocab) * kLanes; }

int64_t SampleRowBytes(int64_t vocab) noexcept {
  return ProcessedFloats(vocab) * static_cast<int64_t>(sizeof(float)) + kSegments * static_cast<int64_t>(sizeof(SegmentResult));
}

int64_t SegmentBorder(int64_t vocab, int segment) noexcept { return std::min(vocab, Units(vocab) * segment / kSegments * kLanes); }

int64_t SampleWorkspaceBytes(int64_t outputs, int64_t vocab) { return outputs * SampleRowBytes(vocab); }

}  // namespace intaglio::kernels

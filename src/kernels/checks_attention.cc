// Operand checks of kv_write and attention.
#include "kernels/attention_tasks.h"
#include "kernels/checks.h"
#include "kernels/kv_layout.h"
#include "kernels/kv_runs.h"
#include "kernels/params.h"

namespace intaglio::kernels {
namespace {

constexpr int64_t kMaxHeads = 4096, kMaxGroups = 64, kMaxCacheBytes = int64_t{1} << 50;   // keep products far from overflow

int64_t Int(const KernelCall& call, attention_params::Int index) { return call.params.ints[index]; }

const char* CheckCache(const KernelCall& call, const Tensor& cache) noexcept {
  const int64_t kv_heads = Int(call, attention_params::kKvHeads), head_dim = Int(call, attention_params::kHeadDim);
  if (kv_heads < 1 || kv_heads > kMaxHeads) return "the number of key/value heads is out of range";
  if (head_dim < 1 || head_dim > kMaxHeadDim) return "the head size is not within 1 to 576";
  if (ValueDim(call) < 1 || ValueDim(call) > kMaxValueDim) return "the value head size is not within 1 to 512";
  const int64_t group = Int(call, attention_params::kGroup);
  if (group < 0 || group >= kMaxGroups) return "the block table group is out of range";
  if (!cache.is_present() || !IsKvType(cache.dtype)) return "the KV cache is neither f32 nor bf16 nor int8";
  if (cache.rows != Int(call, attention_params::kNumBlocks)) return "the KV cache has another number of blocks than the parameters";
  const int64_t block_bytes = KvBlockBytes(kv_heads, ShapeOfKv(call, cache)), block_elements = block_bytes / KvElementBytes(cache.dtype);
  if (cache.rows < 1 || cache.rows > kMaxCacheBytes / block_bytes) return "the number of blocks of the KV cache is out of range";
  if (cache.cols != block_elements || cache.stride != block_elements) return "a block of the KV cache is not as large as its heads";
  if (call.params.ints[kDomain] != static_cast<int64_t>(Domain::kRows)) return "attention works on rows, not on output rows";
  return nullptr;
}

}  // namespace

const char* CheckKvWrite(const KernelCall& call) noexcept {
  const Tensor &k = call[1], &v = call[2];
  if (const char* problem = CheckCache(call, call[0])) return problem;
  if (!IsMatrix(k) || !IsMatrix(v)) return "keys or values are not an f32 matrix";
  const int64_t kv_heads = Int(call, attention_params::kKvHeads);
  const bool fit = k.cols == kv_heads * Int(call, attention_params::kHeadDim) && v.cols == kv_heads * ValueDim(call) && k.rows == v.rows;
  if (!fit) return "keys or values are not shaped as the key/value heads";
  return nullptr;
}

const char* CheckAttention(const KernelCall& call) noexcept {
  const Tensor &out = call[0], &q = call[1], &workspace = call[3], &sinks = call[4];
  if (const char* problem = CheckCache(call, call[2])) return problem;
  const int64_t heads = Int(call, attention_params::kHeads), kv_heads = Int(call, attention_params::kKvHeads);
  if (heads < 1 || heads > kMaxHeads || heads % kv_heads != 0) return "the query heads are no multiple of the key/value heads";
  const int64_t window = Int(call, attention_params::kWindow), chunk = Int(call, attention_params::kChunk);
  if (window < 0 || chunk < 0 || (window != 0 && chunk != 0)) return "the sliding window or the chunk is negative, or both are set";
  const int64_t both_ways = Int(call, attention_params::kBothWays);
  if ((both_ways != 0 && both_ways != 1) || (both_ways == 1 && chunk != 0)) return "which keys are visible is unknown";
  if (!(call.params.floats[attention_params::kSoftcap] >= 0)) return "the softcap is not zero or above";
  if (!IsMatrix(out) || !IsMatrix(q)) return "queries or output are not an f32 matrix";
  const bool fit = q.cols == heads * Int(call, attention_params::kHeadDim) && out.cols == heads * ValueDim(call) && q.rows == out.rows;
  if (!fit) return "queries or output are not shaped as the query heads";
  if (sinks.is_present() && !IsRow(sinks, heads)) return "the sinks are not one row of the query heads";
  // A workspace that is too small for a step is not used in it, so any size is safe; only its shape must be plain.
  if (workspace.is_present() && (!IsMatrix(workspace) || workspace.stride != workspace.cols)) return "the workspace is not a dense f32 matrix";
  return nullptr;
}

}  // namespace intaglio::kernels

// Runs the graphs of several ranks at once, as ranks do: one thread each, over collectives.
#pragma once
#include <algorithm>
#include <vector>

#include "collectives/thread_group.h"
#include "graph/interpreter.h"

namespace intaglio::graph {

[[nodiscard]] inline RankExchange ExchangeOver(collectives::Collectives& group) {
  return {.all_reduce = [&group](std::span<float> values) { group.AllReduce(values); },
          .all_gather =
              [&group](std::span<const float> mine) {
                const auto rank = static_cast<size_t>(group.rank()), size = static_cast<size_t>(group.size());
                std::vector<int64_t> bytes(size), of_sizes(size + 1), borders(size + 1);
                bytes[rank] = static_cast<int64_t>(mine.size_bytes());
                for (size_t i = 0; i <= size; ++i) of_sizes[i] = static_cast<int64_t>(i * sizeof(int64_t));
                group.AllGather(std::as_writable_bytes(std::span(bytes)), of_sizes);
                for (size_t i = 0; i < size; ++i) borders[i + 1] = borders[i] + bytes[i];
                std::vector<float> all(static_cast<size_t>(borders.back()) / sizeof(float));
                std::ranges::copy(mine, all.begin() + borders[rank] / static_cast<int64_t>(sizeof(float)));
                group.AllGather(std::as_writable_bytes(std::span(all)), borders);
                return all;
              }};
}

// One step of all ranks; graphs[r] is rank r's. Returns each rank's values by id; `kv` has an entry a rank.
// Throws Error, as ThreadGroup does, with the message of the first rank that failed.
[[nodiscard]] inline std::vector<std::vector<Buffer>> RunLockstep(const std::vector<Graph>& graphs, const Interpreter::ReadTensor& read,
                                                                  const StepInputs& step, std::vector<KvState>& kv) {
  std::vector<std::vector<Buffer>> values(graphs.size());
  collectives::ThreadGroup group(static_cast<int>(graphs.size()));
  group.Run([&](collectives::Collectives& own) {
    const auto rank = static_cast<size_t>(own.rank());
    values[rank] = Interpreter(graphs[rank], read).Run(step, kv[rank], ExchangeOver(own));
  });
  return values;
}

}  // namespace intaglio::graph

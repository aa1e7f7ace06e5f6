// The groups that the tests of collectives run on, and what ranks put in: numbers that depend on rank and place alone, so that every rank
// knows what it must receive. Bodies share no memory between ranks, so they hold for ranks that are processes as well.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "collectives/collectives.h"
#include "collectives/rendezvous.h"

namespace intaglio::collectives {

// Runs `body` on each of `size` ranks, in a new group, and throws what ends it.
using RunRanks = void (*)(int size, std::optional<Patience> patience, const std::function<void(Collectives&)>& body);

struct TestedGroup {
  const char* name;
  int size;
  RunRanks run;
};
// What this test program has to test: threads (thread_groups.cc) or processes (mpi/main.cc).
std::vector<TestedGroup> TestedGroups();

inline uint64_t Hash(uint64_t a, uint64_t b) {   // SplitMix64 of both
  uint64_t x = a * 0x9e3779b97f4a7c15u + b + 1;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Of either sign and many magnitudes: another order of addition gives another sum.
inline float InputAt(int rank, int64_t i) {
  const uint64_t bits = Hash(static_cast<uint64_t>(rank), static_cast<uint64_t>(i));
  const float fraction = static_cast<float>(bits % 0x1000000) / 0x800000 - 1.0f;
  return std::ldexp(fraction, static_cast<int>(bits >> 32) % 12);
}

inline std::vector<float> Inputs(int rank, int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) values[static_cast<size_t>(i)] = InputAt(rank, i);
  return values;
}

// Neighbours are added level by level; an odd one out goes up alone.
inline float Tree(std::vector<float> terms) {
  while (terms.size() > 1) {
    std::vector<float> sums;
    for (size_t i = 0; i < terms.size(); i += 2) sums.push_back(i + 1 < terms.size() ? terms[i] + terms[i + 1] : terms[i]);
    terms = sums;
  }
  return terms.front();
}

inline float Same(float value) { return value; }
inline float Rounded(float value) { return Bf16ToF32(F32ToBf16(value)); }

// Of the Inputs of ranks 0 … size - 1. What travels, terms and sums, is `sent`.
inline std::vector<float> TreeOfInputs(int size, int64_t count, float (*sent)(float) = Same) {
  std::vector<float> sums;
  for (int64_t i = 0; i < count; ++i) {
    std::vector<float> terms;
    for (int rank = 0; rank < size; ++rank) terms.push_back(sent(InputAt(rank, i)));
    sums.push_back(sent(Tree(terms)));
  }
  return sums;
}

// Shares of `count` things that differ; the second is empty.
inline std::vector<int64_t> UnevenBorders(int size, int64_t count) {
  std::vector<int64_t> borders{0};
  for (int64_t r = 1; r < size; ++r) borders.push_back(r == 2 ? borders[1] : count * r * r / (size * size));
  borders.push_back(count);
  return borders;
}

}  // namespace intaglio::collectives

// Assert(condition): a bug of ours, never reachable by user input. Prints where and aborts, in every build type.
#pragma once
#include <cstdio>
#include <cstdlib>

#define Assert(condition)                                                                     \
  do {                                                                                        \
    if (!(condition)) [[unlikely]] {                                                          \
      std::fprintf(stderr, "%s:%d: bug: %s does not hold\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                           \
    }                                                                                         \
  } while (false)

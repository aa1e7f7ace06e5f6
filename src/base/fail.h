// Throwing intaglio::Error. Fail() for what is always wrong, Require() for a condition on outside input.
// Our own bugs are Assert() (assert.h), expected outcomes are std::optional or an enum.
#pragma once
#include "base/strings.h"
#include "intaglio/error.h"

namespace intaglio {

template <typename... Parts>
[[noreturn]] void Fail(ErrorCode code, const Parts&... message) {
  throw Error(code, StrCat(message...));
}

// The message parts are only put together when `is_ok` is false.
template <typename... Parts>
void Require(bool is_ok, ErrorCode code, const Parts&... message) {
  if (!is_ok) [[unlikely]]
    Fail(code, message...);
}

}  // namespace intaglio

// The one exception type of Intaglio. Every fault of a caller, a file or the machine is an Error whose message is a
// sentence to act on: what, where, found, expected, what to do.
#pragma once
#include <stdexcept>
#include <string>

namespace intaglio {

// Maps one to one to a process exit code, an HTTP status and a Python exception.
enum class ErrorCode {
  kInvalidArgument,    // the caller asked for something that cannot be
  kNotFound,           // a file, tensor or name that is not there
  kUnsupported,        // valid, but nothing here can do it (architecture, dtype, instruction set, version)
  kDataLoss,           // bytes that are truncated, contradictory or fail their checksum
  kResourceExhausted,  // memory, disk, slots
  kIo,                 // the operating system refused
  kUnavailable,        // a rank that died, stalls or disagrees with the others
};

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  [[nodiscard]] ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace intaglio

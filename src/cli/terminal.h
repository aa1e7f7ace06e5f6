// What the command line shows on stderr: errors, notes, a progress bar. Colours and redrawn lines only where a terminal reads them.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace intaglio::cli {

[[nodiscard]] bool IsTerminal(int fd);
// "intaglio: error: …"
void PrintError(std::string_view message);
// A dimmed line.
void PrintNote(std::string_view message);

// One line that is redrawn as work proceeds and erased in the end. Draws nothing where stderr is no terminal.
class ProgressBar {
 public:
  ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  ~ProgressBar() { Clear(); }

  void Update(std::string_view stage, uint64_t done, uint64_t total);
  void Clear();

 private:
  bool is_shown_ = false, is_terminal_;
  std::string stage_;
  std::chrono::steady_clock::time_point last_drawn_{};
};

}  // namespace intaglio::cli

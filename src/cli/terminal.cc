#include "cli/terminal.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/strings.h"

namespace intaglio::cli {
namespace {

constexpr std::string_view kRed = "\033[1;31m", kDim = "\033[2m", kPlain = "\033[0m", kEraseLine = "\r\033[K";

void Write(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stderr); }

}  // namespace

bool IsTerminal(int fd) { return isatty(fd) == 1; }

void PrintError(std::string_view message) {
  const bool is_terminal = IsTerminal(STDERR_FILENO);
  Write(StrCat("intaglio: ", is_terminal ? kRed : "", "error:", is_terminal ? kPlain : "", ' ', message, '\n'));
}

void PrintNote(std::string_view message) {
  const bool is_terminal = IsTerminal(STDERR_FILENO);
  Write(StrCat(is_terminal ? kDim : "", message, is_terminal ? kPlain : "", '\n'));
}

ProgressBar::ProgressBar() : is_terminal_(IsTerminal(STDERR_FILENO)) {}

void ProgressBar::Update(std::string_view stage, uint64_t done, uint64_t total) {
  constexpr auto kInterval = std::chrono::milliseconds(50);
  constexpr uint64_t kWidth = 30;
  const auto now = std::chrono::steady_clock::now();
  if (!is_terminal_ || (stage == stage_ && done < total && now - last_drawn_ < kInterval)) return;
  stage_ = stage;
  last_drawn_ = now;
  is_shown_ = true;
  const double share = total == 0 ? 0.0 : std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
  const auto filled = static_cast<size_t>(share * kWidth);
  Write(StrCat(kEraseLine, stage, "  [", std::string(filled, '#'), std::string(kWidth - filled, '.'), "] ", static_cast<int>(share * 100), " %"));
  std::fflush(stderr);
}

void ProgressBar::Clear() {
  if (is_shown_) Write(kEraseLine);
  is_shown_ = false;
}

}  // namespace intaglio::cli

// intaglio: the command line. Parses, runs one command, turns what it throws into a message and an exit code.
#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <memory>
#include <new>

#include "cli/commands.h"
#include "cli/terminal.h"
#include "intaglio/processes.h"

namespace {

constexpr int kFailed = 1, kWrongUsage = 2;

constexpr const char* kFooter = R"(Examples:
  intaglio export ~/models/gemma-3-270m gemma.bundle      a Hugging Face checkpoint (or a .gguf file) to a bundle
  intaglio run gemma.bundle -p "The capital of France is"
  intaglio run gemma.bundle --chat
  intaglio inspect gemma.bundle
  intaglio embed minilm.bundle --text "A sentence"       a bundle of a sentence-transformers checkpoint

`intaglio COMMAND --help` explains each command. INTAGLIO_ISA=scalar|avx2|avx512 forces an instruction set.)";

// Says it once: a group's failure may meet rank 0 on two threads. Whether it was new.
bool Tell(std::atomic_flag& is_told, const char* message) {
  if (is_told.test_and_set()) return false;
  intaglio::cli::PrintError(message);
  return true;
}

int Run(int argc, char** argv, std::unique_ptr<intaglio::Processes>& processes, std::atomic_flag& is_told) {
  CLI::App app{"Intaglio engraves a language model once and prints from it many times.", "intaglio"};
  app.set_version_flag("--version", "intaglio " INTAGLIO_VERSION);
  app.require_subcommand(1);
  app.footer(kFooter);
  intaglio::cli::Command command;
  intaglio::cli::AddExportCommand(app, command);
  intaglio::cli::AddRunCommand(app, command);
  intaglio::cli::AddEmbedCommand(app, command);
  intaglio::cli::AddInspectCommand(app, command);
  intaglio::cli::AddBenchCommand(app, command);
  intaglio::cli::AddCacheCommand(app, command);
  intaglio::cli::AddCompareCommand(app, command);
  // Under mpirun the process of rank 0 is the one that the user talks to.
  processes = intaglio::Processes::Join([&is_told](const intaglio::Error& error) {
    if (Tell(is_told, error.what())) std::_Exit(kFailed);   // the main thread may wait for its user
  });
  if (processes != nullptr && processes->rank() > 0) {
    processes->Follow();
    return 0;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : kWrongUsage;  // --help and --version arrive here too, as 0
  }
  const int status = command();
  if (processes != nullptr) processes->Leave();
  return status;
}

int Fail(const std::unique_ptr<intaglio::Processes>& processes, std::atomic_flag& is_told, const char* message) {
  if (processes == nullptr ? intaglio::Processes::IsFirstOfHost() : processes->is_speaker()) Tell(is_told, message);
  return kFailed;
}

}  // namespace

int main(int argc, char** argv) {
  std::atomic_flag is_told;
  std::unique_ptr<intaglio::Processes> processes;
  try {
    return Run(argc, argv, processes, is_told);
  } catch (const std::bad_alloc&) { return Fail(processes, is_told, "out of memory"); } catch (const std::exception& e) {
    return Fail(processes, is_told, e.what());
  }
}

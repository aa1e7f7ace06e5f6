// An export that always computes; Export of intaglio/export.h asks the compile cache first.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "bundle/manifest.h"
#include "intaglio/export.h"

namespace intaglio::compiler {

// Throws Error. On any failure options.output is as it was.
[[nodiscard]] ExportReport CompileBundle(const ExportOptions& options);
// Of a bundle at options.output. `notes` are those of the export that made it.
[[nodiscard]] ExportReport ReportOf(const ExportOptions& options, const bundle::Manifest& manifest, std::vector<std::string> notes);
// Of the checkpoint, as the manifest has it: its last folder or its file.
[[nodiscard]] std::string SourceName(const std::filesystem::path& source);

}  // namespace intaglio::compiler

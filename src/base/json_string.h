// Text as a JSON string, for the places that write JSON too large or too plain for a document tree.
#pragma once
#include <string>
#include <string_view>

namespace intaglio {

// Appends `utf8` in quotes, escaped. The bytes are not checked to be UTF-8.
void AppendJsonString(std::string& json, std::string_view utf8);

}  // namespace intaglio

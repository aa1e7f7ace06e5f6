#include "base/json_string.h"

#include <cstdio>

namespace intaglio {

void AppendJsonString(std::string& json, std::string_view utf8) {
  json += '"';
  for (const char c : utf8) {
    if (c == '"' || c == '\\') {
      json += '\\';
      json += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escaped[7];
      std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(c));
      json += escaped;
    } else {
      json += c;
    }
  }
  json += '"';
}

}  // namespace intaglio

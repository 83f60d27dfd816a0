#include "training/data/json_lines.h"

#include <cstdint>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/json_reader.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"

namespace llava::training {

absl::StatusOr<std::vector<boost::json::object>> ReadJsonLines(const std::string& path,
                                                               std::size_t max_bytes) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, max_bytes));
  std::vector<boost::json::object> objects;
  std::int64_t number = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    if (absl::StripAsciiWhitespace(line).empty()) continue;
    ASSIGN_OR_RETURN(boost::json::object object,
                     ParseJsonObject(StdView(line), absl::StrCat(path, ":", number)));
    objects.push_back(std::move(object));
  }
  return objects;
}

}  // namespace llava::training

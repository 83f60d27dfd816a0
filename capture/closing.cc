#include "capture/closing.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <iterator>
#include <limits>

#include "absl/strings/str_cat.h"
#include "base/durable_file.h"
#include "base/file.h"
#include "base/json_reader.h"
#include "base/status_macros.h"

namespace llava::capture {
namespace {

namespace json = boost::json;

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();

}  // namespace

void RowsSum::Take(absl::string_view line) {
  sha_.Update({line.data(), line.size()}).Update("\n");
  ++state_.lines;
  state_.bytes += std::ssize(line) + 1;
}

RowsState RowsSum::Finish() {
  state_.sha256 = sha_.Finish().Hex();
  return state_;
}

std::string ClosingFile(const std::string& folder) { return folder + "/closed.json"; }

absl::StatusOr<std::int64_t> WriteClosing(const std::vector<RowsState>& states,
                                          const std::string& folder) {
  json::array rows;
  for (const RowsState& state : states) {
    rows.push_back(
        json::object{{"lines", state.lines}, {"bytes", state.bytes}, {"sha256", state.sha256}});
  }
  const std::string text = json::serialize(json::object{{"rows", std::move(rows)}}) + "\n";
  const std::string path = ClosingFile(folder);
  RETURN_IF_ERROR(WriteFile(path + ".new", text));
  RETURN_IF_ERROR(RenameFile(path + ".new", path));
  return std::ssize(text);
}

absl::StatusOr<std::vector<RowsState>> ReadClosing(const std::string& folder) {
  std::vector<RowsState> states;
  const std::string path = ClosingFile(folder);
  if (!IsThere(path)) return states;
  ASSIGN_OR_RETURN(const json::object object, ReadJsonObject(path));
  JsonReader reader(path, object);
  const json::value* rows = reader.Find("rows");
  if (rows == nullptr || !rows->is_array()) reader.Fail("rows", "a list");
  RETURN_IF_ERROR(reader.status());
  for (const json::value& entry : rows->as_array()) {
    if (!entry.is_object()) reader.Fail("rows", "a list of objects");
    RETURN_IF_ERROR(reader.status());
    JsonReader one = reader.Element("rows", entry.as_object());
    const std::int64_t lines = one.Int("lines", 0, 0, kMost);
    const std::int64_t bytes = one.Int("bytes", 0, 0, kMost);
    states.push_back({lines, bytes, one.String("sha256", "")});
    RETURN_IF_ERROR(reader.status());
  }
  if (states.empty()) reader.Fail("rows", "a list with an entry");
  RETURN_IF_ERROR(reader.status());
  return states;
}

bool MayBe(const RowsState& found, const std::vector<RowsState>& closed) {
  return closed.empty() || std::find(closed.begin(), closed.end(), found) != closed.end();
}

}  // namespace llava::capture

#include "client/batch/source.h"

#include <glob.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "client/batch/openai_row.h"
#include "client/batch/row_fields.h"

namespace llava::client {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using Visit = std::function<absl::Status(const BatchItem&)>;

constexpr std::size_t kMaxLineBytes = std::size_t{256} << 20;

bool IsPicture(const fs::path& path) {
  constexpr std::array<std::string_view, 6> kExtensions = {".jpg",  ".jpeg", ".png",
                                                           ".webp", ".gif",  ".bmp"};
  const std::string extension = absl::AsciiStrToLower(path.extension().string());
  return std::find(kExtensions.begin(), kExtensions.end(), extension) != kExtensions.end();
}

absl::Status ForEachPicture(const std::string& folder, const Visit& visit) {
  std::error_code error;
  fs::recursive_directory_iterator entries(folder, error);
  for (; !error && entries != fs::end(entries); entries.increment(error)) {
    std::error_code ignored;  // a link that leads nowhere fails as a row
    if (!IsPicture(entries->path()) || entries->is_directory(ignored)) continue;
    const std::string path = entries->path().string();
    RETURN_IF_ERROR(visit({fs::path(path).lexically_relative(folder).string(), "", path}));
  }
  if (error) return absl::UnavailableError(absl::StrCat(folder, ": ", error.message()));
  return absl::OkStatus();
}

absl::Status ForEachMatch(const std::string& pattern, const Visit& visit) {
  glob_t matches{};
  const int result = glob(pattern.c_str(), GLOB_TILDE, nullptr, &matches);
  absl::Status status;
  if (result != 0) {
    status = absl::NotFoundError(
        absl::StrCat(pattern, ": no such file or folder, and as a pattern it matches nothing"));
  }
  for (std::size_t i = 0; status.ok() && i < matches.gl_pathc; ++i) {
    const std::string path = matches.gl_pathv[i];
    status = visit({path, "", path});
  }
  globfree(&matches);
  return status;
}

absl::StatusOr<std::string> IdOf(const std::string& line, std::int64_t number) {
  boost::system::error_code error;
  const json::value row = json::parse(line, error);
  if (error || !row.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "line ", number, " is no JSON object: ", error ? error.message() : "it is something else"));
  }
  for (const char* name : {"custom_id", "id", "image"}) {
    const json::value* id = row.as_object().if_contains(name);
    if (id == nullptr) continue;
    if (id->is_string()) return std::string(id->as_string());
    if (id->is_int64() || id->is_uint64()) return json::serialize(*id);
    return absl::InvalidArgumentError(absl::StrCat("line ", number, ": \"", name, "\" is ",
                                                   json::serialize(*id),
                                                   ", expected text or an integer"));
  }
  return absl::StrCat("line ", number);
}

absl::Status ForEachLine(const std::string& path, const Visit& visit) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": cannot be opened"));
  std::string line;
  for (std::int64_t number = 1; std::getline(file, line); ++number) {
    if (number == 1) line.erase(0, line.size() - WithoutByteOrderMark(line).size());
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    if (line.size() > kMaxLineBytes) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": line ", number, " has ", line.size(),
                                                     " bytes, at most ", kMaxLineBytes));
    }
    const auto id = IdOf(line, number);
    if (!id.ok()) return Annotate(id.status(), path);
    RETURN_IF_ERROR(visit({*id, line, ""}));
  }
  return absl::OkStatus();
}

absl::Status AddPicture(const std::string& path, v1::ChatMessage* message) {
  ASSIGN_OR_RETURN(*message->add_parts()->mutable_image(), ReadFile(path, kMaxPictureBytes));
  return absl::OkStatus();
}

absl::Status AddPrompt(const std::string& prompt, v1::ChatMessage* message) {
  if (prompt.empty()) {
    return absl::InvalidArgumentError("there is no prompt: give --prompt, or the row a \"prompt\"");
  }
  message->add_parts()->set_text(prompt);
  return absl::OkStatus();
}

// {"image": ..., "images": [...], "prompt": ...}
absl::Status FillFromRow(const json::object& row, const fs::path& folder,
                         const BatchDefaults& defaults, v1::ChatRequest* request) {
  v1::ChatMessage* message = request->add_messages();
  message->set_role(v1::ROLE_USER);
  std::string prompt = defaults.prompt;
  for (const auto& [key, value] : row) {
    if (key == "id") continue;
    if (key == "image") {
      ASSIGN_OR_RETURN(const std::string path, TextOf(key, value));
      RETURN_IF_ERROR(AddPicture(folder / path, message));
    } else if (key == "images") {
      if (!value.is_array()) return WrongField(key, value, "a list of paths");
      for (const json::value& item : value.as_array()) {
        ASSIGN_OR_RETURN(const std::string path, TextOf(key, item));
        RETURN_IF_ERROR(AddPicture(folder / path, message));
      }
    } else if (key == "prompt") {
      ASSIGN_OR_RETURN(prompt, TextOf(key, value));
    } else {
      return absl::InvalidArgumentError(absl::StrCat(
          "\"", absl::string_view(key.data(), key.size()),
          "\" is not known; expected id, image, images and prompt, or OpenAI's batch format"));
    }
  }
  return AddPrompt(prompt, message);
}

}  // namespace

bool MayBringPrompts(const std::string& input) {
  std::error_code ignored;
  return input.ends_with(".jsonl") && !fs::is_directory(input, ignored);
}

absl::Status ForEachItem(const std::string& input, const Visit& visit) {
  std::error_code ignored;
  if (fs::is_directory(input, ignored)) return ForEachPicture(input, visit);
  if (MayBringPrompts(input)) return ForEachLine(input, visit);
  return ForEachMatch(input, visit);
}

absl::StatusOr<v1::ChatRequest> RequestOf(const BatchItem& item, const std::string& input,
                                          const BatchDefaults& defaults) {
  v1::ChatRequest request = defaults.request;
  if (item.line.empty()) {
    v1::ChatMessage* message = request.add_messages();
    message->set_role(v1::ROLE_USER);
    RETURN_IF_ERROR(AddPicture(item.image, message));
    RETURN_IF_ERROR(AddPrompt(defaults.prompt, message));
    return request;
  }
  const json::value value = json::parse(item.line);
  const json::object& row = value.as_object();
  const fs::path folder = fs::path(input).parent_path();
  RETURN_IF_ERROR(row.contains("custom_id") ? FillFromOpenAi(row, folder, &request)
                                            : FillFromRow(row, folder, defaults, &request));
  return request;
}

}  // namespace llava::client

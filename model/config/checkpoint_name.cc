#include "model/config/checkpoint_name.h"

#include <algorithm>
#include <filesystem>
#include <string_view>

#include "absl/strings/ascii.h"
#include "base/json_reader.h"
#include "base/utf8_stream.h"
#include "model/config/hub_folder.h"

namespace llava::model {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kCachePrefix = "models--";
constexpr std::string_view kCacheSeparator = "--";
constexpr std::size_t kCommitDigits = 40;

// A text of a JSON file; empty where there is none.
std::string TextOf(const fs::path& path, std::string_view key) {
  const auto object = ReadJsonObject(path.string());
  if (!object.ok()) return "";
  JsonReader reader(path.string(), *object);
  return reader.String(key, "");
}

bool IsCommit(const std::string& name) {
  return name.size() == kCommitDigits && std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

// Of the folder `snapshot` in Hugging Face's cache; empty where it is no such folder.
std::string CachedName(const fs::path& snapshot) {
  const fs::path snapshots = snapshot.parent_path();
  const std::string repository = snapshots.parent_path().filename().string();
  if (snapshots.filename() != "snapshots" || !repository.starts_with(kCachePrefix)) return "";
  const std::size_t at = repository.find(kCacheSeparator, kCachePrefix.size());
  return at == std::string::npos ? repository.substr(kCachePrefix.size())
                                 : repository.substr(at + kCacheSeparator.size());
}

fs::path WithoutTrailingSlash(const fs::path& path) {
  return path.has_filename() ? path : path.parent_path();
}

std::string OwnName(const std::string& dir) {
  const fs::path given(dir);
  for (const char* file : {"manifest.json", "config.json"}) {
    std::string name = TextOf(given / file, "name");
    if (!name.empty()) return name;
  }
  std::error_code error;
  const fs::path absolute = fs::absolute(given, error).lexically_normal();
  const fs::path folder = WithoutTrailingSlash(error ? given : absolute);
  std::string name = CachedName(folder);
  if (!name.empty()) return name;
  name = folder.filename().string();
  if (IsCommit(name)) {
    const fs::path base = WithoutTrailingSlash(TextOf(given / "config.json", "_name_or_path"));
    if (base.has_filename()) return base.filename().string();
  }
  return name;
}

}  // namespace

std::string FittingName(std::string_view name) {
  constexpr std::size_t kMaxBytes = 128;
  std::string fitting = Utf8Repair(name);
  if (fitting.size() > kMaxBytes) {
    std::size_t end = kMaxBytes;
    while ((static_cast<unsigned char>(fitting[end]) & 0xC0) == 0x80) --end;  // within a character
    fitting.resize(end);
  }
  std::replace_if(
      fitting.begin(), fitting.end(),
      [](char c) { return c == '@' || absl::ascii_iscntrl(static_cast<unsigned char>(c)); }, '-');
  return fitting;
}

std::string CheckpointName(const std::string& dir) {
  const std::string name = FittingName(OwnName(SnapshotOf(dir).value_or(dir)));
  return name.empty() ? "llava" : name;
}

}  // namespace llava::model

#include "training/service/shards.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string_view>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "training/data/byte_source.h"
#include "training/data/row_scanner.h"

namespace llava::training {

namespace fs = std::filesystem;

namespace {

// Whether an object ends before its last brace. What is wrong within it makes a bad row, no cut.
bool IsCut(std::string_view object) {
  std::int64_t depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < object.size(); ++i) {
    const char c = object[i];
    if (c == '"') in_string = !in_string;
    if (in_string && c == '\\') ++i;
    if (in_string) continue;
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') --depth;
  }
  return in_string || depth > 0;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ListShards(const std::string& folder) {
  std::error_code error;
  std::vector<std::string> shards;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    const std::string extension = at->path().extension().string();
    const bool shard = extension == ".json" || extension == ".jsonl" || extension == ".gz";
    std::error_code ignored;  // a link that leads nowhere or to itself is no shard
    if (!shard || !at->is_regular_file(ignored)) continue;
    shards.push_back(fs::absolute(at->path()).string());
  }
  if (error) return absl::ErrnoToStatus(error.value(), folder);
  std::sort(shards.begin(), shards.end());
  return shards;
}

absl::Status HashShards(const std::vector<std::string>& shards, Sha256* hash) {
  std::string buffer(std::size_t{1} << 20, '\0');
  for (const std::string& shard : shards) {
    std::ifstream file(shard, std::ios::binary);
    if (!file) return absl::NotFoundError(absl::StrCat(shard, ": cannot be opened"));
    while (file.read(buffer.data(), static_cast<std::streamsize>(buffer.size())) || file.gcount()) {
      hash->Update(std::string_view(buffer.data(), static_cast<std::size_t>(file.gcount())));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> FingerprintOf(const std::vector<std::string>& shards) {
  Sha256 hash;
  RETURN_IF_ERROR(HashShards(shards, &hash));
  return hash.Finish().Hex();
}

absl::StatusOr<Shard> DescribeShard(const std::string& path, const std::string& scratch) {
  Shard shard{.path = path, .sha256 = ""};
  bool at_end = false;  // a row that no line break ends may be cut
  RowScanner scanner([&](const RowPlace& place, std::string_view bytes) -> absl::Status {
    if (at_end && IsCut(bytes)) {
      return absl::InvalidArgumentError(
          absl::StrCat("the file ends within the row that begins in line ", place.line));
    }
    ++shard.rows;
    return absl::OkStatus();
  });
  Sha256 hash;
  absl::Status rows;
  shard.is_blank = true;
  const auto on_bytes = [&](std::string_view bytes) {
    if (rows.ok()) rows = scanner.Feed(bytes);
    const auto is_space = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
    shard.is_blank = shard.is_blank && std::all_of(bytes.begin(), bytes.end(), is_space);
    return absl::OkStatus();  // the rest belongs to the digest all the same
  };
  const absl::Status read = ReadOnce(path, scratch, &hash, on_bytes).status();
  if (absl::IsDataLoss(read)) {
    shard.is_blank = false;
    shard.damage = MessageOf(read);
    return shard;
  }
  if (!read.ok()) return absl::StrContains(read.message(), path) ? read : Annotate(read, path);
  at_end = true;
  if (rows.ok() && !shard.is_blank) rows = scanner.Finish();
  shard.damage = MessageOf(rows);
  shard.sha256 = hash.Finish().Hex();
  return shard;
}

}  // namespace llava::training

#include "model/checkpoint/manifest.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/json_reader.h"
#include "base/status_macros.h"
#include "boost/json.hpp"

namespace llava::model {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr std::size_t kMaxManifestBytes = std::size_t{16} << 20;
constexpr std::size_t kPiece = std::size_t{1} << 20;
constexpr int kFormat = 1;

absl::Status Wrong(std::string_view key, std::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat(kManifestFile, ": ", std::string(key), ": expected ", std::string(expected)));
}

bool StaysInside(const std::string& path) {
  const fs::path parsed(path);
  return !path.empty() && !parsed.is_absolute() && path.find('\0') == path.npos &&
         std::none_of(parsed.begin(), parsed.end(), [](const auto& part) { return part == ".."; });
}

absl::StatusOr<Digest> ParseHex(std::string_view hex, std::string_view key) {
  Digest digest;
  if (hex.size() != 2 * digest.bytes.size()) return Wrong(key, "64 hexadecimal digits");
  for (std::size_t i = 0; i < hex.size(); ++i) {
    const char c = hex[i];
    const bool is_digit = c >= '0' && c <= '9';
    if (!is_digit && (c < 'a' || c > 'f')) return Wrong(key, "64 hexadecimal digits");
    const int nibble = is_digit ? c - '0' : c - 'a' + 10;
    auto& byte = digest.bytes[i / 2];
    byte = static_cast<std::uint8_t>(byte << 4 | nibble);
  }
  return digest;
}

absl::StatusOr<std::string> String(const json::object& object, std::string_view key,
                                   std::string_view path) {
  const json::value* value = object.if_contains(json::string_view(key.data(), key.size()));
  if (value == nullptr || !value->is_string()) {
    return Wrong(absl::StrCat(std::string(path), std::string(key)), "a string");
  }
  return std::string(value->as_string());
}

absl::StatusOr<const json::array*> Array(const json::object& object, std::string_view key,
                                         std::string_view path) {
  const json::value* value = object.if_contains(json::string_view(key.data(), key.size()));
  if (value == nullptr || !value->is_array()) {
    return Wrong(absl::StrCat(std::string(path), std::string(key)), "a list");
  }
  return &value->as_array();
}

absl::StatusOr<ManifestFile> ParseFile(const json::value& value, const std::string& path) {
  if (!value.is_object()) return Wrong(path, "an object");
  const json::object& object = value.as_object();
  ManifestFile file;
  ASSIGN_OR_RETURN(file.path, String(object, "path", path + "."));
  if (!StaysInside(file.path)) return Wrong(path + ".path", "a path inside the folder");
  const json::value* size = object.if_contains("size");
  if (size == nullptr || !size->is_int64() || size->as_int64() < 0) {
    return Wrong(path + ".size", "a number of bytes");
  }
  file.size = static_cast<std::uint64_t>(size->as_int64());
  ASSIGN_OR_RETURN(const std::string hex, String(object, "sha256", path + "."));
  ASSIGN_OR_RETURN(file.sha256, ParseHex(hex, path + ".sha256"));
  return file;
}

absl::StatusOr<Probe> ParseProbe(const json::value& value, const std::string& path,
                                 const std::set<std::string>& files) {
  if (!value.is_object()) return Wrong(path, "an object");
  const json::object& object = value.as_object();
  Probe probe;
  ASSIGN_OR_RETURN(probe.prompt, String(object, "prompt", path + "."));
  ASSIGN_OR_RETURN(probe.chat_template, String(object, "chat_template", path + "."));
  ASSIGN_OR_RETURN(const json::array* images, Array(object, "images", path + "."));
  for (const json::value& image : *images) {
    if (!image.is_string() || files.count(std::string(image.as_string())) == 0) {
      return Wrong(path + ".images", "files of the manifest");
    }
    probe.images.emplace_back(image.as_string());
  }
  ASSIGN_OR_RETURN(const json::array* ids, Array(object, "greedy_ids", path + "."));
  for (const json::value& id : *ids) {
    if (!id.is_int64() || id.as_int64() < 0 || id.as_int64() > 100'000'000) {
      return Wrong(path + ".greedy_ids", "token ids");
    }
    probe.greedy_ids.push_back(static_cast<int>(id.as_int64()));
  }
  return probe;
}

absl::StatusOr<std::map<std::string, double>> ParseScores(const json::object& object,
                                                          const std::string& key,
                                                          const std::string& path) {
  const json::value* scores = object.if_contains(key);
  if (scores == nullptr || !scores->is_object()) return Wrong(path + key, "an object");
  std::map<std::string, double> parsed;
  for (const auto& [name, value] : scores->as_object()) {
    if (!value.is_number()) {
      return Wrong(absl::StrCat(path, key, ".", std::string(name)), "a number");
    }
    parsed[std::string(name)] = value.to_number<double>();
  }
  return parsed;
}

absl::StatusOr<Evaluation> ParseExam(const json::value& value, const std::string& path) {
  if (!value.is_object()) return Wrong(path, "an object");
  const json::object& object = value.as_object();
  Evaluation exam;
  ASSIGN_OR_RETURN(exam.benchmark, String(object, "benchmark", path + "."));
  ASSIGN_OR_RETURN(exam.data_fingerprint, String(object, "data_fingerprint", path + "."));
  ASSIGN_OR_RETURN(exam.judge, String(object, "judge", path + "."));
  const json::value* questions = object.if_contains("questions");
  if (questions == nullptr || !questions->is_int64()) {
    return Wrong(path + ".questions", "an integer");
  }
  exam.questions = questions->as_int64();
  ASSIGN_OR_RETURN(exam.scores, ParseScores(object, "scores", path + "."));
  return exam;
}

absl::Status ParseExams(const json::object& object, Manifest* manifest) {
  if (!object.contains("evaluations")) return absl::OkStatus();
  ASSIGN_OR_RETURN(const json::array* exams, Array(object, "evaluations", ""));
  for (std::size_t i = 0; i < exams->size(); ++i) {
    ASSIGN_OR_RETURN(Evaluation exam, ParseExam((*exams)[i], absl::StrCat("evaluations[", i, "]")));
    manifest->evaluations.push_back(std::move(exam));
  }
  return absl::OkStatus();
}

absl::StatusOr<CapturedShard> ParseShard(const json::value& value, const std::string& path) {
  if (!value.is_object()) return Wrong(path, "an object");
  const json::object& object = value.as_object();
  CapturedShard shard;
  ASSIGN_OR_RETURN(shard.name, String(object, "shard", path + "."));
  ASSIGN_OR_RETURN(const std::string hex, String(object, "sha256", path + "."));
  ASSIGN_OR_RETURN(shard.sha256, ParseHex(hex, path + ".sha256"));
  const json::value* rows = object.if_contains("rows");
  if (rows == nullptr || !rows->is_int64()) return Wrong(path + ".rows", "an integer");
  shard.rows = rows->as_int64();
  return shard;
}

absl::Status ParseCaptured(const json::object& object, Manifest* manifest) {
  if (!object.contains("captured")) return absl::OkStatus();
  ASSIGN_OR_RETURN(const json::array* shards, Array(object, "captured", ""));
  for (std::size_t i = 0; i < shards->size(); ++i) {
    ASSIGN_OR_RETURN(CapturedShard shard,
                     ParseShard((*shards)[i], absl::StrCat("captured[", i, "]")));
    manifest->captured.push_back(std::move(shard));
  }
  return absl::OkStatus();
}

json::object ScoresJson(const std::map<std::string, double>& scores) {
  json::object object;
  for (const auto& [name, value] : scores) object[name] = value;
  return object;
}

absl::Status CheckSize(const FileDescriptor& file, const std::string& path,
                       std::uint64_t expected) {
  struct stat info{};
  if (fstat(file.get(), &info) != 0) return absl::ErrnoToStatus(errno, path);
  const auto size = static_cast<std::uint64_t>(info.st_size);
  if (size == expected) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat(path, ": has ", size, " bytes, the manifest says ", expected));
}

// Calls `on_piece` for every piece.
absl::Status ReadPieces(const FileDescriptor& file, const std::string& path,
                        const std::function<absl::Status(std::string_view)>& on_piece) {
  std::string buffer(kPiece, '\0');
  absl::Status status;
  while (status.ok()) {
    const ssize_t got = ::read(file.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) status = absl::ErrnoToStatus(errno, path);
    if (got <= 0) break;
    status = on_piece(std::string_view(buffer.data(), static_cast<std::size_t>(got)));
  }
  return status;
}

// Opened once, so that what is measured is what is hashed. With a size that is expected, whatever
// else stands at the path is DATA_LOSS, and another size is noticed before anything is read.
absl::StatusOr<ManifestFile> Describe(const std::string& dir, const std::string& path,
                                      std::optional<std::uint64_t> expected_size,
                                      const OnVerified& on_verified) {
  const std::string full = dir + "/" + path;
  auto opened = OpenRegularFile(full);
  if (!opened.ok()) {
    return expected_size ? absl::DataLossError(opened.status().message()) : opened.status();
  }
  if (expected_size) RETURN_IF_ERROR(CheckSize(*opened, full, *expected_size));
  ManifestFile file{path, 0, {}};
  Sha256 hash;
  RETURN_IF_ERROR(ReadPieces(*opened, full, [&](std::string_view piece) {
    hash.Update(piece);
    file.size += piece.size();
    return on_verified ? on_verified(piece.size()) : absl::OkStatus();
  }));
  file.sha256 = hash.Finish();
  return file;
}

// Paths of all files, sorted; folders and files whose names begin with a dot are passed over. What
// is no folder is a file here, also a link in a circle: reading it is the error then.
absl::StatusOr<std::vector<std::string>> ListFiles(const std::string& dir) {
  std::vector<std::string> paths;
  std::error_code error;
  fs::recursive_directory_iterator at(dir, error), end;
  for (; !error && at != end; at.increment(error)) {
    const bool hidden = at->path().filename().string().starts_with('.');
    if (hidden) at.disable_recursion_pending();
    std::error_code unknown;  // a link in a circle, say: who reads it says so
    if (hidden || at->is_directory(unknown)) continue;
    paths.push_back(at->path().lexically_relative(dir).string());
  }
  if (error) return absl::NotFoundError(absl::StrCat(dir, ": ", error.message()));
  std::erase(paths, kManifestFile);
  std::sort(paths.begin(), paths.end());
  return paths;
}

}  // namespace

std::string ManifestJson(const Manifest& manifest) {
  json::array files, probes;
  for (const ManifestFile& file : manifest.files) {
    files.push_back({{"path", file.path}, {"size", file.size}, {"sha256", file.sha256.Hex()}});
  }
  for (const Probe& probe : manifest.probes) {
    probes.push_back({{"prompt", probe.prompt},
                      {"images", json::value_from(probe.images)},
                      {"chat_template", probe.chat_template},
                      {"greedy_ids", json::value_from(probe.greedy_ids)}});
  }
  json::object object{{"format", kFormat},
                      {"files", files},
                      {"parent", manifest.parent},
                      {"recipe", manifest.recipe},
                      {"data_fingerprint", manifest.data_fingerprint},
                      {"step", manifest.step},
                      {"evaluation", ScoresJson(manifest.evaluation)},
                      {"probes", probes}};
  if (!manifest.name.empty()) object["name"] = manifest.name;
  if (!manifest.adapter.empty()) object["adapter"] = manifest.adapter;
  json::array exams;
  for (const Evaluation& exam : manifest.evaluations) {
    exams.push_back({{"benchmark", exam.benchmark},
                     {"data_fingerprint", exam.data_fingerprint},
                     {"judge", exam.judge},
                     {"questions", exam.questions},
                     {"scores", ScoresJson(exam.scores)}});
  }
  if (!exams.empty()) object["evaluations"] = std::move(exams);
  json::array captured;
  for (const CapturedShard& shard : manifest.captured) {
    captured.push_back(
        {{"shard", shard.name}, {"sha256", shard.sha256.Hex()}, {"rows", shard.rows}});
  }
  if (!captured.empty()) object["captured"] = std::move(captured);
  if (!manifest.selection.empty()) object["selection"] = manifest.selection;
  if (!manifest.rejected.empty()) object["rejected"] = manifest.rejected;
  return json::serialize(object);
}

absl::StatusOr<Manifest> ParseManifest(std::string_view text) {
  ASSIGN_OR_RETURN(const json::object object, ParseJsonObject(text, kManifestFile));
  const json::value* format = object.if_contains("format");
  if (format == nullptr || *format != kFormat) return Wrong("format", "1");
  Manifest manifest;
  std::set<std::string> paths;
  ASSIGN_OR_RETURN(const json::array* files, Array(object, "files", ""));
  for (std::size_t i = 0; i < files->size(); ++i) {
    const std::string path = absl::StrCat("files[", i, "]");
    ASSIGN_OR_RETURN(ManifestFile file, ParseFile((*files)[i], path));
    if (!paths.insert(file.path).second) return Wrong(path + ".path", "each path once");
    manifest.files.push_back(std::move(file));
  }
  if (object.contains("name")) {
    ASSIGN_OR_RETURN(manifest.name, String(object, "name", ""));
  }
  if (object.contains("adapter")) {
    ASSIGN_OR_RETURN(manifest.adapter, String(object, "adapter", ""));
  }
  ASSIGN_OR_RETURN(manifest.parent, String(object, "parent", ""));
  ASSIGN_OR_RETURN(manifest.recipe, String(object, "recipe", ""));
  ASSIGN_OR_RETURN(manifest.data_fingerprint, String(object, "data_fingerprint", ""));
  const json::value* step = object.if_contains("step");
  if (step == nullptr || !step->is_int64()) return Wrong("step", "an integer");
  manifest.step = step->as_int64();
  ASSIGN_OR_RETURN(manifest.evaluation, ParseScores(object, "evaluation", ""));
  RETURN_IF_ERROR(ParseExams(object, &manifest));
  RETURN_IF_ERROR(ParseCaptured(object, &manifest));
  if (object.contains("selection")) {
    ASSIGN_OR_RETURN(manifest.selection, String(object, "selection", ""));
  }
  if (object.contains("rejected")) {
    ASSIGN_OR_RETURN(manifest.rejected, String(object, "rejected", ""));
  }
  ASSIGN_OR_RETURN(const json::array* probes, Array(object, "probes", ""));
  for (std::size_t i = 0; i < probes->size(); ++i) {
    ASSIGN_OR_RETURN(Probe probe, ParseProbe((*probes)[i], absl::StrCat("probes[", i, "]"), paths));
    manifest.probes.push_back(std::move(probe));
  }
  return manifest;
}

std::string VersionOf(std::string_view manifest_json) { return Sha256Of(manifest_json).Hex(); }

absl::StatusOr<CheckpointVersion> ReadManifest(const std::string& dir) {
  ASSIGN_OR_RETURN(const std::string bytes,
                   ReadFile(absl::StrCat(dir, "/", kManifestFile), kMaxManifestBytes));
  auto manifest = ParseManifest(bytes);
  if (!manifest.ok()) return Annotate(manifest.status(), dir);
  return CheckpointVersion{VersionOf(bytes), *std::move(manifest)};
}

absl::Status VerifyFiles(const Manifest& manifest, const std::string& dir,
                         const OnVerified& on_verified) {
  std::set<std::string> known;
  for (const ManifestFile& expected : manifest.files) {
    known.insert(expected.path);
    const std::string path = absl::StrCat(dir, "/", expected.path);
    ASSIGN_OR_RETURN(const ManifestFile found,
                     Describe(dir, expected.path, expected.size, on_verified));
    if (found != expected) {
      return absl::DataLossError(absl::StrCat(path, ": has SHA-256 ", found.sha256.Hex(),
                                              ", the manifest says ", expected.sha256.Hex()));
    }
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> paths, ListFiles(dir));
  for (const std::string& path : paths) {
    if (known.count(path) == 0) {
      return absl::DataLossError(absl::StrCat(dir, "/", path, ": is not in the manifest"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ManifestFile>> DescribeFiles(const std::string& dir) {
  ASSIGN_OR_RETURN(const std::vector<std::string> paths, ListFiles(dir));
  std::vector<ManifestFile> files;
  for (const std::string& path : paths) {
    ASSIGN_OR_RETURN(ManifestFile file, Describe(dir, path, std::nullopt, nullptr));
    files.push_back(std::move(file));
  }
  return files;
}

}  // namespace llava::model

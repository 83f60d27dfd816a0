#include "training/data/picture_record.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value_to.hpp>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/durable_file.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "model/image/image.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kNanoseconds = 1'000'000'000;

std::int64_t Nanoseconds(const timespec& time) {
  return std::int64_t{time.tv_sec} * kNanoseconds + time.tv_nsec;
}

PictureTimes TimesOf(const std::string& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) return {};
  return {Nanoseconds(info.st_mtim), Nanoseconds(info.st_ctim)};
}

std::optional<Digest> DigestFromHex(const std::string& hex) {
  Digest digest;
  if (hex.size() != 2 * digest.bytes.size()) return std::nullopt;
  for (std::size_t i = 0; i < digest.bytes.size(); ++i) {
    digest.bytes[i] = static_cast<std::uint8_t>(std::stoi(hex.substr(2 * i, 2), nullptr, 16));
  }
  return digest;
}

// Appends, durably.
absl::Status Append(const std::string& path, std::string_view bytes) {
  const FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!file.is_open()) return absl::ErrnoToStatus(errno, path);
  while (!bytes.empty()) {
    const ssize_t put = ::write(file.get(), bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return absl::ErrnoToStatus(errno, path);
    bytes.remove_prefix(static_cast<std::size_t>(put));
  }
  if (::fsync(file.get()) != 0) return absl::ErrnoToStatus(errno, path);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<PictureRecord>> PictureRecord::Open(const std::string& folder,
                                                                   int rank, bool accept_changes) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return absl::ErrnoToStatus(error.value(), folder);
  std::shared_ptr<PictureRecord> record(
      new PictureRecord(absl::StrCat(folder, "/rank-", rank, ".jsonl"), accept_changes));
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().extension() == ".jsonl") RETURN_IF_ERROR(record->Read(entry.path().string()));
  }
  if (error) return absl::ErrnoToStatus(error.value(), folder);
  return record;
}

// The last line of a picture counts. A line that a killed process did not finish is cut off.
absl::Status PictureRecord::Read(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) return absl::UnavailableError(absl::StrCat(file, ": cannot be read"));
  MutexLock lock(&mutex_);
  std::uint64_t whole = 0;
  for (std::string line; std::getline(in, line) && !in.eof();) {
    whole += line.size() + 1;
    try {
      const boost::json::value json = boost::json::parse(line);
      const auto digest = DigestFromHex(boost::json::value_to<std::string>(json.at("sha256")));
      if (!digest) return absl::DataLossError(absl::StrCat(file, ": is no record of pictures"));
      const boost::json::value* changed = json.as_object().if_contains("changed_ns");
      const PictureTimes times = {json.at("written_ns").to_number<std::int64_t>(),
                                  changed == nullptr ? 0 : changed->to_number<std::int64_t>()};
      pictures_[boost::json::value_to<std::string>(json.at("path"))] = {
          json.at("size").to_number<std::uint64_t>(), times, *digest};
    } catch (const std::exception& e) {
      return absl::DataLossError(absl::StrCat(file, ": is no record of pictures: ", e.what()));
    }
  }
  in.close();
  std::error_code error;
  if (fs::file_size(file, error) > whole && file == file_) fs::resize_file(file, whole, error);
  return absl::OkStatus();
}

absl::Status PictureRecord::Check(const std::string& path, std::string_view bytes) {
  const Picture now{bytes.size(), TimesOf(path), Sha256Of(bytes)};
  MutexLock lock(&mutex_);
  const auto [known, is_new] = pictures_.emplace(path, now);
  if (!is_new && known->second.digest == now.digest) return absl::OkStatus();
  if (!is_new && !accept_changes_) {
    return absl::AbortedError(absl::StrCat(path, ": has SHA-256 ", now.digest.Hex(), " (", now.size,
                                           " bytes), but had ", known->second.digest.Hex(), " (",
                                           known->second.size, " bytes) when this run read it"));
  }
  known->second = now;
  Note(path, now);
  return absl::OkStatus();
}

void PictureRecord::Note(const std::string& path, const Picture& picture) {
  const boost::json::object line = {{"path", path},
                                    {"size", picture.size},
                                    {"written_ns", picture.times.written_ns},
                                    {"changed_ns", picture.times.changed_ns},
                                    {"sha256", picture.digest.Hex()}};
  absl::StrAppend(&unsaved_, boost::json::serialize(line), "\n");
}

absl::Status PictureRecord::Save() {
  std::string lines;
  {
    MutexLock lock(&mutex_);
    lines = std::exchange(unsaved_, "");
  }
  if (lines.empty()) return absl::OkStatus();
  return Append(file_, lines);
}

std::vector<std::string> PictureRecord::Changes(std::size_t most) {
  MutexLock lock(&mutex_);
  std::vector<std::string> changes;
  for (auto& [path, picture] : pictures_) {
    if (changes.size() >= most) break;
    std::error_code error;
    const std::uint64_t size = fs::file_size(path, error);
    const PictureTimes times = TimesOf(path);
    if (!error && size == picture.size && picture.times.AreThoseOf(times)) continue;
    const auto bytes = ReadFile(path, model::ImageLimits().max_bytes);
    if (!bytes.ok()) {
      changes.push_back(absl::StrCat(bytes.status().message(), ", but this run has read it"));
    } else if (const Digest now = Sha256Of(*bytes); now != picture.digest) {
      changes.push_back(
          absl::StrCat(path, ": SHA-256 was ", picture.digest.Hex(), ", is ", now.Hex()));
    } else {  // the same bytes, which are not read again next time
      picture.times = times;
      Note(path, picture);
    }
  }
  return changes;
}

}  // namespace llava::training

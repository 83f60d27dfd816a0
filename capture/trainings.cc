#include "capture/trainings.h"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value_from.hpp>
#include <cerrno>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/durable_file.h"
#include "base/json_reader.h"
#include "base/status_macros.h"

namespace llava::capture {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr char kRecordEnding[] = ".json";

std::string Folder(const std::string& dir) { return dir + "/trainings"; }

std::string RecordOf(const std::string& run, const std::string& dir) {
  return absl::StrCat(Folder(dir), "/", Sha256Of(run).Hex().substr(0, 16), kRecordEnding);
}

std::vector<std::string> Texts(JsonReader& reader, std::string_view key) {
  std::vector<std::string> texts;
  const json::value* list = reader.Find(key);
  if (list == nullptr || !list->is_array()) {
    reader.Fail(key, "a list of texts");
    return texts;
  }
  for (const json::value& text : list->as_array()) {
    if (text.is_string()) texts.emplace_back(text.as_string());
  }
  return texts;
}

absl::StatusOr<Training> ReadTraining(const std::string& path) {
  ASSIGN_OR_RETURN(const json::object object, ReadJsonObject(path));
  JsonReader reader(path, object);
  Training training;
  training.run = reader.String("run", "");
  training.shards = Texts(reader, "shards");
  training.versions = Texts(reader, "versions");
  if (training.run.empty()) reader.Fail("run", "the folder of a run");
  RETURN_IF_ERROR(reader.status());
  return training;
}

}  // namespace

absl::StatusOr<TrainingsLock> TrainingsLock::Take(const std::string& dir) {
  std::error_code error;
  fs::create_directory(Folder(dir), error);
  if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot make ", Folder(dir)));
  const std::string path = Folder(dir) + "/lock";
  FileDescriptor file(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  if (!file.is_open()) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path));
  while (flock(file.get(), LOCK_EX) != 0) {
    if (errno != EINTR) return absl::ErrnoToStatus(errno, absl::StrCat("cannot lock ", path));
  }
  return TrainingsLock(std::move(file));
}

absl::StatusOr<std::vector<Training>> ReadTrainings(const std::string& dir) {
  std::vector<Training> trainings;
  std::vector<std::string> paths;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(Folder(dir), error)) {
    const std::string path = entry.path().string();
    if (absl::EndsWith(path, kRecordEnding)) paths.push_back(path);
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return absl::ErrnoToStatus(error.value(), Folder(dir));
  }
  for (const std::string& path : paths) {
    ASSIGN_OR_RETURN(Training training, ReadTraining(path));
    trainings.push_back(std::move(training));
  }
  return trainings;
}

absl::Status WriteTraining(const Training& training, const std::string& dir) {
  const json::object record = {{"run", training.run},
                               {"shards", json::value_from(training.shards)},
                               {"versions", json::value_from(training.versions)}};
  const std::string path = RecordOf(training.run, dir);
  RETURN_IF_ERROR(WriteFile(path + ".new", json::serialize(record) + "\n"));
  return RenameFile(path + ".new", path);
}

absl::Status AddVersion(const std::string& run, const std::string& version,
                        const std::string& dir) {
  ASSIGN_OR_RETURN(const TrainingsLock lock, TrainingsLock::Take(dir));
  absl::StatusOr<Training> training = ReadTraining(RecordOf(run, dir));
  if (absl::IsNotFound(training.status())) return absl::OkStatus();
  RETURN_IF_ERROR(training.status());
  std::vector<std::string>& versions = training->versions;
  if (std::find(versions.begin(), versions.end(), version) != versions.end()) {
    return absl::OkStatus();
  }
  versions.push_back(version);
  return WriteTraining(*training, dir);
}

}  // namespace llava::capture

#include "training/data/captured_rows.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <filesystem>
#include <limits>
#include <map>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/durable_file.h"
#include "base/json_reader.h"
#include "base/status_macros.h"
#include "capture/shard.h"
#include "capture/trainings.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr char kShardsFile[] = "/shards.json";

absl::Status Failed(const std::error_code& error, const std::string& what) {
  return absl::ErrnoToStatus(error.value(), what);
}

absl::StatusOr<std::vector<std::string>> ShardsIn(const std::string& dir) {
  std::error_code error;
  if (!fs::is_directory(capture::ShardsFolder(dir), error)) {
    return absl::NotFoundError(absl::StrCat(
        "data.captured: ", dir, " has no folder shards, expected the capture_dir of a llavad"));
  }
  return capture::ListShards(dir);
}

// The row's pictures, each once.
class Pictures {
 public:
  explicit Pictures(std::string folder) : folder_(std::move(folder)) {}

  absl::Status Take(const capture::ChosenRow& row) {
    for (const std::string& name : row.pictures) {
      if (!taken_.insert(name).second) continue;
      const fs::path from = fs::path(capture::PicturesFolder(row.folder)) / name;
      const fs::path to = fs::path(folder_) / name;
      std::error_code error;
      fs::create_hard_link(from, to, error);
      if (!error) continue;
      fs::copy_file(from, to, error);
      if (error) return Failed(error, absl::StrCat("cannot take ", from.string()));
    }
    return absl::OkStatus();
  }

 private:
  const std::string folder_;
  std::set<std::string> taken_;
};

using Names = std::vector<std::string>;

// What a run may read of one folder.
struct Reserved {
  Names closed;              // shards
  capture::Training before;  // what it had published of them, when it begins again
};

// REQUIRES: the lock is held.
absl::Status WriteDown(const std::string& dir, const capture::Training& before, Names shards) {
  shards.insert(shards.end(), before.shards.begin(), before.shards.end());
  std::sort(shards.begin(), shards.end());
  shards.erase(std::unique(shards.begin(), shards.end()), shards.end());
  return capture::WriteTraining({before.run, std::move(shards), before.versions}, dir);
}

absl::StatusOr<Reserved> Reserve(const std::string& dir, const std::string& run) {
  ASSIGN_OR_RETURN(Names closed, ShardsIn(dir));
  Reserved reserved{std::move(closed), {.run = run, .shards = {}, .versions = {}}};
  if (run.empty()) return reserved;
  ASSIGN_OR_RETURN(const capture::TrainingsLock lock, capture::TrainingsLock::Take(dir));
  ASSIGN_OR_RETURN(reserved.closed, ShardsIn(dir));
  ASSIGN_OR_RETURN(const std::vector<capture::Training> trainings, capture::ReadTrainings(dir));
  for (const capture::Training& training : trainings) {
    if (training.run == run && !training.versions.empty()) reserved.before = training;
  }
  RETURN_IF_ERROR(WriteDown(dir, reserved.before, reserved.closed));
  return reserved;
}

absl::Status GiveBack(const std::string& dir, const Reserved& reserved, Names taken) {
  if (reserved.before.run.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const capture::TrainingsLock lock, capture::TrainingsLock::Take(dir));
  return WriteDown(dir, reserved.before, std::move(taken));
}

std::string ShardsJson(const capture::Choice& choice) {
  json::array shards;
  for (const capture::ChosenShard& shard : choice.shards) {
    shards.push_back({{"shard", shard.name}, {"sha256", shard.sha256.Hex()}, {"rows", shard.rows}});
  }
  return json::serialize(json::object{{"shards", std::move(shards)}});
}

absl::Status MakeEmpty(const std::string& folder) {
  std::error_code error;
  fs::remove_all(folder, error);
  fs::create_directories(CapturedPictures(folder), error);
  return error ? Failed(error, absl::StrCat("cannot make ", folder)) : absl::OkStatus();
}

absl::StatusOr<capture::Choice> TakeOne(const CapturedSource& source, const Names& names) {
  const std::string unfinished = source.folder + ".unfinished";
  RETURN_IF_ERROR(MakeEmpty(unfinished));
  Pictures pictures(CapturedPictures(unfinished));
  ASSIGN_OR_RETURN(OutputFile rows, OutputFile::Create(CapturedRowsFile(unfinished)));
  const auto take = [&](const capture::ChosenRow& row) -> absl::Status {
    RETURN_IF_ERROR(pictures.Take(row));
    return rows.Write(row.line + "\n");
  };
  ASSIGN_OR_RETURN(capture::Choice choice, capture::Choose(source.dir, names, source.wanted, take));
  RETURN_IF_ERROR(rows.Close());
  RETURN_IF_ERROR(WriteFile(unfinished + kShardsFile, ShardsJson(choice)));
  std::error_code error;
  fs::remove_all(source.folder, error);
  RETURN_IF_ERROR(RenameFile(unfinished, source.folder));
  return choice;
}

}  // namespace

std::string CapturedRowsFile(const std::string& folder) { return folder + "/rows.jsonl"; }

std::string CapturedPictures(const std::string& folder) { return folder + "/pictures"; }

absl::StatusOr<std::vector<capture::Choice>> TakeCaptured(
    const std::string& run, const std::vector<CapturedSource>& sources) {
  std::map<std::string, Reserved> reserved;  // by the folder that they are captured in
  for (const CapturedSource& source : sources) {
    if (reserved.contains(source.dir)) continue;
    ASSIGN_OR_RETURN(reserved[source.dir], Reserve(source.dir, run));
  }
  std::vector<capture::Choice> choices;
  std::map<std::string, Names> taken;
  for (const CapturedSource& source : sources) {
    ASSIGN_OR_RETURN(capture::Choice choice, TakeOne(source, reserved[source.dir].closed));
    for (const capture::ChosenShard& shard : choice.shards) {
      taken[source.dir].push_back(shard.name);
    }
    choices.push_back(std::move(choice));
  }
  for (const auto& [dir, shards] : reserved) RETURN_IF_ERROR(GiveBack(dir, shards, taken[dir]));
  return choices;
}

absl::StatusOr<Digest> DigestOfCaptured(const std::string& dir, const capture::Wanted& wanted) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ShardsIn(dir));
  Sha256 sha;
  RETURN_IF_ERROR(capture::Choose(dir, names, wanted, [&](const capture::ChosenRow& row) {
                    sha.Update(row.line).Update("\n");
                    return absl::OkStatus();
                  }).status());
  return sha.Finish();
}

absl::StatusOr<std::vector<capture::ChosenShard>> ReadTakenShards(const std::string& folder) {
  const std::string path = folder + kShardsFile;
  ASSIGN_OR_RETURN(const json::object object, ReadJsonObject(path));
  JsonReader reader(path, object);
  std::vector<capture::ChosenShard> shards;
  const json::value* list = reader.Find("shards");
  if (list == nullptr || !list->is_array()) reader.Fail("shards", "a list");
  RETURN_IF_ERROR(reader.status());
  for (const json::value& entry : list->as_array()) {
    if (!entry.is_object()) reader.Fail("shards", "a list of objects");
    RETURN_IF_ERROR(reader.status());
    JsonReader one = reader.Element("shards", entry.as_object());
    capture::ChosenShard& shard = shards.emplace_back();
    shard.name = one.String("shard", "");
    shard.rows = one.Int("rows", 0, 0, std::numeric_limits<std::int64_t>::max());
    const std::string bytes = absl::HexStringToBytes(one.String("sha256", ""));
    if (bytes.size() != shard.sha256.bytes.size()) one.Fail("sha256", "64 hexadecimal digits");
    RETURN_IF_ERROR(reader.status());
    std::copy(bytes.begin(), bytes.end(), shard.sha256.bytes.begin());
  }
  return shards;
}

std::string ToText(const capture::Choice& choice) {
  std::string set_aside;
  for (const capture::DamagedShard& shard : choice.set_aside) {
    absl::StrAppend(&set_aside, ", and without a damaged shard: ", shard.why);
  }
  return absl::StrCat(choice.rows, " of ", choice.of, " captured rows: ", choice.up,
                      " with a thumb up, ", choice.corrected, " corrected, ", choice.down,
                      " with a thumb down, ", choice.unrated, " unrated, ", choice.cut,
                      " left out because they were cut, ", choice.removed,
                      " because they are to be forgotten", set_aside);
}

}  // namespace llava::training

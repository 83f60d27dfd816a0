#include "training/tracking/run_record.h"

#include <openssl/rand.h>

#include <array>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value_from.hpp>
#include <boost/json/value_to.hpp>
#include <exception>
#include <filesystem>
#include <functional>
#include <string_view>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/durable_file.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr char kRecordFile[] = "/mlflow.json";
constexpr char kSentFile[] = "/sent.json";
constexpr std::size_t kMaxRecordBytes = std::size_t{16} << 20;
constexpr std::size_t kMostParams = 1000;
constexpr std::size_t kMaxNameBytes = 250;
constexpr std::size_t kMaxValueBytes = 500;  // of servers since 1.28; newer ones take 6000
constexpr std::size_t kMaxTagBytes = 5000;
constexpr char kLeftOut[] = "settings_left_out";

std::string ParamName(const std::string& setting) {
  std::string name;
  for (const char c : setting) {
    if (c == ']') continue;
    const bool plain = absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-';
    name += plain ? c : c == '[' || c == '.' ? '.' : '_';
  }
  return name.substr(0, kMaxNameBytes);
}

// At most `most` bytes with the mark of a cut, all of them UTF-8.
std::string Cut(const std::string& text, std::size_t most) {
  const std::string whole = Utf8Repair(text);
  if (whole.size() <= most) return whole;
  Utf8Stream cut;  // leaves out a character that the end falls into
  return cut.Push(std::string_view(whole).substr(0, most - 3)) + "...";
}

// Nobody else's.
std::string NewKey() {
  std::array<std::uint8_t, 16> bytes{};
  LLAVA_CHECK_EQ(RAND_bytes(bytes.data(), static_cast<int>(bytes.size())), 1);
  return absl::BytesToHexString({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

template <typename T>
absl::StatusOr<T> Read(const std::string& path, const std::function<T(const json::value&)>& read) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxRecordBytes));
  try {
    return read(json::parse(text));
  } catch (const std::exception& e) {
    return absl::DataLossError(absl::StrCat(path, ": ", e.what()));
  }
}

absl::Status Write(const std::string& folder, const char* file, const json::object& object) {
  std::error_code error;
  fs::create_directories(TrackingFolder(folder), error);
  if (error) return absl::ErrnoToStatus(error.value(), TrackingFolder(folder));
  const std::string path = TrackingFolder(folder) + file;
  RETURN_IF_ERROR(WriteFile(path + ".new", json::serialize(object) + "\n"));
  return RenameFile(path + ".new", path);
}

std::string Text(const json::value& value, const char* key) {
  return json::value_to<std::string>(value.at(key));
}

std::int64_t Number(const json::value& value, const char* key) {
  return value.at(key).to_number<std::int64_t>();
}

std::map<std::string, std::string> Tags(const json::value& value) {
  return json::value_to<std::map<std::string, std::string>>(value.at("tags"));
}

}  // namespace

std::string TrackingFolder(const std::string& folder) { return folder + "/tracking"; }

NamedValues ToParams(const NamedValues& settings) {
  NamedValues params;
  std::set<std::string> names;
  std::size_t left_out = 0;
  for (const auto& [setting, value] : settings) {
    const std::string name = ParamName(setting);
    if (name.empty()) continue;
    if (params.size() + 1 >= kMostParams || !names.insert(name).second) {
      ++left_out;
    } else {
      params.emplace_back(name, Cut(value, kMaxValueBytes));
    }
  }
  if (left_out > 0) params.emplace_back(kLeftOut, absl::StrCat(left_out));
  return params;
}

std::string ToTag(const std::string& value) { return Cut(value, kMaxTagBytes); }

absl::StatusOr<RunRecord> OpenRecord(const std::string& folder, const MlflowOptions& options,
                                     const Clock& clock) {
  absl::StatusOr<RunRecord> record = ReadRunRecord(folder);
  if (absl::IsNotFound(record.status())) {
    record = RunRecord();
    record->key = NewKey();
    record->started = clock.UnixMillis();
  }
  RETURN_IF_ERROR(record.status());
  record->options = options;
  if (!options.token_file.empty()) {  // who sends it later may work in another folder
    std::error_code error;
    record->options.token_file = fs::absolute(options.token_file, error).string();
  }
  return record;
}

absl::StatusOr<RunRecord> ReadRunRecord(const std::string& folder) {
  return Read<RunRecord>(TrackingFolder(folder) + kRecordFile, [](const json::value& value) {
    RunRecord record;
    record.options.uri = Text(value, "uri");
    record.options.experiment = Text(value, "experiment");
    record.options.run_name = Text(value, "run_name");
    record.options.token_file = Text(value, "token_file");
    record.options.allow_plain = value.at("allow_plain").as_bool();
    record.key = Text(value, "key");
    record.params = json::value_to<NamedValues>(value.at("params"));
    record.tags = Tags(value);
    record.status = Text(value, "status");
    record.started = Number(value, "started");
    record.ended = Number(value, "ended");
    return record;
  });
}

absl::StatusOr<SentRecord> ReadSentRecord(const std::string& folder) {
  return Read<SentRecord>(TrackingFolder(folder) + kSentFile, [](const json::value& value) {
    SentRecord sent;
    sent.uri = Text(value, "uri");
    sent.experiment = Text(value, "experiment");
    sent.key = Text(value, "key");
    sent.run_id = Text(value, "run_id");
    sent.params = json::value_to<std::set<std::string>>(value.at("params"));
    sent.tags = Tags(value);
    sent.status = Text(value, "status");
    sent.step = Number(value, "step");
    sent.validation = Number(value, "validation");
    return sent;
  });
}

absl::Status WriteRunRecord(const RunRecord& record, const std::string& folder) {
  return Write(folder, kRecordFile,
               {{"uri", record.options.uri},
                {"experiment", record.options.experiment},
                {"run_name", record.options.run_name},
                {"token_file", record.options.token_file},
                {"allow_plain", record.options.allow_plain},
                {"key", record.key},
                {"params", json::value_from(record.params)},
                {"tags", json::value_from(record.tags)},
                {"status", record.status},
                {"started", record.started},
                {"ended", record.ended}});
}

absl::Status WriteSentRecord(const SentRecord& record, const std::string& folder) {
  return Write(folder, kSentFile,
               {{"uri", record.uri},
                {"experiment", record.experiment},
                {"key", record.key},
                {"run_id", record.run_id},
                {"params", json::value_from(record.params)},
                {"tags", json::value_from(record.tags)},
                {"status", record.status},
                {"step", record.step},
                {"validation", record.validation}});
}

}  // namespace llava::training

#include "server/batches/objects.h"

#include <array>
#include <boost/json/serialize.hpp>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/json_reader.h"
#include "base/status_macros.h"

namespace llava::batches {
namespace {

namespace json = boost::json;

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();

struct StateRow {
  BatchState state;
  const char* name;
  const char* time;  // the member that says when a batch came into the state; null: none
};

constexpr std::array<StateRow, 8> kStates = {{
    {BatchState::kValidating, "validating", nullptr},
    {BatchState::kInProgress, "in_progress", "in_progress_at"},
    {BatchState::kFinalizing, "finalizing", "finalizing_at"},
    {BatchState::kCancelling, "cancelling", "cancelling_at"},
    {BatchState::kFailed, "failed", "failed_at"},
    {BatchState::kCompleted, "completed", "completed_at"},
    {BatchState::kExpired, "expired", "expired_at"},
    {BatchState::kCancelled, "cancelled", "cancelled_at"},
}};

json::value TextOrNull(const std::string& text, bool is_there) {
  return is_there ? json::value(text) : json::value(nullptr);
}

json::value ToErrors(const std::vector<BatchError>& errors) {
  if (errors.empty()) return nullptr;
  json::array data;
  for (const BatchError& error : errors) {
    data.push_back({{"code", error.code},
                    {"message", error.message},
                    {"param", TextOrNull(error.param, !error.param.empty())},
                    {"line", error.line > 0 ? json::value(error.line) : json::value(nullptr)}});
  }
  return json::object{{"object", "list"}, {"data", std::move(data)}};
}

void ReadErrors(JsonReader reader, std::vector<BatchError>* errors) {
  const json::value* data = reader.Find("data");
  if (data == nullptr) return;
  if (!data->is_array()) return reader.Fail("data", "a list");
  for (const json::value& item : data->as_array()) {
    if (!item.is_object()) return reader.Fail("data", "objects");
    JsonReader error = reader.Element("data", item.as_object());
    errors->push_back({.code = error.String("code", ""),
                       .message = error.String("message", ""),
                       .param = error.String("param", ""),
                       .line = error.Int("line", 0, 0, kMost)});
  }
}

json::object ToObject(const CountedAnswers& counted) {
  return {{"bytes", counted.bytes}, {"answers", counted.answers}};
}

CountedAnswers ReadCounted(JsonReader reader) {
  return {.bytes = reader.Int("bytes", 0, 0, kMost), .answers = reader.Int("answers", 0, 0, kMost)};
}

void ReadState(JsonReader& reader, Batch* batch) {
  const std::string name = reader.String("status", "");
  bool is_known = false;
  for (const StateRow& row : kStates) {
    if (row.name == name) {
      batch->state = row.state;
      is_known = true;
    }
    if (row.time == nullptr || !reader.Has(row.time)) continue;
    batch->entered[row.state] = reader.Int(row.time, 0, 0, kMost);
  }
  if (!is_known) reader.Fail("status", "the name of a status");
}

}  // namespace

const char* StateName(BatchState state) { return kStates[static_cast<std::size_t>(state)].name; }

json::object ToObject(const File& file) {
  return {{"id", file.id},
          {"object", "file"},
          {"bytes", file.bytes},
          {"created_at", file.created},
          {"expires_at", file.expires},
          {"filename", file.name},
          {"purpose", file.purpose},
          {"status", "processed"}};
}

json::object ToObject(const Batch& batch) {
  json::object object = {{"id", batch.id},
                         {"object", "batch"},
                         {"endpoint", batch.endpoint},
                         {"errors", ToErrors(batch.errors)},
                         {"input_file_id", batch.input},
                         {"completion_window", batch.window},
                         {"status", StateName(batch.state)},
                         {"output_file_id", TextOrNull(batch.output, batch.has_output)},
                         {"error_file_id", TextOrNull(batch.failures, batch.has_failures)},
                         {"created_at", batch.created},
                         {"expires_at", batch.expires}};
  for (const StateRow& row : kStates) {
    if (row.time == nullptr) continue;
    const auto when = batch.entered.find(row.state);
    object[row.time] = when == batch.entered.end() ? json::value(nullptr) : when->second;
  }
  object["request_counts"] = {
      {"total", batch.total}, {"completed", batch.completed}, {"failed", batch.failed}};
  object["metadata"] = batch.metadata.empty() ? json::value(nullptr) : json::value(batch.metadata);
  return object;
}

std::string ToRecord(const File& file) {
  return json::serialize(json::object{{"tenant", file.tenant}, {"file", ToObject(file)}});
}

std::string ToRecord(const Batch& batch) {
  return json::serialize(json::object{{"tenant", batch.tenant},
                                      {"output", batch.output},
                                      {"failures", batch.failures},
                                      {"lifetime", batch.lifetime},
                                      {"counted_output", ToObject(batch.counted_output)},
                                      {"counted_failures", ToObject(batch.counted_failures)},
                                      {"batch", ToObject(batch)}});
}

absl::StatusOr<File> FileOfRecord(const std::string& record, const std::string& source) {
  ASSIGN_OR_RETURN(const json::object root, ParseJsonObject(record, source));
  JsonReader outer(source, root);
  JsonReader reader = outer.Object("file");
  File file{.id = reader.String("id", ""),
            .tenant = outer.String("tenant", ""),
            .name = reader.String("filename", ""),
            .purpose = reader.String("purpose", ""),
            .bytes = reader.Int("bytes", 0, 0, kMost),
            .created = reader.Int("created_at", 0, 0, kMost),
            .expires = reader.Int("expires_at", 0, 0, kMost)};
  RETURN_IF_ERROR(outer.status());
  return file;
}

absl::StatusOr<Batch> BatchOfRecord(const std::string& record, const std::string& source) {
  ASSIGN_OR_RETURN(const json::object root, ParseJsonObject(record, source));
  JsonReader outer(source, root);
  JsonReader reader = outer.Object("batch");
  Batch batch{.id = reader.String("id", ""),
              .tenant = outer.String("tenant", ""),
              .endpoint = reader.String("endpoint", ""),
              .window = reader.String("completion_window", ""),
              .input = reader.String("input_file_id", ""),
              .output = outer.String("output", ""),
              .failures = outer.String("failures", ""),
              .has_output = reader.Has("output_file_id"),
              .has_failures = reader.Has("error_file_id"),
              .lifetime = outer.Int("lifetime", 0, 0, kMost),
              .created = reader.Int("created_at", 0, 0, kMost),
              .expires = reader.Int("expires_at", 0, 0, kMost),
              .counted_output = ReadCounted(outer.Object("counted_output")),
              .counted_failures = ReadCounted(outer.Object("counted_failures"))};
  const json::value* metadata = reader.Find("metadata");
  if (metadata != nullptr && metadata->is_object()) batch.metadata = metadata->as_object();
  ReadState(reader, &batch);
  ReadErrors(reader.Object("errors"), &batch.errors);
  JsonReader counts = reader.Object("request_counts");
  batch.total = counts.Int("total", 0, 0, kMost);
  batch.completed = counts.Int("completed", 0, 0, kMost);
  batch.failed = counts.Int("failed", 0, 0, kMost);
  RETURN_IF_ERROR(outer.status());
  return batch;
}

}  // namespace llava::batches

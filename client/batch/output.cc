#include "client/batch/output.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "client/batch/csv.h"

namespace llava::client {
namespace {

namespace json = boost::json;

constexpr std::array<const char*, 8> kColumns = {
    "id",      "answer",        "finish_reason",     "model",
    "version", "prompt_tokens", "completion_tokens", "error"};

absl::Status Errno(const std::string& path) { return absl::ErrnoToStatus(errno, path); }

std::string Header() { return CsvRecord({kColumns.begin(), kColumns.end()}); }

// Of a row that is there. Neither an id nor a failure: it is none of ours.
struct Seen {
  std::string id;
  bool failed = false;
};

// The first whole row, taken off `rest`; none when it does not end.
std::optional<Seen> TakeCsvRow(std::string_view* rest) {
  const std::vector<std::string> fields = TakeCsvRecord(rest);
  if (fields.empty()) return std::nullopt;
  if (fields.size() != kColumns.size()) return Seen{};
  return Seen{fields.front(), !fields.back().empty()};
}

std::optional<Seen> TakeJsonRow(std::string_view* rest) {
  const std::size_t end = rest->find('\n');
  if (end == rest->npos) return std::nullopt;
  boost::system::error_code error;
  const json::value row = json::parse(rest->substr(0, end), error);
  rest->remove_prefix(end + 1);
  const json::value* id = !error && row.is_object() ? row.as_object().if_contains("id") : nullptr;
  if (id == nullptr || !id->is_string()) return Seen{};
  const json::value* failure = row.as_object().if_contains("error");
  return Seen{std::string(id->as_string()), failure != nullptr && !failure->is_null()};
}

}  // namespace

IdSet::Half IdSet::Key(const std::string& id) {
  const Digest digest = Sha256().Update(id).Finish();
  Half half;
  std::copy_n(digest.bytes.begin(), half.size(), half.begin());
  return half;
}

struct BatchOutput::Row {
  std::string id;
  std::optional<std::string> answer;
  std::string finish_reason;
  std::string model;
  std::string version;
  std::int64_t prompt_tokens = 0;
  std::int64_t completion_tokens = 0;
  std::optional<std::string> error;
};

absl::StatusOr<BatchOutput> BatchOutput::Open(const std::string& path) {
  FileDescriptor file(open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  if (!file.is_open()) return Errno(path);
  if (flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(absl::StrCat(path, ": another run writes to it"));
  }
  BatchOutput output(path, std::move(file), path.ends_with(".csv"));
  RETURN_IF_ERROR(output.Resume());
  return output;
}

// Reads piece by piece: the file may be larger than memory.
absl::Status BatchOutput::Resume() {
  constexpr std::size_t kPiece = std::size_t{1} << 20;
  std::string piece(kPiece, '\0');
  std::string held;  // what was read and is no whole row yet
  off_t at = 0;
  off_t whole = 0;
  while (true) {
    const ssize_t got = pread(file_.get(), piece.data(), piece.size(), at);
    if (got < 0) return Errno(path_);
    if (got == 0) break;
    at += got;
    held.append(piece, 0, static_cast<std::size_t>(got));
    ASSIGN_OR_RETURN(const std::size_t taken, TakeRows(held));
    held.erase(0, taken);
    whole += static_cast<off_t>(taken);
  }
  if (ftruncate(file_.get(), whole) != 0) return Errno(path_);
  return csv_ && whole == 0 ? Write(Header()) : absl::OkStatus();
}

// Bytes of the whole rows at the start of `text`.
absl::StatusOr<std::size_t> BatchOutput::TakeRows(std::string_view text) {
  std::string_view rest = text;
  while (true) {
    const auto row = csv_ ? TakeCsvRow(&rest) : TakeJsonRow(&rest);
    if (!row.has_value()) return text.size() - rest.size();
    if (row->id.empty() && !row->failed) {
      return absl::InvalidArgumentError(
          absl::StrCat(path_, ": holds something else than answers of llava batch"));
    }
    const bool is_first = !std::exchange(has_begun_, true);
    if (csv_ && is_first && row->id == kColumns.front()) continue;  // the header
    done_.Add(row->id);
    failed_ += row->failed ? 1 : 0;
  }
}

absl::Status BatchOutput::AddAnswer(const std::string& id, const v1::ChatResponse& response) {
  const v1::ChatChoice& choice = response.choices(0);
  Row row;
  row.id = id;
  row.answer = choice.text();
  row.finish_reason = choice.finish_reason() == v1::FINISH_REASON_LENGTH ? "length" : "stop";
  row.model = response.model();
  row.version = response.model_version();
  row.prompt_tokens = response.usage().prompt_tokens();
  row.completion_tokens = response.usage().generated_tokens();
  return Append(row);
}

absl::Status BatchOutput::AddFailure(const std::string& id, const std::string& reason) {
  Row row;
  row.id = id;
  row.error = reason;
  return Append(row);
}

absl::Status BatchOutput::Append(const Row& row) {
  const bool answered = row.answer.has_value();
  if (csv_) {
    return Write(
        CsvRecord({row.id, row.answer.value_or(""), row.finish_reason, row.model, row.version,
                   answered ? absl::StrCat(row.prompt_tokens) : "",
                   answered ? absl::StrCat(row.completion_tokens) : "", row.error.value_or("")}));
  }
  json::object line = {{"id", row.id}};
  const auto text = [answered](const std::string& value) {
    return answered ? json::value(value) : json::value(nullptr);
  };
  const auto number = [answered](std::int64_t value) {
    return answered ? json::value(value) : json::value(nullptr);
  };
  line["answer"] = text(row.answer.value_or(""));
  line["finish_reason"] = text(row.finish_reason);
  line["model"] = text(row.model);
  line["version"] = text(row.version);
  line["prompt_tokens"] = number(row.prompt_tokens);
  line["completion_tokens"] = number(row.completion_tokens);
  line["error"] = answered ? json::value(nullptr) : json::value(row.error.value_or(""));
  return Write(absl::StrCat(json::serialize(line), "\n"));
}

absl::Status BatchOutput::Write(const std::string& text) {
  std::string_view rest = text;
  while (!rest.empty()) {
    const ssize_t wrote = write(file_.get(), rest.data(), rest.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return Errno(path_);
    rest.remove_prefix(static_cast<std::size_t>(wrote));
  }
  return absl::OkStatus();
}

absl::Status BatchOutput::Sync() {
  return fdatasync(file_.get()) == 0 ? absl::OkStatus() : Errno(path_);
}

}  // namespace llava::client

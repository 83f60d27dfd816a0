#include "server/batches/run.h"

#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "server/api/openai/batch_row.h"

namespace llava::batches {
namespace {

constexpr std::int64_t kSliceBytes = std::int64_t{1} << 20;
// Answers that come between two times that a batch's record says how many there are.
constexpr std::int64_t kUncountedBytes = std::int64_t{4} << 20;
constexpr std::size_t kShownId = 64;  // of a custom id, enough to know it by

bool IsBlank(const Line& line) { return absl::StripAsciiWhitespace(line.text).empty(); }

}  // namespace

BatchRun::Key BatchRun::KeyOf(absl::string_view custom_id) {
  const Digest digest = Sha256Of(StdView(custom_id));
  Key key;
  std::memcpy(&key.first, digest.bytes.data(), sizeof(key.first));
  std::memcpy(&key.second, digest.bytes.data() + sizeof(key.first), sizeof(key.second));
  return key;
}

std::string BatchRun::RequestIdOf(std::int64_t line) const {
  return absl::StrCat(batch_.id, ".", line);
}

bool BatchRun::has_rows() const {
  return batch_.state == BatchState::kInProgress && !is_stopping() && HasReadAnswers() &&
         (input_.has_value() || !again_.empty());
}

void BatchRun::StopFor(BatchState end) {
  if (is_stopping() || has_ended()) return;
  end_ = end;
  if (end == BatchState::kCancelled) Enter(BatchState::kCancelling);
}

void BatchRun::Enter(BatchState state) {
  batch_.state = state;
  batch_.entered[state] = store_->Now();
  const absl::Status saved = Save();
  if (saved.ok()) return;
  if (state != BatchState::kFinalizing && !HasEnded(state)) return FailForStorage(saved);
  problem_ = saved;  // the next start finds the state before it and comes here again
}

// What is on the disk: answers are synced before their number is written.
void BatchRun::NoteCounts() {
  if (!HasReadAnswers()) return;
  batch_.counted_output = {.bytes = output_->size(), .answers = batch_.completed};
  batch_.counted_failures = {.bytes = failures_->size(), .answers = batch_.failed};
}

absl::Status BatchRun::Save() {
  for (std::optional<LineAppender>* file : {&output_, &failures_}) {
    if (file->has_value()) RETURN_IF_ERROR((*file)->Sync());
  }
  NoteCounts();
  return store_->SaveBatch(batch_);
}

void BatchRun::AddError(std::string code, const absl::Status& status, std::int64_t line) {
  if (batch_.errors.size() >= kMaxErrors) return;
  batch_.errors.push_back({.code = std::move(code),
                           .message = MessageOf(status),
                           .param = FieldOf(status),
                           .line = line});
}

void BatchRun::Fail(std::string code, const absl::Status& status) {
  AddError(std::move(code), status, 0);
  end_ = BatchState::kFailed;
}

// Clients need not know the server's paths.
void BatchRun::FailForStorage(const absl::Status& status) {
  problem_ = status;
  Fail("storage_error", absl::InternalError("the server could not read or write its files"));
}

bool BatchRun::Work() {
  if (has_ended()) return false;
  if (!is_open_) Open();
  if (store_->Now() >= batch_.expires) StopFor(BatchState::kExpired);
  if (batch_.state != BatchState::kValidating && end_ != BatchState::kFailed && !HasReadAnswers()) {
    const absl::Status read = ReadAnswers();
    if (!read.ok()) FailForStorage(read);
    return true;
  }
  if (is_stopping()) {
    if (in_flight_ > 0) return false;
    const bool has_left = batch_.total > 0 && (input_.has_value() || !again_.empty());
    end_ == BatchState::kExpired&& has_left ? ExpireRows() : End();
    return !has_ended();
  }
  if (batch_.state == BatchState::kValidating) {
    Validate();
    return true;
  }
  if (!has_rows() && in_flight_ == 0) {
    end_ = BatchState::kCompleted;
    End();
  }
  return !has_ended() && is_stopping();
}

void BatchRun::Open() {
  is_open_ = true;
  OpenInput();
  if (batch_.state == BatchState::kCancelling) StopFor(BatchState::kCancelled);
}

void BatchRun::OpenInput() {
  auto reader = LineReader::Open(store_->DataPath(batch_.input));
  if (!reader.ok()) return FailForStorage(reader.status());
  input_ = *std::move(reader);
}

// A slice; of a new batch there is nothing to read.
absl::Status BatchRun::ReadAnswers() {
  if (!output_.has_value()) {
    RETURN_IF_ERROR(ReadAnswersOf(batch_.output, &output_, &batch_.completed));
  }
  if (!output_.has_value()) return absl::OkStatus();
  return ReadAnswersOf(batch_.failures, &failures_, &batch_.failed);
}

// A slice of the file. At its end, `out` is where the next answer goes.
absl::Status BatchRun::ReadAnswersOf(const std::string& file, std::optional<LineAppender>* out,
                                     std::int64_t* count) {
  const std::string path = store_->DataPath(file);
  if (!answers_.has_value() && IsThere(path)) {
    ASSIGN_OR_RETURN(answers_, LineReader::Open(path));
  }
  const std::int64_t slice_end = answer_bytes_ + kSliceBytes;
  while (answers_.has_value() && answer_bytes_ < slice_end) {
    ASSIGN_OR_RETURN(const std::optional<Line> line, answers_->Next());
    const bool is_whole = line.has_value() && line->has_end;
    const auto id = is_whole ? api::CustomIdOf(line->text) : std::nullopt;
    if (id.has_value()) {
      answer_bytes_ += line->bytes;
      ++answers_read_;
      seen_.insert(KeyOf(*id));
    } else {
      answers_.reset();
    }
  }
  if (answers_.has_value()) return absl::OkStatus();
  const std::int64_t bytes = std::exchange(answer_bytes_, 0);
  *count =
      std::exchange(answers_read_, 0);  // as the store has counted them, unless lines were lost
  ASSIGN_OR_RETURN(*out, LineAppender::OpenAt(path, bytes));
  store_->SetGrown(batch_, file, bytes);
  return absl::OkStatus();
}

void BatchRun::Validate() {
  for (std::int64_t bytes = 0; bytes < kSliceBytes;) {
    auto line = input_->Next();
    if (!line.ok()) return FailForStorage(line.status());
    if (!line->has_value() || batch_.errors.size() >= kMaxErrors) return FinishValidation();
    bytes += (*line)->bytes;
    if (!IsBlank(**line)) CheckLine(**line);
  }
}

void BatchRun::CheckLine(const Line& line) {
  if (++rows_ > max_rows_) {
    return Fail("too_many_rows", absl::InvalidArgumentError(absl::StrCat("the file has more than ",
                                                                         max_rows_, " requests")));
  }
  if (line.bytes > max_line_) {
    return AddError("invalid_line",
                    absl::InvalidArgumentError(absl::StrCat(line.bytes, " bytes, expected at most ",
                                                            max_line_, " in a line")),
                    line.number);
  }
  const auto row = api::ParseBatchRow(line.text, batch_.endpoint);
  if (!row.ok()) return AddError("invalid_line", row.status(), line.number);
  if (!seen_.insert(KeyOf(row->custom_id)).second) {
    AddError(
        "duplicate_custom_id",
        FieldError("custom_id", absl::StrCat("'", Utf8Repair(row->custom_id.substr(0, kShownId)),
                                             "' is that of another line too")),
        line.number);
  }
}

void BatchRun::FinishValidation() {
  seen_.clear();
  if (rows_ == 0) {
    Fail("empty_file", absl::InvalidArgumentError("the file has no requests"));
  }
  if (!batch_.errors.empty()) {
    end_ = BatchState::kFailed;
    return;
  }
  batch_.total = rows_;
  Enter(BatchState::kInProgress);
  OpenInput();
  const absl::Status read = ReadAnswers();
  if (!read.ok()) FailForStorage(read);
}

std::optional<Row> BatchRun::NextRow() {
  if (!has_rows()) return std::nullopt;
  std::optional<Row> row = again_.empty() ? ReadRow() : ReadAgain();
  if (row.has_value()) ++in_flight_;
  return row;
}

std::optional<Row> BatchRun::ReadRow() {
  for (std::int64_t bytes = 0; bytes < kSliceBytes && input_.has_value();) {
    auto line = input_->Next();
    if (!line.ok()) {
      FailForStorage(line.status());
      return std::nullopt;
    }
    if (!line->has_value()) {
      input_.reset();
      return std::nullopt;
    }
    bytes += (*line)->bytes;
    if (IsBlank(**line)) continue;
    auto parsed = api::ParseBatchRow((*line)->text, batch_.endpoint);
    if (!parsed.ok()) {
      Fail("input_changed", parsed.status());
      return std::nullopt;
    }
    if (seen_.erase(KeyOf(parsed->custom_id)) > 0) continue;  // done before
    return Row{.line = (*line)->number,
               .offset = (*line)->offset,
               .bytes = (*line)->bytes,
               .custom_id = std::move(parsed->custom_id),
               .body = std::move(parsed->body)};
  }
  return std::nullopt;
}

std::optional<Row> BatchRun::ReadAgain() {
  Row row = std::move(again_.front());
  again_.pop_front();
  absl::Status status = FillBody(&row);
  if (status.ok()) return row;
  FailForStorage(status);
  return std::nullopt;
}

absl::Status BatchRun::FillBody(Row* row) const {
  const std::string path = store_->DataPath(batch_.input);
  ASSIGN_OR_RETURN(const FileDescriptor file, OpenRegularFile(path));
  ASSIGN_OR_RETURN(const std::string text, ReadBytes(file, path, row->offset, row->bytes));
  ASSIGN_OR_RETURN(api::BatchRow parsed, api::ParseBatchRow(text, batch_.endpoint));
  row->body = std::move(parsed.body);
  return absl::OkStatus();
}

void BatchRun::Record(const Row& row, const RowAnswer& answer) {
  --in_flight_;
  const bool is_failure = answer.status != 200;
  Write(api::AnswerLine(row.custom_id, RequestIdOf(row.line), answer.status, answer.body),
        is_failure);
}

void BatchRun::Return(Row row) {
  --in_flight_;
  std::string().swap(row.body);
  again_.push_back(std::move(row));
}

void BatchRun::Write(const std::string& line, bool is_failure) {
  if (end_ == BatchState::kFailed) return;
  const std::string& file = is_failure ? batch_.failures : batch_.output;
  LineAppender& out = is_failure ? *failures_ : *output_;
  const absl::Status room = store_->Grow(batch_, file, static_cast<std::int64_t>(line.size()) + 1);
  if (!room.ok()) return Fail("no_room", room);
  const absl::Status written = out.Append(line);
  if (!written.ok()) {
    store_->SetGrown(batch_, file, out.size());
    return FailForStorage(written);
  }
  (is_failure ? batch_.failed : batch_.completed) += 1;
}

// Rows that were not asked in time are answered so, some at a time.
void BatchRun::ExpireRows() {
  constexpr int kSliceRows = 1000;
  const std::string message = absl::StrCat("not answered within ", batch_.window);
  for (int i = 0; i < kSliceRows && end_ == BatchState::kExpired; ++i) {
    std::optional<Row> row;
    if (!again_.empty()) {
      row = std::move(again_.front());
      again_.pop_front();
    } else if (input_.has_value()) {
      row = ReadRow();
    }
    if (!row.has_value()) return;
    Write(api::FailureLine(row->custom_id, RequestIdOf(row->line), "batch_expired", message), true);
  }
}

void BatchRun::Sync() {
  for (std::optional<LineAppender>* file : {&output_, &failures_}) {
    if (!file->has_value() || has_ended()) continue;
    const absl::Status synced = (*file)->Sync();
    if (!synced.ok()) FailForStorage(synced);
  }
  if (!HasReadAnswers() || has_ended() || end_ == BatchState::kFailed) return;
  const std::int64_t uncounted = output_->size() - batch_.counted_output.bytes + failures_->size() -
                                 batch_.counted_failures.bytes;
  if (uncounted < kUncountedBytes) return;
  const absl::Status saved = Save();
  if (!saved.ok()) FailForStorage(saved);
}

void BatchRun::End() {
  Sync();
  input_.reset();
  const BatchState end = *end_;
  if (end == BatchState::kCompleted || end == BatchState::kExpired) {
    Enter(BatchState::kFinalizing);
  }
  const auto output = store_->KeepGrown(batch_, batch_.output, batch_.id + "_output.jsonl");
  const auto failures = store_->KeepGrown(batch_, batch_.failures, batch_.id + "_error.jsonl");
  batch_.has_output = output.value_or(true);
  batch_.has_failures = failures.value_or(true);
  if (output.ok() && failures.ok()) return Enter(end);
  // Were the end on the disk, the next start would take a file without a record for a stray one and
  // remove it. So it finds the state before it and comes here again.
  problem_ = output.ok() ? failures.status() : output.status();
  batch_.state = end;
  batch_.entered[end] = store_->Now();
}

}  // namespace llava::batches

// One batch under way: its input checked line by line, its rows handed out, their answers written
// down, and its end. The files that it writes say which rows are done, so that a process that is
// killed loses and repeats none that was written down.
#ifndef LLAVA_SERVER_BATCHES_RUN_H_
#define LLAVA_SERVER_BATCHES_RUN_H_

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/lines/line_file.h"
#include "server/batches/objects.h"
#include "server/batches/store.h"

namespace llava::batches {

inline constexpr std::int64_t kMaxRows = 1'000'000;
// Faulty lines that a batch names.
inline constexpr std::size_t kMaxErrors = 100;

struct Row {
  std::int64_t line = 0;  // of the input, from 1
  std::int64_t offset = 0;
  std::int64_t bytes = 0;
  std::string custom_id = {};
  std::string body = {};  // what is asked
};

// What was said to a row, as an HTTP response.
struct RowAnswer {
  int status = 0;
  std::string body = {};  // JSON without line ends
};

// Not thread-safe. No call does more than a slice of work, some milliseconds.
class BatchRun {
 public:
  // `batch` and `store` outlive the run. A line longer than `max_line` is a faulty one.
  BatchRun(BatchStore* store, Batch* batch, std::int64_t max_line, std::int64_t max_rows = kMaxRows)
      : store_(store), batch_(*batch), max_line_(max_line), max_rows_(max_rows) {}

  const Batch& batch() const { return batch_; }
  int in_flight() const { return in_flight_; }

  // No more rows, and what is in flight is of no use; it ends as `end` once nothing is.
  void StopFor(BatchState end);
  bool is_stopping() const { return end_.has_value(); }
  bool has_ended() const { return HasEnded(batch_.state); }

  // The next slice of what needs no answer. True: there is more.
  bool Work();

  // A row to ask; nothing: there is none now. It is in flight until one of the two below.
  std::optional<Row> NextRow();
  void Record(const Row& row, const RowAnswer& answer);
  void Return(Row row);  // it was not answered, and is asked again

  // Whether NextRow may have one now or after a slice.
  bool has_rows() const;

  // Why the batch failed, or what the next start has to do again, if it is the disk's fault: for
  // the operator, with paths.
  const absl::Status& problem() const { return problem_; }

  // What was recorded survives the machine.
  void Sync();

 private:
  using Key = std::pair<std::uint64_t, std::uint64_t>;
  static Key KeyOf(absl::string_view custom_id);

  void Open();
  void OpenInput();
  bool HasReadAnswers() const { return output_.has_value() && failures_.has_value(); }
  absl::Status ReadAnswers();
  absl::Status ReadAnswersOf(const std::string& file, std::optional<LineAppender>* out,
                             std::int64_t* count);
  void NoteCounts();
  absl::Status Save();
  void Validate();
  void CheckLine(const Line& line);
  void FinishValidation();
  std::optional<Row> ReadRow();
  std::optional<Row> ReadAgain();
  absl::Status FillBody(Row* row) const;
  void ExpireRows();
  void Write(const std::string& line, bool is_failure);
  void End();
  void Enter(BatchState state);
  void AddError(std::string code, const absl::Status& status, std::int64_t line);
  void Fail(std::string code, const absl::Status& status);
  void FailForStorage(const absl::Status& status);
  std::string RequestIdOf(std::int64_t line) const;

  BatchStore* const store_;
  Batch& batch_;
  const std::int64_t max_line_;
  const std::int64_t max_rows_;
  bool is_open_ = false;
  std::optional<LineReader> input_;  // nothing: read to its end
  absl::flat_hash_set<Key> seen_;    // custom ids: of all lines so far, or of rows that were done
  std::int64_t rows_ = 0;            // counted by Validate
  // Nothing: what an earlier process answered has not been read to its end.
  std::optional<LineAppender> output_;
  std::optional<LineAppender> failures_;
  std::optional<LineReader> answers_;  // of the one that is being read
  std::int64_t answer_bytes_ = 0;      // of its whole lines so far
  std::int64_t answers_read_ = 0;      // so many
  std::deque<Row> again_;              // without their bodies
  std::optional<BatchState> end_;
  absl::Status problem_;
  int in_flight_ = 0;
};

}  // namespace llava::batches

#endif  // LLAVA_SERVER_BATCHES_RUN_H_

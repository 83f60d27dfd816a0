// The answers of `llava batch`: a file that grows by a row an answer and that a later run goes on
// with.
#ifndef LLAVA_CLIENT_BATCH_OUTPUT_H_
#define LLAVA_CLIENT_BATCH_OUTPUT_H_

#include <grpcpp/support/status.h>

#include <array>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/digest.h"
#include "base/file.h"
#include "llava/v1/chat.pb.h"

namespace llava::client {

// Sixteen bytes of a row's id: what is known of a row costs the same however long its id is.
class IdSet {
 public:
  // False: it is there already.
  bool Add(const std::string& id) { return digests_.insert(Key(id)).second; }
  bool Has(const std::string& id) const { return digests_.contains(Key(id)); }
  std::size_t size() const { return digests_.size(); }

 private:
  using Half = std::array<std::uint8_t, 16>;
  static Half Key(const std::string& id);

  std::set<Half> digests_;
};

// Rows of id, answer, finish_reason, model, version, prompt_tokens, completion_tokens, error; every
// row has all of them, null (CSV: nothing) where there is none, so that a table reader finds
// columns. JSON lines, or CSV (RFC 4180) when the path ends in .csv. Not thread-safe.
class BatchOutput {
 public:
  // Opens or creates the file, cuts off a last row that is not whole, and reads which rows are
  // there. INVALID_ARGUMENT: the file holds something else; FAILED_PRECONDITION: another run
  // writes to it.
  static absl::StatusOr<BatchOutput> Open(const std::string& path);

  // Rows that are there already, of earlier runs.
  const IdSet& done() const { return done_; }
  std::int64_t failed() const { return failed_; }  // of those

  absl::Status AddAnswer(const std::string& id, const v1::ChatResponse& response);
  absl::Status AddFailure(const std::string& id, const std::string& reason);

  // What was added is on the disk.
  absl::Status Sync();

 private:
  struct Row;
  BatchOutput(std::string path, FileDescriptor file, bool csv)
      : path_(std::move(path)), file_(std::move(file)), csv_(csv) {}
  absl::Status Resume();
  absl::StatusOr<std::size_t> TakeRows(std::string_view text);
  absl::Status Append(const Row& row);
  absl::Status Write(const std::string& text);

  std::string path_;
  FileDescriptor file_;
  bool csv_;
  bool has_begun_ = false;  // a row of the file has been read
  IdSet done_;
  std::int64_t failed_ = 0;
};

}  // namespace llava::client

#endif  // LLAVA_CLIENT_BATCH_OUTPUT_H_

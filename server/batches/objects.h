// What a client sees of its files and batches, in the JSON of OpenAI's API; the same JSON, with
// whose it is, is kept on disk.
#ifndef LLAVA_SERVER_BATCHES_OBJECTS_H_
#define LLAVA_SERVER_BATCHES_OBJECTS_H_

#include <boost/json/object.hpp>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace llava::batches {

// All times are seconds since 1970.
struct File {
  std::string id = {};  // "file-..."
  std::string tenant = {};
  std::string name = {};  // what its client calls it; never part of a path
  std::string purpose = {};
  std::int64_t bytes = 0;
  std::int64_t created = 0;
  std::int64_t expires = 0;
};

// In the order in which a batch has them: in_progress follows validating, and so on; an end is
// failed, completed, expired or cancelled.
enum class BatchState : std::uint8_t {
  kValidating,
  kInProgress,
  kFinalizing,
  kCancelling,
  kFailed,
  kCompleted,
  kExpired,
  kCancelled
};

const char* StateName(BatchState state);
inline bool HasEnded(BatchState state) { return state >= BatchState::kFailed; }

// Why a batch failed.
struct BatchError {
  std::string code = {};
  std::string message = {};
  std::string param = {};  // empty: none
  std::int64_t line = 0;   // of the input, from 1; 0: not of one line
};

// How many answers are in the first bytes of a file of answers.
struct CountedAnswers {
  std::int64_t bytes = 0;
  std::int64_t answers = 0;

  bool operator==(const CountedAnswers&) const = default;
};

struct Batch {
  std::string id = {};  // "batch_..."
  std::string tenant = {};
  std::string endpoint = {};  // "/v1/chat/completions" or "/v1/score"
  std::string window = {};    // as the client wrote it: "24h"
  std::string input = {};     // ids of files
  std::string output = {};    // chosen with the batch; files once it has ended
  std::string failures = {};
  bool has_output = false;
  bool has_failures = false;
  std::int64_t lifetime = 0;  // of these two, in seconds
  boost::json::object metadata = {};
  BatchState state = BatchState::kValidating;
  std::int64_t created = 0;
  std::int64_t expires = 0;
  std::map<BatchState, std::int64_t> entered =
      {};  // when it came into a state; validating: created
  std::vector<BatchError> errors = {};
  std::int64_t total = 0;  // rows; 0 before they are counted
  std::int64_t completed = 0;
  std::int64_t failed = 0;
  // While it runs: where its record was written last. So the next start counts what came behind.
  CountedAnswers counted_output = {};
  CountedAnswers counted_failures = {};
};

boost::json::object ToObject(const File& file);
boost::json::object ToObject(const Batch& batch);

// What is kept, and back. INVALID_ARGUMENT names `source`, where the text stood.
std::string ToRecord(const File& file);
std::string ToRecord(const Batch& batch);
absl::StatusOr<File> FileOfRecord(const std::string& record, const std::string& source);
absl::StatusOr<Batch> BatchOfRecord(const std::string& record, const std::string& source);

}  // namespace llava::batches

#endif  // LLAVA_SERVER_BATCHES_OBJECTS_H_

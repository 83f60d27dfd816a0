// The files of rows in a folder that is watched for new data.
#ifndef LLAVA_TRAINING_SERVICE_SHARDS_H_
#define LLAVA_TRAINING_SERVICE_SHARDS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/digest.h"

namespace llava::training {

struct Shard {
  std::string path;    // absolute
  std::string sha256;  // of its bytes, hex
  std::int64_t rows = 0;
  bool is_new = false;    // no job that succeeded has learned it
  bool is_blank = false;  // there is nothing in it, as in an export of a day without rows
  // Why it is no whole file of rows: still being written, or cut. "" when it is one.
  std::string damage = {};

  bool operator==(const Shard&) const = default;
};

// The paths of *.json, *.jsonl and *.gz in `folder`, sorted by name.
absl::StatusOr<std::vector<std::string>> ListShards(const std::string& folder);

// Adds the bytes of all shards in order. NOT_FOUND: one cannot be opened.
absl::Status HashShards(const std::vector<std::string>& shards, Sha256* hash);

// SHA-256 over them: InstructionDataset's fingerprint.
absl::StatusOr<std::string> FingerprintOf(const std::vector<std::string>& shards);

// Reads the whole file; of a gzip'd one the unpacked bytes lie in a file without a name in
// `scratch` meanwhile. Rows are counted up to where the file is no longer JSON, which is a damage,
// as is a gzip stream that is broken or ends too early (the digest is "" then), and an end within
// a row. Errors are those of ReadOnce when the file itself cannot be read.
absl::StatusOr<Shard> DescribeShard(const std::string& path, const std::string& scratch);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_SERVICE_SHARDS_H_

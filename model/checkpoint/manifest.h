// manifest.json: what makes a checkpoint folder a version. It names every file with size and
// SHA-256, where the weights came from, how good they are, and probes (questions with the greedy
// ids that the weights must answer). The digest of its own bytes is the version's name. Written
// last when a checkpoint is published, read first when it is loaded.
#ifndef LLAVA_MODEL_CHECKPOINT_MANIFEST_H_
#define LLAVA_MODEL_CHECKPOINT_MANIFEST_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/digest.h"

namespace llava::model {

inline constexpr char kManifestFile[] = "manifest.json";

struct ManifestFile {
  std::string path;  // relative to the folder, never out of it
  std::uint64_t size = 0;
  Digest sha256;

  bool operator==(const ManifestFile&) const = default;
};

// A user message (images first) whose greedy answer must begin with `greedy_ids`.
struct Probe {
  std::string prompt;               // the user's text, without template or placeholders
  std::vector<std::string> images;  // files of the manifest
  std::string chat_template;        // ChatTemplate::name()
  std::vector<int> greedy_ids;

  bool operator==(const Probe&) const = default;
};

// How the weights did in one exam. Scores of two versions can be compared only when benchmark, data
// and judge are the same.
struct Evaluation {
  std::string benchmark;         // "rows"
  std::string data_fingerprint;  // hex, of all questions, pictures and expected answers
  std::string judge;             // "exact"
  std::int64_t questions = 0;
  std::map<std::string, double> scores;  // shares of right answers by kind, and "total"

  bool operator==(const Evaluation&) const = default;
};

// A shard of captured turns, some of whose rows were trained on.
struct CapturedShard {
  std::string name;
  Digest sha256;  // of its rows.jsonl
  std::int64_t rows = 0;

  bool operator==(const CapturedShard&) const = default;
};

struct Manifest {
  std::vector<ManifestFile> files;  // every file of the folder but the manifest, by path
  std::string name;                 // what the model is called; may be empty
  std::string parent;               // version of the weights it was trained from; may be empty
  std::string adapter;  // the digest of one that was added to the parent's weights; mostly empty
  std::string recipe;   // the recipe's text; may be empty
  std::string data_fingerprint;              // hex; may be empty
  std::vector<CapturedShard> captured;       // mostly empty
  std::int64_t step = 0;                     // of training, when it was written
  std::map<std::string, double> evaluation;  // the first exam's scores: "colour": 0.98, ...
  std::vector<Evaluation> evaluations;       // all exams; empty in older manifests
  // Which of the weights that its training went through these are; empty: the last ones.
  std::string selection;
  std::string rejected;  // why the publisher did not make it the latest; mostly empty
  std::vector<Probe> probes;

  bool operator==(const Manifest&) const = default;
};

// The bytes of manifest.json: equal manifests give equal bytes.
std::string ManifestJson(const Manifest& manifest);

// INVALID_ARGUMENT names the key: missing, of another type, a path that leaves the folder, a probe
// whose image is no file of the manifest.
absl::StatusOr<Manifest> ParseManifest(std::string_view json);

// The version that these bytes of manifest.json name: 64 hexadecimal digits.
std::string VersionOf(std::string_view manifest_json);

struct CheckpointVersion {
  std::string version;
  Manifest manifest;
};

// Reads `dir`/manifest.json; the files themselves are not looked at. NOT_FOUND without one.
absl::StatusOr<CheckpointVersion> ReadManifest(const std::string& dir);

// Called between pieces of `bytes` each while files are read; an error stops and is returned. For
// throttling and cancelling.
using OnVerified = std::function<absl::Status(std::uint64_t bytes)>;

// DATA_LOSS names the first file that is missing, has another size or another hash, or that lies in
// the folder without being in the manifest (names that begin with a dot are passed over).
absl::Status VerifyFiles(const Manifest& manifest, const std::string& dir,
                         const OnVerified& on_verified = nullptr);

// Describes the files that lie in `dir` now (all but manifest.json and names that begin with a
// dot).
absl::StatusOr<std::vector<ManifestFile>> DescribeFiles(const std::string& dir);

}  // namespace llava::model

#endif  // LLAVA_MODEL_CHECKPOINT_MANIFEST_H_

// A LoRA adapter from elsewhere as a version of its own: a folder in PEFT's layout that nothing of
// ours has written gets the manifest by which llavad verifies its files.
#ifndef LLAVA_TRAINING_EXPORT_PIN_ADAPTER_H_
#define LLAVA_TRAINING_EXPORT_PIN_ADAPTER_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace llava::training {

struct PinnedAdapter {
  std::string version;
  std::string base;        // as adapter_config.json calls it; may be empty, and is not checked
  std::string targets;     // as adapter_config.json says them
  int rank = 0;            // the greatest
  std::int64_t bytes = 0;  // of its tensors in fp32
  std::size_t files = 0;   // of the manifest
};

// Reads the adapter in the folder `adapter` as serving does, compares each of its matrices with the
// layers of `checkpoint`, whatever that is called, and writes `adapter`/manifest.json: the size and
// SHA-256 of every file, and the checkpoint's version as parent, if it has one. Where a manifest
// lies there already, the files are verified by it and nothing is written. FAILED_PRECONDITION
// names a matrix that does not fit and both shapes; DATA_LOSS a file that the manifest has
// otherwise. Else the errors of ReadAdapter, ReadConfig, ReadManifest and WriteFile.
absl::StatusOr<PinnedAdapter> PinAdapter(const std::string& adapter, const std::string& checkpoint);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_EXPORT_PIN_ADAPTER_H_

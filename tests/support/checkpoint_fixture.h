// Small checkpoints for tests, made from the golden one (tests/golden/data/checkpoint): take its
// tensors, break something, write them to a directory.
#ifndef LLAVA_TESTS_SUPPORT_CHECKPOINT_FIXTURE_H_
#define LLAVA_TESTS_SUPPORT_CHECKPOINT_FIXTURE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "model/checkpoint/stored_tensor.h"

namespace llava::model {

struct FixtureTensor {
  DType dtype = DType::kFloat32;
  std::vector<std::int64_t> shape = {};
  std::string bytes = {};
};

using FixtureTensors = std::map<std::string, FixtureTensor>;

std::string GoldenCheckpointDir();
FixtureTensors GoldenTensors();

// Another name for every tensor; an empty one drops it.
FixtureTensors Renamed(const FixtureTensors& tensors,
                       const std::function<std::string(const std::string&)>& name_of);
// Those whose names begin with `prefix`.
FixtureTensors WithPrefix(const FixtureTensors& tensors, std::string_view prefix);

// One safetensors file.
void WriteTensors(const std::string& path, const FixtureTensors& tensors);

// Config and tokenizer files of the golden checkpoint, no weights.
void CopyGoldenFiles(const std::string& directory);

// Both: a whole checkpoint with these tensors in model.safetensors.
void WriteCheckpoint(const std::string& directory, const FixtureTensors& tensors);

// Replaces the first `from` in the file by `to`; `from` must be there.
void EditFile(const std::string& path, const std::string& from, const std::string& to);

std::string ReadBytes(const std::string& path);
void WriteBytes(const std::string& path, std::string_view bytes);

}  // namespace llava::model

#endif  // LLAVA_TESTS_SUPPORT_CHECKPOINT_FIXTURE_H_

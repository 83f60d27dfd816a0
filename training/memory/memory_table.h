// What each stage of a recipe holds in the memory of one process at the moment at which that is
// most: computed from config.json and the recipe, before anything is read or started.
#ifndef LLAVA_TRAINING_MEMORY_MEMORY_TABLE_H_
#define LLAVA_TRAINING_MEMORY_MEMORY_TABLE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/config/config.h"
#include "training/memory/activations.h"
#include "training/recipe/recipe.h"

namespace llava::training {

struct MemoryQuestion {
  int ranks = 1;                  // processes
  std::int64_t row_tokens = 0;    // of the longest row; 0: data.max_length
  std::int64_t device_bytes = 0;  // that a process has
};

struct MemoryRow {
  std::string what;  // "optimizer state"
  std::int64_t bytes = 0;
};

struct StageMemory {
  std::string name;
  PassShape pass;           // its largest
  std::int64_t passes = 1;  // of a step
  std::string moment = {};  // at which it is most: "the loss"
  std::vector<MemoryRow> rows = {};
  // On GPUs: of the machine's memory, for the copy of a state that is written meanwhile.
  std::int64_t host_bytes = 0;

  std::int64_t all() const;
};

struct MemoryTable {
  MemoryQuestion question;
  std::vector<StageMemory> stages;
  std::vector<std::string> advice;  // a sentence for each stage that does not fit

  bool fits() const { return advice.empty(); }
};

// So much of a device is counted on: the rest is for its context, libraries and gaps.
inline constexpr double kUsableShare = 0.95;

// The largest micro batch that a stage can have: every row as long as it may be, with a picture of
// as many tiles as the model reads, and nothing but answers beside it.
PassShape LargestPass(const model::LlavaConfig& config, const StageOptions& stage, int ranks,
                      std::int64_t row_tokens);

// One stage of `recipe` with passes of that shape, on the rank that has most.
StageMemory MemoryOfStage(const Recipe& recipe, const StageOptions& stage,
                          const model::LlavaConfig& config, int ranks, const PassShape& pass);

// `config`: of the model that the recipe begins with.
MemoryTable MakeMemoryTable(const Recipe& recipe, const model::LlavaConfig& config,
                            const MemoryQuestion& question);

// The same, with the config.json of the recipe's model. The errors of ReadConfig.
absl::StatusOr<MemoryTable> DescribeMemory(const Recipe& recipe, const MemoryQuestion& question);

// For a person, and one JSON object.
std::string ToText(const MemoryTable& table);
std::string ToJson(const MemoryTable& table);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_MEMORY_MEMORY_TABLE_H_

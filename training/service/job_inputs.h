// What a trigger's job is made of, fixed when the job is made: its shards, the version that it
// begins with, and the recipe's template, of which the recipe is made.
#ifndef LLAVA_TRAINING_SERVICE_JOB_INPUTS_H_
#define LLAVA_TRAINING_SERVICE_JOB_INPUTS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "training/service/shards.h"

namespace llava::training {

// What an epoch is to be made of, in shares of its rows. Both 0: of all rows as they are.
struct Mix {
  double fresh = 0.0;  // of rows that no job has learned
  double old = 0.0;

  bool wanted() const { return fresh > 0.0 || old > 0.0; }
};

// What a pipeline generates, in the job's folder.
inline constexpr char kGeneratedRows[] = "generated/instruct.jsonl";

// A damaged shard, which the job does without.
struct SetAside {
  std::string path;
  std::string why;

  bool operator==(const SetAside&) const = default;
};

struct JobInputs {
  std::vector<Shard> shards;
  std::string recipe;        // the template
  std::string base;          // the live version's folder; "" where there was none
  std::string base_version;  // its digest
  // Captured rows that the recipe's filter admitted, and rows of which that is another thing than
  // it was for the trigger's last job that learned.
  std::int64_t captured = 0;
  std::int64_t captured_changed = 0;
  std::vector<SetAside> set_aside = {};

  bool operator==(const JobInputs&) const = default;
};

// One line of JSON, as it stands in the database, and back; DATA_LOSS: it is none.
std::string JobInputsJson(const JobInputs& inputs);
absl::StatusOr<JobInputs> ParseJobInputs(const std::string& json);

// The recipe: ${SHARDS} becomes the list of the shards' paths, ${MIXTURE} the same as a `mixture`
// with weights, ${BASE} the folder of the version to begin with. With a mix, new rows come once an
// epoch and old ones so often that the shares are those of `mix`; where one of the two is missing,
// all rows come once. `generated` is one more new shard. FAILED_PRECONDITION: ${BASE} without a
// live version.
absl::StatusOr<std::string> RenderRecipe(const JobInputs& inputs, const Mix& mix,
                                         const std::optional<Shard>& generated);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_SERVICE_JOB_INPUTS_H_

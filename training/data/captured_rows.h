// The rows of captured shards that a run learns from, taken into a folder of the run's own before
// its first step: rows.jsonl, pictures/ and shards.json. Verdicts that come later, shards that are
// rotated away and requests to be forgotten change nothing under a run that has begun.
#ifndef LLAVA_TRAINING_DATA_CAPTURED_ROWS_H_
#define LLAVA_TRAINING_DATA_CAPTURED_ROWS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/digest.h"
#include "capture/selection.h"

namespace llava::training {

// Where rows and pictures are in `folder`.
std::string CapturedRowsFile(const std::string& folder);
std::string CapturedPictures(const std::string& folder);

struct CapturedSource {
  std::string dir;  // where a daemon captures
  capture::Wanted wanted;
  std::string folder;  // where the rows are taken to
};

// Replaces each folder by the wanted rows of the shards that are closed now, all or nothing.
// Pictures are linked, or copied to another file system. No row at all is no error: the choice says
// why. Before a shard is read it is written down in its `dir` that `run`, the folder of a run,
// takes it, so that nobody rewrites it; shards of which nothing is taken are given back. `run`
// empty: nothing is written down, for rows that no model learns from. NOT_FOUND: a `dir` is no
// folder of captured turns; else errno's code and the path.
absl::StatusOr<std::vector<capture::Choice>> TakeCaptured(
    const std::string& run, const std::vector<CapturedSource>& sources);

// What the rows.jsonl of TakeCaptured would have as its digest now.
absl::StatusOr<Digest> DigestOfCaptured(const std::string& dir, const capture::Wanted& wanted);

// What TakeCaptured has written of its shards.
absl::StatusOr<std::vector<capture::ChosenShard>> ReadTakenShards(const std::string& folder);

// "12 of 40 captured rows: 9 with a thumb up, ..."
std::string ToText(const capture::Choice& choice);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_DATA_CAPTURED_ROWS_H_

// Writes a set of scenes as training data:
//   images/000000.jpg ...    the pictures
//   instruct.jsonl           LLaVA rows, several turns a picture; "kinds" names each answer's kind.
//                            Conversations: turns that build on one another, of one picture or two,
//                            with answers of weight 0 that are wrong
//   captions.jsonl           LLaVA rows of one caption each (template plain)
//   scenes.jsonl             what is where: objects, text, boxes, captions
//   patches.json, patches.u8 what lies under each patch (training/data/dense_labels.h)
//   corpus.txt               every question, answer and caption, a line each, for a tokenizer
#ifndef LLAVA_TRAINING_DATA_SCENES_WRITE_H_
#define LLAVA_TRAINING_DATA_SCENES_WRITE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "training/data/scenes/scene.h"

namespace llava::training::scenes {

struct WriteOptions {
  std::int64_t count = 0;
  std::uint64_t seed = 0;
  Level level = Level::kFull;
  Split split = Split::kTrain;
  int turns = 6;        // questions a picture, at most
  int comparisons = 0;  // and so many about the places of two things, at most
  // Conversations of two to `turns` turns instead of questions that stand alone.
  bool conversations = false;
  int patch = 8;  // pixels of a patch label; divides kPictureSize
};

// The same bytes for the same options. `folder` is made; files of the same name are replaced.
// INVALID_ARGUMENT: count, turns, comparisons or patch; UNAVAILABLE / RESOURCE_EXHAUSTED: the
// folder.
absl::Status WriteScenes(const WriteOptions& options, const std::string& folder);

}  // namespace llava::training::scenes

#endif  // LLAVA_TRAINING_DATA_SCENES_WRITE_H_

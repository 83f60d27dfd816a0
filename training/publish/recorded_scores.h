// What the versions of a folder have scored in one evaluation.
#ifndef LLAVA_TRAINING_PUBLISH_RECORDED_SCORES_H_
#define LLAVA_TRAINING_PUBLISH_RECORDED_SCORES_H_

#include <map>
#include <string>
#include <vector>

#include "model/checkpoint/manifest.h"

namespace llava::training {

struct RecordedScores {
  std::string name;  // "its parent v000002-91be00f3a7c2"
  std::map<std::string, double> scores;
};

// Of the folder of versions that `checkpoint` lies in: "its parent", from which it was trained, and
// "the best other", with the highest "total", unless that is the parent; as far as their manifests
// have the evaluation: equal benchmark, data and judge. Empty for a checkpoint that is no published
// version.
std::vector<RecordedScores> ScoresBeside(const std::string& checkpoint,
                                         const model::Evaluation& evaluation);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_PUBLISH_RECORDED_SCORES_H_

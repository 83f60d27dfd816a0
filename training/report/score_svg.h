// Scores of several models side by side as one SVG image, a file of its own.
#ifndef LLAVA_TRAINING_REPORT_SCORE_SVG_H_
#define LLAVA_TRAINING_REPORT_SCORE_SVG_H_

#include <map>
#include <string>
#include <vector>

namespace llava::training {

struct ScoredModel {
  std::string name;                      // "this", "the parent v000002-91be00f3a7c2"
  std::map<std::string, double> scores;  // by kind, at least 0
};

// A group of bars for each kind of the first model, "total" first, a bar for each model that has
// the kind, with `unit` times its score as a number and the models' names below. REQUIRES: one to
// four models.
std::string ScoreSvg(const std::string& title, double unit, const std::vector<ScoredModel>& models);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_REPORT_SCORE_SVG_H_

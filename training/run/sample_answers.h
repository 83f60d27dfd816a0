// What a model says to a few questions while it is trained, for people to read.
#ifndef LLAVA_TRAINING_RUN_SAMPLE_ANSWERS_H_
#define LLAVA_TRAINING_RUN_SAMPLE_ANSWERS_H_

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "model/network/llava.h"
#include "training/optim/step_report.h"

namespace llava::training {

struct SampleQuestions {
  std::vector<SampleAnswer> questions = {};  // without answers
  std::string chat_template = {};  // a name of ChatTemplate::Names(); "": the folder's own
};

// The question of a human turn: without places for pictures and white space around it.
std::string TextOf(std::string_view turn);

// The questions with the model's answers, greedily and at most 64 tokens long. `folder` has the
// tokenizer and the preprocessor. Ends early, with what it has, when `stop` says so. A question
// that cannot be asked has the reason in place of an answer.
std::vector<SampleAnswer> AskSamples(const model::Llava& model, const std::string& folder,
                                     const SampleQuestions& questions,
                                     const std::function<bool()>& stop);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_RUN_SAMPLE_ANSWERS_H_

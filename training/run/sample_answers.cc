#include "training/run/sample_answers.h"

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "training/evaluate/score.h"
#include "training/run/answerer.h"

namespace llava::training {
namespace {

constexpr int kSampleTokens = 64;

}  // namespace

std::string TextOf(std::string_view turn) {
  const std::string bare = absl::StrReplaceAll(AbslView(turn), {{"<image>", ""}});
  return std::string(absl::StripAsciiWhitespace(bare));
}

std::vector<SampleAnswer> AskSamples(const model::Llava& model, const std::string& folder,
                                     const SampleQuestions& questions,
                                     const std::function<bool()>& stop) {
  std::vector<SampleAnswer> asked;
  if (questions.questions.empty()) return asked;
  absl::StatusOr<Answerer> answerer = Answerer::Make(model, folder, questions.chat_template);
  const auto ask = [&](const SampleAnswer& sample) -> absl::StatusOr<Answer> {
    RETURN_IF_ERROR(answerer.status());
    answerer->set_stop(stop);
    return answerer->Ask(sample.images, sample.question, kSampleTokens);
  };
  for (SampleAnswer sample : questions.questions) {
    if (stop()) break;
    const absl::StatusOr<Answer> answer = ask(sample);
    sample.answer = answer.ok() ? Utf8Repair(answer->text)
                                : absl::StrCat("cannot be asked: ", answer.status().message());
    sample.right = answer.ok() && IsRight(sample.expected, sample.answer);
    asked.push_back(std::move(sample));
  }
  return asked;
}

}  // namespace llava::training

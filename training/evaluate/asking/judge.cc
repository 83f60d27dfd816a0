#include "training/evaluate/asking/judge.h"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "training/evaluate/answer_text.h"
#include "training/evaluate/asking/answer_store.h"
#include "training/evaluate/benchmarks/bench_files.h"
#include "training/evaluate/benchmarks/llava_bench.h"

namespace llava::training {
namespace {

namespace json = boost::json;

constexpr double kNoScore = -1;

ChatRequest JudgeRequest(const std::string& prompt, const JudgeOptions& options) {
  ChatRequest request;
  request.messages = {{"system", {}, kJudgeSystem}, {"user", {}, prompt}};
  request.temperature = options.temperature;
  request.max_tokens = options.max_tokens;
  return request;
}

Review ReviewOf(const absl::StatusOr<ChatReply>& reply, bool swapped) {
  Review review;
  if (!reply.ok()) {
    review.error = std::string(reply.status().message());
    return review;
  }
  review.text = reply->text;
  review.scores = ReviewScores(reply->text);
  if (!review.scores.has_value()) review.error = "no two scores on the first line";
  if (swapped && review.scores.has_value()) std::swap(review.scores->first, review.scores->second);
  return review;
}

// The scores that count.
std::optional<std::pair<double, double>> Final(const Verdicts& verdicts) {
  if (!verdicts.swapped.has_value()) return verdicts.review.scores;
  if (!verdicts.review.scores.has_value() || !verdicts.swapped->scores.has_value()) {
    return std::nullopt;
  }
  const auto& [reference, answer] = *verdicts.review.scores;
  return std::pair((reference + verdicts.swapped->scores->first) / 2,
                   (answer + verdicts.swapped->scores->second) / 2);
}

Grade GradeOf(const std::optional<std::pair<double, double>>& scores, bool as_published) {
  Grade grade;
  grade.known = scores.has_value() || as_published;
  grade.reference = scores.has_value() ? scores->first : kNoScore;
  grade.value = scores.has_value() ? scores->second : kNoScore;
  return grade;
}

std::optional<std::pair<double, double>> PairIn(const json::object& line) {
  const json::value* pair = line.if_contains("tuple");
  if (pair == nullptr) pair = line.if_contains("score");
  const json::array* both = pair == nullptr ? nullptr : pair->if_array();
  if (both == nullptr || both->size() != 2 || !both->at(0).is_number() ||
      !both->at(1).is_number()) {
    return std::nullopt;
  }
  return std::pair(both->at(0).to_number<double>(), both->at(1).to_number<double>());
}

}  // namespace

absl::StatusOr<std::vector<Verdicts>> JudgeAll(const Benchmark& benchmark,
                                               const BenchAnswers& answers,
                                               const JudgeOptions& options, Endpoint& judge,
                                               AskingProgress* progress,
                                               const std::atomic<bool>* stop) {
  const auto pairs = static_cast<std::int64_t>(benchmark.judged.size());
  std::vector<Verdicts> verdicts(benchmark.judged.size());
  const auto make = [&](std::int64_t index) -> absl::StatusOr<ChatRequest> {
    const auto pair = static_cast<std::size_t>(index % pairs);
    return JudgeRequest(JudgePrompt(benchmark.judged[pair], answers[pair], index >= pairs),
                        options);
  };
  const auto keep = [&](std::int64_t index, const absl::StatusOr<ChatReply>& reply) {
    Verdicts& of = verdicts[static_cast<std::size_t>(index % pairs)];
    Review review = ReviewOf(reply, index >= pairs);
    if (index >= pairs) {
      of.swapped = std::move(review);
    } else {
      of.review = std::move(review);
    }
    if (progress != nullptr) progress->Answered();
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(judge.Run(options.both_orders ? 2 * pairs : pairs, make, keep, stop));
  return verdicts;
}

std::vector<Grade> GradesOf(const Benchmark& benchmark, const std::vector<Verdicts>& verdicts,
                            bool as_published) {
  std::vector<Grade> grades;
  for (std::size_t i = 0; i < verdicts.size(); ++i) {
    Grade grade = GradeOf(Final(verdicts[i]), as_published);
    grade.expected = benchmark.judged[i].reference;
    grade.kinds = {benchmark.questions[i].category};
    grades.push_back(std::move(grade));
  }
  return grades;
}

std::optional<double> PositionBias(const std::vector<Verdicts>& verdicts) {
  double sum = 0;
  double count = 0;
  for (const Verdicts& of : verdicts) {
    if (!of.swapped.has_value() || !Final(of).has_value()) continue;
    const auto& [reference, answer] = *of.review.scores;
    const auto& [swapped_reference, swapped_answer] = *of.swapped->scores;
    sum += (reference - answer + swapped_answer - swapped_reference) / 2;
    ++count;
  }
  if (count == 0) return std::nullopt;
  return sum / count;
}

std::string ReviewLines(const Benchmark& benchmark, const BenchAnswers& answers,
                        const std::vector<Verdicts>& verdicts) {
  std::string lines;
  for (std::size_t i = 0; i < verdicts.size(); ++i) {
    const Review& review = verdicts[i].review;
    if (review.text.empty()) continue;
    const auto scores = review.scores.value_or(std::pair(kNoScore, kNoScore));
    absl::StrAppend(
        &lines,
        json::serialize(json::object{{"id", i + 1},
                                     {"question_id", benchmark.questions[i].id},
                                     {"answer1_id", benchmark.judged[i].reference_id},
                                     {"answer2_id", AnswerId(benchmark, i, answers[i])},
                                     {"category", benchmark.judged[i].category},
                                     {"content", review.text},
                                     {"tuple", json::array{scores.first, scores.second}}}),
        "\n");
  }
  return lines;
}

absl::StatusOr<std::vector<Grade>> ReadReviews(const std::string& file, bool as_published) {
  ASSIGN_OR_RETURN(const std::vector<json::object> lines, ReadBenchLines(file));
  std::vector<Grade> grades;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    std::optional<std::pair<double, double>> scores = PairIn(lines[i]);
    if (!scores.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat(file, ":", i + 1, ": expected two numbers as 'tuple' or 'score'"));
    }
    if (!as_published && (scores->first < 0 || scores->second < 0)) scores.reset();
    Grade grade = GradeOf(scores, as_published);
    const std::string category = TextOr(lines[i], "category");
    if (!category.empty()) grade.kinds = {category};
    grades.push_back(std::move(grade));
  }
  return grades;
}

absl::Status AskAgain(const Benchmark& benchmark, const BenchAnswers& answers,
                      const JudgeOptions& options, Endpoint& judge, ScienceQaEnsemble* ensemble,
                      const std::atomic<bool>* stop) {
  std::vector<std::size_t> differ;
  const auto theirs = [&](std::size_t i) {
    const auto found = ensemble->theirs.find(IdText(benchmark.questions[i].id));
    return found == ensemble->theirs.end() ? std::string() : found->second;
  };
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const int choices = benchmark.questions[i].choices;
    if (ScienceQaIndex(answers[i], choices) != ScienceQaIndex(theirs(i), choices)) {
      differ.push_back(i);
    }
  }
  const auto make = [&](std::int64_t index) -> absl::StatusOr<ChatRequest> {
    const std::size_t i = differ[static_cast<std::size_t>(index)];
    return JudgeRequest(AskAgainPrompt(benchmark.questions[i].prompt, answers[i], theirs(i)),
                        options);
  };
  const auto keep = [&](std::int64_t index, const absl::StatusOr<ChatReply>& reply) {
    const std::size_t i = differ[static_cast<std::size_t>(index)];
    if (reply.ok()) ensemble->asked_again[IdText(benchmark.questions[i].id)] = reply->text;
    return absl::OkStatus();
  };
  return judge.Run(static_cast<std::int64_t>(differ.size()), make, keep, stop);
}

}  // namespace llava::training

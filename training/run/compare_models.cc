#include "training/run/compare_models.h"

#include <ATen/core/Tensor.h>

#include <boost/json.hpp>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "model/network/llava.h"
#include "training/evaluate/score.h"
#include "training/run/answerer.h"

namespace llava::training {
namespace {

struct Subject {
  std::unique_ptr<model::Llava> model;
  std::unique_ptr<Answerer> answerer;
};

absl::StatusOr<Subject> Open(const ComparedModel& wanted) {
  const auto codes = model::QuantizationOf(wanted.weights);
  model::LoadOptions options{.pack = true};
  if (wanted.weights == "bfloat16") {
    options.dtype = at::kBFloat16;
  } else if (codes && *codes != model::Quantization::kNone) {
    options.quantization = *codes;
  } else if (wanted.weights != "float32") {
    return absl::InvalidArgumentError(absl::StrCat(
        "weights \"", wanted.weights, "\", expected float32, bfloat16, int8, int4 or fp8"));
  }
  Subject subject;
  ASSIGN_OR_RETURN(subject.model, model::Llava::Load(wanted.checkpoint, options));
  ASSIGN_OR_RETURN(Answerer answerer, Answerer::Make(*subject.model, wanted.checkpoint, ""));
  subject.answerer = std::make_unique<Answerer>(std::move(answerer));
  if (wanted.kv_cache == "int8") {
    subject.answerer->HoldKvIn(at::kChar);
  } else if (wanted.kv_cache == "fp8") {
    subject.answerer->HoldKvIn(at::kFloat8_e4m3fn);
  } else if (wanted.kv_cache != "auto") {
    return absl::InvalidArgumentError(
        absl::StrCat("KV cache \"", wanted.kv_cache, "\", expected auto, int8 or fp8"));
  }
  return subject;
}

// A sum and what it is divided by, of one question: a Grade, so that Bootstrap can draw questions.
Grade Part(const char* name, double sum, double of) {
  return {.value = sum, .reference = of, .kinds = {name}};
}

// Sums of values over sums of references; perplexities are exponentials of those.
ScoreTable Ratios(std::span<const Unit> units) {
  std::map<std::string, std::pair<double, double>> sums;
  for (const Unit& unit : units) {
    for (const Grade& grade : unit) {
      auto& [value, of] = sums[grade.kinds.front()];
      value += grade.value;
      of += grade.reference;
    }
  }
  ScoreTable table;
  for (const auto& [name, sum] : sums) {
    const double ratio = sum.second > 0 ? sum.first / sum.second : 0;
    table[name] = name.starts_with("perplexity") ? std::exp(ratio) : ratio;
  }
  return table;
}

double Sum(const at::Tensor& values) { return values.to(at::kDouble).sum().item<double>(); }

// Appends the parts of one question.
absl::StatusOr<std::int64_t> CompareOne(const Subject& a, const Subject& b,
                                        const EvaluationItem& item, const std::string& folder,
                                        std::vector<Grade>* grades) {
  std::vector<std::string> images;
  for (const std::string& image : item.images) images.push_back(absl::StrCat(folder, "/", image));
  ASSIGN_OR_RETURN(const Answer said, a.answerer->Ask(images, item.question, kAnswerTokens));
  if (said.ids.empty()) return 0;
  ASSIGN_OR_RETURN(const at::Tensor log_a, a.answerer->LogProbs(images, item.question, said.ids));
  ASSIGN_OR_RETURN(const at::Tensor log_b, b.answerer->LogProbs(images, item.question, said.ids));
  const auto count = static_cast<std::int64_t>(said.ids.size());
  double agreed = 0, nll_a = 0, nll_b = 0;
  const at::Tensor best = log_b.argmax(1);
  for (std::int64_t i = 0; i < count; ++i) {
    const int id = said.ids[static_cast<std::size_t>(i)];
    agreed += best[i].item<std::int64_t>() == id ? 1 : 0;
    nll_a -= log_a[i][id].item<double>();
    nll_b -= log_b[i][id].item<double>();
  }
  const bool same = agreed == static_cast<double>(count);
  std::string text = said.text;
  if (!same) {
    ASSIGN_OR_RETURN(const Answer other, b.answerer->Ask(images, item.question, kAnswerTokens));
    text = other.text;
  }
  const auto tokens = static_cast<double>(count);
  grades->push_back(Part("kl", Sum(log_a.exp() * (log_a - log_b)), tokens));
  grades->push_back(Part("top1", agreed, tokens));
  grades->push_back(Part("perplexity_a", nll_a, tokens));
  grades->push_back(Part("perplexity_b", nll_b, tokens));
  grades->push_back(Part("same", same ? 1 : 0, 1));
  grades->push_back(Part("right_a", IsRight(item.answer, said.text) ? 1 : 0, 1));
  grades->push_back(Part("right_b", IsRight(item.answer, text) ? 1 : 0, 1));
  return count;
}

constexpr std::size_t kParts = 7;

}  // namespace

absl::StatusOr<Comparison> CompareModels(const ComparisonRequest& request) {
  ASSIGN_OR_RETURN(const std::vector<EvaluationItem> items,
                   ReadEvaluationItems(request.data, request.limit));
  if (items.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(request.data, ": has no questions"));
  }
  ASSIGN_OR_RETURN(const Subject a, Open(request.a));
  ASSIGN_OR_RETURN(const Subject b, Open(request.b));
  const int words_a = a.model->config().text.vocab_size;
  const int words_b = b.model->config().text.vocab_size;
  if (words_a != words_b) {
    return absl::InvalidArgumentError(absl::StrCat(request.b.checkpoint, ": has a vocabulary of ",
                                                   words_b, ", expected ", words_a, " as in ",
                                                   request.a.checkpoint));
  }
  Comparison comparison;
  std::vector<Grade> grades;
  for (const EvaluationItem& item : items) {
    ASSIGN_OR_RETURN(const std::int64_t tokens, CompareOne(a, b, item, request.images, &grades));
    comparison.tokens += tokens;
  }
  const std::vector<Unit> units = UnitsOf(grades, kParts);
  comparison.questions = std::ssize(units);
  comparison.values = Ratios(units);
  comparison.intervals = Bootstrap(units, Ratios);
  return comparison;
}

std::string ComparisonJson(const ComparisonRequest& request, const Comparison& comparison) {
  const auto model = [](const ComparedModel& m) {
    return boost::json::object{
        {"checkpoint", m.checkpoint}, {"weights", m.weights}, {"kv_cache", m.kv_cache}};
  };
  boost::json::object values;
  for (const auto& [name, value] : comparison.values) {
    const Interval interval = comparison.intervals.at(name);
    values[name] = {{"value", value}, {"low", interval.low}, {"high", interval.high}};
  }
  return boost::json::serialize(boost::json::object{{"a", model(request.a)},
                                                    {"b", model(request.b)},
                                                    {"data", request.data},
                                                    {"questions", comparison.questions},
                                                    {"tokens", comparison.tokens},
                                                    {"values", std::move(values)}}) +
         "\n";
}

std::string ComparisonTable(const Comparison& comparison) {
  struct Line {
    const char* name;
    const char* text;
    double factor;  // to per cent
  };
  constexpr Line kLines[] = {{"top1", "same next token, %", 100},
                             {"same", "same answers, %", 100},
                             {"right_a", "right answers of A, %", 100},
                             {"right_b", "right answers of B, %", 100},
                             {"kl", "KL divergence, nats a token", 1},
                             {"perplexity_a", "perplexity of A's answers by A", 1},
                             {"perplexity_b", "perplexity of A's answers by B", 1}};
  std::string text = absl::StrCat(comparison.questions, " questions, ", comparison.tokens,
                                  " tokens of A's answers; 95 % intervals\n");
  for (const Line& line : kLines) {
    const auto at = comparison.values.find(line.name);
    if (at == comparison.values.end()) continue;
    const Interval interval = comparison.intervals.at(line.name);
    absl::StrAppendFormat(&text, "%-32s %9.4f  (%.4f to %.4f)\n", line.text,
                          at->second * line.factor, interval.low * line.factor,
                          interval.high * line.factor);
  }
  return text;
}

}  // namespace llava::training

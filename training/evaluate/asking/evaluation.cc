#include "training/evaluate/asking/evaluation.h"

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "base/digest.h"
#include "base/durable_file.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/strict_yaml.h"
#include "training/endpoint/asking_progress.h"
#include "training/endpoint/endpoint.h"
#include "training/endpoint/ledger.h"
#include "training/evaluate/answer_text.h"
#include "training/evaluate/asking/answer_store.h"
#include "training/evaluate/asking/ask.h"
#include "training/evaluate/benchmarks/bench_files.h"
#include "training/evaluate/benchmarks/llava_bench.h"
#include "training/evaluate/benchmarks/vqa_benches.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr std::size_t kManyUnits = 20'000;  // for which fewer draws are as good
constexpr std::size_t kMaxAnswerBytes = std::size_t{1} << 30;
constexpr std::size_t kDigitsOfAFile = 12;
constexpr int kDraws = 1000;
constexpr int kDrawsOfMany = 200;

struct Judge {
  std::unique_ptr<Endpoint> endpoint;
  JudgeOptions options;
  std::string name;
};

absl::StatusOr<Judge> OpenJudge(const EvaluationRequest& request, const Clock& clock) {
  Judge judge;
  EndpointOptions options;
  ASSIGN_OR_RETURN(StrictYaml yaml, StrictYaml::Load(request.judge));
  yaml.Require("endpoint");
  yaml.Section("endpoint", [&](StrictYaml& endpoint) { ReadEndpoint(endpoint, &options); });
  yaml.Section("budget", [&](StrictYaml& budget) { ReadBudget(budget, &options); });
  yaml.Optional("temperature", &judge.options.temperature);
  yaml.Optional("max_tokens", &judge.options.max_tokens);
  if (judge.options.max_tokens < 1) yaml.Fail("max_tokens", "expected at least 1");
  yaml.Optional("both_orders", &judge.options.both_orders);
  RETURN_IF_ERROR(yaml.Finish());
  judge.options.both_orders |= request.both_orders;
  judge.name = options.model;
  Ledger ledger;
  if (!request.out.empty()) {
    ASSIGN_OR_RETURN(ledger, Ledger::Open(absl::StrCat(request.out, "/judge_ledger.jsonl")));
  }
  ASSIGN_OR_RETURN(judge.endpoint, Endpoint::Make(std::move(options), std::move(ledger), &clock));
  return judge;
}

// By question id, as texts.
absl::StatusOr<std::map<std::string, std::string>> TextsOf(const std::string& file) {
  std::map<std::string, std::string> texts;
  if (absl::EndsWith(file, ".json")) {
    ASSIGN_OR_RETURN(const json::value whole, ReadJsonFile(file));
    const json::value* outputs =
        whole.is_object() ? whole.get_object().if_contains("outputs") : nullptr;
    if (outputs == nullptr || !outputs->is_object()) {
      return absl::InvalidArgumentError(absl::StrCat(file, ": expected an object 'outputs'"));
    }
    for (const auto& [id, text] : outputs->get_object()) texts[std::string(id)] = IdText(text);
    return texts;
  }
  ASSIGN_OR_RETURN(const std::vector<json::object> lines, ReadBenchLines(file));
  std::map<std::string, std::string> prompts;
  std::set<std::string> several;  // of which one alone could be anybody's: MME's ids, TextVQA's
  for (const json::object& line : lines) {
    const std::string round = TextOr(line, "round_id");
    const std::string id = TextOr(line, "question_id");
    const std::string text = TextOr(line, "text");
    const std::string prompt = TextOr(line, "prompt");
    const std::string name = round.empty() ? id : absl::StrCat(id, "/", round);
    texts[absl::StrCat(id, "\n", prompt)] = text;
    texts[name] = text;
    if (prompts.try_emplace(name, prompt).first->second != prompt) several.insert(name);
  }
  for (const std::string& name : several) texts.erase(name);
  return texts;
}

// The file's beginning of a digest.
absl::StatusOr<std::string> DigestText(const std::string& file) {
  ASSIGN_OR_RETURN(const std::string bytes, ReadFile(file, kMaxAnswerBytes));
  return Sha256Of(bytes).Hex().substr(0, kDigitsOfAFile);
}

// What a judge is told besides its prompts, where that is not the original's.
std::string HowItJudges(const JudgeOptions& options) {
  const JudgeOptions usual;
  std::string how;
  if (options.temperature != usual.temperature) {
    absl::StrAppend(&how, ", temperature ", options.temperature);
  }
  if (options.max_tokens != usual.max_tokens) {
    absl::StrAppend(&how, ", reviews of ", options.max_tokens, " tokens");
  }
  return how;
}

class Evaluation {
 public:
  Evaluation(const EvaluationRequest& request, const StartModel& start_model, const Clock& clock,
             const std::function<void(const std::string&)>& on_progress,
             const std::atomic<bool>* stop)
      : request_(request),
        start_model_(start_model),
        clock_(clock),
        on_progress_(on_progress),
        stop_(stop) {}

  absl::StatusOr<EvaluationReport> Run() {
    const TimePoint began = clock_.Now();
    if (!request_.out.empty()) {
      std::error_code error;
      fs::create_directories(request_.out, error);
      if (error) return absl::ErrnoToStatus(error.value(), request_.out);
    }
    report_.bench = request_.bench;
    report_.model = request_.model;
    report_.as_published = request_.as_published;
    report_.date = absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::FromUnixMillis(clock_.UnixMillis()),
                                    absl::UTCTimeZone());
    if (!request_.reviews.empty()) {
      RETURN_IF_ERROR(ScoreReviews());
    } else {
      RETURN_IF_ERROR(Score());
    }
    report_.seconds = Seconds(clock_.Now() - began);
    RETURN_IF_ERROR(WriteReport());
    return std::move(report_);
  }

 private:
  absl::Status ScoreReviews() {
    const bool of_grader = request_.bench == "mm-vet";
    ASSIGN_OR_RETURN(const std::vector<Grade> grades,
                     of_grader ? ReadMmVetGrades(request_.reviews, request_.files)
                               : ReadReviews(request_.reviews, request_.as_published));
    report_.judge = "reviews";
    Summarise(grades, UnitsOf(grades, 1), of_grader ? MeanByKind : RelativeByKind);
    return absl::OkStatus();
  }

  absl::Status Score() {
    ASSIGN_OR_RETURN(bench_, OpenBenchmark(request_.bench, request_.files));
    report_.questions = std::ssize(bench_.questions);
    if (request_.dry_run) return DryRun();
    const bool asks_judge =
        !bench_.judged.empty() || (request_.ensemble == "judge" && request_.asked_again.empty());
    std::optional<Judge> judge;
    if (asks_judge) {
      if (request_.judge.empty()) {
        return absl::InvalidArgumentError(
            absl::StrCat(bench_.name, " needs a judge: --judge FILE, or --reviews FILE"));
      }
      ASSIGN_OR_RETURN(judge, OpenJudge(request_, clock_));
    }
    RETURN_IF_ERROR(GetAnswers());
    if (!request_.ensemble.empty()) RETURN_IF_ERROR(Combine(judge));
    std::vector<Grade> grades;
    if (!bench_.judged.empty()) {
      ASSIGN_OR_RETURN(grades, Judged(*judge));
    } else {
      grades = bench_.grade(answers_);
      report_.judge = request_.bench == "rows" ? request_.files.metric : "labels";
    }
    ASSIGN_OR_RETURN(const std::string how_else, HowElse(judge));
    report_.judge += how_else;
    if (judge.has_value()) AddCost(judge->endpoint->stats());
    Summarise(grades, UnitsOf(bench_, grades), bench_.score);
    return WriteAnswers(grades);
  }

  // What makes scores another evaluation than the plain one: they do not compare.
  absl::StatusOr<std::string> HowElse(const std::optional<Judge>& judge) const {
    std::string how;
    if (request_.scores_choices) how += ", likeliest choices";
    const bool asked = request_.answers.empty() && !request_.scores_choices;
    if (asked && request_.max_tokens > 0 && request_.max_tokens != bench_.max_tokens) {
      absl::StrAppend(&how, ", answers of ", request_.max_tokens, " tokens");
    }
    if (judge.has_value()) absl::StrAppend(&how, HowItJudges(judge->options));
    if (!request_.ensemble.empty()) {
      ASSIGN_OR_RETURN(const std::string with, EnsembleText(judge));
      absl::StrAppend(&how, ", ", with);
    }
    if (request_.as_published) how += ", as published";
    return how;
  }

  // With whose answers, and who was asked again: other ones are another ensemble.
  absl::StatusOr<std::string> EnsembleText(const std::optional<Judge>& judge) const {
    ASSIGN_OR_RETURN(const std::string theirs, DigestText(request_.theirs));
    std::string text = absl::StrCat(request_.ensemble, " ensemble with ", theirs);
    if (!request_.asked_again.empty()) {
      ASSIGN_OR_RETURN(const std::string again, DigestText(request_.asked_again));
      return absl::StrCat(text, " and ", again);
    }
    return judge.has_value() ? absl::StrCat(text, " and ", judge->name) : text;
  }

  absl::Status GetAnswers() {
    if (!request_.answers.empty()) {
      ASSIGN_OR_RETURN(answers_, ReadAnswers(request_.answers, bench_));
      report_.unanswered = std::count(answers_.begin(), answers_.end(), "");
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(report_.fingerprint, FingerprintOf(bench_));
    RETURN_IF_ERROR(CheckChoices());
    const AskOptions ask{request_.max_tokens > 0 ? request_.max_tokens : bench_.max_tokens,
                         request_.scores_choices};
    const Asker asker{request_.model_id, request_.model, report_.fingerprint, ask.max_tokens,
                      ask.scores_choices};
    AnswerStore store(bench_.questions.size());
    if (!request_.out.empty()) {
      const std::string file = absl::StrCat(request_.out, "/answers.journal.jsonl");
      ASSIGN_OR_RETURN(store, AnswerStore::Open(file, asker, bench_.questions.size()));
    }
    RETURN_IF_ERROR(store.Unanswered().empty() ? CountEarlierCost() : Ask(ask, &store));
    answers_ = store.Texts();
    for (std::size_t i = 0; i < answers_.size(); ++i) {
      const std::optional<GivenAnswer>& answer = store.Get(i);
      report_.unanswered += answer.has_value() && answer->error.empty() ? 0 : 1;
    }
    return Write("answers.jsonl", AnswerLines(bench_, store, asker));
  }

  absl::Status CheckChoices() const {
    const bool has_choices = std::any_of(bench_.questions.begin(), bench_.questions.end(),
                                         [](const BenchQuestion& q) { return q.choices > 0; });
    if (!request_.scores_choices || has_choices) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("--score-choices: ", bench_.name, " has no multiple choice"));
  }

  absl::Status Ask(const AskOptions& ask, AnswerStore* store) {
    ASSIGN_OR_RETURN(EndpointOptions options, start_model_());
    Ledger ledger;
    if (IsPaid(options) && !request_.out.empty()) {
      ASSIGN_OR_RETURN(ledger, Ledger::Open(ModelLedger()));
    }
    ASSIGN_OR_RETURN(const std::unique_ptr<Endpoint> endpoint,
                     Endpoint::Make(std::move(options), std::move(ledger), &clock_));
    const auto all = std::ssize(bench_.questions);
    AskingProgress progress(clock_, *endpoint, on_progress_, all - std::ssize(store->Unanswered()),
                            all);
    const absl::Status asked = AskAll(bench_, ask, *endpoint, store, &progress, stop_);
    AddCost(endpoint->stats());
    return asked;
  }

  std::string ModelLedger() const { return absl::StrCat(request_.out, "/model_ledger.jsonl"); }

  // Nobody is asked, but what the answers have cost stays true.
  absl::Status CountEarlierCost() {
    if (request_.out.empty() || !IsThere(ModelLedger())) return absl::OkStatus();
    ASSIGN_OR_RETURN(const Ledger ledger, Ledger::Open(ModelLedger()));
    report_.cost += ledger.cost();
    return absl::OkStatus();
  }

  void AddCost(const EndpointStats& stats) {
    report_.cost += stats.cost;
    report_.cost_of_run += stats.cost_of_run;
  }

  absl::StatusOr<std::vector<Grade>> Judged(Judge& judge) {
    report_.judge = absl::StrCat(judge.name, judge.options.both_orders ? ", both orders" : "");
    on_progress_(absl::StrCat("asking the judge ", judge.name));
    const std::int64_t reviews = std::ssize(bench_.judged) * (judge.options.both_orders ? 2 : 1);
    AskingProgress progress(clock_, *judge.endpoint, on_progress_, 0, reviews);
    ASSIGN_OR_RETURN(const std::vector<Verdicts> verdicts,
                     JudgeAll(bench_, answers_, judge.options, *judge.endpoint, &progress, stop_));
    RETURN_IF_ERROR(Write("reviews.jsonl", ReviewLines(bench_, answers_, verdicts)));
    std::vector<Grade> grades = GradesOf(bench_, verdicts, /*as_published=*/false);
    for (const Grade& grade : grades) report_.judge_failed += grade.known ? 0 : 1;
    report_.position_bias = PositionBias(verdicts);
    // That is no verdict on the answers, and may be one the next time.
    if (!grades.empty() && report_.judge_failed == std::ssize(grades)) {
      const std::string& error = verdicts.back().review.error;
      return absl::UnavailableError(absl::StrCat("the judge ", judge.name, " has scored none of ",
                                                 grades.size(), " answers",
                                                 error.empty() ? "" : ": ", error));
    }
    if (request_.as_published) grades = GradesOf(bench_, verdicts, /*as_published=*/true);
    return grades;
  }

  // ScienceQA's answers become those of the ensemble, as sentences that are read again.
  absl::Status Combine(std::optional<Judge>& judge) {
    ScienceQaEnsemble ensemble;
    ensemble.judge = request_.ensemble == "judge";
    ASSIGN_OR_RETURN(ensemble.theirs, TextsOf(request_.theirs));
    if (!request_.asked_again.empty()) {
      ASSIGN_OR_RETURN(ensemble.asked_again, TextsOf(request_.asked_again));
    } else if (ensemble.judge) {
      RETURN_IF_ERROR(
          AskAgain(bench_, answers_, judge->options, *judge->endpoint, &ensemble, stop_));
    }
    for (std::size_t i = 0; i < answers_.size(); ++i) {
      answers_[i] = EnsembleAnswer(ensemble, IdText(bench_.questions[i].id), answers_[i],
                                   bench_.questions[i].choices);
    }
    return absl::OkStatus();
  }

  void Summarise(const std::vector<Grade>& grades, const std::vector<Unit>& units,
                 ScoreUnits score) {
    report_.questions = std::ssize(grades);
    if (bench_.judged.empty()) {
      for (const Grade& grade : grades) {
        report_.judge_failed += !request_.reviews.empty() && !grade.known ? 1 : 0;
      }
    }
    report_.scores = score(units);
    report_.intervals = Bootstrap(units, score, units.size() > kManyUnits ? kDrawsOfMany : kDraws);
  }

  absl::Status WriteAnswers(const std::vector<Grade>& grades) {
    RETURN_IF_ERROR(Write("questions.jsonl", QuestionLines(bench_)));
    RETURN_IF_ERROR(Write("wrong.html", WrongPage(bench_, grades, answers_)));
    if (!bench_.submission || request_.out.empty()) return absl::OkStatus();
    std::error_code error;
    fs::create_directories(request_.out + "/submission", error);
    for (const auto& [name, bytes] : bench_.submission(answers_)) {
      RETURN_IF_ERROR(Write("submission/" + name, bytes));
    }
    return absl::OkStatus();
  }

  // What would be asked, of the model and (with answers from a file) of the judge.
  absl::Status DryRun() {
    RETURN_IF_ERROR(Write("questions.jsonl", QuestionLines(bench_)));
    report_.judge = "nobody";
    if (bench_.judged.empty()) return absl::OkStatus();
    answers_ = BenchAnswers(bench_.questions.size());
    if (!request_.answers.empty()) {
      ASSIGN_OR_RETURN(answers_, ReadAnswers(request_.answers, bench_));
    }
    std::string lines;
    for (std::size_t i = 0; i < answers_.size(); ++i) {
      const std::string prompt = JudgePrompt(bench_.judged[i], answers_[i], /*swapped=*/false);
      absl::StrAppend(&lines,
                      json::serialize(json::object{{"question_id", bench_.questions[i].id},
                                                   {"system", kJudgeSystem},
                                                   {"prompt", prompt}}),
                      "\n");
    }
    return Write("judge_prompts.jsonl", lines);
  }

  absl::Status WriteReport() {
    if (request_.dry_run) return absl::OkStatus();
    RETURN_IF_ERROR(Write("results.json", ReportJson(report_)));
    return Write("table.md", absl::StrCat("```\n", ReportTable(report_), "```\n"));
  }

  absl::Status Write(const std::string& name, const std::string& bytes) {
    if (request_.out.empty()) return absl::OkStatus();
    const std::string path = absl::StrCat(request_.out, "/", name);
    RETURN_IF_ERROR(WriteFile(path + ".new", bytes));
    return RenameFile(path + ".new", path);
  }

  const EvaluationRequest& request_;
  const StartModel& start_model_;
  const Clock& clock_;
  const std::function<void(const std::string&)>& on_progress_;
  const std::atomic<bool>* const stop_;
  Benchmark bench_;
  BenchAnswers answers_;
  EvaluationReport report_;
};

}  // namespace

absl::StatusOr<EvaluationReport> Evaluate(
    const EvaluationRequest& request, const StartModel& start_model, const Clock& clock,
    const std::function<void(const std::string&)>& on_progress, const std::atomic<bool>* stop) {
  return Evaluation(request, start_model, clock, on_progress, stop).Run();
}

absl::StatusOr<BenchAnswers> ReadAnswers(const std::string& file, const Benchmark& benchmark) {
  ASSIGN_OR_RETURN(const auto texts, TextsOf(file));
  BenchAnswers answers;
  bool any = false;
  for (const BenchQuestion& question : benchmark.questions) {
    const std::string round = TextOr(question.more, "round_id");
    const std::string id = IdText(question.id);
    auto found = texts.find(absl::StrCat(id, "\n", question.recorded));
    if (found == texts.end()) {
      found = texts.find(round.empty() ? id : absl::StrCat(id, "/", round));
    }
    any = any || found != texts.end();
    answers.push_back(found == texts.end() ? "" : found->second);
  }
  if (any || answers.empty()) return answers;
  return absl::InvalidArgumentError(absl::StrCat(file, ": answers none of the questions"));
}

}  // namespace llava::training

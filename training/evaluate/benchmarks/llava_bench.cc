#include "training/evaluate/benchmarks/llava_bench.h"

#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "training/data/picture_context.h"
#include "training/evaluate/benchmarks/bench_files.h"

namespace llava::training {
namespace {

namespace json = boost::json;

constexpr std::int64_t kAnswerTokens = 1024;

// What differs between the three.
struct Flavour {
  std::string name{};
  std::vector<std::string> questions, references, contexts{};
  std::string prefix{};  // of a category's rule
  bool pictures = true;
  bool boxes = false;
  bool has_default = false;  // a rule for categories without one
};

// By picture.
absl::StatusOr<std::map<std::string, std::string>> ReadContexts(const Flavour& flavour,
                                                                const BenchOptions& options) {
  std::map<std::string, std::string> contexts;
  if (flavour.contexts.empty()) return contexts;
  ASSIGN_OR_RETURN(const std::string file,
                   GivenOrFound(options.annotations, options.data, flavour.contexts));
  ASSIGN_OR_RETURN(const std::vector<json::object> lines, ReadBenchLines(file));
  for (const json::object& line : lines) {
    ASSIGN_OR_RETURN(const PictureContext context, ParsePictureContext(line, file));
    std::string& text = contexts[context.image];
    text = absl::StrCat("[Context]\n", CaptionText(context), "\n\n");
    if (flavour.boxes) absl::StrAppend(&text, BoxText(context), "\n\n");
  }
  return contexts;
}

struct Parts {
  std::vector<json::object> questions;
  std::vector<json::object> references;  // by question
  std::map<std::string, std::string> contexts;
  json::object rules;
};

// References come in the order of the questions, as the original's do, or in any with the same ids.
absl::Status MatchReferences(const std::string& file, Parts* parts) {
  std::map<std::string, json::object> by_id;
  for (json::object& line : parts->references) {
    const std::string id = TextOr(line, "question_id");
    by_id[id] = std::move(line);
  }
  parts->references.clear();
  for (const json::object& question : parts->questions) {
    const auto found = by_id.find(TextOr(question, "question_id"));
    if (found == by_id.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat(file, ": has no answer to question ", TextOr(question, "question_id")));
    }
    parts->references.push_back(found->second);
  }
  return absl::OkStatus();
}

absl::StatusOr<Parts> ReadParts(const Flavour& flavour, const BenchOptions& options) {
  Parts parts;
  ASSIGN_OR_RETURN(const std::string questions,
                   GivenOrFound(options.questions, options.data, flavour.questions));
  ASSIGN_OR_RETURN(const std::string references,
                   GivenOrFound(options.reference, options.data, flavour.references));
  ASSIGN_OR_RETURN(const std::string rules,
                   GivenOrFound(options.rules, options.data, {"rule.json"}));
  ASSIGN_OR_RETURN(parts.questions, ReadBenchLines(questions));
  ASSIGN_OR_RETURN(parts.references, ReadBenchLines(references));
  ASSIGN_OR_RETURN(parts.contexts, ReadContexts(flavour, options));
  ASSIGN_OR_RETURN(json::value rule_file, ReadJsonFile(rules));
  if (!rule_file.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(rules, ": expected an object"));
  }
  parts.rules = std::move(rule_file.as_object());
  RETURN_IF_ERROR(MatchReferences(references, &parts));
  return parts;
}

absl::StatusOr<JudgedPair> PairOf(const Flavour& flavour, const Parts& parts, std::size_t index) {
  const json::object& question = parts.questions[index];
  JudgedPair pair;
  pair.question_id = TextOr(question, "question_id");
  const std::string place = absl::StrCat("question ", pair.question_id);
  pair.category = flavour.prefix + TextOr(question, "category");
  const json::value* rule = parts.rules.if_contains(pair.category);
  if (rule == nullptr && flavour.has_default) rule = parts.rules.if_contains("default");
  if (rule == nullptr || !rule->is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(place, ": rule.json has no rule '", pair.category, "'"));
  }
  ASSIGN_OR_RETURN(pair.role, TextAt(rule->as_object(), "role", "rule.json"));
  ASSIGN_OR_RETURN(pair.rule, TextAt(rule->as_object(), "prompt", "rule.json"));
  ASSIGN_OR_RETURN(pair.question, TextAt(question, "text", place));
  const json::object& reference = parts.references[index];
  ASSIGN_OR_RETURN(pair.reference, TextAt(reference, "text", place));
  const json::value* id = reference.if_contains("answer_id");
  pair.reference_id = id != nullptr ? *id : reference.at("question_id");
  if (flavour.contexts.empty()) return pair;
  const auto context = parts.contexts.find(TextOr(question, "image"));
  if (context == parts.contexts.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat(place, ": no context has its picture '", TextOr(question, "image"), "'"));
  }
  pair.context = context->second;
  return pair;
}

absl::StatusOr<BenchQuestion> QuestionOf(const Flavour& flavour, const BenchOptions& options,
                                         const json::object& line, const JudgedPair& pair) {
  BenchQuestion question;
  question.id = line.at("question_id");
  question.category = TextOr(line, "category");
  question.prompt = question.recorded = pair.question;
  question.expected = pair.reference;
  if (!flavour.pictures) return question;
  ASSIGN_OR_RETURN(question.image, TextAt(line, "image", "question " + pair.question_id));
  const std::string folder =
      options.images.empty() ? absl::StrCat(options.data, "/images") : options.images;
  const std::string plain = absl::StrCat(folder, "/", question.image);
  const std::string coco = absl::StrCat(folder, "/COCO_val2014_", question.image);
  question.images = {!IsThere(plain) && IsThere(coco) ? coco : plain};
  return question;
}

absl::StatusOr<Benchmark> Open(const Flavour& flavour, const BenchOptions& options) {
  ASSIGN_OR_RETURN(const Parts parts, ReadParts(flavour, options));
  Benchmark bench;
  bench.name = flavour.name;
  bench.max_tokens = kAnswerTokens;
  bench.score = RelativeByKind;
  for (std::size_t i = 0; i < parts.questions.size(); ++i) {
    ASSIGN_OR_RETURN(JudgedPair pair, PairOf(flavour, parts, i));
    ASSIGN_OR_RETURN(BenchQuestion question,
                     QuestionOf(flavour, options, parts.questions[i], pair));
    bench.questions.push_back(std::move(question));
    bench.judged.push_back(std::move(pair));
  }
  return bench;
}

}  // namespace

absl::StatusOr<Benchmark> OpenLlavaBenchCoco(const BenchOptions& options) {
  return Open({.name = "llava_bench_coco",
               .questions = {"qa90_questions.jsonl"},
               .references = {"qa90_gpt4_answer.jsonl"},
               .contexts = {"caps_boxes_coco2014_val_80.jsonl"},
               .prefix = "",
               .boxes = true},
              options);
}

absl::StatusOr<Benchmark> OpenLlavaBenchWild(const BenchOptions& options) {
  return Open({.name = "llava_bench_wild",
               .questions = {"questions.jsonl"},
               .references = {"answers_gpt4.jsonl"},
               .contexts = {"context.jsonl"},
               .prefix = "llava_bench_"},
              options);
}

absl::StatusOr<Benchmark> OpenVicunaBench(const BenchOptions& options) {
  return Open({.name = "vicuna_bench",
               .questions = {"question.jsonl"},
               .references = {"answer_gpt35.jsonl"},
               .contexts = {},
               .prefix = "",
               .pictures = false,
               .has_default = true},
              options);
}

std::string JudgePrompt(const JudgedPair& pair, const std::string& answer, bool swapped) {
  const std::string& first = swapped ? answer : pair.reference;
  const std::string& second = swapped ? pair.reference : answer;
  const auto block = [&](int number, const std::string& text) {
    return absl::StrCat("[", pair.role, " ", number, "]\n", text, "\n\n[End of ", pair.role, " ",
                        number, "]\n\n");
  };
  return absl::StrCat(pair.context, "[Question]\n", pair.question, "\n\n", block(1, first),
                      block(2, second), "[System]\n", pair.rule, "\n\n");
}

}  // namespace llava::training

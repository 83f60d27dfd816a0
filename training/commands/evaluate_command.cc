#include "training/commands/evaluate_command.h"

#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "model/network/llava.h"
#include "training/run/answerer.h"

namespace llava::training {
namespace {

struct Arguments {
  std::string checkpoint;
  std::string vision_tower_dir;
  std::string data;
  std::string images;
  std::string chat_template;
  std::int64_t limit = 0;
  bool show_wrong = false;
  std::vector<std::string> require;  // "colour=0.95"
};

void ShowWrong(const EvaluationItem& item, const Answer& answer) {
  std::printf("%s %s | %s | expected: %s | found: %s\n",
              item.images.empty() ? "-" : item.images[0].c_str(), item.kind.c_str(),
              item.question.c_str(), item.answer.c_str(), answer.text.c_str());
}

absl::StatusOr<Scores> Score(const Arguments& arguments) {
  ASSIGN_OR_RETURN(const std::vector<EvaluationItem> items,
                   ReadEvaluationItems(arguments.data, arguments.limit));
  ASSIGN_OR_RETURN(
      const std::unique_ptr<model::Llava> model,
      model::Llava::Load(arguments.checkpoint, {.vision_tower_dir = arguments.vision_tower_dir}));
  ASSIGN_OR_RETURN(Answerer answerer,
                   Answerer::Make(*model, arguments.checkpoint, arguments.chat_template));
  return Evaluate(answerer, items, arguments.images, arguments.show_wrong ? ShowWrong : nullptr);
}

// Says which of the required shares were not reached.
bool Reached(const std::vector<std::string>& require, const std::map<std::string, double>& shares) {
  bool reached = true;
  for (const std::string& text : require) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits('=', 1));
    double least = 0;
    const auto found = shares.find(parts.first);
    if (absl::SimpleAtod(parts.second, &least) && found != shares.end() && found->second >= least) {
      continue;
    }
    std::fprintf(stderr, "llava-train evaluate: --require %s is not reached\n", text.c_str());
    reached = false;
  }
  return reached;
}

int Run(const Arguments& arguments) {
  const auto scores = Score(arguments);
  if (!scores.ok()) {
    std::fprintf(stderr, "llava-train evaluate: %s\n",
                 std::string(scores.status().message()).c_str());
    return 2;
  }
  std::printf("%s", ToText(*scores).c_str());
  return Reached(arguments.require, Shares(*scores)) ? 0 : 1;
}

}  // namespace

void AddEvaluateCommand(CLI::App& app, int* exit_code) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("evaluate", "Count right answers by kind of question");
  command->add_option("checkpoint", arguments->checkpoint, "A LLaVA checkpoint")->required();
  command->add_option("--data", arguments->data, "LLaVA rows, each question asked on its own")
      ->required();
  command->add_option("--images", arguments->images, "The folder that rows name pictures in")
      ->required();
  command->add_option("--template", arguments->chat_template,
                      "Conversation template; the checkpoint's own without it");
  command->add_option("--vision-tower", arguments->vision_tower_dir,
                      "The CLIP folder of a checkpoint in the original layout");
  command->add_option("--limit", arguments->limit, "Rows to ask about; 0: all");
  command->add_flag("--show-wrong", arguments->show_wrong, "Print each wrong answer");
  command->add_option("--require", arguments->require,
                      "Shares that must be reached, or the exit code is 1: colour=0.95");
  command->callback([arguments, exit_code] {
    const int code = Run(*arguments);
    if (code != 0) *exit_code = code;
  });
}

}  // namespace llava::training

#include "training/commands/evaluate_options.h"

#include <filesystem>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/command_line/numbers.h"
#include "base/file.h"
#include "model/config/hub_folder.h"

namespace llava::training {
namespace {

void AddModel(CLI::App& command, EvaluateOptions* options) {
  LocalModel& local = options->local;
  EndpointOptions& through = options->through;
  command.add_option("--checkpoint", local.checkpoint, "Ask this LLaVA checkpoint")
      ->transform(CLI::Validator(model::TakeSnapshot, ""));
  command.add_option("--template", local.chat_template, "Conversation template, if not its own");
  command.add_option("--vision-tower", local.vision_tower, "CLIP folder of the original layout");
  command.add_option("--device", local.device, "cpu, cuda or cuda:N");
  command.add_option("--through", through.base_url,
                     "Ask an OpenAI-compatible server instead: http://127.0.0.1:8080/v1");
  command.add_option("--model", through.model, "What that server calls the model")
      ->default_val("llava");
  command.add_option("--api-key-env", through.api_key_env, "Environment variable of its key");
  command.add_option("--in-flight", through.max_in_flight, "Requests to it at a time (8)")
      ->check(Positive());
}

void AddFiles(CLI::App& command, BenchOptions* files) {
  command.add_option("--data", files->data, "The benchmark's folder; for rows the file of rows");
  command.add_option("--images", files->images, "The folder of its pictures");
  command.add_option("--questions", files->questions, "The file of questions, if not below --data");
  command.add_option("--annotations", files->annotations, "The file of labels or contexts");
  command.add_option("--reference", files->reference, "LLaVA-Bench: answers to compare with");
  command.add_option("--rules", files->rules, "LLaVA-Bench: rule.json");
  command.add_option("--split", files->split, "ScienceQA: train, val, minival, test, minitest");
  command.add_option("--format", files->format, "ScienceQA: the order of a question's parts");
  command.add_flag("--letter-only", files->letter_only, "ScienceQA: ask for the letter alone");
  command.add_flag("--all-rounds", files->all_rounds, "MMBench: CircularEval");
  command.add_option("--metric", files->metric, "rows: exact, contains, vqa, number or letter");
  command.add_flag("--history", files->history, "rows: each question with the turns before it");
  command.add_option("--limit", files->limit, "Questions (rows) to ask; 0: all")
      ->check(NotNegative());
}

void AddJudge(CLI::App& command, EvaluationRequest* request) {
  command.add_option("--judge", request->judge, "A YAML file with the judging endpoint");
  command.add_flag("--both-orders", request->both_orders,
                   "LLaVA-Bench: judge again with the answers exchanged");
  command.add_flag("--as-published", request->as_published,
                   "LLaVA-Bench: count reviews without scores as -1, as the original does");
  command.add_option("--reviews", request->reviews, "LLaVA-Bench, MM-Vet: score these reviews");
  command.add_option("--ensemble", request->ensemble, "ScienceQA: complement or judge")
      ->check(CLI::IsMember({"complement", "judge"}));
  command.add_option("--theirs", request->theirs, "ScienceQA: the other model's answers");
  command.add_option("--asked-again", request->asked_again,
                     "ScienceQA: what it says to answers that differ");
}

}  // namespace

void AddEvaluateOptions(CLI::App& command, EvaluateOptions* options) {
  EvaluationRequest& request = options->request;
  command.add_option("benchmark", request.bench, absl::StrJoin(BenchmarkNames(), ", "))->required();
  AddModel(command, options);
  AddFiles(command, &request.files);
  AddJudge(command, &request);
  command.add_option("--answers", request.answers, "Score these answers instead of asking");
  command.add_option("--max-tokens", request.max_tokens, "Of an answer, if not the benchmark's")
      ->check(Positive());
  command.add_flag("--score-choices", request.scores_choices,
                   "Multiple choice: take the letter that a llavad finds likeliest");
  command.add_option("--out", request.out, "Folder for answers, scores and the page of mistakes");
  command.add_flag("--dry-run", request.dry_run, "Only write what would be asked");
  command.add_option("--record", options->record,
                     "Publish the checkpoint in this folder of versions, with its scores");
  command.add_option("--require", options->require,
                     "Scores that must be reached, or the exit code is 1: colour=0.95");
}

void CompleteOptions(EvaluateOptions* options) {
  EvaluationRequest& request = options->request;
  std::string& checkpoint = options->local.checkpoint;
  const bool known = absl::c_linear_search(BenchmarkNames(), request.bench);
  if (!known && checkpoint.empty() && IsThere(request.bench)) {
    checkpoint = std::exchange(request.bench, "rows");
  }
  const std::string& server = options->through.base_url;
  request.model = server.empty() ? IdentityOf(checkpoint)
                                 : absl::StrCat(options->through.model, " at ", server);
  request.model_id = server.empty() ? std::filesystem::path(checkpoint).filename().string()
                                    : options->through.model;
  request.files.scratch = absl::StrCat(request.out.empty() ? "." : request.out, "/pictures");
}

}  // namespace llava::training

#include "training/commands/compare_command.h"

#include <cstdio>
#include <memory>
#include <string>

#include "base/command_line/numbers.h"
#include "base/durable_file.h"
#include "base/status_macros.h"
#include "model/config/hub_folder.h"
#include "training/run/compare_models.h"

namespace llava::training {
namespace {

absl::Status Run(ComparisonRequest request, const std::string& json) {
  if (request.b.checkpoint.empty()) request.b.checkpoint = request.a.checkpoint;
  ASSIGN_OR_RETURN(const Comparison comparison, CompareModels(request));
  std::printf("%s", ComparisonTable(comparison).c_str());
  if (json.empty()) return absl::OkStatus();
  return WriteFile(json, ComparisonJson(request, comparison));
}

}  // namespace

void AddCompareCommand(CLI::App& app, int* exit_code) {
  auto request = std::make_shared<ComparisonRequest>();
  auto json = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand(
      "compare", "How far the answers of two checkpoints, or of two formats of one, are apart");
  const auto formats = CLI::IsMember({"float32", "bfloat16", "int8", "int4", "fp8"});
  command->add_option("a", request->a.checkpoint, "The checkpoint to compare to")
      ->required()
      ->transform(CLI::Validator(model::TakeSnapshot, ""));
  command->add_option("b", request->b.checkpoint, "The other one; the same where it is left out")
      ->transform(CLI::Validator(model::TakeSnapshot, ""));
  command->add_option("--a-weights", request->a.weights, "Format in which A is served")
      ->check(formats)
      ->capture_default_str();
  command
      ->add_option("--weights", request->b.weights,
                   "Format in which B is served; fp8: as GPUs round, computed slowly")
      ->check(formats)
      ->capture_default_str();
  command
      ->add_option("--kv-cache", request->b.kv_cache, "Format of B's KV cache; fp8: as GPUs round")
      ->check(CLI::IsMember({"auto", "int8", "fp8"}))
      ->capture_default_str();
  command->add_option("--data", request->data, "Questions: LLaVA rows")->required();
  command->add_option("--images", request->images, "Folder that the rows' pictures are below")
      ->required();
  command->add_option("--limit", request->limit, "Rows to ask about; 0: all")->check(NotNegative());
  command->add_option("--json", *json, "File for the numbers");
  command->callback([request, json, exit_code] {
    const absl::Status status = Run(*request, *json);
    if (status.ok()) return;
    std::fprintf(stderr, "llava-train compare: %s\n", std::string(status.message()).c_str());
    *exit_code = 1;
  });
}

}  // namespace llava::training

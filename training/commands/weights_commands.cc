#include "training/commands/weights_commands.h"

#include <c10/core/ScalarType.h>

#include <cstdio>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "training/export/delta_weights.h"
#include "training/export/merge_adapter.h"

namespace llava::training {
namespace {

struct DeltaArguments {
  std::string base;
  std::string other;
  std::string out;
};

int Fail(const char* command, const absl::Status& status) {
  std::fprintf(stderr, "llava-train %s: %s\n", command, std::string(status.message()).c_str());
  return 1;
}

int Run(bool make, const DeltaArguments& arguments) {
  const auto report =
      (make ? MakeDelta : ApplyDelta)(arguments.base, arguments.other, arguments.out);
  if (!report.ok()) return Fail(make ? "delta make" : "delta apply", report.status());
  std::string said =
      absl::StrFormat("%s  %s\n%d tensors %s the base's, %d as they are\n", arguments.out,
                      report->version, report->changed, make ? "less" : "and", report->kept);
  if (make) {
    absl::StrAppendFormat(&said, "%d of %d numbers do not come back exactly, by at most %g\n",
                          report->inexact, report->numbers, report->largest_error);
  }
  std::fputs(said.c_str(), stdout);
  return 0;
}

}  // namespace

void AddDeltaCommand(CLI::App& app, int* exit_code) {
  CLI::App* delta =
      app.add_subcommand("delta", "Weights as what they differ by from those of a base");
  delta->require_subcommand(1);
  const auto add = [&](bool make, const char* help, const char* other, const char* other_help) {
    auto arguments = std::make_shared<DeltaArguments>();
    CLI::App* command = delta->add_subcommand(make ? "make" : "apply", help);
    command->add_option("base", arguments->base, "The base: a language model or a LLaVA")
        ->required();
    command->add_option(other, arguments->other, other_help)->required();
    command->add_option("--out", arguments->out, "The folder to write, which is not there yet")
        ->required();
    command->callback([arguments, exit_code, make] {
      if (const int code = Run(make, *arguments); code != 0) *exit_code = code;
    });
  };
  add(true, "Write a checkpoint's weights less those of its base", "target", "The checkpoint");
  add(false, "Write what delta weights and their base make", "delta", "The delta weights");
}

void AddMergeCommand(CLI::App& app, int* exit_code) {
  struct Arguments {
    std::string checkpoint;
    std::string adapter;
    std::string out;
    c10::ScalarType dtype = c10::kFloat;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(
      "merge", "Write a checkpoint with a LoRA adapter of PEFT added to its weights");
  command
      ->add_option("checkpoint", arguments->checkpoint, "A checkpoint in the Hugging Face layout")
      ->required();
  command->add_option("--adapter", arguments->adapter, "The adapter's folder")->required();
  command->add_option("--out", arguments->out, "The folder to write, which is not there yet")
      ->required();
  const std::map<std::string, c10::ScalarType> dtypes = {
      {"float32", c10::kFloat}, {"float16", c10::kHalf}, {"bfloat16", c10::kBFloat16}};
  command
      ->add_option("--dtype", arguments->dtype,
                   "Of the weights: float32 (as served with the adapter beside them), float16 or "
                   "bfloat16 (half the size, rounded)")
      ->transform(CLI::CheckedTransformer(dtypes));
  command->callback([arguments, exit_code] {
    const absl::StatusOr<std::string> version =
        MergeAdapter(arguments->checkpoint, arguments->adapter, arguments->dtype, arguments->out);
    if (version.ok()) {
      std::printf("%s  %s\n", arguments->out.c_str(), version->c_str());
      return;
    }
    *exit_code = Fail("merge", version.status());
  });
}

}  // namespace llava::training

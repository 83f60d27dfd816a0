#include "training/commands/merge_command.h"

#include <c10/core/ScalarType.h>

#include <cstdio>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "training/export/merge_adapter.h"

namespace llava::training {

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
    std::fprintf(stderr, "llava-train merge: %s\n",
                 std::string(version.status().message()).c_str());
    *exit_code = 1;
  });
}

}  // namespace llava::training

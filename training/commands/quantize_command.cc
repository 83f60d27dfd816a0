#include "training/commands/quantize_command.h"

#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "base/command_line/numbers.h"
#include "model/config/hub_folder.h"
#include "training/run/quantize_checkpoint.h"

namespace llava::training {

void AddQuantizeCommand(CLI::App& app, int* exit_code) {
  struct Arguments {
    std::string checkpoint;
    std::string format;
    std::string out;
    CalibrationData calibration;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(
      "quantize", "Write a checkpoint with weights of 8 or 4 bits, for serving on CPUs");
  command
      ->add_option("checkpoint", arguments->checkpoint, "A checkpoint in the Hugging Face layout")
      ->required()
      ->transform(CLI::Validator(model::TakeSnapshot, ""));
  command
      ->add_option("--format", arguments->format,
                   "int8, or int4: 4 bits in the language model's layers, 8 elsewhere")
      ->check(CLI::IsMember({"int8", "int4"}))
      ->required();
  command->add_option("--out", arguments->out, "The folder to write, which is not there yet")
      ->required();
  CLI::Option* const images = command->add_option("--images", arguments->calibration.images,
                                                  "Folder that the rows' pictures are below");
  CLI::Option* const data =
      command
          ->add_option("--calibrate", arguments->calibration.data,
                       "Questions like those that will be asked, LLaVA rows: what they make of "
                       "the model's activations says what is rounded least; int4 only")
          ->needs(images);
  images->needs(data);
  command->add_option("--rows", arguments->calibration.rows, "Rows to calibrate with; 0: all")
      ->check(NotNegative())
      ->needs(data)
      ->capture_default_str();
  command->callback([arguments, data, exit_code] {
    std::optional<CalibrationData> calibration;
    if (data->count() > 0) calibration = arguments->calibration;
    const absl::StatusOr<std::string> version =
        QuantizeCheckpoint(arguments->checkpoint, arguments->format, arguments->out, calibration);
    if (version.ok()) {
      std::printf("%s  %s\n", arguments->out.c_str(), version->c_str());
      return;
    }
    std::fprintf(stderr, "llava-train quantize: %s\n",
                 std::string(version.status().message()).c_str());
    *exit_code = 1;
  });
}

}  // namespace llava::training

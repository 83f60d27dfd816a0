#include <cstdint>
#include <cstdio>
#include <fstream>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/durable_file.h"
#include "base/status_macros.h"
#include "training/commands/generate_command.h"
#include "training/data/instruction_dataset.h"
#include "training/generate/concepts.h"

namespace llava::training {
namespace {

constexpr int kFailed = 2;

struct Arguments {
  std::string captions;
  std::string phrases;
  std::string out;
  std::int64_t min = 3;
  std::int64_t max = 100;
  std::uint64_t seed = 42;
};

// Phrases from a file of lines, one a row of the captions, tab-separated.
absl::Status AddGiven(const std::string& file, std::int64_t rows, ConceptBalance* balance) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    balance->Add(absl::StrSplit(line, '\t', absl::SkipEmpty()));
  }
  if (balance->captions() == rows) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      file, ": has ", balance->captions(), " lines, expected one for each of ", rows, " rows"));
}

absl::Status Run(const Arguments& arguments) {
  if (arguments.min < 1 || arguments.max < arguments.min) {
    return absl::InvalidArgumentError("expected 1 <= --min <= --max");
  }
  ASSIGN_OR_RETURN(const InstructionDataset data,
                   InstructionDataset::Open({arguments.captions}, {}));
  ConceptBalance balance;
  if (!arguments.phrases.empty()) {
    RETURN_IF_ERROR(AddGiven(arguments.phrases, data.size(), &balance));
  } else {
    for (std::int64_t i = 0; i < data.size(); ++i) {
      ASSIGN_OR_RETURN(const Row row, data.Read(i));
      balance.Add(NounPhrases(row.turns.back().text));
    }
  }
  std::vector<std::int64_t> all(static_cast<std::size_t>(data.size()));
  std::iota(all.begin(), all.end(), 0);
  const std::vector<std::int64_t> chosen =
      balance.Choose(arguments.min, arguments.max, arguments.seed);
  ASSIGN_OR_RETURN(OutputFile out, OutputFile::Create(arguments.out));
  for (const std::int64_t index : chosen) {
    ASSIGN_OR_RETURN(std::string text, data.ReadText(index));
    std::erase(text, '\n');  // a row of an array may have several lines
    RETURN_IF_ERROR(out.Write(text + "\n"));
  }
  RETURN_IF_ERROR(out.Close());
  std::printf("before: %s\nafter:  %s\n%lld of %lld captions\n",
              HistogramText(balance.Histogram(all)).c_str(),
              HistogramText(balance.Histogram(chosen)).c_str(),
              static_cast<long long>(chosen.size()), static_cast<long long>(all.size()));
  return absl::OkStatus();
}

}  // namespace

void AddFilterCommand(CLI::App& app, int* exit_code) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("filter", "Choose captions so that concepts are balanced");
  command->add_option("captions", arguments->captions, "LLaVA rows, one caption each")->required();
  command->add_option("--out", arguments->out, "The file of the chosen rows")->required();
  command->add_option("--min", arguments->min, "Captions of rarer noun phrases are not looked for");
  command->add_option("--max", arguments->max, "So many captions a noun phrase adds at the most");
  command->add_option("--phrases", arguments->phrases,
                      "Noun phrases of each row, tab-separated, instead of our own (spaCy's)");
  command->add_option("--seed", arguments->seed, "Of the draw");
  command->callback([arguments, exit_code] {
    const absl::Status status = Run(*arguments);
    if (status.ok()) return;
    std::fprintf(stderr, "llava-train filter: %s\n", std::string(status.message()).c_str());
    *exit_code = kFailed;
  });
}

}  // namespace llava::training

// --print-config and docs/configuration.md.
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/config/config_table.h"

namespace llava::server {
namespace {

constexpr std::size_t kColumns = 100;

// Words of `text` in lines of at most kColumns, each after `prefix`.
std::string Wrap(absl::string_view text, absl::string_view prefix) {
  std::string out, line;
  for (const absl::string_view word : absl::StrSplit(text, ' ')) {
    if (!line.empty() && prefix.size() + line.size() + 1 + word.size() > kColumns) {
      absl::StrAppend(&out, prefix, line, "\n");
      line.clear();
    }
    absl::StrAppend(&line, line.empty() ? "" : " ", word);
  }
  return absl::StrCat(out, prefix, line, "\n");
}

void PrintOption(const Option& option, const Config& config, const Origins& origins,
                 const std::map<std::string, std::string>& notes, std::string* out) {
  const std::string value = FormatValue(option, config);
  const std::string by_default = FormatValue(option, Config());
  const bool is_default = value == by_default;
  absl::StrAppend(out, "\n", Wrap(option.help, "# "), Wrap(Expected(option), "# Expected: "));
  if (!is_default) absl::StrAppend(out, "# Default: ", by_default, "\n");
  const auto origin = origins.find(std::string(option.name));
  if (origin != origins.end()) absl::StrAppend(out, "# From: ", origin->second, "\n");
  const auto note = notes.find(std::string(option.name));
  if (note != notes.end()) absl::StrAppend(out, Wrap(note->second, "# Auto: "));
  absl::StrAppend(out, is_default ? "# " : "", option.name, ": ", value, "\n");
}

}  // namespace

std::string PrintConfig(const Config& config, const Origins& origins,
                        const std::map<std::string, std::string>& notes) {
  std::string out = "# Options that are commented out have their default.\n";
  for (const Section& section : Sections()) {
    absl::StrAppend(&out, "\n# ", section.name, "\n");
    for (const Option& option : section.options) PrintOption(option, config, origins, notes, &out);
  }
  return out;
}

std::string ConfigReference() {
  const Config defaults;
  std::string out =
      "# Configuration\n\n"
      "`llavad --config FILE` reads one YAML file. An unknown key, a wrong type or a value out of\n"
      "range is an error with its line. `llavad --config FILE --check` only checks, and\n"
      "`--print-config` prints what is in effect and where it came from. Every option is also an\n"
      "environment variable, which overrides the file, and a flag, which overrides both:\n"
      "`vision_tower` is `LLAVAD_VISION_TOWER=DIR` and `--vision-tower DIR`. Both take what the "
      "file\n"
      "would hold (`--prefix-cache false`, `LLAVAD_DRAIN_TIMEOUT=90s`), and a list with commas\n"
      "(`--devices cuda:0,cuda:1`, for which `--device` is short). `LLAVAD_CONFIG` names the file\n"
      "where `--config` does not; any other variable that begins with `LLAVAD_` is an error, but\n"
      "those that Kubernetes sets for a service called llavad.\n\n"
      "This page is made from the tables in `server/config/*_options.cc`.\n";
  for (const Section& section : Sections()) {
    absl::StrAppend(&out, "\n## ", section.name,
                    "\n\n| option | default | expected | meaning |\n|---|---|---|---|\n");
    for (const Option& option : section.options) {
      absl::StrAppend(&out, "| `", option.name, "` | `", FormatValue(option, defaults), "` | ",
                      Expected(option), " | ", option.help, " |\n");
    }
  }
  return out;
}

}  // namespace llava::server

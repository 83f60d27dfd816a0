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

}  // namespace

std::string PrintConfig(const Config& config) {
  const Config defaults;
  std::string out = "# Options that are commented out have their default.\n";
  absl::string_view section;
  for (const Option& option : Options()) {
    if (option.section != section) absl::StrAppend(&out, "\n# ", option.section, "\n");
    section = option.section;
    const std::string value = FormatValue(option, config);
    const bool is_default = value == FormatValue(option, defaults);
    absl::StrAppend(&out, "\n", Wrap(option.help, "# "), Wrap(Expected(option), "# Expected: "));
    if (!is_default) {
      absl::StrAppend(&out, "# Default: ", FormatValue(option, defaults), "\n");
    }
    absl::StrAppend(&out, is_default ? "# " : "", option.name, ": ", value, "\n");
  }
  return out;
}

std::string ConfigReference() {
  const Config defaults;
  std::string out =
      "# Configuration\n\n"
      "`llavad --config FILE` reads one YAML file. An unknown key, a wrong type or a value out of\n"
      "range is an error with its line. `llavad --config FILE --check` only checks, and\n"
      "`--print-config` prints what is in effect. The flags `--checkpoint`, `--watch`, `--device` "
      "(the option\n"
      "`devices`, comma-separated), `--dtype`, `--listen`, `--http` and `--metrics` override the "
      "file.\n\n"
      "This page is made from the table in `server/config/config_table.cc`.\n";
  absl::string_view section;
  for (const Option& option : Options()) {
    if (option.section != section) {
      absl::StrAppend(&out, "\n## ", option.section,
                      "\n\n| option | default | expected | meaning |\n|---|---|---|---|\n");
    }
    section = option.section;
    absl::StrAppend(&out, "| `", option.name, "` | `", FormatValue(option, defaults), "` | ",
                    Expected(option), " | ", option.help, " |\n");
  }
  return out;
}

}  // namespace llava::server

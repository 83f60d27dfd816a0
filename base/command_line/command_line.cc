#include "base/command_line/command_line.h"

#include <algorithm>
#include <cctype>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace llava {
namespace {

using Options = std::vector<const CLI::Option*>;
using Commands = std::vector<const CLI::App*>;

Options OptionsOf(const CLI::App& app, bool positional) {
  Options options;
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_group().empty() && option->get_positional() == positional) {
      options.push_back(option);
    }
  }
  return options;
}

Commands CommandsOf(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App* command) { return !command->get_name().empty(); });
}

bool TakesValue(const CLI::Option& option) { return option.get_expected_max() > 0; }

// With their dashes, long ones last.
std::vector<std::string> NamesOf(const CLI::Option& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.get_snames()) names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) names.push_back("--" + name);
  return names;
}

// A dot or a quote at the start of a line would be a request to roff.
std::string Roff(absl::string_view text) {
  std::string out = absl::StrReplaceAll(text, {{"\\", "\\e"}, {"-", "\\-"}, {"\n", "\n.br\n"}});
  if (!out.empty() && (out.front() == '.' || out.front() == '\'')) out.insert(0, "\\&");
  return out;
}

std::string Explain(const CLI::Option& option) {
  std::string text = option.get_description();
  if (!option.get_default_str().empty()) {
    absl::StrAppend(&text, " (default: ", option.get_default_str(), ")");
  }
  if (!option.get_envname().empty()) {
    absl::StrAppend(&text, " (environment: ", option.get_envname(), ")");
  }
  if (option.get_required()) absl::StrAppend(&text, " (required)");
  return text;
}

void AppendOptions(const CLI::App& app, std::string* page) {
  for (const CLI::Option* option : OptionsOf(app, /*positional=*/true)) {
    absl::StrAppend(page, ".TP\n\\fI", Roff(option->get_name(true)), "\\fR\n",
                    Roff(Explain(*option)), "\n");
  }
  for (const CLI::Option* option : OptionsOf(app, /*positional=*/false)) {
    std::vector<std::string> names;
    for (const std::string& name : NamesOf(*option)) {
      names.push_back(absl::StrCat("\\fB", Roff(name), "\\fR"));
    }
    absl::StrAppend(page, ".TP\n", absl::StrJoin(names, ", "));
    if (TakesValue(*option)) absl::StrAppend(page, " \\fI", Roff(option->get_type_name()), "\\fR");
    absl::StrAppend(page, "\n", Roff(Explain(*option)), "\n");
  }
}

void AppendCommand(const CLI::App& app, const std::string& path, std::string* page) {
  std::string synopsis = path;
  for (const CLI::Option* option : OptionsOf(app, /*positional=*/true)) {
    const std::string name = option->get_name(true);
    absl::StrAppend(&synopsis, " ", option->get_required() ? name : "[" + name + "]");
  }
  absl::StrAppend(page, ".SS ", Roff(synopsis), "\n", Roff(app.get_description()), "\n");
  AppendOptions(app, page);
  for (const CLI::App* command : CommandsOf(app)) {
    AppendCommand(*command, absl::StrCat(path, " ", command->get_name()), page);
  }
}

// All commands of the tree with their words: {"", app}, {" chat", ...}, {" jobs create", ...}.
using Tree = std::vector<std::pair<std::string, const CLI::App*>>;

void Walk(const CLI::App& app, const std::string& path, Tree* tree) {
  tree->emplace_back(path, &app);
  for (const CLI::App* command : CommandsOf(app)) {
    Walk(*command, absl::StrCat(path, " ", command->get_name()), tree);
  }
}

Tree TreeOf(const CLI::App& app) {
  Tree tree;
  Walk(app, "", &tree);
  return tree;
}

std::vector<std::string> WordsOf(const CLI::App& app) {
  std::vector<std::string> words;
  for (const CLI::App* command : CommandsOf(app)) words.push_back(command->get_name());
  for (const CLI::Option* option : OptionsOf(app, /*positional=*/false)) {
    for (std::string& name : NamesOf(*option)) words.push_back(std::move(name));
  }
  return words;
}

// After an option that takes a value, and where no word fits, files are offered.
std::string FunctionName(const CLI::App& app) {
  return absl::StrCat("_", absl::StrReplaceAll(app.get_name(), {{"-", "_"}}));
}

std::string BashScript(const CLI::App& app) {
  const std::string function = FunctionName(app);
  std::string paths, words, values;
  for (const auto& [path, command] : TreeOf(app)) {
    if (!path.empty()) absl::StrAppend(&paths, paths.empty() ? "" : "|", "\"", path, "\"");
    absl::StrAppend(&words, "    \"", path, "\") words=\"", absl::StrJoin(WordsOf(*command), " "),
                    "\" ;;\n");
    for (const CLI::Option* option : OptionsOf(*command, /*positional=*/false)) {
      if (!TakesValue(*option)) continue;
      for (const std::string& option_name : NamesOf(*option)) {
        absl::StrAppend(&values, values.empty() ? "" : "|", "\"", path, " ", option_name, "\"");
      }
    }
  }
  std::string script = absl::StrCat(
      function, "() {\n  local word=\"${COMP_WORDS[COMP_CWORD]}\" path=\"\" words=\"\" i\n",
      "  for ((i = 1; i < COMP_CWORD; ++i)); do\n",
      paths.empty() ? "    :\n"
                    : absl::StrCat("    case \"$path ${COMP_WORDS[i]}\" in\n      ", paths,
                                   ") path=\"$path ${COMP_WORDS[i]}\" ;;\n    esac\n"),
      "  done\n  case \"$path\" in\n", words, "  esac\n");
  absl::StrAppend(&script, "  case \"$path ${COMP_WORDS[COMP_CWORD - 1]}\" in\n    ", values,
                  ") words=\"\" ;;\n  esac\n",
                  "  COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n",
                  "  if [ ${#COMPREPLY[@]} -eq 0 ]; then\n",
                  "    COMPREPLY=($(compgen -f -- \"$word\"))\n    compopt -o filenames\n  fi\n}\n",
                  "complete -F ", function, " ", app.get_name(), "\n");
  return script;
}

// For a file in zsh's $fpath, whose first use is already a completion, and for `source`.
std::string ZshScript(const CLI::App& app) {
  return absl::StrCat("#compdef ", app.get_name(),
                      "\nautoload -U +X bashcompinit && bashcompinit\n", BashScript(app),
                      "(( ${+compstate} )) && _bash_complete -F ", FunctionName(app), "\n");
}

std::string FishScript(const CLI::App& app) {
  std::string script;
  for (const auto& [path, command] : TreeOf(app)) {
    std::string condition = path.empty() ? "__fish_use_subcommand" : "";
    const std::vector<std::string> parts = CLI::detail::split(path, ' ');
    for (const std::string& part : parts) {
      if (part.empty()) continue;
      absl::StrAppend(&condition, condition.empty() ? "" : "; and ", "__fish_seen_subcommand_from ",
                      part);
    }
    const std::string start = absl::StrCat("complete -c ", app.get_name(), " -n '", condition, "'");
    const auto describe = [](const std::string& text) {
      return absl::StrCat(" -d '", absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"'", "\\'"}}),
                          "'\n");
    };
    for (const CLI::App* next : CommandsOf(*command)) {
      absl::StrAppend(&script, start, " -a ", next->get_name(), describe(next->get_description()));
    }
    for (const CLI::Option* option : OptionsOf(*command, /*positional=*/false)) {
      absl::StrAppend(&script, start);
      for (const std::string& name : option->get_snames()) absl::StrAppend(&script, " -s ", name);
      for (const std::string& name : option->get_lnames()) absl::StrAppend(&script, " -l ", name);
      absl::StrAppend(&script, TakesValue(*option) ? " -r" : "",
                      describe(option->get_description()));
    }
  }
  return script;
}

}  // namespace

std::string ManPage(const CLI::App& app) {
  const std::string& name = app.get_name();
  std::string title = name;
  for (char& c : title) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  std::string page = absl::StrCat(".TH ", Roff(title), " 1\n.SH NAME\n", Roff(name), " \\- ",
                                  Roff(app.get_description()), "\n.SH SYNOPSIS\n\\fB", Roff(name),
                                  "\\fR [\\fIOPTION\\fR]...");
  const Commands commands = CommandsOf(app);
  if (!commands.empty()) absl::StrAppend(&page, " [\\fICOMMAND\\fR [\\fIOPTION\\fR]...]");
  absl::StrAppend(&page, "\n.SH OPTIONS\n");
  AppendOptions(app, &page);
  if (!commands.empty()) absl::StrAppend(&page, ".SH COMMANDS\n");
  for (const CLI::App* command : commands) {
    AppendCommand(*command, absl::StrCat(name, " ", command->get_name()), &page);
  }
  if (!app.get_footer().empty())
    absl::StrAppend(&page, ".SH NOTES\n", Roff(app.get_footer()), "\n");
  return page;
}

std::string CompletionScript(const CLI::App& app, const std::string& shell) {
  if (shell == "bash") return BashScript(app);
  if (shell == "zsh") return ZshScript(app);
  if (shell == "fish") return FishScript(app);
  return "";
}

void DescribeItself(CLI::App* app) {
  app->add_flag_callback(
      "--man", [app] { throw CLI::CallForVersion(ManPage(*app), 0); },
      absl::StrCat("Print the manual page: ", app->get_name(), " --man | man -l -"));
  app->add_option_function<std::string>(
         "--completion",
         [app](const std::string& shell) {
           throw CLI::CallForVersion(CompletionScript(*app, shell), 0);
         },
         absl::StrCat("Print completion for a shell: source <(", app->get_name(),
                      " --completion bash)"))
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
}

}  // namespace llava

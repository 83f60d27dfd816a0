#include "base/command_line/command_line.h"

#include <array>
#include <cstdio>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"

namespace llava {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using Words = std::vector<std::string>;

// paint [--server ADDRESS] [-v] draw [--colour NAME] PICTURE | jobs {list, cancel}
class CommandLineTest : public ::testing::Test {
 protected:
  CommandLineTest() {
    DescribeItself(&app_);
    app_.footer("Exit code 2: no paint.");
    app_.add_option("-s,--server", server_, "Where it listens")
        ->envname("PAINT_SERVER")
        ->default_str("localhost:1")
        ->type_name("ADDRESS");
    app_.add_flag("-v,--verbose", verbose_, "Say more");
    app_.add_flag("--hidden", hidden_, "Not for people")->group("");
    CLI::App* draw = app_.add_subcommand("draw", "Draws it's picture");
    draw->add_option("--colour", colour_, "Which\n.colour")->required()->type_name("NAME");
    draw->add_option("picture", picture_, "What to draw")->required();
    draw->add_option("more", more_, "What else");
    CLI::App* jobs = app_.add_subcommand("jobs", "What is drawn");
    jobs->add_subcommand("list", "All");
    jobs->add_subcommand("cancel", "Stop one");
  }

  // What bash offers for the last of `words`.
  Words Complete(const std::vector<std::string>& words) {
    test::TempDir dir;
    std::ofstream(dir.path() + "/script") << CompletionScript(app_, "bash");
    std::ofstream(dir.path() + "/a-file");
    std::string quoted;
    for (const std::string& word : words) absl::StrAppend(&quoted, " '", word, "'");
    std::ofstream(dir.path() + "/run")
        << "compopt() { :; }\ncd " << dir.path() << "\nsource ./script\nCOMP_WORDS=(" << quoted
        << ")\nCOMP_CWORD=" << words.size() - 1
        << "\n_paint_it\nprintf '%s\\n' \"${COMPREPLY[@]}\"\n";
    const std::string command = absl::StrCat("bash ", dir.path(), "/run 2>&1");
    const std::unique_ptr<FILE, int (*)(FILE*)> out(::popen(command.c_str(), "r"), &::pclose);
    std::string text;
    std::array<char, 4096> buffer;
    while (std::fgets(buffer.data(), buffer.size(), out.get()) != nullptr) text += buffer.data();
    std::istringstream lines(text);
    Words offered;
    for (std::string line; std::getline(lines, line);) offered.push_back(line);
    return offered;
  }

  // What the program prints before it ends, and its exit code.
  std::pair<std::string, int> Run(const std::string& arguments) {
    try {
      app_.parse(arguments);
    } catch (const CLI::Success& end) {
      std::ostringstream out;
      std::ostringstream error;
      const int code = app_.exit(end, out, error);
      return {out.str(), code};
    } catch (const CLI::ParseError& error) {
      return {error.what(), error.get_exit_code()};
    }
    return {"", -1};
  }

  CLI::App app_{"Paints pictures", "paint-it"};
  std::string server_, colour_, picture_, more_;
  bool verbose_ = false, hidden_ = false;
};

TEST_F(CommandLineTest, TheManualPageHasEveryOptionAndCommandForPeople) {
  const std::string page = ManPage(app_);
  EXPECT_THAT(page, HasSubstr(".TH PAINT\\-IT 1\n.SH NAME\npaint\\-it \\- Paints pictures\n"));
  EXPECT_THAT(page, HasSubstr("[\\fICOMMAND\\fR [\\fIOPTION\\fR]...]"));
  EXPECT_THAT(page,
              HasSubstr("\\fB\\-s\\fR, \\fB\\-\\-server\\fR \\fIADDRESS\\fR\nWhere it listens "
                        "(default: localhost:1) (environment: PAINT_SERVER)\n"));
  EXPECT_THAT(page, HasSubstr("\\fB\\-v\\fR, \\fB\\-\\-verbose\\fR\nSay more\n"));
  EXPECT_THAT(page, Not(HasSubstr("hidden")));
  EXPECT_THAT(page, HasSubstr(".SS paint\\-it draw picture [more]\nDraws it's picture\n"));
  EXPECT_THAT(page, HasSubstr(".SS paint\\-it jobs cancel\nStop one\n"));
  EXPECT_THAT(page, HasSubstr(" (required)\n"));
  EXPECT_THAT(page, HasSubstr(".SH NOTES\nExit code 2: no paint.\n"));
}

// A dot or a quote at the start of a line is a request to roff, a backslash an escape.
TEST(ManPageTest, TextIsNoRequest) {
  CLI::App app{"'quoted'", "p"};
  std::string value;
  app.add_option("--path", value, ".hidden files, C:\\x");
  const std::string page = ManPage(app);
  EXPECT_THAT(page, HasSubstr("\n\\&.hidden files, C:\\ex\n"));
  EXPECT_THAT(page, HasSubstr("\\&'quoted'"));
  EXPECT_THAT(page, Not(HasSubstr("COMMAND")));
  EXPECT_THAT(page, Not(HasSubstr("NOTES")));
}

TEST_F(CommandLineTest, BashOffersCommandsAndOptionsOfTheCommandThatIsTyped) {
  EXPECT_THAT(Complete({"paint-it", "dr"}), ElementsAre("draw"));
  EXPECT_THAT(Complete({"paint-it", "--ver"}), ElementsAre("--verbose"));
  EXPECT_THAT(Complete({"paint-it", "-v", "jobs", ""}),
              ElementsAre("list", "cancel", "-h", "--help"));
  EXPECT_THAT(Complete({"paint-it", "draw", "--c"}), ElementsAre("--colour"));
  EXPECT_THAT(Complete({"paint-it", "jobs", "cancel", "li"}), ElementsAre(""));
}

TEST_F(CommandLineTest, BashOffersFilesWhereAValueIsWanted) {
  EXPECT_THAT(Complete({"paint-it", "draw", "--colour", "a-"}), ElementsAre("a-file"));
  EXPECT_THAT(Complete({"paint-it", "--server", "a-"}), ElementsAre("a-file"));
  EXPECT_THAT(Complete({"paint-it", "draw", "a-"}), ElementsAre("a-file"));
  EXPECT_THAT(Complete({"paint-it", "--colour", "j"}), ElementsAre("jobs"));  // not here
  EXPECT_THAT(Complete({"paint-it", "--server", "jo"}), ElementsAre(""));
  EXPECT_THAT(Complete({"paint-it", "-v", "jo"}), ElementsAre("jobs"));  // a flag has none
}

TEST_F(CommandLineTest, ZshReadsTheBashScriptAndNoOtherShellHasOne) {
  EXPECT_EQ(CompletionScript(app_, "zsh"),
            "#compdef paint-it\nautoload -U +X bashcompinit && bashcompinit\n" +
                CompletionScript(app_, "bash") +
                "(( ${+compstate} )) && _bash_complete -F _paint_it\n");
  EXPECT_EQ(CompletionScript(app_, "tcsh"), "");
}

TEST_F(CommandLineTest, FishDescribesEachWordUnderItsCommand) {
  const std::string script = CompletionScript(app_, "fish");
  EXPECT_THAT(script, HasSubstr("complete -c paint-it -n '__fish_use_subcommand' -a draw "
                                "-d 'Draws it\\'s picture'\n"));
  EXPECT_THAT(script, HasSubstr("complete -c paint-it -n '__fish_use_subcommand' -s s -l server -r "
                                "-d 'Where it listens'\n"));
  EXPECT_THAT(script, HasSubstr("-n '__fish_use_subcommand' -s v -l verbose -d 'Say more'\n"));
  EXPECT_THAT(script, HasSubstr("-n '__fish_seen_subcommand_from draw' -l colour -r"));
  EXPECT_THAT(script, HasSubstr("-n '__fish_seen_subcommand_from jobs' -a list -d 'All'\n"));
  EXPECT_THAT(script, Not(HasSubstr("hidden")));
}

TEST_F(CommandLineTest, PrintsAndEndsWell) {
  const auto [page, code] = Run("--man");
  EXPECT_EQ(code, 0);
  EXPECT_THAT(page, HasSubstr(ManPage(app_)));
  const auto [script, script_code] = Run("--completion fish");
  EXPECT_EQ(script_code, 0);
  EXPECT_THAT(script, HasSubstr(CompletionScript(app_, "fish")));
  const auto [error, error_code] = Run("--completion tcsh");
  EXPECT_NE(error_code, 0);
  EXPECT_THAT(error, HasSubstr("tcsh"));
}

}  // namespace
}  // namespace llava

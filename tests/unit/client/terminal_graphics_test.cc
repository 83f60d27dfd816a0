#include "client/terminal_graphics.h"

#include <gtest/gtest.h>

namespace llava::client {
namespace {

using Environment = std::map<std::string, std::string>;

Graphics Detect(const Environment& environment, bool sixels = false) {
  return DetectGraphics(
      [&](const char* name) {
        const auto found = environment.find(name);
        return found == environment.end() ? std::string() : found->second;
      },
      [sixels] { return sixels; });
}

TEST(TerminalGraphicsTest, TheBestThatTheTerminalCan) {
  EXPECT_EQ(Detect({}), Graphics::kNone);
  EXPECT_EQ(Detect({{"TERM", "dumb"}}, true), Graphics::kNone);
  EXPECT_EQ(Detect({{"TERM", "linux"}}, true), Graphics::kNone);
  EXPECT_EQ(Detect({{"TERM", "xterm"}}), Graphics::kNone);
  EXPECT_EQ(Detect({{"TERM", "xterm"}}, true), Graphics::kSixel);
  EXPECT_EQ(Detect({{"TERM", "xterm-256color"}}), Graphics::kBlocks);
  EXPECT_EQ(Detect({{"TERM", "xterm"}, {"COLORTERM", "truecolor"}}), Graphics::kBlocks);
  EXPECT_EQ(Detect({{"TERM", "xterm-kitty"}}, true), Graphics::kKitty);
  EXPECT_EQ(Detect({{"TERM", "xterm-256color"}, {"KITTY_WINDOW_ID", "1"}}), Graphics::kKitty);
  EXPECT_EQ(Detect({{"TERM", "xterm-256color"}, {"TERM_PROGRAM", "WezTerm"}}), Graphics::kKitty);
}

TEST(TerminalGraphicsTest, AMultiplexerShowsBlocksOnly) {
  EXPECT_EQ(Detect({{"TERM", "screen-256color"}, {"TMUX", "x"}, {"KITTY_WINDOW_ID", "1"}}, true),
            Graphics::kBlocks);
}

TEST(TerminalGraphicsTest, AnOddLastLineIsHalfABlock) {
  const Thumbnail thumbnail{.width = 1, .height = 3, .rgb = {1, 2, 3, 4, 5, 6, 7, 8, 9}};
  EXPECT_EQ(Render(thumbnail, Graphics::kBlocks),
            "\x1b[38;2;1;2;3;48;2;4;5;6m\u2580\x1b[0m\n\x1b[38;2;7;8;9m\u2580\x1b[0m\n");
  EXPECT_EQ(Render(thumbnail, Graphics::kNone), "");
}

TEST(TerminalGraphicsTest, SixelsOfOneColourAreOneRun) {
  Thumbnail thumbnail{.width = 10, .height = 6, .rgb = std::vector<std::uint8_t>(180, 255)};
  const std::string out = Render(thumbnail, Graphics::kSixel);
  EXPECT_NE(out.find("#215;2;100;100;100"), std::string::npos);
  EXPECT_NE(out.find("#215!10~$-\x1b\\"), std::string::npos) << out;
}

}  // namespace
}  // namespace llava::client

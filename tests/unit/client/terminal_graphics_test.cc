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
  EXPECT_EQ(Detect({{"TERM", "xterm-256color"}, {"TMUX", "x"}}, true), Graphics::kBlocks);
  EXPECT_EQ(Detect({{"TERM", "screen"}, {"COLORTERM", "24bit"}}, true), Graphics::kBlocks);
}

TEST(TerminalGraphicsTest, BlocksAreFewAndPixelsAreMany) {
  EXPECT_EQ(MaxSide(Graphics::kBlocks), 40);
  EXPECT_EQ(MaxSide(Graphics::kSixel), 320);
  EXPECT_EQ(MaxSide(Graphics::kKitty), 320);
}

// In base64, in pieces of 4096 characters; each but the last says that more follows.
TEST(TerminalGraphicsTest, KittyGetsItsPixelsInPieces) {
  const auto render = [](int width) {
    const auto bytes = static_cast<std::size_t>(3 * width);
    return Render({.width = width, .height = 1, .rgb = std::vector<std::uint8_t>(bytes, 0)},
                  Graphics::kKitty);
  };
  EXPECT_EQ(render(1), "\x1b_Ga=T,f=24,q=2,s=1,v=1,m=0;AAAA\x1b\\\n");
  const std::string piece(4096, 'A');
  EXPECT_EQ(render(1024), "\x1b_Ga=T,f=24,q=2,s=1024,v=1,m=0;" + piece + "\x1b\\\n");
  EXPECT_EQ(render(1025),
            "\x1b_Ga=T,f=24,q=2,s=1025,v=1,m=1;" + piece + "\x1b\\\x1b_Gm=0;AAAA\x1b\\\n");
}

// Of this grey, three of the sixteen places of the pattern become black.
TEST(TerminalGraphicsTest, SixelsAreDithered) {
  const Thumbnail thumbnail{.width = 4, .height = 4, .rgb = std::vector<std::uint8_t>(48, 43)};
  EXPECT_NE(Render(thumbnail, Graphics::kSixel).find("#0@?D?$"), std::string::npos);
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

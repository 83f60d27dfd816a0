#include "client/terminal_graphics.h"

#include <fcntl.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace llava::client {
namespace {

constexpr int kCells = 40;    // of blocks, wide; half cells high
constexpr int kPixels = 320;  // of the others
constexpr int kAnswerMillis = 150;
constexpr int kLevels = 6;  // of red, green and blue in the sixels' palette
constexpr int kBandRows = 6;
constexpr std::size_t kKittyChunk = 4096;

std::string Blocks(const Thumbnail& thumbnail) {
  std::string out;
  for (int y = 0; y < thumbnail.height; y += 2) {
    for (int x = 0; x < thumbnail.width; ++x) {
      const std::uint8_t* upper = thumbnail.At(x, y);
      absl::StrAppend(&out, "\x1b[38;2;", upper[0], ";", upper[1], ";", upper[2]);
      if (y + 1 < thumbnail.height) {
        const std::uint8_t* lower = thumbnail.At(x, y + 1);
        absl::StrAppend(&out, ";48;2;", lower[0], ";", lower[1], ";", lower[2]);
      }
      absl::StrAppend(&out, "m\u2580");
    }
    absl::StrAppend(&out, "\x1b[0m\n");
  }
  return out;
}

// https://sw.kovidgoyal.net/kitty/graphics-protocol: a=T shows at once, f=24 is RGB, q=2 wants no
// answer, m=1 says that more follows.
std::string Kitty(const Thumbnail& thumbnail) {
  const std::string data = absl::Base64Escape(
      absl::string_view(reinterpret_cast<const char*>(thumbnail.rgb.data()), thumbnail.rgb.size()));
  std::string out;
  for (std::size_t at = 0; at < data.size(); at += kKittyChunk) {
    const bool more = at + kKittyChunk < data.size();
    absl::StrAppend(&out, "\x1b_G");
    if (at == 0) {
      absl::StrAppend(&out, "a=T,f=24,q=2,s=", thumbnail.width, ",v=", thumbnail.height, ",");
    }
    absl::StrAppend(&out, "m=", more ? 1 : 0, ";", data.substr(at, kKittyChunk), "\x1b\\");
  }
  return out + "\n";
}

// The palette's entry next to a pixel; a 4 x 4 threshold spreads what is lost (ordered dithering).
int PaletteIndex(const std::uint8_t* pixel, int x, int y) {
  constexpr std::array<int, 16> kThreshold = {0, 8, 2, 10, 12, 4, 14, 6, 3, 11, 1, 9, 15, 7, 13, 5};
  const int threshold = kThreshold[static_cast<std::size_t>(y % 4 * 4 + x % 4)];
  int index = 0;
  for (int c = 0; c < 3; ++c) {
    const int scaled = pixel[c] * (kLevels - 1) * 16 + threshold * 255;
    index = index * kLevels + std::min(kLevels - 1, scaled / (255 * 16));
  }
  return index;
}

void AppendRun(char sixel, int count, std::string* out) {
  if (count > 3) {
    absl::StrAppend(out, "!", count, std::string(1, sixel));
  } else {
    out->append(static_cast<std::size_t>(count), sixel);
  }
}

// The rows y to y + 5: for each colour in them, one character a column whose bits say which of the
// six pixels have it.
void AppendBand(const Thumbnail& thumbnail, int y, std::string* out) {
  std::map<int, std::string> colors;
  for (int x = 0; x < thumbnail.width; ++x) {
    for (int row = 0; row < kBandRows && y + row < thumbnail.height; ++row) {
      const int color = PaletteIndex(thumbnail.At(x, y + row), x, y + row);
      std::string& bits = colors[color];
      bits.resize(static_cast<std::size_t>(thumbnail.width), '?');
      char& sixel = bits[static_cast<std::size_t>(x)];
      sixel = static_cast<char>('?' + ((sixel - '?') | (1 << row)));
    }
  }
  for (const auto& [color, bits] : colors) {
    absl::StrAppend(out, "#", color);
    for (std::size_t begin = 0; begin < bits.size();) {
      const std::size_t end = std::min(bits.find_first_not_of(bits[begin], begin), bits.size());
      AppendRun(bits[begin], static_cast<int>(end - begin), out);
      begin = end;
    }
    absl::StrAppend(out, "$");
  }
  absl::StrAppend(out, "-");
}

// DEC's sixel format (VT330/VT340 programmer reference, chapter 14).
std::string Sixels(const Thumbnail& thumbnail) {
  std::string out = absl::StrCat("\x1bPq\"1;1;", thumbnail.width, ";", thumbnail.height);
  for (int i = 0; i < kLevels * kLevels * kLevels; ++i) {
    const auto percent = [](int level) { return level * 100 / (kLevels - 1); };
    absl::StrAppend(&out, "#", i, ";2;", percent(i / kLevels / kLevels), ";",
                    percent(i / kLevels % kLevels), ";", percent(i % kLevels));
  }
  for (int y = 0; y < thumbnail.height; y += kBandRows) AppendBand(thumbnail, y, &out);
  return out + "\x1b\\\n";
}

// What comes back within the time, up to its `last` character.
std::string ReadAnswer(int tty, char last) {
  std::string answer;
  pollfd ready = {.fd = tty, .events = POLLIN, .revents = 0};
  char c = 0;
  while (answer.size() < 64 && poll(&ready, 1, kAnswerMillis) > 0 && read(tty, &c, 1) == 1) {
    answer += c;
    if (c == last) break;
  }
  return answer;
}

}  // namespace

const std::map<std::string, Graphics>& GraphicsNames() {
  static const std::map<std::string, Graphics>& names =
      *new std::map<std::string, Graphics>{{"none", Graphics::kNone},
                                           {"blocks", Graphics::kBlocks},
                                           {"sixel", Graphics::kSixel},
                                           {"kitty", Graphics::kKitty}};
  return names;
}

Graphics DetectGraphics(const std::function<std::string(const char*)>& variable,
                        const std::function<bool()>& has_sixels) {
  const std::string term = variable("TERM");
  const std::string program = variable("TERM_PROGRAM");
  if (term.empty() || term == "dumb" || term == "linux") return Graphics::kNone;
  // A multiplexer knows no kitty graphics, and drops sixels unless it says otherwise.
  const bool multiplexer = !variable("TMUX").empty() || absl::StartsWith(term, "screen");
  if (!multiplexer) {
    if (!variable("KITTY_WINDOW_ID").empty() || absl::StrContains(term, "kitty") ||
        absl::StrContains(term, "ghostty") || program == "WezTerm" || program == "ghostty") {
      return Graphics::kKitty;
    }
    if (has_sixels()) return Graphics::kSixel;
  }
  const std::string color = variable("COLORTERM");
  const bool many_colors = color == "truecolor" || color == "24bit" ||
                           absl::StrContains(term, "direct") || absl::StrContains(term, "256color");
  return many_colors ? Graphics::kBlocks : Graphics::kNone;
}

bool AskForSixels() {
  const int tty = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (tty < 0) return false;
  termios before = {};
  bool found = false;
  if (tcgetattr(tty, &before) == 0) {
    termios raw = before;
    raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    tcsetattr(tty, TCSANOW, &raw);
    constexpr absl::string_view kAsk = "\x1b[c";  // primary device attributes
    if (write(tty, kAsk.data(), kAsk.size()) == static_cast<ssize_t>(kAsk.size())) {
      const std::string answer = ReadAnswer(tty, 'c');  // ESC [ ? 62 ; 4 ; 22 c
      found = absl::StrContains(answer, ";4;") || absl::EndsWith(answer, ";4c");
    }
    tcsetattr(tty, TCSANOW, &before);
  }
  close(tty);
  return found;
}

int MaxSide(Graphics graphics) { return graphics == Graphics::kBlocks ? kCells : kPixels; }

std::string Render(const Thumbnail& thumbnail, Graphics graphics) {
  switch (graphics) {
    case Graphics::kBlocks:
      return Blocks(thumbnail);
    case Graphics::kSixel:
      return Sixels(thumbnail);
    case Graphics::kKitty:
      return Kitty(thumbnail);
    case Graphics::kNone:
      break;
  }
  return "";
}

}  // namespace llava::client

// Images in a terminal: by kitty's graphics protocol, as sixels, or as coloured half blocks.
#ifndef LLAVA_CLIENT_TERMINAL_GRAPHICS_H_
#define LLAVA_CLIENT_TERMINAL_GRAPHICS_H_

#include <functional>
#include <map>
#include <string>

#include "client/thumbnail.h"

namespace llava::client {

enum class Graphics { kNone, kBlocks, kSixel, kKitty };

// "none", "blocks", "sixel", "kitty", as users write them.
const std::map<std::string, Graphics>& GraphicsNames();

// What the terminal shows, as far as the environment tells. `variable` gives the value of an
// environment variable, empty when it is not set; `has_sixels` asks the terminal itself and is
// called only when nothing better is known.
Graphics DetectGraphics(const std::function<std::string(const char*)>& variable,
                        const std::function<bool()>& has_sixels);

// Whether the terminal behind /dev/tty says that it shows sixels (DA1: attribute 4). Waits a
// moment for its answer.
bool AskForSixels();

// How wide and how high a thumbnail may be: pixels, or for blocks columns and half lines.
int MaxSide(Graphics graphics);

// The bytes to write to the terminal; the cursor ends on a new line. Empty for kNone.
std::string Render(const Thumbnail& thumbnail, Graphics graphics);

}  // namespace llava::client

#endif  // LLAVA_CLIENT_TERMINAL_GRAPHICS_H_

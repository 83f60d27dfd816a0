// Any text as the daemon's configuration: a mistake that names the file, or settings that say the
// same when they are printed and read again.
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/match.h"
#include "base/check.h"
#include "base/utf8_stream.h"
#include "server/config/config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace server = llava::server;
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto config = server::ParseConfig(text, "fuzz.yaml");
  if (!config.ok()) {
    LLAVA_CHECK(absl::StartsWith(config.status().message(), "fuzz.yaml"));
    LLAVA_CHECK(llava::IsValidUtf8(llava::StdView(config.status().message())));
    return 0;
  }
  const std::string printed = server::PrintConfig(*config);
  const auto again = server::ParseConfig(printed, "again.yaml");
  LLAVA_CHECK(again.ok());
  LLAVA_CHECK(server::PrintConfig(*again) == printed);
  return 0;
}

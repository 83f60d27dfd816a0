// Any text as a configuration: read with every kind of question, it is a mistake that is told in
// UTF-8 and names the source, or values.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "base/check.h"
#include "base/strict_yaml.h"
#include "base/utf8_stream.h"

namespace llava {
namespace {

void ReadAll(int depth, StrictYaml& yaml) {
  std::string text;
  bool is_on = false;
  std::int64_t number = 0;
  double rate = 0;
  std::vector<std::string> list;
  int choice = 0;
  yaml.Optional("text", &text);
  yaml.Optional("on", &is_on);
  yaml.Optional("number", &number);
  yaml.Optional("rate", &rate);
  yaml.Optional("list", &list);
  yaml.Choice("choice", {{"a", 1}, {"b", 2}}, &choice);
  (void)yaml.Written("size", "bytes", false);
  if (depth == 0) return;
  const auto read = [depth](StrictYaml& inner) { ReadAll(depth - 1, inner); };
  yaml.Section("section", read);
  yaml.List("stages", read);
}

}  // namespace
}  // namespace llava

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  auto yaml = llava::StrictYaml::Parse(text, "fuzz.yaml");
  absl::Status status = yaml.status();
  if (yaml.ok()) {
    llava::ReadAll(3, *yaml);
    status = yaml->Finish();
  }
  if (!status.ok()) {
    LLAVA_CHECK(status.code() == absl::StatusCode::kInvalidArgument);
    LLAVA_CHECK(absl::StartsWith(status.message(), "fuzz.yaml"));
    LLAVA_CHECK(llava::IsValidUtf8(llava::StdView(status.message())));
  }
  return 0;
}

// Reads one YAML mapping strictly: every key must be asked for, every value must have the type that
// was asked for, and a mistake is one message that says where ("recipe.yaml:12: stages[0].batch: is
// 'many', expected a whole number").
#ifndef LLAVA_BASE_STRICT_YAML_H_
#define LLAVA_BASE_STRICT_YAML_H_

#include <yaml-cpp/yaml.h>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace llava {

// A cursor over one mapping. The first mistake sticks: later calls do nothing and Finish() returns
// it. Not thread-safe.
class StrictYaml {
 public:
  // Of a file of at most 16 MiB. The errors of ReadFile (base/file.h) and of Parse.
  static absl::StatusOr<StrictYaml> Load(const std::string& file);

  // `source` names the text in mistakes. An empty text is an empty mapping. INVALID_ARGUMENT: not
  // YAML, or its root is no mapping.
  static absl::StatusOr<StrictYaml> Parse(const std::string& text, const std::string& source);

  // Absent keys leave `value` as it is.
  void Optional(std::string_view key, std::string* value);
  void Optional(std::string_view key, bool* value);
  void Optional(std::string_view key, std::int64_t* value);
  void Optional(std::string_view key, double* value);
  void Optional(std::string_view key, std::vector<std::string>* value);
  void Optional(std::string_view key, std::map<std::string, std::string>* value);

  // A scalar as it is written, for who reads values of their own; nothing when it is absent or a
  // mistake. `expected` says what in a mistake. What is no text must not be quoted.
  std::optional<std::string> Written(std::string_view key, std::string_view expected, bool is_text);

  // One of the texts of `choices`, as an enum.
  template <typename Enum>
  void Choice(std::string_view key,
              std::initializer_list<std::pair<std::string_view, Enum>> choices, Enum* value) {
    std::string text;
    Optional(key, &text);
    if (!Has(key)) return;
    std::string expected;
    for (const auto& [name, choice] : choices) {
      if (text == name) {
        *value = choice;
        return;
      }
      expected += (expected.empty() ? "" : ", ") + std::string(name);
    }
    Fail(key, "is '" + text + "', expected one of: " + expected);
  }

  // A mapping below `key`, read by `read`; its unknown keys are mistakes too.
  void Section(std::string_view key, const std::function<void(StrictYaml&)>& read);

  // A sequence of mappings.
  void List(std::string_view key, const std::function<void(StrictYaml&)>& read);

  // Marks an absent key as a mistake.
  void Require(std::string_view key);

  bool Has(std::string_view key) const;

  // A mistake of our own about the value at `key` (or about the whole mapping when it is absent).
  void Fail(std::string_view key, std::string_view what);

  // Unless there was a mistake before, an unknown or repeated key is one; of an unknown key it says
  // which known one is like it.
  absl::Status Finish();

 private:
  StrictYaml(std::string file, std::string path, const YAML::Node& node)
      : file_(std::move(file)), path_(std::move(path)), node_(node) {}

  YAML::Node Get(std::string_view key);
  template <typename T>
  void Scalar(std::string_view key, std::string_view expected, T* value);
  void Nested(const YAML::Node& node, std::string path,
              const std::function<void(StrictYaml&)>& read);
  void FailAt(const YAML::Node& node, const std::string& path, std::string_view what);

  std::string file_;
  std::string path_;  // of this mapping: "stages[0]"; empty for the root
  YAML::Node node_;
  std::set<std::string, std::less<>> known_;
  absl::Status status_;
};

}  // namespace llava

#endif  // LLAVA_BASE_STRICT_YAML_H_

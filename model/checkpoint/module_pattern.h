// Which modules of a network are meant, as PEFT's adapter_config.json says it.
#ifndef LLAVA_MODEL_CHECKPOINT_MODULE_PATTERN_H_
#define LLAVA_MODEL_CHECKPOINT_MODULE_PATTERN_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace llava::model {

// Immutable; copies share the compiled expression.
class ModulePattern {
 public:
  // No module.
  ModulePattern() = default;

  // A module that is called so, or whose name ends with a dot and one of `names`.
  static ModulePattern Names(std::vector<std::string> names);

  // A regular expression of Perl's kind (Python's are, as far as names of modules need them) that
  // the whole name matches. INVALID_ARGUMENT for one that is malformed or longer than 64 KiB. A
  // match that takes more than a bounded number of steps is none.
  static absl::StatusOr<ModulePattern> Expression(const std::string& expression);

  bool Matches(std::string_view module) const;

 private:
  struct Compiled;
  std::vector<std::string> names_;
  std::shared_ptr<const Compiled> compiled_;  // null: names
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_CHECKPOINT_MODULE_PATTERN_H_

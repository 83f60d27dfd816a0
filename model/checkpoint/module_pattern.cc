#include "model/checkpoint/module_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace llava::model {
namespace {

constexpr std::size_t kMaxExpressionBytes = std::size_t{64} << 10;
constexpr std::uint32_t kMatchSteps = 1'000'000;
constexpr std::uint32_t kHeapKib = 16 * 1024;

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeMatch {
  void operator()(pcre2_match_data* match) const { pcre2_match_data_free(match); }
};
struct FreeContext {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};

PCRE2_SPTR Bytes(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

bool IsNamed(std::string_view module, std::string_view name) {
  if (!module.ends_with(name)) return false;
  const std::size_t before = module.size() - name.size();
  return before == 0 || module[before - 1] == '.';
}

}  // namespace

struct ModulePattern::Compiled {
  std::unique_ptr<pcre2_code, FreeCode> code;
  std::unique_ptr<pcre2_match_context, FreeContext> context;
};

ModulePattern ModulePattern::Names(std::vector<std::string> names) {
  ModulePattern pattern;
  pattern.names_ = std::move(names);
  return pattern;
}

absl::StatusOr<ModulePattern> ModulePattern::Expression(const std::string& expression) {
  if (expression.size() > kMaxExpressionBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "an expression of ", expression.size(), " bytes, expected at most ", kMaxExpressionBytes));
  }
  int error = 0;
  PCRE2_SIZE place = 0;
  auto compiled = std::make_shared<Compiled>();
  compiled->code.reset(pcre2_compile(Bytes(expression), expression.size(),
                                     PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_NEVER_BACKSLASH_C,
                                     &error, &place, nullptr));
  if (compiled->code == nullptr) {
    std::array<PCRE2_UCHAR, 256> text{};
    pcre2_get_error_message(error, text.data(), text.size());
    return absl::InvalidArgumentError(
        absl::StrCat("\"", expression, "\", expected a regular expression: ",
                     reinterpret_cast<const char*>(text.data()), " at byte ", place));
  }
  compiled->context.reset(pcre2_match_context_create(nullptr));
  LLAVA_CHECK(compiled->context != nullptr);
  pcre2_set_match_limit(compiled->context.get(), kMatchSteps);
  pcre2_set_heap_limit(compiled->context.get(), kHeapKib);
  ModulePattern pattern;
  pattern.compiled_ = std::move(compiled);
  return pattern;
}

bool ModulePattern::Matches(std::string_view module) const {
  if (compiled_ == nullptr) {
    return std::any_of(names_.begin(), names_.end(),
                       [&](const std::string& name) { return IsNamed(module, name); });
  }
  const std::unique_ptr<pcre2_match_data, FreeMatch> match(
      pcre2_match_data_create_from_pattern(compiled_->code.get(), nullptr));
  LLAVA_CHECK(match != nullptr);
  return pcre2_match(compiled_->code.get(), Bytes(module), module.size(), 0, 0, match.get(),
                     compiled_->context.get()) >= 0;
}

}  // namespace llava::model

// The regular expressions by which byte-level tokenizers cut a text into words, as PCRE2 matches
// them. They are written for Oniguruma (tokenizers' Split); what both read alike, look-ahead,
// look-behind and categories of Unicode included, is left as it is, and \s, \w, \b, scripts and
// anchors of lines are spelled so that they mean the same.
#ifndef LLAVA_MODEL_TEXT_SPLIT_EXPRESSION_H_
#define LLAVA_MODEL_TEXT_SPLIT_EXPRESSION_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace llava::model {

// Immutable; any thread.
class SplitExpression {
 public:
  // kInvalidArgument: more than 4096 bytes, not an expression (look-behind without a bound is none
  // to PCRE2), one with back references, recursion or calls out, or one with something that
  // Oniguruma reads differently (classes in classes, \h, \K, (?m) and such).
  static absl::StatusOr<SplitExpression> Create(const std::string& expression);

  SplitExpression(SplitExpression&&) noexcept;
  SplitExpression& operator=(SplitExpression&&) noexcept;
  ~SplitExpression();

  // The matches and the stretches between them, in order, without empty ones: together the whole
  // text. A match of nothing cuts. A match that takes more than a bounded number of steps, which
  // none of the expressions of known tokenizers does, is no match at its place. REQUIRES: valid
  // UTF-8.
  std::vector<std::string_view> Split(std::string_view text) const;

 private:
  struct Compiled;
  explicit SplitExpression(std::unique_ptr<const Compiled> compiled);
  std::unique_ptr<const Compiled> compiled_;
};

// Whether the text ends, or begins, with a character of a word: \w of Rust's regular expressions,
// by which tokenizers finds out whether an added token is a word of its own.
bool EndsWithWord(std::string_view text);
bool BeginsWithWord(std::string_view text);

}  // namespace llava::model

#endif  // LLAVA_MODEL_TEXT_SPLIT_EXPRESSION_H_

// Turns the form that an answer is to have into the tokens that may come next, by llguidance
// (https://github.com/guidance-ai/llguidance), an Earley parser over a lexer of derivatives. What
// it builds it builds as an answer goes on, within bounds on the work of each token: preparing a
// form takes milliseconds, and no form can hold up the answers of others.
#ifndef LLAVA_MODEL_GRAMMAR_GRAMMAR_COMPILER_H_
#define LLAVA_MODEL_GRAMMAR_GRAMMAR_COMPILER_H_

#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "absl/status/statusor.h"
#include "base/digest.h"
#include "base/mutex.h"
#include "model/grammar/answer_format.h"
#include "model/grammar/format_grammar.h"
#include "model/grammar/token_constraint.h"
#include "model/text/tokenizer.h"

namespace llava::model {

inline constexpr std::size_t kCachedFormats = 64;

// Of one model. Thread-safe.
class GrammarCompiler {
 public:
  // `vocab_size`: of the model's logits, which may be more than the tokenizer's. `end_ids`: the
  // tokens that end an answer, at least one. INTERNAL when the engine does not take the vocabulary.
  static absl::StatusOr<std::unique_ptr<GrammarCompiler>> Create(const Tokenizer& tokenizer,
                                                                 std::span<const int> end_ids,
                                                                 int vocab_size);
  ~GrammarCompiler();

  // The text of an answer, as Detokenizer makes it, has the form when a token ends it. JSON has no
  // white space but one blank after commas and colons. INVALID_ARGUMENT says what is wrong with the
  // format, without its field. The last kCachedFormats are kept, those that are refused too.
  // `check_alive` is asked between the parts of the work, and its errors end it; empty: never.
  absl::StatusOr<std::shared_ptr<const TokenConstraint>> Compile(
      const AnswerFormat& format, const std::function<absl::Status()>& check_alive = {}) const;

 private:
  struct Vocabulary;
  class Constraint;
  class Answer;
  using Made = absl::StatusOr<std::shared_ptr<const TokenConstraint>>;
  using Cached = std::pair<Digest, Made>;

  explicit GrammarCompiler(std::shared_ptr<const Vocabulary> vocabulary);
  std::optional<Made> Find(const Digest& digest) const;
  Made Make(const FormatGrammar& grammar, const std::function<bool()>& is_alive) const;

  const std::shared_ptr<const Vocabulary> vocabulary_;
  mutable Mutex mutex_;
  mutable std::list<Cached> cached_ ABSL_GUARDED_BY(mutex_);  // the last used first
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_GRAMMAR_GRAMMAR_COMPILER_H_

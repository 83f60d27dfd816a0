#include "model/grammar/grammar_compiler.h"

#include <llguidance.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "model/grammar/format_grammar.h"

namespace llava::model {
namespace {

constexpr std::size_t kMaxMessageBytes = 512;  // of the engine's words
// Of answers that have ended, those whose engines wait for the next one.
constexpr std::size_t kMaxIdle = 64;

struct FreeTokenizer {
  void operator()(LlgTokenizer* tokenizer) const { llg_free_tokenizer(tokenizer); }
};
struct FreeMatcher {
  void operator()(LlgMatcher* matcher) const { llg_free_matcher(matcher); }
};
using TokenizerPtr = std::unique_ptr<LlgTokenizer, FreeTokenizer>;
using MatcherPtr = std::unique_ptr<LlgMatcher, FreeMatcher>;

// What the engine says of a form, without what it says of itself.
std::string Bounded(std::string_view message) {
  if (message.starts_with("panic")) return "the grammar engine cannot read it";
  for (const std::string_view end : {"<backtrace>", "<non-verbose/>"}) {
    message = message.substr(0, message.find(end));
  }
  // Its words for schemas that one value may satisfy several of.
  if (absl::StrContains(AbslView(message), "oneOf constraints are not supported")) {
    return "oneOf: one value could satisfy several of its schemas, expected schemas that exclude "
           "each "
           "other, or anyOf";
  }
  // Its words for what looks at the text around, with the expression behind them.
  constexpr std::string_view kAround = " in regex ";
  const std::size_t around = message.find(kAround);
  if (absl::StrContains(AbslView(message), "lookarounds not supported") &&
      around != std::string_view::npos) {
    const std::string_view regex = message.substr(around + kAround.size());
    return absl::StrCat("\\b, \\B, and ^ and $ within an expression are not supported, found ",
                        Shortened(AbslView(regex.substr(0, regex.find('\n')))));
  }
  // Its word for a place where no token can come.
  if (message.starts_with("NoExtension")) return "no text has this form";
  while (message.ends_with(' ') || message.ends_with('\n')) message.remove_suffix(1);
  return Utf8Repair(std::string(message.substr(0, kMaxMessageBytes)));
}

std::string ErrorOf(LlgMatcher* matcher) {
  const char* error = llg_matcher_get_error(matcher);
  return error == nullptr ? "unknown error" : Bounded(error);
}

// Work is counted by the engine, not timed, so that an answer does not depend on the machine. By
// its authors' measures a form takes 20 ms at most to prepare, a token 5 ms, a form's lexer 20 MB.
LlgParserLimits Limits(LlgParserLimits limits) {
  limits.initial_lexer_fuel = 1'000'000;
  limits.step_lexer_fuel = 50'000;
  limits.step_max_items = 20'000;
  limits.max_items_in_row = 1'000;
  limits.max_lexer_states = 10'000;
  limits.max_grammar_size = 100'000;
  limits.precompute_large_lexemes = false;
  limits.verbose_errors = false;
  return limits;
}

absl::StatusOr<TokenizerPtr> MakeTokenizer(const std::vector<std::string>& bytes,
                                           std::span<const int> end_ids) {
  std::string all;
  std::vector<std::uint32_t> lengths;
  for (const std::string& token : bytes) {
    all += token;
    lengths.push_back(static_cast<std::uint32_t>(token.size()));
  }
  const std::vector<std::uint32_t> more_ends(end_ids.begin() + 1, end_ids.end());
  LlgTokenizerInitV2 init{};
  init.struct_size = sizeof(init);
  init.vocab_size = static_cast<std::uint32_t>(bytes.size());
  init.tok_eos = static_cast<std::uint32_t>(end_ids[0]);
  init.token_lens = lengths.data();
  init.token_bytes = reinterpret_cast<const std::uint8_t*>(all.data());
  init.use_approximate_greedy_tokenize_fn = true;
  init.tok_eos_extra = more_ends.data();
  init.tok_eos_extra_count = static_cast<std::uint32_t>(more_ends.size());
  std::string error(kMaxMessageBytes, '\0');
  TokenizerPtr tokenizer(llg_new_tokenizer_v2(&init, error.data(), error.size()));
  if (tokenizer == nullptr) {
    return absl::InternalError(
        absl::StrCat("the grammar engine does not take the vocabulary: ", Bounded(error.c_str())));
  }
  return tokenizer;
}

MatcherPtr MakeMatcher(const LlgTokenizer* tokenizer, const FormatGrammar& grammar) {
  LlgConstraintInit init;
  llg_constraint_init_set_defaults(&init, tokenizer);
  init.log_stderr_level = 0;
  init.limits = Limits(init.limits);
  return MatcherPtr(llg_new_matcher(&init, grammar.kind, grammar.text.c_str()));
}

MatcherPtr Cloned(const LlgMatcher* matcher) { return MatcherPtr(llg_clone_matcher(matcher)); }

absl::Status ReadMask(LlgMatcher* matcher, std::vector<std::uint32_t>* mask) {
  mask->resize(llg_matcher_get_mask_byte_size(matcher) / sizeof(std::uint32_t));
  if (llg_matcher_compute_mask_into(matcher, mask->data(), mask->size() * sizeof(std::uint32_t)) ==
      0) {
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(ErrorOf(matcher));
}

}  // namespace

// The text of each token. In a tokenizer that drops a blank at the start of an answer, a token that
// begins with one has another text there, which `first` knows; one that is a blank stands for
// nothing, and may always begin an answer.
struct GrammarCompiler::Vocabulary {
  std::vector<std::string> bytes;  // by id; empty: stands for no text
  TokenizerPtr tokens;
  TokenizerPtr first;  // null: the same

  // `matcher`: of `grammar` and `tokens`; is not asked itself. CANCELLED: not alive any more.
  absl::StatusOr<std::vector<std::uint32_t>> FirstAllowed(
      const FormatGrammar& grammar, const LlgMatcher* matcher,
      const std::function<bool()>& is_alive) const {
    std::vector<std::uint32_t> allowed;
    if (!is_alive()) return absl::CancelledError();
    const MatcherPtr at_start =
        first != nullptr ? MakeMatcher(first.get(), grammar) : Cloned(matcher);
    if (!is_alive()) return absl::CancelledError();
    absl::Status status = ReadMask(at_start.get(), &allowed);
    if (!status.ok() && first != nullptr) {  // only after a blank, then
      if (!is_alive()) return absl::CancelledError();
      std::vector<std::uint32_t> after_blank;
      RETURN_IF_ERROR(ReadMask(Cloned(matcher).get(), &after_blank));
      allowed.assign(after_blank.size(), 0);
    }
    for (std::size_t id = 0; id < bytes.size() && first != nullptr; ++id) {
      if (bytes[id] != " ") continue;
      allowed[id / 32] |= std::uint32_t{1} << (id % 32);
      status = absl::OkStatus();
    }
    if (!status.ok()) return status;
    return allowed;
  }

  // Of the first token of an answer.
  std::string_view FirstBytes(std::int32_t id) const {
    const std::string_view text = bytes[static_cast<std::size_t>(id)];
    return first != nullptr && text.substr(0, 1) == " " ? text.substr(1) : text;
  }
};

// Holds an engine that knows the form for each answer that goes on, and some for those that come:
// what an engine has built for one answer helps it with the next.
class GrammarCompiler::Constraint final : public TokenConstraint,
                                          public std::enable_shared_from_this<Constraint> {
 public:
  Constraint(std::shared_ptr<const Vocabulary> vocabulary, MatcherPtr matcher,
             std::vector<std::uint32_t> first_allowed)
      : vocabulary_(std::move(vocabulary)),
        first_allowed_(std::move(first_allowed)),
        fresh_(std::move(matcher)) {}

  std::unique_ptr<ConstrainedAnswer> Begin() const override;

  MatcherPtr Take() const {
    const MutexLock lock(&mutex_);
    if (idle_.empty()) return Cloned(fresh_.get());
    MatcherPtr matcher = std::move(idle_.back());
    idle_.pop_back();
    return matcher;
  }

  void GiveBack(MatcherPtr matcher) const {
    if (llg_matcher_is_error(matcher.get()) || llg_matcher_reset(matcher.get()) != 0) return;
    // llguidance 1.9.1 keeps its last mask over a reset, and would give it again where another
    // answer comes to the same row and lexer state. That of the beginning fits no other place.
    if (llg_matcher_compute_mask(matcher.get()) != 0) return;
    const MutexLock lock(&mutex_);
    if (idle_.size() < kMaxIdle) idle_.push_back(std::move(matcher));
  }

  const Vocabulary& vocabulary() const { return *vocabulary_; }
  std::span<const std::uint32_t> first_allowed() const { return first_allowed_; }

 private:
  const std::shared_ptr<const Vocabulary> vocabulary_;
  const std::vector<std::uint32_t> first_allowed_;
  mutable Mutex mutex_;
  const MatcherPtr fresh_;  // is never asked itself
  mutable std::vector<MatcherPtr> idle_ ABSL_GUARDED_BY(mutex_);
};

class GrammarCompiler::Answer final : public ConstrainedAnswer {
 public:
  explicit Answer(std::shared_ptr<const Constraint> constraint)
      : constraint_(std::move(constraint)), matcher_(constraint_->Take()) {}
  ~Answer() override { constraint_->GiveBack(std::move(matcher_)); }

  absl::StatusOr<std::span<const std::uint32_t>> Allowed() override {
    if (at_start_) return constraint_->first_allowed();
    RETURN_IF_ERROR(ReadMask(matcher_.get(), &allowed_));
    return std::span<const std::uint32_t>(allowed_);
  }

  absl::Status Append(std::int32_t token) override {
    const Vocabulary& vocabulary = constraint_->vocabulary();
    if (token < 0 || static_cast<std::size_t>(token) >= vocabulary.bytes.size()) {
      return absl::InvalidArgumentError(absl::StrCat("token ", token, " is in no vocabulary"));
    }
    std::vector<std::uint32_t> tokens = {static_cast<std::uint32_t>(token)};
    if (at_start_ && vocabulary.first != nullptr) tokens = FirstTokens(token);
    at_start_ = false;
    if (llg_matcher_consume_tokens(matcher_.get(), tokens.data(), tokens.size()) == 0) {
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError(
        absl::StrCat("token ", token, " cannot come next: ", ErrorOf(matcher_.get())));
  }

 private:
  // Tokens that stand for the same text as `token` does at the start of an answer.
  std::vector<std::uint32_t> FirstTokens(std::int32_t token) const {
    const Vocabulary& vocabulary = constraint_->vocabulary();
    const std::string_view text = vocabulary.FirstBytes(token);
    if (text.size() == vocabulary.bytes[static_cast<std::size_t>(token)].size()) {
      return {static_cast<std::uint32_t>(token)};
    }
    std::vector<std::uint32_t> tokens(text.size());
    tokens.resize(llg_tokenize_bytes(vocabulary.tokens.get(),
                                     reinterpret_cast<const std::uint8_t*>(text.data()),
                                     text.size(), tokens.data(), tokens.size()));
    return tokens;
  }

  const std::shared_ptr<const Constraint> constraint_;
  MatcherPtr matcher_;
  bool at_start_ = true;
  std::vector<std::uint32_t> allowed_;
};

std::unique_ptr<ConstrainedAnswer> GrammarCompiler::Constraint::Begin() const {
  return std::make_unique<Answer>(shared_from_this());
}

absl::StatusOr<std::unique_ptr<GrammarCompiler>> GrammarCompiler::Create(
    const Tokenizer& tokenizer, std::span<const int> end_ids, int vocab_size) {
  LLAVA_CHECK(!end_ids.empty());
  auto vocabulary = std::make_shared<Vocabulary>();
  for (int id = 0; id < vocab_size; ++id) {
    const bool ends = std::find(end_ids.begin(), end_ids.end(), id) != end_ids.end();
    vocabulary->bytes.push_back(ends ? "" : tokenizer.PieceOf(id).text);
  }
  ASSIGN_OR_RETURN(vocabulary->tokens, MakeTokenizer(vocabulary->bytes, end_ids));
  if (tokenizer.settings().strip_first_space) {
    std::vector<std::string> first = vocabulary->bytes;
    for (std::string& text : first) {
      if (!text.empty() && text[0] == ' ') text.erase(0, 1);
    }
    ASSIGN_OR_RETURN(vocabulary->first, MakeTokenizer(first, end_ids));
  }
  return std::unique_ptr<GrammarCompiler>(new GrammarCompiler(std::move(vocabulary)));
}

GrammarCompiler::GrammarCompiler(std::shared_ptr<const Vocabulary> vocabulary)
    : vocabulary_(std::move(vocabulary)) {}
GrammarCompiler::~GrammarCompiler() = default;

std::optional<GrammarCompiler::Made> GrammarCompiler::Find(const Digest& digest) const {
  const MutexLock lock(&mutex_);
  const auto found = std::find_if(cached_.begin(), cached_.end(),
                                  [&](const Cached& cached) { return cached.first == digest; });
  if (found == cached_.end()) return std::nullopt;
  cached_.splice(cached_.begin(), cached_, found);
  return found->second;
}

GrammarCompiler::Made GrammarCompiler::Make(const FormatGrammar& grammar,
                                            const std::function<bool()>& is_alive) const {
  if (!is_alive()) return absl::CancelledError();
  MatcherPtr matcher = MakeMatcher(vocabulary_->tokens.get(), grammar);
  if (llg_matcher_is_error(matcher.get())) {
    return absl::InvalidArgumentError(ErrorOf(matcher.get()));
  }
  auto allowed = vocabulary_->FirstAllowed(grammar, matcher.get(), is_alive);
  if (!allowed.ok()) return absl::InvalidArgumentError(allowed.status().message());
  return std::make_shared<const Constraint>(vocabulary_, std::move(matcher), *std::move(allowed));
}

absl::StatusOr<std::shared_ptr<const TokenConstraint>> GrammarCompiler::Compile(
    const AnswerFormat& format, const std::function<absl::Status()>& check_alive) const {
  ASSIGN_OR_RETURN(const FormatGrammar grammar, GrammarOf(format));
  const Digest digest = Sha256Of(absl::StrCat(grammar.kind, " ", grammar.text));
  if (auto cached = Find(digest)) return *std::move(cached);
  absl::Status alive;
  Made made = Make(grammar, [&] {
    if (check_alive && alive.ok()) alive = check_alive();
    return alive.ok();
  });
  RETURN_IF_ERROR(alive);  // which says nothing of the form
  const MutexLock lock(&mutex_);
  cached_.emplace_front(digest, made);
  if (cached_.size() > kCachedFormats) cached_.pop_back();
  return made;
}

}  // namespace llava::model

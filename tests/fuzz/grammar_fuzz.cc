// Input: the first byte says what the rest is (a JSON Schema, a regular expression, a grammar,
// lines to choose from) and how to walk. Always: what is no form is INVALID_ARGUMENT with a short
// message; along allowed tokens nothing breaks, and the text of an answer that may end is UTF-8.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "base/check.h"
#include "base/rng.h"
#include "base/utf8_stream.h"
#include "model/grammar/grammar_compiler.h"
#include "model/text/tokenizer.h"

namespace llava::model {
namespace {

constexpr std::size_t kMaxMessage = 2048;
constexpr int kMaxTokens = 40;

struct Setup {
  Tokenizer tokenizer = *Tokenizer::Load("tests/golden/data/checkpoint", Layout::kHuggingFace);
  std::vector<int> ends = {tokenizer.eos_id()};
  std::unique_ptr<GrammarCompiler> compiler =
      *GrammarCompiler::Create(tokenizer, ends, tokenizer.vocab_size());
};

const Setup& TheSetup() {
  static const Setup& setup = *new Setup;
  return setup;
}

// Along allowed tokens, until one ends the answer.
void Walk(const TokenConstraint& constraint, std::uint64_t seed) {
  const Setup& setup = TheSetup();
  Rng rng(seed);
  const std::unique_ptr<ConstrainedAnswer> answer = constraint.Begin();
  std::vector<int> tokens;
  while (static_cast<int>(tokens.size()) < kMaxTokens) {
    const auto allowed = answer->Allowed();
    if (!allowed.ok()) return;  // more work than is allowed
    std::vector<int> choices;
    for (int token = 0; token < setup.tokenizer.vocab_size(); ++token) {
      if (((*allowed)[static_cast<std::size_t>(token) / 32] >> (token % 32) & 1) != 0) {
        choices.push_back(token);
      }
    }
    if (choices.empty()) return;
    const int token = choices[rng.Below(choices.size())];
    if (token == setup.tokenizer.eos_id()) {
      std::string bytes;
      for (const int id : tokens) bytes += setup.tokenizer.PieceOf(id).text;
      LLAVA_CHECK(IsValidUtf8(bytes));
      return;
    }
    if (!answer->Append(token).ok()) return;  // more work than is allowed, too
    tokens.push_back(token);
  }
}

}  // namespace
}  // namespace llava::model

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using llava::model::AnswerFormat;
  if (size < 1) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  AnswerFormat format{.text = text};
  switch (data[0] % 4) {
    case 0:
      format.kind = AnswerFormat::Kind::kJsonSchema;
      break;
    case 1:
      format.kind = AnswerFormat::Kind::kRegex;
      break;
    case 2:
      format.kind = AnswerFormat::Kind::kGrammar;
      break;
    default:
      format.kind = AnswerFormat::Kind::kChoice;
      format.choices = absl::StrSplit(text, '\n');
  }
  const auto constraint = llava::model::TheSetup().compiler->Compile(format);
  if (constraint.ok()) {
    llava::model::Walk(**constraint, data[0]);
    return 0;
  }
  LLAVA_CHECK(absl::IsInvalidArgument(constraint.status()));
  LLAVA_CHECK_LE(constraint.status().message().size(), llava::model::kMaxMessage);
  return 0;
}

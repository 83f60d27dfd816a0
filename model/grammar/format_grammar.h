// The form of an answer in the words of the grammar engine, within bounds on its size and depth.
#ifndef LLAVA_MODEL_GRAMMAR_FORMAT_GRAMMAR_H_
#define LLAVA_MODEL_GRAMMAR_FORMAT_GRAMMAR_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "model/grammar/answer_format.h"

namespace llava::model {

inline constexpr std::size_t kMaxFormatBytes = std::size_t{1} << 16;  // of its texts together
inline constexpr std::size_t kMaxFormatChoices = 1024;
inline constexpr int kMaxFormatNesting = 48;  // of brackets in regular expressions and grammars
inline constexpr int kMaxGrammarLines = 512;
// Of a grammar whose expressions hold together ("&", "~"): its repetitions and alternatives to the
// power of how many do. The engine looks at so many in one go.
inline constexpr double kMaxGrammarWays = 1'000'000;

// What llg_new_matcher takes.
struct FormatGrammar {
  const char* kind = "";  // "json_schema", "regex" or "lark"
  std::string text;
};

// INVALID_ARGUMENT, without the format's field. Whether the text makes sense to the engine is for
// it to say.
absl::StatusOr<FormatGrammar> GrammarOf(const AnswerFormat& format);

}  // namespace llava::model

#endif  // LLAVA_MODEL_GRAMMAR_FORMAT_GRAMMAR_H_

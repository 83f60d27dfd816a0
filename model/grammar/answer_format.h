// What an answer is to look like, as a request says it. The one definition that the APIs and the
// grammars share.
#ifndef LLAVA_MODEL_GRAMMAR_ANSWER_FORMAT_H_
#define LLAVA_MODEL_GRAMMAR_ANSWER_FORMAT_H_

#include <string>
#include <vector>

#include "model/text/chat_message.h"

namespace llava::model {

struct AnswerFormat {
  enum class Kind {
    kJsonObject,  // any JSON object
    kJsonSchema,  // JSON that `text`, a JSON Schema, describes
    kRegex,       // all of it matches the regular expression `text`
    kChoice,      // one of `choices`
    kGrammar,     // a sentence of the grammar `text`
    // A list of calls, [{"name": ..., "arguments": {...}}], of `functions`, whose parameters
    // describe the arguments.
    kCalls,
  };

  Kind kind = Kind::kJsonObject;
  std::string text = {};
  std::vector<std::string> choices = {};
  std::string field = {};                    // its path in the request, for errors
  std::vector<ToolFunction> functions = {};  // at least one
  int max_calls = 1;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_GRAMMAR_ANSWER_FORMAT_H_

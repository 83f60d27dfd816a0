// What a language model wrote, as questions and answers, and whether they may be learnt from. Pure
// functions, any thread.
#ifndef LLAVA_TRAINING_GENERATE_DIALOGUE_H_
#define LLAVA_TRAINING_GENERATE_DIALOGUE_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace llava::training {

using Dialogue = std::vector<std::pair<std::string, std::string>>;  // question, answer

// Either a dialogue or why there is none: one of
//   no_question, odd_turns, truncated, refusal, mentions_source, coordinates, too_few_turns,
//   too_many_turns, too_short, too_long, wrong_language, question_leaks_answer, untrue
struct ParsedReply {
  Dialogue dialogue;
  std::string rejected;                        // empty when it is good
  std::map<std::string, std::int64_t> mended;  // what was tolerated, and how often
};

// "Question:\n...\n===\nAnswer:\n...", and "===" between pairs. Tolerated and counted in `mended`:
// crlf, numbered ("Question 1:"), inline (text behind the colon), trailing_separator, code_fence,
// preamble (text before the first question).
ParsedReply ParseDialogue(const std::string& reply);

// The whole text as the answer to `question`.
ParsedReply ParseDescription(const std::string& reply, const std::string& question);

struct AcceptOptions {
  std::int64_t min_turns = 1;  // pairs
  std::int64_t max_turns = 20;
  std::int64_t min_answer_chars = 2;
  std::int64_t max_answer_chars = 4000;
  std::vector<std::string> forbid = {"caption", "bounding box", "coordinates", "as an ai"};
  bool english = true;
};

// Sets `rejected` when the dialogue is no good.
void Accept(const AcceptOptions& options, ParsedReply* reply);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_GENERATE_DIALOGUE_H_

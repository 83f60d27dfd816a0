// Finds calls of functions in the text of an answer, as it comes.
#ifndef LLAVA_SERVER_CHAT_TOOL_CALL_READER_H_
#define LLAVA_SERVER_CHAT_TOOL_CALL_READER_H_

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "model/text/tool_prompt.h"
#include "server/chat/json_call.h"

namespace llava::api {

// More of one call. Put together, the arguments of a call are JSON text.
struct CallDelta {
  int index = 0;        // of the call in its answer
  std::string id = {};  // with the name in the first one of a call alone
  std::string name = {};
  std::string arguments = {};
};

// One for each call: its deltas, which come in order, put together.
std::vector<CallDelta> Joined(const std::vector<CallDelta>& deltas);

// Of one choice of an answer. Not thread-safe.
class ToolCallReader {
 public:
  struct Options {
    model::CallFormat format = model::CallFormat::kUnknown;
    std::set<std::string> functions;  // calls of others are text
    int max_calls = 1;                // what is behind them is dropped
  };
  struct Output {
    std::string content;  // text that is no call
    std::vector<CallDelta> calls;
  };

  explicit ToolCallReader(Options options) : options_(std::move(options)) {}

  // Invariant: whatever the pieces are, the same comes out of the same text.
  Output Push(absl::string_view text);

  // At the end of the text: what was held back because it might have become a call.
  Output Finish();

  bool has_calls() const { return calls_ > 0; }

 private:
  enum class State {
    kStart,    // kJson: nothing but white space so far
    kText,     // what is no call; kTagged: until a tag
    kOpen,     // where a call has to begin
    kCall,     // within one
    kBetween,  // behind one
    kPlain,    // text to the end
    kDropped,  // nothing more is of use
  };

  bool Step(Output* out);  // false: more text is needed
  bool Start();
  bool Text(Output* out);
  bool Open(Output* out);
  bool Call(Output* out);
  bool Between();
  bool GiveUp(Output* out);
  void Pass(Output* out);

  const Options options_;
  State state_ = State::kText;
  bool begun_ = false;
  std::string pending_;  // not looked at yet
  std::string before_;   // what stands in front of a call, in case that it is none
  JsonCall call_;
  bool named_ = false;           // the call under way has been told of
  bool is_behind_call_ = false;  // no text since the last one but white space
  int calls_ = 0;                // that were begun
};

}  // namespace llava::api

#endif  // LLAVA_SERVER_CHAT_TOOL_CALL_READER_H_

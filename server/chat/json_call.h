// The JSON of one call of a function, read as it comes.
#ifndef LLAVA_SERVER_CHAT_JSON_CALL_H_
#define LLAVA_SERVER_CHAT_JSON_CALL_H_

#include <string>

namespace llava::api {

// {"name": "f", "arguments": {...}}, or with "parameters"; the members in any order, others are
// left out. Not thread-safe.
class JsonCall {
 public:
  // The text from its "{" on. REQUIRES: !done().
  void Push(char c);

  bool done() const { return done_; }
  const std::string& text() const { return text_; }  // all of it
  const std::string& name() const { return name_; }  // empty: not known yet

  // What is known of the arguments' text and was not taken yet. Arguments that are a text are what
  // it holds.
  std::string TakeArguments();
  bool has_arguments() const { return has_arguments_; }

 private:
  void EndMember();
  void PushValue(char c, bool closes);
  bool IsArguments() const { return key_ == "arguments" || key_ == "parameters"; }

  std::string text_;
  std::string name_;
  std::string key_;        // of the member under way; empty before its colon
  std::string value_;      // of the member under way, as JSON, so far
  std::string arguments_;  // not taken yet
  int depth_ = 0;
  bool in_string_ = false;
  bool escaped_ = false;
  bool has_key_ = false;
  bool has_arguments_ = false;
  bool done_ = false;
};

}  // namespace llava::api

#endif  // LLAVA_SERVER_CHAT_JSON_CALL_H_

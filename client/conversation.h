// A conversation as the user builds it: images that wait for the next question, questions,
// answers.
#ifndef LLAVA_CLIENT_CONVERSATION_H_
#define LLAVA_CLIENT_CONVERSATION_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "llava/v1/chat.pb.h"

namespace llava::client {

class Conversation {
 public:
  // The image goes with the next question. NOT_FOUND or INVALID_ARGUMENT.
  absl::Status AddImage(const std::string& path);

  // The request that asks `question` after all that was said. It stays the last message until
  // Answered or Dropped.
  v1::ChatRequest Ask(const std::string& question, const v1::ChatRequest& settings);

  void Answered(const std::string& text);
  void Dropped() { messages_.pop_back(); }  // the question failed: as if it had not been asked

  void Reset();
  void SetSystem(const std::string& text);

  std::size_t waiting_images() const { return images_.size(); }
  const std::string& newest_image() const { return images_.back(); }  // REQUIRES: one waits

  // What was said as the body of a chat completion, images included: it can be sent again to
  // /v1/chat/completions. Replaces the file at once, so that it is whole at any time.
  absl::Status Save(const std::string& path) const;

 private:
  std::vector<v1::ChatMessage> messages_;
  std::vector<std::string> images_;
};

}  // namespace llava::client

#endif  // LLAVA_CLIENT_CONVERSATION_H_

// A checkpoint's own chat template, executed (model/template), from messages to a prompt whose
// parts say what the template wrote and what a message held.
#ifndef LLAVA_MODEL_TEXT_EXECUTED_TEMPLATE_H_
#define LLAVA_MODEL_TEXT_EXECUTED_TEMPLATE_H_

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "boost/json/fwd.hpp"
#include "model/template/jinja_template.h"
#include "model/text/chat_message.h"

namespace llava::model {

// What the files of a checkpoint give to its template.
struct TemplateTexts {
  std::string image_token = "<image>";
  std::map<std::string, std::string> special_tokens;  // "bos_token" and so on
};

// Immutable; any thread.
class ExecutedTemplate {
 public:
  // Compiles the Jinja text and tries it with conversations of each role, of several turns, with
  // and without pictures, which also shows in what form it takes the content of messages: as a
  // list of parts, as in transformers' processors, or as one text. kInvalidArgument "line 3: what
  // is wrong" for a template that fails on them. One that refuses a role or an order of turns by
  // raise_exception does not fail, but for a lone question.
  static absl::StatusOr<std::shared_ptr<const ExecutedTemplate>> Make(std::string source,
                                                                      TemplateTexts texts);

  const std::string& source() const { return source_; }

  // Whether it has a place for functions, for calls of them and for what they gave back.
  bool writes_tools() const { return writes_tools_; }

  // As ChatTemplate::Render, of messages that are not empty; functions, calls and their results
  // only where writes_tools(). kInvalidArgument about the field "messages": the template refuses
  // them, with its own words, or fails on them, or leaves out the open turn of the assistant.
  absl::StatusOr<std::vector<PromptPart>> Render(
      std::span<const ChatMessage> messages, std::span<const ToolFunction> functions = {}) const;

 private:
  // The forms of a message's content.
  enum class Form {
    kParts,    // {"type": "image"} and {"type": "text", "text": ...} in turn
    kOneText,  // the same with all texts in one, for templates that read the first one alone
    kString,   // the images' tokens, a line each, and the texts, a line each
  };
  struct Forms {
    Form user = Form::kParts;
    Form assistant = Form::kParts;
    Form system = Form::kParts;
    Form tool = Form::kString;

    Form& Of(Role role);
  };

  ExecutedTemplate(JinjaTemplate jinja, std::string source, TemplateTexts texts);

  // The first form of `role` in which the messages come out whole is kept.
  absl::Status FindForm(Role role, std::span<const ChatMessage> messages, Forms& forms) const;
  absl::Status Try(std::span<const ChatMessage> messages, const Forms& forms) const;
  // Finds out writes_tools_ and the form of kTool.
  void TryTools();

  boost::json::value Content(const ChatMessage& message, Form form, bool open) const;
  absl::StatusOr<boost::json::value> Variable(std::span<const ChatMessage> messages, std::size_t i,
                                              Forms forms) const;
  absl::StatusOr<std::vector<TextSpan>> Spans(std::span<const ChatMessage> messages,
                                              const Forms& forms,
                                              std::span<const ToolFunction> functions = {}) const;
  // The prompt's parts; the k-th token of an image that the template wrote is the k-th image.
  absl::StatusOr<std::vector<PromptPart>> Parts(std::span<const TextSpan> spans,
                                                std::span<const ChatMessage> messages) const;

  JinjaTemplate jinja_;
  std::string source_;
  TemplateTexts texts_;
  Forms forms_;
  bool writes_tools_ = false;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_TEXT_EXECUTED_TEMPLATE_H_

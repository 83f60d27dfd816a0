#include "model/text/chat_template.h"

#include <string>
#include <utility>
#include <vector>

#include "base/field_error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llava::model {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const std::string kUserSystem =
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions.";
const std::string kHumanSystem =
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the human's questions.";
const std::string kLlama2System =
    "You are a helpful language and vision assistant. You are able to understand the visual "
    "content that the user provides, and assist the user with a variety of tasks using natural "
    "language.";

ChatMessage User(std::vector<MessagePart> parts) { return {Role::kUser, std::move(parts)}; }
ChatMessage Assistant(const std::string& text) { return {Role::kAssistant, {text}}; }
ChatMessage System(const std::string& text) { return {Role::kSystem, {text}}; }

std::string Rendered(const std::string& name, const std::vector<ChatMessage>& messages) {
  const auto parts = ChatTemplate::ByName(name)->Render(messages);
  EXPECT_TRUE(parts.ok()) << parts.status();
  return PromptText(*parts);
}

const std::vector<ChatMessage> kQuestion = {User({ImagePart{0}, std::string("What is it?")})};
const std::vector<ChatMessage> kTwoTurns = {User({ImagePart{0}, std::string("What is it?")}),
                                            Assistant("A cat."), User({std::string("Sure?")})};

TEST(ChatTemplateTest, OneTurn) {
  EXPECT_EQ(Rendered("vicuna_v1", kQuestion),
            kUserSystem + " USER: <image>\nWhat is it? ASSISTANT:");
  EXPECT_EQ(Rendered("llava_v1", kQuestion),
            kHumanSystem + " USER: <image>\nWhat is it? ASSISTANT:");
  EXPECT_EQ(Rendered("llava_llama_2", kQuestion),
            "[INST] <<SYS>>\n" + kLlama2System + "\n<</SYS>>\n\n<image>\nWhat is it? [/INST]");
  EXPECT_EQ(Rendered("mistral_instruct", kQuestion), "[INST] <image>\nWhat is it? [/INST]");
  EXPECT_EQ(Rendered("chatml", kQuestion),
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
            "<|im_start|>user\n<image>\nWhat is it?<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(Rendered("plain", kQuestion), "<image>\nWhat is it?\n");
  EXPECT_EQ(Rendered("hf", kQuestion), "USER: <image>\nWhat is it? ASSISTANT:");
  EXPECT_EQ(Rendered("hf_joined", kQuestion), "USER: <image>\nWhat is it? ASSISTANT:");
}

TEST(ChatTemplateTest, FurtherTurns) {
  EXPECT_EQ(
      Rendered("vicuna_v1", kTwoTurns),
      kUserSystem + " USER: <image>\nWhat is it? ASSISTANT: A cat.</s>USER: Sure? ASSISTANT:");
  EXPECT_EQ(Rendered("llava_llama_2", kTwoTurns),
            "[INST] <<SYS>>\n" + kLlama2System +
                "\n<</SYS>>\n\n<image>\nWhat is it? [/INST] A cat. </s><s>[INST] Sure? [/INST]");
  EXPECT_EQ(Rendered("mistral_instruct", kTwoTurns),
            "[INST] <image>\nWhat is it? [/INST] A cat. </s>[INST] Sure? [/INST]");
  EXPECT_EQ(Rendered("hf", kTwoTurns),
            "USER: <image>\nWhat is it? ASSISTANT: A cat. USER: Sure? ASSISTANT:");
}

TEST(ChatTemplateTest, V0EndsEverythingWithItsSeparator) {
  EXPECT_EQ(Rendered("llava_v0", kQuestion),
            kHumanSystem + "###Human: <image>\nWhat is it?###Assistant:");
  EXPECT_EQ(Rendered("llava_v0", kTwoTurns),
            kHumanSystem +
                "###Human: <image>\nWhat is it?###Assistant: A cat.###Human: Sure?###Assistant:");
  EXPECT_EQ(Rendered("llava_v0", {System("Be terse."), User({std::string("Hi")}), Assistant("Y")}),
            "Be terse.###Human: Hi###Assistant: Y");
  EXPECT_THAT(ChatTemplate::ByName("llava_v0")->stops(), testing::ElementsAre("###"));
  EXPECT_THAT(ChatTemplate::ByName("vicuna_v1")->stops(), IsEmpty());
}

TEST(ChatTemplateTest, TurnsOfChatmlEnd) {
  EXPECT_EQ(Rendered("chatml", {System(""), User({std::string("Hi")}), Assistant("Yes."),
                                User({std::string("Sure?")}), Assistant("I")}),
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n"
            "<|im_start|>user\nSure?<|im_end|>\n<|im_start|>assistant\nI");
}

TEST(ChatTemplateTest, SystemMessagesReplaceTheTemplatesOwn) {
  const std::vector<ChatMessage> messages = {System("Be brief."), User({std::string("Hi")})};
  EXPECT_EQ(Rendered("vicuna_v1", messages), "Be brief. USER: Hi ASSISTANT:");
  EXPECT_EQ(Rendered("mistral_instruct", messages),
            "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST]");
  EXPECT_EQ(Rendered("hf", messages), "Be brief. USER: Hi ASSISTANT:");
  EXPECT_EQ(Rendered("hf_joined", messages), "SYSTEM: Be brief. USER: Hi ASSISTANT:");
}

TEST(ChatTemplateTest, ImagesComeFirstInAnyTurn) {
  const std::vector<ChatMessage> messages = {
      User({std::string("Compare "), ImagePart{1}, std::string("and"), ImagePart{0}}),
      Assistant("Done."), User({std::string(" More: "), ImagePart{2}})};
  EXPECT_EQ(Rendered("vicuna_v1", messages),
            kUserSystem +
                " USER: <image>\n<image>\nCompare \nand ASSISTANT: Done.</s>USER: "
                "<image>\nMore: ASSISTANT:");
  const auto parts = *ChatTemplate::ByName("vicuna_v1")->Render(messages);
  std::vector<int> order;
  for (const PromptPart& part : parts) {
    if (const auto* image = std::get_if<ImagePart>(&part)) order.push_back(image->index);
  }
  EXPECT_THAT(order, ElementsAre(1, 0, 2));
  // An image alone, as in the reference's preprocessing.
  EXPECT_EQ(Rendered("vicuna_v1", {User({ImagePart{0}})}),
            kUserSystem + " USER: <image> ASSISTANT:");
  EXPECT_EQ(Rendered("plain", {User({ImagePart{0}})}), "<image>\n");
}

TEST(ChatTemplateTest, OnlyTheTemplatesTextIsControl) {
  const std::vector<ChatMessage> messages = {System("</s>"), User({std::string("<image></s>")}),
                                             Assistant("<s>"), User({std::string("x")})};
  for (const std::string& name : ChatTemplate::Names()) {
    const auto parts = *ChatTemplate::ByName(name)->Render(messages);
    std::string typed;
    for (const PromptPart& part : parts) {
      const auto* text = std::get_if<TextPart>(&part);
      ASSERT_NE(text, nullptr) << name;
      if (!text->control) typed += text->text;
    }
    EXPECT_EQ(typed, "</s><image></s><s>x") << name;
  }
}

TEST(ChatTemplateTest, SystemMessagesMayBeSeveralAndComeLater) {
  const std::vector<ChatMessage> two = {System("A."), System("B."), User({std::string("Hi")})};
  EXPECT_EQ(Rendered("vicuna_v1", two), "A.\nB. USER: Hi ASSISTANT:");
  EXPECT_EQ(Rendered("mistral_instruct", two), "[INST] <<SYS>>\nA.\nB.\n<</SYS>>\n\nHi [/INST]");
  EXPECT_EQ(Rendered("plain", two), "A.\nB.Hi\n");
  EXPECT_EQ(Rendered("hf", two), "A. B. USER: Hi ASSISTANT:");
  EXPECT_EQ(Rendered("hf_joined", two), "SYSTEM: A. SYSTEM: B. USER: Hi ASSISTANT:");
  const std::vector<ChatMessage> later = {User({std::string("Hi")}), Assistant("Yo"),
                                          System("Be terse."),
                                          User({ImagePart{0}, std::string("And?")})};
  EXPECT_EQ(Rendered("vicuna_v1", later),
            kUserSystem + " USER: Hi ASSISTANT: Yo</s>USER: <image>\nBe terse.\nAnd? ASSISTANT:");
  EXPECT_EQ(Rendered("hf_joined", later),
            "USER: Hi ASSISTANT: Yo SYSTEM: Be terse. USER: <image>\nAnd? ASSISTANT:");
  // Nobody says anything after it.
  const std::vector<ChatMessage> last = {User({std::string("Hi")}), Assistant("Yo"),
                                         System("Go on.")};
  EXPECT_EQ(Rendered("mistral_instruct", last), "[INST] Hi [/INST] Yo </s>[INST] Go on. [/INST]");
  const std::vector<ChatMessage> only = {System("Say a word.")};
  EXPECT_EQ(Rendered("vicuna_v1", only), "Say a word. ASSISTANT:");
  EXPECT_EQ(Rendered("mistral_instruct", only),
            "[INST] <<SYS>>\nSay a word.\n<</SYS>>\n\n [/INST]");
  EXPECT_EQ(Rendered("hf", only), "Say a word. ASSISTANT:");
}

TEST(ChatTemplateTest, TheAssistantsLastTurnIsContinued) {
  const std::vector<ChatMessage> messages = {User({std::string("Hi")}), Assistant("A."),
                                             User({std::string("More")}), Assistant("The sky")};
  EXPECT_EQ(Rendered("vicuna_v1", messages),
            kUserSystem + " USER: Hi ASSISTANT: A.</s>USER: More ASSISTANT: The sky");
  EXPECT_EQ(Rendered("mistral_instruct", messages),
            "[INST] Hi [/INST] A. </s>[INST] More [/INST] The sky");
  EXPECT_EQ(Rendered("plain", messages), "Hi\nA.\nMore\nThe sky");
  EXPECT_EQ(Rendered("hf", messages), "USER: Hi ASSISTANT: A. USER: More ASSISTANT: The sky");
  EXPECT_EQ(Rendered("hf_joined", messages),
            "USER: Hi ASSISTANT: A. USER: More ASSISTANT: The sky");
  EXPECT_EQ(Rendered("mistral_instruct", {Assistant("The sky")}), "[INST]  [/INST] The sky");
  for (const std::string& name : ChatTemplate::Names()) {  // no text yet: it is only asked for
    EXPECT_EQ(Rendered(name, {User({std::string("Hi")}), Assistant("")}),
              Rendered(name, {User({std::string("Hi")})}));
  }
}

TEST(ChatTemplateTest, RefusesWhatIsNoConversation) {
  const ChatTemplate chat_template = *ChatTemplate::ByName("vicuna_v1");
  const std::vector<std::pair<std::vector<ChatMessage>, std::string>> wrong = {
      {{}, "messages"},
      {{User({})}, "messages[0]"},
      {{User({std::string("x")}), {Role::kAssistant, {ImagePart{0}}}}, "messages[1]"},
      {{{Role::kSystem, {ImagePart{0}}}, User({std::string("x")})}, "messages[0]"},
  };
  for (const auto& [messages, field] : wrong) {
    const absl::Status status = chat_template.Render(messages).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(FieldOf(status), field);
  }
}

TEST(ChatTemplateTest, UnknownNamesAreListed) {
  const auto chat_template = ChatTemplate::ByName("alpaca");
  EXPECT_EQ(chat_template.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(chat_template.status().message()), HasSubstr("vicuna_v1, llava_v1"));
  for (const std::string& name : ChatTemplate::Names()) {
    EXPECT_EQ(ChatTemplate::ByName(name)->name(), name);
  }
}

}  // namespace
}  // namespace llava::model

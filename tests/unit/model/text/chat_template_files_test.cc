// ChatTemplate::ForCheckpoint.
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/json_reader.h"
#include "boost/json/object.hpp"
#include "boost/json/serialize.hpp"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/text/chat_template.h"
#include "tests/support/temp_dir.h"

namespace llava::model {
namespace {

using testing::AllOf;
using testing::HasSubstr;

const std::vector<ChatMessage> kQuestion = {{Role::kUser, {ImagePart{0}, std::string("Hi")}}};

class ChatTemplateFilesTest : public testing::Test {
 protected:
  void Write(const std::string& name, const std::string& text) const {
    std::ofstream(dir_.path() + "/" + name, std::ios::binary) << text;
  }
  void WriteTemplate(const std::string& name, const boost::json::value& jinja) const {
    Write(name, boost::json::serialize(boost::json::object{{"chat_template", jinja}}));
  }
  void WriteJinja(const std::string& name, const std::string& jinja) const {
    WriteTemplate(name, boost::json::string(jinja));
  }
  std::string Prompt() {
    const auto chat_template = ChatTemplate::ForCheckpoint(dir_.path(), {});
    EXPECT_TRUE(chat_template.ok()) << chat_template.status();
    if (!chat_template.ok()) return "";
    const auto parts = chat_template->Render(kQuestion);
    EXPECT_TRUE(parts.ok()) << parts.status();
    return parts.ok() ? PromptText(*parts) : "";
  }
  std::string Name(const LlavaConfig& config = {}) {
    const auto chat_template = ChatTemplate::ForCheckpoint(dir_.path(), config);
    EXPECT_TRUE(chat_template.ok()) << chat_template.status();
    return chat_template.ok() ? chat_template->name() : "";
  }

  test::TempDir dir_;
};

TEST_F(ChatTemplateFilesTest, ExecutesTheHubsTemplates) {
  const auto texts = *ReadJsonObject("tests/golden/data/text/chat_templates.json");
  for (const std::string version : {"hub", "older"}) {
    WriteTemplate("tokenizer_config.json", texts.at(version));
    EXPECT_EQ(Name(), "tokenizer_config.json");
    EXPECT_EQ(Prompt(), "USER: <image>\nHi ASSISTANT:");
    WriteTemplate("tokenizer_config.json",
                  boost::json::array{
                      boost::json::object{{"name", "default"}, {"template", texts.at(version)}}});
    EXPECT_EQ(Prompt(), "USER: <image>\nHi ASSISTANT:");
  }
  // A file of its own counts first.
  Write("chat_template.jinja", "{# none #}\n" + std::string(texts.at("hub").as_string()) + "\n");
  WriteTemplate("tokenizer_config.json", "something else");
  EXPECT_EQ(Name(), "chat_template.jinja");
  EXPECT_EQ(Prompt(), "USER: <image>\nHi ASSISTANT:");
}

// Labels are known for the original code's templates, by their name.
TEST_F(ChatTemplateFilesTest, ReadsWhatItWrites) {
  for (const std::string& name : ChatTemplate::Names()) {
    const ChatTemplate written = *ChatTemplate::ByName(name);
    Write("chat_template.jinja", written.Jinja());
    EXPECT_EQ(Name(), name.starts_with("hf") ? "chat_template.jinja" : name);
    EXPECT_EQ(Prompt(), PromptText(*written.Render(kQuestion)));
  }
}

TEST_F(ChatTemplateFilesTest, ATemplateThatFailsIsRefusedNotReplaced) {
  WriteTemplate("tokenizer_config.json", "\n{{ messages }}");
  for (const std::string name : {"tokenizer_config.json", "chat_template.json"}) {
    WriteTemplate(name, "\n{{ messages }}");
    const auto status = ChatTemplate::ForCheckpoint(dir_.path(), {}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr(name + ": chat_template: line 2: "),
                      HasSubstr("the setting chat_template"), HasSubstr("vicuna_v1, llava_v1")));
  }
}

TEST_F(ChatTemplateFilesTest, GivesTheSpecialTokensAndTheProcessorsImageToken) {
  Write("tokenizer_config.json",
        R"({"bos_token": {"content": "<B>"}, "eos_token": "<E>", "pad_token": null})");
  Write("special_tokens_map.json", R"({"eos_token": "<other>", "pad_token": "<P>"})");
  Write("processor_config.json", R"({"image_token": "<pic>"})");
  Write("chat_template.jinja",
        "{{ bos_token }}{% for m in messages %}{% for c in m.content %}"
        "{{ '<pic>' if c.type == 'image' else c.text }}{% endfor %}{% endfor %}"
        "{{ eos_token + pad_token }}{{ unk_token }}");
  EXPECT_EQ(Prompt(), "<B><image>Hi<E><P>");
}

TEST_F(ChatTemplateFilesTest, WithoutOneTheArchitectureCounts) {
  EXPECT_EQ(Name(), "vicuna_v1");
  LlavaConfig config;
  config.name = "llava-v1.5-7b";
  EXPECT_EQ(Name(config), "vicuna_v1");
  for (const char* v0 : {"LLaVA-7b-v0", "llava-13b-v0-science_qa"}) {
    config.name = v0;
    EXPECT_EQ(Name(config), "llava_v0") << v0;
  }
  for (const char* other : {"llava-tiny-v0.1", "llava-v1-0719", "tiny-v0", "llava-v01"}) {
    config.name = other;
    EXPECT_EQ(Name(config), "vicuna_v1") << other;
  }
  config.name = "llava-llama-2-13b-chat";
  EXPECT_EQ(Name(config), "llava_llama_2");
  config.name = "model";
  config.base_model = "mistralai/Mistral-7B-Instruct-v0.2";
  EXPECT_EQ(Name(config), "mistral_instruct");
  config.base_model = "";
  config.text.model_type = "mistral";
  EXPECT_EQ(Name(config), "mistral_instruct");
}

TEST_F(ChatTemplateFilesTest, OfANamedListTheDefaultCounts) {
  const std::string hf = ChatTemplate::ByName("hf")->Jinja();
  const std::string plain = ChatTemplate::ByName("plain")->Jinja();
  const auto named = [](const char* name, const std::string& jinja) {
    return boost::json::object{{"name", name}, {"template", jinja}};
  };
  WriteTemplate("chat_template.json",
                boost::json::array{named("tools", plain), 7, named("default", hf)});
  EXPECT_EQ(Name(), "chat_template.json");
  // None of them counts where none is the default; the next file does.
  WriteTemplate("chat_template.json", boost::json::array{named("tools", plain)});
  WriteJinja("tokenizer_config.json", hf);
  EXPECT_EQ(Name(), "tokenizer_config.json");
}

TEST_F(ChatTemplateFilesTest, TheProcessorsFileCountsBeforeTheTokenizers) {
  WriteJinja("chat_template.json", ChatTemplate::ByName("plain")->Jinja());
  WriteJinja("tokenizer_config.json", ChatTemplate::ByName("hf")->Jinja());
  EXPECT_EQ(Name(), "plain");
  std::filesystem::remove(dir_.path() + "/chat_template.json");
  EXPECT_EQ(Name(), "tokenizer_config.json");
}

TEST_F(ChatTemplateFilesTest, FilesThatCannotBeReadAreErrors) {
  Write("tokenizer_config.json", "{");
  EXPECT_TRUE(absl::IsInvalidArgument(ChatTemplate::ForCheckpoint(dir_.path(), {}).status()));
  WriteTemplate("tokenizer_config.json", 5);
  const auto status = ChatTemplate::ForCheckpoint(dir_.path(), {}).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("chat_template"));
}

// A half-downloaded snapshot of a hub's cache is made of links: another template would be taken.
TEST_F(ChatTemplateFilesTest, ALinkThatLeadsNowhereIsNoAbsentFile) {
  WriteJinja("tokenizer_config.json", "{{ messages[0].content }}");
  for (const std::string name :
       {"chat_template.jinja", "chat_template.json", "special_tokens_map.json"}) {
    std::filesystem::create_symlink("../blobs/no", dir_.path() + "/" + name);
    const auto status = ChatTemplate::ForCheckpoint(dir_.path(), {}).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << name << ": " << status;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr(name), HasSubstr("'../blobs/no', which is not there")));
    std::filesystem::remove(dir_.path() + "/" + name);
  }
}

}  // namespace
}  // namespace llava::model

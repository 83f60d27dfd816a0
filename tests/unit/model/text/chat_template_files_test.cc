// ChatTemplate::ForCheckpoint.
#include <filesystem>
#include <fstream>
#include <string>

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
  std::string Name(const LlavaConfig& config = {}) {
    const auto chat_template = ChatTemplate::ForCheckpoint(dir_.path(), config);
    EXPECT_TRUE(chat_template.ok()) << chat_template.status();
    return chat_template.ok() ? chat_template->name() : "";
  }

  test::TempDir dir_;
};

TEST_F(ChatTemplateFilesTest, KnowsTheHubsTemplates) {
  const auto texts = *ReadJsonObject("tests/golden/data/text/chat_templates.json");
  for (const std::string version : {"hub", "older"}) {
    WriteTemplate("tokenizer_config.json", texts.at(version));
    EXPECT_EQ(Name(), "hf");
    WriteTemplate("tokenizer_config.json",
                  boost::json::array{
                      boost::json::object{{"name", "default"}, {"template", texts.at(version)}}});
    EXPECT_EQ(Name(), "hf");
  }
  // Line ends and white space between tags do not matter, and a file of its own counts first.
  Write("chat_template.jinja", "{# none #}\n" + std::string(texts.at("hub").as_string()) + "\n");
  WriteTemplate("tokenizer_config.json", "something else");
  EXPECT_EQ(Name(), "hf");
}

TEST_F(ChatTemplateFilesTest, ReadsWhatItWrites) {
  for (const std::string& name : ChatTemplate::Names()) {
    Write("chat_template.jinja", ChatTemplate::ByName(name)->Jinja());
    EXPECT_EQ(Name(), name);
  }
}

TEST_F(ChatTemplateFilesTest, AnUnknownTemplateIsRefusedNotReplaced) {
  WriteTemplate("tokenizer_config.json", "{{ messages }}");
  for (const std::string name : {"tokenizer_config.json", "chat_template.json"}) {
    WriteTemplate(name, "{{ messages }}");
    const auto status = ChatTemplate::ForCheckpoint(dir_.path(), {}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr(name + ": chat_template"), HasSubstr("the setting chat_template"),
                      HasSubstr("vicuna_v1, llava_v1")));
  }
}

TEST_F(ChatTemplateFilesTest, WithoutOneTheArchitectureCounts) {
  EXPECT_EQ(Name(), "vicuna_v1");
  LlavaConfig config;
  config.name = "llava-v1.5-7b";
  EXPECT_EQ(Name(config), "vicuna_v1");
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
  EXPECT_EQ(Name(), "hf");
  // None of them counts where none is the default; the next file does.
  WriteTemplate("chat_template.json", boost::json::array{named("tools", plain)});
  WriteJinja("tokenizer_config.json", hf);
  EXPECT_EQ(Name(), "hf");
}

TEST_F(ChatTemplateFilesTest, TheProcessorsFileCountsBeforeTheTokenizers) {
  WriteJinja("chat_template.json", ChatTemplate::ByName("plain")->Jinja());
  WriteJinja("tokenizer_config.json", ChatTemplate::ByName("hf")->Jinja());
  EXPECT_EQ(Name(), "plain");
  std::filesystem::remove(dir_.path() + "/chat_template.json");
  EXPECT_EQ(Name(), "hf");
}

// What does not print does not matter; what stands in quotes does.
TEST_F(ChatTemplateFilesTest, CommentsAndWhiteSpaceOutsideOfQuotesDoNotMatter) {
  const std::string jinja = ChatTemplate::ByName("hf")->Jinja();
  Write("chat_template.jinja", "{#- one 'quote -#}\n " + jinja + "{# two #}{# cut");
  EXPECT_EQ(Name(), "hf");
  Write("chat_template.jinja", "{% generation %}" + jinja + "{% endgeneration %}");
  EXPECT_EQ(Name(), "hf");
  for (const char* text : {"{{ ' ' }}", "{{ '{# no comment #}' }}", "{{ \"it's\" }}"}) {
    Write("chat_template.jinja", jinja + text);
    EXPECT_TRUE(absl::IsUnimplemented(ChatTemplate::ForCheckpoint(dir_.path(), {}).status()))
        << text;
  }
}

TEST_F(ChatTemplateFilesTest, AQuoteOfTheOtherKindEndsNoText) {
  WriteTemplate("tokenizer_config.json", "{{ \"a' b\" }}");
  const auto with_space = ChatTemplate::ForCheckpoint(dir_.path(), {}).status();
  WriteTemplate("tokenizer_config.json", "{{ \"a'b\" }}");
  const auto without = ChatTemplate::ForCheckpoint(dir_.path(), {}).status();
  const auto digest = [](const absl::Status& status) {
    const std::string text(status.message());
    return text.substr(text.find("SHA-256"), 24);
  };
  EXPECT_NE(digest(with_space), digest(without));
}

TEST_F(ChatTemplateFilesTest, FilesThatCannotBeReadAreErrors) {
  Write("tokenizer_config.json", "{");
  EXPECT_TRUE(absl::IsInvalidArgument(ChatTemplate::ForCheckpoint(dir_.path(), {}).status()));
  WriteTemplate("tokenizer_config.json", 5);
  const auto status = ChatTemplate::ForCheckpoint(dir_.path(), {}).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("chat_template"));
}

}  // namespace
}  // namespace llava::model

// ChatTemplate::Jinja: a checkpoint that is written with a template is read with it again.
#include <fstream>
#include <string>

#include "gtest/gtest.h"
#include "model/text/chat_template.h"
#include "tests/support/temp_dir.h"

namespace llava::model {
namespace {

std::string NameOfWritten(const std::string& jinja) {
  const test::TempDir dir;
  std::ofstream(dir.path() + "/chat_template.jinja", std::ios::binary) << jinja;
  const auto read = ChatTemplate::ForCheckpoint(dir.path(), LlavaConfig());
  return read.ok() ? read->name() : std::string(read.status().message());
}

TEST(ChatTemplateJinjaTest, EveryTemplateIsRecognised) {
  for (const std::string& name : ChatTemplate::Names()) {
    EXPECT_EQ(NameOfWritten(ChatTemplate::ByName(name)->Jinja()), name);
  }
}

// As the hub has them, with comments and on one line.
TEST(ChatTemplateJinjaTest, RecognisesTheHubsOfLlavaNextAndOnevision) {
  const std::string mistral =
      R"({% for message in messages %}{% if message['role'] == 'system' %}{{ '<<SYS>>
' + message['content'][0]['text'] + '
<</SYS>>

' }}{% elif message['role'] == 'user' %}{{ '[INST] ' }}{# Render all images first #})"
      R"({% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>
' }}{% endfor %}{# Render all text next #}{% for content in message['content'] | )"
      R"(selectattr('type', 'equalto', 'text') %}{{ content['text'] }}{% endfor %}{{' [/INST]' }})"
      R"({% elif message['role'] == 'assistant' %}{{ ' ' + message['content'][0]['text'] + )"
      R"('<\s> '}}{% else %})"
      R"({{ raise_exception('Only user and assistant roles are supported!') }}{% endif %})"
      R"({% endfor %})";
  EXPECT_EQ(NameOfWritten(mistral), "hf_next_mistral_s");
  const std::string onevision =
      R"({% for message in messages %}{{'<|im_start|>' + message['role'] + ' '}})"
      R"({# Render all images first #}{% for content in message['content'] | )"
      R"(selectattr('type', 'equalto', 'image') %}{{ '<image>' }}{% endfor %}{# Render all video )"
      R"(then #}{% for content in message['content'] | selectattr('type', 'equalto', 'video') %})"
      R"({{ '<video>' }}{% endfor %}{# Render all text next #}{% if message['role'] != )"
      R"('assistant' %}{% for content in message['content'] | selectattr('type', 'equalto', )"
      R"('text') %}{{ '\n' + content['text'] }}{% endfor %}{% else %}{% for content in )"
      R"(message['content'] | selectattr('type', 'equalto', 'text') %}{% generation %})"
      R"({{ '\n' + content['text'] }}{% endgeneration %}{% endfor %}{% endif %}{{'<|im_end|>'}})"
      R"({% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %})";
  EXPECT_EQ(NameOfWritten(onevision), "hf_onevision");
}

}  // namespace
}  // namespace llava::model

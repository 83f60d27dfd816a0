#include "model/text/hub_templates.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "model/text/chat_template.h"

namespace llava::model {
namespace {

// Of llava-hf/llava-1.5-7b-hf and of LLaVA-1.6 with Vicuna: a space after every text, no role for
// the system.
constexpr absl::string_view kHuggingFace = R"({%- for message in messages -%}
{{- '' if message['role'] == 'system' else message['role'] | upper + ': ' -}}
{%- for part in message['content'] if part['type'] == 'image' -%}{{- '<image>\n' -}}{%- endfor -%}
{%- for part in message['content'] if part['type'] == 'text' -%}{{- part['text'] + ' ' -}}
{%- endfor -%}
{%- endfor -%}
{{- 'ASSISTANT:' if add_generation_prompt else '' -}}
)";

// A role for every message, its texts joined, one space after it.
constexpr absl::string_view kHuggingFaceJoined = R"({%- for message in messages -%}
{{- message['role'] | upper + ': ' -}}
{%- for part in message['content'] if part['type'] == 'image' -%}{{- '<image>\n' -}}{%- endfor -%}
{%- for part in message['content'] if part['type'] == 'text' -%}{{- part['text'] -}}
{%- endfor -%}
{{- ' ' -}}
{%- endfor -%}
{{- 'ASSISTANT:' if add_generation_prompt else '' -}}
)";

// As they are written on the hub, but for white space outside of quotes.
constexpr absl::string_view kNextMistral =
    R"({% for message in messages %}{% if message['role'] == 'system' %}
{{ '<<SYS>>\n' + message['content'][0]['text'] + '\n<</SYS>>\n\n' }}
{% elif message['role'] == 'user' %}{{ '[INST] ' }}
{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}
{% endfor %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}
{{ content['text'] }}{% endfor %}{{' [/INST]' }}{% elif message['role'] == 'assistant' %}
{{ ' ' + message['content'][0]['text'] + '@END@'}}
{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}
{% endif %}{% endfor %})";

constexpr absl::string_view kNextLlama3 =
    R"({% for message in messages %}
{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'}}
{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>' }}
{% endfor %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}
{{ '\n' + content['text'] + '<|eot_id|>' }}{% endfor %}{% endfor %}
{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{% endif %})";

constexpr absl::string_view kOnevision =
    R"({% for message in messages %}{{'<|im_start|>' + message['role'] + ' '}}
{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>' }}
{% endfor %}{% for content in message['content'] | selectattr('type', 'equalto', 'video') %}
{{ '<video>' }}{% endfor %}{% if message['role'] != 'assistant' %}
{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}
{{ '\n' + content['text'] }}{% endfor %}{% else %}
{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}
{% generation %}{{ '\n' + content['text'] }}{% endgeneration %}{% endfor %}{% endif %}
{{'<|im_end|>'}}{% endfor %}
{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %})";

// Those of the original code, as ChatTemplate::Render writes them.
// body(content): images first, one a line, then the texts; as ChatTemplate::Render puts them.
constexpr absl::string_view kBody = R"({%- macro body(content) -%}
{%- if content is string -%}{{ content }}
{%- else -%}
{%- set images = content | selectattr('type', 'equalto', 'image') | map(attribute='type') | list -%}
{%- set texts = content | selectattr('type', 'equalto', 'text') | map(attribute='text') -%}
{%- set text = texts | join('\n') -%}
{%- if images -%}{%- set text = text.strip() -%}
{{ images | map('replace', 'image', '<image>') | join('\n') + ('\n' + text if text else '') }}
{%- else -%}{{ text }}
{%- endif -%}
{%- endif -%}
{%- endmacro -%}
)";

constexpr absl::string_view kSystem = R"({%- set system = '@SYSTEM@' -%}{%- set turns = messages -%}
{%- if messages and messages[0]['role'] == 'system' -%}
{%- set system = body(messages[0]['content']) -%}{%- set turns = messages[1:] -%}
{%- endif -%}
)";

constexpr absl::string_view kVicuna = R"({{- system + ' ' if system else '' -}}
{%- for message in turns -%}
{{- 'USER: ' + body(message['content']) + ' ' if message['role'] == 'user' else
    'ASSISTANT: ' + body(message['content']) + '</s>' -}}
{%- endfor -%}
{{- 'ASSISTANT:' if add_generation_prompt else '' -}}
)";

constexpr absl::string_view kSingle = R"({{- system + '###' -}}
{%- for message in turns -%}
{{- ('Human: ' if message['role'] == 'user' else 'Assistant: ') + body(message['content']) -}}
{{- '###' -}}
{%- endfor -%}
{{- 'Assistant:' if add_generation_prompt else '' -}}
)";

constexpr absl::string_view kLlama2 = R"({%- for message in turns -%}
{%- if message['role'] == 'user' -%}
{{- ('' if loop.first else '@BEGIN@') + '[INST] ' -}}
{{- '<<SYS>>\n' + system + '\n<</SYS>>\n\n' if loop.first and system else '' -}}
{{- body(message['content']) + ' [/INST]' -}}
{%- else -%}
{{- ' ' + body(message['content']) + ' </s>' -}}
{%- endif -%}
{%- endfor -%}
)";

constexpr absl::string_view kChatml =
    R"({{- '<|im_start|>system\n' + system + '<|im_end|>\n' if system else '' -}}
{%- for message in turns -%}
{{- '<|im_start|>' + message['role'] + '\n' + body(message['content']) + '<|im_end|>\n' -}}
{%- endfor -%}
{{- '<|im_start|>assistant\n' if add_generation_prompt else '' -}}
)";

constexpr absl::string_view kPlain = R"({{- system -}}
{%- for message in turns -%}{{- body(message['content']) + '\n' -}}{%- endfor -%}
)";

// The template without the white space between its parts, which would print.
std::string OneLine(absl::string_view jinja) { return absl::StrReplaceAll(jinja, {{"\n", ""}}); }

std::string NextMistral(absl::string_view end) {
  return OneLine(absl::StrReplaceAll(kNextMistral, {{"@END@", end}}));
}

}  // namespace

std::string HubTemplate(std::string_view name) {
  if (name == "hf") return std::string(kHuggingFace);
  if (name == "hf_joined") return std::string(kHuggingFaceJoined);
  if (name == "hf_next_mistral") return NextMistral("</s> ");
  if (name == "hf_next_mistral_s") return NextMistral("<\\s> ");
  if (name == "hf_next_llama3") return OneLine(kNextLlama3);
  if (name == "hf_onevision") return OneLine(kOnevision);
  return "";
}

std::string ChatTemplate::Jinja() const {
  const std::string quoted = absl::StrReplaceAll(system_, {{"'", "\\'"}});
  const std::string head =
      absl::StrCat(kBody, absl::StrReplaceAll(kSystem, {{"@SYSTEM@", quoted}}));
  switch (style_) {
    case Style::kVicuna:
      return absl::StrCat(head, kVicuna);
    case Style::kSingle:
      return absl::StrCat(head, kSingle);
    case Style::kLlama2:
      return absl::StrCat(head, absl::StrReplaceAll(kLlama2, {{"@BEGIN@", begin_}}));
    case Style::kChatml:
      return absl::StrCat(head, kChatml);
    case Style::kPlain:
      return absl::StrCat(head, kPlain);
    case Style::kExecuted:
      return executed_->source();
  }
  return "";
}

}  // namespace llava::model

#include "model/text/hub_templates.h"

#include "absl/strings/str_replace.h"

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

}  // namespace llava::model

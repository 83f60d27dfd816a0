// ChatTemplate::Jinja: the original code's templates in the language of Hugging Face checkpoints.
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "model/text/chat_template.h"

namespace llava::model {
namespace {

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

}  // namespace

std::string ChatTemplate::Jinja() const {
  const std::string quoted = absl::StrReplaceAll(system_, {{"'", "\\'"}});
  const std::string head =
      absl::StrCat(kBody, absl::StrReplaceAll(kSystem, {{"@SYSTEM@", quoted}}));
  switch (style_) {
    case Style::kVicuna:
      return absl::StrCat(head, kVicuna);
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

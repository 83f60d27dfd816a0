#!/usr/bin/env python3
"""Golden data for chat templates that are executed: what transformers renders of random conversations.

    make_template_golden.py DATA [--count N] [--seed S] [--out FILE]    (DATA: tests/golden/data)

Needs transformers. Writes one JSON object a line to DATA/text/executed_templates.jsonl: {"template", "cases": [{"messages",
"prompt" or "refused"}]}. The templates are in the manners of families of models; each is given the messages in the form
that it takes: lists of parts, or texts with the places of pictures first.
"""
import argparse
import json
import random
from pathlib import Path

import jinja2
from transformers.utils.chat_template_utils import _compile_jinja_template

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
ATOMS = [" ", "  ", "\n", "\n\n", "\t", "the ", "of", "What is it?", "A cat.", "'q'", '"q"', "\\", "{{ x }}", "{% if %}", "<b>", "</think>",
         "<think>hm", "é", "ß", "日本", "한국", "\U0001f98a", "\u00a0", "\u2028", "user", "a", "B", "3.14", "#"]
# name: (takes lists of parts, Jinja text)
TEMPLATES = {
    "chatml_parts": (True, """\
{%- set image_count = namespace(value=0) -%}
{%- for message in messages -%}
    {%- if loop.first and message['role'] != 'system' -%}
        {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -}}
    {%- endif -%}
    {{- '<|im_start|>' + message['role'] + '\\n' -}}
    {%- if message['content'] is string -%}
        {{- message['content'] + '<|im_end|>\\n' -}}
    {%- else -%}
        {%- for content in message['content'] -%}
            {%- if content['type'] == 'image' or 'image' in content -%}
                {%- set image_count.value = image_count.value + 1 -%}
                {%- if add_vision_id -%}Picture {{ image_count.value }}: {% endif -%}
                <|vision_start|><image><|vision_end|>
            {%- elif 'text' in content -%}
                {{- content['text'] -}}
            {%- endif -%}
        {%- endfor -%}
        {{- '<|im_end|>\\n' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""),
    "thinking": (False, """\
{%- set ns = namespace(multi=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi and message.role == "user" and not(message.content.startswith('<tool>') and message.content.endswith('</tool>')) %}
        {%- set ns.multi = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == "user" or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "system" %}
        {{- '<|im_start|>system\\n' + message.content | trim + '<|im_end|>\\n' }}
    {%- else %}
        {%- set content = message.content %}
        {%- set reasoning = '' %}
        {%- if '</think>' in content %}
            {%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last and (loop.last or (not loop.last and reasoning)) %}
            {{- '<|im_start|>assistant\\n<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>assistant\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""),
    "alternating": (False, """\
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('After the optional system message, conversation roles must alternate user/assistant.') }}
    {%- endif %}
    {%- if message['role'] == 'user' %}
        {%- if loop.last and system_message is defined %}
            {{- '[INST] ' + system_message + '\\n\\n' + message['content'] + '[/INST]' }}
        {%- else %}
            {{- '[INST] ' + message['content'] + '[/INST]' }}
        {%- endif %}
    {%- elif message['role'] == 'assistant' %}
        {{- ' ' + message['content'] | trim + eos_token }}
    {%- endif %}
{%- endfor %}
"""),
    "no_system": (False, """\
{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{% for message in messages %}
{% if (message['role'] == 'assistant') %}
{% set role = 'model' %}
{% else %}
{% set role = message['role'] %}
{% endif %}
{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}
{% endfor %}
{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}
"""),
    "macros": (True, """\
{%- macro body(content, pictures=true) -%}
    {%- for part in content -%}
        {%- if part.type == 'image' and pictures -%}{{ '<image>' }}{%- elif part.type == 'text' -%}{{ part.text | trim }}{%- endif -%}
    {%- endfor -%}
{%- endmacro -%}
{{ bos_token }}{% for message in messages if message.role in ['system', 'user', 'assistant'] %}
{%- set name = {'system': 'System', 'user': 'User', 'assistant': 'Assistant'}[message['role']] -%}
{{- '<|start_header_id|>' ~ name ~ '<|end_header_id|>\\n\\n' ~ body(message.content) ~ '<|eot_id|>' -}}
{%- endfor %}{% if add_generation_prompt %}<|start_header_id|>Assistant<|end_header_id|>

{% endif %}
"""),
    "letters": (False, """\
{%- for message in messages -%}
    {%- set text = message.content.replace('\\r', '').split('\\n') | map('trim') | select | join(' / ') -%}
    {%- set first = message.content[:1] | upper -%}
    {{- message.role[0] | upper }}{{ loop.index }}({{ message.content | length }}, {{ first }}, {{ '#' in message.content }}, {{
        message.content.strip().lower().count('a') }}): {{ text.replace("'", '`') }}
    {%- if not loop.last %}{{ '|' }}{% continue %}{% endif -%}
    {%- break -%}
{%- endfor -%}
"""),
}


def random_text(rng):
    return "".join(rng.choice(ATOMS) for _ in range(rng.randrange(1, 10)))


def random_messages(rng):
    messages = [{"role": "system", "texts": [random_text(rng)], "images": 0}] if rng.random() < 0.3 else []
    for turn in range(rng.randrange(0, 3) * 2 + 1):
        asked = turn % 2 == 0
        if rng.random() < 0.1:
            asked = not asked
        messages.append({"role": "user" if asked else "assistant", "texts": [random_text(rng) for _ in range(rng.randrange(1, 3))],
                         "images": rng.randrange(3) if asked else 0})
    if messages[-1]["role"] == "assistant":
        messages.append({"role": "user", "texts": ["Go on"], "images": 0})
    return messages


def content_of(message, parts):
    if parts:
        return [{"type": "image"}] * message["images"] + [{"type": "text", "text": text} for text in message["texts"]]
    return "<image>\n" * message["images"] + "\n".join(message["texts"])


def case_of(template, parts, messages):
    given = [{"role": m["role"], "content": content_of(m, parts)} for m in messages]
    try:
        prompt = _compile_jinja_template(template).render(messages=given, add_generation_prompt=True, tools=None, documents=None, **TOKENS)
    except jinja2.exceptions.TemplateError as error:
        return {"messages": messages, "refused": error.message}
    return {"messages": messages, "prompt": prompt}


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    ap.add_argument("data", type=Path)
    ap.add_argument("--count", type=int, default=25)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--out", type=Path)
    args = ap.parse_args()
    rng = random.Random(args.seed)
    lines = []
    for parts, template in TEMPLATES.values():
        cases = [case_of(template, parts, random_messages(rng)) for _ in range(args.count)]
        lines.append({"template": template, "cases": cases})
    out = args.out or args.data / "text/executed_templates.jsonl"
    out.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))


if __name__ == "__main__":
    main()

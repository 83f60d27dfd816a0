#include "model/template/jinja_template.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/utf8_stream.h"
#include "boost/json/object.hpp"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llava::model {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

TextSpan Own(const std::string& text) { return {.text = text}; }
TextSpan Said(const std::string& text) { return {.text = text, .from_message = true}; }

// `x` is what a message holds.
absl::StatusOr<std::vector<TextSpan>> Render(const std::string& source, const std::string& x = "") {
  const auto jinja = JinjaTemplate::Compile(source);
  if (!jinja.ok()) return jinja.status();
  const std::vector<TextSpan> said = {Said(x)};
  return jinja->Render({{"x", SpansValue(said)}, {"eos_token", "</s>"}, {"tools", nullptr}}, 0);
}

std::vector<TextSpan> Spans(const std::string& source, const std::string& x = "") {
  const auto spans = Render(source, x);
  EXPECT_TRUE(spans.ok()) << source << ": " << spans.status();
  return spans.ok() ? *spans : std::vector<TextSpan>();
}

std::string Text(const std::string& source, const std::string& x = "") {
  std::string text;
  for (const TextSpan& span : Spans(source, x)) text += span.text;
  return text;
}

std::string Error(const std::string& source, const std::string& x = "") {
  return std::string(Render(source, x).status().message());
}

TEST(JinjaTemplateTest, SaysWhoWroteWhat) {
  EXPECT_THAT(Spans("<s>{{ x }}{{ eos_token }}", "a</s>b"),
              ElementsAre(Own("<s>"), Said("a</s>b"), Own("</s>")));
  EXPECT_THAT(Spans("{{ 'say ' + x ~ '!' }}", "é漢😀\n"),
              ElementsAre(Own("say "), Said("é漢😀\n"), Own("!")));
  EXPECT_THAT(Spans("{% set y %}[{{ x }}]{% endset %}{{ y }}", "hi"),
              ElementsAre(Own("["), Said("hi"), Own("]")));
  EXPECT_THAT(Spans("{% macro m(v) %}<{{ v }}>{% endmacro %}{{ m(x) + m('y') }}", "hi"),
              ElementsAre(Own("<"), Said("hi"), Own("><y>")));
}

TEST(JinjaTemplateTest, PrivateCharactersKeepWhatTheyAreToo) {
  const std::string text = "\U000F0001\U0010FFFD\U000E0020\U0003134A\uFFFF";
  EXPECT_THAT(Spans("{{ x }}", text), ElementsAre(Said(text)));
}

TEST(JinjaTemplateTest, ACharacterThatIsNoneCannotBeToldApart) {
  for (const std::string text : {"\U00040041", "a\U000BFFF0", "\U000DFFFF"}) {
    const auto status = Render("{{ x }}", text).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("not assigned"));
  }
}

// What Python's operations see, and whose their results are.
TEST(JinjaTemplateTest, OperationsSeeTheTextAndKeepItsOrigin) {
  EXPECT_EQ(Text("{{ x == 'a' }}{{ x != 'a' }}{{ x < 'b' }}{{ x >= 'b' }}", "a"),
            "TrueFalseTrueFalse");
  EXPECT_EQ(Text("{{ 'b' in x }}{{ 'd' not in x }}{{ x in ['abc'] }}{{ x in 'zabcz' }}", "abc"),
            "TrueTrueTrueTrue");
  EXPECT_EQ(Text("{{ x is equalto 'a' }}{{ x is string }}{{ x|length }}{{ x is lower }}", "a"),
            "TrueTrue1True");
  EXPECT_EQ(Text("{{ x.startswith('<a') }}{{ x.endswith(('q', '>')) }}{{ x.find('a') }}", "<a>"),
            "TrueTrue1");
  EXPECT_EQ(Text("{{ {'a': 'yes'}.get(x) }}{{ x|int + 1 if x.isdigit() else '' }}", "41"),
            "None42");
  EXPECT_THAT(Spans("{{ x.strip() }}|{{ x|trim }}|{{ x.lstrip('\\n') }}", " a\n"),
              ElementsAre(Said("a"), Own("|"), Said("a"), Own("|"), Said(" a\n")));
  EXPECT_THAT(Spans("{{ x.split('</think>')[-1].lstrip() }}", "<think>no</think> yes </s>"),
              ElementsAre(Said("yes </s>")));
  EXPECT_THAT(Spans("{{ x.replace('b', '<s>') }}", "abc"),
              ElementsAre(Said("a"), Own("<s>"), Said("c")));
  EXPECT_THAT(Spans("{{ x|upper }}{{ x[1:] }}{{ x[::-1] }}", "ab"), ElementsAre(Said("ABbba")));
  EXPECT_THAT(Spans("{{ ', '.join(x.split()) }}", "a b"),
              ElementsAre(Said("a"), Own(", "), Said("b")));
  EXPECT_THAT(Spans("{{ {'q': x}|tojson }}", "say \"<é>\""),
              ElementsAre(Own("{\"q\": \""), Said("say \\\"<é>\\\""), Own("\"}")));
  EXPECT_THAT(Spans("{{ x.capitalize() }} {{ x.title() }}", "aB cD"),
              ElementsAre(Said("Ab cd"), Own(" "), Said("Ab Cd")));
}

TEST(JinjaTemplateTest, PythonsStringMethods) {
  EXPECT_EQ(Text("{{ 'a,b,c'.split(',', 1) | join('|') }}{{ 'a,b,c'.rsplit(',', 1)[0] }}"),
            "a|b,ca,b");
  EXPECT_EQ(Text("{{ ' a  b '.split() | join('|') }}{{ 'a\\r\\nb\\n'.splitlines() | length }}"),
            "a|b2");
  EXPECT_EQ(Text("{{ 'abcabc'.rfind('b') }}{{ 'abcabc'.count('b') }}{{ 'a'.find('z') }}"), "42-1");
  EXPECT_EQ(Text("{{ 'prefix'.removeprefix('pre') }}{{ 'a.py'.removesuffix('.py') }}"), "fixa");
  EXPECT_EQ(Text("{{ 'k=v=w'.partition('=') | join('|') }}{{ 'x'.rpartition('=')|join('|') }}"),
            "k|=|v=w||x");
  EXPECT_EQ(Text("{{ 'Ab'.isupper() }}{{ 'AB'.isupper() }}{{ ' '.isspace() }}{{ 'a1'.isalnum() }}"),
            "FalseTrueTrueTrue");
  EXPECT_EQ(Text("{{ '{} {}'.format('a', 1) }}"), "a 1");
}

// Where origins could not be kept apart, or would be forgotten.
TEST(JinjaTemplateTest, SomeOperationsTakeOnlyTheTemplatesOwnTexts) {
  for (const char* source :
       {"{{ [x, 'a'] | sort }}", "{{ [x] | unique | list }}", "{{ {x: 1} }}",
        "{{ '%r' | format(x) }}", "{{ x.format(1) }}", "{{ '{!r}'.format(x) }}", "{{ x | pprint }}",
        "{{ x | escape }}", "{{ '%s' | format([x]) }}", "{{ [x] | string }}", "{{ 'a' ~ [x] }}",
        "{{ [x] | max }}"}) {
    EXPECT_FALSE(Render(source, "a").ok()) << source;
  }
  EXPECT_THAT(Spans("{{ '<%s>' | format(x) }}{{ '({})'.format(x) }}", "a"),
              ElementsAre(Own("<"), Said("a"), Own(">("), Said("a"), Own(")")));
}

TEST(JinjaTemplateTest, WhatChatTemplatesUse) {
  EXPECT_EQ(Text("{% set ns = namespace(n=0) %}{% for i in range(5) %}{% if i == 1 %}{% continue %}"
                 "{% endif %}{% if i == 4 %}{% break %}{% endif %}{% set ns.n = ns.n + i %}"
                 "{% endfor %}{{ ns.n }}"),
            "5");
  EXPECT_EQ(Text("{% for k, v in {'b': 1, 'a': none}.items() %}{{ k }}={{ v }};{% endfor %}"),
            "b=1;a=None;");
  EXPECT_EQ(Text("{{ tools is none }}{{ date is defined }}{{ missing }}{{ strftime_now('%Y') }}"),
            "TrueFalse1970");
  EXPECT_EQ(Text("{{ {'a': [1, true, none, 1.5]}|tojson }}{{ [1]|tojson(indent=2) }}"),
            "{\"a\": [1, true, null, 1.5]}[\n  1\n]");
  EXPECT_EQ(
      Text("{{ tools is iterable }}{{ x is iterable }}{{ [] is sequence }}{{ {} is mapping }}"),
      "FalseTrueTrueTrue");
  // Lines of tags alone leave nothing, as transformers sets it.
  EXPECT_EQ(Text("a\n  {% if true %}\nb\n  {% endif %}\nc\n"), "a\nb\nc");
}

TEST(JinjaTemplateTest, GenerationBlocks) {
  const auto spans = Spans("u\n{%- generation -%}\n {{ x }}<e> {% endgeneration %}\nv", "hi");
  EXPECT_THAT(spans, ElementsAre(Own("u"), TextSpan{"hi", true, true},
                                 TextSpan{"<e> ", false, true}, Own("v")));
}

TEST(JinjaTemplateTest, RaisedMessagesAreTheTemplatesOwn) {
  const auto status = Render("a\n{{ raise_exception('No ' + x + ' here') }}", "cats").status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_EQ(status.message(), "No cats here");
}

TEST(JinjaTemplateTest, ErrorsNameTheLine) {
  EXPECT_THAT(Error("a\nb{{ x + }}"), StartsWith("line 2: "));
  EXPECT_THAT(Error("a\n\n{{ x.nothing.there }}"), StartsWith("line 3: "));
  EXPECT_THAT(Error("a\n{{ x | nothing }}"), AllOf(StartsWith("line 2: "), HasSubstr("filter")));
  EXPECT_THAT(Error("a\n{% generation %}\nb\n{{ 1 // 0 }}{% endgeneration %}"),
              StartsWith("line 4: "));
  for (const char* source : {"{%}", "a\n{%-%}", "{%+%}b", "{%", "{#", "{{"}) {
    EXPECT_THAT(Error(source), AllOf(StartsWith("line "), HasSubstr("syntax error"))) << source;
  }
  // A list has no text that a prompt could hold.
  EXPECT_THAT(Error("{{ [x] }}"), HasSubstr("expected a text to print"));
}

TEST(JinjaTemplateTest, NothingOfTheHostCanBeReached) {
  for (const char* source :
       {"{% include '/etc/passwd' %}", "{% import 'os' as os %}", "{% extends 'x' %}",
        "{{ ''.__class__.__mro__ }}", "{{ x.__init__.__globals__ }}", "{{ debug() }}",
        "{{ namespace.__class__.y }}", "{{ cycler.__init__ }}", "{{ self.__dict__.a }}"}) {
    EXPECT_FALSE(Render(source, "a").ok()) << source;
  }
}

// Each would take for ever, or all memory, or the stack.
TEST(JinjaTemplateTest, WorkIsBounded) {
  const std::string ns = "{% set ns = namespace(s='ab', l=[]) %}{% for i in range(99999) %}";
  for (const std::string& source : std::vector<std::string>{
           "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
           "{% for a in range(9999999999) %}{% endfor %}",
           ns + "{% set ns.s = ns.s + ns.s %}{% endfor %}",
           ns + "{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
           ns + "{% set y %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = y %}{% endfor %}",
           ns + "{% set ns.l = [ns.l] %}{% endfor %}",
           ns + "{% set ns.l = {'a': ns.l} %}{% endfor %}",
           ns + "{% set ns.l = ns.l[0:] %}{% endfor %}",
           ns + "{% set n = namespace(a=ns.l) %}{% set ns.l = n %}{% endfor %}",
           "{% set ns = namespace() %}{% set ns.a = [ns] %}",
           "{{ ('a' * 99999999)|length }}",
           "{% set s = 'a' * 9999 %}{{ s|replace('a', s)|replace('a', s)|length }}",
           "{% set s = 'a' * 9999 %}{{ s.replace('', s).replace('a', s)|length }}",
           "{{ range(99999)|join('a' * 9999)|length }}",
           "{{ '{:>999999999}'.format(1)|length }}",
           "{{ '%999999999d'|format(1)|length }}",
           "{{ range(9)|batch(999999999, 'x')|list|length }}",
           "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
           "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}",
           "{{ " + std::string(5000, '(') + "1" + std::string(5000, ')') + " }}",
           "{{ x" + std::string(9000, '+') + "x }}",
           std::string(300000, 'a')}) {
    const auto status = Render(source, "a").status();
    EXPECT_FALSE(status.ok()) << source.substr(0, 120);
    EXPECT_FALSE(absl::IsFailedPrecondition(status)) << source.substr(0, 120);
  }
  std::string branches = "{% if a %}";
  for (int i = 0; i < 1000; ++i) branches += "{% elif a %}";
  EXPECT_EQ(Text(branches + "{% else %}b{% endif %}"), "b");
  for (int i = 0; i < 2000; ++i) branches += "{% elif a %}";
  EXPECT_THAT(Error(branches + "{% endif %}"), HasSubstr("at most 2048 tags"));
}

TEST(JinjaTemplateTest, ALongMessageHasTheStepsThatItNeeds) {
  const std::string text(1'000'000, 'a');
  EXPECT_EQ(Text("{{ ('</s>' in x) ~ x.strip()|trim }}", text).size(), text.size() + 5);
}

TEST(JinjaTemplateTest, ChainsOfComparisonsAreRefused) {
  EXPECT_THAT(Error("\n{{ x == 'a' == 'b' }}"), AllOf(StartsWith("line 2: "), HasSubstr("chain")));
}

}  // namespace
}  // namespace llava::model

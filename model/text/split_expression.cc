#include "model/text/split_expression.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <cstdint>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"

namespace llava::model {
namespace {

constexpr std::size_t kMaxExpressionBytes = 4096;
constexpr std::uint32_t kMatchSteps = 10'000'000;
constexpr std::uint32_t kHeapKib = 64 * 1024;

// White_Space of Unicode, which is what \s means in Oniguruma; PCRE2 counts U+180E too.
constexpr std::string_view kSpace =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f})"
    R"(\x{205f}\x{3000})";

// What \w means in Oniguruma; PCRE2 counts no marks, and other signs. Outside of classes it is six
// fractions and powers more.
constexpr std::string_view kWord =
    R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{24b6}-\x{24e9}\x{1f130}-\x{1f149}\x{1f150}-\x{1f169})"
    R"(\x{1f170}-\x{1f189})";
constexpr std::string_view kWordOutside = R"(\x{b2}\x{b3}\x{b9}\x{bc}-\x{be})";

// \b and \B: that just one, or both or none, of the characters around a place are of words.
constexpr std::string_view kBoundary = "(?:(?<=W)(?!W)|(?<!W)(?=W))";
constexpr std::string_view kNoBoundary = "(?:(?<=W)(?=W)|(?<!W)(?!W))";

// Escapes of letters that both read alike. \h, \v, \K, \N and others are something else to one.
constexpr std::string_view kSameEscapes = "dDrntfaexAzZ";

absl::Status Differs(std::string_view found) {
  return absl::InvalidArgumentError(absl::StrCat(
      "expected nothing that Oniguruma and PCRE2 read differently, found ", AbslView(found)));
}

// (?m) is about the dot in one of them, and about lines in the other.
bool SetsM(std::string_view rest) {
  if (!rest.starts_with("(?")) return false;
  const std::size_t end = rest.find_first_not_of("imx-", 2);
  return rest.substr(0, end).find('m') != std::string_view::npos;
}

// Whether something that is no escape is read differently at the start of `rest`.
bool DiffersAt(std::string_view rest, bool in_class) {
  if (in_class) return rest.starts_with("[") || rest.starts_with("&&");
  return rest.starts_with("[]") || rest.starts_with("[^]") || rest.starts_with("{,") || SetsM(rest);
}

// A name of more than two letters is a script, which PCRE2 else takes with its extensions.
std::string SpelledProperty(std::string_view escape) {
  const std::size_t name = escape[3] == '^' ? 4 : 3;
  if (escape.size() - name <= 3) return std::string(escape);
  return absl::StrCat(AbslView(escape.substr(0, name)), "sc:", AbslView(escape.substr(name)));
}

absl::StatusOr<std::string> SpelledEscape(std::string_view escape, bool in_class) {
  const char kind = escape[1];
  if (escape.size() > 3) return SpelledProperty(escape);
  if (kind == 'b' && in_class) return std::string(escape);  // backspace
  if ((kind == 'b' || kind == 'B') && !in_class) {
    const std::string word = absl::StrCat("[", AbslView(kWord), AbslView(kWordOutside), "]");
    return absl::StrReplaceAll(AbslView(kind == 'b' ? kBoundary : kNoBoundary), {{"W", word}});
  }
  if (kind == 's' || kind == 'w' || kind == 'S' || kind == 'W') {
    const bool negated = kind == 'S' || kind == 'W';
    const bool word = kind == 'w' || kind == 'W';
    const std::string members(word ? kWord : kSpace);
    if (!in_class) {
      return absl::StrCat(negated ? "[^" : "[", members, word ? AbslView(kWordOutside) : "", "]");
    }
    if (!negated) return members;
    return absl::InvalidArgumentError(
        absl::StrCat("expected no ", AbslView(escape), " in a class of characters"));
  }
  const bool same = kSameEscapes.find(kind) != std::string_view::npos;
  if (absl::ascii_isalpha(static_cast<unsigned char>(kind)) && !same) return Differs(escape);
  return std::string(escape);
}

// The escape at the start of `rest`: two bytes, or a property with its name.
std::string_view EscapeAt(std::string_view rest) {
  const bool property = rest.starts_with("\\p{") || rest.starts_with("\\P{");
  const std::size_t end = property ? rest.find('}') : std::string_view::npos;
  return rest.substr(0, end == std::string_view::npos || end == 3 ? 2 : end + 1);
}

// The expression as PCRE2 has to be given it to find what Oniguruma finds.
absl::StatusOr<std::string> Spelled(std::string_view expression) {
  std::string out;
  bool in_class = false;
  while (!expression.empty()) {
    std::string_view part = expression.substr(0, 1);
    if (part == "\\" && expression.size() > 1) {
      part = EscapeAt(expression);
      ASSIGN_OR_RETURN(const std::string spelled, SpelledEscape(part, in_class));
      out += spelled;
    } else {
      if (DiffersAt(expression, in_class)) return Differs(expression.substr(0, 3));
      if (part == "[") in_class = true;
      if (part == "]") in_class = false;
      out += part;
    }
    expression.remove_prefix(part.size());
  }
  return out;
}

std::string ErrorText(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeMatch {
  void operator()(pcre2_match_data* match) const { pcre2_match_data_free(match); }
};
struct FreeContext {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};

std::uint32_t InfoOf(const pcre2_code* code, std::uint32_t what) {
  std::uint32_t value = 0;
  LLAVA_CHECK_EQ(pcre2_pattern_info(code, what, &value), 0);
  return value;
}

std::size_t LengthOf(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

}  // namespace

struct SplitExpression::Compiled {
  std::unique_ptr<pcre2_code, FreeCode> code;
  std::unique_ptr<pcre2_match_context, FreeContext> context;
};

SplitExpression::SplitExpression(std::unique_ptr<const Compiled> compiled)
    : compiled_(std::move(compiled)) {}
SplitExpression::SplitExpression(SplitExpression&&) noexcept = default;
SplitExpression& SplitExpression::operator=(SplitExpression&&) noexcept = default;
SplitExpression::~SplitExpression() = default;

absl::StatusOr<SplitExpression> SplitExpression::Create(const std::string& expression) {
  if (expression.size() > kMaxExpressionBytes) {
    return absl::InvalidArgumentError(absl::StrCat("expected an expression of at most ",
                                                   kMaxExpressionBytes, " bytes, found ",
                                                   expression.size()));
  }
  const absl::StatusOr<std::string> spelled = Spelled(expression);
  if (!spelled.ok()) return spelled.status();
  int error = 0;
  PCRE2_SIZE place = 0;
  auto compiled = std::make_unique<Compiled>();
  compiled->code.reset(pcre2_compile(
      reinterpret_cast<PCRE2_SPTR>(spelled->data()), spelled->size(),
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NO_UTF_CHECK | PCRE2_NEVER_BACKSLASH_C,
      &error, &place, nullptr));
  if (compiled->code == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected a regular expression, found a fault: ", ErrorText(error)));
  }
  if (InfoOf(compiled->code.get(), PCRE2_INFO_BACKREFMAX) > 0) {
    return absl::InvalidArgumentError("expected no back reference");
  }
  compiled->context.reset(pcre2_match_context_create(nullptr));
  LLAVA_CHECK(compiled->context != nullptr);
  pcre2_set_match_limit(compiled->context.get(), kMatchSteps);
  pcre2_set_heap_limit(compiled->context.get(), kHeapKib);
  // Quicker by far; without it (no executable memory) the matches are the same.
  pcre2_jit_compile(compiled->code.get(), PCRE2_JIT_COMPLETE);
  return SplitExpression(std::move(compiled));
}

std::vector<std::string_view> SplitExpression::Split(std::string_view text) const {
  const std::unique_ptr<pcre2_match_data, FreeMatch> match(
      pcre2_match_data_create_from_pattern(compiled_->code.get(), nullptr));
  LLAVA_CHECK(match != nullptr);
  std::vector<std::string_view> pieces;
  const auto add = [&](std::size_t begin, std::size_t end) {
    if (begin < end) pieces.push_back(text.substr(begin, end - begin));
  };
  std::size_t done = 0;
  for (std::size_t at = 0; at < text.size();) {
    const int found =
        pcre2_match(compiled_->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                    at, PCRE2_NO_UTF_CHECK, match.get(), compiled_->context.get());
    if (found == PCRE2_ERROR_NOMATCH) break;
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(match.get());
    if (found < 0 || ends[1] <= ends[0]) {
      // Too many steps, or nothing, which is a place to cut at: on behind one character.
      const std::size_t place = found < 0 ? at : ends[0];
      if (found > 0) {
        add(done, place);
        done = place;
      }
      at = place + (place < text.size() ? LengthOf(text[place]) : 1);
      continue;
    }
    add(done, ends[0]);
    add(ends[0], ends[1]);
    done = at = ends[1];
  }
  add(done, text.size());
  return pieces;
}

namespace {

// Alphabetic, marks, decimal digits, connectors and joiners.
constexpr char kWordCharacter[] =
    R"([\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{200c}\x{200d}\x{24b6}-\x{24e9}\x{1f130}-\x{1f149})"
    R"(\x{1f150}-\x{1f169}\x{1f170}-\x{1f189}])";

bool IsOfAWord(std::string_view character) {
  static const SplitExpression& expression =
      *new SplitExpression(*SplitExpression::Create(kWordCharacter));
  if (!IsValidUtf8(character)) return false;
  // A match is a part of its own.
  return expression.Split("\n" + std::string(character)).size() > 1;
}

}  // namespace

bool EndsWithWord(std::string_view text) {
  std::size_t begin = text.size();
  while (begin > 0 && text.size() - begin < 4) {
    --begin;
    if ((static_cast<unsigned char>(text[begin]) & 0xC0) != 0x80) break;  // where one begins
  }
  return begin < text.size() && IsOfAWord(text.substr(begin));
}

bool BeginsWithWord(std::string_view text) {
  return !text.empty() && IsOfAWord(text.substr(0, LengthOf(text.front())));
}

}  // namespace llava::model

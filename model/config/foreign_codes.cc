#include "model/config/foreign_codes.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/utf8_stream.h"
#include "model/config/config_fields.h"

namespace llava::model {
namespace {

constexpr std::string_view kAwq = "awq";
constexpr std::string_view kGptq = "gptq";
constexpr int kLeastGroup = 16;
constexpr int kMostGroup = 1024;

// The first of two names that is there.
std::string_view KeyOf(const JsonReader& settings, std::string_view key, std::string_view other) {
  return settings.Has(key) || !settings.Has(other) ? key : other;
}

// 0 for "all".
int ReadGroup(JsonReader& settings, std::string_view key) {
  const int group = IntOf(settings, key, 128, -1, kMostGroup);
  if (group != -1 && group < kLeastGroup) {
    settings.Fail(key, absl::StrCat("-1, or ", kLeastGroup, " to ", kMostGroup));
  }
  return group == -1 ? 0 : group;
}

// Fails unless the setting, as a text of small letters, is `only`.
void Only(JsonReader& settings, std::string_view key, std::string_view only) {
  if (absl::AsciiStrToLower(settings.String(key, std::string(only))) == only) return;
  settings.Fail(key, absl::StrCat(AbslView(only), " (other layouts are not supported)"));
}

ForeignCodes ReadAwq(JsonReader& settings) {
  const std::string_view bits = KeyOf(settings, "bits", "w_bit");
  if (IntOf(settings, bits, 4, 1, 64) != 4) settings.Fail(bits, "4, the only one of awq");
  if (!settings.Bool("zero_point", true)) settings.Fail("zero_point", "true");
  Only(settings, "version", "gemm");
  if (settings.String("backend", "") == "llm-awq") {
    settings.Fail("backend", "autoawq (the layout of llm-awq is not supported)");
  }
  return {.group = ReadGroup(settings, KeyOf(settings, "group_size", "q_group_size"))};
}

// Settings of single modules: to leave one as it is ("-:pattern") is no other layout.
void CheckDynamic(JsonReader& settings) {
  constexpr std::string_view kKey = "dynamic";
  const boost::json::value* const given = settings.Find(kKey);
  if (given == nullptr || !given->is_object()) return;
  for (const auto& [pattern, rule] : given->get_object()) {
    if (absl::StartsWith(absl::string_view(pattern.data(), pattern.size()), "-:")) continue;
    return settings.Fail(kKey, "patterns that begin with \"-:\" (all that is quantised alike)");
  }
}

ForeignCodes ReadGptq(JsonReader& settings) {
  ForeignCodes codes{.method = ForeignCodes::Method::kGptq};
  codes.bits = IntOf(settings, "bits", 4, 1, 64);
  if (codes.bits != 4 && codes.bits != 8) {
    settings.Fail("bits", "4 or 8 (other numbers of bits are not supported)");
  }
  codes.group = ReadGroup(settings, "group_size");
  codes.any_order = settings.Bool("desc_act", false) && codes.group != 0;
  const std::string_view key = KeyOf(settings, "checkpoint_format", "format");
  const std::string format = settings.String(key, std::string(kGptq));
  if (format == kGptq) {
    codes.zero_offset = 1;
  } else if (format != "gptq_v2") {
    settings.Fail(key, "gptq or gptq_v2 (other layouts are not supported)");
  }
  OnlyFalse(settings, "is_marlin_format");
  Only(settings, "pack_dtype", "int32");
  CheckDynamic(settings);
  return codes;
}

}  // namespace

bool IsForeignMethod(std::string_view quant_method) {
  return quant_method == kAwq || quant_method == kGptq;
}

ForeignCodes ReadForeignCodes(JsonReader& settings) {
  return settings.String("quant_method", "") == kAwq ? ReadAwq(settings) : ReadGptq(settings);
}

std::string ForeignCodesText(const ForeignCodes& codes) {
  const bool awq = codes.method == ForeignCodes::Method::kAwq;
  return absl::StrCat(
      awq ? "AWQ, " : "GPTQ, ", codes.bits, " bits, ",
      codes.group == 0 ? std::string("one group a row") : absl::StrCat("groups of ", codes.group),
      codes.any_order ? " in the order of g_idx (desc_act)" : "");
}

}  // namespace llava::model

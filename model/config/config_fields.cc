#include "model/config/config_fields.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"
#include "base/utf8_stream.h"

namespace llava::model {
namespace {

struct ActivationEntry {
  std::string_view name;
  Activation activation;
};
// The first name of an activation is the one that is written.
constexpr ActivationEntry kActivations[] = {
    {"gelu", Activation::kGelu},
    {"gelu_python", Activation::kGelu},
    {"gelu_pytorch_tanh", Activation::kGeluTanh},
    {"gelu_python_tanh", Activation::kGeluTanh},
    {"gelu_new", Activation::kGeluTanh},
    {"gelu_fast", Activation::kGeluTanh},
    {"gelu_accurate", Activation::kGeluTanh},
    {"quick_gelu", Activation::kQuickGelu},
    {"relu", Activation::kRelu},
    {"relu6", Activation::kRelu6},
    {"leaky_relu", Activation::kLeakyRelu},
    {"silu", Activation::kSilu},
    {"swish", Activation::kSilu},
    {"hardswish", Activation::kHardSwish},
    {"mish", Activation::kMish},
    {"sigmoid", Activation::kSigmoid},
    {"tanh", Activation::kTanh},
    {"linear", Activation::kIdentity},
};

std::string ActivationNames() {
  return absl::StrJoin(kActivations, ", ", [](std::string* out, const ActivationEntry& entry) {
    absl::StrAppend(out, AbslView(entry.name));
  });
}

}  // namespace

int IntOf(JsonReader& reader, std::string_view key, int otherwise, int low, int high) {
  return static_cast<int>(reader.Int(key, otherwise, low, high));
}

std::vector<int> IntsOf(JsonReader& reader, std::string_view key, std::vector<int> otherwise,
                        int low, int high, std::size_t max_count) {
  const auto items =
      reader.IntOrInts(key, {otherwise.begin(), otherwise.end()}, low, high, max_count);
  return std::vector<int>(items.begin(), items.end());
}

void OnlyFalse(JsonReader& reader, std::string_view key) {
  if (reader.Bool(key, false)) reader.Fail(key, "false (true is not supported)");
}

void OnlyAbsent(JsonReader& reader, std::string_view key) {
  if (reader.Has(key)) reader.Fail(key, "nothing (this setting is not supported)");
}

void ReadQuantization(JsonReader& reader, LlavaConfig& config) {
  if (!reader.Has(kQuantizationKey)) return;
  const boost::json::value* const given = reader.Find(kQuantizationKey);
  JsonReader quantization = reader.Object(kQuantizationKey);
  const std::string method =
      given->is_object() ? quantization.String("quant_method", "") : std::string();
  if (IsForeignMethod(method)) {
    config.foreign_codes = ReadForeignCodes(quantization);
    return;
  }
  if (method != kQuantizationMethod) {
    return reader.Fail(
        kQuantizationKey,
        absl::StrCat("nothing, or the method \"", kQuantizationMethod,
                     "\" of `llava-train quantize`, \"awq\" or \"gptq\": weights that ",
                     method.empty() ? "another method" : absl::StrCat("\"", method, "\""),
                     " quantised are not supported"));
  }
  const auto format = QuantizationOf(quantization.String("format", ""));
  if (!format || !IsStored(*format)) {
    return quantization.Fail("format", "int8 or int4");
  }
  config.quantization = *format;
}

Activation ActivationOf(JsonReader& reader, std::string_view key, std::string otherwise) {
  const std::string name = reader.String(key, std::move(otherwise));
  for (const auto& entry : kActivations) {
    if (entry.name == name) return entry.activation;
  }
  reader.Fail(key, absl::StrCat("a supported activation (", ActivationNames(), ")"));
  return Activation::kGelu;
}

std::string_view ActivationName(Activation activation) {
  for (const auto& entry : kActivations) {
    if (entry.activation == activation) return entry.name;
  }
  LLAVA_CHECK(false);
  return "";
}

}  // namespace llava::model

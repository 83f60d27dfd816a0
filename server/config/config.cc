#include "server/config/config.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/check.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/strict_yaml.h"
#include "base/utf8_stream.h"
#include "server/config/config_table.h"
#include "server/config/devices.h"

namespace llava::server {
namespace {

constexpr std::size_t kMaxConfigBytes = std::size_t{16} << 20;
constexpr std::size_t kMaxModelName = 128;

using List = std::vector<std::string> Config::*;
using Map = std::map<std::string, std::string> Config::*;
using Text = std::string Config::*;

void ReadOption(const Option& option, StrictYaml& yaml, Config* config) {
  const std::string_view name(option.name.data(), option.name.size());
  if (const List* list = std::get_if<List>(&option.member)) {
    yaml.Optional(name, &(config->**list));
    return;
  }
  if (const Map* map = std::get_if<Map>(&option.member)) {
    yaml.Optional(name, &(config->**map));
    return;
  }
  const bool is_text = std::holds_alternative<Text>(option.member);
  const auto written = yaml.Written(name, Expected(option), is_text);
  if (!written.has_value()) return;
  const absl::Status set = SetScalar(option, *written, config);
  if (!set.ok()) {
    yaml.Fail(name, absl::StrCat("is '", *written, "', ", set.message()));
  }
}

}  // namespace

absl::StatusOr<Config> ParseConfig(const std::string& yaml, const std::string& source,
                                   Origins* origins) {
  ASSIGN_OR_RETURN(StrictYaml root, StrictYaml::Parse(yaml, source));
  Config config;
  for (const Section& section : Sections()) {
    for (const Option& option : section.options) {
      ReadOption(option, root, &config);
      const std::string name(option.name);
      if (origins != nullptr && root.Has(name)) (*origins)[name] = source;
    }
  }
  RETURN_IF_ERROR(root.Finish());
  return config;
}

absl::StatusOr<Config> ReadConfigFile(const std::string& path, Origins* origins) {
  ASSIGN_OR_RETURN(const std::string yaml, ReadFile(path, kMaxConfigBytes));
  return ParseConfig(yaml, path, origins);
}

namespace {

// Of a list in a flag or variable; an empty text is the empty list.
absl::StatusOr<std::vector<std::string>> ItemsOf(const std::string& text,
                                                 absl::string_view source) {
  if (text.empty()) return std::vector<std::string>();
  std::vector<std::string> items = absl::StrSplit(text, ',');
  if (std::find(items.begin(), items.end(), "") == items.end()) return items;
  return absl::InvalidArgumentError(absl::StrCat(
      source, ": is '", Utf8Repair(text), "', expected something on both sides of each comma"));
}

}  // namespace

absl::Status SetOption(absl::string_view name, const std::string& text, absl::string_view source,
                       Config* config) {
  const Option* option = FindOption(name);
  LLAVA_CHECK(option != nullptr);
  std::vector<std::string> items = {text};
  if (const List* list = std::get_if<List>(&option->member)) {
    (config->**list).clear();
    ASSIGN_OR_RETURN(items, ItemsOf(text, source));
  }
  if (const Map* map = std::get_if<Map>(&option->member)) {
    (config->**map).clear();
    ASSIGN_OR_RETURN(items, ItemsOf(text, source));
  }
  for (const std::string& item : items) {
    RETURN_IF_ERROR(Annotate(SetScalar(*option, item, config), absl::StrCat(source, ": ", item)));
  }
  return absl::OkStatus();
}

namespace {

// Each has an open shard, and a series of the metrics.
constexpr std::int64_t kMaxCapturedTenants = 256;
constexpr std::int64_t kLeastCaptureShare = std::int64_t{16} << 20;

absl::Status CheckCapture(const Config& config) {
  std::set<std::string> tenants(config.capture_texts.begin(), config.capture_texts.end());
  tenants.insert(config.capture_pictures.begin(), config.capture_pictures.end());
  if (tenants.empty()) return absl::OkStatus();
  if (config.capture_dir.empty()) {
    return absl::InvalidArgumentError(
        "capture_dir: is empty, expected a folder where capture_texts or capture_pictures names a "
        "tenant");
  }
  const std::int64_t count = std::ssize(tenants);
  if (count > kMaxCapturedTenants) {
    return absl::InvalidArgumentError(absl::StrCat("capture_texts, capture_pictures: name ", count,
                                                   " tenants, expected at most ",
                                                   kMaxCapturedTenants));
  }
  if (config.capture_bytes / count >= kLeastCaptureShare) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "capture_bytes: is ", config.capture_bytes, " for ", count, " tenants, expected at least ",
      kLeastCaptureShare, " for each that capture_texts and capture_pictures name"));
}

absl::Status CheckDevices(const std::vector<std::string>& devices) {
  if (devices.empty()) {
    return absl::InvalidArgumentError("devices: the list is empty, expected at least one device");
  }
  for (const std::string& device : devices) RETURN_IF_ERROR(CheckDevice(device));
  return absl::OkStatus();
}

// Clients name a version as NAME@VERSION, and metrics have the name as a label.
absl::Status CheckModelName(const std::string& name) {
  const bool is_fit = name.size() <= kMaxModelName && IsValidUtf8(name) &&
                      std::none_of(name.begin(), name.end(), [](char c) {
                        return c == '@' || absl::ascii_iscntrl(static_cast<unsigned char>(c));
                      });
  if (is_fit) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "model_name: is '", absl::CHexEscape(name.substr(0, kMaxModelName)), "', expected up to ",
      kMaxModelName, " bytes of UTF-8 without '@' and control characters"));
}

}  // namespace

absl::Status CheckConfig(const Config& config) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  if (config.tls_certificate.empty() != config.tls_key.empty()) {
    return absl::InvalidArgumentError(
        "tls_certificate and tls_key: expected both of them, or none for no TLS");
  }
  if (!config.tls_client_ca.empty() && config.tls_certificate.empty()) {
    return absl::InvalidArgumentError("tls_client_ca: expected tls_certificate and tls_key too");
  }
  RETURN_IF_ERROR(CheckDevices(config.devices));
  for (const std::string& device : config.devices) {
    RETURN_IF_ERROR(CheckWeights(config.weights, device));
    RETURN_IF_ERROR(CheckKvCache(config.kv_cache, device));
  }
  RETURN_IF_ERROR(CheckModelName(config.model_name));
  if (config.max_running.value_or(1) > config.max_batch_tokens.value_or(kMost)) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_running: ", *config.max_running, " is above max_batch_tokens, ",
                     *config.max_batch_tokens, ": each answer needs a token in every step"));
  }
  if (config.canary_min_answers > config.canary_answers) {
    return absl::InvalidArgumentError(
        absl::StrCat("canary_min_answers: ", config.canary_min_answers,
                     " is above canary_answers, ", config.canary_answers));
  }
  RETURN_IF_ERROR(CheckCapture(config));
  if (config.listen.empty()) {
    return absl::InvalidArgumentError("listen: is empty, expected HOST:PORT");
  }
  return absl::OkStatus();
}

}  // namespace llava::server

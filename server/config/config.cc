#include "server/config/config.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/check.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "server/config/config_table.h"

namespace llava::server {
namespace {

constexpr std::size_t kMaxConfigBytes = std::size_t{16} << 20;

absl::Status At(absl::string_view source, const YAML::Mark& mark, absl::string_view message) {
  return absl::InvalidArgumentError(absl::StrCat(source, ":", mark.line + 1, ": ", message));
}

// How many letters must change to turn one name into the other (Levenshtein).
std::size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({substituted, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

std::string UnknownKey(absl::string_view key) {
  const Option* nearest = nullptr;
  std::size_t distance = 4;
  for (const Option& option : Options()) {
    const std::size_t d = EditDistance(key, option.name);
    if (d < distance) {
      distance = d;
      nearest = &option;
    }
  }
  std::string message = absl::StrCat(key, ": unknown key");
  if (nearest != nullptr) absl::StrAppend(&message, "; did you mean ", nearest->name, "?");
  return message;
}

bool IsList(const Option& option) {
  Config config;
  return std::holds_alternative<std::vector<std::string>*>(option.field(config));
}

bool IsText(const Option& option) {
  Config config;
  return IsList(option) || std::holds_alternative<std::string*>(option.field(config));
}

absl::Status ReadScalar(const Option& option, const YAML::Node& node, absl::string_view source,
                        Config* config) {
  const bool quoted = node.Tag() == "!";
  if (!node.IsScalar() || (quoted && !IsText(option))) {
    return At(source, node.Mark(),
              absl::StrCat(option.name, ": wrong type: expected ", Expected(option)));
  }
  const absl::Status set = SetScalar(option, node.Scalar(), config);
  if (set.ok()) return set;
  return At(source, node.Mark(),
            absl::StrCat(option.name, ": ", node.Scalar(), ": ", set.message()));
}

absl::Status ReadOption(const Option& option, const YAML::Node& node, absl::string_view source,
                        Config* config) {
  if (!IsList(option)) return ReadScalar(option, node, source, config);
  if (!node.IsSequence()) {
    return At(source, node.Mark(),
              absl::StrCat(option.name, ": wrong type: expected ", Expected(option)));
  }
  std::get<std::vector<std::string>*>(option.field(*config))->clear();
  for (const YAML::Node& item : node) {
    RETURN_IF_ERROR(ReadScalar(option, item, source, config));
  }
  return absl::OkStatus();
}

absl::StatusOr<Config> ReadOptions(const YAML::Node& root, absl::string_view source) {
  Config config;
  if (root.IsNull()) return config;
  if (!root.IsMap()) return At(source, root.Mark(), "expected a mapping of options to values");
  std::set<std::string> seen;
  for (const auto& entry : root) {
    const YAML::Mark mark = entry.first.Mark();
    if (!entry.first.IsScalar()) return At(source, mark, "expected the name of an option");
    const std::string key = entry.first.Scalar();
    const Option* option = FindOption(key);
    if (option == nullptr) return At(source, mark, UnknownKey(key));
    if (!seen.insert(key).second) return At(source, mark, absl::StrCat(key, ": stands here twice"));
    RETURN_IF_ERROR(ReadOption(*option, entry.second, source, &config));
  }
  return config;
}

}  // namespace

absl::StatusOr<Config> ParseConfig(const std::string& yaml, absl::string_view source) {
  try {
    return ReadOptions(YAML::Load(yaml), source);
  } catch (const YAML::Exception& error) {
    return At(source, error.mark, error.msg);
  }
}

absl::StatusOr<Config> ReadConfigFile(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string yaml, ReadFile(path, kMaxConfigBytes));
  return ParseConfig(yaml, path);
}

absl::Status SetOption(absl::string_view name, const std::string& text, absl::string_view source,
                       Config* config) {
  const Option* option = FindOption(name);
  LLAVA_CHECK(option != nullptr);
  std::vector<std::string> items = {text};
  if (IsList(*option)) {
    std::get<std::vector<std::string>*>(option->field(*config))->clear();
    items = absl::StrSplit(text, ',');
  }
  for (const std::string& item : items) {
    RETURN_IF_ERROR(Annotate(SetScalar(*option, item, config), absl::StrCat(source, ": ", item)));
  }
  return absl::OkStatus();
}

absl::Status CheckConfig(const Config& config) {
  if (config.tls_certificate.empty() != config.tls_key.empty()) {
    return absl::InvalidArgumentError(
        "tls_certificate and tls_key: expected both of them, or none for no TLS");
  }
  if (!config.tls_client_ca.empty() && config.tls_certificate.empty()) {
    return absl::InvalidArgumentError("tls_client_ca: expected tls_certificate and tls_key too");
  }
  if (config.devices.empty()) {
    return absl::InvalidArgumentError("devices: the list is empty, expected at least one device");
  }
  if (config.max_running > config.max_batch_tokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_running: ", config.max_running, " is above max_batch_tokens, ",
                     config.max_batch_tokens, ": each answer needs a token in every step"));
  }
  if (config.canary_min_answers > config.canary_answers) {
    return absl::InvalidArgumentError(
        absl::StrCat("canary_min_answers: ", config.canary_min_answers,
                     " is above canary_answers, ", config.canary_answers));
  }
  if (config.listen.empty()) {
    return absl::InvalidArgumentError("listen: is empty, expected HOST:PORT");
  }
  return absl::OkStatus();
}

}  // namespace llava::server

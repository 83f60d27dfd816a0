#include "base/strict_yaml.h"

#include <algorithm>
#include <exception>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace llava {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{16} << 20;
constexpr std::size_t kLongestName = 100;

std::string Join(const std::string& path, std::string_view key) {
  return path.empty() ? std::string(key) : absl::StrCat(path, ".", std::string(key));
}

// A text that is read may be no UTF-8, and as long as its file; what is said of it is a line.
absl::Status Mistake(const std::string& what) {
  return absl::InvalidArgumentError(MessageOf(absl::InvalidArgumentError(what)));
}

std::string TypeText(const YAML::Node& node) {
  switch (node.Type()) {
    case YAML::NodeType::Scalar:
      return absl::StrCat("'", node.Scalar(), "'");
    case YAML::NodeType::Sequence:
      return "a list";
    case YAML::NodeType::Map:
      return "a mapping";
    default:
      return "empty";
  }
}

// How many letters must change to turn one name into the other (Levenshtein).
std::size_t EditDistance(std::string_view a, std::string_view b) {
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

std::string UnknownKey(std::string_view key, const std::set<std::string, std::less<>>& known) {
  std::string_view nearest;
  std::size_t distance = 4;  // farther away nothing is meant
  for (const std::string& name : known) {
    const std::size_t d = EditDistance(key.substr(0, kLongestName), name);
    if (d < distance) {
      distance = d;
      nearest = name;
    }
  }
  if (nearest.empty()) return "unknown key";
  return absl::StrCat("unknown key; did you mean ", std::string(nearest), "?");
}

}  // namespace

absl::StatusOr<StrictYaml> StrictYaml::Load(const std::string& file) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(file, kMaxBytes));
  return Parse(text, file);
}

absl::StatusOr<StrictYaml> StrictYaml::Parse(const std::string& text, const std::string& source) {
  try {
    const YAML::Node root = YAML::Load(text);
    if (root.IsMap() || root.IsNull()) return StrictYaml(source, "", root);
    return Mistake(absl::StrCat(source, ":", root.Mark().line + 1, ": is ", TypeText(root),
                                ", expected a mapping"));
  } catch (const YAML::Exception& e) {
    return Mistake(absl::StrCat(source, ":", e.mark.line + 1, ": ", e.msg));
  } catch (const std::exception& e) {
    return Mistake(absl::StrCat(source, ": ", e.what()));
  }
}

bool StrictYaml::Has(std::string_view key) const {
  for (const auto& entry : node_) {
    if (entry.first.IsScalar() && entry.first.Scalar() == key) return true;
  }
  return false;
}

YAML::Node StrictYaml::Get(std::string_view key) {
  known_.emplace(key);
  if (!status_.ok()) return YAML::Node(YAML::NodeType::Undefined);
  for (const auto& entry : node_) {
    if (entry.first.IsScalar() && entry.first.Scalar() == key) return entry.second;
  }
  return YAML::Node(YAML::NodeType::Undefined);
}

template <typename T>
void StrictYaml::Scalar(std::string_view key, std::string_view expected, T* value) {
  const YAML::Node node = Get(key);
  if (!node.IsDefined()) return;
  T read;
  if (node.IsScalar() && YAML::convert<T>::decode(node, read)) {
    *value = std::move(read);
  } else {
    FailAt(node, Join(path_, key),
           absl::StrCat("is ", TypeText(node), ", expected ", std::string(expected)));
  }
}

std::optional<std::string> StrictYaml::Written(std::string_view key, std::string_view expected,
                                               bool is_text) {
  const YAML::Node node = Get(key);
  if (!node.IsDefined()) return std::nullopt;
  const bool quoted = node.Tag() == "!";
  if (node.IsScalar() && (is_text || !quoted)) return node.Scalar();
  FailAt(node, Join(path_, key),
         absl::StrCat("is ", TypeText(node), quoted ? " in quotes" : "", ", expected ",
                      std::string(expected)));
  return std::nullopt;
}

void StrictYaml::Optional(std::string_view key, std::string* value) {
  Scalar(key, "a text", value);
}
void StrictYaml::Optional(std::string_view key, bool* value) {
  Scalar(key, "true or false", value);
}
void StrictYaml::Optional(std::string_view key, std::int64_t* value) {
  Scalar(key, "a whole number", value);
}
void StrictYaml::Optional(std::string_view key, double* value) { Scalar(key, "a number", value); }

void StrictYaml::Optional(std::string_view key, std::vector<std::string>* value) {
  const YAML::Node node = Get(key);
  if (!node.IsDefined()) return;
  if (!node.IsSequence()) {
    FailAt(node, Join(path_, key), absl::StrCat("is ", TypeText(node), ", expected a list"));
    return;
  }
  value->clear();
  for (std::size_t i = 0; i < node.size(); ++i) {
    if (!node[i].IsScalar()) {
      FailAt(node[i], absl::StrCat(Join(path_, key), "[", i, "]"),
             absl::StrCat("is ", TypeText(node[i]), ", expected a text"));
      return;
    }
    value->push_back(node[i].Scalar());
  }
}

void StrictYaml::Optional(std::string_view key, std::map<std::string, std::string>* value) {
  const YAML::Node node = Get(key);
  if (!node.IsDefined()) return;
  const std::string path = Join(path_, key);
  if (!node.IsMap()) {
    FailAt(node, path, absl::StrCat("is ", TypeText(node), ", expected a mapping"));
    return;
  }
  value->clear();
  for (const auto& item : node) {
    if (!item.first.IsScalar() || !item.second.IsScalar()) {
      FailAt(item.second, path, "expected a text for each name");
      return;
    }
    if (!value->emplace(item.first.Scalar(), item.second.Scalar()).second) {
      FailAt(item.first, path, absl::StrCat("has '", item.first.Scalar(), "' twice"));
      return;
    }
  }
}

void StrictYaml::Nested(const YAML::Node& node, std::string path,
                        const std::function<void(StrictYaml&)>& read) {
  if (!node.IsMap()) {
    FailAt(node, path, absl::StrCat("is ", TypeText(node), ", expected a mapping"));
    return;
  }
  StrictYaml section(file_, std::move(path), node);
  read(section);
  if (status_.ok()) status_ = section.Finish();
}

void StrictYaml::Section(std::string_view key, const std::function<void(StrictYaml&)>& read) {
  const YAML::Node node = Get(key);
  if (node.IsDefined()) Nested(node, Join(path_, key), read);
}

void StrictYaml::List(std::string_view key, const std::function<void(StrictYaml&)>& read) {
  const YAML::Node node = Get(key);
  if (!node.IsDefined()) return;
  if (!node.IsSequence()) {
    FailAt(node, Join(path_, key), absl::StrCat("is ", TypeText(node), ", expected a list"));
    return;
  }
  for (std::size_t i = 0; i < node.size(); ++i) {
    Nested(node[i], absl::StrCat(Join(path_, key), "[", i, "]"), read);
  }
}

void StrictYaml::Require(std::string_view key) {
  if (!Has(key)) Fail(key, "is missing");
}

void StrictYaml::Fail(std::string_view key, std::string_view what) {
  const YAML::Node node = Get(key);
  FailAt(node.IsDefined() ? node : node_, Join(path_, key), what);
}

void StrictYaml::FailAt(const YAML::Node& node, const std::string& path, std::string_view what) {
  if (!status_.ok()) return;
  status_ =
      Mistake(absl::StrCat(file_, ":", node.Mark().line + 1, ": ", path, ": ", std::string(what)));
}

absl::Status StrictYaml::Finish() {
  std::set<std::string> seen;
  for (const auto& entry : node_) {
    if (!status_.ok()) break;
    const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : TypeText(entry.first);
    if (!known_.contains(key)) {
      FailAt(entry.first, Join(path_, key), UnknownKey(key, known_));
    } else if (!seen.insert(key).second) {
      FailAt(entry.first, Join(path_, key), "comes twice");
    }
  }
  return status_;
}

}  // namespace llava

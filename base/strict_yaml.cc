#include "base/strict_yaml.h"

#include <exception>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace llava {
namespace {

std::string Join(const std::string& path, std::string_view key) {
  return path.empty() ? std::string(key) : absl::StrCat(path, ".", std::string(key));
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

}  // namespace

absl::StatusOr<StrictYaml> StrictYaml::Load(const std::string& file) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(file, error)) {
    return absl::NotFoundError(absl::StrCat(file, ": no such file"));
  }
  try {
    YAML::Node root = YAML::LoadFile(file);
    if (!root.IsMap()) {
      return absl::InvalidArgumentError(
          absl::StrCat(file, ":1: is ", TypeText(root), ", expected a mapping"));
    }
    return StrictYaml(file, "", root);
  } catch (const YAML::Exception& e) {
    return absl::InvalidArgumentError(absl::StrCat(file, ":", e.mark.line + 1, ": ", e.msg));
  } catch (const std::exception& e) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": ", e.what()));
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
  status_ = absl::InvalidArgumentError(
      absl::StrCat(file_, ":", node.Mark().line + 1, ": ", path, ": ", std::string(what)));
}

absl::Status StrictYaml::Finish() {
  std::set<std::string> seen;
  for (const auto& entry : node_) {
    if (!status_.ok()) break;
    const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : TypeText(entry.first);
    if (!known_.contains(key)) {
      FailAt(entry.first, Join(path_, key), "is not a key of this section");
    } else if (!seen.insert(key).second) {
      FailAt(entry.first, Join(path_, key), "comes twice");
    }
  }
  return status_;
}

}  // namespace llava

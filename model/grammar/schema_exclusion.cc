#include "model/grammar/schema_exclusion.h"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "model/grammar/schema_costs.h"

namespace llava::model {
namespace {

namespace json = boost::json;

constexpr int kMaxWork = 100'000;  // of pairs and names that are looked at
constexpr int kMaxRefs = 16;       // behind one another
constexpr int kMaxDepth = 4;       // of properties of properties

// Types of JSON as bits.
constexpr unsigned kInteger = 1, kFraction = 2, kString = 4, kBool = 8, kNull = 16, kArray = 32,
                   kObject = 64, kAll = 127;

unsigned TypeNamed(const json::value& name) {
  if (name == json::value("integer")) return kInteger;
  if (name == json::value("number")) return kInteger | kFraction;
  if (name == json::value("string")) return kString;
  if (name == json::value("boolean")) return kBool;
  if (name == json::value("null")) return kNull;
  if (name == json::value("array")) return kArray;
  return name == json::value("object") ? kObject : kAll;
}

unsigned TypeOf(const json::value& value) {
  if (value.is_number()) return kInteger | kFraction;  // 1.0 is an integer
  if (value.is_string()) return kString;
  if (value.is_bool()) return kBool;
  if (value.is_null()) return kNull;
  return value.is_array() ? kArray : kObject;
}

// The values of const or enum; none: it lists none.
std::vector<const json::value*> Listed(const json::object& schema) {
  std::vector<const json::value*> values;
  if (const json::value* one = schema.if_contains("const")) return {one};
  const json::value* list = schema.if_contains("enum");
  if (list == nullptr || !list->is_array()) return values;
  for (const json::value& value : list->as_array()) values.push_back(&value);
  return values;
}

unsigned TypesOf(const json::object& schema) {
  unsigned types = kAll;
  if (const json::value* type = schema.if_contains("type")) {
    types = type->is_array() ? 0 : TypeNamed(*type);
    if (type->is_array()) {
      for (const json::value& name : type->as_array()) types |= TypeNamed(name);
    }
  }
  const std::vector<const json::value*> values = Listed(schema);
  unsigned listed = values.empty() ? kAll : 0;
  for (const json::value* value : values) listed |= TypeOf(*value);
  return types & listed;
}

// Of lists and objects it is not told apart whether their numbers are written alike.
bool MayBeSame(const json::value& a, const json::value& b) {
  if (a.is_number() && b.is_number()) return a.to_number<double>() == b.to_number<double>();
  if (a.is_structured() && b.is_structured()) return true;
  return a == b;
}

const json::value* Property(const json::object& schema, json::string_view name) {
  const json::value* properties = schema.if_contains("properties");
  const bool named = properties != nullptr && properties->is_object();
  return named ? properties->as_object().if_contains(name) : nullptr;
}

const json::array& Required(const json::object& schema) {
  static const json::array none;
  const json::value* list = schema.if_contains("required");
  return list != nullptr && list->is_array() ? list->as_array() : none;
}

}  // namespace

const json::object* SchemaExclusion::ObjectOf(const json::value& schema) const {
  const json::value* at = &schema;
  for (int refs = 0; at != nullptr && refs < kMaxRefs; ++refs) {
    const json::object* object = at->if_object();
    const json::value* ref = object == nullptr ? nullptr : object->if_contains("$ref");
    if (ref == nullptr) return object;
    at = SchemaAt(root_, *ref);
  }
  return nullptr;
}

bool SchemaExclusion::PropertiesExclude(const json::object& a, const json::object& b, int depth) {
  const json::array& required = Required(b);
  for (const json::value& name : Required(a)) {
    work_ += 1 + static_cast<int>(required.size());
    if (work_ > kMaxWork || !name.is_string()) return false;
    const json::value* of_a = Property(a, name.as_string());
    const json::value* of_b = Property(b, name.as_string());
    if (of_a == nullptr || of_b == nullptr) continue;
    if (std::find(required.begin(), required.end(), name) == required.end()) continue;
    if (Exclude(*of_a, *of_b, depth - 1)) return true;
  }
  return false;
}

bool SchemaExclusion::Exclude(const json::value& a, const json::value& b, int depth) {
  const json::object* x = ObjectOf(a);
  const json::object* y = ObjectOf(b);
  if (++work_ > kMaxWork || depth == 0 || x == nullptr || y == nullptr) return false;
  const unsigned types = TypesOf(*x) & TypesOf(*y);
  if (types == 0) return true;
  const std::vector<const json::value*> of_x = Listed(*x);
  const std::vector<const json::value*> of_y = Listed(*y);
  work_ += static_cast<int>(std::min<std::size_t>(of_x.size() * of_y.size(), kMaxWork));
  if (work_ > kMaxWork) return false;
  const auto is_in_y = [&](const json::value* one) {
    return std::any_of(of_y.begin(), of_y.end(),
                       [&](const json::value* other) { return MayBeSame(*one, *other); });
  };
  const bool both = !of_x.empty() && !of_y.empty();
  if (both && std::none_of(of_x.begin(), of_x.end(), is_in_y)) return true;
  return types == kObject && PropertiesExclude(*x, *y, depth);
}

bool SchemaExclusion::ExcludeEachOther(const json::array& schemas) {
  for (std::size_t i = 0; i < schemas.size(); ++i) {
    for (std::size_t j = i + 1; j < schemas.size(); ++j) {
      if (!Exclude(schemas[i], schemas[j], kMaxDepth)) return false;
    }
  }
  return true;
}

}  // namespace llava::model

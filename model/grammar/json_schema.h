// Which JSON Schemas an answer can be held to. What would be ignored is refused, by name and place.
#ifndef LLAVA_MODEL_GRAMMAR_JSON_SCHEMA_H_
#define LLAVA_MODEL_GRAMMAR_JSON_SCHEMA_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "boost/json/value.hpp"
#include "model/grammar/schema_costs.h"

namespace llava::model {

// Of nested values in a schema.
inline constexpr int kMaxSchemaDepth = 48;

// The schema as the grammar engine takes it: without annotations, which describe no form. Keywords
// are those of draft 2020-12, or of the draft that $schema names:
//   type enum const anyOf oneOf allOf $ref $defs definitions, properties required
//   additionalProperties patternProperties propertyNames maxProperties minProperties, items
//   prefixItems additionalItems minItems maxItems uniqueItems, minLength maxLength pattern format,
//   minimum maximum exclusiveMinimum exclusiveMaximum multipleOf.
// $ref refers to the schema itself ("#", "#/$defs/name"); minProperties is at most the number of
// required properties. `root`: where it will stand in a larger schema, as a JSON pointer, below
// which its $refs go then. INVALID_ARGUMENT "<place>: ..." with the place as a JSON pointer.
// `totals`: of all schemas of a form, where there are others. They outlive the call.
absl::StatusOr<boost::json::value> CheckedJsonSchema(std::string_view text,
                                                     const std::string& root = "#",
                                                     SchemaTotals* totals = nullptr);

}  // namespace llava::model

#endif  // LLAVA_MODEL_GRAMMAR_JSON_SCHEMA_H_

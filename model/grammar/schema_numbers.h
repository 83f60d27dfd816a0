// Numbers of a JSON Schema as the grammar engine can take them: it reads them as float64 and counts
// in int64, where the ends of that range overflow.
#ifndef LLAVA_MODEL_GRAMMAR_SCHEMA_NUMBERS_H_
#define LLAVA_MODEL_GRAMMAR_SCHEMA_NUMBERS_H_

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace llava::model {

// The value of the keyword `name`. A bound (minimum, maximum, exclusiveMinimum, exclusiveMaximum)
// that a float64 below 2^63 in size does not hold becomes the next one that is stricter, so that
// what satisfies it satisfies the schema; one that no such number satisfies, and an integer in
// const or enum that would be rounded, is INVALID_ARGUMENT. A count (minLength, maxItems, ...) that
// is written as a float becomes the integer that it is. multipleOf becomes the float64 next to it
// that the engine can count by; none is: INVALID_ARGUMENT. Any other value is as it was.
absl::Status AdaptNumbers(absl::string_view name, boost::json::value& value);

// Whether the format is one of OpenAPI's for numbers (int32, int64, float, double) and the type is
// theirs, or null.
bool IsNumberFormat(const boost::json::object& schema);

// Of a schema whose numbers have been adapted: such a format becomes the range that it stands for.
// Every number in JSON can be read as a float or a double.
void BoundByFormat(boost::json::object& schema);

// Of a schema whose numbers have been adapted: the engine takes the ends of a range of numbers that
// is narrower than 1 to be in it although they are excluded. They move into it by about a millionth
// of its width, or to the next float64 where that is more, and are included then.
void CloseNarrowRange(boost::json::object& schema);

}  // namespace llava::model

#endif  // LLAVA_MODEL_GRAMMAR_SCHEMA_NUMBERS_H_

// Keywords of a JSON Schema that the grammar engine lacks, in words that it has.
#ifndef LLAVA_MODEL_GRAMMAR_SCHEMA_REWRITES_H_
#define LLAVA_MODEL_GRAMMAR_SCHEMA_REWRITES_H_

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "model/grammar/schema_costs.h"

namespace llava::model {

// Formats besides those that the engine has, in the order in which an error lists them.
std::vector<absl::string_view> RewrittenFormats();

// The schema's `format`: one of those becomes a pattern, or nothing where it describes no form of a
// text (password, binary, path). Its `pattern`: "not signs and points alone", which Pydantic puts
// in front of a number's and the engine cannot look ahead for, becomes a pattern beside the rest.
void RewriteText(boost::json::object& schema);

// `uniqueItems` and `propertyNames` of a schema of `root`, as it was written, in what it has become
// so far: the lists without repeated items one by one, and the properties of these names. Both are
// taken out. INVALID_ARGUMENT: an answer cannot be held to them.
absl::Status RewriteUniqueItems(const boost::json::value& root, const boost::json::object& written,
                                SchemaTotals* totals, boost::json::object& schema);
absl::Status RewritePropertyNames(const boost::json::value& root,
                                  const boost::json::object& written, SchemaTotals* totals,
                                  boost::json::object& schema);

}  // namespace llava::model

#endif  // LLAVA_MODEL_GRAMMAR_SCHEMA_REWRITES_H_

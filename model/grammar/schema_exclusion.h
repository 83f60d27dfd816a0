// Whether no value satisfies two schemas: what oneOf asks for and anyOf does not.
#ifndef LLAVA_MODEL_GRAMMAR_SCHEMA_EXCLUSION_H_
#define LLAVA_MODEL_GRAMMAR_SCHEMA_EXCLUSION_H_

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

namespace llava::model {

// Of one schema as a whole; used by one thread.
class SchemaExclusion {
 public:
  // `root` outlives this.
  explicit SchemaExclusion(const boost::json::value& root) : root_(root) {}

  // True: none of `schemas` has a value in common with another one, which their types, their values
  // (const, enum) or those of a property that both require say, there or where $ref leads. False:
  // they may have one, or it takes too much work to say.
  bool ExcludeEachOther(const boost::json::array& schemas);

 private:
  // Of what $refs lead to. Beside a $ref nothing is looked at: in older drafts it counts alone.
  const boost::json::object* ObjectOf(const boost::json::value& schema) const;
  bool Exclude(const boost::json::value& a, const boost::json::value& b, int depth);
  bool PropertiesExclude(const boost::json::object& a, const boost::json::object& b, int depth);

  const boost::json::value& root_;
  int work_ = 0;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_GRAMMAR_SCHEMA_EXCLUSION_H_

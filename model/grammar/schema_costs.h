// What a JSON Schema would cost the grammar engine, as far as that grows faster than the schema.
#ifndef LLAVA_MODEL_GRAMMAR_SCHEMA_COSTS_H_
#define LLAVA_MODEL_GRAMMAR_SCHEMA_COSTS_H_

#include <boost/json/value.hpp>
#include <compare>
#include <set>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace llava::model {

// Of patterns and formats that one text has to match: the engine builds the automaton of all of
// them together, and looks for a way through it.
inline constexpr int kMaxPatternsOfAText = 8;
// Of their repetitions and alternatives, multiplied: what the engine looks at in one go.
inline constexpr double kMaxWaysOfAText = 100'000;
// Of patternProperties of one object, each of which is compared with each other.
inline constexpr int kMaxPatternProperties = 32;
// Of the least common multiple of what one number has to be a multiple of, without its decimal
// point, and of all different ones of a schema together: while it prepares a form, the engine
// follows up to so many remainders. At the most that takes about a second and 100 MB.
inline constexpr double kMaxMultiple = 100'000;
// Of a power of ten, which the engine finds a multiple of at once. It counts in 32 bits.
inline constexpr double kMaxPowerOfTen = 100'000'000;
inline constexpr int kMaxMultipleDecimals = 8;  // as the engine counts
// Of one object. In front of each key the engine keeps every one that may come next.
inline constexpr int kMaxOptionalProperties = 240;

// `number` moved by `decimals` places: 25 and 2 are 0.25. 0: of nothing.
struct SchemaMultiple {
  double number = 0;
  int decimals = 0;

  auto operator<=>(const SchemaMultiple&) const = default;
};

// The value without its decimal point, and how many places that moved; 0: it is no multiple, which
// is said elsewhere.
SchemaMultiple MultipleOf(const boost::json::value& value);

// Of a regular expression, or all in a grammar: "*", "+", "?" and "{". What may be left out behind
// one another makes the engine take time and memory by the square of how many do: about a second
// and 180 MB at the most. Of the patterns of a form the squares are added.
inline constexpr double kMaxRepetitions = 1'000;

// In all of a form: lists that uniqueItems is written out as, and bytes of what is written out.
inline constexpr int kMaxWrittenLists = 400;
inline constexpr double kMaxWrittenBytes = 64 * 1024;

// Those in classes and strings count too.
double RepetitionsIn(absl::string_view text);

// What "#" or "#/$defs/name" stands for in the schema `root`; nullptr: nothing.
const boost::json::value* SchemaAt(const boost::json::value& root, const boost::json::value& ref);

// Of all schemas of a form so far.
struct SchemaTotals {
  double remainders = 0;  // of all different multiples
  double squares = 0;     // of the repetitions of each pattern
  std::set<SchemaMultiple> multiples;
  int lists = 0;             // that are written out one by one
  double written_bytes = 0;  // of what is written out
};

// Of one schema as a whole; used by one thread.
class SchemaCosts {
 public:
  // Both outlive this. The root's $refs go below itself.
  SchemaCosts(const boost::json::value& root, SchemaTotals* totals)
      : root_(root), totals_(*totals) {}

  // INVALID_ARGUMENT: something about `part`, a schema within the root, is beyond these bounds,
  // whether it stands there or comes together by allOf and $ref, or with the parts before it.
  absl::Status Check(const boost::json::value& part);

 private:
  struct Demands;

  absl::Status CheckMultiples(const std::vector<SchemaMultiple>& multiples);
  absl::Status CheckRepetitions(absl::string_view pattern);
  absl::Status CheckPatterns(const boost::json::value& part);
  void Add(const boost::json::value& schema, Demands* demands);

  const boost::json::value& root_;
  SchemaTotals& totals_;
  int visits_ = 0;
  std::set<const boost::json::value*> open_;  // on the way to the schema that is looked at
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_GRAMMAR_SCHEMA_COSTS_H_

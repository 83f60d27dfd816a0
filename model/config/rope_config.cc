#include "model/config/rope_config.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "boost/json/array.hpp"
#include "model/config/config_fields.h"

namespace llava::model {
namespace {

void ReadLlama3(JsonReader& reader, RopeConfig& rope) {
  rope.scaling = RopeConfig::Scaling::kLlama3;
  rope.low_freq_factor = reader.Double("low_freq_factor", 0, 1e-6, 1e6);
  rope.high_freq_factor = reader.Double("high_freq_factor", 0, 1e-6, 1e6);
  if (rope.low_freq_factor <= 0) reader.Fail("low_freq_factor", "a positive number");
  if (rope.high_freq_factor <= rope.low_freq_factor) {
    reader.Fail("high_freq_factor", "a number above low_freq_factor");
  }
}

// modeling_rope_utils.py, _compute_yarn_parameters.
void ReadYarn(JsonReader& reader, RopeConfig& rope) {
  rope.scaling = RopeConfig::Scaling::kYarn;
  rope.beta_fast = reader.Double("beta_fast", 32, 1e-6, 1e6);
  rope.beta_slow = reader.Double("beta_slow", 1, 1e-6, 1e6);
  rope.truncate = reader.Bool("truncate", true);
  const auto scale = [&rope](double by) {
    return rope.factor <= 1 ? 1.0 : 0.1 * by * std::log(rope.factor) + 1.0;
  };
  const double one = reader.Double("mscale", 0, 0, 1e6);
  const double all = reader.Double("mscale_all_dim", 0, 0, 1e6);
  const double otherwise = one != 0 && all != 0 ? scale(one) / scale(all) : scale(1);
  rope.attention_factor = reader.Double("attention_factor", otherwise, 1e-6, 1e6);
}

// The factor of each frequency, of which there are `count`.
std::vector<double> ReadFactors(JsonReader& reader, std::string_view key, std::size_t count) {
  std::vector<double> factors;
  const boost::json::value* const value = reader.Find(key);
  if (value != nullptr && value->is_array()) {
    for (const boost::json::value& item : value->get_array()) {
      const double factor = item.is_number() ? item.to_number<double>() : 0;
      if (factor >= 1e-6 && factor <= 1e6) factors.push_back(factor);
    }
    if (factors.size() == value->get_array().size() && factors.size() == count) return factors;
  }
  reader.Fail(key, absl::StrCat("a list of ", count, " positive numbers"));
  return std::vector<double>(count, 1.0);
}

// modeling_rope_utils.py, _compute_longrope_parameters.
void ReadLongrope(JsonReader& reader, int head_dim, RopeConfig& rope) {
  rope.scaling = RopeConfig::Scaling::kLongrope;
  const auto count = static_cast<std::size_t>((rope.rotated != 0 ? rope.rotated : head_dim) / 2);
  rope.short_factors = ReadFactors(reader, "short_factor", count);
  rope.long_factors = ReadFactors(reader, "long_factor", count);
  const double otherwise =
      rope.factor <= 1 || rope.original_max_positions <= 1
          ? 1.0
          : std::sqrt(1 + std::log(rope.factor) / std::log(rope.original_max_positions));
  rope.attention_factor = reader.Double("attention_factor", otherwise, 1e-6, 1e6);
}

// In the scaling or beside it; transformers prefers the latter, which only families with a value
// of their own for it usually have.
int OriginalPositions(JsonReader& outer, JsonReader& reader, const RopeContext& context) {
  constexpr std::string_view kKey = "original_max_position_embeddings";
  const int otherwise = context.original_positions != 0
                            ? context.original_positions
                            : IntOf(reader, kKey, context.positions, 1, kMaxPositions);
  return IntOf(outer, kKey, otherwise, 1, kMaxPositions);
}

void ReadScaling(JsonReader& outer, JsonReader reader, const RopeContext& context,
                 RopeConfig& rope) {
  const std::string_view key = reader.Has("rope_type") ? "rope_type" : "type";
  std::string type = reader.String(key, "default");
  if (type == "default") return;
  if (type == "su" || (type == "yarn" && context.yarn_is_longrope)) type = "longrope";
  rope.original_max_positions = OriginalPositions(outer, reader, context);
  // What transformers takes instead of a factor that is not given, for these two.
  const bool has_ratio = type == "yarn" || type == "longrope";
  const double ratio = static_cast<double>(context.positions) / rope.original_max_positions;
  rope.factor = reader.Double("factor", has_ratio ? std::max(ratio, 1.0) : 1.0, 1.0, 1e6);
  if (type == "linear") {
    rope.scaling = RopeConfig::Scaling::kLinear;
    rope.original_max_positions = context.positions;
  } else if (type == "dynamic") {
    rope.scaling = RopeConfig::Scaling::kDynamic;
  } else if (type == "llama3") {
    ReadLlama3(reader, rope);
  } else if (type == "yarn") {
    ReadYarn(reader, rope);
  } else if (type == "longrope") {
    ReadLongrope(reader, context.head_dim, rope);
  } else {
    reader.Fail(key, "a supported scaling (default, linear, dynamic, llama3, yarn, longrope)");
  }
  if (!has_ratio && !reader.Has("factor")) reader.Fail("factor", "a number");
}

// int(head_dim * factor) of a head are rotated.
void ReadPartial(JsonReader& reader, double factor, const RopeContext& context, RopeConfig& rope) {
  if (factor == 1) return;
  const int rotated = static_cast<int>(context.head_dim * factor);
  if (!context.may_be_partial) return reader.Fail("partial_rotary_factor", "1");
  if (rotated < 2 || rotated % 2 != 0) {
    return reader.Fail("partial_rotary_factor",
                       absl::StrCat("a part of head_dim ", context.head_dim, " that is even"));
  }
  rope.rotated = rotated;
}

// Whether `key` is there and not an empty object, which says nothing.
bool Says(const JsonReader& reader, std::string_view key) {
  const boost::json::value* const value = reader.Find(key);
  return value != nullptr && !(value->is_object() && value->get_object().empty());
}

// transformers 5 can write angles of their own for the layers of each type.
void RequireOneOfAllLayers(JsonReader& nested) {
  for (const std::string_view type : {"full_attention", "sliding_attention"}) {
    if (nested.Has(type)) nested.Fail(type, "nothing: one rope_type for the layers of every type");
  }
}

}  // namespace

RopeConfig ReadRope(JsonReader& reader, const RopeContext& context) {
  RopeConfig rope;
  rope.theta = reader.Double("rope_theta", 10000.0, 1.0, 1e12);
  const double partial = reader.Double("partial_rotary_factor", 1, 0, 1);
  const std::string_view key = Says(reader, "rope_scaling") ? "rope_scaling" : "rope_parameters";
  if (!Says(reader, key)) {
    ReadPartial(reader, partial, context, rope);
    return rope;
  }
  JsonReader nested = reader.Object(key);
  RequireOneOfAllLayers(nested);
  rope.theta = nested.Double("rope_theta", rope.theta, 1.0, 1e12);
  JsonReader& place = nested.Has("partial_rotary_factor") ? nested : reader;
  ReadPartial(place, nested.Double("partial_rotary_factor", partial, 0, 1), context, rope);
  ReadScaling(reader, nested, context, rope);
  return rope;
}

}  // namespace llava::model

#include "server/observe/open_metrics.h"

#include <absl/strings/ascii.h>
#include <absl/strings/match.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>
#include <absl/strings/strip.h>

#include <charconv>
#include <cmath>

namespace llava::observe {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Places = std::vector<std::optional<Exemplar>>;

constexpr absl::string_view kTotal = "_total";

// Of a media type in Accept; 0 where it is not named. RFC 9110, 12.5.1.
double Weight(absl::string_view accept, absl::string_view type) {
  for (absl::string_view range : absl::StrSplit(accept, ',')) {
    const std::vector<absl::string_view> parts = absl::StrSplit(range, ';');
    if (!absl::EqualsIgnoreCase(absl::StripAsciiWhitespace(parts.front()), type)) continue;
    double weight = 1;
    for (absl::string_view part : parts) {
      part = absl::StripAsciiWhitespace(part);
      if (absl::ConsumePrefix(&part, "q=") && !absl::SimpleAtod(part, &weight)) weight = 0;
    }
    return weight;
  }
  return 0;
}

std::string Number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  char digits[32];
  const auto end = std::to_chars(digits, digits + sizeof(digits), value);
  return {digits, end.ptr};
}

// Bounds and quantiles are written with a point: le="1.0".
std::string Bound(double value) {
  std::string text = Number(value);
  if (text.find_first_of(".eIN") == std::string::npos) text += ".0";
  return text;
}

std::string Escaped(absl::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

// {a="1",le="0.5"}; nothing without labels.
std::string Labels(const ClientMetric& metric, const char* extra = nullptr,
                   absl::string_view value = {}) {
  std::string out;
  const auto add = [&out](absl::string_view name, absl::string_view text) {
    absl::StrAppend(&out, out.empty() ? "{" : ",", name, "=\"", Escaped(text), "\"");
  };
  for (const ClientMetric::Label& label : metric.label) add(label.name, label.value);
  if (extra != nullptr) add(extra, value);
  if (!out.empty()) out += '}';
  return out;
}

std::string ExemplarText(const std::optional<Exemplar>& exemplar) {
  if (!exemplar) return {};
  return absl::StrCat(" # {trace_id=\"", Escaped(exemplar->trace_id), "\"} ",
                      Number(exemplar->value), " ", Number(exemplar->unix_seconds));
}

void AppendHistogram(const std::string& name, const ClientMetric& metric, const Places& places,
                     std::string* out) {
  const auto& buckets = metric.histogram.bucket;
  for (std::size_t i = 0; i < buckets.size(); ++i) {
    absl::StrAppend(out, name, "_bucket", Labels(metric, "le", Bound(buckets[i].upper_bound)), " ",
                    buckets[i].cumulative_count, i < places.size() ? ExemplarText(places[i]) : "",
                    "\n");
  }
  absl::StrAppend(out, name, "_count", Labels(metric), " ", metric.histogram.sample_count, "\n");
  absl::StrAppend(out, name, "_sum", Labels(metric), " ", Number(metric.histogram.sample_sum),
                  "\n");
}

void AppendSummary(const std::string& name, const ClientMetric& metric, std::string* out) {
  for (const ClientMetric::Quantile& quantile : metric.summary.quantile) {
    absl::StrAppend(out, name, Labels(metric, "quantile", Bound(quantile.quantile)), " ",
                    Number(quantile.value), "\n");
  }
  absl::StrAppend(out, name, "_count", Labels(metric), " ", metric.summary.sample_count, "\n");
  absl::StrAppend(out, name, "_sum", Labels(metric), " ", Number(metric.summary.sample_sum), "\n");
}

double Value(MetricType type, const ClientMetric& metric) {
  if (type == MetricType::Counter) return metric.counter.value;
  if (type == MetricType::Gauge) return metric.gauge.value;
  return metric.untyped.value;
}

// The family's name is that of a counter's samples without _total.
void AppendFamily(const MetricFamily& family, const Places& places, std::string* out) {
  absl::string_view name = family.name;
  const char* type = "unknown";
  if (family.type == MetricType::Counter && absl::ConsumeSuffix(&name, kTotal)) type = "counter";
  if (family.type == MetricType::Gauge) type = "gauge";
  if (family.type == MetricType::Histogram) type = "histogram";
  if (family.type == MetricType::Summary) type = "summary";
  absl::StrAppend(out, "# TYPE ", name, " ", type, "\n# HELP ", name, " ", Escaped(family.help),
                  "\n");
  for (const ClientMetric& metric : family.metric) {
    if (family.type == MetricType::Histogram) {
      AppendHistogram(family.name, metric, places, out);
    } else if (family.type == MetricType::Summary) {
      AppendSummary(family.name, metric, out);
    } else {
      absl::StrAppend(out, family.name, Labels(metric), " ", Number(Value(family.type, metric)),
                      "\n");
    }
  }
}

Places PlacesOf(const std::string& family, std::span<const Exemplars* const> exemplars) {
  for (const Exemplars* one : exemplars) {
    if (one->family() == family) return one->Latest();
  }
  return {};
}

}  // namespace

bool WantsOpenMetrics(absl::string_view accept) {
  const double open = Weight(accept, "application/openmetrics-text");
  return open > 0 && open >= Weight(accept, "text/plain");
}

std::string OpenMetricsText(const std::vector<MetricFamily>& families,
                            std::span<const Exemplars* const> exemplars) {
  std::string out;
  for (const MetricFamily& family : families) {
    AppendFamily(family, PlacesOf(family.name, exemplars), &out);
  }
  absl::StrAppend(&out, "# EOF\n");
  return out;
}

}  // namespace llava::observe

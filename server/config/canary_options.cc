#include "server/config/config_sections.h"

namespace llava::server {
namespace {

constexpr absl::string_view kCanaryByChoices[] = {"conversation", "tenant"};

constexpr Option kCanaryOptions[] = {
    {"canary_percent",
     &Config::canary_percent,
     "Share of the traffic that a new version gets first; 0: it is live at once.",
     Unit::kCount,
     {0, 100}},
    {"canary_by",
     &Config::canary_by,
     "Who stays on one version: all of a tenant's requests, or those of a conversation "
     "(its first message).",
     Unit::kNone,
     {},
     kCanaryByChoices},
    {"canary_time",
     &Config::canary_time,
     "After so long a canary that is not worse becomes live.",
     Unit::kMilliseconds,
     {1, 168 * kHour}},
    {"canary_answers",
     &Config::canary_answers,
     "The same after so many of its answers.",
     Unit::kCount,
     {1, 1'000'000}},
    {"canary_min_answers",
     &Config::canary_min_answers,
     "It is not judged on fewer answers, except at the end of canary_time.",
     Unit::kCount,
     {1, 1'000'000}},
    {"canary_failures_percent",
     &Config::canary_failures_percent,
     "Rolled back when its share of failed answers is above the live version's by more.",
     Unit::kCount,
     {0, 100}},
    {"canary_bad_answers_percent",
     &Config::canary_bad_answers_percent,
     "The same for answers that are empty, repeat themselves or are no text (broken "
     "UTF-8, control characters).",
     Unit::kCount,
     {0, 100}},
    {"canary_endless_percent",
     &Config::canary_endless_percent,
     "The same for answers that go on until max_tokens (a model that does not know when "
     "to stop); 100: never.",
     Unit::kCount,
     {0, 100}},
    {"canary_slower_percent",
     &Config::canary_slower_percent,
     "Rolled back when its mean time to the first token, or between tokens, is longer by "
     "more.",
     Unit::kCount,
     {0, 100'000}},
    {"canary_less_sure_percent",
     &Config::canary_less_sure_percent,
     "Rolled back when the probability that it gives its own words is lower by more (a "
     "model that learned noise); 100: never.",
     Unit::kCount,
     {0, 100}},
    {"canary_evaluation_percent",
     &Config::canary_evaluation_percent,
     "Rolled back at once when the share of right answers in its manifest (evaluations, "
     "total) is below the live version's by more percentage points; 100: never.",
     Unit::kCount,
     {0, 100}},
};

}  // namespace

std::span<const Option> CanaryOptions() { return kCanaryOptions; }

}  // namespace llava::server

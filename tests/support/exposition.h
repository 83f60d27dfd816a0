// A strict reader of Prometheus' text format, for tests that scrape.
#ifndef LLAVA_TESTS_SUPPORT_EXPOSITION_H_
#define LLAVA_TESTS_SUPPORT_EXPOSITION_H_

#include <map>
#include <string>
#include <vector>

namespace llava::testing {

// What is wrong with `text`, a line each: the grammar, HELP and TYPE before samples, families in
// one piece, no sample twice, counters named _total, cumulative buckets that end with +Inf.
std::vector<std::string> ExpositionProblems(const std::string& text);

// Every sample of a well-formed text: `name{labels}` as written, to its value.
std::map<std::string, double> Samples(const std::string& text);

}  // namespace llava::testing

#endif  // LLAVA_TESTS_SUPPORT_EXPOSITION_H_

// A run as one page of HTML that needs nothing else: for whoever wants to know in the morning how
// the night went.
#ifndef LLAVA_TRAINING_REPORT_RUN_REPORT_H_
#define LLAVA_TRAINING_REPORT_RUN_REPORT_H_

#include <string>

#include "absl/status/status.h"
#include "training/report/run_history.h"

namespace llava::training {

// The page: a table of the last step, curves of loss, accuracy, rate, gradient norm, waiting for
// data, padding and speed, and the samples of the last validation with their pictures (small, in
// data: URIs). Pictures that cannot be read are said to be so. No script, no outside resource;
// texts of rows and of the model are escaped.
std::string RunReportHtml(const std::string& name, const RunHistory& history);

// Writes `folder`/report.html from `folder`/metrics.jsonl, all or nothing. Nothing without a step.
absl::Status WriteRunReport(const std::string& name, const std::string& folder);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_REPORT_RUN_REPORT_H_

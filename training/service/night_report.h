// What a job of a trigger came to: a page for a person and a message for a program.
#ifndef LLAVA_TRAINING_SERVICE_NIGHT_REPORT_H_
#define LLAVA_TRAINING_SERVICE_NIGHT_REPORT_H_

#include <string>

#include "training/service/job.h"
#include "training/service/job_store.h"

namespace llava::training {

// Markdown: the verdict and why, what went in (new and old rows, what was generated, rejected and
// paid), the steps, losses, the scores of the old and the new version with intervals, and answers
// that changed. What a job has not come to is left out. Reads the job's folder.
std::string NightReport(const Job& job, const StepRecords& steps, const std::string& folder);

// What a step has done that ended well, in a sentence: rows made or checked, steps trained, scores,
// the version; "" where the job's folder does not say.
std::string StepSummary(const std::string& step, const Job& job, const StepRecords& steps,
                        const std::string& folder);

// One JSON object: {"job", "trigger", "state", "message", "version", "base", "new_rows",
// "old_rows", "captured_rows", "captured_changed", "loss", "exams": [{"name", "questions", "new",
// "live"}], "canary": {"state", "message"}, "report"}; "canary" is there when a server was asked.
std::string NightMessage(const Job& job, const StepRecords& steps, const std::string& folder);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_SERVICE_NIGHT_REPORT_H_

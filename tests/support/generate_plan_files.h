// A plan of `llava-train generate` about a few pictures, for tests.
#ifndef LLAVA_TESTS_SUPPORT_GENERATE_PLAN_FILES_H_
#define LLAVA_TESTS_SUPPORT_GENERATE_PLAN_FILES_H_

#include <string>

#include "tests/support/bench_folder.h"

namespace llava::test {

// plan.yaml, `pictures` contexts, and examples of each kind. `more`: further lines of the plan.
inline void AddPlan(BenchFolder* folder, int pictures, const std::string& url,
                    const std::string& more = "") {
  std::string contexts;
  for (int i = 0; i < pictures; ++i) {
    const std::string id = std::to_string(i);
    contexts += "{\"id\": \"" + id + "\", \"image\": \"" + id + ".jpg\", \"captions\": [\"Number " +
                id + ".\"], \"instances\": [{\"category\": \"cat\", \"bbox\": [0.5, 1.0]}]}\n";
  }
  folder->Add("contexts.jsonl", contexts);
  for (const char* kind : {"conversation", "detail"}) {
    const std::string prompts = std::string("prompts/") + kind + "/";
    folder->Add(prompts + "system_message.txt", std::string("Make a ") + kind + ".");
    folder->Add(prompts + "000_caps.txt", "A tie.").Add(prompts + "000_conv.txt", "A question.");
  }
  folder->Add("plan.yaml",
              "output: gen\nsource: {contexts: contexts.jsonl}\nendpoint: {base_url: '" + url +
                  "', model: judge, first_retry_seconds: 0.001, "
                  "longest_retry_seconds: 0.001, max_in_flight: 4}\nkinds:\n"
                  "  conversation: {images: 1, few_shot: prompts/conversation}\n"
                  "  detail: {images: 1, few_shot: prompts/detail}\n" +
                  more);
}

}  // namespace llava::test

#endif  // LLAVA_TESTS_SUPPORT_GENERATE_PLAN_FILES_H_

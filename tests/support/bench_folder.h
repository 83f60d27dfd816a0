// Small files of benchmarks in their own formats, for tests.
#ifndef LLAVA_TESTS_SUPPORT_BENCH_FOLDER_H_
#define LLAVA_TESTS_SUPPORT_BENCH_FOLDER_H_

#include <filesystem>
#include <string>

#include "base/check.h"
#include "base/durable_file.h"
#include "tests/support/temp_dir.h"

namespace llava::test {

class BenchFolder {
 public:
  // A file below the folder, with the folders above it.
  BenchFolder& Add(const std::string& name, const std::string& bytes) {
    const std::filesystem::path path = std::filesystem::path(dir_.path()) / name;
    std::filesystem::create_directories(path.parent_path());
    LLAVA_CHECK(WriteFile(path.string(), bytes).ok());
    return *this;
  }

  const std::string& path() const { return dir_.path(); }

 private:
  TempDir dir_;
};

// LLaVA-Bench (COCO) with two questions about two pictures.
inline void AddLlavaBench(BenchFolder* folder) {
  folder->Add("qa90_questions.jsonl",
              "{\"question_id\": 0, \"image\": \"1.jpg\", \"text\": \"What is it?\", \"category\": "
              "\"conv\"}\n{\"question_id\": 1, \"image\": \"2.jpg\", \"text\": \"Describe it.\", "
              "\"category\": \"detail\"}\n");
  folder->Add("qa90_gpt4_answer.jsonl",
              "{\"question_id\": 1, \"text\": \"A dog.\"}\n{\"question_id\": 0, \"text\": \"A "
              "cat.\", \"answer_id\": \"x\"}\n");
  folder->Add("sub/caps_boxes_coco2014_val_80.jsonl",
              "{\"id\": \"1\", \"image\": \"1.jpg\", \"captions\": [\"One.\", \"Two.\"], "
              "\"instances\": [{\"category\": \"cat\", \"bbox\": [0.63, 1.0, 0.5, 0.125]}]}\n"
              "{\"id\": \"2\", \"image\": \"2.jpg\", \"captions\": [\"Three.\"], \"instances\": "
              "[]}\n");
  folder->Add("rule.json",
              "{\"conv\": {\"role\": \"Assistant\", \"prompt\": \"Rate.\"}, \"detail\": {\"role\": "
              "\"Helper\", \"prompt\": \"Score.\"}, \"default\": {\"role\": \"Assistant\", "
              "\"prompt\": \"Default.\"}, \"llava_bench_conv\": {\"role\": \"Assistant\", "
              "\"prompt\": \"Wild.\"}}");
  folder->Add("images/1.jpg", "one").Add("images/2.jpg", "two");
}

}  // namespace llava::test

#endif  // LLAVA_TESTS_SUPPORT_BENCH_FOLDER_H_

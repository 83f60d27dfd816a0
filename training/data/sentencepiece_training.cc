#include "training/data/sentencepiece_training.h"

#include <sentencepiece_trainer.h>

#include <unordered_map>

namespace llava::training {
namespace {

class Lines : public sentencepiece::SentenceIterator {
 public:
  explicit Lines(const std::vector<std::string>& lines) : lines_(lines) {}
  bool done() const override { return at_ >= lines_.size(); }
  void Next() override { ++at_; }
  const std::string& value() const override { return lines_[at_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  const std::vector<std::string>& lines_;
  std::size_t at_ = 0;
};

}  // namespace

std::string TrainSentencepiece(const std::vector<std::string>& lines, int vocabulary,
                               std::string* model) {
  const std::unordered_map<std::string, std::string> settings = {
      {"model_type", "bpe"},
      {"vocab_size", std::to_string(vocabulary)},
      {"byte_fallback", "true"},
      {"unk_id", "0"},
      {"bos_id", "1"},
      {"eos_id", "2"},
      {"pad_id", "-1"},
      {"character_coverage", "1.0"},
      {"normalization_rule_name", "identity"},
      {"remove_extra_whitespaces", "false"},
      {"split_digits", "true"},
      {"num_threads", "1"},
      {"minloglevel", "2"}};
  Lines iterator(lines);
  const auto trained = sentencepiece::SentencePieceTrainer::Train(settings, &iterator, model);
  return trained.ok() ? "" : trained.ToString();
}

}  // namespace llava::training

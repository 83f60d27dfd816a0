#include "training/data/scenes/conversation.h"

#include <algorithm>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace llava::training::scenes {
namespace {

constexpr double kWrong = 0.125;       // of the answers before the last
constexpr double kAboutIt = 0.3;       // of the questions after one about a thing
constexpr double kWithAnd = 0.12;      // of the follow-ups
constexpr double kNamesPicture = 0.4;  // of the questions once two pictures were shown

std::string Lower(std::string text) {
  text[0] = absl::ascii_tolower(static_cast<unsigned char>(text[0]));
  return text;
}

// The questions of one scene, each asked once, the kinds in turn.
class Pool {
 public:
  Pool(const Scene& scene, Rng& rng) : scene_(scene) {
    questions_ = SomeQuestions(scene, 40, rng);
    for (Question& question : Comparisons(scene, 2, rng)) questions_.push_back(std::move(question));
    rng.Shuffle(questions_);
  }

  const Scene& scene() const { return scene_; }
  bool is_empty() const { return questions_.empty(); }

  Question Take() {
    Question question = std::move(questions_.back());
    questions_.pop_back();
    return question;
  }

  // An answer to a question of the same kind that is not this one.
  std::optional<std::string> OtherAnswer(const Question& question) const {
    for (const Question& other : questions_) {
      if (other.kind == question.kind && other.answer != question.answer) return other.answer;
    }
    return std::nullopt;
  }

 private:
  const Scene& scene_;
  std::vector<Question> questions_;
};

std::string WrongAnswer(const Question& question, const Pool& pool, Rng& rng) {
  if (question.answer == "yes") return "no";
  if (question.answer == "no") return "yes";
  if (const auto other = pool.OtherAnswer(question)) return *other;
  const std::string colour(kColours[rng.Below(kGrey)]);
  const std::string answer = absl::StrCat("a ", colour, " cross");
  return answer == question.answer ? "nothing" : answer;
}

class Speaker {
 public:
  Speaker(std::span<const Scene> scenes, Rng& rng) : rng_(rng) {
    for (const Scene& scene : scenes) pools_.emplace_back(scene, rng);
    both_at_once_ = scenes.size() > 1 && rng.Chance(0.3);
  }

  std::vector<SpokenTurn> Speak(int most) {
    const auto turns = static_cast<int>(rng_.Between(2, most));
    // The turn that shows the second picture.
    const auto change =
        pools_.size() > 1 && !both_at_once_ ? rng_.Between(1, turns - 1) : std::int64_t{-1};
    for (int turn = 0; turn < turns; ++turn) {
      int pictures = 0;
      if (turn == 0) pictures = both_at_once_ ? 2 : 1;
      if (turn == change) pictures = 1;
      shown_ += pictures;
      if (pictures > 0) subject_ = -1;
      Say(pictures, turn);
    }
    spoken_.back().is_wrong = false;
    spoken_.back().question.answer = true_answer_;
    return std::move(spoken_);
  }

 private:
  void Say(int pictures, int turn) {
    const bool about_it = subject_ >= 0 && rng_.Chance(kAboutIt);
    SpokenTurn said;
    said.pictures = pictures;
    if (!about_it) ChoosePicture(pictures);
    Pool& pool = pools_[static_cast<std::size_t>(picture_)];
    if (about_it) {
      std::vector<Question> all = QuestionsAboutIt(pool.scene(), subject_, rng_);
      // Not what was just asked.
      std::erase_if(all, [&](const Question& q) { return q.kind == kind_; });
      said.question = all[rng_.Below(all.size())];
    } else if (pool.is_empty()) {
      said.question = {"description", "Describe the picture.", Caption(pool.scene())};
    } else {
      said.question = pool.Take();
    }
    Word(about_it, pictures, turn, &said.question);
    true_answer_ = said.question.answer;
    kind_ = said.question.kind;
    subject_ = said.question.answer == "no" ? -1 : said.question.subject;
    if (rng_.Chance(kWrong)) {
      said.is_wrong = true;
      said.question.answer = WrongAnswer(said.question, pool, rng_);
      subject_ = -1;  // nobody knows what "it" would be
    }
    spoken_.push_back(std::move(said));
  }

  // The last one that was shown, or one that the question will name.
  void ChoosePicture(int pictures) {
    names_picture_ = both_at_once_ || (shown_ == 2 && pictures == 0 && rng_.Chance(kNamesPicture));
    picture_ = names_picture_ ? static_cast<int>(rng_.Below(2)) : shown_ - 1;
  }

  // How the question is put at this place of the conversation.
  void Word(bool about_it, int pictures, int turn, Question* question) {
    if (about_it) return;
    if (names_picture_) {
      const char* where = picture_ == 0 ? "In the first picture, " : "In the second picture, ";
      question->text = absl::StrCat(where, Lower(question->text));
    } else if (turn > 0 && pictures == 0 && rng_.Chance(kWithAnd)) {
      question->text = absl::StrCat("And ", Lower(question->text));
    }
  }

  Rng& rng_;
  std::vector<Pool> pools_;
  bool both_at_once_ = false;
  int shown_ = 0;               // pictures, up to now
  int picture_ = 0;             // that the present question is about
  bool names_picture_ = false;  // the question says which one it means
  int subject_ = -1;            // in that picture, what "it" is
  std::string true_answer_;     // of the last turn
  std::string kind_;            // and what it asked about
  std::vector<SpokenTurn> spoken_;
};

}  // namespace

std::vector<SpokenTurn> MakeConversation(std::span<const Scene> scenes, int most, Rng& rng) {
  LLAVA_CHECK(scenes.size() == 1 || scenes.size() == 2);
  LLAVA_CHECK_GE(most, 2);
  return Speaker(scenes, rng).Speak(most);
}

}  // namespace llava::training::scenes

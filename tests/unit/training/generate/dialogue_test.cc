#include "training/generate/dialogue.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/json_reader.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llava::training {
namespace {

using testing::ElementsAre;
using testing::Pair;

TEST(Dialogue, ReadsThePapersFormat) {
  const ParsedReply reply = ParseDialogue(
      "Question:\nWhat is it?\n===\nAnswer:\nIt is a dog.\n\nA big one.\n===\nQuestion:\nWhere?\n"
      "===\nAnswer:\nIn the park.");
  EXPECT_EQ(reply.rejected, "");
  EXPECT_THAT(reply.dialogue, ElementsAre(Pair("What is it?", "It is a dog.\n\nA big one."),
                                          Pair("Where?", "In the park.")));
  EXPECT_TRUE(reply.mended.empty());
}

TEST(Dialogue, ToleratesAndCountsSmallFaults) {
  const ParsedReply reply = ParseDialogue(
      "Sure! Here it is.\r\n```\r\nQuestion 1: What is it?\r\n===\r\nAnswer 1:\r\nA "
      "dog.\r\n===\r\n```\r\n");
  EXPECT_EQ(reply.rejected, "");
  EXPECT_THAT(reply.dialogue, ElementsAre(Pair("What is it?", "A dog.")));
  EXPECT_THAT(reply.mended,
              ElementsAre(Pair("code_fence", 2), Pair("crlf", 1), Pair("inline", 1),
                          Pair("numbered", 2), Pair("preamble", 1), Pair("trailing_separator", 1)));
}

TEST(Dialogue, EverythingElseIsRejected) {
  for (const auto& [text, reason] :
       {std::pair("", "no_question"),
        {"A nice picture.", "no_question"},
        {"Question:\nWhat?", "truncated"},
        {"Question:\nWhat?\n===\n", "truncated"},
        {"Question:\nWhat?\nAnswer:\nA dog.", "odd_turns"},
        {"Question:\nWhat?\n===\nQuestion:\nWho?\n===\nAnswer:\nI.", "odd_turns"},
        {"Answer:\nA dog.", "odd_turns"},
        {"Question:\nWhat?\n===\nnoise\nAnswer:\nA dog.", "odd_turns"}}) {
    EXPECT_EQ(ParseDialogue(text).rejected, reason) << text;
  }
}

std::string Judge(const std::string& question, const std::string& answer) {
  ParsedReply reply;
  reply.dialogue = {{question, answer}};
  Accept({}, &reply);
  return reply.rejected;
}

TEST(Dialogue, AcceptsWhatMayBeLearnt) {
  EXPECT_EQ(Judge("What colour is the fire hydrant?", "The fire hydrant is red."), "");
  EXPECT_EQ(Judge("Is it red?", "Yes"), "");
  EXPECT_EQ(Judge("What?", "A"), "too_short");
  EXPECT_EQ(Judge("", "A dog."), "too_short");
  EXPECT_EQ(Judge("What?", std::string(4001, 'a')), "too_long");
  EXPECT_EQ(Judge("What?", "I'm sorry, I cannot see it."), "refusal");
  EXPECT_EQ(Judge("What?", "The Captions say that it is a dog."), "mentions_source");
  EXPECT_EQ(Judge("What?", "The dog is in its bounding box."), "mentions_source");
  EXPECT_EQ(Judge("Where?", "At [0.25, 0.5, 0.7, 1.0]."), "coordinates");
  EXPECT_EQ(Judge("How much?", "It costs 10.25, not 3."), "");
  EXPECT_EQ(Judge("Was ist das?", "Das ist ein Hund, der im Park mit einem Ball spielt."),
            "wrong_language");
  EXPECT_EQ(Judge("What?", "\xd0\xad\xd1\x82\xd0\xbe"), "wrong_language");
  EXPECT_EQ(Judge("What is it?", "Put it behind <image> there."), "mentions_source");
  EXPECT_EQ(Judge("Are there any people in the image?", "Yes, there are people in the image."), "");
  EXPECT_EQ(Judge("Why is the brown horse jumping over fences?",
                  "The brown horse is jumping over "
                  "fences."),
            "question_leaks_answer");
}

// They have words of English, too: "a", "on", "is".
TEST(Dialogue, OtherLanguagesAreFoundBehindAnEnglishQuestion) {
  for (const char* answer :
       {"Il y a un chien sur le canap\xc3\xa9, on voit une balle.",
        "Hay un perro negro que duerme en el sof\xc3\xa1, a la izquierda de la mesa.",
        "A sinistra del divano c'\xc3\xa8 un cane che dorme con una palla.",
        "Er is een hond op de bank, en die slaapt met een bal.",
        "Um cachorro dorme em um sof\xc3\xa1 com uma bola, a direita."}) {
    EXPECT_EQ(Judge("What is the dog doing, and where is it?", answer), "wrong_language") << answer;
  }
  EXPECT_EQ(Judge("Where is the church?",
                  "The church of San Miguel de Allende stands in the old "
                  "town, on a hill above the river."),
            "");
  EXPECT_EQ(
      Judge("Which colours are there?", "Red, green, blue, yellow, purple, pink, brown, grey."),
      "");
}

// Lists have no small words, in any language.
TEST(Dialogue, TerseListsAreJudgedByTheirOwnWords) {
  for (const auto& [question, answer] : {
           std::pair("Name shapes, please.", "Red circle, blue square, green triangle"),
           {"What do you see?", "big red circle, small blue square"},
           {"List all visible objects", "dog, frisbee, tree, bench, grass"},
           {"Colours?", "Red, green, blue, yellow, purple, pink, brown, grey, orange"},
           {"How many shapes do you count?", "Three: circle, cross, square"},
           {"Things seen:", "Los Angeles sign, red traffic light, white truck, two people"},
       }) {
    EXPECT_EQ(Judge(question, answer), "") << question << " " << answer;
  }
  for (const auto& [question, answer] : {
           std::pair("Welche Formen?", "Roter Kreis, blaues Quadrat, gelbes Dreieck, rosa Stern"),
           {"Quelles formes?", "cercle rouge, triangle vert, large croix orange, six points"},
           {"Nombra formas", "red, perro negro, gato blanco, mesa larga, silla roja"},
           {"Welke vormen?", "rode cirkel, blauw vierkant, groene driehoek, water, door"},
           {"Quali forme?", "cerchio rosso, quadrato blu, triangolo verde, stella gialla"},
       }) {
    EXPECT_EQ(Judge(question, answer), "wrong_language") << question << " " << answer;
  }
}

TEST(Dialogue, TurnsAreCounted) {
  ParsedReply reply;
  Accept({.min_turns = 1}, &reply);
  EXPECT_EQ(reply.rejected, "too_few_turns");
  ParsedReply many;
  many.dialogue.assign(3, {"What is it?", "A dog."});
  Accept({.max_turns = 2}, &many);
  EXPECT_EQ(many.rejected, "too_many_turns");
}

TEST(Dialogue, DescriptionsAreTakenWhole) {
  const ParsedReply reply = ParseDescription(" A dog.\r\nIt sits. ", "Describe it");
  EXPECT_THAT(reply.dialogue, ElementsAre(Pair("Describe it", "A dog.\nIt sits.")));
}

// What the paper's authors published, where it lies beside this repository.
TEST(Dialogue, PublishedAnswersAreAccepted) {
  const char* const data = std::getenv("LLAVA_SHARED_DATA");
  const std::string file = std::string(data == nullptr ? "../shared/data" : data) +
                           "/llava-repo/playground/data/coco2014_val_gpt4_qa_30x3.jsonl";
  if (!std::filesystem::exists(file)) GTEST_SKIP() << file;
  std::ifstream in(file);
  int rows = 0;
  for (std::string line; std::getline(in, line); ++rows) {
    const auto row = ParseJsonObject(line, file);
    ASSERT_TRUE(row.ok()) << row.status();
    const std::string question(row->at("instruction").as_string());
    const std::string answer(row->at("output").as_string());
    ParsedReply reply = ParseDialogue("Question:\n" + question + "\n===\nAnswer:\n" + answer);
    Accept({}, &reply);
    EXPECT_EQ(reply.rejected, "") << line;
  }
  EXPECT_EQ(rows, 90);
}

}  // namespace
}  // namespace llava::training

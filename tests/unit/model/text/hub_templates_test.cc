#include "model/text/hub_templates.h"

#include <string>

#include "gtest/gtest.h"
#include "model/text/chat_template.h"

namespace llava::model {
namespace {

TEST(HubTemplatesTest, EveryNameThatBeginsWithHfHasOne) {
  for (const std::string& name : ChatTemplate::Names()) {
    EXPECT_EQ(HubTemplate(name).empty(), !name.starts_with("hf")) << name;
    EXPECT_EQ(HubTemplate(name).empty(), HubTemplate(name) != ChatTemplate::ByName(name)->Jinja());
  }
  EXPECT_EQ(HubTemplate("chatml"), "");
}

}  // namespace
}  // namespace llava::model

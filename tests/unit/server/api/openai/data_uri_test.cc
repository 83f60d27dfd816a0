#include "server/api/openai/data_uri.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace llava::api {
namespace {

// "hi?>" in base64: it has both characters that URLs escape, and padding.
const std::string kBytes = "h\xfb\xef\xbe";
constexpr char kBase64[] = "aPvvvg==";

TEST(DataUriTest, FormsOfOneImage) {
  for (const std::string& uri : {
           absl::StrCat("data:image/png;base64,", kBase64),
           absl::StrCat("data:image/png;BASE64,", kBase64),
           absl::StrCat("DATA:;base64,", kBase64),
           absl::StrCat("data:image/png;name=", std::string(500, 'x'), ".png;base64,", kBase64),
           absl::StrCat("data:image/png; base64 ,", kBase64),
           std::string("data:image/png;base64,aPvvvg%3D%3D"),
           std::string("data:image/png;base64,%61Pvvvg=="),
           std::string("data:image/png;base64,aPvv\nvg"),
           absl::StrCat("data:image/png;base64,", kBase64, "#top"),
           std::string("data:image/png,h%fb%EF%be"),
       }) {
    ASSERT_TRUE(HasScheme(uri, "data")) << uri;
    const auto bytes = DecodeDataUri(uri);
    ASSERT_TRUE(bytes.ok()) << uri << ": " << bytes.status();
    EXPECT_EQ(*bytes, kBytes) << uri;
  }
}

TEST(DataUriTest, WhatIsNoDataUri) {
  EXPECT_EQ(DecodeDataUri("data:image/png;base64").status().message(),
            "expected a comma in the data: URI");
  for (const char* uri : {"data:;base64,!", "data:;base64,a", "data:;base64,%zz"}) {
    EXPECT_EQ(DecodeDataUri(uri).status().message(), "expected base64 after the comma") << uri;
  }
  // A lone percent sign stands for itself.
  EXPECT_EQ(*DecodeDataUri("data:,100%"), "100%");
  EXPECT_EQ(*DecodeDataUri("data:,base64"), "base64");
}

TEST(DataUriTest, SchemesAndWhiteSpace) {
  EXPECT_TRUE(HasScheme("HTTPS://example.org", "https"));
  EXPECT_FALSE(HasScheme("https://example.org", "http"));
  EXPECT_FALSE(HasScheme("data", "data"));
  EXPECT_EQ(StripUrl(" \n\tdata:,x\r\n"), "data:,x");
  EXPECT_EQ(StripUrl(" "), "");
  EXPECT_EQ(WithoutLines("da\tta:\r\n,x\n"), "data:,x");
  EXPECT_EQ(WithoutLines("data:,x"), "");
}

}  // namespace
}  // namespace llava::api

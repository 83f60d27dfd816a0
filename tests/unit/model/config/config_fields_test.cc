#include "model/config/config_fields.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/object.hpp>
#include <string>

#include "base/json_reader.h"

namespace llava::model {
namespace {

using ::testing::HasSubstr;

struct Outcome {
  Activation activation = Activation::kIdentity;
  std::string error;
};

Outcome Named(const std::string& name) {
  const boost::json::object object = {{"act", name}};
  JsonReader reader("config.json", object);
  Outcome outcome;
  outcome.activation = ActivationOf(reader, "act", "gelu");
  outcome.error = std::string(reader.status().message());
  return outcome;
}

TEST(ConfigFieldsTest, ActivationsAreThoseOfTransformers) {
  for (const char* name :
       {"gelu_pytorch_tanh", "gelu_python_tanh", "gelu_new", "gelu_fast", "gelu_accurate"}) {
    EXPECT_EQ(Named(name).activation, Activation::kGeluTanh) << name;
  }
  for (const char* name : {"gelu", "quick_gelu", "relu", "relu6", "leaky_relu", "silu", "hardswish",
                           "mish", "sigmoid", "tanh", "linear"}) {
    EXPECT_EQ(Named(name).error, "") << name;
    EXPECT_EQ(ActivationName(Named(name).activation), name);
  }
  EXPECT_EQ(Named("swish").activation, Activation::kSilu);
  EXPECT_EQ(Named("gelu_python").activation, Activation::kGelu);
}

TEST(ConfigFieldsTest, OtherActivationsAreRefusedByName) {
  for (const char* name : {"gelu_10", "laplace", "prelu", "relu2", "sqrtsoftplus", "xielu", ""}) {
    EXPECT_THAT(Named(name).error, HasSubstr("a supported activation (gelu, gelu_python, "))
        << name;
  }
}

}  // namespace
}  // namespace llava::model

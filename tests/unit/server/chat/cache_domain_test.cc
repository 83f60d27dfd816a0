#include "server/chat/cache_domain.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <utility>

namespace llava::api {
namespace {

TEST(CacheDomainTest, IsOneForATenantAndASalt) {
  EXPECT_EQ(CacheDomain("alice", ""), CacheDomain("alice", ""));
  EXPECT_EQ(CacheDomain("alice", "s"), CacheDomain("alice", "s"));
}

TEST(CacheDomainTest, DiffersForOtherTenantsAndSalts) {
  const std::string null(1, '\0');
  const std::pair<std::string, std::string> all[] = {
      {"", ""},       {"", "alice"},  {"alice", ""},   {"alice", "s"},
      {"alices", ""}, {"alic", "es"}, {"", "5:alice"}, {"", "alices"},
      {"bob", ""},    {"bob", "s"},   {"bob", null},   {"1:b", "ob"}};
  std::set<Digest> domains = {Digest()};
  for (const auto& [tenant, salt] : all) {
    EXPECT_TRUE(domains.insert(CacheDomain(tenant, salt)).second) << tenant << " and " << salt;
  }
}

}  // namespace
}  // namespace llava::api

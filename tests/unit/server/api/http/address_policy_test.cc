#include "server/api/http/address_policy.h"

#include <gtest/gtest.h>

namespace llava::api {
namespace {

using boost::asio::ip::make_address;

TEST(AddressPolicyTest, WhatIsNotPublicIsRefused) {
  for (const char* address : {"0.0.0.0",
                              "0.1.2.3",
                              "10.0.0.1",
                              "10.255.255.255",
                              "100.64.0.1",
                              "100.127.255.254",
                              "127.0.0.1",
                              "127.255.255.255",
                              "169.254.169.254",
                              "172.16.0.1",
                              "172.31.255.255",
                              "192.0.0.8",
                              "192.0.2.1",
                              "192.88.99.1",
                              "192.168.0.1",
                              "198.18.0.1",
                              "198.19.255.255",
                              "198.51.100.7",
                              "203.0.113.9",
                              "224.0.0.1",
                              "239.255.255.255",
                              "240.0.0.1",
                              "255.255.255.255",
                              "::",
                              "::1",
                              "::ffff:10.0.0.1",
                              "::ffff:127.0.0.1",
                              "::ffff:169.254.169.254",
                              "::127.0.0.1",
                              "64:ff9b::7f00:1",
                              "64:ff9b:1::1",
                              "100::1",
                              "2001::1",
                              "2001:db8::1",
                              "2002:7f00:1::",
                              "3fff::1",
                              "fc00::1",
                              "fd12:3456::1",
                              "fe80::1",
                              "fe80::1%1",
                              "fec0::1",
                              "ff02::1",
                              "5f00::1"}) {
    EXPECT_FALSE(IsPublicAddress(make_address(address))) << address;
  }
}

TEST(AddressPolicyTest, NeighboursOfThoseArePublic) {
  for (const char* address : {"1.1.1.1",
                              "8.8.8.8",
                              "9.255.255.255",
                              "11.0.0.0",
                              "100.63.255.255",
                              "100.128.0.0",
                              "126.255.255.255",
                              "128.0.0.0",
                              "169.253.255.255",
                              "169.255.0.0",
                              "172.15.255.255",
                              "172.32.0.0",
                              "192.167.255.255",
                              "192.169.0.0",
                              "198.17.255.255",
                              "198.20.0.0",
                              "223.255.255.255",
                              "::ffff:8.8.8.8",
                              "2606:4700::1111",
                              "2a00:1450:4001::200e",
                              "2001:4860:4860::8888"}) {
    EXPECT_TRUE(IsPublicAddress(make_address(address))) << address;
  }
}

TEST(AddressPolicyTest, HostsAreMatchedWholeAndWithTheirPort) {
  const auto policy = AddressPolicy::Make(
      {"example.org", "*.Example.NET", "pictures.example:8443", "[::1]:80"}, {});
  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_TRUE(policy->enabled());
  EXPECT_TRUE(policy->AllowsHost("example.org", 443, 443));
  EXPECT_TRUE(policy->AllowsHost("EXAMPLE.org", 80, 80));
  EXPECT_TRUE(policy->AllowsHost("a.b.example.net", 443, 443));
  EXPECT_TRUE(policy->AllowsHost("pictures.example", 8443, 443));
  EXPECT_TRUE(policy->AllowsHost("[::1]", 80, 80));
  EXPECT_TRUE(policy->AllowsHost("[::1]", 80, 443));
  for (const auto& [host, port] :
       {std::pair("example.org", 8080), std::pair("www.example.org", 443),
        std::pair("example.net", 443), std::pair("evilexample.net", 443),
        std::pair("pictures.example", 443), std::pair("example.org.", 443), std::pair("", 443)}) {
    EXPECT_FALSE(policy->AllowsHost(host, port, 443)) << host << ":" << port;
  }
  EXPECT_FALSE(AddressPolicy().enabled());
}

TEST(AddressPolicyTest, NetworksAllowWhatIsNotPublic) {
  const auto policy = AddressPolicy::Make({"a"}, {"10.1.0.0/16", "fd00:1::/32"});
  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_TRUE(policy->AllowsAddress(make_address("10.1.2.3")));
  EXPECT_TRUE(policy->AllowsAddress(make_address("::ffff:10.1.2.3")));
  EXPECT_TRUE(policy->AllowsAddress(make_address("fd00:1::5")));
  EXPECT_TRUE(policy->AllowsAddress(make_address("8.8.8.8")));
  EXPECT_FALSE(policy->AllowsAddress(make_address("10.2.0.1")));
  EXPECT_FALSE(policy->AllowsAddress(make_address("fd00:2::5")));
  EXPECT_FALSE(policy->AllowsAddress(make_address("127.0.0.1")));
}

TEST(AddressPolicyTest, WrongEntriesAreNamed) {
  for (const char* host :
       {"", "*", "a*b", "a:0", "a:65536", "a:b", "http://a", "a/b", "a b", "[a]", "user@a"}) {
    const auto policy = AddressPolicy::Make({host}, {});
    EXPECT_EQ(policy.status().code(), absl::StatusCode::kInvalidArgument) << host;
  }
  for (const char* network : {"", "10.0.0.1", "10.0.0.0/33", "fd00::/129", "a/8"}) {
    const auto policy = AddressPolicy::Make({"a"}, {network});
    EXPECT_EQ(policy.status().code(), absl::StatusCode::kInvalidArgument) << network;
  }
}

}  // namespace
}  // namespace llava::api

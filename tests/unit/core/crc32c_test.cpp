// SPDX-License-Identifier: Apache-2.0
#include "agent/base/crc32c.h"

#include <gtest/gtest.h>

#include <string_view>
#include <vector>

namespace outrider {
namespace {

std::vector<std::byte> bytes_of(std::string_view text) {
  std::vector<std::byte> bytes;
  for (const char c : text) bytes.push_back(static_cast<std::byte>(c));
  return bytes;
}

TEST(Crc32c, GivesTheExamplesOfRfc3720) {
  std::vector<std::byte> bytes(32, std::byte{0});
  EXPECT_EQ(crc32c(bytes), 0x8A9136AAU);
  bytes.assign(32, std::byte{0xFF});
  EXPECT_EQ(crc32c(bytes), 0x62A8AB43U);
  for (std::size_t i = 0; i < 32; ++i) bytes[i] = static_cast<std::byte>(i);
  EXPECT_EQ(crc32c(bytes), 0x46DD794EU);
  for (std::size_t i = 0; i < 32; ++i) {
    bytes[i] = static_cast<std::byte>(31 - i);
  }
  EXPECT_EQ(crc32c(bytes), 0x113FDB5CU);
}

TEST(Crc32c, GivesTheCheckValueAndNothingForNothing) {
  EXPECT_EQ(crc32c(bytes_of("123456789")), 0xE3069283U);
  EXPECT_EQ(crc32c({}), 0U);
}

// Where the processor has an instruction for it, the table is not used.
TEST(Crc32c, IsTheSameBothWays) {
  std::vector<std::byte> bytes;
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(crc32c(bytes), ~crc32c_ways::by_table(bytes, ~0U)) << i;
    bytes.push_back(static_cast<std::byte>(i * 37 + 11));
  }
}

TEST(Crc32c, GoesOnFromWhereItWas) {
  const std::vector<std::byte> bytes = bytes_of("what comes in two pieces");
  const std::span<const std::byte> all(bytes);
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    SCOPED_TRACE(cut);
    EXPECT_EQ(crc32c(all.subspan(cut), crc32c(all.first(cut))), crc32c(all));
  }
}

}  // namespace
}  // namespace outrider

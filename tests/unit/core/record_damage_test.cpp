// SPDX-License-Identifier: Apache-2.0
// Files that are torn, altered, or none of ours: the good part is read, the
// place of the damage named.
#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <string_view>
#include <vector>

#include "agent/base/crc32c.h"
#include "agent/core/record.h"
#include "tests/unit/core/random_samples.h"

namespace outrider {
namespace {

using Bytes = std::vector<std::byte>;

/// A file and where each of its records begins; the last is its size.
struct Recorded {
  Bytes bytes;
  std::vector<std::size_t> starts;
};

Recorded record(std::uint32_t seed, int samples) {
  Recorded file;
  RandomSamples host(seed);
  RecordWriter writer(3);
  writer.header(file.bytes);
  file.starts.push_back(file.bytes.size());
  CameVm vm;
  vm.name = "a";
  EXPECT_TRUE(writer.came(vm, file.bytes));
  for (int i = 0; i < samples; ++i) {
    file.starts.push_back(file.bytes.size());
    if (i == 2) host.churn();
    EXPECT_TRUE(writer.sample(host.next(10'000'000), file.bytes));
  }
  file.starts.push_back(file.bytes.size());
  return file;
}

struct Read {
  std::size_t records = 0;
  std::size_t offset = 0;
  std::optional<RecordDamage> damage;
};

Read read(std::span<const std::byte> bytes) {
  RecordReader reader(bytes);
  Read result;
  while (reader.next()) ++result.records;
  EXPECT_FALSE(reader.next());  // and says so again
  result.offset = reader.offset();
  result.damage = reader.damage();
  return result;
}

TEST(RecordDamage, TornAtAnyByteLeavesTheRecordsBefore) {
  const Recorded file = record(1, 6);
  for (std::size_t size = 0; size < file.bytes.size(); ++size) {
    SCOPED_TRACE(size);
    const Read got = read(std::span(file.bytes).first(size));
    std::size_t whole = 0;
    while (file.starts[whole + 1] <= size) ++whole;
    const bool between = size == file.starts[whole];
    EXPECT_EQ(got.records, whole);
    EXPECT_EQ(got.damage.has_value(), !between);
    if (size < file.starts[0]) {
      EXPECT_EQ(got.offset, 0U);
      EXPECT_EQ(got.damage, RecordDamage::kTorn);
    } else {
      EXPECT_EQ(got.offset, file.starts[whole]);
      if (!between) {
        EXPECT_EQ(got.damage, RecordDamage::kTorn);
      }
    }
  }
}

TEST(RecordDamage, AnyFlippedBitIsFoundInItsOwnRecord) {
  Recorded file = record(2, 3);
  for (std::size_t i = 0; i < file.bytes.size(); ++i) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      SCOPED_TRACE(i * 8 + bit);
      file.bytes[i] ^= std::byte{1} << bit;
      const Read got = read(file.bytes);
      file.bytes[i] ^= std::byte{1} << bit;
      ASSERT_TRUE(got.damage.has_value());
      std::size_t whole = 0;
      while (i >= file.starts[whole + 1]) ++whole;
      EXPECT_EQ(got.records, i < file.starts[0] ? 0 : whole);
      EXPECT_EQ(got.offset, i < file.starts[0] ? 0 : file.starts[whole]);
    }
  }
}

Bytes bytes_of(std::string_view text) {
  Bytes bytes;
  for (const char c : text) bytes.push_back(static_cast<std::byte>(c));
  return bytes;
}

TEST(RecordDamage, AFileThatIsNotOursIsForeign) {
  EXPECT_EQ(read(bytes_of("\x7f"
                          "ELF and so on"))
                .damage,
            RecordDamage::kForeign);
  EXPECT_EQ(read(bytes_of("x")).damage, RecordDamage::kForeign);
  EXPECT_EQ(read(bytes_of("OUTRUNNER as long as a header")).damage,
            RecordDamage::kForeign);
  EXPECT_EQ(read({}).damage, RecordDamage::kTorn);
}

void seal(std::span<std::byte> covered, std::span<std::byte> at) {
  const std::uint32_t crc = crc32c(covered);
  for (std::size_t i = 0; i < 4; ++i) {
    at[i] = static_cast<std::byte>((crc >> (8 * i)) & 0xFF);
  }
}

TEST(RecordDamage, ALaterVersionIsSaidToBeNewer) {
  Recorded file = record(3, 1);
  file.bytes[8] = std::byte{2};
  EXPECT_EQ(read(file.bytes).damage, RecordDamage::kChecksum);
  seal(std::span(file.bytes).first(12), std::span(file.bytes).subspan(12, 4));
  EXPECT_EQ(read(file.bytes).damage, RecordDamage::kOtherVersion);
}

TEST(RecordDamage, ZerosAfterACrashAreABadLength) {
  Recorded file = record(4, 2);
  file.bytes.resize(file.bytes.size() + 4096);
  const Read got = read(file.bytes);
  EXPECT_EQ(got.damage, RecordDamage::kLength);
  EXPECT_EQ(got.records, 3U);
  EXPECT_EQ(got.offset, file.starts.back());
}

/// A file of one record with this payload and a right checksum.
Bytes with_payload(const Bytes& payload) {
  Bytes file;
  RecordWriter().header(file);
  Bytes record(4);
  record[0] = static_cast<std::byte>(payload.size());
  record.insert(record.end(), payload.begin(), payload.end());
  Bytes crc(4);
  seal(record, crc);
  file.insert(file.end(), record.begin(), record.begin() + 4);
  file.insert(file.end(), crc.begin(), crc.end());
  file.insert(file.end(), payload.begin(), payload.end());
  return file;
}

Bytes payload_of(std::initializer_list<int> values) {
  Bytes bytes;
  for (const int value : values) {
    bytes.push_back(static_cast<std::byte>(value));
  }
  return bytes;
}

TEST(RecordDamage, AnIntactRecordWithoutSenseIsRefused) {
  const std::vector<Bytes> senseless = {
      payload_of({9}),                        // a type that is none
      payload_of({0}),                        // likewise
      payload_of({2}),                        // which VM went?
      payload_of({2, 1, 0}),                  // a byte too many
      payload_of({4, 0, 0, 0}),               // differs from no Sample
      payload_of({3, 0, 0, 4}),               // a flag that is none
      payload_of({1, 1, 100, 65}),            // a text longer than the record
      payload_of({3, 0, 0, 1, 200, 200, 3}),  // VMs that are not there
      // One VM with one thread, of none.
      payload_of({3, 0, 0, 1, 1, 2, 0, 1, 0, 0, 0, 0, 0, 0}),
      // A varint of 11 bytes.
      payload_of({2, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1}),
  };
  for (std::size_t i = 0; i < senseless.size(); ++i) {
    SCOPED_TRACE(i);
    const Read got = read(with_payload(senseless[i]));
    EXPECT_EQ(got.damage, RecordDamage::kSenseless);
    EXPECT_EQ(got.records, 0U);
    EXPECT_EQ(got.offset, 16U);
  }
  // And with sense: one VM went; no VM; one VM without threads.
  EXPECT_EQ(read(with_payload(payload_of({2, 1}))).damage, std::nullopt);
  EXPECT_EQ(read(with_payload(payload_of({3, 0, 0, 0}))).damage, std::nullopt);
  const Bytes no_threads =
      payload_of({3, 0, 0, 1, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0});
  EXPECT_EQ(read(with_payload(no_threads)).damage, std::nullopt);
}

TEST(RecordDamage, RandomPayloadsNeitherCrashNorGiveRangesThatAreAstray) {
  for (std::uint32_t seed = 0; seed < 20'000; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    Bytes payload = payload_of({3});
    const auto size = random() % 60;
    for (std::size_t i = 0; i < size; ++i) {
      payload.push_back(
          static_cast<std::byte>(random() % 3 == 0 ? random() : random() % 4));
    }
    const Bytes file = with_payload(payload);
    RecordReader reader(file);
    const auto entry = reader.next();
    if (!entry) continue;
    const Sample& sample = *std::get<const Sample*>(*entry);
    for (const VmSample& vm : sample.vms) {
      ASSERT_LE(vm.first_thread + vm.thread_count, sample.threads.size());
      ASSERT_LE(vm.first_vcpu + vm.vcpu_count, sample.vcpus.size());
    }
  }
}

TEST(RecordDamage, EveryKindHasItsWords) {
  EXPECT_STREQ(to_text(RecordDamage::kTorn),
               "torn: the file ends within a record");
  for (int kind = 0; kind <= 5; ++kind) {
    EXPECT_STRNE(to_text(static_cast<RecordDamage>(kind)), "");
  }
}

}  // namespace
}  // namespace outrider

// SPDX-License-Identifier: Apache-2.0
#include "agent/core/record.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <string_view>
#include <utility>

#include "agent/base/crc32c.h"
#include "agent/core/record_bytes.h"
#include "agent/core/record_sample.h"

namespace outrider {
namespace {

constexpr std::string_view kMagic = "OUTRIDER";
constexpr std::size_t kHeaderBytes = 16;
constexpr std::size_t kFrameBytes = 8;  // length and checksum

enum class Type : std::uint8_t { kCame = 1, kWent, kKeySample, kSample };

void put_fixed(std::uint32_t value, std::span<std::byte> at) {
  for (std::size_t i = 0; i < at.size(); ++i) {
    at[i] = static_cast<std::byte>((value >> (8 * i)) & 0xFF);
  }
}

std::uint32_t get_fixed(std::span<const std::byte> at) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < at.size(); ++i) {
    value |= std::to_integer<std::uint32_t>(at[i]) << (8 * i);
  }
  return value;
}

/// Leaves room for the frame. finish() fills it in.
std::size_t begin(Type type, std::vector<std::byte>& out) {
  const std::size_t start = out.size();
  out.resize(start + kFrameBytes);
  out.push_back(static_cast<std::byte>(type));
  return start;
}

/// The checksum of a frame's length and of its payload.
std::uint32_t checksum(std::span<const std::byte> frame,
                       std::span<const std::byte> payload) {
  return crc32c(payload, crc32c(frame.first(4)));
}

/// False, and `out` is as it was before begin(), if the record is too long.
bool finish(std::size_t start, std::vector<std::byte>& out) {
  const std::size_t length = out.size() - start - kFrameBytes;
  if (length > kRecordBytesMax) {
    out.resize(start);
    return false;
  }
  const std::span<std::byte> record = std::span(out).subspan(start);
  put_fixed(static_cast<std::uint32_t>(length), record.first(4));
  put_fixed(checksum(record, record.subspan(kFrameBytes)),
            record.subspan(4, 4));
  return true;
}

CameVm decode_came(ByteReader& bytes) {
  CameVm vm;
  vm.id = VmId{bytes.varint32()};
  vm.name = bytes.text(kRecordTextMax);
  vm.uuid = bytes.text(kRecordTextMax);
  vm.cgroup = bytes.text(kRecordTextMax);
  vm.pid = static_cast<std::int32_t>(bytes.varint32());
  return vm;
}

}  // namespace

RecordWriter::RecordWriter(std::uint32_t key_every) : key_every_(key_every) {
  assert(key_every > 0);
}

void RecordWriter::header(std::vector<std::byte>& out) {
  std::array<std::byte, kHeaderBytes> header{};
  for (std::size_t i = 0; i < kMagic.size(); ++i) {
    header[i] = static_cast<std::byte>(kMagic[i]);
  }
  const std::span<std::byte> all(header);
  put_fixed(kRecordVersion, all.subspan(8, 2));
  put_fixed(crc32c(all.first(12)), all.subspan(12));
  out.insert(out.end(), header.begin(), header.end());
  until_key_ = 0;
}

Result<> RecordWriter::came(const CameVm& vm, std::vector<std::byte>& out) {
  for (const std::string* text : {&vm.name, &vm.uuid, &vm.cgroup}) {
    if (text->size() > kRecordTextMax) {
      return fail(0, "record: a text of " + std::to_string(text->size()) +
                         " bytes, at most " + std::to_string(kRecordTextMax));
    }
  }
  const std::size_t start = begin(Type::kCame, out);
  ByteWriter bytes(out);
  bytes.varint(std::uint32_t(vm.id));
  bytes.text(vm.name);
  bytes.text(vm.uuid);
  bytes.text(vm.cgroup);
  bytes.varint(static_cast<std::uint32_t>(vm.pid));
  const bool fits = finish(start, out);
  assert(fits);
  (void)fits;  // a build without asserts reads it nowhere
  return {};
}

void RecordWriter::went(const WentVm& vm, std::vector<std::byte>& out) {
  const std::size_t start = begin(Type::kWent, out);
  ByteWriter(out).varint(std::uint32_t(vm.id));
  const bool fits = finish(start, out);
  assert(fits);
  (void)fits;  // as above
}

Result<> RecordWriter::sample(const Sample& sample,
                              std::vector<std::byte>& out) {
  auto recordable = check_recordable(sample);
  if (!recordable) return pass(recordable, "record");
  const bool key = until_key_ == 0;
  if (key) base_ = Sample{};
  const std::size_t start = begin(key ? Type::kKeySample : Type::kSample, out);
  encode_sample(sample, base_, out);
  if (!finish(start, out)) {
    until_key_ = 0;  // what follows cannot differ from what is not there
    return fail(0, "record: a Sample of more than 16 MiB");
  }
  until_key_ = (key ? key_every_ : until_key_) - 1;
  return {};
}

const char* to_text(RecordDamage damage) {
  switch (damage) {
    case RecordDamage::kForeign:
      return "foreign: this is no record file";
    case RecordDamage::kNewer:
      return "newer: written by a later version";
    case RecordDamage::kTorn:
      return "torn: the file ends within a record";
    case RecordDamage::kLength:
      return "bad length: no record is that long or short";
    case RecordDamage::kChecksum:
      return "bad checksum: bytes were altered";
    case RecordDamage::kSenseless:
      return "senseless: intact, but not as this version writes";
  }
  return "";
}

std::optional<RecordReader::Entry> RecordReader::stop(RecordDamage damage) {
  damage_ = damage;
  return std::nullopt;
}

bool RecordReader::read_header() {
  const std::size_t known = std::min(bytes_.size(), kMagic.size());
  for (std::size_t i = 0; i < known; ++i) {
    if (bytes_[i] != static_cast<std::byte>(kMagic[i])) {
      damage_ = RecordDamage::kForeign;
      return false;
    }
  }
  if (bytes_.size() < kHeaderBytes) {
    damage_ = RecordDamage::kTorn;
    return false;
  }
  if (get_fixed(bytes_.subspan(12, 4)) != crc32c(bytes_.first(12))) {
    damage_ = RecordDamage::kChecksum;
    return false;
  }
  if (get_fixed(bytes_.subspan(8, 2)) != kRecordVersion) {
    damage_ = RecordDamage::kNewer;
    return false;
  }
  offset_ = kHeaderBytes;
  return true;
}

std::optional<RecordReader::Entry> RecordReader::next() {
  if (damage_ || (offset_ == 0 && !read_header())) return std::nullopt;
  const std::span<const std::byte> rest = bytes_.subspan(offset_);
  if (rest.empty()) return std::nullopt;
  if (rest.size() < kFrameBytes) return stop(RecordDamage::kTorn);
  const std::size_t length = get_fixed(rest.first(4));
  if (length == 0 || length > kRecordBytesMax) {
    return stop(RecordDamage::kLength);
  }
  if (length > rest.size() - kFrameBytes) return stop(RecordDamage::kTorn);
  const std::span<const std::byte> payload = rest.subspan(kFrameBytes, length);
  if (get_fixed(rest.subspan(4, 4)) != checksum(rest, payload)) {
    return stop(RecordDamage::kChecksum);
  }
  std::optional<Entry> entry = decode(payload);
  if (!entry) return stop(RecordDamage::kSenseless);
  offset_ += kFrameBytes + length;
  return entry;
}

std::optional<RecordReader::Entry> RecordReader::decode(
    std::span<const std::byte> payload) {
  ByteReader bytes(payload);
  const auto type = static_cast<Type>(bytes.u8());
  std::optional<Entry> entry;
  switch (type) {
    case Type::kCame:
      entry = decode_came(bytes);
      break;
    case Type::kWent:
      entry = WentVm{VmId{bytes.varint32()}};
      break;
    case Type::kKeySample:
      base_ = Sample{};
      has_key_ = true;
      [[fallthrough]];
    case Type::kSample:
      if (!has_key_) return std::nullopt;
      decode_sample(bytes, base_);
      entry = &base_;
      break;
  }
  if (!bytes.done()) return std::nullopt;
  return entry;
}

}  // namespace outrider

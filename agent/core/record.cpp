// SPDX-License-Identifier: Apache-2.0
#include "agent/core/record.h"

#include <cassert>
#include <string_view>
#include <utility>

#include "agent/core/record_bytes.h"
#include "agent/core/record_sample.h"

namespace outrider {
namespace {

constexpr std::string_view kMagic = "OUTRIDER";

enum class Type : std::uint8_t { kCame = 1, kWent, kKeySample, kSample };

/// As begin_record().
std::size_t begin(Type type, std::vector<std::byte>& out) {
  return begin_record(static_cast<std::uint8_t>(type), out);
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
  put_header(kMagic, kRecordVersion, out);
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
  const bool fits = finish_record(start, out);
  assert(fits);
  (void)fits;  // a build without asserts reads it nowhere
  return {};
}

void RecordWriter::went(const WentVm& vm, std::vector<std::byte>& out) {
  const std::size_t start = begin(Type::kWent, out);
  ByteWriter(out).varint(std::uint32_t(vm.id));
  const bool fits = finish_record(start, out);
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
  if (!finish_record(start, out)) {
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
    case RecordDamage::kOtherVersion:
      return "of another version: read it with the outrider that wrote it";
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

std::optional<RecordReader::Entry> RecordReader::next() {
  if (damage_) return std::nullopt;
  if (offset_ == 0) {
    damage_ = check_header(bytes_, kMagic, kRecordVersion);
    if (damage_) return std::nullopt;
    offset_ = kHeaderBytes;
  }
  const std::span<const std::byte> rest = bytes_.subspan(offset_);
  if (rest.empty()) return std::nullopt;
  const FramedRecord record = take_record(rest);
  if (record.damage) return stop(*record.damage);
  std::optional<Entry> entry = decode(record.payload);
  if (!entry) return stop(RecordDamage::kSenseless);
  offset_ += kFrameBytes + record.payload.size();
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

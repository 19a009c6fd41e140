// SPDX-License-Identifier: Apache-2.0
// Values to bytes and back, by one description for both ways: a struct has a
// function `fields` that names all its members to a FieldWriter or FieldReader.
// It takes the struct apart by a structured binding, so that a member that was
// forgotten does not compile.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "agent/base/units.h"
#include "agent/core/plan.h"
#include "agent/core/policy.h"
#include "agent/core/record_bytes.h"

namespace outrider {

// What a reader takes at most: bounds what is held, and keeps sums and products
// of what bytes of any origin say within 64 bits.
inline constexpr std::size_t kFieldTextMax = 4'096;
inline constexpr std::size_t kFieldLongTextMax = std::size_t{1} << 20;
inline constexpr std::size_t kFieldListMax = 65'536;
inline constexpr std::int64_t kMilliCpusMax = std::int64_t{1} << 44;
inline constexpr std::int64_t kBytesMax = std::int64_t{1} << 52;
inline constexpr std::int64_t kLimitMax = std::int64_t{1} << 31;    // milli-CPU
inline constexpr std::int64_t kRatioMax = 100'000;                  // permille
inline constexpr std::int64_t kInstantMax = std::int64_t{1} << 61;  // ns
inline constexpr std::int64_t kDurationMax = std::int64_t{1} << 55;  // ns, 1 a

/// The last enumerator of each enumeration that is written.
constexpr VmId last_of(VmId) { return VmId{0xFFFFFFFF}; }
constexpr VmClass last_of(VmClass) { return VmClass::kBatch; }
constexpr Mode last_of(Mode) { return Mode::kEnforce; }
constexpr ScalingPolicy last_of(ScalingPolicy) { return ScalingPolicy::kCost; }
constexpr Split last_of(Split) { return Split::kEqual; }
constexpr OnVmExit last_of(OnVmExit) { return OnVmExit::kTerminate; }
constexpr Knob last_of(Knob) { return Knob{kKnobs - 1}; }
constexpr Reason last_of(Reason) { return Reason::kBaseline; }
constexpr Outcome::Kind last_of(Outcome::Kind) { return Outcome::Kind::kGone; }

template <class T>
concept EnumField = std::is_enum_v<T>;
template <class T>
concept SignedField = std::is_integral_v<T> && std::is_signed_v<T>;
template <class T>
concept UnsignedField = std::is_integral_v<T> && !std::is_signed_v<T>;

/// Appends to a buffer that the caller owns.
class FieldWriter {
 public:
  static constexpr bool kReads = false;
  explicit FieldWriter(std::vector<std::byte>& out) : out_(out), bytes_(out) {}

  template <class... T>
  void operator()(const T&... values) {
    (put(values), ...);
  }
  /// Of at most kFieldLongTextMax bytes; its end is cut off.
  void long_text(std::string_view value) {
    bytes_.text(value.substr(0, kFieldLongTextMax));
  }
  ByteWriter& bytes() { return bytes_; }
  /// Bytes that have a form of their own.
  void blob(std::span<const std::byte> bytes) {
    bytes_.varint(bytes.size());
    out_.insert(out_.end(), bytes.begin(), bytes.end());
  }

 private:
  void put(bool value) { bytes_.u8(value ? 1 : 0); }
  template <EnumField T>
  void put(T value) {
    bytes_.varint(static_cast<std::uint64_t>(value));
  }
  template <SignedField T>
  void put(T value) {
    bytes_.step(0, static_cast<std::uint64_t>(std::int64_t{value}));
  }
  template <UnsignedField T>
  void put(T value) {
    bytes_.varint(value);
  }
  void put(MilliCpus value) { put(value.count()); }
  void put(Bytes value) { put(value.count()); }
  void put(Duration value) { put(std::int64_t{value.count()}); }
  void put(Instant value) { put(value.time_since_epoch()); }
  void put(const std::string& value) {
    bytes_.text(std::string_view(value).substr(0, kFieldTextMax));
  }
  template <class T, std::size_t N>
  void put(const std::array<T, N>& values) {
    for (const T& value : values) put(value);
  }
  template <class T>
  void put(const std::vector<T>& values) {
    bytes_.varint(values.size());
    for (const T& value : values) put(value);
  }
  template <class T>
  requires std::is_class_v<T>
  void put(const T& value) { fields(*this, value); }

  std::vector<std::byte>& out_;
  ByteWriter bytes_;
};

/// Reads what FieldWriter wrote, from bytes that may be anything.
/// Invariant: as ByteReader. What it gives lies within the bounds above, and
/// enumerations within their enumerators.
class FieldReader {
 public:
  static constexpr bool kReads = true;
  explicit FieldReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  bool ok() const { return bytes_.ok(); }
  bool done() const { return bytes_.done(); }
  void reject() { bytes_.reject(); }
  /// Rejects unless `is_sane`.
  void want(bool is_sane) {
    if (!is_sane) bytes_.reject();
  }

  template <class... T>
  void operator()(T&... values) {
    (get(values), ...);
  }
  void long_text(std::string& value) { value = bytes_.text(kFieldLongTextMax); }
  ByteReader& bytes() { return bytes_; }
  /// Of at most `most` bytes.
  void blob(std::vector<std::byte>& out, std::size_t most) {
    const std::size_t size = bytes_.count(most);
    out.resize(size);
    for (std::byte& byte : out) byte = std::byte{bytes_.u8()};
  }

 private:
  std::int64_t signed_value(std::int64_t most) {
    const auto value = static_cast<std::int64_t>(bytes_.step(0));
    if (value >= -most && value <= most) return value;
    bytes_.reject();
    return 0;
  }
  void get(bool& value) {
    const std::uint8_t byte = bytes_.u8();
    want(byte <= 1);
    value = byte == 1;
  }
  template <EnumField T>
  void get(T& value) {
    const std::uint64_t number = bytes_.varint();
    const bool is_one = number <= static_cast<std::uint64_t>(last_of(T{}));
    want(is_one);
    value = is_one ? static_cast<T>(number) : T{};
  }
  template <SignedField T>
  void get(T& value) {
    const auto number = static_cast<std::int64_t>(bytes_.step(0));
    value = static_cast<T>(number);
    want(value == number);
  }
  template <UnsignedField T>
  void get(T& value) {
    const std::uint64_t number = bytes_.varint();
    value = static_cast<T>(number);
    want(value == number);
  }
  void get(MilliCpus& value) { value = MilliCpus{signed_value(kMilliCpusMax)}; }
  void get(Bytes& value) { value = Bytes{signed_value(kBytesMax)}; }
  void get(Duration& value) { value = Duration{signed_value(kDurationMax)}; }
  void get(Instant& value) {
    value = Instant{Duration{signed_value(kInstantMax)}};
  }
  void get(std::string& value) { value = bytes_.text(kFieldTextMax); }
  template <class T, std::size_t N>
  void get(std::array<T, N>& values) {
    for (T& value : values) get(value);
  }
  template <class T>
  void get(std::vector<T>& values) {
    values.resize(bytes_.count(kFieldListMax));
    for (T& value : values) get(value);
  }
  template <class T>
  requires std::is_class_v<T>
  void get(T& value) { fields(*this, value); }

  ByteReader bytes_;
};

/// T for a reader, const T for a writer.
template <class Io, class T>
using Field = std::conditional_t<Io::kReads, T, const T>;

/// Rejects what is read unless `is_sane`; nothing for a writer.
template <class Io>
void want(Io& io, bool is_sane) {
  if constexpr (Io::kReads) io.want(is_sane);
}

template <class Io>
void fields(Io& io, Field<Io, ClassPolicy>& all) {
  auto& [weight, floor, ceiling, overcommit, stalled, reserved, idle] = all;
  io(weight, floor, ceiling, overcommit, stalled, reserved, idle);
  constexpr std::int64_t kPriceMax = 1'000'000'000'000;
  want(io, weight >= 1 && weight <= 1'000'000 && floor >= 0 &&
               floor <= kRatioMax && ceiling >= 0 && ceiling <= kRatioMax);
  want(io, overcommit >= 1 && overcommit <= kRatioMax && stalled >= 0 &&
               stalled <= kPriceMax && reserved >= 0 && reserved <= kPriceMax &&
               stalled + reserved >= 1);
}

template <class Io>
void fields(Io& io, Field<Io, CpuPolicy>& all) {
  auto& [mode, split, cap_period, burst, cap_quantile, host_share, dead_band_pm,
         dead_band, lower_after, lower_step, writes, weights] = all;
  io(mode, split, cap_period, burst, cap_quantile, host_share, dead_band_pm,
     dead_band, lower_after, lower_step, writes, weights);
  constexpr Duration kMost = std::chrono::seconds{10};
  want(io, cap_period >= std::chrono::milliseconds{1} && cap_period <= kMost &&
               burst >= Duration{} && burst <= kMost);
  want(io, cap_quantile >= 0 && cap_quantile <= kRatioMax &&
               dead_band_pm >= 0 && dead_band_pm <= kRatioMax &&
               lower_step >= 0 && lower_step <= kRatioMax && writes >= 0 &&
               writes <= kRatioMax);
}

template <class Io>
void fields(Io& io, Field<Io, ShadowPolicy>& all) {
  auto& [horizon, reserve_horizon, threshold, base, scaling, fixed_extra,
         factor, quantile, on_vm_exit, forecast] = all;
  io(horizon, reserve_horizon, threshold, base, scaling, fixed_extra, factor,
     quantile, on_vm_exit, forecast);
  want(io, horizon >= Duration{} && reserve_horizon >= Duration{});
  want(io, factor >= 0 && factor <= kRatioMax && quantile >= 0 &&
               quantile <= kRatioMax);
}

template <class Io>
void fields(Io& io, Field<Io, MemoryClassPolicy>& all) {
  auto& [floor, balloon] = all;
  io(floor, balloon);
  want(io, floor >= 0 && floor <= 1000);
}

template <class Io>
void fields(Io& io, Field<Io, MemoryPolicy>& all) {
  auto& [mode, period, horizon, host_share, take, guest_spare, confirm, learn,
         give_after, classes] = all;
  io(mode, period, horizon, host_share, take, guest_spare, confirm, learn,
     give_after, classes);
  constexpr Duration kMost = std::chrono::hours{1};
  want(io, period >= std::chrono::milliseconds{1} && period <= kMost &&
               horizon >= std::chrono::seconds{1} && horizon <= kMost);
  want(io, host_share >= 0 && host_share <= 1000 && take.count() >= 0 &&
               guest_spare >= 0 && guest_spare <= 1000);
  want(io, confirm >= Duration{} && confirm <= kMost && learn >= Duration{} &&
               learn <= kMost && give_after >= Duration{} &&
               give_after <= kMost);
}

template <class Io>
void fields(Io& io, Field<Io, VmRule>& all) {
  auto& [match, vm_class, mode, floor, ceiling, weight, memory_floor, balloon] =
      all;
  io(match, vm_class, mode, floor, ceiling, weight, memory_floor, balloon);
  want(io, weight >= -1 && weight <= 1'000'000 && floor.count() <= kLimitMax &&
               ceiling.count() <= kLimitMax);
  want(io, memory_floor.count() >= -1 && balloon >= -1 && balloon <= 1);
}

template <class Io>
void fields(Io& io, Field<Io, Policy>& all) {
  auto& [mode, cpu, memory, shadow, classes, default_class, vms] = all;
  io(mode, cpu, memory, shadow, classes, default_class, vms);
}

template <class Io>
void fields(Io& io, Field<Io, VmFacts>& all) {
  auto& [id, name, uuid, vcpus, baseline_cap, has_cap] = all;
  io(id, name, uuid, vcpus, baseline_cap, has_cap);
  want(io, vcpus >= 1 && vcpus <= 65'536);
}

}  // namespace outrider

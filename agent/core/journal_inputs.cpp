// SPDX-License-Identifier: Apache-2.0
#include "agent/core/journal_inputs.h"

#include <array>
#include <cstddef>
#include <cstdint>

#include "agent/core/journal_record.h"

namespace outrider {
namespace {

// Bits of the mask: the seven that change most fit in one byte.
constexpr std::uint32_t kFlagsBit = 1U << 6;
constexpr std::uint32_t kUsageBit = 1U << 1;

struct Figure {
  std::uint32_t bit = 0;
  std::int32_t CpuInput::*member = nullptr;
};
constexpr std::array<Figure, 4> kFigures = {
    Figure{1U << 2, &CpuInput::open_wait},
    {1U << 3, &CpuInput::wait},
    {1U << 5, &CpuInput::overcounted},
    {1U << 9, &CpuInput::throttled}};
// By ThreadClass.
constexpr std::array<std::uint32_t, kThreadClasses> kDemandBits = {
    1U << 0, 1U << 4, 1U << 7, 1U << 8};
constexpr std::uint32_t kAllBits = (1U << 10) - 1;

std::int64_t certain(const CpuInput& input) {
  std::int64_t sum = -std::int64_t{input.open_wait};
  for (const std::int32_t demand : input.demand) sum += demand;
  return sum;
}

/// What ran is what was wanted, but for the wait that is still open.
std::int64_t expected_usage(const CpuInput& base, const CpuInput& now) {
  return base.usage + certain(now) - certain(base);
}

std::uint32_t mask_of(const CpuInput& now, const CpuInput& base) {
  std::uint32_t mask = 0;
  for (std::size_t i = 0; i < kThreadClasses; ++i) {
    if (now.demand[i] != base.demand[i]) mask |= kDemandBits[i];
  }
  for (const Figure& figure : kFigures) {
    if (now.*figure.member != base.*figure.member) mask |= figure.bit;
  }
  if (now.usage != expected_usage(base, now)) mask |= kUsageBit;
  if (now.upper_bound != base.upper_bound || now.missing != base.missing) {
    mask |= kFlagsBit;
  }
  return mask;
}

void put_step(std::int64_t before, std::int64_t after, ByteWriter& out) {
  out.step(static_cast<std::uint64_t>(before),
           static_cast<std::uint64_t>(after));
}

void encode_figures(const CpuInput& now, const CpuInput& base,
                    std::uint32_t mask, ByteWriter& out) {
  for (std::size_t i = 0; i < kThreadClasses; ++i) {
    if ((mask & kDemandBits[i]) == 0) continue;
    put_step(base.demand[i], now.demand[i], out);
  }
  for (const Figure& figure : kFigures) {
    if ((mask & figure.bit) == 0) continue;
    put_step(base.*figure.member, now.*figure.member, out);
  }
  if ((mask & kUsageBit) != 0) {
    put_step(expected_usage(base, now), now.usage, out);
  }
  if ((mask & kFlagsBit) != 0) {
    out.u8(static_cast<std::uint8_t>((now.upper_bound ? 1 : 0) |
                                     (now.missing ? 2 : 0)));
  }
}

std::int32_t get_step(std::int64_t before, ByteReader& bytes) {
  const auto value =
      static_cast<std::int64_t>(bytes.step(static_cast<std::uint64_t>(before)));
  if (value >= -kJournalMilliCpusMax && value <= kJournalMilliCpusMax) {
    return static_cast<std::int32_t>(value);
  }
  bytes.reject();
  return 0;
}

void decode_figures(ByteReader& bytes, std::uint32_t mask, CpuInput& vm) {
  const CpuInput base = vm;
  for (std::size_t i = 0; i < kThreadClasses; ++i) {
    if ((mask & kDemandBits[i]) == 0) continue;
    vm.demand[i] = get_step(base.demand[i], bytes);
  }
  for (const Figure& figure : kFigures) {
    if ((mask & figure.bit) == 0) continue;
    vm.*figure.member = get_step(base.*figure.member, bytes);
  }
  const std::int64_t expected = expected_usage(base, vm);
  if ((mask & kUsageBit) != 0) {
    vm.usage = get_step(expected, bytes);
  } else if (expected >= -kJournalMilliCpusMax &&
             expected <= kJournalMilliCpusMax) {
    vm.usage = static_cast<std::int32_t>(expected);
  } else {
    bytes.reject();
  }
  if ((mask & kFlagsBit) != 0) {
    const std::uint8_t flags = bytes.u8();
    if (flags > 3) bytes.reject();
    vm.upper_bound = (flags & 1) != 0;
    vm.missing = (flags & 2) != 0;
  }
}

}  // namespace

void encode_inputs(std::span<const CpuInput> vms,
                   std::span<const CpuInput> base, ByteWriter& out) {
  for (std::size_t i = 0; i < vms.size(); ++i) {
    const std::uint32_t mask = mask_of(vms[i], base[i]);
    out.varint(mask);
    if (mask != 0) {
      encode_figures(vms[i], base[i], mask, out);
      continue;
    }
    std::size_t more = 0;
    while (i + 1 < vms.size() && mask_of(vms[i + 1], base[i + 1]) == 0) {
      ++more;
      ++i;
    }
    out.varint(more);
  }
}

void decode_inputs(ByteReader& bytes, std::span<CpuInput> vms) {
  for (std::size_t i = 0; i < vms.size() && bytes.ok(); ++i) {
    const std::uint32_t mask = bytes.varint32();
    if (mask > kAllBits) bytes.reject();
    if (mask != 0) {
      decode_figures(bytes, mask, vms[i]);
      continue;
    }
    const std::uint64_t more = bytes.varint();
    if (more >= vms.size() - i) bytes.reject();
    i += static_cast<std::size_t>(bytes.ok() ? more : 0);
  }
}

}  // namespace outrider

// SPDX-License-Identifier: Apache-2.0
// Any bytes to the record reader: as a file, and as the payload of a record
// whose checksum is right. What it reads, it must write and read again alike.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <variant>
#include <vector>

#include "agent/base/crc32c.h"
#include "agent/core/demand.h"
#include "agent/core/record.h"

namespace outrider {
namespace {

using Bytes = std::vector<std::byte>;

void put_fixed(std::uint32_t value, Bytes& out) {
  for (unsigned shift = 0; shift < 32; shift += 8) {
    out.push_back(static_cast<std::byte>((value >> shift) & 0xFF));
  }
}

/// Cuts `input` into records: a byte says how long each is.
Bytes as_records(std::span<const std::byte> input) {
  Bytes file;
  RecordWriter().header(file);
  while (!input.empty()) {
    const std::size_t wanted = std::to_integer<std::size_t>(input[0]) * 4 + 1;
    input = input.subspan(1);
    const auto payload = input.first(std::min(wanted, input.size()));
    input = input.subspan(payload.size());
    Bytes length;
    put_fixed(static_cast<std::uint32_t>(payload.size()), length);
    file.insert(file.end(), length.begin(), length.end());
    put_fixed(crc32c(payload, crc32c(length)), file);
    file.insert(file.end(), payload.begin(), payload.end());
  }
  return file;
}

void require(bool holds) {
  if (!holds) std::abort();
}

void read_all(std::span<const std::byte> file) {
  RecordReader reader(file);
  DemandSeries series;
  Bytes again;
  std::size_t budget = 64;  // Samples written again, to keep a run short
  while (auto entry = reader.next()) {
    const auto* sample = std::get_if<const Sample*>(&*entry);
    if (sample == nullptr) continue;
    series.update(**sample);
    if (budget == 0) continue;
    --budget;
    again.clear();
    RecordWriter alone;
    alone.header(again);
    require(alone.sample(**sample, again).has_value());
    RecordReader check(again);
    const auto copy = check.next();
    require(copy.has_value());
    require(*std::get<const Sample*>(*copy) == **sample);
  }
}

}  // namespace
}  // namespace outrider

// libFuzzer's name.
// NOLINTNEXTLINE(readability-identifier-naming)
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  const auto input = std::as_bytes(std::span(data, size));
  outrider::read_all(input);
  outrider::read_all(outrider::as_records(input));
  return 0;
}

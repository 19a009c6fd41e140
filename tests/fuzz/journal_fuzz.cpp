// SPDX-License-Identifier: Apache-2.0
// Any bytes as a journal's segment, and as the payloads of records whose
// checksums are right, behind the head and the state of a true Controller. What
// is read is replayed.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "agent/core/journal_record.h"
#include "agent/core/journal_replay.h"
#include "agent/core/peak_forecaster.h"

namespace outrider {
namespace {

using Bytes = std::vector<std::byte>;

/// A segment that begins with two VMs.
Bytes opening() {
  Policy policy;
  policy.mode = Mode::kEnforce;
  Controller controller(policy, {.cpus = 4}, std::chrono::milliseconds{20},
                        make_forecaster);
  for (std::uint32_t id = 1; id <= 2; ++id) {
    (void)controller.add_vm({.id = VmId{id}, .vcpus = 2});
  }
  Bytes state;
  controller.save(state);
  Bytes segment;
  JournalEncoder().begin({}, state, segment);
  return segment;
}

/// `input` cut into records behind `segment`: a byte says how long each is.
void append_records(std::span<const std::byte> input, Bytes& segment) {
  while (input.size() > 1) {
    const std::size_t wanted = std::to_integer<std::size_t>(input[0]) + 1;
    input = input.subspan(1);
    const auto payload = input.first(std::min(wanted, input.size()));
    input = input.subspan(payload.size());
    const std::size_t start =
        begin_record(std::to_integer<std::uint8_t>(payload[0]), segment);
    segment.insert(segment.end(), payload.begin() + 1, payload.end());
    (void)finish_record(start, segment);  // far below the limit
  }
}

void read_all(std::span<const std::byte> bytes) {
  JournalReader reader(bytes);
  JournalReplay replay(make_forecaster);
  auto record = reader.next();
  for (; record && *record; record = reader.next()) {
    if (!replay.take(**record)) return;
  }
}

}  // namespace
}  // namespace outrider

// libFuzzer's name.
// NOLINTNEXTLINE(readability-identifier-naming)
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  static const std::vector<std::byte> opening = outrider::opening();
  const auto input = std::as_bytes(std::span(data, size));
  outrider::read_all(input);
  std::vector<std::byte> segment = opening;
  outrider::append_records(input, segment);
  outrider::read_all(segment);
  return 0;
}

// SPDX-License-Identifier: Apache-2.0
// A journal's segment, read and made once more, decides as was decided then.
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "agent/core/journal_record.h"
#include "agent/core/journal_replay.h"
#include "agent/core/peak_forecaster.h"
#include "tests/unit/core/allocations.h"
#include "tests/unit/core/random_calls.h"

namespace outrider {
namespace {

using Bytes = std::vector<std::byte>;

Policy enforcing() {
  Policy policy;
  policy.mode = Mode::kEnforce;
  return policy;
}

/// A host that runs for a while, and then a segment of its journal.
struct Segment {
  Bytes bytes;
  std::vector<VmState> at_end;
  std::uint64_t vm_ticks = 0;
};

Segment make_segment(std::uint64_t seed, int calls_before, int calls) {
  RandomCalls host(seed);
  Controller controller(host.policy(), {.cpus = 8}, kRandomTick,
                        make_forecaster);
  JournalEncoder encoder;
  Segment segment;
  for (int i = 0; i < calls_before; ++i) {
    host.call(controller, encoder, segment.bytes);
  }
  segment.bytes.clear();
  Bytes state;
  controller.save(state);
  encoder.begin({.agent_version = "1", .boot_id = "b", .at = host.now()}, state,
                segment.bytes);
  for (int i = 0; i < calls; ++i) {
    host.call(controller, encoder, segment.bytes);
    segment.vm_ticks += host.vm_count();
  }
  for (std::size_t i = 0; i < controller.vm_count(); ++i) {
    segment.at_end.push_back(controller.vm(i));
  }
  return segment;
}

/// Reads all of it. Errors: of the reader or the replay.
Result<> read_all(std::span<const std::byte> bytes, JournalReplay& replay) {
  JournalReader reader(bytes);
  while (true) {
    auto record = reader.next();
    if (!record) return tl::unexpected<Error>(std::move(record.error()));
    if (!*record) return {};
    auto taken = replay.take(**record);
    if (!taken) return taken;
  }
}

// What a decision does not show: totals, and what is foretold.
void expect_same(const Controller& now, const std::vector<VmState>& then) {
  ASSERT_EQ(now.vm_count(), then.size());
  for (std::size_t i = 0; i < then.size(); ++i) {
    EXPECT_EQ(now.vm(i).facts, then[i].facts);
    EXPECT_EQ(now.vm(i).policy, then[i].policy);
    EXPECT_EQ(now.vm(i).applied, then[i].applied);
    EXPECT_EQ(now.vm(i).reason, then[i].reason);
    EXPECT_EQ(now.vm(i).stats, then[i].stats);
    EXPECT_EQ(now.vm(i).contended, then[i].contended);
    EXPECT_EQ(now.vm(i).foreseen, then[i].foreseen);
    EXPECT_EQ(now.vm(i).soon.peak, then[i].soon.peak);
    EXPECT_EQ(now.vm(i).ahead.peak, then[i].ahead.peak);
    EXPECT_EQ(now.vm(i).reserve_ahead.peak, then[i].reserve_ahead.peak);
    EXPECT_EQ(now.vm(i).ahead.scored, then[i].ahead.scored);
  }
}

TEST(Journal, ReplaysAnyRunFromAnyPointBitForBit) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(seed);
    const Segment segment =
        make_segment(seed, 1 + static_cast<int>(seed) * 17, 2000);
    JournalReplay replay(make_forecaster);
    const auto read = read_all(segment.bytes, replay);
    ASSERT_TRUE(read) << read.error().what;
    ASSERT_FALSE(replay.difference())
        << replay.difference()->record << " " << replay.difference()->field;
    expect_same(*replay.controller(), segment.at_end);
    EXPECT_GT(replay.counts().ticks, 1000U);
    EXPECT_GT(replay.counts().edges, 50U);
    EXPECT_GT(replay.counts().writes, 10U);
  }
}

// One bit of what was decided or of what was seen, and it is noticed where.
TEST(Journal, ShowsTheFirstDifference) {
  RandomCalls host(7);
  Controller controller(enforcing(), {.cpus = 8}, kRandomTick, make_forecaster);
  JournalEncoder encoder;
  Bytes bytes;
  Bytes state;
  controller.save(state);
  encoder.begin({.at = host.now()}, state, bytes);
  for (int i = 0; i < 4; ++i) host.add(controller, encoder, bytes);
  for (int i = 0; i < 100; ++i) host.tick(controller, encoder, bytes);
  JournalReplay replay(make_forecaster);
  ASSERT_TRUE(read_all(bytes, replay));
  ASSERT_FALSE(replay.difference());

  const TickCall forged{.now = host.now() + kRandomTick,
                        .interval = kRandomTick,
                        .vms = {{.vm = VmId{1}}},
                        .actions = {},
                        .outcomes = {},
                        .took = {},
                        .checksum = 1};
  ASSERT_TRUE(replay.take(&forged));
  ASSERT_TRUE(replay.difference());
  EXPECT_EQ(replay.difference()->record, replay.counts().records);
  EXPECT_EQ(replay.difference()->at, forged.now);
}

TEST(Journal, NamesVmFieldAndBothValuesOfAnAction) {
  RandomCalls host(3);
  Controller controller(enforcing(), {.cpus = 8}, kRandomTick, make_forecaster);
  JournalEncoder encoder;
  Bytes bytes;
  Bytes state;
  controller.save(state);
  encoder.begin({.at = host.now()}, state, bytes);
  const VmFacts facts{.id = VmId{1}, .name = "a", .vcpus = 2};
  ASSERT_TRUE(controller.add_vm(facts));
  encoder.call(AddCall{facts}, bytes);
  const CpuInput input{.vm = VmId{1}, .demand = {500, 0, 0, 0}, .usage = 500};
  const TickInput tick{.now = host.now() + kRandomTick,
                       .interval = kRandomTick,
                       .vms = {&input, 1}};
  const auto actions = controller.tick(tick);
  ASSERT_FALSE(actions.empty());
  std::vector<Action> forged(actions.begin(), actions.end());
  forged[0].value += 1;
  encoder.tick(tick, {.actions = forged, .outcomes = {}, .took = {}},
               allocations_checksum(controller), bytes);
  JournalReplay replay(make_forecaster);
  ASSERT_TRUE(read_all(bytes, replay));
  ASSERT_TRUE(replay.difference());
  EXPECT_EQ(replay.difference()->record, 4U);  // head, state, came, tick
  EXPECT_TRUE(replay.difference()->has_vm);
  EXPECT_EQ(replay.difference()->vm, VmId{1});
  EXPECT_EQ(replay.difference()->field, "cpu.max");
  EXPECT_EQ(replay.difference()->journal, std::to_string(forged[0].value));
  EXPECT_EQ(replay.difference()->now, std::to_string(forged[0].value - 1));
}

TEST(Journal, EveryByteThatIsFlippedIsFound) {
  Segment segment = make_segment(5, 0, 40);
  for (std::size_t i = 0; i < segment.bytes.size(); ++i) {
    SCOPED_TRACE(i);
    segment.bytes[i] ^= std::byte{0x10};
    JournalReader reader(segment.bytes);
    bool is_found = false;
    while (!is_found) {
      auto record = reader.next();
      is_found = !record;
      if (record && !*record) break;
    }
    EXPECT_TRUE(is_found);
    segment.bytes[i] ^= std::byte{0x10};
  }
}

TEST(Journal, TornAnywhereItGivesWholeRecordsAndSaysWhere) {
  const Segment segment = make_segment(6, 0, 40);
  std::size_t ends_between = 0;
  for (std::size_t size = 0; size < segment.bytes.size(); ++size) {
    JournalReader reader(std::span(segment.bytes).first(size));
    Result<std::optional<JournalRecord>> record = reader.next();
    while (record && *record) record = reader.next();
    if (record) {
      ++ends_between;
      continue;
    }
    EXPECT_NE(record.error().what.find("torn"), std::string::npos);
    EXPECT_EQ(record.error().what.find(
                  "record " + std::to_string(reader.number() + 1) + " at byte"),
              0U);
  }
  EXPECT_GT(ends_between, 30U);
}

// Sealed rightly, but altered before: refused, or read within the bounds.
TEST(Journal, ForgedBytesAreRefusedOrReplayedWithinBounds) {
  const Segment segment = make_segment(8, 60, 60);
  RandomCalls random(1);
  int refused = 0;
  for (int round = 0; round < 3000; ++round) {
    Bytes bytes = segment.bytes;
    // Some byte of some record's payload.
    std::size_t at = kHeaderBytes;
    while (true) {
      const std::size_t length = get_fixed(std::span(bytes).subspan(at, 4));
      const std::size_t next = at + kFrameBytes + length;
      if (next >= bytes.size() || random.one_in(20)) {
        const auto record = std::span(bytes).subspan(at, kFrameBytes + length);
        record[kFrameBytes + static_cast<std::size_t>(random.below(
                                 static_cast<std::int64_t>(length)))] =
            static_cast<std::byte>(random.below(256));
        put_fixed(frame_checksum(record, record.subspan(kFrameBytes)),
                  record.subspan(4, 4));
        break;
      }
      at = next;
    }
    JournalReplay replay(make_forecaster);
    if (!read_all(bytes, replay) || replay.difference()) ++refused;
  }
  EXPECT_GT(refused, 1000);
}

TEST(Journal, NothingFollowsAGap) {
  Controller controller(Policy{}, {.cpus = 8}, kRandomTick, make_forecaster);
  JournalEncoder encoder;
  Bytes bytes;
  Bytes state;
  controller.save(state);
  encoder.begin({}, state, bytes);
  encoder.call(Gap{}, bytes);
  JournalReplay replay(make_forecaster);
  ASSERT_TRUE(read_all(bytes, replay));
  EXPECT_TRUE(replay.ends_in_gap());
  encoder.call(TakeUpCall{VmId{1}}, bytes);
  JournalReplay again(make_forecaster);
  EXPECT_FALSE(read_all(bytes, again));
}

TEST(Journal, ATickBeyondItsBoundsIsNotRecordable) {
  CpuInput vm{.vm = VmId{1}, .demand = {kJournalMilliCpusMax, 0, 0, 0}};
  TickInput tick{.now = {}, .interval = kJournalIntervalMax, .vms = {&vm, 1}};
  EXPECT_TRUE(is_recordable(tick));
  tick.interval += Duration{1};
  EXPECT_FALSE(is_recordable(tick));
  tick.interval = kRandomTick;
  ++vm.demand[0];
  EXPECT_FALSE(is_recordable(tick));
}

TEST(Journal, EncodesWithoutAllocatingWhenWarm) {
  RandomCalls host(4);
  Controller controller(enforcing(), {.cpus = 8}, kRandomTick, make_forecaster);
  JournalEncoder encoder;
  Bytes bytes;
  for (int i = 0; i < 8; ++i) host.add(controller, encoder, bytes);
  std::vector<CpuInput> inputs;
  for (std::size_t i = 0; i < 8; ++i) {
    inputs.push_back({.vm = controller.vm(i).facts.id});
  }
  bytes.reserve(1 << 20);
  Instant now = host.now();
  const auto tick = [&](int i) {
    bytes.clear();
    now += kRandomTick;
    inputs[static_cast<std::size_t>(i) % 8].demand[0] = i * 37 % 3000;
    // Every third lacks a VM.
    const auto vms = std::span(inputs).subspan(i % 3 == 0 ? 1 : 0);
    encoder.tick({.now = now, .interval = kRandomTick, .vms = vms}, {},
                 allocations_checksum(controller), bytes);
  };
  for (int i = 0; i < 10; ++i) tick(i);
  const std::size_t before = allocations();
  for (int i = 0; i < 1000; ++i) tick(i);
  EXPECT_EQ(allocations(), before);
}

TEST(ControllerState, BytesThatAreNoneChangeNothing) {
  RandomCalls host(2);
  Controller controller(host.policy(), {.cpus = 8}, kRandomTick,
                        make_forecaster);
  JournalEncoder encoder;
  Bytes bytes;
  for (int i = 0; i < 200; ++i) host.call(controller, encoder, bytes);
  Bytes state;
  controller.save(state);
  for (std::size_t size = 0; size < state.size(); size += 97) {
    EXPECT_FALSE(controller.load(std::span(state).first(size)));
  }
  Bytes again;
  controller.save(again);
  EXPECT_EQ(again, state);
}

}  // namespace
}  // namespace outrider

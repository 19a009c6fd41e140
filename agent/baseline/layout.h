// SPDX-License-Identifier: Apache-2.0
// The file DIR/baseline, byte for byte, as the agent, the warden and `outrider
// release` map it. It lives on a tmpfs and dies with the boot, so it is in the
// machine's own byte order.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace outrider {

inline constexpr std::uint64_t kBaselineMagic =
    0x31534C425254554FU;  // OUTRBLS1
inline constexpr std::uint32_t kBaselineVersion = 1;
// 1,024 VMs with a few knobs each. The file is sparse.
inline constexpr std::uint32_t kBaselineRecordsMax = 4096;
inline constexpr std::size_t kBootIdBytes = 37;  // a UUID as text, and a NUL

/// A text that may stand in the knob by our doing. Its sum is stored last and
/// is 0 while the text is being changed.
struct WrittenText {
  std::atomic<std::uint32_t> crc;
  char text[48];  // NUL-padded
};

/// What never changes while a record is live. `cgroup` is last, so that the
/// sum need not cover what follows its end.
struct KnobRecord {
  std::uint64_t cgroup_id;
  std::uint32_t cgroup_bytes;  // without the NUL
  char attribute[32];          // this and the following: NUL-padded
  char baseline[48];
  char cgroup[1024];
};

enum class RecordState : std::uint32_t { kFree = 0, kLive = 0x4C495645 };

// Of BaselineRecord::written: the agent's, and one for whoever restores (a
// burst has to be 0 for a moment). Whatever stands in any of them is ours.
inline constexpr std::uint32_t kAgentTexts = 3;
inline constexpr std::uint32_t kRestorerText = 3;

struct BaselineRecord {
  std::atomic<RecordState> state;
  std::uint32_t crc;        // of `knob`, seeded with the boot id's
  std::uint32_t confirmed;  // index into written: what the knob held last
  std::uint32_t announced;  // likewise: what is, or was, about to be written
  WrittenText written[kAgentTexts + 1];
  KnobRecord knob;
};

struct BaselineHeader {
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t record_bytes;
  char boot_id[40];                 // NUL-padded
  std::uint64_t owner_start_ticks;  // of owner_pid, as in /proc/PID/stat
  std::int32_t owner_pid;
  std::atomic<std::uint32_t> count;  // no record at or after this was ever live
  std::atomic<std::uint64_t> heartbeat_ns;  // CLOCK_MONOTONIC; 0: none yet
  std::atomic<std::uint64_t> generation;
};

struct BaselineFile {
  BaselineHeader header;
  BaselineRecord records[kBaselineRecordsMax];
};

static_assert(std::is_standard_layout_v<BaselineFile>);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);
static_assert(sizeof(std::atomic<std::uint32_t>) == 4);
static_assert(sizeof(BaselineHeader) == 88);
static_assert(sizeof(BaselineRecord) == 1344);

}  // namespace outrider

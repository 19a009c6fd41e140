// SPDX-License-Identifier: Apache-2.0
// What every touched knob held before Outrider first wrote it, and what
// Outrider wrote there last: enough for anybody (the agent, the warden,
// `outrider release`) to put the baseline back, and to see whether somebody
// else has written since.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "agent/base/result.h"

namespace outrider {

/// One knob of one cgroup. Bounds, in bytes: cgroup 1023, attribute 31,
/// text 47 (a knob's whole value without the newline, e.g. "20000 100000").
struct KnobBaseline {
  std::string cgroup;           // below the cgroup v2 mount, "/a/b"
  std::uint64_t cgroup_id = 0;  // inode number of its directory
  std::string attribute;        // "cpu.max"
  std::string baseline;         // what it held
};

enum class BaselineSlot : std::uint32_t {};

/// The table, in a file on a tmpfs (/run/outrider/baseline) that the warden
/// maps as well; beside it an xattr on each cgroup says the same.
/// Invariant: as long as this lives, the file is locked: a second agent cannot
/// open it.
class BaselineTable {
 public:
  /// Opens or makes DIR/baseline; `dir` is made with mode 0700, and must not be
  /// open to the writing of others. Records that are there (of
  /// an agent that died) stay until `forget`. `cgroup_mount` is where the
  /// cgroup v2 tree, or one that looks like it, is.
  /// Errors: EWOULDBLOCK, another agent holds it (the text says so).
  static Result<BaselineTable> open(const std::string& dir,
                                    const std::string& cgroup_mount);
  BaselineTable(BaselineTable&&) noexcept;
  BaselineTable& operator=(BaselineTable&&) noexcept;
  ~BaselineTable();

  /// Before the first write of a knob. If the table has that very knob already
  /// (same cgroup id and attribute), its slot, with the old baseline kept; but
  /// where `knob.baseline` is neither that nor what we put there, somebody else
  /// has written since, and it is the baseline now.
  /// Some syscalls. Errors: no room; a bound is passed; the xattr cannot be set
  /// (ENOTSUP is none: the file alone serves then).
  Result<BaselineSlot> remember(const KnobBaseline& knob);
  /// Before every write: what is about to be written. No syscall, allocation
  /// or lock; a crash at any point leaves a record that is right.
  void announce(BaselineSlot slot, std::string_view text);
  /// After it: what the file says now (the kernel rounds), also when the write
  /// failed. Until then both the confirmed and the last announced text count
  /// as ours, so that one write may follow another without.
  void confirm(BaselineSlot slot, std::string_view text);
  std::string_view baseline(BaselineSlot slot) const;
  /// The baseline is back, or the cgroup is gone.
  void forget(BaselineSlot slot);

  /// The agent's pulse, and whether it has been given up meanwhile.
  void beat(std::uint64_t monotonic_ns);
  /// Rises when the warden begins to put everything back while the agent lives.
  /// Check it before every write (it is one load), and after each phase: one
  /// write may have been on its way. Then adopt what the knobs hold.
  std::uint64_t generation() const;

  /// For handing to the warden. The mapping's descriptor.
  int fd() const;

 private:
  struct Inside;
  explicit BaselineTable(std::unique_ptr<Inside> inside);
  std::unique_ptr<Inside> inside_;
};

}  // namespace outrider

// SPDX-License-Identifier: Apache-2.0
// What the table says of a knob, once more, on the cgroup itself: the xattr
// user.outrider.baseline.ATTRIBUTE of its directory. It outlives the table's
// file, and goes with the cgroup.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/result.h"
#include "agent/sys/fd.h"

namespace outrider {

/// Opens a cgroup's directory below the mount ("/a/b", "/": the mount itself)
/// if it is still the cgroup with that id. Errors: ENOENT when it is not.
Result<Fd> open_cgroup(int mount, std::string_view cgroup, std::uint64_t id);

struct Mark {
  std::string attribute;
  std::string baseline;
};

/// What makes a mark this boot's and this agent's.
struct MarkOwner {
  std::string boot_id;
  std::int32_t pid = 0;
  std::uint64_t start_ticks = 0;
};

/// `cgroup` is the directory's descriptor, open for reading.
/// Errors: ENOTSUP where the file system has no such xattrs.
Result<> set_mark(int cgroup, std::uint64_t cgroup_id, const Mark& mark,
                  const MarkOwner& owner);
/// It not being there is no error.
Result<> remove_mark(int cgroup, std::string_view attribute);
/// Those that are to be believed: with a right sum, of this boot and of this
/// very cgroup.
std::vector<Mark> read_marks(int cgroup, std::uint64_t cgroup_id,
                             std::string_view boot_id);

}  // namespace outrider

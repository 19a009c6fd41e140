// SPDX-License-Identifier: Apache-2.0
// The same interval in the form that was asked for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "agent/cli/commands.h"
#include "agent/cli/view.h"

namespace outrider {

enum class FrameForm : std::uint8_t { kTable, kCsv, kJson };

struct FrameChoice {
  FrameForm form = FrameForm::kTable;
  ViewOptions view;
};

/// As on the command line; --json wins over --csv.
struct FrameFlags {
  bool csv = false;
  bool vcpus = false;
};
FrameChoice frame_choice(const CommonOptions& common, const FrameFlags& flags);

/// One interval after another, to be printed as they come.
class Frames {
 public:
  explicit Frames(const FrameChoice& choice) : choice_(choice) {}
  std::string next(const View& view);

 private:
  FrameChoice choice_;
  bool began_ = false;
};

/// Adds a name, or replaces that of the same VM. `names` is sorted by id.
void put_name(std::vector<VmName>& names, VmName name);

}  // namespace outrider

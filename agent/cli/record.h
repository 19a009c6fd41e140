// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "agent/cli/commands.h"
#include "agent/cli/frame.h"
#include "agent/cli/recorder.h"

namespace outrider {

struct RecordOptions {
  std::string file;
  double seconds = 0;  // 0: until ^C
  std::int64_t period_ms = 100;
  Recorder::Overwrite overwrite = Recorder::Overwrite::kNo;
  bool replay = false;
  double interval = 1;  // seconds
  FrameFlags flags;
};

/// Shows a record. A torn or foreign file: what is good of it, then the place
/// of the damage on stderr, and exit code 1.
int run_replay(const RecordOptions& options, const CommonOptions& common);

}  // namespace outrider

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "agent/base/result.h"
#include "agent/knob_value.h"
#include "agent/sys/fd.h"

namespace outrider {

/// What a knob's file said. `error`: errno, and then no text.
struct KnobReading {
  int error = 0;
  KnobValue text;
};

/// One file of a cgroup, kept open. Invariant: it belongs to the cgroup that it
/// was opened in; after that one's removal everything fails with ENODEV.
class KnobFile {
 public:
  /// `directory`: of the cgroup.
  static Result<KnobFile> open(int directory, std::string_view attribute);

  /// One pread; the first line of the file. EPROTO: no such file of the
  /// kernel's, the line is too long or there is none.
  KnobReading read() const;
  /// One pwrite, with a newline: an ordinary file in the place of the kernel's
  /// then still has a right first line. Answers errno, 0 when it was taken.
  int write(const KnobValue& text) const;

 private:
  explicit KnobFile(Fd file) : file_(std::move(file)) {}
  Fd file_;
};

}  // namespace outrider

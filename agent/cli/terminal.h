// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include "agent/base/result.h"
#include "agent/base/units.h"

namespace outrider {

/// The alternate screen and single keys, on stdin and stdout.
/// Invariant: there is one at most, and the terminal gets back what it was
/// however the process ends: by the destructor, or by a signal that can be
/// caught.
class Terminal {
 public:
  enum class Wake { kTime, kKey, kGone };
  struct Event {
    Wake wake = Wake::kTime;
    char key = 0;
  };

  static bool is_there();  // stdin and stdout are terminals
  static Result<Terminal> open();
  Terminal(Terminal&& other) noexcept;
  Terminal& operator=(Terminal&&) = delete;
  ~Terminal();

  /// Waits for a key, or until the deadline. kGone: the terminal is.
  static Event wait(Instant deadline);
  /// Lines that do not fit are cut off.
  static void draw(std::string_view text);

 private:
  Terminal() = default;
  bool mine_ = true;
};

}  // namespace outrider

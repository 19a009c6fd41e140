// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>

#include "agent/base/units.h"
#include "agent/sys/fd.h"

namespace outrider::demo {

/// What an agent says that it holds in reserve for each VM. Waits for nothing:
/// while none answers, nothing is held.
class Reserves {
 public:
  explicit Reserves(std::string socket) : socket_(std::move(socket)) {}
  /// Unless an answer is still awaited.
  void ask();
  void take_answer();
  MilliCpus not_lent(const std::string& vm) const;

 private:
  void connect();
  void forget();
  void understand(const std::string& line);

  std::string socket_;
  Fd fd_;
  bool asked_ = false;
  std::string partial_;
  std::map<std::string, MilliCpus> not_lent_;
};

}  // namespace outrider::demo

// SPDX-License-Identifier: Apache-2.0
// A QMP server that behaves, or does not, on the loop of the test.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/sys/event_loop.h"
#include "agent/sys/fd.h"

namespace outrider::qmp {

enum class Manner : std::uint8_t {
  kPolite,
  kSilent,        // accepts, and says nothing
  kHung,          // greets, and answers nothing more
  kOneByte,       // a byte a turn
  kFloods,        // with events, without end, once it is asked something
  kHugeLine,      // a line without end
  kDeep,          // brackets in brackets
  kLyingId,       // answers what was not asked
  kEndsMidReply,  // closes in the middle of an answer
  kVanishes,      // closes when asked
};

/// Listens at `path` while it exists.
class ScriptedPeer {
 public:
  ScriptedPeer(EventLoop& loop, std::string path, Manner manner);
  ScriptedPeer(const ScriptedPeer&) = delete;
  ScriptedPeer& operator=(const ScriptedPeer&) = delete;
  ~ScriptedPeer();

  void set_manner(Manner manner) { manner_ = manner; }
  /// What a polite one says to a command, the line without its end: the member
  /// "return" or "error" as JSON. Without it, each is answered with {}.
  void set_answer(std::function<std::string(const std::string&)> answer) {
    answer_of_ = std::move(answer);
  }
  /// The commands that came, beside qmp_capabilities.
  int asked() const { return asked_; }
  int connections() const { return connections_; }
  /// Sends `bytes` as they are.
  void say(const std::string& bytes);
  /// Closes the connection.
  void hang_up();

 private:
  void accept();
  void on_ready(std::uint32_t epoll_events);
  void receive();
  void answer(const std::string& command);
  void send();

  EventLoop& loop_;
  std::string path_;
  Manner manner_;
  std::function<std::string(const std::string&)> answer_of_;
  Fd listener_;
  Fd fd_;
  std::string in_;
  std::string out_;
  bool ends_ = false;  // once all is sent
  int asked_ = 0;
  int connections_ = 0;
};

}  // namespace outrider::qmp

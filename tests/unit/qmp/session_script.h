// SPDX-License-Identifier: Apache-2.0
// A session, and both its owner and its peer as a test plays them.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qmp/session.h"

namespace outrider::qmp {

inline constexpr const char* kGreeting =
    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, "
    "\"major\": 7}, \"package\": \"\"}, \"capabilities\": [\"oob\"]}}\r\n";

struct SessionScript {
  explicit SessionScript(const Limits& limits = {}) : session(limits) {}

  void take() {
    while (auto output = session.next(now)) {
      if (auto* event = std::get_if<Event>(&*output))
        events.push_back(std::move(*event));
      else
        completions.push_back(std::move(std::get<Completion>(*output)));
    }
  }
  void say(std::string_view bytes) {
    session.received(bytes, now);
    take();
  }
  void pass(Duration duration) {
    now += duration;
    session.due(now);
    take();
  }
  void open() { session.opened(now); }
  void close() {
    session.closed(now);
    take();
  }
  /// From wherever a connection is wanted to ready.
  void make_ready() {
    ASSERT_EQ(session.step(), Session::Step::kConnect);
    open();
    say(kGreeting);
    reply_to_unsent("{}");
  }
  /// All that is to be sent, taken by the peer.
  std::string take_unsent() {
    const std::string bytes{session.unsent()};
    session.sent(bytes.size());
    return bytes;
  }
  void reply_to_unsent(const std::string& value) {
    const std::string command = take_unsent();
    const std::size_t at = command.rfind("\"id\":");
    ASSERT_NE(at, std::string::npos);
    const std::string id = command.substr(at, command.rfind('}') - at);
    say("{\"return\": " + value + ", " + id + "}\r\n");
  }
  RequestId ask(const std::string& name,
                std::optional<Duration> deadline = std::nullopt) {
    return session.ask(Request{.name = name, .deadline = deadline}, now)
        .value();
  }

  Session session;
  Instant now{std::chrono::hours(1)};
  std::vector<Completion> completions;
  std::vector<Event> events;
};

}  // namespace outrider::qmp

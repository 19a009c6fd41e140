// SPDX-License-Identifier: Apache-2.0
// Bytes as a script of what an owner and a peer do to a Session. A script is
// made of steps: a byte says which, the next how much, and what a peer says is
// either made here, so that it fits what was asked, or taken from the bytes.
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>

#include "qmp/session.h"

namespace outrider::qmp {
namespace {

void require(bool holds) {
  if (!holds) __builtin_trap();
}

constexpr std::string_view kGreeting =
    "{\"QMP\":{\"version\":{\"qemu\":{\"major\":7}},"
    "\"capabilities\":[\"oob\"]}}\n";
constexpr std::string_view kEvent =
    "{\"timestamp\":{\"seconds\":1,\"microseconds\":2},\"event\":\"STOP\"}\n";

// Small, so that a short script comes to each of them.
Limits small_limits() {
  Limits limits;
  limits.waiting = 3;
  limits.events_burst = 4;
  limits.events_excess = 8;
  limits.events_per_second = 10;
  limits.command_bytes = 64;
  return limits;
}

class Script {
 public:
  explicit Script(std::string_view bytes) : bytes_(bytes) {}

  void run() {
    while (!bytes_.empty()) {
      step(take());
      settle();
      check();
    }
    finish();
  }

 private:
  unsigned take() {
    if (bytes_.empty()) return 0;
    const auto byte = static_cast<unsigned char>(bytes_.front());
    bytes_.remove_prefix(1);
    return byte;
  }

  void step(unsigned what) {
    switch (what % 12) {
      case 0:
        return pass(std::chrono::milliseconds(take() * 16));
      case 1:
        return ask(take());
      case 2:
        return obey(take());
      case 3:
        return send(take() % 64);
      case 4:
        return send(~std::size_t{0});
      case 5:
        return say(kGreeting);
      case 6:
        return reply(sent_ids_, "{\"return\":{},\"id\":");
      case 7:
        return reply(sent_ids_ + 2 - take() % 4, "{\"return\":[1],\"id\":");
      case 8:
        return reply(sent_ids_,
                     "{\"error\":{\"class\":\"A\",\"desc\":\"b\"},\"id\":");
      case 9:
        return say(kEvent);
      case 10:
        return say_own(take());
      default:
        return hang_up();
    }
  }

  void pass(Duration duration) {
    now_ += duration;
    session_.due(now_);
  }

  void ask(unsigned how) {
    Request request{.name = how % 16 == 0 ? std::string(how, 'a') : "a"};
    if (how % 3 == 0) request.deadline = std::chrono::milliseconds(how * 8);
    auto asked = session_.ask(request, now_);
    if (asked) require(pending_.insert(*asked).second);
  }

  // What the session wants, or (an owner may be slow) not yet.
  void obey(unsigned how) {
    if (session_.step() == Session::Step::kClose) {
      is_open_ = false;
      session_.closed(now_);
    } else if (session_.step() == Session::Step::kConnect) {
      require(!is_open_);
      is_open_ = how % 4 != 0;
      if (is_open_) {
        session_.opened(now_);
      } else {
        session_.failed(how % 8 == 0 ? 11 : 111, now_);
      }
    }
  }

  void send(std::size_t most) {
    const std::string_view unsent = session_.unsent();
    const std::size_t count = std::min(most, unsent.size());
    for (const char byte : unsent.substr(0, count))
      if (byte == '\n') ++sent_ids_;
    if (count > 0) session_.sent(count);
  }

  void say(std::string_view text) {
    if (!is_open_ || session_.step() != Session::Step::kNothing) return;
    session_.received(text, now_);
  }

  void reply(std::int64_t id, std::string_view head) {
    text_ = head;
    text_ += std::to_string(id);
    text_ += "}\n";
    say(text_);
  }

  void say_own(unsigned count) {
    const std::string_view own = bytes_.substr(0, count);
    bytes_.remove_prefix(own.size());
    say(own);
  }

  void hang_up() {
    if (!is_open_) return;
    is_open_ = false;
    session_.closed(now_);
  }

  // Each that was asked ends once, and nothing ends that was not asked.
  void settle() {
    while (auto output = session_.next(now_)) {
      const auto* const completion = std::get_if<Completion>(&*output);
      if (completion == nullptr) continue;
      require(pending_.erase(completion->request) == 1);
      require((completion->value != nullptr) ==
              (completion->ending == Ending::kAnswered));
    }
  }

  void check() const {
    require(session_.pending() == pending_.size());
    require(pending_.size() <= 4);  // three wait, and one is out
    require(session_.memory() <= kPeerBytesMax);
    const std::string_view unsent = session_.unsent();
    require(unsent.empty() || unsent.find('\n') == unsent.size() - 1);
    const Counts& counts = session_.counts();
    require(counts.answered + counts.late <= counts.sent);
    require(session_.state() != State::kReady || is_open_);
    require(session_.state() != State::kOpen || pending_.size() <= 1);
  }

  // In a minute at most each has ended, and nothing is held for it.
  void finish() {
    for (int i = 0; i < 64 && !pending_.empty(); ++i) {
      pass(std::chrono::seconds(1));
      settle();
      check();
    }
    require(pending_.empty());
  }

  std::string_view bytes_;
  Instant now_{std::chrono::hours(1)};
  Session session_{small_limits()};
  std::set<RequestId> pending_;
  std::string text_;
  std::int64_t sent_ids_ = 0;  // lines sent: the session's ids
  bool is_open_ = false;
};

}  // namespace
}  // namespace outrider::qmp

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  outrider::qmp::Script{{reinterpret_cast<const char*>(data), size}}.run();
  return 0;
}

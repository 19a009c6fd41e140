// SPDX-License-Identifier: Apache-2.0
// What is said to one QEMU and when, without I/O and without a clock: the owner
// tells what happened, does what `step` and `unsent` ask for, and takes what
// `next` gives.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "agent/base/result.h"
#include "agent/base/units.h"
#include "qmp/wire.h"

namespace outrider::qmp {

/// A request as its asker knows it: in rising order, never used twice.
enum class RequestId : std::uint64_t {};

/// What one peer may cost.
struct Limits {
  Duration request = std::chrono::seconds(1);   // until a reply, if not said
  Duration greeting = std::chrono::seconds(1);  // from connected to ready
  // Until the next attempt: doubled by each failure, the least after a reply.
  Duration back_off_min = std::chrono::milliseconds(100);
  Duration back_off_max = std::chrono::seconds(30);
  int failures = 3;          // in a row, until the breaker opens
  std::size_t waiting = 16;  // requests, beside the one that is out
  std::size_t command_bytes = std::size_t{32} << 10;
  // Tokens of events: one an event, or for each KiB of it. Without one, events
  // that `is_known_event` does not know are dropped and counted; `excess`
  // below none is a flood, which ends the connection.
  double events_per_second = 100;
  double events_burst = 200;
  double events_excess = 1000;
};

/// At most this is held for a peer between two calls, with the Limits above.
inline constexpr std::size_t kPeerBytesMax = std::size_t{2} << 20;

struct Request {
  std::string name;
  Json arguments{};                    // null: none
  std::optional<Duration> deadline{};  // from the asking on
  // A longer reply is a lie. Only the schema is long.
  std::size_t reply_bytes_max = std::size_t{128} << 10;
};

enum class Ending : std::uint8_t {
  kAnswered,
  kRefused,   // by QEMU
  kTimedOut,  // no reply in time
  kDropped,   // the connection ended, or the breaker opened
};

/// How a request ended.
struct Completion {
  RequestId request{};
  Ending ending = Ending::kDropped;
  bool was_sent = false;      // so that QEMU may have done it, or do it yet
  Json value{};               // if answered; else null
  std::string error_class{};  // if refused, e.g. "DeviceNotFound"
  std::string what{};         // unless answered: why; may hold the peer's bytes
};

/// The answer, or why there is none.
/// Errors: refused EREMOTEIO, `what` begins with the class; timed out
/// ETIMEDOUT; dropped ECONNRESET.
Result<Json> to_result(Completion completion);

using Output = std::variant<Completion, Event>;

enum class State : std::uint8_t {
  kConnecting,  // or waiting for the greeting, or to connect again
  kReady,
  kHung,     // connected, and a reply or the greeting is overdue
  kRefused,  // nobody listens there; is tried again
  kOpen,     // the circuit breaker: nothing is asked until a probe succeeds
};

/// The state in a word: "connecting", "ready", "hung", "refused", "open".
std::string_view name_of(State state);

/// What happened since the beginning.
struct Counts {
  std::uint64_t connections = 0;  // attempts
  std::uint64_t sent = 0;         // requests; a negotiation is none
  std::uint64_t answered = 0;     // in time; refused ones too
  std::uint64_t timed_out = 0;
  std::uint64_t late = 0;  // replies after the deadline: dropped
  std::uint64_t lies = 0;  // what ended a connection, floods too
  std::uint64_t events = 0;
  std::uint64_t events_dropped = 0;
};

/// One peer. Invariant: one request is out at most; each asked one ends exactly
/// once; what is held stays within kPeerBytesMax whatever the peer does.
///
/// A reply overdue makes the peer hung; the connection stays, for a late reply
/// is known by its id and shows that the peer is back. After Limits::failures
/// in a row (time-outs, lies, ended and refused connections) the breaker
/// opens: what waits is dropped, `ask` refuses. When the back-off is over, a
/// new connection is the probe: a greeting closes the breaker, and one more
/// failure before a reply in time opens it again.
class Session {
 public:
  explicit Session(const Limits& limits = {});

  // --- What happened ---

  /// The connection that `step` asked for is there.
  void opened(Instant now);
  /// It could not be had. `error_code` as in errno.
  void failed(int error_code, Instant now);
  /// `bytes` must stay until `next` gives nothing; call it before anything
  /// else comes.
  void received(std::string_view bytes, Instant now);
  /// The connection is gone: the peer closed it, or the owner at kClose.
  void closed(Instant now);
  /// Time has come to `next_due`, or passed on: harmless at any time.
  void due(Instant now);
  /// Asks when it can: what is asked first is sent first. It ends by a
  /// Completion.
  /// Errors, with which nothing is asked: ECONNREFUSED the breaker is open,
  /// EBUSY too many wait, EMSGSIZE too long, EINVAL no command.
  Result<RequestId> ask(const Request& request, Instant now);

  // --- What is to be done ---

  enum class Step : std::uint8_t { kNothing, kConnect, kClose };
  /// What the owner must do now: connect and say `opened` or `failed`; close
  /// and say `closed`.
  Step step() const;
  /// The bytes to be sent; `sent` says how many of them were.
  std::string_view unsent() const;
  /// The peer has taken the first `count` bytes of `unsent`.
  void sent(std::size_t count);
  /// What came of the bytes and of the time, one by one; none: no more now.
  std::optional<Output> next(Instant now);
  /// When `due` is to be called; the past if `step` has something to do.
  Instant next_due() const;

  // --- What is so ---

  /// For people and metrics.
  State state() const;
  /// Why the last connection or attempt failed; may hold the peer's bytes.
  const std::string& trouble() const { return trouble_; }
  /// QEMU's version as it says it, empty before its first greeting. For people.
  const std::string& version() const { return version_; }
  /// Since the beginning.
  const Counts& counts() const { return counts_; }
  /// Requests asked and not ended.
  std::size_t pending() const { return waiting_.size() + (out_ ? 1U : 0U); }
  /// Bytes held.
  std::size_t memory() const;

 private:
  enum class Phase : std::uint8_t {
    kIdle,        // no connection until retry_at_
    kConnecting,  // the owner is to connect
    kGreeting,
    kNegotiating,
    kReady,
    kEnding,  // the owner is to close
  };
  enum class Silence : std::uint8_t { kNone, kSilent, kRefused };

  struct Asked {
    RequestId id{};
    std::string head;  // of the command, up to the id
    Instant asked{};
    Instant deadline{};
    std::size_t reply_bytes_max = 0;
  };
  struct Out {
    RequestId id{};
    std::int64_t wire_id = 0;
    Instant deadline{};
  };

  bool is_connected() const {
    return phase_ == Phase::kGreeting || phase_ == Phase::kNegotiating ||
           phase_ == Phase::kReady;
  }
  void end_connection(std::string why);
  void lied(std::string why, Instant now);
  void count_failure(Instant now);
  void trip();
  void finish(Completion completion) {
    ended_.push_back(std::move(completion));
  }
  void expire_out(Instant now);
  void expire_waiting(Instant now);
  void start_next();
  void put_command(std::string head, std::int64_t wire_id);
  Completion take_ended();

  std::optional<Output> handle(std::string_view line, Instant now);
  std::optional<Output> on(Greeting& greeting, Instant now);
  std::optional<Output> on(Return& answer, Instant now);
  std::optional<Output> on(Failure& failure, Instant now);
  std::optional<Output> on(Event& event, Instant now);
  std::optional<Output> on_reply(std::int64_t id, Completion completion,
                                 Instant now);
  bool spend_tokens(Instant now);

  Limits limits_;
  Phase phase_ = Phase::kConnecting;
  LineReader reader_;
  std::size_t line_bytes_ = 0;  // of the line that is handled

  // Replies are known by ids of the connection's own, given when sent, so that
  // whatever lies in (answered_, sent_id_] was sent and is unanswered.
  std::int64_t sent_id_ = 0;
  std::int64_t answered_ = 0;
  std::int64_t overdue_ = 0;         // the last one whose deadline passed
  std::size_t reply_bytes_max_ = 0;  // of the unanswered ones
  std::optional<Out> out_;           // the request that is out
  std::deque<Asked> waiting_;        // in the order of asking
  std::vector<Completion> ended_;    // not yet taken by `next`
  std::string unsent_;               // at most one command
  std::size_t unsent_at_ = 0;        // bytes of it that are sent
  std::uint64_t last_id_ = 0;        // of the RequestIds

  int failures_ = 0;  // in a row
  bool open_ = false;
  Silence silence_ = Silence::kNone;  // of the last attempt
  Duration back_off_;                 // after the next failure
  Instant retry_at_{};
  Instant ready_by_{};  // until when greeting and negotiation must be done
  Instant heard_{};     // the last reply

  double tokens_;  // of events; negative: spent in advance
  Instant tokens_at_{};
  Counts counts_;
  std::string trouble_;
  std::string version_;
};

}  // namespace outrider::qmp

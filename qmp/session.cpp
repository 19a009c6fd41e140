// SPDX-License-Identifier: Apache-2.0
#include "qmp/session.h"

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <system_error>
#include <utility>

#include "qmp/events.h"

namespace outrider::qmp {
namespace {

// With nothing else out, a line longer than this is no event and no greeting.
constexpr std::size_t kUnaskedBytesMax = std::size_t{128} << 10;
constexpr double kBytesPerToken = 1024;

std::string in_ms(Duration duration) {
  const auto ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(duration);
  return std::to_string(ms.count()) + " ms";
}

}  // namespace

Result<Json> to_result(Completion completion) {
  switch (completion.ending) {
    case Ending::kAnswered:
      return std::move(completion.value);
    case Ending::kRefused:
      return fail(EREMOTEIO, completion.error_class + ": " + completion.what);
    case Ending::kTimedOut:
      return fail(ETIMEDOUT, std::move(completion.what));
    case Ending::kDropped:
      break;
  }
  return fail(ECONNRESET, std::move(completion.what));
}

std::string_view name_of(State state) {
  switch (state) {
    case State::kConnecting:
      return "connecting";
    case State::kReady:
      return "ready";
    case State::kHung:
      return "hung";
    case State::kRefused:
      return "refused";
    case State::kOpen:
      break;
  }
  return "open";
}

Session::Session(const Limits& limits)
    : limits_(limits),
      back_off_(limits.back_off_min),
      tokens_(limits.events_burst) {}

// --- The connection
// -----------------------------------------------------------

void Session::opened(Instant now) {
  assert(phase_ == Phase::kConnecting);
  ++counts_.connections;
  phase_ = Phase::kGreeting;
  ready_by_ = now + limits_.greeting;
  answered_ = sent_id_;
  overdue_ = sent_id_;
  reply_bytes_max_ = 0;
}

void Session::failed(int error_code, Instant now) {
  assert(phase_ == Phase::kConnecting);
  ++counts_.connections;
  // EAGAIN: others wait there already, and nobody takes them.
  silence_ = error_code == EAGAIN ? Silence::kSilent : Silence::kRefused;
  trouble_ = "connect: " + std::system_category().message(error_code);
  phase_ = Phase::kIdle;
  count_failure(now);
}

void Session::closed(Instant now) {
  if (is_connected()) {
    silence_ = Silence::kNone;
    end_connection("the peer closed the connection");
    count_failure(now);
  }
  assert(phase_ == Phase::kEnding);
  phase_ = retry_at_ <= now ? Phase::kConnecting : Phase::kIdle;
}

// Leaves it to the caller whether that is a failure, and when to try again.
void Session::end_connection(std::string why) {
  assert(is_connected());
  phase_ = Phase::kEnding;
  trouble_ = std::move(why);
  if (out_) {
    const bool was_sent = unsent_.empty() || unsent_at_ > 0;
    finish({.request = out_->id, .was_sent = was_sent, .what = trouble_});
    out_.reset();
  }
  std::string().swap(unsent_);
  unsent_at_ = 0;
  reader_.reset();
}

void Session::lied(std::string why, Instant now) {
  ++counts_.lies;
  silence_ = Silence::kNone;
  end_connection(std::move(why));
  count_failure(now);
}

void Session::count_failure(Instant now) {
  ++failures_;
  retry_at_ = now + back_off_;
  back_off_ = std::min(2 * back_off_, limits_.back_off_max);
  if (failures_ >= limits_.failures) trip();
}

void Session::trip() {
  open_ = true;
  for (const Asked& asked : waiting_) {
    finish({.request = asked.id, .what = "the breaker opened: " + trouble_});
  }
  waiting_.clear();
}

// --- Time
// ---------------------------------------------------------------------

void Session::due(Instant now) {
  const bool is_greeting =
      phase_ == Phase::kGreeting || phase_ == Phase::kNegotiating;
  if (is_greeting && now >= ready_by_) {
    silence_ = Silence::kSilent;
    end_connection("no greeting in " + in_ms(limits_.greeting));
    count_failure(now);
  }
  expire_out(now);
  expire_waiting(now);
  if (phase_ == Phase::kReady && open_ && now >= retry_at_) {
    end_connection(trouble_);  // for a new one: the probe
    retry_at_ = now;
  }
  if (phase_ == Phase::kIdle && now >= retry_at_) phase_ = Phase::kConnecting;
  start_next();
}

void Session::expire_out(Instant now) {
  if (!out_ || now < out_->deadline) return;
  const bool was_sent = unsent_.empty() || unsent_at_ > 0;
  if (was_sent) {
    overdue_ = out_->wire_id;
  } else {  // no byte of it: it need not be sent any more
    std::string().swap(unsent_);
    --sent_id_;
  }
  trouble_ = "no reply in time";
  finish({.request = out_->id,
          .ending = Ending::kTimedOut,
          .was_sent = was_sent,
          .what = trouble_});
  out_.reset();
  ++counts_.timed_out;
  count_failure(now);
}

void Session::expire_waiting(Instant now) {
  std::size_t failures = 0;
  std::erase_if(waiting_, [&](const Asked& asked) {
    if (now < asked.deadline) return false;
    finish({.request = asked.id,
            .ending = Ending::kTimedOut,
            .what = "not sent in time"});
    ++counts_.timed_out;
    // A peer that has answered meanwhile is slow, not hung; the connection that
    // is not there is a failure of its own.
    if (phase_ == Phase::kReady && heard_ < asked.asked) ++failures;
    return true;
  });
  for (; failures > 0; --failures) count_failure(now);
}

Instant Session::next_due() const {
  if (step() != Step::kNothing || !ended_.empty()) return Instant::min();
  Instant at = Instant::max();
  if (phase_ == Phase::kGreeting || phase_ == Phase::kNegotiating)
    at = ready_by_;
  if (phase_ == Phase::kIdle || (phase_ == Phase::kReady && open_))
    at = std::min(at, retry_at_);
  if (out_) at = std::min(at, out_->deadline);
  for (const Asked& asked : waiting_) at = std::min(at, asked.deadline);
  return at;
}

// --- Requests
// -----------------------------------------------------------------

Result<RequestId> Session::ask(const Request& request, Instant now) {
  if (open_) return fail(ECONNREFUSED, "the breaker is open: " + trouble_);
  if (waiting_.size() + ended_.size() >= limits_.waiting)
    return fail(EBUSY, request.name + ": too many requests wait");
  auto head = encode_command_head(request.name, request.arguments.get());
  if (!head) return fail(EINVAL, request.name + ": " + head.error().what);
  if (head->size() > limits_.command_bytes)
    return fail(EMSGSIZE, request.name + ": too long");
  head->shrink_to_fit();
  const RequestId id{++last_id_};
  const Instant deadline = now + request.deadline.value_or(limits_.request);
  waiting_.push_back({.id = id,
                      .head = std::move(*head),
                      .asked = now,
                      .deadline = deadline,
                      .reply_bytes_max = request.reply_bytes_max});
  start_next();
  return id;
}

void Session::start_next() {
  if (phase_ != Phase::kReady || open_ || out_ || waiting_.empty()) return;
  if (!unsent_.empty()) return;  // the rest of a command that is overdue
  Asked asked = std::move(waiting_.front());
  waiting_.pop_front();
  out_ = Out{.id = asked.id, .wire_id = ++sent_id_, .deadline = asked.deadline};
  reply_bytes_max_ = std::max(reply_bytes_max_, asked.reply_bytes_max);
  ++counts_.sent;
  put_command(std::move(asked.head), sent_id_);
}

void Session::put_command(std::string head, std::int64_t wire_id) {
  assert(unsent_.empty());
  unsent_ = std::move(head);
  unsent_ += std::to_string(wire_id);
  unsent_ += "}\n";
  unsent_at_ = 0;
}

Session::Step Session::step() const {
  if (phase_ == Phase::kConnecting) return Step::kConnect;
  return phase_ == Phase::kEnding ? Step::kClose : Step::kNothing;
}

std::string_view Session::unsent() const {
  return std::string_view{unsent_}.substr(unsent_at_);
}

void Session::sent(std::size_t count) {
  assert(count <= unsent_.size() - unsent_at_);
  unsent_at_ += count;
  if (unsent_at_ < unsent_.size()) return;
  std::string().swap(unsent_);
  unsent_at_ = 0;
  start_next();
}

// --- What the peer says
// -------------------------------------------------------

void Session::received(std::string_view bytes, Instant) {
  if (is_connected()) reader_.feed(bytes);
}

std::optional<Output> Session::next(Instant now) {
  while (true) {
    if (!ended_.empty()) return take_ended();
    if (!is_connected()) return std::nullopt;
    auto line = reader_.next();
    if (!line) {
      lied(std::move(line.error().what), now);
      continue;
    }
    if (!*line) return std::nullopt;
    auto output = handle(**line, now);
    if (output) return output;
  }
}

Completion Session::take_ended() {
  Completion first = std::move(ended_.front());
  ended_.erase(ended_.begin());
  return first;
}

std::optional<Output> Session::handle(std::string_view line, Instant now) {
  line_bytes_ = line.size();
  if (line_bytes_ > std::max(reply_bytes_max_, kUnaskedBytesMax)) {
    lied("a line of " + std::to_string(line_bytes_) + " bytes", now);
    return std::nullopt;
  }
  auto message = parse_message(line);
  if (!message) {
    lied(std::move(message.error().what), now);
    return std::nullopt;
  }
  return std::visit([&](auto& its) { return on(its, now); }, *message);
}

std::optional<Output> Session::on(Greeting& greeting, Instant now) {
  if (phase_ != Phase::kGreeting) {
    lied("a second greeting", now);
    return std::nullopt;
  }
  version_ = std::move(greeting.version);
  phase_ = Phase::kNegotiating;
  const char* const arguments =
      greeting.offers_oob ? R"(,"arguments":{"enable":["oob"]})" : "";
  put_command(
      std::string(R"({"execute":"qmp_capabilities")") + arguments + R"(,"id":)",
      ++sent_id_);
  return std::nullopt;
}

std::optional<Output> Session::on(Return& answer, Instant now) {
  const bool is_negotiated =
      phase_ == Phase::kNegotiating && answer.id == sent_id_ && unsent_.empty();
  if (!is_negotiated) {
    return on_reply(answer.id,
                    {.ending = Ending::kAnswered,
                     .was_sent = true,
                     .value = std::move(answer.value)},
                    now);
  }
  phase_ = Phase::kReady;
  answered_ = sent_id_;
  overdue_ = sent_id_;
  silence_ = Silence::kNone;
  open_ = false;
  failures_ = std::min(failures_, limits_.failures - 1);
  start_next();
  return std::nullopt;
}

std::optional<Output> Session::on(Failure& failure, Instant now) {
  return on_reply(failure.id,
                  {.ending = Ending::kRefused,
                   .was_sent = true,
                   .error_class = std::move(failure.error_class),
                   .what = std::move(failure.description)},
                  now);
}

std::optional<Output> Session::on_reply(std::int64_t id, Completion completion,
                                        Instant now) {
  const bool is_ready = phase_ == Phase::kReady;
  const bool is_out =
      is_ready && out_ && id == out_->wire_id && unsent_.empty();
  const bool is_late = is_ready && id > answered_ && id <= overdue_;
  if (!is_out && !is_late) {
    lied(phase_ == Phase::kNegotiating
             ? "not negotiated: " + completion.what
             : "a reply with id " + std::to_string(id) + ", which is not out",
         now);
    return std::nullopt;
  }
  answered_ = id;
  heard_ = now;
  open_ = false;
  // One more failure, after a late reply only, opens the breaker again.
  failures_ = is_out ? 0 : std::min(failures_, limits_.failures - 1);
  if (is_out) {
    completion.request = out_->id;
    out_.reset();
    back_off_ = limits_.back_off_min;
    reply_bytes_max_ = 0;
    ++counts_.answered;
  } else {
    ++counts_.late;
  }
  start_next();
  if (!is_out) return std::nullopt;
  return completion;
}

std::optional<Output> Session::on(Event& event, Instant now) {
  if (phase_ == Phase::kGreeting) {
    lied("an event before the greeting", now);
    return std::nullopt;
  }
  ++counts_.events;
  const bool has_tokens = spend_tokens(now);
  if (tokens_ < -limits_.events_excess) {
    // It had its chance: no probe before the longest back-off.
    failures_ = std::max(failures_, limits_.failures - 1);
    back_off_ = limits_.back_off_max;
    lied("a flood of events", now);
    return std::nullopt;
  }
  if (!has_tokens && !is_known_event(event.name)) {
    ++counts_.events_dropped;
    return std::nullopt;
  }
  return std::move(event);
}

bool Session::spend_tokens(Instant now) {
  const std::chrono::duration<double> passed = now - tokens_at_;
  tokens_at_ = now;
  tokens_ = std::min(tokens_ + passed.count() * limits_.events_per_second,
                     limits_.events_burst);
  tokens_ -= std::max(1.0, static_cast<double>(line_bytes_) / kBytesPerToken);
  return tokens_ >= 0;
}

// --- What is so
// ---------------------------------------------------------------

State Session::state() const {
  if (open_) return State::kOpen;
  if (phase_ == Phase::kReady)
    return answered_ < overdue_ ? State::kHung : State::kReady;
  if (silence_ == Silence::kSilent) return State::kHung;
  return silence_ == Silence::kRefused ? State::kRefused : State::kConnecting;
}

std::size_t Session::memory() const {
  std::size_t bytes = sizeof(*this) + reader_.memory() + unsent_.capacity() +
                      trouble_.capacity() + version_.capacity();
  for (const Asked& asked : waiting_)
    bytes += sizeof(asked) + asked.head.capacity();
  for (const Completion& ended : ended_)
    bytes += sizeof(ended) + ended.what.capacity();
  return bytes;
}

}  // namespace outrider::qmp

// SPDX-License-Identifier: Apache-2.0
#include "qmp/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/sys/clock.h"
#include "tests/unit/qmp/scripted_peer.h"

namespace outrider::qmp {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

// Of who is to answer: a busy machine is no failure.
Limits patient_limits() {
  Limits limits;
  limits.request = seconds(15);
  limits.greeting = seconds(15);
  limits.back_off_min = milliseconds(5);
  return limits;
}

// Of who is not, as these tests run in real time.
Limits short_limits() {
  Limits limits = patient_limits();
  limits.request = milliseconds(60);
  limits.greeting = milliseconds(60);
  return limits;
}

class ClientTest : public testing::Test {
 protected:
  ClientTest() {
    EXPECT_NE(::mkdtemp(folder_.data()), nullptr);
    clients_ = Clients::make(loop_).value();
  }
  ~ClientTest() override {
    client_.reset();
    clients_.reset();
    std::filesystem::remove_all(folder_);
  }
  std::string path(const std::string& name = "qmp") const {
    return folder_ + "/" + name;
  }
  /// Turns the loop until `done`, for at most 20 s.
  void turn_until(const std::function<bool()>& done) {
    const Instant give_up = monotonic_now() + seconds(20);
    while (!done() && monotonic_now() < give_up)
      ASSERT_TRUE(loop_.turn(milliseconds(50)));
    ASSERT_TRUE(done());
  }
  void make_client(const Limits& limits = patient_limits()) {
    Client::Listener listener{
        .on_event =
            [this](const Event& event) { events_.push_back(event.name); },
        .on_state = [this](State, State after) { states_.push_back(after); }};
    client_ =
        Client::make(*clients_, path(), std::move(listener), limits).value();
  }
  void make_ready() {
    make_client();
    turn_until([&] { return client_->state() == State::kReady; });
  }
  void ask(Client& client, std::optional<Duration> deadline = std::nullopt) {
    const Request request{.name = "a", .deadline = deadline};
    auto asked = client.ask(request, [this](Completion completion) {
      completions_.push_back(std::move(completion));
    });
    ASSERT_TRUE(asked) << asked.error().what;
  }

  std::string folder_ = "/tmp/qmpXXXXXX";
  EventLoop loop_ = EventLoop::make().value();
  std::unique_ptr<Clients> clients_;
  std::unique_ptr<Client> client_;
  std::vector<std::string> events_;
  std::vector<State> states_;
  std::vector<Completion> completions_;
};

TEST_F(ClientTest, AsksAndIsAnswered) {
  ScriptedPeer peer{loop_, path(), Manner::kPolite};
  make_client();
  ask(*client_);  // before there is a connection
  turn_until([&] { return completions_.size() == 1; });
  EXPECT_EQ(completions_[0].ending, Ending::kAnswered);
  EXPECT_THAT(states_, testing::ElementsAre(State::kReady));
  EXPECT_EQ(client_->peer_pid().value(), ::getpid());
}

TEST_F(ClientTest, GivesTypedAnswers) {
  ScriptedPeer peer{loop_, path(), Manner::kPolite};
  make_ready();
  Result<Done> done = fail(0, "");
  Result<Bytes> size = Bytes{1};
  (void)client_->ask(device_del("a"), [&](Result<Done> r) { done = r; });
  (void)client_->ask(query_balloon(), [&](Result<Bytes> r) { size = r; });
  turn_until([&] { return !size; });
  EXPECT_TRUE(done);
  EXPECT_EQ(size.error().code, EBADMSG);  // "{}" is no such answer
  EXPECT_EQ(size.error().what, "balloon: actual: want a whole number");
}

TEST_F(ClientTest, TellsEvents) {
  ScriptedPeer peer{loop_, path(), Manner::kPolite};
  make_ready();
  peer.say(
      "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, "
      "\"event\": \"STOP\"}\r\n");
  turn_until([&] { return !events_.empty(); });
  EXPECT_EQ(events_[0], "STOP");
}

TEST_F(ClientTest, ConnectsWhenSomebodyListensAtLast) {
  make_client();
  turn_until([&] { return client_->state() == State::kOpen; });
  EXPECT_THAT(states_, testing::ElementsAre(State::kRefused, State::kOpen));
  ScriptedPeer peer{loop_, path(), Manner::kPolite};
  turn_until([&] { return client_->state() == State::kReady; });
}

TEST_F(ClientTest, ConnectsAgain) {
  ScriptedPeer peer{loop_, path(), Manner::kPolite};
  make_ready();
  peer.hang_up();
  turn_until([&] { return peer.connections() == 2; });
  turn_until([&] { return client_->state() == State::kReady; });
}

TEST_F(ClientTest, CostsNoCallWhileNothingIsDue) {
  ScriptedPeer peer{loop_, path(), Manner::kPolite};
  make_ready();
  const Calls before = clients_->calls();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(loop_.turn(milliseconds(1)));
  const Calls after = clients_->calls();
  EXPECT_EQ(before.sends, after.sends);
  EXPECT_EQ(before.receives, after.receives);
  EXPECT_LE(after.timers - before.timers, 2);  // the greeting's, once
}

TEST_F(ClientTest, NeverOpensLibvirtsMonitor) {
  const std::string monitor = "/var/lib/libvirt/qemu/domain-1-a/monitor.sock";
  auto refused = Client::make(*clients_, monitor, {});
  EXPECT_EQ(refused.error().code, EPERM);
  EXPECT_THAT(refused.error().what, HasSubstr("libvirt's own monitor"));
  EXPECT_EQ(Client::make(*clients_, std::string(200, 'a'), {}).error().code,
            ENAMETOOLONG);
  EXPECT_EQ(Client::make(*clients_, "", {}).error().code, ENAMETOOLONG);
}

TEST_F(ClientTest, FollowsNoLinkToLibvirtsMonitor) {
  std::filesystem::create_directory(path("domain-1-a"));
  ScriptedPeer peer{loop_, path("domain-1-a/monitor.sock"), Manner::kPolite};
  std::filesystem::create_symlink(path("domain-1-a/monitor.sock"), path());
  make_client();
  turn_until([&] { return client_->state() == State::kOpen; });
  EXPECT_EQ(peer.connections(), 0);
  EXPECT_THAT(client_->session().trouble(), HasSubstr("not permitted"));
}

// --- Peers that misbehave, beside one that does not
// ---------------------------

struct Bad {
  const char* name;
  Manner manner;
  Ending ending;
};

class BadPeer : public ClientTest, public testing::WithParamInterface<Bad> {};

TEST_P(BadPeer, EndsItsRequestAndDelaysNobody) {
  ScriptedPeer bad{loop_, path("bad"), GetParam().manner};
  ScriptedPeer good{loop_, path(), Manner::kPolite};
  make_ready();
  const bool times_out = GetParam().ending == Ending::kTimedOut;
  auto other = Client::make(*clients_, path("bad"), {},
                            times_out ? short_limits() : patient_limits())
                   .value();
  std::optional<Ending> ending;
  const auto asked = other->ask(Request{.name = "a"},
                                [&](Completion c) { ending = c.ending; });
  ASSERT_TRUE(asked);
  std::size_t rounds = 0;
  std::size_t memory = 0;
  turn_until([&] {  // the good one is asked all the time meanwhile
    memory = std::max(memory, other->memory());
    if (completions_.size() == rounds && ++rounds > 0) ask(*client_);
    return ending && rounds > 100;
  });
  EXPECT_EQ(*ending, GetParam().ending);
  EXPECT_LE(memory, kPeerBytesMax);
  for (const Completion& completion : completions_)
    EXPECT_EQ(completion.ending, Ending::kAnswered);
}

INSTANTIATE_TEST_SUITE_P(
    Manners, BadPeer,
    testing::Values(Bad{"Silent", Manner::kSilent, Ending::kTimedOut},
                    Bad{"Hung", Manner::kHung, Ending::kTimedOut},
                    Bad{"Floods", Manner::kFloods, Ending::kDropped},
                    Bad{"HugeLine", Manner::kHugeLine, Ending::kDropped},
                    Bad{"Deep", Manner::kDeep, Ending::kDropped},
                    Bad{"LyingId", Manner::kLyingId, Ending::kDropped},
                    Bad{"EndsMidReply", Manner::kEndsMidReply,
                        Ending::kDropped},
                    Bad{"Vanishes", Manner::kVanishes, Ending::kDropped}),
    [](const auto& param) { return std::string(param.param.name); });

TEST_F(ClientTest, WaitsForOneByteAtATime) {
  ScriptedPeer peer{loop_, path(), Manner::kOneByte};
  make_client();
  ask(*client_);
  turn_until([&] { return completions_.size() == 1; });
  EXPECT_EQ(completions_[0].ending, Ending::kAnswered);
}

TEST_F(ClientTest, OpensTheBreakerOfAHungPeerAndClosesItAgain) {
  ScriptedPeer peer{loop_, path(), Manner::kPolite};
  Limits limits = patient_limits();
  limits.greeting = milliseconds(500);
  make_client(limits);
  turn_until([&] { return client_->state() == State::kReady; });
  peer.set_manner(Manner::kHung);
  for (int i = 0; i < 3; ++i) ask(*client_, milliseconds(60));
  turn_until([&] { return client_->state() == State::kOpen; });
  EXPECT_EQ(completions_.size(), 3);
  peer.set_manner(Manner::kPolite);
  turn_until([&] { return client_->state() == State::kReady; });
  ask(*client_);
  turn_until([&] { return completions_.size() == 4; });
  EXPECT_EQ(completions_[3].ending, Ending::kAnswered);
}

// --- Owners that come and go
// --------------------------------------------------

TEST_F(ClientTest, MayBeDestroyedInItsOwnCallbacks) {
  ScriptedPeer peer{loop_, path(), Manner::kPolite};
  make_ready();
  (void)client_->ask(Request{.name = "a"},
                     [&](Completion) { client_.reset(); });
  turn_until([&] { return client_ == nullptr; });
  EXPECT_EQ(clients_->size(), 0);
  client_ = Client::make(*clients_, path(),
                         {.on_event = {},
                          .on_state = [&](State, State) { client_.reset(); }})
                .value();
  turn_until([&] { return client_ == nullptr; });
  client_ = Client::make(*clients_, path(),
                         {.on_event = [&](const Event&) { client_.reset(); },
                          .on_state = {}})
                .value();
  turn_until([&] { return client_->state() == State::kReady; });
  peer.set_manner(Manner::kFloods);
  ask(*client_);
  turn_until([&] { return client_ == nullptr; });
}

TEST_F(ClientTest, MayBeDestroyedInTheCallbackOfAnother) {
  ScriptedPeer first{loop_, path("first"), Manner::kHung};
  ScriptedPeer second{loop_, path("second"), Manner::kHung};
  std::vector<std::unique_ptr<Client>> all;
  const auto destroy_others = [&](const Client* self) {
    std::erase_if(all, [&](const auto& each) { return each.get() != self; });
  };
  for (const char* name : {"first", "second"}) {
    all.push_back(
        Client::make(*clients_, path(name), {}, short_limits()).value());
    Client* const self = all.back().get();
    (void)self->ask(Request{.name = "a"},
                    [&, self](Completion) { destroy_others(self); });
  }
  // Both time out at the same turn of the timer; one survives.
  turn_until([&] { return all.size() == 1; });
  EXPECT_EQ(clients_->size(), 1);
  all.clear();
}

TEST_F(ClientTest, MayAskInACallback) {
  ScriptedPeer peer{loop_, path(), Manner::kPolite};
  make_ready();
  int answers = 0;
  std::function<void(Completion)> again = [&](Completion) {
    if (++answers < 5) (void)client_->ask(Request{.name = "a"}, again);
  };
  (void)client_->ask(Request{.name = "a"}, again);
  turn_until([&] { return answers == 5; });
}

TEST_F(ClientTest, SendsALongCommandAsThePeerTakesIt) {
  ScriptedPeer peer{loop_, path(), Manner::kPolite};
  Limits limits = patient_limits();
  limits.command_bytes = std::size_t{8} << 20;  // more than a socket holds
  make_client(limits);
  turn_until([&] { return client_->state() == State::kReady; });
  const std::string name(std::size_t{4} << 20, 'a');
  auto asked = client_->ask(Request{.name = name}, [this](Completion c) {
    completions_.push_back(std::move(c));
  });
  ASSERT_TRUE(asked);
  turn_until([&] { return completions_.size() == 1; });
  EXPECT_EQ(completions_[0].ending, Ending::kAnswered);
}

}  // namespace
}  // namespace outrider::qmp

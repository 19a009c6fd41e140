// SPDX-License-Identifier: Apache-2.0
#include "qmp/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <string>
#include <vector>

#include "tests/unit/qmp/session_script.h"

namespace outrider::qmp {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(Session, AsksForAConnectionFirst) {
  SessionScript script;
  EXPECT_EQ(script.session.step(), Session::Step::kConnect);
  EXPECT_EQ(script.session.state(), State::kConnecting);
  EXPECT_LE(script.session.next_due(), script.now);
}

TEST(Session, NegotiatesOobWhereItIsOffered) {
  SessionScript script;
  script.open();
  EXPECT_EQ(script.take_unsent(), "");
  script.say(kGreeting);
  EXPECT_EQ(script.take_unsent(),
            "{\"execute\":\"qmp_capabilities\","
            "\"arguments\":{\"enable\":[\"oob\"]},\"id\":1}\n");
  EXPECT_EQ(script.session.state(), State::kConnecting);
  script.say("{\"return\": {}, \"id\": 1}\n");
  EXPECT_EQ(script.session.state(), State::kReady);
  EXPECT_EQ(script.session.version(), "7.2.22");
  EXPECT_EQ(script.session.next_due(), Instant::max());
}

TEST(Session, NegotiatesNothingWhereNothingIsOffered) {
  SessionScript script;
  script.open();
  script.say(
      "{\"QMP\": {\"version\": {\"qemu\": {\"major\": 2}}, "
      "\"capabilities\": []}}\n");
  EXPECT_EQ(script.take_unsent(),
            "{\"execute\":\"qmp_capabilities\",\"id\":1}\n");
}

TEST(Session, SendsOneRequestAtATimeInOrder) {
  SessionScript script;
  script.make_ready();
  const RequestId first = script.ask("a");
  const RequestId second = script.ask("b");
  EXPECT_EQ(script.take_unsent(), "{\"execute\":\"a\",\"id\":2}\n");
  EXPECT_EQ(script.take_unsent(), "");
  script.say("{\"return\": 5, \"id\": 2}\n");
  EXPECT_EQ(script.take_unsent(), "{\"execute\":\"b\",\"id\":3}\n");
  script.say(
      "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}, "
      "\"id\": 3}\n");
  ASSERT_EQ(script.completions.size(), 2);
  EXPECT_EQ(script.completions[0].request, first);
  EXPECT_EQ(script.completions[0].ending, Ending::kAnswered);
  EXPECT_EQ(json_integer_value(script.completions[0].value.get()), 5);
  EXPECT_EQ(script.completions[1].request, second);
  EXPECT_EQ(script.completions[1].ending, Ending::kRefused);
  auto result = to_result(std::move(script.completions[1]));
  EXPECT_EQ(result.error().code, EREMOTEIO);
  EXPECT_EQ(result.error().what, "GenericError: no");
  EXPECT_EQ(script.session.counts().answered, 2);
}

TEST(Session, TakesReplyAndEventsCutAnywhere) {
  const std::string text =
      "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, "
      "\"event\": \"STOP\"}\r\n{\"return\": {}, \"id\": 2}\r\n";
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    SessionScript script;
    script.make_ready();
    script.ask("a");
    script.take_unsent();
    script.say(text.substr(0, cut));
    script.say(text.substr(cut));
    ASSERT_EQ(script.completions.size(), 1) << cut;
    ASSERT_EQ(script.events.size(), 1) << cut;
  }
}

TEST(Session, KeepsWhatIsAskedBeforeItIsReady) {
  SessionScript script;
  script.ask("a");
  EXPECT_EQ(script.take_unsent(), "");
  script.make_ready();
  EXPECT_EQ(script.take_unsent(), "{\"execute\":\"a\",\"id\":2}\n");
}

TEST(Session, RefusesMoreThanItKeeps) {
  SessionScript script;
  const Limits limits;
  script.make_ready();
  for (std::size_t i = 0; i < limits.waiting + 1; ++i) script.ask("a");
  auto refused = script.session.ask(Request{.name = "a"}, script.now);
  EXPECT_EQ(refused.error().code, EBUSY);
  EXPECT_EQ(script.session.pending(), limits.waiting + 1);
}

TEST(Session, RefusesWhatIsNoCommand) {
  SessionScript script;
  Request array{.name = "a", .arguments = Json{json_array()}};
  EXPECT_EQ(script.session.ask(array, script.now).error().code, EINVAL);
  Request large{.name = std::string(40'000, 'a')};
  EXPECT_EQ(script.session.ask(large, script.now).error().code, EMSGSIZE);
}

// --- Deadlines
// ----------------------------------------------------------------

TEST(Session, TimesOutFromTheAskingOn) {
  SessionScript script;
  script.make_ready();
  script.ask("a");
  script.take_unsent();
  EXPECT_EQ(script.session.next_due(), script.now + seconds(1));
  script.pass(milliseconds(999));
  EXPECT_THAT(script.completions, IsEmpty());
  script.pass(milliseconds(1));
  ASSERT_EQ(script.completions.size(), 1);
  EXPECT_EQ(script.completions[0].ending, Ending::kTimedOut);
  EXPECT_TRUE(script.completions[0].was_sent);
  EXPECT_EQ(to_result(std::move(script.completions[0])).error().code,
            ETIMEDOUT);
  EXPECT_EQ(script.session.state(), State::kHung);
}

TEST(Session, HonoursARequestsOwnDeadline) {
  SessionScript script;
  script.make_ready();
  script.ask("a", seconds(5));
  script.ask("b", milliseconds(300));
  script.take_unsent();
  script.pass(milliseconds(300));
  ASSERT_EQ(script.completions.size(), 1);
  EXPECT_FALSE(script.completions[0].was_sent);
  EXPECT_EQ(script.session.next_due(), script.now + milliseconds(4700));
}

TEST(Session, DropsALateReplyAndIsReadyAgain) {
  SessionScript script;
  script.make_ready();
  script.ask("a");
  script.take_unsent();
  script.pass(seconds(1));
  script.say("{\"return\": {}, \"id\": 2}\n");
  EXPECT_EQ(script.session.state(), State::kReady);
  EXPECT_EQ(script.completions.size(), 1);  // the time-out
  EXPECT_EQ(script.session.counts().late, 1);
  script.ask("b");
  EXPECT_EQ(script.take_unsent(), "{\"execute\":\"b\",\"id\":3}\n");
  script.say("{\"return\": {}, \"id\": 3}\n");
  EXPECT_EQ(script.completions.at(1).ending, Ending::kAnswered);
}

TEST(Session, TakesALateReplyBeforeTheOneThatIsOut) {
  SessionScript script;
  script.make_ready();
  script.ask("a");
  script.take_unsent();
  script.pass(seconds(1));
  script.ask("b");
  script.take_unsent();
  script.say("{\"return\": 1, \"id\": 2}\n{\"return\": 2, \"id\": 3}\n");
  ASSERT_EQ(script.completions.size(), 2);
  EXPECT_EQ(json_integer_value(script.completions[1].value.get()), 2);
}

TEST(Session, NeverSendsWhatTimedOutBeforeItsFirstByte) {
  SessionScript script;
  script.make_ready();
  script.ask("a");  // the peer takes nothing
  script.pass(seconds(1));
  EXPECT_FALSE(script.completions.at(0).was_sent);
  EXPECT_EQ(script.session.unsent(), "");
  script.ask("b");
  EXPECT_EQ(script.take_unsent(), "{\"execute\":\"b\",\"id\":2}\n");
}

TEST(Session, FinishesACommandThatIsHalfSent) {
  SessionScript script;
  script.make_ready();
  script.ask("a");
  script.session.sent(3);
  script.pass(seconds(1));
  EXPECT_TRUE(script.completions.at(0).was_sent);
  script.ask("b");
  EXPECT_EQ(script.take_unsent(), "xecute\":\"a\",\"id\":2}\n");
  EXPECT_EQ(script.take_unsent(), "{\"execute\":\"b\",\"id\":3}\n");
}

TEST(Session, EndsASilentConnection) {
  SessionScript script;
  script.open();
  script.pass(seconds(1));
  EXPECT_EQ(script.session.step(), Session::Step::kClose);
  EXPECT_EQ(script.session.state(), State::kHung);
  EXPECT_THAT(script.session.trouble(), HasSubstr("no greeting in 1000 ms"));
  script.close();
  EXPECT_EQ(script.session.step(), Session::Step::kNothing);
  EXPECT_EQ(script.session.next_due(), script.now + milliseconds(100));
}

TEST(Session, EndsANegotiationWithoutEnd) {
  SessionScript script;
  script.open();
  script.say(kGreeting);
  script.pass(seconds(1));
  EXPECT_EQ(script.session.step(), Session::Step::kClose);
}

// --- Lies
// ---------------------------------------------------------------------

std::string trouble_after(std::string_view bytes) {
  SessionScript script;
  script.make_ready();
  script.ask("a");
  script.take_unsent();
  script.say(bytes);
  if (script.session.step() != Session::Step::kClose) return "none";
  EXPECT_EQ(script.session.counts().lies, 1);
  EXPECT_EQ(script.completions.at(0).ending, Ending::kDropped);
  EXPECT_TRUE(script.completions.at(0).was_sent);
  return script.session.trouble();
}

TEST(Session, EndsTheConnectionOfALiar) {
  EXPECT_EQ(trouble_after("{\"return\": 1, \"id\": 2}\n"), "none");
  EXPECT_THAT(trouble_after("{\"return\": 1, \"id\": 3}\n"),
              HasSubstr("id 3, which is not out"));
  EXPECT_THAT(trouble_after("{\"return\": 1, \"id\": 1}\n"),
              HasSubstr("id 1, which is not out"));
  EXPECT_THAT(trouble_after("{\"return\": 1, \"id\": -2}\n"),
              HasSubstr("not out"));
  EXPECT_THAT(trouble_after("junk\n"), HasSubstr("no JSON"));
  EXPECT_THAT(trouble_after("\n"), HasSubstr("no JSON"));
  EXPECT_THAT(trouble_after(kGreeting), HasSubstr("a second greeting"));
  EXPECT_THAT(trouble_after("{\"return\": 1}\n"), HasSubstr("no id"));
  EXPECT_THAT(trouble_after(std::string(200'000, ' ') + "\n"),
              HasSubstr("a line of 200000 bytes"));
  EXPECT_THAT(trouble_after(std::string(2'000'000, 'x')),
              HasSubstr("a line of more than"));
}

TEST(Session, TakesAReplyOnce) {
  SessionScript script;
  script.make_ready();
  script.ask("a");
  script.take_unsent();
  script.say("{\"return\": 1, \"id\": 2}\n{\"return\": 1, \"id\": 2}\n");
  EXPECT_EQ(script.completions.size(), 1);
  EXPECT_EQ(script.completions[0].ending, Ending::kAnswered);
  EXPECT_EQ(script.session.step(), Session::Step::kClose);
}

TEST(Session, TakesNoLateReplyTwice) {
  SessionScript script;
  script.make_ready();
  script.ask("a");
  script.take_unsent();
  script.pass(seconds(1));
  script.say("{\"return\": 1, \"id\": 2}\n");
  EXPECT_EQ(script.session.step(), Session::Step::kNothing);
  script.say("{\"return\": 1, \"id\": 2}\n");
  EXPECT_EQ(script.session.step(), Session::Step::kClose);
}

TEST(Session, WantsTheGreetingFirst) {
  for (const char* first :
       {"{\"return\": {}, \"id\": 1}\n",
        "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, "
        "\"event\": \"STOP\"}\n"}) {
    SessionScript script;
    script.open();
    script.say(first);
    EXPECT_EQ(script.session.step(), Session::Step::kClose) << first;
  }
}

TEST(Session, TakesALongReplyOnlyWhereItExpectsOne) {
  const std::string reply =
      "{\"return\": \"" + std::string(300'000, 'x') + "\", \"id\": 2}\n";
  SessionScript script;
  script.make_ready();
  Request request{.name = "query-qmp-schema", .reply_bytes_max = 400'000};
  (void)script.session.ask(request, script.now).value();
  script.take_unsent();
  script.say(reply);
  ASSERT_EQ(script.completions.size(), 1);
  EXPECT_EQ(script.completions[0].ending, Ending::kAnswered);
}

TEST(Session, SaysWhyANegotiationFailed) {
  SessionScript script;
  script.open();
  script.say(kGreeting);
  script.take_unsent();
  script.say(
      "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no oob\"}, "
      "\"id\": 1}\n");
  EXPECT_EQ(script.session.trouble(), "not negotiated: no oob");
}

// --- Connections that end
// -----------------------------------------------------

TEST(Session, DropsWhatIsOutWhenThePeerCloses) {
  SessionScript script;
  script.make_ready();
  script.ask("a");
  script.ask("b");
  script.take_unsent();
  script.say("{\"return\": ");  // and in the middle of its reply
  script.close();
  ASSERT_EQ(script.completions.size(), 1);
  EXPECT_EQ(script.completions[0].ending, Ending::kDropped);
  EXPECT_EQ(to_result(std::move(script.completions[0])).error().code,
            ECONNRESET);
  script.pass(milliseconds(100));
  script.make_ready();  // the other has waited
  EXPECT_EQ(script.take_unsent(), "{\"execute\":\"b\",\"id\":4}\n");
  script.say("{\"return\": 1, \"id\": 4}\n");
  EXPECT_EQ(script.completions.at(1).ending, Ending::kAnswered);
}

TEST(Session, BacksOffAndOpensWhereNobodyListens) {
  SessionScript script;
  script.ask("a", seconds(60));
  std::vector<Duration> delays;
  std::vector<State> states;
  for (int i = 0; i < 12; ++i) {
    ASSERT_EQ(script.session.step(), Session::Step::kConnect);
    script.session.failed(ECONNREFUSED, script.now);
    script.take();
    delays.push_back(script.session.next_due() - script.now);
    states.push_back(script.session.state());
    script.pass(delays.back());
  }
  const auto ms = [](int count) { return Duration{milliseconds(count)}; };
  EXPECT_THAT(delays, ElementsAre(ms(100), ms(200), ms(400), ms(800), ms(1600),
                                  ms(3200), ms(6400), ms(12800), ms(25600),
                                  ms(30000), ms(30000), ms(30000)));
  EXPECT_EQ(states[0], State::kRefused);
  EXPECT_EQ(states[1], State::kRefused);
  EXPECT_EQ(states[2], State::kOpen);
  ASSERT_EQ(script.completions.size(), 1);
  EXPECT_EQ(script.completions[0].ending, Ending::kDropped);
  EXPECT_FALSE(script.completions[0].was_sent);
  EXPECT_THAT(script.completions[0].what, HasSubstr("Connection refused"));
}

TEST(Session, CallsAFullBacklogHung) {
  SessionScript script;
  script.session.failed(EAGAIN, script.now);
  EXPECT_EQ(script.session.state(), State::kHung);
}

TEST(Session, OpensWithinASecondOfBeingAsked) {
  SessionScript script;
  script.make_ready();
  for (const char* name : {"a", "b", "c"}) script.ask(name);
  script.take_unsent();
  script.pass(seconds(1));  // the first was sent, and nothing heard since
  EXPECT_EQ(script.session.state(), State::kOpen);
  EXPECT_EQ(script.completions.size(), 3);
  auto refused = script.session.ask(Request{.name = "d"}, script.now);
  EXPECT_EQ(refused.error().code, ECONNREFUSED);
}

TEST(Session, CallsNoPeerHungThatAnswersSlowly) {
  // Each reply takes 400 ms: two of five are in time, and one is late.
  SessionScript script;
  script.make_ready();
  for (int i = 0; i < 5; ++i) script.ask("a");
  script.take_unsent();
  for (int id = 2; id <= 3; ++id) {
    script.pass(milliseconds(400));
    script.say("{\"return\": 1, \"id\": " + std::to_string(id) + "}\n");
    script.take_unsent();
  }
  script.pass(milliseconds(200));
  EXPECT_EQ(script.completions.size(), 5);
  EXPECT_EQ(script.session.state(), State::kHung);
  script.say("{\"return\": 1, \"id\": 4}\n");
  EXPECT_EQ(script.session.state(), State::kReady);
}

TEST(Session, ALateReplyClosesTheBreakerAndOneFailureOpensItAgain) {
  SessionScript script;
  script.make_ready();
  for (const char* name : {"a", "b", "c"}) script.ask(name);
  script.take_unsent();
  script.pass(seconds(1));
  ASSERT_EQ(script.session.state(), State::kOpen);
  script.say("{\"return\": 1, \"id\": 2}\n");
  EXPECT_EQ(script.session.state(), State::kReady);
  script.ask("d");
  script.take_unsent();
  script.pass(seconds(1));
  EXPECT_EQ(script.session.state(), State::kOpen);
}

TEST(Session, ProbesByANewConnectionAfterTheBackOff) {
  SessionScript script;
  script.make_ready();
  for (const char* name : {"a", "b", "c"}) script.ask(name);
  script.take_unsent();
  script.pass(seconds(1));  // 100, 200, 400 ms by now
  EXPECT_EQ(script.session.next_due(), script.now + milliseconds(400));
  script.pass(milliseconds(400));
  ASSERT_EQ(script.session.step(), Session::Step::kClose);
  script.close();
  ASSERT_EQ(script.session.step(), Session::Step::kConnect);
  EXPECT_EQ(script.session.state(), State::kOpen);
  script.open();
  script.pass(seconds(1));  // a connection, and no greeting
  script.close();
  EXPECT_EQ(script.session.state(), State::kOpen);
  EXPECT_EQ(script.session.next_due(), script.now + milliseconds(800));
  script.pass(milliseconds(800));
  script.make_ready();
  EXPECT_EQ(script.session.state(), State::kReady);
  script.ask("d");
  script.reply_to_unsent("1");
  EXPECT_EQ(script.completions.back().ending, Ending::kAnswered);
}

TEST(Session, AReplyInTimeForgetsTheFailures) {
  SessionScript script;
  for (int round = 0; round < 10; ++round) {
    script.make_ready();
    script.ask("a");
    script.reply_to_unsent("1");
    script.close();
    EXPECT_EQ(script.session.next_due(), script.now + milliseconds(100));
    EXPECT_NE(script.session.state(), State::kOpen);
    script.pass(milliseconds(100));
  }
}

// --- Events and memory
// --------------------------------------------------------

std::string event(std::string_view name) {
  return "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, "
         "\"event\": \"" +
         std::string(name) + "\", \"data\": {}}\n";
}

TEST(Session, DropsEventsPastTheBucketButNotThoseWeKnow) {
  SessionScript script;
  script.make_ready();
  for (int i = 0; i < 300; ++i) script.say(event("RTC_CHANGE"));
  EXPECT_EQ(script.events.size(), 200);
  EXPECT_EQ(script.session.counts().events_dropped, 100);
  script.say(event("DEVICE_DELETED"));
  EXPECT_EQ(script.events.size(), 201);
  // 101 tokens overdrawn, 100 a second: the next after 1.02 s.
  script.pass(milliseconds(1020));
  script.say(event("RTC_CHANGE"));
  EXPECT_EQ(script.events.size(), 202);
}

TEST(Session, EndsAFloodAndComesBackAfterTheLongestBackOff) {
  SessionScript script;
  script.make_ready();
  std::string flood;
  for (int i = 0; i < 5000; ++i) flood += event("DEVICE_DELETED");
  script.say(flood);
  EXPECT_EQ(script.events.size(), 1200);  // 200, and 1,000 in advance
  EXPECT_EQ(script.session.step(), Session::Step::kClose);
  EXPECT_EQ(script.session.trouble(), "a flood of events");
  script.close();
  EXPECT_EQ(script.session.state(), State::kOpen);
  EXPECT_EQ(script.session.next_due(), script.now + seconds(30));
}

TEST(Session, CountsALongEventAsMany) {
  SessionScript script;
  script.make_ready();
  const std::string name(100'000, 'A');
  for (int i = 0; i < 13; ++i) script.say(event(name));
  EXPECT_EQ(script.session.step(), Session::Step::kClose);  // 13 * 98 > 1200
}

TEST(Session, StaysWithinItsMemoryWhateverIsSaid) {
  SessionScript script;
  script.make_ready();
  for (int i = 0; i < 40; ++i)
    (void)script.session.ask(Request{.name = std::string(32'000, 'a')},
                             script.now);
  std::size_t most = 0;
  for (int i = 0; i < 1100 && script.session.step() == Session::Step::kNothing;
       ++i) {
    script.say(std::string(1000, 'x'));
    most = std::max(most, script.session.memory());
  }
  EXPECT_EQ(script.session.step(), Session::Step::kClose);
  EXPECT_GT(most, std::size_t{1} << 20);
  EXPECT_LE(most, kPeerBytesMax);
  EXPECT_LE(script.session.memory(), std::size_t{600} << 10);  // what waits
}

TEST(NameOf, NamesEachState) {
  EXPECT_EQ(name_of(State::kConnecting), "connecting");
  EXPECT_EQ(name_of(State::kReady), "ready");
  EXPECT_EQ(name_of(State::kHung), "hung");
  EXPECT_EQ(name_of(State::kRefused), "refused");
  EXPECT_EQ(name_of(State::kOpen), "open");
}

}  // namespace
}  // namespace outrider::qmp

// SPDX-License-Identifier: Apache-2.0
#include "agent/control.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "agent/control_socket.h"
#include "tests/unit/shell/control_fixture.h"

namespace outrider {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

std::size_t open_descriptors() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry :
       std::filesystem::directory_iterator("/proc/self/fd"))
    ++count;
  return count;
}

TEST_F(Control, AnswersOnALine) {
  start();
  ControlClient client = connect();
  EXPECT_EQ(ask(client, R"({"verb":"ping"})"), kPong);
  EXPECT_EQ(ask(client, R"( { "verb" : "ping" } )"), kPong);
}

TEST_F(Control, ARefusalDropsWhatTheHandlerHadWritten) {
  start();
  ControlClient client = connect();
  EXPECT_EQ(ask(client, R"({"verb":"fail"})"),
            R"({"ok":false,"schema":1,"code":1,"error":"no such VM"})");
  EXPECT_EQ(ask(client, R"({"verb":"ping"})"), kPong) << "still open";
}

TEST_F(Control, RefusesUnknownVerbsAndArgumentsButStaysOpen) {
  start();
  ControlClient client = connect();
  const std::string verb = ask(client, R"({"verb":"pong"})");
  EXPECT_NE(verb.find("\"code\":2,\"error\":\"no such verb; there are: ping"),
            std::string::npos)
      << verb;
  EXPECT_EQ(ask(client, R"({"verb":"ping","loud":1})"),
            R"({"ok":false,"schema":1,"code":2,"error":"ping takes no loud"})");
  EXPECT_EQ(ask(client, R"({"verb":"ping"})"), kPong);
}

TEST_F(Control, ClosesOnWhatIsNoRequest) {
  start();
  const std::vector<std::string> all = {"hello",
                                        "[]",
                                        "{}",
                                        R"({"verb":1})",
                                        R"({"verb":"ping","verb":"ping"})",
                                        std::string(60'000, '['),
                                        ""};
  for (const std::string& bad : all) {
    SCOPED_TRACE(bad.substr(0, 40));
    ControlClient client = connect();
    const std::string reply = ask(client, bad);
    EXPECT_NE(reply.find("{\"ok\":false,\"schema\":1,\"code\":2,\"error\":"),
              std::string::npos)
        << reply;
    EXPECT_EQ(receive(client), kClosed);
    EXPECT_TRUE(is_serving());
  }
}

TEST_F(Control, ClosesOnALineThatDoesNotEnd) {
  start();
  ControlClient client = connect();
  // A million nested brackets: never parsed, because they are too many.
  const std::string bytes(1'000'000, '[');
  std::size_t sent = 0;
  for (int i = 0; i < 1000 && sent < bytes.size(); ++i) {
    const ssize_t taken =
        ::send(client.fd(), bytes.data() + sent, bytes.size() - sent,
               MSG_DONTWAIT | MSG_NOSIGNAL);
    if (taken > 0) sent += static_cast<std::size_t>(taken);
    if (taken < 0 && errno == EPIPE) break;
    turn();
  }
  EXPECT_LT(sent, bytes.size()) << "it was all read";
  const std::string reply = receive(client);
  EXPECT_NE(reply.find("at most 65536 bytes"), std::string::npos) << reply;
  EXPECT_EQ(server_->connection_count(), 0U);
  EXPECT_TRUE(is_serving());
}

TEST_F(Control, PutsTornLinesTogether) {
  start();
  ControlClient client = connect();
  for (const char byte : std::string_view{"{\"verb\":\"ping\"}\n"}) {
    ASSERT_EQ(::send(client.fd(), &byte, 1, 0), 1);
    turn(milliseconds{100});
  }
  EXPECT_EQ(receive(client), kPong);
}

TEST_F(Control, AnswersAllLinesThatCameAtOnceInTheirOrder) {
  start();
  ControlClient client = connect();
  ASSERT_TRUE(
      client.send("{\"verb\":\"ping\"}\n{\"verb\":\"fail\"}\n"
                  "{\"verb\":\"ping\"}\nnonsense\n{\"verb\":\"ping\"}"));
  EXPECT_EQ(receive(client), kPong);
  EXPECT_NE(receive(client).find("no such VM"), std::string::npos);
  EXPECT_EQ(receive(client), kPong);
  EXPECT_NE(receive(client).find("not JSON"), std::string::npos);
  EXPECT_EQ(receive(client), kClosed) << "nothing after nonsense is done";
}

TEST_F(Control, AnswersAPeerThatSendsNoMore) {
  start();
  ControlClient client = connect();
  const std::string_view line = "{\"verb\":\"ping\"}";  // not even its end
  ASSERT_EQ(::send(client.fd(), line.data(), line.size(), 0),
            static_cast<ssize_t>(line.size()));
  ASSERT_EQ(::shutdown(client.fd(), SHUT_WR), 0);
  EXPECT_EQ(receive(client), kPong);
  EXPECT_EQ(receive(client), kClosed);
}

TEST_F(Control, BoundsTheReply) {
  start();
  ControlClient client = connect();
  ASSERT_TRUE(client.send(R"({"verb":"big","bytes":4000000})"));
  EXPECT_EQ(receive_long(client), R"({"ok":true,"schema":1,"big":")" +
                                      std::string(4'000'000, 'x') + "\"}");
  EXPECT_NE(ask(client, R"({"verb":"big","bytes":5000000})")
                .find("the answer has more than 4194304 bytes"),
            std::string::npos);
}

TEST_F(Control, CutsOffWhoDoesNotRead) {
  ControlLimits limits;
  limits.reader_patience = milliseconds{200};
  start(limits);
  ControlClient slow = connect();
  ASSERT_TRUE(slow.send(R"({"verb":"big","bytes":4000000})"));
  const Instant begin = monotonic_now();
  turn();
  turn();
  ASSERT_EQ(server_->connection_count(), 1U);
  EXPECT_TRUE(is_serving()) << "others do not wait for it";
  while (server_->connection_count() > 0 &&
         monotonic_now() - begin < seconds{5})
    turn(milliseconds{20});
  EXPECT_EQ(server_->connection_count(), 0U);
  EXPECT_GE(monotonic_now() - begin, milliseconds{200});
}

TEST_F(Control, LeavesAnIdlePeerAlone) {
  ControlLimits limits;
  limits.reader_patience = milliseconds{1};
  start(limits);
  ControlClient idle = connect();
  turn(milliseconds{10});
  const Instant begin = monotonic_now();
  turn(milliseconds{300});
  EXPECT_GE(monotonic_now() - begin, milliseconds{299})
      << "nothing to do: no timer runs";
  EXPECT_EQ(ask(idle, R"({"verb":"ping"})"), kPong);
}

TEST_F(Control, StreamsAsManyLinesAsAsked) {
  start();
  ControlClient client = connect();
  ASSERT_TRUE(client.send(R"({"verb":"count","period_ms":1,"count":3})"
                          "\n{\"verb\":\"ping\"}"));
  for (int n = 1; n <= 3; ++n) {
    const std::string line = receive(client);
    EXPECT_NE(line.find("\"n\":" + std::to_string(n) + "}"), std::string::npos)
        << line;
    EXPECT_NE(line.find("\"dropped\":"), std::string::npos);
  }
  EXPECT_EQ(receive(client), kPong) << "then comes the next request's turn";
}

TEST_F(Control, AStreamEndsWithTheHandlersRefusal) {
  start();
  ControlClient client = connect();
  ASSERT_TRUE(client.send(R"({"verb":"count","period_ms":1})"));
  for (int n = 1; n <= 50; ++n)
    EXPECT_NE(receive(client).find("\"ok\":true"), std::string::npos);
  EXPECT_NE(receive(client).find("no such VM"), std::string::npos);
  EXPECT_EQ(ask(client, R"({"verb":"ping"})"), kPong);
}

TEST_F(Control, AStreamDropsLinesForASlowReaderAndSaysHowMany) {
  start();
  ControlClient client = connect();
  ASSERT_TRUE(client.send(R"({"verb":"flood","bytes":1000000,"period_ms":1})"));
  const Instant begin = monotonic_now();
  while (monotonic_now() - begin < milliseconds{100}) turn(milliseconds{1});
  // The line that was under way, then the first one after the gap.
  EXPECT_NE(receive_long(client).find("\"dropped\":0,"), std::string::npos);
  const std::string line = receive_long(client);
  const Json json{json_loadb(line.data(), line.size(), 0, nullptr)};
  EXPECT_GE(json_integer_value(json_object_get(json.get(), "dropped")), 50);
}

TEST_F(Control, APeerThatLeavesEndsItsStream) {
  start();
  {
    ControlClient client = connect();
    ASSERT_TRUE(client.send(R"({"verb":"count","period_ms":1})"));
    EXPECT_NE(receive(client), "nothing came");
  }
  turn(milliseconds{10});
  turn(milliseconds{10});
  EXPECT_EQ(server_->connection_count(), 0U);
}

TEST_F(Control, BoundsConnectionsAndLeaksNone) {
  start();
  const std::size_t before = open_descriptors();
  for (int round = 0; round < 3; ++round) {
    std::vector<ControlClient> clients;
    for (int i = 0; i < 64; ++i) {
      clients.push_back(connect());
      turn();
    }
    EXPECT_EQ(server_->connection_count(), 64U);
    ControlClient late = connect();
    EXPECT_NE(receive(late).find("64 connections already"), std::string::npos);
    EXPECT_EQ(receive(late), kClosed);
    ASSERT_TRUE(clients[5].send("{\"verb\":\"count\",\"period_ms\":1}"));
    ASSERT_TRUE(clients[6].send("nonsense"));
    ASSERT_TRUE(clients[7].send(R"({"verb":"big","bytes":4000000})"));
    turn();
    turn();
    clients.clear();
    for (int i = 0; i < 10; ++i) turn(milliseconds{1});
    EXPECT_EQ(server_->connection_count(), 0U);
  }
  // A stuck reader has woken the watchman; it goes when nobody waits.
  for (int i = 0; i < 100 && open_descriptors() > before; ++i)
    turn(milliseconds{10});
  EXPECT_EQ(open_descriptors(), before);
}

TEST_F(Control, SurvivesAPeerThatSendsAnything) {
  start();
  for (unsigned seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    ControlClient client = connect();
    const std::string alphabet = "{}[]\":,verbping01\n\n\\u\x01\xff";
    for (unsigned i = 0; i < random() % 8; ++i) {
      std::string bytes(random() % 60, ' ');
      for (char& byte : bytes) byte = alphabet[random() % alphabet.size()];
      (void)::send(client.fd(), bytes.data(), bytes.size(),
                   MSG_DONTWAIT | MSG_NOSIGNAL);  // it may be closed by now
      turn();
    }
  }
  EXPECT_TRUE(is_serving());
}

TEST_F(Control, ReplacesADeadSocketAndRefusesALiveOne) {
  start();
  {
    const auto second = ControlServer::make(loop_, config_, fake_verbs());
    ASSERT_FALSE(second);
    EXPECT_NE(second.error().what.find("answers at"), std::string::npos);
    EXPECT_TRUE(is_serving()) << "the first was not disturbed";
  }
  server_.reset();
  EXPECT_FALSE(std::filesystem::exists(config_.socket));
  {  // What SIGKILL leaves: a bound socket that nobody listens at.
    const auto address = control_address(config_.socket);
    ASSERT_TRUE(address);
    const Fd dead{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    ASSERT_EQ(::bind(dead.get(), reinterpret_cast<const sockaddr*>(&*address),
                     sizeof(*address)),
              0);
  }
  start();
  EXPECT_TRUE(is_serving());
}

TEST_F(Control, RemovesNothingThatIsNotASocket) {
  std::filesystem::create_directories(dir_ + "/run");
  std::ofstream(config_.socket) << "a file";
  const auto server = ControlServer::make(loop_, config_, fake_verbs());
  ASSERT_FALSE(server);
  EXPECT_NE(server.error().what.find("is no socket"), std::string::npos);
  EXPECT_TRUE(std::filesystem::exists(config_.socket));
}

TEST_F(Control, LeavesASuccessorsSocketAlone) {
  start();
  std::filesystem::remove(config_.socket);
  auto successor = ControlServer::make(loop_, config_, fake_verbs());
  ASSERT_TRUE(successor);
  server_.reset();
  EXPECT_TRUE(std::filesystem::exists(config_.socket));
}

TEST_F(Control, SetsModeAndGroup) {
  config_.mode = 0620;
  config_.group = "no-such-group-here";
  start();
  struct stat file {};
  ASSERT_EQ(::stat(config_.socket.c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 07777U, 0620U);
  struct stat dir {};
  ASSERT_EQ(::stat((dir_ + "/run").c_str(), &dir), 0);
  EXPECT_EQ(dir.st_mode & 07777U, 0755U);
}

TEST(ControlClient, SaysWhatToDoWhenNobodyAnswers) {
  const auto client = ControlClient::connect("/tmp/no/such/control.sock");
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().what,
            "outriderd is not running at /tmp/no/such/control.sock: start it "
            "with `systemctl start outriderd` (or run `outriderd` as root), or "
            "pass --socket");
}

}  // namespace
}  // namespace outrider

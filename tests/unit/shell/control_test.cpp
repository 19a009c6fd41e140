// SPDX-License-Identifier: Apache-2.0
#include "agent/control.h"

#include <grp.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "agent/control_client.h"
#include "agent/control_connection.h"
#include "agent/control_socket.h"
#include "agent/sys/clock.h"

namespace outrider {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uid_t kNobody = 65534;

ControlAnswer no_vm() {
  return tl::unexpected<ControlRefusal>(
      ControlRefusal{ControlCode::kError, "no such VM"});
}

std::vector<ControlVerb> verbs() {
  using Kind = ControlArg::Kind;
  const auto nothing = [](const ControlCall&, JsonText&) {
    return ControlAnswer{};
  };
  const auto big = [](const ControlCall& call, JsonText& reply) {
    const auto bytes = call.request.count("bytes").value_or(0);
    reply.member("big", std::string(static_cast<std::size_t>(bytes), 'x'));
    return ControlAnswer{};
  };
  const std::vector<ControlArg> size = {{.name = "bytes",
                                         .kind = Kind::kCount,
                                         .required = true,
                                         .max = 100'000'000}};
  const ControlArg period{
      .name = "period_ms", .kind = Kind::kCount, .min = 1, .max = 60'000};
  const ControlArg count{
      .name = "count", .kind = Kind::kCount, .min = 1, .max = 1000};
  return {
      {"ping", Role::kViewer, {}, nothing},
      {"fail",
       Role::kViewer,
       {},
       [](const ControlCall&, JsonText& reply) {
         reply.member("half", "done").key("open").array();
         return no_vm();
       }},
      {"change", Role::kOperator, {}, nothing},
      {"attach", Role::kAdmin, {}, nothing},
      {"big", Role::kViewer, size, big},
      {"count",
       Role::kViewer,
       {period, count},
       [](const ControlCall& call, JsonText& reply) {
         reply.member("n", ++call.memory);
         return call.memory > 50 ? no_vm() : ControlAnswer{};
       },
       true},
      {"flood", Role::kViewer, {size[0], period, count}, big, true},
  };
}

std::size_t open_descriptors() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry :
       std::filesystem::directory_iterator("/proc/self/fd"))
    ++count;
  return count;
}

class Control : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/outrider-control-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    ASSERT_EQ(::chmod(name, 0755), 0);
    dir_ = name;
    config_.socket = dir_ + "/run/control.sock";
    config_.mode = 0666;
    config_.group = "root";
    auto loop = EventLoop::make();
    ASSERT_TRUE(loop);
    loop_ = *std::move(loop);
  }
  void TearDown() override {
    server_.reset();
    std::filesystem::remove_all(dir_);
  }

  void start(const ControlLimits& limits = {}) {
    auto server = ControlServer::make(loop_, config_, verbs(), limits);
    ASSERT_TRUE(server) << server.error().what;
    server_ = *std::move(server);
  }

  ControlClient connect() {
    auto client = ControlClient::connect(config_.socket);
    EXPECT_TRUE(client) << client.error().what;
    return *std::move(client);
  }

  void turn(Duration timeout = Duration::zero()) {
    ASSERT_TRUE(loop_.turn(timeout));
  }

  // Turns the loop until the client can read, at most two seconds.
  bool turn_until_readable(int fd) {
    const Instant deadline = monotonic_now() + seconds{2};
    while (monotonic_now() < deadline) {
      if (!loop_.turn(milliseconds{1})) return false;
      pollfd wait{.fd = fd, .events = POLLIN, .revents = 0};
      if (::poll(&wait, 1, 0) == 1) return true;
    }
    return false;
  }

  std::string receive(ControlClient& client) {
    if (!turn_until_readable(client.fd())) return "nothing came";
    auto reply = client.receive(milliseconds{100});
    return reply ? reply->text : reply.error().what;
  }

  // For what does not fit into the socket's buffer: the loop turns meanwhile.
  std::string receive_long(ControlClient& client) {
    std::atomic<bool> done{false};
    std::thread serving([this, &done] {
      while (!done)
        if (!loop_.turn(milliseconds{1})) break;
    });
    auto reply = client.receive(seconds{5});
    done = true;
    serving.join();
    return reply ? reply->text : reply.error().what;
  }

  std::string ask(ControlClient& client, std::string_view line) {
    EXPECT_TRUE(client.send(line));
    return receive(client);
  }

  bool is_serving() {
    ControlClient client = connect();
    return ask(client, R"({"verb":"ping"})") == kPong;
  }

  static constexpr const char* kPong = R"({"ok":true,"schema":1})";
  static constexpr const char* kClosed = "outriderd has closed the connection";

  std::string dir_;
  ControlConfig config_;
  EventLoop loop_;
  std::unique_ptr<ControlServer> server_;
};

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

// Runs `speak` as another user in a process of its own.
int as_user(uid_t uid, gid_t gid, const std::function<int()>& speak) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setgroups(0, nullptr) != 0 || ::setgid(gid) != 0 ||
        ::setuid(uid) != 0)
      ::_exit(99);
    ::_exit(speak());
  }
  return child;
}

// 0 if the answer holds `want`.
int expect_reply(const std::string& socket, std::string_view line,
                 std::string_view want) {
  auto client = ControlClient::connect(socket);
  if (!client) return 98;
  if (!client->send(line)) return 97;
  auto reply = client->receive(seconds{5});
  if (!reply) return 96;
  return reply->text.find(want) == std::string::npos ? 1 : 0;
}

class ControlRoles : public Control {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root to become others";
    Control::SetUp();
    start();
  }
  void TearDown() override {
    if (::geteuid() == 0) Control::TearDown();
  }

  int outcome(uid_t uid, gid_t gid, std::string_view line,
              std::string_view want) {
    const pid_t child = as_user(
        uid, gid, [&] { return expect_reply(config_.socket, line, want); });
    int status = 0;
    while (::waitpid(child, &status, WNOHANG) == 0) turn(milliseconds{5});
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
};

TEST_F(ControlRoles, AViewerMayLookOnly) {
  constexpr const char* kOk = "\"ok\":true";
  EXPECT_EQ(outcome(kNobody, kNobody, R"({"verb":"ping"})", kOk), 0);
  EXPECT_EQ(outcome(kNobody, kNobody, R"({"verb":"change"})",
                    "\"code\":4,\"error\":\"change is for the role operator; "
                    "uid 65534 is viewer"),
            0);
  EXPECT_EQ(outcome(kNobody, kNobody, R"({"verb":"attach"})", "\"code\":4"), 0);
}

TEST_F(ControlRoles, AMemberOfTheGroupIsOperator) {
  // The group is 0 here: that of the socket's configuration.
  EXPECT_EQ(outcome(kNobody, 0, R"({"verb":"change"})", "\"ok\":true"), 0);
  EXPECT_EQ(outcome(kNobody, 0, R"({"verb":"attach"})", "\"code\":4"), 0);
}

TEST_F(ControlRoles, RootIsAdmin) {
  EXPECT_EQ(outcome(0, kNobody, R"({"verb":"attach"})", "\"ok\":true"), 0);
}

TEST_F(ControlRoles, TheModeKeepsOthersOut) {
  server_.reset();
  config_.mode = 0660;
  start();
  EXPECT_EQ(outcome(kNobody, kNobody, R"({"verb":"ping"})", ""), 98);
  EXPECT_EQ(outcome(kNobody, 0, R"({"verb":"ping"})", "\"ok\":true"), 0);
}

TEST_F(ControlRoles, AUidThatAsksTooMuchWaits) {
  const pid_t child = as_user(kNobody, kNobody, [&] {
    auto client = ControlClient::connect(config_.socket);
    if (!client) return 98;
    const Instant begin = monotonic_now();
    for (int i = 0; i < 120; ++i) {
      if (!client->send(R"({"verb":"ping"})")) return 97;
      auto reply = client->receive(seconds{5});
      if (!reply || reply->text != kPong) return 96;
    }
    // 50 at once, then 200 a second.
    return monotonic_now() - begin >= milliseconds{300} ? 0 : 1;
  });
  int status = 0;
  while (::waitpid(child, &status, WNOHANG) == 0) turn(milliseconds{5});
  EXPECT_EQ(status, 0);
}

TEST_F(ControlRoles, AUidHasItsShareOfConnections) {
  const pid_t child = as_user(kNobody, kNobody, [&] {
    std::vector<ControlClient> clients;
    for (int i = 0; i < 17; ++i) {
      auto client = ControlClient::connect(config_.socket);
      if (!client) return 98;
      clients.push_back(*std::move(client));
      if (i < 16 && !clients.back().send(R"({"verb":"ping"})")) return 97;
      auto reply = clients.back().receive(seconds{5});
      if (!reply) return 96;
      const bool refused =
          reply->text.find("16 connections already") != std::string::npos;
      if (refused != (i == 16)) return 1;
    }
    return 0;
  });
  int status = 0;
  while (::waitpid(child, &status, WNOHANG) == 0) turn(milliseconds{5});
  EXPECT_EQ(status, 0);
}

TEST(RoleOf, GoesByUidThenGroups) {
  const ControlPeer root{.uid = 0, .gid = 0, .groups = {}};
  const ControlPeer primary{.uid = 7, .gid = 50, .groups = {1, 2}};
  const ControlPeer supplementary{.uid = 7, .gid = 1, .groups = {2, 50}};
  const ControlPeer other{.uid = 7, .gid = 1, .groups = {2}};
  EXPECT_EQ(role_of(root, std::nullopt), Role::kAdmin);
  EXPECT_EQ(role_of(primary, 50), Role::kOperator);
  EXPECT_EQ(role_of(supplementary, 50), Role::kOperator);
  EXPECT_EQ(role_of(other, 50), Role::kViewer);
  EXPECT_EQ(role_of(primary, std::nullopt), Role::kViewer);
}

TEST_F(Control, ReplacesADeadSocketAndRefusesALiveOne) {
  start();
  {
    const auto second = ControlServer::make(loop_, config_, verbs());
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
  const auto server = ControlServer::make(loop_, config_, verbs());
  ASSERT_FALSE(server);
  EXPECT_NE(server.error().what.find("is no socket"), std::string::npos);
  EXPECT_TRUE(std::filesystem::exists(config_.socket));
}

TEST_F(Control, LeavesASuccessorsSocketAlone) {
  start();
  std::filesystem::remove(config_.socket);
  auto successor = ControlServer::make(loop_, config_, verbs());
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

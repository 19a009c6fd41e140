// SPDX-License-Identifier: Apache-2.0
// What the control socket allows to whom.
#include <grp.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <vector>

#include "agent/control_connection.h"
#include "tests/unit/shell/control_fixture.h"

namespace outrider {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uid_t kNobody = 65534;

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

}  // namespace
}  // namespace outrider

// SPDX-License-Identifier: Apache-2.0
#include "bench/demo/reserves.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <string>

namespace outrider::demo {
namespace {

/// An agent that says what the test tells it to.
class ReservesTest : public testing::Test {
 protected:
  ReservesTest() : listener_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof(address.sun_path) - 1);
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address),
                     sizeof(address)),
              0);
    EXPECT_EQ(::listen(listener_.get(), 4), 0);
  }
  ~ReservesTest() override { std::filesystem::remove(path_); }

  void accept() { peer_ = Fd{::accept(listener_.get(), nullptr, nullptr)}; }
  std::string asked() {
    std::array<char, 256> bytes{};
    const ssize_t got =
        ::recv(peer_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    return {bytes.data(), got > 0 ? static_cast<std::size_t>(got) : 0};
  }
  void answer(const std::string& text) {
    EXPECT_EQ(::send(peer_.get(), text.data(), text.size(), 0),
              static_cast<ssize_t>(text.size()));
  }

  const std::string path_ = std::filesystem::temp_directory_path() /
                            ("reserves-test-" + std::to_string(::getpid()));
  Fd listener_;
  Fd peer_;
};

constexpr const char* kAnswer =
    R"({"ok":true,"vms":[{"name":"web","reserve_mcpu":300,"lent_mcpu":120},)"
    R"({"name":"odd","reserve_mcpu":10,"lent_mcpu":20}]})"
    "\n";

TEST_F(ReservesTest, AreNothingWhereNobodyListens) {
  Reserves reserves("/nonexistent/socket");
  reserves.ask();
  reserves.take_answer();
  EXPECT_EQ(reserves.not_lent("web"), MilliCpus{0});
}

TEST_F(ReservesTest, AreWhatIsReservedLessWhatIsLent) {
  Reserves reserves(path_);
  reserves.ask();
  accept();
  EXPECT_EQ(asked(), "{\"verb\":\"allocations\"}\n");
  reserves.take_answer();  // none yet: nobody waits
  answer(kAnswer);
  reserves.take_answer();
  EXPECT_EQ(reserves.not_lent("web"), MilliCpus{180});
  EXPECT_EQ(reserves.not_lent("odd"), MilliCpus{0});
  EXPECT_EQ(reserves.not_lent("another"), MilliCpus{0});
}

TEST_F(ReservesTest, AskAgainOnlyOnceAnswered) {
  Reserves reserves(path_);
  reserves.ask();
  accept();
  reserves.ask();
  EXPECT_EQ(asked(), "{\"verb\":\"allocations\"}\n");
  const std::string text = kAnswer;
  answer(text.substr(0, 20));  // an answer in two pieces is one
  reserves.take_answer();
  reserves.ask();
  EXPECT_EQ(asked(), "");
  answer(text.substr(20));
  reserves.take_answer();
  reserves.ask();
  EXPECT_EQ(asked(), "{\"verb\":\"allocations\"}\n");
  EXPECT_EQ(reserves.not_lent("web"), MilliCpus{180});
}

TEST_F(ReservesTest, AreForgottenWhenTheAgentIsGone) {
  Reserves reserves(path_);
  reserves.ask();
  accept();
  answer(kAnswer);
  reserves.take_answer();
  peer_ = Fd{};
  reserves.take_answer();
  EXPECT_EQ(reserves.not_lent("web"), MilliCpus{0});
}

}  // namespace
}  // namespace outrider::demo

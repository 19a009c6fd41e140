// SPDX-License-Identifier: Apache-2.0
#include "agent/baseline/lifeline.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <string>

#include "agent/sys/clock.h"

namespace outrider {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using News = Lifeline::News;

/// A process that holds a lifeline. It lets go when it reads a byte, and then
/// lives on.
class Holder {
 public:
  Holder() {
    std::array<int, 2> told{};
    std::array<int, 2> orders{};
    EXPECT_EQ(::pipe(told.data()), 0);
    EXPECT_EQ(::pipe(orders.data()), 0);
    pid_ = ::fork();
    if (pid_ == 0) hold(told[1], orders[0]);
    int number = -1;
    EXPECT_EQ(::read(told[0], &number, sizeof(number)),
              static_cast<ssize_t>(sizeof(number)));
    const std::string path =
        "/proc/" + std::to_string(pid_) + "/fd/" + std::to_string(number);
    memory_ = Fd{::open(path.c_str(), O_RDWR | O_CLOEXEC)};
    told_ = Fd{told[0]};
    orders_ = Fd{orders[1]};
    ::close(told[1]);
    ::close(orders[0]);
  }
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;
  ~Holder() { kill(); }

  int memory() const { return memory_.get(); }
  void kill() {
    if (pid_ < 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  void let_go() const {
    int number = 0;
    EXPECT_EQ(::write(orders_.get(), "1", 1), 1);
    EXPECT_EQ(::read(told_.get(), &number, sizeof(number)),
              static_cast<ssize_t>(sizeof(number)));
  }

 private:
  [[noreturn]] static void hold(int told, int orders) {
    {
      auto line = Lifeline::make();
      const int number = line ? line->fd() : -1;
      char byte = 0;
      (void)!::write(told, &number, sizeof(number));
      (void)!::read(orders, &byte, 1);
    }
    const int done = 0;
    (void)!::write(told, &done, sizeof(done));
    for (;;) ::pause();
  }

  pid_t pid_ = -1;
  Fd memory_;
  Fd told_;
  Fd orders_;
};

News news_within(Lifeline& line, Duration patience) {
  return line.wait(monotonic_now() + patience);
}

TEST(Lifeline, TellsOfTheEndAndNothingBefore) {
  Holder holder;
  auto line = Lifeline::open(holder.memory());
  ASSERT_TRUE(line);
  EXPECT_EQ(news_within(*line, milliseconds{20}), News::kNone);
  EXPECT_EQ(news_within(*line, milliseconds{1}), News::kNone);
  holder.kill();
  EXPECT_EQ(news_within(*line, seconds{5}), News::kEnded);
}

TEST(Lifeline, ThatIsLetGoIsNoEnd) {
  Holder holder;
  auto line = Lifeline::open(holder.memory());
  ASSERT_TRUE(line);
  holder.let_go();
  EXPECT_EQ(news_within(*line, seconds{5}), News::kLetGo);
}

TEST(Lifeline, OfOneThreadManyMayFollow) {
  for (int i = 0; i < 3; ++i) {
    auto first = Lifeline::make();
    auto second = Lifeline::make();
    ASSERT_TRUE(first && second);
    *first = *std::move(second);  // a new warden in the place of an old one
  }
}

}  // namespace
}  // namespace outrider

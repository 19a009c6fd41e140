// SPDX-License-Identifier: Apache-2.0
// The example of qmp/README.md, which is this file's between the two marks.
#include <gtest/gtest.h>

#include <cerrno>
#include <fstream>
#include <iterator>
#include <string>

// Example.
#include <cstdio>

#include "agent/sys/event_loop.h"
#include "qmp/client.h"

using namespace outrider;

Result<> print_status(const std::string& path) {
  auto loop = EventLoop::make();
  if (!loop) return pass(loop, "example");
  auto clients = qmp::Clients::make(*loop);
  if (!clients) return pass(clients, "example");
  auto vm = qmp::Client::make(**clients, path, {});
  if (!vm) return pass(vm, "example");
  Result<qmp::Status> answer = fail(0, "");
  bool done = false;
  auto asked = (*vm)->ask(qmp::query_status(), [&](Result<qmp::Status> status) {
    answer = std::move(status);
    done = true;
  });
  if (!asked) return pass(asked, "example");
  while (!done) {
    auto turned = loop->turn(Duration{-1});  // the request's deadline ends it
    if (!turned) return pass(turned, "example");
  }
  if (!answer) return pass(answer, "query-status");
  std::printf("%s\n", answer->status.c_str());
  return {};
}
// End of the example.

namespace {

std::string text_of(const char* path) {
  std::ifstream file(std::string(OUTRIDER_SOURCE_DIR) + "/" + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string between(const std::string& text, const std::string& from,
                    const std::string& to) {
  const std::size_t begin = text.find(from) + from.size();
  return text.substr(begin, text.find(to, begin) - begin);
}

TEST(Example, IsTheOneOfTheReadme) {
  const std::string example =
      between(text_of("tests/unit/qmp/example_test.cpp"), "// Example.\n",
              "// End of the example.\n");
  EXPECT_EQ(between(text_of("qmp/README.md"), "```cpp\n", "```\n"), example);
}

TEST(Example, SaysWhyThereIsNoStatus) {
  const auto nobody = print_status("/none");
  EXPECT_EQ(nobody.error().code, ECONNRESET);  // the breaker has opened
  EXPECT_NE(nobody.error().what.find("query-status: the breaker opened"),
            std::string::npos)
      << nobody.error().what;
}

}  // namespace

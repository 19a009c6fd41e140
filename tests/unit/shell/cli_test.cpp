// SPDX-License-Identifier: Apache-2.0
// `outrider` as a whole, against a daemon with made-up answers.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "agent/cli/run.h"
#include "agent/cli/table.h"
#include "agent/control.h"
#include "agent/control_sample.h"

namespace outrider {
namespace {

using std::chrono::milliseconds;

// One VM with one vCPU that runs half of the time, 10 ms after 10 ms.
Sample made_up(std::uint64_t turn) {
  Sample sample;
  sample.taken = Instant{milliseconds{1000 + 10 * turn}};
  VmSample vm;
  vm.id = VmId{7};
  vm.thread_count = 1;
  vm.vcpu_count = 1;
  ThreadSample thread;
  thread.id = ThreadId{1};
  thread.vm = vm.id;
  thread.tid = 4243;
  thread.thread_class = ThreadClass::kVcpu;
  thread.state = ThreadState::kSleeping;
  thread.run_ns = 5'000'000 * turn;
  sample.vms.push_back(vm);
  sample.threads.push_back(thread);
  sample.vcpus.emplace_back();
  return sample;
}

std::vector<Vm> made_up_vms() {
  Vm vm;
  vm.id = VmId{7};
  vm.identity.name = "web-3\x1b[2J";
  vm.identity.pid = 4242;
  return {vm};
}

std::vector<ControlVerb> made_up_verbs() {
  using Kind = ControlArg::Kind;
  const auto sample = [](const ControlCall& call, JsonText& reply) {
    static std::uint64_t turn = 0;  // on the daemon's thread alone
    write_sample(reply, made_up(++turn));
    if (call.memory++ == 0) write_identities(reply, made_up_vms());
    return ControlAnswer{};
  };
  const auto status = [](const ControlCall&, JsonText& reply) {
    reply.member("version", "0.1.0").key("degraded").array();
    reply.object().member("what", "BTF").member("cost", "no exits").end();
    reply.end();
    return ControlAnswer{};
  };
  const auto list = [](const ControlCall&, JsonText& reply) {
    reply.key("vms").array();
    write_identity(reply, made_up_vms().front());
    reply.end();
    return ControlAnswer{};
  };
  // What was asked for, and a write.
  const auto steer = [](const ControlCall& call, JsonText& reply) {
    reply.key("vm");
    write_identity(reply, made_up_vms().front());
    reply.member("mode", call.request.text("mode").value_or("advise"))
        .member("effective", "observe");
    if (!call.request.flag("dry_run")) return ControlAnswer{};
    reply.key("writes").array().object().member("knob", "cpu.max").end().end();
    return ControlAnswer{};
  };
  const auto look = [](const ControlCall& call, JsonText& reply) {
    reply.member("class", "batch").member("mode", "advise");
    reply.member("asked", call.request.text("vm").value_or(""));
    return ControlAnswer{};
  };
  const ControlArg vm{.name = "vm", .required = true};
  const ControlArg mode{.name = "mode"};
  const ControlArg dry_run{.name = "dry_run", .kind = Kind::kFlag};
  const auto refuse = [](const ControlCall&, JsonText&) {
    return ControlAnswer{tl::unexpected<ControlRefusal>(
        ControlRefusal{ControlCode::kRefused, "not for you"})};
  };
  return {{"status", Role::kViewer, {}, status},
          {"vm.list", Role::kViewer, {}, list},
          {"vm.detach", Role::kViewer, {{.name = "vm"}}, refuse},
          {"mode", Role::kViewer, {mode, dry_run}, steer},
          {"vm.mode", Role::kViewer, {vm, mode, dry_run}, steer},
          {"vm.let_go", Role::kViewer, {vm, dry_run}, steer},
          {"vm.take_up", Role::kViewer, {vm, dry_run}, steer},
          {"vm.release_contention", Role::kViewer, {vm, dry_run}, refuse},
          {"explain", Role::kViewer, {vm}, look},
          {"allocations", Role::kViewer, {}, look},
          {"sample", Role::kViewer, {}, sample},
          {"watch",
           Role::kViewer,
           {{.name = "period_ms", .kind = Kind::kCount, .max = 1000}},
           sample,
           true}};
}

class Cli : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/outrider-cli-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    dir_ = name;
    auto loop = EventLoop::make();
    ASSERT_TRUE(loop);
    loop_ = *std::move(loop);
    ControlConfig config;
    config.socket = dir_ + "/control.sock";
    config.group = "root";
    auto server = ControlServer::make(loop_, config, made_up_verbs());
    ASSERT_TRUE(server) << server.error().what;
    server_ = *std::move(server);
    daemon_ = std::thread([this] {
      while (!done_)
        if (!loop_.turn(milliseconds{1})) return;
    });
  }
  void TearDown() override {
    done_ = true;
    daemon_.join();
    server_.reset();
    std::filesystem::remove_all(dir_);
  }

  int run(std::vector<const char*> words) {
    const std::string socket = dir_ + "/control.sock";
    words.insert(words.begin(), {"outrider", "--socket", socket.c_str()});
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    const int code = run_outrider(static_cast<int>(words.size()), words.data());
    out_ = testing::internal::GetCapturedStdout();
    errors_ = testing::internal::GetCapturedStderr();
    return code;
  }

  bool says(std::string_view words) const {
    return out_.find(words) != std::string::npos;
  }
  bool complains(std::string_view words) const {
    return errors_.find(words) != std::string::npos;
  }

  std::string dir_;
  std::string out_;
  std::string errors_;

 private:
  EventLoop loop_;
  std::unique_ptr<ControlServer> server_;
  std::atomic<bool> done_{false};
  std::thread daemon_;
};

TEST_F(Cli, StatusSaysDegradedByItsExitCode) {
  EXPECT_EQ(run({"status"}), 3);
  EXPECT_TRUE(says("degraded: no BTF: no exits")) << out_;
  EXPECT_EQ(run({"status", "--json"}), 3);
  EXPECT_TRUE(says("\"schema\":1")) << out_;
}

TEST_F(Cli, ListObeysNothingThatANameSays) {
  EXPECT_EQ(run({"vm", "list"}), 0);
  EXPECT_TRUE(says("web-3\\x1b[2J  4242")) << out_;
}

TEST_F(Cli, RefusalsAndMissingDaemonsHaveTheirExitCodes) {
  EXPECT_EQ(run({"vm", "detach", "web-3"}), 4);
  EXPECT_EQ(errors_, "outrider: not for you\n");
  EXPECT_EQ(run({"vm", "show", "web-3"}), 2) << "no such verb there";
  EXPECT_EQ(run({"--socket", "/tmp/none.sock", "status"}), 2) << "given twice";
  const std::vector<const char*> words = {"outrider", "--socket",
                                          "/tmp/none.sock", "status"};
  testing::internal::CaptureStderr();
  EXPECT_EQ(run_outrider(4, words.data()), 1);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("not running at"),
            std::string::npos);
}

TEST_F(Cli, ModeTellsAndSets) {
  EXPECT_EQ(run({"mode"}), 0);
  EXPECT_EQ(out_, "advise\n");
  EXPECT_EQ(run({"mode", "enforce"}), 0);
  EXPECT_EQ(out_, "enforce\n");
  EXPECT_EQ(run({"mode", "enforce", "--json"}), 0);
  EXPECT_TRUE(says("\"mode\":\"enforce\"")) << out_;
  EXPECT_EQ(run({"vm", "mode", "web-3", "enforce"}), 0);
  EXPECT_EQ(out_,
            "VM 7 web-3\\x1b[2J: mode enforce; in force observe, the least of "
            "host, resource and VM\n");
}

TEST_F(Cli, VmsAreLetGoAndTakenUp) {
  EXPECT_EQ(run({"vm", "let-go", "web-3"}), 0);
  EXPECT_TRUE(says(": let go, its baseline is back\n")) << out_;
  EXPECT_EQ(run({"vm", "take-up", "web-3"}), 0);
  EXPECT_TRUE(says(": taken up again\n")) << out_;
  EXPECT_EQ(run({"vm", "release-contention", "web-3"}), 4);
  EXPECT_EQ(errors_, "outrider: not for you\n");
}

TEST_F(Cli, DryRunsListWhatWouldBeWritten) {
  const std::vector<std::vector<const char*>> commands = {
      {"mode", "enforce", "--dry-run"},
      {"vm", "mode", "web-3", "advise", "--dry-run"},
      {"vm", "let-go", "web-3", "--dry-run"},
      {"vm", "take-up", "web-3", "--dry-run"}};
  for (const auto& command : commands) {
    EXPECT_EQ(run(command), 0) << errors_;
    EXPECT_TRUE(says("dry run: this would be written\n")) << out_;
    EXPECT_TRUE(says("cpu.max")) << out_;
  }
}

TEST_F(Cli, ExplainAsksForItsVm) {
  EXPECT_EQ(run({"explain", "web-3"}), 0);
  EXPECT_TRUE(says("class batch, mode advise\n")) << out_;
  EXPECT_EQ(run({"explain", "web-3", "--json"}), 0);
  EXPECT_TRUE(says("\"asked\":\"web-3\"")) << out_;
}

TEST_F(Cli, AllocationsComeOnceOrAgainAndAgain) {
  EXPECT_EQ(run({"allocations"}), 0);
  EXPECT_EQ(out_.substr(0, 20), "mode advise  0 VMs  ");
  EXPECT_EQ(std::count(out_.begin(), out_.end(), '\n'), 2);
  EXPECT_EQ(run({"allocations", "--json", "--watch", "--interval", "0.05",
                 "--count", "3"}),
            0);
  EXPECT_EQ(std::count(out_.begin(), out_.end(), '\n'), 3);
}

TEST_F(Cli, WrongWordsAreUsage) {
  EXPECT_EQ(run({"mode", "off"}), 2);
  EXPECT_EQ(run({"mode", "--dry-run"}), 2) << "of what?";
  EXPECT_EQ(run({"vm", "mode", "web-3"}), 2);
  EXPECT_EQ(run({"vm", "let-go"}), 2);
  EXPECT_EQ(run({"explain"}), 2);
  EXPECT_EQ(run({"allocations", "--count", "2"}), 2) << "of --watch";
  EXPECT_EQ(run({}), 2);
  EXPECT_EQ(run({"tpo"}), 2);
  EXPECT_EQ(run({"top", "--sort", "size"}), 2);
  EXPECT_EQ(run({"top", "--interval", "0"}), 2);
  EXPECT_EQ(run({"vm", "attach"}), 2);
  EXPECT_EQ(run({"record", "x", "--interval", "1"}), 2) << "of a replay";
  EXPECT_EQ(run({"--help"}), 0);
  EXPECT_EQ(run({"--version"}), 0);
}

TEST_F(Cli, TopShowsTheDemandBetweenItsSamples) {
  EXPECT_EQ(run({"top", "--csv", "--count", "2", "--interval", "0.05"}), 0);
  // 5 ms of 10 ms: 500 milli-CPUs, not an upper bound.
  std::istringstream lines(out_);
  std::string header;
  std::string row;
  std::getline(lines, header);
  EXPECT_EQ(header.substr(0, 4), "time");
  int rows = 0;
  while (std::getline(lines, row)) {
    EXPECT_NE(row.find(",10000000,7,web-3"), std::string::npos) << row;
    EXPECT_NE(row.find(",500,"), std::string::npos) << row;
    ++rows;
  }
  EXPECT_EQ(rows, 2);
  EXPECT_EQ(run({"top", "--json", "--count", "1", "--interval", "0.05"}), 0);
  EXPECT_TRUE(says("\"schema\":1")) << out_;
  EXPECT_EQ(run({"top", "--batch", "--count", "1", "--interval", "0.05"}), 0);
  EXPECT_TRUE(says("web-3")) << out_;
}

TEST_F(Cli, RecordsAndReplays) {
  const std::string file = dir_ + "/x.rec";
  EXPECT_EQ(run({"record", file.c_str(), "--seconds", "0.3", "--period-ms",
                 "10", "--json"}),
            0)
      << errors_;
  EXPECT_TRUE(says("\"samples\":")) << out_;
  EXPECT_EQ(run({"record", file.c_str(), "--seconds", "0.1"}), 1);
  EXPECT_TRUE(complains("--force")) << errors_;
  EXPECT_EQ(
      run({"record", file.c_str(), "--replay", "--csv", "--interval", "0.05"}),
      0)
      << errors_;
  EXPECT_TRUE(says("0.050,")) << out_;
  EXPECT_TRUE(says(",50000000,7,web-3")) << out_;
  EXPECT_TRUE(says(",500,")) << out_;
}

TEST_F(Cli, ReplaysWhatIsGoodAndNamesThePlaceOfTheDamage) {
  const std::string file = dir_ + "/x.rec";
  ASSERT_EQ(
      run({"record", file.c_str(), "--seconds", "0.3", "--period-ms", "10"}),
      0);
  std::filesystem::resize_file(file, std::filesystem::file_size(file) - 3);
  EXPECT_EQ(
      run({"record", file.c_str(), "--replay", "--csv", "--interval", "0.05"}),
      1);
  EXPECT_TRUE(says(",500,")) << out_;
  EXPECT_TRUE(complains(file + ": damaged at byte ")) << errors_;
  EXPECT_TRUE(complains("torn")) << errors_;
  std::ofstream(file) << "hello, this is no record";
  EXPECT_EQ(run({"record", file.c_str(), "--replay"}), 1);
  EXPECT_TRUE(complains("damaged at byte 0: foreign")) << errors_;
  EXPECT_EQ(run({"record", "/tmp/no/such.rec", "--replay"}), 1);
  EXPECT_TRUE(complains("No such file")) << errors_;
}

TEST(TableText, AlignsNumbersRightAndWordsLeft) {
  EXPECT_EQ(
      table_text(
          {{"ID", "NAME", "N"}, {"7", "\u00e4b", "-"}, {"12", "c", "100"}}),
      "ID  NAME    N\n"
      " 7  \u00e4b      -\n"
      "12  c     100\n");
}

}  // namespace
}  // namespace outrider

// SPDX-License-Identifier: Apache-2.0
// The replies that docs/control.md shows, as people see them.
#include "agent/cli/reply_text.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>

#include "agent/json.h"

namespace outrider {
namespace {

// The first JSON block below that heading.
Json sample(const std::string& heading) {
  std::ifstream file(OUTRIDER_SOURCE_DIR "/docs/control.md");
  std::stringstream bytes;
  bytes << file.rdbuf();
  const std::string text = bytes.str();
  const std::size_t below = text.find("\n## " + heading + "\n");
  const std::size_t start = text.find("\n```json\n", below);
  const std::size_t end = text.find("\n```\n", start);
  if (end == std::string::npos) return nullptr;
  const std::string block = text.substr(start + 9, end - start - 9);
  return Json{json_loads(block.c_str(), JSON_REJECT_DUPLICATES, nullptr)};
}

Json parsed(const char* text) { return Json{json_loads(text, 0, nullptr)}; }

TEST(DryRunText, ListsTheWritesWithTheirUnits) {
  const Json reply = sample("Dry runs");
  ASSERT_TRUE(reply);
  EXPECT_EQ(dry_run_text(reply.get()),
            "dry run: this would be written\n"
            "VM     KNOB               OLD        NEW        REASON\n"
            "web-3  cpu.max            max        1.50 CPUs  forecast\n"
            "web-3  cpu.max of vCPU 1  0.50 CPUs  0.75 CPUs  shortage\n"
            "ci-1   cpu.max.burst      0 us       5000 us    start\n"
            "ci-1   cpu.weight         100        10         start\n");
  EXPECT_EQ(dry_run_text(parsed("{\"writes\": []}").get()),
            "dry run: nothing would be written\n");
}

TEST(AllocationsText, IsALineAVmBelowTheSums) {
  const Json reply = sample("Allocations");
  ASSERT_TRUE(reply);
  EXPECT_EQ(
      allocations_text(reply.get()),
      "mode enforce  2 VMs  target 2.75  reserve 0.40, lent 0.15  of 7.90 "
      "CPUs\n"
      "VM     CLASS       MODE     DEMAND  TARGET   CAP  RESERVE  LENT  LOAN "
      "  P50   P95   P99  REASON\n"
      "web-3  production  enforce  <=0.98    1.50  1.50     0.40  0.15  0.00 "
      " 1.00  1.50  1.62  forecast\n"
      "ci-1   batch       advise     2.00    1.25     -     0.00  0.00  0.15 "
      " 2.00  2.00  2.01  contended\n");
}

TEST(AllocationsText, SaysWhyAVmIsLeftAlone) {
  const auto text = [](const char* vm) {
    return allocations_text(
        parsed((std::string("{\"vms\": [{\"reason\": \"floor\", ") + vm + "}]}")
                   .c_str())
            .get());
  };
  EXPECT_NE(text("\"let_go\": true").find("let go\n"), std::string::npos);
  EXPECT_NE(text("\"contended\": true").find("contended\n"), std::string::npos);
  EXPECT_NE(text("\"let_go\": false").find("floor\n"), std::string::npos);
}

TEST(AllocationsText, ObeysNothingThatANameSays) {
  const Json reply = parsed("{\"vms\": [{\"name\": \"a\\u001b[2J\"}]}");
  EXPECT_NE(allocations_text(reply.get()).find("a\\x1b[2J"), std::string::npos);
}

TEST(ExplainText, GoesFromSignalsToWrites) {
  const Json reply = sample("Explain");
  ASSERT_TRUE(reply);
  EXPECT_EQ(
      explain_text(reply.get()),
      "web-3: VM 7, class production, mode enforce\n"
      "\n"
      "seen over 20.0 ms\n"
      "CPUS       TOTAL  VCPU  EMULATOR  IOTHREAD  VHOST\n"
      "demand <=   0.98  0.90      0.05      0.03   0.00\n"
      "usage       0.70\n"
      "wait        0.28\n"
      "throttled   0.12\n"
      "\n"
      "peak that is predicted\n"
      "HORIZON ms  QUANTILE %  CPUS  REACHED %  SPARE %\n"
      "       100        50.0  0.95       51.2      6.0\n"
      "       100        95.0  1.20       94.8     31.0\n"
      "       500        99.0  1.72          -        -\n"
      "over 100 ms: holt 71.0 %, regression 29.0 %; 1200 steps scored, fell "
      "back 2 times\n"
      "over 500 ms: season 100.0 %; 0 steps scored, season 2000 ms\n"
      "\n"
      "hours ahead: combined, season 1440 min; 4032 times 5 min are known\n"
      "  an hour ahead 321 upper ends held in 90.7 % (asked for 85.0); "
      "accuracy 87.4 % (target 85.0: met)\n"
      "  a peak of 1.70 CPUs within 300 s, which the reserve covers\n"
      "\n"
      "decided by: forecast\n"
      "  demand 0.98, target 1.50 CPUs; floor 0.20, ceiling 3.00; quantile "
      "95.0 %\n"
      "  reserve 0.40 CPUs, of which lent 0.15; on loan from others 0.00\n"
      "  a peak of 1.70 CPUs is foreseen minutes ahead\n"
      "\n"
      "its shadow so far\n"
      "  reserves granted in full 12, in part 3, denied 0\n"
      "  handed over at 45 of 47 edges; ready for 90 of 100 onsets of demand\n"
      "  held 120.5 CPU s, 3.1 of them unused reserve; used 88.0 CPU s; 120 "
      "writes\n"
      "  throttled 0.4 CPU s; a reactive loop would have cut off 9.1 CPU s\n"
      "\n"
      "written last\n"
      "VM     KNOB     OLD        NEW        REASON\n"
      "web-3  cpu.max  1.20 CPUs  1.50 CPUs  forecast\n"
      "\n"
      "along its path\n"
      "CAP   WEIGHT  SHARE %  BINDS  CGROUP\n"
      "max      100     50.0         machine.slice\n"
      "1.50     400     78.4  cap    machine.slice/qemu-7.scope/libvirt\n"
      "\n"
      "took sense 12.3 us, decide 0.8 us, write 1.2 ms\n");
}

TEST(ExplainText, SaysOfAnOutlookWhatItIsWorth) {
  const auto text = [](const std::string& outlook) {
    const std::string reply = "{\"outlook\": {" + outlook + "}}";
    return explain_text(parsed(reply.c_str()).get());
  };
  EXPECT_NE(text(R"("slots": 12, "model": "")")
                .find("\nhours ahead: 12 times 5 min are known, too few\n"),
            std::string::npos);
  const std::string doubtful =
      text(R"("slots": 99, "model": "arima", "believed": false,
              "target_met": false, "target_permille": 850)");
  EXPECT_NE(doubtful.find("hours ahead: arima; 99"), std::string::npos);
  EXPECT_NE(doubtful.find("(target 85.0: missed)"), std::string::npos);
  EXPECT_NE(doubtful.find("not relied on"), std::string::npos);
}

TEST(ExplainText, InventsNoFigureForAVmOfWhichNothingIsKnown) {
  const Json reply = parsed(
      R"({"vm": {"id": 3, "name": "new"}, "class": "batch", "mode": "observe",
          "contended": true, "let_go": true, "signals": {"missing": true}})");
  EXPECT_EQ(explain_text(reply.get()),
            "new: VM 3, class batch, mode observe\n"
            "left alone: somebody else writes its knobs; see `outrider vm "
            "release-contention`\n"
            "let go: its baseline is back; see `outrider vm take-up`\n"
            "\n"
            "nothing is seen of it: its limits are held\n"
            "\n"
            "nothing is predicted yet\n"
            "\n"
            "nothing is decided yet\n"
            "\n"
            "nothing was written\n");
}

}  // namespace
}  // namespace outrider

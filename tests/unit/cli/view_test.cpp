// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/view.h"

#include <gtest/gtest.h>
#include <jansson.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "agent/cli/view_text.h"

namespace outrider {
namespace {

constexpr ViewOptions kWithThreads = {.threads = ViewOptions::Threads::kShown};

/// Two VMs over half a second: a hog under a cap, and one that is nearly idle.
struct Scene {
  Sample sample;
  Demand demand;
  std::vector<VmName> names = {{VmId{3}, "hog"}, {VmId{5}, "idle"}};

  Scene() {
    sample.taken = Instant{std::chrono::seconds{90}};
    demand.interval = std::chrono::milliseconds{500};
    ThreadDemand vcpu;
    vcpu.tid = 1234;
    vcpu.vcpu = 1;
    vcpu.thread_class = ThreadClass::kVcpu;
    vcpu.upper_bound = true;
    vcpu.cpu.demand = MilliCpus{980};
    vcpu.cpu.usage = MilliCpus{200};
    vcpu.exits[0] = 5;
    ThreadDemand worker;
    worker.tid = 77;
    demand.threads = {vcpu, worker};
    VmDemand hog;
    hog.id = VmId{3};
    hog.upper_bound = true;
    hog.total.demand = MilliCpus{980};
    hog.total.open_wait = MilliCpus{780};
    hog.total.usage = MilliCpus{200};
    hog.total.wait = MilliCpus{780};
    hog.total.runnable = MilliCpus{984};
    hog.throttled = MilliCpus{800};
    hog.exits[0] = 5;
    hog.exits[5] = 1'000;
    hog.wakeups = 6'250;
    hog.thread_count = 2;
    VmDemand idle;
    idle.id = VmId{5};
    idle.total.demand = MilliCpus{12};
    idle.total.usage = MilliCpus{345};
    idle.total.halt_poll = MilliCpus{333};
    idle.first_thread = 2;
    demand.vms = {hog, idle};
  }
  View view() const { return {"13:04:05", sample, demand, names}; }
};

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines(1);
  for (const char c : text) {
    if (c == '\n') {
      lines.emplace_back();
    } else {
      lines.back() += c;
    }
  }
  EXPECT_EQ(lines.back(), "");  // the last line ends as well
  lines.pop_back();
  return lines;
}

TEST(ViewTable, ShowsEachVmInAlignedColumns) {
  EXPECT_EQ(
      view_table(Scene().view(), {}),
      "13:04:05  2 VMs  demand <=0.99  usage 0.55  wait 0.78 CPUs  over 0.5 s\n"
      "NAME  DEMAND  USAGE   WAIT THROTTLED  POLL  RUNQ EXITS/s WAKE/s\n"
      "hog   <=0.98   0.20   0.78      0.80  0.00  0.98    2010  12.5k\n"
      "idle    0.01   0.34   0.00      0.00  0.33  0.00       0      0\n");
}

TEST(ViewTable, ShowsThreadsBeneathTheirVm) {
  const auto lines = lines_of(view_table(Scene().view(), kWithThreads));
  ASSERT_EQ(lines.size(), 6U);
  EXPECT_EQ(lines[3],
            "  vcpu 1 1234  <=0.98   0.20   0.00         -  0.00  0.00      10 "
            "     0     10      0      0      0      0      0      0");
  EXPECT_EQ(lines[4].substr(0, 13), "  emulator 77");
  EXPECT_EQ(lines[5].substr(0, 4), "idle");
  for (const std::string& line : lines) EXPECT_LE(columns_of(line), 132U);
}

TEST(ViewTable, FitsEightyColumnsWhateverTheNamesAndFigures) {
  Scene scene;
  scene.names[0].name.assign(300, 'x');
  scene.names[1].name = "\x1b]0;\u202e";
  scene.demand.vms[0].total.demand = MilliCpus{12'345'678};
  scene.demand.vms[0].exits[1] = ~std::uint64_t{0} / 2;
  scene.demand.vms[0].wakeups = 999'999'999;
  scene.demand.vms[0].total.usage = MilliCpus{999'999};
  const auto lines = lines_of(view_table(scene.view(), {}));
  for (std::size_t i = 1; i < lines.size(); ++i) {
    EXPECT_EQ(columns_of(lines[i]), 80U) << lines[i];
  }
  EXPECT_EQ(lines[2].substr(0, 23), std::string(20, 'x') + "\u2026");
  EXPECT_EQ(lines[3].substr(0, 14), "\\x1b]0;\\u{202e");
}

TEST(ViewTable, NamesAVmWithoutANameByItsId) {
  Scene scene;
  scene.names.erase(scene.names.begin());
  EXPECT_NE(view_table(scene.view(), {}).find("\nvm-3 "), std::string::npos);
}

TEST(ViewTable, IsGoodForNoVmAtAll) {
  Scene scene;
  scene.demand = {};
  scene.sample.lost = 4;
  EXPECT_EQ(
      view_table(scene.view(), {}),
      "13:04:05  0 VMs  demand 0.00  usage 0.00  wait 0.00 CPUs  over 0 "
      "s  lost 4\n"
      "NAME  DEMAND  USAGE   WAIT THROTTLED  POLL  RUNQ EXITS/s WAKE/s\n");
}

/// Which VM comes first.
std::string first_by(ViewSort sort, const Scene& scene) {
  return lines_of(view_table(scene.view(), {.sort = sort}))[2].substr(0, 4);
}

TEST(ViewSort, PutsTheHighestFirst) {
  const Scene scene;
  EXPECT_EQ(first_by(ViewSort::kDemand, scene), "hog ");
  EXPECT_EQ(first_by(ViewSort::kUsage, scene), "idle");
  EXPECT_EQ(first_by(ViewSort::kWait, scene), "hog ");
  Scene swapped;
  std::swap(swapped.demand.vms[0].throttled, swapped.demand.vms[1].throttled);
  std::swap(swapped.demand.vms[0].exits, swapped.demand.vms[1].exits);
  EXPECT_EQ(first_by(ViewSort::kThrottled, swapped), "idle");
  EXPECT_EQ(first_by(ViewSort::kExits, swapped), "idle");
  swapped.names[0].name = "zebra";
  EXPECT_EQ(first_by(ViewSort::kName, swapped), "idle");
}

TEST(ViewSort, KeepsTheOrderOfIdsWhereFiguresAreEqual) {
  Scene scene;
  scene.demand.vms[1].total.usage = MilliCpus{200};
  EXPECT_EQ(first_by(ViewSort::kUsage, scene), "hog ");
}

TEST(ViewSort, HasAWordForEachKey) {
  const auto names = view_sort_names();
  ASSERT_EQ(names.size(), 6U);
  for (std::size_t i = 0; i < names.size(); ++i) {
    EXPECT_EQ(parse_view_sort(names[i]), static_cast<ViewSort>(i));
  }
  EXPECT_EQ(parse_view_sort("size"), std::nullopt);
}

std::size_t cells_in(const std::string& line) {
  return static_cast<std::size_t>(std::ranges::count(line, ',')) + 1;
}

TEST(ViewCsv, HasTheColumnsOfItsHeader) {
  EXPECT_EQ(view_csv_header(),
            "time,taken_ns,interval_ns,vm,name,thread_class,vcpu,tid,"
            "upper_bound,demand_mcpu,open_wait_mcpu,overcounted_mcpu,"
            "usage_mcpu,wait_mcpu,throttled_mcpu,halt_poll_mcpu,"
            "runnable_milli,all_runnable_permille,uncounted_threads,"
            "wakeups_per_sec,migrations_per_sec,exits_per_sec,"
            "halt_exits_per_sec,io_exits_per_sec,mmio_exits_per_sec,"
            "msr_exits_per_sec,interrupt_exits_per_sec,"
            "page_fault_exits_per_sec,other_exits_per_sec\n");
  const auto lines = lines_of(view_csv(Scene().view(), kWithThreads));
  ASSERT_EQ(lines.size(), 4U);
  const std::size_t columns = cells_in(lines_of(view_csv_header())[0]);
  for (const std::string& line : lines) EXPECT_EQ(cells_in(line), columns);
  EXPECT_EQ(lines[0],
            "13:04:05,90000000000,500000000,3,hog,,,,1,980,780,0,200,780,800,"
            "0,984,0,0,12500,0,2010,10,0,0,0,0,2000,0");
  EXPECT_EQ(lines[1].substr(0, 57),
            "13:04:05,90000000000,500000000,3,hog,vcpu,1,1234,1,980,0,");
  EXPECT_EQ(lines[2].substr(0, 51),
            "13:04:05,90000000000,500000000,3,hog,emulator,,77,0");
}

TEST(ViewCsv, QuotesNamesAndShowsTheirControls) {
  Scene scene;
  scene.names[0].name = "a,\"b\"\n";
  EXPECT_NE(view_csv(scene.view(), {}).find(",3,\"a,\"\"b\"\"\\n\",,,,"),
            std::string::npos);
}

struct Decref {
  void operator()(json_t* json) const { json_decref(json); }
};
using Json = std::unique_ptr<json_t, Decref>;

std::int64_t integer(const json_t* object, const char* key) {
  const json_t* value = json_object_get(object, key);
  EXPECT_TRUE(json_is_integer(value)) << key;
  return json_integer_value(value);
}

TEST(ViewJson, IsOneObjectALine) {
  Scene scene;
  scene.names[0].name = "\"\x1b\xff";
  scene.sample.lost = 2;
  const auto lines = lines_of(view_json(scene.view(), kWithThreads));
  ASSERT_EQ(lines.size(), 1U);
  json_error_t error;
  const Json json(json_loads(lines[0].c_str(), JSON_REJECT_DUPLICATES, &error));
  ASSERT_NE(json, nullptr) << error.text << lines[0];
  EXPECT_EQ(integer(json.get(), "schema"), 1);
  EXPECT_EQ(integer(json.get(), "lost"), 2);
  EXPECT_EQ(integer(json.get(), "interval_ns"), 500'000'000);
  const json_t* vms = json_object_get(json.get(), "vms");
  ASSERT_EQ(json_array_size(vms), 2U);
  const json_t* hog = json_array_get(vms, 0);
  EXPECT_STREQ(json_string_value(json_object_get(hog, "name")), "\"\x1b\ufffd");
  EXPECT_TRUE(json_is_true(json_object_get(hog, "upper_bound")));
  EXPECT_EQ(integer(hog, "demand_mcpu"), 980);
  EXPECT_EQ(integer(hog, "exits_per_sec"), 2010);
  const json_t* threads = json_object_get(hog, "threads");
  ASSERT_EQ(json_array_size(threads), 2U);
  EXPECT_EQ(integer(json_array_get(threads, 0), "vcpu"), 1);
  EXPECT_EQ(integer(json_array_get(threads, 1), "tid"), 77);
  EXPECT_EQ(json_object_get(json_array_get(threads, 1), "vcpu"), nullptr);
  const json_t* idle = json_array_get(vms, 1);
  EXPECT_EQ(json_array_size(json_object_get(idle, "threads")), 0U);
}

TEST(ViewJson, IsValidWithoutThreadsAndWithoutVms) {
  Scene scene;
  Json json(json_loads(view_json(scene.view(), {}).c_str(), 0, nullptr));
  ASSERT_NE(json, nullptr);
  const json_t* vms = json_object_get(json.get(), "vms");
  EXPECT_EQ(json_array_size(vms), 2U);
  EXPECT_EQ(json_object_get(json_array_get(vms, 0), "threads"), nullptr);
  scene.demand = {};
  json.reset(json_loads(view_json(scene.view(), {}).c_str(), 0, nullptr));
  ASSERT_NE(json, nullptr);
  EXPECT_EQ(json_array_size(json_object_get(json.get(), "vms")), 0U);
}

TEST(ColumnHelp, ExplainsEachColumnWithinEightyColumns) {
  const std::string help = column_help();
  for (const std::string& line : lines_of(help)) {
    EXPECT_LE(line.size(), 80U) << line;
  }
  const auto lines = lines_of(view_table(Scene().view(), kWithThreads));
  std::string word;
  for (const char c : lines[1] + " ") {
    if (c != ' ') {
      word += c;
    } else if (!word.empty()) {
      EXPECT_NE(help.find(word + " "), std::string::npos) << word;
      word.clear();
    }
  }
}

}  // namespace
}  // namespace outrider

// SPDX-License-Identifier: Apache-2.0
#include "agent/memory_files.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/unit/memory/kernel_files.h"

namespace outrider {
namespace {

constexpr Bytes kPage{4096};
constexpr std::int64_t kKib = 1024;

std::optional<MemoryZones> parse_zoneinfo(std::string_view text,
                                          std::size_t piece) {
  ZoneinfoParser parser{kPage};
  for (std::size_t at = 0; at < text.size(); at += piece) {
    parser.add(text.substr(at, piece));
  }
  return parser.finish();
}

// The line of `key` left out of `text`.
std::string without(std::string text, const std::string& key) {
  const std::size_t at = text.find(key);
  EXPECT_NE(at, std::string::npos) << key;
  const std::size_t start = text.rfind('\n', at) + 1;
  return text.erase(start, text.find('\n', at) - start + 1);
}

std::string replaced(std::string text, const std::string& from,
                     const std::string& to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(Meminfo, IsReadAsKernelsWriteIt) {
  const auto amounts = parse_meminfo(kernel_file("6.1/meminfo"));
  ASSERT_TRUE(amounts);
  EXPECT_EQ(*amounts, (MemoryAmounts{.total = Bytes{4009152 * kKib},
                                     .free = Bytes{3942364 * kKib},
                                     .available = Bytes{3831104 * kKib}}));
  const auto newer = parse_meminfo(kernel_file("6.12/meminfo"));
  ASSERT_TRUE(newer);
  EXPECT_EQ(newer->free, Bytes{3949320 * kKib});
  EXPECT_EQ(newer->available, Bytes{3832224 * kKib});
}

TEST(Meminfo, LacksAllWhereOneFigureIsNotThere) {
  const std::string text = kernel_file("6.1/meminfo");
  for (const char* key :
       {"MemTotal:", "MemFree:", "MemAvailable:", "SwapTotal:", "SwapFree:"}) {
    EXPECT_FALSE(parse_meminfo(without(text, key))) << key;
  }
  EXPECT_FALSE(parse_meminfo(""));
  EXPECT_FALSE(parse_meminfo(replaced(text, "SwapFree:  ", "SwapFree: x")));
  EXPECT_FALSE(parse_meminfo(replaced(text, "SwapFree:  ", "SwapFree: -1")));
  // 2^54 KiB are 2^64 bytes.
  EXPECT_FALSE(parse_meminfo(
      "MemTotal: 18014398509481984 kB\nMemFree: 1 kB\nMemAvailable: 1 kB\n"
      "SwapTotal: 1 kB\nSwapFree: 1 kB\n"));
}

TEST(Vmstat, SumsTheStallsOfAllZones) {
  std::string text = kernel_file("6.1/vmstat");
  ASSERT_TRUE(parse_vmstat(text));
  EXPECT_EQ(parse_vmstat(text)->alloc_stalls, 0U);
  EXPECT_EQ(parse_vmstat(text)->major_faults, 48U);
  text = replaced(text, "allocstall_normal 0", "allocstall_normal 7");
  text = replaced(text, "allocstall_movable 0", "allocstall_movable 5");
  text = replaced(text, "pgscan_direct 0", "pgscan_direct 90");
  text = replaced(text, "pgscan_direct_throttle 0", "pgscan_direct_throttle 1");
  text = replaced(text, "pswpin 0", "pswpin 3");
  text = replaced(text, "pswpout 0", "pswpout 4");
  EXPECT_EQ(*parse_vmstat(text), (MemoryActivity{.pages_scanned_direct = 90,
                                                 .alloc_stalls = 12,
                                                 .swap_in_pages = 3,
                                                 .swap_out_pages = 4,
                                                 .major_faults = 48}));
  EXPECT_TRUE(parse_vmstat(kernel_file("6.12/vmstat")));
}

TEST(Vmstat, LacksAllWhereOneFigureIsNotThere) {
  const std::string text = kernel_file("6.12/vmstat");
  for (const char* key :
       {"pgscan_direct ", "pswpin ", "pswpout ", "pgmajfault "}) {
    EXPECT_FALSE(parse_vmstat(without(text, key))) << key;
  }
  EXPECT_FALSE(parse_vmstat(
      "pgscan_direct 1\npswpin 1\npswpout 1\npgmajfault 1\n"));  // no stalls
  EXPECT_FALSE(
      parse_vmstat(replaced(text, "allocstall_dma 0", "allocstall_dma")));
}

TEST(Pressure, IsTheTotals) {
  EXPECT_EQ(*parse_pressure("some avg10=0.12 avg60=1.00 avg300=0.00 total=77\n"
                            "full avg10=0.00 avg60=0.00 avg300=0.00 total=5\n"),
            (MemoryPressure{.some_us = 77, .full_us = 5}));
  EXPECT_EQ(*parse_pressure(kernel_file("6.12/memory.pressure")),
            MemoryPressure{});
}

TEST(Pressure, IsMissingWhereItIsMalformed) {
  EXPECT_FALSE(parse_pressure(""));
  EXPECT_FALSE(parse_pressure("some avg10=0.12 total=77\n"));
  EXPECT_FALSE(parse_pressure("some total=77\nfull total=\n"));
  EXPECT_FALSE(
      parse_pressure("some total=77\nfull total=99999999999999999999"));
}

// By hand from the files, in pages: DMA, DMA32, Normal, which is all that a
// hypervisor of 4 GiB has. 6.12 gives the empty zone Movable a `low` of 32.
TEST(Zoneinfo, SumsZonesByNode) {
  const auto zones = parse_zoneinfo(kernel_file("6.1/zoneinfo"), 16384);
  ASSERT_TRUE(zones);
  EXPECT_EQ(zones->low_watermark, Bytes{(80 + 10346 + 10691) * kPage.count()});
  EXPECT_EQ(zones->high_watermark, Bytes{(96 + 12415 + 12829) * kPage.count()});
  ASSERT_EQ(zones->nodes().size(), 1U);
  EXPECT_EQ(zones->nodes()[0],
            (NodeMemory{.node = 0,
                        .free = Bytes{(3712 + 489481 + 492461) * kPage.count()},
                        .low = zones->low_watermark,
                        .high = zones->high_watermark}));
  const auto newer = parse_zoneinfo(kernel_file("6.12/zoneinfo"), 16384);
  ASSERT_TRUE(newer);
  EXPECT_EQ(newer->low_watermark, Bytes{(80 + 10367 + 10670) * kPage.count()});
  EXPECT_EQ(newer->high_watermark, Bytes{(96 + 12440 + 12804) * kPage.count()});
  EXPECT_EQ(newer->nodes()[0].free,
            Bytes{(3712 + 491476 + 492142) * kPage.count()});
}

TEST(Zoneinfo, IsTheSameInPiecesOfAnySize) {
  for (const char* kernel : {"6.1/zoneinfo", "6.12/zoneinfo"}) {
    const std::string text = kernel_file(kernel);
    const auto whole = parse_zoneinfo(text, text.size());
    ASSERT_TRUE(whole);
    for (const std::size_t piece : {1U, 2U, 7U, 80U, 129U, 4096U}) {
      const auto cut = parse_zoneinfo(text, piece);
      ASSERT_TRUE(cut) << piece;
      EXPECT_EQ(cut->low_watermark, whole->low_watermark) << piece;
      EXPECT_EQ(cut->high_watermark, whole->high_watermark) << piece;
      EXPECT_EQ(cut->nodes()[0], whole->nodes()[0]) << piece;
    }
  }
}

std::string zone(int node, const char* name, int free) {
  return "Node " + std::to_string(node) + ", zone " + name +
         "\n  pages free     " + std::to_string(free) +
         "\n        boost    0\n        min      1\n        low      2\n"
         "        high     3\n  pagesets\n    cpu: 0\n              high:  9\n";
}

TEST(Zoneinfo, KeepsNodesApart) {
  // Node 2 has no memory of its own kind: numbers may have gaps.
  const std::string text =
      zone(0, "DMA", 10) + zone(0, "Normal", 20) + zone(2, "Normal", 40);
  const auto zones = parse_zoneinfo(text, text.size());
  ASSERT_TRUE(zones);
  EXPECT_EQ(zones->low_watermark, Bytes{6 * 4096});
  ASSERT_EQ(zones->nodes().size(), 2U);
  EXPECT_EQ(zones->nodes()[0], (NodeMemory{.node = 0,
                                           .free = Bytes{30 * 4096},
                                           .low = Bytes{4 * 4096},
                                           .high = Bytes{6 * 4096}}));
  EXPECT_EQ(zones->nodes()[1], (NodeMemory{.node = 2,
                                           .free = Bytes{40 * 4096},
                                           .low = Bytes{2 * 4096},
                                           .high = Bytes{3 * 4096}}));
}

TEST(Zoneinfo, CountsNodesBeyondItsBound) {
  std::string text;
  const int nodes = static_cast<int>(MemoryZones::kNodesMax) + 2;
  for (int node = 0; node < nodes; ++node) text += zone(node, "Normal", 1);
  const auto zones = parse_zoneinfo(text, 4096);
  ASSERT_TRUE(zones);
  EXPECT_EQ(zones->nodes().size(), MemoryZones::kNodesMax);
  EXPECT_EQ(zones->nodes_left_out, 2U);
  EXPECT_EQ(zones->low_watermark, Bytes{2 * nodes * 4096});
}

TEST(Zoneinfo, IsMissingWhereAZoneIsNotWhole) {
  const std::string good = zone(0, "DMA", 10) + zone(0, "Normal", 20);
  ASSERT_TRUE(parse_zoneinfo(good, 64));
  EXPECT_FALSE(parse_zoneinfo("", 1));
  EXPECT_FALSE(parse_zoneinfo("pages free 1\nlow 1\nhigh 1\n", 64));
  EXPECT_FALSE(parse_zoneinfo(without(good, "low"), 64));
  EXPECT_FALSE(parse_zoneinfo(without(good, "pages free"), 64));
  EXPECT_FALSE(parse_zoneinfo(replaced(good, "low      2", "low      x"), 64));
  EXPECT_FALSE(parse_zoneinfo(replaced(good, "Node 0", "Node zero"), 64));
  EXPECT_FALSE(parse_zoneinfo(good.substr(0, good.find("high")), 64));
  const std::string huge =
      replaced(good, "low      2", "low      9223372036854775807");
  EXPECT_FALSE(parse_zoneinfo(huge, 64));  // pages, so more than 2^63 bytes
}

TEST(Zoneinfo, LinesOfAnyLengthDoNoHarm) {
  const std::string text = std::string(100000, 'a') + "\n" +
                           zone(0, "Normal", 10) + std::string(100000, 'b');
  const auto zones = parse_zoneinfo(text, 1000);
  ASSERT_TRUE(zones);
  EXPECT_EQ(zones->nodes()[0].free, Bytes{10 * 4096});
}

TEST(CgroupAmount, IsOneNumber) {
  EXPECT_EQ(parse_amount("4096\n"), Bytes{4096});
  EXPECT_EQ(parse_amount("0"), Bytes{0});
  for (const char* bad : {"", "\n", "max\n", "-1\n", "4096 1\n", "4096\n1\n",
                          "9223372036854775808\n"}) {
    EXPECT_FALSE(parse_amount(bad)) << bad;
  }
  EXPECT_EQ(parse_memory_limit("max\n"), kNoMemoryLimit);
  EXPECT_EQ(parse_memory_limit("8192\n"), Bytes{8192});
  EXPECT_FALSE(parse_memory_limit("maximum\n"));
}

TEST(CgroupEvents, AreReadAmongOthers) {
  const std::string text =
      "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 6\n";
  EXPECT_EQ(
      *parse_memory_events(text),
      (MemoryEvents{.low = 1, .high = 2, .max = 3, .oom = 4, .oom_kill = 5}));
  EXPECT_TRUE(parse_memory_events(kernel_file("6.1/memory.events")));
  EXPECT_FALSE(parse_memory_events(without(text, "oom_kill")));
  EXPECT_FALSE(parse_memory_events(replaced(text, "max 3", "max ")));
}

TEST(CgroupStat, IsReadAsKernelsWriteIt) {
  const auto stat = parse_memory_stat(kernel_file("6.1/memory.stat"));
  ASSERT_TRUE(stat);
  EXPECT_EQ(*stat, (MemoryStat{.anon = Bytes{143360},
                               .file = Bytes{126976},
                               .major_faults = 2}));
  std::string text = kernel_file("6.12/memory.stat");
  text = replaced(text, "\nshmem 0", "\nshmem 4096");
  text =
      replaced(text, "workingset_refault_anon 0", "workingset_refault_anon 11");
  text =
      replaced(text, "workingset_refault_file 0", "workingset_refault_file 12");
  text = replaced(text, "\npgscan 0", "\npgscan 13");
  text = replaced(text, "\npgsteal 0", "\npgsteal 14");
  const auto newer = parse_memory_stat(text);
  ASSERT_TRUE(newer);
  EXPECT_EQ(newer->shmem, Bytes{4096});
  EXPECT_EQ(newer->refaults_anon, 11U);
  EXPECT_EQ(newer->refaults_file, 12U);
  EXPECT_EQ(newer->reclaim_scanned, 13U);
  EXPECT_EQ(newer->reclaim_stolen, 14U);
}

TEST(CgroupStat, LacksAllWhereOneFigureIsNotThere) {
  const std::string text = kernel_file("6.1/memory.stat");
  for (const char* key :
       {"anon ", "file ", "shmem ", "workingset_refault_anon",
        "workingset_refault_file", "pgscan ", "pgsteal ", "pgmajfault"}) {
    EXPECT_FALSE(parse_memory_stat(without(text, key))) << key;
  }
}

TEST(WentBack, LooksAtCountersOnly) {
  const MemoryStat before{
      .anon = Bytes{10}, .refaults_file = 5, .reclaim_stolen = 7};
  MemoryStat now = before;
  now.anon = Bytes{1};
  EXPECT_FALSE(went_back(before, now));
  now.reclaim_stolen = 6;
  EXPECT_TRUE(went_back(before, now));
  EXPECT_TRUE(went_back(MemoryEvents{.oom_kill = 1}, MemoryEvents{}));
  EXPECT_FALSE(went_back(MemoryEvents{}, MemoryEvents{.high = 1}));
  EXPECT_TRUE(went_back(MemoryPressure{.full_us = 1}, MemoryPressure{}));
  EXPECT_TRUE(went_back(MemoryActivity{.alloc_stalls = 2},
                        MemoryActivity{.alloc_stalls = 1}));
}

}  // namespace
}  // namespace outrider

// SPDX-License-Identifier: Apache-2.0
// `outrider replay` and `outrider explain --at` on a journal of a made-up host.
#include <gtest/gtest.h>

#include "agent/cli/exit_code.h"
#include "agent/cli/journal_source.h"
#include "agent/cli/run.h"
#include "agent/core/record.h"
#include "agent/json.h"
#include "tests/unit/shell/journal_host.h"

namespace outrider {
namespace {

struct Said {
  int code = 0;
  std::string out;
  std::string err;
};

Said outrider(std::vector<const char*> words) {
  words.insert(words.begin(), "outrider");
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  const int code = run_outrider(static_cast<int>(words.size()), words.data());
  return {code, testing::internal::GetCapturedStdout(),
          testing::internal::GetCapturedStderr()};
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// A journal of 200 ticks in 2 segments.
class JournalCli : public testing::Test {
 protected:
  JournalCli() : options_(options_in(dir_)) {
    for (int run = 0; run < 2; ++run) {
      Host host(options_);
      host.slow_tick();
      for (int i = 0; i < 100; ++i) host.tick();
    }
    segments_ = *find_segments(options_.config.directory);
  }
  const char* directory() const { return options_.config.directory.c_str(); }
  std::string write(const std::string& name, const std::string& text) const {
    const std::string path = dir_.path() + "/" + name;
    std::ofstream(path) << text;
    return path;
  }

  TemporaryDir dir_;
  Journal::Options options_;
  std::vector<std::string> segments_;
};

TEST_F(JournalCli, RepeatsASegmentAndADirectory) {
  const Said one = outrider({"replay", segments_[0].c_str()});
  EXPECT_EQ(one.code, kExitOk) << one.err;
  EXPECT_TRUE(has(one.out, "1 segments,")) << one.out;
  EXPECT_TRUE(has(one.out, "100 ticks, 0 edges, 4 VMs, 400 VM-ticks"));
  EXPECT_TRUE(has(one.out, "identical: yes"));
  const Said all = outrider({"replay", directory(), "--json"});
  EXPECT_EQ(all.code, kExitOk);
  const Json json{json_loads(all.out.c_str(), 0, nullptr)};
  ASSERT_TRUE(json) << all.out;
  EXPECT_EQ(json_integer_value(json_object_get(json.get(), "ticks")), 200);
  EXPECT_TRUE(json_is_true(json_object_get(json.get(), "identical")));
}

// The cap that was decided in some tick is another now.
TEST_F(JournalCli, ShowsTheFirstDifferenceAndFails) {
  auto bytes = bytes_of(segments_[0]);
  std::size_t at = kHeaderBytes;
  std::vector<std::size_t> starts;
  while (at < bytes.size()) {
    starts.push_back(at);
    at += kFrameBytes + get_fixed(std::span(bytes).subspan(at, 4));
  }
  const std::size_t length = get_fixed(std::span(bytes).subspan(starts[50], 4));
  const auto record =
      std::span(bytes).subspan(starts[50], kFrameBytes + length);
  record.back() ^= std::byte{1};  // of the checksum over all allocations
  put_fixed(frame_checksum(record, record.subspan(kFrameBytes)),
            record.subspan(4, 4));
  const std::string text(reinterpret_cast<const char*>(bytes.data()),
                         bytes.size());
  const std::string path = write("1-1.journal", text);
  const Said said = outrider({"replay", path.c_str()});
  EXPECT_EQ(said.code, kExitError);
  EXPECT_TRUE(has(said.out, "identical: no")) << said.out;
  EXPECT_TRUE(has(said.out, "record 51, ")) << said.out;
  EXPECT_TRUE(has(said.out, "checksum")) << said.out;
}

TEST_F(JournalCli, DamageIsToldWithItsPlaceAfterWhatIsGood) {
  const auto bytes = bytes_of(segments_[0]);
  ASSERT_GT(bytes.size(), 3U);
  const std::string path =
      write("1-1.journal",
            {reinterpret_cast<const char*>(bytes.data()), bytes.size() - 3});
  const Said said = outrider({"replay", path.c_str()});
  EXPECT_EQ(said.code, kExitError);
  EXPECT_TRUE(has(said.out, "99 ticks")) << said.out;
  EXPECT_TRUE(has(said.err, "record 102 at byte")) << said.err;
  EXPECT_TRUE(has(said.err, "torn")) << said.err;
}

TEST_F(JournalCli, SaysWhatAnotherPolicyWouldHaveChanged) {
  const std::string same = write("same.yaml", "mode: enforce\n");
  const Said alike =
      outrider({"replay", directory(), "--policy", same.c_str(), "--json"});
  ASSERT_EQ(alike.code, kExitOk) << alike.err;
  // Under the policy that was, everything is as it was.
  const Json json{json_loads(alike.out.c_str(), 0, nullptr)};
  const json_t* vms = json_object_get(json.get(), "what_if");
  ASSERT_EQ(json_array_size(vms), 4U) << alike.out;
  for (std::size_t i = 0; i < 4; ++i) {
    const json_t* vm = json_array_get(vms, i);
    const json_t* was = json_object_get(vm, "recorded");
    EXPECT_TRUE(json_equal(was, json_object_get(vm, "other"))) << alike.out;
    EXPECT_GT(json_integer_value(json_object_get(was, "held_mcpu_ms")), 0);
  }
  const std::string other =
      write("other.yaml",
            "mode: enforce\nvms: [{match: web-1, ceiling_mcpu: 100}]\n");
  const Said less =
      outrider({"replay", directory(), "--policy", other.c_str(), "--json"});
  ASSERT_EQ(less.code, kExitOk) << less.err;
  const Json changed{json_loads(less.out.c_str(), 0, nullptr)};
  const json_t* vm =
      json_array_get(json_object_get(changed.get(), "what_if"), 0);
  const auto figure = [vm](const char* side, const char* name) {
    return json_integer_value(json_object_get(json_object_get(vm, side), name));
  };
  EXPECT_STREQ(json_string_value(json_object_get(vm, "name")), "web-1");
  EXPECT_LT(figure("other", "held_mcpu_ms"),
            figure("recorded", "held_mcpu_ms"));
  EXPECT_GT(figure("other", "stall_mcpu_ms"),
            figure("recorded", "stall_mcpu_ms"));
  const Said text =
      outrider({"replay", directory(), "--policy", other.c_str()});
  EXPECT_TRUE(has(text.out, "total")) << text.out;
  EXPECT_TRUE(has(text.out, "stall is an estimate")) << text.out;
}

TEST_F(JournalCli, ExplainsAVmAtATimeOfThePast) {
  const auto journal = open_journal(segments_[0]);
  ASSERT_TRUE(journal);
  const SegmentHead& head = journal->front().head;
  const std::string time = time_text(head.wall_ns + 1'000'000'000);
  const Said said = outrider({"explain", "web-2", "--at", time.c_str(),
                              "--journal", segments_[0].c_str()});
  EXPECT_EQ(said.code, kExitOk) << said.err;
  EXPECT_TRUE(has(said.out, "web-2: VM 2, class production, mode enforce"))
      << said.out;
  EXPECT_TRUE(has(said.out, "decided by:"));
  EXPECT_TRUE(has(said.out, "cpu.max"));
  const std::string before = time_text(head.wall_ns - 5'000'000'000);
  const Said old = outrider(
      {"explain", "web-2", "--at", before.c_str(), "--journal", directory()});
  EXPECT_EQ(old.code, kExitError);
  EXPECT_TRUE(has(old.err, "older than the journal")) << old.err;
  const Said unknown = outrider({"explain", "web-9", "--at", time.c_str(),
                                 "--journal", segments_[0].c_str()});
  EXPECT_EQ(unknown.code, kExitError);
  EXPECT_TRUE(has(unknown.err, "no VM web-9")) << unknown.err;
}

TEST_F(JournalCli, RefusesWhatIsNoJournalOrNoTime) {
  const std::string text = write("x.journal", "something else altogether");
  EXPECT_TRUE(has(outrider({"replay", text.c_str()}).err, "foreign"));
  EXPECT_EQ(outrider({"replay", "/nowhere"}).code, kExitError);
  std::vector<std::byte> samples;
  RecordWriter writer;
  writer.header(samples);
  writer.went({}, samples);
  const std::string record =
      write("night.rec",
            {reinterpret_cast<const char*>(samples.data()), samples.size()});
  const Said pointed = outrider({"replay", record.c_str()});
  EXPECT_EQ(pointed.code, kExitError);
  EXPECT_TRUE(has(pointed.err, "--replay` shows it")) << pointed.err;
  const Said said = outrider({"replay", directory(), "--from", "yesterday"});
  EXPECT_EQ(said.code, kExitUsage);
  EXPECT_TRUE(has(said.err, "no time: yesterday")) << said.err;
}

TEST(JournalTime, IsReadAsItIsWritten) {
  for (const std::int64_t ns : {0L, 1'795'191'756'500'000'000L}) {
    const auto back = parse_time(time_text(ns));
    ASSERT_TRUE(back) << time_text(ns);
    EXPECT_EQ(*back, ns);
  }
  EXPECT_EQ(*parse_time("@12.5"), 12'500'000'000);
  for (const char* bad : {"", "@", "@-1", "@1.", "2026-11-20", "@1x",
                          "2026-11-20T16:22:36Zx", "@99999999999999999999"}) {
    EXPECT_FALSE(parse_time(bad)) << bad;
  }
}

}  // namespace
}  // namespace outrider

// SPDX-License-Identifier: Apache-2.0
// The verbs against a real Agent that reads files and discovers nothing.
#include "agent/control_verbs.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>

#include "agent/control_sample.h"

namespace outrider {
namespace {

class ControlVerbs : public testing::Test {
 protected:
  void SetUp() override {
    config_.sense.sensor = SensorChoice::kFiles;
    config_.discovery = {
        .libvirt = false, .proxmox = false, .processes = false};
    config_.journal.enabled = false;
    config_.loop_priority = 0;
    config_.vm_count_max = 5;
    auto agent = Agent::make(config_);
    ASSERT_TRUE(agent) << agent.error().what;
    agent_ = *std::move(agent);
    verbs_ = control_verbs(*agent_, config_);
  }

  const ControlVerb& verb(std::string_view name) {
    const auto found =
        std::find_if(verbs_.begin(), verbs_.end(),
                     [&](const auto& each) { return each.name == name; });
    EXPECT_NE(found, verbs_.end()) << name;
    return *found;
  }

  // The reply's object, or the refusal's text as a JSON string.
  Json answer(const std::string& line) {
    const auto request = ControlRequest::parse(line);
    EXPECT_TRUE(request) << line;
    const ControlVerb& asked = verb(request->verb());
    const auto checked = request->check(asked.args);
    EXPECT_TRUE(checked) << checked.error().what;
    std::string text;
    JsonText json{text};
    json.object();
    const ControlAnswer answered =
        asked.handler({*request, Role::kAdmin, memory_}, json);
    if (!answered) return Json{json_string(answered.error().what.c_str())};
    json.end();
    return Json{json_loadb(text.data(), text.size(), 0, nullptr)};
  }

  static std::string refusal(const Json& json) {
    const char* text = json_string_value(json.get());
    return text == nullptr ? "no refusal" : text;
  }

  Config config_;
  std::unique_ptr<Agent> agent_;
  std::vector<ControlVerb> verbs_;
  std::uint64_t memory_ = 0;
};

TEST_F(ControlVerbs, AskForTheLeastRoleThatMay) {
  for (const char* name :
       {"status", "vm.list", "vm.show", "sample", "watch", "config"})
    EXPECT_EQ(verb(name).role, Role::kViewer) << name;
  for (const char* name :
       {"mode", "allocations", "explain", "memory", "vm.resize_state"})
    EXPECT_EQ(verb(name).role, Role::kViewer) << name;
  for (const char* name :
       {"vm.detach", "vm.mode", "vm.release_contention", "vm.let_go",
        "vm.take_up", "vm.export", "vm.import", "release", "vm.resize"})
    EXPECT_EQ(verb(name).role, Role::kOperator) << name;
  EXPECT_EQ(verb("vm.attach").role, Role::kAdmin);
  EXPECT_EQ(verbs_.size(), 21U) << "a new verb belongs in the lines above";
  for (const ControlVerb& each : verbs_)
    EXPECT_EQ(each.streams, each.name == "watch") << each.name;
}

TEST_F(ControlVerbs, StatusNamesTheSensorAndWhatIsMissing) {
  const Json status = answer(R"({"verb":"status"})");
  EXPECT_STREQ(json_string_value(json_object_get(status.get(), "sensor")),
               "files");
  EXPECT_STREQ(json_string_value(json_object_get(status.get(), "role")),
               "admin");
  EXPECT_TRUE(json_is_array(json_object_get(status.get(), "degraded")));
  EXPECT_EQ(json_integer_value(json_object_get(status.get(), "vms")), 0);
}

TEST_F(ControlVerbs, ConfigIsWhatIsInForce) {
  const Json reply = answer(R"({"verb":"config"})");
  const char* yaml = json_string_value(json_object_get(reply.get(), "yaml"));
  ASSERT_NE(yaml, nullptr);
  const auto config = parse_config("reply", yaml, Config{});
  ASSERT_TRUE(config) << config.error().what;
  EXPECT_TRUE(*config == config_);
}

TEST_F(ControlVerbs, AStreamSaysWhoTheVmsAreOnce) {
  const Json first = answer(R"({"verb":"watch","period_ms":10})");
  EXPECT_TRUE(has_identities(first.get()));
  EXPECT_TRUE(parse_sample(first.get()));
  const Json second = answer(R"({"verb":"watch","period_ms":10})");
  EXPECT_FALSE(has_identities(second.get()));
  EXPECT_TRUE(parse_sample(second.get()));
}

TEST_F(ControlVerbs, AttachesNothingThatIsNoVm) {
  const Json ours = answer(R"({"verb":"vm.attach","pid":)" +
                           std::to_string(::getpid()) + "}");
  EXPECT_NE(refusal(ours).find("not a KVM process"), std::string::npos)
      << refusal(ours);
  const Json gone = answer(R"({"verb":"vm.attach","pid":2147483647})");
  EXPECT_NE(refusal(gone).find("no such process"), std::string::npos)
      << refusal(gone);
  EXPECT_TRUE(agent_->vms().empty()) << "nothing is half-attached";
}

TEST_F(ControlVerbs, NameTheVmThatIsNotThere) {
  for (const char* name : {"vm.show", "vm.detach"})
    EXPECT_EQ(refusal(answer(std::string("{\"verb\":\"") + name +
                             "\",\"vm\":\"web\"}")),
              "no VM web: see `outrider vm list`");
}

TEST_F(ControlVerbs, AResizeWantsASizeAndAVm) {
  EXPECT_EQ(refusal(answer(R"({"verb":"vm.resize","vm":"web","vcpus":2})")),
            "no VM web: see `outrider vm list`");
  const auto zero =
      ControlRequest::parse(R"({"verb":"vm.resize","vm":"web","vcpus":0})");
  EXPECT_FALSE(zero->check(verb("vm.resize").args));
}

}  // namespace
}  // namespace outrider

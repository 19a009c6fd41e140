// SPDX-License-Identifier: Apache-2.0
// A QEMU that can be told to refuse, to lie still, and to let the guest do what
// it was asked for, later.
#pragma once

#include <jansson.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "agent/core/memory_policy.h"
#include "agent/json.h"

namespace outrider {

struct ScriptedQemu {
  static constexpr std::int64_t kMib = std::int64_t{1} << 20;

  // The guest, in MiB.
  std::int64_t base = 1024;
  std::int64_t balloon = 1024;
  std::int64_t virtio_mem = 0;
  std::map<std::string, std::int64_t> dimms;
  std::map<std::string, std::int64_t> objects;
  std::vector<std::string> cpus = {"/machine/unattached/device[0]", "", "", ""};

  bool obeys = true;  // the guest does at once what it is asked for
  std::map<std::string, std::string> refused;  // command: QEMU's words
  std::map<std::string, int> asked;            // how often, by command

  std::int64_t memory() const { return balloon + virtio_mem; }
  std::int64_t vcpus() const {
    return static_cast<std::int64_t>(cpus.size()) -
           std::count(cpus.begin(), cpus.end(), "");
  }

  /// For ScriptedPeer::set_answer.
  std::string answer(const std::string& line) {
    const Json command{json_loadb(line.data(), line.size(), 0, nullptr)};
    const std::string name = text(command.get(), "execute");
    ++asked[name];
    if (const auto no = refused.find(name); no != refused.end()) {
      return R"("error": {"class": "GenericError", "desc": ")" + no->second +
             "\"}";
    }
    return "\"return\": " +
           value_of(name, json_object_get(command.get(), "arguments"));
  }

 private:
  static std::string text(const json_t* object, const char* name) {
    const char* its = json_string_value(json_object_get(object, name));
    return its == nullptr ? "" : its;
  }
  static std::int64_t count(const json_t* object, const char* name) {
    return json_integer_value(json_object_get(object, name));
  }
  static std::string bytes(std::int64_t mib) {
    return std::to_string(mib * kMib);
  }

  std::string value_of(const std::string& name, const json_t* arguments) {
    if (name == "query-memory-size-summary") {
      return R"({"base-memory": )" + bytes(base) + "}";
    }
    if (name == "query-balloon") return R"({"actual": )" + bytes(balloon) + "}";
    if (name == "query-memory-devices") return devices();
    if (name == "query-hotpluggable-cpus") return slots();
    if (name == "object-add") {
      objects[text(arguments, "id")] = count(arguments, "size") / kMib;
    } else if (name == "object-del") {
      objects.erase(text(arguments, "id"));
    } else if (obeys) {
      obey(name, arguments);
    }
    return "{}";
  }

  void obey(const std::string& name, const json_t* arguments) {
    const std::string id = text(arguments, "id");
    if (name == "balloon") balloon = count(arguments, "value") / kMib;
    if (name == "qom-set") virtio_mem = count(arguments, "value") / kMib;
    if (name == "device_add" && text(arguments, "driver") == "pc-dimm") {
      dimms[id] = objects[text(arguments, "memdev")];
      balloon += dimms[id];
    } else if (name == "device_add") {
      cpus[static_cast<std::size_t>(count(arguments, "core-id"))] =
          "/machine/peripheral/" + id;
    }
    if (name != "device_del") return;
    if (const auto dimm = dimms.find(id); dimm != dimms.end()) {
      balloon -= dimm->second;
      dimms.erase(dimm);
    }
    for (std::string& cpu : cpus) {
      if (cpu == id) cpu.clear();
    }
  }

  std::string devices() const {
    std::string list =
        R"([{"type": "virtio-mem", "data": {"id": "vmem0", "memaddr": 0,)"
        R"( "node": 0, "requested-size": )" +
        bytes(virtio_mem) + R"(, "size": )" + bytes(virtio_mem) +
        R"(, "max-size": )" + bytes(1024) + R"(, "block-size": )" + bytes(2) +
        R"(, "memdev": "/objects/vmm0"}})";
    for (const auto& [id, size] : dimms) {
      list += R"(, {"type": "dimm", "data": {"id": ")" + id +
              R"(", "addr": 0, "slot": 0, "node": 0, "size": )" + bytes(size) +
              R"(, "memdev": "/objects/)" + id +
              R"(-memory", "hotplugged": true, "hotpluggable": true}})";
    }
    return list + "]";
  }

  std::string slots() const {
    std::string list;
    for (std::size_t i = cpus.size(); i-- > 0;) {
      list += list.empty() ? "[" : ", ";
      list += R"({"type": "host-x86_64-cpu", "vcpus-count": 1, "props": )"
              R"({"core-id": )" +
              std::to_string(i) + "}";
      if (!cpus[i].empty()) list += R"(, "qom-path": ")" + cpus[i] + "\"";
      list += "}";
    }
    return list + "]";
  }
};

}  // namespace outrider

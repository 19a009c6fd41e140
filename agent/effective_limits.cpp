// SPDX-License-Identifier: Apache-2.0
#include "agent/effective_limits.h"

#include <cerrno>

#include "agent/knob_value.h"
#include "agent/proc.h"
#include "agent/vm_knobs.h"

namespace outrider {
namespace {

Result<std::string> read_file(const CgroupTree& tree, const std::string& path,
                              std::string_view file) {
  return read_text_at(tree.fd(), below(path, file), 4096);
}

// The weight as the scheduler has it: an idle group's is next to nothing.
Result<std::int64_t> read_weight(const CgroupTree& tree,
                                 const std::string& path) {
  auto idle = read_file(tree, path, "cpu.idle");  // not before 5.15
  if (idle && parse_knob_number(*idle).value_or(0) != 0) return 0;
  auto text = read_file(tree, path, "cpu.weight");
  if (!text) return pass(text, path);
  const auto weight = parse_knob_number(*text);
  if (!weight) return fail(EPROTO, path + "/cpu.weight is malformed");
  return *weight;
}

// A group that runs nothing takes nothing from the others.
bool is_populated(const CgroupTree& tree, const std::string& path) {
  auto events = read_file(tree, path, "cgroup.events");
  return !events || events->find("populated 0") == std::string::npos;
}

}  // namespace

Result<EffectiveCap> read_effective_cap(const CgroupTree& tree,
                                        const std::string& cgroup) {
  auto id = read_cgroup_id(tree, cgroup);
  if (!id) return pass(id, "effective cap");
  EffectiveCap effective;
  std::string path;
  for (const std::string_view name : split(cgroup, "/")) {
    path.append("/").append(name);
    auto text = read_file(tree, path, "cpu.max");
    if (!text) continue;  // no cpu controller this far up or down
    const auto max = parse_cpu_max(*text);
    if (!max) return fail(EPROTO, path + "/cpu.max is malformed");
    const PathCap cap{path, cap_of(*max)};
    const MilliCpus least = effective.binding.cap;
    if (cap.cap != kNoCap && (least == kNoCap || cap.cap <= least)) {
      effective.binding = cap;
    }
    effective.path.push_back(cap);
  }
  return effective;
}

Result<WeightShare> read_weight_share(const CgroupTree& tree,
                                      const std::string& cgroup) {
  WeightShare share{.cgroup = sibling_cgroup(cgroup)};
  auto weight = read_weight(tree, share.cgroup);
  if (!weight) return pass(weight, "effective weight");
  share.weight = share.weight_sum = *weight;
  const std::string above = share.cgroup.substr(0, share.cgroup.rfind('/'));
  auto siblings = list_child_cgroups(tree, above);
  if (!siblings) return pass(siblings, "effective weight");
  for (const std::string& name : *siblings) {
    std::string path = above;
    path.append("/").append(name);
    if (path == share.cgroup || !is_populated(tree, path)) continue;
    auto other = read_weight(tree, path);
    if (other) share.weight_sum += *other;  // else it is going
  }
  if (share.weight_sum > 0) {
    share.share_permille = share.weight * 1000 / share.weight_sum;
  }
  return share;
}

}  // namespace outrider

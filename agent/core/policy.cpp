// SPDX-License-Identifier: Apache-2.0
#include "agent/core/policy.h"

#include <algorithm>
#include <cassert>

#include "agent/core/forecaster.h"

namespace outrider {
namespace {

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool is_same_uuid(std::string_view a, std::string_view b) {
  return !a.empty() &&
         std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

// Rounded to the nearest; no more than is tracked.
std::int64_t quantile_permille(const ClassPolicy& prices) {
  const std::int64_t both = prices.price_stalled + prices.price_reserved;
  assert(both > 0);
  return std::min((2000 * prices.price_stalled + both) / (2 * both),
                  kTausPermille.back());
}

void bound(const Policy& policy, const VmFacts& vm, const VmRule& rule,
           VmPolicy& held) {
  const ClassPolicy& of_class =
      policy.classes[static_cast<std::size_t>(held.vm_class)];
  const std::int64_t vcpus = std::max<std::int64_t>(1, vm.vcpus);
  const MilliCpus least = least_cap(policy.cpu.cap_period);
  held.floor = rule.floor.count() >= 0
                   ? rule.floor
                   : MilliCpus{of_class.floor_permille * vcpus};
  if (rule.ceiling.count() >= 0) {
    held.ceiling = rule.ceiling;
  } else {
    held.ceiling =
        std::max(MilliCpus{of_class.ceiling_permille * vcpus}, held.floor);
    if (vm.baseline_cap != kNoCap) {
      held.ceiling = std::min(held.ceiling, vm.baseline_cap);
    }
  }
  held.ceiling = std::max(held.ceiling, least);
  held.floor = std::clamp(held.floor, least, held.ceiling);
}

}  // namespace

MilliCpus least_cap(Duration cap_period) {
  constexpr Duration kQuotaMin = std::chrono::milliseconds{1};  // the kernel's
  assert(cap_period > Duration{0});
  return MilliCpus{(1000 * kQuotaMin.count() + cap_period.count() - 1) /
                   cap_period.count()};
}

const VmRule* find_rule(const Policy& policy, std::string_view name,
                        std::string_view uuid) {
  const auto rule =
      std::ranges::find_if(policy.vms, [=](const VmRule& candidate) {
        return is_same_uuid(candidate.match, uuid) ||
               matches(candidate.match, name);
      });
  return rule == policy.vms.end() ? nullptr : &*rule;
}

VmPolicy resolve(const Policy& policy, const VmFacts& vm) {
  const VmRule* named = find_rule(policy, vm.name, vm.uuid);
  const VmRule rule =
      named != nullptr ? *named
                       : VmRule{.match = {}, .vm_class = policy.default_class};
  const ClassPolicy& of_class =
      policy.classes[static_cast<std::size_t>(rule.vm_class)];
  VmPolicy held{.vm_class = rule.vm_class,
                .mode = std::min({policy.mode, policy.cpu.mode, rule.mode}),
                .weight = rule.weight >= 0 ? rule.weight : of_class.weight,
                .quantile_permille = quantile_permille(of_class),
                .idle = of_class.idle};
  if (!vm.has_cap || vm.vcpus < 1) held.mode = Mode::kObserve;
  bound(policy, vm, rule, held);
  return held;
}

// A star first stands for nothing; where the rest does not match, the last
// star met takes one more character. Earlier stars need not be tried again: the
// last one can take whatever they might.
bool matches(std::string_view pattern, std::string_view text) {
  constexpr std::size_t kNone = std::string_view::npos;
  std::size_t p = 0;
  std::size_t t = 0;
  std::size_t star = kNone;  // in the pattern
  std::size_t taken_to = 0;  // by it, in the text
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      taken_to = t;
    } else if (p < pattern.size() &&
               (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != kNone) {
      p = star + 1;
      t = ++taken_to;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == kNone;
}

}  // namespace outrider

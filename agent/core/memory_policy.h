// SPDX-License-Identifier: Apache-2.0
// What an operator chose about memory, and what follows from it for one VM.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "agent/base/units.h"
#include "agent/core/policy.h"

namespace outrider {

inline constexpr Bytes kMebibyte{std::int64_t{1} << 20};

/// What holds of a VM that memory is about to be taken from.
struct MemoryFacts {
  VmId id{};
  std::string name{};
  std::string uuid{};  // empty: unknown

  friend bool operator==(const MemoryFacts&, const MemoryFacts&) = default;
};

/// What holds for one VM.
struct VmMemoryPolicy {
  VmClass vm_class = VmClass::kProduction;
  Mode mode = Mode::kObserve;
  bool balloon = true;  // memory may be taken from it
  Bytes floor{-1};      // of the guest's memory; -1: floor_permille
  std::int64_t floor_permille = 500;  // of the guest's memory

  /// Of a guest of that size.
  Bytes floor_of(Bytes size) const;

  friend bool operator==(const VmMemoryPolicy&,
                         const VmMemoryPolicy&) = default;
};

/// The first rule that matches counts, as for CPU. Errors: none.
VmMemoryPolicy resolve_memory(const Policy& policy, const MemoryFacts& vm);

}  // namespace outrider

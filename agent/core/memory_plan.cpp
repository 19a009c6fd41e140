// SPDX-License-Identifier: Apache-2.0
#include "agent/core/memory_plan.h"

#include <array>
#include <cstddef>

namespace outrider {

std::string_view to_text(MemoryReason reason) {
  constexpr std::array<std::string_view, 6> kTexts = {
      "reserve", "distress", "demand", "surplus", "withdrawn", "released"};
  return kTexts[static_cast<std::size_t>(reason)];
}

std::string_view to_text(Fixed fixed) {
  constexpr std::array<std::string_view, 4> kTexts = {"no", "locked", "vfio",
                                                      "huge-pages"};
  return kTexts[static_cast<std::size_t>(fixed)];
}

}  // namespace outrider

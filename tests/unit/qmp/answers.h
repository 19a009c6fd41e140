// SPDX-License-Identifier: Apache-2.0
// Lines of a real QEMU: record.py.
#pragma once

#include <fstream>
#include <iterator>
#include <string>
#include <variant>

#include "qmp/wire.h"

namespace outrider::qmp {

inline std::string recorded(const std::string& name) {
  std::ifstream file(std::string(OUTRIDER_SOURCE_DIR) +
                     "/tests/unit/qmp/answers/" + name + ".json");
  return {std::istreambuf_iterator<char>(file), {}};
}

/// What `line` returns; null if it is no Return.
inline Json value_of(std::string_view line) {
  auto message = parse_message(line);
  if (!message) return nullptr;
  auto* const answer = std::get_if<Return>(&*message);
  return answer == nullptr ? nullptr : std::move(answer->value);
}

/// `value` as if QEMU had returned it.
inline Json answer(const std::string& value) {
  return value_of("{\"return\": " + value + ", \"id\": 1}");
}

}  // namespace outrider::qmp

// SPDX-License-Identifier: Apache-2.0
// One request of the control socket: {"verb": "vm.show", "vm": "web-3"}.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "agent/base/result.h"
#include "agent/json.h"

namespace outrider {

inline constexpr std::size_t kRequestBytesMax = std::size_t{64} << 10;

/// What a verb takes beside its name.
struct ControlArg {
  enum class Kind : std::uint8_t { kText, kCount, kFlag };
  std::string_view name;
  Kind kind = Kind::kText;
  bool required = false;
  std::int64_t min = 0;  // of a count
  std::int64_t max = 0;
};

/// Invariant: `json` is an object with a text member "verb".
class ControlRequest {
 public:
  /// Errors: what the sender did wrong, in words for him.
  static Result<ControlRequest> parse(std::string_view line);

  std::string_view verb() const;
  /// Whether all members are among `args`, of their kinds and ranges, and none
  /// is missing. Errors: likewise.
  Result<> check(std::span<const ControlArg> args) const;

  std::optional<std::string> text(const char* name) const;
  std::optional<std::int64_t> count(const char* name) const;
  bool flag(const char* name) const;  // false as well if it is not there

 private:
  explicit ControlRequest(Json json) : json_(std::move(json)) {}
  Json json_;
};

}  // namespace outrider
